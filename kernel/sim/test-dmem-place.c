// SPDX-License-Identifier: GPL-2.0
/*
 * Placing: drawings of layouts with what must come out of them, then random layouts against an
 * oracle that knows nothing but a map of who uses what.
 */
#include <string.h>

#include "check.h"
#include "dmem_internal.h"

#include <linux/align.h>
#include <linux/minmax.h>
#include <linux/sizes.h>

#define M ((u64)SZ_1M)
#define G ((u64)SZ_1G)
#define SECTION (128 * M)
#define MIN_FLOOR (512 * M)

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

/* @text holds the values of one or more dmem=, with a space between two. */
static void world_parse(struct world *w, const char *text)
{
	unsigned int param = 0;
	char *save, *value;

	snprintf(w->text, sizeof(w->text), "%s", text);
	for (value = strtok_r(w->text, " ", &save); value; value = strtok_r(NULL, " ", &save))
		w->nr_items += dmem_parse(value, param++, SECTION, w->items + w->nr_items,
					  MAX_ITEMS - w->nr_items);
}

static void set_floors(struct world *w)
{
	for (unsigned int i = 0; i < w->layout.nr_nodes; i++)
		w->nodes[i].floor = max(MIN_FLOOR, w->nodes[i].present / 128);
}

/*
 * Drawings. A character is a section, '|' stands between two GiB and is checked to do so.
 *	'.' free   '#' in use   ' ' no RAM   and in what comes out   'D' dmem
 */
struct drawing {
	int nid;
	u64 start_gib;
	const char *before, *after;
};

static const struct picture {
	const char *name;
	const char *dmem;
	struct drawing rows[3];
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

static char verdict_letter(const struct dmem_item *item)
{
	static const char letters[] = {
		[DMEM_DONE] = '.', [DMEM_NO_NODE] = 'n', [DMEM_TOO_SMALL] = 's',
		[DMEM_SPANS_NODES] = 'x', [DMEM_NOT_FREE] = 'u', [DMEM_FLOOR] = 'f',
		[DMEM_FULL] = 'F',
	};

	return item->error ? 'e' : letters[item->verdict];
}

static void draw_in(struct world *w, const char *name, const struct drawing *d)
{
	u64 at = d->start_gib * G;

	for (const char *c = d->before; *c; c++) {
		if (*c == '|') {
			CHECK(name, at % G == 0, "a GiB ends elsewhere");
			continue;
		}
		if (*c != ' ')
			world_node(w, d->nid)->present += SECTION;
		if (*c == '.')
			dmem_add_free(&w->layout, at, at + SECTION, d->nid);
		at += SECTION;
	}
}

/* Draws what came out over what went in. */
static void draw_out(const struct world *w, const struct drawing *d, char *out)
{
	u64 at = d->start_gib * G;

	strcpy(out, d->before);
	for (char *c = out; *c; c++) {
		if (*c == '|')
			continue;
		for (unsigned int i = 0; i < w->layout.nr_regions; i++)
			if (w->regions[i].nid == d->nid && at >= w->regions[i].start &&
			    at < w->regions[i].end)
				*c = *c == '.' ? 'D' : '!';
		at += SECTION;
	}
}

static void find_range_nodes(struct world *w, const struct picture *p)
{
	for (unsigned int i = 0; i < w->nr_items; i++) {
		struct dmem_item *item = &w->items[i];

		if (item->error || item->kind != DMEM_RANGE)
			continue;
		item->nid = DMEM_ANY_NODE;
		for (const struct drawing *d = p->rows; d < p->rows + 3 && d->before; d++) {
			u64 end = d->start_gib * G;

			for (const char *c = d->before; *c; c++)
				end += *c == '|' ? 0 : SECTION;
			if (item->addr >= d->start_gib * G && item->addr < end)
				item->nid = d->nid;
		}
	}
}

static void test_pictures(void)
{
	for (const struct picture *p = pictures;
	     p < pictures + sizeof(pictures) / sizeof(*pictures); p++) {
		u64 cut = 0, lost = 0;
		struct world w;

		world_init(&w);
		for (const struct drawing *d = p->rows; d < p->rows + 3 && d->before; d++)
			draw_in(&w, p->name, d);
		set_floors(&w);
		for (unsigned int i = 0; i < w.layout.nr_nodes; i++) {
			w.nodes[i].promised = p->promised;
			w.nodes[i].gib_pages = p->gib_pages;
		}
		world_parse(&w, p->dmem);
		find_range_nodes(&w, p);
		dmem_place(&w.layout, w.items, w.nr_items);

		for (const struct drawing *d = p->rows; d < p->rows + 3 && d->before; d++) {
			char out[128];

			draw_out(&w, d, out);
			CHECK(p->name, !strcmp(out, d->after), "node %d\n\tis     %s\n\tshould %s",
			      d->nid, out, d->after);
		}
		for (unsigned int i = 0; i < w.nr_items; i++) {
			char letter = verdict_letter(&w.items[i]);

			CHECK(p->name, letter == (p->verdicts ? p->verdicts[i] : '.'),
			      "item %u: %c", i, letter);
		}
		for (unsigned int i = 0; i < w.layout.nr_nodes; i++) {
			cut += w.nodes[i].cut;
			lost += w.nodes[i].lost;
		}
		CHECK(p->name, cut == p->cut, "cut %lluM, should be %lluM", cut / M, p->cut / M);
		CHECK(p->name, lost == p->lost, "lost %lluM, should be %lluM", lost / M,
		      p->lost / M);
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
