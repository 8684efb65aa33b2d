/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "basic/id-set.h"
#include "basic/macro.h"
#include "basic/size-util.h"

void id_set_done(IdSet *set) {
        free(set->ranges);
        *set = (IdSet){};
}

static int id_set_add(IdSet *set, unsigned first, unsigned last) {
        IdRange *grown;

        grown = reallocarray(set->ranges, set->n_ranges + 1, sizeof(IdRange));
        if (!grown)
                return -ENOMEM;
        set->ranges = grown;
        set->ranges[set->n_ranges++] = (IdRange){ .first = first, .last = last };
        return 0;
}

static int compare_ranges(const void *a, const void *b) {
        const IdRange *x = a, *y = b;

        return (x->first > y->first) - (x->first < y->first);
}

/* Establishes the invariant of the header: sorted, and neighbours joined. */
static void id_set_normalize(IdSet *set) {
        size_t n = 0;

        if (set->n_ranges == 0)
                return;
        qsort(set->ranges, set->n_ranges, sizeof(IdRange), compare_ranges);
        for (size_t i = 1; i < set->n_ranges; i++) {
                IdRange *last = &set->ranges[n];

                if (set->ranges[i].first > last->last + 1)
                        set->ranges[++n] = set->ranges[i];
                else if (set->ranges[i].last > last->last)
                        last->last = set->ranges[i].last;
        }
        set->n_ranges = n + 1;
}

/* A copy of @text without the blanks at both ends. */
static char *strip(const char *text) {
        size_t length;

        while (isspace((unsigned char)*text))
                text++;
        length = strlen(text);
        while (length > 0 && isspace((unsigned char)text[length - 1]))
                length--;
        return strndup(text, length);
}

/* `5` or `5-9` */
static int parse_range(char *text, IdRange *ret) {
        char *dash = strchr(text, '-');
        IdRange range;
        int r;

        if (dash)
                *dash = '\0';
        r = parse_unsigned(text, &range.first);
        if (r < 0)
                return r;
        range.last = range.first;
        if (dash) {
                r = parse_unsigned(dash + 1, &range.last);
                if (r < 0)
                        return r;
        }
        if (range.last < range.first)
                return -EINVAL;
        if (range.last >= ID_SET_MAX)
                return -ERANGE;

        *ret = range;
        return 0;
}

int id_set_parse(const char *text, IdSet *ret) {
        _cleanup_(id_set_done) IdSet set = {};
        _cleanup_free_ char *copy = NULL;
        char *rest;
        int r;

        copy = strip(text);
        if (!copy)
                return -ENOMEM;
        rest = copy[0] == '\0' ? NULL : copy;
        while (rest) {
                char *item = strsep(&rest, ",");
                IdRange range;

                r = parse_range(item, &range);
                if (r < 0)
                        return r;
                r = id_set_add(&set, range.first, range.last);
                if (r < 0)
                        return r;
        }
        id_set_normalize(&set);

        *ret = set;
        set = (IdSet){};
        return 0;
}

int id_set_parse_mask(const char *text, IdSet *ret) {
        _cleanup_(id_set_done) IdSet set = {};
        _cleanup_free_ char *copy = NULL;
        unsigned base = 0;
        int r;

        copy = strip(text);
        if (!copy)
                return -ENOMEM;

        /* The last word holds ids 0 to 31: take the words from the end. */
        for (char *word = copy + strlen(copy); word; base += 32) {
                uint64_t bits;

                while (word > copy && word[-1] != ',')
                        word--;
                r = parse_hex(word, &bits);
                if (r < 0)
                        return r;
                if (bits > UINT32_MAX)
                        return -EINVAL;
                for (unsigned i = 0; i < 32; i++) {
                        if (!(bits >> i & 1))
                                continue;
                        if (base + i >= ID_SET_MAX)
                                return -ERANGE;
                        r = id_set_add(&set, base + i, base + i);
                        if (r < 0)
                                return r;
                }
                if (word == copy)
                        break;
                *--word = '\0';
        }
        id_set_normalize(&set);

        *ret = set;
        set = (IdSet){};
        return 0;
}

bool id_set_contains(const IdSet *set, unsigned id) {
        for (size_t i = 0; i < set->n_ranges; i++)
                if (id >= set->ranges[i].first && id <= set->ranges[i].last)
                        return true;
        return false;
}

char *id_set_format(const IdSet *set) {
        _cleanup_free_ char *text = NULL;
        size_t size;
        FILE *f;

        f = open_memstream(&text, &size);
        if (!f)
                return NULL;
        for (size_t i = 0; i < set->n_ranges; i++) {
                const IdRange *range = &set->ranges[i];

                fprintf(f, "%s%u", i > 0 ? "," : "", range->first);
                if (range->last > range->first)
                        fprintf(f, "-%u", range->last);
        }
        if (fclose(f) != 0)
                return NULL;
        return TAKE_PTR(text);
}
