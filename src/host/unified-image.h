/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Unified kernel images: a kernel, its command line and more in the sections of one PE file
 *
 * Source: UAPI.5 "Unified Kernel Image", and Microsoft's "PE Format" for the headers.
 */

/* A section is text of a few lines; a longer one is refused. */
#define UNIFIED_IMAGE_TEXT_MAX 65536U

/*
 * The text in section @name (`.cmdline`, `.uname`) of the file, up to its first NUL.
 * Returns 0; -ENOENT if there is no such file or section; -EBADMSG if it is no PE file; -EFBIG; or
 * what reading it said.
 */
int unified_image_read(int root_fd, const char *path, const char *name, char **ret);
