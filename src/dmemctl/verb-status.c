/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * status: configured, booted and granted side by side. Asks dmemd; without it, or for another root,
 * looks itself, and says so.
 */

#include "basic/root-fs.h"
#include "basic/size-util.h"
#include "dmemctl/dmemd-client.h"
#include "dmemctl/table.h"
#include "dmemctl/verbs.h"
#include "host/host-memory.h"
#include "host/status-json.h"
#include "plan/cmdline.h"
#include <inttypes.h>

/* -ENOENT if the daemon does not run. Anything else that is wrong is said. */
static int status_from_dmemd(Status **ret) {
        _cleanup_free_ char *text = NULL;
        int r;

        r = dmemd_call("GetStatus", &text);
        if (r < 0)
                return r;
        r = status_parse(text, ret);
        if (r < 0)
                message("cannot understand dmemd: %s; looking without it", strerror(-r));
        return r;
}

static int load_status(Dmemctl *d, Status **ret) {
        int r;

        r = host_is_live(d->root_fd);
        if (r < 0)
                return r;
        if (r > 0) {
                r = status_from_dmemd(ret);
                if (r >= 0 || r == -ENOMEM)
                        return r;
        }
        return load_host_status(d, ret);
}

static const char *state_colour(const Dmemctl *d, State state) {
        switch (state) {
        case STATE_IN_FORCE:
                return colour_good(d);
        case STATE_DRIFT:
                return colour_error(d);
        case STATE_PENDING_REBOOT:
        case STATE_DEGRADED:
                return colour_warning(d);
        case STATE_NONE:
        default:
                return colour_bold(d);
        }
}

static const char *source_text(const Status *s) {
        if (streq(s->source, "dmemd"))
                return "from dmemd, over D-Bus";
        if (streq(s->source, "sysfs"))
                return "from sysfs, without dmemd";
        return "from the files below --root=";
}

static int add_bytes(Table *t, MaybeBytes value) {
        char text[FORMAT_SIZE_MAX];

        if (!value.known)
                return table_add(t, "-");
        return table_add(t, "%s", format_size_rounded(text, value.bytes));
}

static int add_node(Table *t, const StatusNode *node) {
        const MaybeBytes values[] = {
                node->configured, node->booted, node->granted,
                node->used,       node->free,   node->poisoned,
        };
        int r;

        r = table_add(t, "%u", node->id);
        for (size_t i = 0; i < ELEMENTSOF(values) && r >= 0; i++)
                r = add_bytes(t, values[i]);
        if (r >= 0)
                r = table_add(t, "%s", node->cpus ? (node->cpus[0] ? node->cpus : "none") : "-");
        return r;
}

static int print_nodes(const Dmemctl *d, const Status *s) {
        static const char *const head[] = {
                "NODE", "CONFIGURED", "BOOTED", "GRANTED", "USED", "FREE", "POISONED", "CPUS",
        };
        _cleanup_(table_done) Table t = {
                .n_columns = ELEMENTSOF(head),
                .left = 1U << (ELEMENTSOF(head) - 1),
        };
        int r;

        for (size_t i = 0; i < ELEMENTSOF(head); i++) {
                r = table_add(&t, "%s", head[i]);
                if (r < 0)
                        return r;
        }
        for (size_t i = 0; i < s->n_nodes; i++) {
                r = add_node(&t, &s->nodes[i]);
                if (r < 0)
                        return r;
        }
        if (d->legend)
                table_print(&t, 0, 1, colour_bold(d), colour_off(d));
        table_print(&t, 1, s->n_nodes, "", "");
        return 0;
}

static int add_pages(Table *t, MaybeBytes value) {
        return value.known ? table_add(t, "%" PRIu64, value.bytes) : table_add(t, "-");
}

static int add_pool(Table *t, const StatusNode *node, const StatusPool *pool) {
        const MaybeBytes values[] = { pool->configured, pool->booted, pool->granted, pool->free };
        char size[FORMAT_SIZE_MAX];
        int r;

        r = table_add(t, "%u", node->id);
        if (r >= 0)
                r = table_add(t, "%s", format_size(size, pool->page_size));
        for (size_t i = 0; i < ELEMENTSOF(values) && r >= 0; i++)
                r = add_pages(t, values[i]);
        return r;
}

/* Nothing on a host without huge pages. */
static int print_pools(const Dmemctl *d, const Status *s) {
        static const char *const head[] = {
                "NODE", "HUGE PAGES OF", "CONFIGURED", "BOOTED", "GRANTED", "FREE",
        };
        _cleanup_(table_done) Table t = { .n_columns = ELEMENTSOF(head) };
        size_t n_rows = 0;
        int r = 0;

        for (size_t i = 0; i < ELEMENTSOF(head) && r >= 0; i++)
                r = table_add(&t, "%s", head[i]);
        for (size_t i = 0; i < s->n_nodes; i++)
                for (size_t k = 0; k < s->nodes[i].n_pools && r >= 0; k++, n_rows++)
                        r = add_pool(&t, &s->nodes[i], &s->nodes[i].pools[k]);
        if (r < 0 || n_rows == 0)
                return r;
        printf("\n");
        if (d->legend)
                table_print(&t, 0, 1, colour_bold(d), colour_off(d));
        table_print(&t, 1, n_rows, "", "");
        return 0;
}

static int print_arguments(const char *title, char *const *arguments, const char *behind) {
        _cleanup_free_ char *text = NULL;

        if (arguments) {
                text = arguments_join(arguments);
                if (!text)
                        return -ENOMEM;
        }
        printf("%-12s%s%s\n", title,
               !text             ? "unknown"
               : text[0] == '\0' ? "nothing"
                                 : text,
               behind);
        return 0;
}

static void print_mounts(const Status *s) {
        for (size_t i = 0; i < s->mounts.n_items; i++) {
                const DmemMount *mount = &s->mounts.items[i];
                char size[FORMAT_SIZE_MAX];

                printf("%-12s%s, page size %s, nodes %s\n", i == 0 ? "Mounted:" : "", mount->where,
                       mount->page_size > 0 ? format_size(size, mount->page_size) : "unknown",
                       mount->nodes);
        }
}

static int print_status(const Dmemctl *d, const Status *s) {
        char saved[FORMAT_SIZE_MAX];
        int r;

        printf("%s%s%s (%s)\n\n", state_colour(d, s->state), state_to_string(s->state),
               colour_off(d), source_text(s));
        r = print_nodes(d, s);
        if (r >= 0)
                r = print_pools(d, s);
        if (r < 0)
                return r;
        printf("\n");
        r = print_arguments("Configured:", s->configured,
                            s->configured_source == CONFIGURED_APPLIED
                                    ? "  (as last applied; the boot loader's files are for root)"
                                    : "");
        if (r < 0)
                return r;
        r = print_arguments("Booted:", s->booted, "");
        if (r < 0)
                return r;
        print_mounts(s);
        if (s->metadata_saved.known && s->metadata_saved.bytes > 0)
                printf("%-12s%s of struct pages\n",
                       "Saved:", format_size_rounded(saved, s->metadata_saved.bytes));
        if (s->findings.n_items > 0)
                printf("\n");
        print_findings(d, &s->findings);
        if (d->legend)
                printf("\n%s\n", s->advice);
        return 0;
}

int verb_status(Dmemctl *d, int argc, char *argv[]) {
        _cleanup_(status_freep) Status *s = NULL;
        int r;

        r = load_status(d, &s);
        if (r < 0)
                return r;
        if (d->json != JSON_MODE_OFF) {
                r = print_json(d, status_to_json(s));
        } else {
                pager_open(d);
                r = print_status(d, s);
        }
        if (r < 0)
                return r;
        return s->state == STATE_NONE || s->state == STATE_IN_FORCE ? EXIT_SUCCESS
                                                                    : EXIT_NOT_IN_FORCE;
}
