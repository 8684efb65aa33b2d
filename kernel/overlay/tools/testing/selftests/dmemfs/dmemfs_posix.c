// SPDX-License-Identifier: GPL-2.0
/*
 * Names, owners, modes and times: what POSIX says of directories, regular files and hard links, as
 * far as the file system has a part in it.
 */
#include "harness.h"

#include <dirent.h>
#include <linux/falloc.h>
#include <sys/fsuid.h>
#include <sys/sendfile.h>
#include <time.h>

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1
#define RENAME_EXCHANGE 2
#endif

#define OWNER 1001
#define OTHER 1002

static int m; /* the root directory of the mount */
static uint64_t all_free;

/* All names are relative to the mount. */
static int new_file(const char *name, mode_t mode)
{
	int fd = openat(m, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0 || fchmod(fd, mode) < 0)
		die("make %s", name);
	return fd;
}

static void make_file(const char *name, mode_t mode)
{
	close(new_file(name, mode));
}

static void make_directory(const char *name, mode_t mode)
{
	if (mkdirat(m, name, 0700) < 0 || fchmodat(m, name, mode, 0) < 0)
		die("make %s", name);
}

static int try_open(const char *name, int flags)
{
	int fd = openat(m, name, flags | O_CLOEXEC, 0600), error = errno;

	if (fd >= 0)
		close(fd);
	errno = error;
	return fd < 0 ? -1 : 0;
}

static int rename_to(const char *from, const char *to, unsigned int flags)
{
	return syscall(SYS_renameat2, m, from, m, to, flags);
}

static bool fails(int r, int error)
{
	return r < 0 && errno == error;
}

static struct stat stat_of(const char *name)
{
	struct stat st;

	if (fstatat(m, name, &st, 0) < 0)
		die("stat %s", name);
	return st;
}

static bool exists(const char *name)
{
	return faccessat(m, name, F_OK, 0) == 0;
}

/* What follows is done as somebody without capabilities about files; 0 is root again. */
static void be(uid_t id)
{
	/* The group first, on the way there, and last on the way back */
	if (id)
		setfsgid(id);
	setfsuid(id);
	if (!id)
		setfsgid(0);
	if (setfsuid(-1) != (int)id || setfsgid(-1) != (int)id)
		die("setfsuid");
}

static void test_create(void)
{
	char name[NAME_MAX + 2];
	mode_t mask = umask(027);

	check(try_open("f", O_RDWR | O_CREAT | O_EXCL) == 0 &&
	      fails(try_open("f", O_RDWR | O_CREAT | O_EXCL), EEXIST) &&
	      try_open("f", O_RDWR | O_CREAT) == 0, "O_EXCL wants a new file");
	check(mkdirat(m, "d", 0777) == 0 && stat_of("d").st_mode == (S_IFDIR | 0750),
	      "the umask counts");
	umask(mask);
	check(fails(mkdirat(m, "d", 0700), EEXIST) && fails(mkdirat(m, "f", 0700), EEXIST) &&
	      fails(mkdirat(m, "f/d", 0700), ENOTDIR) && fails(mkdirat(m, "n/d", 0700), ENOENT),
	      "where no directory can be made");
	check(fails(try_open("d", O_RDWR), EISDIR) &&
	      fails(try_open("d", O_RDWR | O_CREAT), EISDIR) &&
	      try_open("d", O_RDONLY | O_DIRECTORY) == 0 &&
	      fails(try_open("f", O_RDONLY | O_DIRECTORY), ENOTDIR), "a directory is no file");

	memset(name, 'n', sizeof(name));
	name[NAME_MAX] = '\0';
	check(try_open(name, O_RDWR | O_CREAT) == 0 && unlinkat(m, name, 0) == 0,
	      "a name of 255 bytes");
	name[NAME_MAX] = 'n';
	name[NAME_MAX + 1] = '\0';
	check(fails(try_open(name, O_RDWR | O_CREAT), ENAMETOOLONG), "and none of 256");

	check(fails(unlinkat(m, "d", 0), EISDIR) &&
	      fails(unlinkat(m, "f", AT_REMOVEDIR), ENOTDIR) &&
	      fails(unlinkat(m, "n", 0), ENOENT), "what unlink() and rmdir() are for");
	make_file("d/f", 0600);
	check(fails(unlinkat(m, "d", AT_REMOVEDIR), ENOTEMPTY) && unlinkat(m, "d/f", 0) == 0 &&
	      unlinkat(m, "d", AT_REMOVEDIR) == 0 && !exists("d"),
	      "a directory can be removed when it is empty");
	unlinkat(m, "f", 0);
}

/* The names in the root directory, but for two, one after the other */
static unsigned int list(char *names, size_t size)
{
	int fd = openat(m, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fdopendir(fd);
	struct dirent *entry;
	unsigned int n = 0;

	if (!dir)
		die("opendir");
	names[0] = '\0';
	while ((entry = readdir(dir))) {
		n++;
		if (entry->d_name[0] == '.')
			continue;
		strncat(names, entry->d_name, size - strlen(names) - 1);
		if (entry->d_type != (entry->d_name[0] == 'd' ? DT_DIR : DT_REG))
			n += 100;
	}
	closedir(dir);
	return n;
}

static void test_directories(void)
{
	unsigned int links = stat_of(".").st_nlink;
	char names[64];

	make_directory("d1", 0700);
	make_directory("d2", 0700);
	make_directory("d1/d3", 0700);
	make_file("f", 0600);
	check(list(names, sizeof(names)) == 5 && strlen(names) == 5 && strstr(names, "d1") &&
	      strstr(names, "d2") && strstr(names, "f"), "a directory lists what it has: %s",
	      names);
	check(stat_of(".").st_nlink == links + 2 && stat_of("d1").st_nlink == 3 &&
	      stat_of("d2").st_nlink == 2, "the links of a directory");
	check(rename_to("d1/d3", "d2/d3", 0) == 0 && stat_of("d1").st_nlink == 2 &&
	      stat_of("d2").st_nlink == 3, "move with a directory in it");
	check(fails(rename_to("d2", "d2/d3/d4", 0), EINVAL), "which cannot move into itself");
	check(fails(rename_to("d1", "d2", 0), ENOTEMPTY) &&
	      fails(rename_to("d1", "f", 0), ENOTDIR) &&
	      fails(rename_to("f", "d1", 0), EISDIR) && rename_to("d2", "d1", 0) == 0 &&
	      exists("d1/d3") && !exists("d2"), "it replaces an empty one only");
	check(stat_of(".").st_nlink == links + 1, "which has no link any more");
	unlinkat(m, "f", 0);
	unlinkat(m, "d1/d3", AT_REMOVEDIR);
	unlinkat(m, "d1", AT_REMOVEDIR);
	check(stat_of(".").st_nlink == links, "in the end there is none too many");
}

static void test_links(void)
{
	int fd = new_file("f", 0600), temporary;
	char path[80], byte = 0;
	struct stat st;

	if (write(fd, "f", 1) != 1)
		die("write");
	make_directory("d", 0700);
	make_file("g", 0600);
	check(linkat(m, "f", m, "d/l", 0) == 0 && stat_of("d/l").st_ino == stat_of("f").st_ino &&
	      stat_of("f").st_nlink == 2, "a second name of a file");
	check(fails(linkat(m, "f", m, "g", 0), EEXIST) && fails(linkat(m, "d", m, "e", 0), EPERM) &&
	      fails(linkat(m, "n", m, "e", 0), ENOENT), "what has none");
	check(rename_to("f", "d/l", 0) == 0 && exists("f") && exists("d/l"),
	      "to rename one name to the other does nothing");
	check(unlinkat(m, "f", 0) == 0 && stat_of("d/l").st_nlink == 1 &&
	      unlinkat(m, "d/l", 0) == 0 && fstat(fd, &st) == 0 && st.st_nlink == 0 &&
	      pread(fd, &byte, 1, 0) == 1 && byte == 'f', "an open file needs none");
	check(dmem_sum(-1, "free_bytes") < all_free && close(fd) == 0 && wait_free(all_free),
	      "and has its memory until it is closed");

	temporary = openat(m, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", temporary);
	check(temporary >= 0 && fstat(temporary, &st) == 0 && st.st_nlink == 0 &&
	      linkat(AT_FDCWD, path, m, "t", AT_SYMLINK_FOLLOW) == 0 &&
	      stat_of("t").st_nlink == 1, "O_TMPFILE has none, and may get one");
	close(temporary);
	temporary = openat(m, ".", O_TMPFILE | O_RDWR | O_EXCL | O_CLOEXEC, 0600);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", temporary);
	check(fails(linkat(AT_FDCWD, path, m, "u", AT_SYMLINK_FOLLOW), ENOENT),
	      "but not with O_EXCL");
	close(temporary);
	snprintf(path, sizeof(path), "%s/t", test_dir);
	check(fails(renameat(m, "t", AT_FDCWD, path), EXDEV) &&
	      fails(linkat(m, "t", AT_FDCWD, path, 0), EXDEV), "names stay in the mount");
	unlinkat(m, "t", 0);
	unlinkat(m, "g", 0);
	unlinkat(m, "d", AT_REMOVEDIR);
}

static void test_rename(void)
{
	int fd = new_file("a", 0600);
	ino_t a, b;

	if (fallocate(fd, 0, 0, MiB) < 0)
		die("fallocate");
	close(fd);
	make_file("b", 0600);
	a = stat_of("a").st_ino;
	b = stat_of("b").st_ino;
	check(fails(rename_to("a", "b", RENAME_NOREPLACE), EEXIST), "RENAME_NOREPLACE");
	check(rename_to("a", "b", RENAME_EXCHANGE) == 0 && stat_of("a").st_ino == b &&
	      stat_of("b").st_ino == a, "RENAME_EXCHANGE");
	check(rename_to("a", "b", 0) == 0 && stat_of("b").st_ino == b && !exists("a") &&
	      wait_free(all_free), "a file that is replaced gives its memory back");
	unlinkat(m, "b", 0);
}

static void test_owners(void)
{
	make_file("f", 0644);
	check(fchownat(m, "f", OWNER, OWNER, 0) == 0 && stat_of("f").st_uid == OWNER &&
	      stat_of("f").st_gid == OWNER, "root gives a file away");
	be(OTHER);
	check(fails(fchmodat(m, "f", 0666, 0), EPERM) &&
	      fails(fchownat(m, "f", OTHER, -1, 0), EPERM) &&
	      fails(fchownat(m, "f", -1, OTHER, 0), EPERM), "who has it not cannot change it");
	check(try_open("f", O_RDONLY) == 0 && fails(try_open("f", O_RDWR), EACCES) &&
	      fails(try_open("f", O_RDONLY | O_TRUNC), EACCES),
	      "nor write, unless the mode says so");
	be(OWNER);
	check(fchmodat(m, "f", 0600, 0) == 0 && stat_of("f").st_mode == (S_IFREG | 0600) &&
	      try_open("f", O_RDWR) == 0 && fails(fchownat(m, "f", OTHER, -1, 0), EPERM) &&
	      fchownat(m, "f", OWNER, OWNER, 0) == 0, "who has it can, but not give it away");
	be(OTHER);
	check(fails(try_open("f", O_RDONLY), EACCES), "nobody else may read it then");
	be(0);
	fchownat(m, "f", OWNER, OTHER, 0);
	be(OWNER);
	check(fchmodat(m, "f", 02755, 0) == 0 && stat_of("f").st_mode == (S_IFREG | 0755),
	      "set-group-ID is for members of the group");
	be(0);
	unlinkat(m, "f", 0);
}

/* A file whose contents or owner somebody else changes must not run with the rights it had. */
static void test_set_id(void)
{
	const mode_t set = S_IFREG | 06755, clear = S_IFREG | 0755;
	int fd = new_file("f", 0777);
	bool written, extended, allocated, punched;

	if (ftruncate(fd, PAGE) < 0)
		die("ftruncate");
	check(fchmod(fd, 06755) == 0 && stat_of("f").st_mode == set &&
	      fchownat(m, "f", OWNER, OWNER, 0) == 0 && stat_of("f").st_mode == clear,
	      "a new owner clears set-user-ID and set-group-ID");
	if (fchownat(m, "f", 0, 0, 0) < 0 || fchmod(fd, 06755) < 0)
		die("chmod");
	be(OTHER);
	written = write(fd, "x", 1) == 1 && stat_of("f").st_mode == clear;
	be(0);
	fchmod(fd, 06755);
	be(OTHER);
	extended = ftruncate(fd, 2 * PAGE) == 0 && stat_of("f").st_mode == clear;
	be(0);
	fchmod(fd, 06755);
	be(OTHER);
	allocated = fallocate(fd, 0, 0, 3 * PAGE) == 0 && stat_of("f").st_mode == clear;
	be(0);
	fchmod(fd, 06755);
	be(OTHER);
	punched = fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE) == 0 &&
		  stat_of("f").st_mode == clear;
	be(0);
	check(written, "so does write()");
	check(extended, "ftruncate()");
	check(allocated, "fallocate()");
	check(punched, "and a hole");
	close(fd);
	unlinkat(m, "f", 0);
}

static void test_directory_modes(void)
{
	make_directory("d", 0755);
	make_file("d/f", 0666);
	be(OTHER);
	check(fails(try_open("d/g", O_RDWR | O_CREAT), EACCES) &&
	      fails(unlinkat(m, "d/f", 0), EACCES) &&
	      fails(rename_to("d/f", "d/g", 0), EACCES) && fails(mkdirat(m, "d/e", 0700), EACCES) &&
	      fails(linkat(m, "d/f", m, "d/g", 0), EACCES) && try_open("d/f", O_RDWR) == 0,
	      "only who may write to a directory changes names in it");
	be(0);
	fchmodat(m, "d", 0754, 0);
	be(OTHER);
	check(fails(try_open("d/f", O_RDONLY), EACCES) && try_open("d", O_RDONLY) == 0,
	      "only who may search it finds what it has");
	be(0);
	fchmodat(m, "d", 01777, 0);
	be(OTHER);
	check(fails(unlinkat(m, "d/f", 0), EPERM) && fails(rename_to("d/f", "d/g", 0), EPERM) &&
	      try_open("d/g", O_RDWR | O_CREAT) == 0 && fails(rename_to("d/g", "d/f", 0), EPERM) &&
	      unlinkat(m, "d/g", 0) == 0, "in a sticky one, only names of one's own");
	be(0);
	unlinkat(m, "d/f", 0);
	unlinkat(m, "d", AT_REMOVEDIR);
}

static bool later(struct timespec a, struct timespec b)
{
	return a.tv_sec > b.tv_sec || (a.tv_sec == b.tv_sec && a.tv_nsec > b.tv_nsec);
}

static const struct timespec past[2] = { { 1, 2 }, { 3, 4 } };

static bool is_past(const struct stat *st)
{
	return st->st_mtim.tv_sec == 3 && st->st_mtim.tv_nsec == 4;
}

static struct stat aged;

/* Sets the times of a file to the past, and waits for the next tick of the clock of files. */
static bool age(const char *name)
{
	if (utimensat(m, name, past, 0) < 0)
		die("utimensat %s", name);
	aged = stat_of(name);
	nanosleep(&(struct timespec) { .tv_nsec = 20000000 }, NULL);
	return is_past(&aged);
}

/* Has the call with the result @r changed the times of the file that was aged before? */
static bool changed(const char *name, int r)
{
	struct stat st = stat_of(name);

	return r >= 0 && !is_past(&st) && later(st.st_ctim, aged.st_ctim);
}

static void test_times(void)
{
	const struct timespec omit[2] = { { 0, UTIME_OMIT }, { 5, 6 } };
	const struct timespec now[2] = { { 0, UTIME_NOW }, { 0, UTIME_NOW } };
	int fd = new_file("f", 0644);
	char path[80];
	struct stat st;

	check(age("f") && aged.st_atim.tv_sec == 1 && aged.st_atim.tv_nsec == 2 &&
	      utimensat(m, "f", omit, 0) == 0 && (st = stat_of("f")).st_atim.tv_sec == 1 &&
	      st.st_mtim.tv_sec == 5 && st.st_mtim.tv_nsec == 6,
	      "times are kept as they were set, to the nanosecond");
	be(OTHER);
	check(fails(utimensat(m, "f", past, 0), EPERM) && fails(utimensat(m, "f", now, 0), EACCES),
	      "by the owner only");
	be(0);
	fchmod(fd, 0666);
	be(OTHER);
	check(fails(utimensat(m, "f", past, 0), EPERM) && utimensat(m, "f", now, 0) == 0,
	      "or to now, by who may write");
	be(0);

	check(age("f") && changed("f", write(fd, "x", 1)), "write() changes them");
	check(age("f") && changed("f", ftruncate(fd, 2 * PAGE)) && age("f") &&
	      changed("f", ftruncate(fd, 2 * PAGE)), "ftruncate(), also to the same size");
	snprintf(path, sizeof(path), "%s/m/f", test_dir);
	check(age("f") && changed("f", truncate(path, PAGE)), "truncate()");
	check(age("f") && changed("f", fallocate(fd, 0, 0, 3 * PAGE)) && age("f") &&
	      changed("f", fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE)),
	      "fallocate()");
	make_directory("d", 0700);
	check(age("d") && changed("d", linkat(m, "f", m, "d/l", 0)) && age("d") &&
	      changed("d", rename_to("d/l", "d/k", 0)) && age("d") &&
	      changed("d", unlinkat(m, "d/k", 0)) && age("d") &&
	      changed("d", mkdirat(m, "d/d", 0700)) && age("d") &&
	      changed("d", unlinkat(m, "d/d", AT_REMOVEDIR)), "names change those of a directory");
	check(age("f") && linkat(m, "f", m, "l", 0) == 0 && (st = stat_of("f")).st_nlink == 2 &&
	      is_past(&st) && later(st.st_ctim, aged.st_ctim),
	      "a link changes that of the inode only");
	close(fd);
	unlinkat(m, "l", 0);
	unlinkat(m, "f", 0);
	unlinkat(m, "d", AT_REMOVEDIR);
}

static void test_sizes(void)
{
	struct rlimit limit = { .rlim_cur = PAGE, .rlim_max = RLIM_INFINITY }, old;
	int fd = new_file("f", 0600), reader = openat(m, "f", O_RDONLY | O_CLOEXEC), append;
	char data[2 * PAGE] = "", path[80];

	check(fails(ftruncate(reader, 0), EINVAL) && fails(ftruncate(fd, -1), EINVAL) &&
	      fails(fallocate(reader, 0, 0, PAGE), EBADF) &&
	      fails(fallocate(fd, 0, 0, 0), EINVAL) &&
	      fails(write(reader, data, 1), EBADF), "what a file opened for reading is not for");
	snprintf(path, sizeof(path), "%s/m", test_dir);
	check(fails(truncate(path, 0), EISDIR), "truncate() of a directory");
	fchmod(fd, 0444);
	strcat(path, "/f");
	be(OTHER);
	check(fails(truncate(path, 0), EACCES), "or of a file that may not be written");
	be(0);

	if (getrlimit(RLIMIT_FSIZE, &old) < 0 || setrlimit(RLIMIT_FSIZE, &limit) < 0)
		die("setrlimit");
	signal(SIGXFSZ, SIG_IGN);
	check(write(fd, data, 2 * PAGE) == (ssize_t)PAGE && fails(write(fd, data, 1), EFBIG) &&
	      fails(ftruncate(fd, PAGE + 1), EFBIG) && fails(fallocate(fd, 0, PAGE, 1), EFBIG) &&
	      (size_t)stat_of("f").st_size == PAGE, "RLIMIT_FSIZE holds");
	signal(SIGXFSZ, SIG_DFL);
	setrlimit(RLIMIT_FSIZE, &old);

	append = openat(m, "f", O_WRONLY | O_APPEND | O_CLOEXEC);
	check(pwrite(append, "ab", 2, 0) == 2 && pread(fd, data, 4, PAGE - 1) == 3 &&
	      !memcmp(data, "\0ab", 3), "O_APPEND writes at the end");
	close(append);
	check(try_open("f", O_RDWR | O_TRUNC) == 0 && !stat_of("f").st_size && wait_free(all_free),
	      "O_TRUNC gives all memory back");
	close(reader);
	close(fd);
	unlinkat(m, "f", 0);
}

/* What passes data on without a buffer of the program */
static void test_splice(void)
{
	int from = new_file("from", 0600), to = new_file("to", 0600), pipes[2];
	enum { SIZE = 3 * PAGE + 5 };
	char data[SIZE], back[SIZE];
	loff_t zero = 0;

	for (unsigned int i = 0; i < SIZE; i++)
		data[i] = i / 7;
	if (write(from, data, SIZE) != SIZE || pipe2(pipes, O_CLOEXEC) < 0)
		die("write or pipe");
	check(sendfile(to, from, &zero, SIZE) == SIZE && pread(to, back, SIZE, 0) == SIZE &&
	      !memcmp(data, back, SIZE), "sendfile()");
	zero = 0;
	check(splice(from, &zero, pipes[1], NULL, SIZE, 0) == SIZE && ftruncate(to, 0) == 0 &&
	      lseek(to, 0, SEEK_SET) == 0 && splice(pipes[0], NULL, to, NULL, SIZE, 0) == SIZE &&
	      pread(to, back, SIZE, 0) == SIZE && !memcmp(data, back, SIZE), "splice()");
	close(pipes[0]);
	close(pipes[1]);
	close(from);
	close(to);
	unlinkat(m, "from", 0);
	unlinkat(m, "to", 0);
}

int main(void)
{
	char path[80];

	start("names, owners, modes and times");
	all_free = dmem_sum(-1, "free_bytes");
	if (mount_at("m", "pagesize=4K,mode=0777", NULL, 0) < 0)
		die("mount");
	snprintf(path, sizeof(path), "%s/m", test_dir);
	/* Others are to come in. */
	m = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (m < 0 || chmod(test_dir, 0755) < 0)
		die("open %s", path);
	test_create();
	test_directories();
	test_links();
	test_rename();
	test_owners();
	test_set_id();
	test_directory_modes();
	test_times();
	test_sizes();
	test_splice();
	close(m);
	unmount("m");
	check(wait_free(all_free), "all memory is free in the end");
	return finish();
}
