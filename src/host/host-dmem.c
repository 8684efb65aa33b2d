/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <fcntl.h>

#include "basic/id-set.h"
#include "basic/macro.h"
#include "basic/root-fs.h"
#include "basic/size-util.h"
#include "host/host-dmem.h"
#include "host/host-file.h"
#include "plan/cmdline.h"

#define CLASS_PATH "sys/class/dmem"

static int compare_ranges(const void *a, const void *b) {
        const DmemRange *x = a, *y = b;

        return (x->start > y->start) - (x->start < y->start);
}

/* `0xSTART-0xEND` */
static int parse_region(char *line, DmemRange *ret) {
        char *dash = strchr(line, '-');

        if (!dash)
                return -EBADMSG;
        *dash = '\0';
        if (parse_hex(line, &ret->start) < 0 || parse_hex(dash + 1, &ret->end) < 0 ||
            ret->start >= ret->end)
                return -EBADMSG;
        return 0;
}

int regions_parse(const char *text, DmemRange **ret, size_t *ret_n) {
        _cleanup_free_ DmemRange *regions = NULL;
        _cleanup_free_ char *copy = NULL;
        size_t n = 0, room = 1;
        char *rest, *line;
        int r;

        copy = strdup(text);
        for (const char *c = text; *c != '\0'; c++)
                room += *c == '\n';
        regions = new0(DmemRange, room);
        if (!copy || !regions)
                return -ENOMEM;
        rest = copy;
        while ((line = strsep(&rest, "\n"))) {
                if (*line == '\0')
                        continue;
                r = parse_region(line, &regions[n++]);
                if (r < 0)
                        return r;
        }
        qsort(regions, n, sizeof(DmemRange), compare_ranges);
        for (size_t i = 1; i < n; i++)
                if (regions[i].start < regions[i - 1].end)
                        return -EBADMSG;

        *ret = TAKE_PTR(regions);
        *ret_n = n;
        return 0;
}

/* Lines are `[blanks]START-END : NAME`. */
bool iomem_has_dmem(const char *text) {
        while (*text != '\0') {
                size_t length = strcspn(text, "\n");
                const char *name = memmem(text, length, " : ", 3);

                if (name && (size_t)(text + length - name) == strlen(" : dmem") &&
                    startswith(name, " : dmem"))
                        return true;
                text += length;
                text += strspn(text, "\n");
        }
        return false;
}

static int load_regions(int root_fd, const char *folder, DmemNode *node) {
        _cleanup_free_ char *path = NULL, *text = NULL;
        int r;

        if (asprintf(&path, "%s/regions", folder) < 0)
                return -ENOMEM;
        r = host_read_fact(root_fd, path, &text);
        if (r < 0 || !text)
                return r;
        r = regions_parse(text, &node->regions, &node->n_regions);
        return r == -EBADMSG ? 0 : r;
}

/* Returns 1, 0 if the attribute is unknown, or a negative errno. */
static int load_number(int root_fd, const char *folder, const char *name, uint64_t *ret) {
        _cleanup_free_ char *path = NULL;

        if (asprintf(&path, "%s/%s", folder, name) < 0)
                return -ENOMEM;
        return host_read_fact_u64(root_fd, path, ret);
}

static int load_node(int root_fd, const char *folder, DmemNode *node) {
        const struct {
                const char *name;
                uint64_t *value;
                bool *unknown;
        } attributes[] = {
                { "requested_bytes", &node->requested, &node->requested_unknown },
                { "size_bytes", &node->size, &node->size_unknown },
                { "free_bytes", &node->free, &node->usage_unknown },
                { "used_bytes", &node->used, &node->usage_unknown },
                { "poisoned_bytes", &node->poisoned, &node->usage_unknown },
        };
        int r;

        for (size_t i = 0; i < ELEMENTSOF(attributes); i++) {
                r = load_number(root_fd, folder, attributes[i].name, attributes[i].value);
                if (r < 0)
                        return r;
                if (r == 0)
                        *attributes[i].unknown = true;
        }
        r = load_number(root_fd, folder, "events", &node->poison_events);
        if (r < 0)
                return r;
        r = load_regions(root_fd, folder, node);
        if (r < 0)
                return r;
        if (node->size_unknown && node->n_regions > 0) {
                node->size = dmem_node_region_bytes(node);
                node->size_unknown = false;
        }
        return 0;
}

static int load_class(int root_fd, InForce *in_force) {
        _cleanup_free_ unsigned *ids = NULL;
        size_t n_ids;
        int r;

        in_force->class_present = root_exists(root_fd, CLASS_PATH) > 0;
        r = host_list_numbers(root_fd, CLASS_PATH, "node", &ids, &n_ids);
        if (r < 0)
                return r;
        in_force->nodes = new0(DmemNode, n_ids + 1);
        if (!in_force->nodes)
                return -ENOMEM;
        for (size_t i = 0; i < n_ids; i++) {
                _cleanup_close_ int folder_fd = -EBADF;
                _cleanup_free_ char *folder = NULL;
                DmemNode *node;

                if (asprintf(&folder, CLASS_PATH "/node%u", ids[i]) < 0)
                        return -ENOMEM;
                folder_fd = root_openat(root_fd, folder, O_PATH | O_DIRECTORY, 0);
                if (folder_fd < 0 || ids[i] >= ID_SET_MAX)
                        continue;
                node = &in_force->nodes[in_force->n_nodes++];
                node->id = ids[i];
                r = load_node(root_fd, folder, node);
                if (r < 0)
                        return r;
        }
        return 0;
}

int host_load_in_force(int root_fd, InForce *ret) {
        _cleanup_(in_force_done) InForce in_force = {};
        _cleanup_free_ char *iomem = NULL;
        int r;

        r = load_class(root_fd, &in_force);
        if (r < 0)
                return r;
        r = host_read_fact(root_fd, "proc/iomem", &iomem);
        if (r < 0)
                return r;
        in_force.reserved = iomem && iomem_has_dmem(iomem);
        in_force.reserved_unknown = !iomem;

        *ret = in_force;
        in_force = (InForce){};
        return 0;
}

int host_load_booted(int root_fd, char ***ret_arguments) {
        _cleanup_free_ char *text = NULL;
        int r;

        r = host_read_fact(root_fd, "proc/cmdline", &text);
        if (r < 0)
                return r;
        if (!text) {
                *ret_arguments = NULL;
                return 0;
        }
        return cmdline_extract(text, ret_arguments);
}
