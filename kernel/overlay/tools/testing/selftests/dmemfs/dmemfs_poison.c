// SPDX-License-Identifier: GPL-2.0
/*
 * Pages that go bad: retired through class dmem, poisoned through hard_offline_page, which takes
 * the same way as a machine check. Physical addresses come from the tracepoints, as nothing else
 * tells.
 *
 * What is retired stays so until the machine boots again: some 20 MiB in all.
 */
#include "harness.h"

#include <linux/netlink.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <time.h>

#define TRACING "/sys/kernel/tracing/"
#define HARD_OFFLINE "/sys/devices/system/memory/hard_offline_page"

/* A test that needs all memory of a node is only run if it has no more than that. */
#define MOST (3 * GiB)

static bool can_poison;
static int nid;			/* the smallest node */
static uint64_t largest;	/* piece that the newest file got */

static int write_address(const char *path, uint64_t address)
{
	char text[32];

	snprintf(text, sizeof(text), "0x%llx\n", (unsigned long long)address);
	errno = 0;
	return write_text(path, text) ? 0 : errno;
}

static void mount_on(int node, const char *page_size)
{
	char options[64];

	if (node < 0)
		snprintf(options, sizeof(options), "pagesize=%s", page_size);
	else
		snprintf(options, sizeof(options), "pagesize=%s,node=%d", page_size, node);
	if (mount_at("m", options, NULL, 0) < 0)
		die("mount -o %s", options);
}

/* The node with an address, or -1. */
static int node_of(uint64_t address)
{
	for (int n = next_nid(-1); n >= 0; n = next_nid(n)) {
		char *text = read_whole(node_path(n, "regions")), *rest = text, *line;
		bool found = false;

		while ((line = strsep(&rest, "\n"))) {
			unsigned long long from, to;

			if (sscanf(line, "0x%llx-0x%llx", &from, &to) == 2)
				found |= address >= from && address < to;
		}
		free(text);
		if (found)
			return n;
	}
	return -1;
}

/* The word after the address in a file with a line for each page, or NULL. */
static const char *line_of(const char *name, uint64_t address)
{
	static char line[600];
	char *text = read_whole(node_path(node_of(address), name)), wanted[32], *at;

	snprintf(wanted, sizeof(wanted), "0x%016llx ", (unsigned long long)address & ~(PAGE - 1));
	at = strstr(text, wanted);
	if (at)
		snprintf(line, sizeof(line), "%.*s", (int)strcspn(at + 19, "\n"), at + 19);
	free(text);
	return at ? line : NULL;
}

static bool state_is(uint64_t address, const char *state)
{
	const char *seen = line_of("poisoned", address);

	if (!state)
		return !seen;
	return seen && !strcmp(seen, state);
}

/* The address of the byte that is behind @skip others in what was given out, or 0. */
static uint64_t address_of(char *trace, uint64_t skip)
{
	uint64_t found = 0, at_byte = 0;
	char *line, *rest = trace;

	largest = 0;
	while ((line = strsep(&rest, "\n"))) {
		unsigned long long address, bytes;
		char *at = strstr(line, "address=");

		if (!at || !strstr(line, "dmemfs_alloc:") ||
		    sscanf(at, "address=0x%llx bytes=%llu", &address, &bytes) != 2)
			continue;
		if (skip >= at_byte && skip - at_byte < bytes)
			found = address + (skip - at_byte);
		at_byte += bytes;
		largest = bytes > largest ? bytes : largest;
	}
	return found;
}

/* A file with @size bytes of memory; the address of the byte at @offset goes to @address. */
static int new_file(const char *mount, const char *name, uint64_t size, uint64_t offset,
		    uint64_t *address)
{
	int fd = open_at(mount, name, 0);
	char *trace;

	close(open(TRACING "trace", O_WRONLY | O_TRUNC));
	if (fallocate(fd, 0, 0, size) < 0)
		die("fallocate %llu", (unsigned long long)size);
	trace = read_whole(TRACING "trace");
	*address = address_of(trace, offset);
	free(trace);
	if (!*address)
		die("no trace of the memory of %s", name);
	return fd;
}

static unsigned char *map(int fd, uint64_t size)
{
	unsigned char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (memory == MAP_FAILED)
		die("mmap");
	return memory;
}

static void remove_file(const char *mount, const char *name)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s/%s", test_dir, mount, name);
	if (unlink(path) < 0)
		die("unlink %s", path);
}

static sigjmp_buf jump;
static siginfo_t seen;

static void on_bus(int signal, siginfo_t *info, void *context)
{
	(void)signal;
	(void)context;
	seen = *info;
	siglongjmp(jump, 1);
}

/* Reads a byte; true if that was SIGBUS, and @seen says why. */
static bool bus_at(const unsigned char *at)
{
	struct sigaction action = { .sa_sigaction = on_bus, .sa_flags = SA_SIGINFO }, old;
	bool hit;

	memset(&seen, 0, sizeof(seen));
	sigaction(SIGBUS, &action, &old);
	hit = sigsetjmp(jump, 1);
	if (!hit)
		(void)*(const volatile unsigned char *)at;
	sigaction(SIGBUS, &old, NULL);
	return hit;
}

static bool memory_error_at(const unsigned char *at)
{
	const unsigned char *page = (const unsigned char *)((uintptr_t)at & ~(PAGE - 1));

	return bus_at(at) && seen.si_code == BUS_MCEERR_AR && seen.si_addr_lsb == 12 &&
	       (unsigned char *)seen.si_addr >= page &&
	       (unsigned char *)seen.si_addr < page + PAGE;
}

static void test_input(void)
{
	static const char *const bad[] = {
		"\n", "x", "0x", "-1", "4096 8192", "0b1", "1e9", "0x12g",
		"99999999999999999999999",
	};
	char *text = read_whole(node_path(nid, "regions"));
	unsigned long long start, end;
	uint64_t events = dmem_sum(-1, "events");
	char decimal[32];
	struct stat st;

	if (sscanf(text, "0x%llx-0x%llx", &start, &end) != 2)
		die("regions: %s", text);
	free(text);
	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++)
		check(!write_text(node_path(nid, "retire"), bad[i]) && errno == EINVAL,
		      "retire refuses '%s'", bad[i]);
	check(write_address(node_path(nid, "retire"), start - 1) == EINVAL, "below a region");
	check(node_of(end) == nid || write_address(node_path(nid, "retire"), end) == EINVAL,
	      "behind a region");
	check(write_address(node_path(nid, "retire"), 0) == EINVAL, "address 0");
	check(dmem_sum(-1, "events") == events, "nothing has happened");

	check(write_address(node_path(nid, "retire"), start + 17) == 0,
	      "any byte of the first page");
	check(line_of("poisoned", start), "it is listed");
	snprintf(decimal, sizeof(decimal), "0%llu", end - 1);
	check(write_text(node_path(nid, "retire"), decimal),
	      "the last byte, in decimal, whatever it begins with");
	check(line_of("poisoned", end - 1), "it is listed");
	check(stat(node_path(nid, "retire"), &st) == 0 && (st.st_mode & 0777) == 0200 &&
	      stat(node_path(nid, "users"), &st) == 0 && (st.st_mode & 0707) == 0400,
	      "modes of retire and users, but for a group that udev lets read");
	for (int other = next_nid(-1); other >= 0; other = next_nid(other))
		if (other != nid)
			check(write_address(node_path(other, "retire"), start) == EINVAL,
			      "node %d does not have an address of node %d", other, nid);
}

static void test_free_page(void)
{
	uint64_t address, out, free_before, events;
	int fd;

	mount_on(nid, "2M");
	fd = new_file("m", "f", 2 * MiB, 0x5000, &address);
	close(fd);
	remove_file("m", "f");
	free_before = dmem_sum(-1, "free_bytes");
	out = dmem_sum(nid, "poisoned_bytes");
	events = dmem_sum(nid, "events");

	check(write_address(node_path(nid, "retire"), address + 0x123) == 0,
	      "a free page is retired");
	check(state_is(address, "free"), "it is listed as free");
	check(dmem_sum(nid, "poisoned_bytes") == out + PAGE && sums_hold(), "counted");
	check(wait_free(free_before - PAGE), "and not free any more");
	check(dmem_sum(nid, "events") == events + 1, "one event");
	check(write_address(node_path(nid, "retire"), address) == 0, "retired again");
	check(dmem_sum(nid, "events") == events + 1 &&
	      dmem_sum(nid, "poisoned_bytes") == out + PAGE,
	      "which changes nothing");
	if (can_poison) {
		check(write_address(HARD_OFFLINE, address) == EHWPOISON, "an error in it");
		check(dmem_sum(nid, "events") == events + 1, "is no news either");
		address += 3 * PAGE;
		check(write_address(HARD_OFFLINE, address) == 0, "an error in another free page");
		check(state_is(address, "free") && dmem_sum(nid, "events") == events + 2,
		      "takes that out of the pool");
	}
	unmount("m");
}

static bool reads_zero(int fd, uint64_t size)
{
	static unsigned char buffer[MiB];

	for (uint64_t at = 0; at < size; at += sizeof(buffer)) {
		ssize_t n = pread(fd, buffer, sizeof(buffer), at);

		if (n <= 0 || !all_bytes(buffer, n, 0))
			return false;
	}
	return true;
}

/* All that is free can still be had, and nobody gets a bad page. */
static void test_never_handed_out(void)
{
	uint64_t before = dmem_sum(nid, "free_bytes"), got = 0;
	char *trace, *line, *rest, *list;
	bool bad = false;
	int fd;

	if (before > MOST) {
		skip("there is too much memory", "all but bad pages are handed out");
		return;
	}
	mount_on(nid, "4K");
	fd = open_at("m", "all", 0);
	close(open(TRACING "trace", O_WRONLY | O_TRUNC));
	check(fallocate(fd, 0, 0, before) == 0, "all that is free can be had");
	list = read_whole(node_path(nid, "poisoned"));
	trace = read_whole(TRACING "trace");
	rest = trace;
	while ((line = strsep(&rest, "\n"))) {
		unsigned long long address, bytes;
		char *at = strstr(line, "address=");

		if (!strstr(line, "dmemfs_alloc:") || !at ||
		    sscanf(at, "address=0x%llx bytes=%llu", &address, &bytes) != 2)
			continue;
		got += bytes;
		for (char *p = list; *p; p += 24) {
			uint64_t page = strtoull(p, NULL, 16);

			bad |= page >= address && page < address + bytes;
		}
	}
	free(list);
	free(trace);
	check(got == before, "the trace has all of it");
	check(!bad, "no bad page was given out");
	check(reads_zero(fd, before), "and what is next to one is as empty as the rest");
	close(fd);
	remove_file("m", "all");
	unmount("m");
	check(dmem_sum(nid, "free_bytes") == before, "and all of it comes back");
}

static void test_used_page_retired(void)
{
	char path[256], expected[256];
	unsigned char *memory;
	uint64_t address;
	const char *line;
	struct stat st;
	int fd;

	mount_on(nid, "2M");
	snprintf(path, sizeof(path), "%s/m/a dir", test_dir);
	mkdir(path, 0700);
	fd = new_file("m", "a dir/guest", 4 * MiB, 2 * MiB + 0x7000, &address);
	memory = map(fd, 4 * MiB);
	memset(memory, 0x66, 4 * MiB);

	check(write_address(node_path(nid, "retire"), address) == 0, "a page in use is retired");
	check(state_is(address, "used"), "it is listed as used");
	check(all_bytes(memory, 4 * MiB, 0x66), "its owner keeps it, with its contents");
	fstat(fd, &st);
	snprintf(expected, sizeof(expected), "%u:%u %llu 0x%llx %d /a\\040dir/guest",
		 major(st.st_dev), minor(st.st_dev), (unsigned long long)st.st_ino,
		 2 * MiB + 0x7000ULL, getpid());
	line = line_of("users", address);
	if (!can_poison)
		skip("this kernel does not tell processes", "who has it");
	else if (!check(line && !strncmp(line, expected, strlen(expected)) &&
			strspn(line + strlen(expected), " ") == 512 - 20 - strlen(expected),
			"who has it"))
		note("'%s', not '%s'", line ?: "", expected);
	munmap(memory, 4 * MiB);
	close(fd);
	check(state_is(address, "used"), "it stays with the file");
	remove_file("m", "a dir/guest");
	rmdir(path);
	unmount("m");
	check(state_is(address, "free") && sums_hold(), "and leaves the pool with it");
}

static void check_io(int fd, unsigned char *memory, uint64_t bad, const char *size)
{
	unsigned char buffer[3 * PAGE];
	int proc;

	check(pread(fd, buffer, PAGE, bad) < 0 && errno == EIO, "%s: read() of it is EIO", size);
	check(pread(fd, buffer, sizeof(buffer), bad - PAGE) == PAGE &&
	      all_bytes(buffer, PAGE, 0x77), "%s: read() before it ends there", size);
	check(pwrite(fd, buffer, PAGE, bad) < 0 && errno == EIO, "%s: write() is EIO", size);
	check(lseek(fd, bad, SEEK_DATA) == (off_t)bad, "%s: it is data", size);
	proc = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	check(pread(proc, buffer, 16, (off_t)(uintptr_t)memory + bad) < 0 && errno == EIO,
	      "%s: so is /proc/self/mem", size);
	close(proc);
}

static void test_mapped_page(const char *page_size, uint64_t size, uint64_t leaf)
{
	uint64_t bad = size > 2 * MiB ? size / 2 + 2 * MiB + 5 * PAGE : 5 * PAGE, address, again;
	uint64_t in_leaf = leaf > 2 * MiB ? leaf / (2 * MiB) - 1 + 511 : 511, before, events;
	unsigned char *memory;
	bool whole;
	int fd;

	/* A whole GiB may only be free elsewhere. */
	mount_on(leaf > 2 * MiB ? -1 : nid, page_size);
	fd = new_file("m", "f", size, bad, &address);
	whole = largest == leaf;
	memory = map(fd, size);
	memset(memory, 0x77, size);
	events = dmem_sum(-1, "events");

	check(write_address(HARD_OFFLINE, address) == 0, "%s: an error in a mapped page",
	      page_size);
	check(state_is(address, "used") && dmem_sum(-1, "events") == events + 1,
	      "%s: is known", page_size);
	check(memory_error_at(memory + bad + 8), "%s: touching it is SIGBUS with its address",
	      page_size);
	check(memory_error_at(memory + bad), "%s: and so it stays", page_size);
	before = faults();
	check(all_bytes(memory, bad, 0x77) &&
	      all_bytes(memory + bad + PAGE, size - bad - PAGE, 0x77),
	      "%s: all other pages have their contents", page_size);
	if (leaf == PAGE)
		check(faults_are(before, 0), "%s: no other page was unmapped", page_size);
	else if (!whole)
		skip("no memory for such leaves is free", "%s: leaves go around it", page_size);
	else
		check(faults_are(before, in_leaf), "%s: leaves go around it", page_size);
	check_io(fd, memory, bad, page_size);
	check(write_address(HARD_OFFLINE, address + 8) == EHWPOISON &&
	      dmem_sum(-1, "events") == events + 1, "%s: the same page twice", page_size);

	/* As a monitor does to get a good page when its guest is reset */
	check(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, bad, PAGE) == 0,
	      "%s: a hole is punched there", page_size);
	check(state_is(address, "free") && sums_hold(), "%s: the page has left the file",
	      page_size);
	check(!bus_at(memory + bad) && all_bytes(memory + bad, PAGE, 0),
	      "%s: there is a good page now, zeroed", page_size);
	memory[bad] = 0x33;
	check(memory[bad] == 0x33 && pread(fd, &again, 1, bad) == 1 && (again & 0xff) == 0x33,
	      "%s: which works", page_size);
	check(memory[bad - 1] == 0x77 && memory[bad + PAGE] == 0x77, "%s: next to the old ones",
	      page_size);

	munmap(memory, size);
	close(fd);
	remove_file("m", "f");
	unmount("m");
	check(state_is(address, "free") && sums_hold(), "%s: and stays out", page_size);
}

/* Two pages of one block, and a hole that has both and is no whole block */
static void test_two_pages(void)
{
	uint64_t first, second, bad = 7 * PAGE, worse = 11 * PAGE;
	unsigned char *memory;
	int fd;

	mount_on(nid, "2M");
	fd = new_file("m", "f", 2 * MiB, bad, &first);
	if (largest < 2 * MiB)
		die("no block of 2 MiB is free");
	second = first + (worse - bad);
	memory = map(fd, 2 * MiB);
	memset(memory, 0x77, 2 * MiB);
	check(write_address(HARD_OFFLINE, first) == 0 &&
	      write_address(HARD_OFFLINE, second) == 0, "errors in two pages of a block");
	check(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, bad - PAGE,
			worse - bad + 3 * PAGE) == 0 && state_is(first, "free") &&
	      state_is(second, "free"), "a hole over both frees both");
	check(!bus_at(memory + bad) && !bus_at(memory + worse) &&
	      all_bytes(memory + bad - PAGE, worse - bad + 3 * PAGE, 0) &&
	      memory[bad - PAGE - 1] == 0x77 && memory[worse + 2 * PAGE] == 0x77,
	      "and all of it is zero");
	munmap(memory, 2 * MiB);
	close(fd);
	remove_file("m", "f");
	unmount("m");
}

enum role { EARLY, LATE, IDLE };

/*
 * One of several processes with the page mapped. Says that it is ready, waits for the error, and
 * exits 0 if it saw what its role is to see.
 */
static int be_victim(enum role role, unsigned char *memory, int ready, int go)
{
	struct sigaction action = { .sa_sigaction = on_bus, .sa_flags = SA_SIGINFO };
	volatile bool waited = false;
	char byte = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (role == EARLY)
		prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0);
	sigaction(SIGBUS, &action, NULL);
	if (sigsetjmp(jump, 1)) {
		if (role == EARLY)
			return seen.si_code == BUS_MCEERR_AO && seen.si_addr == memory &&
			       seen.si_addr_lsb == 12 ? 0 : 2;
		return waited && role == LATE && seen.si_code == BUS_MCEERR_AR &&
		       seen.si_addr == memory ? 0 : 3;
	}
	if (write(ready, &byte, 1) != 1 || read(go, &byte, 1) != 1)
		return 4;
	waited = true;
	if (role == LATE)
		(void)*(volatile unsigned char *)memory;
	return role == IDLE ? 0 : 5;
}

static void test_three_processes(void)
{
	static const char *const names[] = {
		"who asked to be told early gets SIGBUS, action optional",
		"who touches it later gets SIGBUS, action required",
		"who does not is left alone",
	};
	int ready[2], go[2], fd, status;
	unsigned char *memory;
	uint64_t address;
	pid_t pids[3];
	char byte;

	if (pipe(ready) < 0 || pipe(go) < 0)
		die("pipe");
	mount_on(nid, "2M");
	fd = new_file("m", "f", 2 * MiB, 9 * PAGE, &address);
	memory = map(fd, 2 * MiB);
	memset(memory, 1, 2 * MiB);
	for (int i = 0; i < 3; i++) {
		pids[i] = fork();
		if (pids[i] == 0)
			_exit(be_victim(i, memory + 9 * PAGE, ready[1], go[0]));
		if (pids[i] < 0 || read(ready[0], &byte, 1) != 1)
			die("fork");
	}
	check(write_address(HARD_OFFLINE, address) == 0, "an error in a page of four processes");
	if (write(go[1], "abc", 3) != 3)
		die("write");
	for (int i = 0; i < 3; i++) {
		waitpid(pids[i], &status, 0);
		if (!check(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%s", names[i]))
			note("wait status 0x%x", status);
	}
	check(all_bytes(memory, 9 * PAGE, 1) && memory[10 * PAGE] == 1,
	      "the process that caused it goes on with the rest");
	for (int i = 0; i < 2; i++) {
		close(ready[i]);
		close(go[i]);
	}
	munmap(memory, 2 * MiB);
	close(fd);
	remove_file("m", "f");
	unmount("m");
}

static void test_deleted_file(void)
{
	unsigned char *memory;
	uint64_t address;
	const char *line;
	int fd;

	mount_on(nid, "4K");
	fd = new_file("m", "gone", 16 * PAGE, 3 * PAGE, &address);
	memory = map(fd, 16 * PAGE);
	memset(memory, 0x44, 16 * PAGE);
	remove_file("m", "gone");
	check(write_address(HARD_OFFLINE, address) == 0, "an error in a file that was deleted");
	check(state_is(address, "used") && memory_error_at(memory + 3 * PAGE), "is found");
	line = line_of("users", address);
	check(line && strstr(line, " /gone (deleted) "), "and shown as deleted");
	munmap(memory, 16 * PAGE);
	close(fd);
	unmount("m");
	check(state_is(address, "free"), "the page is out when the file is gone");
	check(!line_of("users", address), "and nobody has it");
}

static int open_uevents(void)
{
	struct sockaddr_nl local = { .nl_family = AF_NETLINK, .nl_groups = 1 };
	int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
			NETLINK_KOBJECT_UEVENT), size = 1 << 20;

	if (fd < 0 || bind(fd, (struct sockaddr *)&local, sizeof(local)) < 0)
		die("netlink");
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	return fd;
}

/* The value of a key in the next uevent of class dmem; NULL if there is none within a second. */
static bool next_uevent(int fd, char *message, ssize_t *len)
{
	struct pollfd pollfd = { .fd = fd, .events = POLLIN };

	while (poll(&pollfd, 1, 1000) > 0) {
		*len = recv(fd, message, 4096, 0);
		if (*len > 0 && *len < 4096 && strstr(message, "/dmem/node")) {
			message[*len] = '\0';
			return true;
		}
	}
	return false;
}

static const char *value_of(const char *message, ssize_t len, const char *key)
{
	size_t n = strlen(key);

	for (const char *p = message; p < message + len; p += strlen(p) + 1)
		if (!strncmp(p, key, n) && p[n] == '=')
			return p + n + 1;
	return "";
}

static void test_uevent(void)
{
	char message[4097], expected[128];
	unsigned char *memory;
	uint64_t address;
	int events, fd;
	struct stat st;
	ssize_t len;

	mount_on(nid, "2M");
	fd = new_file("m", "guest", 2 * MiB, PAGE, &address);
	memory = map(fd, 2 * MiB);
	fstat(fd, &st);
	events = open_uevents();
	while (next_uevent(events, message, &len))
		;
	/* Anybody may call himself anything, and must not look like two, or like another key. */
	prctl(PR_SET_NAME, "7:x,8:y\nA=b\xe4 c");
	check(write_address(HARD_OFFLINE, address) == 0, "an error");
	prctl(PR_SET_NAME, "dmemfs_poison");
	if (!check(next_uevent(events, message, &len), "is told by a uevent"))
		die("no uevent");
#define VALUE(key) value_of(message, len, key)
	check(!strcmp(VALUE("ACTION"), "change") && !strcmp(VALUE("SUBSYSTEM"), "dmem") &&
	      !strcmp(VALUE("DMEM_EVENT"), "poison") && !strcmp(VALUE("DMEM_STATE"), "used") &&
	      !strcmp(VALUE("DMEM_SOURCE"), "mce") && !strcmp(VALUE("DMEM_SIZE"), "4096") &&
	      !strcmp(VALUE("DMEM_COALESCED"), "1"), "what it says of the error");
	check(strtoull(VALUE("DMEM_ADDRESS"), NULL, 16) == (address & ~(PAGE - 1)) &&
	      atoi(VALUE("DMEM_NODE")) == nid &&
	      strtoull(VALUE("DMEM_COUNT"), NULL, 10) == dmem_sum(nid, "events"),
	      "where it was, and which it was");
	snprintf(expected, sizeof(expected), "%d:7?x?8?y?A?b??c", getpid());
	check(!strcmp(VALUE("DMEM_FILE"), "/guest") && !strcmp(VALUE("DMEM_OFFSET"), "0x1000") &&
	      strtoull(VALUE("DMEM_INODE"), NULL, 10) == st.st_ino &&
	      !strcmp(VALUE("DMEM_PROCESSES"), expected), "whose it was");
	if (strcmp(VALUE("DMEM_PROCESSES"), expected))
		note("'%s', not '%s'", VALUE("DMEM_PROCESSES"), expected);

	check(write_address(node_path(nid, "retire"), address + PAGE) == 0 &&
	      next_uevent(events, message, &len) && !strcmp(VALUE("DMEM_EVENT"), "retire") &&
	      !strcmp(VALUE("DMEM_STATE"), "used") && !strcmp(VALUE("DMEM_SOURCE"), "sysfs") &&
	      !strcmp(VALUE("DMEM_FILE"), "/guest") && !strcmp(VALUE("DMEM_OFFSET"), "0x2000"),
	      "and the same of a page that is retired");
#undef VALUE
	close(events);
	munmap(memory, 2 * MiB);
	close(fd);
	remove_file("m", "guest");
	unmount("m");
}

/* Bad pages in [from, to) */
static uint64_t count_listed(uint64_t from, uint64_t to)
{
	char *text = read_whole(node_path(nid, "poisoned"));
	uint64_t n = 0;

	for (char *p = text; *p; p += strcspn(p, "\n") + 1) {
		uint64_t page = strtoull(p, NULL, 16);

		n += page >= from && page < to;
		if (!p[strcspn(p, "\n")])
			break;
	}
	free(text);
	return n;
}

/* Some lines of the list, each read alone, are what they are in all of it. */
static bool same_in_parts(const char *text)
{
	int fd = open(node_path(nid, "poisoned"), O_RDONLY | O_CLOEXEC);
	size_t len = strlen(text);
	bool same = fd >= 0;
	char line[24];

	for (size_t at = 0; same && at + sizeof(line) <= len; at += 7 * sizeof(line))
		same = pread(fd, line, sizeof(line), at) == sizeof(line) &&
		       !memcmp(line, text + at, sizeof(line));
	close(fd);
	return same;
}

/* Thousands of errors: none is lost from the counters, few uevents, the last one with the total. */
static void test_storm(void)
{
	enum { PAGES = 3000 };
	uint64_t address, before, known, first, count = 0, coalesced = 0, n = 0, last = 0;
	bool sorted = true, shaped = true, chained = true;
	struct timespec from, to;
	int events, fd, poll_fd;
	struct pollfd pollfd;
	char message[4097], *text;
	ssize_t len;
	double seconds;

	mount_on(nid, "2M");
	fd = new_file("m", "f", 16 * MiB, 0, &address);
	close(fd);
	remove_file("m", "f");
	unmount("m");
	while (node_of(address + PAGES * PAGE) != nid)
		address -= 2 * MiB;

	address &= ~(PAGE - 1);
	known = count_listed(address, address + PAGES * PAGE);
	before = dmem_sum(nid, "events");
	events = open_uevents();
	while (next_uevent(events, message, &len))
		;
	poll_fd = open(node_path(nid, "events"), O_RDONLY | O_CLOEXEC);
	if (poll_fd < 0 || read(poll_fd, message, sizeof(message)) <= 0)
		die("events");
	pollfd = (struct pollfd) { .fd = poll_fd, .events = POLLPRI };
	check(poll(&pollfd, 1, 0) == 0, "nothing has happened yet");

	clock_gettime(CLOCK_MONOTONIC, &from);
	fd = open(node_path(nid, "retire"), O_WRONLY | O_CLOEXEC);
	for (unsigned int i = 0; i < PAGES; i++) {
		int size = snprintf(message, sizeof(message), "%llu",
				    (unsigned long long)(address + i * PAGE));

		if (pwrite(fd, message, size, 0) != size)
			die("retire %u", i);
	}
	close(fd);
	clock_gettime(CLOCK_MONOTONIC, &to);
	check(poll(&pollfd, 1, 1000) == 1 && (pollfd.revents & POLLPRI), "poll() notices");
	close(poll_fd);
	first = dmem_sum(nid, "events") - before;
	check(first == PAGES - known, "each page is an event, if it was not bad before");

	while (next_uevent(events, message, &len)) {
		uint64_t stands_for = strtoull(value_of(message, len, "DMEM_COALESCED"), NULL, 10);

		count = strtoull(value_of(message, len, "DMEM_COUNT"), NULL, 10);
		coalesced += stands_for;
		chained &= before + coalesced == count;
		n++;
	}
	close(events);
	seconds = to.tv_sec - from.tv_sec + (to.tv_nsec - from.tv_nsec) / 1e9;
	check(count == before + first && coalesced == first, "the last uevent has the final count");
	check(chained, "and each says how many it stands for");
	if (!check(n >= 1 && n <= seconds * 10 + 3, "there are at most ten a second"))
		note("%llu uevents in %.1f s", (unsigned long long)n, seconds);

	text = read_whole(node_path(nid, "poisoned"));
	for (char *p = text; *p; p += 24) {
		uint64_t page;

		shaped &= strlen(p) >= 24 && p[23] == '\n' && !strncmp(p, "0x", 2) &&
			  (!strncmp(p + 18, " free\n", 6) || !strncmp(p + 18, " used\n", 6));
		if (!shaped)
			break;
		page = strtoull(p, NULL, 16);
		sorted &= page > last;
		last = page;
	}
	check(shaped && sorted, "the list is sorted, in lines of 24 bytes");
	check(same_in_parts(text), "and the same in parts");
	free(text);
	check(count_listed(address, address + PAGES * PAGE) == PAGES, "all are in it");
	check(sums_hold(), "the bytes add up");
}

/* More is promised than there is when a page goes bad: who comes last gets SIGBUS, nobody else. */
static void test_broken_promise(void)
{
	uint64_t address, size = dmem_sum(nid, "free_bytes"), tail = 8 * MiB;
	unsigned int failed = 0;
	unsigned char *memory;
	int fd;

	if (size > MOST) {
		skip("there is too much memory", "broken promises");
		return;
	}

	mount_on(nid, "2M");
	fd = new_file("m", "f", 2 * MiB, 11 * PAGE, &address);
	close(fd);
	remove_file("m", "f");
	unmount("m");
	mount_on(nid, "4K");
	fd = open_at("m", "f", 0);
	check(ftruncate(fd, size + PAGE) < 0 && errno == ENOSPC,
	      "no page that has gone is promised");
	if (!check(ftruncate(fd, size) == 0, "all memory of a node is promised"))
		return;
	memory = map(fd, size);
	check(write_address(node_path(nid, "retire"), address) == 0, "then a page goes");
	check(fallocate(fd, 0, 0, size - tail) == 0, "those who come first get theirs");
	for (uint64_t at = size - tail; at < size; at += PAGE)
		failed += bus_at(memory + at);
	check(failed == 1 && seen.si_code != BUS_MCEERR_AR, "the last one does not");
	note("%u pages failed", failed);

	/* What is punched is promised still, and the page that is missing is asked for no more. */
	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, tail) < 0 ||
	    ftruncate(fd, size - PAGE) < 0)
		die("punch");
	failed = 0;
	for (uint64_t at = 0; at < tail; at += PAGE)
		failed += bus_at(memory + at) + bus_at(memory + size - tail - PAGE + at);
	check(failed == 0, "until the file asks for less");
	munmap(memory, size);
	close(fd);
	remove_file("m", "f");
	unmount("m");
	check(sums_hold() && dmem_sum(nid, "used_bytes") == 0, "all of it comes back");
}

struct race {
	unsigned char *memory;
	size_t size;
	atomic_bool stop;
	int fd;
};

static _Thread_local sigjmp_buf thread_jump;

static void on_thread_bus(int signal)
{
	(void)signal;
	siglongjmp(thread_jump, 1);
}

static void *keep_touching(void *data)
{
	struct race *race = data;
	volatile size_t at = 0;

	sigsetjmp(thread_jump, 1);
	while (!atomic_load(&race->stop)) {
		at = (at + PAGE) % race->size;
		race->memory[at] = 0x12;
	}
	return NULL;
}

static void *keep_punching(void *data)
{
	struct race *race = data;
	size_t at = 0;

	while (!atomic_load(&race->stop)) {
		at = (at + 7 * PAGE) % race->size;
		fallocate(race->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, 3 * PAGE);
		madvise(race->memory, race->size, MADV_DONTFORK);
		usleep(1000);
	}
	return NULL;
}

/* Errors in pages while others fault them, punch holes and let the file go. */
static void test_races(const char *page_size)
{
	struct sigaction action = { .sa_handler = on_thread_bus, .sa_flags = SA_NODEFER }, old;
	struct race race = { .size = 4 * MiB };
	unsigned int handled = 0, failed = 0;
	pthread_t threads[3];

	sigaction(SIGBUS, &action, &old);
	for (unsigned int round = 0; round < 4; round++) {
		uint64_t address;

		mount_on(nid, page_size);
		race.fd = new_file("m", "f", race.size, 0, &address);
		race.memory = map(race.fd, race.size);
		remove_file("m", "f");
		atomic_store(&race.stop, false);
		pthread_create(&threads[0], NULL, keep_touching, &race);
		pthread_create(&threads[1], NULL, keep_touching, &race);
		pthread_create(&threads[2], NULL, keep_punching, &race);
		for (unsigned int i = 0; i < 40; i++) {
			uint64_t page = address + i * 5 * PAGE;
			int error = node_of(page) == nid ? write_address(HARD_OFFLINE, page) : 0;

			handled += error == 0;
			failed += error && error != EHWPOISON;
			if (i == 30) {
				/* The last users go while errors go on. */
				atomic_store(&race.stop, true);
				for (unsigned int t = 0; t < 3; t++)
					pthread_join(threads[t], NULL);
				munmap(race.memory, race.size);
				close(race.fd);
				unmount("m");
			}
		}
	}
	sigaction(SIGBUS, &old, NULL);
	check(handled > 0 && failed == 0, "%s: errors under faults, holes and unmount", page_size);
	note("%u handled, %u failed", handled, failed);
	check(sums_hold() && dmem_sum(-1, "used_bytes") == 0, "%s: nothing is left behind",
	      page_size);
}

int main(void)
{
	uint64_t address;
	int fd;

	start("pages that go bad");
	if (!write_text(TRACING "events/dmemfs/dmemfs_alloc/enable", "1") ||
	    !write_text(TRACING "buffer_size_kb", "16384")) {
		skip("no tracing, which tells addresses", "pages that go bad");
		return finish();
	}
	nid = next_nid(-1);
	for (int other = nid; other >= 0; other = next_nid(other))
		if (dmem_sum(other, "size_bytes") < dmem_sum(nid, "size_bytes"))
			nid = other;
	/* A kernel without CONFIG_DMEM does not ask dmemfs. */
	mount_on(nid, "4K");
	fd = new_file("m", "f", PAGE, 0, &address);
	close(fd);
	remove_file("m", "f");
	unmount("m");
	can_poison = write_address(HARD_OFFLINE, address) != ENXIO;

	test_input();
	test_free_page();
	test_used_page_retired();
	if (can_poison) {
		test_mapped_page("4K", 2 * MiB, PAGE);
		test_mapped_page("2M", 2 * MiB, 2 * MiB);
		if (mount_at("m", "pagesize=1G", NULL, 0) < 0) {
			skip("no such pages here", "1G: poison");
		} else {
			unmount("m");
			test_mapped_page("1G", 1 * GiB, 1 * GiB);
		}
		test_two_pages();
		test_three_processes();
		test_deleted_file();
		test_uevent();
		test_races("4K");
		test_races("2M");
	} else {
		skip("hard_offline_page does not reach dmemfs on this kernel", "poisoned pages");
	}
	test_storm();
	test_never_handed_out();
	test_broken_promise();
	write_text(TRACING "events/dmemfs/dmemfs_alloc/enable", "0");
	return finish();
}
