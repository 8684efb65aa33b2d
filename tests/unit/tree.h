/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A root directory for tests that read or write a host: a scratch tree filled from literals, or one
 * of tests/fixtures/
 */

#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <sys/stat.h>

#include "basic/macro.h"
#include "basic/root-fs.h"
#include "test.h"

static inline int tree_remove_entry(const char *path, const struct stat *st, int type,
                                    struct FTW *ftw) {
        return remove(path);
}

static char tree_scratch[] = "/tmp/dmemd-test-tree.XXXXXX";

static inline void tree_remove(void) {
        (void)nftw(tree_scratch, tree_remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* Opens an empty root; what the last call filled it with is gone. */
static inline int tree_new(void) {
        static bool made;

        if (made)
                tree_remove();
        else if (!mkdtemp(tree_scratch) || atexit(tree_remove) != 0)
                abort();
        made = true;
        (void)mkdir(tree_scratch, 0700);
        return root_open(tree_scratch);
}

/* Writes @size bytes, and the folders on the way. Not durable, hence fast. */
static inline void tree_write_bytes(int root_fd, const char *path, const char *data, size_t size) {
        _cleanup_close_ int fd = -EBADF;
        char folder[PATH_MAX];

        for (const char *slash = path; (slash = strchr(slash, '/')); slash++) {
                (void)snprintf(folder, sizeof(folder), "%.*s", (int)(slash - path), path);
                (void)mkdirat(root_fd, folder, 0755);
        }
        fd = openat(root_fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        if (fd < 0 || write(fd, data, size) != (ssize_t)size)
                abort();
}

static inline void tree_write(int root_fd, const char *path, const char *text) {
        tree_write_bytes(root_fd, path, text, strlen(text));
}

/* Opens tests/fixtures/NAME, -ENOENT if there is none. */
static inline int tree_open_fixture(const char *name) {
        const char *fixtures = getenv("DMEMD_FIXTURES");
        char path[PATH_MAX];

        (void)snprintf(path, sizeof(path), "%s/%s", fixtures ? fixtures : "tests/fixtures", name);
        return root_open(path);
}
