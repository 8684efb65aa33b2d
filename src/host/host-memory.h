/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The memory of a host: nodes, CPUs and memory blocks from procfs and sysfs
 *
 * Reads below @root_fd, where NODES is sys/devices/system/node and BLOCKS
 * sys/devices/system/memory:
 *
 *   NODES/nodeN/                     which nodes there are
 *   proc/zoneinfo                    installed memory: `present` of all zones of a node
 *   NODES/nodeN/meminfo              MemTotal, where zoneinfo does not speak of the node
 *   NODES/nodeN/cpulist, or cpumap   CPUs
 *   NODES/nodeN/memoryM              memory blocks, or else BLOCKS/memoryM/nodeN
 *   BLOCKS/memoryM/state             `offline`: such a block holds no memory
 *   BLOCKS/block_size_bytes          to count regions in force as the blocks that they were
 *   proc/meminfo                     MemTotal, MemAvailable and Hugetlb of the whole host
 *   dmemd-capture/page_size          base page of a captured host
 *
 * A file that is missing, unreadable or cut off makes a fact unknown, never zero and never an
 * error. zoneinfo is not believed for a node of which it lists less than the kernel has in use by
 * the node's own meminfo: it was cut off, or its pages are not of the size we think.
 */

#include <stdbool.h>
#include <stdint.h>

#include "plan/drift.h"
#include "plan/topology.h"

/*
 * Where a captured tree says how large its base pages are: bytes, decimal, on a line of its own.
 * No file of procfs or sysfs has this.
 */
#define HOST_CAPTURE_PAGE_SIZE "dmemd-capture/page_size"

/*
 * host_load_topology() - read the topology of a host
 * @root_fd:  directory that contains proc/ and sys/
 * @in_force: from host_load_in_force(), so that reserved memory counts as installed; may be NULL
 * @ret:      new topology, to be freed by the caller; untouched on error
 *
 * A node that has regions but no folder any more is listed as well. A host without any folder has
 * no nodes.
 *
 * Returns 0, or a negative errno if we ran out of memory or file descriptors.
 */
int host_load_topology(int root_fd, const InForce *in_force, Topology **ret);

/*
 * Is @root_fd the file system this process runs on? So if it is the same directory, by device and
 * inode, as `/`; then, and only then, what the C library knows of this machine holds for it too.
 * Returns 1, 0 or a negative errno.
 */
int host_is_live(int root_fd);

/* Zones of a node as in zoneinfo. */
typedef struct ZoneinfoNode {
        unsigned id;
        bool damaged;     /* a zone is cut off, listed twice or makes no sense: do not use pages */
        uint64_t present; /* base pages */
} ZoneinfoNode;

typedef struct Zoneinfo {
        ZoneinfoNode *nodes; /* sorted by id */
        size_t n_nodes;
} Zoneinfo;

void zoneinfo_done(Zoneinfo *zoneinfo);

/*
 * Reads the text of /proc/zoneinfo. A last line without its newline is taken as cut off. Returns 0
 * or -ENOMEM; @ret is untouched on error.
 */
int zoneinfo_parse(const char *text, Zoneinfo *ret);

/*
 * Finds `KEY: N kB` in the text of a meminfo file; @prefix is what stands before the key on each
 * line, `` or `Node 3 `. Returns 0 and bytes, or -ENOENT, -EBADMSG (not such a line) or -ERANGE.
 */
int meminfo_parse(const char *text, const char *prefix, const char *key, uint64_t *ret);
