// SPDX-License-Identifier: GPL-2.0
/*
 * dmem_kunit.c - dmem= in the kernel that will read it
 *
 * What is tested is __init, so this runs while the kernel starts and can only be built in.
 */
#include <kunit/test.h>
#include <linux/init.h>
#include <linux/string.h>

#include "dmem_cases.h"

#define TEST_MAX_NODES	4
#define TEST_MAX_RANGES	64
#define TEST_MAX_ITEMS	8

static void __init dmem_test_parse(struct kunit *test)
{
	for (size_t i = 0; i < ARRAY_SIZE(parse_cases); i++) {
		const struct parse_case *c = &parse_cases[i];
		struct dmem_item item;

		KUNIT_EXPECT_EQ_MSG(test, dmem_parse(c->text, 0, SECTION, &item, 1), 1, "%s",
				    c->text);
		if (c->error) {
			KUNIT_EXPECT_NOT_NULL_MSG(test, item.error, "%s", c->text);
			if (item.error)
				KUNIT_EXPECT_NOT_NULL_MSG(test, strstr(item.error, c->error),
							  "%s: %s", c->text, item.error);
			continue;
		}
		KUNIT_EXPECT_NULL_MSG(test, item.error, "%s", c->text);
		KUNIT_EXPECT_EQ_MSG(test, item.kind, c->kind, "%s", c->text);
		KUNIT_EXPECT_EQ_MSG(test, item.nid, c->nid, "%s", c->text);
		KUNIT_EXPECT_EQ_MSG(test, item.size, c->size, "%s", c->text);
		KUNIT_EXPECT_EQ_MSG(test, item.addr, c->addr, "%s", c->text);
		KUNIT_EXPECT_EQ_MSG(test, item.align, c->align, "%s", c->text);
	}
}

static void __init dmem_test_picture(struct kunit *test, const struct picture *p)
{
	struct dmem_layout l = { .section = SECTION };
	struct dmem_item items[TEST_MAX_ITEMS];
	u64 cut = 0, lost = 0;
	unsigned int n;
	char *text;

	l.max_free = TEST_MAX_RANGES;
	l.max_regions = TEST_MAX_RANGES;
	l.nodes = kunit_kcalloc(test, TEST_MAX_NODES, sizeof(*l.nodes), GFP_KERNEL);
	l.free = kunit_kcalloc(test, l.max_free, sizeof(*l.free), GFP_KERNEL);
	l.regions = kunit_kcalloc(test, l.max_regions, sizeof(*l.regions), GFP_KERNEL);
	text = kunit_kzalloc(test, strlen(p->dmem) + 1, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, l.nodes);
	KUNIT_ASSERT_NOT_NULL(test, l.free);
	KUNIT_ASSERT_NOT_NULL(test, l.regions);
	KUNIT_ASSERT_NOT_NULL(test, text);

	draw_in(&l, p);
	memcpy(text, p->dmem, strlen(p->dmem));
	n = read_values(text, items, ARRAY_SIZE(items));
	for (unsigned int i = 0; i < n; i++)
		if (items[i].kind == DMEM_RANGE)
			items[i].nid = drawn_node(p, items[i].addr);
	dmem_place(&l, items, n);

	for (unsigned int row = 0; in_picture(p, row); row++) {
		char out[MAX_DRAWING];

		draw_out(&l, &p->rows[row], out);
		KUNIT_EXPECT_STREQ_MSG(test, out, p->rows[row].after, "%s", p->name);
	}
	for (unsigned int i = 0; i < n; i++)
		KUNIT_EXPECT_EQ_MSG(test, verdict_letter(&items[i]),
				    p->verdicts ? p->verdicts[i] : '.', "%s: item %u", p->name, i);
	for (unsigned int i = 0; i < l.nr_nodes; i++) {
		cut += l.nodes[i].cut;
		lost += l.nodes[i].lost;
	}
	KUNIT_EXPECT_EQ_MSG(test, cut, p->cut, "%s", p->name);
	KUNIT_EXPECT_EQ_MSG(test, lost, p->lost, "%s", p->name);
}

static void __init dmem_test_place(struct kunit *test)
{
	for (size_t i = 0; i < ARRAY_SIZE(pictures); i++)
		dmem_test_picture(test, &pictures[i]);
}

static struct kunit_case __refdata dmem_test_cases[] = {
	KUNIT_CASE(dmem_test_parse),
	KUNIT_CASE(dmem_test_place),
	{}
};

static struct kunit_suite dmem_test_suite = {
	.name = "dmem",
	.test_cases = dmem_test_cases,
};

kunit_test_init_section_suite(dmem_test_suite);

MODULE_DESCRIPTION("Tests of dmem=");
MODULE_LICENSE("GPL");
