/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Topology - the memory this host has, as plain data
 *
 * Filled by host/host-memory.c from sysfs and procfs, or by a test from literals. Knows nothing of
 * files, policy or time. Sizes and addresses are bytes; ranges are half open, [start, end).
 * What could not be found out is marked unknown; it is never zero.
 *
 * Invariants, verified by topology_check(): nodes sorted by id, each id once; page_size a power of
 * two of at least 4096; installed >= region_bytes where it is known; boot_node names a node that
 * has memory, or is -1. A node has memory if installed says so or, while that is unknown, if it has
 * a memory block.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "basic/macro.h"

typedef enum MemorySource {
        MEMORY_UNKNOWN,  /* neither zoneinfo nor meminfo speaks of this node */
        MEMORY_ZONEINFO, /* exact: `present` of all zones of the node */
        MEMORY_MEMINFO,  /* estimated: MemTotal of the node, less than is installed */
} MemorySource;

typedef enum CpuState {
        CPUS_UNKNOWN, /* no cpulist, no cpumap, or they cannot be read */
        CPUS_NONE,    /* the node has no CPU: HBM, CXL or persistent memory */
        CPUS_SOME,
} CpuState;

typedef struct TopologyNode {
        unsigned id;
        MemorySource source;
        uint64_t installed;    /* what the kernel has plus the dmem regions in force; see source */
        uint64_t region_bytes; /* dmem regions in force on this node */
        CpuState cpus;
        char *cpu_list;        /* as in cpulist, e.g. `0-3,8`; NULL while unknown */
        bool has_lowest_block; /* lowest_block is known */
        uint64_t lowest_block; /* its lowest memory block, the M of memoryM */
} TopologyNode;

typedef struct Topology {
        uint64_t page_size;     /* base page: 4K on x86-64; 4K, 16K or 64K on arm64 */
        bool page_size_assumed; /* a captured tree did not say, 4 KiB was taken */
        TopologyNode *nodes;
        size_t n_nodes; /* 0: the host has no nodeN folders */
        int boot_node;  /* node of the lowest memory; -1 when no node has any */
        bool in_use_known;
        uint64_t in_use_bytes;      /* MemTotal - MemAvailable now */
        uint64_t in_use_huge_bytes; /* the part of it that is huge pages, used or not */
        bool regions_hidden; /* dmem regions are in force, but nothing says where or how large */
} Topology;

Topology *topology_free(Topology *t); /* accepts NULL, returns NULL */
DEFINE_CLEANUP(Topology *, topology_free);

/* Returns 0 if the invariants hold, else -EBADMSG. */
int topology_check(const Topology *t);

/*
 * Sets boot_node: of the nodes with memory the one with the lowest memory block, the lower id if
 * two share that block; without any memory block the lowest id.
 */
void topology_choose_boot_node(Topology *t);

/* NULL if the host has no such node. */
const TopologyNode *topology_find_node(const Topology *t, unsigned id);
