/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What must hold for any host and any policy: topologies and policies are drawn with a fixed seed,
 * so that a failure comes back.
 */

#include "plan-text.h"
#include "plan/cmdline.h"

#define ROUNDS 3000
#define NODES_MAX 12

static uint64_t random_state = 1;

/* xorshift64* by Marsaglia and Vigna */
static uint64_t draw(void) {
        random_state ^= random_state >> 12;
        random_state ^= random_state << 25;
        random_state ^= random_state >> 27;
        return random_state * UINT64_C(0x2545f4914f6cdd1d);
}

static uint64_t draw_below(uint64_t n) {
        return draw() % n;
}

static bool draw_one_in(uint64_t n) {
        return draw_below(n) == 0;
}

/* Sizes of all magnitudes, round ones more often, and sometimes absurd ones. */
static uint64_t draw_size(void) {
        uint64_t size;

        if (draw_one_in(50))
                return draw();
        size = draw_below(UINT64_C(1) << (20 + draw_below(25)));
        switch (draw_below(4)) {
        case 0:
                return align_down(size, GiB);
        case 1:
                return align_down(size, 128 * MiB);
        default:
                return size;
        }
}

static void draw_topology(Topology *t, TopologyNode *nodes) {
        unsigned id = 0;

        *t = (Topology){
                .page_size = UINT64_C(4096) << (2 * draw_below(3)),
                .nodes = nodes,
                .n_nodes = draw_below(NODES_MAX + 1),
                .boot_node = -1,
                .in_use_known = draw_one_in(2),
                .in_use_bytes = draw_size(),
        };
        for (size_t i = 0; i < t->n_nodes; i++) {
                id += 1 + (unsigned)(draw_one_in(4) ? draw_below(100) : 0);
                nodes[i] = (TopologyNode){
                        .id = id,
                        .source = draw_one_in(10)  ? MEMORY_UNKNOWN
                                  : draw_one_in(4) ? MEMORY_MEMINFO
                                                   : MEMORY_ZONEINFO,
                        .cpus = draw_one_in(4) ? (CpuState)draw_below(3) : CPUS_SOME,
                };
                if (nodes[i].source != MEMORY_UNKNOWN && !draw_one_in(10))
                        nodes[i].installed =
                                align_down(draw_below(UINT64_C(1) << 46), t->page_size);
                if (t->boot_node < 0 && nodes[i].installed > 0)
                        t->boot_node = (int)id;
        }
}

static DmemSize draw_dmem_size(void) {
        switch (draw_below(3)) {
        case 0:
                return (DmemSize){ .kind = DMEM_SIZE_REST };
        case 1:
                return (DmemSize){ .kind = DMEM_SIZE_BYTES, .value = draw_size() };
        default:
                return (DmemSize){ .kind = DMEM_SIZE_PERCENT, .value = draw_below(101) };
        }
}

static uint64_t draw_pages(void) {
        if (draw_one_in(2))
                return 0;
        return draw_one_in(20) ? draw() : draw_below(4096);
}

static Policy *draw_policy(const Topology *t) {
        Policy *p = policy_new();

        p->backend = draw_one_in(3) ? (Backend)draw_below(_BACKEND_MAX) : BACKEND_DMEM;
        p->reserve = draw_size();
        p->reserve_percent = (unsigned)draw_below(101);
        p->boot_node_reserve = draw_size();
        if (draw_one_in(2)) {
                p->reserve = 2 * GiB;
                p->reserve_percent = 3;
                p->boot_node_reserve = 2 * GiB;
        }
        p->size = draw_one_in(2) ? (DmemSize){ .kind = DMEM_SIZE_REST } : draw_dmem_size();
        p->align = 128 * MiB << draw_below(6);
        p->cpu_less_nodes = draw_one_in(2);
        p->pages_2m = draw_pages();
        p->pages_1g = draw_pages();
        p->optimize_vmemmap = draw_one_in(2);
        p->mount_page_size = draw_one_in(3) ? GiB : 2 * MiB;
        if (draw_one_in(4)) {
                p->all_nodes = false;
                (void)id_set_parse("1-4,7-40", &p->nodes);
        }
        for (size_t i = 0; i < t->n_nodes; i++) {
                NodePolicy *n;

                if (!draw_one_in(4) || policy_get_node(p, t->nodes[i].id, &n) < 0)
                        continue;
                n->has_reserve = draw_one_in(2);
                n->reserve = draw_size();
                n->has_size = draw_one_in(2);
                n->size = draw_dmem_size();
                n->has_pages_2m = draw_one_in(2);
                n->pages_2m = draw_pages();
                n->has_pages_1g = draw_one_in(2);
                n->pages_1g = draw_pages();
        }
        return p;
}

static uint64_t given_away(const PlanNode *n) {
        return n->dmem_bytes + n->huge_2m * 2 * MiB + n->huge_1g * GiB;
}

static bool has_error(const Plan *plan, int node) {
        for (size_t i = 0; i < plan->findings.n_items; i++)
                if (plan->findings.items[i].severity == SEVERITY_ERROR &&
                    plan->findings.items[i].node == node)
                        return true;
        return false;
}

static void check_plan(const char *label, const Topology *t, const Policy *p, const Plan *plan) {
        char *const *a = plan->arguments;
        size_t n_words = 0;

        EXPECT_EQ(label, plan->n_nodes, t->n_nodes);
        for (size_t i = 0; i < plan->n_nodes; i++) {
                const PlanNode *n = &plan->nodes[i];

                /* The parts add up, also when a sum would wrap. */
                EXPECT_TRUE(label, given_away(n) <= n->installed);
                EXPECT_EQ(label, n->kernel_bytes, n->installed - given_away(n));
                EXPECT_EQ(label, n->dmem_bytes % p->align, 0);
                EXPECT_TRUE(label, n->align_loss <= n->kernel_bytes);
                if (given_away(n) > 0) {
                        EXPECT_TRUE(label, n->eligible);
                        EXPECT_TRUE(label, n->kernel_bytes >= n->kernel_asked);
                        EXPECT_TRUE(label, p->backend != BACKEND_NONE);
                }
                EXPECT_TRUE(label, p->backend == BACKEND_DMEM || n->dmem_bytes == 0);
                EXPECT_TRUE(label, n->eligible || n->reason);
                /* Alignment never costs a whole unit and a whole page. */
                EXPECT_TRUE(label, n->align_loss < (p->align > GiB ? p->align : GiB));
        }
        EXPECT_TRUE(label, plan->planned_bytes <= plan->plain_bytes);
        for (size_t i = 0; i < plan->n_alternatives; i++)
                EXPECT_TRUE(label, plan->alternatives[i].metadata_bytes <= plan->plain_bytes);
        for (; a[n_words]; n_words++)
                EXPECT_TRUE(a[n_words], cmdline_word_is_ours(a[n_words]));
        EXPECT_TRUE(label, n_words <= 6);
}

static bool plans_equal(const Plan *a, const Plan *b) {
        if (!arguments_equal(a->arguments, b->arguments) || a->n_nodes != b->n_nodes ||
            a->planned_bytes != b->planned_bytes || a->findings.n_items != b->findings.n_items)
                return false;
        for (size_t i = 0; i < a->n_nodes; i++)
                if (a->nodes[i].dmem_bytes != b->nodes[i].dmem_bytes ||
                    a->nodes[i].kernel_bytes != b->nodes[i].kernel_bytes)
                        return false;
        for (size_t i = 0; i < a->findings.n_items; i++)
                if (!streq(a->findings.items[i].message, b->findings.items[i].message))
                        return false;
        return true;
}

TEST(sums) {
        random_state = 1;
        for (unsigned i = 0; i < ROUNDS; i++) {
                TopologyNode nodes[NODES_MAX];
                char label[32];
                Plan *plan = NULL;
                Topology t;
                Policy *p;

                (void)snprintf(label, sizeof(label), "round %u", i);
                draw_topology(&t, nodes);
                p = draw_policy(&t);
                EXPECT_EQ(label, plan_make(&t, p, 0, &plan), 0);
                check_plan(label, &t, p, plan);
                plan_free(plan);
                policy_free(p);
        }
}

/* The regions of a plan count as installed: after the reboot the same plan comes out. */
TEST(in_force_changes_nothing) {
        random_state = 2;
        for (unsigned i = 0; i < ROUNDS; i++) {
                TopologyNode nodes[NODES_MAX];
                Plan *before = NULL, *after = NULL;
                char label[32];
                Topology t;
                Policy *p;

                (void)snprintf(label, sizeof(label), "round %u", i);
                draw_topology(&t, nodes);
                p = draw_policy(&t);
                EXPECT_EQ(label, plan_make(&t, p, 0, &before), 0);
                for (size_t k = 0; k < t.n_nodes; k++)
                        nodes[k].region_bytes = before->nodes[k].dmem_bytes;
                EXPECT_EQ(label, plan_make(&t, p, 0, &after), 0);
                EXPECT_TRUE(label, plans_equal(before, after));
                plan_free(before);
                plan_free(after);
                policy_free(p);
        }
}

/* One node gets more memory: it does not get less dmem, and the others get the same. */
TEST(more_memory_never_gives_less) {
        random_state = 3;
        for (unsigned i = 0; i < ROUNDS; i++) {
                TopologyNode nodes[NODES_MAX];
                Plan *less = NULL, *more = NULL;
                char label[32];
                size_t grown;
                Topology t;
                Policy *p;

                (void)snprintf(label, sizeof(label), "round %u", i);
                draw_topology(&t, nodes);
                if (t.n_nodes == 0)
                        continue;
                p = draw_policy(&t);
                grown = draw_below(t.n_nodes);
                EXPECT_EQ(label, plan_make(&t, p, 0, &less), 0);
                if (nodes[grown].installed > 0) {
                        nodes[grown].installed += align_down(
                                draw_below(UINT64_C(1) << (16 + draw_below(28))), t.page_size);
                        EXPECT_EQ(label, plan_make(&t, p, 0, &more), 0);
                        for (size_t k = 0; k < t.n_nodes; k++)
                                if (k != grown)
                                        EXPECT_EQ(label, more->nodes[k].dmem_bytes,
                                                  less->nodes[k].dmem_bytes);
                                else if (!has_error(less, (int)nodes[k].id))
                                        EXPECT_TRUE(label, more->nodes[k].dmem_bytes >=
                                                                   less->nodes[k].dmem_bytes);
                }
                plan_free(less);
                plan_free(more);
                policy_free(p);
        }
}

/* What we write into dmem= is what the kernel's side reads out of it. */
TEST(arguments_say_the_plan) {
        random_state = 4;
        for (unsigned i = 0; i < ROUNDS; i++) {
                TopologyNode nodes[NODES_MAX];
                const char *list = NULL;
                Plan *plan = NULL;
                char label[32];
                Topology t;
                Policy *p;

                (void)snprintf(label, sizeof(label), "round %u", i);
                draw_topology(&t, nodes);
                p = draw_policy(&t);
                EXPECT_EQ(label, plan_make(&t, p, 0, &plan), 0);
                if (plan->arguments[0])
                        list = startswith(plan->arguments[0], "dmem=");
                for (size_t k = 0; k < plan->n_nodes; k++) {
                        const PlanNode *n = &plan->nodes[k];
                        char id[16], text[64] = "";
                        uint64_t bytes;
                        size_t length;

                        if (n->dmem_bytes == 0)
                                continue;
                        (void)snprintf(id, sizeof(id), "%u:", n->id);
                        EXPECT_TRUE(label, list && startswith(list, id));
                        if (!list || !startswith(list, id))
                                break;
                        list += strlen(id);
                        length = strcspn(list, ",");
                        memcpy(text, list, length < sizeof(text) ? length : sizeof(text) - 1);
                        EXPECT_EQ(text, parse_size(text, &bytes), 0);
                        EXPECT_TRUE(text, strchr("KMGT", text[length - 1]));
                        EXPECT_EQ(text, bytes, n->dmem_bytes);
                        list += length + (list[length] == ',');
                }
                EXPECT_TRUE(label, !list || *list == '\0');
                plan_free(plan);
                policy_free(p);
        }
}

/* One size, written in several ways, is one plan. */
TEST(notations) {
        static const char *const equal[] = { "1G",         "1024M",  "1048576K", "0x40000000",
                                             "1073741824", "0x400M", "1g" };
        _cleanup_(topology_freep) Topology *t = topology_from_text("0:67G 1:33G");
        static const char *const formats[] = {
                "[Kernel]\nReserve=%s\n",
                "[Kernel]\nBootNodeReserve=%s\n",
                "[Dmem]\nSize=%s\n",
                "[Dmem]\nAlign=%s\n",
                "[Mount]\nPageSize=%s\n[Plan]\nBackend=hugetlb\n",
                "[Node 0]\nReserve=%s\n",
                "[Node 1]\nSize=%s\n",
        };

        for (size_t f = 0; f < ELEMENTSOF(formats); f++) {
                Plan *first = NULL;

                for (size_t i = 0; i < ELEMENTSOF(equal); i++) {
                        char config[128];
                        const char *value = strchr(formats[f], '%');
                        Policy *p;
                        Plan *plan;

                        (void)snprintf(config, sizeof(config), "%.*s%s%s",
                                       (int)(value - formats[f]), formats[f], equal[i], value + 2);
                        p = policy_from_text(config, config);
                        EXPECT_EQ(config, plan_make(t, p, 0, &plan), 0);
                        if (first)
                                EXPECT_TRUE(config, plans_equal(first, plan));
                        if (first)
                                plan_free(plan);
                        else
                                first = plan;
                        policy_free(p);
                }
                plan_free(first);
        }
}

TEST_MAIN();
