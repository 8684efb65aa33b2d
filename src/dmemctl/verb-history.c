/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * history: what the journal has about reserved memory, of this boot and of earlier ones, found by
 * the ids of message-ids.h
 */

#include <inttypes.h>
#include <limits.h>
#include <systemd/sd-journal.h>

#include "basic/root-fs.h"
#include "basic/size-util.h"
#include "dmemctl/ledger-view.h"
#include "dmemctl/table.h"
#include "host/host-memory.h"
#include "host/message-ids.h"
#include "host/plan-json.h"
#include "host/poison-text.h"

static const struct {
        const char *id, *kind;
} kinds[] = {
        { MESSAGE_PLAN_APPLIED, "plan-applied" },
        { MESSAGE_REVERTED, "reverted" },
        { MESSAGE_IN_FORCE, "in-force" },
        { MESSAGE_DRIFT, "drift" },
        { MESSAGE_DEGRADED, "degraded" },
        { MESSAGE_SETUP_FAILED, "setup-failed" },
        { MESSAGE_PAGE_POISONED, "page-poisoned" },
        { MESSAGE_STORM, "storm" },
        { MESSAGE_EVENTS_MISSED, "events-missed" },
        { MESSAGE_RETIRED_AGAIN, "retired-again" },
        { MESSAGE_LEDGER_PROBLEM, "ledger-problem" },
};

/* What an entry may have beside its text; null in JSON if it has not. */
static const struct {
        const char *field, *key;
        bool number;
} fields[] = {
        { "DMEM_NODE", "node", true },
        { "DMEM_ADDRESS", "address", false },
        { "DMEM_SIZE", "size_bytes", true },
        { "DMEM_STATE", "state", false },
        { "DMEM_SOURCE", "source", false },
        { "DMEM_REQUESTED", "requested_bytes", true },
        { "DMEM_GRANTED", "granted_bytes", true },
        { "DMEM_COUNT", "count", true },
        { "DMEM_REASON", "reason", false },
        { "DMEM_FILE", "file", false },
};

typedef struct History {
        Dmemctl *d;
        sd_journal *journal;
        char boot[2 * sizeof(sd_id128_t) + 1]; /* this one; empty: another root */
} History;

static void history_done(History *h) {
        sd_journal_close(h->journal);
}

/* What follows `NAME=` in the entry, fit to be shown; to be freed. NULL: it has none. */
static int get_field(const History *h, const char *name, char **ret) {
        _cleanup_free_ char *text = NULL;
        const void *data;
        size_t size, prefix = strlen(name) + 1;
        int r;

        *ret = NULL;
        r = sd_journal_get_data(h->journal, name, &data, &size);
        if (r == -ENOENT)
                return 0;
        if (r < 0 || size < prefix)
                return r < 0 ? r : -EBADMSG;
        text = strndup((const char *)data + prefix, size - prefix);
        *ret = text ? text_printable(text) : NULL;
        return *ret ? 0 : -ENOMEM;
}

static const char *find_kind(const char *id) {
        for (size_t i = 0; id && i < ELEMENTSOF(kinds); i++)
                if (streq(kinds[i].id, id))
                        return kinds[i].kind;
        return NULL;
}

/* The parts that every entry has. */
typedef struct Entry {
        uint64_t usec;
        char boot[2 * sizeof(sd_id128_t) + 1];
        bool this_boot;
        const char *kind;
        char *message;
} Entry;

static void entry_done(Entry *e) {
        free(e->message);
}

/* Returns 0, -EBADMSG for what none of us can have written, or another negative errno. */
static int entry_load(const History *h, Entry *ret) {
        _cleanup_free_ char *id = NULL;
        sd_id128_t boot;
        uint64_t monotonic;
        int r;

        r = sd_journal_get_realtime_usec(h->journal, &ret->usec);
        if (r >= 0)
                r = sd_journal_get_monotonic_usec(h->journal, &monotonic, &boot);
        if (r >= 0)
                r = get_field(h, "MESSAGE_ID", &id);
        if (r >= 0)
                r = get_field(h, "MESSAGE", &ret->message);
        if (r < 0)
                return r;
        (void)sd_id128_to_string(boot, ret->boot);
        ret->this_boot = streq(ret->boot, h->boot);
        ret->kind = find_kind(id);
        return ret->kind && ret->message ? 0 : -EBADMSG;
}

static int add_fields(const History *h, json_object *object) {
        for (size_t i = 0; i < ELEMENTSOF(fields); i++) {
                _cleanup_free_ char *text = NULL;
                json_object *value = NULL;
                uint64_t number;
                int r;

                r = get_field(h, fields[i].field, &text);
                if (r < 0)
                        return r;
                if (text && fields[i].number)
                        value = parse_u64(text, &number) >= 0 ? json_new_bytes(number) : NULL;
                else if (text)
                        value = json_object_new_string(text);
                if (json_object_object_add(object, fields[i].key, value) < 0)
                        return -ENOMEM;
        }
        return 0;
}

static json_object *entry_to_json(const History *h, const Entry *e) {
        _cleanup_(json_object_putp) json_object *object = json_object_new_object();

        if (!object || json_add(object, "time_usec", json_new_bytes(e->usec)) < 0 ||
            json_add(object, "boot_id", json_object_new_string(e->boot)) < 0 ||
            json_add(object, "this_boot", json_object_new_boolean(e->this_boot)) < 0 ||
            json_add(object, "kind", json_object_new_string(e->kind)) < 0 ||
            json_add(object, "message", json_object_new_string(e->message)) < 0 ||
            add_fields(h, object) < 0)
                return NULL;
        return TAKE_PTR(object);
}

static int add_row(const History *h, const Entry *e, Table *t) {
        _cleanup_free_ char *node = NULL;
        char time_text[FORMAT_TIME_MAX];
        int r;

        r = get_field(h, "DMEM_NODE", &node);
        if (r >= 0)
                r = table_add(t, "%s", format_time(time_text, e->usec));
        if (r >= 0)
                r = table_add(t, "%s", e->this_boot ? "this" : "earlier");
        if (r >= 0)
                r = table_add(t, "%s", e->kind);
        if (r >= 0)
                r = table_add(t, "%s", node ?: "-");
        return r < 0 ? r : table_add(t, "%s", e->message);
}

/* All entries, oldest first, as rows of @t or objects of @array. */
static int collect(const History *h, Table *t, json_object *array, size_t *ret_n) {
        int r;

        *ret_n = 0;
        while ((r = sd_journal_next(h->journal)) > 0) {
                _cleanup_(entry_done) Entry e = {};

                r = entry_load(h, &e);
                if (r >= 0)
                        r = array ? json_append(array, entry_to_json(h, &e)) : add_row(h, &e, t);
                if (r == -ENOMEM)
                        return r;
                /* One that is damaged is no reason not to show the others */
                *ret_n += r >= 0;
        }
        return r;
}

static int print_json_history(const History *h, size_t *ret_n) {
        _cleanup_(json_object_putp) json_object *object = json_object_new_object();
        json_object *entries = json_object_new_array();
        int r;

        r = object ? json_add(object, "version", json_object_new_int(1)) : -ENOMEM;
        if (r < 0) {
                json_object_put(entries);
                return r;
        }
        r = json_add(object, "entries", entries);
        if (r >= 0)
                r = collect(h, NULL, entries, ret_n);
        return r < 0 ? r : print_json(h->d, TAKE_PTR(object));
}

static int print_history(const History *h, size_t *ret_n) {
        static const char *const head[] = { "TIME", "BOOT", "KIND", "NODE", "MESSAGE" };
        _cleanup_(table_done) Table t = { .n_columns = ELEMENTSOF(head), .left = 0x17U };
        int r = 0;

        for (size_t i = 0; i < ELEMENTSOF(head) && r >= 0; i++)
                r = table_add(&t, "%s", head[i]);
        if (r >= 0)
                r = collect(h, &t, NULL, ret_n);
        if (r < 0 || *ret_n == 0)
                return r;
        pager_open(h->d);
        if (h->d->legend)
                table_print(&t, 0, 1, colour_bold(h->d), colour_off(h->d));
        table_print(&t, 1, *ret_n, "", "");
        return 0;
}

static int open_journal(History *h) {
        char path[PATH_MAX];
        sd_id128_t boot;
        int r;

        r = host_is_live(h->d->root_fd);
        if (r < 0)
                return r;
        if (r > 0) {
                r = sd_id128_get_boot(&boot);
                if (r < 0)
                        return r;
                (void)sd_id128_to_string(boot, h->boot);
                r = sd_journal_open(&h->journal, SD_JOURNAL_LOCAL_ONLY);
        } else {
                (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", h->d->root_fd);
                r = sd_journal_open_directory(&h->journal, path, SD_JOURNAL_OS_ROOT);
        }
        for (size_t i = 0; i < ELEMENTSOF(kinds) && r >= 0; i++) {
                char match[sizeof("MESSAGE_ID=") + 2 * sizeof(sd_id128_t)];

                (void)snprintf(match, sizeof(match), "MESSAGE_ID=%s", kinds[i].id);
                r = sd_journal_add_match(h->journal, match, 0);
        }
        return r;
}

int verb_history(Dmemctl *d, int argc, char *argv[]) {
        _cleanup_(history_done) History h = { .d = d };
        size_t n = 0;
        int r;

        r = open_journal(&h);
        if (r == -ENOMEM)
                return r;
        if (r < 0) {
                message("cannot open the journal of %s: %s", d->root, strerror(-r));
                return EXIT_FAILURE;
        }
        r = d->json != JSON_MODE_OFF ? print_json_history(&h, &n) : print_history(&h, &n);
        if (r < 0)
                return r;
        if (n == 0)
                message("the journal has nothing about reserved memory%s",
                        geteuid() == 0 ? ""
                                       : ", or you may not read it: that may root and the group "
                                         "systemd-journal");
        return EXIT_SUCCESS;
}
