/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Poison - poisoned memory as the daemon sees it: events, the kernel's lists, the ledger, the word
 * that goes out
 *
 * Uevents say what happened and to whom, and may get lost; the kernel's lists and counters are
 * complete, and say less. So events are taken in as they come, and a moment later, once for all of
 * them, the ledger is made to agree with the lists. An event that the counter of a node has and no
 * uevent brought is one that was missed, unless it still comes.
 *
 * What the ledger holds that nobody was told goes out then: to the bus as signal Poisoned, to the
 * journal at the pace of plan/pace.h. The ledger is written at most every second, and less often
 * if that takes long; at the end, too.
 */

#include "dmemd/manager.h"
#include "host/poison-text.h"

int poison_new(Poison **ret);
Poison *poison_free(Poison *p); /* accepts NULL, returns NULL */
DEFINE_CLEANUP(Poison *, poison_free);

/* Reads the ledger and the kernel's lists. Logs errors; a ledger that cannot be had is none. */
int poison_start(Manager *m);

/* Takes in a uevent. The texts of @e are used up. */
void poison_event(Manager *m, PoisonEvent *e);

/* Reads the event counters of all nodes, and acts soon on what is new in them. */
void poison_check(Manager *m);

/* Makes the ledger agree with the kernel's lists now, if that was done longer ago than @max_age. */
void poison_look(Manager *m, uint64_t max_age_usec);

/* Writes what is left. */
void poison_stop(Manager *m);

const Ledger *poison_ledger(const Manager *m);
MaybeBytes poison_count(const Manager *m);                   /* events of all nodes in this boot */
MaybeBytes poison_count_of(const Manager *m, unsigned node); /* of one */
uint64_t poison_missed(const Manager *m);                    /* uevents missed since we run */
