/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * IdSet - a set of node or CPU ids, and the list format that the kernel and the config use for it
 *
 * The text is `0-3,7`: decimal ids and ranges, in any order, overlaps allowed; an empty text is
 * the empty set. Source: bitmap_parselist() in lib/bitmap-str.c of the kernel; strides (`0-9:2/4`)
 * are not taken, nothing of ours prints them.
 */

#include <stdbool.h>
#include <stddef.h>

/* Larger than any NR_CPUS or MAX_NUMNODES that a distribution builds; bounds memory and time. */
#define ID_SET_MAX 65536U

typedef struct IdRange {
        unsigned first;
        unsigned last; /* inclusive, as in the text */
} IdRange;

/* Ranges are sorted, never adjacent, never overlapping: equal sets are equal arrays. */
typedef struct IdSet {
        IdRange *ranges;
        size_t n_ranges;
} IdSet;

void id_set_done(IdSet *set); /* frees what it holds; the set is empty afterwards */

/*
 * Reads a list. Blanks around the whole text are ignored, as sysfs ends its lines with one.
 * Returns 0, -EINVAL (not such a list), -ERANGE (an id of ID_SET_MAX or above) or -ENOMEM;
 * @ret is untouched on error and overwritten, not freed, on success.
 */
int id_set_parse(const char *text, IdSet *ret);

/* The same for a mask as in cpumap: hexadecimal words of 32 bits, separated by commas. */
int id_set_parse_mask(const char *text, IdSet *ret);

bool id_set_contains(const IdSet *set, unsigned id);

/* The list format, to be freed by the caller; NULL when there is no memory. */
char *id_set_format(const IdSet *set);
