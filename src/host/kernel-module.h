/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What the files of a kernel say about it: its modules and how it was built
 */

/*
 * Is there a module @name for kernel @release, as a file or built in? Reads modules.dep and
 * modules.builtin in lib/modules/@release/, see depmod(8).
 * Returns 1, 0, -ENOENT (that kernel has no modules.dep) or what reading said.
 */
int kernel_has_module(int root_fd, const char *release, const char *name);

/*
 * Was kernel @release built with @option, `CONFIG_DMEM`, set to y? Reads boot/config-@release.
 * Returns 1, 0, -ENOENT (nothing says how it was built) or what reading said.
 */
int kernel_has_option(int root_fd, const char *release, const char *option);
