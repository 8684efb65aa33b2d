/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Files below a root directory: the live host, an image, a captured tree
 *
 * Every path is relative to @root_fd and has no leading slash. Symbolic links resolve inside the
 * root, absolute ones and `..` included (openat2(2), RESOLVE_IN_ROOT), so that an image cannot
 * lead us out of itself.
 *
 * Writers never leave a half-written file: they write a temporary file in the same folder, fsync
 * it, rename it over the old one and fsync the folder. After a crash there is the old content or
 * the new one, and perhaps a file `.#dmemd-NAME` beside it, which the next writer of NAME
 * removes.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

/* No file that we read is larger; a larger one is -EFBIG, not memory without bound. */
#define ROOT_FILE_MAX (16U << 20)

/*
 * RootObserver - is told what is looked at below a root, so that it can be copied
 *
 * Paths are those that the reader gave. Not told of what is not there, nor of what is written.
 */
typedef struct RootObserver {
        void *userdata;
        /* There is something; @follow: a symbolic link at the end of the path was followed. */
        void (*found)(void *userdata, const char *path, bool follow);
        void (*read)(void *userdata, const char *path, const char *data, size_t size);
        void (*read_part)(void *userdata, const char *path, uint64_t offset, const void *data,
                          size_t size);
        void (*listed)(void *userdata, const char *path, char *const *names);
        /* There is something, but it could not be opened or read; @error is a negative errno. */
        void (*refused)(void *userdata, const char *path, int error);
} RootObserver;

/* From now on @observer is told, of all roots; NULL: nobody. */
void root_observe(const RootObserver *observer);

/* Opens the directory @path as a root. Returns a file descriptor or a negative errno. */
int root_open(const char *path);

/* open() below the root, with O_CLOEXEC. Returns a file descriptor or a negative errno. */
int root_openat(int root_fd, const char *path, int flags, mode_t mode);

/* Returns 1 if there is something at @path, 0 if not, a negative errno if that cannot be told. */
int root_exists(int root_fd, const char *path);

/*
 * Reads a whole file into a new buffer, with a NUL behind it that @ret_size does not count;
 * @ret_size may be NULL. Returns 0, -ENOENT, -EISDIR, -EBADFD (a FIFO, socket or device), -EFBIG,
 * -ENOMEM or what read() says.
 */
int root_read_file(int root_fd, const char *path, char **ret, size_t *ret_size);

/*
 * Reads @size bytes from @offset on of a file that root_openat() has opened; @path is the one it
 * was opened by. Returns 0, -EBADMSG if the file ends before, or what pread() says.
 */
int root_read_at(int fd, const char *path, uint64_t offset, void *buffer, size_t size);

/*
 * As root_read_file() for the small text files of proc and sysfs: what follows the first NUL
 * (captured trees pad with them) and the white space at the end are cut off.
 */
int root_read_text(int root_fd, const char *path, char **ret);

/*
 * Names in a directory that begin with @prefix, without `.` and `..`, sorted by strcmp(); a
 * NULL-terminated array to be freed with strv_free(). -ENOENT if there is no such directory.
 */
int root_list(int root_fd, const char *path, const char *prefix, char ***ret);

/* Creates the missing folders of @path with mode 0755, whatever the umask; all become durable. */
int root_mkdir_p(int root_fd, const char *path);

/*
 * Replaces @path by @data, durably and in one step. An existing regular file keeps its mode, owner
 * and extended attributes (SELinux label, access lists); a new one gets @mode. If @path is a
 * symbolic link, the file it leads to is replaced; another hard link keeps the old content. The
 * folder must exist. Returns 0, or a negative errno: -EBADFD for what is no regular file. Then the
 * old content is still there, unless only the last step, to make the new one durable, failed.
 */
int root_write_file(int root_fd, const char *path, const void *data, size_t size, mode_t mode);

/*
 * The same in the folder @folder_fd for what is too large for a buffer: @fill writes it to a stream
 * and returns 0 or a negative errno. Links are not followed: one in place of the file is replaced.
 * The file belongs to whom the folder belongs to, whatever it did before, so that it stays theirs
 * when root writes.
 */
int root_write_stream(int folder_fd, const char *name, int (*fill)(const void *data, FILE *f),
                      const void *data, mode_t mode);

/*
 * Removes the temporary file that a crashed writer of @path left, for a caller that will not write
 * it again. Returns 1, or 0 if there was none.
 */
int root_remove_stale(int root_fd, const char *path);

/* The same for whatever writers have left in @folder. */
int root_remove_all_stale(int root_fd, const char *folder);

/* Removes a file durably. Returns 1, or 0 if there was none. */
int root_unlink(int root_fd, const char *path);

/*
 * Makes durable what is at @path now, or that there is nothing: a tool that renames does not do so,
 * and a run of ours that was killed did not come to it.
 */
int root_sync(int root_fd, const char *path);

/* Frees a NULL-terminated array of strings; NULL is fine. */
char **strv_free(char **strings);
size_t strv_length(char *const *strings);
