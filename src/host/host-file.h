/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Facts from files that may be missing: what cannot be read is unknown, not an error
 */

#include <stddef.h>
#include <stdint.h>

/*
 * Reads the text of a file up to its first NUL. *ret is NULL if there is no such file, if it cannot
 * be read or if it is empty: the kernel ends every line, so it shows nothing at all only where a
 * capture went wrong. Returns 0, or a negative errno if we ran out of memory or file descriptors.
 */
int host_read_fact(int root_fd, const char *path, char **ret);

/* The same for a file that holds one decimal number. Returns 1 and *ret, or 0 if it is unknown. */
int host_read_fact_u64(int root_fd, const char *path, uint64_t *ret);

/*
 * The N of all entries `PREFIXN` of a directory, sorted; an array to be freed. Other names, among
 * them `PREFIX01`, are passed over. A directory that is missing or cannot be read has none.
 */
int host_list_numbers(int root_fd, const char *path, const char *prefix, unsigned **ret,
                      size_t *ret_n);

/*
 * Does the file have a line that begins with @prefix (blanks aside)? Returns 1, 0, or what reading
 * it said.
 */
int host_file_has_line(int root_fd, const char *path, const char *prefix);
