/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "host/host-dmem.h"
#include "host/host-memory.h"
#include "plan/cmdline.h"
#include "tree.h"

DEFINE_CLEANUP(char **, strv_free);

#define NODES "sys/devices/system/node/"
#define BLOCKS "sys/devices/system/memory/"

/* `ID:PAGES` for each node, `ID!` for a damaged one. */
TEST(zoneinfo) {
        static const struct {
                const char *label, *text, *nodes;
        } table[] = {
                { "empty", "", "" },
                { "garbage", "\n\nhello\n  present 5\n", "" },
                { "one zone", "Node 0, zone   Normal\n  present 5\n", "0:5" },
                { "indented", "Node 0, zone Normal\n        present  5\n        managed 4\n",
                  "0:5" },
                { "two zones", "Node 0, zone DMA\n present 5\nNode 0, zone Normal\n present 6\n",
                  "0:11" },
                { "gaps",
                  "Node 0, zone DMA\n present 5\nNode 8, zone Normal\n present 6\n"
                  "Node 255, zone Normal\n present 7\n",
                  "0:5 8:6 255:7" },
                { "not sorted",
                  "Node 8, zone DMA\n present 5\nNode 0, zone DMA\n present 6\n"
                  "Node 8, zone Normal\n present 1\n",
                  "0:6 8:6" },
                { "node without memory", "Node 1, zone Normal\n  pages free 0\n  present  0\n",
                  "1:0" },
                { "pages free only", "Node 0, zone Normal\n  pages free 5\n  min 2\n", "0!" },
                { "cut before present",
                  "Node 0, zone DMA\n present 5\nNode 0, zone Normal\n  pages free 5\n", "0!" },
                { "cut within present", "Node 0, zone Normal\n  present 50", "0!" },
                { "cut behind present", "Node 0, zone Normal\n  present 50\n  mana", "0:50" },
                { "cut within the header", "Node 0, zone Normal\n  present 50\nNode 1, zone No",
                  "0:50" },
                { "zone twice", "Node 0, zone DMA\n present 5\nNode 0, zone DMA\n present 5\n",
                  "0!" },
                { "present twice", "Node 0, zone DMA\n present 5\n present 5\n", "0!" },
                { "no number", "Node 0, zone DMA\n present\n", "0!" },
                { "word", "Node 0, zone DMA\n present many\n", "0!" },
                { "negative", "Node 0, zone DMA\n present -5\n", "0!" },
                { "trailing text", "Node 0, zone DMA\n present 5 pages\n", "0!" },
                { "32 bits", "Node 0, zone DMA\n present 4294967296\n", "0:4294967296" },
                { "64 bits", "Node 0, zone DMA\n present 18446744073709551615\n",
                  "0:18446744073709551615" },
                { "beyond 64 bits", "Node 0, zone DMA\n present 18446744073709551616\n", "0!" },
                { "sum beyond 64 bits",
                  "Node 0, zone DMA\n present 18446744073709551615\nNode 0, zone Normal\n present "
                  "1\n",
                  "0!" },
                { "not a present", "Node 0, zone DMA\n presently 5\n", "0!" },
                { "odd header", "Node x, zone DMA\n present 5\nNode 1 zone DMA\n present 5\n", "" },
                { "huge id", "Node 65536, zone DMA\n present 5\n", "" },
                { "huger id", "Node 4294967296, zone DMA\n present 5\n", "" },
                { "odd header ends the zone",
                  "Node 0, zone DMA\n present 5\nNode -1, zone DMA\n present 7\n", "0:5" },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                char shown[128] = "", *end = shown;
                Zoneinfo zoneinfo;

                EXPECT_EQ(table[i].label, zoneinfo_parse(table[i].text, &zoneinfo), 0);
                for (size_t k = 0; k < zoneinfo.n_nodes; k++) {
                        const ZoneinfoNode *node = &zoneinfo.nodes[k];

                        end += sprintf(end, "%s%u", k > 0 ? " " : "", node->id);
                        end += node->damaged ? sprintf(end, "!")
                                             : sprintf(end, ":%" PRIu64, node->present);
                }
                EXPECT_STREQ(table[i].label, shown, table[i].nodes);
                zoneinfo_done(&zoneinfo);
        }
}

TEST(meminfo) {
        static const struct {
                const char *text, *prefix;
                int r;
                uint64_t bytes;
        } table[] = {
                { "MemTotal: 1 kB", "", 0, 1024 },
                { "\nMemFree: 3 kB\nMemTotal:\t 2 kB\n", "", 0, 2048 },
                { "\nNode 16 MemTotal:      1020176 kB\n", "Node 16 ", 0, 1020176 * KiB },
                { "Node 1 MemTotal: 1 kB\n", "Node 16 ", -ENOENT, 7 },
                { "Node 16 MemTotal: 1 kB\n", "Node 1 ", -ENOENT, 7 },
                { "", "", -ENOENT, 7 },
                { "MemTotalX: 1 kB", "", -ENOENT, 7 },
                { "xMemTotal: 1 kB", "", -ENOENT, 7 },
                { "MemTotal 1 kB", "", -ENOENT, 7 },
                { "MemTotal:", "", -EBADMSG, 7 },
                { "MemTotal: 10", "", -EBADMSG, 7 },
                { "MemTotal: 10 k", "", -EBADMSG, 7 },
                { "MemTotal: 10 MB", "", -EBADMSG, 7 },
                { "MemTotal: 10 kB more", "", -EBADMSG, 7 },
                { "MemTotal: -1 kB", "", -EBADMSG, 7 },
                { "MemTotal: kB", "", -EBADMSG, 7 },
                { "MemTotal: 18014398509481983 kB", "", 0, 18014398509481983 * KiB },
                { "MemTotal: 18014398509481984 kB", "", -ERANGE, 7 },
                { "MemTotal: 99999999999999999999 kB", "", -ERANGE, 7 },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                uint64_t bytes = 7;

                EXPECT_EQ(table[i].text,
                          meminfo_parse(table[i].text, table[i].prefix, "MemTotal", &bytes),
                          table[i].r);
                EXPECT_EQ(table[i].text, bytes, table[i].bytes);
        }
}

/* A node as in `0:zones:8192K+4096K:0-3:b5`: source, installed, regions, CPUs, lowest block. */
static void show_node(const TopologyNode *node, char *ret) {
        static const char *const sources[] = { "unknown", "zones", "meminfo" };

        ret += sprintf(ret, "%u:%s", node->id, sources[node->source]);
        if (node->source != MEMORY_UNKNOWN)
                ret += sprintf(ret, ":%" PRIu64 "K", node->installed / KiB);
        if (node->region_bytes > 0)
                ret += sprintf(ret, "+%" PRIu64 "K", node->region_bytes / KiB);
        ret += sprintf(ret, ":%s",
                       node->cpus == CPUS_UNKNOWN ? "?"
                       : node->cpus == CPUS_NONE  ? "none"
                                                  : node->cpu_list);
        if (node->has_lowest_block)
                ret += sprintf(ret, ":b%" PRIu64, node->lowest_block);
}

static void expect_topology(const char *label, int root_fd, const char *nodes, int boot_node,
                            bool regions_hidden) {
        char shown[1024] = "", *end = shown;
        InForce in_force = {};
        Topology *t = NULL;

        EXPECT_EQ(label, host_load_in_force(root_fd, &in_force), 0);
        EXPECT_EQ(label, host_load_topology(root_fd, &in_force, &t), 0);
        for (size_t i = 0; t && i < t->n_nodes; i++) {
                end += sprintf(end, "%s", i > 0 ? " " : "");
                show_node(&t->nodes[i], end);
                end += strlen(end);
        }
        EXPECT_STREQ(label, shown, nodes);
        if (t) {
                EXPECT_EQ(label, topology_check(t), 0);
                EXPECT_EQ(label, t->boot_node, boot_node);
                EXPECT_EQ(label, t->regions_hidden, regions_hidden);
        }
        topology_free(t);
        in_force_done(&in_force);
}

typedef struct File {
        const char *path, *text;
} File;

TEST(trees) {
        static const struct {
                const char *label;
                File files[10];
                const char *nodes;
                int boot_node;
                bool regions_hidden;
        } table[] = {
                { .label = "nothing", .nodes = "", .boot_node = -1 },
                { .label = "zoneinfo without folders",
                  .files = { { "proc/zoneinfo", "Node 0, zone DMA\n present 5\n" } },
                  .nodes = "",
                  .boot_node = -1 },
                { .label = "a folder without a file in it we know",
                  .files = { { NODES "node3/distance", "10\n" } },
                  .nodes = "3:unknown:?",
                  .boot_node = -1 },
                { .label = "names that are no nodes",
                  .files = { { NODES "node01/cpulist", "0\n" },
                             { NODES "node/cpulist", "0\n" },
                             { NODES "nodex/cpulist", "0\n" },
                             { NODES "node70000/cpulist", "0\n" },
                             { NODES "node99999999999/cpulist", "0\n" },
                             { NODES "node2", "a file\n" },
                             { NODES "node7/cpulist", "0\n" } },
                  .nodes = "7:unknown:0",
                  .boot_node = -1 },
                { .label = "zoneinfo and meminfo",
                  .files = { { "proc/zoneinfo",
                               "Node 0, zone Normal\n present 100\nNode 9, zone Normal\n present "
                               "50\n" },
                             { NODES "node0/cpulist", "0-3\n" },
                             { NODES "node0/meminfo", "Node 0 MemTotal: 390 kB\n" },
                             { NODES "node5/cpulist", "\n" },
                             { NODES "node5/meminfo", "Node 5 MemTotal: 200 kB\n" } },
                  .nodes = "0:zones:400K:0-3 5:meminfo:200K:none" },
                { .label = "zoneinfo that cannot be right",
                  .files = { { "proc/zoneinfo", "Node 0, zone Normal\n present 100\n" },
                             { NODES "node0/meminfo", "Node 0 MemTotal: 401 kB\n" } },
                  .nodes = "0:meminfo:401K:?" },
                { .label = "zoneinfo cut off",
                  .files = { { "proc/zoneinfo",
                               "Node 0, zone Normal\n present 100\nNode 1, zone Normal\n prese" },
                             { NODES "node0/meminfo", "Node 0 MemTotal: 390 kB\n" },
                             { NODES "node1/meminfo", "Node 1 MemTotal: 390 kB\n" },
                             { NODES "node2/meminfo", "Node 2 MemTo" } },
                  .nodes = "0:zones:400K:? 1:meminfo:390K:? 2:unknown:?" },
                { .label = "page size of the capture",
                  .files = { { HOST_CAPTURE_PAGE_SIZE, "65536\n" },
                             { "proc/zoneinfo", "Node 0, zone Normal\n present 100\n" },
                             { NODES "node0/meminfo", "Node 0 MemTotal: 6300 kB\n" } },
                  .nodes = "0:zones:6400K:?" },
                { .label = "too many pages",
                  .files = { { "proc/zoneinfo",
                               "Node 0, zone Normal\n present 18446744073709551615\n" },
                             { NODES "node0/cpulist", "0\n" } },
                  .nodes = "0:unknown:0",
                  .boot_node = -1 },
                { .label = "node without memory, old kernel",
                  .files = { { "proc/zoneinfo", "Node 1, zone Normal\n present 100\n" },
                             { NODES "node0/meminfo", "Node 0 MemTotal: 0 kB\n" },
                             { NODES "node1/meminfo", "Node 1 MemTotal: 400 kB\n" } },
                  .nodes = "0:zones:0K:? 1:zones:400K:?",
                  .boot_node = 1 },
                { .label = "CPUs by mask",
                  .files = { { NODES "node0/cpumap", "00000000,80000001\n" },
                             { NODES "node1/cpumap", "0\n" },
                             { NODES "node2/cpulist", "banana\n" },
                             { NODES "node2/cpumap", "f\n" },
                             { NODES "node3/cpulist", "" },
                             { NODES "node4/cpulist", "0-99999\n" } },
                  .nodes = "0:unknown:0,31 1:unknown:none 2:unknown:0-3 3:unknown:? 4:unknown:?",
                  .boot_node = -1 },
                { .label = "blocks",
                  .files = { { "proc/zoneinfo",
                               "Node 0, zone DMA\n present 1\nNode 1, zone DMA\n present 1\n" },
                             { NODES "node0/memory10", "" },
                             { NODES "node0/memory9", "" },
                             { NODES "node0/memory_side_cache", "" },
                             { NODES "node1/memory2", "" },
                             { NODES "node1/memory4", "" },
                             { NODES "node1/memory100", "" },
                             { BLOCKS "memory2/state", "offline\n" } },
                  .nodes = "0:zones:4K:?:b9 1:zones:4K:?:b4",
                  .boot_node = 1 },
                { .label = "blocks link to nodes",
                  .files = { { "proc/zoneinfo",
                               "Node 0, zone DMA\n present 1\nNode 1, zone DMA\n present 1\n" },
                             { NODES "node0/cpulist", "0\n" },
                             { NODES "node1/cpulist", "1\n" },
                             { BLOCKS "memory0/state", "offline\n" },
                             { BLOCKS "memory0/node0", "" },
                             { BLOCKS "memory3/node1", "" },
                             { BLOCKS "memory20/node0", "" },
                             { BLOCKS "memory20/node1", "" } },
                  .nodes = "0:zones:4K:0:b20 1:zones:4K:1:b3",
                  .boot_node = 1 },
                { .label = "blocks link to one node, another links to its own",
                  .files = { { "proc/zoneinfo",
                               "Node 0, zone DMA\n present 1\nNode 1, zone DMA\n present 1\n" },
                             { NODES "node0/cpulist", "0\n" },
                             { NODES "node1/memory7", "" },
                             { BLOCKS "memory3/node0", "" } },
                  .nodes = "0:zones:4K:0:b3 1:zones:4K:?:b7" },
                { .label = "all blocks offline",
                  .files = { { NODES "node0/memory7", "" },
                             { BLOCKS "memory7/state", "offline\n" } },
                  .nodes = "0:unknown:?",
                  .boot_node = -1 },
                { .label = "regions",
                  .files = { { "proc/zoneinfo", "Node 0, zone DMA\n present 1\n" },
                             { NODES "node0/cpulist", "0\n" },
                             { "sys/class/dmem/node0/regions",
                               "0x140000000-0x180000000\n0x40000000-0x80000000\n" } },
                  .nodes = "0:zones:2097156K+2097152K:0" },
                { .label = "regions count as blocks",
                  .files = { { "proc/zoneinfo",
                               "Node 0, zone DMA\n present 1\nNode 1, zone DMA\n present 1\n" },
                             { NODES "node0/memory3", "" },
                             { NODES "node1/memory4", "" },
                             { BLOCKS "block_size_bytes", "80000000\n" },
                             { "sys/class/dmem/node1/regions", "0x8000000-0x10000000\n" } },
                  .nodes = "0:zones:4K:?:b3 1:zones:131076K+131072K:?:b0",
                  .boot_node = 1 },
                { .label = "regions and a block size of nothing",
                  .files = { { "proc/zoneinfo", "Node 0, zone DMA\n present 1\n" },
                             { NODES "node0/memory3", "" },
                             { BLOCKS "block_size_bytes", "0\n" },
                             { "sys/class/dmem/node0/regions", "0x8000000-0x10000000\n" } },
                  .nodes = "0:zones:131076K+131072K:?:b3" },
                { .label = "regions by size",
                  .files = { { "proc/zoneinfo", "Node 0, zone DMA\n present 1\n" },
                             { NODES "node0/cpulist", "0\n" },
                             { "sys/class/dmem/node0/size_bytes", "4096\n" } },
                  .nodes = "0:zones:8K+4K:0" },
                { .label = "regions, and no zones left",
                  .files = { { "proc/zoneinfo",
                               "Node 0, zone DMA\n present 1\nNode 1, zone DMA\n present 0\n" },
                             { NODES "node0/cpulist", "0\n" },
                             { NODES "node1/cpulist", "\n" },
                             { "sys/class/dmem/node1/regions", "0x0-0x1000\n" } },
                  .nodes = "0:zones:4K:0 1:zones:4K+4K:none" },
                { .label = "regions, and the folder is gone",
                  .files = { { "proc/zoneinfo", "Node 3, zone DMA\n present 1\n" },
                             { NODES "node3/cpulist", "0\n" },
                             { "sys/class/dmem/node1/regions", "0x0-0x1000\n" } },
                  .nodes = "1:zones:4K+4K:? 3:zones:4K:0",
                  .boot_node = 1 },
                { .label = "regions and no folder at all",
                  .files = { { "sys/class/dmem/node0/regions", "0x0-0x1000\n" } },
                  .nodes = "",
                  .boot_node = -1 },
                { .label = "regions that cannot be read",
                  .files = { { "proc/zoneinfo", "Node 0, zone DMA\n present 1\n" },
                             { NODES "node0/cpulist", "0\n" },
                             { "sys/class/dmem/node0/regions", "somewhere\n" } },
                  .nodes = "0:zones:4K:0",
                  .regions_hidden = true },
                { .label = "regions hidden",
                  .files = { { "proc/zoneinfo", "Node 0, zone DMA\n present 1\n" },
                             { "proc/iomem", "00000000-00000000 : dmem\n" },
                             { NODES "node0/cpulist", "0\n" } },
                  .nodes = "0:zones:4K:0",
                  .regions_hidden = true },
                { .label = "installed beyond 64 bits",
                  .files = { { "proc/zoneinfo", "Node 0, zone DMA\n present 1\n" },
                             { NODES "node0/cpulist", "0\n" },
                             { "sys/class/dmem/node0/size_bytes", "18446744073709551615\n" } },
                  .nodes = "0:unknown+18014398509481983K:0",
                  .boot_node = -1 },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                _cleanup_close_ int root_fd = tree_new();

                for (const File *file = table[i].files; file->path; file++)
                        tree_write(root_fd, file->path, file->text);
                expect_topology(table[i].label, root_fd, table[i].nodes, table[i].boot_node,
                                table[i].regions_hidden);
        }
}

TEST(padded_with_nul) {
        static const char zoneinfo[] = "Node 0, zone DMA\n present 1\n\0\0\0Node 0, zone X\n";
        static const char cpulist[] = "0-3\n\0\0";
        static const char nothing[16] = "";
        _cleanup_close_ int root_fd = tree_new();

        tree_write_bytes(root_fd, "proc/zoneinfo", zoneinfo, sizeof(zoneinfo));
        tree_write_bytes(root_fd, NODES "node0/cpulist", cpulist, sizeof(cpulist));
        tree_write_bytes(root_fd, NODES "node1/cpulist", nothing, sizeof(nothing));
        tree_write_bytes(root_fd, NODES "node1/meminfo", nothing, sizeof(nothing));
        expect_topology("padded", root_fd, "0:zones:4K:0-3 1:unknown:?", 0, false);
}

/* Wherever zoneinfo ends, a node has what it has or an estimate that says so. */
TEST(zoneinfo_cut_anywhere) {
        _cleanup_close_ int fixture_fd = tree_open_fixture("x86_64-2n-before"),
                            root_fd = tree_new();
        _cleanup_free_ char *zoneinfo = NULL, *meminfo = NULL;
        size_t size = 0, n_exact = 0;

        EXPECT_EQ("zoneinfo", root_read_file(fixture_fd, "proc/zoneinfo", &zoneinfo, &size), 0);
        EXPECT_EQ("meminfo", root_read_text(fixture_fd, NODES "node0/meminfo", &meminfo), 0);
        tree_write(root_fd, NODES "node0/meminfo", meminfo);
        for (size_t length = 0; length <= size; length += 29) {
                _cleanup_(topology_freep) Topology *t = NULL;
                const TopologyNode *node;

                tree_write_bytes(root_fd, "proc/zoneinfo", zoneinfo, length);
                EXPECT_EQ("load", host_load_topology(root_fd, NULL, &t), 0);
                node = &t->nodes[0];
                if (node->source == MEMORY_ZONEINFO)
                        n_exact++;
                EXPECT_EQ("installed", node->installed,
                          (node->source == MEMORY_ZONEINFO ? 7339488 : 7212936) * KiB);
        }
        EXPECT_TRUE("some are exact, some are not", n_exact > 10 && n_exact < size / 29 - 10);
}

TEST(page_size) {
        static const struct {
                const char *text;
                uint64_t bytes;
                bool assumed;
        } table[] = {
                { "4096\n", 4096, false },   { "65536", 65536, false }, { "16384\n", 16384, false },
                { "0\n", 4096, true },       { "5000\n", 4096, true },  { "2048\n", 4096, true },
                { "1048576\n", 4096, true }, { "64K\n", 4096, true },   { "", 4096, true },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                _cleanup_close_ int root_fd = tree_new();
                _cleanup_(topology_freep) Topology *t = NULL;

                tree_write(root_fd, HOST_CAPTURE_PAGE_SIZE, table[i].text);
                EXPECT_EQ(table[i].text, host_load_topology(root_fd, NULL, &t), 0);
                EXPECT_EQ(table[i].text, t->page_size, table[i].bytes);
                EXPECT_EQ(table[i].text, t->page_size_assumed, table[i].assumed);
        }
}

TEST(in_use) {
        static const struct {
                const char *text;
                bool known;
                uint64_t bytes, huge;
        } table[] = {
                { "MemTotal: 100 kB\nMemFree: 5 kB\nMemAvailable: 60 kB\n", true, 40 * KiB },
                { "MemTotal: 100 kB\nMemAvailable: 60 kB\nHugetlb: 30 kB\n", true, 40 * KiB,
                  30 * KiB },
                { "MemTotal: 100 kB\nMemAvailable: 60 kB\nHugetlb: 50 kB\n", true, 40 * KiB,
                  40 * KiB },
                { "MemTotal: 100 kB\nMemAvailable: 60 kB\nHugetlb: x kB\n", true, 40 * KiB },
                { "MemTotal: 100 kB\nMemAvailable: 160 kB\n", true, 0 },
                { "MemTotal: 100 kB\nMemFree: 5 kB\n", false, 0 },
                { "MemAvailable: 5 kB\n", false, 0 },
                { "MemTotal: 100 kB\nMemAvailable: 6", false, 0 },
                { "", false, 0 },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                _cleanup_close_ int root_fd = tree_new();
                _cleanup_(topology_freep) Topology *t = NULL;

                tree_write(root_fd, "proc/meminfo", table[i].text);
                EXPECT_EQ(table[i].text, host_load_topology(root_fd, NULL, &t), 0);
                EXPECT_EQ(table[i].text, t->in_use_known, table[i].known);
                EXPECT_EQ(table[i].text, t->in_use_bytes, table[i].bytes);
                EXPECT_EQ(table[i].text, t->in_use_huge_bytes, table[i].huge);
        }
}

TEST(fixtures) {
        static const struct {
                const char *name, *nodes;
        } table[] = {
                { "arm64-1n-first-block-8", "0:meminfo:1888980K:0:b8" },
                { "x86_64-7n-holes",
                  "0:meminfo:3005392K:0-1 1:meminfo:1002460K:2-3 2:meminfo:524288K:4-5 "
                  "4:meminfo:524288K:none 6:meminfo:393216K:none 8:meminfo:393216K:none "
                  "9:meminfo:393216K:none" },
                { "x86_64-2n-before", "0:zones:7339488K:0-1:b0 1:zones:16777216K:2-3:b72" },
                { "x86_64-2n-in-force",
                  "0:zones:7339488K+2097152K:0-1:b0 1:zones:16777216K+14680064K:2-3:b72" },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                _cleanup_close_ int root_fd = tree_open_fixture(table[i].name);

                EXPECT_TRUE(table[i].name, root_fd >= 0);
                if (root_fd >= 0)
                        expect_topology(table[i].name, root_fd, table[i].nodes, 0, false);
        }
}

/* Loads a fixture, plans it by default, and judges it as if configured like it was booted. */
static Plan *plan_fixture(const char *name, State *ret) {
        _cleanup_close_ int root_fd = tree_open_fixture(name);
        _cleanup_(topology_freep) Topology *t = NULL;
        _cleanup_(policy_freep) Policy *policy = policy_new();
        _cleanup_(strv_freep) char **booted = NULL;
        Findings reasons = {};
        Plan *plan = NULL;
        InForce in_force;

        EXPECT_EQ(name, host_load_in_force(root_fd, &in_force), 0);
        EXPECT_EQ(name, host_load_topology(root_fd, &in_force, &t), 0);
        EXPECT_EQ(name, host_load_booted(root_fd, &booted), 0);
        EXPECT_EQ(name, plan_make(t, policy, 0, &plan), 0);
        EXPECT_EQ(name, state_judge(plan, booted, booted, &in_force, ret, &reasons), 0);
        findings_done(&reasons);
        in_force_done(&in_force);
        return plan;
}

TEST(plan_stays_after_reboot) {
        _cleanup_(plan_freep) Plan *before = NULL, *after = NULL;
        _cleanup_free_ char *planned = NULL, *planned_again = NULL;
        State state_before, state_after;

        before = plan_fixture("x86_64-2n-before", &state_before);
        after = plan_fixture("x86_64-2n-in-force", &state_after);
        planned = arguments_join(before->arguments);
        planned_again = arguments_join(after->arguments);
        EXPECT_STREQ("before", planned, "dmem=0:2G,1:14G");
        EXPECT_STREQ("after", planned_again, "dmem=0:2G,1:14G");
        EXPECT_EQ("before", state_before, STATE_NONE);
        EXPECT_EQ("after", state_after, STATE_IN_FORCE);
}

TEST(seventeen_nodes_by_mask) {
        _cleanup_close_ int root_fd = tree_open_fixture("ia64-17n-cpumap-only");
        _cleanup_(topology_freep) Topology *t = NULL;

        EXPECT_EQ("load", host_load_topology(root_fd, NULL, &t), 0);
        EXPECT_EQ("nodes", t ? t->n_nodes : 0, 17);
        if (!t || t->n_nodes != 17)
                return;
        for (unsigned i = 0; i < 16; i++) {
                char list[32];

                (void)snprintf(list, sizeof(list), "%u-%u", 8 * i, 8 * i + 7);
                EXPECT_STREQ("cpumap", t->nodes[i].cpu_list, list);
        }
        EXPECT_EQ("node 16", t->nodes[16].cpus, CPUS_NONE);
        EXPECT_EQ("node 16", t->nodes[16].installed, 1020176 * KiB);
        EXPECT_TRUE("page size", t->page_size_assumed);
}

/* Whatever machine this is. */
TEST(live_host) {
        _cleanup_close_ int root_fd = root_open("/"), other_fd = tree_new();
        _cleanup_(topology_freep) Topology *t = NULL;
        InForce in_force;

        EXPECT_EQ("/", host_is_live(root_fd), 1);
        EXPECT_EQ("scratch", host_is_live(other_fd), 0);
        EXPECT_EQ("/", host_load_in_force(root_fd, &in_force), 0);
        EXPECT_EQ("/", host_load_topology(root_fd, &in_force, &t), 0);
        EXPECT_EQ("/", topology_check(t), 0);
        EXPECT_EQ("/", t->page_size, sysconf(_SC_PAGESIZE));
        EXPECT_TRUE("/", !t->page_size_assumed);
        in_force_done(&in_force);
}

TEST_MAIN()
