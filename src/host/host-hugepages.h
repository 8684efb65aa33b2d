/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Huge pages of each node, as in sys/devices/system/node/nodeN/hugepages/
 *
 * The kernel allocates what it can and says neither at boot nor later that it was less; 6.12 even
 * takes 1G pages from another node than the one that was named. So only counting them tells.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "plan/drift.h"

/*
 * host_load_pools() - add the huge pages of every node to @in_force
 *
 * A size that the kernel does not know has no pages; without the folder of a node nothing is known.
 * Returns 0, or a negative errno if we ran out of memory or file descriptors.
 */
int host_load_pools(int root_fd, InForce *in_force);

/* Pages that a boot asked for on one node, and what became of it. */
typedef struct HugePagesWish {
        unsigned node;
        uint64_t page_size, asked;
        bool known;       /* before and granted could be read */
        uint64_t before;  /* pages that were there */
        uint64_t granted; /* pages that are there now */
} HugePagesWish;

/*
 * host_grow_pools() - get the pages that are missing
 * @wishes: sorted by node; their results are filled in
 *
 * Asks the kernel again, after it has compacted the memory of the node, a few times in half a
 * minute at most. Does nothing that costs others: no caches are dropped, no page is taken away
 * from anybody. Free 1G pages that landed on another node than the one that asked for them are
 * given back there first, as long as no more pages exist than were asked for in all: more were made
 * by somebody else.
 *
 * Returns 0 also if some are still missing, or a negative errno if we ran out of memory or file
 * descriptors.
 */
int host_grow_pools(int root_fd, HugePagesWish *wishes, size_t n_wishes);
