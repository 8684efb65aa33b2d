/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A root directory for one test case: made below $TMPDIR, filled file by file, removed at the end
 */

#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "basic/macro.h"
#include "basic/root-fs.h"

typedef struct TemporaryRoot {
        char path[PATH_MAX];
        int fd;
} TemporaryRoot;

static inline int temporary_root_remove(const char *path, const struct stat *st, int type,
                                        struct FTW *ftw) {
        return remove(path);
}

static inline void temporary_root_done(TemporaryRoot *root) {
        closep(&root->fd);
        (void)nftw(root->path, temporary_root_remove, 16, FTW_DEPTH | FTW_PHYS);
}

static inline TemporaryRoot temporary_root(void) {
        const char *folder = getenv("TMPDIR");
        TemporaryRoot root;

        (void)snprintf(root.path, sizeof(root.path), "%s/dmemd-test-XXXXXX", folder ?: "/tmp");
        if (!mkdtemp(root.path)) {
                perror(root.path);
                exit(EXIT_FAILURE);
        }
        root.fd = root_open(root.path);
        if (root.fd < 0) {
                perror(root.path);
                exit(EXIT_FAILURE);
        }
        return root;
}

/* Writes a file and the folders that it needs; ends the test if that fails. */
static inline void temporary_root_write(const TemporaryRoot *root, const char *path,
                                        const char *text) {
        char folder[PATH_MAX];
        char *slash;
        int fd;

        (void)snprintf(folder, sizeof(folder), "%s", path);
        slash = strrchr(folder, '/');
        if (slash) {
                *slash = '\0';
                if (root_mkdir_p(root->fd, folder) < 0)
                        abort();
        }
        fd = openat(root->fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
                abort();
        (void)close(fd);
}
