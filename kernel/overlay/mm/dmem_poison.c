// SPDX-License-Identifier: GPL-2.0
/*
 * dmem_poison.c - memory errors in memory without struct page
 *
 * memory_failure() asks here about pages that have no struct page, whoever reported them: machine
 * checks, the firmware (GHES), hard_offline_page. What is to be done about a page is known to the
 * user of the regions, dmemfs, which may be a module that is not loaded yet or any more. So this
 * remembers the bad pages of the regions for as long as the system runs, and tells each user of all
 * that it has not seen.
 *
 * A page that only the administrator calls bad is retired: it is remembered as well, but nobody is
 * signalled.
 */
#define pr_fmt(fmt) "Memory failure: " fmt

#include <linux/dmem.h>
#include <linux/export.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/pfn.h>
#include <linux/printk.h>
#include <linux/ratelimit.h>
#include <linux/rcupdate.h>
#include <linux/sched/signal.h>
#include <linux/xarray.h>

#include "internal.h"
#include "ras/ras_event.h"

enum bad_page {
	PAGE_RETIRED,
	PAGE_POISONED,
};

/* Indexed by page number; values of enum bad_page. */
static DEFINE_XARRAY(bad_pages);

/* Guards the pointer. Held while the user works on an error, so that it cannot go away. */
static DEFINE_MUTEX(ops_lock);
static const struct dmem_poison_ops *poison_ops;

static bool in_boot_region(unsigned long pfn)
{
	const struct dmem_region *regions;
	unsigned int nr = dmem_boot_regions(&regions), i;

	for (i = 0; i < nr; i++)
		if (PFN_PHYS(pfn) >= regions[i].start && PFN_PHYS(pfn) < regions[i].end)
			return true;
	return false;
}

/* A page that is forgotten would be handed out, so this does not fail. */
static void remember(unsigned long pfn, enum bad_page what)
{
	xa_store(&bad_pages, pfn, xa_mk_value(what), GFP_KERNEL | __GFP_NOFAIL);
}

static bool is_poisoned(unsigned long pfn)
{
	return xa_load(&bad_pages, pfn) == xa_mk_value(PAGE_POISONED);
}

/* For rasdaemon, and for the log, as action_result() in memory-failure.c does for others. */
static void report(unsigned long pfn, int what)
{
	if (what == -EHWPOISON) {
		trace_memory_failure_event(pfn, MF_MSG_ALREADY_POISONED, MF_FAILED);
		return;
	}
	/* Who has it finds out at the next access, if not before. */
	trace_memory_failure_event(pfn, MF_MSG_PFN_MAP, what ? MF_DELAYED : MF_RECOVERED);
	pr_err_ratelimited("%#lx: recovery action for non struct page pfn: %s\n", pfn,
			   what ? "Delayed" : "Recovered");
}

/**
 * dmem_memory_failure() - handle an error in a page that has no struct page
 * @pfn:   page number
 * @flags: of memory_failure()
 *
 * Context: memory_failure(). Process context, may sleep.
 * Return: %0 if it was handled and the page is to be removed from the direct map; -EHWPOISON if it
 * was handled before, or is not in the direct map; -ENXIO if the page is not ours.
 */
int dmem_memory_failure(unsigned long pfn, int flags)
{
	bool boot = in_boot_region(pfn);
	int ret = -ENXIO;

	mutex_lock(&ops_lock);
	if (poison_ops)
		ret = poison_ops->poison(pfn, flags);
	/* Nobody uses it yet, but the next user will want to know. */
	if (ret == -ENXIO && boot)
		ret = is_poisoned(pfn) ? -EHWPOISON : 1;
	if (ret != -ENXIO)
		remember(pfn, PAGE_POISONED);
	mutex_unlock(&ops_lock);

	if (ret == -ENXIO)
		return ret;
	report(pfn, ret);
	if (ret < 0)
		return ret;
	/* What memmap= took away has no direct map, and set_mce_nospec() would complain. */
	return boot || (flags & MF_SW_SIMULATED) ? 0 : -EHWPOISON;
}

/**
 * dmem_poison_register() - start handling memory errors
 * @ops: what to do; called at once for all bad pages of this boot
 *
 * Context: Process context, may sleep. There is one user at a time.
 */
void dmem_poison_register(const struct dmem_poison_ops *ops)
{
	unsigned long pfn;
	void *entry;

	mutex_lock(&ops_lock);
	WARN_ON_ONCE(poison_ops);
	poison_ops = ops;
	xa_for_each(&bad_pages, pfn, entry) {
		if (xa_to_value(entry) == PAGE_POISONED)
			ops->poison(pfn, MF_SW_SIMULATED);
		else
			ops->retire(pfn);
	}
	mutex_unlock(&ops_lock);
}
EXPORT_SYMBOL_GPL(dmem_poison_register);

/**
 * dmem_poison_unregister() - stop handling memory errors
 *
 * Context: Process context, waits for an error that is being handled.
 */
void dmem_poison_unregister(void)
{
	mutex_lock(&ops_lock);
	poison_ops = NULL;
	mutex_unlock(&ops_lock);
}
EXPORT_SYMBOL_GPL(dmem_poison_unregister);

/**
 * dmem_remember_retired() - have the next user told of a page that must not be used again
 * @pfn: page number
 *
 * Context: Process context, may sleep.
 */
void dmem_remember_retired(unsigned long pfn)
{
	xa_cmpxchg(&bad_pages, pfn, NULL, xa_mk_value(PAGE_RETIRED), GFP_KERNEL | __GFP_NOFAIL);
}
EXPORT_SYMBOL_GPL(dmem_remember_retired);

static struct mm_struct *process_mm(struct task_struct *process)
{
	struct task_struct *t;

	/* The first thread may have gone. */
	for_each_thread(process, t) {
		struct mm_struct *mm = READ_ONCE(t->mm);

		if (mm && !(t->flags & PF_KTHREAD))
			return mm;
	}
	return NULL;
}

/**
 * dmem_visit_users() - visit the processes that map a page of a file
 * @mapping: the file
 * @index:   the page
 * @fn:      called once for each process, with the first thread
 * @data:    for @fn
 *
 * A process counts if a VMA covers the page, whether or not there is anything in its page tables.
 *
 * Context: Process context, may sleep.
 */
void dmem_visit_users(struct address_space *mapping, pgoff_t index, dmem_user_fn fn, void *data)
{
	struct task_struct *process;

	i_mmap_lock_read(mapping);
	rcu_read_lock();
	for_each_process(process) {
		struct mm_struct *mm = process_mm(process);
		struct vm_area_struct *vma;

		if (!mm)
			continue;
		vma_interval_tree_foreach(vma, &mapping->i_mmap, index, index) {
			if (vma->vm_mm != mm)
				continue;
			fn(process, vma->vm_start + ((index - vma->vm_pgoff) << PAGE_SHIFT), data);
			break;
		}
	}
	rcu_read_unlock();
	i_mmap_unlock_read(mapping);
}
EXPORT_SYMBOL_GPL(dmem_visit_users);

struct poison_signal {
	unsigned long pfn;
	int flags;
};

static void signal_user(struct task_struct *process, unsigned long address, void *data)
{
	const struct poison_signal *signal = data;
	bool required = signal->flags & MF_ACTION_REQUIRED;
	struct task_struct *task = task_early_kill(process, required);
	int ret;

	if (!task)
		return;
	pr_err("%#lx: Sending SIGBUS to %s:%d due to hardware memory corruption\n", signal->pfn,
	       task->comm, task_pid_nr(task));
	if (required && task == current)
		ret = force_sig_mceerr(BUS_MCEERR_AR, (void __user *)address, PAGE_SHIFT);
	else
		ret = send_sig_mceerr(BUS_MCEERR_AO, (void __user *)address, PAGE_SHIFT, task);
	if (ret < 0)
		pr_info("Error sending signal to %s:%d: %d\n", task->comm, task_pid_nr(task), ret);
}

/**
 * dmem_poison_signal() - tell those who map a page of a file that its contents are lost
 * @mapping: the file
 * @index:   the page
 * @pfn:     its page number
 * @flags:   of memory_failure()
 *
 * As for other memory: with %MF_ACTION_REQUIRED the current thread gets BUS_MCEERR_AR. Others get
 * BUS_MCEERR_AO, if they asked to be told early (PR_MCE_KILL, vm.memory_failure_early_kill). The
 * rest find out when they touch the page, so it must have been unmapped before.
 *
 * Context: Process context, may sleep.
 */
void dmem_poison_signal(struct address_space *mapping, pgoff_t index, unsigned long pfn, int flags)
{
	struct poison_signal signal = { .pfn = pfn, .flags = flags };

	dmem_visit_users(mapping, index, signal_user, &signal);
}
EXPORT_SYMBOL_GPL(dmem_poison_signal);
