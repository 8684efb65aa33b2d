/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Drift - configured, booted and granted against each other
 *
 * Three things can differ: what the boot loader will say at the next boot (configured), what this
 * boot was told (booted) and what the kernel really set aside (granted, per node). Pure.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "plan/plan.h"

typedef struct DmemRange {
        uint64_t start, end; /* [start, end) */
} DmemRange;

/*
 * One node of class dmem, as the kernel reports it in /sys/class/dmem/nodeN/. Bytes. A value whose
 * …_unknown is set could not be read and is 0 for want of a better one; show it as unknown.
 */
typedef struct DmemNode {
        unsigned id;
        uint64_t requested, size, free, used, poisoned;
        uint64_t poison_events; /* in this boot; 0 if that is not known */
        bool requested_unknown;
        bool size_unknown;  /* neither size_bytes nor regions could be read */
        bool usage_unknown; /* of free, used and poisoned at least one could not be read */
        DmemRange *regions; /* sorted, never overlapping; none if they could not be read */
        size_t n_regions;
} DmemNode;

/* The huge pages of one size on one node. */
typedef struct HugePool {
        unsigned node;
        uint64_t page_size;
        bool known, free_known;
        uint64_t total, free; /* pages */
} HugePool;

/* What is in force in this boot. */
typedef struct InForce {
        bool class_present;    /* /sys/class/dmem exists: the dmemfs module is loaded */
        bool reserved;         /* /proc/iomem has a resource named dmem */
        bool reserved_unknown; /* there is no /proc/iomem to ask */
        DmemNode *nodes;       /* sorted by id */
        size_t n_nodes;
        HugePool *pools; /* sorted by node; none while nobody has counted them */
        size_t n_pools;
} InForce;

void in_force_done(InForce *in_force);
const DmemNode *in_force_find_node(const InForce *in_force, unsigned id); /* or NULL */
const HugePool *in_force_find_pool(const InForce *in_force, unsigned node,
                                   uint64_t page_size); /* or NULL */

/* Bytes of the regions of a node; its size if they could not be read. */
uint64_t dmem_node_region_bytes(const DmemNode *node);

typedef enum State {
        STATE_NONE,           /* nothing configured, nothing booted, nothing granted */
        STATE_PENDING_REBOOT, /* configured differs from booted, a reboot settles it */
        STATE_IN_FORCE,       /* planned, configured, booted and granted are the same */
        STATE_DRIFT,          /* they are not, and a reboot alone does not settle it */
        STATE_DEGRADED,       /* in force, but with poisoned pages */
        _STATE_MAX,
} State;

const char *state_to_string(State state); /* `none`, `pending-reboot`, … as on the bus */

/*
 * state_judge() - say in which state the host is, and why
 * @plan:       what should be; NULL while there is none (a bad configuration, say)
 * @configured: our arguments at the next boot, NULL-terminated; NULL: not known
 * @booted:     our arguments of this boot, NULL-terminated; NULL: not known
 * @in_force:   what the kernel set aside
 * @ret:        the state
 * @reasons:    findings are appended, in the order below
 *
 * What is not known is not compared, but what was asked for is not in force before the kernel says
 * so. The findings, a warning each unless it says otherwise:
 *
 *   `not-applied`        the plan is not what is configured (info while nothing is in use)
 *   `reboot-required`    info: configured differs from booted
 *   `argument-invalid`   an item of a booted dmem= that the kernel cannot read either
 *   `no-kernel-support`  dmem= was booted, but the kernel does not know it
 *   `module-not-loaded`  memory is reserved, but nobody can use it, nor see on which node it is
 *   `granted-less`       a node got less than was asked for
 *   `granted-more`       a node has more than was asked for
 *   `granted-unknown`    nothing says what was granted, to a node or at all
 *   `hugepages-less`     a node has fewer huge pages than were asked for
 *   `poisoned`           a node has poisoned memory
 *
 * The kernel's own view of what was asked for (requested_bytes) counts; the arguments are read
 * only where there is none. What is lost to the alignment that an item asks for is no drift.
 *
 * A plan with errors, or one made while `module-not-loaded`, is not compared. Of several states the
 * first of these holds: none, drift if not even the next boot is as planned, pending-reboot, drift,
 * degraded, in-force.
 *
 * Returns 0 or -ENOMEM.
 */
int state_judge(const Plan *plan, char *const *configured, char *const *booted,
                const InForce *in_force, State *ret, Findings *reasons);
