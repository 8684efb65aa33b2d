/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What the hugepagesz= and hugepages= arguments of a command line ask of each node
 *
 *     hugepagesz=SIZE hugepages=NODE:COUNT[,NODE:COUNT...]
 *
 * Reads them as the kernel does (mm/hugetlb.c): hugepages= counts pages of the hugepagesz= before
 * it, and the second hugepagesz= of one size is ignored with what follows it. A count without a
 * node, or without a size before it, asks nothing of any node in particular and is passed over.
 * Pure.
 */

#include <stddef.h>
#include <stdint.h>

typedef struct HugePagesAsked {
        unsigned node;
        uint64_t page_size; /* bytes */
        uint64_t count;     /* pages, not 0 */
} HugePagesAsked;

/*
 * @arguments: NULL-terminated array, NULL is an empty one
 * @ret:       new array, sorted by node and then by page size, the largest first; to be freed
 *
 * Returns 0 or -ENOMEM.
 */
int hugepages_parse(char *const *arguments, HugePagesAsked **ret, size_t *ret_n);

/* How many pages of @page_size are asked of @node; 0 if none are. */
uint64_t hugepages_find(const HugePagesAsked *asked, size_t n, unsigned node, uint64_t page_size);
