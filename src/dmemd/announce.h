/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Announce - what the journal is told about the state, and when
 *
 * One entry when the state changes, for drift one for each reason. Nothing is said twice: a
 * summary of what was said last is kept in the runtime folder of the service ($RUNTIME_DIRECTORY),
 * so that a restart of the daemon, or its death, repeats nothing within a boot.
 */

#include "host/status.h"

/*
 * Tells the journal about @status unless that is what @told says.
 * @told: summary of what was said last, or NULL; replaced by the new one
 */
void announce(const Status *status, char **told);

/* What was said last in this boot, to be freed; NULL if nothing was or nobody kept it. */
char *announce_load(void);

/*
 * The summary: equal for two statuses that call for the same entries. How much is poisoned is not
 * in it: each page has an entry of its own. NULL: no memory.
 */
char *announce_summary(const Status *status);
