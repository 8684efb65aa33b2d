/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "host/kernel-support.h"
#include "basic/macro.h"
#include "host/host-file.h"

int kernel_version_from_path(const char *kernel, char **ret) {
        const char *name = strrchr(kernel, '/'), *dash, *suffix, *folder;

        name = name ? name + 1 : kernel;
        if (streq(name, "linux")) {
                for (folder = name; folder - kernel > 1 && folder[-2] != '/'; folder--)
                        ;
                if (folder - kernel < 2)
                        return -ENOENT;
                *ret = strndup(folder - 1, (size_t)(name - folder));
                return *ret ? 0 : -ENOMEM;
        }
        dash = strchr(name, '-');
        if (!dash || dash[1] == '\0')
                return -ENOENT;
        suffix = strstr(dash, ".efi.signed");
        *ret = suffix ? strndup(dash + 1, (size_t)(suffix - dash - 1)) : strdup(dash + 1);
        return *ret ? 0 : -ENOMEM;
}

int kernel_support_load(int root_fd, const char *version, DmemSupport *ret) {
        static const struct {
                const char *before, *after;
        } places[] = {
                { "boot/config-", "" },
                { "usr/lib/modules/", "/config" },
                { "lib/modules/", "/config" },
        };

        *ret = DMEM_SUPPORT_UNKNOWN;
        if (strchr(version, '/'))
                return 0;
        for (size_t i = 0; i < ELEMENTSOF(places); i++) {
                _cleanup_free_ char *path = NULL;

                if (asprintf(&path, "%s%s%s", places[i].before, version, places[i].after) < 0)
                        return -ENOMEM;
                if (host_file_has_line(root_fd, path, "CONFIG_DMEM=y") > 0) {
                        *ret = DMEM_SUPPORT_YES;
                        return 0;
                }
                /* An empty or foreign file says nothing */
                if (host_file_has_line(root_fd, path, "CONFIG_") > 0 ||
                    host_file_has_line(root_fd, path, "# CONFIG_") > 0) {
                        *ret = DMEM_SUPPORT_NO;
                        return 0;
                }
        }
        return 0;
}
