/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bench-pool - what it costs to get memory from the pool of dmemfs and to give it back
 *
 *     bench-pool BYTES PERCENT ORDER COUNT
 *
 * Compiles kernel/overlay/fs/dmemfs/pool.c as it is and gives it a pool of BYTES (whole GiB), which
 * need not exist: the pool never touches what it manages. Then PERCENT of all its chunks of 2 MiB
 * are handed out, chosen at random, so that the free ones are spread over the whole pool; for ORDER
 * 18 (1 GiB), which needs whole spans, PERCENT of all spans. After that up to 64 pieces of ORDER
 * (0, 9 or 18) are handed out and given back in random order, until it was COUNT pieces. Prints one
 * JSON object:
 *
 *     alloc_ns, free_ns  both of one piece, in the median of all such turns, less what the clock
 *                        itself takes
 *     metadata_bytes     what the pool takes for itself
 *     pieces             handed out while measuring
 */

#define _GNU_SOURCE
#include <malloc.h>
#include <time.h>

#include <linux/bug.h>
#include <linux/slab.h>

#include "pool.h"

unsigned long sim_warnings, sim_fail_every, sim_allocations;

static unsigned long rng = 88172645463325252;

static unsigned long random_below(unsigned long n) {
        rng ^= rng << 13;
        rng ^= rng >> 7;
        rng ^= rng << 17;
        return rng % n;
}

static void die(const char *text) {
        fprintf(stderr, "bench-pool: %s\n", text);
        exit(1);
}

/* Elapsed: to ask for processor time takes longer than some turns. A median does not mind the few
 * in which something else got the processor. */
static double now(void) {
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return t.tv_sec * 1e9 + t.tv_nsec;
}

static int compare_times(const void *a, const void *b) {
        const double *l = a, *r = b;

        return *l < *r ? -1 : *l > *r;
}

static double median(double *times, size_t n) {
        qsort(times, n, sizeof(*times), compare_times);
        return times[n / 2];
}

static double clock_takes(void) {
        static double times[1001];

        for (size_t i = 0; i < 1001; i++) {
                double start = now();

                times[i] = now() - start;
        }
        return median(times, 1001);
}

static unsigned long number(const char *text, unsigned long min, unsigned long max) {
        char *end;
        unsigned long n = strtoul(text, &end, 10);

        if (end == text || *end || *text == '-' || n < min || n > max) {
                fprintf(stderr, "bench-pool: not a number from %lu to %lu: %s\n", min, max, text);
                exit(2);
        }
        return n;
}

static unsigned long get(struct dmem_pool *pool, unsigned int order) {
        unsigned long pfn, nr;
        bool dirty;

        if (dmem_pool_alloc(pool, order, 1, &pfn, &nr, &dirty))
                die("the pool has nothing left");
        return pfn;
}

/* Hands out everything in pieces of @order and gives back all but @percent of them, at random. */
static void fill(struct dmem_pool *pool, unsigned long units, unsigned int order,
                 unsigned long percent) {
        unsigned long n = units >> order, keep = n * percent / 100;
        unsigned long *pieces = malloc(n * sizeof(*pieces));

        if (!pieces)
                die("no memory");
        for (unsigned long i = 0; i < n; i++)
                pieces[i] = get(pool, order);
        for (; n > keep; n--) {
                unsigned long i = random_below(n);

                dmem_pool_free(pool, pieces[i], 1UL << order);
                pieces[i] = pieces[n - 1];
        }
        free(pieces);
}

/* The pieces that are out at once while measuring; fewer if the pool has no more. */
#define MOST 64

int main(int argc, char **argv) {
        unsigned long units, percent, count, out[MOST], room, turns;
        double *alloc_ns, *free_ns, clock_ns;
        struct dmem_pool pool = {};
        unsigned int order;
        size_t before;

        if (argc != 5) {
                fprintf(stderr, "usage: bench-pool BYTES PERCENT ORDER COUNT\n");
                return 2;
        }
        units = number(argv[1], 1UL << 30, 1UL << 50) >> PAGE_SHIFT;
        percent = number(argv[2], 0, 99);
        order = number(argv[3], 0, DMEM_SPAN_ORDER);
        count = number(argv[4], 1, 1UL << 40);
        if (units % DMEM_SPAN_UNITS ||
            (order != 0 && order != DMEM_CHUNK_ORDER && order != DMEM_SPAN_ORDER)) {
                fprintf(stderr, "bench-pool: BYTES must be whole GiB, ORDER one of 0, 9, 18\n");
                return 2;
        }
        before = mallinfo2().uordblks + mallinfo2().hblkhd;
        if (dmem_pool_add(&pool, DMEM_SPAN_UNITS, DMEM_SPAN_UNITS + units, false))
                die("no memory");
        before = mallinfo2().uordblks + mallinfo2().hblkhd - before;
        fill(&pool, units, order == DMEM_SPAN_ORDER ? order : DMEM_CHUNK_ORDER, percent);

        room = pool.nr_free >> order;
        room = room > MOST ? MOST : room;
        if (!room)
                die("nothing is left free");
        turns = (count + room - 1) / room;
        alloc_ns = calloc(turns, sizeof(*alloc_ns));
        free_ns = calloc(turns, sizeof(*free_ns));
        if (!alloc_ns || !free_ns)
                die("no memory");
        clock_ns = clock_takes();
        for (unsigned long i = 0; i < turns; i++) {
                double start = now();

                for (unsigned long k = 0; k < room; k++)
                        out[k] = get(&pool, order);
                alloc_ns[i] = now() - start - clock_ns;
                for (unsigned long k = room; k > 1; k--) {
                        unsigned long other = random_below(k), pfn = out[k - 1];

                        out[k - 1] = out[other];
                        out[other] = pfn;
                }
                start = now();
                for (unsigned long k = 0; k < room; k++)
                        dmem_pool_free(&pool, out[k], 1UL << order);
                free_ns[i] = now() - start - clock_ns;
        }
        if (sim_warnings)
                die("the pool complained");
        printf("{\"alloc_ns\":%.1f,\"free_ns\":%.1f,\"metadata_bytes\":%zu,\"pieces\":%lu}\n",
               median(alloc_ns, turns) / room, median(free_ns, turns) / room, before, turns * room);
        free(alloc_ns);
        free(free_ns);
        return 0;
}
