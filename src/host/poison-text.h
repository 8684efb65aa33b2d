/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What the kernel says about poisoned memory, as text: two attributes of class dmem, and uevents
 *
 * Source: Documentation/ABI/testing/sysfs-class-dmem of our kernel. All readers take only what they
 * understand whole; results are untouched on error.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "plan/ledger.h"

/*
 * Attribute `poisoned`: a line `0xADDRESS free` or `0xADDRESS used` each. It is read in pieces, and
 * lines that come in between move the others, so that one may be there twice. They come out sorted.
 * Returns 0, -EBADMSG or -ENOMEM.
 */
int poisoned_parse(const char *text, PoisonedUnit **ret, size_t *ret_n);

/*
 * Attribute `users`: a line `0xADDRESS MAJ:MIN INODE 0xOFFSET PIDS PATH` each, padded with blanks;
 * PIDS separated by commas (`...` for those that found no place) or `-`, PATH escaped as in
 * /proc/mounts or `-`. Only address and user of the sightings are set.
 * Returns 0, -EBADMSG or -ENOMEM; to be freed with sightings_free().
 */
int users_parse(const char *text, Sighting **ret, size_t *ret_n);

/* A uevent of class dmem that is about memory. */
typedef struct PoisonEvent {
        Sighting unit; /* of the first 4 KiB */
        uint64_t size;
        uint64_t count; /* events so far on this node, this one included */
        uint64_t n_new; /* as the uevent says it; see poison_event_new() */
        unsigned seen;  /* which keys there were */
} PoisonEvent;

/* No uevent is about more at once; what says so is not understood. */
#define POISON_EVENT_SIZE_MAX (UINT64_C(2) << 20)

void poison_event_done(PoisonEvent *e);

/*
 * Takes one property of a uevent, `DMEM_NODE` and `0`, say. Keys that are none of ours are passed
 * over. Returns 0, -EBADMSG or -ENOMEM.
 */
int poison_event_set(PoisonEvent *e, const char *key, const char *value);

/* Is it whole? Returns 0, -ENOMSG if it is about no memory at all, or -EBADMSG. */
int poison_event_check(const PoisonEvent *e);

/* How many events this uevent stands for: several when they came faster than uevents. */
uint64_t poison_event_new(const PoisonEvent *e);

/*
 * A copy in which every byte that a terminal or JSON would stumble over is written as three octal
 * digits behind a backslash: control characters, and what is no UTF-8. NULL: no memory.
 */
char *text_printable(const char *text);
