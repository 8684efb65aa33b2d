/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Every host below $DMEMD_CORPUS/topologies/ is read, and what must hold for any host is checked
 * against the files themselves. The exact figures of some are in test-host-memory.
 */

#include <dirent.h>

#include "host/host-dmem.h"
#include "host/host-memory.h"
#include "tree.h"

DEFINE_CLEANUP(DIR *, closedir);
DEFINE_CLEANUP(char **, strv_free);

#define NODES "sys/devices/system/node"

/* MemTotal of a node by the shortest way there is; 0 if the file has none. */
static uint64_t mem_total(int root_fd, unsigned id) {
        _cleanup_free_ char *path = NULL, *text = NULL;
        const char *total;

        if (asprintf(&path, NODES "/node%u/meminfo", id) < 0)
                abort();
        if (root_read_text(root_fd, path, &text) < 0)
                return 0;
        total = strstr(text, "MemTotal:");
        return total ? strtoull(total + strlen("MemTotal:"), NULL, 10) * KiB : 0;
}

static void check_node(const char *host, int root_fd, const TopologyNode *node) {
        uint64_t total = mem_total(root_fd, node->id);

        EXPECT_EQ(host, node->source != MEMORY_UNKNOWN, total > 0);
        EXPECT_TRUE(host, node->installed >= total);
        EXPECT_EQ(host, node->region_bytes, 0);
        if (node->source == MEMORY_MEMINFO)
                EXPECT_EQ(host, node->installed, total);
        /* What the kernel keeps for itself at boot is a few percent: more is a misreading. */
        EXPECT_TRUE(host, node->installed - total <= total / 16);
}

static void check_host(const char *host, int root_fd) {
        _cleanup_(strv_freep) char **folders = NULL, **booted = NULL;
        _cleanup_(topology_freep) Topology *t = NULL;
        InForce in_force = {};

        if (root_list(root_fd, NODES, "node", &folders) < 0)
                folders = NULL;
        EXPECT_EQ(host, host_load_booted(root_fd, &booted), 0);
        EXPECT_EQ(host, booted != NULL, root_exists(root_fd, "proc/cmdline"));
        EXPECT_EQ(host, host_load_in_force(root_fd, &in_force), 0);
        EXPECT_TRUE(host, !in_force.class_present && !in_force.reserved);
        EXPECT_EQ(host, host_load_topology(root_fd, &in_force, &t), 0);
        EXPECT_EQ(host, t->n_nodes, strv_length(folders));
        EXPECT_EQ(host, topology_check(t), 0);
        EXPECT_EQ(host, t->boot_node >= 0, t->n_nodes > 0);
        for (size_t i = 0; i < t->n_nodes; i++)
                check_node(host, root_fd, &t->nodes[i]);
        in_force_done(&in_force);
}

TEST(hosts) {
        const char *corpus = getenv("DMEMD_CORPUS");
        _cleanup_(closedirp) DIR *dir = NULL;
        char path[PATH_MAX];

        if (!corpus)
                TEST_SKIP("DMEMD_CORPUS is not set");
        (void)snprintf(path, sizeof(path), "%s/topologies", corpus);
        dir = opendir(path);
        if (!dir)
                TEST_SKIP("there is no folder topologies/ in DMEMD_CORPUS");
        for (struct dirent *entry; (entry = readdir(dir));) {
                _cleanup_close_ int root_fd = -EBADF;

                if (entry->d_name[0] == '.' || entry->d_type != DT_DIR)
                        continue;
                root_fd = openat(dirfd(dir), entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                check_host(entry->d_name, root_fd);
        }
}

TEST_MAIN()
