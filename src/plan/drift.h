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

/* One node of class dmem, as the kernel reports it in /sys/class/dmem/nodeN/. Bytes. */
typedef struct DmemNode {
        unsigned id;
        uint64_t requested, size, free, used, poisoned;
        DmemRange *regions;
        size_t n_regions;
} DmemNode;

/* What is in force in this boot. */
typedef struct InForce {
        bool class_present; /* /sys/class/dmem exists: the dmemfs module is loaded */
        bool reserved;      /* /proc/iomem has a resource named dmem */
        DmemNode *nodes;    /* sorted by id */
        size_t n_nodes;
} InForce;

void in_force_done(InForce *in_force);
const DmemNode *in_force_find_node(const InForce *in_force, unsigned id); /* or NULL */

typedef enum State {
        STATE_NONE,           /* nothing configured, nothing booted, nothing granted */
        STATE_PENDING_REBOOT, /* configured differs from booted, a reboot settles it */
        STATE_IN_FORCE,       /* booted as configured, and granted on every node */
        STATE_DRIFT,          /* granted is not what was booted with */
        STATE_DEGRADED,       /* in force, but with poisoned pages */
        _STATE_MAX,
} State;

const char *state_to_string(State state); /* `none`, `pending-reboot`, … as on the bus */
