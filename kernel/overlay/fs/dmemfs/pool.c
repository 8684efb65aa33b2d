// SPDX-License-Identifier: GPL-2.0
#include <linux/align.h>
#include <linux/bitmap.h>
#include <linux/bug.h>
#include <linux/compiler.h>
#include <linux/errno.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include <asm/barrier.h>

#include "pool.h"

static struct dmem_region_state *pool_region(const struct dmem_pool *pool, unsigned long pfn)
{
	unsigned int low = 0, high = pool->nr_regions;

	while (low < high) {
		unsigned int mid = low + (high - low) / 2;
		struct dmem_region_state *region = &pool->regions[mid];

		if (pfn < region->start)
			high = mid;
		else if (pfn >= region->end)
			low = mid + 1;
		else
			return region;
	}
	return NULL;
}

static unsigned long span_number(const struct dmem_region_state *region, unsigned long pfn)
{
	return (pfn - region->base) >> DMEM_SPAN_ORDER;
}

static unsigned long chunk_number(unsigned long pfn)
{
	return (pfn >> DMEM_CHUNK_ORDER) & (DMEM_SPAN_CHUNKS - 1);
}

static unsigned long chunk_pfn(const struct dmem_region_state *region, unsigned long span_nr,
			       unsigned long chunk)
{
	return region->base + (span_nr << DMEM_SPAN_ORDER) + (chunk << DMEM_CHUNK_ORDER);
}

static unsigned long *chunk_used(const struct dmem_span *span, unsigned long chunk)
{
	return span->used + chunk * BITS_TO_LONGS(DMEM_CHUNK_UNITS);
}

static void index_set(struct dmem_region_state *region, enum dmem_index index,
		      unsigned long span_nr, bool value)
{
	if (value)
		__set_bit(span_nr, region->index[index]);
	else
		__clear_bit(span_nr, region->index[index]);
}

/* Bring the indexes of the region in line with a span that has changed. */
static void span_changed(struct dmem_region_state *region, unsigned long span_nr)
{
	const struct dmem_span *span = &region->spans[span_nr];
	bool whole = span->nr_free == DMEM_SPAN_CHUNKS;
	bool clean = span->nr_clean == DMEM_SPAN_CHUNKS;
	bool room = !bitmap_empty(span->room, DMEM_SPAN_CHUNKS);

	index_set(region, DMEM_WHOLE_CLEAN, span_nr, whole && clean);
	index_set(region, DMEM_WHOLE, span_nr, whole && !clean);
	index_set(region, DMEM_PART_CLEAN, span_nr, !whole && span->nr_clean);
	index_set(region, DMEM_PART, span_nr, !whole && span->nr_free);
	index_set(region, DMEM_ROOM_CLEAN, span_nr,
		  room && !bitmap_subset(span->room, span->dirty, DMEM_SPAN_CHUNKS));
	index_set(region, DMEM_ROOM, span_nr, room);
}

/* A chunk stops (@busy) or starts being free as a whole. */
static void chunk_set_busy(struct dmem_pool *pool, struct dmem_span *span, unsigned long chunk,
			   bool busy)
{
	bool clean = !test_bit(chunk, span->dirty);
	bool queued = test_bit(chunk, span->queued);

	if (busy) {
		__set_bit(chunk, span->busy);
		span->nr_free--;
		span->nr_clean -= clean;
		pool->nr_queued -= queued;
	} else {
		__clear_bit(chunk, span->busy);
		span->nr_free++;
		span->nr_clean += clean;
		pool->nr_queued += queued;
	}
}

/* The same for all chunks of a span that are, or will be, one piece. */
static void span_set_busy(struct dmem_pool *pool, struct dmem_span *span, bool busy)
{
	unsigned int queued = bitmap_weight(span->queued, DMEM_SPAN_CHUNKS);

	if (busy) {
		bitmap_fill(span->busy, DMEM_SPAN_CHUNKS);
		span->nr_free = 0;
		span->nr_clean = 0;
		pool->nr_queued -= queued;
	} else {
		bitmap_zero(span->busy, DMEM_SPAN_CHUNKS);
		span->nr_free = DMEM_SPAN_CHUNKS;
		span->nr_clean = DMEM_SPAN_CHUNKS - bitmap_weight(span->dirty, DMEM_SPAN_CHUNKS);
		pool->nr_queued += queued;
	}
}

static void chunk_set_room(struct dmem_pool *pool, struct dmem_span *span, unsigned long chunk,
			   bool room)
{
	if (test_bit(chunk, span->room) == room)
		return;
	if (room)
		__set_bit(chunk, span->room);
	else
		__clear_bit(chunk, span->room);
	if (test_bit(chunk, span->queued))
		pool->nr_queued += room ? 1 : -1;
}

/* Memory of the chunk was freed (@dirty), or all that is free of it is being cleared. */
static void chunk_set_dirty(struct dmem_pool *pool, struct dmem_span *span, unsigned long chunk,
			    bool dirty)
{
	bool free = !test_bit(chunk, span->busy);

	/* Chunks with nothing free are counted when they get something. */
	if (free && test_bit(chunk, span->dirty) != dirty)
		span->nr_clean += dirty ? -1 : 1;
	if ((free || test_bit(chunk, span->room)) && test_bit(chunk, span->queued) != dirty)
		pool->nr_queued += dirty ? 1 : -1;

	if (dirty) {
		__set_bit(chunk, span->dirty);
		__set_bit(chunk, span->queued);
	} else {
		__clear_bit(chunk, span->dirty);
		__clear_bit(chunk, span->queued);
	}
}

/* A split chunk lost or got units: mark its room; join it when nobody owns a unit of it. */
static void chunk_settle(struct dmem_pool *pool, struct dmem_span *span, unsigned long chunk)
{
	unsigned long *used = chunk_used(span, chunk);

	if (!bitmap_empty(used, DMEM_CHUNK_UNITS)) {
		chunk_set_room(pool, span, chunk, !bitmap_full(used, DMEM_CHUNK_UNITS));
		return;
	}

	chunk_set_room(pool, span, chunk, false);
	__clear_bit(chunk, span->split);
	chunk_set_busy(pool, span, chunk, false);
	if (!--span->nr_split) {
		kvfree(span->used);
		span->used = NULL;
	}
}

/**
 * dmem_pool_add() - add a region
 * @pool:  zeroed at first; regions must come in ascending order
 * @start: first page number, a multiple of a chunk
 * @end:   first page number behind, a multiple of a chunk
 * @clear: clear it in the background, instead of when it is handed out for the first time
 *
 * All of it is free and dirty: what firmware or an earlier kernel left in it is nobody's business.
 *
 * Return: %0, -EINVAL (order or alignment) or -ENOMEM, which leave the pool as it was.
 */
int dmem_pool_add(struct dmem_pool *pool, unsigned long start, unsigned long end, bool clear)
{
	struct dmem_region_state region = { .start = start, .end = end };
	struct dmem_region_state *regions;
	unsigned long words, i, pfn;
	unsigned int k;

	if (!start || start >= end || !IS_ALIGNED(start | end, DMEM_CHUNK_UNITS))
		return -EINVAL;
	if (pool->nr_regions && start < pool->regions[pool->nr_regions - 1].end)
		return -EINVAL;

	region.base = ALIGN_DOWN(start, DMEM_SPAN_UNITS);
	region.nr_spans = DIV_ROUND_UP(end - region.base, DMEM_SPAN_UNITS);
	words = BITS_TO_LONGS(region.nr_spans);

	region.spans = kvcalloc(region.nr_spans, sizeof(*region.spans), GFP_KERNEL);
	region.index[0] = kvcalloc(words * DMEM_NR_INDEXES, sizeof(long), GFP_KERNEL);
	regions = kvcalloc(pool->nr_regions + 1, sizeof(*regions), GFP_KERNEL);
	if (!region.spans || !region.index[0] || !regions) {
		kvfree(regions);
		kvfree(region.index[0]);
		kvfree(region.spans);
		return -ENOMEM;
	}
	for (k = 1; k < DMEM_NR_INDEXES; k++)
		region.index[k] = region.index[0] + k * words;

	for (i = 0; i < region.nr_spans; i++) {
		bitmap_fill(region.spans[i].busy, DMEM_SPAN_CHUNKS);
		bitmap_fill(region.spans[i].dirty, DMEM_SPAN_CHUNKS);
		if (clear)
			bitmap_fill(region.spans[i].queued, DMEM_SPAN_CHUNKS);
	}
	for (pfn = start; pfn < end; pfn += DMEM_CHUNK_UNITS)
		chunk_set_busy(pool, &region.spans[span_number(&region, pfn)], chunk_number(pfn),
			       false);
	for (i = 0; i < region.nr_spans; i++)
		span_changed(&region, i);

	if (pool->nr_regions)
		memcpy(regions, pool->regions, pool->nr_regions * sizeof(*regions));
	kvfree(pool->regions);
	pool->regions = regions;
	pool->regions[pool->nr_regions++] = region;
	pool->nr_units += end - start;
	pool->nr_free += end - start;
	return 0;
}

/**
 * dmem_pool_destroy() - free what the pool itself uses
 * @pool: may be zeroed or half built
 */
void dmem_pool_destroy(struct dmem_pool *pool)
{
	unsigned int r;

	for (r = 0; r < pool->nr_regions; r++) {
		struct dmem_region_state *region = &pool->regions[r];
		unsigned long i, chunk;

		for (i = 0; i < region->nr_spans; i++) {
			struct dmem_span *span = &region->spans[i];

			for (chunk = 0; span->bad && chunk < DMEM_SPAN_CHUNKS; chunk++)
				kfree(span->bad[chunk]);
			kfree(span->bad);
			kvfree(span->used);
		}
		kvfree(region->spans);
		kvfree(region->index[0]);
	}
	kvfree(pool->regions);
	memset(pool, 0, sizeof(*pool));
}

static bool find_span(const struct dmem_pool *pool, enum dmem_index index, bool from_top,
		      struct dmem_region_state **ret_region, unsigned long *ret_span)
{
	unsigned int r;

	for (r = 0; r < pool->nr_regions; r++) {
		unsigned int nr = from_top ? pool->nr_regions - 1 - r : r;
		struct dmem_region_state *region = &pool->regions[nr];
		const unsigned long *bits = region->index[index];
		unsigned long span_nr;

		if (from_top)
			span_nr = find_last_bit(bits, region->nr_spans);
		else
			span_nr = find_first_bit(bits, region->nr_spans);
		if (span_nr < region->nr_spans) {
			*ret_region = region;
			*ret_span = span_nr;
			return true;
		}
	}
	return false;
}

static int alloc_span(struct dmem_pool *pool, unsigned long *ret_pfn, bool *ret_dirty)
{
	struct dmem_region_state *region;
	struct dmem_span *span;
	unsigned long i;

	if (!find_span(pool, DMEM_WHOLE_CLEAN, false, &region, &i) &&
	    !find_span(pool, DMEM_WHOLE, false, &region, &i))
		return -ENOSPC;

	span = &region->spans[i];
	*ret_dirty = span->nr_clean != DMEM_SPAN_CHUNKS;
	*ret_pfn = chunk_pfn(region, i, 0);
	span_set_busy(pool, span, true);
	span_changed(region, i);
	pool->nr_free -= DMEM_SPAN_UNITS;
	return 0;
}

/*
 * A chunk of the highest span that will do: clean before dirty, and out of broken spans before
 * whole ones. In the span the lowest, as files are filled in ascending order: so what a file gets
 * is consecutive, and one run in its map. The chunk is busy afterwards.
 */
static int take_chunk(struct dmem_pool *pool, struct dmem_region_state **ret_region,
		      unsigned long *ret_span, unsigned long *ret_chunk)
{
	static const struct {
		enum dmem_index index;
		bool clean;
	} order[] = {
		{ DMEM_PART_CLEAN, true },
		{ DMEM_WHOLE_CLEAN, true },
		{ DMEM_PART, false },
		{ DMEM_WHOLE, false },
	};
	DECLARE_BITMAP(candidates, DMEM_SPAN_CHUNKS);
	struct dmem_region_state *region;
	struct dmem_span *span;
	unsigned long i, chunk;
	unsigned int k;

	for (k = 0; k < ARRAY_SIZE(order); k++)
		if (find_span(pool, order[k].index, true, &region, &i))
			break;
	if (k == ARRAY_SIZE(order))
		return -ENOSPC;

	span = &region->spans[i];
	bitmap_complement(candidates, span->busy, DMEM_SPAN_CHUNKS);
	/* A dirty whole span may still have clean chunks. */
	if (span->nr_clean)
		bitmap_andnot(candidates, candidates, span->dirty, DMEM_SPAN_CHUNKS);
	chunk = find_first_bit(candidates, DMEM_SPAN_CHUNKS);
	if (WARN_ON_ONCE(chunk >= DMEM_SPAN_CHUNKS))
		return -ENOSPC;

	chunk_set_busy(pool, span, chunk, true);
	*ret_region = region;
	*ret_span = i;
	*ret_chunk = chunk;
	return 0;
}

static int alloc_chunk(struct dmem_pool *pool, unsigned long *ret_pfn, bool *ret_dirty)
{
	struct dmem_region_state *region;
	unsigned long i, chunk;
	int ret;

	ret = take_chunk(pool, &region, &i, &chunk);
	if (ret)
		return ret;

	span_changed(region, i);
	pool->nr_free -= DMEM_CHUNK_UNITS;
	*ret_dirty = test_bit(chunk, region->spans[i].dirty);
	*ret_pfn = chunk_pfn(region, i, chunk);
	return 0;
}

/* Mark a busy chunk as handed out in units. The caller says which of them are used. */
static int split_chunk(struct dmem_span *span, unsigned long chunk, gfp_t gfp)
{
	const size_t words = DMEM_SPAN_UNITS / BITS_PER_LONG;

	if (!span->used) {
		span->used = kvcalloc(words, sizeof(long), gfp);
		if (!span->used)
			return -ENOMEM;
	}
	__set_bit(chunk, span->split);
	span->nr_split++;
	return 0;
}

/* Split another chunk, so that there is room for units. */
static int split_free_chunk(struct dmem_pool *pool, struct dmem_region_state **ret_region,
			    unsigned long *ret_span, unsigned long *ret_chunk)
{
	struct dmem_region_state *region;
	struct dmem_span *span;
	unsigned long i, chunk;
	int ret;

	ret = take_chunk(pool, &region, &i, &chunk);
	if (ret)
		return ret;

	span = &region->spans[i];
	ret = split_chunk(span, chunk, GFP_KERNEL);
	if (ret) {
		chunk_set_busy(pool, span, chunk, false);
		return ret;
	}
	bitmap_zero(chunk_used(span, chunk), DMEM_CHUNK_UNITS);

	*ret_region = region;
	*ret_span = i;
	*ret_chunk = chunk;
	return 0;
}

static int alloc_units(struct dmem_pool *pool, unsigned long want, unsigned long *ret_pfn,
		       unsigned long *ret_nr, bool *ret_dirty)
{
	DECLARE_BITMAP(candidates, DMEM_SPAN_CHUNKS);
	struct dmem_region_state *region;
	unsigned long i, chunk, first, end;
	struct dmem_span *span;
	unsigned long *used;
	int ret;

	if (find_span(pool, DMEM_ROOM_CLEAN, true, &region, &i)) {
		span = &region->spans[i];
		bitmap_andnot(candidates, span->room, span->dirty, DMEM_SPAN_CHUNKS);
		chunk = find_last_bit(candidates, DMEM_SPAN_CHUNKS);
	} else if (find_span(pool, DMEM_ROOM, true, &region, &i)) {
		chunk = find_last_bit(region->spans[i].room, DMEM_SPAN_CHUNKS);
	} else {
		ret = split_free_chunk(pool, &region, &i, &chunk);
		if (ret)
			return ret;
	}

	span = &region->spans[i];
	used = chunk_used(span, chunk);
	first = find_first_zero_bit(used, DMEM_CHUNK_UNITS);
	end = find_next_bit(used, DMEM_CHUNK_UNITS, first);
	end = min(end, first + want);

	bitmap_set(used, first, end - first);
	chunk_settle(pool, span, chunk);
	span_changed(region, i);
	pool->nr_free -= end - first;
	*ret_dirty = test_bit(chunk, span->dirty);
	*ret_pfn = chunk_pfn(region, i, chunk) + first;
	*ret_nr = end - first;
	return 0;
}

/**
 * dmem_pool_alloc() - hand out memory
 * @pool:      the pool
 * @order:     %0, %DMEM_CHUNK_ORDER or %DMEM_SPAN_ORDER
 * @want:      for order %0, the most units to take, at least 1; they are consecutive
 * @ret_pfn:   first page number
 * @ret_nr:    units, 1 to @want for order %0, else those of the order
 * @ret_dirty: something of it has to be cleared before anybody sees it; for a span,
 *             dmem_pool_chunk_dirty() tells which chunks
 *
 * Return: %0, -ENOSPC (nothing of that size is free, or it is being cleared just now) or -ENOMEM
 * (for the pool's own bitmaps). The results are only set on success.
 */
int dmem_pool_alloc(struct dmem_pool *pool, unsigned int order, unsigned long want,
		    unsigned long *ret_pfn, unsigned long *ret_nr, bool *ret_dirty)
{
	int ret;

	switch (order) {
	case DMEM_SPAN_ORDER:
		ret = alloc_span(pool, ret_pfn, ret_dirty);
		break;
	case DMEM_CHUNK_ORDER:
		ret = alloc_chunk(pool, ret_pfn, ret_dirty);
		break;
	case 0:
		return alloc_units(pool, want, ret_pfn, ret_nr, ret_dirty);
	default:
		return -EINVAL;
	}
	if (!ret)
		*ret_nr = 1UL << order;
	return ret;
}

/**
 * dmem_pool_chunk_dirty() - must this chunk be cleared before it is used?
 * @pool: the pool
 * @pfn:  a page of a chunk that was handed out whole and belongs to the caller
 *
 * Context: needs no serialization, the mark does not change while the chunk is handed out.
 */
bool dmem_pool_chunk_dirty(const struct dmem_pool *pool, unsigned long pfn)
{
	const struct dmem_region_state *region = pool_region(pool, pfn);

	if (WARN_ON_ONCE(!region))
		return true;
	return test_bit(chunk_number(pfn), region->spans[span_number(region, pfn)].dirty);
}

/* The retired units of a chunk, or NULL. */
static struct dmem_bad *chunk_bad(const struct dmem_span *span, unsigned long chunk)
{
	/* Pairs with smp_store_release() in make_bad(), for those who do not serialize. */
	struct dmem_bad **bad = READ_ONCE(span->bad);

	return bad ? READ_ONCE(bad[chunk]) : NULL;
}

/* Take the retired units out of @nr freed ones of a chunk. Returns how many. */
static unsigned long withdraw(struct dmem_pool *pool, struct dmem_span *span, unsigned long chunk,
			      unsigned long first, unsigned long nr)
{
	struct dmem_bad *bad = chunk_bad(span, chunk);
	unsigned long unit, nr_out = 0;

	for (unit = find_next_bit(bad->retired, first + nr, first); unit < first + nr;
	     unit = find_next_bit(bad->retired, first + nr, unit + 1)) {
		/* To all others it looks used, so the chunk stays split and is never joined. */
		__set_bit(unit, chunk_used(span, chunk));
		set_bit(unit, bad->out);
		nr_out++;
	}
	pool->nr_out += nr_out;
	return nr_out;
}

/*
 * @nr units from @pfn, all in one chunk. Returns how many of them are free now. The caller brings
 * the indexes in line.
 */
static unsigned long free_in_chunk(struct dmem_pool *pool, struct dmem_region_state *region,
				   unsigned long pfn, unsigned long nr)
{
	struct dmem_span *span = &region->spans[span_number(region, pfn)];
	unsigned long chunk = chunk_number(pfn);
	unsigned long first = pfn & (DMEM_CHUNK_UNITS - 1);

	if (WARN_ON_ONCE(!test_bit(chunk, span->busy)))
		return 0;

	if (test_bit(chunk, span->split)) {
		const struct dmem_bad *bad = chunk_bad(span, chunk);
		unsigned long *used = chunk_used(span, chunk);

		if (WARN_ON_ONCE(find_next_zero_bit(used, first + nr, first) < first + nr))
			return 0;
		if (WARN_ON_ONCE(bad && find_next_bit(bad->out, first + nr, first) < first + nr))
			return 0;
		chunk_set_dirty(pool, span, chunk, true);
		bitmap_clear(used, first, nr);
		if (bad)
			nr -= withdraw(pool, span, chunk, first, nr);
		chunk_settle(pool, span, chunk);
	} else {
		/* What was handed out as a chunk comes back as one. */
		if (WARN_ON_ONCE(nr != DMEM_CHUNK_UNITS))
			return 0;
		chunk_set_dirty(pool, span, chunk, true);
		chunk_set_busy(pool, span, chunk, false);
	}
	pool->nr_free += nr;
	return nr;
}

/* A whole span, if it is out as whole chunks: the same as free_in_chunk() for each, but at once. */
static bool free_span(struct dmem_pool *pool, struct dmem_span *span)
{
	if (span->nr_split || !bitmap_full(span->busy, DMEM_SPAN_CHUNKS))
		return false;
	bitmap_fill(span->dirty, DMEM_SPAN_CHUNKS);
	bitmap_fill(span->queued, DMEM_SPAN_CHUNKS);
	span_set_busy(pool, span, false);
	pool->nr_free += DMEM_SPAN_UNITS;
	return true;
}

/**
 * dmem_pool_free() - take memory back, as dirty
 * @pool: the pool
 * @pfn:  first page number
 * @nr:   units, all handed out. Whole chunks, except where the memory was handed out in units or
 *        the chunk has a retired unit.
 *
 * Retired units leave the pool. A double free is reported once and ignored.
 *
 * Return: how many units are free now, @nr less those that left.
 */
unsigned long dmem_pool_free(struct dmem_pool *pool, unsigned long pfn, unsigned long nr)
{
	struct dmem_region_state *region = pool_region(pool, pfn);
	unsigned long nr_freed = 0;

	if (WARN_ON_ONCE(!region || nr > region->end - pfn))
		return 0;

	while (nr) {
		unsigned long offset = pfn & (DMEM_CHUNK_UNITS - 1);
		unsigned long part = min(nr, DMEM_CHUNK_UNITS - offset);

		if (IS_ALIGNED(pfn, DMEM_SPAN_UNITS) && nr >= DMEM_SPAN_UNITS &&
		    free_span(pool, &region->spans[span_number(region, pfn)])) {
			part = DMEM_SPAN_UNITS;
			nr_freed += part;
		} else {
			nr_freed += free_in_chunk(pool, region, pfn, part);
		}
		pfn += part;
		nr -= part;
		/* Once for all chunks of a span. */
		if (!nr || IS_ALIGNED(pfn, DMEM_SPAN_UNITS))
			span_changed(region, span_number(region, pfn - 1));
	}
	return nr_freed;
}

/**
 * dmem_pool_clear_begin() - choose the queued chunk to be cleared next
 * @pool: the pool; nothing is being cleared
 *
 * Its free units belong to the caller until dmem_pool_clear_end(), although they count as free.
 * Broken spans come before whole ones, so the next small allocation finds clean memory first, and
 * in a span the order is the one in which chunks are handed out.
 *
 * Return: true if there is one, to be visited with dmem_pool_clear_next().
 */
bool dmem_pool_clear_begin(struct dmem_pool *pool)
{
	static const enum dmem_index order[] = { DMEM_ROOM, DMEM_PART, DMEM_WHOLE };
	DECLARE_BITMAP(candidates, DMEM_SPAN_CHUNKS);
	unsigned int k, r;

	if (WARN_ON_ONCE(pool->clearing) || !pool->nr_queued)
		return false;

	for (k = 0; k < ARRAY_SIZE(order); k++) {
		for (r = pool->nr_regions; r-- > 0; ) {
			struct dmem_region_state *region = &pool->regions[r];
			unsigned long i;

			for_each_set_bit(i, region->index[order[k]], region->nr_spans) {
				struct dmem_span *span = &region->spans[i];
				unsigned long chunk;

				if (order[k] == DMEM_ROOM)
					bitmap_copy(candidates, span->room, DMEM_SPAN_CHUNKS);
				else
					bitmap_complement(candidates, span->busy,
							  DMEM_SPAN_CHUNKS);
				bitmap_and(candidates, candidates, span->queued, DMEM_SPAN_CHUNKS);
				chunk = find_first_bit(candidates, DMEM_SPAN_CHUNKS);
				if (chunk >= DMEM_SPAN_CHUNKS)
					continue;

				if (test_bit(chunk, span->split)) {
					unsigned long *used = chunk_used(span, chunk);

					bitmap_complement(pool->clear_taken, used,
							  DMEM_CHUNK_UNITS);
					bitmap_fill(used, DMEM_CHUNK_UNITS);
					chunk_settle(pool, span, chunk);
				} else {
					bitmap_fill(pool->clear_taken, DMEM_CHUNK_UNITS);
					chunk_set_busy(pool, span, chunk, true);
				}
				/* What is freed into it from now on marks it again. */
				chunk_set_dirty(pool, span, chunk, false);
				span_changed(region, i);
				WRITE_ONCE(pool->clearing, chunk_pfn(region, i, chunk));
				return true;
			}
		}
	}
	return false;
}

/**
 * dmem_pool_clear_next() - the pieces of the chunk that is being cleared
 * @pool: the pool
 * @pfn:  in: where to look on, 0 at first; out: first page number of the next piece
 * @nr:   out: its units
 *
 * Context: needs no serialization between dmem_pool_clear_begin() and dmem_pool_clear_end().
 * Return: false when there is no further piece.
 */
bool dmem_pool_clear_next(const struct dmem_pool *pool, unsigned long *pfn, unsigned long *nr)
{
	unsigned long first = *pfn ? *pfn - pool->clearing : 0;
	unsigned long end;

	first = find_next_bit(pool->clear_taken, DMEM_CHUNK_UNITS, first);
	if (first >= DMEM_CHUNK_UNITS)
		return false;
	end = find_next_zero_bit(pool->clear_taken, DMEM_CHUNK_UNITS, first);
	*pfn = pool->clearing + first;
	*nr = end - first;
	return true;
}

/**
 * dmem_pool_clear_end() - give back, as clean, what was being cleared
 * @pool: the pool
 */
void dmem_pool_clear_end(struct dmem_pool *pool)
{
	struct dmem_region_state *region = pool_region(pool, pool->clearing);
	unsigned long span_nr, chunk;
	struct dmem_span *span;

	if (WARN_ON_ONCE(!region))
		return;

	span_nr = span_number(region, pool->clearing);
	span = &region->spans[span_nr];
	chunk = chunk_number(pool->clearing);
	if (test_bit(chunk, span->split)) {
		unsigned long *used = chunk_used(span, chunk);
		const struct dmem_bad *bad = chunk_bad(span, chunk);

		bitmap_andnot(used, used, pool->clear_taken, DMEM_CHUNK_UNITS);
		/* What was retired meanwhile has left already. */
		if (bad)
			bitmap_or(used, used, bad->out, DMEM_CHUNK_UNITS);
		chunk_settle(pool, span, chunk);
	} else {
		chunk_set_busy(pool, span, chunk, false);
	}
	span_changed(region, span_nr);
	WRITE_ONCE(pool->clearing, 0);
}

/* Room to note retired units of a chunk. What is there already is left alone. */
static struct dmem_bad *make_bad(struct dmem_span *span, unsigned long chunk, gfp_t gfp)
{
	struct dmem_bad *bad;

	if (!span->bad) {
		struct dmem_bad **table = kcalloc(DMEM_SPAN_CHUNKS, sizeof(*table), gfp);

		if (!table)
			return NULL;
		/* Who finds it reads it without a lock, so it has to be zeroed before. */
		smp_store_release(&span->bad, table);
	}
	bad = span->bad[chunk];
	if (!bad) {
		bad = kcalloc(1, sizeof(*bad), gfp);
		if (bad) {
			/* The same. */
			smp_store_release(&span->bad[chunk], bad);
		}
	}
	return bad;
}

/*
 * Make sure that a chunk is split, whoever has it: a unit of it is going to leave. If the chunk is
 * just being cleared, dmem_pool_clear_end() will find it split.
 */
static int split_any_chunk(struct dmem_pool *pool, struct dmem_span *span, unsigned long chunk,
			   gfp_t gfp)
{
	bool free = !test_bit(chunk, span->busy);
	int ret;

	if (test_bit(chunk, span->split))
		return 0;
	ret = split_chunk(span, chunk, gfp);
	if (ret)
		return ret;
	if (free) {
		chunk_set_busy(pool, span, chunk, true);
		bitmap_zero(chunk_used(span, chunk), DMEM_CHUNK_UNITS);
	} else {
		bitmap_fill(chunk_used(span, chunk), DMEM_CHUNK_UNITS);
	}
	return 0;
}

/**
 * dmem_pool_retire() - never hand out a unit again
 * @pool:     the pool
 * @pfn:      page number
 * @poisoned: its contents are lost
 * @ret_used: somebody has it; it leaves the pool when it is freed
 *
 * Return: %1 if the unit has left the pool, or what its owner has to know is new (it is retired,
 * or it is poisoned now); %0 if nothing is new; -EINVAL if the pool has no such unit; -ENOMEM.
 * @ret_used is set unless it is an error.
 */
int dmem_pool_retire(struct dmem_pool *pool, unsigned long pfn, bool poisoned, bool *ret_used)
{
	struct dmem_region_state *region = pool_region(pool, pfn);
	unsigned long unit = pfn & (DMEM_CHUNK_UNITS - 1);
	unsigned long chunk = chunk_number(pfn), span_nr;
	bool known, was_poisoned, cleared;
	struct dmem_span *span;
	struct dmem_bad *bad;

	if (!region)
		return -EINVAL;
	span_nr = span_number(region, pfn);
	span = &region->spans[span_nr];
	/* A unit that is forgotten would be handed out. */
	bad = make_bad(span, chunk, GFP_KERNEL | __GFP_NOFAIL);
	if (!bad || split_any_chunk(pool, span, chunk, GFP_KERNEL | __GFP_NOFAIL))
		return -ENOMEM;

	known = test_bit(unit, bad->retired);
	was_poisoned = test_bit(unit, bad->poisoned);
	set_bit(unit, bad->retired);
	if (poisoned)
		set_bit(unit, bad->poisoned);
	if (known) {
		*ret_used = !test_bit(unit, bad->out);
		return *ret_used && poisoned && !was_poisoned;
	}

	cleared = pool->clearing == pfn - unit && test_bit(unit, pool->clear_taken);
	*ret_used = test_bit(unit, chunk_used(span, chunk)) && !cleared;
	if (!*ret_used) {
		withdraw(pool, span, chunk, unit, 1);
		pool->nr_free--;
	}
	chunk_settle(pool, span, chunk);
	span_changed(region, span_nr);
	return 1;
}

/**
 * dmem_pool_next_lost() - find memory that nobody may touch
 * @pool: the pool
 * @pfn:  first page number to look at
 * @end:  first page number behind, in the same region
 *
 * Context: needs no serialization.
 * Return: the first page number of a unit that is poisoned or has left the pool, or @end.
 */
unsigned long dmem_pool_next_lost(const struct dmem_pool *pool, unsigned long pfn,
				  unsigned long end)
{
	const struct dmem_region_state *region = pool_region(pool, pfn);

	while (region && pfn < end) {
		const struct dmem_span *span = &region->spans[span_number(region, pfn)];
		unsigned long offset = pfn & (DMEM_CHUNK_UNITS - 1);
		unsigned long poisoned, out, lost;
		const struct dmem_bad *bad;

		if (!READ_ONCE(span->bad)) {
			pfn = (pfn | (DMEM_SPAN_UNITS - 1)) + 1;
			continue;
		}
		bad = chunk_bad(span, chunk_number(pfn));
		if (bad) {
			poisoned = find_next_bit(bad->poisoned, DMEM_CHUNK_UNITS, offset);
			out = find_next_bit(bad->out, DMEM_CHUNK_UNITS, offset);
			lost = min(poisoned, out);
			if (lost < DMEM_CHUNK_UNITS)
				return min(pfn - offset + lost, end);
		}
		pfn = pfn - offset + DMEM_CHUNK_UNITS;
	}
	return end;
}

/* The first retired unit of a chunk at or behind @unit, after @skip others */
static bool find_in_chunk(const struct dmem_bad *bad, unsigned long *unit, unsigned long *skip)
{
	for_each_set_bit_from(*unit, bad->retired, DMEM_CHUNK_UNITS)
		if (!(*skip)--)
			return true;
	return false;
}

/**
 * dmem_pool_find_retired() - list the units that are retired, sorted
 * @pool:     the pool
 * @skip:     how many to pass over
 * @pfn:      in: where to look on, 0 at first; out: page number of the unit
 * @ret_used: somebody has it
 *
 * Return: false if there is none.
 */
bool dmem_pool_find_retired(const struct dmem_pool *pool, unsigned long skip, unsigned long *pfn,
			    bool *ret_used)
{
	unsigned int r;

	for (r = 0; r < pool->nr_regions; r++) {
		const struct dmem_region_state *region = &pool->regions[r];
		unsigned long at = max(*pfn, region->start);

		while (at < region->end) {
			const struct dmem_span *span = &region->spans[span_number(region, at)];
			unsigned long unit = at & (DMEM_CHUNK_UNITS - 1);
			const struct dmem_bad *bad = chunk_bad(span, chunk_number(at));

			at -= unit;
			if (!span->bad) {
				at = (at | (DMEM_SPAN_UNITS - 1)) + 1;
				continue;
			}
			if (bad && find_in_chunk(bad, &unit, &skip)) {
				*pfn = at + unit;
				*ret_used = !test_bit(unit, bad->out);
				return true;
			}
			at += DMEM_CHUNK_UNITS;
		}
	}
	return false;
}
