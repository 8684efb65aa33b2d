/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "plan/drift.h"
#include "test.h"

#define N_MAX 3

typedef struct Row {
        const char *label;
        const char *planned;    /* words between blanks; NULL: no plan */
        const char *configured; /* NULL: not known */
        const char *booted;     /* NULL: not known */
        InForce in_force;       /* with nodes instead of in_force.nodes */
        DmemNode nodes[N_MAX];
        HugePool pools[N_MAX];
        PlanNode plan_nodes[N_MAX];
        bool plan_fails;
        State state;
        const char *reasons; /* CODE[:NODE] between blanks */
} Row;

#define PLAN_NODE(id_, installed_)                                                                 \
        { .id = (id_), .installed_known = true, .installed = (installed_), .eligible = true }
#define NODE(id_, requested_, size_)                                                               \
        { .id = (id_), .requested = (requested_), .size = (size_), .free = (size_) }
#define POOL(node_, page_size_, total_)                                                            \
        { .node = (node_), .page_size = (page_size_), .known = true, .total = (total_) }
#define LOADED(n)                                                                                  \
        { .class_present = true, .reserved = true, .n_nodes = (n) }
#define IDLE                                                                                       \
        { .class_present = true }

#define TWO_NODES                                                                                  \
        { PLAN_NODE(0, 8 * GiB), PLAN_NODE(1, 16 * GiB) }
#define BOTH "dmem=0:4G,1:12G"

static const Row rows[] = {
        { "untouched host", .configured = "", .booted = "", .reasons = "" },
        { "untouched, with a plan", .planned = BOTH, .configured = "", .booted = "",
          .plan_nodes = TWO_NODES, .state = STATE_NONE, .reasons = "not-applied" },
        { "nothing known", .in_force = { .reserved_unknown = true }, .reasons = "" },
        { "module loaded, nothing reserved", .configured = "", .booted = "", .in_force = IDLE,
          .reasons = "" },
        { "applied", .planned = BOTH, .configured = BOTH, .booted = "", .plan_nodes = TWO_NODES,
          .state = STATE_PENDING_REBOOT, .reasons = "reboot-required" },
        { "reverted", .planned = "", .configured = "", .booted = BOTH, .in_force = LOADED(2),
          .nodes = { NODE(0, 4 * GiB, 4 * GiB), NODE(1, 12 * GiB, 12 * GiB) },
          .state = STATE_PENDING_REBOOT, .reasons = "reboot-required" },
        { "in force", .planned = BOTH, .configured = BOTH, .booted = BOTH, .in_force = LOADED(2),
          .nodes = { NODE(0, 4 * GiB, 4 * GiB), NODE(1, 12 * GiB, 12 * GiB) },
          .plan_nodes = TWO_NODES, .state = STATE_IN_FORCE, .reasons = "" },
        { "in force, config changed", .planned = "dmem=0:4G,1:10G", .configured = BOTH,
          .booted = BOTH, .in_force = LOADED(2),
          .nodes = { NODE(0, 4 * GiB, 4 * GiB), NODE(1, 12 * GiB, 12 * GiB) },
          .plan_nodes = TWO_NODES, .state = STATE_DRIFT, .reasons = "not-applied" },
        { "neither applied nor rebooted", .planned = "dmem=0:4G,1:10G", .configured = BOTH,
          .booted = "", .plan_nodes = TWO_NODES, .state = STATE_DRIFT,
          .reasons = "not-applied reboot-required" },
        { "a plan with errors says nothing", .planned = "dmem=0:4G", .plan_fails = true,
          .configured = BOTH, .booted = BOTH, .in_force = LOADED(2),
          .nodes = { NODE(0, 4 * GiB, 4 * GiB), NODE(1, 12 * GiB, 12 * GiB) },
          .plan_nodes = TWO_NODES, .state = STATE_IN_FORCE, .reasons = "" },
        { "configured not known", .planned = BOTH, .booted = BOTH, .in_force = LOADED(2),
          .nodes = { NODE(0, 4 * GiB, 4 * GiB), NODE(1, 12 * GiB, 12 * GiB) },
          .plan_nodes = TWO_NODES, .state = STATE_IN_FORCE, .reasons = "" },
        { "no plan", .configured = BOTH, .booted = BOTH, .in_force = LOADED(2),
          .nodes = { NODE(0, 4 * GiB, 4 * GiB), NODE(1, 12 * GiB, 12 * GiB) },
          .state = STATE_IN_FORCE, .reasons = "" },
        { "huge pages only", .planned = "hugepagesz=1G hugepages=0:4",
          .configured = "hugepagesz=1G hugepages=0:4", .booted = "hugepagesz=1G hugepages=0:4",
          .pools = { POOL(0, GiB, 4) }, .state = STATE_IN_FORCE, .reasons = "" },
        { "huge pages that nobody counted", .booted = "hugepagesz=1G hugepages=0:4",
          .state = STATE_DRIFT, .reasons = "granted-unknown:0" },
        { "huge pages of one size are missing on one node",
          .configured = "hugepagesz=1G hugepages=0:4,1:1 hugepagesz=2M hugepages=1:9",
          .booted = "hugepagesz=1G hugepages=0:4,1:1 hugepagesz=2M hugepages=1:9",
          .pools = { POOL(0, GiB, 3), POOL(1, GiB, 2), POOL(1, 2 * MiB, 9) }, .state = STATE_DRIFT,
          .reasons = "hugepages-less:0" },
        { "huge pages that were added", .configured = "", .booted = "",
          .pools = { POOL(0, 2 * MiB, 512) }, .reasons = "" },
        { "one node got less", .planned = BOTH, .configured = BOTH, .booted = BOTH,
          .in_force = LOADED(2),
          .nodes = { NODE(0, 4 * GiB, 4 * GiB), NODE(1, 12 * GiB, 11 * GiB) },
          .plan_nodes = TWO_NODES, .state = STATE_DRIFT, .reasons = "granted-less:1" },
        { "one node got nothing", .planned = BOTH, .configured = BOTH, .booted = BOTH,
          .in_force = LOADED(1), .nodes = { NODE(1, 12 * GiB, 12 * GiB) }, .plan_nodes = TWO_NODES,
          .state = STATE_DRIFT, .reasons = "granted-less:0" },
        { "no node got anything, no plan", .configured = BOTH, .booted = BOTH, .in_force = IDLE,
          .state = STATE_DRIFT, .reasons = "granted-less:0 granted-less:1" },
        { "less, and a reboot settles it", .planned = "dmem=0:4G,1:11G",
          .configured = "dmem=0:4G,1:11G", .booted = BOTH, .in_force = LOADED(2),
          .nodes = { NODE(0, 4 * GiB, 4 * GiB), NODE(1, 12 * GiB, 11 * GiB) },
          .plan_nodes = TWO_NODES, .state = STATE_PENDING_REBOOT,
          .reasons = "reboot-required granted-less:1" },
        { "more than asked", .planned = BOTH, .configured = BOTH, .booted = BOTH,
          .in_force = LOADED(2),
          .nodes = { NODE(0, 4 * GiB, 5 * GiB), NODE(1, 12 * GiB, 12 * GiB) },
          .plan_nodes = TWO_NODES, .state = STATE_DRIFT, .reasons = "granted-more:0" },
        { "900G on a small host", .configured = "dmem=900G", .booted = "dmem=900G",
          .in_force = LOADED(2),
          .nodes = { NODE(0, 900 * GiB, 7 * GiB), NODE(1, 900 * GiB, 15 * GiB) },
          .state = STATE_DRIFT, .reasons = "granted-less:0 granted-less:1" },
        { "banana", .configured = "dmem=banana", .booted = "dmem=banana", .state = STATE_DRIFT,
          .reasons = "argument-invalid" },
        { "banana beside a good item", .configured = "dmem=banana,1:1G",
          .booted = "dmem=banana,1:1G", .in_force = LOADED(1), .nodes = { NODE(1, GiB, GiB) },
          .plan_nodes = TWO_NODES, .state = STATE_DRIFT, .reasons = "argument-invalid" },
        { "kernel does not know dmem=", .planned = BOTH, .configured = BOTH, .booted = BOTH,
          .plan_nodes = TWO_NODES, .state = STATE_DRIFT, .reasons = "no-kernel-support" },
        { "no iomem to tell", .configured = BOTH, .booted = BOTH,
          .in_force = { .reserved_unknown = true }, .state = STATE_DRIFT,
          .reasons = "granted-unknown" },
        { "asked for nothing", .configured = "dmem=0M", .booted = "dmem=0M",
          .state = STATE_IN_FORCE, .reasons = "" },
        { "module not loaded", .planned = "dmem=0:1G", .configured = BOTH, .booted = BOTH,
          .in_force = { .reserved = true }, .plan_nodes = TWO_NODES, .state = STATE_DRIFT,
          .reasons = "module-not-loaded" },
        { "poisoned", .planned = BOTH, .configured = BOTH, .booted = BOTH, .in_force = LOADED(2),
          .nodes = { { .id = 0, .requested = 4 * GiB, .size = 4 * GiB, .poisoned = 4096 },
                     NODE(1, 12 * GiB, 12 * GiB) },
          .plan_nodes = TWO_NODES, .state = STATE_DEGRADED, .reasons = "poisoned:0" },
        { "poisoned and less", .configured = BOTH, .booted = BOTH, .in_force = LOADED(2),
          .nodes = { { .id = 0, .requested = 4 * GiB, .size = 3 * GiB, .poisoned = 4096 },
                     NODE(1, 12 * GiB, 12 * GiB) },
          .state = STATE_DRIFT, .reasons = "granted-less:0 poisoned:0" },
        { "usage not known", .configured = BOTH, .booted = BOTH, .in_force = LOADED(2),
          .nodes = { { .id = 0, .requested = 4 * GiB, .size = 4 * GiB, .usage_unknown = true },
                     NODE(1, 12 * GiB, 12 * GiB) },
          .state = STATE_IN_FORCE, .reasons = "" },
        { "size not known", .configured = BOTH, .booted = BOTH, .in_force = LOADED(2),
          .nodes = { { .id = 0, .size_unknown = true }, NODE(1, 12 * GiB, 12 * GiB) },
          .state = STATE_DRIFT, .reasons = "granted-unknown:0" },
        { "requested not known", .configured = BOTH, .booted = BOTH, .in_force = LOADED(2),
          .nodes = { { .id = 0, .requested_unknown = true, .size = 3 * GiB },
                     NODE(1, 12 * GiB, 12 * GiB) },
          .state = STATE_DRIFT, .reasons = "granted-less:0" },
        { "requested and booted not known", .configured = BOTH, .in_force = LOADED(1),
          .nodes = { { .id = 0, .requested_unknown = true, .size = 3 * GiB } },
          .state = STATE_IN_FORCE, .reasons = "" },
        { "booted not known, requested is", .configured = BOTH, .in_force = LOADED(1),
          .nodes = { NODE(0, 4 * GiB, 3 * GiB) }, .state = STATE_DRIFT,
          .reasons = "granted-less:0" },
        { "rounded down by a section", .configured = "dmem=1000M", .booted = "dmem=1000M",
          .in_force = LOADED(1), .nodes = { NODE(0, 1000 * MiB, 896 * MiB) },
          .state = STATE_IN_FORCE, .reasons = "" },
        { "rounded down to ALIGN", .configured = "dmem=2500M:1G", .booted = "dmem=2500M:1G",
          .in_force = LOADED(1), .nodes = { NODE(0, 2500 * MiB, 2 * GiB) }, .state = STATE_IN_FORCE,
          .reasons = "" },
        { "more than rounding", .configured = "dmem=2500M:1G", .booted = "dmem=2500M:1G",
          .in_force = LOADED(1), .nodes = { NODE(0, 2500 * MiB, GiB) }, .state = STATE_DRIFT,
          .reasons = "granted-less:0" },
        { "leave", .configured = "dmem=!2G", .booted = "dmem=!2G", .in_force = LOADED(2),
          .nodes = { NODE(0, 6 * GiB, 6 * GiB - 128 * MiB), NODE(1, 14 * GiB, 14 * GiB) },
          .plan_nodes = TWO_NODES, .state = STATE_DRIFT, .reasons = "granted-less:0" },
        { "leave, a little less is rounding", .configured = "dmem=!2G", .booted = "dmem=!2G",
          .in_force = LOADED(2),
          .nodes = { NODE(0, 6 * GiB - 4096, 6 * GiB - 128 * MiB), NODE(1, 14 * GiB, 14 * GiB) },
          .plan_nodes = TWO_NODES, .state = STATE_IN_FORCE, .reasons = "" },
        { "leave on a node of unknown size", .configured = "dmem=!2G", .booted = "dmem=!2G",
          .in_force = LOADED(1),
          .nodes = { { .id = 0, .requested_unknown = true, .size = 3 * GiB } },
          .state = STATE_IN_FORCE, .reasons = "" },
        { "node without memory is not asked", .configured = "dmem=4G", .booted = "dmem=4G",
          .in_force = LOADED(1), .nodes = { NODE(0, 4 * GiB, 4 * GiB) },
          .plan_nodes = { PLAN_NODE(0, 8 * GiB), PLAN_NODE(1, 0) }, .planned = "dmem=4G",
          .state = STATE_IN_FORCE, .reasons = "" },
        { "node of unknown memory is not judged", .configured = "dmem=4G", .booted = "dmem=4G",
          .in_force = LOADED(1), .nodes = { NODE(0, 4 * GiB, 4 * GiB) },
          .plan_nodes = { PLAN_NODE(0, 8 * GiB), { .id = 1 } }, .planned = "dmem=4G",
          .state = STATE_IN_FORCE, .reasons = "" },
        { "no such node", .configured = "dmem=7:4G", .booted = "dmem=7:4G", .in_force = IDLE,
          .plan_nodes = TWO_NODES, .planned = "dmem=7:4G", .state = STATE_DRIFT,
          .reasons = "granted-less:7" },
        { "range granted", .configured = "dmem=1G@4G", .booted = "dmem=1G@4G",
          .in_force = LOADED(1), .nodes = { NODE(1, GiB, GiB) }, .state = STATE_IN_FORCE,
          .reasons = "" },
        { "range granted, requested not known", .configured = "dmem=1G@4G", .booted = "dmem=1G@4G",
          .in_force = LOADED(1), .nodes = { { .id = 1, .requested_unknown = true, .size = GiB } },
          .state = STATE_IN_FORCE, .reasons = "" },
        { "range refused", .configured = "dmem=1G@64G", .booted = "dmem=1G@64G", .in_force = IDLE,
          .state = STATE_DRIFT, .reasons = "granted-less" },
        { "stock kernel with regions given to the module", .configured = "", .booted = "",
          .in_force = { .class_present = true, .n_nodes = 1 }, .nodes = { NODE(0, GiB, GiB) },
          .planned = "", .state = STATE_IN_FORCE, .reasons = "" },
};

/* Splits @text, which it changes, at its blanks. */
static char **split(char *text, char *words[static 8]) {
        size_t n = 0;

        if (!text)
                return NULL;
        for (char *word; (word = strsep(&text, " "));)
                if (*word != '\0')
                        words[n++] = word;
        words[n] = NULL;
        return words;
}

static void show_reasons(const Findings *reasons, char *ret) {
        *ret = '\0';
        for (size_t i = 0; i < reasons->n_items; i++) {
                const Finding *finding = &reasons->items[i];

                ret += sprintf(ret, "%s%s", i > 0 ? " " : "", finding->code);
                if (finding->node >= 0)
                        ret += sprintf(ret, ":%d", finding->node);
        }
}

TEST(judge) {
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                const Row *row = &rows[i];
                char planned[128] = "", configured[128] = "", booted[128] = "", shown[256];
                char *planned_words[8], *configured_words[8], *booted_words[8];
                DmemNode nodes[N_MAX];
                HugePool pools[N_MAX];
                PlanNode plan_nodes[N_MAX];
                Plan plan = { .nodes = plan_nodes };
                InForce in_force = row->in_force;
                Findings reasons = {};
                State state = _STATE_MAX;

                memcpy(nodes, row->nodes, sizeof(nodes));
                in_force.nodes = nodes;
                memcpy(pools, row->pools, sizeof(pools));
                in_force.pools = pools;
                while (in_force.n_pools < N_MAX && pools[in_force.n_pools].page_size > 0)
                        in_force.n_pools++;
                memcpy(plan_nodes, row->plan_nodes, sizeof(plan_nodes));
                while (plan.n_nodes < N_MAX && (plan_nodes[plan.n_nodes].installed_known ||
                                                plan_nodes[plan.n_nodes].id > 0))
                        plan.n_nodes++;
                if (row->plan_fails)
                        (void)findings_add(&plan.findings, "does-not-fit", SEVERITY_ERROR, 0, "x");
                if (row->planned)
                        plan.arguments = split(strcpy(planned, row->planned), planned_words);

                EXPECT_EQ(row->label,
                          state_judge(row->planned ? &plan : NULL,
                                      row->configured ? split(strcpy(configured, row->configured),
                                                              configured_words)
                                                      : NULL,
                                      row->booted ? split(strcpy(booted, row->booted), booted_words)
                                                  : NULL,
                                      &in_force, &state, &reasons),
                          0);
                EXPECT_STREQ(row->label, state_to_string(state), state_to_string(row->state));
                show_reasons(&reasons, shown);
                EXPECT_STREQ(row->label, shown, row->reasons);
                findings_done(&reasons);
                findings_done(&plan.findings);
        }
}

/* The message of the one finding that a single node with these numbers gets. */
static void expect_message(uint64_t requested, uint64_t size, const char *beginning) {
        DmemNode node = NODE(1, requested, size);
        InForce in_force = { .class_present = true, .nodes = &node, .n_nodes = 1 };
        Findings reasons = {};
        State state;

        EXPECT_EQ(beginning, state_judge(NULL, NULL, NULL, &in_force, &state, &reasons), 0);
        EXPECT_EQ(beginning, reasons.n_items, 1);
        if (reasons.n_items == 1 && !startswith(reasons.items[0].message, beginning))
                EXPECT_STREQ(beginning, reasons.items[0].message, beginning);
        findings_done(&reasons);
}

TEST(numbers_are_named) {
        expect_message(96 * GiB, 60 * GiB, "Node 1: 96G were asked for, but only 60G granted; ");
        expect_message(60 * GiB, 96 * GiB, "Node 1: 60G were asked for, but 96G are reserved; ");
}

TEST(in_force) {
        DmemRange regions[] = { { GiB, 2 * GiB }, { 4 * GiB, 7 * GiB } };
        DmemNode nodes[] = { NODE(0, GiB, GiB),
                             { .id = 4, .size = 5, .regions = regions, .n_regions = 2 } };
        InForce in_force = { .nodes = nodes, .n_nodes = 2 }, empty = {};

        EXPECT_TRUE("4", in_force_find_node(&in_force, 4) == &nodes[1]);
        EXPECT_TRUE("1", in_force_find_node(&in_force, 1) == NULL);
        EXPECT_EQ("size", dmem_node_region_bytes(&nodes[0]), GiB);
        EXPECT_EQ("regions", dmem_node_region_bytes(&nodes[1]), 4 * GiB);
        in_force_done(&empty);
}

TEST_MAIN()
