/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "plan/hugepages-argument.h"
#include "basic/id-set.h"
#include "basic/macro.h"
#include "basic/root-fs.h"
#include "basic/size-util.h"

typedef struct Reader {
        HugePagesAsked *items;
        size_t n_items;
        uint64_t *sizes; /* that a hugepagesz= named */
        size_t n_sizes;
        uint64_t page_size; /* of the counts that follow; 0: they are ignored */
} Reader;

static void read_size(Reader *reader, const char *text) {
        uint64_t size;

        reader->page_size = 0;
        if (parse_size(text, &size) < 0)
                return;
        for (size_t i = 0; i < reader->n_sizes; i++)
                if (reader->sizes[i] == size)
                        return;
        reader->sizes[reader->n_sizes++] = size;
        reader->page_size = size;
}

/* The last count for a node holds. */
static int add_count(Reader *reader, unsigned node, uint64_t count) {
        HugePagesAsked *grown;

        for (size_t i = 0; i < reader->n_items; i++)
                if (reader->items[i].node == node &&
                    reader->items[i].page_size == reader->page_size) {
                        reader->items[i].count = count;
                        return 0;
                }
        grown = reallocarray(reader->items, reader->n_items + 1, sizeof(HugePagesAsked));
        if (!grown)
                return -ENOMEM;
        reader->items = grown;
        grown[reader->n_items++] = (HugePagesAsked){
                .node = node,
                .page_size = reader->page_size,
                .count = count,
        };
        return 0;
}

/* The kernel stops at the first item that it cannot read, and so do we. */
static int read_counts(Reader *reader, const char *text) {
        _cleanup_free_ char *copy = strdup(text);
        char *rest = copy, *item;
        int r = 0;

        if (!copy)
                return -ENOMEM;
        while (r >= 0 && reader->page_size > 0 && (item = strsep(&rest, ","))) {
                char *colon = strchr(item, ':');
                uint64_t count;
                unsigned node;

                if (!colon)
                        break;
                *colon = '\0';
                if (parse_unsigned(item, &node) < 0 || node >= ID_SET_MAX ||
                    parse_u64(colon + 1, &count) < 0)
                        break;
                r = add_count(reader, node, count);
        }
        reader->page_size = 0; /* a second hugepages= without a size between is ignored, too */
        return r;
}

static int compare_asked(const void *a, const void *b) {
        const HugePagesAsked *x = a, *y = b;

        if (x->node != y->node)
                return x->node > y->node ? 1 : -1;
        return (x->page_size < y->page_size) - (x->page_size > y->page_size);
}

/* Without those of which none are asked. */
static void finish(Reader *reader) {
        size_t n = 0;

        for (size_t i = 0; i < reader->n_items; i++)
                if (reader->items[i].count > 0)
                        reader->items[n++] = reader->items[i];
        reader->n_items = n;
        if (n > 0)
                qsort(reader->items, n, sizeof(HugePagesAsked), compare_asked);
}

int hugepages_parse(char *const *arguments, HugePagesAsked **ret, size_t *ret_n) {
        _cleanup_free_ uint64_t *sizes = new0(uint64_t, strv_length(arguments) + 1);
        Reader reader = { .sizes = sizes };
        int r = 0;

        if (!sizes)
                return -ENOMEM;
        for (char *const *a = arguments; r >= 0 && a && *a; a++) {
                const char *value;

                if ((value = startswith(*a, "hugepagesz=")))
                        read_size(&reader, value);
                else if ((value = startswith(*a, "hugepages=")))
                        r = read_counts(&reader, value);
        }
        if (r < 0) {
                free(reader.items);
                return r;
        }
        finish(&reader);
        *ret = reader.items;
        *ret_n = reader.n_items;
        return 0;
}

uint64_t hugepages_find(const HugePagesAsked *asked, size_t n, unsigned node, uint64_t page_size) {
        for (size_t i = 0; i < n; i++)
                if (asked[i].node == node && asked[i].page_size == page_size)
                        return asked[i].count;
        return 0;
}
