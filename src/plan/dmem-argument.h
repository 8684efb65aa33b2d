/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What the dmem= arguments of a command line ask of each node
 *
 *     dmem=ITEM[,ITEM...]
 *     ITEM = [NODE:][!]SIZE[:ALIGN]  |  SIZE@ADDR[:ALIGN]
 *
 * Reads them as the kernel does (mm/dmem_parse.c and mm/dmem_place.c of our kernel): within one
 * dmem= the last item that holds for a node counts, several dmem= add up, and an item that cannot
 * be read asks for nothing. A node without such an item is asked for nothing. Pure.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The memory section of x86-64: the least alignment, and the one taken when an item names none. */
#define DMEM_SECTION_SIZE (UINT64_C(128) << 20)

typedef enum DmemItemKind {
        DMEM_ITEM_TAKE,  /* [NODE:]SIZE: reserve this much */
        DMEM_ITEM_LEAVE, /* [NODE:]!SIZE: leave this much, reserve the rest */
        DMEM_ITEM_RANGE, /* SIZE@ADDR: reserve exactly this */
} DmemItemKind;

typedef struct DmemItem {
        DmemItemKind kind;
        unsigned argument; /* which dmem= it belongs to, counted from 0 */
        bool all_nodes;    /* no NODE was given; always so for a range */
        unsigned node;
        uint64_t size; /* as written, not rounded */
        uint64_t address;
        uint64_t align; /* power of two, at least DMEM_SECTION_SIZE */
} DmemItem;

/* A part between two commas that cannot be read. */
typedef struct DmemBadItem {
        char *text;
        const char *why; /* static text, ends a sentence that begins with the item */
} DmemBadItem;

typedef struct DmemRequest {
        DmemItem *items;
        size_t n_items;
        DmemBadItem *bad_items;
        size_t n_bad_items;
} DmemRequest;

void dmem_request_done(DmemRequest *request);

/*
 * Reads the dmem= words of @arguments and passes over all others; NULL is an empty list. @ret is
 * overwritten, not freed. Returns 0 or -ENOMEM.
 */
int dmem_request_parse(char *const *arguments, DmemRequest *ret);

/* What is asked of one node. Ranges are left out, as they do not say on which node they lie. */
typedef struct DmemAsked {
        bool known;     /* false: bytes is not known, `!SIZE` on a node of unknown size */
        uint64_t bytes; /* as written, not rounded; saturates */
        uint64_t loss;  /* at most this much of it goes to rounding down to ALIGN */
} DmemAsked;

/*
 * @installed: memory of the node, reservations included; NULL while it is not known. A node without
 * memory is asked for nothing by an item that holds for every node.
 */
DmemAsked dmem_request_node(const DmemRequest *request, unsigned node, const uint64_t *installed);

/* The same for all ranges together. */
DmemAsked dmem_request_ranges(const DmemRequest *request);
