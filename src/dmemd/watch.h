/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What wakes the daemon: uevents of class dmem, mounts, an apply, and the clock
 */

#include "dmemd/manager.h"

/* Each logs why it failed; the first three are better done without than not to run at all. */
void watch_devices(Manager *m);
void watch_mounts(Manager *m);
void watch_applied(Manager *m); /* again and again until the folder exists */
int watch_clock(Manager *m);
