/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "host/host-dmem.h"
#include "plan/cmdline.h"
#include "tree.h"

DEFINE_CLEANUP(char **, strv_free);

TEST(regions) {
        static const struct {
                const char *text;
                int r;
                const char *regions;
        } table[] = {
                { "", 0, "" },
                { "0x100000000-0x140000000\n", 0, "100000000-140000000" },
                { "0x100000000-0x140000000", 0, "100000000-140000000" },
                { "0x200-0x300\n0x0-0x100\n", 0, "0-100 200-300" },
                { "0x100-0x200\n0x200-0x300\n", 0, "100-200 200-300" },
                { "0x100-0x200\n\n", 0, "100-200" },
                { "0x100-0x201\n0x200-0x300\n", -EBADMSG, NULL },
                { "0x100-0x200\n0x100-0x200\n", -EBADMSG, NULL },
                { "0x100-0x100\n", -EBADMSG, NULL },
                { "0x200-0x100\n", -EBADMSG, NULL },
                { "0x100\n", -EBADMSG, NULL },
                { "0x100-\n", -EBADMSG, NULL },
                { "-0x100\n", -EBADMSG, NULL },
                { "0x100-0x200 x\n", -EBADMSG, NULL },
                { "0x100-0x1ffffffffffffffff\n", -EBADMSG, NULL },
                { "0x0-0xffffffffffffffff\n", 0, "0-ffffffffffffffff" },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                char shown[128] = "", *end = shown;
                DmemRange *regions = NULL;
                size_t n = 7;

                EXPECT_EQ(table[i].text, regions_parse(table[i].text, &regions, &n), table[i].r);
                if (table[i].r < 0) {
                        EXPECT_EQ(table[i].text, n, 7);
                        EXPECT_TRUE(table[i].text, !regions);
                        continue;
                }
                for (size_t k = 0; k < n; k++)
                        end += sprintf(end, "%s%" PRIx64 "-%" PRIx64, k > 0 ? " " : "",
                                       regions[k].start, regions[k].end);
                EXPECT_STREQ(table[i].text, shown, table[i].regions);
                free(regions);
        }
}

TEST(iomem) {
        static const struct {
                const char *text;
                bool has;
        } table[] = {
                { "", false },
                { "00000000-00000000 : dmem\n", true },
                { "00000000-00000fff : Reserved\n  100000000-13fffffff : dmem\n", true },
                { "100000000-13fffffff : dmem", true },
                { "100000000-13fffffff : dmem \n", false },
                { "100000000-13fffffff : dmemfs\n", false },
                { "100000000-13fffffff : xdmem\n", false },
                { "100000000-13fffffff : nouveau dmem\n", false },
                { "100000000-13fffffff : a : dmem\n", false },
                { "100000000-13fffffff : dmem : a\n", false },
                { "dmem\n", false },
                { "\n\n : \n : dmem\n", true },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++)
                EXPECT_EQ(table[i].text, iomem_has_dmem(table[i].text), table[i].has);
}

TEST(class_absent) {
        _cleanup_close_ int root_fd = tree_new();
        InForce in_force;

        EXPECT_EQ("empty root", host_load_in_force(root_fd, &in_force), 0);
        EXPECT_TRUE("no class", !in_force.class_present);
        EXPECT_TRUE("no iomem", !in_force.reserved && in_force.reserved_unknown);
        EXPECT_EQ("no nodes", in_force.n_nodes, 0);
        in_force_done(&in_force);

        tree_write(root_fd, "proc/iomem", "00000000-00000000 : System RAM\n");
        EXPECT_EQ("iomem", host_load_in_force(root_fd, &in_force), 0);
        EXPECT_TRUE("iomem", !in_force.reserved && !in_force.reserved_unknown);
        in_force_done(&in_force);
}

#define NODE "sys/class/dmem/node12/"

TEST(class_present) {
        _cleanup_close_ int root_fd = tree_new();
        const DmemNode *node;
        InForce in_force;

        tree_write(root_fd, NODE "requested_bytes", "3000\n");
        tree_write(root_fd, NODE "size_bytes", "2000\n");
        tree_write(root_fd, NODE "free_bytes", "1500\n");
        tree_write(root_fd, NODE "used_bytes", "496\n");
        tree_write(root_fd, NODE "poisoned_bytes", "4\n");
        tree_write(root_fd, NODE "regions", "0x1000-0x17d0\n");
        tree_write(root_fd, "sys/class/dmem/node4/size_bytes", "five\n");
        tree_write(root_fd, "sys/class/dmem/node5/regions", "0x1000-0x3000\n");
        tree_write(root_fd, "sys/class/dmem/node06/size_bytes", "5\n");
        tree_write(root_fd, "sys/class/dmem/node7", "no folder\n");
        tree_write(root_fd, "proc/iomem", "00000000-00000000 : dmem\n");

        EXPECT_EQ("load", host_load_in_force(root_fd, &in_force), 0);
        EXPECT_TRUE("class", in_force.class_present && in_force.reserved);
        EXPECT_EQ("4, 5 and 12", in_force.n_nodes, 3);
        node = in_force_find_node(&in_force, 12);
        EXPECT_TRUE("12", node != NULL);
        if (node) {
                EXPECT_EQ("requested", node->requested, 3000);
                EXPECT_EQ("size", node->size, 2000);
                EXPECT_EQ("free", node->free, 1500);
                EXPECT_EQ("used", node->used, 496);
                EXPECT_EQ("poisoned", node->poisoned, 4);
                EXPECT_EQ("regions", node->n_regions, 1);
                EXPECT_TRUE("known", !node->requested_unknown && !node->size_unknown &&
                                             !node->usage_unknown);
        }
        node = in_force_find_node(&in_force, 4);
        EXPECT_TRUE("4",
                    node && node->requested_unknown && node->size_unknown && node->usage_unknown);
        node = in_force_find_node(&in_force, 5);
        EXPECT_TRUE("5", node && !node->size_unknown && node->size == 0x2000);
        in_force_done(&in_force);
}

TEST(booted) {
        static const struct {
                const char *text; /* NULL: no such file */
                const char *own;  /* NULL: not known */
        } table[] = {
                { NULL, NULL },
                { "", NULL },
                { "\n", "" },
                { "ro quiet\n", "" },
                { "ro dmem=0:4G quiet\n", "dmem=0:4G" },
                { "ro dmem=0:4G hugepages=5 -- dmem=1G\n", "dmem=0:4G hugepages=5" },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                const char *label = table[i].text ? table[i].text : "no file";
                _cleanup_close_ int root_fd = tree_new();
                _cleanup_(strv_freep) char **own = NULL;
                _cleanup_free_ char *joined = NULL;

                if (table[i].text)
                        tree_write(root_fd, "proc/cmdline", table[i].text);
                EXPECT_EQ(label, host_load_booted(root_fd, &own), 0);
                joined = own ? arguments_join(own) : NULL;
                EXPECT_STREQ(label, joined, table[i].own);
        }
}

TEST(fixture) {
        _cleanup_close_ int root_fd = tree_open_fixture("x86_64-2n-in-force");
        InForce in_force;

        EXPECT_EQ("load", host_load_in_force(root_fd, &in_force), 0);
        EXPECT_TRUE("class and iomem", in_force.class_present && in_force.reserved);
        EXPECT_EQ("nodes", in_force.n_nodes, 2);
        if (in_force.n_nodes == 2) {
                EXPECT_EQ("node 0", in_force.nodes[0].size, 2 * GiB);
                EXPECT_EQ("node 1", in_force.nodes[1].size, 14 * GiB);
                EXPECT_EQ("node 1", in_force.nodes[1].used, GiB);
                EXPECT_EQ("node 1", in_force.nodes[1].n_regions, 1);
        }
        in_force_done(&in_force);
}

TEST_MAIN()
