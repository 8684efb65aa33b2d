// SPDX-License-Identifier: GPL-2.0
/*
 * What happens when the kernel has no memory for its own purposes: each call is made again and
 * again, and each time the next one of the allocations that it makes fails, until none is left.
 * The call then works or says ENOMEM, and nothing is lost: neither data nor memory of the pool.
 *
 * usage: dmemfs_failures [MODULE]
 *
 * With the path of dmemfs.ko, only loading it is tested; nothing may be mounted then.
 *
 * Needs CONFIG_FAILSLAB, CONFIG_FAIL_PAGE_ALLOC, CONFIG_FAULT_INJECTION_DEBUG_FS.
 */
#include "harness.h"

#include <linux/falloc.h>

#define SIZE (8 * MiB)
#define MOST 2000

static int fail_nth = -1;
static int fd = -1;
static unsigned char *memory;
static const char *module;

/* The number @n of the allocations from now on fails. */
static void arm(unsigned int n)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", n);
	if (pwrite(fail_nth, text, strlen(text), 0) < 0)
		die("write /proc/thread-self/fail-nth");
}

/* Returns whether it has, and lets no further one fail. */
static bool disarm(void)
{
	char text[16] = "";
	bool failed;

	if (pread(fail_nth, text, sizeof(text) - 1, 0) <= 0)
		die("read /proc/thread-self/fail-nth");
	failed = atoi(text) == 0;
	arm(0);
	return failed;
}

static const char *path(const char *name)
{
	static char paths[2][128];
	static unsigned int turn;
	char *p = paths[turn++ % 2];

	snprintf(p, sizeof(paths[0]), "%s/m/%s", test_dir, name);
	return p;
}

static int done(int r)
{
	return r < 0 ? -errno : 0;
}

/* A file with a pattern, mapped except for its last quarter */
static void make_file(void)
{
	fd = open_at("m", "f", 0);
	if (ftruncate(fd, SIZE) < 0)
		die("ftruncate");
	memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED)
		die("mmap");
	for (size_t i = 0; i < SIZE; i += PAGE)
		memory[i] = 1 + i / PAGE % 251;
}

static bool pattern(size_t from, size_t to)
{
	for (size_t i = from; i < to; i += PAGE)
		if (memory[i] != 1 + i / PAGE % 251)
			return false;
	return true;
}

static bool zeroes(size_t from, size_t to)
{
	return all_bytes(memory + from, to - from, 0);
}

static void remove_file(void)
{
	if (memory)
		munmap(memory, 2 * SIZE);
	memory = NULL;
	if (fd >= 0)
		close(fd);
	fd = -1;
	unlink(path("f"));
	unlink(path("g"));
	rmdir(path("d"));
}

static void make_folder(void)
{
	mkdir(path(""), 0700);
}

static int call_mount(void)
{
	return mount_at("m", "pagesize=2M,size=64M,node=0", NULL, 0);
}

static bool after_mount(int r)
{
	if (r == 0)
		unmount("m");
	return true;
}

static int call_create(void)
{
	fd = open(path("f"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	return done(fd);
}

static int call_tmpfile(void)
{
	fd = open(path(""), O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
	return done(fd);
}

static int call_mkdir(void)
{
	return done(mkdir(path("d"), 0700));
}

static int call_rename(void)
{
	return done(rename(path("f"), path("g")));
}

static int call_grow(void)
{
	return done(ftruncate(fd, 2 * SIZE));
}

static int call_fallocate(void)
{
	return done(fallocate(fd, 0, 0, SIZE));
}

static int call_keep_size(void)
{
	return done(fallocate(fd, FALLOC_FL_KEEP_SIZE, SIZE, SIZE));
}

static int call_write(void)
{
	char buffer[3 * PAGE];

	memset(buffer, 7, sizeof(buffer));
	return done(pwrite(fd, buffer, sizeof(buffer), 5 * MiB + 1234));
}

static int call_map(void)
{
	memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED) {
		memory = NULL;
		return -errno;
	}
	/* A page in the middle, then one of each 2 MiB: no access may fail. */
	memory[5 * MiB + 7] = 1;
	for (size_t i = 0; i < SIZE; i += 2 * MiB)
		memory[i + 8] = 1;
	return 0;
}

static int call_punch(void)
{
	return done(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 2 * MiB + PAGE,
			      4 * MiB));
}

static bool after_punch(int r)
{
	return r == 0 && pattern(0, 2 * MiB + PAGE) && zeroes(2 * MiB + PAGE, 6 * MiB + PAGE) &&
	       pattern(6 * MiB + PAGE, SIZE);
}

static int call_shrink(void)
{
	return done(ftruncate(fd, 3 * MiB + 5));
}

static bool after_shrink(int r)
{
	return r == 0 && ftruncate(fd, SIZE) == 0 && pattern(0, 3 * MiB + 5) &&
	       zeroes(3 * MiB + 5, SIZE);
}

static int call_protect(void)
{
	return done(mprotect(memory + 3 * MiB, MiB, PROT_READ));
}

static bool after_pattern(int r)
{
	return (r == 0 || r == -ENOMEM) && pattern(0, SIZE);
}

static int call_unmap(void)
{
	return done(munmap(memory + 3 * MiB, MiB));
}

static bool after_unmap(int r)
{
	return (r == 0) == (signal_of(read_byte, memory + 3 * MiB) == SIGSEGV) &&
	       pattern(0, 3 * MiB) && pattern(4 * MiB, SIZE);
}

static int call_move(void)
{
	void *to = mmap(NULL, 2 * SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
			-1, 0), *moved;

	if (to == MAP_FAILED)
		return -errno;
	moved = mremap(memory, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, to);
	if (moved == MAP_FAILED) {
		int r = -errno;

		munmap(to, 2 * SIZE);
		return r;
	}
	memory = moved;
	return 0;
}

static int call_fork(void)
{
	pid_t pid = fork();
	int status;

	if (pid < 0)
		return -errno;
	if (pid == 0)
		_exit(!pattern(0, SIZE));
	if (waitpid(pid, &status, 0) < 0)
		return -errno;
	return status ? -EIO : 0;
}

static int call_unlink(void)
{
	return done(unlink(path("f")));
}

static int call_close(void)
{
	munmap(memory, SIZE);
	memory = NULL;
	close(fd);
	fd = -1;
	return 0;
}

static int call_unmount(void)
{
	return done(umount(path("")));
}

static bool after_unmount(int r)
{
	return r != 0 || mount_at("m", "pagesize=4K", NULL, 0) == 0;
}

static bool after_any(int r)
{
	return r == 0 || r == -ENOMEM;
}

static bool after_success(int r)
{
	return r == 0;
}

static void unlink_open_file(void)
{
	make_file();
	unlink(path("f"));
}

static void make_empty_file(void)
{
	fd = open_at("m", "f", 0);
}

static void make_sparse_file(void)
{
	fd = open_at("m", "f", 0);
	if (ftruncate(fd, SIZE) < 0)
		die("ftruncate");
}

static void run(const char *mount, const char *name, void (*before)(void), int (*call)(void),
		bool (*after)(int r), bool may_fail)
{
	uint64_t free = dmem_sum(-1, "free_bytes");
	unsigned int n, n_failed = 0;
	bool good = true, armed = true;

	for (n = 1; n < MOST && armed && good; n++) {
		int r;

		if (before)
			before();
		arm(n);
		r = call();
		armed = disarm();
		n_failed += r != 0;
		if ((r != 0 && r != -ENOMEM && r != -EAGAIN) || !after(r)) {
			note("allocation %u: %s", n,
			     r ? strerror(-r) : "works, with a wrong result");
			good = false;
		}
		if (call != call_mount)
			remove_file();
	}
	check(good && !armed, "%s: %s, with %u failed allocations", mount, name, n - 2);
	if (!may_fail)
		check(n_failed == 0, "%s: %s does not fail", mount, name);
	check(wait_free(free), "%s: %s loses no memory", mount, name);
}

static void test_calls(const char *page)
{
	char options[32];

	snprintf(options, sizeof(options), "pagesize=%s", page);
	if (mount_at("m", options, NULL, 0) < 0) {
		skip("this machine cannot", "%s", page);
		return;
	}
	run(page, "create", NULL, call_create, after_any, true);
	run(page, "O_TMPFILE", NULL, call_tmpfile, after_any, true);
	run(page, "mkdir", NULL, call_mkdir, after_any, true);
	run(page, "rename", make_sparse_file, call_rename, after_any, true);
	run(page, "ftruncate", make_empty_file, call_grow, after_any, true);
	run(page, "fallocate", make_empty_file, call_fallocate, after_any, true);
	run(page, "fallocate of holes", make_sparse_file, call_fallocate, after_any, true);
	run(page, "fallocate behind the end", make_file, call_keep_size, after_pattern, true);
	run(page, "write", make_sparse_file, call_write, after_any, true);
	run(page, "mmap and faults", make_sparse_file, call_map, after_any, true);
	run(page, "punch", make_file, call_punch, after_punch, false);
	run(page, "truncate", make_file, call_shrink, after_shrink, false);
	run(page, "mprotect of a part", make_file, call_protect, after_pattern, true);
	run(page, "munmap of a part", make_file, call_unmap, after_unmap, true);
	run(page, "mremap", make_file, call_move, after_pattern, true);
	run(page, "fork", make_file, call_fork, after_pattern, true);
	run(page, "unlink", make_file, call_unlink, after_any, true);
	run(page, "close", unlink_open_file, call_close, after_success, false);
	unmount("m");
}

static void unload(void)
{
	if (syscall(SYS_delete_module, "dmemfs", O_NONBLOCK) < 0 && errno != ENOENT)
		die("unload dmemfs");
}

static int call_load(const char *parameters)
{
	int file = open(module, O_RDONLY | O_CLOEXEC), r;

	if (file < 0)
		die("open %s", module);
	r = done(syscall(SYS_finit_module, file, parameters, 0));
	close(file);
	return r;
}

/* How many allocations it takes to read and link the module, until its own code runs */
static unsigned int count_before_init(void)
{
	char text[16] = "";
	int r;

	unload();
	arm(MOST);
	r = call_load("regions=none");
	if (pread(fail_nth, text, sizeof(text) - 1, 0) <= 0)
		die("read /proc/thread-self/fail-nth");
	arm(0);
	if (r != -EINVAL || !atoi(text))
		die("a module that should not load: %s", strerror(-r));
	return MOST - atoi(text);
}

static void test_load(void)
{
	unsigned int first, n;
	bool armed = true;
	int r = 0;

	/* Mapping a GiB takes KASAN a hundred thousand pages, one by one. */
	if (!write_text("/sys/kernel/debug/fail_page_alloc/min-order", "1"))
		die("min-order");
	first = count_before_init();
	/* It has got a bit further than that. */
	first -= first > 20 ? 20 : 0;
	for (n = first; n < MOST && armed && (r == 0 || r == -ENOMEM); n++) {
		unload();
		arm(n);
		r = call_load("");
		armed = disarm();
	}
	check(r == 0 && !armed, "loading the module, with %u failed allocations", n - 1 - first);
	if (r)
		note("%s", strerror(-r));
}

static bool prepare(void)
{
	static const struct {
		const char *name, *value;
	} settings[] = {
		{ "failslab/verbose", "0" },
		{ "failslab/ignore-gfp-wait", "N" },
		{ "failslab/cache-filter", "N" },
		{ "fail_page_alloc/verbose", "0" },
		{ "fail_page_alloc/ignore-gfp-wait", "N" },
		{ "fail_page_alloc/min-order", "0" },
	};

	mount("debugfs", "/sys/kernel/debug", "debugfs", 0, NULL);
	for (unsigned int i = 0; i < ARRAY_SIZE(settings); i++) {
		char name[128];

		snprintf(name, sizeof(name), "/sys/kernel/debug/%s", settings[i].name);
		if (!write_text(name, settings[i].value))
			return false;
	}
	faults_may_fail = true;
	fail_nth = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	return fail_nth >= 0;
}

int main(int argc, char **argv)
{
	start("no memory for the kernel");
	if (!prepare()) {
		skip("this kernel has no fault injection", "failing allocations");
		return finish();
	}
	if (argc > 1) {
		module = argv[1];
		test_load();
		return finish();
	}
	run("mount", "mount", make_folder, call_mount, after_mount, true);
	if (mount_at("m", "pagesize=4K", NULL, 0) < 0)
		die("mount");
	run("mount", "umount", NULL, call_unmount, after_unmount, true);
	unmount("m");
	test_calls("4K");
	test_calls("2M");
	test_calls("1G");
	check(sums_hold(), "size is free plus used plus poisoned");
	return finish();
}
