/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What goes out about poisoned memory: signals on the bus, entries in the journal
 */

#include "dmemd/manager.h"
#include "plan/ledger.h"
#include "plan/pace.h"

/* What is known of a node, and what its journal still has to hear. */
typedef struct PoisonWatch {
        unsigned id;
        bool events_known;
        uint64_t events;     /* the counter of the kernel */
        uint64_t reconciled; /* that counter when ledger and list agreed last */
        bool seen_known;
        uint64_t seen;       /* up to there events were brought by uevents, or counted as missed */
        uint64_t heard_usec; /* when the last uevent came */
        uint64_t overdue_usec; /* since then the counter is ahead of the uevents; 0: it is not */
        uint64_t missed;       /* of which the journal has not been told */
        uint64_t missed_until; /* it is not told of more before then */
        Pace pace;
} PoisonWatch;

/* Tells what the ledger has that nobody was told, and what is due. @now: monotonic. */
void poison_tell(Manager *m, Ledger *l, PoisonWatch *nodes, size_t n_nodes, uint64_t now);
