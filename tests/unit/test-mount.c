/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "host/mount.h"
#include "temporary-root.h"
#include "test.h"

#define ROOT_LINE "25 1 0:22 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"

TEST(load) {
        static const struct {
                const char *mountinfo;
                size_t n;
                const char *where, *nodes; /* of the last one */
                uint64_t page_size;
        } table[] = {
                { NULL, 0, NULL, NULL, 0 },
                { "", 0, NULL, NULL, 0 },
                { ROOT_LINE, 0, NULL, NULL, 0 },
                { ROOT_LINE "40 25 0:44 / /run/dmemfs rw,nosuid shared:9 - dmemfs dmemfs "
                            "rw,pagesize=2M,mode=0750\n",
                  1, "/run/dmemfs", "all", 2 * MiB },
                { "40 25 0:44 / /a rw - dmemfs dmemfs rw,pagesize=4K,node=0\n"
                  "41 25 0:45 / /my\\040guests rw - dmemfs dmemfs rw,node=1-3,pagesize=1G\n",
                  2, "/my guests", "1-3", GiB },
                { "40 25 0:44 / /a rw - dmemfs dmemfs rw\n", 1, "/a", "all", 2 * MiB },
                { "40 25 0:44 / /a rw - dmemfs dmemfs rw,pagesize=huge\n", 1, "/a", "all", 0 },
                { "40 25 0:44 / /a rw - dmemfs dmemfs rw,pagesize\n", 1, "/a", "all", 2 * MiB },
                { "40 25 0:44 / /dmemfs rw - tmpfs dmemfs rw,pagesize=4K\n", 0, NULL, NULL, 0 },
                /* A line that makes no sense costs us that line only. */
                { ROOT_LINE "what is this\n40 25 0:44 / /a rw - dmemfs dmemfs rw\n", 1, "/a", "all",
                  2 * MiB },
                { "40 25 0:44 / /a rw - dmemfs", 0, NULL, NULL, 0 },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                _cleanup_(temporary_root_done) TemporaryRoot root = temporary_root();
                _cleanup_(dmem_mounts_done) DmemMounts mounts = {};
                const char *label = table[i].mountinfo ?: "no file";

                if (table[i].mountinfo)
                        temporary_root_write(&root, "proc/self/mountinfo", table[i].mountinfo);
                EXPECT_EQ(label, host_load_mounts(root.fd, &mounts), 0);
                EXPECT_EQ(label, mounts.n_items, table[i].n);
                if (mounts.n_items == 0 || mounts.n_items != table[i].n)
                        continue;
                EXPECT_STREQ(label, mounts.items[mounts.n_items - 1].where, table[i].where);
                EXPECT_STREQ(label, mounts.items[mounts.n_items - 1].nodes, table[i].nodes);
                EXPECT_EQ(label, mounts.items[mounts.n_items - 1].page_size, table[i].page_size);
        }
}

TEST(live) {
        _cleanup_(dmem_mounts_done) DmemMounts mounts = {};
        _cleanup_close_ int fd = root_open("/");

        EXPECT_EQ("live host", host_load_mounts(fd, &mounts), 0);
}

/* Mounting is tested with tmpfs, which every kernel has, out of sight of everybody else. */
static bool enter_namespace(void) {
        return unshare(CLONE_NEWNS) >= 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) >= 0;
}

static void expect_refused(const MountWish *wish, int r, const char *part) {
        _cleanup_free_ char *why = NULL;

        EXPECT_EQ(part, mount_ensure(wish, &why), r);
        EXPECT_TRUE(part, why && strstr(why, part));
}

TEST(ensure) {
        _cleanup_(temporary_root_done) TemporaryRoot root = temporary_root();
        char where[PATH_MAX + 16], alias[PATH_MAX + 16], file[PATH_MAX + 16];
        _cleanup_free_ char *why = NULL;
        MountWish wish = { .type = "tmpfs", .where = where, .mode = 0750, .uid = 1, .gid = 2 };
        struct statvfs fs;
        struct stat st;

        if (geteuid() != 0 || !enter_namespace())
                TEST_SKIP("mounting needs root and a mount namespace");
        (void)snprintf(where, sizeof(where), "%s/a/b/c", root.path);
        (void)snprintf(alias, sizeof(alias), "%s/alias", root.path);
        (void)snprintf(file, sizeof(file), "%s/file", root.path);
        temporary_root_write(&root, "file", "");

        EXPECT_EQ("new", mount_ensure(&wish, &why), 1);
        EXPECT_STREQ("new", why, NULL);
        EXPECT_EQ("new", stat(where, &st), 0);
        EXPECT_EQ("mode", st.st_mode & 07777, 0750);
        EXPECT_EQ("owner", st.st_uid, 1);
        EXPECT_EQ("group", st.st_gid, 2);
        EXPECT_EQ("flags", statvfs(where, &fs), 0);
        EXPECT_EQ("flags", fs.f_flag & (ST_NOSUID | ST_NODEV | ST_NOEXEC),
                  ST_NOSUID | ST_NODEV | ST_NOEXEC);

        EXPECT_EQ("again", mount_ensure(&wish, &why), 0);
        EXPECT_EQ("alias", symlink(where, alias), 0);
        wish.where = alias;
        EXPECT_EQ("by another name", mount_ensure(&wish, &why), 0);
        wish.where = where;

        wish.mode = 0700;
        wish.gid = 3;
        EXPECT_EQ("new owner", mount_ensure(&wish, &why), 0);
        EXPECT_EQ("new owner", stat(where, &st), 0);
        EXPECT_EQ("new owner", st.st_mode & 07777, 0700);
        EXPECT_EQ("new owner", st.st_gid, 3);

        wish.page_size = 4096;
        expect_refused(&wish, -EEXIST, "page size");
        wish.page_size = 0;
        wish.type = "ramfs";
        expect_refused(&wish, -EEXIST, "type tmpfs");
        EXPECT_EQ("unmount", umount(where), 0);

        wish.type = "nosuchfs";
        expect_refused(&wish, -ENODEV, "nosuchfs");
        EXPECT_EQ("the folder that was there stays", stat(where, &st), 0);
        (void)rmdir(where);
        expect_refused(&wish, -ENODEV, "nosuchfs");
        EXPECT_TRUE("the folder we made goes", stat(where, &st) < 0);

        wish.where = file;
        expect_refused(&wish, -ENOTDIR, "not a folder");
        wish.where = "a/b";
        expect_refused(&wish, -EINVAL, "absolute");
}

TEST_MAIN()
