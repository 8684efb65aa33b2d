/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <inttypes.h>

#include "basic/root-fs.h"
#include "basic/size-util.h"
#include "plan/arguments.h"
#include "plan/plan.h"
#include "plan/savings.h"

/* What the kernel must keep; below it a host does not run well, if it boots at all. */
#define NODE_FLOOR (512 * MiB)
#define NODE_FLOOR_DIVISOR 128
#define HOST_FLOOR (3 * GiB / 2)

static uint64_t add(uint64_t a, uint64_t b) {
        uint64_t sum;

        return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

static uint64_t multiply(uint64_t a, uint64_t b) {
        uint64_t product;

        return __builtin_mul_overflow(a, b, &product) ? UINT64_MAX : product;
}

static uint64_t subtract(uint64_t a, uint64_t b) {
        return a > b ? a - b : 0;
}

/* @percent of @value, at most 100; @value times 100 need not fit 64 bits. */
static uint64_t percent_down(uint64_t value, uint64_t percent) {
        return value / 100 * percent + value % 100 * percent / 100;
}

static uint64_t percent_up(uint64_t value, uint64_t percent) {
        return value / 100 * percent + (value % 100 * percent + 99) / 100;
}

/* What the policy says for one node, overrides applied, and where it was said. */
typedef struct Wish {
        uint64_t reserve, pages_2m, pages_1g;
        DmemSize size;
        const Origin *reserve_origin, *size_origin, *pages_2m_origin, *pages_1g_origin;
} Wish;

static Wish wish_for_node(const Policy *p, unsigned id) {
        const NodePolicy *n = policy_find_node(p, id);
        Wish w = {
                .reserve = p->reserve,
                .pages_2m = p->pages_2m,
                .pages_1g = p->pages_1g,
                .size = p->size,
                .reserve_origin = &p->reserve_origin,
                .size_origin = &p->size_origin,
                .pages_2m_origin = &p->pages_2m_origin,
                .pages_1g_origin = &p->pages_1g_origin,
        };

        if (n && n->has_reserve) {
                w.reserve = n->reserve;
                w.reserve_origin = &n->reserve_origin;
        }
        if (n && n->has_size) {
                w.size = n->size;
                w.size_origin = &n->size_origin;
        }
        if (n && n->has_pages_2m) {
                w.pages_2m = n->pages_2m;
                w.pages_2m_origin = &n->pages_2m_origin;
        }
        if (n && n->has_pages_1g) {
                w.pages_1g = n->pages_1g;
                w.pages_1g_origin = &n->pages_1g_origin;
        }
        return w;
}

/* `Size= in /etc/dmemd/dmemd.conf, line 4`, for a message; NULL when there is no memory. */
static char *where(const char *setting, const Origin *origin) {
        char *text;
        int r;

        if (origin->path)
                r = asprintf(&text, "%s in %s, line %u", setting, origin->path, origin->line);
        else
                r = asprintf(&text, "%s in dmemd.conf (not set, this is the default)", setting);
        return r < 0 ? NULL : text;
}

/* State of one plan_make(). */
typedef struct Planner {
        const Topology *t;
        const Policy *p;
        unsigned flags;
        Plan *plan;
} Planner;

/* What the host could not tell for sure. */
static int find_host_facts(Planner *pl) {
        Findings *f = &pl->plan->findings;
        int r = 0;

        if (pl->t->n_nodes == 0)
                return findings_add(f, "no-nodes", SEVERITY_ERROR, -1,
                                    "This host shows no memory nodes in "
                                    "/sys/devices/system/node/: nothing can be planned; "
                                    "a kernel with CONFIG_NUMA is needed");
        if (pl->t->page_size_assumed)
                r = findings_add(f, "page-size-assumed", SEVERITY_WARNING, -1,
                                 "The base page size of this host is not recorded, 4K is assumed; "
                                 "on a host with 16K or 64K pages this plan is wrong");
        if (r >= 0 && pl->t->regions_hidden)
                r = findings_add(f, "regions-hidden", SEVERITY_ERROR, -1,
                                 "Memory is reserved in this boot, but nothing says on which "
                                 "nodes, so the plan would come out too small; load the module "
                                 "with `modprobe dmemfs` and plan again");
        return r;
}

/* `0-3,7`: the nodes for which sysfs gave only an estimate; an empty text when there are none. */
static char *list_estimated(const Topology *t) {
        _cleanup_(id_set_done) IdSet set = {};
        _cleanup_free_ char *text = NULL;
        size_t size;
        FILE *f;

        f = open_memstream(&text, &size);
        if (!f)
                return NULL;
        for (size_t i = 0, n = 0; i < t->n_nodes; i++)
                if (t->nodes[i].source == MEMORY_MEMINFO)
                        fprintf(f, "%s%u", n++ > 0 ? "," : "", t->nodes[i].id);
        if (fclose(f) != 0 || id_set_parse(text, &set) < 0)
                return NULL;
        return id_set_format(&set);
}

static int find_estimated(Planner *pl) {
        _cleanup_free_ char *ids = NULL;

        ids = list_estimated(pl->t);
        if (!ids)
                return -ENOMEM;
        if (ids[0] == '\0')
                return 0;
        return findings_add(&pl->plan->findings, "installed-estimated", SEVERITY_WARNING, -1,
                            "/proc/zoneinfo does not tell what is installed (node %s): MemTotal is "
                            "taken instead, which is a little less and changes with the plan",
                            ids);
}

/* Does the node take part? Sets eligible and reason. */
static int judge_node(Planner *pl, const TopologyNode *tn, PlanNode *n) {
        const NodePolicy *override = policy_find_node(pl->p, tn->id);
        bool named = !pl->p->all_nodes && id_set_contains(&pl->p->nodes, tn->id);
        Severity severity = override ? SEVERITY_WARNING : SEVERITY_INFO;
        Findings *f = &pl->plan->findings;
        _cleanup_free_ char *ignored = NULL;
        int r;

        if (override && override->origin.path)
                r = asprintf(&ignored, "; its section in %s, line %u, has no effect",
                             override->origin.path, override->origin.line);
        else
                r = asprintf(&ignored, "%s", "");
        if (r < 0)
                return -ENOMEM;

        if (tn->source == MEMORY_UNKNOWN) {
                n->reason = "memory-unknown";
                return findings_add(f, "node-unknown", SEVERITY_WARNING, (int)tn->id,
                                    "Node %u: its memory is not known, neither /proc/zoneinfo nor "
                                    "its meminfo can be read; it is left alone%s",
                                    tn->id, ignored);
        }
        if (tn->installed == 0) {
                n->reason = "no-memory";
                return findings_add(f, "node-no-memory", severity, (int)tn->id,
                                    "Node %u: it has no memory%s", tn->id, ignored);
        }
        if (!pl->p->all_nodes && !named) {
                _cleanup_free_ char *nodes = where("Nodes=", &pl->p->nodes_origin);

                if (!nodes)
                        return -ENOMEM;
                n->reason = "not-in-nodes";
                return findings_add(f, "node-excluded", severity, (int)tn->id,
                                    "Node %u: left alone, as it is not among %s%s", tn->id, nodes,
                                    ignored);
        }
        if (tn->cpus == CPUS_NONE && !named && !pl->p->cpu_less_nodes) {
                n->reason = "no-cpus";
                return findings_add(f, "node-excluded", severity, (int)tn->id,
                                    "Node %u: left alone, as it has no CPUs (HBM, CXL or "
                                    "persistent memory?); name it in Nodes= or set "
                                    "CPULessNodes=yes to use it%s",
                                    tn->id, ignored);
        }
        n->eligible = true;
        return 0;
}

/* Size of the pages that Backend=hugetlb makes of what dmem would get; 0 if it cannot. */
static uint64_t hugetlb_page_size(const Policy *p) {
        return p->mount_page_size == 2 * MiB || p->mount_page_size == GiB ? p->mount_page_size : 0;
}

/* The unit in which the guests' share is given out. */
static uint64_t share_unit(const Policy *p) {
        uint64_t page_size = hugetlb_page_size(p);

        return p->backend == BACKEND_HUGETLB && page_size > p->align ? page_size : p->align;
}

static int find_huge_does_not_fit(Planner *pl, PlanNode *n, const Wish *w, uint64_t asked,
                                  uint64_t available) {
        char asked_text[FORMAT_SIZE_MAX], available_text[FORMAT_SIZE_MAX];
        _cleanup_free_ char *setting = NULL;

        setting = w->pages_1g > 0 ? where("Pages1G=", w->pages_1g_origin)
                                  : where("Pages2M=", w->pages_2m_origin);
        if (!setting)
                return -ENOMEM;
        return findings_add(
                &pl->plan->findings, "does-not-fit", SEVERITY_ERROR, (int)n->id,
                "Node %u: huge pages of %s do not fit, %s are available after what "
                "stays with the kernel; lower %s",
                n->id, asked == UINT64_MAX ? "16E or more" : format_size_rounded(asked_text, asked),
                format_size_rounded(available_text, available), setting);
}

static int find_size_does_not_fit(Planner *pl, PlanNode *n, const Wish *w, uint64_t asked,
                                  uint64_t available) {
        char asked_text[FORMAT_SIZE_MAX], available_text[FORMAT_SIZE_MAX];
        _cleanup_free_ char *setting = NULL;

        setting = where("Size=", w->size_origin);
        if (!setting)
                return -ENOMEM;
        return findings_add(&pl->plan->findings, "does-not-fit", SEVERITY_ERROR, (int)n->id,
                            "Node %u: %s asked for do not fit, %s are available after what stays "
                            "with the kernel and huge pages; lower %s",
                            n->id, format_size_rounded(asked_text, asked),
                            format_size_rounded(available_text, available), setting);
}

static int find_nothing_left(Planner *pl, PlanNode *n, uint64_t rest) {
        char rest_text[FORMAT_SIZE_MAX], unit_text[FORMAT_SIZE_MAX], installed[FORMAT_SIZE_MAX];

        return findings_add(&pl->plan->findings, "nothing-left", SEVERITY_WARNING, (int)n->id,
                            "Node %u: of %s, %s are left after what stays with the kernel and "
                            "huge pages, less than one unit of %s; lower Reserve= or Align= to "
                            "use it",
                            n->id, format_size_rounded(installed, n->installed),
                            format_size_rounded(rest_text, rest),
                            format_size(unit_text, share_unit(pl->p)));
}

static int find_rounded_down(Planner *pl, PlanNode *n, const Wish *w, uint64_t asked,
                             uint64_t given) {
        char asked_text[FORMAT_SIZE_MAX], given_text[FORMAT_SIZE_MAX], unit[FORMAT_SIZE_MAX];
        _cleanup_free_ char *setting = NULL;

        setting = where("Size=", w->size_origin);
        if (!setting)
                return -ENOMEM;
        return findings_add(&pl->plan->findings, "rounded-down",
                            given == 0 ? SEVERITY_WARNING : SEVERITY_INFO, (int)n->id,
                            "Node %u: %s asked for become %s, a multiple of %s; change Align= or "
                            "%s",
                            n->id, format_size(asked_text, align_down(asked, MiB)),
                            format_size(given_text, given), format_size(unit, share_unit(pl->p)),
                            setting);
}

/*
 * The guests' share of a node, out of the @rest that kernel and huge pages leave. A wish that does
 * not fit is given nothing: the plan cannot be applied before it is changed.
 */
static int plan_share(Planner *pl, PlanNode *n, const Wish *w, uint64_t rest, uint64_t *ret) {
        uint64_t asked, given;
        int r = 0;

        switch (w->size.kind) {
        case DMEM_SIZE_BYTES:
                asked = w->size.value;
                break;
        case DMEM_SIZE_PERCENT:
                asked = percent_down(n->installed, w->size.value);
                break;
        default:
                asked = rest;
        }
        if (asked > rest) {
                *ret = 0;
                return find_size_does_not_fit(pl, n, w, asked, rest);
        }

        given = align_down(asked, pl->p->align);
        given -= given % share_unit(pl->p);
        n->align_loss = asked - given;
        if (w->size.kind == DMEM_SIZE_REST && given == 0)
                r = find_nothing_left(pl, n, rest);
        else if (w->size.kind != DMEM_SIZE_REST && given < asked)
                r = find_rounded_down(pl, n, w, asked, given);
        if (r < 0)
                return r;
        *ret = given;
        return 0;
}

/* Divides one node that takes part. */
static int divide_node(Planner *pl, PlanNode *n) {
        Wish w = wish_for_node(pl->p, n->id);
        uint64_t huge, available, share;
        int r;

        huge = add(multiply(w.pages_2m, 2 * MiB), multiply(w.pages_1g, GiB));
        available = subtract(n->installed, n->kernel_asked);
        if (huge > available)
                return find_huge_does_not_fit(pl, n, &w, huge, available);
        n->huge_2m = w.pages_2m;
        n->huge_1g = w.pages_1g;

        r = plan_share(pl, n, &w, available - huge, &share);
        if (r < 0)
                return r;
        if (pl->p->backend == BACKEND_DMEM)
                n->dmem_bytes = share;
        else if (hugetlb_page_size(pl->p) == 2 * MiB)
                n->huge_2m += share / (2 * MiB);
        else if (hugetlb_page_size(pl->p) == GiB)
                n->huge_1g += share / GiB;
        return 0;
}

static uint64_t taken_from(const PlanNode *n) {
        return n->dmem_bytes + n->huge_2m * 2 * MiB + n->huge_1g * GiB;
}

static int plan_node(Planner *pl, const TopologyNode *tn, PlanNode *n) {
        int r;

        *n = (PlanNode){
                .id = tn->id,
                .installed_known = tn->source != MEMORY_UNKNOWN,
                .installed = tn->source != MEMORY_UNKNOWN ? tn->installed : 0,
        };
        r = judge_node(pl, tn, n);
        if (r < 0)
                return r;
        if (n->eligible) {
                Wish w = wish_for_node(pl->p, n->id);
                uint64_t share = percent_up(n->installed, pl->p->reserve_percent);

                n->kernel_asked =
                        add(w.reserve > share ? w.reserve : share,
                            pl->plan->boot_node == (int)n->id ? pl->p->boot_node_reserve : 0);
                if (pl->p->backend != BACKEND_NONE) {
                        r = divide_node(pl, n);
                        if (r < 0)
                                return r;
                }
        }
        n->kernel_bytes = n->installed - taken_from(n);
        return 0;
}

/* `4-7,9`: the ids of Nodes= that are no node of this host. */
static char *list_missing(const Topology *t, const IdSet *set) {
        _cleanup_free_ char *text = NULL;
        bool any = false;
        size_t size;
        FILE *f;

        f = open_memstream(&text, &size);
        if (!f)
                return NULL;
        for (size_t i = 0; i < set->n_ranges; i++) {
                unsigned id = set->ranges[i].first, last = set->ranges[i].last;

                while (id <= last) {
                        unsigned end = id;

                        if (topology_find_node(t, id)) {
                                id++;
                                continue;
                        }
                        while (end < last && !topology_find_node(t, end + 1))
                                end++;
                        fprintf(f, end > id ? "%s%u-%u" : "%s%u", any ? "," : "", id, end);
                        any = true;
                        id = end + 1;
                }
        }
        return fclose(f) == 0 ? TAKE_PTR(text) : NULL;
}

/* Nodes that the configuration speaks of and the host does not have. */
static int find_missing_nodes(Planner *pl) {
        Findings *f = &pl->plan->findings;
        int r;

        if (!pl->p->all_nodes) {
                _cleanup_free_ char *missing = list_missing(pl->t, &pl->p->nodes);
                _cleanup_free_ char *setting = where("Nodes=", &pl->p->nodes_origin);

                if (!missing || !setting)
                        return -ENOMEM;
                if (missing[0] != '\0') {
                        r = findings_add(f, "no-such-node", SEVERITY_WARNING, -1,
                                         "This host has no node %s; correct %s", missing, setting);
                        if (r < 0)
                                return r;
                }
        }
        for (size_t i = 0; i < pl->p->n_node_policies; i++) {
                const NodePolicy *n = &pl->p->node_policies[i];
                _cleanup_free_ char *section = NULL;

                if (topology_find_node(pl->t, n->id))
                        continue;
                section = where("the section", &n->origin);
                if (!section)
                        return -ENOMEM;
                r = findings_add(f, "no-such-node", SEVERITY_WARNING, (int)n->id,
                                 "Node %u: this host has no such node; remove %s", n->id, section);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int find_below_floor(Planner *pl, int node, uint64_t stays, uint64_t floor) {
        bool allowed = pl->flags & PLAN_ALLOW_BELOW_FLOOR;
        char stays_text[FORMAT_SIZE_MAX], floor_text[FORMAT_SIZE_MAX], subject[32] = "This host";

        if (node >= 0)
                (void)snprintf(subject, sizeof(subject), "Node %d", node);
        return findings_add(&pl->plan->findings, "below-floor",
                            allowed ? SEVERITY_WARNING : SEVERITY_ERROR, node,
                            "%s: only %s would stay with the kernel, %s are the least that is "
                            "safe; %s",
                            subject, format_size_rounded(stays_text, stays),
                            format_size_rounded(floor_text, floor),
                            allowed ? "allowed by --allow-below-floor"
                                    : "raise Reserve= or ask for less");
}

/* What is huge pages now and stays such does not have to fit into what the kernel keeps. */
static int find_in_use(Planner *pl, uint64_t stays, uint64_t huge) {
        char in_use_text[FORMAT_SIZE_MAX], stays_text[FORMAT_SIZE_MAX];
        uint64_t kept = huge < pl->t->in_use_huge_bytes ? huge : pl->t->in_use_huge_bytes;
        uint64_t in_use = subtract(pl->t->in_use_bytes, kept);

        if (!pl->t->in_use_known || in_use <= stays)
                return 0;
        return findings_add(&pl->plan->findings, "in-use", SEVERITY_WARNING, -1,
                            "%s are in use now, more than the %s that would stay with the kernel; "
                            "that is fine only if it is the guests' memory",
                            format_size_rounded(in_use_text, in_use),
                            format_size_rounded(stays_text, stays));
}

/*
 * While it boots, the kernel needs the struct pages of all that it has, huge pages included: HVO
 * gives theirs back only after that. A node that keeps less would not come up.
 */
static uint64_t boot_need(const Planner *pl, const PlanNode *n) {
        return struct_pages_size(n->installed - n->dmem_bytes, pl->plan->page_size);
}

static uint64_t floor_of(const Planner *pl, const PlanNode *n) {
        uint64_t share =
                n->installed / NODE_FLOOR_DIVISOR + (n->installed % NODE_FLOOR_DIVISOR != 0);
        uint64_t need = boot_need(pl, n), floor = NODE_FLOOR;

        floor = floor < share ? share : floor;
        return floor < need ? need : floor;
}

/* A node or host from which nothing is taken is as it was before, however small. */
static int find_floors(Planner *pl) {
        uint64_t host = 0, huge = 0;
        bool any = false;
        int r;

        for (size_t i = 0; i < pl->plan->n_nodes; i++) {
                const PlanNode *n = &pl->plan->nodes[i];
                uint64_t floor = floor_of(pl, n);

                host = add(host, n->kernel_bytes);
                huge = add(huge, taken_from(n) - n->dmem_bytes);
                if (taken_from(n) == 0)
                        continue;
                any = true;
                if (n->kernel_bytes < floor) {
                        r = find_below_floor(pl, (int)n->id, n->kernel_bytes, floor);
                        if (r < 0)
                                return r;
                }
        }
        if (any && host < HOST_FLOOR) {
                r = find_below_floor(pl, -1, host, HOST_FLOOR);
                if (r < 0)
                        return r;
        }
        return any ? find_in_use(pl, host, huge) : 0;
}

static int find_hugetlb_page_size(Planner *pl) {
        _cleanup_free_ char *setting = NULL;
        char size[FORMAT_SIZE_MAX];

        if (pl->p->backend != BACKEND_HUGETLB || hugetlb_page_size(pl->p) != 0)
                return 0;
        setting = where("PageSize=", &pl->p->mount_page_size_origin);
        if (!setting)
                return -ENOMEM;
        return findings_add(&pl->plan->findings, "hugetlb-page-size", SEVERITY_ERROR, -1,
                            "Backend=hugetlb cannot make huge pages of %s; set %s to 2M or 1G",
                            format_size(size, pl->p->mount_page_size), setting);
}

static int plan_arguments(Planner *pl) {
        size_t length = 0;
        int r;

        r = plan_build_arguments(pl->plan, pl->p->optimize_vmemmap, &pl->plan->arguments);
        if (r < 0)
                return r;
        for (char **a = pl->plan->arguments; *a; a++)
                length += strlen(*a) + 1;
        if (length <= COMMAND_LINE_MAX)
                return 0;
        return findings_add(&pl->plan->findings, "arguments-too-long", SEVERITY_ERROR, -1,
                            "The boot arguments take %zu characters, the kernel reads %d; use "
                            "fewer nodes (Nodes=) or drop the huge pages",
                            length, COMMAND_LINE_MAX - 1);
}

static int find_alternative(Planner *pl) {
        const PlanAlternative *hvo = plan_hvo_would_do(pl->plan);
        char plain[FORMAT_SIZE_MAX], dmem[FORMAT_SIZE_MAX], best[FORMAT_SIZE_MAX];
        const char *page_size;

        if (!hvo)
                return 0;
        page_size = streq(hvo->name, "hugetlb-1G-hvo") ? "1G" : "2M";
        return findings_add(
                &pl->plan->findings, "hvo-would-do", SEVERITY_INFO, -1,
                "HVO would do as well: with huge pages of %s and HVO, struct pages would take %s "
                "of this host, with dmem %s, with plain pages %s. Backend=hugetlb with PageSize=%s "
                "does that on a stock kernel, if a whole page of %s may be lost to a memory error "
                "and guests need no other page size",
                page_size, format_size_rounded(best, hvo->metadata_bytes),
                format_size_rounded(dmem, plan_find_alternative(pl->plan, "dmem")->metadata_bytes),
                format_size_rounded(plain,
                                    plan_find_alternative(pl->plan, "plain")->metadata_bytes),
                page_size, page_size);
}

typedef int (*step_t)(Planner *pl);

static int plan_nodes(Planner *pl) {
        int r;

        pl->plan->nodes = new0(PlanNode, pl->t->n_nodes + 1);
        if (!pl->plan->nodes)
                return -ENOMEM;
        for (size_t i = 0; i < pl->t->n_nodes; i++) {
                r = plan_node(pl, &pl->t->nodes[i], &pl->plan->nodes[i]);
                if (r < 0)
                        return r;
                pl->plan->n_nodes++;
        }
        return 0;
}

static int plan_savings(Planner *pl) {
        return plan_compute_savings(pl->plan, pl->p->optimize_vmemmap);
}

int plan_make(const Topology *t, const Policy *p, unsigned flags, Plan **ret) {
        static const step_t steps[] = {
                find_host_facts,    find_estimated, find_hugetlb_page_size,
                find_missing_nodes, plan_nodes,     find_floors,
                plan_arguments,     plan_savings,   find_alternative,
        };
        _cleanup_(plan_freep) Plan *plan = NULL;
        int r;

        plan = new0(Plan, 1);
        if (!plan)
                return -ENOMEM;
        plan->backend = p->backend;
        plan->page_size = t->page_size;
        plan->boot_node = t->boot_node;
        for (size_t i = 0; i < ELEMENTSOF(steps); i++) {
                r = steps[i](&(Planner){ .t = t, .p = p, .flags = flags, .plan = plan });
                if (r < 0)
                        return r;
        }
        *ret = TAKE_PTR(plan);
        return 0;
}

Plan *plan_free(Plan *plan) {
        if (!plan)
                return NULL;
        free(plan->nodes);
        strv_free(plan->arguments);
        free(plan->alternatives);
        findings_done(&plan->findings);
        free(plan);
        return NULL;
}
