// SPDX-License-Identifier: GPL-2.0
/*
 * The nodes: which of them memory comes from, and that nobody sees what an earlier owner left.
 */
#define pr_fmt(fmt) "dmemfs: " fmt

#include <linux/dmem.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <linux/topology.h>
#include <linux/workqueue.h>

#include "dmemfs.h"
#include "trace.h"

static bool clear_all;
module_param(clear_all, bool, 0444);
MODULE_PARM_DESC(clear_all,
		 "Clear all memory in the background after loading, not only what has been freed (default: N)");

/* Sorted by node id; fixed between dmem_nodes_init() and dmem_nodes_exit(). */
struct dmem_node *dmem_nodes;
unsigned int dmem_nr_nodes;

static struct dmem_range *all_ranges;
static struct dmem_range **by_address;	/* all_ranges, sorted by address only */
static unsigned int nr_all_ranges;

/* Guards the ledger and the accounts in it, their limits included. */
static DEFINE_SPINLOCK(ledger_lock);
static struct dmem_ledger ledger;
static unsigned long nr_withdrawals;	/* how often free memory has gone away */

/**
 * struct held_piece - memory without owner that a device may still access
 * @entry: in held_pieces
 * @piece: the memory; some of it at the end may be free to go
 */
struct held_piece {
	struct list_head entry;
	struct dmem_piece piece;
};

static LIST_HEAD(held_pieces);
static DEFINE_MUTEX(held_lock);	/* guards held_pieces */

static void free_held(struct work_struct *work);
static DECLARE_DELAYED_WORK(held_work, free_held);

/* How much is cleared between two looks at whether some of it has gone bad, in base pages. */
#define CLEAR_STEP	32UL

/**
 * dmem_node_by_nid() - find a node
 * @nid: node id
 *
 * Return: the node, or NULL if there is no memory of it.
 */
struct dmem_node *dmem_node_by_nid(int nid)
{
	unsigned int n;

	for (n = 0; n < dmem_nr_nodes; n++)
		if (dmem_nodes[n].nid == nid)
			return &dmem_nodes[n];
	return NULL;
}

/* The range with a page, or NULL. */
static struct dmem_range *range_of(unsigned long pfn)
{
	phys_addr_t address = PFN_PHYS(pfn);
	unsigned int low = 0, high = nr_all_ranges;

	while (low < high) {
		unsigned int mid = low + (high - low) / 2;
		struct dmem_range *range = by_address[mid];

		if (address < range->start)
			high = mid;
		else if (address >= range->end)
			low = mid + 1;
		else
			return range;
	}
	return NULL;
}

/**
 * dmem_node_by_pfn() - find the node of a page
 * @pfn: page number
 *
 * Return: the node, or NULL if the page is in none of the ranges.
 */
struct dmem_node *dmem_node_by_pfn(unsigned long pfn)
{
	struct dmem_range *range = range_of(pfn);

	return range ? range->node : NULL;
}

/**
 * dmem_pfn_to_kaddr() - where the kernel has a page
 * @pfn: page number in one of the ranges
 */
void *dmem_pfn_to_kaddr(unsigned long pfn)
{
	struct dmem_range *range = range_of(pfn);

	return range->map + (PFN_PHYS(pfn) - range->start);
}

/**
 * dmem_next_lost() - find memory that nobody may touch
 * @pfn: first page number
 * @end: first page number behind; the memory before may be of several ranges
 *
 * Return: the first page number of a page whose contents are lost, or @end.
 */
unsigned long dmem_next_lost(unsigned long pfn, unsigned long end)
{
	while (pfn < end) {
		struct dmem_range *range = range_of(pfn);
		unsigned long stop, lost;

		if (WARN_ON_ONCE(!range))
			return pfn;
		stop = min(end, PHYS_PFN(range->end));
		lost = dmem_pool_next_lost(&range->node->pool, pfn, stop);
		if (lost < stop)
			return lost;
		pfn = stop;
	}
	return end;
}

/* Clear memory of one range, but for what must not be touched. */
static void clear_units(unsigned long pfn, unsigned long nr)
{
	struct dmem_range *range = range_of(pfn);
	unsigned long end = pfn + nr;

	while (pfn < end) {
		unsigned long stop = min(end, pfn + CLEAR_STEP);
		unsigned long lost = dmem_pool_next_lost(&range->node->pool, pfn, stop);

		memset(range->map + (PFN_PHYS(pfn) - range->start), 0, PFN_PHYS(lost - pfn));
		pfn = lost < stop ? lost + 1 : stop;
		cond_resched();
	}
}

/* Clears what is queued, chunk by chunk, as long as nobody needs the CPU more. */
static int clearer(void *data)
{
	struct dmem_node *node = data;

	while (!kthread_should_stop()) {
		unsigned long pfn = 0, nr;
		bool found;

		wait_event_idle(node->freed, kthread_should_stop() ||
				(READ_ONCE(node->pool.nr_queued) && !READ_ONCE(node->nr_waiting)));

		mutex_lock(&node->lock);
		found = !node->nr_waiting && dmem_pool_clear_begin(&node->pool);
		mutex_unlock(&node->lock);
		if (!found)
			continue;

		while (dmem_pool_clear_next(&node->pool, &pfn, &nr)) {
			clear_units(pfn, nr);
			trace_dmemfs_clear(node->nid, pfn, nr);
			pfn += nr;
		}

		mutex_lock(&node->lock);
		dmem_pool_clear_end(&node->pool);
		mutex_unlock(&node->lock);
		wake_up_all(&node->cleared);
		cond_resched();
	}
	return 0;
}

static int start_clearer(struct dmem_node *node)
{
	struct task_struct *task;

	task = kthread_create_on_node(clearer, node, node_online(node->nid) ? node->nid :
				      NUMA_NO_NODE, "dmem_clear/%d", node->nid);
	if (IS_ERR(task))
		return PTR_ERR(task);
	if (node_state(node->nid, N_CPU))
		set_cpus_allowed_ptr(task, cpumask_of_node(node->nid));
	set_user_nice(task, MAX_NICE);
	node->clearer = task;
	wake_up_process(task);
	return 0;
}

/* A node without ranges was asked for memory and could give none, which is for sysfs to show. */
static int init_node(struct dmem_node *node, int nid, unsigned int number,
		     struct dmem_range *ranges, unsigned int nr)
{
	unsigned int i;
	int ret;

	node->nid = nid;
	node->number = number;
	node->requested = dmem_regions_requested(all_ranges, nr_all_ranges, node->nid);
	node->ranges = ranges;
	node->nr_ranges = nr;
	mutex_init(&node->lock);
	init_waitqueue_head(&node->cleared);
	init_waitqueue_head(&node->freed);
	dmem_events_init(&node->events);
	for (i = 0; i < nr; i++) {
		ranges[i].node = node;
		ret = dmem_pool_add(&node->pool, PHYS_PFN(ranges[i].start),
				    PHYS_PFN(ranges[i].end), clear_all);
		if (ret)
			return ret;
	}
	ledger.free[number] = node->pool.nr_units;
	return nr ? start_clearer(node) : 0;
}

/* Nodes with ranges, and those that were asked for memory and have none. */
static unsigned int count_nodes(const struct dmem_range *ranges, unsigned int nr)
{
	unsigned int nr_nodes = 0, i = 0;
	int nid;

	for (nid = 0; nid < MAX_NUMNODES; nid++) {
		bool counts = dmem_boot_requested(nid);

		for (; i < nr && ranges[i].nid == nid; i++)
			counts = true;
		nr_nodes += counts;
	}
	return nr_nodes;
}

static int compare_addresses(const void *a, const void *b)
{
	const struct dmem_range *l = *(struct dmem_range **)a, *r = *(struct dmem_range **)b;

	return l->start < r->start ? -1 : l->start > r->start;
}

/**
 * dmem_nodes_init() - make the memory allocatable
 * @ranges: sorted by node and address, mapped; kept until dmem_nodes_exit()
 * @nr:     length of @ranges, at least 1
 *
 * Return: %0 or a negative errno; everything is undone then.
 */
int dmem_nodes_init(struct dmem_range *ranges, unsigned int nr)
{
	unsigned int nr_nodes = count_nodes(ranges, nr), first, i;
	int ret, nid;

	all_ranges = ranges;
	nr_all_ranges = nr;
	ret = dmem_ledger_init(&ledger, nr_nodes);
	if (ret)
		return ret;
	dmem_nodes = kcalloc(nr_nodes, sizeof(*dmem_nodes), GFP_KERNEL);
	by_address = kcalloc(nr, sizeof(*by_address), GFP_KERNEL);
	if (!dmem_nodes || !by_address) {
		ret = -ENOMEM;
		goto exit;
	}
	for (i = 0; i < nr; i++)
		by_address[i] = &ranges[i];
	sort(by_address, nr, sizeof(*by_address), compare_addresses, NULL);
	for (nid = 0, i = 0; dmem_nr_nodes < nr_nodes; nid++) {
		struct dmem_node *node;

		for (first = i; i < nr && ranges[i].nid == nid; i++)
			;
		if (i == first && !dmem_boot_requested(nid))
			continue;
		node = &dmem_nodes[dmem_nr_nodes];
		ret = init_node(node, nid, dmem_nr_nodes++, &ranges[first], i - first);
		if (ret)
			goto exit;
	}
	return 0;

exit:
	dmem_nodes_exit();
	return ret;
}

/**
 * dmem_nodes_exit() - undo dmem_nodes_init(); nothing is allocated any more
 */
void dmem_nodes_exit(void)
{
	unsigned int n;

	/* Nothing is held any more, but the work that found that out may still be running. */
	cancel_delayed_work_sync(&held_work);
	for (n = 0; n < dmem_nr_nodes; n++) {
		if (dmem_nodes[n].clearer)
			kthread_stop(dmem_nodes[n].clearer);
		dmem_pool_destroy(&dmem_nodes[n].pool);
	}
	kfree(by_address);
	by_address = NULL;
	kfree(dmem_nodes);
	dmem_nodes = NULL;
	dmem_nr_nodes = 0;
	dmem_ledger_destroy(&ledger);
}

/**
 * dmem_node_units() - what is free, used and out of use
 * @node: the node
 *
 * Return: the numbers, in base pages, all of the same moment.
 */
struct dmem_units dmem_node_units(struct dmem_node *node)
{
	struct dmem_units units;

	mutex_lock(&node->lock);
	units.free = node->pool.nr_free;
	units.out = node->pool.nr_out;
	units.used = node->pool.nr_units - units.free - units.out;
	mutex_unlock(&node->lock);
	return units;
}

/**
 * dmem_retire() - never hand out a page again
 * @node:     its node
 * @pfn:      page number
 * @poisoned: its contents are lost, nobody may touch it
 * @ret_used: somebody has it
 *
 * Context: Process context, may sleep.
 * Return: %1; %0 if nothing about it is new; -ENOMEM.
 */
int dmem_retire(struct dmem_node *node, unsigned long pfn, bool poisoned, bool *ret_used)
{
	u64 broken = 0;
	int ret;

	mutex_lock(&node->lock);
	ret = dmem_pool_retire(&node->pool, pfn, poisoned, ret_used);
	if (ret > 0 && !*ret_used) {
		spin_lock(&ledger_lock);
		broken = dmem_ledger_withdraw(&ledger, node->number, 1);
		nr_withdrawals++;
		spin_unlock(&ledger_lock);
	}
	mutex_unlock(&node->lock);

	if (broken)
		pr_warn_ratelimited("node %d: memory that was promised to files is lost, and there is no other\n",
				    node->nid);
	return ret;
}

/**
 * dmem_find_retired() - see dmem_pool_find_retired()
 * @node:     the node
 * @skip:     how many to pass over
 * @pfn:      in: where to look on, 0 at first; out: page number
 * @ret_used: somebody has it
 */
bool dmem_find_retired(struct dmem_node *node, unsigned long skip, unsigned long *pfn,
		       bool *ret_used)
{
	bool found;

	mutex_lock(&node->lock);
	found = dmem_pool_find_retired(&node->pool, skip, pfn, ret_used);
	mutex_unlock(&node->lock);
	return found;
}

/**
 * dmem_open_account() - start making promises to a mount
 * @account: to be initialized
 * @nodes:   where its memory may come from
 * @limit:   most base pages, U64_MAX for no limit
 *
 * Return: %0 or -ENOMEM.
 */
int dmem_open_account(struct dmem_account *account, const nodemask_t *nodes, u64 limit)
{
	unsigned int n;
	int ret;

	ret = dmem_account_init(account, &ledger);
	if (ret)
		return ret;
	for (n = 0; n < dmem_nr_nodes; n++)
		account->allowed[n] = node_isset(dmem_nodes[n].nid, *nodes);
	account->limit = limit;

	spin_lock(&ledger_lock);
	dmem_account_open(account, &ledger);
	spin_unlock(&ledger_lock);
	return 0;
}

/**
 * dmem_close_account() - the mount has gone, with all of its files
 * @account: from dmem_open_account(), or zeroed
 */
void dmem_close_account(struct dmem_account *account)
{
	spin_lock(&ledger_lock);
	WARN_ON_ONCE(account->charged);
	dmem_account_destroy(account);
	spin_unlock(&ledger_lock);
}

/**
 * dmem_set_limit() - change the limit of a mount
 * @account: the account
 * @limit:   in base pages
 *
 * Return: %0, or -EBUSY if the files of the mount have more already.
 */
int dmem_set_limit(struct dmem_account *account, u64 limit)
{
	int ret = 0;

	spin_lock(&ledger_lock);
	if (limit < account->charged)
		ret = -EBUSY;
	else
		account->limit = limit;
	spin_unlock(&ledger_lock);
	return ret;
}

/**
 * dmem_promise() - see dmem_ledger_promise()
 * @account: who gets the promise
 * @nr:      base pages
 */
int dmem_promise(struct dmem_account *account, u64 nr)
{
	u64 charged;
	int ret;

	if (!nr)
		return 0;
	spin_lock(&ledger_lock);
	ret = dmem_ledger_promise(&ledger, account, nr);
	charged = account->charged;
	spin_unlock(&ledger_lock);
	trace_dmemfs_promise(nr, charged, ret);
	return ret;
}

/**
 * dmem_release() - see dmem_ledger_release()
 * @account: who had the promise
 * @nr:      base pages
 */
void dmem_release(struct dmem_account *account, u64 nr)
{
	if (!nr)
		return;
	spin_lock(&ledger_lock);
	dmem_ledger_release(&ledger, account, nr);
	spin_unlock(&ledger_lock);
}

/**
 * dmem_usage() - sizes for statfs(), in base pages
 * @account:       the account
 * @ret_total:     what the mount could have at most
 * @ret_available: what it could still get
 */
void dmem_usage(struct dmem_account *account, u64 *ret_total, u64 *ret_available)
{
	u64 total = 0;
	unsigned int n;

	for (n = 0; n < dmem_nr_nodes; n++)
		if (account->allowed[n])
			total += dmem_nodes[n].pool.nr_units -
				READ_ONCE(dmem_nodes[n].pool.nr_out);

	spin_lock(&ledger_lock);
	*ret_total = min(total, account->limit);
	*ret_available = dmem_ledger_available(&ledger, account);
	spin_unlock(&ledger_lock);
}

static bool take(struct dmem_account *account, const struct dmem_node *node, u64 nr)
{
	bool taken;

	spin_lock(&ledger_lock);
	taken = dmem_ledger_take(&ledger, account, node->number, nr);
	spin_unlock(&ledger_lock);
	return taken;
}

static void untake(struct dmem_account *account, const struct dmem_node *node, u64 nr)
{
	spin_lock(&ledger_lock);
	dmem_ledger_untake(&ledger, account, node->number, nr, nr);
	spin_unlock(&ledger_lock);
}

/*
 * Get memory out of the pool that the ledger says is there. What is missing may be the chunk that
 * is being cleared just now, which is also all that a whole span may lack. So wait for it, and let
 * the clearer take no other until we have looked again.
 */
static int alloc_from_pool(struct dmem_node *node, unsigned int order, unsigned long want,
			   struct dmem_piece *ret, bool *ret_dirty)
{
	int r;

	mutex_lock(&node->lock);
	r = dmem_pool_alloc(&node->pool, order, want, &ret->pfn, &ret->nr, ret_dirty);
	if (r == -ENOSPC && node->pool.clearing) {
		WRITE_ONCE(node->nr_waiting, node->nr_waiting + 1);
		mutex_unlock(&node->lock);
		wait_event(node->cleared, !READ_ONCE(node->pool.clearing));
		mutex_lock(&node->lock);
		WRITE_ONCE(node->nr_waiting, node->nr_waiting - 1);
		r = dmem_pool_alloc(&node->pool, order, want, &ret->pfn, &ret->nr, ret_dirty);
		wake_up(&node->freed);
	}
	mutex_unlock(&node->lock);
	return r;
}

static void clear_dirty(struct dmem_node *node, unsigned int order, const struct dmem_piece *piece)
{
	unsigned long pfn;

	if (order < DMEM_SPAN_ORDER) {
		clear_units(piece->pfn, piece->nr);
		return;
	}
	for (pfn = piece->pfn; pfn < piece->pfn + piece->nr; pfn += DMEM_CHUNK_UNITS)
		if (dmem_pool_chunk_dirty(&node->pool, pfn))
			clear_units(pfn, DMEM_CHUNK_UNITS);
}

/* One piece of @order of a node, or up to @want pages if that is 0. */
static int alloc_on_node(struct dmem_account *account, struct dmem_node *node, unsigned int order,
			 unsigned long want, struct dmem_piece *ret)
{
	unsigned long nr = order ? 1UL << order : want;
	bool dirty;
	int r;

	if (!take(account, node, nr)) {
		/* Of single pages there may be fewer than all. */
		if (order || want == 1 || !take(account, node, 1))
			return -ENOSPC;
		nr = 1;
	}
	r = alloc_from_pool(node, order, nr, ret, &dirty);
	if (r) {
		untake(account, node, nr);
		return r;
	}
	if (ret->nr < nr)
		untake(account, node, nr - ret->nr);
	if (dirty)
		clear_dirty(node, order, ret);
	trace_dmemfs_alloc(node->nid, ret->pfn, ret->nr, dirty);
	return 0;
}

/* The node nearest to @near that has not been tried, out of @mask unless it is NULL. */
static struct dmem_node *nearest_node(int near, const nodemask_t *mask, const unsigned long *tried)
{
	struct dmem_node *best = NULL;
	unsigned int n;

	for (n = 0; n < dmem_nr_nodes; n++) {
		struct dmem_node *node = &dmem_nodes[n];

		if (test_bit(n, tried) || (mask && !node_isset(node->nid, *mask)))
			continue;
		if (!best || node_distance(near, node->nid) < node_distance(near, best->nid))
			best = node;
	}
	return best;
}

/* One piece of @order of the nearest node that has one, out of @mask unless it is NULL. */
static int alloc_nearest(struct dmem_account *account, const nodemask_t *mask, int near,
			 unsigned int order, unsigned long want, struct dmem_piece *ret)
{
	DECLARE_BITMAP(tried, MAX_NUMNODES) = {};
	struct dmem_node *node;
	int r = -ENOSPC;

	while (r == -ENOSPC && (node = nearest_node(near, mask, tried))) {
		__set_bit(node->number, tried);
		r = alloc_on_node(account, node, order, want, ret);
	}
	return r;
}

/**
 * dmem_alloc() - turn a promise into memory, cleared
 * @account: who has a promise for at least all that is asked for
 * @prefer:  nodes that somebody asked for, or NULL
 * @near:    among nodes that are as good otherwise, the nearest to this node is taken
 * @order:   %0, %DMEM_CHUNK_ORDER or %DMEM_SPAN_ORDER
 * @want:    for order %0, the most pages to get
 * @ret:     what was got: one of the size asked for, or a smaller one, at least a page
 *
 * Size goes before nearness, as with huge pages, but not before what somebody asked for: smaller
 * pieces of @prefer are taken before a larger one of another node.
 *
 * Context: Process context, sleeps. Nobody else may see the memory before this returns.
 * Return: %0; -ENOMEM, if the kernel has no memory of its own for the bookkeeping; -ENOSPC, if
 * memory has gone bad and nothing is left for the promise.
 */
int dmem_alloc(struct dmem_account *account, const nodemask_t *prefer, int near,
	       unsigned int order, unsigned long want, struct dmem_piece *ret)
{
	static const unsigned int orders[] = { DMEM_SPAN_ORDER, DMEM_CHUNK_ORDER, 0 };
	const nodemask_t *masks[] = { prefer, NULL };
	unsigned long before;
	unsigned int m, o;
	int r = -ENOSPC;
	bool broken;

again:
	before = READ_ONCE(nr_withdrawals);
	for (m = prefer ? 0 : 1; m < ARRAY_SIZE(masks); m++) {
		for (o = 0; o < ARRAY_SIZE(orders); o++) {
			if (orders[o] > order)
				continue;
			r = alloc_nearest(account, masks[m], near, orders[o], want, ret);
			if (r != -ENOSPC)
				return r;
		}
	}

	spin_lock(&ledger_lock);
	broken = account->broken;
	spin_unlock(&ledger_lock);
	/* What was there when we looked has gone since; it may be promised on another node now. */
	if (before != READ_ONCE(nr_withdrawals))
		goto again;
	WARN_ONCE(!broken, "dmemfs: no memory behind a promise\n");
	return r;
}

/* A run may cross from one range, or node, into the next. @account: who had it, NULL for nobody */
static void free_run(struct dmem_account *account, struct dmem_piece piece, bool promised)
{
	while (piece.nr) {
		struct dmem_range *range = range_of(piece.pfn);
		struct dmem_node *node;
		unsigned long nr, back;

		if (WARN_ON_ONCE(!range))
			return;
		node = range->node;
		/* Span by span, which the pool takes back at once. */
		nr = min3(piece.nr, PHYS_PFN(range->end) - piece.pfn,
			  DMEM_SPAN_UNITS - (piece.pfn & (DMEM_SPAN_UNITS - 1)));
		trace_dmemfs_free(node->nid, piece.pfn, nr);

		mutex_lock(&node->lock);
		back = dmem_pool_free(&node->pool, piece.pfn, nr);
		mutex_unlock(&node->lock);

		/* Only now, or somebody might look for it in the pool in vain. */
		spin_lock(&ledger_lock);
		if (!account)
			dmem_ledger_return(&ledger, node->number, back);
		else if (promised)
			dmem_ledger_untake(&ledger, account, node->number, nr, back);
		else
			dmem_ledger_put(&ledger, account, node->number, nr, back);
		spin_unlock(&ledger_lock);

		wake_up(&node->freed);
		piece.pfn += nr;
		piece.nr -= nr;
		cond_resched();
	}
}

/* Nobody says when a device has lost its access, so look once a second. */
#define HELD_INTERVAL HZ

static void free_held(struct work_struct *work)
{
	struct held_piece *held, *next;

	mutex_lock(&held_lock);
	list_for_each_entry_safe(held, next, &held_pieces, entry) {
		struct dmem_piece *piece = &held->piece;
		bool pinned = false;

		while (piece->nr && !pinned) {
			struct dmem_piece part = { .pfn = piece->pfn };

			part.nr = dmem_pinned_run(piece->pfn, piece->nr, &pinned);
			if (pinned)
				break;
			free_run(NULL, part, false);
			piece->pfn += part.nr;
			piece->nr -= part.nr;
		}
		if (piece->nr)
			continue;
		list_del(&held->entry);
		kfree(held);
		module_put(THIS_MODULE);
	}
	if (!list_empty(&held_pieces))
		schedule_delayed_work(&held_work, HELD_INTERVAL);
	mutex_unlock(&held_lock);
}

/* The account is rid of it, the node does not have it back yet. */
static void hold(struct dmem_account *account, const struct dmem_piece *piece)
{
	struct held_piece *held = kmalloc(sizeof(*held), GFP_KERNEL | __GFP_NOFAIL);

	held->piece = *piece;
	/* What a device may access is not to be forgotten by unloading and loading the module. */
	__module_get(THIS_MODULE);

	spin_lock(&ledger_lock);
	dmem_ledger_put(&ledger, account, range_of(piece->pfn)->node->number, piece->nr, 0);
	spin_unlock(&ledger_lock);

	mutex_lock(&held_lock);
	list_add_tail(&held->entry, &held_pieces);
	schedule_delayed_work(&held_work, HELD_INTERVAL);
	mutex_unlock(&held_lock);
}

/**
 * dmem_free() - give memory back
 * @account: who had it
 * @piece:   consecutive memory, possibly of several nodes; nobody maps it any more
 *
 * What a device may still access is free only when that has ended.
 */
void dmem_free(struct dmem_account *account, const struct dmem_piece *piece)
{
	struct dmem_piece rest = *piece;

	while (rest.nr) {
		struct dmem_piece part = { .pfn = rest.pfn };
		bool pinned;

		part.nr = dmem_pinned_run(rest.pfn, rest.nr, &pinned);
		if (pinned)
			hold(account, &part);
		else
			free_run(account, part, false);
		rest.pfn += part.nr;
		rest.nr -= part.nr;
	}
}

/**
 * dmem_unalloc() - give memory back, but keep the promise for as much
 * @account: who had it and has the promise now
 * @piece:   consecutive memory, possibly of several nodes; nobody maps it any more
 */
void dmem_unalloc(struct dmem_account *account, const struct dmem_piece *piece)
{
	free_run(account, *piece, true);
}
