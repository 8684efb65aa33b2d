// SPDX-License-Identifier: GPL-2.0
/*
 * What files on dmemfs can do, with each page size: sizes, mappings, contents, space.
 */
#include "harness.h"

#include <linux/falloc.h>

#ifndef DMEMFS_MAGIC
#define DMEMFS_MAGIC 0x646d6673
#endif

static const char *page_name;	/* 4K, 2M, 1G */
static size_t page_size;

static void *map(int fd, size_t size, off_t offset)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset);

	if (memory == MAP_FAILED)
		die("mmap of %zu bytes", size);
	return memory;
}

static void test_statfs(void)
{
	struct statfs fs;
	char path[128];

	snprintf(path, sizeof(path), "%s/m", test_dir);
	if (statfs(path, &fs) < 0)
		die("statfs");
	check(fs.f_type == DMEMFS_MAGIC, "%s: statfs knows the file system", page_name);
	check((size_t)fs.f_bsize == page_size, "%s: block size is the page size", page_name);
	check(fs.f_blocks == (dmem_sum(-1, "size_bytes") - dmem_sum(-1, "poisoned_bytes")) /
	      page_size, "%s: statfs counts all memory that is good", page_name);
	check(fs.f_bfree == fs.f_blocks, "%s: nothing is used", page_name);
}

static void touch(unsigned char *memory, size_t size, size_t step)
{
	for (size_t i = 0; i < size; i += step)
		*(volatile unsigned char *)(memory + i) = 0x77;
}

/* Leaves show in the number of faults: nothing else about such mappings is visible. */
static void test_leaves(size_t size)
{
	uint64_t before, expected = size / page_size;
	int fd = open_at("m", "leaves", 0);
	unsigned char *memory;

	if (ftruncate(fd, size) < 0)
		die("ftruncate");
	memory = map(fd, size, 0);
	check((uintptr_t)memory % (size < page_size ? PAGE : page_size) == 0,
	      "%s: mapping is aligned", page_name);
	before = faults();
	touch(memory, size, PAGE);
	check(faults_are(before, expected), "%s: one fault for each page", page_name);

	/* Page tables are built again, memory is not given out again. */
	munmap(memory, size);
	memory = map(fd, size, 0);
	before = faults();
	for (size_t i = 0; i < size; i += PAGE)
		if (memory[i] != 0x77)
			die("data is lost");
	check(faults_are(before, expected), "%s: one fault for each page that has data",
	      page_name);
	munmap(memory, size);
	memory = map(fd, size - 3 * PAGE, 3 * PAGE);
	check(((uintptr_t)memory - 3 * PAGE) % (page_size < 2 * MiB ? PAGE : 2 * MiB) == 0,
	      "%s: also one that begins within a page", page_name);
	munmap(memory, size - 3 * PAGE);
	close(fd);
}

static void remove_file(const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/m/%s", test_dir, name);
	if (unlink(path) < 0)
		die("unlink %s", path);
}

/* The flags of the mapping that begins at @memory, as in /proc/PID/smaps; to be freed */
static char *mapping_flags(const void *memory)
{
	char *smaps = read_whole("/proc/self/smaps"), *at, start[32], *flags = NULL;

	snprintf(start, sizeof(start), "%lx-", (unsigned long)(uintptr_t)memory);
	at = strstr(smaps, start);
	at = at ? strstr(at, "VmFlags:") : NULL;
	if (at)
		flags = strndup(at, strcspn(at, "\n"));
	free(smaps);
	return flags;
}

/* The memory of a guest is not for core dumps, and what cannot be mapped must not look mapped. */
static void test_flags(void)
{
	int fd = open_at("m", "flags", 0);
	void *memory;
	char *flags;

	if (ftruncate(fd, 2 * MiB) < 0)
		die("ftruncate");
	memory = map(fd, 2 * MiB, 0);
	flags = mapping_flags(memory);
	check(flags && strstr(flags, " dd") && strstr(flags, " de") && strstr(flags, " pf"),
	      "%s: page frames, that are not dumped and do not grow", page_name);
	check(flags && strstr(flags, " hg"), "%s: large leaves are wanted", page_name);
	free(flags);
	munmap(memory, 2 * MiB);
	close(fd);
	remove_file("flags");
}

/* The line with an address in a dump of page tables, or "". Flags that are not set are blanks. */
static const char *entry_of(char *dump, uintptr_t address)
{
	char *line;

	while ((line = strsep(&dump, "\n"))) {
		unsigned long long start, end;

		if (sscanf(line, "0x%llx-0x%llx", &start, &end) == 2 && address >= start &&
		    address < end)
			return line;
	}
	return "";
}

/*
 * Without an entry for it in the tree of memory types x86 maps memory as uncached. That makes it a
 * hundred times slower, and shows nowhere else.
 */
static void test_memory_type(const char *level)
{
	static const char path[] = "/sys/kernel/debug/page_tables/current_kernel";
	int fd = open_at("m", "type", 0);
	unsigned char *memory;
	const char *entry;
	char *dump;

	if (ftruncate(fd, page_size) < 0)
		die("ftruncate");
	memory = map(fd, page_size, 0);
	memory[0] = 1;
	mount("debugfs", "/sys/kernel/debug", "debugfs", 0, NULL);
	dump = read_whole(path);
	if (!dump[0]) {
		skip("this kernel has no PTDUMP_DEBUGFS", "%s: write-back", page_name);
	} else {
		entry = entry_of(dump, (uintptr_t)memory);
		if (!check(strstr(entry, "USR") && strstr(entry, level) && !strstr(entry, "PWT") &&
			   !strstr(entry, "PCD") && !strstr(entry, "PAT"),
			   "%s: the entry in the page table is for a %s, write-back", page_name,
			   level))
			note("%s", entry);
	}
	free(dump);
	munmap(memory, page_size);
	close(fd);
	remove_file("type");
}

static void test_zero(uint64_t free)
{
	size_t size = 32 * MiB;
	bool zero = true;
	unsigned char *memory;
	int fd;

	for (unsigned int round = 0; round < 4; round++) {
		fd = open_at("m", "secret", 0);
		if (ftruncate(fd, size) < 0)
			die("ftruncate");
		memory = map(fd, size, 0);
		zero = zero && all_bytes(memory, size, 0);
		memset(memory, 0xa5, size);
		munmap(memory, size);
		close(fd);
		remove_file("secret");
	}
	check(zero, "%s: memory of a deleted file is zero for the next", page_name);
	check(wait_free(free), "%s: deleted files give their memory back", page_name);
}

static void test_private(void)
{
	int fd = open_at("m", "private", 0);
	void *memory;

	if (ftruncate(fd, page_size) < 0)
		die("ftruncate");
	memory = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0);
	check(memory == MAP_FAILED && errno == EINVAL, "%s: MAP_PRIVATE is EINVAL", page_name);
	close(fd);
	remove_file("private");
}

static void test_exec(void)
{
	char path[128], *argv[] = { path, NULL };
	int fd = open_at("m", "program", 0), status;
	pid_t pid;

	snprintf(path, sizeof(path), "%s/m/program", test_dir);
	if (write(fd, "#!/bin/false\n", 13) != 13 || fchmod(fd, 0700) < 0)
		die("write");
	close(fd);
	pid = fork();
	if (pid == 0) {
		execv(path, argv);
		_exit(errno != EACCES);
	}
	check(waitpid(pid, &status, 0) == pid && status == 0, "%s: files cannot be executed",
	      page_name);
	remove_file("program");
}

static void test_read_only(void)
{
	char path[128];
	int fd = open_at("m", "ro", 0);
	unsigned char *memory;

	if (ftruncate(fd, 2 * MiB) < 0 || pwrite(fd, "x", 1, 5) != 1)
		die("pwrite");
	close(fd);
	snprintf(path, sizeof(path), "%s/m/ro", test_dir);
	fd = open(path, O_RDONLY);
	memory = mmap(NULL, 2 * MiB, PROT_READ, MAP_SHARED, fd, 0);
	check(memory != MAP_FAILED && memory[5] == 'x',
	      "%s: a file opened for reading can be mapped", page_name);
	check(signal_of(write_byte, memory) == SIGSEGV, "%s: but not written", page_name);
	check(mprotect(memory, 2 * MiB, PROT_READ | PROT_WRITE) < 0 && errno == EACCES,
	      "%s: nor made writable", page_name);
	munmap(memory, 2 * MiB);
	close(fd);
	remove_file("ro");
}

static void test_truncate(uint64_t free)
{
	size_t size = 8 * MiB;
	int fd = open_at("m", "t", 0);
	unsigned char *memory, byte = 1;
	bool zero = true;
	struct stat st;

	if (ftruncate(fd, size) < 0)
		die("ftruncate");
	memory = map(fd, size, 0);
	memset(memory, 0x11, size);
	check(fstat(fd, &st) == 0 && (size_t)st.st_blocks * 512 == size,
	      "%s: st_blocks is what the file has", page_name);

	if (ftruncate(fd, 4 * MiB + 100) < 0)
		die("ftruncate");
	check(signal_of(read_byte, memory + 4 * MiB + PAGE) == SIGBUS,
	      "%s: access behind the end is SIGBUS", page_name);
	check(signal_of(read_byte, memory + 4 * MiB + 99) == 0 && memory[4 * MiB + 99] == 0x11,
	      "%s: what is left of the file stays", page_name);
	check(all_bytes(memory + 4 * MiB + 100, PAGE - 100, 0),
	      "%s: the rest of the last page is zero", page_name);
	check(signal_of(read_byte, memory + 4 * MiB + PAGE) == SIGBUS,
	      "%s: no leaf reaches behind the end", page_name);

	memset(memory + 4 * MiB + 100, 0x22, PAGE - 100);
	if (ftruncate(fd, size) < 0)
		die("ftruncate");
	zero = all_bytes(memory + 4 * MiB + 100, size - 4 * MiB - 100, 0);
	check(zero, "%s: a file that grows again grows with zeroes", page_name);

	check(pread(fd, &byte, 1, 4 * MiB + 200) == 1 && byte == 0, "%s: read() agrees",
	      page_name);
	if (ftruncate(fd, 0) < 0)
		die("ftruncate");
	check(wait_free(free), "%s: truncate to 0 frees all", page_name);
	munmap(memory, size);
	close(fd);
	remove_file("t");
}

static void test_read_write(void)
{
	size_t size = 3 * MiB + 123;
	unsigned char *data = malloc(size), *back = malloc(size), *memory;
	int fd = open_at("m", "rw", 0);
	struct stat st;

	for (size_t i = 0; i < size; i++)
		data[i] = i * 7 + i / 4096;
	check(write(fd, data, size) == (ssize_t)size, "%s: write()", page_name);
	check(fstat(fd, &st) == 0 && (size_t)st.st_size == size, "%s: size follows", page_name);
	check(pread(fd, back, size, 0) == (ssize_t)size && memcmp(data, back, size) == 0,
	      "%s: read() gets it back", page_name);
	memory = map(fd, size, 0);
	check(memcmp(memory, data, size) == 0, "%s: a mapping shows it", page_name);
	memory[size / 2] ^= 0xff;
	check(pread(fd, back, 1, size / 2) == 1 && back[0] == memory[size / 2],
	      "%s: read() sees what the mapping wrote", page_name);
	check(pread(fd, back, 10, size) == 0, "%s: read() at the end gets nothing", page_name);
	check(pread(fd, back, 100, size - 10) == 10, "%s: and before it what there is", page_name);

	/* A buffer in the file itself: the copy faults where it holds the lock of the file. */
	munmap(memory, size);
	if (ftruncate(fd, 8 * MiB) < 0)
		die("ftruncate");
	memory = map(fd, 8 * MiB, 0);
	check(pread(fd, memory + 6 * MiB, MiB, 0) == (ssize_t)MiB &&
	      memcmp(memory, memory + 6 * MiB, MiB) == 0,
	      "%s: read() of a file into its own mapping", page_name);
	check(pwrite(fd, memory, MiB, 7 * MiB) == (ssize_t)MiB &&
	      memcmp(memory, memory + 7 * MiB, MiB) == 0,
	      "%s: write() of a file from its own mapping", page_name);
	check(syscall(SYS_write, fd, 8, 10) < 0 && errno == EFAULT, "%s: a bad buffer is EFAULT",
	      page_name);
	munmap(memory, 8 * MiB);

	memory = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	munmap(memory + PAGE, PAGE);
	check(pread(fd, memory + PAGE - 100, 200, 0) == 100 &&
	      memcmp(memory + PAGE - 100, data, 100) == 0,
	      "%s: read() fills a buffer up to where it ends", page_name);
	check(pwrite(fd, memory + PAGE - 100, 200, 0) == 100, "%s: so does write()", page_name);
	munmap(memory, PAGE);

	memory = map(fd, 8 * MiB, 0);
	check(fsync(fd) == 0 && fdatasync(fd) == 0 && msync(memory, 8 * MiB, MS_SYNC) == 0,
	      "%s: sync calls succeed", page_name);
	munmap(memory, 8 * MiB);

	if (ftruncate(fd, 0) < 0)
		die("ftruncate");
	check(syscall(SYS_pwrite64, fd, 8, 10, 5 * MiB + 7) < 0 && errno == EFAULT &&
	      fstat(fd, &st) == 0 && !st.st_size && !st.st_blocks,
	      "%s: a bad buffer leaves the size alone", page_name);
	if (pwrite(fd, "end", 3, 5 * MiB + 7) != 3)
		die("pwrite");
	check(pread(fd, back, MiB, 4 * MiB + 7) == (ssize_t)MiB && all_bytes(back, MiB, 0),
	      "%s: what a write skips is zero", page_name);
	free(data);
	free(back);
	close(fd);
	remove_file("rw");
}

static void test_no_space(uint64_t free)
{
	size_t size = 4 * MiB;
	int fd = open_at("m", "large", 0);
	struct stat st;
	void *memory;

	if (ftruncate(fd, size) < 0)
		die("ftruncate");
	memory = map(fd, size, 0);
	memset(memory, 1, size);
	check(ftruncate(fd, free + size) < 0 && errno == ENOSPC,
	      "%s: more than there is, is ENOSPC at ftruncate()", page_name);
	check(fallocate(fd, 0, 0, free + size) < 0 && errno == ENOSPC,
	      "%s: and at fallocate()", page_name);
	check(fstat(fd, &st) == 0 && (size_t)st.st_size == size && all_bytes(memory, size, 1),
	      "%s: and nothing has changed", page_name);
	munmap(memory, size);
	close(fd);
	remove_file("large");
	wait_free(free);
}

static void test_promise(uint64_t free)
{
	int first = open_at("m", "first", 0), second = open_at("m", "second", 0);
	size_t most = free / 2 / MiB * MiB;

	check(ftruncate(first, most) == 0, "%s: a promise for half of the memory", page_name);
	check(ftruncate(second, free - most + 4 * page_size) < 0 && errno == ENOSPC,
	      "%s: is not promised to another file", page_name);
	check(dmem_sum(-1, "free_bytes") == free, "%s: a promise uses no memory", page_name);
	if (ftruncate(first, 0) < 0)
		die("ftruncate");
	check(ftruncate(second, most) == 0, "%s: until the first file is smaller", page_name);
	close(first);
	close(second);
	remove_file("first");
	remove_file("second");
}

static void test_punch(uint64_t free)
{
	size_t size = 16 * MiB, block = page_size < 2 * MiB ? page_size : 2 * MiB;
	int fd = open_at("m", "holes", 0);
	unsigned char *memory;
	struct stat st;

	check(fallocate(fd, 0, 0, size) == 0, "%s: fallocate()", page_name);
	check(dmem_sum(-1, "free_bytes") == free - size, "%s: takes the memory now", page_name);
	memory = map(fd, size, 0);
	check(all_bytes(memory, size, 0), "%s: and it is zero", page_name);
	memset(memory, 0x33, size);

	check(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4 * MiB, 4 * MiB) == 0,
	      "%s: punch a hole", page_name);
	check(dmem_sum(-1, "free_bytes") == free - size + 4 * MiB, "%s: gives memory back",
	      page_name);
	check(lseek(fd, 0, SEEK_HOLE) == 4 * MiB && lseek(fd, 4 * MiB, SEEK_DATA) == 8 * MiB,
	      "%s: and shows as a hole", page_name);
	check(all_bytes(memory + 4 * MiB, 4 * MiB, 0), "%s: that reads as zeroes", page_name);
	check(all_bytes(memory, 4 * MiB, 0x33) && all_bytes(memory + 8 * MiB, 8 * MiB, 0x33),
	      "%s: between data that stays", page_name);

	check(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 9 * MiB + 5, 100) == 0 &&
	      all_bytes(memory + 9 * MiB + 5, 100, 0) && memory[9 * MiB + 4] == 0x33 &&
	      memory[9 * MiB + 105] == 0x33, "%s: a small hole is zeroes", page_name);
	check(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 9 * MiB + 200,
			4 * MiB) == 0 && all_bytes(memory + 9 * MiB + 200, 4 * MiB, 0) &&
	      all_bytes(memory + 9 * MiB + 105, 95, 0x33) &&
	      all_bytes(memory + 13 * MiB + 200, 3 * MiB - 200, 0x33),
	      "%s: so is one that begins and ends within pages", page_name);

	check(fallocate(fd, FALLOC_FL_KEEP_SIZE, size, 4 * MiB) == 0 && fstat(fd, &st) == 0 &&
	      (size_t)st.st_size == size &&
	      (size_t)st.st_blocks * 512 == (size + 4 * MiB + block - 1) / block * block,
	      "%s: KEEP_SIZE gets memory behind the end", page_name);
	check(lseek(fd, size - 1, SEEK_HOLE) == (off_t)size && lseek(fd, size - 1, SEEK_DATA) ==
	      (off_t)size - 1 && lseek(fd, size, SEEK_DATA) < 0 && errno == ENXIO,
	      "%s: which is no data", page_name);
	munmap(memory, size);
	check(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, size) == 0 &&
	      lseek(fd, 0, SEEK_DATA) < 0 && errno == ENXIO && lseek(fd, 5, SEEK_HOLE) == 5,
	      "%s: nor if the file has no other", page_name);
	check(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, INT64_MAX - 2 * PAGE,
			PAGE) < 0 && errno == EFBIG, "%s: no hole where no page can be", page_name);
	check(fallocate(fd, FALLOC_FL_ZERO_RANGE, 0, PAGE) < 0 && errno == EOPNOTSUPP,
	      "%s: other modes are EOPNOTSUPP", page_name);
	close(fd);
	remove_file("holes");
	check(wait_free(free), "%s: all is given back", page_name);
}

/* Nobody who maps a file is to find out by a signal that there is no memory for it. */
static void test_promise_of_holes(uint64_t free)
{
	int fd = open_at("m", "holes", 0), other = open_at("m", "other", 0);
	const int hole = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	size_t size = 8 * MiB, most = free / (2 * MiB) * 2 * MiB;
	unsigned char *memory;

	if (fallocate(fd, 0, 0, size) < 0)
		die("fallocate");
	memory = map(fd, size, 0);
	if (fallocate(fd, hole, 0, size) < 0)
		die("fallocate");
	check(ftruncate(other, most) < 0 && errno == ENOSPC && ftruncate(other, most - size) == 0,
	      "%s: a hole in a mapped file keeps its promise", page_name);
	check(signal_of(write_byte, memory) == 0 && signal_of(write_byte, memory + size - 1) == 0,
	      "%s: there is memory when it is wanted", page_name);
	memset(memory, 0x12, size);
	munmap(memory, size);

	if (fallocate(fd, hole, 0, size) < 0)
		die("fallocate");
	check(ftruncate(other, most) == 0, "%s: a hole in a file that nobody maps does not",
	      page_name);
	memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	check(memory == MAP_FAILED && errno == ENOMEM, "%s: then it cannot be mapped", page_name);
	if (ftruncate(other, most - size) < 0)
		die("ftruncate");
	memory = map(fd, size, 0);
	check(ftruncate(other, most) < 0 && errno == ENOSPC &&
	      signal_of(write_byte, memory + size / 2) == 0,
	      "%s: until there is memory, which it is promised", page_name);
	munmap(memory, size);
	close(other);
	close(fd);
	remove_file("other");
	remove_file("holes");
	wait_free(free);
}

/* Whoever maps a part of the file counts, however he came by it. */
static void test_promise_of_parts(uint64_t free)
{
	int fd = open_at("m", "parts", 0), other = open_at("m", "other", 0);
	const int hole = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	size_t size = 8 * MiB, most = free / (2 * MiB) * 2 * MiB;
	unsigned char *memory;

	if (fallocate(fd, 0, 0, size) < 0)
		die("fallocate");
	memory = map(fd, size, 0);
	munmap(memory, 2 * MiB);
	if (fallocate(fd, hole, 0, size) < 0)
		die("fallocate");
	check(ftruncate(other, most) < 0 && errno == ENOSPC && ftruncate(other, most - size) == 0,
	      "%s: a hole keeps its promise as long as a part is mapped", page_name);
	check(signal_of(write_byte, memory + 4 * MiB) == 0,
	      "%s: there is memory when that is wanted", page_name);
	munmap(memory + 2 * MiB, 6 * MiB);
	if (fallocate(fd, 0, 0, size) < 0 || fallocate(fd, hole, 0, size) < 0)
		die("fallocate");
	check(ftruncate(other, most) == 0, "%s: and not longer", page_name);
	close(other);
	close(fd);
	remove_file("other");
	remove_file("parts");
	wait_free(free);
}

/* Returns false if fallocate() of @size bytes came to its end before it was killed. */
static bool kill_in_fallocate(int fd, size_t size, struct stat *st)
{
	siginfo_t ended = {};
	pid_t pid = fork();
	int status;

	if (pid < 0)
		die("fork");
	if (pid == 0)
		_exit(fallocate(fd, 0, 0, size) < 0);
	do {
		if (fstat(fd, st) < 0 ||
		    waitid(P_PID, pid, &ended, WEXITED | WNOHANG | WNOWAIT) < 0)
			die("fstat or waitid");
	} while (!st->st_blocks && !ended.si_pid);
	kill(pid, SIGKILL);
	if (waitpid(pid, &status, 0) < 0 || fstat(fd, st) < 0)
		die("waitpid");
	if (WIFEXITED(status) && WEXITSTATUS(status))
		die("fallocate");
	return (size_t)st->st_blocks * 512 < size;
}

static void test_killed(uint64_t free)
{
	size_t size = free / 2 / (2 * MiB) * 2 * MiB;
	int fd = open_at("m", "killed", 0);
	struct stat st;

	/* After the first time there is something to be cleared. */
	while (!kill_in_fallocate(fd, size, &st))
		if (ftruncate(fd, 0) < 0)
			die("ftruncate");
	check(!st.st_size && !st.st_blocks && wait_free(free),
	      "%s: fallocate() that is killed leaves nothing", page_name);
	close(fd);
	remove_file("killed");
	wait_free(free);
}

static void test_fork(void)
{
	size_t size = 4 * MiB;
	int fd = open_at("m", "fork", 0), status;
	unsigned char *memory;
	pid_t pid;

	if (ftruncate(fd, size) < 0)
		die("ftruncate");
	memory = map(fd, size, 0);
	memory[0] = 1;
	pid = fork();
	if (pid == 0) {
		memory[3 * MiB] = memory[0] + 1;
		_exit(0);
	}
	waitpid(pid, &status, 0);
	check(status == 0 && memory[3 * MiB] == 2, "%s: parent and child share", page_name);
	munmap(memory, size);
	close(fd);
	remove_file("fork");
}

static void test_partial(void)
{
	size_t size = 8 * MiB;
	int fd = open_at("m", "partial", 0);
	unsigned char *memory, *moved;

	if (ftruncate(fd, size) < 0)
		die("ftruncate");
	memory = map(fd, size, 0);
	memset(memory, 0x44, size);

	check(mprotect(memory + PAGE, PAGE, PROT_READ) == 0 &&
	      signal_of(write_byte, memory + PAGE) == SIGSEGV &&
	      signal_of(write_byte, memory) == 0 && memory[PAGE] == 0x44,
	      "%s: mprotect() of one page", page_name);
	check(munmap(memory + 2 * MiB + PAGE, PAGE) == 0 &&
	      signal_of(read_byte, memory + 2 * MiB + PAGE) == SIGSEGV &&
	      memory[2 * MiB] == 0x44 && memory[2 * MiB + 2 * PAGE] == 0x44,
	      "%s: munmap() of one page", page_name);
	check(madvise(memory + 4 * MiB, PAGE, MADV_DONTNEED) < 0 && errno == EINVAL,
	      "%s: MADV_DONTNEED is EINVAL", page_name);

	moved = mremap(memory + 4 * MiB, 2 * MiB, 2 * MiB, MREMAP_MAYMOVE | MREMAP_FIXED,
		       memory + 64 * MiB);
	check(moved == memory + 64 * MiB && all_bytes(moved, 2 * MiB, 0x44) &&
	      signal_of(read_byte, memory + 4 * MiB) == SIGSEGV, "%s: mremap() of 2 MiB",
	      page_name);
	moved = mremap(memory + 6 * MiB, 2 * MiB, 4 * MiB, MREMAP_MAYMOVE);
	check(moved == MAP_FAILED, "%s: mremap() does not grow", page_name);
	munmap(memory, size);
	munmap(memory + 64 * MiB, 2 * MiB);
	close(fd);
	remove_file("partial");
}

/* Around the middle of a file, so that a leaf of 2M would reach over either end of the mapping */
static void test_edges(void)
{
	int fd = open_at("m", "edges", 0);
	unsigned char *area, *memory;

	area = mmap(NULL, 8 * MiB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (fallocate(fd, 0, 0, 4 * MiB) < 0 || area == MAP_FAILED)
		die("fallocate or mmap");
	munmap(area, 8 * MiB);
	area = (void *)(((uintptr_t)area + 2 * MiB - 1) / (2 * MiB) * (2 * MiB));
	memory = mmap(area + MiB, 2 * MiB, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, MiB);
	if (memory != area + MiB)
		die("mmap");
	memset(memory, 0x18, 2 * MiB);
	check(signal_of(read_byte, area + MiB - 1) == SIGSEGV &&
	      signal_of(read_byte, area + 3 * MiB) == SIGSEGV,
	      "%s: nothing is mapped next to a mapping", page_name);
	munmap(memory, 2 * MiB);
	close(fd);
	remove_file("edges");
}

static void test_proc_mem(void)
{
	int fd = open_at("m", "mem", 0), mem = open("/proc/self/mem", O_RDWR);
	unsigned char *memory, text[16] = "";

	if (ftruncate(fd, 2 * MiB) < 0)
		die("ftruncate");
	memory = map(fd, 4 * MiB, 0);
	/* Pages of 4K that were wanted in this order do not follow each other in memory. */
	memory[PAGE] = 1;
	memory[0] = 1;
	check(pwrite(mem, "through ptrace", 14, (uintptr_t)memory + PAGE - 5) == 14 &&
	      memcmp(memory + PAGE - 5, "through ptrace", 14) == 0,
	      "%s: /proc/PID/mem writes", page_name);
	check(pread(mem, text, 14, (uintptr_t)memory + PAGE - 5) == 14 &&
	      memcmp(text, "through ptrace", 14) == 0, "%s: /proc/PID/mem reads", page_name);
	check(pread(mem, text, 1, (uintptr_t)memory + 2 * MiB) < 0 && errno == EIO &&
	      pwrite(mem, text, 1, (uintptr_t)memory + 2 * MiB) < 0 && errno == EIO,
	      "%s: but nothing behind the end", page_name);
	mprotect(memory, 2 * MiB, PROT_READ);
	check(pwrite(mem, "x", 1, (uintptr_t)memory) < 0,
	      "%s: and writes nothing that is read-only", page_name);
	munmap(memory, 4 * MiB);
	close(mem);
	close(fd);
	remove_file("mem");
}

/* Where sizes and offsets end, for any page size */
static void test_far_offsets(void)
{
	const off_t most = INT64_MAX / GiB * GiB;
	int fd = open_at("m", "far", 0);
	struct stat st;
	char *memory;

	check(ftruncate(fd, most) < 0 && errno == ENOSPC && ftruncate(fd, most + 1) < 0 &&
	      errno == EFBIG, "%s: the largest size, and a larger one", page_name);
	check(pwrite(fd, "x", 1, most - 1) < 0 && errno == ENOSPC &&
	      pwrite(fd, "x", 1, most) < 0 && errno == EFBIG,
	      "%s: write() to the last byte there can be, and behind", page_name);
	check(fallocate(fd, 0, most - PAGE, PAGE) < 0 && errno == ENOSPC &&
	      fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, most) < 0 && errno == ENOSPC &&
	      fallocate(fd, 0, most, 1) < 0 && errno == EFBIG, "%s: fallocate() as far",
	      page_name);
	check(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 1, most - 1) == 0,
	      "%s: a hole in all there can be", page_name);
	check(lseek(fd, most, SEEK_SET) == most && lseek(fd, most + 1, SEEK_SET) < 0 &&
	      errno == EINVAL && lseek(fd, most, SEEK_DATA) < 0 && errno == ENXIO,
	      "%s: lseek() as far", page_name);
	check(fstat(fd, &st) == 0 && !st.st_size && !st.st_blocks, "%s: the file is empty still",
	      page_name);
	memory = map(fd, 4 * PAGE, INT64_MAX / PAGE * PAGE - 4 * PAGE);
	check(signal_of(read_byte, memory) == SIGBUS && munmap(memory + PAGE, PAGE) == 0 &&
	      mremap(memory + 2 * PAGE, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
		     memory + PAGE) == memory + PAGE &&
	      signal_of(read_byte, memory + PAGE) == SIGBUS, "%s: a mapping as far", page_name);
	munmap(memory, 4 * PAGE);
	close(fd);
	remove_file("far");
}

static void test_direct(void)
{
	char path[128];
	int fd = open_at("m", "direct", 0), direct;

	snprintf(path, sizeof(path), "%s/m/direct", test_dir);
	direct = open(path, O_RDWR | O_DIRECT);
	check(direct < 0 && errno == EINVAL, "%s: O_DIRECT is EINVAL", page_name);
	close(fd);
	remove_file("direct");
}

static void test_page_size(const char *name, size_t size)
{
	char options[64], log[256];
	uint64_t free = dmem_sum(-1, "free_bytes");
	int r;

	page_name = name;
	page_size = size;
	snprintf(options, sizeof(options), "pagesize=%s", name);
	r = mount_at("m", options, log, sizeof(log));
	if (r < 0) {
		note("%s", log);
		skip("this machine cannot", "%s: mount", name);
		return;
	}
	test_statfs();
	test_private();
	test_exec();
	test_flags();
	if (size <= 2 * MiB) {
		test_leaves(16 * MiB);
		remove_file("leaves");
		test_memory_type(size == PAGE ? "pte" : "pmd");
	} else if (whole_spans(-1)) {
		test_leaves(GiB);
		remove_file("leaves");
		test_memory_type("pud");
	}
	wait_free(free);
	test_zero(free);
	test_read_only();
	test_truncate(free);
	test_read_write();
	wait_free(free);
	test_no_space(free);
	test_promise(free);
	test_punch(free);
	test_promise_of_holes(free);
	test_promise_of_parts(free);
	test_killed(free);
	test_fork();
	test_partial();
	test_edges();
	test_proc_mem();
	test_far_offsets();
	test_direct();
	check(wait_free(free), "%s: all memory is free in the end", name);
	check(sums_hold(), "%s: size is free plus used plus poisoned", name);
	unmount("m");
}

static void test_thp_switch(void)
{
	static const char path[] = "/sys/kernel/mm/transparent_hugepage/enabled";
	static const char *const values[] = { "always", "madvise", "never" };
	unsigned char *memory;
	int fd;

	if (access(path, W_OK) < 0)
		return;
	if (mount_at("m", "pagesize=2M", NULL, 0) < 0)
		die("mount");
	for (unsigned int i = 0; i < 3; i++) {
		uint64_t before;

		write_text(path, values[i]);
		fd = open_at("m", "thp", 0);
		if (ftruncate(fd, 16 * MiB) < 0)
			die("ftruncate");
		memory = map(fd, 16 * MiB, 0);
		before = faults();
		touch(memory, 16 * MiB, PAGE);
		check(faults_are(before, 8), "2M leaves with transparent_hugepage/enabled = %s",
		      values[i]);
		munmap(memory, 16 * MiB);
		close(fd);
		remove_file("thp");
	}
	unmount("m");
}

/*
 * A file of 2 MiB whose memory comes in pieces: one that is long enough for a leaf but does not
 * begin where a leaf could, or one that begins there but is too short. A file of 4K pages has all
 * memory of the node but these.
 */
static void test_pieces(const char *what, const off_t (*holes)[2])
{
	unsigned char *memory, *copy = malloc(2 * MiB);
	int nid = next_nid(-1), all, fd, i;
	uint64_t size = dmem_sum(nid, "free_bytes"), before;
	bool same = true;
	char options[64];

	snprintf(options, sizeof(options), "pagesize=4K,node=%d", nid);
	if (!copy || mount_at("all", options, NULL, 0) < 0)
		die("mount");
	snprintf(options, sizeof(options), "pagesize=2M,node=%d", nid);
	if (mount_at("m", options, NULL, 0) < 0)
		die("mount");
	all = open_at("all", "all", 0);
	if (fallocate(all, 0, 0, size) < 0)
		die("fallocate");
	for (i = 0; i < 2; i++)
		if (fallocate(all, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, holes[i][0],
			      holes[i][1]) < 0)
			die("punch");

	fd = open_at("m", "pieces", 0);
	if (fallocate(fd, 0, 0, 2 * MiB) < 0)
		die("fallocate");
	memory = map(fd, 2 * MiB, 0);
	before = faults();
	for (i = 0; i < 512; i++)
		memset(memory + i * PAGE, 1 + i % 255, PAGE);
	check(faults_are(before, 512), "%s: has leaves of 4K", what);
	if (pread(fd, copy, 2 * MiB, 0) != 2 * MiB)
		die("read");
	for (i = 0; i < 512; i++)
		same &= all_bytes(copy + i * PAGE, PAGE, 1 + i % 255);
	check(same, "%s: the mapping has the memory of the file", what);
	same = true;
	for (uint64_t at = 0; same && at < size; at += 2 * MiB) {
		/* A page that was retired leaves an odd size. */
		size_t part = size - at < 2 * MiB ? size - at : 2 * MiB;

		same = pread(all, copy, part, at) == (ssize_t)part && all_bytes(copy, part, 0);
	}
	check(same, "%s: and of no other", what);

	munmap(memory, 2 * MiB);
	close(fd);
	close(all);
	unmount("m");
	unmount("all");
	free(copy);
}

int main(void)
{
	/* The memory of a file that has all of it begins with a chunk of 2 MiB. */
	static const off_t apart[][2] = {
		{ 4 * MiB + 5 * PAGE, MiB }, { 5 * MiB + 5 * PAGE, MiB },
	}, too_short[][2] = {
		{ 4 * MiB, 1 * MiB }, { 8 * MiB, 1 * MiB },
	};

	start("files on dmemfs");
	test_page_size("4K", PAGE);
	test_page_size("2M", 2 * MiB);
	test_page_size("1G", GiB);
	test_thp_switch();
	test_pieces("not aligned", apart);
	test_pieces("too short", too_short);
	return finish();
}
