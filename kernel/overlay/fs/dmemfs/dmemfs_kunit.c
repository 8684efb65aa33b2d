// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of the pool and the ledger with the kernel's own bitmaps and lists. The random tests
 * against a model run in user space.
 */
#include <kunit/test.h>

#include "ledger.c"
#include "pool.c"

/* A region of 2 GiB and a bit, aligned to a chunk only. */
#define START	(5 * DMEM_SPAN_UNITS - 3 * DMEM_CHUNK_UNITS)
#define END	(7 * DMEM_SPAN_UNITS + 2 * DMEM_CHUNK_UNITS)

static void pool_add_test(struct kunit *test)
{
	static const struct {
		unsigned long start, end;
		int ret;
	} rows[] = {
		{ 0, END, -EINVAL },
		{ END, END, -EINVAL },
		{ START + 1, END, -EINVAL },
		{ START, END - 1, -EINVAL },
		{ START, END, 0 },
		{ START, END, -EINVAL },
		{ END - DMEM_CHUNK_UNITS, 2 * END, -EINVAL },
		{ END, 2 * END, 0 },
	};
	struct dmem_pool pool = {};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(rows); i++)
		KUNIT_EXPECT_EQ_MSG(test, dmem_pool_add(&pool, rows[i].start, rows[i].end, false),
				    rows[i].ret, "row %u", i);
	KUNIT_EXPECT_EQ(test, pool.nr_units, 2 * END - START);
	KUNIT_EXPECT_EQ(test, pool.nr_free, pool.nr_units);
	dmem_pool_destroy(&pool);
}

static void pool_sizes_test(struct kunit *test)
{
	unsigned long pfn, nr, chunks = 0, units = 0;
	struct dmem_pool pool = {};
	bool dirty;

	KUNIT_ASSERT_EQ(test, dmem_pool_add(&pool, START, END, false), 0);

	KUNIT_ASSERT_EQ(test, dmem_pool_alloc(&pool, DMEM_SPAN_ORDER, 1, &pfn, &nr, &dirty), 0);
	KUNIT_EXPECT_EQ(test, pfn, 5 * DMEM_SPAN_UNITS);
	KUNIT_EXPECT_EQ(test, nr, DMEM_SPAN_UNITS);
	KUNIT_EXPECT_TRUE(test, dirty);

	/* Small ones come from the top, and from what no span can use. */
	KUNIT_ASSERT_EQ(test, dmem_pool_alloc(&pool, 0, 5, &pfn, &nr, &dirty), 0);
	KUNIT_EXPECT_EQ(test, pfn, 7 * DMEM_SPAN_UNITS);
	KUNIT_EXPECT_EQ(test, nr, 5);
	while (!dmem_pool_alloc(&pool, DMEM_CHUNK_ORDER, 1, &pfn, &nr, &dirty))
		chunks++;
	KUNIT_EXPECT_EQ(test, chunks, 3 + DMEM_SPAN_CHUNKS + 1);
	while (!dmem_pool_alloc(&pool, 0, 100, &pfn, &nr, &dirty))
		units += nr;
	KUNIT_EXPECT_EQ(test, units, DMEM_CHUNK_UNITS - 5);
	KUNIT_EXPECT_EQ(test, pool.nr_free, 0);

	dmem_pool_free(&pool, START, END - START);
	KUNIT_EXPECT_EQ(test, pool.nr_free, END - START);
	KUNIT_EXPECT_EQ(test, pool.nr_queued, (END - START) / DMEM_CHUNK_UNITS);
	dmem_pool_destroy(&pool);
}

static void pool_clear_test(struct kunit *test)
{
	unsigned long pfn, nr, at = 0;
	struct dmem_pool pool = {};
	bool dirty;

	KUNIT_ASSERT_EQ(test, dmem_pool_add(&pool, START, END, false), 0);
	KUNIT_EXPECT_FALSE(test, dmem_pool_clear_begin(&pool));
	KUNIT_ASSERT_EQ(test, dmem_pool_alloc(&pool, DMEM_CHUNK_ORDER, 1, &pfn, &nr, &dirty), 0);
	KUNIT_EXPECT_TRUE(test, dirty);
	dmem_pool_free(&pool, pfn, nr);

	KUNIT_ASSERT_TRUE(test, dmem_pool_clear_begin(&pool));
	KUNIT_ASSERT_TRUE(test, dmem_pool_clear_next(&pool, &at, &nr));
	KUNIT_EXPECT_EQ(test, at, pfn);
	KUNIT_EXPECT_EQ(test, nr, DMEM_CHUNK_UNITS);
	at += nr;
	KUNIT_EXPECT_FALSE(test, dmem_pool_clear_next(&pool, &at, &nr));
	KUNIT_EXPECT_EQ(test, pool.clearing, pfn);
	dmem_pool_clear_end(&pool);
	KUNIT_EXPECT_EQ(test, pool.clearing, 0);

	at = pfn;
	KUNIT_ASSERT_EQ(test, dmem_pool_alloc(&pool, DMEM_CHUNK_ORDER, 1, &pfn, &nr, &dirty), 0);
	KUNIT_EXPECT_EQ(test, pfn, at);
	KUNIT_EXPECT_FALSE(test, dirty);
	dmem_pool_destroy(&pool);
}

static void pool_retire_test(struct kunit *test)
{
	unsigned long pfn, nr, at = 0;
	struct dmem_pool pool = {};
	bool dirty, used;

	KUNIT_ASSERT_EQ(test, dmem_pool_add(&pool, START, END, false), 0);
	KUNIT_EXPECT_EQ(test, dmem_pool_retire(&pool, END, true, &used), -EINVAL);
	KUNIT_ASSERT_EQ(test, dmem_pool_alloc(&pool, DMEM_CHUNK_ORDER, 1, &pfn, &nr, &dirty), 0);

	/* In use: it leaves with the chunk. Only what is poisoned must not be touched before. */
	KUNIT_EXPECT_EQ(test, dmem_pool_retire(&pool, pfn + 3, false, &used), 1);
	KUNIT_EXPECT_TRUE(test, used);
	KUNIT_EXPECT_EQ(test, dmem_pool_next_lost(&pool, pfn, pfn + nr), pfn + nr);
	KUNIT_EXPECT_EQ(test, dmem_pool_retire(&pool, pfn + 3, true, &used), 1);
	KUNIT_EXPECT_EQ(test, dmem_pool_retire(&pool, pfn + 3, true, &used), 0);
	KUNIT_EXPECT_EQ(test, dmem_pool_next_lost(&pool, pfn, pfn + nr), pfn + 3);
	KUNIT_EXPECT_EQ(test, pool.nr_out, 0);
	KUNIT_EXPECT_EQ(test, dmem_pool_free(&pool, pfn, nr), nr - 1);
	KUNIT_EXPECT_EQ(test, pool.nr_out, 1);

	/* Free, and being cleared: it leaves at once and is not given back as clean. */
	KUNIT_ASSERT_TRUE(test, dmem_pool_clear_begin(&pool));
	KUNIT_EXPECT_EQ(test, dmem_pool_retire(&pool, pfn + 9, true, &used), 1);
	KUNIT_EXPECT_FALSE(test, used);
	dmem_pool_clear_end(&pool);
	KUNIT_EXPECT_EQ(test, pool.nr_out, 2);
	KUNIT_EXPECT_EQ(test, pool.nr_free, END - START - 2);
	KUNIT_EXPECT_TRUE(test, dmem_pool_find_retired(&pool, 1, &at, &used));
	KUNIT_EXPECT_EQ(test, at, pfn + 9);
	at++;
	KUNIT_EXPECT_FALSE(test, dmem_pool_find_retired(&pool, 0, &at, &used));

	/* What is handed out next ends before the one, and then before the other. */
	KUNIT_ASSERT_EQ(test, dmem_pool_alloc(&pool, 0, DMEM_CHUNK_UNITS, &at, &nr, &dirty), 0);
	KUNIT_EXPECT_EQ(test, at, pfn);
	KUNIT_EXPECT_EQ(test, nr, 3);
	KUNIT_ASSERT_EQ(test, dmem_pool_alloc(&pool, 0, DMEM_CHUNK_UNITS, &at, &nr, &dirty), 0);
	KUNIT_EXPECT_EQ(test, at, pfn + 4);
	KUNIT_EXPECT_EQ(test, nr, 5);
	dmem_pool_destroy(&pool);
}

static void ledger_test(struct kunit *test)
{
	struct dmem_account any = {}, first = {};
	struct dmem_ledger ledger;

	KUNIT_ASSERT_EQ(test, dmem_ledger_init(&ledger, 2), 0);
	ledger.free[0] = 10;
	ledger.free[1] = 10;
	KUNIT_ASSERT_EQ(test, dmem_account_init(&any, &ledger), 0);
	KUNIT_ASSERT_EQ(test, dmem_account_init(&first, &ledger), 0);
	first.allowed[1] = false;
	dmem_account_open(&any, &ledger);
	dmem_account_open(&first, &ledger);

	KUNIT_EXPECT_EQ(test, dmem_ledger_promise(&ledger, &any, 21), -ENOSPC);
	KUNIT_EXPECT_EQ(test, dmem_ledger_promise(&ledger, &any, 10), 0);
	/* Whatever node the first promise was assigned to, it makes room. */
	KUNIT_EXPECT_EQ(test, dmem_ledger_promise(&ledger, &first, 10), 0);
	KUNIT_EXPECT_EQ(test, dmem_ledger_promise(&ledger, &any, 1), -ENOSPC);
	KUNIT_EXPECT_FALSE(test, dmem_ledger_take(&ledger, &any, 0, 1));
	KUNIT_EXPECT_TRUE(test, dmem_ledger_take(&ledger, &any, 1, 10));
	KUNIT_EXPECT_TRUE(test, dmem_ledger_take(&ledger, &first, 0, 10));
	KUNIT_EXPECT_EQ(test, any.charged, 10);

	dmem_ledger_put(&ledger, &any, 1, 10, 10);
	dmem_ledger_put(&ledger, &first, 0, 10, 10);

	/* A unit goes away: the promise moves, until there is no place left. */
	KUNIT_EXPECT_EQ(test, dmem_ledger_promise(&ledger, &any, 19), 0);
	KUNIT_EXPECT_EQ(test, dmem_ledger_withdraw(&ledger, 0, 1), 0);
	KUNIT_EXPECT_EQ(test, dmem_ledger_withdraw(&ledger, 0, 1), 1);
	KUNIT_EXPECT_EQ(test, any.broken, 1);
	dmem_ledger_release(&ledger, &any, 19);
	KUNIT_EXPECT_EQ(test, any.broken, 0);
	KUNIT_EXPECT_EQ(test, dmem_ledger_available(&ledger, &any), 18);

	first.limit = 4;
	KUNIT_EXPECT_EQ(test, dmem_ledger_promise(&ledger, &first, 5), -ENOSPC);
	KUNIT_EXPECT_EQ(test, dmem_ledger_available(&ledger, &first), 4);
	dmem_account_destroy(&first);
	dmem_account_destroy(&any);
	dmem_ledger_destroy(&ledger);
}

static struct kunit_case dmemfs_cases[] = {
	KUNIT_CASE(pool_add_test),
	KUNIT_CASE(pool_sizes_test),
	KUNIT_CASE(pool_clear_test),
	KUNIT_CASE(pool_retire_test),
	KUNIT_CASE(ledger_test),
	{}
};

static struct kunit_suite dmemfs_suite = {
	.name = "dmemfs",
	.test_cases = dmemfs_cases,
};

kunit_test_suite(dmemfs_suite);

MODULE_DESCRIPTION("KUnit tests of dmemfs");
MODULE_LICENSE("GPL");
