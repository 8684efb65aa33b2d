// SPDX-License-Identifier: GPL-2.0
#include "harness.h"

#include <dirent.h>
#include <time.h>

char test_dir[64];
bool faults_may_fail;
static unsigned int n_tests, n_failed;
static bool dying;
static int kernel_log = -1;
static bool balancing;

#define NUMA_BALANCING "/proc/sys/kernel/numa_balancing"

static void result(const char *word, const char *format, va_list args, const char *more)
{
	n_tests++;
	printf("%s %u - ", word, n_tests);
	vprintf(format, args);
	printf("%s%s\n", more ? " # SKIP " : "", more ?: "");
	fflush(stdout);
}

bool check(bool good, const char *format, ...)
{
	int error = errno;
	va_list args;

	va_start(args, format);
	result(good ? "ok" : "not ok", format, args, NULL);
	va_end(args);
	if (!good) {
		n_failed++;
		note("errno is %d (%s)", error, strerror(error));
	}
	return good;
}

void skip(const char *why, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	result("ok", format, args, why);
	va_end(args);
}

void note(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	printf("# ");
	vprintf(format, args);
	printf("\n");
	fflush(stdout);
	va_end(args);
}

static void clean_up(void)
{
	struct dirent *entry;
	char path[512];
	DIR *dir;

	dir = opendir(test_dir);
	while (dir && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", test_dir, entry->d_name);
		umount2(path, MNT_DETACH);
		rmdir(path);
	}
	if (dir)
		closedir(dir);
	rmdir(test_dir);
	if (balancing)
		write_text(NUMA_BALANCING, "1");
}

void die(const char *format, ...)
{
	int error = errno;
	va_list args;

	va_start(args, format);
	printf("Bail out! ");
	vprintf(format, args);
	printf(": %s\n", strerror(error));
	fflush(stdout);
	va_end(args);
	if (!dying) {
		dying = true;
		clean_up();
	}
	exit(1);
}

/* Whatever a fault is needed for, but for dmemfs, has happened or does not. */
static void avoid_faults(void)
{
	char text[2] = "";
	int fd = open(NUMA_BALANCING, O_RDONLY | O_CLOEXEC);

	/* Faults that tell the kernel which node a task uses */
	balancing = fd >= 0 && read(fd, text, 1) == 1 && text[0] == '1' &&
		    write_text(NUMA_BALANCING, "0");
	if (fd >= 0)
		close(fd);
	mlockall(MCL_CURRENT);
}

void start(const char *name)
{
	printf("TAP version 13\n# %s\n", name);
	fflush(stdout);
	if (geteuid() != 0) {
		printf("1..0 # SKIP needs root\n");
		exit(EXIT_SKIP);
	}
	if (access("/sys/class/dmem", F_OK) < 0) {
		printf("1..0 # SKIP dmemfs is not loaded\n");
		exit(EXIT_SKIP);
	}
	snprintf(test_dir, sizeof(test_dir), "/tmp/dmemfs-test.XXXXXX");
	mkdir("/tmp", 01777);
	if (!mkdtemp(test_dir))
		die("mkdtemp %s", test_dir);
	kernel_log = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (kernel_log < 0 || lseek(kernel_log, 0, SEEK_END) < 0)
		die("open /dev/kmsg");
	avoid_faults();
}

/* Has the kernel complained about something since start()? */
static bool log_is_clean(void)
{
	static const char *const words[] = {
		"WARNING: ", "BUG: ", "kernel BUG at", "Oops: ", "KASAN: ", "UBSAN: ",
		"general protection fault", "bad pmd", "bad pud", "Bad page",
		"VM_FAULT_OOM leaked",	/* the last: see faults_may_fail */
	};
	const unsigned int n_words = ARRAY_SIZE(words) - faults_may_fail;
	bool clean = true;
	char line[8192];
	ssize_t n;

	while ((n = read(kernel_log, line, sizeof(line) - 1)) > 0 || (n < 0 && errno == EPIPE)) {
		if (n < 0)
			continue;
		line[n] = '\0';
		line[strcspn(line, "\n")] = '\0';
		for (unsigned int i = 0; i < n_words; i++) {
			if (!strstr(line, words[i]))
				continue;
			note("kernel: %s", line);
			clean = false;
			break;
		}
	}
	return clean;
}

int finish(void)
{
	clean_up();
	check(log_is_clean(), "the kernel logged no warning");
	printf("1..%u\n", n_tests);
	if (n_failed)
		printf("# %u of %u failed\n", n_failed, n_tests);
	fflush(stdout);
	return n_failed ? 1 : 0;
}

static void read_log(int fs, char *log, size_t size)
{
	ssize_t n;

	if (!log)
		return;
	log[0] = '\0';
	n = read(fs, log, size - 1);
	if (n > 0)
		log[n] = '\0';
}

int mount_at(const char *name, const char *options, char *log, size_t log_size)
{
	char path[256], *copy, *rest, *option;
	int fs, mnt = -1, r = 0;

	snprintf(path, sizeof(path), "%s/%s", test_dir, name);
	mkdir(path, 0700);
	fs = syscall(SYS_fsopen, "dmemfs", 1 /* FSOPEN_CLOEXEC */);
	if (fs < 0)
		return -errno;

	copy = strdup(options);
	rest = copy;
	while (r == 0 && (option = strsep(&rest, ","))) {
		char *value = strchr(option, '=');

		if (!*option)
			continue;
		if (value)
			*value++ = '\0';
		if (syscall(SYS_fsconfig, fs, value ? 1 /* SET_STRING */ : 0 /* SET_FLAG */,
			    option, value, 0) < 0)
			r = -errno;
	}
	free(copy);
	if (r == 0 && syscall(SYS_fsconfig, fs, 6 /* CMD_CREATE */, NULL, NULL, 0) < 0)
		r = -errno;
	if (r == 0) {
		mnt = syscall(SYS_fsmount, fs, 1 /* FSMOUNT_CLOEXEC */, 0);
		if (mnt < 0)
			r = -errno;
	}
	if (r == 0 && syscall(SYS_move_mount, mnt, "", AT_FDCWD, path, 4 /* F_EMPTY_PATH */) < 0)
		r = -errno;
	read_log(fs, log, log_size);
	if (mnt >= 0)
		close(mnt);
	close(fs);
	return r;
}

void unmount(const char *name)
{
	unsigned int tries = faults_may_fail ? 1000 : 1;
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", test_dir, name);
	while (umount(path) < 0)
		if (errno != ENOMEM || !--tries)
			die("umount %s", path);
	rmdir(path);
}

int open_at(const char *mount, const char *file, int flags)
{
	char path[512];
	int fd;

	snprintf(path, sizeof(path), "%s/%s/%s", test_dir, mount, file);
	if (flags == 0)
		flags = O_RDWR | O_CREAT;
	fd = open(path, flags | O_CLOEXEC, 0600);
	if (fd < 0)
		die("open %s", path);
	return fd;
}

static uint64_t read_attribute(const char *node, const char *attribute)
{
	char path[512], text[64] = "";
	int fd;

	snprintf(path, sizeof(path), "/sys/class/dmem/%s/%s", node, attribute);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
		die("read %s", path);
	close(fd);
	return strtoull(text, NULL, 10);
}

int next_nid(int after)
{
	struct dirent *entry;
	int best = -1;
	DIR *dir;

	dir = opendir("/sys/class/dmem");
	if (!dir)
		die("opendir /sys/class/dmem");
	while ((entry = readdir(dir))) {
		int nid;

		if (sscanf(entry->d_name, "node%d", &nid) == 1 && nid > after &&
		    (best < 0 || nid < best))
			best = nid;
	}
	closedir(dir);
	return best;
}

uint64_t dmem_sum(int nid, const char *attribute)
{
	uint64_t sum = 0;
	char node[32];

	for (int n = next_nid(-1); n >= 0; n = next_nid(n)) {
		if (nid >= 0 && n != nid)
			continue;
		snprintf(node, sizeof(node), "node%d", n);
		sum += read_attribute(node, attribute);
	}
	return sum;
}

const char *node_path(int node, const char *name)
{
	static char path[2][128];
	static unsigned int n;

	n = !n;
	snprintf(path[n], sizeof(path[n]), "/sys/class/dmem/node%d/%s", node, name);
	return path[n];
}

char *read_whole(const char *path)
{
	FILE *file = fopen(path, "re");
	char *text = NULL;
	size_t size = 0;

	if (!file || getdelim(&text, &size, '\0', file) < 0) {
		free(text);
		text = strdup("");
	}
	if (file)
		fclose(file);
	return text;
}

/* In [@start, @end): aligned and without a bad page */
static unsigned int whole_in(uint64_t start, uint64_t end, const char *poisoned)
{
	unsigned int n = 0;

	for (uint64_t at = (start + GiB - 1) / GiB * GiB; at + GiB <= end; at += GiB) {
		bool good = true;

		/* Lines of 24 bytes */
		for (const char *p = poisoned; *p; p += 24)
			good &= strtoull(p, NULL, 16) / GiB != at / GiB;
		n += good;
	}
	return n;
}

unsigned int whole_spans(int nid)
{
	unsigned int n = 0;

	for (int node = next_nid(-1); node >= 0; node = next_nid(node)) {
		char *regions, *rest, *poisoned, *line;
		unsigned long long start, end;

		if (nid >= 0 && node != nid)
			continue;
		regions = read_whole(node_path(node, "regions"));
		poisoned = read_whole(node_path(node, "poisoned"));
		rest = regions;
		while ((line = strsep(&rest, "\n")))
			if (sscanf(line, "0x%llx-0x%llx", &start, &end) == 2)
				n += whole_in(start, end, poisoned);
		free(regions);
		free(poisoned);
	}
	return n;
}

bool sums_hold(void)
{
	for (int n = next_nid(-1); n >= 0; n = next_nid(n))
		if (dmem_sum(n, "size_bytes") != dmem_sum(n, "free_bytes") +
		    dmem_sum(n, "used_bytes") + dmem_sum(n, "poisoned_bytes"))
			return false;
	return true;
}

bool wait_free(uint64_t free)
{
	for (unsigned int i = 0; i < 100; i++) {
		if (dmem_sum(-1, "free_bytes") == free)
			return true;
		nanosleep(&(struct timespec) { .tv_nsec = 20000000 }, NULL);
	}
	note("free_bytes is %llu, not %llu", (unsigned long long)dmem_sum(-1, "free_bytes"),
	     (unsigned long long)free);
	return false;
}

uint64_t faults(void)
{
	struct rusage usage;

	if (getrusage(RUSAGE_SELF, &usage) < 0)
		die("getrusage");
	return usage.ru_minflt + usage.ru_majflt;
}

bool faults_are(uint64_t before, uint64_t expected)
{
	uint64_t count = faults() - before;

	if (count == expected)
		return true;
	note("%llu faults instead of %llu", (unsigned long long)count,
	     (unsigned long long)expected);
	return false;
}

bool all_bytes(const void *memory, size_t size, unsigned char value)
{
	const unsigned char *bytes = memory;

	return size == 0 || (bytes[0] == value && memcmp(bytes, bytes + 1, size - 1) == 0);
}

bool write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool good;

	if (fd < 0)
		return false;
	good = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	close(fd);
	return good;
}

bool kernel_has_dmem(void)
{
	FILE *symbols = fopen("/proc/kallsyms", "re");
	bool found = false;
	char line[512];

	if (!symbols)
		die("fopen /proc/kallsyms");
	while (!found && fgets(line, sizeof(line), symbols))
		found = strstr(line, " dmem_boot_regions\n");
	fclose(symbols);
	return found;
}

static sigjmp_buf jump;

static void on_signal(int signal)
{
	siglongjmp(jump, signal);
}

int signal_of(void (*access)(void *), void *argument)
{
	struct sigaction action = { .sa_handler = on_signal }, old_bus, old_segv;
	int signal;

	sigaction(SIGBUS, &action, &old_bus);
	sigaction(SIGSEGV, &action, &old_segv);
	signal = sigsetjmp(jump, 1);
	if (signal == 0)
		access(argument);
	sigaction(SIGBUS, &old_bus, NULL);
	sigaction(SIGSEGV, &old_segv, NULL);
	return signal;
}

void read_byte(void *address)
{
	(void)*(volatile unsigned char *)address;
}

void write_byte(void *address)
{
	*(volatile unsigned char *)address = 0x5a;
}
