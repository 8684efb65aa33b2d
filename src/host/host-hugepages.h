/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Huge pages of a node, as the kernel reports them in sys/devices/system/node/nodeN/hugepages/
 */

#include <stdint.h>

/*
 * How many huge pages of @page_size bytes node @id has, used or not.
 * Returns 0; -ENOENT if there is no such node or this kernel does not know the page size; -EBADMSG;
 * or what reading said.
 */
int host_count_hugepages(int root_fd, unsigned id, uint64_t page_size, uint64_t *ret);
