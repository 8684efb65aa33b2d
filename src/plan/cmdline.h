/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Our boot arguments within a kernel command line
 *
 * The command line is a list of words separated by blanks, double quotes protect blanks (see
 * next_arg() in lib/cmdline.c of the kernel). Ours are dmem=, hugepagesz=, hugepages= and
 * hugetlb_free_vmemmap=; their order matters, as hugepages= belongs to the hugepagesz= before it.
 * What follows a bare `--` is for init and not for the kernel, so it is never ours.
 */

#include <stdbool.h>

/* Is this one word (`dmem=0:4G`) one of our arguments? */
bool cmdline_word_is_ours(const char *word);

/* Our arguments of @cmdline in their order, a NULL-terminated array. Returns 0 or -ENOMEM. */
int cmdline_extract(const char *cmdline, char ***ret);

/*
 * @cmdline with our arguments taken out and @arguments at the place of the first one taken out,
 * or at the end (before `--`). Everything else stays byte for byte. Returns 0 or -ENOMEM.
 */
int cmdline_replace(const char *cmdline, char *const *arguments, char **ret);

/* Is there a bare `--` in it? Then what is put behind @cmdline goes to init. */
bool cmdline_has_separator(const char *cmdline);

/* The same words in the same order? NULL is an empty list. */
bool arguments_equal(char *const *a, char *const *b);

/* The words joined by one blank; NULL when there is no memory. */
char *arguments_join(char *const *arguments);
