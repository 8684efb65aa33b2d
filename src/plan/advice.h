/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Advice - the one sentence about what to do now
 *
 * Pure. The sentence names a command where there is one. It follows the first reason that calls
 * for something to be done, in the order of urgency of the table in advice.c.
 */

#include <stdbool.h>

#include "plan/drift.h"

/*
 * @reasons:   the findings of state_judge()
 * @unmounted: memory is granted on this host, and no dmemfs gives access to it
 * Returns static text.
 */
const char *advice_choose(State state, const Findings *reasons, bool unmounted);
