// SPDX-License-Identifier: GPL-2.0
/*
 * Which memory dmemfs works with: what was set aside at boot with dmem=, and what the regions=
 * parameter names. The latter serves kernels without CONFIG_DMEM, where memmap=SIZE$ADDR keeps
 * memory away from the kernel. There nothing vouches for a range, so it is examined.
 */
#define pr_fmt(fmt) "dmemfs: " fmt

#include <linux/cc_platform.h>
#include <linux/dmem.h>
#include <linux/io.h>
#include <linux/ioport.h>
#include <linux/kstrtox.h>
#include <linux/memory_hotplug.h>
#include <linux/mmzone.h>
#include <linux/module.h>
#include <linux/numa.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <linux/string.h>

#include <asm/e820/api.h>
#include <asm/pgtable.h>

#include "dmemfs.h"

#define SECTION_BYTES	(PAGES_PER_SECTION << PAGE_SHIFT)

static char *regions;
module_param(regions, charp, 0444);
MODULE_PARM_DESC(regions,
		 "Memory to use besides that of dmem=: START-END[,START-END...], hexadecimal, END exclusive, kept away from the kernel with memmap=SIZE$START");

/* Is all of [start, end) memory in the eyes of the firmware? */
static bool firmware_usable(u64 start, u64 end)
{
	static const enum e820_type others[] = {
		E820_TYPE_RESERVED, E820_TYPE_ACPI, E820_TYPE_NVS, E820_TYPE_UNUSABLE,
		E820_TYPE_PMEM, E820_TYPE_PRAM, E820_TYPE_SOFT_RESERVED,
	};
	unsigned int i;
	u64 at;

	for (i = 0; i < ARRAY_SIZE(others); i++)
		if (e820__mapped_raw_any(start, end, others[i]))
			return false;
	/* Holes are in no entry at all. */
	for (at = start; at < end; at += PMD_SIZE)
		if (!e820__mapped_raw_any(at, at + PAGE_SIZE, E820_TYPE_RAM) ||
		    !e820__mapped_raw_any(at + PMD_SIZE - PAGE_SIZE, at + PMD_SIZE, E820_TYPE_RAM))
			return false;
	return true;
}

/* Why the range [start, end) cannot be used, or NULL. */
static const char *range_objection(u64 start, u64 end)
{
	u64 at;

	if (start >= end)
		return "its end is not above its start";
	if (!IS_ALIGNED(start | end, SECTION_BYTES))
		return "both ends must be multiples of 128M";
	if (end > 1ULL << boot_cpu_data.x86_phys_bits)
		return "it lies beyond what this CPU can address";
	if (region_intersects(start, end - start, IORESOURCE_SYSTEM_RAM, IORES_DESC_NONE) !=
	    REGION_DISJOINT)
		return "it is System RAM, keep it away from the kernel with memmap=SIZE$START";
	for (at = start; at < end; at += SECTION_BYTES)
		if (pfn_valid(PHYS_PFN(at)))
			return "the kernel has struct pages for a part of it";
	if (!firmware_usable(start, end))
		return "the firmware does not call all of it usable, see /sys/firmware/memmap";
	return NULL;
}

/* The node of the section at @start; a range that the kernel never had has no node of its own. */
static int section_node(u64 start)
{
	int nid = phys_to_target_node(start);

	return nid == NUMA_NO_NODE ? first_online_node : nid;
}

static int parse_range(char *text, u64 *ret_start, u64 *ret_end)
{
	char *dash = strchr(text, '-');
	int ret;

	if (!dash)
		return -EINVAL;
	*dash = '\0';
	ret = kstrtou64(text, 16, ret_start);
	if (!ret)
		ret = kstrtou64(dash + 1, 16, ret_end);
	*dash = '-';
	return ret;
}

static int append_range(struct dmem_range **ranges, unsigned int *nr, u64 start, u64 end,
			int nid, struct resource *owned)
{
	struct dmem_range *more;

	more = krealloc_array(*ranges, *nr + 1, sizeof(**ranges), GFP_KERNEL);
	if (!more)
		return -ENOMEM;
	*ranges = more;
	more[(*nr)++] = (struct dmem_range) {
		.start = start,
		.end = end,
		.nid = nid,
		.owned = owned,
	};
	return 0;
}

static int add_parameter_range(struct dmem_range **ranges, unsigned int *nr, char *text)
{
	const char *objection;
	u64 start, end, at;
	int ret;

	ret = parse_range(text, &start, &end);
	if (ret) {
		pr_err("regions=: '%s' is not a range, expected START-END in hexadecimal, END exclusive\n",
		       text);
		return -EINVAL;
	}
	objection = range_objection(start, end);
	if (objection) {
		pr_err("regions=: %s refused: %s\n", text, objection);
		return -EINVAL;
	}

	/* One piece per node, each with a claim of its own. */
	for (at = start; at < end; ) {
		int nid = section_node(at);
		struct resource *owned;
		u64 stop = at;

		while (stop < end && section_node(stop) == nid)
			stop += SECTION_BYTES;
		owned = request_mem_region_exclusive(at, stop - at, "dmem");
		if (!owned) {
			pr_err("regions=: %s refused: 0x%llx-0x%llx is in use already, see /proc/iomem\n",
			       text, at, stop);
			return -EBUSY;
		}
		ret = append_range(ranges, nr, at, stop, nid, owned);
		if (ret) {
			release_mem_region(at, stop - at);
			return ret;
		}
		at = stop;
	}
	return 0;
}

static int add_parameter_ranges(struct dmem_range **ranges, unsigned int *nr)
{
	char *copy, *rest, *text;
	int ret = 0;

	if (!regions || !*regions)
		return 0;

	copy = kstrdup(regions, GFP_KERNEL);
	if (!copy)
		return -ENOMEM;
	rest = copy;
	while (!ret && (text = strsep(&rest, ",")))
		ret = add_parameter_range(ranges, nr, strim(text));
	kfree(copy);
	return ret;
}

/*
 * x86 maps memory to user space with the cache mode that the memtype tree has for it, and calls it
 * uncached if the tree knows nothing. A kernel mapping makes the entry. The mode can still come
 * out weaker than asked for (MTRRs), which shows in the page tables of that mapping.
 */
static bool mapped_write_back(const void *map)
{
	unsigned int level;
	pte_t *pte = lookup_address((unsigned long)map, &level);
	pteval_t pat = level == PG_LEVEL_4K ? _PAGE_PAT : _PAGE_PAT_LARGE;

	return pte && !(pte_val(*pte) & (_PAGE_PWT | _PAGE_PCD | pat));
}

static int map_range(struct dmem_range *range)
{
	u64 size = range->end - range->start;

	range->map = memremap(range->start, size, MEMREMAP_WB);
	if (!range->map) {
		pr_err("node %d: cannot map 0x%llx-0x%llx, it is not used\n", range->nid,
		       range->start, range->end);
		return -ENOMEM;
	}
	if (!mapped_write_back(range->map) || !mapped_write_back(range->map + size - PAGE_SIZE)) {
		pr_err("node %d: 0x%llx-0x%llx is not write-back cacheable, see /proc/mtrr and /sys/kernel/debug/x86/pat_memtype_list\n",
		       range->nid, range->start, range->end);
		return -EINVAL;
	}
	return 0;
}

static int compare_ranges(const void *a, const void *b)
{
	const struct dmem_range *l = a, *r = b;

	if (l->nid != r->nid)
		return l->nid < r->nid ? -1 : 1;
	return l->start < r->start ? -1 : l->start > r->start;
}

/**
 * dmem_regions_get() - find, claim and map the memory
 * @ret:    array of ranges, sorted by node and address, for dmem_regions_put()
 * @ret_nr: length of the array
 *
 * Return: %0; -ENODEV if there is no memory to work with; -EINVAL, -EBUSY or -ENOMEM. What is
 * wrong is in the log.
 */
int dmem_regions_get(struct dmem_range **ret, unsigned int *ret_nr)
{
	struct dmem_range *ranges = NULL;
	const struct dmem_region *boot;
	unsigned int nr = 0, nr_boot, i;
	int r;

	if (cc_platform_has(CC_ATTR_HOST_MEM_ENCRYPT)) {
		pr_err("not supported with memory encryption of the host, boot with mem_encrypt=off\n");
		return -EOPNOTSUPP;
	}

	nr_boot = dmem_boot_regions(&boot);
	for (i = 0; i < nr_boot; i++) {
		r = append_range(&ranges, &nr, boot[i].start, boot[i].end, boot[i].nid, NULL);
		if (r)
			goto put;
	}
	r = add_parameter_ranges(&ranges, &nr);
	if (r)
		goto put;
	if (!nr) {
		pr_info("no memory to work with: nothing was set aside with dmem= on the kernel command line, and regions= is not set\n");
		return -ENODEV;
	}

	sort(ranges, nr, sizeof(*ranges), compare_ranges, NULL);
	for (i = 0; i < nr; i++) {
		r = map_range(&ranges[i]);
		if (r)
			goto put;
	}
	/* The patches for 6.12 bring both, CONFIG_DMEM and the fix of mm/mempolicy.c. */
	if (!IS_ENABLED(CONFIG_DMEM))
		pr_notice("this kernel oopses if somebody calls mbind(MPOL_MF_STRICT) on memory mapped with pages of 2M, unless its mm/mempolicy.c is patched: let only those use a mount whom you trust, or use pagesize=4K\n");
	*ret = ranges;
	*ret_nr = nr;
	return 0;

put:
	dmem_regions_put(ranges, nr);
	return r;
}

/**
 * dmem_regions_put() - unmap and give back
 * @ranges: from dmem_regions_get()
 * @nr:     length of @ranges
 */
void dmem_regions_put(struct dmem_range *ranges, unsigned int nr)
{
	unsigned int i;

	for (i = 0; i < nr; i++) {
		if (ranges[i].map)
			memunmap(ranges[i].map);
		if (ranges[i].owned)
			release_mem_region(ranges[i].start, ranges[i].end - ranges[i].start);
	}
	kfree(ranges);
}

/**
 * dmem_regions_requested() - bytes that the administrator asked for on a node
 * @ranges: all ranges
 * @nr:     length of @ranges
 * @nid:    the node
 */
u64 dmem_regions_requested(const struct dmem_range *ranges, unsigned int nr, int nid)
{
	u64 bytes = dmem_boot_requested(nid);
	unsigned int i;

	for (i = 0; i < nr; i++)
		if (ranges[i].nid == nid && ranges[i].owned)
			bytes += ranges[i].end - ranges[i].start;
	return bytes;
}
