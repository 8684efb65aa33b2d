/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The runtime folder of the service ($RUNTIME_DIRECTORY), which lasts as long as the boot
 */

/* Returns a file descriptor; -ENOENT when nobody gave us a folder; or another negative errno. */
int runtime_open(void);
