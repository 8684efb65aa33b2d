/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The memory modules of the host and their serial numbers, from the tables of its firmware
 *
 * Source: DMTF DSP0134 (SMBIOS), 7.18 Memory Device. Only root may read the tables. The kernel's
 * EDAC knows slots but no serial numbers, so without the tables nothing is known.
 */

#include <stddef.h>

#include "plan/ledger.h"

/* Returns 0, -ENOENT or -EACCES (the host does not say), -EBADMSG, -ENOMEM. */
int host_load_dimms(int root_fd, Dimms *ret);

/*
 * Reads the structures of an SMBIOS table; empty slots are left out. Returns 0, -EBADMSG (one of
 * them is cut off) or -ENOMEM; @ret is untouched on error.
 */
int dimms_parse(const void *data, size_t size, Dimms *ret);
