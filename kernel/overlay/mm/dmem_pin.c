// SPDX-License-Identifier: GPL-2.0
/*
 * dmem_pin.c - which memory of the regions a device may still access
 *
 * A page that a device may access is pinned: it is not given to anybody else before the device has
 * lost it. Without struct page there is no reference count to do that with. So the pins are counted
 * here, for each PMD_SIZE together: a page next to a pinned one waits with it, for the price of
 * 2 KiB of counters for each GiB. Another counter for each PUD_SIZE saves those who free memory
 * that is not pinned, nearly everybody, from looking at all of them.
 *
 * Who pins holds the lock of the page table that maps the page. Who frees memory removes it from
 * all page tables first, and looks for pins afterwards: a pin is then either there, or not to come.
 */
#include <linux/atomic.h>
#include <linux/dmem.h>
#include <linux/export.h>
#include <linux/init.h>
#include <linux/limits.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/pfn.h>
#include <linux/slab.h>

#define PMD_PAGES	BIT(PMD_SHIFT - PAGE_SHIFT)
#define PUD_PAGES	BIT(PUD_SHIFT - PAGE_SHIFT)

/**
 * struct pin_counters - the pins of one region
 * @of_pmd: of each PMD_SIZE from its start on; NULL if there was no memory, or it has not begun
 * @of_pud: of each PUD_SIZE of the address space that it has a part of; never less than what is
 *	    counted in @of_pmd for it
 */
struct pin_counters {
	atomic_t *of_pmd;
	atomic_long_t *of_pud;
};

/* One for each of dmem_boot_regions(), in that order. NULL if there was no memory. */
static struct pin_counters *pins __ro_after_init;

static const struct dmem_region *region_of(unsigned long pfn, struct pin_counters *ret)
{
	const struct dmem_region *regions;
	unsigned int nr = dmem_boot_regions(&regions), i;

	for (i = 0; i < nr; i++) {
		if (pfn < PHYS_PFN(regions[i].start) || pfn >= PHYS_PFN(regions[i].end))
			continue;
		*ret = pins ? pins[i] : (struct pin_counters){};
		return &regions[i];
	}
	return NULL;
}

static atomic_t *pmd_counter(const struct dmem_region *region, const struct pin_counters *counters,
			     unsigned long pfn)
{
	return &counters->of_pmd[(pfn - PHYS_PFN(region->start)) / PMD_PAGES];
}

static atomic_long_t *pud_counter(const struct dmem_region *region,
				  const struct pin_counters *counters, unsigned long pfn)
{
	return &counters->of_pud[pfn / PUD_PAGES - PHYS_PFN(region->start) / PUD_PAGES];
}

/**
 * dmem_pin() - a device is about to get access to a page
 * @pfn: page number, of any memory
 *
 * Does nothing if the page is not in a region of dmem.
 *
 * Context: Caller holds the lock of a page table that maps the page. Does not sleep.
 * Return: %0; -EBUSY if there are too many pins, or no counters.
 */
int dmem_pin(unsigned long pfn)
{
	struct pin_counters counters;
	const struct dmem_region *region = region_of(pfn, &counters);

	if (!region)
		return 0;
	if (!counters.of_pmd)
		return -EBUSY;
	atomic_long_inc(pud_counter(region, &counters, pfn));
	if (atomic_add_unless(pmd_counter(region, &counters, pfn), 1, INT_MAX))
		return 0;
	atomic_long_dec(pud_counter(region, &counters, pfn));
	return -EBUSY;
}
EXPORT_SYMBOL_GPL(dmem_pin);

/**
 * dmem_unpin() - the device has lost access
 * @pfn: page number, of any memory; dmem_pin() said %0 to it
 *
 * Context: Any.
 */
void dmem_unpin(unsigned long pfn)
{
	struct pin_counters counters;
	const struct dmem_region *region = region_of(pfn, &counters);

	if (!region || !counters.of_pmd)
		return;
	/* Ordered, so that who sees either gone sees all that the device has written. */
	WARN_ON_ONCE(atomic_dec_return(pmd_counter(region, &counters, pfn)) < 0);
	atomic_long_dec_return(pud_counter(region, &counters, pfn));
}
EXPORT_SYMBOL_GPL(dmem_unpin);

/* Is a page pinned, or close to one that is? And up to where is that so, at least? */
static bool is_pinned(unsigned long pfn, unsigned long *ret_end)
{
	struct pin_counters counters;
	const struct dmem_region *region = region_of(pfn, &counters);

	*ret_end = round_down(pfn, PMD_PAGES) + PMD_PAGES;
	if (!region || !counters.of_pmd)
		return false;
	if (atomic_long_read_acquire(pud_counter(region, &counters, pfn)))
		return atomic_read_acquire(pmd_counter(region, &counters, pfn));
	*ret_end = min(round_down(pfn, PUD_PAGES) + PUD_PAGES, PHYS_PFN(region->end));
	return false;
}

/**
 * dmem_pinned_run() - split memory by whether a device may access it
 * @pfn:        first page number
 * @nr:         pages, at least 1
 * @ret_pinned: whether the first page is pinned, or close to one that is
 *
 * Context: The pages are in no page table.
 * Return: how many pages from the first on are alike, at most @nr.
 */
unsigned long dmem_pinned_run(unsigned long pfn, unsigned long nr, bool *ret_pinned)
{
	unsigned long at;

	*ret_pinned = is_pinned(pfn, &at);
	while (at < pfn + nr) {
		unsigned long end;

		if (is_pinned(at, &end) != *ret_pinned)
			break;
		at = end;
	}
	return min(at - pfn, nr);
}
EXPORT_SYMBOL_GPL(dmem_pinned_run);

/* Before any driver can pin. Without counters dmem_pin() refuses, so nothing is lost but VFIO. */
static int __init dmem_pin_init(void)
{
	const struct dmem_region *regions;
	unsigned int nr = dmem_boot_regions(&regions), i;

	if (!nr)
		return 0;
	pins = kcalloc(nr, sizeof(*pins), GFP_KERNEL);
	if (!pins)
		return -ENOMEM;
	for (i = 0; i < nr; i++) {
		unsigned long start = PHYS_PFN(regions[i].start), end = PHYS_PFN(regions[i].end);

		pins[i].of_pud = kvcalloc((end - 1) / PUD_PAGES - start / PUD_PAGES + 1,
					  sizeof(*pins[i].of_pud), GFP_KERNEL);
		if (pins[i].of_pud)
			pins[i].of_pmd = kvcalloc((end - start) / PMD_PAGES,
						  sizeof(*pins[i].of_pmd), GFP_KERNEL);
	}
	return 0;
}
subsys_initcall(dmem_pin_init);
