/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Capture - a copy of what is read of a host, so that the same can be read elsewhere
 *
 * Between capture_start() and capture_stop() all that is looked at below any root is noted: files
 * with the content that was read, folders with the names that were listed, and what only had to be
 * there. capture_write() makes a tree of that. So the copy holds exactly what was read, whoever
 * read it: nothing here knows the names of the files.
 *
 * What could not be read is left out of the copy. A folder becomes a folder, even where the host
 * has a symbolic link to one, and a symbolic link whose name alone was read stays one.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "basic/macro.h"

typedef struct CaptureFile {
        char *path; /* below the root */
        int error;  /* 0: copied; else the negative errno for which it was left out */
} CaptureFile;

typedef struct Capture Capture;

Capture *capture_new(void);        /* NULL when there is no memory */
Capture *capture_free(Capture *c); /* accepts NULL, returns NULL */
DEFINE_CLEANUP(Capture *, capture_free);

/* One at a time. */
void capture_start(Capture *c);
void capture_stop(Capture *c);

/*
 * capture_write() - make the tree
 * @root_fd:   what was captured, for modes and for targets of symbolic links
 * @folder_fd: an empty directory, which nobody else writes to
 * @ret:       the files, sorted by path, borrowed from @c
 * @ret_path:  what it was about when it failed, or NULL; borrowed from @c
 *
 * Returns 0 or a negative errno.
 */
int capture_write(Capture *c, int root_fd, int folder_fd, const CaptureFile **ret, size_t *ret_n,
                  const char **ret_path);
