// SPDX-License-Identifier: GPL-2.0
/*
 * dmem_pin.c - which memory of the regions a device may still access
 *
 * A page that a device may access is pinned: it is not given to anybody else before the device has
 * lost it. Without struct page there is no reference count to do that with. So the pins are counted
 * here, for each PMD_SIZE together: a page next to a pinned one waits with it, for the price of
 * 2 KiB of counters for each GiB.
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

/* An array for each region, in the order of dmem_boot_regions(). NULL if there was no memory. */
static atomic_t **pins __ro_after_init;

static atomic_t *counter_of(unsigned long pfn, bool *ret_dmem)
{
	const struct dmem_region *regions;
	unsigned int nr = dmem_boot_regions(&regions), i;

	for (i = 0; i < nr; i++) {
		unsigned long start = PHYS_PFN(regions[i].start), end = PHYS_PFN(regions[i].end);

		if (pfn < start || pfn >= end)
			continue;
		*ret_dmem = true;
		return pins && pins[i] ? &pins[i][(pfn - start) / PMD_PAGES] : NULL;
	}
	*ret_dmem = false;
	return NULL;
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
	bool is_dmem;
	atomic_t *counter = counter_of(pfn, &is_dmem);

	if (!is_dmem)
		return 0;
	return counter && atomic_add_unless(counter, 1, INT_MAX) ? 0 : -EBUSY;
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
	bool is_dmem;
	atomic_t *counter = counter_of(pfn, &is_dmem);

	/* Ordered, so that who sees it gone sees all that the device has written. */
	if (counter)
		WARN_ON_ONCE(atomic_dec_return(counter) < 0);
}
EXPORT_SYMBOL_GPL(dmem_unpin);

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
	unsigned long at = pfn;
	bool is_dmem;

	while (at < pfn + nr) {
		atomic_t *counter = counter_of(at, &is_dmem);
		bool pinned = counter && atomic_read_acquire(counter);

		if (at == pfn)
			*ret_pinned = pinned;
		else if (pinned != *ret_pinned)
			break;
		at = round_down(at, PMD_PAGES) + PMD_PAGES;
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
	for (i = 0; i < nr; i++)
		pins[i] = kvcalloc((regions[i].end - regions[i].start) >> PMD_SHIFT,
				   sizeof(**pins), GFP_KERNEL);
	return 0;
}
subsys_initcall(dmem_pin_init);
