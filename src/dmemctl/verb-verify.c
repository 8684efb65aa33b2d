/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * verify: is the plan what the boot loader has, what this boot was told and what the kernel gave?
 * Looks itself, at the files and at sysfs, so that it can be believed when dmemd cannot.
 */

#include <inttypes.h>

#include "basic/root-fs.h"
#include "basic/size-util.h"
#include "dmemctl/table.h"
#include "dmemctl/verbs.h"
#include "host/bootloader.h"
#include "host/plan-json.h"
#include "host/status.h"
#include "plan/cmdline.h"

/* Huge pages of one size on a node, in pages. */
typedef struct HugeRow {
        unsigned node;
        uint64_t page_size;
        uint64_t planned;
        MaybeBytes configured, booted, granted;
} HugeRow;

typedef struct Verify {
        Dmemctl *d;
        HostPlan *hp;
        Status *status;
        HugeRow *rows;
        size_t n_rows;
        Tristate configured, booted, granted; /* as planned? */
        Findings findings;
} Verify;

static void verify_done(Verify *v) {
        host_plan_free(v->hp);
        status_free(v->status);
        free(v->rows);
        findings_done(&v->findings);
}

static Tristate matches(char *const *planned, char *const *other) {
        if (!other)
                return TRISTATE_UNKNOWN;
        return arguments_equal(planned, other) ? TRISTATE_YES : TRISTATE_NO;
}

/* Sizes that are neither planned nor anywhere else are left out. */
static void load_row(Verify *v, const PlanNode *n, uint64_t page_size, uint64_t planned) {
        const StatusNode *node = status_find_node(v->status, n->id);
        const StatusPool *pool = node ? status_find_pool(node, page_size) : NULL;
        HugeRow row = { .node = n->id, .page_size = page_size, .planned = planned };

        if (pool) {
                row.configured = pool->configured;
                row.booted = pool->booted;
                row.granted = pool->granted;
        }
        if (pool || planned > 0)
                v->rows[v->n_rows++] = row;
}

static int load_rows(Verify *v) {
        const Plan *plan = v->hp->plan;

        v->rows = new0(HugeRow, 2 * plan->n_nodes + 1);
        if (!v->rows)
                return -ENOMEM;
        for (size_t i = 0; i < plan->n_nodes; i++) {
                load_row(v, &plan->nodes[i], GiB, plan->nodes[i].huge_1g);
                load_row(v, &plan->nodes[i], 2 * MiB, plan->nodes[i].huge_2m);
        }
        return 0;
}

static int copy_findings(Findings *to, const Findings *from) {
        for (size_t i = 0; i < from->n_items; i++) {
                const Finding *f = &from->items[i];
                int r;

                r = findings_add(to, f->code, f->severity, f->node, "%s", f->message);
                if (r < 0)
                        return r;
        }
        return 0;
}

static bool is_shortfall(const Finding *f) {
        static const char *const codes[] = {
                "argument-invalid", "no-kernel-support", "module-not-loaded",
                "granted-less",     "granted-more",      "hugepages-less",
        };

        for (size_t i = 0; i < ELEMENTSOF(codes); i++)
                if (streq(f->code, codes[i]))
                        return true;
        return false;
}

/* What was granted can be held against the plan only if the plan is what was booted with. */
static void judge_granted(Verify *v) {
        v->granted = TRISTATE_YES;
        for (size_t i = 0; i < v->n_rows; i++)
                if (v->rows[i].planned > 0 && !v->rows[i].granted.known)
                        v->granted = TRISTATE_UNKNOWN;
        for (size_t i = 0; i < v->hp->plan->n_nodes; i++) {
                const PlanNode *n = &v->hp->plan->nodes[i];
                const StatusNode *s = status_find_node(v->status, n->id);

                if (n->dmem_bytes > 0 && (!s || !s->granted.known))
                        v->granted = TRISTATE_UNKNOWN;
        }
        for (size_t i = 0; i < v->findings.n_items; i++)
                if (is_shortfall(&v->findings.items[i]))
                        v->granted = TRISTATE_NO;
        if (v->booted != TRISTATE_YES && v->granted == TRISTATE_YES)
                v->granted = v->booted;
}

/*
 * The next boot gets what the default entry says, the one after that perhaps what another says:
 * what apply would have to change is not as planned. Not known to those who may not read it all.
 */
static int check_entries(Verify *v) {
        _cleanup_(boot_loader_freep) BootLoader *loader = NULL;
        _cleanup_(boot_entries_done) BootEntries entries = { 0 };
        char *const *planned = v->hp->plan->arguments;
        int r;

        if (v->configured != TRISTATE_YES)
                return 0;
        r = boot_loader_find(v->d->root_fd, v->hp->policy, &loader);
        if (r >= 0)
                r = boot_loader_entries(loader, NULL, 0, &entries);
        if (r < 0)
                return r == -ENOMEM ? r : 0;
        r = boot_entries_check(&entries, planned, &v->findings);
        if (r < 0)
                return r;
        if (r == 0)
                v->configured = TRISTATE_NO;
        return boot_entries_check_kernels(&entries, planned, &v->findings);
}

static int load(Verify *v) {
        int r;

        r = status_load(v->d->root_fd, v->hp->policy, &v->status);
        if (r < 0)
                return r;
        r = copy_findings(&v->findings, &v->status->findings);
        if (r < 0)
                return r;
        v->configured = matches(v->hp->plan->arguments, v->status->configured);
        v->booted = matches(v->hp->plan->arguments, v->status->booted);
        r = check_entries(v);
        if (r < 0)
                return r;
        r = load_rows(v);
        if (r < 0)
                return r;
        judge_granted(v);
        return 0;
}

static bool is_in_force(const Verify *v) {
        return v->configured == TRISTATE_YES && v->booted == TRISTATE_YES &&
               v->granted == TRISTATE_YES;
}

static int add_maybe(Table *t, MaybeBytes value) {
        char text[FORMAT_SIZE_MAX];

        return value.known ? table_add(t, "%s", format_size_rounded(text, value.bytes))
                           : table_add(t, "-");
}

static int add_dmem(const Verify *v, Table *t, const PlanNode *n) {
        const StatusNode *s = status_find_node(v->status, n->id);
        StatusNode unknown = { 0 };
        int r;

        if (!s)
                s = &unknown;
        r = table_add(t, "%u", n->id);
        if (r >= 0)
                r = table_add(t, "dmem");
        if (r >= 0)
                r = add_maybe(t, (MaybeBytes){ true, n->dmem_bytes });
        if (r >= 0)
                r = add_maybe(t, s->configured);
        if (r >= 0)
                r = add_maybe(t, s->booted);
        return r < 0 ? r : add_maybe(t, s->granted);
}

static int add_count(Table *t, MaybeBytes pages) {
        return pages.known ? table_add(t, "%" PRIu64, pages.bytes) : table_add(t, "-");
}

static int add_row(Table *t, const HugeRow *row) {
        int r;

        r = table_add(t, "%u", row->node);
        if (r >= 0)
                r = table_add(t, "%s pages", row->page_size == GiB ? "1G" : "2M");
        if (r >= 0)
                r = table_add(t, "%" PRIu64, row->planned);
        if (r >= 0)
                r = add_count(t, row->configured);
        if (r >= 0)
                r = add_count(t, row->booted);
        return r < 0 ? r : add_count(t, row->granted);
}

static int build_table(const Verify *v, Table *t) {
        static const char *const head[] = {
                "NODE", "WHAT", "PLANNED", "CONFIGURED", "BOOTED", "GRANTED",
        };
        int r = 0;

        t->n_columns = ELEMENTSOF(head);
        t->left = 1U << 1;
        for (size_t i = 0; i < ELEMENTSOF(head) && r >= 0; i++)
                r = table_add(t, "%s", head[i]);
        for (size_t i = 0; i < v->hp->plan->n_nodes && r >= 0; i++) {
                const PlanNode *n = &v->hp->plan->nodes[i];

                r = add_dmem(v, t, n);
                for (size_t j = 0; j < v->n_rows && r >= 0; j++)
                        if (v->rows[j].node == n->id)
                                r = add_row(t, &v->rows[j]);
        }
        return r;
}

/* The last line. Where the status has nothing to say about it, the plan was never applied. */
static const char *advice(const Verify *v) {
        if (is_in_force(v) && v->status->state != STATE_DEGRADED)
                return "The plan is in force, nothing to do.";
        if (v->configured == TRISTATE_NO)
                return "The boot loader does not have the plan: run `dmemctl apply` as root, then "
                       "reboot.";
        if (v->configured == TRISTATE_UNKNOWN)
                return "What the next boot gets is not known: no boot loader was understood, or "
                       "only root "
                       "may read its files.";
        if (v->booted == TRISTATE_NO)
                return "The boot loader has the plan: reboot to bring it into force.";
        if (v->booted == TRISTATE_UNKNOWN)
                return "The boot loader has the plan; whether a boot has it, only the booted host "
                       "can tell.";
        return v->status->advice;
}

static int print_words(const Verify *v) {
        _cleanup_(table_done) Table t = {};
        Dmemctl *d = v->d;
        bool good = is_in_force(v) && v->status->state != STATE_DEGRADED;
        int r;

        r = build_table(v, &t);
        if (r < 0)
                return r;
        if (d->legend)
                table_print(&t, 0, 1, colour_bold(d), colour_off(d));
        table_print(&t, 1, t.n_cells / t.n_columns - 1, "", "");
        if (v->findings.n_items > 0) {
                printf("\n");
                print_findings(d, &v->findings);
        }
        if (d->legend)
                printf("\n%s%s%s\n", good ? colour_good(d) : colour_warning(d), advice(v),
                       colour_off(d));
        return 0;
}

static int add_maybe_json(json_object *object, const char *key, MaybeBytes value) {
        if (value.known)
                return json_add(object, key, json_new_bytes(value.bytes));
        return json_object_object_add(object, key, NULL) < 0 ? -ENOMEM : 0;
}

static int add_tristate(json_object *object, const char *key, Tristate value) {
        json_object *json = NULL;
        int r;

        r = tristate_to_json(value, &json);
        if (r < 0)
                return r;
        if (!json)
                return json_object_object_add(object, key, NULL) < 0 ? -ENOMEM : 0;
        return json_add(object, key, json);
}

static int add_strings(json_object *object, const char *key, char *const *strings) {
        json_object *json = NULL;
        int r;

        r = strv_to_json(strings, &json);
        if (r < 0)
                return r;
        if (!json)
                return json_object_object_add(object, key, NULL) < 0 ? -ENOMEM : 0;
        return json_add(object, key, json);
}

static json_object *row_to_json(const HugeRow *row) {
        _cleanup_(json_object_putp) json_object *object = json_object_new_object();

        if (!object || json_add(object, "page_size", json_new_bytes(row->page_size)) < 0 ||
            json_add(object, "planned", json_new_bytes(row->planned)) < 0 ||
            add_maybe_json(object, "configured", row->configured) < 0 ||
            add_maybe_json(object, "booted", row->booted) < 0 ||
            add_maybe_json(object, "granted", row->granted) < 0)
                return NULL;
        return TAKE_PTR(object);
}

static json_object *node_to_json(const Verify *v, const PlanNode *n) {
        _cleanup_(json_object_putp) json_object *object = json_object_new_object();
        const StatusNode *s = status_find_node(v->status, n->id);
        StatusNode unknown = { 0 };
        json_object *pages;

        if (!s)
                s = &unknown;
        if (!object || json_add(object, "id", json_object_new_int64(n->id)) < 0 ||
            json_add(object, "planned_bytes", json_new_bytes(n->dmem_bytes)) < 0 ||
            add_maybe_json(object, "configured_bytes", s->configured) < 0 ||
            add_maybe_json(object, "booted_bytes", s->booted) < 0 ||
            add_maybe_json(object, "granted_bytes", s->granted) < 0)
                return NULL;
        pages = json_object_new_array();
        if (json_add(object, "hugepages", pages) < 0)
                return NULL;
        for (size_t i = 0; i < v->n_rows; i++)
                if (v->rows[i].node == n->id && json_append(pages, row_to_json(&v->rows[i])) < 0)
                        return NULL;
        return TAKE_PTR(object);
}

static json_object *verify_to_json(const Verify *v) {
        _cleanup_(json_object_putp) json_object *object = json_object_new_object();
        json_object *nodes;

        if (!object || json_add(object, "version", json_object_new_int(1)) < 0 ||
            json_add(object, "in_force", json_object_new_boolean(is_in_force(v))) < 0 ||
            json_add(object, "state", json_object_new_string(state_to_string(v->status->state))) <
                    0 ||
            add_tristate(object, "configured_as_planned", v->configured) < 0 ||
            add_tristate(object, "booted_as_planned", v->booted) < 0 ||
            add_tristate(object, "granted_as_planned", v->granted) < 0)
                return NULL;
        nodes = json_object_new_array();
        if (json_add(object, "nodes", nodes) < 0)
                return NULL;
        for (size_t i = 0; i < v->hp->plan->n_nodes; i++)
                if (json_append(nodes, node_to_json(v, &v->hp->plan->nodes[i])) < 0)
                        return NULL;
        if (add_strings(object, "planned", v->hp->plan->arguments) < 0 ||
            add_strings(object, "configured", v->status->configured) < 0 ||
            add_strings(object, "booted", v->status->booted) < 0 ||
            json_add(object, "findings", findings_to_json(&v->findings)) < 0 ||
            json_add(object, "advice", json_object_new_string(advice(v))) < 0)
                return NULL;
        return TAKE_PTR(object);
}

/* A plan with errors cannot be in force; the figures would say nothing. */
static int refuse(const Verify *v) {
        const Findings *findings = &v->hp->plan->findings;

        for (size_t i = 0; i < findings->n_items; i++)
                if (findings->items[i].severity == SEVERITY_ERROR)
                        message("%s", findings->items[i].message);
        message("there is no plan that could be applied, so there is nothing to verify");
        return EXIT_FAILURE;
}

int verb_verify(Dmemctl *d, int argc, char *argv[]) {
        _cleanup_(verify_done) Verify v = { .d = d };
        int r;

        r = load_host_plan(d, &v.hp);
        if (r != 0)
                return r;
        if (findings_worst(&v.hp->plan->findings) == SEVERITY_ERROR)
                return refuse(&v);
        r = load(&v);
        if (r < 0)
                return r;
        pager_open(d);
        r = d->json != JSON_MODE_OFF ? print_json(d, verify_to_json(&v)) : print_words(&v);
        if (r < 0)
                return r;
        if (!is_in_force(&v))
                return d->detailed_exitcode ? EXIT_DIFFERS : EXIT_NOT_IN_FORCE;
        return v.status->state == STATE_DEGRADED ? EXIT_NOT_IN_FORCE : EXIT_SUCCESS;
}
