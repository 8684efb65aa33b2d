/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>

#include "basic/macro.h"
#include "basic/root-fs.h"

#define TEMPORARY_PREFIX ".#dmemd-"

/* More links than the kernel itself follows in one path (MAXSYMLINKS in include/linux/namei.h). */
#define LINKS_MAX 40

DEFINE_CLEANUP(DIR *, closedir);
DEFINE_CLEANUP(char **, strv_free);

static const RootObserver *observer;

void root_observe(const RootObserver *new_observer) {
        observer = new_observer;
}

static bool is_absent(int error) {
        return error == -ENOENT || error == -ENOTDIR;
}

char **strv_free(char **strings) {
        for (char **s = strings; s && *s; s++)
                free(*s);
        free(strings);
        return NULL;
}

size_t strv_length(char *const *strings) {
        size_t n = 0;

        while (strings && strings[n])
                n++;
        return n;
}

int root_open(const char *path) {
        int fd;

        fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

int root_openat(int root_fd, const char *path, int flags, mode_t mode) {
        struct open_how how = {
                .flags = (unsigned)flags | O_CLOEXEC,
                .mode = mode,
                .resolve = RESOLVE_IN_ROOT,
        };
        long fd;

        /* -EAGAIN: something was renamed while the kernel looked up a `..`, see openat2(2) */
        do
                fd = syscall(SYS_openat2, root_fd, path, &how, sizeof(how));
        while (fd < 0 && (errno == EAGAIN || errno == EINTR));
        if (fd < 0)
                fd = -errno;
        if (observer && fd >= 0 && !(flags & O_CREAT))
                observer->found(observer->userdata, path, !(flags & O_NOFOLLOW));
        else if (observer && fd < 0 && !is_absent((int)fd))
                observer->refused(observer->userdata, path, (int)fd);
        return (int)fd;
}

int root_exists(int root_fd, const char *path) {
        _cleanup_close_ int fd = -EBADF;

        fd = root_openat(root_fd, path, O_PATH, 0);
        if (is_absent(fd))
                return 0;
        return fd < 0 ? fd : 1;
}

static int read_all(int fd, char **ret, size_t *ret_size) {
        _cleanup_free_ char *buffer = NULL;
        size_t size = 0, room = 0;

        for (;;) {
                ssize_t n;

                if (size + 1 >= room) {
                        char *grown;

                        room = room == 0 ? 4096 : room * 2;
                        grown = realloc(buffer, room);
                        if (!grown)
                                return -ENOMEM;
                        buffer = grown;
                }
                n = read(fd, buffer + size, room - size - 1);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                if (n == 0)
                        break;
                size += (size_t)n;
                if (size > ROOT_FILE_MAX)
                        return -EFBIG;
        }
        buffer[size] = '\0';

        *ret = TAKE_PTR(buffer);
        *ret_size = size;
        return 0;
}

static int read_regular(int fd, char **ret, size_t *ret_size) {
        struct stat st;

        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode))
                return S_ISDIR(st.st_mode) ? -EISDIR : -EBADFD;
        return read_all(fd, ret, ret_size);
}

int root_read_file(int root_fd, const char *path, char **ret, size_t *ret_size) {
        _cleanup_close_ int fd = -EBADF;
        size_t size = 0;
        int r;

        /* O_NONBLOCK: a FIFO in place of a file must not hang us; regular files ignore it. */
        fd = root_openat(root_fd, path, O_RDONLY | O_NOCTTY | O_NONBLOCK, 0);
        if (fd == -ENXIO)
                return -EBADFD; /* a socket, or a device without a driver */
        if (fd < 0)
                return fd;
        r = read_regular(fd, ret, &size);
        if (observer && r >= 0)
                observer->read(observer->userdata, path, *ret, size);
        else if (observer)
                observer->refused(observer->userdata, path, r);
        if (r >= 0 && ret_size)
                *ret_size = size;
        return r;
}

int root_read_at(int fd, const char *path, uint64_t offset, void *buffer, size_t size) {
        for (size_t done = 0; done < size;) {
                ssize_t n =
                        pread(fd, (uint8_t *)buffer + done, size - done, (off_t)(offset + done));

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return n < 0 ? -errno : -EBADMSG;
                done += (size_t)n;
        }
        if (observer)
                observer->read_part(observer->userdata, path, offset, buffer, size);
        return 0;
}

int root_read_text(int root_fd, const char *path, char **ret) {
        char *text;
        size_t length;
        int r;

        r = root_read_file(root_fd, path, &text, NULL);
        if (r < 0)
                return r;
        length = strlen(text);
        while (length > 0 && strchr(" \t\r\n", text[length - 1]))
                text[--length] = '\0';

        *ret = text;
        return 0;
}

static int compare_names(const void *a, const void *b) {
        return strcmp(*(char *const *)a, *(char *const *)b);
}

static int strv_append(char ***strings, size_t n, const char *name) {
        char **grown;

        grown = reallocarray(*strings, n + 2, sizeof(char *));
        if (!grown)
                return -ENOMEM;
        *strings = grown;
        grown[n + 1] = NULL;
        grown[n] = strdup(name);
        return grown[n] ? 0 : -ENOMEM;
}

int root_list(int root_fd, const char *path, const char *prefix, char ***ret) {
        _cleanup_(strv_freep) char **names = NULL;
        _cleanup_(closedirp) DIR *dir = NULL;
        size_t n = 0;
        int fd, r;

        names = new0(char *, 1);
        if (!names)
                return -ENOMEM;
        fd = root_openat(root_fd, path, O_RDONLY | O_DIRECTORY, 0);
        if (fd < 0)
                return fd;
        dir = fdopendir(fd);
        if (!dir) {
                r = -errno;
                (void)close(fd);
                return r;
        }
        for (;;) {
                struct dirent *entry;

                errno = 0;
                entry = readdir(dir);
                if (!entry && errno != 0)
                        return -errno;
                if (!entry)
                        break;
                if (streq(entry->d_name, ".") || streq(entry->d_name, "..") ||
                    !startswith(entry->d_name, prefix))
                        continue;
                r = strv_append(&names, n, entry->d_name);
                if (r < 0)
                        return r;
                n++;
        }
        qsort(names, n, sizeof(char *), compare_names);
        if (observer)
                observer->listed(observer->userdata, path, names);

        *ret = TAKE_PTR(names);
        return 0;
}

/* Opens the folder that holds @path and sets @ret_name to the last part of it, inside @path. */
static int open_folder(int root_fd, const char *path, const char **ret_name) {
        const char *slash = strrchr(path, '/');
        char folder[PATH_MAX] = ".";

        if (slash) {
                if ((size_t)(slash - path) >= sizeof(folder))
                        return -ENAMETOOLONG;
                memcpy(folder, path, (size_t)(slash - path));
                folder[slash - path] = '\0';
        }
        *ret_name = slash ? slash + 1 : path;
        return root_openat(root_fd, folder, O_RDONLY | O_DIRECTORY, 0);
}

int root_mkdir_p(int root_fd, const char *path) {
        char part[PATH_MAX];
        size_t length = strlen(path);

        if (length >= sizeof(part))
                return -ENAMETOOLONG;
        for (size_t i = 1; i <= length; i++) {
                _cleanup_close_ int folder_fd = -EBADF;
                const char *name;

                if (path[i] != '/' && path[i] != '\0')
                        continue;
                memcpy(part, path, i);
                part[i] = '\0';
                folder_fd = open_folder(root_fd, part, &name);
                if (folder_fd < 0)
                        return folder_fd;
                if (mkdirat(folder_fd, name, 0755) < 0) {
                        if (errno != EEXIST)
                                return -errno;
                } else if (fchmodat(folder_fd, name, 0755, 0) < 0) /* the umask may forbid some */
                        return -errno;
                /* One that is there may be the work of a run that was killed before it got here */
                if (fsync(folder_fd) < 0)
                        return -errno;
        }
        return 0;
}

/*
 * Follows @path as long as its last part is a symbolic link; @ret is where the file really is,
 * below the root. Needed because rename() would replace the link and not the file.
 */
static int resolve_link(int root_fd, const char *path, char ret[static PATH_MAX]) {
        char current[PATH_MAX], target[PATH_MAX], joined[PATH_MAX];

        if (strlen(path) >= sizeof(current))
                return -ENAMETOOLONG;
        strcpy(current, path);
        for (unsigned i = 0; i < LINKS_MAX; i++) {
                _cleanup_close_ int folder_fd = -EBADF;
                const char *name;
                ssize_t n;
                int length;

                folder_fd = open_folder(root_fd, current, &name);
                if (folder_fd < 0)
                        return folder_fd;
                n = readlinkat(folder_fd, name, target, sizeof(target) - 1);
                if (n < 0 && errno != EINVAL && errno != ENOENT)
                        return -errno;
                if (n < 0) {
                        strcpy(ret, current);
                        return 0;
                }
                target[n] = '\0';
                if (target[0] == '/')
                        length = snprintf(joined, sizeof(joined), "%s",
                                          target + strspn(target, "/"));
                else
                        length = snprintf(joined, sizeof(joined), "%.*s%s", (int)(name - current),
                                          current, target);
                if (length < 0 || (size_t)length >= sizeof(joined))
                        return -ENAMETOOLONG;
                strcpy(current, joined);
        }
        return -ELOOP;
}

static int write_all(int fd, const char *data, size_t size) {
        while (size > 0) {
                ssize_t n = write(fd, data, size);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                data += n;
                size -= (size_t)n;
        }
        return 0;
}

/*
 * Gives the file what the old one had beside content, owner and mode: the SELinux label, access
 * lists, what users noted. What vouches for the content is for the system to make anew.
 */
static int copy_attributes(int from, int to) {
        _cleanup_free_ char *names = NULL, *value = NULL, *now = NULL;
        ssize_t size;

        size = flistxattr(from, NULL, 0);
        if (size <= 0)
                return size == 0 || errno == EOPNOTSUPP ? 0 : -errno;
        names = new0(char, (size_t)size);
        if (!names)
                return -ENOMEM;
        size = flistxattr(from, names, (size_t)size);
        if (size < 0)
                return -errno;
        value = new0(char, XATTR_SIZE_MAX);
        now = new0(char, XATTR_SIZE_MAX);
        if (!value || !now)
                return -ENOMEM;
        for (const char *name = names; name < names + size; name += strlen(name) + 1) {
                ssize_t n;

                if (streq(name, "security.ima") || streq(name, "security.evm"))
                        continue;
                n = fgetxattr(from, name, value, XATTR_SIZE_MAX);
                if (n < 0)
                        return -errno;
                /* What the folder gave the new file already need not be allowed to us */
                if (fgetxattr(to, name, now, XATTR_SIZE_MAX) == n &&
                    memcmp(value, now, (size_t)n) == 0)
                        continue;
                if (fsetxattr(to, name, value, (size_t)n, 0) < 0)
                        return -errno;
        }
        return 0;
}

/* What a crashed writer of the same file left behind; nobody else uses such names. */
static void temporary_name(char buffer[static NAME_MAX + 1], const char *name) {
        (void)snprintf(buffer, NAME_MAX + 1, TEMPORARY_PREFIX "%.*s",
                       NAME_MAX - (int)strlen(TEMPORARY_PREFIX), name);
}

/*
 * The content is there; then owner, attributes and mode, then the disk.
 * @old_fd: of the file that it replaces, or negative
 * @owner:  is to belong to whom this belongs to; NULL: to us
 */
static int finish_temporary(int fd, int old_fd, const struct stat *owner, mode_t mode) {
        struct stat st;
        int r;

        /* Only where it makes a difference: a sandbox may forbid the call altogether. */
        if (fstat(fd, &st) < 0)
                return -errno;
        if (owner && (st.st_uid != owner->st_uid || st.st_gid != owner->st_gid) &&
            fchown(fd, owner->st_uid, owner->st_gid) < 0)
                return -errno;
        if (old_fd >= 0) {
                r = copy_attributes(old_fd, fd);
                if (r < 0)
                        return r;
        }
        if (fchmod(fd, mode) < 0)
                return -errno;
        return fsync(fd) < 0 ? -errno : 0;
}

/* A new temporary file for @name; one that was left behind is gone. Returns it or an errno. */
static int open_temporary(int folder_fd, const char *name, char temporary[static NAME_MAX + 1]) {
        int fd;

        temporary_name(temporary, name);
        if (unlinkat(folder_fd, temporary, 0) < 0 && errno != ENOENT)
                return -errno;
        fd = openat(folder_fd, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                    0600);
        return fd < 0 ? -errno : fd;
}

/* Puts the temporary file in its place, or removes it if @r is an error already. */
static int commit_temporary(int folder_fd, const char *temporary, const char *name, int r) {
        if (r >= 0 && renameat(folder_fd, temporary, folder_fd, name) < 0)
                r = -errno;
        if (r < 0) {
                (void)unlinkat(folder_fd, temporary, 0);
                return r;
        }
        return fsync(folder_fd) < 0 ? -errno : 0;
}

int root_write_file(int root_fd, const char *path, const void *data, size_t size, mode_t mode) {
        _cleanup_close_ int folder_fd = -EBADF, fd = -EBADF, old_fd = -EBADF;
        char real[PATH_MAX], temporary[NAME_MAX + 1];
        const char *name;
        struct stat st;
        bool exists;
        int r;

        r = resolve_link(root_fd, path, real);
        if (r < 0)
                return r;
        folder_fd = open_folder(root_fd, real, &name);
        if (folder_fd < 0)
                return folder_fd;
        exists = fstatat(folder_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
        if (!exists && errno != ENOENT)
                return -errno;
        if (exists && !S_ISREG(st.st_mode))
                return S_ISDIR(st.st_mode) ? -EISDIR : -EBADFD;
        if (exists) {
                old_fd = openat(folder_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
                /* An ordinary user may own a file that it cannot read: then there is its mode */
                if (old_fd < 0 && errno != EACCES)
                        return -errno;
        }

        fd = open_temporary(folder_fd, name, temporary);
        if (fd < 0)
                return fd;
        r = write_all(fd, data, size);
        if (r >= 0)
                r = finish_temporary(fd, old_fd, exists ? &st : NULL,
                                     exists ? st.st_mode & 07777 : mode);
        return commit_temporary(folder_fd, temporary, name, r);
}

int root_write_stream(int folder_fd, const char *name, int (*fill)(const void *data, FILE *f),
                      const void *data, mode_t mode) {
        _cleanup_fclose_ FILE *f = NULL;
        char temporary[NAME_MAX + 1];
        struct stat folder;
        int fd, r;

        if (fstat(folder_fd, &folder) < 0)
                return -errno;
        fd = open_temporary(folder_fd, name, temporary);
        if (fd < 0)
                return fd;
        f = fdopen(fd, "w");
        if (!f) {
                r = -errno;
                (void)close(fd);
                return commit_temporary(folder_fd, temporary, name, r);
        }
        r = fill(data, f);
        if (r >= 0 && fflush(f) != 0)
                r = -errno;
        if (r >= 0)
                r = finish_temporary(fd, -EBADF, &folder, mode);
        return commit_temporary(folder_fd, temporary, name, r);
}

/*
 * Removes @name from the folder, durably. 0: there is none, which is no matter of whether the
 * file system may be written to.
 */
static int unlink_in(int folder_fd, const char *name) {
        struct stat st;

        if (fstatat(folder_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return errno == ENOENT ? 0 : -errno;
        if (unlinkat(folder_fd, name, 0) < 0)
                return errno == ENOENT ? 0 : -errno;
        return fsync(folder_fd) < 0 ? -errno : 1;
}

int root_remove_stale(int root_fd, const char *path) {
        _cleanup_close_ int folder_fd = -EBADF;
        char real[PATH_MAX], temporary[NAME_MAX + 1];
        const char *name;
        int r;

        r = resolve_link(root_fd, path, real);
        if (r == -ENOENT)
                return 0;
        if (r < 0)
                return r;
        folder_fd = open_folder(root_fd, real, &name);
        if (folder_fd < 0)
                return folder_fd;
        temporary_name(temporary, name);
        return unlink_in(folder_fd, temporary);
}

int root_remove_all_stale(int root_fd, const char *folder) {
        _cleanup_(strv_freep) char **names = NULL;
        _cleanup_close_ int folder_fd = -EBADF;
        int r;

        r = root_list(root_fd, folder, TEMPORARY_PREFIX, &names);
        if (r < 0)
                return r == -ENOENT || r == -ENOTDIR ? 0 : r;
        if (!names[0])
                return 0;
        folder_fd = root_openat(root_fd, folder, O_RDONLY | O_DIRECTORY, 0);
        if (folder_fd < 0)
                return folder_fd;
        for (char **name = names; *name; name++)
                if (unlinkat(folder_fd, *name, 0) < 0 && errno != ENOENT)
                        return -errno;
        return fsync(folder_fd) < 0 ? -errno : 1;
}

int root_unlink(int root_fd, const char *path) {
        _cleanup_close_ int folder_fd = -EBADF;
        const char *name;

        folder_fd = open_folder(root_fd, path, &name);
        if (folder_fd == -ENOENT)
                return 0;
        if (folder_fd < 0)
                return folder_fd;
        return unlink_in(folder_fd, name);
}

int root_sync(int root_fd, const char *path) {
        _cleanup_close_ int folder_fd = -EBADF, fd = -EBADF;
        char real[PATH_MAX];
        const char *name;
        int r;

        r = resolve_link(root_fd, path, real);
        if (r < 0)
                return r == -ENOENT ? 0 : r;
        folder_fd = open_folder(root_fd, real, &name);
        if (folder_fd < 0)
                return folder_fd == -ENOENT ? 0 : folder_fd;
        fd = openat(folder_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0 && errno != ENOENT)
                return -errno;
        if (fd >= 0 && fsync(fd) < 0)
                return -errno;
        return fsync(folder_fd) < 0 ? -errno : 0;
}
