// SPDX-License-Identifier: GPL-2.0
/*
 * dmem_place.c - choose what to take of each node
 *
 *	   node 1, 4 GiB from 5G on; '#' is in use
 *
 *	   5G        6G        7G        8G       9G
 *	   |--#------|---------|---------|------#-|	dmem=1:2G + 128M
 *	             |222222222|111111111|     3	1, 2: whole GiB blocks, from the top
 *							3: the rest from beside them
 *
 * Whole GiB blocks come first because only they can be mapped with 1G leaves. The rest comes from
 * where no whole block is, and breaks one up only when nothing else is left.
 * Pure functions, see dmem_internal.h.
 */
#include <linux/align.h>
#include <linux/init.h>
#include <linux/limits.h>
#include <linux/minmax.h>
#include <linux/overflow.h>
#include <linux/sizes.h>
#include <linux/string.h>

#include "dmem_internal.h"

static u64 __init sub_or_zero(u64 a, u64 b)
{
	return a > b ? a - b : 0;
}

static u64 __init saturating_add(u64 a, u64 b)
{
	u64 sum;

	return check_add_overflow(a, b, &sum) ? U64_MAX : sum;
}

/* The part of [start, end) that consists of whole blocks; false if there is none. */
static bool __init whole_blocks(u64 start, u64 end, u64 block, u64 *lo, u64 *hi)
{
	u64 last;

	if (check_add_overflow(start, block - 1, &last))
		return false;
	*lo = ALIGN_DOWN(last, block);
	*hi = ALIGN_DOWN(end, block);
	return *lo < *hi;
}

struct dmem_node * __init dmem_find_node(struct dmem_node *nodes, unsigned int nr_nodes, int nid)
{
	for (unsigned int i = 0; i < nr_nodes; i++)
		if (nodes[i].nid == nid)
			return &nodes[i];
	return NULL;
}

/* Free ranges and regions: sorted arrays that never grow */

static void __init array_insert(struct dmem_region *array, unsigned int *n, unsigned int at,
				const struct dmem_region *entry)
{
	memmove(&array[at + 1], &array[at], (*n - at) * sizeof(*array));
	array[at] = *entry;
	(*n)++;
}

static void __init array_remove(struct dmem_region *array, unsigned int *n, unsigned int at)
{
	(*n)--;
	memmove(&array[at], &array[at + 1], (*n - at) * sizeof(*array));
}

/* Makes room by forgetting the ranges that do not hold a single section. */
static void __init drop_small(struct dmem_layout *l)
{
	unsigned int n = 0;
	u64 lo, hi;

	for (unsigned int i = 0; i < l->nr_free; i++)
		if (whole_blocks(l->free[i].start, l->free[i].end, l->section, &lo, &hi))
			l->free[n++] = l->free[i];
	l->nr_free = n;
}

/**
 * dmem_add_free() - tell a layout about a range of free RAM
 * @l: layout
 * @start: first byte
 * @end: first byte after it
 * @nid: its node
 *
 * Ranges come in ascending order and do not overlap. Those of one node that touch become one. A
 * range that finds no room is counted in &dmem_layout.dropped and stays with the kernel.
 */
void __init dmem_add_free(struct dmem_layout *l, phys_addr_t start, phys_addr_t end, int nid)
{
	struct dmem_region range = { .start = start, .end = end, .nid = nid };
	struct dmem_region *last;

	if (start >= end)
		return;
	last = l->nr_free ? &l->free[l->nr_free - 1] : NULL;
	if (last && last->nid == nid && last->end == start) {
		last->end = end;
		return;
	}
	if (l->nr_free == l->max_free)
		drop_small(l);
	if (l->nr_free == l->max_free) {
		l->dropped += end - start;
		return;
	}
	array_insert(l->free, &l->nr_free, l->nr_free, &range);
}

/*
 * Takes [start, end) out of free range @i. Returns how many ranges remain of it: 0, 1 or 2; when
 * there is no room for the second, the smaller one stays with the kernel.
 */
static unsigned int __init carve(struct dmem_layout *l, unsigned int i, u64 start, u64 end)
{
	struct dmem_region *range = &l->free[i];
	struct dmem_region above = { .start = end, .end = range->end, .nid = range->nid };
	u64 below = start - range->start;

	if (!below && above.start == above.end) {
		array_remove(l->free, &l->nr_free, i);
		return 0;
	}
	if (!below) {
		range->start = end;
		return 1;
	}
	range->end = start;
	if (above.start == above.end)
		return 1;
	if (l->nr_free == l->max_free) {
		if (above.end - above.start > below) {
			l->dropped += below;
			*range = above;
		} else {
			l->dropped += above.end - above.start;
		}
		return 1;
	}
	array_insert(l->free, &l->nr_free, i + 1, &above);
	return 2;
}

/* Makes [start, end) a region, or part of one. Returns false if the table is full. */
static bool __init add_region(struct dmem_layout *l, u64 start, u64 end, int nid)
{
	struct dmem_region region = { .start = start, .end = end, .nid = nid };
	bool joins_below, joins_above;
	struct dmem_region *r;
	unsigned int at = 0;

	while (at < l->nr_regions &&
	       (l->regions[at].nid < nid ||
		(l->regions[at].nid == nid && l->regions[at].start < start)))
		at++;
	r = &l->regions[at];
	joins_below = at > 0 && r[-1].nid == nid && r[-1].end == start;
	joins_above = at < l->nr_regions && r->nid == nid && r->start == end;

	if (joins_below && joins_above) {
		r[-1].end = r->end;
		array_remove(l->regions, &l->nr_regions, at);
	} else if (joins_below) {
		r[-1].end = end;
	} else if (joins_above) {
		r->start = start;
	} else if (l->nr_regions < l->max_regions) {
		array_insert(l->regions, &l->nr_regions, at, &region);
	} else {
		return false;
	}
	return true;
}

/* Reserves up to @want bytes from the top of [start, end), which lies in free range @i. */
static u64 __init take_top(struct dmem_layout *l, unsigned int i, u64 start, u64 end, u64 want,
			   u64 block)
{
	u64 lo, hi, size;

	if (!whole_blocks(start, end, block, &lo, &hi))
		return 0;
	size = min(hi - lo, ALIGN_DOWN(want, block));
	if (!size || !add_region(l, hi - size, hi, l->free[i].nid))
		return 0;
	carve(l, i, hi - size, hi);
	return size;
}

static u64 __init take_blocks(struct dmem_layout *l, int nid, u64 want, u64 block)
{
	u64 got = 0;

	for (unsigned int i = l->nr_free; i-- > 0;)
		if (l->free[i].nid == nid)
			got += take_top(l, i, l->free[i].start, l->free[i].end, want - got, block);
	return got;
}

/* Takes from where no @whole block is free: above, below and between those that are. */
static u64 __init take_beside(struct dmem_layout *l, int nid, u64 want, u64 block, u64 whole)
{
	u64 got = 0, lo, hi;

	for (unsigned int i = l->nr_free; i-- > 0;) {
		u64 start = l->free[i].start, end = l->free[i].end;

		if (l->free[i].nid != nid)
			continue;
		if (!whole_blocks(start, end, whole, &lo, &hi)) {
			got += take_top(l, i, start, end, want - got, block);
			continue;
		}
		/* What the first call leaves below its piece is still free range i. */
		got += take_top(l, i, hi, end, want - got, block);
		got += take_top(l, i, start, lo, want - got, block);
	}
	return got;
}

static u64 __init take(struct dmem_layout *l, int nid, u64 want, u64 align)
{
	u64 whole = max_t(u64, align, SZ_1G);
	u64 got;

	got = take_blocks(l, nid, want, whole);
	got += take_beside(l, nid, want - got, align, whole);
	return got + take_blocks(l, nid, want - got, align);
}

/*
 * Boot-time 1G pages are allocated after us, from what is left, and need whole GiB blocks. The
 * lowest ones are held back for them, because the memory map and whatever else the kernel allocates
 * in between comes from the highest free memory: for that a little is held back at the top.
 */
static void __init hold_back(struct dmem_layout *l, const struct dmem_node *node)
{
	u64 blocks = node->gib_pages;
	u64 top = ALIGN(min_t(u64, node->keep, node->present) / SZ_64 + SZ_64M, l->section);
	u64 lo, hi, size;

	for (unsigned int i = l->nr_free; blocks && top && i-- > 0;) {
		if (l->free[i].nid != node->nid ||
		    !whole_blocks(l->free[i].start, l->free[i].end, l->section, &lo, &hi))
			continue;
		size = min(hi - lo, top);
		carve(l, i, hi - size, hi);
		top -= size;
	}
	for (unsigned int i = 0; blocks && i < l->nr_free;) {
		if (l->free[i].nid != node->nid ||
		    !whole_blocks(l->free[i].start, l->free[i].end, SZ_1G, &lo, &hi)) {
			i++;
			continue;
		}
		size = min(hi - lo, blocks > U64_MAX / SZ_1G ? U64_MAX : blocks * SZ_1G);
		i += carve(l, i, lo, lo + size);
		blocks -= size / SZ_1G;
	}
}

/* The item of @param that holds for @nid: the last one that names it or every node. */
static const struct dmem_item * __init item_for(const struct dmem_item *items,
						unsigned int nr_items, unsigned int param, int nid)
{
	const struct dmem_item *found = NULL;

	for (const struct dmem_item *item = items; item < items + nr_items; item++)
		if (!item->error && item->kind != DMEM_RANGE && item->param == param &&
		    (item->nid == nid || item->nid == DMEM_ANY_NODE))
			found = item;
	return found;
}

static unsigned int __init count_params(const struct dmem_item *items, unsigned int nr_items)
{
	return nr_items ? items[nr_items - 1].param + 1 : 0;
}

static void __init place_node(struct dmem_layout *l, struct dmem_node *node,
			      const struct dmem_item *items, unsigned int nr_items)
{
	for (unsigned int param = 0; param < count_params(items, nr_items); param++) {
		const struct dmem_item *item = item_for(items, nr_items, param, node->nid);
		u64 want, limit, got;

		if (!item)
			continue;
		want = item->size;
		if (item->kind == DMEM_LEAVE)
			want = sub_or_zero(sub_or_zero(node->present, node->granted), item->size);
		node->requested = saturating_add(node->requested, want);

		limit = sub_or_zero(sub_or_zero(node->present, node->granted), node->keep);
		want = ALIGN_DOWN(want, item->align);
		limit = ALIGN_DOWN(limit, item->align);
		node->cut = saturating_add(node->cut, sub_or_zero(want, limit));
		want = min(want, limit);

		got = take(l, node->nid, want, item->align);
		node->granted += got;
		node->lost += want - got;
	}
}

/*
 * The free range that holds all of [start, end). Without one, *verdict says why: every byte is free
 * but not in one node, or not every byte is.
 */
static int __init find_free(const struct dmem_layout *l, u64 start, u64 end,
			    enum dmem_verdict *verdict)
{
	u64 covered = 0;

	for (unsigned int i = 0; i < l->nr_free; i++) {
		const struct dmem_region *range = &l->free[i];
		u64 from = max_t(u64, start, range->start), to = min_t(u64, end, range->end);

		if (from == start && to == end)
			return i;
		covered += sub_or_zero(to, from);
	}
	*verdict = covered == end - start ? DMEM_SPANS_NODES : DMEM_NOT_FREE;
	return -1;
}

/*
 * Takes a range if every byte that was asked for is free, else nothing. Rounding goes inwards, so
 * that no byte is taken that was not asked for.
 */
static enum dmem_verdict __init place_range(struct dmem_layout *l, const struct dmem_item *item)
{
	struct dmem_node *node = dmem_find_node(l->nodes, l->nr_nodes, item->nid);
	enum dmem_verdict verdict = DMEM_DONE;
	u64 start, end;
	int i;

	if (node)
		node->requested = saturating_add(node->requested, item->size);
	if (!whole_blocks(item->addr, item->addr + item->size, item->align, &start, &end))
		return DMEM_TOO_SMALL;
	i = find_free(l, item->addr, item->addr + item->size, &verdict);
	if (i < 0)
		return node ? verdict : DMEM_NO_NODE;

	node = dmem_find_node(l->nodes, l->nr_nodes, l->free[i].nid);
	if (!node)
		return DMEM_NO_NODE;
	if (end - start > sub_or_zero(sub_or_zero(node->present, node->granted), node->keep))
		return DMEM_FLOOR;
	if (!add_region(l, start, end, node->nid))
		return DMEM_FULL;
	carve(l, i, start, end);
	node->granted += end - start;
	return DMEM_DONE;
}

static void __init set_keep(struct dmem_node *node, const struct dmem_item *items,
			    unsigned int nr_items)
{
	node->keep = saturating_add(node->floor, node->promised);

	for (unsigned int param = 0; param < count_params(items, nr_items); param++) {
		const struct dmem_item *item = item_for(items, nr_items, param, node->nid);

		if (item && item->kind == DMEM_LEAVE)
			node->keep = max(node->keep, item->size);
	}
}

/**
 * dmem_place() - turn items into regions
 * @l: layout with nodes and free ranges; gets the regions and the figures of each node
 * @items: all items of all dmem=, in the order of the command line; each gets its verdict
 * @nr_items: how many
 *
 * Ranges go first, as they leave no choice. Then each node gets, for every dmem=, what the last
 * item that holds for it says; several dmem= add up.
 */
void __init dmem_place(struct dmem_layout *l, struct dmem_item *items, unsigned int nr_items)
{
	for (unsigned int i = 0; i < l->nr_nodes; i++)
		set_keep(&l->nodes[i], items, nr_items);

	for (struct dmem_item *item = items; item < items + nr_items; item++) {
		if (item->error)
			continue;
		if (item->kind == DMEM_RANGE)
			item->verdict = place_range(l, item);
		else if (item->nid != DMEM_ANY_NODE &&
			 !dmem_find_node(l->nodes, l->nr_nodes, item->nid))
			item->verdict = DMEM_NO_NODE;
	}

	for (unsigned int i = 0; i < l->nr_nodes; i++) {
		hold_back(l, &l->nodes[i]);
		place_node(l, &l->nodes[i], items, nr_items);
	}
}
