/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <fcntl.h>
#include <inttypes.h>
#include <time.h>

#include "basic/id-set.h"
#include "basic/macro.h"
#include "basic/root-fs.h"
#include "host/host-file.h"
#include "host/host-hugepages.h"

#define NODE_PATH "sys/devices/system/node"

#define ROUNDS_MAX 6
#define PAUSE_USEC UINT64_C(100000) /* the first; each further one is twice as long */
#define SECONDS_MAX 30

static const uint64_t page_sizes[] = { GiB, 2 * MiB };

/* Where a node has its pages of one size. */
typedef struct PoolPath {
        char text[128];
} PoolPath;

static PoolPath pool_path(unsigned node, uint64_t page_size, const char *file) {
        PoolPath path;

        (void)snprintf(path.text, sizeof(path.text),
                       NODE_PATH "/node%u/hugepages/hugepages-%" PRIu64 "kB/%s", node,
                       page_size / KiB, file);
        return path;
}

/* Returns 1, 0 if it cannot be read, or a negative errno. */
static int read_count(int root_fd, unsigned node, uint64_t page_size, const char *file,
                      uint64_t *ret) {
        return host_read_fact_u64(root_fd, pool_path(node, page_size, file).text, ret);
}

static int load_pool(int root_fd, unsigned node, uint64_t page_size, HugePool *pool) {
        char folder[64];
        int r;

        *pool = (HugePool){ .node = node, .page_size = page_size };
        r = read_count(root_fd, node, page_size, "nr_hugepages", &pool->total);
        if (r < 0)
                return r;
        pool->known = r > 0;
        r = read_count(root_fd, node, page_size, "free_hugepages", &pool->free);
        if (r < 0)
                return r;
        pool->free_known = r > 0;
        if (pool->known)
                return 0;
        (void)snprintf(folder, sizeof(folder), NODE_PATH "/node%u/hugepages", node);
        if (root_exists(root_fd, folder) > 0 &&
            root_exists(root_fd, pool_path(node, page_size, "").text) == 0)
                pool->known = pool->free_known = true;
        return 0;
}

int host_load_pools(int root_fd, InForce *in_force) {
        _cleanup_free_ unsigned *ids = NULL;
        size_t n_ids;
        int r;

        r = host_list_numbers(root_fd, NODE_PATH, "node", &ids, &n_ids);
        if (r < 0)
                return r;
        free(in_force->pools);
        in_force->n_pools = 0;
        in_force->pools = new0(HugePool, n_ids * ELEMENTSOF(page_sizes) + 1);
        if (!in_force->pools)
                return -ENOMEM;
        for (size_t i = 0; i < n_ids && ids[i] < ID_SET_MAX; i++)
                for (size_t k = 0; k < ELEMENTSOF(page_sizes); k++) {
                        r = load_pool(root_fd, ids[i], page_sizes[k],
                                      &in_force->pools[in_force->n_pools++]);
                        if (r < 0)
                                return r;
                }
        return 0;
}

/* What the kernel makes of it is read afterwards: it says neither how much it did nor why. */
static void write_number(int root_fd, const char *path, uint64_t number) {
        _cleanup_close_ int fd = -EBADF;
        char text[32];
        int length;

        fd = root_openat(root_fd, path, O_WRONLY | O_TRUNC, 0);
        if (fd < 0)
                return;
        length = snprintf(text, sizeof(text), "%" PRIu64 "\n", number);
        while (write(fd, text, (size_t)length) < 0 && errno == EINTR)
                ;
}

static int count_granted(int root_fd, HugePagesWish *w) {
        int r;

        r = read_count(root_fd, w->node, w->page_size, "nr_hugepages", &w->granted);
        if (r < 0)
                return r;
        w->known = r > 0;
        return 0;
}

static bool is_short(const HugePagesWish *w) {
        return w->known && w->granted < w->asked;
}

static uint64_t asked_of(const HugePagesWish *wishes, size_t n, unsigned node, uint64_t size) {
        for (size_t i = 0; i < n; i++)
                if (wishes[i].node == node && wishes[i].page_size == size)
                        return wishes[i].asked;
        return 0;
}

/* Are pages of this size missing on one node while another has too many, and no more in all? */
static bool is_misplaced(const InForce *in_force, const HugePagesWish *wishes, size_t n,
                         uint64_t page_size) {
        uint64_t asked = 0, granted = 0;
        bool any_short = false;

        for (size_t i = 0; i < n; i++)
                if (wishes[i].page_size == page_size) {
                        if (__builtin_add_overflow(asked, wishes[i].asked, &asked))
                                return false;
                        any_short = any_short || is_short(&wishes[i]);
                }
        for (size_t i = 0; i < in_force->n_pools; i++)
                if (in_force->pools[i].page_size == page_size &&
                    (!in_force->pools[i].known ||
                     __builtin_add_overflow(granted, in_force->pools[i].total, &granted)))
                        return false;
        return any_short && granted <= asked;
}

static void give_back(int root_fd, const InForce *in_force, const HugePagesWish *wishes, size_t n) {
        for (size_t i = 0; i < in_force->n_pools; i++) {
                const HugePool *pool = &in_force->pools[i];
                uint64_t asked = asked_of(wishes, n, pool->node, pool->page_size), too_many;

                if (pool->page_size != GiB || pool->total <= asked || !pool->free_known)
                        continue;
                too_many = pool->total - asked;
                if (too_many > pool->free)
                        too_many = pool->free;
                if (too_many > 0)
                        write_number(root_fd,
                                     pool_path(pool->node, pool->page_size, "nr_hugepages").text,
                                     pool->total - too_many);
        }
}

static int give_back_misplaced(int root_fd, HugePagesWish *wishes, size_t n) {
        _cleanup_(in_force_done) InForce in_force = {};
        int r;

        r = host_load_pools(root_fd, &in_force);
        if (r < 0)
                return r;
        if (is_misplaced(&in_force, wishes, n, GiB))
                give_back(root_fd, &in_force, wishes, n);
        return 0;
}

static int ask_again(int root_fd, HugePagesWish *w, bool compact) {
        char path[64];

        if (compact) {
                (void)snprintf(path, sizeof(path), NODE_PATH "/node%u/compact", w->node);
                write_number(root_fd, path, 1);
        }
        write_number(root_fd, pool_path(w->node, w->page_size, "nr_hugepages").text, w->asked);
        return count_granted(root_fd, w);
}

static int64_t now_seconds(void) {
        struct timespec now;

        return clock_gettime(CLOCK_MONOTONIC, &now) < 0 ? 0 : (int64_t)now.tv_sec;
}

static void pause_usec(uint64_t usec) {
        struct timespec pause = {
                .tv_sec = (time_t)(usec / 1000000),
                .tv_nsec = (long)(usec % 1000000) * 1000,
        };

        (void)nanosleep(&pause, NULL);
}

/* One round over all sizes, the largest first: it is the hardest to find. Returns how many miss. */
static int ask_for_all(int root_fd, HugePagesWish *wishes, size_t n, bool compact, int64_t end) {
        int missing = 0;

        for (size_t k = 0; k < ELEMENTSOF(page_sizes); k++)
                for (size_t i = 0; i < n && now_seconds() <= end; i++) {
                        int r;

                        if (wishes[i].page_size != page_sizes[k] || !is_short(&wishes[i]))
                                continue;
                        r = ask_again(root_fd, &wishes[i], compact);
                        if (r < 0)
                                return r;
                        missing += is_short(&wishes[i]);
                }
        return missing;
}

int host_grow_pools(int root_fd, HugePagesWish *wishes, size_t n_wishes) {
        int64_t end = now_seconds() + SECONDS_MAX;
        int r;

        for (size_t i = 0; i < n_wishes; i++) {
                r = count_granted(root_fd, &wishes[i]);
                if (r < 0)
                        return r;
                wishes[i].before = wishes[i].granted;
        }
        r = give_back_misplaced(root_fd, wishes, n_wishes);
        for (unsigned round = 0; r >= 0 && round < ROUNDS_MAX; round++) {
                r = ask_for_all(root_fd, wishes, n_wishes, round > 0, end);
                if (r <= 0 || round + 1 == ROUNDS_MAX || now_seconds() > end)
                        break;
                pause_usec(PAUSE_USEC << round);
        }
        return r < 0 ? r : 0;
}
