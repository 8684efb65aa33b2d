/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <fcntl.h>
#include <libmount.h>
#include <limits.h>
#include <linux/mount.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "basic/macro.h"
#include "basic/root-fs.h"
#include "basic/size-util.h"
#include "host/mount.h"

/* What mount -t dmemfs without pagesize= gives, see dmemfs(5). */
#define DEFAULT_PAGE_SIZE (2 * MiB)

DEFINE_CLEANUP(struct libmnt_table *, mnt_unref_table);
DEFINE_CLEANUP(struct libmnt_iter *, mnt_free_iter);
DEFINE_CLEANUP(struct libmnt_context *, mnt_free_context);

static void mount_done(DmemMount *mount) {
        free(mount->where);
        free(mount->nodes);
}

void dmem_mounts_done(DmemMounts *mounts) {
        for (size_t i = 0; i < mounts->n_items; i++)
                mount_done(&mounts->items[i]);
        free(mounts->items);
        *mounts = (DmemMounts){};
}

/* A line that cannot be read is left out and does not cost us the others. */
static int skip_bad_line(struct libmnt_table *table, const char *name, int line) {
        return 1;
}

/* -ENOENT: there is no mountinfo below this root. */
static int load_table(int root_fd, struct libmnt_table **ret) {
        _cleanup_(mnt_unref_tablep) struct libmnt_table *table = NULL;
        _cleanup_fclose_ FILE *f = NULL;
        _cleanup_free_ char *text = NULL;
        size_t size;
        int r;

        r = root_read_file(root_fd, "proc/self/mountinfo", &text, &size);
        if (r < 0)
                return r;
        table = mnt_new_table();
        if (!table)
                return -ENOMEM;
        if (size > 0) {
                f = fmemopen(text, size, "r");
                if (!f)
                        return -errno;
                (void)mnt_table_set_parser_errcb(table, skip_bad_line);
                r = mnt_table_parse_stream(table, f, "mountinfo");
                if (r < 0)
                        return r == -ENOMEM ? r : -EBADMSG;
        }
        *ret = TAKE_PTR(table);
        return 0;
}

/* The value of option @name of the file system, as a new string; *ret is NULL without it. */
static int fs_option(struct libmnt_fs *fs, const char *name, char **ret) {
        const char *options = mnt_fs_get_fs_options(fs);
        char *value = NULL;
        size_t size = 0;

        *ret = NULL;
        if (!options || mnt_optstr_get_option(options, name, &value, &size) != 0 || !value)
                return 0;
        *ret = strndup(value, size);
        return *ret ? 0 : -ENOMEM;
}

static int fs_page_size(struct libmnt_fs *fs, uint64_t *ret) {
        _cleanup_free_ char *text = NULL;
        uint64_t size = 0;
        int r;

        r = fs_option(fs, "pagesize", &text);
        if (r < 0)
                return r;
        if (!text)
                size = DEFAULT_PAGE_SIZE;
        else if (parse_size(text, &size) < 0)
                size = 0; /* not a size we understand: unknown */
        *ret = size;
        return 0;
}

static int mounts_add(DmemMounts *mounts, struct libmnt_fs *fs) {
        DmemMount mount = {};
        DmemMount *grown;
        int r;

        grown = reallocarray(mounts->items, mounts->n_items + 1, sizeof(DmemMount));
        if (!grown)
                return -ENOMEM;
        mounts->items = grown;

        r = fs_page_size(fs, &mount.page_size);
        if (r < 0)
                return r;
        r = fs_option(fs, "node", &mount.nodes);
        if (r < 0)
                return r;
        if (!mount.nodes)
                mount.nodes = strdup("all");
        mount.where = strdup(mnt_fs_get_target(fs) ?: "");
        if (!mount.nodes || !mount.where) {
                mount_done(&mount);
                return -ENOMEM;
        }
        mounts->items[mounts->n_items++] = mount;
        return 0;
}

int host_load_mounts(int root_fd, DmemMounts *ret) {
        _cleanup_(mnt_unref_tablep) struct libmnt_table *table = NULL;
        _cleanup_(mnt_free_iterp) struct libmnt_iter *iter = NULL;
        _cleanup_(dmem_mounts_done) DmemMounts mounts = {};
        struct libmnt_fs *fs;
        int r;

        r = load_table(root_fd, &table);
        if (r < 0 && r != -ENOENT && r != -ENOTDIR)
                return r;
        iter = mnt_new_iter(MNT_ITER_FORWARD);
        if (!iter)
                return -ENOMEM;
        while (table && mnt_table_next_fs(table, iter, &fs) == 0) {
                if (!streq(mnt_fs_get_fstype(fs) ?: "", "dmemfs"))
                        continue;
                r = mounts_add(&mounts, fs);
                if (r < 0)
                        return r;
        }
        *ret = mounts;
        mounts = (DmemMounts){};
        return 0;
}

static _printf_(3, 4) int fail(int error, char **ret_why, const char *format, ...) {
        char *why = NULL;
        va_list arguments;

        va_start(arguments, format);
        if (vasprintf(&why, format, arguments) < 0)
                why = NULL;
        va_end(arguments);
        *ret_why = why;
        return error;
}

/*
 * Creates what is missing of @path. Not root_mkdir_p(): this is tmpfs, nothing to make durable.
 * Returns 1 if the last folder was created, 0 if it was there.
 */
static int make_mount_point(const char *path, char **ret_why) {
        char part[PATH_MAX];
        size_t length = strlen(path);
        bool created = false;
        struct stat st;

        if (path[0] != '/' || length >= sizeof(part))
                return fail(-EINVAL, ret_why,
                            "the mount point '%s' is no absolute path; correct "
                            "Where= in section [Mount] of dmemd.conf",
                            path);
        for (size_t i = 1; i <= length; i++) {
                if (path[i] != '/' && path[i] != '\0')
                        continue;
                memcpy(part, path, i);
                part[i] = '\0';
                created = mkdir(part, 0755) >= 0;
                if (!created && errno != EEXIST && errno != EISDIR)
                        return fail(-errno, ret_why, "cannot create folder %s: %m", part);
        }
        if (stat(path, &st) < 0)
                return fail(-errno, ret_why, "cannot look at %s: %m", path);
        if (!S_ISDIR(st.st_mode))
                return fail(-ENOTDIR, ret_why,
                            "%s is not a folder; remove it or choose another "
                            "Where= in section [Mount] of dmemd.conf",
                            path);
        return created;
}

/* Returns 1 if what we want is mounted at @where already, 0 if nothing is. */
static int check_mounted(const MountWish *wish, const char *where, char **ret_why) {
        _cleanup_(mnt_unref_tablep) struct libmnt_table *table = NULL;
        _cleanup_close_ int root_fd = -EBADF;
        char want[FORMAT_SIZE_MAX], have[FORMAT_SIZE_MAX];
        struct libmnt_fs *fs;
        const char *type;
        uint64_t page_size;
        int r;

        root_fd = root_open("/");
        if (root_fd < 0)
                return root_fd;
        r = load_table(root_fd, &table);
        if (r < 0)
                return fail(r, ret_why, "cannot read /proc/self/mountinfo: %s", strerror(-r));
        /* Backward: of several mounts on one place the last is the one that is seen. */
        fs = mnt_table_find_target(table, where, MNT_ITER_BACKWARD);
        if (!fs)
                return 0;

        type = mnt_fs_get_fstype(fs) ?: "";
        if (!streq(type, wish->type))
                return fail(-EEXIST, ret_why,
                            "there is a file system of type %s already; unmount "
                            "it or choose another Where= in section [Mount] of "
                            "dmemd.conf",
                            type);
        if (wish->page_size == 0)
                return 1;
        r = fs_page_size(fs, &page_size);
        if (r < 0)
                return r;
        if (page_size != wish->page_size)
                return fail(-EEXIST, ret_why,
                            "it is mounted with page size %s, not %s as asked "
                            "for by PageSize= in section [Mount] of dmemd.conf; "
                            "unmount it when no guest uses it and try again",
                            format_size(have, page_size), format_size(want, wish->page_size));
        return 1;
}

/* For a mount that was there before us: the configuration may have changed since. */
static int adjust_owner(const MountWish *wish, const char *where, char **ret_why) {
        _cleanup_close_ int fd = -EBADF;
        struct stat st;

        fd = open(where, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &st) < 0)
                return fail(-errno, ret_why, "cannot open it: %m");
        if ((st.st_uid != wish->uid || st.st_gid != wish->gid) &&
            fchown(fd, wish->uid, wish->gid) < 0)
                return fail(-errno, ret_why, "cannot change its owner: %m");
        if ((st.st_mode & 07777) != wish->mode && fchmod(fd, wish->mode) < 0)
                return fail(-errno, ret_why, "cannot change its mode: %m");
        return 0;
}

static int format_options(const MountWish *wish, char **ret) {
        char page_size[FORMAT_SIZE_MAX], *options;
        int r;

        r = asprintf(&options, "%s%s%smode=%04o,uid=%u,gid=%u", wish->page_size ? "pagesize=" : "",
                     wish->page_size ? format_size(page_size, wish->page_size) : "",
                     wish->page_size ? "," : "", (unsigned)wish->mode, (unsigned)wish->uid,
                     (unsigned)wish->gid);
        if (r < 0)
                return -ENOMEM;
        *ret = options;
        return 0;
}

static int mount_now(const MountWish *wish, const char *where, char **ret_why) {
        _cleanup_(mnt_free_contextp) struct libmnt_context *context = NULL;
        _cleanup_free_ char *options = NULL;
        char why[512] = "";
        int r, error;

        r = format_options(wish, &options);
        if (r < 0)
                return r;
        context = mnt_new_context();
        if (!context || mnt_context_set_fstype(context, wish->type) != 0 ||
            mnt_context_set_source(context, wish->type) != 0 ||
            mnt_context_set_target(context, where) != 0 ||
            mnt_context_set_options(context, options) != 0 ||
            mnt_context_set_mflags(context, MS_NOSUID | MS_NODEV | MS_NOEXEC) != 0 ||
            mnt_context_disable_helpers(context, true) != 0)
                return -ENOMEM;

        r = mnt_context_mount(context);
        error = mnt_context_syscall_called(context) ? mnt_context_get_syscall_errno(context) : -r;
        if (mnt_context_get_excode(context, r, why, sizeof(why)) == MNT_EX_SUCCESS)
                return 1;
        if (error <= 0)
                error = EIO;
        return fail(-error, ret_why, "mount -t %s -o %s: %s", wish->type, options,
                    why[0] != '\0' ? why : strerror(error));
}

/* @where is the mount point by its real name. */
static int mount_there(const MountWish *wish, const char *where, char **ret_why) {
        int r;

        r = check_mounted(wish, where, ret_why);
        if (r < 0)
                return r;
        if (r > 0)
                return adjust_owner(wish, where, ret_why);
        return mount_now(wish, where, ret_why);
}

void mount_load_type(const char *type) {
        _cleanup_close_ int fd = -EBADF;

        /* Asking for a context is what loads it, see get_fs_type() in fs/filesystems.c */
        fd = (int)syscall(SYS_fsopen, type, FSOPEN_CLOEXEC);
}

int mount_ensure(const MountWish *wish, char **ret_why) {
        _cleanup_free_ char *where = NULL;
        int created, r;

        *ret_why = NULL;
        created = make_mount_point(wish->where, ret_why);
        if (created < 0)
                return created;
        /* mountinfo has the names without symbolic links, as for /var/run */
        where = realpath(wish->where, NULL);
        if (!where)
                return fail(-errno, ret_why, "cannot resolve %s: %m", wish->where);

        r = mount_there(wish, where, ret_why);
        /* Without the mount, a guest that uses the folder would take its memory from elsewhere. */
        if (r < 0 && created)
                (void)rmdir(where);
        return r;
}
