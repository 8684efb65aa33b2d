/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "host/host-poison.h"
#include "tree.h"

#define NODE "sys/class/dmem/node4/"

TEST(nodes) {
        _cleanup_close_ int root_fd = tree_new();
        PoisonNode *nodes = NULL;
        Sighting *users = NULL;
        uint64_t events = 7;
        size_t n = 77;

        EXPECT_EQ("no class", host_load_poison(root_fd, &nodes, &n), 0);
        EXPECT_EQ("no class", n, 0);
        poison_nodes_free(nodes, n);

        tree_write(root_fd, NODE "regions", "0x1000-0x9000\n0x20000-0x30000\n");
        tree_write(root_fd, NODE "events", "5\n");
        tree_write(root_fd, NODE "poisoned", "0x2000 free\n0x3000 used\n");
        tree_write(root_fd, NODE "users", "0x3000 0:1 7 0x0 1,2 /f\n");
        tree_write(root_fd, "sys/class/dmem/node5/poisoned", "");
        tree_write(root_fd, "sys/class/dmem/node6/poisoned", "banana\n");
        tree_write(root_fd, "sys/class/dmem/node6/users", "banana\n");
        tree_write(root_fd, "sys/class/dmem/node7/regions", "0x40000-0x50000\n");

        EXPECT_EQ("load", host_load_poison(root_fd, &nodes, &n), 0);
        EXPECT_EQ("nodes", n, 4);
        if (n == 4) {
                EXPECT_EQ("id", nodes[0].id, 4);
                EXPECT_TRUE("events", nodes[0].events_known && nodes[0].events == 5);
                EXPECT_EQ("units", nodes[0].n_units, 2);
                EXPECT_TRUE("no events", !nodes[1].events_known);
                EXPECT_TRUE("empty is known", nodes[1].units_known && nodes[1].n_units == 0);
                EXPECT_TRUE("nonsense is not", !nodes[2].units_known);
                EXPECT_TRUE("an old module", !nodes[3].units_known && nodes[3].n_regions == 1);
                EXPECT_TRUE("find", poison_nodes_find(nodes, n, 0x2ffff) == &nodes[0]);
                EXPECT_TRUE("find", poison_nodes_find(nodes, n, 0x9000) == NULL);
        }
        poison_nodes_free(nodes, n);

        EXPECT_EQ("users", host_load_poison_users(root_fd, 4, &users, &n), 0);
        EXPECT_EQ("users", n, 1);
        sightings_free(users, n);
        EXPECT_EQ("nonsense", host_load_poison_users(root_fd, 6, &users, &n), 0);
        EXPECT_EQ("nonsense", n, 0);
        EXPECT_EQ("an old module", host_load_poison_users(root_fd, 7, &users, &n), 0);
        EXPECT_EQ("events", host_load_poison_events(root_fd, 4, &events), 1);
        EXPECT_EQ("events", events, 5);
        EXPECT_EQ("no events", host_load_poison_events(root_fd, 7, &events), 0);
}

TEST(retire) {
        _cleanup_close_ int root_fd = tree_new();
        _cleanup_free_ char *text = NULL;

        EXPECT_EQ("no node", host_retire(root_fd, 4, 0x2000), -ENOENT);
        tree_write(root_fd, NODE "retire", "");
        EXPECT_EQ("retire", host_retire(root_fd, 4, 0x2000), 0);
        EXPECT_EQ("retire", host_retire(root_fd, 4, UINT64_MAX - 4095), 0);
        EXPECT_EQ("read", root_read_file(root_fd, NODE "retire", &text, NULL), 0);
        EXPECT_STREQ("written", text, "0x2000\n0xfffffffffffff000\n");
}

TEST_MAIN()
