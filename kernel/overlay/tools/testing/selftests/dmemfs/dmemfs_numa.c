// SPDX-License-Identifier: GPL-2.0
/*
 * Where memory comes from: node=, mbind(), the CPU; and promises that leave the choice open.
 */
#include "harness.h"

#include <linux/mempolicy.h>
#include <sched.h>

static int first, second;

static long bind_to(void *memory, size_t size, int mode, unsigned long nodes, unsigned int flags)
{
	return syscall(SYS_mbind, memory, size, mode, &nodes, sizeof(nodes) * 8 + 1, flags);
}

static uint64_t used(int nid)
{
	return dmem_sum(nid, "used_bytes");
}

static unsigned char *new_file(const char *mount, const char *name, size_t size, int *fd)
{
	unsigned char *memory;

	*fd = open_at(mount, name, 0);
	if (ftruncate(*fd, size) < 0)
		die("ftruncate to %zu", size);
	memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
	if (memory == MAP_FAILED)
		die("mmap");
	return memory;
}

static void touch(unsigned char *memory, size_t size)
{
	for (size_t i = 0; i < size; i += PAGE)
		memory[i] = 1;
}

static void done(const char *mount, const char *name, unsigned char *memory, size_t size, int fd)
{
	char path[256];

	munmap(memory, size);
	close(fd);
	snprintf(path, sizeof(path), "%s/%s/%s", test_dir, mount, name);
	unlink(path);
}

static void test_node_option(void)
{
	uint64_t size_of_second = dmem_sum(second, "size_bytes");
	unsigned char *memory;
	struct statfs fs;
	char text[128];
	int fd;

	snprintf(text, sizeof(text), "node=%d", second);
	if (mount_at("m", text, NULL, 0) < 0)
		die("mount");
	snprintf(text, sizeof(text), "%s/m", test_dir);
	check(statfs(text, &fs) == 0 && fs.f_blocks * fs.f_bsize == size_of_second,
	      "node= limits the size of the file system");
	memory = new_file("m", "f", 16 * MiB, &fd);
	bind_to(memory, 16 * MiB, MPOL_BIND, 1UL << first, 0);
	touch(memory, 16 * MiB);
	check(used(second) == 16 * MiB && used(first) == 0,
	      "node= is strict, whatever mbind() says");
	check(ftruncate(fd, size_of_second + 2 * MiB) < 0 && errno == ENOSPC,
	      "and what other nodes have does not help");
	done("m", "f", memory, 16 * MiB, fd);
	unmount("m");
}

static void test_mbind(void)
{
	unsigned long both = 1UL << first | 1UL << second;
	unsigned char *memory;
	int fd;

	if (mount_at("m", "", NULL, 0) < 0)
		die("mount");
	for (int i = 0; i < 2; i++) {
		int nid = i ? second : first, other = i ? first : second;

		memory = new_file("m", "f", 16 * MiB, &fd);
		check(bind_to(memory, 16 * MiB, MPOL_BIND, 1UL << nid, 0) == 0, "mbind()");
		touch(memory, 16 * MiB);
		check(used(nid) == 16 * MiB && used(other) == 0, "MPOL_BIND to node %d", nid);
		done("m", "f", memory, 16 * MiB, fd);

		memory = new_file("m", "f", 16 * MiB, &fd);
		bind_to(memory, 16 * MiB, MPOL_PREFERRED, 1UL << nid, 0);
		touch(memory, 16 * MiB);
		check(used(nid) == 16 * MiB && used(other) == 0, "MPOL_PREFERRED node %d", nid);
		done("m", "f", memory, 16 * MiB, fd);
	}
	memory = new_file("m", "f", 16 * MiB, &fd);
	bind_to(memory, 16 * MiB, MPOL_INTERLEAVE, both, 0);
	touch(memory, 16 * MiB);
	check(used(first) == 8 * MiB && used(second) == 8 * MiB, "MPOL_INTERLEAVE");
	done("m", "f", memory, 16 * MiB, fd);

	memory = new_file("m", "f", 16 * MiB, &fd);
	bind_to(memory, 8 * MiB, MPOL_BIND, 1UL << second, 0);
	bind_to(memory + 8 * MiB, 8 * MiB, MPOL_BIND, 1UL << first, 0);
	touch(memory, 16 * MiB);
	check(used(first) == 8 * MiB && used(second) == 8 * MiB, "a policy for each part");
	done("m", "f", memory, 16 * MiB, fd);
	unmount("m");
}

static void test_cpu(void)
{
	unsigned char *memory;
	int fd;

	if (mount_at("m", "", NULL, 0) < 0)
		die("mount");
	for (unsigned int cpu = 0; cpu < 64; cpu++) {
		unsigned int where = 0, node = 0;
		cpu_set_t set;

		CPU_ZERO(&set);
		CPU_SET(cpu, &set);
		if (sched_setaffinity(0, sizeof(set), &set) < 0)
			break;
		syscall(SYS_getcpu, &where, &node, NULL);
		if ((int)node != first && (int)node != second)
			continue;
		memory = new_file("m", "f", 4 * MiB, &fd);
		touch(memory, 4 * MiB);
		check(used(node) == 4 * MiB, "CPU %u gets memory of node %u", cpu, node);
		done("m", "f", memory, 4 * MiB, fd);
	}
	unmount("m");
}

/*
 * Two files that have promises for most of all memory, and learn only afterwards which node they
 * are to use. Whatever the promises were first assigned to, each must get its node.
 */
static void test_open_promises(void)
{
	size_t size_a = dmem_sum(first, "size_bytes") / 8 * 7 / (2 * MiB) * 2 * MiB;
	size_t size_b = dmem_sum(second, "size_bytes") / 8 * 7 / (2 * MiB) * 2 * MiB;
	unsigned char *a, *b;
	int fd_a, fd_b;

	if (mount_at("m", "", NULL, 0) < 0)
		die("mount");
	a = new_file("m", "a", size_a, &fd_a);
	b = new_file("m", "b", size_b, &fd_b);
	bind_to(b, size_b, MPOL_BIND, 1UL << second, 0);
	bind_to(a, size_a, MPOL_BIND, 1UL << first, 0);
	for (size_t i = 0; i < size_a || i < size_b; i += 2 * MiB) {
		if (i < size_b)
			b[i] = 1;
		if (i < size_a)
			a[i] = 1;
	}
	check(used(first) == size_a && used(second) == size_b,
	      "promises are bound to a node only at the touch");
	done("m", "a", a, size_a, fd_a);
	done("m", "b", b, size_b, fd_b);
	unmount("m");
}

/* A mount that may only use one node must find room there, although others are promised memory. */
static void test_push_aside(void)
{
	size_t all = dmem_sum(-1, "size_bytes"), one = dmem_sum(first, "size_bytes");
	int any, strict;
	char text[64];

	snprintf(text, sizeof(text), "node=%d", first);
	if (mount_at("any", "", NULL, 0) < 0 || mount_at("strict", text, NULL, 0) < 0)
		die("mount");
	any = open_at("any", "f", 0);
	strict = open_at("strict", "f", 0);
	check(ftruncate(any, all - one) == 0 && ftruncate(strict, one) == 0,
	      "promises make room for those that have no choice");
	check(ftruncate(any, all - one + 2 * MiB) < 0 && errno == ENOSPC &&
	      ftruncate(strict, one + 2 * MiB) < 0 && errno == ENOSPC,
	      "but not more than there is");
	close(any);
	close(strict);
	unmount("any");
	unmount("strict");
}

/* The nodes that mbind() names are full: other nodes help out, nobody dies. */
static void test_overflow(void)
{
	size_t size = dmem_sum(first, "size_bytes") / (2 * MiB) * 2 * MiB + 64 * MiB;
	unsigned char *memory;
	int fd;

	if (mount_at("m", "", NULL, 0) < 0)
		die("mount");
	memory = new_file("m", "f", size, &fd);
	bind_to(memory, size, MPOL_BIND, 1UL << first, 0);
	for (size_t i = 0; i < size; i += 2 * MiB)
		memory[i] = 1;
	check(used(second) == 64 * MiB, "what does not fit on a node comes from another");
	done("m", "f", memory, size, fd);
	unmount("m");
}

static void test_strict_mbind(void)
{
	unsigned char *memory;
	int fd;

	if (mount_at("m", "", NULL, 0) < 0)
		die("mount");
	memory = new_file("m", "f", 4 * MiB, &fd);
	touch(memory, 4 * MiB);
	bind_to(memory, 4 * MiB, MPOL_BIND, 1UL << second, MPOL_MF_STRICT);
	check(memory[0] == 1, "mbind(MPOL_MF_STRICT) of a mapping that is in use");
	done("m", "f", memory, 4 * MiB, fd);
	unmount("m");
}

int main(int argc, char **argv)
{
	uint64_t free;

	start("nodes and policies");
	free = dmem_sum(-1, "free_bytes");
	first = next_nid(-1);
	second = next_nid(first);
	if (second < 0) {
		skip("one node only", "nodes and policies");
		return finish();
	}
	test_node_option();
	test_mbind();
	test_cpu();
	test_open_promises();
	test_push_aside();
	test_overflow();
	if (kernel_has_dmem() || (argc > 1 && strcmp(argv[1], "--strict-mbind") == 0))
		test_strict_mbind();
	else
		skip("this kernel has no CONFIG_DMEM and may oops, --strict-mbind tries it",
		     "mbind(MPOL_MF_STRICT) of a mapping that is in use");
	check(wait_free(free) && sums_hold(), "all memory is free in the end");
	return finish();
}
