/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <sys/stat.h>

#include "basic/root-fs.h"
#include "host/kernel-module.h"
#include "temporary-root.h"
#include "test.h"

TEST(has_module) {
        static const struct {
                const char *dep, *builtin; /* NULL: no such file */
                int r;
        } table[] = {
                { NULL, NULL, -ENOENT },
                { "", NULL, 0 },
                { "kernel/fs/dmemfs/dmemfs.ko:\n", NULL, 1 },
                { "kernel/fs/ext4/ext4.ko: kernel/lib/crc16.ko\nupdates/dkms/dmemfs.ko.xz:\n", "",
                  1 },
                { "dmemfs.ko.zst:", NULL, 1 },
                { "kernel/a.ko: kernel/fs/dmemfs/dmemfs.ko\n", NULL, 0 /* only needed by a.ko */ },
                { "kernel/fs/dmemfs/xdmemfs.ko:\nkernel/fs/dmemfs2.ko:\nkernel/dmemfs/x.ko:\n",
                  NULL, 0 },
                { "dmemfs.k", NULL, 0 },
                { "", "kernel/fs/dmemfs/dmemfs.ko\n", 1 },
                { NULL, "kernel/fs/dmemfs/dmemfs.ko\n", 1 },
                { "\n\n:\n/\n", "\n", 0 },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                _cleanup_(temporary_root_done) TemporaryRoot root = temporary_root();

                if (table[i].dep)
                        temporary_root_write(&root, "lib/modules/6.12.1/modules.dep", table[i].dep);
                if (table[i].builtin)
                        temporary_root_write(&root, "lib/modules/6.12.1/modules.builtin",
                                             table[i].builtin);
                EXPECT_EQ(table[i].dep ?: "no modules.dep",
                          kernel_has_module(root.fd, "6.12.1", "dmemfs"), table[i].r);
        }
}

TEST(has_option) {
        static const struct {
                const char *config;
                int r;
        } table[] = {
                { NULL, -ENOENT },
                { "", 0 },
                { "CONFIG_DMEM=y", 1 },
                { "# generated\nCONFIG_DMEM=y\nCONFIG_DMEMFS=m\n", 1 },
                { "# CONFIG_DMEM is not set\nCONFIG_DMEMFS=y\n", 0 },
                { "#CONFIG_DMEM=y\n", 0 },
                { "CONFIG_DMEM=m\nXCONFIG_DMEM=y\n", 0 },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                _cleanup_(temporary_root_done) TemporaryRoot root = temporary_root();

                if (table[i].config)
                        temporary_root_write(&root, "boot/config-6.12.1", table[i].config);
                EXPECT_EQ(table[i].config ?: "none",
                          kernel_has_option(root.fd, "6.12.1", "CONFIG_DMEM"), table[i].r);
        }
}

TEST_MAIN()
