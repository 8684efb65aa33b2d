/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Asking dmemd over D-Bus, without starting it
 */

#include <systemd/sd-bus.h>

#define DMEMD_NAME "org.dmemd1"
#define DMEMD_PATH "/org/dmemd1"
#define DMEMD_INTERFACE "org.dmemd1.Manager"

/*
 * Calls a method of the manager that takes nothing and returns one text.
 * @ret: to be freed
 * Returns 0; -ENOENT if the daemon does not run, which is no trouble; or another negative errno,
 * and then it was said why.
 */
int dmemd_call(const char *method, char **ret);
