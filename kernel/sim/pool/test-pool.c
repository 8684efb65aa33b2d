// SPDX-License-Identifier: GPL-2.0
/*
 * The pool against a model that has one byte for each unit: owned or free, and what was written.
 */
#include <errno.h>
#include <linux/bug.h>
#include <linux/slab.h>

#include "../check.h"
#include "pool.h"

unsigned long sim_warnings, sim_fail_every, sim_allocations;

/* Two regions of a node: not span aligned at either end, and a hole between them. */
#define START_A	(3 * DMEM_SPAN_UNITS - 64 * DMEM_CHUNK_UNITS)
#define END_A	(5 * DMEM_SPAN_UNITS + 128 * DMEM_CHUNK_UNITS)
#define START_B	(6 * DMEM_SPAN_UNITS)
#define END_B	(8 * DMEM_SPAN_UNITS)
#define UNITS	(8 * DMEM_SPAN_UNITS)

enum { ABSENT, FREE_CLEAN, FREE_DIRTY, OWNED, OUT };
static u8 state[UNITS];

/* What is known of a unit besides that. */
enum { RETIRED = 1, POISONED = 2 };
static u8 bad[UNITS];
static unsigned long nr_bad, nr_out;

struct owned {
	unsigned long pfn, nr;
};

static struct owned owned[UNITS / 64];
static unsigned long nr_owned, nr_free, rng = 1;

static unsigned long random_below(unsigned long n)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng % n;
}

static void build(struct dmem_pool *pool, bool clear)
{
	memset(pool, 0, sizeof(*pool));
	CHECK("build", !dmem_pool_add(pool, START_A, END_A, clear), "region A");
	CHECK("build", !dmem_pool_add(pool, START_B, END_B, clear), "region B");
	memset(state, ABSENT, sizeof(state));
	memset(bad, 0, sizeof(bad));
	nr_bad = 0;
	nr_out = 0;
	memset(state + START_A, FREE_DIRTY, END_A - START_A);
	memset(state + START_B, FREE_DIRTY, END_B - START_B);
	nr_free = END_A - START_A + END_B - START_B;
	nr_owned = 0;
}

/* What the pool hands out must be free, aligned, and clean unless it says otherwise. */
static void model_alloc(const struct dmem_pool *pool, unsigned int order, unsigned long pfn,
			unsigned long nr, bool dirty)
{
	unsigned long i, wrong = 0, unsaid = 0;

	CHECK("alloc", !(pfn & (BIT(order) - 1)), "pfn %lx of order %u", pfn, order);
	for (i = pfn; i < pfn + nr; i++) {
		bool told = dirty && (order < DMEM_SPAN_ORDER || dmem_pool_chunk_dirty(pool, i));

		wrong += state[i] != FREE_CLEAN && state[i] != FREE_DIRTY;
		unsaid += state[i] == FREE_DIRTY && !told;
		state[i] = OWNED;
	}
	CHECK("alloc", !wrong, "%lu units of %lx were not free", wrong, pfn);
	CHECK("alloc", !unsaid, "%lu units of %lx are dirty, which was not said", unsaid, pfn);
	nr_free -= nr;
	owned[nr_owned++] = (struct owned) { pfn, nr };
}

static void model_free(struct dmem_pool *pool, unsigned long pfn, unsigned long nr)
{
	unsigned long i, free = 0, got;

	for (i = pfn; i < pfn + nr; i++) {
		state[i] = bad[i] ? OUT : FREE_DIRTY;
		free += !bad[i];
	}
	got = dmem_pool_free(pool, pfn, nr);
	CHECK("free", got == free, "%lx, %lu: %lu came back, not %lu", pfn, nr, got, free);
	nr_free += free;
	nr_out += nr - free;
}

/* Retire one unit anywhere, or near others so that chunks with several are common. */
static void step_retire(struct dmem_pool *pool)
{
	static unsigned long last = START_A;
	unsigned long pfn = random_below(2) ? random_below(UNITS) : last + random_below(40);
	bool poisoned = random_below(2), used = false, was_used;
	int ret, expected;

	if (pfn >= UNITS)
		return;
	last = pfn;
	ret = dmem_pool_retire(pool, pfn, poisoned, &used);
	if (state[pfn] == ABSENT) {
		CHECK("retire", ret == -EINVAL, "%lx is not there: %d", pfn, ret);
		return;
	}
	was_used = state[pfn] == OWNED;
	expected = !bad[pfn] || (was_used && poisoned && !(bad[pfn] & POISONED));
	CHECK("retire", ret == expected && used == was_used, "%lx: %d, used %d", pfn, ret, used);
	nr_bad += !bad[pfn];
	bad[pfn] |= RETIRED | (poisoned ? POISONED : 0);
	if (!was_used && state[pfn] != OUT) {
		state[pfn] = OUT;
		nr_free--;
		nr_out++;
	}
}

/* What the pool tells of bad units, by both ways to ask. */
static void check_retired(const struct dmem_pool *pool, unsigned long seed)
{
	static const unsigned long regions[][2] = { { START_A, END_A }, { START_B, END_B } };
	unsigned long pfn = 0, i, r, found = 0, differ = 0, lost = 0;
	bool used;

	for (i = 0; i < UNITS; i++) {
		if (!bad[i])
			continue;
		differ += !dmem_pool_find_retired(pool, 0, &pfn, &used) || pfn != i ||
			used != (state[i] == OWNED);
		pfn = i + 1;
		found++;
	}
	CHECK("retired", !differ, "seed %lu: %lu of %lu units are not listed", seed, differ, found);
	CHECK("retired", !dmem_pool_find_retired(pool, 0, &pfn, &used), "seed %lu: %lx is listed",
	      seed, pfn);
	i = found / 2;
	pfn = 0;
	CHECK("retired", dmem_pool_find_retired(pool, i, &pfn, &used) == (found > 0),
	      "seed %lu: number %lu of %lu", seed, i, found);
	for (; pfn < UNITS && found; pfn++)
		i += !!bad[pfn];
	CHECK("retired", i == found, "seed %lu: skipped to the wrong one", seed);

	for (r = 0; r < ARRAY_SIZE(regions); r++) {
		unsigned long at = regions[r][0], end = regions[r][1];

		differ = 0;
		for (i = at; i < end; i++) {
			if (!(bad[i] & POISONED) && state[i] != OUT)
				continue;
			at = dmem_pool_next_lost(pool, at, end);
			differ += at++ != i;
			lost++;
		}
		differ += dmem_pool_next_lost(pool, at, end) != end;
		CHECK("retired", !differ, "seed %lu: %lu of %lu lost units not found", seed,
		      differ, lost);
	}
}

static void clear_one(struct dmem_pool *pool)
{
	unsigned long pfn = 0, nr, wrong = 0;
	bool used;

	if (!dmem_pool_clear_begin(pool))
		return;
	while (dmem_pool_clear_next(pool, &pfn, &nr)) {
		unsigned long i, hit = pfn + random_below(nr);

		/* One may go bad while it is being cleared; it counts as free. */
		if (!random_below(6) && !bad[hit]) {
			CHECK("clear", dmem_pool_retire(pool, hit, true, &used) == 1 && !used,
			      "%lx is free while it is being cleared", hit);
			bad[hit] = RETIRED | POISONED;
			state[hit] = OUT;
			nr_bad++;
			nr_out++;
			nr_free--;
		}
		for (i = pfn; i < pfn + nr; i++) {
			if (dmem_pool_next_lost(pool, i, i + 1) == i) {
				wrong += state[i] != OUT;
				continue;
			}
			wrong += state[i] != FREE_DIRTY && state[i] != FREE_CLEAN;
			state[i] = FREE_CLEAN;
		}
		pfn += nr;
	}
	CHECK("clear", !wrong, "%lu units that are not free would have been cleared", wrong);
	dmem_pool_clear_end(pool);
}

static bool step_alloc(struct dmem_pool *pool, unsigned int order, unsigned long want)
{
	unsigned long pfn = 7, nr = 7;
	bool dirty;

	if (dmem_pool_alloc(pool, order, want, &pfn, &nr, &dirty)) {
		CHECK("alloc", pfn == 7 && nr == 7, "results changed on failure");
		return false;
	}
	CHECK("alloc", nr == (order ? BIT(order) : nr) && (order || nr <= want), "got %lu", nr);
	model_alloc(pool, order, pfn, nr, dirty);
	return true;
}

static void step_free(struct dmem_pool *pool)
{
	unsigned long i = random_below(nr_owned);
	struct owned *o = &owned[i], part = *o;

	/*
	 * Chunks in part of what was allocated; units where it was given out in units, or where
	 * they are bad.
	 */
	part.pfn += random_below(o->nr);
	if (bad[part.pfn] && random_below(2))
		part.nr = 1;
	else
		part = *o;
	if (part.nr == 1 && o->nr > 1)
		;
	else if (o->nr >= DMEM_CHUNK_UNITS && random_below(2)) {
		part.pfn += random_below(o->nr / DMEM_CHUNK_UNITS) * DMEM_CHUNK_UNITS;
		part.nr = DMEM_CHUNK_UNITS;
	} else if (o->nr < DMEM_CHUNK_UNITS && random_below(2)) {
		part.pfn += random_below(o->nr);
		part.nr = 1;
	}
	model_free(pool, part.pfn, part.nr);

	if (part.pfn + part.nr < o->pfn + o->nr)
		owned[nr_owned++] = (struct owned) { part.pfn + part.nr,
			o->pfn + o->nr - part.pfn - part.nr };
	o->nr = part.pfn - o->pfn;
	if (!o->nr)
		*o = owned[--nr_owned];
}

static void free_all(struct dmem_pool *pool)
{
	while (nr_owned) {
		nr_owned--;
		model_free(pool, owned[nr_owned].pfn, owned[nr_owned].nr);
	}
}

static unsigned int whole_spans(void)
{
	static const unsigned long starts[] = { 3, 4, 6, 7 };
	unsigned int i, whole = 0;

	for (i = 0; i < ARRAY_SIZE(starts); i++)
		whole += !memchr(state + starts[i] * DMEM_SPAN_UNITS, OUT, DMEM_SPAN_UNITS);
	return whole;
}

/* Every third seed is without bad units, so that what they need cannot hide a fault elsewhere. */
static void test_random(unsigned long seed)
{
	struct dmem_pool pool;
	unsigned int i, spans = 0, whole;

	rng = seed * 0x9e3779b97f4a7c15 + 1;
	build(&pool, seed & 1);
	sim_warnings = 0;
	sim_fail_every = seed % 5 == 4 ? 3 : 0;
	for (i = 0; i < 3000; i++) {
		if (seed % 3 && !random_below(seed % 3 == 1 ? 200 : 8))
			step_retire(&pool);
		switch (random_below(8)) {
		case 0:
			step_alloc(&pool, DMEM_SPAN_ORDER, 1);
			break;
		case 1:
		case 2:
			step_alloc(&pool, DMEM_CHUNK_ORDER, 1);
			break;
		case 3:
		case 4:
			step_alloc(&pool, 0, 1 + random_below(600));
			break;
		case 5:
			clear_one(&pool);
			break;
		default:
			if (nr_owned)
				step_free(&pool);
		}
		CHECK("random", pool.nr_free == nr_free, "seed %lu step %u: %lu free, not %lu",
		      seed, i, pool.nr_free, nr_free);
		CHECK("random", pool.nr_out == nr_out, "seed %lu step %u: %lu out, not %lu",
		      seed, i, pool.nr_out, nr_out);
		if (!(i % 500))
			check_retired(&pool, seed);
	}
	sim_fail_every = 0;
	check_retired(&pool, seed);

	/* Every free unit can be had, whatever the fragmentation. */
	while (step_alloc(&pool, 0, 1000))
		;
	CHECK("random", nr_free == 0, "seed %lu: %lu units are lost", seed, nr_free);

	/* And all of it grows together again. */
	free_all(&pool);
	while (pool.nr_queued)
		clear_one(&pool);
	CHECK("random", !memchr(state, FREE_DIRTY, sizeof(state)), "seed %lu: still dirty", seed);
	CHECK("random", nr_out == nr_bad && nr_free + nr_out == pool.nr_units,
	      "seed %lu: %lu free and %lu out", seed, nr_free, nr_out);
	check_retired(&pool, seed);
	whole = whole_spans();
	while (step_alloc(&pool, DMEM_SPAN_ORDER, 1))
		spans++;
	CHECK("random", spans == whole, "seed %lu: %u whole spans, not %u", seed, spans, whole);
	CHECK("random", !sim_warnings, "seed %lu: %lu warnings", seed, sim_warnings);
	dmem_pool_destroy(&pool);
}

static void test_packing(void)
{
	struct dmem_pool pool;
	unsigned int i, spans = 0;

	/* A unit and a chunk at a time, from both sizes, must break as few spans as possible. */
	build(&pool, false);
	for (i = 0; i < 64; i++) {
		step_alloc(&pool, 0, 1);
		step_alloc(&pool, DMEM_CHUNK_ORDER, 1);
	}
	while (step_alloc(&pool, DMEM_SPAN_ORDER, 1))
		spans++;
	CHECK("packing", spans == 4, "%u whole spans next to 65 chunks in broken ones", spans);
	dmem_pool_destroy(&pool);
}

/* A file that is filled in order gets consecutive memory, which comes back as one piece. */
static void test_consecutive(void)
{
	unsigned long first = 0, pfn, nr, i, round, differ;
	struct dmem_pool pool = {};
	bool dirty;

	CHECK("consecutive", !dmem_pool_add(&pool, START_B, END_B, false), "region B");
	for (round = 0; round < 3; round++) {
		differ = 0;
		for (i = 0; i < DMEM_SPAN_CHUNKS; i++) {
			CHECK("consecutive", !dmem_pool_alloc(&pool, DMEM_CHUNK_ORDER, 1, &pfn,
							      &nr, &dirty), "chunk %lu", i);
			if (!i)
				first = pfn;
			differ += pfn != first + i * DMEM_CHUNK_UNITS;
		}
		CHECK("consecutive", !differ && first == END_B - DMEM_SPAN_UNITS,
		      "round %lu: %lu chunks from %lx are elsewhere", round, differ, first);
		CHECK("consecutive", !pool.nr_queued, "%lu chunks are queued", pool.nr_queued);
		/* In the second round two halves, which the pool looks at chunk by chunk. */
		nr = DMEM_SPAN_UNITS / (1 + (round == 1));
		for (pfn = first; pfn < first + DMEM_SPAN_UNITS; pfn += nr)
			CHECK("consecutive", dmem_pool_free(&pool, pfn, nr) == nr, "%lx", pfn);
		CHECK("consecutive", pool.nr_queued == DMEM_SPAN_CHUNKS &&
		      pool.nr_free == pool.nr_units, "%lu queued, %lu free", pool.nr_queued,
		      pool.nr_free);
		/* The first chunks to be cleared are the next to be handed out. */
		for (i = 0; i < 5; i++) {
			CHECK("consecutive", dmem_pool_clear_begin(&pool) &&
			      pool.clearing == first + i * DMEM_CHUNK_UNITS, "%lx is cleared",
			      pool.clearing);
			dmem_pool_clear_end(&pool);
		}
	}
	sim_warnings = 0;
	CHECK("consecutive", !dmem_pool_free(&pool, first, DMEM_SPAN_UNITS) && sim_warnings,
	      "a double free is noticed");
	CHECK("consecutive", pool.nr_free == pool.nr_units, "%lu free", pool.nr_free);
	dmem_pool_destroy(&pool);
}

static void test_clean_first(void)
{
	unsigned long chunks[2], pfn, nr, i;
	struct dmem_pool pool;
	bool dirty;

	build(&pool, false);
	CHECK("clean", !pool.nr_queued, "memory that was never used is queued");
	CHECK("clean", !dmem_pool_alloc(&pool, DMEM_SPAN_ORDER, 1, &pfn, &nr, &dirty) && dirty,
	      "fresh memory must be dirty");
	dmem_pool_free(&pool, pfn, nr);
	CHECK("clean", pool.nr_queued == DMEM_SPAN_CHUNKS, "%lu chunks queued", pool.nr_queued);
	for (i = 0; pool.nr_queued; i++) {
		CHECK("clean", dmem_pool_clear_begin(&pool), "something is queued");
		CHECK("clean", pool.clearing, "%lu chunks queued, and none begun", pool.nr_queued);
		dmem_pool_clear_end(&pool);
		CHECK("clean", !pool.clearing, "%lx still is", pool.clearing);
	}
	CHECK("clean", i == DMEM_SPAN_CHUNKS, "cleared %lu times", i);
	CHECK("clean", !dmem_pool_alloc(&pool, DMEM_CHUNK_ORDER, 1, &pfn, &nr, &dirty) && !dirty,
	      "a clean chunk comes first");
	CHECK("clean", !dmem_pool_alloc(&pool, 0, 1, &pfn, &nr, &dirty) && !dirty,
	      "a clean unit comes first");
	dmem_pool_destroy(&pool);

	/* Also if a dirty one of the same span would come before it. */
	build(&pool, false);
	for (i = 0; i < ARRAY_SIZE(chunks); i++)
		dmem_pool_alloc(&pool, DMEM_CHUNK_ORDER, 1, &chunks[i], &nr, &dirty);
	dmem_pool_free(&pool, chunks[1], nr);
	CHECK("clean", dmem_pool_clear_begin(&pool), "the second one is queued");
	dmem_pool_clear_end(&pool);
	dmem_pool_free(&pool, chunks[0], nr);
	CHECK("clean", !dmem_pool_alloc(&pool, DMEM_CHUNK_ORDER, 1, &pfn, &nr, &dirty) && !dirty &&
	      pfn == chunks[1], "%lx, dirty: %d", pfn, dirty);
	dmem_pool_destroy(&pool);

	/* With @clear, all of it is queued from the beginning. */
	build(&pool, true);
	CHECK("clean", pool.nr_queued == pool.nr_units / DMEM_CHUNK_UNITS, "%lu chunks queued",
	      pool.nr_queued);
	dmem_pool_destroy(&pool);
}

/* What is freed while its chunk is being cleared is dirty afterwards, what was free is clean. */
static void test_clear_races(void)
{
	unsigned long pfn, nr, at, other;
	struct dmem_pool pool;
	bool dirty;

	build(&pool, false);
	dmem_pool_alloc(&pool, 0, 100, &pfn, &nr, &dirty);
	dmem_pool_free(&pool, pfn, 50);
	CHECK("races", dmem_pool_clear_begin(&pool), "one chunk is queued");
	at = 0;
	CHECK("races", dmem_pool_clear_next(&pool, &at, &nr) && at == pfn && nr == 50,
	      "first piece %lx, %lu", at, nr);
	at += nr;
	CHECK("races", dmem_pool_clear_next(&pool, &at, &nr) && at == pfn + 100 && nr == 412,
	      "second piece %lx, %lu", at, nr);
	at += nr;
	CHECK("races", !dmem_pool_clear_next(&pool, &at, &nr), "no third piece");

	dmem_pool_free(&pool, pfn + 50, 25);
	dmem_pool_alloc(&pool, 0, 1, &other, &nr, &dirty);
	CHECK("races", other >= pfn + 50 && other < pfn + 75 && dirty,
	      "what was freed meanwhile can be had, as dirty");
	dmem_pool_clear_end(&pool);
	dmem_pool_alloc(&pool, 0, 1, &at, &nr, &dirty);
	CHECK("races", dirty && pool.nr_queued == 1, "the chunk is dirty again");

	sim_warnings = 0;
	dmem_pool_free(&pool, pfn, 1);
	dmem_pool_free(&pool, pfn, 1);
	CHECK("races", sim_warnings == 1, "a double free is noticed");
	dmem_pool_destroy(&pool);
}

static void test_retire(void)
{
	unsigned long pfn, nr, at, units = 0;
	struct dmem_pool pool;
	bool dirty, used;

	/* A unit in a chunk that somebody has: it stays until it is freed, the others come back. */
	build(&pool, false);
	sim_warnings = 0;
	dmem_pool_alloc(&pool, DMEM_CHUNK_ORDER, 1, &pfn, &nr, &dirty);
	CHECK("retire", dmem_pool_retire(&pool, pfn + 7, false, &used) == 1 && used, "in use");
	CHECK("retire", dmem_pool_next_lost(&pool, pfn, pfn + nr) == pfn + nr,
	      "its owner may go on using it");
	CHECK("retire", !dmem_pool_retire(&pool, pfn + 7, false, &used) && used, "again");
	CHECK("retire", dmem_pool_retire(&pool, pfn + 7, true, &used) == 1 && used, "worse");
	CHECK("retire", dmem_pool_next_lost(&pool, pfn, pfn + nr) == pfn + 7, "its data is lost");
	CHECK("retire", !pool.nr_out, "%lu out", pool.nr_out);

	/* That one alone, as a hole is punched for a good one; then all others. */
	CHECK("retire", !dmem_pool_free(&pool, pfn + 7, 1) && pool.nr_out == 1, "it leaves");
	CHECK("retire", dmem_pool_free(&pool, pfn, 7) == 7, "before it");
	CHECK("retire", dmem_pool_free(&pool, pfn + 8, nr - 8) == nr - 8, "behind it");
	CHECK("retire", pool.nr_free == pool.nr_units - 1, "%lu free", pool.nr_free);
	CHECK("retire", !dmem_pool_retire(&pool, pfn + 7, true, &used) && !used, "has left");

	/* Its neighbours can be had in units, and nobody else gets the chunk. */
	for (units = 0; units < nr - 1 && !dmem_pool_alloc(&pool, 0, nr, &at, &nr, &dirty);) {
		CHECK("retire", at + nr <= pfn + 7 || (at > pfn + 7 && at < pfn + 512),
		      "%lx, %lu is not what is left", at, nr);
		units += nr;
		nr = DMEM_CHUNK_UNITS;
	}
	CHECK("retire", units == DMEM_CHUNK_UNITS - 1, "%lu units", units);
	CHECK("retire", !sim_warnings, "%lu warnings", sim_warnings);
	dmem_pool_free(&pool, pfn + 7, 1);
	CHECK("retire", sim_warnings == 1, "freeing what has left is noticed");
	dmem_pool_destroy(&pool);

	/* At the edges of regions, and outside. */
	build(&pool, false);
	CHECK("retire", dmem_pool_retire(&pool, START_A - 1, true, &used) == -EINVAL, "before");
	CHECK("retire", dmem_pool_retire(&pool, START_A, true, &used) == 1 && !used, "first");
	CHECK("retire", dmem_pool_retire(&pool, END_A - 1, true, &used) == 1 && !used, "last");
	CHECK("retire", dmem_pool_retire(&pool, END_A, true, &used) == -EINVAL, "behind");
	CHECK("retire", pool.nr_out == 2 && pool.nr_free == pool.nr_units - 2, "both left");
	dmem_pool_destroy(&pool);
}

static void test_add(void)
{
	struct dmem_pool pool = {};

	CHECK("add", dmem_pool_add(&pool, 512, 512, false) == -EINVAL, "empty");
	CHECK("add", dmem_pool_add(&pool, 513, 1024, false) == -EINVAL, "not aligned");
	CHECK("add", dmem_pool_add(&pool, 0, 1024, false) == -EINVAL, "at zero");
	CHECK("add", !dmem_pool_add(&pool, 1024, 2048, false), "good");
	CHECK("add", dmem_pool_add(&pool, 1536, 4096, false) == -EINVAL, "overlap");
	for (sim_fail_every = 1; sim_fail_every <= 3; sim_fail_every++) {
		sim_allocations = 0;
		CHECK("add", dmem_pool_add(&pool, 4096, 8192, false) == -ENOMEM, "no memory");
	}
	sim_fail_every = 0;
	CHECK("add", pool.nr_units == 1024 && pool.nr_regions == 1, "unchanged");
	dmem_pool_destroy(&pool);
}

/* Metadata of a terabyte, at worst and at best. */
static void test_cost(void)
{
	const size_t span = sizeof(struct dmem_span), used = DMEM_SPAN_UNITS / 8;

	CHECK("cost", (1UL << 30) / (span + used + 8) > 30000, "%zu bytes for each GiB",
	      span + used);
	CHECK("cost", span <= 400, "%zu bytes for a span that is not split", span);
	CHECK("cost", sizeof(struct dmem_bad) <= 192, "%zu bytes for a chunk with bad units",
	      sizeof(struct dmem_bad));
}

int main(void)
{
	unsigned long seed;

	test_add();
	test_cost();
	test_packing();
	test_consecutive();
	test_clean_first();
	test_clear_races();
	test_retire();
	for (seed = 1; seed <= 12; seed++)
		test_random(seed);
	return check_result("pool");
}
