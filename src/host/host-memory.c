/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <sys/stat.h>

#include "basic/id-set.h"
#include "basic/macro.h"
#include "basic/root-fs.h"
#include "basic/size-util.h"
#include "host/host-file.h"
#include "host/host-memory.h"

#define NODE_PATH "sys/devices/system/node"
#define BLOCK_PATH "sys/devices/system/memory"

#define PAGE_SIZE_MIN (4 * KiB)
/* No architecture of Linux has larger base pages: 256K on powerpc 44x and Hexagon. */
#define PAGE_SIZE_MAX (256 * KiB)

/* proc/zoneinfo */

void zoneinfo_done(Zoneinfo *zoneinfo) {
        free(zoneinfo->nodes);
        *zoneinfo = (Zoneinfo){};
}

typedef struct Zone {
        unsigned node;
        const char *name;
        unsigned n_present; /* how often the line was there; once, if all is well */
        bool damaged;
        uint64_t present; /* base pages */
} Zone;

typedef struct Zones {
        Zone *items;
        size_t n_items, room;
        Zone *current; /* the one whose lines are being read, NULL: none */
} Zones;

static void zones_done(Zones *zones) {
        free(zones->items);
}

/* `Node 0, zone   Normal`, of which @line is what follows `Node `. Returns 0 or -ENOMEM. */
static int start_zone(Zones *zones, char *line) {
        char *id_text = strsep(&line, ",");
        const char *name;
        unsigned id;

        zones->current = NULL;
        name = line ? startswith(line, " zone ") : NULL;
        if (!name || parse_unsigned(id_text, &id) < 0 || id >= ID_SET_MAX)
                return 0;
        if (zones->n_items == zones->room) {
                size_t room = zones->room == 0 ? 16 : zones->room * 2;
                Zone *grown = reallocarray(zones->items, room, sizeof(Zone));

                if (!grown)
                        return -ENOMEM;
                zones->items = grown;
                zones->room = room;
        }
        zones->current = &zones->items[zones->n_items++];
        *zones->current = (Zone){ .node = id, .name = name + strspn(name, " ") };
        return 0;
}

static int read_zones(Zones *zones, char *text) {
        int r;

        /* What follows the last newline is cut off, be it a `present` or not. */
        for (char *end; (end = strchr(text, '\n')); text = end + 1) {
                const char *present;

                *end = '\0';
                if (startswith(text, "Node ")) {
                        r = start_zone(zones, text + strlen("Node "));
                        if (r < 0)
                                return r;
                        continue;
                }
                present = startswith(text + strspn(text, " "), "present ");
                if (!present || !zones->current)
                        continue;
                present += strspn(present, " ");
                zones->current->n_present++;
                if (parse_u64(present, &zones->current->present) < 0)
                        zones->current->damaged = true;
        }
        return 0;
}

static int compare_zones(const void *a, const void *b) {
        const Zone *x = a, *y = b;

        if (x->node != y->node)
                return x->node > y->node ? 1 : -1;
        return strcmp(x->name, y->name);
}

/* @before is the zone before this one when sorted, or NULL. */
static void add_zone(ZoneinfoNode *node, const Zone *zone, const Zone *before) {
        if (zone->damaged || zone->n_present != 1 || (before && compare_zones(before, zone) == 0) ||
            __builtin_add_overflow(node->present, zone->present, &node->present))
                node->damaged = true;
}

int zoneinfo_parse(const char *text, Zoneinfo *ret) {
        _cleanup_(zones_done) Zones zones = {};
        _cleanup_free_ ZoneinfoNode *nodes = NULL;
        _cleanup_free_ char *copy = NULL;
        size_t n_nodes = 0;
        int r;

        copy = strdup(text);
        if (!copy)
                return -ENOMEM;
        r = read_zones(&zones, copy);
        if (r < 0)
                return r;
        nodes = new0(ZoneinfoNode, zones.n_items + 1);
        if (!nodes)
                return -ENOMEM;
        if (zones.n_items > 0)
                qsort(zones.items, zones.n_items, sizeof(Zone), compare_zones);
        for (size_t i = 0; i < zones.n_items; i++) {
                const Zone *zone = &zones.items[i], *before = i > 0 ? zone - 1 : NULL;

                if (!before || before->node != zone->node)
                        nodes[n_nodes++].id = zone->node;
                add_zone(&nodes[n_nodes - 1], zone, before);
        }

        *ret = (Zoneinfo){ .nodes = TAKE_PTR(nodes), .n_nodes = n_nodes };
        return 0;
}

static int compare_ids(const void *key, const void *item) {
        const unsigned *id = key;
        const ZoneinfoNode *node = item;

        return (*id > node->id) - (*id < node->id);
}

static const ZoneinfoNode *find_zones(const Zoneinfo *zoneinfo, unsigned id) {
        return bsearch(&id, zoneinfo->nodes, zoneinfo->n_nodes, sizeof(ZoneinfoNode), compare_ids);
}

static int load_zoneinfo(int root_fd, Zoneinfo *ret) {
        _cleanup_free_ char *text = NULL;
        int r;

        r = host_read_fact(root_fd, "proc/zoneinfo", &text);
        if (r < 0)
                return r;
        return zoneinfo_parse(text ? text : "", ret);
}

/* meminfo */

/* `  1024 kB` up to the end of the line */
static int parse_kib(const char *p, uint64_t *ret) {
        _cleanup_free_ char *digits = NULL;
        size_t length;
        uint64_t kib, bytes;
        int r;

        p += strspn(p, " \t");
        length = strspn(p, "0123456789");
        digits = strndup(p, length);
        if (!digits)
                return -ENOMEM;
        p += length;
        p += strspn(p, " ");
        p = startswith(p, "kB");
        if (!p || (*p != '\n' && *p != '\0'))
                return -EBADMSG;
        r = parse_u64(digits, &kib);
        if (r < 0)
                return r == -ERANGE ? -ERANGE : -EBADMSG;
        if (__builtin_mul_overflow(kib, KiB, &bytes))
                return -ERANGE;

        *ret = bytes;
        return 0;
}

int meminfo_parse(const char *text, const char *prefix, const char *key, uint64_t *ret) {
        while (*text != '\0') {
                const char *p = startswith(text, prefix);

                p = p ? startswith(p, key) : NULL;
                if (p && *p == ':')
                        return parse_kib(p + 1, ret);
                text += strcspn(text, "\n");
                text += *text == '\n';
        }
        return -ENOENT;
}

static int load_in_use(int root_fd, Topology *t) {
        _cleanup_free_ char *text = NULL;
        uint64_t total, available, huge;
        int r;

        r = host_read_fact(root_fd, "proc/meminfo", &text);
        if (r < 0 || !text)
                return r;
        if (meminfo_parse(text, "", "MemTotal", &total) < 0 ||
            meminfo_parse(text, "", "MemAvailable", &available) < 0)
                return 0;
        t->in_use_known = true;
        t->in_use_bytes = total > available ? total - available : 0;
        if (meminfo_parse(text, "", "Hugetlb", &huge) < 0)
                return 0; /* before 4.19 */
        t->in_use_huge_bytes = huge < t->in_use_bytes ? huge : t->in_use_bytes;
        return 0;
}

/* MemTotal of a node. Returns 1, 0 if it is unknown, or a negative errno. */
static int load_node_total(int root_fd, unsigned id, uint64_t *ret) {
        _cleanup_free_ char *path = NULL, *prefix = NULL, *text = NULL;
        int r;

        if (asprintf(&path, NODE_PATH "/node%u/meminfo", id) < 0 ||
            asprintf(&prefix, "Node %u ", id) < 0)
                return -ENOMEM;
        r = host_read_fact(root_fd, path, &text);
        if (r < 0 || !text)
                return r;
        r = meminfo_parse(text, prefix, "MemTotal", ret);
        if (r == -ENOMEM)
                return r;
        return r < 0 ? 0 : 1;
}

/* Installed memory of one node */

typedef struct KernelMemory {
        MemorySource source;
        uint64_t bytes;
} KernelMemory;

/*
 * What the kernel has of a node. @total is its MemTotal, NULL while that is unknown. As MemTotal is
 * `present` without what the kernel never had to give, more of it than of `present` means that
 * zoneinfo is cut off between two zones, or that base pages are larger than we think.
 */
static KernelMemory judge_memory(const Zoneinfo *zoneinfo, unsigned id, uint64_t page_size,
                                 const uint64_t *total, bool has_folder) {
        const ZoneinfoNode *zones = find_zones(zoneinfo, id);
        uint64_t bytes;

        if (zones && !zones->damaged &&
            !__builtin_mul_overflow(zones->present, page_size, &bytes) &&
            (!total || *total <= bytes))
                return (KernelMemory){ .source = MEMORY_ZONEINFO, .bytes = bytes };
        /* Old kernels list no zone of a node without memory; a node without folder is gone. */
        if (!zones && zoneinfo->n_nodes > 0 && ((total && *total == 0) || !has_folder))
                return (KernelMemory){ .source = MEMORY_ZONEINFO, .bytes = 0 };
        if (total)
                return (KernelMemory){ .source = MEMORY_MEMINFO, .bytes = *total };
        if (!zones && !has_folder)
                return (KernelMemory){ .source = MEMORY_MEMINFO, .bytes = 0 };
        return (KernelMemory){ .source = MEMORY_UNKNOWN };
}

static int load_installed(int root_fd, const Zoneinfo *zoneinfo, uint64_t page_size,
                          bool has_folder, TopologyNode *node) {
        KernelMemory kernel;
        uint64_t total;
        int r;

        r = load_node_total(root_fd, node->id, &total);
        if (r < 0)
                return r;
        kernel = judge_memory(zoneinfo, node->id, page_size, r > 0 ? &total : NULL, has_folder);
        if (kernel.source == MEMORY_UNKNOWN ||
            __builtin_add_overflow(kernel.bytes, node->region_bytes, &node->installed)) {
                node->installed = 0;
                return 0;
        }
        node->source = kernel.source;
        return 0;
}

/* CPUs */

/* Reads one of the two files. Returns 1, 0 if it says nothing, or a negative errno. */
static int load_cpu_file(int root_fd, unsigned id, const char *name,
                         int (*parse)(const char *, IdSet *), IdSet *ret) {
        _cleanup_free_ char *path = NULL, *text = NULL;
        int r;

        if (asprintf(&path, NODE_PATH "/node%u/%s", id, name) < 0)
                return -ENOMEM;
        r = host_read_fact(root_fd, path, &text);
        if (r < 0 || !text)
                return r;
        r = parse(text, ret);
        if (r == -ENOMEM)
                return r;
        return r < 0 ? 0 : 1;
}

static int load_cpus(int root_fd, TopologyNode *node) {
        _cleanup_(id_set_done) IdSet cpus = {};
        int r;

        r = load_cpu_file(root_fd, node->id, "cpulist", id_set_parse, &cpus);
        if (r == 0)
                r = load_cpu_file(root_fd, node->id, "cpumap", id_set_parse_mask, &cpus);
        if (r <= 0)
                return r;
        node->cpu_list = id_set_format(&cpus);
        if (!node->cpu_list)
                return -ENOMEM;
        node->cpus = cpus.n_ranges > 0 ? CPUS_SOME : CPUS_NONE;
        return 0;
}

/* Memory blocks */

/* Returns 1 or 0, or a negative errno. A block that does not say counts as online. */
static int block_is_online(int root_fd, unsigned block) {
        _cleanup_free_ char *path = NULL, *state = NULL;
        int r;

        if (asprintf(&path, BLOCK_PATH "/memory%u/state", block) < 0)
                return -ENOMEM;
        r = host_read_fact(root_fd, path, &state);
        if (r < 0)
                return r;
        return !state || !startswith(state, "offline");
}

static void add_block(TopologyNode *node, uint64_t block) {
        if (node->has_lowest_block && node->lowest_block <= block)
                return;
        node->has_lowest_block = true;
        node->lowest_block = block;
}

/* Returns 1 if the node has block links, 0 if it has none. */
static int load_lowest_block(int root_fd, TopologyNode *node) {
        _cleanup_free_ unsigned *blocks = NULL;
        _cleanup_free_ char *path = NULL;
        size_t n_blocks;
        int r;

        if (asprintf(&path, NODE_PATH "/node%u", node->id) < 0)
                return -ENOMEM;
        r = host_list_numbers(root_fd, path, "memory", &blocks, &n_blocks);
        if (r < 0)
                return r;
        for (size_t i = 0; i < n_blocks; i++) {
                r = block_is_online(root_fd, blocks[i]);
                if (r < 0)
                        return r;
                if (r == 0)
                        continue;
                add_block(node, blocks[i]);
                break;
        }
        return n_blocks > 0;
}

static TopologyNode *find_node(Topology *t, unsigned id) {
        for (size_t i = 0; i < t->n_nodes; i++)
                if (t->nodes[i].id == id)
                        return &t->nodes[i];
        return NULL;
}

/* Gives a block to its nodes, mostly one, unless they have a lower one. */
static int assign_block(int root_fd, unsigned block, Topology *t) {
        _cleanup_free_ unsigned *ids = NULL;
        _cleanup_free_ char *path = NULL;
        size_t n_ids;
        int r;

        r = block_is_online(root_fd, block);
        if (r <= 0)
                return r;
        if (asprintf(&path, BLOCK_PATH "/memory%u", block) < 0)
                return -ENOMEM;
        r = host_list_numbers(root_fd, path, "node", &ids, &n_ids);
        if (r < 0)
                return r;
        for (size_t i = 0; i < n_ids; i++) {
                TopologyNode *node = find_node(t, ids[i]);

                if (node)
                        add_block(node, block);
        }
        return 0;
}

/* Where a node does not link to its blocks, the blocks may link to their nodes. */
static int load_blocks_backwards(int root_fd, Topology *t) {
        _cleanup_free_ unsigned *blocks = NULL;
        size_t n_blocks;
        int r;

        r = host_list_numbers(root_fd, BLOCK_PATH, "memory", &blocks, &n_blocks);
        if (r < 0)
                return r;
        for (size_t i = 0; i < n_blocks; i++) {
                r = assign_block(root_fd, blocks[i], t);
                if (r < 0)
                        return r;
        }
        return 0;
}

/*
 * Reserved memory has no blocks any more. It counts as if it had, so that the boot node stays what
 * it was before the reservation.
 */
static int load_reserved_blocks(int root_fd, const InForce *in_force, Topology *t) {
        _cleanup_free_ char *text = NULL;
        uint64_t block_size;
        int r;

        r = root_read_text(root_fd, BLOCK_PATH "/block_size_bytes", &text);
        if (r == -ENOMEM)
                return r;
        /* Printed in hex without a 0x prefix, see drivers/base/memory.c */
        if (r < 0 || parse_hex(text, &block_size) < 0 || block_size == 0)
                return 0;
        for (size_t i = 0; i < in_force->n_nodes; i++) {
                const DmemNode *dmem = &in_force->nodes[i];
                TopologyNode *node = find_node(t, dmem->id);

                if (node && dmem->n_regions > 0)
                        add_block(node, dmem->regions[0].start / block_size);
        }
        return 0;
}

static int load_blocks(int root_fd, const InForce *in_force, Topology *t) {
        bool all_linked = true;
        int r;

        for (size_t i = 0; i < t->n_nodes; i++) {
                r = load_lowest_block(root_fd, &t->nodes[i]);
                if (r < 0)
                        return r;
                if (r == 0 && t->nodes[i].installed > 0)
                        all_linked = false;
        }
        if (!all_linked) {
                r = load_blocks_backwards(root_fd, t);
                if (r < 0)
                        return r;
        }
        return in_force ? load_reserved_blocks(root_fd, in_force, t) : 0;
}

/* The whole */

int host_is_live(int root_fd) {
        struct stat root, slash;

        if (fstat(root_fd, &root) < 0 || stat("/", &slash) < 0)
                return -errno;
        return root.st_dev == slash.st_dev && root.st_ino == slash.st_ino;
}

static int load_page_size(int root_fd, Topology *t) {
        uint64_t bytes;
        int r;

        r = host_is_live(root_fd);
        if (r < 0)
                return r;
        if (r > 0) {
                t->page_size = (uint64_t)sysconf(_SC_PAGESIZE);
                return 0;
        }
        r = host_read_fact_u64(root_fd, HOST_CAPTURE_PAGE_SIZE, &bytes);
        if (r < 0)
                return r;
        t->page_size_assumed =
                r == 0 || !is_power_of_two(bytes) || bytes < PAGE_SIZE_MIN || bytes > PAGE_SIZE_MAX;
        t->page_size = t->page_size_assumed ? PAGE_SIZE_MIN : bytes;
        return 0;
}

/* Returns 1 if there is a folder nodeN, 0 if not. */
static int has_folder(int root_fd, unsigned id) {
        _cleanup_close_ int fd = -EBADF;
        _cleanup_free_ char *path = NULL;

        if (asprintf(&path, NODE_PATH "/node%u", id) < 0)
                return -ENOMEM;
        fd = root_openat(root_fd, path, O_PATH | O_DIRECTORY, 0);
        return fd >= 0;
}

static int compare_nodes(const void *a, const void *b) {
        const TopologyNode *x = a, *y = b;

        return (x->id > y->id) - (x->id < y->id);
}

/* Fills in the ids: those with a folder and, if there are any, those with regions. */
static int load_ids(int root_fd, const InForce *in_force, Topology *t) {
        _cleanup_free_ unsigned *ids = NULL;
        size_t n_ids, n_regions = in_force ? in_force->n_nodes : 0;
        int r;

        r = host_list_numbers(root_fd, NODE_PATH, "node", &ids, &n_ids);
        if (r < 0)
                return r;
        t->nodes = new0(TopologyNode, n_ids + n_regions + 1);
        if (!t->nodes)
                return -ENOMEM;
        for (size_t i = 0; i < n_ids && ids[i] < ID_SET_MAX; i++) {
                r = has_folder(root_fd, ids[i]);
                if (r < 0)
                        return r;
                if (r > 0)
                        t->nodes[t->n_nodes++].id = ids[i];
        }
        if (t->n_nodes == 0)
                return 0;
        for (size_t i = 0; i < n_regions; i++)
                if (!find_node(t, in_force->nodes[i].id))
                        t->nodes[t->n_nodes++].id = in_force->nodes[i].id;
        qsort(t->nodes, t->n_nodes, sizeof(TopologyNode), compare_nodes);
        return 0;
}

static int load_node(int root_fd, const InForce *in_force, const Zoneinfo *zoneinfo, Topology *t,
                     TopologyNode *node) {
        const DmemNode *dmem = in_force ? in_force_find_node(in_force, node->id) : NULL;
        int r;

        if (dmem) {
                node->region_bytes = dmem_node_region_bytes(dmem);
                if (dmem->size_unknown)
                        t->regions_hidden = true;
        }
        r = has_folder(root_fd, node->id);
        if (r < 0)
                return r;
        r = load_installed(root_fd, zoneinfo, t->page_size, r > 0, node);
        return r < 0 ? r : load_cpus(root_fd, node);
}

int host_load_topology(int root_fd, const InForce *in_force, Topology **ret) {
        _cleanup_(topology_freep) Topology *t = NULL;
        _cleanup_(zoneinfo_done) Zoneinfo zoneinfo = {};
        int r;

        t = new0(Topology, 1);
        if (!t)
                return -ENOMEM;
        r = load_page_size(root_fd, t);
        if (r < 0)
                return r;
        r = load_ids(root_fd, in_force, t);
        if (r < 0)
                return r;
        r = load_zoneinfo(root_fd, &zoneinfo);
        if (r < 0)
                return r;
        t->regions_hidden = in_force && in_force->reserved && !in_force->class_present;
        for (size_t i = 0; i < t->n_nodes; i++) {
                r = load_node(root_fd, in_force, &zoneinfo, t, &t->nodes[i]);
                if (r < 0)
                        return r;
        }
        r = load_blocks(root_fd, in_force, t);
        if (r < 0)
                return r;
        r = load_in_use(root_fd, t);
        if (r < 0)
                return r;
        topology_choose_boot_node(t);

        *ret = TAKE_PTR(t);
        return 0;
}
