// SPDX-License-Identifier: GPL-2.0
/*
 * Mount options: what is accepted, what is refused and in which words, what a remount may change.
 */
#include "harness.h"

#include <dirent.h>
#include <linux/falloc.h>
#include <sched.h>
#include <sys/fsuid.h>

static void refused(const char *options, const char *needle)
{
	char log[512] = "";
	int r = mount_at("m", options, log, sizeof(log));

	if (log[0] && log[strlen(log) - 1] == '\n')
		log[strlen(log) - 1] = '\0';
	check(r == -EINVAL && strstr(log, needle), "'%s' is refused: %s", options, log);
	if (r == 0)
		unmount("m");
}

static const char *mount_line(const char *needle)
{
	static char line[1024];
	FILE *mounts = fopen("/proc/self/mounts", "re");
	bool found = false;

	while (mounts && !found && fgets(line, sizeof(line), mounts))
		found = strstr(line, needle);
	if (mounts)
		fclose(mounts);
	return found ? line : "";
}

static void accepted(const char *options, const char *needle)
{
	char log[512] = "";
	int r = mount_at("m", options, log, sizeof(log));
	const char *line;

	if (r < 0) {
		errno = -r;
		check(false, "'%s' is accepted: %s", options, log);
		return;
	}
	line = mount_line(test_dir);
	check(strstr(line, needle), "'%s' is accepted and shows as %s", options, needle);
	unmount("m");
}

static void test_refused(void)
{
	refused("banana", "banana");
	refused("banana=1", "pagesize=, node=, size=, mode=, uid= and gid=");
	refused("pagesize=3M", "4K, 2M and 1G");
	refused("pagesize=", "pagesize");
	refused("pagesize", "pagesize");
	refused("pagesize=2Mx", "4K, 2M and 1G");
	refused("size=0", "size=0");
	refused("size=12X", "size=12X");
	refused("size=-1", "size=-1");
	refused("size=99999999999999999999", "size=");
	refused("size=99999999999T", "size=");
	refused("size=1M", "size=1048576 is less than a page of 2M");
	refused("pagesize=4K,size=4095", "size=4095");
	refused("mode=999", "octal");
	refused("mode=17777", "octal");
	refused("uid=root", "uid=root");
	refused("gid=-1", "gid=-1");
	refused("uid=4294967295", "uid=");
	refused("node=x", "node=x");
	refused("node=4095", "node=4095");
	refused("node=63", "node=63");
	refused("node=", "node");
}

static void test_accepted(void)
{
	char options[64], needle[64];
	int nid = next_nid(-1), second = next_nid(nid);

	accepted("", "pagesize=2M");
	accepted("pagesize=4K", "pagesize=4K");
	accepted("pagesize=2M", "pagesize=2M");
	accepted("pagesize=2097152", "pagesize=2M");
	accepted("pagesize=2m,size=1G", "size=1073741824");
	accepted("mode=0770", "mode=770");
	accepted("uid=5,gid=6", "uid=5,gid=6");
	snprintf(options, sizeof(options), "node=%d", nid);
	accepted(options, options);
	if (second < 0) {
		skip("one node only", "a list of nodes");
		return;
	}
	snprintf(options, sizeof(options), "node=%d,%d", nid, second);
	snprintf(needle, sizeof(needle), second == nid + 1 ? "node=%d-%d" : "node=%d,%d", nid,
		 second);
	accepted(options, needle);
}

static void test_root_directory(void)
{
	char path[128];
	struct stat st;

	if (mount_at("m", "mode=2751,uid=11,gid=12", NULL, 0) < 0)
		die("mount");
	snprintf(path, sizeof(path), "%s/m", test_dir);
	check(stat(path, &st) == 0 && st.st_mode == (S_IFDIR | 02751) && st.st_uid == 11 &&
	      st.st_gid == 12, "mode=, uid= and gid= are those of the root directory");

	snprintf(path, sizeof(path), "%s/m/dir", test_dir);
	check(mkdir(path, 0755) == 0 && stat(path, &st) == 0 && st.st_gid == 12 &&
	      (st.st_mode & S_ISGID), "set-group-id is inherited");
	check(rmdir(path) == 0, "rmdir");
	snprintf(path, sizeof(path), "%s/m/link", test_dir);
	check(symlink("x", path) < 0 && errno == EPERM, "no symbolic links");
	check(mkfifo(path, 0600) < 0 && errno == EPERM, "no fifos");
	check(mknod(path, S_IFCHR | 0600, 0x103) < 0 && errno == EPERM, "no devices");
	unmount("m");
}

static void test_quota(void)
{
	int fd, second = next_nid(next_nid(-1));
	uint64_t free = dmem_sum(-1, "free_bytes");
	char path[128], options[32];
	struct statfs fs;

	if (mount_at("m", "size=8M", NULL, 0) < 0)
		die("mount");
	snprintf(path, sizeof(path), "%s/m", test_dir);
	check(statfs(path, &fs) == 0 && fs.f_blocks * fs.f_bsize == 8 * MiB,
	      "size= is the size of the file system");
	check(mount("none", path, "dmemfs", MS_REMOUNT, "size=4K") < 0 && errno == EINVAL,
	      "a remount to less than a page is refused");
	fd = open_at("m", "f", 0);
	check(ftruncate(fd, 6 * MiB) == 0 && statfs(path, &fs) == 0 &&
	      fs.f_bfree * fs.f_bsize == 2 * MiB, "a promise counts");
	check(ftruncate(fd, 10 * MiB) < 0 && errno == ENOSPC, "more than size= is ENOSPC");
	check(fallocate(fd, 0, 0, 6 * MiB) == 0 && statfs(path, &fs) == 0 &&
	      fs.f_bfree * fs.f_bsize == 2 * MiB, "promised memory is not counted twice");

	check(mount("none", path, "dmemfs", MS_REMOUNT, "size=4M") < 0 && errno == EINVAL,
	      "a remount cannot go below what is used");
	check(mount("none", path, "dmemfs", MS_REMOUNT, "size=32M") == 0 &&
	      ftruncate(fd, 10 * MiB) == 0 && strstr(mount_line(path), ",size=33554432"),
	      "a remount can make it larger");
	check(mount("none", path, "dmemfs", MS_REMOUNT, "pagesize=4K") < 0 && errno == EINVAL,
	      "a remount cannot change the page size");
	check(mount("none", path, "dmemfs", MS_REMOUNT, "mode=0700") < 0 && errno == EINVAL,
	      "nor the mode");
	check(mount("none", path, "dmemfs", MS_REMOUNT, "uid=1") < 0 && errno == EINVAL &&
	      mount("none", path, "dmemfs", MS_REMOUNT, "gid=1") < 0 && errno == EINVAL,
	      "nor the owner");
	if (second < 0) {
		skip("one node only", "nor the nodes");
	} else {
		snprintf(options, sizeof(options), "node=%d", second);
		check(mount("none", path, "dmemfs", MS_REMOUNT, options) < 0 && errno == EINVAL,
		      "nor the nodes");
	}
	check(mount("none", path, "dmemfs", MS_REMOUNT, "pagesize=2M,mode=0755,size=32M") == 0,
	      "but may repeat them");
	check(mount("none", path, "dmemfs", MS_REMOUNT | MS_RDONLY, NULL) < 0 && errno == EBUSY,
	      "read-only with a file open for writing is EBUSY");
	check(umount(path) < 0 && errno == EBUSY, "umount with an open file is EBUSY");
	close(fd);
	check(mount("none", path, "dmemfs", MS_REMOUNT | MS_RDONLY, NULL) == 0 &&
	      open(strcat(path, "/f"), O_RDWR) < 0 && errno == EROFS, "read-only");
	unmount("m");
	check(wait_free(free), "umount frees what files had");
}

static void test_last_pages(void)
{
	static const char data[128 * KiB];
	struct stat st;
	int fd;

	if (mount_at("m", "pagesize=4K,size=64K", NULL, 0) < 0)
		die("mount");
	fd = open_at("m", "f", 0);
	check(write(fd, data, sizeof(data)) == 64 * KiB, "a write() gets the room there is");
	check(write(fd, data, 1) < 0 && errno == ENOSPC, "and the next one ENOSPC");
	check(fstat(fd, &st) == 0 && st.st_size == 64 * KiB && st.st_blocks * 512 == 64 * KiB,
	      "the file has what was written");
	close(fd);
	unmount("m");
}

static uint64_t room(void)
{
	struct statfs fs;
	char path[128];

	snprintf(path, sizeof(path), "%s/m", test_dir);
	if (statfs(path, &fs) < 0)
		die("statfs");
	return (uint64_t)fs.f_bfree * fs.f_bsize;
}

/* Memory behind the end of a file: it counts, but what is not there is promised to nobody. */
static void test_behind_end(void)
{
	const int keep = FALLOC_FL_KEEP_SIZE, hole = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	void *memory;
	int fd;

	if (mount_at("m", "size=8M", NULL, 0) < 0)
		die("mount");
	fd = open_at("m", "f", 0);
	check(fallocate(fd, keep, 0, 8 * MiB) == 0 && room() == 0, "memory behind the end counts");
	check(ftruncate(fd, 4 * MiB) == 0 && room() == 0, "once, when the file grows over it");
	check(fallocate(fd, hole, 4 * MiB, 4 * MiB) == 0 && room() == 4 * MiB,
	      "a hole behind the end needs none");
	memory = mmap(NULL, 4 * MiB, PROT_READ, MAP_SHARED, fd, 0);
	check(memory != MAP_FAILED && room() == 4 * MiB, "nor when the file is mapped");
	check(fallocate(fd, keep, 4 * MiB, 4 * MiB) == 0 && room() == 0 &&
	      fallocate(fd, hole, 2 * MiB, 6 * MiB) == 0 && room() == 4 * MiB,
	      "nor one that begins before it");
	munmap(memory, 4 * MiB);
	check(ftruncate(fd, 0) == 0 && room() == 8 * MiB, "in the end nothing is used");
	close(fd);
	unmount("m");
}

/* A user namespace whose ids 0 to 9 are 1000 to 1009 outside, or -1 */
static int user_namespace(void)
{
	char path[64], byte;
	int ready[2], ns = -1;
	pid_t pid;

	if (pipe(ready) < 0)
		die("pipe");
	pid = fork();
	if (pid == 0) {
		if (unshare(CLONE_NEWUSER) == 0 && write(ready[1], "", 1) == 1)
			pause();
		_exit(1);
	}
	close(ready[1]);
	if (read(ready[0], &byte, 1) == 1) {
		snprintf(path, sizeof(path), "/proc/%d/uid_map", pid);
		write_text(path, "0 1000 10");
		snprintf(path, sizeof(path), "/proc/%d/gid_map", pid);
		write_text(path, "0 1000 10");
		snprintf(path, sizeof(path), "/proc/%d/ns/user", pid);
		ns = open(path, O_RDONLY | O_CLOEXEC);
	}
	close(ready[0]);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return ns;
}

/* What a container gets to see, whose root is somebody else outside */
static void test_idmapped(void)
{
	/* As in struct mount_attr: MOUNT_ATTR_IDMAP, nothing to clear, propagation stays */
	uint64_t attr[4] = { 0x00100000, 0, 0, 0 };
	int ns = user_namespace(), tree, r;
	char path[128];
	struct stat st;

	if (ns < 0) {
		skip("this kernel has no user namespaces", "an idmapped mount");
		return;
	}
	attr[3] = ns;
	if (mount_at("m", "mode=0777", NULL, 0) < 0)
		die("mount");
	close(open_at("m", "f", 0));
	snprintf(path, sizeof(path), "%s/m", test_dir);
	tree = syscall(428 /* open_tree */, AT_FDCWD, path, 1 /* OPEN_TREE_CLONE */);
	r = syscall(442 /* mount_setattr */, tree, "", AT_EMPTY_PATH, attr, sizeof(attr));
	check(tree >= 0 && r == 0, "a mount can be idmapped");
	check(fstatat(tree, "f", &st, 0) == 0 && st.st_uid == 1000 && st.st_gid == 1000,
	      "files have the owner that the idmap says");
	check(openat(tree, "g", O_RDWR | O_CREAT, 0600) < 0 && errno == EOVERFLOW,
	      "who is not in it can own no file");
	check(fchownat(tree, "f", 1003, 1004, 0) == 0, "chown to one who is");

	setfsgid(1001);
	setfsuid(1001);
	r = openat(tree, "g", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	close(r);
	setfsuid(0);
	setfsgid(0);
	close(tree);
	close(ns);
	strcat(path, "/f");
	check(stat(path, &st) == 0 && st.st_uid == 3 && st.st_gid == 4, "what chown stored");
	path[strlen(path) - 1] = 'g';
	check(r >= 0 && stat(path, &st) == 0 && st.st_uid == 1 && st.st_gid == 1,
	      "a file made by one who is in it");
	unmount("m");
}

/* The memory is the host's: who is root in a container only cannot mount it. */
static void test_container(void)
{
	int status = 1;
	pid_t pid = fork();

	if (pid == 0) {
		if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
			_exit(errno == EPERM || errno == EINVAL || errno == ENOSPC ? 77 : 1);
		_exit(mount("none", test_dir, "dmemfs", 0, "size=2M") == 0 || errno != EPERM);
	}
	waitpid(pid, &status, 0);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		skip("this kernel has no user namespaces", "a mount in a container");
	else
		check(status == 0, "who is root in a user namespace only cannot mount it");
}

static void test_detached(void)
{
	uint64_t free = dmem_sum(-1, "free_bytes");
	unsigned char *memory;
	char path[128];
	int fd;

	if (mount_at("m", "pagesize=2M", NULL, 0) < 0)
		die("mount");
	fd = open_at("m", "f", 0);
	memory = mmap(NULL, 4 * MiB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (ftruncate(fd, 4 * MiB) < 0 || memory == MAP_FAILED)
		die("mmap");
	close(fd);
	memory[0] = 1;
	snprintf(path, sizeof(path), "%s/m", test_dir);
	check(umount(path) < 0 && errno == EBUSY, "umount with a mapped file is EBUSY");
	check(umount2(path, MNT_DETACH) == 0 && memory[0] == 1 &&
	      signal_of(write_byte, memory + 2 * MiB) == 0,
	      "a detached mount lives on for the mapping");
	munmap(memory, 4 * MiB);
	check(wait_free(free), "but not longer");
	rmdir(path);
}

/*
 * The image of a system has nothing of this memory. To open the device that programs write images
 * with asks those who may have an objection, and does nothing else.
 */
static void test_hibernation(void)
{
	static const char path[] = "/dev/snapshot";
	uint64_t free = dmem_sum(-1, "free_bytes");
	int fd, snapshot;
	bool refused;

	snapshot = open(path, O_RDONLY | O_CLOEXEC);
	if (snapshot < 0) {
		skip("this kernel cannot hibernate", "hibernation");
		return;
	}
	close(snapshot);
	if (mount_at("m", "pagesize=4K", NULL, 0) < 0)
		die("mount");
	fd = open_at("m", "f", 0);
	if (write(fd, "x", 1) != 1)
		die("write");
	snapshot = open(path, O_RDONLY | O_CLOEXEC);
	refused = snapshot < 0 && errno == EBUSY;
	close(snapshot);
	check(refused, "no hibernation while a file has memory");
	close(fd);
	unmount("m");
	wait_free(free);
	snapshot = open(path, O_RDONLY | O_CLOEXEC);
	check(snapshot >= 0, "but before and after");
	close(snapshot);
}

static void test_several(void)
{
	uint64_t free = dmem_sum(-1, "free_bytes");
	int small, large;

	if (mount_at("a", "pagesize=4K", NULL, 0) < 0 || mount_at("b", "pagesize=2M", NULL, 0) < 0)
		die("mount");
	small = open_at("a", "f", 0);
	large = open_at("b", "f", 0);
	check(fallocate(small, 0, 0, free / 2 / (2 * MiB) * 2 * MiB) == 0 &&
	      fallocate(large, 0, 0, free / 4 / (2 * MiB) * 2 * MiB) == 0,
	      "mounts with different page sizes share the pool");
	check(fallocate(large, 0, 0, free / 2 + 8 * MiB) < 0 && errno == ENOSPC, "and its limits");
	close(small);
	close(large);
	unmount("a");
	unmount("b");
	check(wait_free(free) && sums_hold(), "all memory is free in the end");
}

int main(void)
{
	start("mount options of dmemfs");
	test_refused();
	test_accepted();
	test_root_directory();
	test_quota();
	test_last_pages();
	test_behind_end();
	test_idmapped();
	test_container();
	test_detached();
	test_hibernation();
	test_several();
	return finish();
}
