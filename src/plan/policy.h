/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Policy - what the administrator wants, as plain data
 *
 * Filled by host/config.c from dmemd.conf(5) and its drop-ins; policy_new() gives the defaults.
 * Every value remembers where it was set, so that a finding can name file and line. Knows nothing
 * of this host: whether a wish fits is for the plan to say.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "basic/id-set.h"
#include "basic/macro.h"

typedef enum Backend {
        BACKEND_DMEM,
        BACKEND_HUGETLB,
        BACKEND_NONE,
        _BACKEND_MAX,
} Backend;

/* Where a value was set. */
typedef struct Origin {
        char *path; /* to be shown: `/etc/dmemd/dmemd.conf` whatever the root; NULL: the default */
        unsigned line;
} Origin;

typedef enum DmemSizeKind {
        DMEM_SIZE_REST,    /* what kernel and huge pages leave */
        DMEM_SIZE_BYTES,   /* value is bytes; 0 is a value */
        DMEM_SIZE_PERCENT, /* value is percent of the installed memory of the node, 0 to 100 */
} DmemSizeKind;

typedef struct DmemSize {
        DmemSizeKind kind;
        uint64_t value;
} DmemSize;

typedef enum BootLoaderType {
        BOOT_LOADER_AUTO,
        BOOT_LOADER_GRUB,
        BOOT_LOADER_BLS,
        BOOT_LOADER_KERNEL_INSTALL,
        BOOT_LOADER_FILE,
        _BOOT_LOADER_TYPE_MAX,
} BootLoaderType;

/* [Node N]: what holds for one node in place of the general value; only where has_… is true. */
typedef struct NodePolicy {
        unsigned id;
        Origin origin; /* of the section */
        bool has_reserve, has_size, has_pages_2m, has_pages_1g;
        uint64_t reserve;
        DmemSize size;
        uint64_t pages_2m;
        uint64_t pages_1g;
        Origin reserve_origin, size_origin, pages_2m_origin, pages_1g_origin;
} NodePolicy;

typedef struct Policy {
        Backend backend;

        uint64_t reserve;           /* bytes that stay with the kernel on every node ... */
        unsigned reserve_percent;   /* ... or this share of the node, 0 to 100, if larger */
        uint64_t boot_node_reserve; /* bytes more on the boot node */

        DmemSize size;
        uint64_t align; /* power of two, at least 128 MiB */
        bool all_nodes; /* Nodes=all; otherwise nodes holds the list */
        IdSet nodes;
        bool cpu_less_nodes;

        uint64_t pages_2m;
        uint64_t pages_1g;
        bool optimize_vmemmap;

        char *mount_where;        /* absolute path */
        uint64_t mount_page_size; /* 4K, 2M or 1G */
        mode_t mount_mode;
        char *mount_user; /* name or number, looked up when mounting */
        char *mount_group;

        NodePolicy *node_policies; /* sorted by id, each id once */
        size_t n_node_policies;

        BootLoaderType boot_loader;
        char *boot_loader_file; /* absolute path; NULL unless set */

        Origin backend_origin, reserve_origin, reserve_percent_origin, boot_node_reserve_origin,
                size_origin, align_origin, nodes_origin, cpu_less_nodes_origin, pages_2m_origin,
                pages_1g_origin, mount_page_size_origin, boot_loader_origin;
} Policy;

/* A policy of defaults, as an empty configuration gives it; NULL when there is no memory. */
Policy *policy_new(void);
Policy *policy_free(Policy *p); /* accepts NULL, returns NULL */
DEFINE_CLEANUP(Policy *, policy_free);

/* Sets @origin to @path and @line; a NULL @path is the default. Returns 0 or -ENOMEM. */
int origin_set(Origin *origin, const char *path, unsigned line);

/* The overrides of node @id, or NULL. */
const NodePolicy *policy_find_node(const Policy *p, unsigned id);

/* The same for writing; a new one, with no override in it, if there was none. 0 or -ENOMEM. */
int policy_get_node(Policy *p, unsigned id, NodePolicy **ret);

/* Names as in the configuration and in JSON: `dmem`, `grub`, …; from_string: -EINVAL. */
const char *backend_to_string(Backend backend);
int backend_from_string(const char *text, Backend *ret);
const char *boot_loader_type_to_string(BootLoaderType type);
int boot_loader_type_from_string(const char *text, BootLoaderType *ret);
