// SPDX-License-Identifier: GPL-2.0
/*
 * Hunts for memory that two files have at once, or that shows what an earlier owner wrote, while
 * many processes fault, truncate, punch, map, move, split, fork, exit, mount and unmount.
 *
 * usage: dmemfs_stress [SECONDS [PROCESSES [SEED [fail]]]]
 *
 * Whoever writes to a page writes the same stamp all over it: the inode and the index of the page.
 * So, at any time, each word of a page is either zero or the stamp of the page, whatever else goes
 * on. Inode numbers are not used twice.
 *
 * Besides the files that all processes share, each has files of its own, of which it knows what
 * each word must be. There the stamp has a generation as well, so that old data of the same page
 * shows too, and an access below the end may never fail: what was promised is there.
 *
 * With "fail", allocations of the kernel fail at random; see dmemfs_failures.c for what it needs.
 */
#include "harness.h"

#include <linux/falloc.h>
#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>
#include <time.h>

#define FILES	6
#define MAPS	4
#define WORDS	(PAGE / sizeof(uint64_t))

static const char *const mounts[] = { "4K", "2M", "1G" };
static size_t max_size = 96 * MiB;
static __thread uint64_t rng;
static __thread sigjmp_buf jump;
static bool failing;		/* allocations of the kernel do */

struct mapping {
	unsigned char *address;
	size_t size;
	off_t offset;
	uint64_t inode;
};

static struct mapping maps[MAPS];
static uint64_t *failures;	/* shared by all processes */

/* A page of a file of our own: the stamp up to @words, zeroes behind */
struct model_page {
	uint32_t generation;
	uint16_t words;
};

/* A file of our own, mapped as a whole, with room to grow */
struct model {
	int fd;
	size_t size;
	uint64_t inode;
	unsigned char *address;
	struct model_page *pages;
};

static struct model models[3];
static uint32_t generation;

static uint64_t random_below(uint64_t n)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return n ? rng % n : 0;
}

/* The kernel may say this of a call that makes something larger. */
static bool no_room(int error)
{
	return error == ENOSPC || (failing && error == ENOMEM);
}

static void on_sigbus(int signal)
{
	siglongjmp(jump, signal);
}

static uint64_t stamp(uint64_t inode, uint64_t index)
{
	return inode << 32 | (index + 1);
}

static void report(uint64_t inode, uint64_t index, unsigned int word, uint64_t found,
		   const char *where)
{
	if (__atomic_add_fetch(failures, 1, __ATOMIC_RELAXED) < 20)
		note("%s: inode %llu page %llu word %u: %016llx", where,
		     (unsigned long long)inode, (unsigned long long)index, word,
		     (unsigned long long)found);
}

static void verify(const uint64_t *page, uint64_t inode, uint64_t index, const char *where)
{
	uint64_t good = stamp(inode, index);

	for (unsigned int i = 0; i < WORDS; i++) {
		uint64_t found = __atomic_load_n(&page[i], __ATOMIC_RELAXED);

		if (found != 0 && found != good) {
			report(inode, index, i, found, where);
			return;
		}
	}
}

static void fill(uint64_t *page, uint64_t inode, uint64_t index)
{
	for (unsigned int i = 0; i < WORDS; i++)
		__atomic_store_n(&page[i], stamp(inode, index), __ATOMIC_RELAXED);
}

/* A random file of a random mount, which may just be gone. */
static int random_file(int flags)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s/f%u", test_dir,
		 mounts[random_below(ARRAY_SIZE(mounts))],
		 (unsigned int)random_below(FILES));
	return open(path, flags | O_CLOEXEC, 0600);
}

static size_t random_size(void)
{
	size_t size = random_below(max_size);

	switch (random_below(4)) {
	case 0:
		return size / (2 * MiB) * 2 * MiB;
	case 1:
		return size / PAGE * PAGE;
	case 2:
		return size / 16;
	default:
		return size;
	}
}

static void op_map(void)
{
	struct mapping *m = &maps[random_below(MAPS)];
	struct stat st;
	int fd;

	if (m->address) {
		munmap(m->address, m->size);
		m->address = NULL;
	}
	fd = random_file(O_RDWR | O_CREAT);
	if (fd < 0 || fstat(fd, &st) < 0)
		return;
	m->inode = st.st_ino;
	m->size = (random_size() + PAGE) / PAGE * PAGE;
	m->offset = random_below(2) ? 0 : random_below(max_size / 2) / PAGE * PAGE;
	m->address = mmap(NULL, m->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, m->offset);
	if (m->address == MAP_FAILED)
		m->address = NULL;
	close(fd);
}

static void op_touch(void)
{
	struct mapping *m = &maps[random_below(MAPS)];

	if (!m->address || sigsetjmp(jump, 1))
		return;
	for (unsigned int i = 0; i < 40; i++) {
		size_t at = random_below(m->size) / PAGE * PAGE;
		uint64_t index = (m->offset + at) / PAGE;

		verify((void *)(m->address + at), m->inode, index, "mapping");
		if (random_below(2))
			fill((void *)(m->address + at), m->inode, index);
	}
}

/* All pages in a row: the dense case, and the whole of large leaves. */
static void op_sweep(void)
{
	struct mapping *m = &maps[random_below(MAPS)];
	size_t size = random_below(8 * MiB);

	if (!m->address || sigsetjmp(jump, 1))
		return;
	for (size_t at = 0; at < m->size && at < size; at += PAGE) {
		verify((void *)(m->address + at), m->inode, (m->offset + at) / PAGE, "sweep");
		fill((void *)(m->address + at), m->inode, (m->offset + at) / PAGE);
	}
}

static void op_truncate(void)
{
	int fd = random_file(O_RDWR | O_CREAT);

	if (fd < 0)
		return;
	if (ftruncate(fd, random_below(8) ? random_size() / 8 * 8 : 0) < 0 && !no_room(errno))
		report(0, 0, 0, errno, "ftruncate");
	close(fd);
}

static void op_fallocate(void)
{
	static const int modes[] = { 0, FALLOC_FL_KEEP_SIZE,
				     FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE,
				     FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE };
	int fd = random_file(O_RDWR | O_CREAT);

	if (fd < 0)
		return;
	if (fallocate(fd, modes[random_below(4)], random_size() / 8 * 8,
		      (random_size() / 4 + 8) / 8 * 8) < 0 && !no_room(errno))
		report(0, 0, 0, errno, "fallocate");
	close(fd);
}

static void op_read_write(void)
{
	uint64_t buffer[WORDS];
	struct stat st;
	int fd = random_file(O_RDWR | O_CREAT);

	if (fd < 0 || fstat(fd, &st) < 0)
		return;
	for (unsigned int i = 0; i < 20; i++) {
		uint64_t index = random_below(max_size / PAGE);

		memset(buffer, 0, sizeof(buffer));
		if (pread(fd, buffer, PAGE, index * PAGE) < 0)
			report(st.st_ino, index, 0, errno, "pread");
		verify(buffer, st.st_ino, index, "read");
		fill(buffer, st.st_ino, index);
		if (random_below(4) == 0 && pwrite(fd, buffer, PAGE, index * PAGE) < 0 &&
		    !no_room(errno))
			report(st.st_ino, index, 0, errno, "pwrite");
	}
	close(fd);
}

/* Threads that fault in the same mapping, while the file changes */
static void *touch_thread(void *argument)
{
	struct mapping *m = argument;

	rng = (uintptr_t)&m * 0x9e3779b97f4a7c15 | 1;
	for (volatile unsigned int i = 0; i < 8; i++) {
		if (sigsetjmp(jump, 1))
			continue;
		for (unsigned int k = 0; k < 20; k++) {
			size_t at = random_below(m->size) / PAGE * PAGE;
			uint64_t index = (m->offset + at) / PAGE;

			verify((void *)(m->address + at), m->inode, index, "thread");
			fill((void *)(m->address + at), m->inode, index);
		}
	}
	return NULL;
}

static void op_threads(void)
{
	struct mapping *m = &maps[random_below(MAPS)];
	pthread_t threads[2];
	unsigned int n = 0;

	if (!m->address)
		return;
	while (n < 2 && pthread_create(&threads[n], NULL, touch_thread, m) == 0)
		n++;
	op_truncate();
	op_fallocate();
	while (n)
		pthread_join(threads[--n], NULL);
}

static uint64_t model_stamp(const struct model *f, uint64_t index)
{
	return (uint64_t)f->pages[index].generation << 40 | (f->inode & 0xfffff) << 20 |
	       (index + 1);
}

static bool model_ok(const struct model *f, uint64_t index, const uint64_t *page,
		     const char *where)
{
	size_t left = f->size - index * PAGE;
	unsigned int end = left < PAGE ? left / 8 : WORDS;

	for (unsigned int i = 0; i < end; i++) {
		uint64_t want = i < f->pages[index].words ? model_stamp(f, index) : 0;

		if (page[i] != want) {
			note("should be %016llx", (unsigned long long)want);
			report(f->inode, index, i, page[i], where);
			return false;
		}
	}
	return true;
}

/* What is cut off, or punched out, will be zero. */
static void model_cut(struct model *f, size_t from, size_t to)
{
	for (uint64_t index = from / PAGE; index * PAGE < to; index++) {
		unsigned int words = index * PAGE < from ? (from - index * PAGE) / 8 : 0;

		if (f->pages[index].words > words)
			f->pages[index].words = words;
	}
}

static void model_check(struct model *f)
{
	uint64_t nr = (f->size + PAGE - 1) / PAGE, index = random_below(nr);
	uint64_t buffer[WORDS];

	for (unsigned int i = 0; i < 300 && index < nr; i++, index++) {
		if (random_below(4)) {
			model_ok(f, index, (void *)(f->address + index * PAGE), "own mapping");
		} else {
			if (pread(f->fd, buffer, PAGE, index * PAGE) < 0)
				report(f->inode, index, 0, errno, "own pread");
			model_ok(f, index, buffer, "own read");
		}
		if (random_below(50) == 0)
			index = random_below(nr);
	}
}

/* A few pages in a row, by write() or through the mapping, never behind the end */
static void model_write(struct model *f)
{
	uint64_t nr = f->size / PAGE, index = random_below(nr), count = 1 + random_below(64);
	uint64_t buffer[WORDS];

	for (; count && index < nr; count--, index++) {
		struct model_page old = f->pages[index];

		f->pages[index] = (struct model_page) {
			.generation = ++generation & 0xffffff,
			.words = WORDS,
		};
		for (unsigned int i = 0; i < WORDS; i++)
			buffer[i] = model_stamp(f, index);
		if (random_below(3)) {
			memcpy(f->address + index * PAGE, buffer, PAGE);
		} else if (pwrite(f->fd, buffer, PAGE, index * PAGE) != (ssize_t)PAGE) {
			f->pages[index] = old;
			if (!no_room(errno))
				report(f->inode, index, 0, errno, "own pwrite");
		}
	}
}

static void model_resize(struct model *f, size_t size)
{
	if (ftruncate(f->fd, size) < 0) {
		if (size < f->size || !no_room(errno))
			report(f->inode, size, 0, errno, "own ftruncate");
		return;
	}
	if (size < f->size)
		model_cut(f, size, f->size);
	f->size = size;
}

static void model_punch(struct model *f)
{
	size_t at = random_below(f->size) / PAGE * PAGE;
	size_t size = (random_size() / 4 / PAGE + 1) * PAGE;

	if (fallocate(f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, size) < 0) {
		report(f->inode, at / PAGE, 0, errno, "own punch");
		return;
	}
	model_cut(f, at, at + size < f->size ? at + size : f->size);
}

static bool model_open(struct model *f, const char *mount)
{
	char path[256];
	struct stat st;

	snprintf(path, sizeof(path), "%s/%s", test_dir, mount);
	f->fd = open(path, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
	if (f->fd < 0)
		return false;
	f->address = mmap(NULL, max_size, PROT_READ | PROT_WRITE, MAP_SHARED, f->fd, 0);
	if (fstat(f->fd, &st) < 0 || f->address == MAP_FAILED) {
		close(f->fd);
		f->address = NULL;
		return false;
	}
	f->inode = st.st_ino;
	f->size = 0;
	f->pages = calloc(max_size / PAGE + 1, sizeof(*f->pages));
	return true;
}

static void model_close(struct model *f)
{
	munmap(f->address, max_size);
	close(f->fd);
	free(f->pages);
	f->address = NULL;
}

static void op_own(void)
{
	unsigned int which = random_below(3);
	struct model *f = &models[which];
	int signal;

	if (!f->address && !model_open(f, mounts[which]))
		return;
	signal = sigsetjmp(jump, 1);
	if (signal) {
		report(f->inode, 0, 0, signal, "a signal in a file of our own");
		return;
	}
	switch (f->size < PAGE ? 0 : random_below(10)) {
	case 0:
		model_resize(f, random_size() / 8 * 8);
		break;
	case 1:
		model_punch(f);
		break;
	case 2:
		if (random_below(4) == 0) {
			model_close(f);
			return;
		}
		break;
	case 3:
		/* Smaller leaves, and large ones again */
		mprotect(f->address + random_below(max_size) / PAGE * PAGE, PAGE, PROT_READ);
		mprotect(f->address, max_size, PROT_READ | PROT_WRITE);
		break;
	default:
		model_write(f);
	}
	model_check(f);
}

static void op_unlink(void)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s/f%u", test_dir, mounts[random_below(3)],
		 (unsigned int)random_below(FILES));
	unlink(path);
}

/* Split, protect and move parts of mappings. What is in maps may have holes afterwards. */
static void op_split(void)
{
	struct mapping *m = &maps[random_below(MAPS)];
	size_t at, size;

	if (!m->address || m->size < 2 * PAGE)
		return;
	at = random_below(m->size) / PAGE * PAGE;
	size = (random_below(m->size - at) + PAGE) / PAGE * PAGE;
	if (at + size > m->size)
		size = m->size - at;
	switch (random_below(4)) {
	case 0:
		mprotect(m->address + at, size, PROT_READ);
		mprotect(m->address + at, size, PROT_READ | PROT_WRITE);
		break;
	case 1:
		if (at) {
			munmap(m->address + at, m->size - at);
			m->size = at;
		}
		break;
	case 2: {
		void *moved = mremap(m->address, m->size, m->size / 2 / PAGE * PAGE ?: PAGE,
				     MREMAP_MAYMOVE);

		if (moved != MAP_FAILED) {
			m->address = moved;
			m->size = m->size / 2 / PAGE * PAGE ?: PAGE;
		}
		break;
	}
	default: {
		void *room = mmap(NULL, m->size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS |
				  MAP_NORESERVE, -1, 0);
		void *moved;

		if (room == MAP_FAILED)
			break;
		moved = mremap(m->address, m->size, m->size, MREMAP_MAYMOVE | MREMAP_FIXED, room);
		if (moved == MAP_FAILED)
			munmap(room, m->size);
		else
			m->address = moved;
	}
	}
}

static void op_fork(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		rng ^= getpid() * 0x9e3779b97f4a7c15;
		for (unsigned int i = 0; i < 5; i++) {
			op_touch();
			op_split();
		}
		_exit(0);
	}
	if (pid > 0)
		waitpid(pid, NULL, 0);
}

static void op_mount(void)
{
	char name[32], path[256];
	int fd;

	snprintf(name, sizeof(name), "x%d", getpid());
	if (mount_at(name, mounts[0], NULL, 0) == 0)
		report(0, 0, 0, 0, "mount with a wrong option");
	if (mount_at(name, random_below(2) ? "pagesize=4K" : "pagesize=2M,size=16M", NULL, 0) < 0)
		return;
	snprintf(path, sizeof(path), "%s/%s/f", test_dir, name);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd >= 0) {
		if (fallocate(fd, 0, 0, random_below(16 * MiB) + 1) < 0 && !no_room(errno))
			report(0, 0, 0, errno, "fallocate");
		close(fd);
	}
	unmount(name);
}

static void op_placement(void)
{
	struct mapping *m = &maps[random_below(MAPS)];
	unsigned long nodes = 1 + random_below(3);
	cpu_set_t set;

	if (m->address)
		syscall(SYS_mbind, m->address, m->size, 1 + random_below(3), &nodes, 65, 0);
	CPU_ZERO(&set);
	CPU_SET(random_below(4), &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static void work(unsigned int seconds, uint64_t seed)
{
	static void (*const ops[])(void) = {
		op_map, op_map, op_touch, op_touch, op_touch, op_touch, op_sweep, op_truncate,
		op_fallocate, op_fallocate, op_read_write, op_read_write, op_unlink, op_split,
		op_fork, op_mount, op_placement, op_threads, op_own, op_own, op_own, op_own,
	};
	struct sigaction action = { .sa_handler = on_sigbus, .sa_flags = SA_NODEFER };
	time_t end = time(NULL) + seconds;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sigaction(SIGBUS, &action, NULL);
	rng = seed;
	generation = seed & 0xffffff;
	while (time(NULL) < end)
		for (unsigned int i = 0; i < 10; i++)
			ops[random_below(ARRAY_SIZE(ops))]();
	_exit(0);
}

/* For this process and its children */
static bool let_allocations_fail(void)
{
	static const char *const kinds[] = { "failslab", "fail_page_alloc" };
	static const char *const settings[][2] = {
		{ "verbose", "0" }, { "ignore-gfp-wait", "N" }, { "task-filter", "Y" },
		{ "interval", "1" }, { "probability", "1" }, { "times", "-1" },
	};
	char path[128];

	for (unsigned int k = 0; k < 2; k++)
		for (unsigned int i = 0; i < ARRAY_SIZE(settings); i++) {
			snprintf(path, sizeof(path), "/sys/kernel/debug/%s/%s", kinds[k],
				 settings[i][0]);
			if (!write_text(path, settings[i][1]))
				return false;
		}
	write_text("/sys/kernel/debug/fail_page_alloc/min-order", "0");
	return write_text("/proc/self/make-it-fail", "1");
}

int main(int argc, char **argv)
{
	unsigned int seconds = argc > 1 ? atoi(argv[1]) : 10;
	unsigned int n = argc > 2 ? atoi(argv[2]) : 4, n_died = 0;
	uint64_t seed = argc > 3 ? strtoull(argv[3], NULL, 0) : (uint64_t)time(NULL), free;

	start("everything at once");
	free = dmem_sum(-1, "free_bytes");
	failures = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (failures == MAP_FAILED)
		die("mmap");
	note("%u processes, %u seconds, seed %llu", n, seconds, (unsigned long long)seed);
	for (unsigned int i = 0; i < 3; i++) {
		char options[64];

		snprintf(options, sizeof(options), "pagesize=%s", mounts[i]);
		if (mount_at(mounts[i], options, NULL, 0) < 0 &&
		    mount_at(mounts[i], "pagesize=4K", NULL, 0) < 0)
			die("mount");
	}
	/* Some of the time there must be pages of 1G, some of the time no memory at all. */
	if (free >= 6 * GiB)
		max_size = GiB + 64 * MiB;

	failing = argc > 4 && strcmp(argv[4], "fail") == 0;
	faults_may_fail = failing;
	if (failing && !let_allocations_fail()) {
		skip("this kernel has no fault injection", "failing allocations");
		n = 0;
	}
	for (unsigned int i = 0; i < n; i++)
		if (fork() == 0)
			work(seconds, (seed + i) * 0x9e3779b97f4a7c15 | 1);
	for (unsigned int i = 0; i < n; i++) {
		int status;

		wait(&status);
		if (status != 0)
			n_died++;
	}
	if (failing)
		write_text("/proc/self/make-it-fail", "0");
	check(n_died == 0, "%u of %u processes died", n_died, n);
	check(*failures == 0, "%llu pages with foreign data", (unsigned long long)*failures);
	check(sums_hold(), "size is free plus used plus poisoned");
	for (unsigned int i = 0; i < 3; i++)
		unmount(mounts[i]);
	check(wait_free(free), "all memory is free in the end");
	return finish();
}
