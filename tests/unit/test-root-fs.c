/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "basic/root-fs.h"
#include "test.h"

static char scratch[] = "/tmp/dmemd-test-root-fs.XXXXXX";
static int root_fd = -EBADF;

static void expect_content(const char *path, const char *expected) {
        _cleanup_free_ char *text = NULL;

        EXPECT_EQ(path, root_read_file(root_fd, path, &text, NULL), 0);
        EXPECT_STREQ(path, text, expected);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw) {
        return remove(path);
}

static void remove_scratch(void) {
        (void)nftw(scratch, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

TEST(make_root) {
        EXPECT_TRUE("mkdtemp", mkdtemp(scratch) != NULL);
        (void)atexit(remove_scratch);
        root_fd = root_open(scratch);
        EXPECT_TRUE("root_open", root_fd >= 0);
        EXPECT_EQ("nowhere", root_open("/nonexistent/dmemd"), -ENOENT);
}

TEST(folders) {
        EXPECT_EQ("a/b/c", root_exists(root_fd, "a/b/c"), 0);
        EXPECT_EQ("a/b/c", root_mkdir_p(root_fd, "a/b/c"), 0);
        EXPECT_EQ("a/b/c again", root_mkdir_p(root_fd, "a/b/c"), 0);
        EXPECT_EQ("a/b/c", root_exists(root_fd, "a/b/c"), 1);
}

TEST(write_and_replace) {
        struct stat st;

        EXPECT_EQ("new", root_write_file(root_fd, "a/file", "one\n", 4, 0640), 0);
        expect_content("a/file", "one\n");
        EXPECT_EQ("mode of a new file", fstatat(root_fd, "a/file", &st, 0), 0);
        EXPECT_EQ("mode of a new file", st.st_mode & 07777, 0640);

        EXPECT_EQ("chmod", fchmodat(root_fd, "a/file", 0604, 0), 0);
        EXPECT_EQ("replace", root_write_file(root_fd, "a/file", "two\n", 4, 0640), 0);
        expect_content("a/file", "two\n");
        EXPECT_EQ("mode is kept", fstatat(root_fd, "a/file", &st, 0), 0);
        EXPECT_EQ("mode is kept", st.st_mode & 07777, 0604);

        EXPECT_EQ("no folder", root_write_file(root_fd, "none/file", "x", 1, 0644), -ENOENT);
        EXPECT_EQ("a folder", root_write_file(root_fd, "a/b", "x", 1, 0644), -EISDIR);
}

TEST(nothing_left_behind) {
        char **names = NULL;

        /* What a writer that was killed leaves; the next one must clear it away. */
        EXPECT_EQ("stale", root_write_file(root_fd, "a/.#dmemd-file", "half", 4, 0600), 0);
        EXPECT_EQ("write", root_write_file(root_fd, "a/file", "three\n", 6, 0644), 0);
        EXPECT_EQ("list", root_list(root_fd, "a", "", &names), 0);
        EXPECT_EQ("b and file", strv_length(names), 2);
        if (strv_length(names) == 2) {
                EXPECT_STREQ("sorted", names[0], "b");
                EXPECT_STREQ("sorted", names[1], "file");
        }
        strv_free(names);
}

static void expect_attribute(const char *path, const char *name, const char *expected) {
        char value[64] = "";
        int fd = root_openat(root_fd, path, O_RDONLY, 0);

        EXPECT_EQ(path, fgetxattr(fd, name, value, sizeof(value) - 1), (ssize_t)strlen(expected));
        EXPECT_STREQ(path, value, expected);
        (void)close(fd);
}

TEST(attributes_are_kept) {
        static const char large[] = "more than a first guess would have room for: 0123456789";
        int fd;

        EXPECT_EQ("write", root_write_file(root_fd, "a/noted", "one\n", 4, 0644), 0);
        fd = root_openat(root_fd, "a/noted", O_RDONLY, 0);
        if (fsetxattr(fd, "user.note", large, strlen(large), 0) < 0 ||
            fsetxattr(fd, "user.other", "x", 1, 0) < 0) {
                printf("  (no attributes on this file system, left out)\n");
                (void)close(fd);
                return;
        }
        (void)close(fd);
        EXPECT_EQ("write", root_write_file(root_fd, "a/noted", "two\n", 4, 0644), 0);
        expect_content("a/noted", "two\n");
        expect_attribute("a/noted", "user.note", large);
        expect_attribute("a/noted", "user.other", "x");
}

/* Snapshots of hard links, as backups have them, are to stay as they are. */
TEST(hard_links_keep_the_old_content) {
        EXPECT_EQ("write", root_write_file(root_fd, "a/linked", "one\n", 4, 0644), 0);
        EXPECT_EQ("link", linkat(root_fd, "a/linked", root_fd, "a/snapshot", 0), 0);
        EXPECT_EQ("write", root_write_file(root_fd, "a/linked", "two\n", 4, 0644), 0);
        expect_content("a/linked", "two\n");
        expect_content("a/snapshot", "one\n");
}

/* None may hang us or look like an empty file. */
TEST(no_regular_file) {
        char *text = NULL;

        EXPECT_EQ("mkfifo", mkfifoat(root_fd, "a/fifo", 0600), 0);
        EXPECT_EQ("mksock", mknodat(root_fd, "a/socket", S_IFSOCK | 0600, 0), 0);
        EXPECT_EQ("link", symlinkat("fifo", root_fd, "a/to-fifo"), 0);
        EXPECT_EQ("FIFO", root_read_file(root_fd, "a/fifo", &text, NULL), -EBADFD);
        EXPECT_EQ("socket", root_read_file(root_fd, "a/socket", &text, NULL), -EBADFD);
        EXPECT_EQ("link", root_read_file(root_fd, "a/to-fifo", &text, NULL), -EBADFD);
        EXPECT_EQ("folder", root_read_file(root_fd, "a", &text, NULL), -EISDIR);
        EXPECT_TRUE("untouched", text == NULL);
        EXPECT_EQ("FIFO", root_write_file(root_fd, "a/fifo", "x", 1, 0644), -EBADFD);
        EXPECT_EQ("link", root_write_file(root_fd, "a/to-fifo", "x", 1, 0644), -EBADFD);
        EXPECT_EQ("sync", root_sync(root_fd, "a/file"), 0);
        EXPECT_EQ("sync", root_sync(root_fd, "a/none"), 0);
        EXPECT_EQ("sync", root_sync(root_fd, "none/none"), 0);
}

TEST(umask_and_new_folders) {
        mode_t old = umask(077);
        struct stat st;

        EXPECT_EQ("folders", root_mkdir_p(root_fd, "state/of/ours"), 0);
        EXPECT_EQ("stat", fstatat(root_fd, "state/of/ours", &st, 0), 0);
        EXPECT_EQ("mode", st.st_mode & 07777, 0755);
        EXPECT_EQ("file", root_write_file(root_fd, "state/of/ours/x", "x", 1, 0644), 0);
        EXPECT_EQ("stat", fstatat(root_fd, "state/of/ours/x", &st, 0), 0);
        EXPECT_EQ("mode", st.st_mode & 07777, 0644);
        (void)umask(old);
}

TEST(remove_stale) {
        EXPECT_EQ("stale", root_write_file(root_fd, "a/.#dmemd-file", "half", 4, 0600), 0);
        EXPECT_EQ("a/file", root_remove_stale(root_fd, "a/file"), 1);
        EXPECT_EQ("a/file", root_remove_stale(root_fd, "a/file"), 0);
        EXPECT_EQ("a/file", root_exists(root_fd, "a/file"), 1);
        EXPECT_EQ("none/file", root_remove_stale(root_fd, "none/file"), 0);
}

TEST(links_stay_inside) {
        _cleanup_free_ char *text = NULL;

        EXPECT_EQ("absolute", symlinkat("/a/file", root_fd, "absolute"), 0);
        EXPECT_EQ("climbing", symlinkat("../../../a/file", root_fd, "a/b/climbing"), 0);
        EXPECT_EQ("outside", symlinkat("/etc/passwd", root_fd, "outside"), 0);
        EXPECT_EQ("loop", symlinkat("loop", root_fd, "loop"), 0);

        EXPECT_EQ("outside", root_exists(root_fd, "outside"), 0);
        expect_content("absolute", "three\n");
        expect_content("a/b/climbing", "three\n");
        EXPECT_EQ("write through", root_write_file(root_fd, "absolute", "four\n", 5, 0644), 0);
        EXPECT_EQ("write through", root_write_file(root_fd, "a/b/climbing", "five\n", 5, 0644), 0);
        expect_content("a/file", "five\n");
        EXPECT_EQ("loop", root_write_file(root_fd, "loop", "x", 1, 0644), -ELOOP);
        EXPECT_EQ("loop", root_read_file(root_fd, "loop", &text, NULL), -ELOOP);
}

TEST(read_text) {
        _cleanup_free_ char *text = NULL;

        EXPECT_EQ("padded", root_write_file(root_fd, "padded", "0-3\n\0\0\0x", 8, 0644), 0);
        EXPECT_EQ("padded", root_read_text(root_fd, "padded", &text), 0);
        EXPECT_STREQ("padded", text, "0-3");
}

TEST(unlink) {
        EXPECT_EQ("padded", root_unlink(root_fd, "padded"), 1);
        EXPECT_EQ("padded", root_unlink(root_fd, "padded"), 0);
        EXPECT_EQ("none/padded", root_unlink(root_fd, "none/padded"), 0);
}

static int fill(const void *data, FILE *f) {
        return fputs(data, f) < 0 ? -EIO : 0;
}

static int fill_and_fail(const void *data, FILE *f) {
        fputs("half of it", f);
        return -ENOMEM;
}

/* In a folder where somebody else may put what they like. */
TEST(write_stream) {
        _cleanup_close_ int folder_fd = -EBADF;
        struct stat st;

        EXPECT_EQ("folder", root_mkdir_p(root_fd, "theirs"), 0);
        folder_fd = root_openat(root_fd, "theirs", O_RDONLY | O_DIRECTORY, 0);
        EXPECT_EQ("other", root_write_file(root_fd, "theirs/other", "precious\n", 9, 0644), 0);
        EXPECT_EQ("link", symlinkat("other", folder_fd, "file"), 0);
        EXPECT_EQ("link", symlinkat("other", folder_fd, ".#dmemd-file"), 0);
        EXPECT_EQ("write", root_write_stream(folder_fd, "file", fill, "new\n", 0640), 0);
        expect_content("theirs/file", "new\n");
        expect_content("theirs/other", "precious\n");
        EXPECT_EQ("stat", fstatat(folder_fd, "file", &st, AT_SYMLINK_NOFOLLOW), 0);
        EXPECT_TRUE("the link is gone", S_ISREG(st.st_mode));
        EXPECT_EQ("mode", st.st_mode & 07777, 0640);

        EXPECT_EQ("failing", root_write_stream(folder_fd, "file", fill_and_fail, NULL, 0640),
                  -ENOMEM);
        expect_content("theirs/file", "new\n");
        EXPECT_EQ("nothing is left", root_exists(root_fd, "theirs/.#dmemd-file"), 0);

        if (geteuid() == 0) {
                EXPECT_EQ("chown", fchown(folder_fd, 65534, 65534), 0);
                EXPECT_EQ("write", root_write_stream(folder_fd, "file", fill, "x", 0640), 0);
                EXPECT_EQ("stat", fstatat(folder_fd, "file", &st, AT_SYMLINK_NOFOLLOW), 0);
                EXPECT_TRUE("whose the folder is", st.st_uid == 65534 && st.st_gid == 65534);
        }
}

TEST_MAIN()
