/* SPDX-License-Identifier: GPL-2.0 */
/*
 * dmem_cases.h - what dmem= has to do, as tables
 *
 * For the programs that test dmem_parse.c and dmem_place.c: dmem_kunit.c in the kernel, and those
 * that compile the same code in user space. Each includes this once.
 */
#ifndef _MM_DMEM_CASES_H
#define _MM_DMEM_CASES_H

#include <linux/init.h>
#include <linux/minmax.h>
#include <linux/sizes.h>
#include <linux/string.h>
#include <linux/types.h>

#include "dmem_internal.h"

#define K ((u64)SZ_1K)
#define M ((u64)SZ_1M)
#define G ((u64)SZ_1G)
#define T (1024 * G)

#define SECTION (128 * M)
#define MIN_FLOOR (512 * M)

/* One row is one item, so without commas. An error is given by a part of its text. */
static const struct parse_case {
	const char *text;
	const char *error;
	enum dmem_kind kind;
	int nid;
	u64 size, addr, align;
} parse_cases[] = {
	{ "4G", NULL, DMEM_TAKE, -1, 4 * G, 0, SECTION },
	{ "4g", NULL, DMEM_TAKE, -1, 4 * G, 0, SECTION },
	{ "1024K", NULL, DMEM_TAKE, -1, 1 * M, 0, SECTION },
	{ "3T", NULL, DMEM_TAKE, -1, 3 * T, 0, SECTION },
	{ "0G", NULL, DMEM_TAKE, -1, 0, 0, SECTION },
	{ "010G", NULL, DMEM_TAKE, -1, 10 * G, 0, SECTION },
	{ "0:4G", NULL, DMEM_TAKE, 0, 4 * G, 0, SECTION },
	{ "63:512M", NULL, DMEM_TAKE, 63, 512 * M, 0, SECTION },
	{ "4G:1G", NULL, DMEM_TAKE, -1, 4 * G, 0, 1 * G },
	{ "1:4G:1G", NULL, DMEM_TAKE, 1, 4 * G, 0, 1 * G },
	{ "4G:128M", NULL, DMEM_TAKE, -1, 4 * G, 0, SECTION },
	{ "4G:131072K", NULL, DMEM_TAKE, -1, 4 * G, 0, SECTION },
	{ "4G:8388608T", NULL, DMEM_TAKE, -1, 4 * G, 0, 1ULL << 63 },
	{ "!2G", NULL, DMEM_LEAVE, -1, 2 * G, 0, SECTION },
	{ "1:!2G", NULL, DMEM_LEAVE, 1, 2 * G, 0, SECTION },
	{ "1:!2G:2G", NULL, DMEM_LEAVE, 1, 2 * G, 0, 2 * G },
	{ "!0M", NULL, DMEM_LEAVE, -1, 0, 0, SECTION },
	{ "1G@5G", NULL, DMEM_RANGE, -1, 1 * G, 5 * G, SECTION },
	{ "1G@0x140000000", NULL, DMEM_RANGE, -1, 1 * G, 5 * G, SECTION },
	{ "1G@0X1400000K", NULL, DMEM_RANGE, -1, 1 * G, 20 * G, SECTION },
	{ "1G@5368709120:1G", NULL, DMEM_RANGE, -1, 1 * G, 5 * G, 1 * G },
	{ "512M@16M", NULL, DMEM_RANGE, -1, 512 * M, 16 * M, SECTION },

	{ "", "empty" },
	{ "banana", "number is missing" },
	{ "4", "suffix" },
	{ "0:4", "suffix" },
	{ "0:4:1G", "suffix" },
	{ "1073741824", "suffix" },
	{ "4P", "suffix" },
	{ "4%", "suffix" },
	{ "0x4G", "suffix" },
	{ "4G:", "number is missing" },
	{ "4G:1", "suffix" },
	{ "4G:64M", "at least" },
	{ "4G:3G", "power of two" },
	{ "4G:0G", "power of two" },
	{ "4G:1G:1G", "behind" },
	{ "4GB", "behind" },
	{ "4G ", "behind" },
	{ " 4G", "number is missing" },
	{ "-4G", "number is missing" },
	{ "+4G", "number is missing" },
	{ "4.5G", "suffix" },
	{ ":4G", "node number is missing" },
	{ "0:", "number is missing" },
	{ "0:1:4G", "suffix" },
	{ "n0:4G", "number is missing" },
	{ "2147483648:4G", "no such node" },
	{ "18446744073709551616:4G", "too large" },
	{ "!", "number is missing" },
	{ "!!4G", "number is missing" },
	{ "!0:4G", "suffix" },
	{ "4G!", "behind" },
	{ "@5G", "number is missing" },
	{ "1G@", "number is missing" },
	{ "1G@0x", "behind" },
	{ "1G@0x:1G", "number is missing" },
	{ "1G@banana", "number is missing" },
	{ "1G@5G@6G", "behind" },
	{ "!1G@5G", "exclude" },
	{ "0:1G@5G", "node" },
	{ "18446744073709551616K", "too large" },
	{ "18446744073709551615K", "too large" },
	{ "16777216T", "too large" },
	{ "99999999999999999999999999G", "too large" },
	{ "1G@16777216T", "too large" },
	{ "1G@0xffffffffffffffff", "beyond" },
	{ "1G@0x1ffffffffffffffff", "too large" },
	{ "4G:16777216T", "too large" },
};

/*
 * Drawings. A character is a section, '|' stands between two GiB.
 *	'.' free   '#' in use   ' ' no RAM   and in what comes out   'D' dmem
 */
#define MAX_DRAWING 64
#define MAX_ROWS 3

struct drawing {
	int nid;
	u64 start_gib;
	const char *before, *after;
};

static const struct picture {
	const char *name;
	const char *dmem;		/* values of one or more dmem=, with a space between two */
	struct drawing rows[MAX_ROWS];
	u64 promised, gib_pages;	/* of each node */
	const char *verdicts;		/* a letter for each item, see verdict_letter() */
	u64 cut, lost;			/* over all nodes */
} pictures[] = {
	{ "whole GiB from the top", "2G",
	  { { 0, 1, "........|........|........|........",
		    "........|........|DDDDDDDD|DDDDDDDD" } } },
	{ "the top GiB is not whole", "2G",
	  { { 0, 1, "........|........|........|.......#",
		    "........|DDDDDDDD|DDDDDDDD|.......#" } } },
	{ "the rest comes from beside the whole ones", "2304M",
	  { { 0, 1, "........|........|........|.......#",
		    "........|DDDDDDDD|DDDDDDDD|.....DD#" } } },
	{ "from above before from below", "1536M",
	  { { 0, 1, "..##....|........|..#.....|#.......",
		    "..##....|DDDDDDDD|..#.....|#...DDDD" } } },
	{ "below a whole one rather than out of it", "1152M",
	  { { 0, 1, "....####|........|........|",
		    "...D####|........|DDDDDDDD|" } } },
	{ "a whole one is broken up last", "2176M",
	  { { 0, 1, "###.....|........|........|.......#",
		    "###.....|DDDDDDDD|DDDDDDDD|......D#" } } },
	{ "nothing but whole ones", "1152M",
	  { { 0, 1, "########|........|........|",
		    "########|.......D|DDDDDDDD|" } } },
	{ "align 1G takes no rest", "2304M:1G",
	  { { 0, 1, "........|........|........|.......#",
		    "........|DDDDDDDD|DDDDDDDD|.......#" } } },
	{ "align 2G", "4G:2G",
	  { { 0, 1, "........|........|........|........|........|........|",
		    "........|DDDDDDDD|DDDDDDDD|DDDDDDDD|DDDDDDDD|........|" } } },
	{ "align 2G that is not there", "2G:2G",
	  { { 0, 1, "........|........|",
		    "........|........|" } }, .cut = 2 * G },
	{ "align 512M", "1G:512M",
	  { { 0, 1, "#.......|.......#|.......#|",
		    "#.......|DDDD...#|DDDD...#|" } } },
	{ "align 512M, not enough blocks", "2G:512M",
	  { { 0, 1, "#.......|...#...#|.......#|",
		    "#...DDDD|...#...#|DDDD...#|" } }, .lost = 1 * G },
	{ "size is rounded down", "1535M",
	  { { 0, 1, "........|........|........|",
		    "........|.....DDD|DDDDDDDD|" } } },
	{ "smaller than a section", "127M",
	  { { 0, 1, "........|........|", "........|........|" } } },
	{ "every node with memory", "1G",
	  { { 0, 0, "#.......|........|........|", "#.......|........|DDDDDDDD|" },
	    { 1, 4, "........|.......#|........|", "........|.......#|DDDDDDDD|" },
	    { 3, 8, "........|........|", "........|DDDDDDDD|" } } },
	{ "one node", "1:1G",
	  { { 0, 0, "#.......|........|........|", "#.......|........|........|" },
	    { 1, 4, "........|.......#|........|", "........|.......#|DDDDDDDD|" } } },
	{ "a later item replaces", "1G,1:2G",
	  { { 0, 0, "#.......|........|........|", "#.......|........|DDDDDDDD|" },
	    { 1, 4, "........|........|........|", "........|DDDDDDDD|DDDDDDDD|" } } },
	{ "a later item for all replaces", "1:2G,1G",
	  { { 0, 0, "#.......|........|........|", "#.......|........|DDDDDDDD|" },
	    { 1, 4, "........|........|........|", "........|........|DDDDDDDD|" } } },
	{ "a later item takes a node out", "1G,0:0G",
	  { { 0, 0, "#.......|........|........|", "#.......|........|........|" },
	    { 1, 4, "........|........|........|", "........|........|DDDDDDDD|" } } },
	{ "a bad item replaces nothing", "1G,1:2,1:2G:3M",
	  { { 0, 0, "#.......|........|........|", "#.......|........|DDDDDDDD|" },
	    { 1, 4, "........|........|........|", "........|........|DDDDDDDD|" } },
	  .verdicts = ".ee" },
	{ "several dmem= add up", "1:1G 1G",
	  { { 0, 0, "#.......|........|........|", "#.......|........|DDDDDDDD|" },
	    { 1, 4, "........|........|........|", "........|DDDDDDDD|DDDDDDDD|" } } },
	{ "a node in two pieces, the higher first", "1:2G",
	  { { 0, 0, "........|", "........|" },
	    { 1, 1, "........|........|", "........|DDDDDDDD|" },
	    { 1, 5, "........|", "DDDDDDDD|" } } },
	{ "a node that is not there", "2:1G",
	  { { 0, 0, "........|........|", "........|........|" } }, .verdicts = "n" },
	{ "leave", "!1G",
	  { { 0, 0, "#.......|........|........|", "#.......|DDDDDDDD|DDDDDDDD|" } } },
	{ "leave what is not a multiple", "!1000M",
	  { { 0, 0, "#.......|........|........|", "#.......|DDDDDDDD|DDDDDDDD|" } } },
	{ "leave more than there is", "!9G",
	  { { 0, 0, "#.......|........|........|", "#.......|........|........|" } } },
	{ "leave less than the floor", "!128M",
	  { { 0, 0, "#.......|........|........|", "#...DDDD|DDDDDDDD|DDDDDDDD|" } },
	  .cut = 384 * M },
	{ "leave nothing, with align", "!0G:1G",
	  { { 0, 0, "#.......|........|........|", "#.......|DDDDDDDD|DDDDDDDD|" } },
	  .cut = 1 * G },
	{ "leave holds against another dmem=", "!2G 1G",
	  { { 0, 0, "#.......|........|........|", "#.......|........|DDDDDDDD|" } },
	  .cut = 1 * G },
	{ "the floor", "900G",
	  { { 0, 0, "........|........|........|", "....DDDD|DDDDDDDD|DDDDDDDD|" } },
	  .cut = 900 * G - 2560 * M },
	{ "what is in use counts as kept", "900G",
	  { { 0, 0, "####....|........|........|", "####DDDD|DDDDDDDD|DDDDDDDD|" } },
	  .cut = 900 * G - 2560 * M },
	{ "too much in use", "900G",
	  { { 0, 0, "######..|........|......##|", "######DD|DDDDDDDD|DDDDDD##|" } },
	  .cut = 900 * G - 2560 * M, .lost = 512 * M },
	{ "a node below the floor", "1G",
	  { { 0, 0, "....", "...." }, { 1, 4, "........|........|", "........|DDDDDDDD|" } },
	  .cut = 1 * G },
	{ "promises stay on top of the floor", "900G",
	  { { 0, 0, "........|........|........|", "........|DDDDDDDD|DDDDDDDD|" } },
	  .promised = 512 * M, .cut = 898 * G },
	{ "leave covers promises", "!1G",
	  { { 0, 0, "........|........|........|", "........|DDDDDDDD|DDDDDDDD|" } },
	  .promised = 512 * M },
	{ "promises beyond the node", "1G",
	  { { 0, 0, "........|........|........|", "........|........|........|" } },
	  .promised = ~0ULL, .cut = 1 * G },
	{ "GiB blocks for 1G pages: the lowest, and room above them", "900G",
	  { { 0, 0, "###.....|........|........|........|.......#|",
		    "###DDDDD|........|DDDDDDDD|DDDDDDDD|DDDDDD.#|" } },
	  .promised = 1 * G, .gib_pages = 1, .cut = 900 * G - 3584 * M, .lost = 128 * M },
	{ "more 1G pages than blocks", "!2G",
	  { { 0, 0, "###.....|........|........|.......#|",
		    "###.....|........|........|.......#|" } },
	  .promised = 9 * G, .gib_pages = 9, .cut = 2 * G },
	{ "range", "1G@2G",
	  { { 0, 0, "#.......|........|........|........|",
		    "#.......|........|DDDDDDDD|........|" } }, .verdicts = "." },
	{ "range and size", "1G@2G,1G",
	  { { 0, 0, "#.......|........|........|........|",
		    "#.......|........|DDDDDDDD|DDDDDDDD|" } }, .verdicts = ".." },
	{ "size does not replace range", "256M@256M,0:1G",
	  { { 0, 0, "#.......|........|........|........|",
		    "#.DD....|........|........|DDDDDDDD|" } }, .verdicts = ".." },
	{ "range and leave", "1G@1G,!2G",
	  { { 0, 0, "#.......|........|........|........|",
		    "#.......|DDDDDDDD|........|DDDDDDDD|" } }, .verdicts = ".." },
	{ "range is rounded inwards", "1000M@1100M",
	  { { 0, 0, "#.......|........|........|........|",
		    "#.......|.DDDDDDD|........|........|" } }, .verdicts = "." },
	{ "range that rounds to nothing", "200M@1030M,1G@512M:1G",
	  { { 0, 0, "#.......|........|........|........|",
		    "#.......|........|........|........|" } }, .verdicts = "ss" },
	{ "range whose unaligned edge is in use", "1000M@1100M",
	  { { 0, 0, "#.......|#.......|........|........|",
		    "#.......|#.......|........|........|" } }, .verdicts = "u" },
	{ "range that is in use", "1G@0G,1G@1G",
	  { { 0, 0, "#.......|....#...|........|........|",
		    "#.......|....#...|........|........|" } }, .verdicts = "uu" },
	{ "range beyond memory", "1G@3584M,1G@100G",
	  { { 0, 0, "#.......|........|........|........|",
		    "#.......|........|........|........|" } }, .verdicts = "un" },
	{ "range twice, and overlapping", "1G@1G,1G@1G,1G@1536M",
	  { { 0, 0, "#.......|........|........|........|",
		    "#.......|DDDDDDDD|........|........|" } }, .verdicts = ".uu" },
	{ "range over two nodes", "1G@2560M,1G@3G",
	  { { 0, 0, "#.......|........|........|", "#.......|........|........|" },
	    { 1, 3, "........|........|", "DDDDDDDD|........|" } }, .verdicts = "x." },
	{ "range against the floor", "3G@1G,3456M@640M",
	  { { 0, 0, "#.......|........|........|........|",
		    "#.......|DDDDDDDD|DDDDDDDD|DDDDDDDD|" } }, .verdicts = ".u" },
	{ "range below the floor", "3712M@384M",
	  { { 0, 0, "#.......|........|........|........|",
		    "#.......|........|........|........|" } }, .verdicts = "f" },
	{ "range that touches another becomes one with it", "1G@1G,1G@2G",
	  { { 0, 0, "#.......|........|........|........|",
		    "#.......|DDDDDDDD|DDDDDDDD|........|" } }, .verdicts = ".." },
};

static inline char verdict_letter(const struct dmem_item *item)
{
	static const char letters[] = {
		[DMEM_DONE] = '.', [DMEM_NO_NODE] = 'n', [DMEM_TOO_SMALL] = 's',
		[DMEM_SPANS_NODES] = 'x', [DMEM_NOT_FREE] = 'u', [DMEM_FLOOR] = 'f',
		[DMEM_FULL] = 'F',
	};

	return item->error ? 'e' : letters[item->verdict];
}

static inline bool in_picture(const struct picture *p, unsigned int row)
{
	return row < MAX_ROWS && p->rows[row].before;
}

/* Where the section is that a character of a row stands for. */
static inline u64 drawn_at(const struct drawing *d, const char *c)
{
	u64 at = d->start_gib * G;

	for (const char *before = d->before; before < c; before++)
		at += *before == '|' ? 0 : SECTION;
	return at;
}

/* The node of an address, and of no RAM between its pieces too. */
static inline int __init drawn_node(const struct picture *p, u64 addr)
{
	for (unsigned int row = 0; in_picture(p, row); row++) {
		const struct drawing *d = &p->rows[row];

		if (addr >= d->start_gib * G && addr < drawn_at(d, d->before + strlen(d->before)))
			return d->nid;
	}
	return DMEM_ANY_NODE;
}

/* Gives a layout, with room for it, the nodes and the free memory of a picture. */
static inline void __init draw_in(struct dmem_layout *l, const struct picture *p)
{
	for (unsigned int row = 0; in_picture(p, row); row++) {
		const struct drawing *d = &p->rows[row];
		struct dmem_node *node = dmem_find_node(l->nodes, l->nr_nodes, d->nid);

		if (!node) {
			node = &l->nodes[l->nr_nodes++];
			node->nid = d->nid;
			node->promised = p->promised;
			node->gib_pages = p->gib_pages;
		}
		for (const char *c = d->before; *c; c++) {
			u64 at = drawn_at(d, c);

			if (*c == '.' || *c == '#')
				node->present += SECTION;
			if (*c == '.')
				dmem_add_free(l, at, at + SECTION, d->nid);
		}
	}
	for (unsigned int i = 0; i < l->nr_nodes; i++)
		l->nodes[i].floor = max(MIN_FLOOR, l->nodes[i].present / 128);
}

/* Draws what came out over what went in. A '!' is what must never have been taken. */
static inline void __init draw_out(const struct dmem_layout *l, const struct drawing *d, char *out)
{
	memcpy(out, d->before, strlen(d->before) + 1);
	for (char *c = out; *c; c++) {
		u64 at = drawn_at(d, d->before + (c - out));

		for (unsigned int i = 0; *c != '|' && i < l->nr_regions; i++)
			if (l->regions[i].nid == d->nid && at >= l->regions[i].start &&
			    at < l->regions[i].end)
				*c = *c == '.' ? 'D' : '!';
	}
}

/* Reads the values of one or more dmem=, which stand in @text with a space between two. */
static inline unsigned int __init read_values(char *text, struct dmem_item *items, unsigned int max)
{
	unsigned int n = 0, param = 0;

	for (char *value; (value = strsep(&text, " "));)
		n += dmem_parse(value, param++, SECTION, items + n, max - n);
	return n;
}

#endif /* _MM_DMEM_CASES_H */
