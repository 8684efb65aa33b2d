/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the dmemfs selftests share: TAP output, mounts, counters.
 *
 * Each program runs as root on a kernel with dmemfs loaded, mounts what it needs below a directory
 * of its own in /tmp, cleans up, and exits 0 if all tests passed, 1 if not, 4 to skip everything.
 */
#ifndef SELFTESTS_HARNESS_H
#define SELFTESTS_HARNESS_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#define KiB 1024UL
#define MiB (1024 * KiB)
#define GiB (1024 * MiB)
#define PAGE (4 * KiB)
#define EXIT_SKIP 4

#ifndef ARRAY_SIZE
#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))
#endif

extern char test_dir[64];

/* One test point. Returns @good. */
bool check(bool good, const char *format, ...) __attribute__((format(printf, 2, 3)));
void skip(const char *why, const char *format, ...) __attribute__((format(printf, 2, 3)));
void note(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Something the test itself needs failed: says so and ends the program. */
void die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

void start(const char *name);
/* Allocations of the kernel are made to fail: it may log that it tries a fault again. */
extern bool faults_may_fail;

/* The last test point is that the kernel logged no warning since start(). */
int finish(void);

/* Mounts dmemfs with @options at test_dir/@name. Returns 0 or -errno, the kernel's text in log. */
int mount_at(const char *name, const char *options, char *log, size_t log_size);
void unmount(const char *name);
int open_at(const char *mount, const char *file, int flags);

/* Sum over all nodes of an attribute of class dmem, or of node @nid only if it is not -1. */
uint64_t dmem_sum(int nid, const char *attribute);
/* The first node id greater than @after with memory, or -1. */
int next_nid(int after);
/* The path of a file of a node in class dmem, until the call after the next. */
const char *node_path(int nid, const char *name);
/* The contents of a file, to be freed; empty if it cannot be read. */
char *read_whole(const char *path);
/* As dmem_sum(): aligned GiB without a bad page, which are pages of 1G while nothing is used. */
unsigned int whole_spans(int nid);
/* The bytes of the sysfs counters add up. */
bool sums_hold(void);
/*
 * The kernel itself takes part in dmem, so it has the fixes of mm/ that came with it. Without, any
 * 6.12 may run the module.
 */
bool kernel_has_dmem(void);
/* Waits until the counters show @free bytes: inodes and page tables may die a little later. */
bool wait_free(uint64_t free);

uint64_t faults(void);
/*
 * Since @before there were @expected faults. start() has seen to it that the program itself causes
 * none, unless it touches memory that it got later.
 */
bool faults_are(uint64_t before, uint64_t expected);
bool all_bytes(const void *memory, size_t size, unsigned char value);
bool write_text(const char *path, const char *text);

/* Runs @access(@argument); the signal it died of by SIGBUS or SIGSEGV, or 0. */
int signal_of(void (*access)(void *), void *argument);
void read_byte(void *address);
void write_byte(void *address);

#endif
