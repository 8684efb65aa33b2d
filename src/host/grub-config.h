/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The texts that GRUB lives on: grub.cfg, grubenv, and the shell files behind grub-mkconfig
 *
 * Text in, plain data out; no file is touched here. Source: the GRUB manual, chapters "Writing
 * full configuration files directly" and "The GRUB environment block"; for the marks that
 * grub-mkconfig puts around the output of each script, its own text.
 */

#include <stdbool.h>
#include <stddef.h>

#include "plan/boot-entry.h"

/*
 * Reads grub.cfg. Every `linux` command of an entry becomes a BootEntry, an entry without one
 * becomes one without kernel. What comes out of the script etc/grub.d/NN_linux is normal or
 * recovery; without any mark of a script, everything but a memory test is.
 * @path:        what the entries name as their file
 * @saved_entry: saved_entry of grubenv, or NULL
 *
 * Conditions are not evaluated, both branches count. `support` stays unknown.
 * Returns 0, -EBADMSG (quotes or braces do not close, or bytes that are no text: the file is not
 * whole) or -ENOMEM.
 */
int grub_config_parse(const char *path, const char *text, size_t size, const char *saved_entry,
                      BootEntries *ret);

/*
 * The text of grub.cfg with @arguments in place of ours, in each line of a kernel that has some;
 * all else stays byte for byte. For when the tool that makes it cannot be run: what it would make
 * of other settings that have changed is not in there. Returns 0 or -ENOMEM.
 */
int grub_config_replace(const char *text, size_t size, char *const *arguments, char **ret,
                        size_t *ret_size);

/* The value of @name in a grubenv block, to be freed. Returns 0, -ENOENT or -ENOMEM. */
int grub_environment_get(const char *text, const char *name, char **ret);

/*
 * The block with our arguments in the value of @name taken out and @arguments put in their place,
 * else at its end. The block keeps its size; what is free in it is filled with `#`.
 * Returns 0; -ENOENT if there is no such variable; -EBADMSG if it is no grubenv block; -ENOSPC if
 * there is no room; -ENOMEM.
 */
int grub_environment_replace(const char *text, const char *name, char *const *arguments,
                             char **ret);

/*
 * The value that grub.cfg sets the variable @name to; of several the last, but none that comes from
 * a variable of an earlier boot (`$next_entry`). Returns 0, -ENOENT, -EBADMSG or -ENOMEM.
 */
int grub_config_get(const char *text, size_t size, const char *name, char **ret);

/* How grub_find_arguments() reads a file. */
typedef enum ShellText {
        SHELL_TEXT_SETTINGS, /* pure shell, as etc/default/grub: quotes may span lines */
        SHELL_TEXT_SCRIPT,   /* shell and what it prints mixed: each line stands for itself */
} ShellText;

/*
 * Adds each of our arguments that @text sets, outside of comments, with @path and its line.
 * Returns 0 or -ENOMEM.
 */
int grub_find_arguments(const char *path, const char *text, ShellText kind, ForeignArguments *ret);
