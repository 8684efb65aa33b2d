/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Poisoned memory in class dmem: what the kernel has out of use in this boot, and taking more out
 */

#include <stddef.h>

#include "plan/ledger.h"

/*
 * host_load_poison() - regions, event counters and lists of all nodes of class dmem
 * @root_fd: directory that contains sys/
 * @ret:     to be freed with poison_nodes_free(); untouched on error
 *
 * An attribute that cannot be read or understood is marked unknown in its node; no class is no
 * nodes. A list is read again when events came while it was read.
 *
 * Returns 0, or a negative errno if we ran out of memory or file descriptors.
 */
int host_load_poison(int root_fd, PoisonNode **ret, size_t *ret_n);

/* The event counter alone. Returns 1 and *ret, 0 if it is not known, or as host_load_poison(). */
int host_load_poison_events(int root_fd, unsigned node, uint64_t *ret);

/*
 * Who uses poisoned memory of @node; to be freed with sightings_free(). Nobody, if that is not
 * known. Returns as host_load_poison().
 */
int host_load_poison_users(int root_fd, unsigned node, Sighting **ret, size_t *ret_n);

/*
 * Takes the unit at @address out of the pool of @node, if it is not out already.
 * Returns 0, -EINVAL (in none of its regions), -ENOENT (no such node) or what writing said.
 */
int host_retire(int root_fd, unsigned node, uint64_t address);
