/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "host/host-hugepages.h"
#include "tree.h"

#define NODES "sys/devices/system/node/"

static void write_pool(int root_fd, unsigned node, uint64_t page_size, const char *total,
                       const char *free_pages) {
        char path[160];

        for (unsigned i = 0; i < 2; i++) {
                (void)snprintf(path, sizeof(path),
                               NODES "node%u/hugepages/hugepages-%llukB/%s_hugepages", node,
                               (unsigned long long)(page_size / KiB), i == 0 ? "nr" : "free");
                tree_write(root_fd, path, i == 0 ? total : free_pages);
        }
}

TEST(load) {
        _cleanup_close_ int root_fd = tree_new();
        InForce in_force = {};
        const HugePool *pool;

        write_pool(root_fd, 0, GiB, "4\n", "1\n");
        write_pool(root_fd, 0, 2 * MiB, "?\n", "0\n");
        write_pool(root_fd, 12, 2 * MiB, "7\n", "x\n");
        tree_write(root_fd, NODES "node3/cpulist", "0\n");
        EXPECT_EQ("load", host_load_pools(root_fd, &in_force), 0);

        pool = in_force_find_pool(&in_force, 0, GiB);
        EXPECT_TRUE("0 1G", pool && pool->known && pool->free_known);
        EXPECT_EQ("0 1G", pool->total, 4);
        EXPECT_EQ("0 1G", pool->free, 1);
        pool = in_force_find_pool(&in_force, 0, 2 * MiB);
        EXPECT_TRUE("0 2M", pool && !pool->known);
        pool = in_force_find_pool(&in_force, 12, 2 * MiB);
        EXPECT_TRUE("12 2M", pool && pool->known && !pool->free_known);
        EXPECT_EQ("12 2M", pool->total, 7);
        /* The kernel shows a folder for each size that it knows. */
        pool = in_force_find_pool(&in_force, 12, GiB);
        EXPECT_TRUE("12 1G", pool && pool->known);
        EXPECT_EQ("12 1G", pool->total, 0);
        /* Without the folder of all sizes nothing is known. */
        pool = in_force_find_pool(&in_force, 3, GiB);
        EXPECT_TRUE("3 1G", pool && !pool->known);
        EXPECT_TRUE("no such node", !in_force_find_pool(&in_force, 1, GiB));
        in_force_done(&in_force);
}

static uint64_t total_of(int root_fd, unsigned node, uint64_t page_size) {
        InForce in_force = {};
        const HugePool *pool;
        uint64_t total;

        EXPECT_EQ("load", host_load_pools(root_fd, &in_force), 0);
        pool = in_force_find_pool(&in_force, node, page_size);
        total = pool && pool->known ? pool->total : UINT64_MAX;
        in_force_done(&in_force);
        return total;
}

/* In a tree of plain files every page that is asked for is there at once. */
TEST(grow) {
        _cleanup_close_ int root_fd = tree_new();
        HugePagesWish wishes[] = {
                { .node = 0, .page_size = GiB, .asked = 4 },
                { .node = 0, .page_size = 2 * MiB, .asked = 8 },
                { .node = 1, .page_size = 2 * MiB, .asked = 8 },
                { .node = 2, .page_size = 2 * MiB, .asked = 8 },
        };

        write_pool(root_fd, 0, GiB, "3\n", "3\n");
        write_pool(root_fd, 0, 2 * MiB, "8\n", "8\n");
        write_pool(root_fd, 1, 2 * MiB, "9\n", "9\n");
        EXPECT_EQ("grow", host_grow_pools(root_fd, wishes, ELEMENTSOF(wishes)), 0);
        EXPECT_EQ("before", wishes[0].before, 3);
        EXPECT_EQ("granted", wishes[0].granted, 4);
        EXPECT_EQ("file", total_of(root_fd, 0, GiB), 4);
        EXPECT_EQ("enough", wishes[1].granted, 8);
        /* Somebody made one more: it is not ours to take. */
        EXPECT_EQ("more", wishes[2].granted, 9);
        EXPECT_EQ("more", total_of(root_fd, 1, 2 * MiB), 9);
        EXPECT_TRUE("no such node", !wishes[3].known);
        EXPECT_EQ("not made", root_exists(root_fd, NODES "node2"), 0);
}

TEST(misplaced) {
        static const struct {
                const char *label;
                const char *node0, *node1, *free1;
                uint64_t after0, after1;
        } table[] = {
                { "moved", "0\n", "3\n", "3\n", 1, 2 },
                { "in use where it is", "0\n", "3\n", "0\n", 1, 3 },
                { "made by somebody else", "0\n", "4\n", "4\n", 1, 4 },
                { "nobody misses one", "1\n", "3\n", "3\n", 1, 3 },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                _cleanup_close_ int root_fd = tree_new();
                HugePagesWish wishes[] = {
                        { .node = 0, .page_size = GiB, .asked = 1 },
                        { .node = 1, .page_size = GiB, .asked = 2 },
                };

                write_pool(root_fd, 0, GiB, table[i].node0, table[i].node0);
                write_pool(root_fd, 1, GiB, table[i].node1, table[i].free1);
                EXPECT_EQ(table[i].label, host_grow_pools(root_fd, wishes, 2), 0);
                EXPECT_EQ(table[i].label, total_of(root_fd, 0, GiB), table[i].after0);
                EXPECT_EQ(table[i].label, total_of(root_fd, 1, GiB), table[i].after1);
        }
}

TEST_MAIN()
