// SPDX-License-Identifier: GPL-2.0
/*
 * Pages of 1G: where the kernel is least prepared for mappings without struct page.
 *
 * Splitting a VMA inside of such a leaf makes an unprepared kernel take the memory itself for a
 * page table, moving one makes it forget the TLB. Each of these tests ends the machine, or finds
 * old data, if the file system lets the kernel do that.
 */
#include "harness.h"

#include <linux/falloc.h>

#define SIZE (2 * GiB)

static unsigned char *map_spans(int fd, size_t size)
{
	unsigned char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (memory == MAP_FAILED)
		die("mmap");
	return memory;
}

/* A byte per MiB, so that a lost or exchanged page shows. */
static void mark(unsigned char *memory, size_t size)
{
	for (size_t i = 0; i < size; i += MiB)
		memory[i] = 1 + i / MiB % 251;
}

static bool marked(const unsigned char *memory, size_t from, size_t to)
{
	for (size_t i = from; i < to; i += MiB)
		if (memory[i] != 1 + i / MiB % 251)
			return false;
	return true;
}

static void test_mprotect(int fd)
{
	unsigned char *memory = map_spans(fd, SIZE);

	mark(memory, SIZE);
	check(mprotect(memory + 100 * MiB, PAGE, PROT_READ) == 0, "mprotect() inside of a 1G leaf");
	check(signal_of(write_byte, memory + 100 * MiB + 7) == SIGSEGV, "protects");
	check(signal_of(write_byte, memory + 100 * MiB + PAGE + 7) == 0, "only that page");
	check(marked(memory, 0, SIZE), "and all data is there");
	check(mprotect(memory, SIZE, PROT_NONE) == 0 &&
	      signal_of(read_byte, memory + GiB) == SIGSEGV &&
	      mprotect(memory, SIZE, PROT_READ | PROT_WRITE) == 0 && marked(memory, 0, SIZE),
	      "mprotect() of all of it, and back");
	munmap(memory, SIZE);
}

static void test_munmap(int fd)
{
	unsigned char *memory = map_spans(fd, SIZE);

	mark(memory, SIZE);
	check(munmap(memory + 3 * MiB + PAGE, MiB) == 0, "munmap() inside of a 1G leaf");
	check(signal_of(read_byte, memory + 3 * MiB + PAGE) == SIGSEGV &&
	      marked(memory, 0, 4 * MiB - MiB + 1) && marked(memory, 5 * MiB, SIZE),
	      "removes only that");
	check(mmap(memory + GiB + PAGE, PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0) ==
	      memory + GiB + PAGE && memory[GiB + PAGE] == 1, "MAP_FIXED over a part of one");
	check(marked(memory, 5 * MiB, SIZE), "leaves the rest");
	munmap(memory, SIZE);
}

static void test_mremap(int fd)
{
	unsigned char *memory = map_spans(fd, SIZE), *target, *moved;
	bool flushed;

	mark(memory, SIZE);
	target = mmap(NULL, 2 * SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
		      0);
	if (target == MAP_FAILED)
		die("mmap of address space");
	target = (void *)(((uintptr_t)target + GiB - 1) / GiB * GiB);

	moved = mremap(memory, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, target);
	check(moved == target, "mremap() of 1G leaves");
	flushed = signal_of(read_byte, memory) == SIGSEGV &&
		  signal_of(read_byte, memory + GiB + 5) == SIGSEGV;
	check(flushed, "nothing is left at the old address");
	check(marked(moved, 0, SIZE), "all data is at the new one");

	moved = mremap(moved + 10 * MiB, 4 * MiB, 4 * MiB, MREMAP_MAYMOVE | MREMAP_FIXED,
		       target + SIZE + GiB / 2 + PAGE);
	check(moved == target + SIZE + GiB / 2 + PAGE && moved[0] == 11 && moved[3 * MiB] == 14 &&
	      signal_of(read_byte, target + 10 * MiB) == SIGSEGV &&
	      marked(target, 14 * MiB, SIZE) && marked(target, 0, 10 * MiB),
	      "mremap() of a part of a leaf, to where nothing is aligned");
	munmap(target, 2 * SIZE);
}

static void test_fork(int fd)
{
	unsigned char *memory = map_spans(fd, SIZE);
	uint64_t before;
	int status;
	pid_t pid;

	mark(memory, SIZE);
	pid = fork();
	if (pid == 0) {
		munmap(memory + PAGE, PAGE);
		memory[GiB + 1] = 0x99;
		_exit(!marked(memory, MiB, SIZE));
	}
	waitpid(pid, &status, 0);
	check(status == 0 && memory[GiB + 1] == 0x99, "fork() of 1G leaves");
	before = faults();
	check(marked(memory, 0, SIZE) && faults_are(before, 0),
	      "the parent keeps its leaves while the child splits its own");
	munmap(memory, SIZE);
}

static void test_truncate(int fd)
{
	unsigned char *memory = map_spans(fd, SIZE);

	mark(memory, SIZE);
	if (ftruncate(fd, GiB + 100 * MiB + 10) < 0)
		die("ftruncate");
	check(signal_of(read_byte, memory + GiB + 100 * MiB + PAGE) == SIGBUS &&
	      signal_of(read_byte, memory + SIZE - 1) == SIGBUS, "truncate() inside of a 1G leaf");
	check(marked(memory, 0, GiB + 100 * MiB), "leaves what is before");
	if (ftruncate(fd, SIZE) < 0)
		die("ftruncate");
	check(all_bytes(memory + GiB + 101 * MiB, 60 * MiB, 0), "what grows again is zero");
	munmap(memory, SIZE);
	if (ftruncate(fd, 0) < 0 || ftruncate(fd, SIZE) < 0)
		die("ftruncate");
}

static void test_unaligned(int fd)
{
	size_t offset = 6 * MiB;
	unsigned char *area, *memory;
	uint64_t before;

	/* Congruent modulo 2M, not 1G. */
	area = mmap(NULL, 3 * SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (area == MAP_FAILED)
		die("mmap of address space");
	area = (void *)(((uintptr_t)area + GiB - 1) / GiB * GiB + offset);
	memory = mmap(area, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
	before = faults();
	mark(memory, 128 * MiB);
	check(faults_are(before, 64), "an address aligned for 2M has 2M leaves");
	munmap(memory, SIZE);

	memory = mmap(area + PAGE, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
	before = faults();
	mark(memory, 128 * MiB);
	check(faults_are(before, 128), "an address aligned for nothing has 4K leaves");
	munmap(area - offset, 2 * SIZE);

	memory = map_spans(fd, SIZE);
	before = faults();
	check(marked(memory, 0, 128 * MiB) && faults_are(before, 1),
	      "the same file has 1G leaves where it can");
	munmap(memory, SIZE);
}

static void test_tail(void)
{
	uint64_t free = dmem_sum(-1, "free_bytes"), before;
	size_t size = GiB + 6 * MiB + PAGE;
	int fd = open_at("m", "tail", 0);
	unsigned char *memory;
	struct stat st;

	if (ftruncate(fd, size) < 0)
		die("ftruncate");
	memory = map_spans(fd, size);
	before = faults();
	for (size_t i = 0; i < size; i += PAGE)
		*(volatile unsigned char *)(memory + i) = 1;
	check(faults_are(before, 1 + 3 + 1),
	      "1G + 6M + 4K takes a leaf of 1G, three of 2M and one of 4K");
	check(fstat(fd, &st) == 0 && (size_t)st.st_blocks * 512 == GiB + 8 * MiB,
	      "and memory of 1G + 8M");
	munmap(memory, size);
	close(fd);
	unmount("m");
	check(wait_free(free), "all is given back");
}

/* What a span is made of may be clear in one place and not in another. */
static void test_zero(void)
{
	uint64_t free = dmem_sum(-1, "free_bytes");
	bool zero = true;

	for (unsigned int round = 0; round < 2; round++) {
		int fd = open_at("m", "secret", 0);
		unsigned char *memory;

		if (ftruncate(fd, SIZE) < 0)
			die("ftruncate");
		memory = map_spans(fd, SIZE);
		for (size_t i = 0; i < SIZE; i += MiB / 2) {
			zero &= all_bytes(memory + i, PAGE, 0);
			memset(memory + i, 0xa5, PAGE);
		}
		munmap(memory, SIZE);
		if (ftruncate(fd, 0) < 0)
			die("ftruncate");
		close(fd);
	}
	check(zero, "memory of a file is zero for the next");
	check(wait_free(free), "and given back");
}

/* A GiB of a file of which a part is there already is filled in smaller pages. */
static void test_grown(void)
{
	uint64_t free = dmem_sum(-1, "free_bytes");
	int fd = open_at("m", "grown", 0);
	char text[3] = "";
	struct stat st;

	if (pwrite(fd, "old", 3, 0) != 3 || ftruncate(fd, GiB) < 0 ||
	    pwrite(fd, "new", 3, GiB / 2) != 3)
		die("write");
	check(pread(fd, text, 3, 0) == 3 && !memcmp(text, "old", 3),
	      "a file that grows keeps what it had");
	check(fstat(fd, &st) == 0 && (size_t)st.st_blocks * 512 == 4 * MiB,
	      "and gets 2M where it is written");
	if (ftruncate(fd, 0) < 0)
		die("ftruncate");
	close(fd);
	check(wait_free(free), "and gives both back");
}

/* There is more than a GiB, but nowhere a whole one. */
static void test_scattered(void)
{
	const int hole = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	uint64_t free = dmem_sum(-1, "free_bytes"), size, before;
	int nid = next_nid(-1), all, fd;
	unsigned char *memory;
	char options[64];

	while (nid >= 0 && whole_spans(nid) < 2)
		nid = next_nid(nid);
	if (nid < 0) {
		skip("no node has two whole GiB", "memory in pieces");
		return;
	}
	snprintf(options, sizeof(options), "pagesize=2M,node=%d", nid);
	if (mount_at("all", options, NULL, 0) < 0)
		die("mount");
	snprintf(options, sizeof(options), "pagesize=1G,node=%d", nid);
	if (mount_at("one", options, NULL, 0) < 0)
		die("mount");
	all = open_at("all", "f", 0);
	size = dmem_sum(nid, "free_bytes") / (4 * MiB) * 4 * MiB;
	if (fallocate(all, 0, 0, size) < 0)
		die("fallocate");
	for (uint64_t at = 0; at < size; at += 4 * MiB)
		if (fallocate(all, hole, at, 2 * MiB) < 0)
			die("punch");
	fd = open_at("one", "f", 0);
	if (ftruncate(fd, GiB) < 0)
		die("ftruncate");
	memory = map_spans(fd, GiB);
	before = faults();
	mark(memory, GiB);
	check(faults_are(before, GiB / (2 * MiB)) && marked(memory, 0, GiB),
	      "memory in pieces of 2M has leaves of 2M");
	munmap(memory, GiB);
	close(fd);
	close(all);
	unmount("one");
	unmount("all");
	check(wait_free(free), "and is given back");
}

int main(void)
{
	char log[256];
	int fd;

	start("pages of 1G");
	if (mount_at("m", "pagesize=1G", log, sizeof(log)) < 0) {
		skip("this machine has none", "pages of 1G: %s", log);
		return finish();
	}
	if (whole_spans(-1) < SIZE / GiB) {
		skip("not enough memory", "pages of 1G");
		unmount("m");
		return finish();
	}
	fd = open_at("m", "f", 0);
	if (ftruncate(fd, SIZE) < 0)
		die("ftruncate");
	test_mprotect(fd);
	test_munmap(fd);
	test_mremap(fd);
	test_fork(fd);
	test_truncate(fd);
	test_unaligned(fd);
	close(fd);
	unmount("m");
	if (mount_at("m", "pagesize=1G", NULL, 0) < 0)
		die("mount");
	test_zero();
	test_grown();
	test_scattered();
	test_tail();
	return finish();
}
