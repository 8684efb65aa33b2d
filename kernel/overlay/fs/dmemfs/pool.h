/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Pool - which memory of one node is free
 *
 * Knows addresses as base page numbers and nothing of files, mounts, promises or kernel mappings.
 * It never touches the memory it manages. Pure: needs no kernel beyond bitmaps and kvcalloc(), so
 * that user space can compile and test it.
 *
 * Three sizes are handed out from the same memory:
 *
 *	unit	the base page, 4 KiB
 *	chunk	PMD_SIZE, 2 MiB, naturally aligned
 *	span	PUD_SIZE, 1 GiB, naturally aligned
 *
 * Spans are taken from the lower end of the node. Chunks are taken out of the uppermost span, in
 * ascending order, and first out of spans that are broken already; a chunk is split into units only
 * when no split chunk has room. What is freed grows together again.
 *
 * Cost: about 350 bytes per span, plus 32 KiB for each span that has a split chunk. This is never
 * more than 1/32000 of the memory.
 *
 * Free memory is dirty (may hold what an earlier owner wrote) or clean (all zeroes). Clean memory
 * is preferred. A chunk is dirty as a whole: for a split one the mark speaks of its free units.
 *
 * A unit can be retired: it is not handed out again. If it is free it leaves the pool at once, else
 * when its owner frees it. Its chunk is split from then on, so that the units around it stay in the
 * pool, and neither the chunk nor its span is ever whole again. A unit can also be poisoned: it is
 * retired, and its contents are lost, so that not even its owner may touch it. Such units are few:
 * a span that has any costs 4 KiB for a table and 192 bytes for each of its chunks that has any,
 * besides being split.
 *
 * The caller serializes all calls for a pool, except where a function says otherwise.
 */
#ifndef _DMEMFS_POOL_H
#define _DMEMFS_POOL_H

#include <linux/bitmap.h>
#include <linux/bits.h>
#include <linux/types.h>

#define DMEM_CHUNK_ORDER	(PMD_SHIFT - PAGE_SHIFT)
#define DMEM_CHUNK_UNITS	BIT(DMEM_CHUNK_ORDER)
#define DMEM_SPAN_ORDER		(PUD_SHIFT - PAGE_SHIFT)
#define DMEM_SPAN_UNITS		BIT(DMEM_SPAN_ORDER)
#define DMEM_SPAN_CHUNKS	BIT(DMEM_SPAN_ORDER - DMEM_CHUNK_ORDER)

/**
 * struct dmem_bad - units of one chunk that are not handed out again
 * @retired:  all of them
 * @poisoned: of these, those whose contents are lost
 * @out:      of these, those that have left the pool: neither free nor used
 *
 * Bits are only ever set.
 */
struct dmem_bad {
	DECLARE_BITMAP(retired, DMEM_CHUNK_UNITS);
	DECLARE_BITMAP(poisoned, DMEM_CHUNK_UNITS);
	DECLARE_BITMAP(out, DMEM_CHUNK_UNITS);
};

/**
 * struct dmem_span - state of the chunks of one aligned PUD_SIZE of address space
 * @used:     one bit per unit, set unless it is free; only valid for split chunks; NULL while no
 *            chunk is split
 * @bad:      for each chunk its retired units, or NULL; NULL while the span has none
 * @busy:     chunk is not free as a whole: handed out, split, being cleared, or not ours
 * @split:    chunk is handed out in units
 * @room:     split chunk with at least one free unit
 * @dirty:    free memory of the chunk may hold old data. Keeps its value while the chunk is handed
 *            out whole, so the owner can tell what is to be cleared.
 * @queued:   dirty, and to be cleared in the background
 * @nr_free:  chunks that are not busy
 * @nr_clean: of these, those that are not dirty
 * @nr_split: chunks that are split
 */
struct dmem_span {
	unsigned long *used;
	struct dmem_bad **bad;
	DECLARE_BITMAP(busy, DMEM_SPAN_CHUNKS);
	DECLARE_BITMAP(split, DMEM_SPAN_CHUNKS);
	DECLARE_BITMAP(room, DMEM_SPAN_CHUNKS);
	DECLARE_BITMAP(dirty, DMEM_SPAN_CHUNKS);
	DECLARE_BITMAP(queued, DMEM_SPAN_CHUNKS);
	u16 nr_free;
	u16 nr_clean;
	u16 nr_split;
};

/* Indexes over the spans of a region: where to look for memory, one bit per span. */
enum dmem_index {
	DMEM_WHOLE_CLEAN,	/* all chunks free and clean */
	DMEM_WHOLE,		/* all chunks free, at least one dirty */
	DMEM_PART_CLEAN,	/* some chunks free, at least one clean */
	DMEM_PART,		/* some chunks free */
	DMEM_ROOM_CLEAN,	/* a clean split chunk with room */
	DMEM_ROOM,		/* a split chunk with room */
	DMEM_NR_INDEXES
};

/**
 * struct dmem_region_state - one region of a pool
 * @start:    first page number
 * @end:      first page number behind
 * @base:     @start rounded down to a span
 * @nr_spans: spans from @base that cover the region
 * @spans:    array of @nr_spans
 * @index:    see &enum dmem_index, bitmaps of @nr_spans bits
 */
struct dmem_region_state {
	unsigned long start;
	unsigned long end;
	unsigned long base;
	unsigned long nr_spans;
	struct dmem_span *spans;
	unsigned long *index[DMEM_NR_INDEXES];
};

/**
 * struct dmem_pool - all regions of one node
 * @regions:     sorted by address, not overlapping
 * @nr_regions:  length of @regions
 * @nr_units:    units in all regions
 * @nr_free:     units that nobody owns, clean or not, those being cleared included
 * @nr_out:      units that have left the pool
 * @nr_queued:   chunks that could be cleared now: queued, and free or with room
 * @clearing:    page number of the chunk that is being cleared, or 0
 * @clear_taken: for a split chunk: the units that were free when clearing began
 */
struct dmem_pool {
	struct dmem_region_state *regions;
	unsigned int nr_regions;
	unsigned long nr_units;
	unsigned long nr_free;
	unsigned long nr_out;
	unsigned long nr_queued;
	unsigned long clearing;
	DECLARE_BITMAP(clear_taken, DMEM_CHUNK_UNITS);
};

int dmem_pool_add(struct dmem_pool *pool, unsigned long start, unsigned long end, bool clear);
void dmem_pool_destroy(struct dmem_pool *pool);

int dmem_pool_alloc(struct dmem_pool *pool, unsigned int order, unsigned long want,
		    unsigned long *ret_pfn, unsigned long *ret_nr, bool *ret_dirty);
unsigned long dmem_pool_free(struct dmem_pool *pool, unsigned long pfn, unsigned long nr);
bool dmem_pool_chunk_dirty(const struct dmem_pool *pool, unsigned long pfn);

bool dmem_pool_clear_begin(struct dmem_pool *pool);
bool dmem_pool_clear_next(const struct dmem_pool *pool, unsigned long *pfn, unsigned long *nr);
void dmem_pool_clear_end(struct dmem_pool *pool);

int dmem_pool_retire(struct dmem_pool *pool, unsigned long pfn, bool poisoned, bool *ret_used);
unsigned long dmem_pool_next_lost(const struct dmem_pool *pool, unsigned long pfn,
				  unsigned long end);
bool dmem_pool_find_retired(const struct dmem_pool *pool, unsigned long skip, unsigned long *pfn,
			    bool *ret_used);

#endif /* _DMEMFS_POOL_H */
