/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Pace - when the journal hears of each page, and when only of how many
 *
 * A few pages get an entry each. More than PACE_EACH within PACE_USEC are a storm: one entry with
 * the count at once, and one for all that follow in each PACE_USEC after that, until one passes
 * without any. One Pace for each node. Pure: the clock comes in as an argument.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PACE_EACH 8
#define PACE_USEC (UINT64_C(30) * 1000 * 1000)

typedef struct Pace {
        bool storm;
        uint64_t until; /* end of the window, or of the silence in a storm */
        size_t n;       /* entries in this window; in a storm: what was not told yet */
} Pace;

typedef enum PaceAnswer {
        PACE_TELL_EACH,
        PACE_TELL_COUNT, /* one entry for the number of them */
        PACE_WAIT,       /* they are counted; ask pace_due() at @until */
} PaceAnswer;

/* @n_new pages are new. */
PaceAnswer pace_ask(Pace *p, uint64_t now, size_t n_new);

/* What a storm left untold, if its silence is over at @now; 0: nothing is to be told. */
size_t pace_due(Pace *p, uint64_t now);
