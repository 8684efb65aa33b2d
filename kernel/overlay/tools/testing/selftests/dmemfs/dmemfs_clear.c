// SPDX-License-Identifier: GPL-2.0
/*
 * Clearing in the background: who comes after it does not wait for memory being cleared. Watched
 * through the tracepoints, as nothing else tells who cleared what.
 */
#include "harness.h"

#include <sched.h>
#include <time.h>

#define TRACING "/sys/kernel/tracing/"
#define SIZE (64 * MiB)

static char *trace;

static void read_trace(void)
{
	size_t size = 0;
	FILE *file = fopen(TRACING "trace", "re");

	free(trace);
	trace = NULL;
	if (!file || getdelim(&trace, &size, '\0', file) < 0)
		trace = strdup("");
	if (file)
		fclose(file);
}

/* Sum of bytes= over the lines with all of the words. */
static uint64_t sum(const char *event, const char *word)
{
	uint64_t bytes = 0;
	char *line, *rest, *copy;

	read_trace();
	copy = strdup(trace);
	rest = copy;
	while ((line = strsep(&rest, "\n"))) {
		const char *value = strstr(line, " bytes=");

		if (line[0] != '#' && strstr(line, event) && strstr(line, word) && value)
			bytes += strtoull(value + 7, NULL, 10);
	}
	free(copy);
	return bytes;
}

static void restart(void)
{
	close(open(TRACING "trace", O_WRONLY | O_TRUNC));
}

static bool wait_cleared(uint64_t bytes)
{
	for (unsigned int i = 0; i < 200; i++) {
		if (sum("dmemfs_clear:", "") >= bytes)
			return true;
		nanosleep(&(struct timespec) { .tv_nsec = 50000000 }, NULL);
	}
	note("cleared %llu bytes", (unsigned long long)sum("dmemfs_clear:", ""));
	return false;
}

static void test(const char *page_name)
{
	unsigned char *memory;
	char options[64], path[128];
	int fd;

	snprintf(options, sizeof(options), "pagesize=%s", page_name);
	if (mount_at("m", options, NULL, 0) < 0)
		die("mount");
	fd = open_at("m", "f", 0);
	if (fallocate(fd, 0, 0, SIZE) < 0)
		die("fallocate");
	memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED)
		die("mmap");
	memset(memory, 0xee, SIZE);
	munmap(memory, SIZE);
	close(fd);

	restart();
	snprintf(path, sizeof(path), "%s/m/f", test_dir);
	unlink(path);
	check(sum("dmemfs_free:", "") == SIZE, "%s: freed", page_name);
	check(wait_cleared(SIZE), "%s: what was freed is cleared in the background", page_name);

	restart();
	fd = open_at("m", "f", 0);
	if (ftruncate(fd, SIZE) < 0)
		die("ftruncate");
	memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED)
		die("mmap");
	check(all_bytes(memory, SIZE, 0), "%s: it is zero", page_name);
	check(sum("dmemfs_alloc:", "cleared=0") == SIZE && sum("dmemfs_alloc:", "cleared=1") == 0,
	      "%s: and the next owner waits for no clearing", page_name);
	munmap(memory, SIZE);
	close(fd);
	unmount("m");
	wait_cleared(SIZE);
}

/* A chunk of it is being cleared all the time, which must not break a whole GiB. */
static void test_span(void)
{
	unsigned int nid = next_nid(-1), spans = whole_spans(nid), round;
	uint64_t size = spans * GiB;
	char options[64];
	int fd;

	if (!spans) {
		skip("node has no whole GiB", "1G: comes while it is being cleared");
		return;
	}
	snprintf(options, sizeof(options), "pagesize=1G,node=%u", nid);
	if (mount_at("m", options, NULL, 0) < 0)
		die("mount");
	fd = open_at("m", "f", 0);
	if (fallocate(fd, 0, 0, size) < 0)
		die("fallocate");
	for (round = 0; round < 8; round++) {
		restart();
		if (ftruncate(fd, 0) < 0 || !wait_cleared(1))
			die("truncate");
		if (fallocate(fd, 0, 0, size) < 0)
			die("fallocate");
		if (sum("dmemfs_alloc:", "bytes=1073741824 ") != size)
			break;
	}
	check(round == 8, "1G: comes while it is being cleared");
	close(fd);
	unmount("m");
}

int main(void)
{
	cpu_set_t set;

	start("clearing in the background");
	/* Memory comes from the node of the CPU. */
	CPU_ZERO(&set);
	CPU_SET(0, &set);
	sched_setaffinity(0, sizeof(set), &set);
	if (!write_text(TRACING "events/dmemfs/enable", "1") ||
	    !write_text(TRACING "buffer_size_kb", "16384")) {
		skip("no tracing", "clearing in the background");
		return finish();
	}
	test("2M");
	test("4K");
	test_span();
	write_text(TRACING "events/dmemfs/enable", "0");
	return finish();
}
