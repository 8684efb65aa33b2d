/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The figures as a file that node_exporter's textfile collector reads: dmemd.prom in the runtime
 * folder of the service
 */

#include "dmemd/manager.h"

/* Replaces the file in one step. That it fails is logged once, until it works again. */
void textfile_write(Manager *m);

/* Nobody shall take for the truth what nobody looks after any more. */
void textfile_remove(void);
