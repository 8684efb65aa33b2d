// SPDX-License-Identifier: GPL-2.0
/*
 * Placing: drawings of layouts with what must come out of them, then random layouts against an
 * oracle that knows nothing but a map of who uses what.
 */
#include <string.h>

#include "check.h"
#include "dmem_cases.h"

#include <linux/align.h>

#define MAX_NODES 4
#define MAX_ITEMS 16
#define MAX_RANGES 1024

/* What a test feeds to dmem_place() and gets back, with memory of its own for every table. */
struct world {
	struct dmem_layout layout;
	struct dmem_node nodes[MAX_NODES];
	struct dmem_region free[MAX_RANGES];
	struct dmem_region regions[MAX_RANGES];
	char text[256];
	struct dmem_item items[MAX_ITEMS];
	unsigned int nr_items;
};

static void world_init(struct world *w)
{
	memset(w, 0, sizeof(*w));
	w->layout = (struct dmem_layout) {
		.section = SECTION,
		.nodes = w->nodes,
		.free = w->free,
		.max_free = MAX_RANGES,
		.regions = w->regions,
		.max_regions = MAX_RANGES,
	};
}

static struct dmem_node *world_node(struct world *w, int nid)
{
	struct dmem_node *node = dmem_find_node(w->nodes, w->layout.nr_nodes, nid);

	if (!node) {
		node = &w->nodes[w->layout.nr_nodes++];
		node->nid = nid;
	}
	return node;
}

static void world_parse(struct world *w, const char *text)
{
	snprintf(w->text, sizeof(w->text), "%s", text);
	w->nr_items = read_values(w->text, w->items, MAX_ITEMS);
}

static void set_floors(struct world *w)
{
	for (unsigned int i = 0; i < w->layout.nr_nodes; i++)
		w->nodes[i].floor = max(MIN_FLOOR, w->nodes[i].present / 128);
}

static void check_picture(const struct picture *p, struct world *w)
{
	u64 cut = 0, lost = 0;

	for (unsigned int row = 0; in_picture(p, row); row++) {
		const struct drawing *d = &p->rows[row];
		char out[MAX_DRAWING];

		CHECK(p->name, strlen(d->before) < MAX_DRAWING, "too wide");
		for (const char *c = d->before; *c; c++)
			CHECK(p->name, *c != '|' || drawn_at(d, c) % G == 0, "a GiB ends elsewhere");
		draw_out(&w->layout, d, out);
		CHECK(p->name, !strcmp(out, d->after), "node %d\n\tis     %s\n\tshould %s", d->nid,
		      out, d->after);
	}
	for (unsigned int i = 0; i < w->nr_items; i++)
		CHECK(p->name,
		      verdict_letter(&w->items[i]) == (p->verdicts ? p->verdicts[i] : '.'),
		      "item %u: %c", i, verdict_letter(&w->items[i]));
	for (unsigned int i = 0; i < w->layout.nr_nodes; i++) {
		cut += w->nodes[i].cut;
		lost += w->nodes[i].lost;
	}
	CHECK(p->name, cut == p->cut, "cut %lluM, should be %lluM", cut / M, p->cut / M);
	CHECK(p->name, lost == p->lost, "lost %lluM, should be %lluM", lost / M, p->lost / M);
}

static void test_pictures(void)
{
	for (size_t i = 0; i < sizeof(pictures) / sizeof(*pictures); i++) {
		const struct picture *p = &pictures[i];
		struct world w;

		world_init(&w);
		draw_in(&w.layout, p);
		world_parse(&w, p->dmem);
		for (unsigned int k = 0; k < w.nr_items; k++)
			if (w.items[k].kind == DMEM_RANGE)
				w.items[k].nid = drawn_node(p, w.items[k].addr);
		dmem_place(&w.layout, w.items, w.nr_items);
		check_picture(p, &w);
	}
}

/*
 * Random layouts. The oracle keeps a map of units of 16 MiB, so that free ranges start and end
 * within sections as well.
 */
#define UNIT (16 * M)
#define MAP_UNITS 1536		/* 24 GiB */

struct map {
	signed char nid[MAP_UNITS];	/* -1: no RAM */
	bool used[MAP_UNITS];
	bool dmem[MAP_UNITS];
};

static unsigned int below(unsigned int limit)
{
	return (unsigned int)rand() % limit;
}

static void random_map(struct map *map)
{
	unsigned int at = below(80), nodes = 1 + below(MAX_NODES);
	unsigned int used = below(4);

	memset(map->nid, -1, sizeof(map->nid));
	memset(map->used, 0, sizeof(map->used));
	memset(map->dmem, 0, sizeof(map->dmem));
	for (unsigned int piece = 0; piece < nodes + below(3); piece++) {
		unsigned int size = below(400);

		/* Mostly on a section, and a later piece may belong to an earlier node. */
		if (below(4))
			at = ALIGN(at, 8);
		for (unsigned int i = 0; i < size && at < MAP_UNITS; i++)
			map->nid[at++] = piece % nodes;
		if (!below(2))
			at += below(100);
	}
	/* From a few islands to none but crumbs. */
	for (unsigned int i = 0; i < (1u << (used * 2)) + below(4); i++) {
		unsigned int start = below(MAP_UNITS), len = 1 + below(12);

		for (unsigned int k = start; k < start + len && k < MAP_UNITS; k++)
			map->used[k] = true;
	}
}

static void map_to_world(const struct map *map, struct world *w)
{
	for (unsigned int i = 0; i < MAP_UNITS; i++) {
		if (map->nid[i] < 0)
			continue;
		world_node(w, map->nid[i])->present += UNIT;
		if (!map->used[i])
			dmem_add_free(&w->layout, i * UNIT, (i + 1) * UNIT, map->nid[i]);
	}
	set_floors(w);
}

static void random_items(char *text, size_t size, bool several)
{
	static const char *const aligns[] = { "", "", "", ":128M", ":256M", ":512M", ":1G", ":2G" };
	int n = 0;

	for (unsigned int i = 0; i < 1 + below(4); i++) {
		const char *align = aligns[below(8)];

		if (i)
			n += snprintf(text + n, size - n, several && !below(3) ? " " : ",");
		switch (below(6)) {
		case 0:
			n += snprintf(text + n, size - n, "%uM@%uM%s", 64 + 64 * below(40),
				      below(4) ? 128 * below(192) : 16 * below(1536), align);
			break;
		case 1:
			n += snprintf(text + n, size - n, "%u:!%uM%s", below(MAX_NODES),
				      below(6000), align);
			break;
		case 2:
			n += snprintf(text + n, size - n, "!%uM%s", below(6000), align);
			break;
		case 3:
			n += snprintf(text + n, size - n, "%uM%s", below(8000), align);
			break;
		default:
			n += snprintf(text + n, size - n, "%u:%uM%s", below(MAX_NODES),
				      below(8000), align);
		}
	}
}

static bool map_free(const struct map *map, u64 start, u64 end, int nid)
{
	for (u64 i = start / UNIT; i < (end + UNIT - 1) / UNIT; i++)
		if (i >= MAP_UNITS || map->nid[i] != nid || map->used[i] || map->dmem[i])
			return false;
	return true;
}

/* What must hold whatever was asked for. Enters the regions into the map. */
static void check_always(const char *label, struct map *map, const struct world *w)
{
	u64 granted[MAX_NODES] = { 0 };

	for (unsigned int i = 0; i < w->layout.nr_regions; i++) {
		const struct dmem_region *r = &w->regions[i];

		CHECK(label, r->start < r->end && r->start % SECTION == 0 && r->end % SECTION == 0,
		      "region %llx-%llx is not aligned", r->start, r->end);
		CHECK(label, map_free(map, r->start, r->end, r->nid),
		      "region %llx-%llx is not free memory of node %d", r->start, r->end, r->nid);
		for (u64 k = r->start / UNIT; k < r->end / UNIT && k < MAP_UNITS; k++)
			map->dmem[k] = true;
		granted[r->nid] += r->end - r->start;
		if (i)
			CHECK(label, r[-1].nid < r->nid ||
			      (r[-1].nid == r->nid && r[-1].end < r->start),
			      "region %u is not sorted or touches the one before", i);
	}
	for (unsigned int i = 0; i < w->layout.nr_nodes; i++) {
		const struct dmem_node *n = &w->nodes[i];

		CHECK(label, n->granted == granted[n->nid], "node %d: sum is %lluM", n->nid,
		      granted[n->nid] / M);
		CHECK(label, n->granted <= n->requested, "node %d: more than asked for", n->nid);
		CHECK(label, !n->granted || n->present - n->granted >= n->keep,
		      "node %d: %lluM of %lluM stay, not %lluM", n->nid,
		      (n->present - n->granted) / M, n->present / M, n->keep / M);
		CHECK(label, n->keep >= n->floor, "node %d: floor", n->nid);
	}
}

/* How many bytes of [start, end) are dmem. */
static u64 in_regions(const struct world *w, u64 start, u64 end)
{
	u64 bytes = 0;

	for (unsigned int i = 0; i < w->layout.nr_regions; i++) {
		u64 from = max((u64)w->regions[i].start, start);
		u64 to = min((u64)w->regions[i].end, end);

		bytes += from < to ? to - from : 0;
	}
	return bytes;
}

/* Repeats what was asked for with nothing but the map, and compares. One dmem= only. */
static void check_exactly(const char *label, struct map *map, const struct world *w)
{
	u64 granted[MAX_NODES] = { 0 };

	memset(map->dmem, 0, sizeof(map->dmem));
	for (unsigned int i = 0; i < w->nr_items; i++) {
		const struct dmem_item *item = &w->items[i];
		u64 start = ALIGN(item->addr, item->align);
		u64 end = ALIGN_DOWN(item->addr + item->size, item->align);
		const struct dmem_node *n;
		bool grant;

		if (item->kind != DMEM_RANGE)
			continue;
		/* Every byte that was asked for must be free, also those that rounding spares. */
		grant = start < end && start < MAP_UNITS * UNIT && map->nid[start / UNIT] >= 0 &&
			map_free(map, item->addr, item->addr + item->size,
				 map->nid[start / UNIT]);
		if (grant) {
			n = dmem_find_node(w->layout.nodes, w->layout.nr_nodes,
					   map->nid[start / UNIT]);
			grant = n->present >= granted[n->nid] + end - start + n->keep;
		}
		CHECK(label, grant == (item->verdict == DMEM_DONE), "item %u: verdict %d", i,
		      item->verdict);
		if (!grant)
			continue;
		granted[map->nid[start / UNIT]] += end - start;
		for (u64 k = start / UNIT; k < end / UNIT; k++)
			map->dmem[k] = true;
	}

	for (unsigned int i = 0; i < w->layout.nr_nodes; i++) {
		const struct dmem_node *n = &w->nodes[i];
		u64 want, limit, blocks = 0, whole = 0, taken = 0, beside = 0, broken = 0, expected;
		const struct dmem_item *item = NULL;
		bool gap = false;

		for (unsigned int k = 0; k < w->nr_items; k++)
			if (w->items[k].kind != DMEM_RANGE &&
			    (w->items[k].nid == n->nid || w->items[k].nid == DMEM_ANY_NODE))
				item = &w->items[k];
		if (!item) {
			CHECK(label, n->granted == granted[n->nid], "node %d: not asked for",
			      n->nid);
			continue;
		}
		limit = n->present - granted[n->nid];
		want = item->size;
		if (item->kind == DMEM_LEAVE)
			want = limit > item->size ? limit - item->size : 0;
		limit = limit > n->keep ? limit - n->keep : 0;
		for (u64 at = 0; at < MAP_UNITS * UNIT; at += item->align)
			blocks += map_free(map, at, at + item->align, n->nid);
		expected = min(ALIGN_DOWN(min(want, limit), item->align), blocks * item->align);
		CHECK(label, n->granted - granted[n->nid] == expected,
		      "node %d: %lluM, the most possible is %lluM", n->nid,
		      (n->granted - granted[n->nid]) / M, expected / M);

		if (item->align > G)
			continue;
		/*
		 * As many whole GiB as possible, and none while a higher one stays. None is broken
		 * up while there is a block beside them.
		 */
		for (u64 at = MAP_UNITS * UNIT; at >= G; at -= G) {
			if (!map_free(map, at - G, at, n->nid)) {
				for (u64 block = at - G; block < at; block += item->align)
					beside += map_free(map, block, block + item->align, n->nid) &&
						  !in_regions(w, block, block + item->align);
				continue;
			}
			whole++;
			broken += in_regions(w, at - G, at) && in_regions(w, at - G, at) < G;
			for (unsigned int k = 0; k < w->layout.nr_regions; k++) {
				const struct dmem_region *r = &w->regions[k];

				if (r->nid != n->nid || r->start > at - G || r->end < at)
					continue;
				taken++;
				CHECK(label, !gap, "node %d: a higher GiB is left", n->nid);
				goto next;
			}
			gap = true;
next:			;
		}
		CHECK(label, !broken || !beside, "node %d: %llu broken, %llu beside", n->nid,
		      broken, beside);
		CHECK(label, taken >= min(whole, expected / G), "node %d: %llu of %llu whole GiB",
		      n->nid, taken, whole);
	}
}

static u64 count_whole(const struct map *map, int nid)
{
	u64 n = 0;

	for (u64 at = 0; at < MAP_UNITS * UNIT; at += G)
		n += map_free(map, at, at + G, nid);
	return n;
}

static void test_random(void)
{
	static struct world w;
	static struct map map;

	srand(1);
	for (int round = 0; round < 20000; round++) {
		bool several = round % 3 == 0, pages = round % 5 == 0, tight = round % 7 == 0;
		u64 whole[MAX_NODES];
		char label[320], text[256];

		random_map(&map);
		world_init(&w);
		if (tight) {
			w.layout.max_free = 1 + below(6);
			w.layout.max_regions = 1 + below(4);
		}
		map_to_world(&map, &w);
		random_items(text, sizeof(text), several);
		snprintf(label, sizeof(label), "round %d: %s", round, text);
		world_parse(&w, text);
		for (unsigned int i = 0; i < w.nr_items; i++)
			if (w.items[i].kind == DMEM_RANGE)
				w.items[i].nid = w.items[i].addr / UNIT < MAP_UNITS ?
					map.nid[w.items[i].addr / UNIT] : DMEM_ANY_NODE;
		for (unsigned int i = 0; pages && i < w.layout.nr_nodes; i++) {
			w.nodes[i].gib_pages = below(3);
			w.nodes[i].promised = w.nodes[i].gib_pages * G + below(2) * 300 * M;
			whole[i] = count_whole(&map, w.nodes[i].nid);
		}
		dmem_place(&w.layout, w.items, w.nr_items);
		check_always(label, &map, &w);

		/* Ranges and tables that are too small may cost the pages their blocks. */
		for (unsigned int i = 0; pages && !strchr(text, '@') && i < w.layout.nr_nodes; i++)
			CHECK(label, count_whole(&map, w.nodes[i].nid) + 1 >=
			      min(whole[i], w.nodes[i].gib_pages + 1),
			      "node %d: %llu of %llu whole GiB stay for %llu pages", w.nodes[i].nid,
			      count_whole(&map, w.nodes[i].nid), whole[i], w.nodes[i].gib_pages);
		if (!several && !pages && !tight)
			check_exactly(label, &map, &w);
	}
}

/* Nothing to work with, and ends of the address space. */
static void test_edges(void)
{
	struct world w;

	world_init(&w);
	world_parse(&w, "1G,0:!1G,1G@1G 900G");
	for (unsigned int i = 0; i < w.nr_items; i++)
		if (w.items[i].kind == DMEM_RANGE)
			w.items[i].nid = DMEM_ANY_NODE;
	dmem_place(&w.layout, w.items, w.nr_items);
	CHECK("no nodes", !w.layout.nr_regions, "%u regions", w.layout.nr_regions);

	world_init(&w);
	world_node(&w, 0)->present = 8 * G;
	set_floors(&w);
	dmem_add_free(&w.layout, ~0ULL - 2 * G, ~0ULL, 0);
	world_parse(&w, "1G 1G:8388608T 16777215T");
	dmem_place(&w.layout, w.items, w.nr_items);
	CHECK("top of the world", w.layout.nr_regions == 1 && w.nodes[0].granted < 2 * G,
	      "%u regions, %lluM", w.layout.nr_regions, w.nodes[0].granted / M);
	CHECK("top of the world", w.nodes[0].requested == 16777215ULL * 1024 * G + 2 * G,
	      "%llx", w.nodes[0].requested);

	world_init(&w);
	world_node(&w, 0)->present = 8 * G;
	set_floors(&w);
	dmem_add_free(&w.layout, 1 * G, 7 * G, 0);
	world_parse(&w, "16777215T 16777215T");
	dmem_place(&w.layout, w.items, w.nr_items);
	CHECK("sum of requests", w.nodes[0].requested == ~0ULL, "%llx", w.nodes[0].requested);
	CHECK("sum of requests", w.nodes[0].granted == 6 * G, "%llx", w.nodes[0].granted);
}

int main(void)
{
	test_pictures();
	test_edges();
	test_random();
	return check_result("dmem-place");
}
