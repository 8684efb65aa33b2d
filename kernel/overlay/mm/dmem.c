// SPDX-License-Identifier: GPL-2.0
/*
 * dmem.c - set memory aside at boot that never gets a struct page (dmem=)
 *
 * dmem_reserve() runs once, in setup_arch(): late enough that memblock knows the nodes and that CMA
 * and crashkernel= have taken theirs, early enough that no struct page exists. It feeds the pure
 * functions of dmem_parse.c and dmem_place.c from memblock, carries out what they decide, and tells
 * the log. The direct map of the regions was made before and stays.
 *
 * A dmem= that cannot be read or granted costs a warning, never the boot.
 * Documentation/admin-guide/mm/dmem.rst is the manual.
 */
#define pr_fmt(fmt) "dmem: " fmt

#include <linux/bits.h>
#include <linux/cma.h>
#include <linux/crash_dump.h>
#include <linux/crash_reserve.h>
#include <linux/dmem.h>
#include <linux/export.h>
#include <linux/hugetlb.h>
#include <linux/init.h>
#include <linux/ioport.h>
#include <linux/kconfig.h>
#include <linux/memblock.h>
#include <linux/memory_hotplug.h>
#include <linux/minmax.h>
#include <linux/mmzone.h>
#include <linux/numa.h>
#include <linux/pfn.h>
#include <linux/printk.h>
#include <linux/sizes.h>
#include <linux/string.h>

#include <asm/dmem.h>
#include <asm/setup.h>

#ifdef CONFIG_CMA
#include "cma.h"
#endif
#include "dmem_internal.h"
#include "internal.h"

#define DMEM_SECTION	BIT_ULL(SECTION_SIZE_BITS)
#define DMEM_MIN_FLOOR	((u64)SZ_512M)

#define DMEM_MAX_FREE		1024
#define DMEM_MAX_REGIONS	512U

/*
 * An item takes at least three bytes of the command line, "1K" and what is between two items, so
 * that only a long row of commas is more than this.
 */
#define DMEM_MAX_ITEMS		(COMMAND_LINE_SIZE / 3 + 1)

static const struct dmem_region *dmem_regions __ro_after_init;
static unsigned int nr_dmem_regions __ro_after_init;
static u64 dmem_requested[MAX_NUMNODES] __ro_after_init;

/* What the command line says, in its order: a letter for the parameter, its value, a NUL. */
enum {
	SAVED_DMEM = 'd',
	SAVED_HUGEPAGES = 'n',
	SAVED_HUGEPAGESZ = 's',
	SAVED_DEFAULT_HUGEPAGESZ = 'S',
};

static char saved[COMMAND_LINE_SIZE] __initdata;
static size_t saved_len __initdata;
static bool saved_kdump __initdata;

static struct dmem_item items[DMEM_MAX_ITEMS] __initdata;
static struct dmem_node nodes[MAX_NUMNODES] __initdata;
static struct dmem_region free_ranges[DMEM_MAX_FREE] __initdata;
static struct dmem_region placed[DMEM_MAX_REGIONS] __initdata;

static struct dmem_layout layout __initdata = {
	.section = DMEM_SECTION,
	.nodes = nodes,
	.free = free_ranges,
	.max_free = DMEM_MAX_FREE,
	.regions = placed,
};

/*
 * Always fits: the letter and the NUL are shorter than the name, '=' and the space of the parameter
 * on the command line, which is as long as the buffer.
 */
static int __init save(char which, const char *value)
{
	size_t len = value ? strlen(value) : 0;

	if (saved_len + len + 2 > sizeof(saved))
		return -ENOSPC;
	saved[saved_len] = which;
	memcpy(&saved[saved_len + 1], value ?: "", len);
	saved[saved_len + 1 + len] = '\0';
	saved_len += len + 2;
	return 0;
}

static int __init save_dmem(char *value)
{
	return save(SAVED_DMEM, value);
}
early_param("dmem", save_dmem);

/* is_kdump_kernel() does not know without CONFIG_CRASH_DUMP. */
static int __init save_elfcorehdr(char *value)
{
	saved_kdump = true;
	return 0;
}
early_param("elfcorehdr", save_elfcorehdr);

#ifdef CONFIG_HUGETLB_PAGE
static int __init save_hugepages(char *value)
{
	return save(SAVED_HUGEPAGES, value);
}
early_param("hugepages", save_hugepages);

static int __init save_hugepagesz(char *value)
{
	return save(SAVED_HUGEPAGESZ, value);
}
early_param("hugepagesz", save_hugepagesz);

static int __init save_default_hugepagesz(char *value)
{
	return save(SAVED_DEFAULT_HUGEPAGESZ, value);
}
early_param("default_hugepagesz", save_default_hugepagesz);
#endif

/* The first, or the next of what was saved; NULL at the end. It points at the letter. */
static const char * __init next_saved(const char *p)
{
	p = p ? p + strlen(p) + 1 : saved;
	return p < saved + saved_len ? p : NULL;
}

/* A size for the log, in the largest unit that says it exactly. */
struct size_text {
	char s[24];
};

static struct size_text __init size_text(u64 bytes)
{
	static const char units[] __initconst = "BKMGT";
	struct size_text text;
	unsigned int i = 0;

	while (i + 2 < sizeof(units) && bytes && !(bytes % SZ_1K)) {
		bytes /= SZ_1K;
		i++;
	}
	snprintf(text.s, sizeof(text.s), "%llu%c", bytes, units[i]);
	return text;
}

#define SIZE_TEXT(bytes)	(size_text(bytes).s)

static unsigned int __init read_items(void)
{
	unsigned int n = 0, param = 0;

	for (const char *p = next_saved(NULL); p; p = next_saved(p))
		if (*p == SAVED_DMEM)
			n += dmem_parse(p + 1, param++, DMEM_SECTION, &items[n],
					DMEM_MAX_ITEMS - n);
	if (n == DMEM_MAX_ITEMS)
		pr_warn("too many items, what comes after the first %u is ignored\n", n);
	return n;
}

/* The node of a physical address, NUMA_NO_NODE if there is no RAM. */
static int __init node_of(phys_addr_t addr)
{
	unsigned long start_pfn, end_pfn;

	return memblock_search_pfn_nid(PHYS_PFN(addr), &start_pfn, &end_pfn);
}

static struct dmem_node * __init node_at(phys_addr_t addr)
{
	return dmem_find_node(nodes, layout.nr_nodes, node_of(addr));
}

static void __init read_nodes(void)
{
	struct memblock_region *r;

	for_each_mem_region(r) {
		int nid = memblock_get_region_node(r);
		struct dmem_node *node;

		if (!numa_valid_node(nid))
			continue;
		node = dmem_find_node(nodes, layout.nr_nodes, nid);
		if (!node) {
			node = &nodes[layout.nr_nodes++];
			node->nid = nid;
		}
		node->present += r->size;
	}

	for (unsigned int i = 0; i < layout.nr_nodes; i++) {
		nodes[i].floor = max(DMEM_MIN_FLOOR, nodes[i].present / 128);
		/* The shadow covers all that the direct map does, so ours as well. */
		if (IS_ENABLED(CONFIG_KASAN_GENERIC))
			nodes[i].floor += nodes[i].present / 8;
	}
}

static void __init promise_range(phys_addr_t start, u64 size)
{
	struct dmem_node *node = size ? node_at(start) : NULL;

	if (node)
		node->promised += size;
}

#ifdef CONFIG_HUGETLB_PAGE
/* What hugepagesz= says, or 0 if this machine has no such pages: hugetlb ignores it then. */
static u64 __init hugepage_size(const char *text)
{
	u64 size;

	return dmem_parse_hugepagesz(text, &size) && arch_hugetlb_valid_size(size) ? size : 0;
}

static void __init promise_hugepages(void)
{
	/* hugetlb's own default, and what it takes when it does not like default_hugepagesz= */
	u64 default_size = PMD_SIZE, size;

	for (const char *p = next_saved(NULL); p; p = next_saved(p))
		if (*p == SAVED_DEFAULT_HUGEPAGESZ)
			default_size = hugepage_size(p + 1) ?: default_size;

	size = default_size;
	for (const char *p = next_saved(NULL); p; p = next_saved(p)) {
		if (*p == SAVED_HUGEPAGESZ)
			size = hugepage_size(p + 1);
		else if (*p == SAVED_DEFAULT_HUGEPAGESZ)
			size = default_size;
		else if (*p == SAVED_HUGEPAGES && size &&
			 !dmem_parse_hugepages(p + 1, size, nodes, layout.nr_nodes))
			pr_warn("hugepages=%s is not understood, so memory for it may be missing\n",
				p + 1);
	}
}
#else
static void __init promise_hugepages(void)
{
}
#endif

/* Memory that is no use to the kernel itself although it stays does not count as kept. */
static void __init read_promises(void)
{
	promise_hugepages();

	if (IS_ENABLED(CONFIG_CRASH_RESERVE)) {
		if (crashk_res.end)
			promise_range(crashk_res.start, resource_size(&crashk_res));
		if (crashk_low_res.end)
			promise_range(crashk_low_res.start, resource_size(&crashk_low_res));
	}
#ifdef CONFIG_CMA
	for (unsigned int i = 0; i < cma_area_count; i++)
		promise_range(PFN_PHYS(cma_areas[i].base_pfn), PFN_PHYS(cma_areas[i].count));
#endif
}

/* With kernelcore=mirror, memory that the firmware mirrors is for the kernel alone. */
static bool __init wants_mirror(phys_addr_t addr)
{
	struct memblock_region *r;

	if (!mirrored_kernelcore)
		return false;
	for_each_mem_region(r)
		if (addr >= r->base && addr - r->base < r->size)
			return memblock_is_mirror(r);
	return false;
}

/*
 * What memblock would hand out: with movable_node this leaves out what can be unplugged, always
 * what is mapped by nobody. A free range lies in one region of memblock, so in one node.
 */
static void __init read_free(void)
{
	phys_addr_t start, end;
	int nid;
	u64 i;

	for_each_free_mem_range(i, NUMA_NO_NODE, MEMBLOCK_NONE, &start, &end, &nid)
		if (numa_valid_node(nid) && !wants_mirror(start))
			dmem_add_free(&layout, start, end, nid);
	if (layout.dropped)
		pr_warn("too many free ranges, %s of memory were not looked at\n",
			SIZE_TEXT(layout.dropped));
}

static const char * __init verdict_text(enum dmem_verdict verdict)
{
	switch (verdict) {
	case DMEM_NO_NODE:
		return "there is no memory there";
	case DMEM_TOO_SMALL:
		return "it does not hold one aligned piece";
	case DMEM_SPANS_NODES:
		return "it lies in more than one node, use an item for each";
	case DMEM_NOT_FREE:
		return "some of it is in use or no RAM";
	case DMEM_FLOOR:
		return "too little would be left to the kernel on that node";
	case DMEM_FULL:
		return "there are too many regions already";
	case DMEM_DONE:
		break;
	}
	return NULL;
}

static void __init report_items(unsigned int nr_items)
{
	for (const struct dmem_item *item = items; item < items + nr_items; item++) {
		const char *why = item->error ?: verdict_text(item->verdict);

		if (why)
			pr_warn("ignoring \"%.*s\" in dmem=: %s\n", (int)item->len, item->text,
				why);
	}
}

static void __init report_node(const struct dmem_node *node)
{
	if (!node->requested)
		return;
	if (node->cut)
		pr_warn("node %d: of %s asked for %s are refused, %s of its %s must stay with the kernel\n",
			node->nid, SIZE_TEXT(node->requested), SIZE_TEXT(node->cut),
			SIZE_TEXT(node->keep), SIZE_TEXT(node->present));
	if (node->cut && node->promised)
		pr_warn("node %d: %s of that are for hugepages=, crashkernel= and CMA\n",
			node->nid, SIZE_TEXT(node->promised));
	if (node->lost)
		pr_warn("node %d: %s could not be reserved, no aligned block is free\n",
			node->nid, SIZE_TEXT(node->lost));
	pr_info("node %d: %s reserved, %s asked for\n", node->nid, SIZE_TEXT(node->granted),
		SIZE_TEXT(node->requested));
}

static void __init report_lost(const struct dmem_region *r)
{
	phys_addr_t last = r->end - 1;

	pr_warn("node %d: [mem %pa-%pa] could not be claimed\n", r->nid, &r->start, &last);
}

/*
 * Protects the chosen ranges from memblock itself: while it removes one, its own tables may have to
 * grow, and they would grow into the next one. Skips what has been taken since, which only the two
 * tables allocated in between could do.
 */
static bool __init lock_region(const struct dmem_region *r)
{
	phys_addr_t size = r->end - r->start;

	return !memblock_is_region_reserved(r->start, size) && !memblock_reserve(r->start, size);
}

static bool __init detach_region(const struct dmem_region *r, struct resource *res)
{
	phys_addr_t size = r->end - r->start;

	if (memblock_remove(r->start, size)) {
		memblock_phys_free(r->start, size);
		return false;
	}
	memblock_phys_free(r->start, size);
	arch_dmem_claim(r->start, r->end);

	res->name = "dmem";
	res->start = r->start;
	res->end = r->end - 1;
	res->flags = IORESOURCE_MEM | IORESOURCE_BUSY | IORESOURCE_EXCLUSIVE;
	return !insert_resource(&iomem_resource, res);
}

/* Takes the regions away from memblock. From here on nothing but their user knows them. */
static void __init detach_regions(void)
{
	unsigned int nr = 0, done = 0;
	struct dmem_region *regions;
	struct resource *resources;

	for (unsigned int i = 0; i < layout.nr_regions; i++) {
		if (lock_region(&placed[i]))
			placed[nr++] = placed[i];
		else
			report_lost(&placed[i]);
	}
	if (!nr)
		return;

	regions = memblock_alloc(nr * sizeof(*regions), SMP_CACHE_BYTES);
	resources = memblock_alloc(nr * sizeof(*resources), SMP_CACHE_BYTES);
	if (!regions || !resources) {
		pr_warn("no memory to keep a list of regions, nothing is reserved\n");
		for (unsigned int i = 0; i < nr; i++)
			memblock_phys_free(placed[i].start, placed[i].end - placed[i].start);
		return;
	}

	for (unsigned int i = 0; i < nr; i++) {
		phys_addr_t last = placed[i].end - 1;

		if (!detach_region(&placed[i], &resources[i])) {
			report_lost(&placed[i]);
			continue;
		}
		pr_info("node %d: [mem %pa-%pa]\n", placed[i].nid, &placed[i].start, &last);
		regions[done++] = placed[i];
	}
	dmem_regions = regions;
	nr_dmem_regions = done;
}

/**
 * dmem_reserve() - carry out dmem=
 *
 * Context: setup_arch(), between the reservation for the crash kernel and the first struct page.
 */
void __init dmem_reserve(void)
{
	unsigned int nr_items = read_items();
	const char *unsupported = arch_dmem_unsupported();

	if (!nr_items)
		return;
	/* It inherits the command line of the kernel that crashed, but has only a little memory. */
	if (saved_kdump || is_kdump_kernel()) {
		pr_info("ignoring dmem= in a kdump kernel\n");
		return;
	}
	if (unsupported) {
		pr_warn("ignoring dmem=: %s\n", unsupported);
		return;
	}

	layout.max_regions = min(DMEM_MAX_REGIONS, arch_dmem_max_regions());
	read_nodes();
	read_promises();
	read_free();
	for (unsigned int i = 0; i < nr_items; i++)
		if (!items[i].error && items[i].kind == DMEM_RANGE)
			items[i].nid = node_of(items[i].addr);

	dmem_place(&layout, items, nr_items);

	report_items(nr_items);
	for (unsigned int i = 0; i < layout.nr_nodes; i++) {
		report_node(&nodes[i]);
		dmem_requested[nodes[i].nid] = nodes[i].requested;
	}
	detach_regions();
}

/**
 * dmem_boot_regions() - the regions that dmem= yielded
 * @regions: where the table goes, sorted by node and start; %NULL if there is none
 *
 * The table never changes and is never freed.
 *
 * Return: the number of regions.
 */
unsigned int dmem_boot_regions(const struct dmem_region **regions)
{
	*regions = dmem_regions;
	return nr_dmem_regions;
}
EXPORT_SYMBOL_GPL(dmem_boot_regions);

/**
 * dmem_boot_requested() - what dmem= asked for on a node
 * @nid: node
 *
 * More than the regions of the node hold if the kernel had to cut the request.
 *
 * Return: bytes, before any rounding; 0 if nothing was asked for or there is no such node.
 */
u64 dmem_boot_requested(int nid)
{
	return nid >= 0 && nid < MAX_NUMNODES ? dmem_requested[nid] : 0;
}
EXPORT_SYMBOL_GPL(dmem_boot_requested);
