/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bench-measure - what tools/bench measures on the host itself, as one static program
 *
 *     bench-measure touch MEMORY BYTES STEP [TIMES]
 *             makes memory as for a guest that starts, writes one byte in each STEP bytes, writes
 *             them once more, and gives all of it back; does that TIMES times, and tells of the
 *             last
 *     bench-measure teardown MEMORY BYTES STEP
 *             makes memory, writes one byte in each STEP bytes, and gives all of it back; does that
 *             25 times, but no longer than a second
 *     bench-measure random MEMORY BYTES ACCESSES
 *             touches it first, then reads and writes 8 bytes at random places
 *     bench-measure kvm MEMORY BYTES
 *             makes a virtual machine with that memory, which only for thp was touched before, and
 *             lets KVM map all of it; after that the same with further ones, as many as for
 *             teardown
 *     bench-measure hog
 *             takes memory until something stops it
 *     bench-measure tsc
 *             the frequency of the processor's time stamp counter, as tsc_khz
 *
 * MEMORY is the path of a file that does not exist yet, in a dmemfs or hugetlbfs; or one of the
 * words
 *
 *     thp      anonymous memory, MADV_HUGEPAGE
 *     memfd    memfd_create(), pages of 4 KiB unless shmem_enabled says otherwise
 *
 * Prints one JSON object. Times are nanoseconds of CLOCK_MONOTONIC:
 *
 *     map_ns       until the memory is mapped: open, ftruncate, mmap
 *     touch_ns     writing one byte in each STEP bytes
 *     again_ns     the same once more, when all of it is mapped
 *     teardown_ns  munmap, unlink and close, the median of the times that it was done
 *     faults       page faults of touching, as getrusage() counts them
 *     access_ns    all random accesses together: 25 times the median of a 25th of them
 *     first_ns     KVM_PRE_FAULT_MEMORY for all of it, when it is new
 *     populate_ns  the same when the host has it mapped already, the median of the times
 *     times        how often that was
 *     pages_4k, pages_2m, pages_1g
 *                  how KVM has mapped it then, its own statistics in debugfs; there must be no
 *                  other virtual machine
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#ifdef __x86_64__
#include <x86intrin.h>
#endif

#define SMALL_PAGE 4096
#define HOG_STEP (UINT64_C(16) << 20)
#define TSC_NS UINT64_C(100000000)

/* A leaf of 1G is mapped and unmapped in no time at all, which an interrupt doubles */
#define TIMES_MOST 25
#define TIMES_ENOUGH_NS UINT64_C(1000000000)

/* linux/kvm.h of Debian 12 is older than this call */
struct pre_fault_memory {
        uint64_t gpa, size, flags, padding[5];
};
#define PRE_FAULT_MEMORY _IOWR(KVMIO, 0xd5, struct pre_fault_memory)

typedef struct Memory {
        const char *path; /* NULL: has no name */
        int fd;
        uint8_t *p;
        uint64_t size;
        uint64_t map_ns;
} Memory;

static void fail(const char *what) {
        fprintf(stderr, "bench-measure: %s: %s\n", what, strerror(errno));
        exit(1);
}

static uint64_t now(void) {
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return t.tv_sec * UINT64_C(1000000000) + t.tv_nsec;
}

static uint64_t parse_number(const char *text) {
        uint64_t n;
        char *end;

        errno = 0;
        n = strtoull(text, &end, 10);
        if (errno || end == text || *end || *text == '-' || n == 0) {
                fprintf(stderr, "bench-measure: not a number above 0: %s\n", text);
                exit(2);
        }
        return n;
}

static Memory map_memory(const char *what, uint64_t size) {
        Memory m = { .fd = -1, .size = size };
        int flags = MAP_SHARED;
        uint64_t start = now();

        if (strcmp(what, "thp") == 0) {
                flags = MAP_PRIVATE | MAP_ANONYMOUS;
        } else if (strcmp(what, "memfd") == 0) {
                m.fd = memfd_create("bench", MFD_CLOEXEC);
                if (m.fd < 0)
                        fail("memfd_create");
        } else {
                m.path = what;
                m.fd = open(what, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
                if (m.fd < 0)
                        fail(what);
        }
        if (m.fd >= 0 && ftruncate(m.fd, size) < 0)
                fail("ftruncate");
        m.p = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, m.fd, 0);
        if (m.p == MAP_FAILED) {
                int error = errno;

                if (m.path)
                        (void)unlink(m.path);
                errno = error;
                fail("mmap");
        }
        if (m.fd < 0 && madvise(m.p, size, MADV_HUGEPAGE) < 0)
                fail("madvise(MADV_HUGEPAGE)");
        m.map_ns = now() - start;
        return m;
}

static uint64_t unmap_memory(Memory *m) {
        uint64_t start = now();

        if (munmap(m->p, m->size) < 0)
                fail("munmap");
        if (m->path && unlink(m->path) < 0)
                fail("unlink");
        if (m->fd >= 0)
                close(m->fd);
        return now() - start;
}

static long faults(void) {
        struct rusage u;

        getrusage(RUSAGE_SELF, &u);
        return u.ru_minflt + u.ru_majflt;
}

static void touch(uint8_t *p, uint64_t size, uint64_t step) {
        for (uint64_t i = 0; i < size; i += step)
                *(volatile uint8_t *)(p + i) = 0xa5;
}

static void measure_touch(const char *what, uint64_t size, uint64_t step, uint64_t times) {
        uint64_t map_ns = 0, touch_ns = 0, again_ns = 0;
        long n = 0;

        while (times-- > 0) {
                Memory m = map_memory(what, size);
                uint64_t start = now(), touched, again;

                n = faults();
                touch(m.p, size, step);
                touched = now();
                n = faults() - n;
                touch(m.p, size, step);
                again = now();
                map_ns = m.map_ns;
                touch_ns = touched - start;
                again_ns = again - touched;
                unmap_memory(&m);
        }
        printf("{\"map_ns\":%" PRIu64 ",\"touch_ns\":%" PRIu64 ",\"again_ns\":%" PRIu64
               ",\"faults\":%ld}\n",
               map_ns, touch_ns, again_ns, n);
}

static int compare_numbers(const void *a, const void *b) {
        const uint64_t *l = a, *r = b;

        return *l < *r ? -1 : *l > *r;
}

static uint64_t median(uint64_t *numbers, uint64_t n) {
        qsort(numbers, n, sizeof(*numbers), compare_numbers);
        return numbers[n / 2];
}

static void measure_teardown(const char *what, uint64_t size, uint64_t step) {
        uint64_t ns[TIMES_MOST], n = 0, begin = now();

        for (; n < TIMES_MOST && now() - begin < TIMES_ENOUGH_NS; n++) {
                Memory m = map_memory(what, size);

                touch(m.p, size, step);
                ns[n] = unmap_memory(&m);
        }
        printf("{\"teardown_ns\":%" PRIu64 ",\"times\":%" PRIu64 "}\n", median(ns, n), n);
}

static void measure_random(const char *what, uint64_t size, uint64_t n) {
        Memory m = map_memory(what, size);
        volatile uint64_t *words = (volatile uint64_t *)m.p;
        uint64_t rng = 88172645463325252, n_words = size / sizeof(*words), start;
        uint64_t ns[TIMES_MOST];

        touch(m.p, size, SMALL_PAGE);
        n = (n + TIMES_MOST - 1) / TIMES_MOST;
        for (unsigned part = 0; part < TIMES_MOST; part++) {
                start = now();
                for (uint64_t i = 0; i < n; i++) {
                        rng ^= rng << 13;
                        rng ^= rng >> 7;
                        rng ^= rng << 17;
                        words[rng % n_words] += rng;
                }
                ns[part] = now() - start;
        }
        printf("{\"access_ns\":%" PRIu64 ",\"accesses\":%" PRIu64 "}\n",
               median(ns, TIMES_MOST) * TIMES_MOST, n * TIMES_MOST);
        unmap_memory(&m);
}

static long kvm_statistic(const char *name) {
        char path[64];
        FILE *f;
        long n;

        snprintf(path, sizeof(path), "/sys/kernel/debug/kvm/%s", name);
        f = fopen(path, "re");
        if (!f)
                fail(path);
        if (fscanf(f, "%ld", &n) != 1)
                n = -1;
        fclose(f);
        return n;
}

typedef struct Mapped {
        long pages_4k, pages_2m, pages_1g;
} Mapped;

/* One virtual machine with that memory, all of it mapped. Returns how long that took. */
static uint64_t populate(int kvm, const Memory *m, Mapped *ret) {
        struct kvm_userspace_memory_region region = {
                .guest_phys_addr = UINT64_C(4) << 30, /* aligned for the largest pages */
                .memory_size = m->size,
                .userspace_addr = (uintptr_t)m->p,
        };
        struct pre_fault_memory range = { .gpa = region.guest_phys_addr, .size = m->size };
        uint64_t start, ns;
        int vm, vcpu;

        vm = ioctl(kvm, KVM_CREATE_VM, 0);
        if (vm < 0)
                fail("KVM_CREATE_VM");
        if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) < 0)
                fail("KVM_SET_USER_MEMORY_REGION");
        vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
        if (vcpu < 0)
                fail("KVM_CREATE_VCPU");
        start = now();
        while (range.size > 0)
                if (ioctl(vcpu, PRE_FAULT_MEMORY, &range) < 0 && errno != EINTR && errno != EAGAIN)
                        fail("KVM_PRE_FAULT_MEMORY");
        ns = now() - start;
        *ret = (Mapped){ kvm_statistic("pages_4k"), kvm_statistic("pages_2m"),
                         kvm_statistic("pages_1g") };
        close(vcpu);
        close(vm);
        return ns;
}

static void measure_kvm(const char *what, uint64_t size) {
        Memory m = map_memory(what, size);
        uint64_t ns[TIMES_MOST], n = 0, first, begin;
        Mapped mapped;
        int kvm;

        kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
        if (kvm < 0)
                fail("/dev/kvm");
        /* KVM only reads, and all that it would get of this is the page of zeroes */
        if (m.fd < 0)
                touch(m.p, size, SMALL_PAGE);
        first = populate(kvm, &m, &mapped);
        begin = now();
        for (; n < TIMES_MOST && now() - begin < TIMES_ENOUGH_NS; n++)
                ns[n] = populate(kvm, &m, &mapped);
        printf("{\"first_ns\":%" PRIu64 ",\"populate_ns\":%" PRIu64 ",\"times\":%" PRIu64
               ",\"pages_4k\":%ld,\"pages_2m\":%ld,\"pages_1g\":%ld}\n",
               first, median(ns, n), n, mapped.pages_4k, mapped.pages_2m, mapped.pages_1g);
        close(kvm);
        unmap_memory(&m);
}

static void hog(void) {
        for (;;) {
                uint8_t *p = mmap(NULL, HOG_STEP, PROT_READ | PROT_WRITE,
                                  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

                if (p == MAP_FAILED)
                        fail("mmap");
                touch(p, HOG_STEP, SMALL_PAGE);
        }
}

static void measure_tsc(void) {
#ifdef __x86_64__
        uint64_t start = now(), ticks = __rdtsc(), ns;

        do
                ns = now() - start;
        while (ns < TSC_NS);
        ticks = __rdtsc() - ticks;
        printf("{\"tsc_khz\":%" PRIu64 "}\n", ticks * 1000000 / ns);
#else
        errno = EOPNOTSUPP;
        fail("tsc");
#endif
}

int main(int argc, char **argv) {
        const char *verb = argc > 1 ? argv[1] : "";

        if (strcmp(verb, "touch") == 0 && (argc == 5 || argc == 6))
                measure_touch(argv[2], parse_number(argv[3]), parse_number(argv[4]),
                              argc == 6 ? parse_number(argv[5]) : 1);
        else if (strcmp(verb, "teardown") == 0 && argc == 5)
                measure_teardown(argv[2], parse_number(argv[3]), parse_number(argv[4]));
        else if (strcmp(verb, "random") == 0 && argc == 5)
                measure_random(argv[2], parse_number(argv[3]), parse_number(argv[4]));
        else if (strcmp(verb, "kvm") == 0 && argc == 4)
                measure_kvm(argv[2], parse_number(argv[3]));
        else if (strcmp(verb, "hog") == 0 && argc == 2)
                hog();
        else if (strcmp(verb, "tsc") == 0 && argc == 2)
                measure_tsc();
        else {
                fprintf(stderr, "usage: bench-measure touch MEMORY BYTES STEP [TIMES]\n"
                                "       bench-measure teardown MEMORY BYTES STEP\n"
                                "       bench-measure kvm MEMORY BYTES\n"
                                "       bench-measure random MEMORY BYTES ACCESSES\n"
                                "       bench-measure hog|tsc\n");
                return 2;
        }
        return 0;
}
