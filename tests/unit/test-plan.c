/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "plan-text.h"
#include "plan/cmdline.h"
#include "plan/savings.h"

/* No reserve of any kind, for rows that are about something else. */
#define NOTHING_RESERVED "[Kernel]\nReserve=0\nReservePercent=0\nBootNodeReserve=0\n"

/* `e does-not-fit 1`: the findings, each with its severity and node, without hvo-would-do. */
static char *findings_to_text(const Findings *findings) {
        char *text;
        size_t size;
        FILE *f = open_memstream(&text, &size);

        for (size_t i = 0; i < findings->n_items; i++) {
                const Finding *item = &findings->items[i];

                if (streq(item->code, "hvo-would-do"))
                        continue;
                fprintf(f, "%s%c %s", ftell(f) > 0 ? ", " : "",
                        severity_to_string(item->severity)[0], item->code);
                if (item->node >= 0)
                        fprintf(f, " %d", item->node);
        }
        fclose(f);
        return text;
}

/* What must hold for every plan. */
static void check_sums(const char *label, const Plan *plan) {
        for (size_t i = 0; i < plan->n_nodes; i++) {
                const PlanNode *n = &plan->nodes[i];

                EXPECT_EQ(label,
                          n->kernel_bytes + n->dmem_bytes + n->huge_2m * 2 * MiB + n->huge_1g * GiB,
                          n->installed);
                EXPECT_TRUE(label, n->align_loss <= n->kernel_bytes);
                EXPECT_TRUE(label, n->eligible == !n->reason);
        }
}

TEST(plans) {
        static const struct {
                const char *label;
                const char *topology;
                const char *config;
                unsigned flags;
                const char *arguments;
                const char *findings;
        } table[] = {
                { "defaults", "0:64G 1:64G", "", 0, "dmem=0:60G,1:62G", "" },
                { "the larger of reserve and percent", "0:256G 1:256G", "", 0, "dmem=0:246G,1:248G",
                  "" },
                { "percent", "0:200G", NOTHING_RESERVED "ReservePercent=1\n", 0, "dmem=0:198G",
                  "" },
                /* One percent is 1355734.62 bytes; rounded down it would leave 128M. */
                { "percent is rounded up", "0:135573462",
                  NOTHING_RESERVED "ReservePercent=1\n[Dmem]\nAlign=128M\n", 0, "",
                  "w nothing-left 0" },
                { "one node", "0:16G", "", 0, "dmem=0:12G", "" },
                { "gaps in ids", "0:64G 8:64G 253:64G", "", 0, "dmem=0:60G,8:62G,253:62G", "" },
                { "boot node is not node 0", "0:0 1:64G 2:64G", "", 0, "dmem=1:60G,2:62G",
                  "i node-no-memory 0" },
                { "align", "0:64G", "[Dmem]\nAlign=16G\n", 0, "dmem=0:48G", "" },
                { "align in MiB", "0:8320M", "[Dmem]\nAlign=128M\n", 0, "dmem=0:4224M", "" },
                { "fixed size", "0:64G 1:64G", "[Dmem]\nSize=32G\n", 0, "dmem=0:32G,1:32G", "" },
                { "size zero", "0:64G", "[Dmem]\nSize=0\n", 0, "", "" },
                { "percent", "0:64G 1:100G", "[Dmem]\nSize=50%\n", 0, "dmem=0:32G,1:50G", "" },
                { "percent is rounded to align", "0:65G", "[Dmem]\nSize=50%\n", 0, "dmem=0:32G",
                  "i rounded-down 0" },
                { "zero percent", "0:64G", "[Dmem]\nSize=0%\n", 0, "", "" },
                { "size below align", "0:64G", "[Dmem]\nSize=512M\n", 0, "", "w rounded-down 0" },
                { "all of it", "0:64G", "[Dmem]\nSize=100%\n", 0, "", "e does-not-fit 0" },
                { "exactly fits", "0:64G", "[Dmem]\nSize=60G\n", 0, "dmem=0:60G", "" },
                { "one byte too much", "0:64G", "[Dmem]\nSize=64424509441\n", 0, "",
                  "e does-not-fit 0" },
                { "does not fit on one node", "0:64G 1:32G", "[Dmem]\nSize=40G\n", 0, "dmem=0:40G",
                  "e does-not-fit 1" },
                { "size beyond any host", "0:64G", "[Dmem]\nSize=16777215T\n", 0, "",
                  "e does-not-fit 0" },
                { "override of a node", "0:64G 1:64G", "[Node 1]\nSize=8G\n", 0, "dmem=0:60G,1:8G",
                  "" },
                { "override of the reserve", "0:64G 1:64G", "[Node 1]\nReserve=16G\n", 0,
                  "dmem=0:60G,1:48G", "" },
                { "percent holds with an override", "0:64G 1:64G", "[Node 1]\nReserve=0\n", 0,
                  "dmem=0:60G,1:62G", "" },
                { "override of huge pages", "0:64G 1:64G",
                  "[HugePages]\nPages1G=4\n[Node 1]\nPages1G=0\nPages2M=512\n", 0,
                  "dmem=0:56G,1:61G hugepagesz=1G hugepages=0:4 hugepagesz=2M hugepages=1:512 "
                  "hugetlb_free_vmemmap=on",
                  "" },
                { "order of the arguments", "0:64G 1:64G", "[HugePages]\nPages1G=4\nPages2M=512\n",
                  0,
                  "dmem=0:55G,1:57G hugepagesz=1G hugepages=0:4,1:4 hugepagesz=2M "
                  "hugepages=0:512,1:512 hugetlb_free_vmemmap=on",
                  "" },
                { "without HVO", "0:64G", "[HugePages]\nPages1G=4\nOptimizeVmemmap=no\n", 0,
                  "dmem=0:56G hugepagesz=1G hugepages=0:4", "" },
                { "huge pages do not fit", "0:64G", "[HugePages]\nPages1G=61\n", 0, "",
                  "e does-not-fit 0" },
                { "huge pages take all", "0:64G", "[HugePages]\nPages1G=60\n", 0,
                  "hugepagesz=1G hugepages=0:60 hugetlb_free_vmemmap=on", "w nothing-left 0" },
                { "huge pages wrap 64 bits", "0:64G", "[HugePages]\nPages1G=17179869184\n", 0, "",
                  "e does-not-fit 0" },
                { "huge pages wrap to little", "0:64G",
                  "[HugePages]\nPages1G=17179869183\nPages2M=18446744073709551615\n", 0, "",
                  "e does-not-fit 0" },
                { "reserve beyond any host", "0:64G", "[Kernel]\nReserve=16777215T\n", 0, "",
                  "w nothing-left 0" },
                { "reserves that wrap", "0:64G",
                  "[Kernel]\nReserve=18446744073709551615\nBootNodeReserve=18446744073709551615\n",
                  0, "", "w nothing-left 0" },
                { "too small for the defaults", "0:2G", "", 0, "", "w nothing-left 0" },
                { "less left than one align", "0:4608M", "", 0, "", "w nothing-left 0" },

                { "node list", "0:64G 1:64G 2:64G", "[Dmem]\nNodes=0,2\n", 0, "dmem=0:60G,2:62G",
                  "i node-excluded 1" },
                { "no such node in the list", "0:64G 1:64G", "[Dmem]\nNodes=0-7\n", 0,
                  "dmem=0:60G,1:62G", "w no-such-node" },
                { "no such node in a section", "0:64G", "[Node 9]\nSize=1G\n", 0, "dmem=0:60G",
                  "w no-such-node 9" },
                { "a section for an excluded node", "0:64G 1:64G",
                  "[Dmem]\nNodes=0\n[Node 1]\nSize=1G\n", 0, "dmem=0:60G", "w node-excluded 1" },
                { "no CPUs", "0:64G 1:64Gn", "", 0, "dmem=0:60G", "i node-excluded 1" },
                { "no CPUs, allowed", "0:64G 1:64Gn", "[Dmem]\nCPULessNodes=yes\n", 0,
                  "dmem=0:60G,1:62G", "" },
                { "no CPUs, named", "0:64G 1:64Gn", "[Dmem]\nNodes=0-1\n", 0, "dmem=0:60G,1:62G",
                  "" },
                { "no CPUs, a section does not name it", "0:64G 1:64Gn", "[Node 1]\nSize=1G\n", 0,
                  "dmem=0:60G", "w node-excluded 1" },
                { "CPUs not known", "0:64G 1:64Gc", "", 0, "dmem=0:60G,1:62G", "" },
                { "memory not known", "0:64G 1:0u", "", 0, "dmem=0:60G", "w node-unknown 1" },
                { "no memory anywhere", "0:0 1:0u", "", 0, "",
                  "i node-no-memory 0, w node-unknown 1" },
                { "estimated", "0:64Ge 1:64G", "", 0, "dmem=0:60G,1:62G", "w installed-estimated" },
                { "no nodes", "", "", 0, "", "e no-nodes" },

                { "below the floor of a node", "0:64G", NOTHING_RESERVED, 0, "dmem=0:64G",
                  "e below-floor 0, e below-floor" },
                { "allowed", "0:64G", NOTHING_RESERVED, PLAN_ALLOW_BELOW_FLOOR, "dmem=0:64G",
                  "w below-floor 0, w below-floor" },
                { "floor of the host", "0:64G 1:64G", NOTHING_RESERVED "Reserve=512M\n", 0,
                  "dmem=0:63G,1:63G", "" },
                { "floor of the host, finely", "0:64G 1:64G",
                  NOTHING_RESERVED "Reserve=512M\n[Dmem]\nAlign=128M\n", 0,
                  "dmem=0:65024M,1:65024M", "e below-floor" },
                { "a node's 1/128", "0:256G",
                  NOTHING_RESERVED "Reserve=2047M\n[Dmem]\nAlign=128M\n", 0, "dmem=0:254G", "" },
                { "below a node's 1/128", "0:256G",
                  NOTHING_RESERVED "Reserve=1920M\n[Dmem]\nAlign=128M\n", 0, "dmem=0:260224M",
                  "e below-floor 0" },
                { "a small node left alone is no floor", "0:64G 1:128M", "[Dmem]\nNodes=0\n", 0,
                  "dmem=0:60G", "i node-excluded 1" },
                { "a small host left alone is no floor", "0:1G", "", 0, "", "w nothing-left 0" },
                { "huge pages count for the floor", "0:64G",
                  NOTHING_RESERVED "[Dmem]\nSize=0\n[HugePages]\nPages1G=64\n", 0,
                  "hugepagesz=1G hugepages=0:64 hugetlb_free_vmemmap=on",
                  "e below-floor 0, e below-floor" },

                { "struct pages of huge pages while it boots", "0:256G",
                  NOTHING_RESERVED "Reserve=4G\n[Plan]\nBackend=hugetlb\n", 0,
                  "hugepagesz=2M hugepages=0:129024 hugetlb_free_vmemmap=on", "" },
                { "less than these", "0:256G",
                  NOTHING_RESERVED "Reserve=3968M\n[Plan]\nBackend=hugetlb\n[Dmem]\nAlign=128M\n",
                  0, "hugepagesz=2M hugepages=0:129088 hugetlb_free_vmemmap=on",
                  "e below-floor 0" },
                { "nothing", "0:64G", "[Plan]\nBackend=none\n[HugePages]\nPages1G=4\n", 0, "", "" },
                { "hugetlb", "0:64G 1:64G", "[Plan]\nBackend=hugetlb\n", 0,
                  "hugepagesz=2M hugepages=0:30720,1:31744 hugetlb_free_vmemmap=on", "" },
                { "hugetlb 1G", "0:64G 1:64G", "[Plan]\nBackend=hugetlb\n[Mount]\nPageSize=1G\n", 0,
                  "hugepagesz=1G hugepages=0:60,1:62 hugetlb_free_vmemmap=on", "" },
                { "hugetlb adds to huge pages", "0:64G",
                  "[Plan]\nBackend=hugetlb\n[HugePages]\nPages2M=512\nPages1G=1\n", 0,
                  "hugepagesz=1G hugepages=0:1 hugepagesz=2M hugepages=0:30208 "
                  "hugetlb_free_vmemmap=on",
                  "" },
                { "hugetlb 4K", "0:64G", "[Plan]\nBackend=hugetlb\n[Mount]\nPageSize=4K\n", 0, "",
                  "e hugetlb-page-size" },
                { "hugetlb 1G of little", "0:5G",
                  "[Plan]\nBackend=hugetlb\n[Dmem]\nAlign=128M\n[Mount]\nPageSize=1G\n"
                  "[Kernel]\nBootNodeReserve=2560M\n",
                  0, "", "w nothing-left 0" },
                { "hugetlb does not fit", "0:64G", "[Plan]\nBackend=hugetlb\n[Dmem]\nSize=61G\n", 0,
                  "", "e does-not-fit 0" },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                Topology *t = topology_from_text(table[i].topology);
                Policy *p = policy_from_text(table[i].label, table[i].config);
                char *arguments, *findings;
                Plan *plan = NULL;

                EXPECT_EQ(table[i].label, plan_make(t, p, table[i].flags, &plan), 0);
                arguments = arguments_join(plan->arguments);
                findings = findings_to_text(&plan->findings);
                EXPECT_STREQ(table[i].label, arguments, table[i].arguments);
                EXPECT_STREQ(table[i].label, findings, table[i].findings);
                check_sums(table[i].label, plan);
                free(arguments);
                free(findings);
                plan_free(plan);
                policy_free(p);
                topology_free(t);
        }
}

/* Codes that depend on the host as a whole. */
TEST(host_findings) {
        static const struct {
                const char *label;
                Topology facts;
                const char *findings;
                const char *config;
        } table[] = {
                { "page size assumed", { .page_size_assumed = true }, "w page-size-assumed" },
                { "regions hidden", { .regions_hidden = true }, "e regions-hidden" },
                { "in use, little", { .in_use_known = true, .in_use_bytes = 6 * GiB }, "" },
                { "in use, much",
                  { .in_use_known = true, .in_use_bytes = 6 * GiB + 1 },
                  "w in-use" },
                { "in use, not known", { .in_use_bytes = 100 * GiB }, "" },
                { "huge pages that go are in use",
                  { .in_use_known = true,
                    .in_use_bytes = 6 * GiB + 1,
                    .in_use_huge_bytes = 5 * GiB },
                  "w in-use" },
                { "huge pages that stay are not",
                  { .in_use_known = true, .in_use_bytes = 46 * GiB, .in_use_huge_bytes = 40 * GiB },
                  "",
                  "[HugePages]\nPages1G=20\n" },
                { "only as many as stay",
                  { .in_use_known = true, .in_use_bytes = 47 * GiB, .in_use_huge_bytes = 41 * GiB },
                  "w in-use",
                  "[HugePages]\nPages1G=20\n" },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                Topology *t = topology_from_text("0:64G 1:64G");
                const char *config = table[i].config ? table[i].config : "";
                Policy *p = policy_from_text(table[i].label, config);
                char *findings;
                Plan *plan;

                t->page_size_assumed = table[i].facts.page_size_assumed;
                t->regions_hidden = table[i].facts.regions_hidden;
                t->in_use_known = table[i].facts.in_use_known;
                t->in_use_bytes = table[i].facts.in_use_bytes;
                t->in_use_huge_bytes = table[i].facts.in_use_huge_bytes;
                EXPECT_EQ(table[i].label, plan_make(t, p, 0, &plan), 0);
                findings = findings_to_text(&plan->findings);
                EXPECT_STREQ(table[i].label, findings, table[i].findings);
                free(findings);
                plan_free(plan);
                policy_free(p);
                topology_free(t);
        }
}

/* A message says what, where, and what to do. */
TEST(messages) {
        static const struct {
                const char *label;
                const char *topology;
                const char *config;
                const char *code;
                const char *message;
        } table[] = {
                { "size", "0:64G 1:80G", "[Kernel]\nReserve=16G\n\n[Node 1]\nSize=96G\n",
                  "does-not-fit",
                  "Node 1: 96G asked for do not fit, 64G are available after what stays with the "
                  "kernel and huge pages; lower Size= in /etc/dmemd/dmemd.conf, line 5" },
                { "huge pages", "0:64G", "[HugePages]\nPages2M=65536\n", "does-not-fit",
                  "Node 0: huge pages of 128G do not fit, 60G are available after what stays with "
                  "the kernel; lower Pages2M= in /etc/dmemd/dmemd.conf, line 2" },
                { "estimated", "0:64Ge 1:64Ge 2:64Ge 3:64G 9:64Ge", "", "installed-estimated",
                  "/proc/zoneinfo does not tell what is installed (node 0-2,9): MemTotal is taken "
                  "instead, which is a little less and changes with the plan" },
                { "rounded", "0:65G", "[Dmem]\nSize=33%\n", "rounded-down",
                  "Node 0: 21964M asked for become 21G, a multiple of 1G; change Align= or Size= "
                  "in "
                  "/etc/dmemd/dmemd.conf, line 2" },
                { "missing nodes", "0:64G 2:64G", "[Dmem]\nNodes=0-4,9\n", "no-such-node",
                  "This host has no node 1,3-4,9; correct Nodes= in /etc/dmemd/dmemd.conf, line "
                  "2" },
                { "excluded", "0:64G 1:64G", "[Dmem]\nNodes=0\n[Node 1]\n", "node-excluded",
                  "Node 1: left alone, as it is not among Nodes= in /etc/dmemd/dmemd.conf, line 2; "
                  "its section in /etc/dmemd/dmemd.conf, line 3, has no effect" },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                Topology *t = topology_from_text(table[i].topology);
                Policy *p = policy_from_text(table[i].label, table[i].config);
                const char *message = NULL;
                Plan *plan;

                EXPECT_EQ(table[i].label, plan_make(t, p, 0, &plan), 0);
                for (size_t j = 0; j < plan->findings.n_items && !message; j++)
                        if (streq(plan->findings.items[j].code, table[i].code))
                                message = plan->findings.items[j].message;
                EXPECT_STREQ(table[i].label, message, table[i].message);
                plan_free(plan);
                policy_free(p);
                topology_free(t);
        }
}

/* A command line has an end: very many nodes do not fit. */
TEST(arguments_too_long) {
        _cleanup_(topology_freep) Topology *t = topology_from_text("");
        _cleanup_(policy_freep) Policy *p = policy_new();
        enum {
                N = 1024
        };
        Plan *plan;

        free(t->nodes);
        t->nodes = new0(TopologyNode, N);
        t->n_nodes = N;
        t->boot_node = 0;
        for (unsigned i = 0; i < N; i++)
                t->nodes[i] = (TopologyNode){
                        .id = i,
                        .source = MEMORY_ZONEINFO,
                        .installed = 64 * GiB,
                        .cpus = CPUS_SOME,
                };
        EXPECT_EQ("make", plan_make(t, p, 0, &plan), 0);
        EXPECT_EQ("worst", findings_worst(&plan->findings), SEVERITY_ERROR);
        EXPECT_STREQ("code", plan->findings.items[0].code, "arguments-too-long");
        plan_free(plan);
}

/* Costs by hand: 1 TiB of 4K pages has 16 GiB of struct page. */
TEST(savings) {
        static const struct {
                const char *label;
                uint64_t page_size;
                const char *config;
                uint64_t plain, planned;
                uint64_t costs[5]; /* plain, hugetlb-2M, hugetlb-2M-hvo, hugetlb-1G-hvo, dmem */
                const char *would_do;
        } table[] = {
                { "1 TiB of dmem",
                  4096,
                  "",
                  16 * GiB + 64 * MiB,
                  64 * MiB,
                  { 16 * GiB + 64 * MiB, 16 * GiB + 64 * MiB, 2 * GiB + 32 * MiB + 64 * MiB,
                    4 * MiB + 32 * MiB + 64 * MiB, 64 * MiB },
                  "hugetlb-1G-hvo" },
                { "64K pages",
                  65536,
                  "",
                  GiB + 4 * MiB,
                  4 * MiB,
                  { GiB + 4 * MiB, GiB + 4 * MiB, GiB + 4 * MiB, 64 * MiB + 32 * MiB + 4 * MiB,
                    4 * MiB },
                  NULL },
                { "1 TiB of huge pages",
                  4096,
                  "[Plan]\nBackend=hugetlb\n",
                  16 * GiB + 64 * MiB,
                  2 * GiB + 32 * MiB + 64 * MiB,
                  { 16 * GiB + 64 * MiB, 16 * GiB + 64 * MiB, 2 * GiB + 32 * MiB + 64 * MiB,
                    4 * MiB + 32 * MiB + 64 * MiB, 64 * MiB },
                  NULL },
                { "without HVO",
                  4096,
                  "[Plan]\nBackend=hugetlb\n[HugePages]\nOptimizeVmemmap=no\n",
                  16 * GiB + 64 * MiB,
                  16 * GiB + 64 * MiB,
                  { 16 * GiB + 64 * MiB, 16 * GiB + 64 * MiB, 2 * GiB + 32 * MiB + 64 * MiB,
                    4 * MiB + 32 * MiB + 64 * MiB, 64 * MiB },
                  NULL },
                { "nothing",
                  4096,
                  "[Plan]\nBackend=none\n",
                  16 * GiB + 64 * MiB,
                  16 * GiB + 64 * MiB,
                  { 16 * GiB + 64 * MiB, 16 * GiB + 64 * MiB, 16 * GiB + 64 * MiB,
                    16 * GiB + 64 * MiB, 16 * GiB + 64 * MiB },
                  NULL },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                Topology *t = topology_from_text("0:1028G");
                Policy *p = policy_from_text(table[i].label, table[i].config);
                const PlanAlternative *would_do;
                Plan *plan;

                t->page_size = table[i].page_size;
                p->reserve = 4 * GiB;
                p->reserve_percent = 0;
                p->boot_node_reserve = 0;
                EXPECT_EQ(table[i].label, plan_make(t, p, PLAN_ALLOW_BELOW_FLOOR, &plan), 0);
                EXPECT_EQ(table[i].label, plan->plain_bytes, table[i].plain);
                EXPECT_EQ(table[i].label, plan->planned_bytes, table[i].planned);
                EXPECT_EQ(table[i].label, plan->n_alternatives, 5);
                for (size_t k = 0; k < 5; k++)
                        EXPECT_EQ(plan->alternatives[k].name, plan->alternatives[k].metadata_bytes,
                                  table[i].costs[k]);
                would_do = plan_hvo_would_do(plan);
                EXPECT_STREQ(table[i].label, would_do ? would_do->name : NULL, table[i].would_do);
                plan_free(plan);
                policy_free(p);
                topology_free(t);
        }
}

TEST_MAIN();
