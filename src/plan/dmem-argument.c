/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <limits.h>

#include "basic/macro.h"
#include "basic/size-util.h"
#include "plan/dmem-argument.h"

void dmem_request_done(DmemRequest *request) {
        free(request->items);
        for (size_t i = 0; i < request->n_bad_items; i++)
                free(request->bad_items[i].text);
        free(request->bad_items);
        *request = (DmemRequest){};
}

/* Readers move *p past what they read and return NULL, or say what is wrong. */

static bool accept(const char **p, char wanted) {
        if (**p != wanted)
                return false;
        (*p)++;
        return true;
}

static int digit_value(char c, unsigned base) {
        int value = -1;

        if (c >= '0' && c <= '9')
                value = c - '0';
        else if (c >= 'a' && c <= 'f')
                value = c - 'a' + 10;
        else if (c >= 'A' && c <= 'F')
                value = c - 'A' + 10;
        return value < (int)base ? value : -1;
}

static const char *read_number(const char **p, unsigned base, uint64_t *ret) {
        const char *start = *p;
        bool overflow = false;
        uint64_t value = 0;

        for (int digit; (digit = digit_value(**p, base)) >= 0; (*p)++) {
                if (__builtin_mul_overflow(value, base, &value) ||
                    __builtin_add_overflow(value, (uint64_t)digit, &value))
                        overflow = true;
        }
        if (*p == start)
                return "has no number where one must be";
        if (overflow)
                return "has a number beyond 64 bits";
        *ret = value;
        return NULL;
}

/* The factor of a suffix, or 0 if there is none. */
static uint64_t read_suffix(const char **p) {
        static const char units[] = { 'K', 'k', 'M', 'm', 'G', 'g', 'T', 't' };
        const char *unit = memchr(units, **p, sizeof(units));

        if (!unit)
                return 0;
        (*p)++;
        return KiB << 10 * ((unit - units) / 2);
}

static const char *read_size(const char **p, uint64_t *ret) {
        uint64_t value, factor;
        const char *why;

        why = read_number(p, 10, &value);
        if (why)
                return why;
        factor = read_suffix(p);
        if (factor == 0)
                return "has a size without a suffix, one of K, M, G and T";
        return __builtin_mul_overflow(value, factor, ret) ? "has a size beyond 64 bits" : NULL;
}

/* An address needs no suffix and may be hexadecimal. */
static const char *read_address(const char **p, uint64_t *ret) {
        uint64_t value, factor;
        const char *why;

        if ((*p)[0] == '0' && ((*p)[1] | 0x20) == 'x' && (*p)[2] != '\0') {
                *p += 2;
                why = read_number(p, 16, &value);
        } else
                why = read_number(p, 10, &value);
        if (why)
                return why;
        factor = read_suffix(p);
        return __builtin_mul_overflow(value, factor > 0 ? factor : 1, ret)
                       ? "has an address beyond 64 bits"
                       : NULL;
}

/* A number in front of a colon is a node, as a size always has a suffix. */
static const char *read_node(const char **p, DmemItem *item) {
        const char *ahead = *p, *why;
        uint64_t value = 0;

        item->all_nodes = true;
        why = read_number(&ahead, 10, &value);
        if (!accept(&ahead, ':'))
                return NULL;
        if (why)
                return why;
        if (value > INT_MAX)
                return "names a node that cannot be";
        item->all_nodes = false;
        item->node = (unsigned)value;
        *p = ahead;
        return NULL;
}

static const char *read_range(const char **p, DmemItem *item) {
        const char *why;
        uint64_t end;

        if (item->kind == DMEM_ITEM_LEAVE)
                return "has both ! and @";
        if (!item->all_nodes)
                return "has both a node and an address";
        item->kind = DMEM_ITEM_RANGE;
        why = read_address(p, &item->address);
        if (why)
                return why;
        return __builtin_add_overflow(item->address, item->size, &end) ? "ends beyond 64 bits"
                                                                       : NULL;
}

static const char *read_item(const char *p, DmemItem *item) {
        const char *why;

        if (*p == '\0')
                return "is empty";
        why = read_node(&p, item);
        if (why)
                return why;
        item->kind = accept(&p, '!') ? DMEM_ITEM_LEAVE : DMEM_ITEM_TAKE;
        why = read_size(&p, &item->size);
        if (!why && accept(&p, '@'))
                why = read_range(&p, item);
        if (why)
                return why;

        item->align = DMEM_SECTION_SIZE;
        if (accept(&p, ':')) {
                why = read_size(&p, &item->align);
                if (why)
                        return why;
                if (!is_power_of_two(item->align) || item->align < DMEM_SECTION_SIZE)
                        return "has an alignment that is no power of two of at least 128M";
        }
        return *p == '\0' ? NULL : "has text behind it that does not belong there";
}

static int add_bad_item(DmemRequest *request, char *text, const char *why) {
        DmemBadItem *grown;

        grown = reallocarray(request->bad_items, request->n_bad_items + 1, sizeof(DmemBadItem));
        if (!grown) {
                free(text);
                return -ENOMEM;
        }
        request->bad_items = grown;
        grown[request->n_bad_items++] = (DmemBadItem){ .text = text, .why = why };
        return 0;
}

static int add_item(DmemRequest *request, const DmemItem *item) {
        DmemItem *grown;

        grown = reallocarray(request->items, request->n_items + 1, sizeof(DmemItem));
        if (!grown)
                return -ENOMEM;
        request->items = grown;
        grown[request->n_items++] = *item;
        return 0;
}

static int read_items(DmemRequest *request, const char *value, unsigned argument) {
        for (;;) {
                _cleanup_free_ char *text = NULL;
                size_t length = strcspn(value, ",");
                DmemItem item = { .argument = argument };
                const char *why;
                int r;

                text = strndup(value, length);
                if (!text)
                        return -ENOMEM;
                why = read_item(text, &item);
                r = why ? add_bad_item(request, TAKE_PTR(text), why) : add_item(request, &item);
                if (r < 0)
                        return r;
                if (value[length] == '\0')
                        return 0;
                value += length + 1;
        }
}

int dmem_request_parse(char *const *arguments, DmemRequest *ret) {
        _cleanup_(dmem_request_done) DmemRequest request = {};
        unsigned n_arguments = 0;
        int r;

        for (char *const *a = arguments; a && *a; a++) {
                const char *value = startswith(*a, "dmem=");

                if (!value)
                        continue;
                r = read_items(&request, value, n_arguments++);
                if (r < 0)
                        return r;
        }

        *ret = request;
        request = (DmemRequest){};
        return 0;
}

static uint64_t add_saturating(uint64_t a, uint64_t b) {
        uint64_t sum;

        return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

static bool holds_for(const DmemItem *item, unsigned node, const uint64_t *installed) {
        if (item->kind == DMEM_ITEM_RANGE)
                return false;
        if (item->all_nodes)
                return !installed || *installed > 0;
        return item->node == node;
}

static void ask(DmemAsked *asked, const DmemItem *item, const uint64_t *installed) {
        uint64_t rest;

        if (item->kind == DMEM_ITEM_TAKE) {
                asked->bytes = add_saturating(asked->bytes, item->size);
                asked->loss = add_saturating(asked->loss, item->size & (item->align - 1));
                return;
        }
        /* What we know as installed may be a few pages off what the kernel subtracted from. */
        asked->loss = add_saturating(asked->loss, item->align - 1);
        if (!installed) {
                asked->known = false;
                return;
        }
        rest = *installed > item->size ? *installed - item->size : 0;
        /* Of several dmem= each `!SIZE` is about what those before it have left. */
        asked->bytes = rest > asked->bytes ? rest : asked->bytes;
}

DmemAsked dmem_request_node(const DmemRequest *request, unsigned node, const uint64_t *installed) {
        DmemAsked asked = { .known = true };

        for (size_t i = 0; i < request->n_items; i++) {
                const DmemItem *item = &request->items[i];
                bool last = true;

                if (!holds_for(item, node, installed))
                        continue;
                for (size_t j = i + 1; last && j < request->n_items; j++)
                        last = request->items[j].argument != item->argument ||
                               !holds_for(&request->items[j], node, installed);
                if (last)
                        ask(&asked, item, installed);
        }
        return asked;
}

DmemAsked dmem_request_ranges(const DmemRequest *request) {
        DmemAsked asked = { .known = true };

        for (size_t i = 0; i < request->n_items; i++) {
                const DmemItem *item = &request->items[i];
                uint64_t start, end, aligned;

                if (item->kind != DMEM_ITEM_RANGE)
                        continue;
                /* Both ends are rounded inwards. */
                end = align_down(item->address + item->size, item->align);
                if (__builtin_add_overflow(item->address, item->align - 1, &start))
                        start = end;
                start = align_down(start, item->align);
                aligned = end > start ? end - start : 0;
                asked.bytes = add_saturating(asked.bytes, item->size);
                asked.loss = add_saturating(asked.loss, item->size - aligned);
        }
        return asked;
}
