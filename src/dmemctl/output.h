/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * stdout of dmemctl, from the first byte to the last: buffering, the pager, errors of writing
 *
 * What verbs use of it is declared in verbs.h.
 */

/* Before anything is printed. Returns -1, or the exit status to leave with. */
int output_start(void);

/*
 * After all is printed: waits for the pager, and says so if not everything could be written.
 * Returns @status, or then EXIT_FAILURE.
 */
int output_finish(int status);
