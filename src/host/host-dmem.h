/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What this boot was told about dmem and what the kernel made of it
 */

#include <stdbool.h>
#include <stddef.h>

#include "plan/drift.h"

/*
 * host_load_in_force() - read class dmem and /proc/iomem
 * @root_fd: directory that contains proc/ and sys/
 * @ret:     overwritten; to be emptied with in_force_done(); untouched on error
 *
 * Ordinary users see all addresses of /proc/iomem as zero, but the names as they are. An attribute
 * that is missing or makes no sense is marked unknown in its node.
 *
 * Returns 0, or a negative errno if we ran out of memory or file descriptors.
 */
int host_load_in_force(int root_fd, InForce *ret);

/*
 * host_load_booted() - our own arguments of the command line this host was booted with
 * @root_fd:       directory that contains proc/
 * @ret_arguments: NULL-terminated array, to be freed with strv_free(); or NULL if there is no
 *                 proc/cmdline or it is empty, which no booted kernel shows: not known, which is
 *                 not the same as an empty list
 *
 * Returns 0, or a negative errno if we ran out of memory or file descriptors.
 */
int host_load_booted(int root_fd, char ***ret_arguments);

/*
 * Reads attribute `regions`: a line `0xSTART-0xEND` each. The ranges come out sorted. Returns 0,
 * -EBADMSG (not such a line, an empty or overlapping range) or -ENOMEM; untouched on error.
 */
int regions_parse(const char *text, DmemRange **ret, size_t *ret_n);

/* Does the text of /proc/iomem name a resource `dmem`? */
bool iomem_has_dmem(const char *text);
