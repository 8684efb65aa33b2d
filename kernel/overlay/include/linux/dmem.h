/* SPDX-License-Identifier: GPL-2.0 */
/*
 * dmem - memory set aside at boot that has no struct page
 *
 * The reservation (dmem= on the command line) is made once, in setup_arch(), after the nodes are
 * known and before any struct page exists. What it yields never changes afterwards: regions are
 * neither added, removed nor given back while the system runs.
 *
 * What holds for every region:
 *
 * - Both ends are multiples of the memory section size, and the region lies in one node. There is
 *   no struct page for any byte of it, pfn_valid() is false, no zone spans it as present memory.
 * - It is not "System RAM". The e820 map calls it reserved, and built-in code has claimed it in
 *   iomem_resource as a busy and exclusive resource named "dmem".
 * - The firmware calls it RAM, and the hardware maps it write-back. Its contents are whatever the
 *   firmware or an earlier kernel left there: clear it before anybody sees it.
 * - The direct map covers it, __va() works. virt_addr_valid() says no, as there is no struct page.
 *
 * What the user of a region (one module, dmemfs) has to do:
 *
 * - Not request_mem_region() it: the claim is made already and stays when the module goes away.
 * - Keep a memremap(start, size, MEMREMAP_WB) of it for as long as it maps the region to user
 *   space. That is what enters "write-back" into the memtype tree, where vmf_insert_pfn*() look.
 *   Without the entry x86 maps such memory uncached. memunmap() drops the entry again, so loading,
 *   unloading and loading again works.
 * - Never use pfn_to_page() or anything that does, such as vm_insert_page() or virt_to_page().
 * - Handle memory errors, see struct dmem_poison_ops.
 */
#ifndef _LINUX_DMEM_H
#define _LINUX_DMEM_H

#include <linux/errno.h>
#include <linux/types.h>

struct address_space;
struct task_struct;

/**
 * struct dmem_region - a range of physical memory without struct page
 * @start: first byte, section aligned
 * @end: first byte after it, section aligned
 * @nid: the node that holds all of it
 */
struct dmem_region {
	phys_addr_t start;
	phys_addr_t end;
	int nid;
};

/**
 * struct dmem_poison_ops - what the user of the regions does about pages that have gone bad
 * @poison: the hardware has lost the contents of a page. Remove it from all page tables, tell those
 *          who map it (dmem_poison_signal()), never touch it again. Gets the flags of
 *          memory_failure(). Returns %0 if nobody had the page, %1 if somebody had it and can map
 *          it no more, -EHWPOISON if it was known before, -ENXIO if it is none of the user's pages.
 * @retire: the page was reported with dmem_remember_retired() earlier in this boot, by a user that
 *          has gone since
 *
 * Both are called in process context and may sleep.
 */
struct dmem_poison_ops {
	int (*poison)(unsigned long pfn, int flags);
	void (*retire)(unsigned long pfn);
};

/* Called with a process that maps the page, and where; it must not sleep. */
typedef void (*dmem_user_fn)(struct task_struct *task, unsigned long address, void *data);

#ifdef CONFIG_DMEM

void dmem_reserve(void);
unsigned int dmem_boot_regions(const struct dmem_region **regions);
u64 dmem_boot_requested(int nid);

int dmem_memory_failure(unsigned long pfn, int flags);
void dmem_poison_register(const struct dmem_poison_ops *ops);
void dmem_poison_unregister(void);
void dmem_remember_retired(unsigned long pfn);
void dmem_poison_signal(struct address_space *mapping, pgoff_t index, unsigned long pfn,
			int flags);
void dmem_visit_users(struct address_space *mapping, pgoff_t index, dmem_user_fn fn, void *data);

int dmem_pin(unsigned long pfn);
void dmem_unpin(unsigned long pfn);
unsigned long dmem_pinned_run(unsigned long pfn, unsigned long nr, bool *ret_pinned);

#else

static inline void dmem_reserve(void)
{
}

static inline unsigned int dmem_boot_regions(const struct dmem_region **regions)
{
	*regions = NULL;
	return 0;
}

static inline u64 dmem_boot_requested(int nid)
{
	return 0;
}

static inline int dmem_memory_failure(unsigned long pfn, int flags)
{
	return -ENXIO;
}

static inline void dmem_poison_register(const struct dmem_poison_ops *ops)
{
}

static inline void dmem_poison_unregister(void)
{
}

static inline void dmem_remember_retired(unsigned long pfn)
{
}

static inline void dmem_poison_signal(struct address_space *mapping, pgoff_t index,
				      unsigned long pfn, int flags)
{
}

static inline void dmem_visit_users(struct address_space *mapping, pgoff_t index,
				    dmem_user_fn fn, void *data)
{
}

static inline int dmem_pin(unsigned long pfn)
{
	return 0;
}

static inline void dmem_unpin(unsigned long pfn)
{
}

static inline unsigned long dmem_pinned_run(unsigned long pfn, unsigned long nr, bool *ret_pinned)
{
	*ret_pinned = false;
	return nr;
}

#endif /* CONFIG_DMEM */

#endif /* _LINUX_DMEM_H */
