/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The text of etc/kernel/cmdline, from which kernel-install makes the options of new entries
 *
 * Words on any number of lines; a line that begins with `#` is a comment (systemd 254 and later).
 * Text in, text out; no file is touched here. Source: kernel-install(8).
 */

/* The words on one line, comments left out. Returns 0 or -ENOMEM. */
int kernel_cmdline_join(const char *text, char **ret);

/*
 * @text with our arguments taken out and @arguments in the place of the first ones, else behind
 * the last word (but before `--`). Everything else stays byte for byte. Returns 0 or -ENOMEM.
 */
int kernel_cmdline_replace(const char *text, char *const *arguments, char **ret);

/*
 * A first text for a host that has none, made from @options of an entry that boots it, without
 * what is of one boot or one entry only: our arguments, `initrd=`, `BOOT_IMAGE=`,
 * `systemd.machine_id=`, variables of GRUB. Returns 0 or -ENOMEM.
 */
int kernel_cmdline_from_options(const char *options, char **ret);
