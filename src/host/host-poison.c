/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>

#include "basic/id-set.h"
#include "basic/root-fs.h"
#include "host/host-dmem.h"
#include "host/host-file.h"
#include "host/host-poison.h"
#include "host/poison-text.h"

#define CLASS_PATH "sys/class/dmem"
#define PATH_ROOM (sizeof(CLASS_PATH "/node/poisoned_bytes") + 3 * sizeof(unsigned))

/* In a storm a list may never hold still; it only grows, and the next look has the rest. */
#define TRIES_MAX 3

static char *attribute(char buffer[static PATH_ROOM], unsigned node, const char *name) {
        (void)snprintf(buffer, PATH_ROOM, CLASS_PATH "/node%u/%s", node, name);
        return buffer;
}

int host_load_poison_events(int root_fd, unsigned node, uint64_t *ret) {
        char path[PATH_ROOM];

        return host_read_fact_u64(root_fd, attribute(path, node, "events"), ret);
}

/*
 * An empty list is an empty file, which host_read_fact() would take for one that is not known.
 * Returns 1 and *ret, 0 if it cannot be read, or a negative errno.
 */
static int read_list(int root_fd, unsigned node, const char *name, char **ret) {
        char path[PATH_ROOM];
        int r;

        r = root_read_text(root_fd, attribute(path, node, name), ret);
        if (r >= 0)
                return 1;
        return r == -ENOMEM || r == -EMFILE || r == -ENFILE ? r : 0;
}

static int load_units(int root_fd, PoisonNode *node) {
        for (unsigned i = 0; i < TRIES_MAX; i++) {
                _cleanup_free_ char *text = NULL;
                uint64_t events;
                int r, known;

                free(TAKE_PTR(node->units));
                node->units_known = false;
                r = host_load_poison_events(root_fd, node->id, &node->events);
                if (r < 0)
                        return r;
                node->events_known = r > 0;
                r = read_list(root_fd, node->id, "poisoned", &text);
                if (r <= 0)
                        return r;
                r = poisoned_parse(text, &node->units, &node->n_units);
                if (r == -EBADMSG)
                        return 0;
                if (r < 0)
                        return r;
                node->units_known = true;
                node->units_partial = false;
                known = host_load_poison_events(root_fd, node->id, &events);
                if (known < 0)
                        return known;
                if (known == 0 || events == node->events)
                        return 0;
        }
        node->units_partial = true;
        return 0;
}

static int load_regions(int root_fd, PoisonNode *node) {
        _cleanup_free_ char *text = NULL;
        char path[PATH_ROOM];
        int r;

        r = host_read_fact(root_fd, attribute(path, node->id, "regions"), &text);
        if (r < 0 || !text)
                return r;
        r = regions_parse(text, &node->regions, &node->n_regions);
        return r == -EBADMSG ? 0 : r;
}

int host_load_poison(int root_fd, PoisonNode **ret, size_t *ret_n) {
        _cleanup_free_ unsigned *ids = NULL;
        PoisonNode *nodes;
        size_t n_ids, n = 0;
        int r;

        r = host_list_numbers(root_fd, CLASS_PATH, "node", &ids, &n_ids);
        if (r < 0)
                return r;
        nodes = new0(PoisonNode, n_ids + 1);
        if (!nodes)
                return -ENOMEM;
        for (size_t i = 0; i < n_ids && r >= 0; i++) {
                if (ids[i] >= ID_SET_MAX)
                        continue;
                nodes[n].id = ids[i];
                r = load_regions(root_fd, &nodes[n]);
                if (r >= 0)
                        r = load_units(root_fd, &nodes[n]);
                n++;
        }
        if (r < 0) {
                poison_nodes_free(nodes, n);
                return r;
        }
        *ret = nodes;
        *ret_n = n;
        return 0;
}

int host_load_poison_users(int root_fd, unsigned node, Sighting **ret, size_t *ret_n) {
        _cleanup_free_ char *text = NULL;
        int r;

        r = read_list(root_fd, node, "users", &text);
        if (r < 0)
                return r;
        r = r == 0 ? -EBADMSG : users_parse(text, ret, ret_n);
        if (r == -EBADMSG) {
                *ret = NULL;
                *ret_n = 0;
                return 0;
        }
        return r;
}

int host_retire(int root_fd, unsigned node, uint64_t address) {
        char path[PATH_ROOM], text[2 + 16 + 2];
        _cleanup_close_ int fd = -EBADF;
        int n;

        /* O_APPEND: makes no difference to sysfs, and shows what was written in a tree of files */
        fd = root_openat(root_fd, attribute(path, node, "retire"),
                         O_WRONLY | O_APPEND | O_NOCTTY | O_NOFOLLOW, 0);
        if (fd < 0)
                return fd;
        n = snprintf(text, sizeof(text), "0x%" PRIx64 "\n", address);
        return write(fd, text, (size_t)n) < 0 ? -errno : 0;
}
