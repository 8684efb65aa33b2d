/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "plan/topology.h"
#include "test.h"

#define ZONES(id_, installed_)                                                                     \
        { .id = (id_), .source = MEMORY_ZONEINFO, .installed = (installed_) }
#define BLOCK(id_, installed_, block_)                                                             \
        {                                                                                          \
                .id = (id_), .source = MEMORY_ZONEINFO, .installed = (installed_),                 \
                .has_lowest_block = true, .lowest_block = (block_)                                 \
        }
#define UNKNOWN(id_)                                                                               \
        { .id = (id_) }
#define UNKNOWN_BLOCK(id_, block_)                                                                 \
        { .id = (id_), .has_lowest_block = true, .lowest_block = (block_) }

TEST(choose_boot_node) {
        static const struct {
                const char *label;
                TopologyNode nodes[3];
                size_t n_nodes;
                int boot_node;
        } table[] = {
                { "no nodes", {}, 0, -1 },
                { "nothing known", { UNKNOWN(0), UNKNOWN(1) }, 2, -1 },
                { "no memory", { ZONES(0, 0), ZONES(1, 0) }, 2, -1 },
                { "lowest id", { ZONES(3, GiB), ZONES(5, GiB) }, 2, 3 },
                { "lowest id with memory", { ZONES(0, 0), ZONES(8, GiB), ZONES(9, GiB) }, 3, 8 },
                { "lowest block", { BLOCK(0, GiB, 64), BLOCK(1, GiB, 0) }, 2, 1 },
                { "shared block", { BLOCK(2, GiB, 7), BLOCK(4, GiB, 7) }, 2, 2 },
                { "block beats id", { ZONES(0, GiB), BLOCK(1, GiB, 5) }, 2, 1 },
                { "block without memory", { BLOCK(0, 0, 0), BLOCK(1, GiB, 5) }, 2, 1 },
                { "a block shows memory", { UNKNOWN_BLOCK(0, 0), BLOCK(1, GiB, 5) }, 2, 0 },
                { "unknown is not chosen", { UNKNOWN(0), ZONES(1, GiB) }, 2, 1 },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                TopologyNode nodes[3];
                Topology t = { .page_size = 4096, .nodes = nodes, .n_nodes = table[i].n_nodes };

                memcpy(nodes, table[i].nodes, sizeof(nodes));
                topology_choose_boot_node(&t);
                EXPECT_EQ(table[i].label, t.boot_node, table[i].boot_node);
                EXPECT_EQ(table[i].label, topology_check(&t), 0);
        }
}

TEST(check) {
        static const struct {
                const char *label;
                uint64_t page_size;
                int boot_node;
                TopologyNode nodes[2];
                int r;
        } table[] = {
                { "sound", 65536, 1, { ZONES(0, 0), ZONES(1, GiB) }, 0 },
                { "no page size", 0, -1, { ZONES(0, 0), ZONES(1, 0) }, -EBADMSG },
                { "odd page size", 5000, -1, { ZONES(0, 0), ZONES(1, 0) }, -EBADMSG },
                { "small page size", 2048, -1, { ZONES(0, 0), ZONES(1, 0) }, -EBADMSG },
                { "not sorted", 4096, -1, { ZONES(1, 0), ZONES(0, 0) }, -EBADMSG },
                { "twice", 4096, -1, { ZONES(1, 0), ZONES(1, 0) }, -EBADMSG },
                { "boot node missing", 4096, 2, { ZONES(0, GiB), ZONES(1, GiB) }, -EBADMSG },
                { "boot node empty", 4096, 0, { ZONES(0, 0), ZONES(1, GiB) }, -EBADMSG },
                { "boot node -2", 4096, -2, { ZONES(0, 0), ZONES(1, GiB) }, -EBADMSG },
                { "regions larger than the node",
                  4096,
                  0,
                  { { .id = 0,
                      .source = MEMORY_MEMINFO,
                      .installed = GiB,
                      .region_bytes = 2 * GiB },
                    ZONES(1, 0) },
                  -EBADMSG },
                { "CPUs without a list",
                  4096,
                  -1,
                  { { .cpus = CPUS_SOME }, ZONES(1, 0) },
                  -EBADMSG },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                TopologyNode nodes[2];
                Topology t = { .page_size = table[i].page_size,
                               .nodes = nodes,
                               .n_nodes = 2,
                               .boot_node = table[i].boot_node };

                memcpy(nodes, table[i].nodes, sizeof(nodes));
                EXPECT_EQ(table[i].label, topology_check(&t), table[i].r);
        }
}

TEST(find_node) {
        TopologyNode nodes[] = { ZONES(0, 1), ZONES(255, 2) };
        Topology t = { .page_size = 4096, .nodes = nodes, .n_nodes = 2 };

        EXPECT_TRUE("255", topology_find_node(&t, 255) == &nodes[1]);
        EXPECT_TRUE("1", topology_find_node(&t, 1) == NULL);
        EXPECT_TRUE("NULL", topology_free(NULL) == NULL);
}

TEST_MAIN()
