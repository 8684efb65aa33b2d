/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Status - what is configured, booted and granted on a host, side by side
 *
 * status_load() collects it from the files of a host, status_parse() from the text that dmemd
 * sends. What is not known is marked so and is null in JSON; it is never 0. Bytes.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "basic/macro.h"
#include "host/mount.h"
#include "plan/drift.h"
#include "plan/plan.h"

/* Where the configured arguments were learned. */
typedef enum ConfiguredSource {
        CONFIGURED_UNKNOWN,     /* nobody says what the next boot gets */
        CONFIGURED_BOOT_LOADER, /* read back from the boot loader's own files */
        CONFIGURED_APPLIED,     /* what dmemctl noted at the last apply: those are not readable */
        _CONFIGURED_SOURCE_MAX,
} ConfiguredSource;

/* A number that may be unknown. */
typedef struct MaybeBytes {
        bool known;
        uint64_t bytes;
} MaybeBytes;

/* Huge pages of one size on one node, in pages. */
typedef struct StatusPool {
        uint64_t page_size;
        MaybeBytes configured, booted, granted, free;
} StatusPool;

typedef struct StatusNode {
        unsigned id;
        char *cpus; /* list, NULL: unknown */
        MaybeBytes configured, booted, granted, used, free, poisoned;
        DmemRange *regions;
        size_t n_regions;
        StatusPool *pools; /* only sizes that are configured, booted or granted */
        size_t n_pools;
} StatusNode;

typedef struct Status {
        char *source; /* who says so: `dmemd`, `sysfs` (the live host), `files` (another root) */
        State state;
        bool has_backend; /* false: the configuration cannot be read */
        Backend backend;
        bool reboot_required;
        ConfiguredSource configured_source;
        char **configured; /* own arguments of the next boot; NULL: unknown */
        char **booted;     /* own arguments of this boot; NULL: unknown */
        /* Sums over the nodes; of those that are known, if one is not known */
        MaybeBytes requested, granted, used, free, poisoned;
        MaybeBytes metadata_saved; /* struct pages that this boot does without */
        StatusNode *nodes;         /* sorted by id */
        size_t n_nodes;
        DmemMounts mounts;
        Findings findings; /* why the state is what it is */
        char *advice;      /* one sentence: what to do now */
} Status;

Status *status_free(Status *s); /* accepts NULL, returns NULL */
DEFINE_CLEANUP(Status *, status_free);

const StatusNode *status_find_node(const Status *s, unsigned id);               /* or NULL */
const StatusPool *status_find_pool(const StatusNode *node, uint64_t page_size); /* or NULL */
const char *configured_source_to_string(ConfiguredSource source); /* NULL for unknown */

/*
 * status_load() - look at the host below @root_fd
 * @policy: NULL if the configuration cannot be read; the boot loader is then found by itself
 *
 * Works for any user; what only root may read is taken from where everybody may, or is unknown.
 * Returns 0, -ENOMEM, or what reading sysfs said; @ret is untouched on error.
 */
int status_load(int root_fd, const Policy *policy, Status **ret);
