/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * dmem-touch - uses memory from dmemfs the way a virtual machine monitor does, and reports
 *
 *     dmem-touch [--node=N] [--fill=BYTE] [--hold [--catch]] [--keep] FILE BYTES
 *
 * Creates FILE, gives it BYTES, maps it shared, with --node binds the mapping to that node as QEMU
 * does for host-nodes=, and reads every byte before it writes any. Prints one key=value line each:
 *
 *     bytes, node     what was asked for; node is -1 without --node
 *     address         where it is mapped
 *     nonzero         bytes that were not zero when they were first seen; must be 0
 *     faults          page faults that reading all of it took: one per leaf
 *     leaf_1G, leaf_2M, leaf_4K
 *                     bytes mapped by leaves of that size according to the kernel's dump of the
 *                     page tables; -1 without /sys/kernel/debug/page_tables/. Tools that count
 *                     pages (smaps, RSS, pagemap) are blind to memory without struct page.
 *     fill_seconds    time for writing all of it, with --fill
 *
 * With --hold it then says "holding", keeps the mapping, and for each line on standard input reads
 * all of it again and prints differing=BYTES; it ends at end of file. FILE is deleted at the end
 * unless --keep is given. The exit status is 0 if every byte was zero.
 *
 * With --catch it asks to be told early of memory errors and lives through them, as a virtual
 * machine monitor does: each SIGBUS prints sigbus=CODE,OFFSET,LSB with the offset in FILE, and
 * reading all of it leaves out the pages that cannot be read and prints lost=PAGES as well. The
 * line "spin OFFSET" makes it read that byte on CPU 0 without any system call until SIGBUS comes, a
 * minute at most.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096
#define MPOL_BIND_MODE 2 /* MPOL_BIND of numaif.h, which a static program can do without */
#define MPOL_LOCAL_MODE 4

static uint64_t parse_number(const char *text) {
        char *end;
        uint64_t n;

        errno = 0;
        n = strtoull(text, &end, 0);
        switch (*end) {
        case 'T':
                n <<= 10; /* fall through */
        case 'G':
                n <<= 10; /* fall through */
        case 'M':
                n <<= 10; /* fall through */
        case 'K':
                n <<= 10;
                end++;
        }
        if (errno || end == text || *end) {
                fprintf(stderr, "dmem-touch: not a number: %s\n", text);
                exit(2);
        }
        return n;
}

static void fail(const char *what, const char *path) {
        fprintf(stderr, "dmem-touch: %s: %s: %s\n", path, what, strerror(errno));
        exit(1);
}

static uint64_t in_each_byte(uint8_t byte) {
        return byte * UINT64_C(0x0101010101010101);
}

/* Page by page in words, which an emulated processor is much faster with. */
static uint64_t count_unlike(const uint8_t *p, uint64_t size, uint8_t byte) {
        const uint64_t want = in_each_byte(byte);
        uint64_t n = 0;

        for (uint64_t at = 0; at < size; at += PAGE) {
                const uint64_t *words = (const uint64_t *)(p + at);
                uint64_t differs = 1;

                if (size - at >= PAGE) {
                        differs = 0;
                        for (unsigned i = 0; i < PAGE / sizeof(*words); i++)
                                differs |= words[i] ^ want;
                }
                if (differs)
                        for (uint64_t i = at; i < size && i < at + PAGE; i++)
                                n += p[i] != byte;
        }
        return n;
}

/* memset() would take the instruction that stores byte by byte there. */
static void fill_with(uint8_t *p, uint64_t size, uint8_t byte) {
        uint64_t *words = (uint64_t *)p, value = in_each_byte(byte);

        for (uint64_t i = 0; i < size / sizeof(*words); i++)
                words[i] = value;
        for (uint64_t i = size / sizeof(*words) * sizeof(*words); i < size; i++)
                p[i] = byte;
}

static double now(void) {
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return t.tv_sec + t.tv_nsec / 1e9;
}

static long faults(void) {
        struct rusage u;

        getrusage(RUSAGE_SELF, &u);
        return u.ru_minflt + u.ru_majflt;
}

/* Adds up the leaves in [start, end) by level; lines are "0xSTART-0xEND SIZE FLAGS... LEVEL". */
static bool count_leaves(uint64_t start, uint64_t end, int64_t ret[3]) {
        static const char *const level[3] = { "pud", "pmd", "pte" };
        FILE *f = fopen("/sys/kernel/debug/page_tables/current_kernel", "re");
        char line[512];

        if (!f)
                return false;
        memset(ret, 0, 3 * sizeof(ret[0]));
        while (fgets(line, sizeof(line), f)) {
                char *last = strrchr(line, ' ');
                uint64_t a, b;

                if (!last || sscanf(line, "0x%" SCNx64 "-0x%" SCNx64, &a, &b) != 2)
                        continue;
                a = a < start ? start : a;
                b = b > end ? end : b;
                /* Lines of absent entries have the level, too, but no flags */
                if (a >= b || !strstr(line, "USR"))
                        continue;
                last[1 + strcspn(last + 1, "\n")] = '\0';
                for (int i = 0; i < 3; i++)
                        if (strcmp(last + 1, level[i]) == 0)
                                ret[i] += b - a;
        }
        fclose(f);
        return true;
}

static const uint8_t *mapping;
static sigjmp_buf jump;
static volatile sig_atomic_t jump_is_set, done;

static void on_bus(int signal, siginfo_t *info, void *context) {
        char line[96];
        int n;

        (void)signal, (void)context;
        n = snprintf(line, sizeof(line), "sigbus=%d,0x%tx,%d\n", info->si_code,
                     (uint8_t *)info->si_addr - mapping, info->si_addr_lsb);
        if (write(STDOUT_FILENO, line, n) != n)
                _exit(1);
        done = 1;
        if (info->si_code == BUS_MCEERR_AO)
                return;
        if (!jump_is_set)
                _exit(1);
        siglongjmp(jump, 1);
}

static void on_alarm(int signal) {
        (void)signal;
        done = 1;
}

static void catch_errors(const uint8_t *p) {
        /* Else it would end the wait for the next command as if no more came */
        struct sigaction bus = { .sa_sigaction = on_bus, .sa_flags = SA_SIGINFO | SA_RESTART };

        mapping = p;
        sigaction(SIGBUS, &bus, NULL);
        signal(SIGALRM, on_alarm);
        if (prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0) < 0)
                fail("prctl", "PR_MCE_KILL");
}

static void spin(const uint8_t *p, uint64_t offset) {
        cpu_set_t set;

        CPU_ZERO(&set);
        CPU_SET(0, &set);
        if (sched_setaffinity(0, sizeof(set), &set) < 0)
                fail("sched_setaffinity", "CPU 0");
        done = 0;
        alarm(60);
        puts("spinning");
        fflush(stdout);
        if (sigsetjmp(jump, 1) == 0) {
                jump_is_set = 1;
                while (!done)
                        (void)*(const volatile uint8_t *)(p + offset);
        }
        jump_is_set = 0;
        alarm(0);
        puts("spun");
        fflush(stdout);
}

static void read_around_errors(const uint8_t *p, uint64_t size, uint8_t byte) {
        static uint64_t at, differing, lost; /* static: siglongjmp() must not lose them */

        differing = lost = 0;
        for (at = 0; at < size; at += PAGE) {
                if (sigsetjmp(jump, 1)) {
                        lost++;
                        continue;
                }
                jump_is_set = 1;
                differing += count_unlike(p + at, size - at < PAGE ? size - at : PAGE, byte);
        }
        jump_is_set = 0;
        printf("lost=%" PRIu64 "\ndiffering=%" PRIu64 "\n", lost, differing);
}

static void hold(const uint8_t *p, uint64_t size, uint8_t byte, bool catch) {
        char line[64];
        uint64_t offset;

        if (catch)
                catch_errors(p);
        puts("holding");
        fflush(stdout);
        while (fgets(line, sizeof(line), stdin)) {
                if (catch && sscanf(line, "spin %" SCNi64, (int64_t *)&offset) == 1 &&
                    offset < size)
                        spin(p, offset);
                else if (catch)
                        read_around_errors(p, size, byte);
                else
                        printf("differing=%" PRIu64 "\n", count_unlike(p, size, byte));
                fflush(stdout);
        }
}

int main(int argc, char **argv) {
        static const struct option options[] = {
                { "node", required_argument, NULL, 'n' }, { "fill", required_argument, NULL, 'f' },
                { "hold", no_argument, NULL, 'h' },       { "catch", no_argument, NULL, 'c' },
                { "keep", no_argument, NULL, 'k' },       {},
        };
        bool want_hold = false, want_catch = false, want_keep = false;
        int node = -1, fill = -1, fd, c;
        int64_t leaves[3] = { -1, -1, -1 };
        uint64_t size, nonzero;
        const char *path;
        uint8_t *p;
        long n;

        while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0)
                switch (c) {
                case 'n':
                        node = parse_number(optarg);
                        break;
                case 'f':
                        fill = parse_number(optarg) & 0xff;
                        break;
                case 'h':
                        want_hold = true;
                        break;
                case 'c':
                        want_catch = true;
                        break;
                case 'k':
                        want_keep = true;
                        break;
                default:
                        return 2;
                }
        if (argc - optind != 2 || node > 63) {
                fprintf(stderr, "usage: dmem-touch [--node=N] [--fill=BYTE] [--hold [--catch]] "
                                "[--keep] FILE BYTES\n");
                return 2;
        }
        path = argv[optind];
        size = parse_number(argv[optind + 1]);

        fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (fd < 0)
                fail("open", path);
        if (ftruncate(fd, size) < 0)
                fail("ftruncate", path);
        p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (p == MAP_FAILED)
                fail("mmap", path);
        if (node >= 0) {
                unsigned long mask = 1UL << node;

                if (syscall(SYS_mbind, p, size, MPOL_BIND_MODE, &mask, 8 * sizeof(mask) + 1, 0UL))
                        fail("mbind", path);
                /* Without a policy, NUMA balancing makes the program's own pages fault now and then
                 */
                if (syscall(SYS_set_mempolicy, MPOL_LOCAL_MODE, NULL, 0UL))
                        fail("set_mempolicy", path);
        }

        n = faults();
        nonzero = count_unlike(p, size, 0);
        n = faults() - n;
        (void)count_leaves((uintptr_t)p, (uintptr_t)p + size, leaves);

        printf("bytes=%" PRIu64 "\nnode=%d\naddress=%p\nnonzero=%" PRIu64 "\nfaults=%ld\n", size,
               node, (void *)p, nonzero, n);
        printf("leaf_1G=%" PRId64 "\nleaf_2M=%" PRId64 "\nleaf_4K=%" PRId64 "\n", leaves[0],
               leaves[1], leaves[2]);
        if (fill >= 0) {
                double start = now();

                fill_with(p, size, fill);
                printf("fill_seconds=%.3f\n", now() - start);
        }
        fflush(stdout);
        if (want_hold)
                hold(p, size, fill >= 0 ? fill : 0, want_catch);
        munmap(p, size);
        close(fd);
        if (!want_keep && unlink(path) < 0)
                fail("unlink", path);
        return nonzero ? 1 : 0;
}
