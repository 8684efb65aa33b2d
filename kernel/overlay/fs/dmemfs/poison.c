// SPDX-License-Identifier: GPL-2.0
/*
 * Memory errors. A page is poisoned if the hardware has lost its contents, and retired if the
 * administrator wants it not to be used any more.
 *
 *			poisoned			retired
 *	nobody has it	leaves the pool			leaves the pool
 *	a file has it	is unmapped everywhere, those	stays with the file as it is
 *			who map it are signalled, each
 *			access fails
 *	the file lets	leaves the pool			leaves the pool
 *	go of it
 *
 * The order for a poisoned page of a file is: mark it in the pool, find the file, unmap, signal.
 * Whoever fills or maps a part of a file holds mapping.invalidate_lock and looks at the mark after
 * the page became part of the file. So either he sees the mark, or the page is found in the file
 * and his mapping is removed.
 *
 * The mapping that the kernel itself has of the page stays: it is made of leaves as large as the
 * region allows, and there is no way to take a page out of them that modules may use. Nothing reads
 * or writes there any more, but the processor may speculate.
 */
#define pr_fmt(fmt) "dmemfs: " fmt

#include <linux/ctype.h>
#include <linux/dcache.h>
#include <linux/dmem.h>
#include <linux/jiffies.h>
#include <linux/kdev_t.h>
#include <linux/kobject.h>
#include <linux/pagemap.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/string.h>

#include <asm/mce.h>

#include "dmemfs.h"
#include "trace.h"

/* In a storm user space is told ten times a second for each node. */
#define TELL_INTERVAL	(HZ / 10)

/* Guards the list. A file on it is not freed, although it may have begun to go away. */
static DEFINE_MUTEX(files_lock);
static LIST_HEAD(files);

/**
 * dmemfs_poison_add_file() - a file may have memory from now on
 * @inode: the file
 */
void dmemfs_poison_add_file(struct inode *inode)
{
	mutex_lock(&files_lock);
	list_add_tail(&DMEMFS_I(inode)->entry, &files);
	mutex_unlock(&files_lock);
}

/**
 * dmemfs_poison_remove_file() - a file goes away, nobody maps it any more
 * @inode: the file
 */
void dmemfs_poison_remove_file(struct inode *inode)
{
	mutex_lock(&files_lock);
	list_del_init(&DMEMFS_I(inode)->entry);
	mutex_unlock(&files_lock);
}

/*
 * Find the file that has a page, and keep it and its mount from going away. Returns NULL if no file
 * has the page, or one that is about to be freed and is not mapped any more.
 */
static struct inode *pin_file(unsigned long pfn, pgoff_t *ret_index)
{
	struct super_block *sb = NULL;
	struct dmemfs_inode_info *info;
	struct inode *inode = NULL;

	mutex_lock(&files_lock);
	list_for_each_entry(info, &files, entry) {
		if (!dmemfs_find_page(info, pfn, ret_index))
			continue;
		/* An unmount in between waits for us instead of complaining about busy inodes. */
		if (atomic_inc_not_zero(&info->vfs_inode.i_sb->s_active)) {
			sb = info->vfs_inode.i_sb;
			inode = igrab(&info->vfs_inode);
		}
		break;
	}
	mutex_unlock(&files_lock);

	if (sb && !inode)
		deactivate_super(sb);
	return inode;
}

static void unpin_file(struct inode *inode)
{
	struct super_block *sb = inode->i_sb;

	iput(inode);
	deactivate_super(sb);
}

/* Text that may not have enough room */
struct list {
	char *text;
	size_t size;
	size_t len;
	bool full;
	bool commands;
};

static void append_process(struct task_struct *task, unsigned long address, void *data)
{
	char comm[TASK_COMM_LEN], item[TASK_COMM_LEN + 16], *p;
	struct list *list = data;
	size_t len;

	if (list->full)
		return;
	if (list->commands) {
		get_task_comm(comm, task);
		for (p = comm; *p; p++)
			if (!isascii(*p) || (!isalnum(*p) && !strchr("._-/+", *p)))
				*p = '?';
		len = scnprintf(item, sizeof(item), "%s%d:%s", list->len ? "," : "",
				task_pid_nr(task), comm);
	} else {
		len = scnprintf(item, sizeof(item), "%s%d", list->len ? "," : "",
				task_pid_nr(task));
	}
	/* Always keep room to say that there are more. */
	list->full = list->len + len + sizeof(",...") > list->size;
	strscpy(list->text + list->len, list->full ? ",..." : item, list->size - list->len);
	list->len += len;
}

/* The path from the root of the mount. Empty if it is too long. */
static void get_path(struct inode *inode, char *path, size_t size)
{
	struct dentry *dentry = d_find_any_alias(inode);
	char *page = (char *)__get_free_page(GFP_KERNEL), *p, *end;

	path[0] = '\0';
	if (!dentry || !page)
		goto out;
	p = dentry_path_raw(dentry, page, PAGE_SIZE);
	if (IS_ERR(p))
		goto out;
	end = mangle_path(page, p, " \t\n\\");
	if (!end || end == page + PAGE_SIZE)
		goto out;
	*end = '\0';
	if (snprintf(path, size, "%s%s", page, d_unlinked(dentry) ? " (deleted)" : "") >= size)
		path[0] = '\0';
out:
	free_page((unsigned long)page);
	dput(dentry);
}

static void describe(struct inode *inode, pgoff_t index, bool commands, struct dmem_owner *ret)
{
	struct list list = {
		.text = ret->processes,
		.size = sizeof(ret->processes),
		.commands = commands,
	};

	ret->known = true;
	ret->dev = inode->i_sb->s_dev;
	ret->ino = inode->i_ino;
	ret->index = index;
	ret->processes[0] = '\0';
	get_path(inode, ret->path, sizeof(ret->path));
	dmem_visit_users(inode->i_mapping, index, append_process, &list);
}

/**
 * dmemfs_find_owner() - find out who has a page
 * @pfn:      page number
 * @commands: with the names of the processes that map it
 * @ret:      the answer, not known if no file has the page
 *
 * Context: Process context, may sleep. The answer may be out of date at once.
 */
void dmemfs_find_owner(unsigned long pfn, bool commands, struct dmem_owner *ret)
{
	struct inode *inode;
	pgoff_t index;

	ret->known = false;
	inode = pin_file(pfn, &index);
	if (!inode)
		return;
	describe(inode, index, commands, ret);
	unpin_file(inode);
}

struct env {
	char *vars[20];
	unsigned int nr;
	bool failed;
};

static __printf(2, 3) void env_add(struct env *env, const char *format, ...)
{
	va_list args;
	char *text;

	va_start(args, format);
	text = kvasprintf(GFP_KERNEL, format, args);
	va_end(args);
	if (text)
		env->vars[env->nr++] = text;
	else
		env->failed = true;
}

static void env_add_event(struct env *env, const struct dmem_event *event)
{
	const struct dmem_owner *owner = &event->owner;

	env_add(env, "DMEM_EVENT=%s", event->poisoned ? "poison" : "retire");
	env_add(env, "DMEM_ADDRESS=0x%llx", PFN_PHYS(event->pfn));
	env_add(env, "DMEM_SIZE=%lu", PAGE_SIZE);
	env_add(env, "DMEM_STATE=%s", event->used ? "used" : "free");
	env_add(env, "DMEM_SOURCE=%s", event->hardware ? "mce" : "sysfs");
	if (!owner->known)
		return;
	env_add(env, "DMEM_DEV=%u:%u", MAJOR(owner->dev), MINOR(owner->dev));
	env_add(env, "DMEM_INODE=%lu", owner->ino);
	env_add(env, "DMEM_OFFSET=0x%llx", (u64)owner->index << PAGE_SHIFT);
	if (owner->path[0])
		env_add(env, "DMEM_FILE=%s", owner->path);
	if (owner->processes[0])
		env_add(env, "DMEM_PROCESSES=%s", owner->processes);
}

/* Tell user space of the newest event, and how many there were since the last time. */
static void tell(struct work_struct *work)
{
	struct dmem_events *events = container_of(to_delayed_work(work), struct dmem_events, work);
	struct dmem_node *node = container_of(events, struct dmem_node, events);
	struct env env = {};
	u64 count;

	mutex_lock(&events->lock);
	count = events->count;
	events->next = jiffies + TELL_INTERVAL;
	if (count == events->told) {
		mutex_unlock(&events->lock);
		return;
	}
	env_add_event(&env, &events->last);
	env_add(&env, "DMEM_NODE=%d", node->nid);
	env_add(&env, "DMEM_COUNT=%llu", count);
	env_add(&env, "DMEM_COALESCED=%llu", count - events->told);
	if (!env.failed)
		events->told = count;
	mutex_unlock(&events->lock);

	if (env.failed)
		queue_delayed_work(system_wq, &events->work, TELL_INTERVAL);
	else
		kobject_uevent_env(&node->dev->kobj, KOBJ_CHANGE, env.vars);
	sysfs_notify(&node->dev->kobj, NULL, "events");
	while (env.nr)
		kfree(env.vars[--env.nr]);
}

/**
 * dmem_events_init() - before the first event
 * @events: zeroed
 */
void dmem_events_init(struct dmem_events *events)
{
	mutex_init(&events->lock);
	INIT_DELAYED_WORK(&events->work, tell);
	events->next = jiffies;
}

/**
 * dmem_events_count() - how many pages of a node went bad
 * @node: the node
 *
 * Return: the number since the module was loaded.
 */
u64 dmem_events_count(struct dmem_node *node)
{
	u64 count;

	mutex_lock(&node->events.lock);
	count = node->events.count;
	mutex_unlock(&node->events.lock);
	return count;
}

static void add_event(struct dmem_node *node, const struct dmem_event *event)
{
	const struct dmem_owner *owner = &event->owner;
	struct dmem_events *events = &node->events;
	unsigned long now = jiffies, delay;

	trace_dmemfs_poison(node->nid, event->pfn, event->poisoned, event->used,
			    owner->known ? owner->dev : 0, owner->known ? owner->ino : 0,
			    owner->known ? owner->index : 0);

	mutex_lock(&events->lock);
	events->count++;
	events->last = *event;
	delay = time_before(now, events->next) ? events->next - now : 0;
	mutex_unlock(&events->lock);
	queue_delayed_work(system_wq, &events->work, delay);
}

/* For the page at @index of a file that is poisoned in the pool already. */
static void unmap_page(struct inode *inode, pgoff_t index)
{
	loff_t start = (loff_t)index << PAGE_SHIFT;

	filemap_invalidate_lock(inode->i_mapping);
	dmemfs_unmap(inode, start, start + PAGE_SIZE);
	filemap_invalidate_unlock(inode->i_mapping);
}

/* See struct dmem_poison_ops. */
static int on_poison(unsigned long pfn, int flags)
{
	struct dmem_node *node = dmem_node_by_pfn(pfn);
	struct inode *inode = NULL;
	struct dmem_event *event;
	pgoff_t index;
	bool used;
	int ret;

	if (!node)
		return -ENXIO;
	ret = dmem_retire(node, pfn, true, &used);
	if (ret < 0)
		return ret;

	if (used)
		inode = pin_file(pfn, &index);
	if (inode)
		unmap_page(inode, index);
	if (ret) {
		/* Before the signal, which may end those who are to be named. */
		event = kzalloc(sizeof(*event), GFP_KERNEL | __GFP_NOFAIL);
		event->pfn = pfn;
		event->poisoned = true;
		event->hardware = true;
		event->used = used;
		if (inode)
			describe(inode, index, true, &event->owner);
		add_event(node, event);
		kfree(event);
	}
	/* If it was known, only who has just consumed it is to be told. */
	if (inode && (ret || (flags & MF_ACTION_REQUIRED)))
		dmem_poison_signal(inode->i_mapping, index, pfn, flags);
	if (inode)
		unpin_file(inode);
	return ret ? used : -EHWPOISON;
}

static void retire(struct dmem_node *node, unsigned long pfn, bool used)
{
	struct dmem_event *event = kzalloc(sizeof(*event), GFP_KERNEL | __GFP_NOFAIL);

	event->pfn = pfn;
	event->used = used;
	if (used)
		dmemfs_find_owner(pfn, true, &event->owner);
	add_event(node, event);
	kfree(event);
}

/* See struct dmem_poison_ops. */
static void on_retire_again(unsigned long pfn)
{
	struct dmem_node *node = dmem_node_by_pfn(pfn);
	bool used;

	if (node && dmem_retire(node, pfn, false, &used) > 0)
		retire(node, pfn, used);
}

/**
 * dmemfs_retire() - the administrator wants a page not to be used any more
 * @node: its node
 * @pfn:  page number
 *
 * Context: Process context, may sleep.
 * Return: %0, also if that is so already; -EINVAL if the page is not one of the node; -ENOMEM.
 */
int dmemfs_retire(struct dmem_node *node, unsigned long pfn)
{
	bool used;
	int ret;

	if (dmem_node_by_pfn(pfn) != node)
		return -EINVAL;
	ret = dmem_retire(node, pfn, false, &used);
	if (ret > 0) {
		dmem_remember_retired(pfn);
		retire(node, pfn, used);
	}
	return min(ret, 0);
}

static const struct dmem_poison_ops poison_ops = {
	.poison = on_poison,
	.retire = on_retire_again,
};

#if defined(CONFIG_X86_MCE) && !defined(CONFIG_DMEM)
/*
 * A kernel without CONFIG_DMEM does not ask us what to do about an error, and kills who consumed it
 * without saying where. But it tells what it has seen, so that at least nobody gets the page again.
 * The chain is called by a work item.
 */
static int on_machine_check(struct notifier_block *block, unsigned long event, void *data)
{
	struct mce *mce = data;

	if (!mce || !mce_usable_address(mce) || mce_is_correctable(mce))
		return NOTIFY_DONE;
	return on_poison(PHYS_PFN(mce->addr & MCI_ADDR_PHYSADDR), 0) == -ENXIO ?
	       NOTIFY_DONE : NOTIFY_OK;
}

static struct notifier_block machine_check_notifier = {
	.notifier_call = on_machine_check,
	/* Any that nobody else has; the order does not matter. */
	.priority = MCE_PRIO_LOWEST,
};

static void watch_machine_checks(void)
{
	mce_register_decode_chain(&machine_check_notifier);
}

static void unwatch_machine_checks(void)
{
	mce_unregister_decode_chain(&machine_check_notifier);
}
#else
static void watch_machine_checks(void)
{
}

static void unwatch_machine_checks(void)
{
}
#endif

/**
 * dmemfs_poison_init() - start handling memory errors
 *
 * What is known to be bad from before the module was loaded leaves the pool.
 */
void dmemfs_poison_init(void)
{
	dmem_poison_register(&poison_ops);
	watch_machine_checks();
}

/**
 * dmemfs_poison_exit() - undo dmemfs_poison_init()
 */
void dmemfs_poison_exit(void)
{
	unwatch_machine_checks();
	dmem_poison_unregister();
}
