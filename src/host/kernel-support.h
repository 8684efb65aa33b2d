/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Does a kernel of this host know dmem=? Its configuration says so, where the distributions put it
 */

#include "plan/boot-entry.h"

/*
 * The version in the name of a kernel: `/boot/vmlinuz-6.12.1-amd64`, also with a device before or
 * `.efi.signed` behind, or `/TOKEN/6.12.1-amd64/linux`. Returns 0; -ENOENT if there is none to be
 * seen; -ENOMEM.
 */
int kernel_version_from_path(const char *kernel, char **ret);

/* Of kernel @version. A configuration that is not there or says nothing leaves it unknown. */
int kernel_support_load(int root_fd, const char *version, DmemSupport *ret);
