/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>

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

TEST(fifo_does_not_hang) {
        _cleanup_free_ char *text = NULL;

        EXPECT_EQ("fifo", mkfifoat(root_fd, "fifo", 0600), 0);
        EXPECT_EQ("fifo", root_read_file(root_fd, "fifo", &text, NULL), 0);
        EXPECT_STREQ("fifo", text, "");
        EXPECT_EQ("fifo", root_write_file(root_fd, "fifo", "x", 1, 0644), -EINVAL);
}

TEST(unlink) {
        EXPECT_EQ("padded", root_unlink(root_fd, "padded"), 1);
        EXPECT_EQ("padded", root_unlink(root_fd, "padded"), 0);
        EXPECT_EQ("none/padded", root_unlink(root_fd, "none/padded"), 0);
}

TEST_MAIN()
