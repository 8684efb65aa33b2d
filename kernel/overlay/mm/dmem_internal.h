/* SPDX-License-Identifier: GPL-2.0 */
/*
 * dmem_internal.h - from the text of dmem= to regions, as pure functions
 *
 * dmem_parse.c turns text into items, dmem_place.c turns items and free ranges into regions. Both
 * know nothing of memblock, e820 or the log: dmem.c feeds them in setup_arch() and says what came
 * of it, tests feed them from tables. Sizes and addresses are bytes, ranges are half open.
 */
#ifndef _MM_DMEM_INTERNAL_H
#define _MM_DMEM_INTERNAL_H

#include <linux/dmem.h>
#include <linux/types.h>

/* Stands for "every node with memory" in an item, and for "no node" in a range item. */
#define DMEM_ANY_NODE	(-1)

enum dmem_kind {
	DMEM_TAKE,		/* [NODE:]SIZE: reserve this much */
	DMEM_LEAVE,		/* [NODE:]!SIZE: leave this much, reserve the rest */
	DMEM_RANGE,		/* SIZE@ADDR: reserve exactly this */
};

/* What became of an item. Sizes that were merely cut are reported by node, not here. */
enum dmem_verdict {
	DMEM_DONE,
	DMEM_NO_NODE,		/* its node, or its address, has no memory */
	DMEM_TOO_SMALL,		/* nothing is left of the range once it is rounded */
	DMEM_SPANS_NODES,
	DMEM_NOT_FREE,		/* some of the range is in use, or no RAM */
	DMEM_FLOOR,		/* too little would stay with the kernel */
	DMEM_FULL,		/* more regions than the table holds */
};

/**
 * struct dmem_item - one item of one dmem=
 * @text: where it stands on the command line, not terminated
 * @len: its length
 * @error: what is wrong with it, static text; NULL if nothing, else the rest is not valid
 * @param: which dmem= it belongs to, counted from 0
 * @kind: how to read @size
 * @nid: node, or %DMEM_ANY_NODE. For a range the caller of dmem_place() fills it in.
 * @size: bytes as asked for, not rounded
 * @addr: first byte of a range
 * @align: power of two, at least one section
 * @verdict: set by dmem_place()
 */
struct dmem_item {
	const char *text;
	size_t len;
	const char *error;
	unsigned int param;
	enum dmem_kind kind;
	int nid;
	u64 size;
	u64 addr;
	u64 align;
	enum dmem_verdict verdict;
};

/**
 * struct dmem_node - a node that has memory
 * @nid: its number
 * @present: bytes of RAM, in use or not
 * @floor: the least that has to stay for the kernel itself
 * @promised: bytes that were promised to others (hugepages=, crashkernel=, CMA); they stay as well
 * @gib_pages: whole GiB blocks that have to stay whole, for boot-time 1G pages; part of @promised
 * @requested: out: bytes asked for, not rounded
 * @granted: out: bytes reserved
 * @keep: out: bytes that stay: floor and promises, or what the item wants left if that is more
 * @cut: out: bytes asked for and refused in favour of @keep
 * @lost: out: bytes asked for and missed because no aligned block is free
 */
struct dmem_node {
	int nid;
	u64 present;
	u64 floor;
	u64 promised;
	u64 gib_pages;
	u64 requested;
	u64 granted;
	u64 keep;
	u64 cut;
	u64 lost;
};

/**
 * struct dmem_layout - what there is to place into, and what was placed
 * @section: smallest unit, a power of two
 * @nodes: nodes with memory
 * @nr_nodes: how many
 * @free: RAM nobody uses, sorted by start; consumed by dmem_place()
 * @nr_free: how many
 * @max_free: room in @free
 * @dropped: bytes that did not fit into @free; they are left to the kernel
 * @regions: out: sorted by node and start, ranges that touch are one
 * @nr_regions: out: how many
 * @max_regions: room in @regions
 */
struct dmem_layout {
	u64 section;
	struct dmem_node *nodes;
	unsigned int nr_nodes;
	struct dmem_region *free;
	unsigned int nr_free;
	unsigned int max_free;
	u64 dropped;
	struct dmem_region *regions;
	unsigned int nr_regions;
	unsigned int max_regions;
};

unsigned int dmem_parse(const char *text, unsigned int param, u64 section,
			struct dmem_item *items, unsigned int max);
bool dmem_parse_hugepagesz(const char *text, u64 *size);
bool dmem_parse_hugepages(const char *text, u64 page_size, struct dmem_node *nodes,
			  unsigned int nr_nodes);

void dmem_add_free(struct dmem_layout *l, phys_addr_t start, phys_addr_t end, int nid);
void dmem_place(struct dmem_layout *l, struct dmem_item *items, unsigned int nr_items);
struct dmem_node *dmem_find_node(struct dmem_node *nodes, unsigned int nr_nodes, int nid);

#endif /* _MM_DMEM_INTERNAL_H */
