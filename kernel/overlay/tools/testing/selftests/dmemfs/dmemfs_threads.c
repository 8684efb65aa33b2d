// SPDX-License-Identifier: GPL-2.0
/*
 * Threads of one process that fault in the same leaf just when the file grows: some of them come
 * when a large leaf is not possible yet, some when it is.
 */
#include "harness.h"

#include <linux/falloc.h>
#include <poll.h>
#include <pthread.h>
#include <time.h>

#define THREADS 3
#define SECONDS 4

static unsigned char *memory;
static size_t size;
static pthread_barrier_t begin, end;
static bool stop;
static uint64_t lost;

static void spin(unsigned int *random)
{
	*random = *random * 1103515245 + 12345;
	for (volatile unsigned int i = *random >> 16 & 0x3ff; i; i--)
		;
}

/* Each thread has a byte of its own in each page, and counts those that come back changed. */
static void *touch(void *argument)
{
	size_t number = (size_t)argument;
	unsigned int random = number + 1;

	for (;;) {
		volatile unsigned char *at;

		pthread_barrier_wait(&begin);
		if (__atomic_load_n(&stop, __ATOMIC_RELAXED))
			return NULL;
		spin(&random);
		/* Not the last page, which comes and goes */
		at = memory + random % (size / PAGE - 1) * PAGE + number;
		/* The kernel does other things if the access that faults writes. */
		if ((random >> 20 & 1) && *at != 0 && *at != number + 1)
			__atomic_add_fetch(&lost, 1, __ATOMIC_RELAXED);
		*at = number + 1;
		if (*at != number + 1)
			__atomic_add_fetch(&lost, 1, __ATOMIC_RELAXED);
		pthread_barrier_wait(&end);
	}
}

static void test_growing(const char *name, size_t leaf)
{
	uint64_t free = dmem_sum(-1, "free_bytes");
	unsigned int rounds = 0, random = 0;
	pthread_t threads[THREADS];
	char options[32], log[256];
	time_t last;
	int fd;

	snprintf(options, sizeof(options), "pagesize=%s", name);
	if (mount_at("m", options, log, sizeof(log)) < 0) {
		note("%s", log);
		skip("this machine cannot", "%s: threads and a file that grows", name);
		return;
	}
	fd = open_at("m", "f", 0);
	size = leaf;
	if (fallocate(fd, 0, 0, size) < 0) {
		skip("not enough memory", "%s: threads and a file that grows", name);
		close(fd);
		unmount("m");
		return;
	}
	memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED)
		die("mmap");
	stop = false;
	lost = 0;
	pthread_barrier_init(&begin, NULL, THREADS + 1);
	pthread_barrier_init(&end, NULL, THREADS + 1);
	for (size_t i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, touch, (void *)i))
			die("pthread_create");
	for (last = time(NULL) + SECONDS; time(NULL) <= last; rounds++) {
		/* A table of smaller leaves would stay for as long as the mapping does. */
		munmap(memory, size);
		if (ftruncate(fd, size - PAGE) < 0 ||
		    mmap(memory, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) !=
		    memory)
			die("ftruncate or mmap");
		pthread_barrier_wait(&begin);
		spin(&random);
		if (ftruncate(fd, size) < 0)
			die("ftruncate");
		pthread_barrier_wait(&end);
	}
	stop = true;
	pthread_barrier_wait(&begin);
	for (unsigned int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	note("%u times", rounds);
	check(lost == 0, "%s: threads lose nothing while the file grows", name);
	munmap(memory, size);
	close(fd);
	unmount("m");
	check(wait_free(free), "%s: all memory is free in the end", name);
}

static int own_file;
static unsigned char *own_memory;

/*
 * The copy of read() and write() touches the same file. If it faulted with a lock of the file in
 * its hands, somebody who wants that lock for himself could come in between, and all would wait for
 * ever.
 */
static void *copy_to_self(void *argument)
{
	(void)argument;
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		/* So that there is something to fault */
		if (mmap(own_memory + 4 * MiB, 2 * MiB, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_FIXED, own_file, 4 * MiB) == MAP_FAILED)
			return (void *)1;
		if (pread(own_file, own_memory + 4 * MiB, 64 * KiB, 0) != 64 * KiB ||
		    pwrite(own_file, own_memory + 5 * MiB, 64 * KiB, MiB) != 64 * KiB)
			return (void *)1;
		__atomic_add_fetch(&lost, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static void *punch_self(void *argument)
{
	(void)argument;
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED))
		if (fallocate(own_file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 6 * MiB,
			      PAGE) < 0)
			return (void *)1;
	return NULL;
}

/* Exits 0 if all threads came to an end, without an error. */
static int use_own_buffer(void)
{
	pthread_t threads[3];
	void *result;
	int r = 0;

	stop = false;
	lost = 0;
	if (pthread_create(&threads[0], NULL, copy_to_self, NULL) ||
	    pthread_create(&threads[1], NULL, punch_self, NULL) ||
	    pthread_create(&threads[2], NULL, punch_self, NULL))
		return 2;
	sleep(SECONDS);
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (unsigned int i = 0; i < 3; i++) {
		pthread_join(threads[i], &result);
		r |= !!result;
	}
	note("%llu times", (unsigned long long)lost);
	return r;
}

static void test_own_buffer(const char *name)
{
	int done[2], status = 0;
	struct pollfd pollfd;
	char options[32];
	pid_t pid;

	snprintf(options, sizeof(options), "pagesize=%s", name);
	if (mount_at("m", options, NULL, 0) < 0)
		die("mount -o %s", options);
	own_file = open_at("m", "own", 0);
	own_memory = MAP_FAILED;
	if (ftruncate(own_file, 8 * MiB) == 0)
		own_memory = mmap(NULL, 8 * MiB, PROT_READ | PROT_WRITE, MAP_SHARED, own_file, 0);
	if (own_memory == MAP_FAILED || pipe2(done, O_CLOEXEC) < 0)
		die("ftruncate, mmap or pipe");
	pid = fork();
	if (pid == 0)
		_exit(use_own_buffer());
	close(done[1]);
	/* Who hangs cannot be killed: wait for the end of the pipe, not of the process. */
	pollfd = (struct pollfd) { .fd = done[0], .events = POLLIN };
	if (check(poll(&pollfd, 1, 300 * 1000) == 1,
		  "%s: read() into the file's own mapping does not hang at a punch", name))
		waitpid(pid, &status, 0);
	check(status == 0, "%s: and works", name);
	close(done[0]);
	munmap(own_memory, 8 * MiB);
	close(own_file);
	unmount("m");
}

int main(void)
{
	start("faults of threads");
	test_growing("4K", 2 * MiB);
	test_growing("2M", 2 * MiB);
	test_growing("1G", GiB);
	test_own_buffer("4K");
	test_own_buffer("2M");
	return finish();
}
