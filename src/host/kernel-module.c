/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <limits.h>
#include <stdio.h>

#include "basic/macro.h"
#include "basic/root-fs.h"
#include "host/kernel-module.h"

/*
 * Is @line, cut at @end, about module @name? `kernel/fs/dmemfs/dmemfs.ko.xz: kernel/lib/…` in
 * modules.dep, the same without the colon in modules.builtin.
 */
static bool is_module_line(const char *line, size_t length, const char *name) {
        size_t path_length = strcspn(line, ":\n"), name_length = strlen(name);
        const char *slash;

        if (path_length > length)
                path_length = length;
        slash = memrchr(line, '/', path_length);
        if (slash) {
                path_length -= (size_t)(slash + 1 - line);
                line = slash + 1;
        }
        return path_length >= name_length + strlen(".ko") &&
               strncmp(line, name, name_length) == 0 &&
               strncmp(line + name_length, ".ko", strlen(".ko")) == 0;
}

static int find_in_list(int root_fd, const char *release, const char *list, const char *name) {
        _cleanup_free_ char *text = NULL;
        char path[PATH_MAX];
        int r;

        (void)snprintf(path, sizeof(path), "lib/modules/%s/%s", release, list);
        r = root_read_file(root_fd, path, &text, NULL);
        if (r < 0)
                return r;
        for (const char *line = text; *line != '\0';) {
                size_t length = strcspn(line, "\n");

                if (is_module_line(line, length, name))
                        return 1;
                line += length + (line[length] == '\n');
        }
        return 0;
}

int kernel_has_module(int root_fd, const char *release, const char *name) {
        int r;

        r = find_in_list(root_fd, release, "modules.builtin", name);
        if (r > 0 || (r < 0 && r != -ENOENT))
                return r;
        return find_in_list(root_fd, release, "modules.dep", name);
}

int kernel_has_option(int root_fd, const char *release, const char *option) {
        _cleanup_free_ char *text = NULL;
        char path[PATH_MAX];
        size_t length = strlen(option);
        int r;

        (void)snprintf(path, sizeof(path), "boot/config-%s", release);
        r = root_read_file(root_fd, path, &text, NULL);
        if (r < 0)
                return r;
        for (const char *line = text; line; line = strchr(line, '\n')) {
                if (*line == '\n')
                        line++;
                if (strncmp(line, option, length) == 0 &&
                    strncmp(line + length, "=y", strlen("=y")) == 0)
                        return 1;
        }
        return 0;
}
