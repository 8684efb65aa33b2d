// SPDX-License-Identifier: GPL-2.0
/*
 * Which memory a file has.
 *
 * dmemfs_inode_info.extents maps page indexes to memory. The value of an entry is the page number
 * minus the index, which is the same all along a run of consecutive memory. Runs that continue
 * each other so become one entry, however the memory came: a file that got its memory in order
 * costs a handful of entries, of whatever size it is.
 *
 * Nothing records the sizes in which memory was handed out. A run can be mapped with a large leaf
 * where it covers one and is congruent to it.
 *
 * The tree is not in RCU mode: readers take its lock, which nobody holds for longer than a walk. A
 * fault takes it a few times, next to clearing or inserting at least a page. In RCU mode up to 6.12
 * at least, a tree of plain ranges with four levels, some thousand runs, is not destroyed properly:
 * mt_free_walk() takes the metadata in slot 15 of an inner node with 15 children for a 16th child.
 */
#include <linux/dmem.h>
#include <linux/hash.h>
#include <linux/mempolicy.h>
#include <linux/slab.h>
#include <linux/topology.h>
#include <linux/xarray.h>

#include "dmemfs.h"

/* Many more than there are CPUs that would want the same one by accident. */
#define BLOCK_LOCK_BITS	8
static struct mutex block_locks[1 << BLOCK_LOCK_BITS];

static void *extent_entry(unsigned long pfn, pgoff_t index)
{
	return xa_mk_value((pfn - index) & LONG_MAX);
}

static unsigned long extent_pfn(const void *entry, pgoff_t index)
{
	return (xa_to_value(entry) + index) & LONG_MAX;
}

/**
 * dmemfs_extents_init_locks() - once, when the module is loaded
 */
void dmemfs_extents_init_locks(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(block_locks); i++)
		mutex_init(&block_locks[i]);
}

/**
 * dmemfs_block_lock() - the lock of the largest block around a page
 * @inode: the file
 * @index: the page
 *
 * Serializes those who fill the block or map a part of it, and others at random.
 */
struct mutex *dmemfs_block_lock(struct inode *inode, pgoff_t index)
{
	unsigned int order = DMEMFS_SB(inode->i_sb)->order ?: DMEM_CHUNK_ORDER;

	return &block_locks[hash_long((unsigned long)inode ^ hash_long(index >> order, 32),
				      BLOCK_LOCK_BITS)];
}

/**
 * dmemfs_lookup() - find memory of a file
 * @info:  the file
 * @index: page index
 * @ret:   the memory at @index, and how many pages of the file follow it there
 *
 * Context: Caller holds mapping.invalidate_lock, shared at least, so that the answer stays true.
 * Return: false if there is a hole at @index.
 */
bool dmemfs_lookup(struct dmemfs_inode_info *info, pgoff_t index, struct dmem_piece *ret)
{
	MA_STATE(mas, &info->extents, index, index);
	void *entry;

	mas_lock(&mas);
	entry = mas_walk(&mas);
	mas_unlock(&mas);
	if (!entry)
		return false;
	ret->pfn = extent_pfn(entry, index);
	ret->nr = mas.last - index + 1;
	return true;
}

/**
 * dmemfs_next_data() - find the next run of pages that the file has
 * @info:    the file
 * @index:   in: where to begin; out: first page of the run
 * @ret_end: first page behind the extent
 *
 * Return: false if there is none.
 */
bool dmemfs_next_data(struct dmemfs_inode_info *info, pgoff_t *index, pgoff_t *ret_end)
{
	MA_STATE(mas, &info->extents, *index, *index);
	void *entry;

	mas_lock(&mas);
	entry = mas_find(&mas, ULONG_MAX);
	mas_unlock(&mas);
	if (!entry)
		return false;
	*index = max(*index, mas.index);
	*ret_end = mas.last + 1;
	return true;
}

/**
 * dmemfs_find_page() - find the place of a page in a file
 * @info: the file
 * @pfn:  page number
 * @ret:  page index
 *
 * Context: Process context, may sleep. Unless the caller holds mapping.invalidate_lock, the answer
 * may be out of date.
 * Return: false if the file does not have the page.
 */
bool dmemfs_find_page(struct dmemfs_inode_info *info, unsigned long pfn, pgoff_t *ret)
{
	bool found = false;
	void *entry;

	MA_STATE(mas, &info->extents, 0, 0);

	mas_lock(&mas);
	mas_for_each(&mas, entry, ULONG_MAX) {
		unsigned long first = extent_pfn(entry, mas.index);

		if (pfn >= first && pfn - first <= mas.last - mas.index) {
			*ret = mas.index + (pfn - first);
			found = true;
			break;
		}
		if (need_resched()) {
			mas_pause(&mas);
			mas_unlock(&mas);
			cond_resched();
			mas_lock(&mas);
		}
	}
	mas_unlock(&mas);
	return found;
}

/* Pages that the file has in [first, end) */
static u64 pages_in(struct dmemfs_inode_info *info, pgoff_t first, pgoff_t end)
{
	pgoff_t index = first, stop;
	u64 nr = 0;

	while (index < end && dmemfs_next_data(info, &index, &stop) && index < end) {
		stop = min(stop, end);
		nr += stop - index;
		index = stop;
	}
	return nr;
}

/* Pages of a file of @size bytes, the last block counted whole */
static pgoff_t size_to_pages(const struct inode *inode, loff_t size)
{
	return round_up(DIV_ROUND_UP_ULL(size, PAGE_SIZE), dmemfs_block_pages(inode));
}

static pgoff_t end_of_file(const struct inode *inode)
{
	return size_to_pages(inode, i_size_read(inode));
}

/* Store a run, joined with the runs before and behind that it continues. */
static int store(struct dmemfs_inode_info *info, pgoff_t index, const struct dmem_piece *piece)
{
	pgoff_t first = index, last = index + piece->nr - 1;
	void *entry = extent_entry(piece->pfn, index);
	int ret;

	MA_STATE(mas, &info->extents, index, index);

	lockdep_assert_held(&info->lock);

	mas_lock(&mas);
	if (first) {
		mas_set(&mas, first - 1);
		if (mas_walk(&mas) == entry)
			first = mas.index;
	}
	mas_set(&mas, last + 1);
	if (mas_walk(&mas) == entry)
		last = mas.last;
	mas_set_range(&mas, first, last);
	ret = mas_store_gfp(&mas, entry, GFP_KERNEL);
	mas_unlock(&mas);
	return ret;
}

/*
 * Where memory for @index should come from: what mbind() said for the mapping, else near the CPU.
 * Returns the nodes to prefer, or NULL.
 */
static const nodemask_t *placement(struct vm_area_struct *vma, pgoff_t index, unsigned int order,
				   nodemask_t *mask, int *near)
{
	*near = numa_node_id();
#ifdef CONFIG_NUMA
	struct mempolicy *policy = vma ? vma->vm_policy : NULL;
	unsigned int weight, skip;
	int nid;

	if (!policy)
		return NULL;

	switch (policy->mode) {
	case MPOL_BIND:
	case MPOL_PREFERRED_MANY:
		if (policy->home_node != NUMA_NO_NODE)
			*near = policy->home_node;
		fallthrough;
	case MPOL_PREFERRED:
		*mask = policy->nodes;
		return nodes_empty(*mask) ? NULL : mask;
	case MPOL_INTERLEAVE:
	case MPOL_WEIGHTED_INTERLEAVE:
		weight = nodes_weight(policy->nodes);
		if (!weight)
			return NULL;
		skip = (index >> order) % weight;
		for_each_node_mask(nid, policy->nodes) {
			if (skip--)
				continue;
			*mask = nodemask_of_node(nid);
			*near = nid;
			return mask;
		}
		return NULL;
	default:
		return NULL;
	}
#else
	return NULL;
#endif
}

/* How many of the @nr pages at @index lie below the end of the file: only those have promises. */
static u64 below_end(const struct inode *inode, pgoff_t index, u64 nr)
{
	pgoff_t end = end_of_file(inode);

	return index < end ? min(nr, end - index) : 0;
}

/* Before @nr pages of holes at @index are filled: use the promises there are, get the others. */
static int use_promises(struct inode *inode, pgoff_t index, u64 nr)
{
	struct dmemfs_inode_info *info = DMEMFS_I(inode);
	u64 below, part;
	int ret;

	mutex_lock(&info->lock);
	below = below_end(inode, index, nr);
	part = min(below, info->promised);
	ret = dmem_promise(&DMEMFS_SB(inode->i_sb)->account, nr - part);
	if (!ret) {
		info->promised -= part;
		info->unpromised -= below - part;
	}
	mutex_unlock(&info->lock);
	return ret;
}

/* The opposite, for holes that were not filled after all */
static void return_promises(struct inode *inode, pgoff_t index, u64 nr)
{
	struct dmemfs_inode_info *info = DMEMFS_I(inode);
	u64 below;

	mutex_lock(&info->lock);
	below = below_end(inode, index, nr);
	info->promised += below;
	dmem_release(&DMEMFS_SB(inode->i_sb)->account, nr - below);
	mutex_unlock(&info->lock);
}

/* Make memory part of the file, or give it back. */
static int add_piece(struct inode *inode, pgoff_t index, const struct dmem_piece *piece)
{
	struct dmemfs_inode_info *info = DMEMFS_I(inode);
	int ret;

	mutex_lock(&info->lock);
	ret = store(info, index, piece);
	if (!ret)
		info->nr_pages += piece->nr;
	mutex_unlock(&info->lock);
	if (ret)
		dmem_unalloc(&DMEMFS_SB(inode->i_sb)->account, piece);
	return ret;
}

/* Fill the hole [index, end) with pieces of at most @order. */
static int fill_hole(struct inode *inode, pgoff_t index, pgoff_t end, unsigned int order,
		     struct vm_area_struct *vma)
{
	const nodemask_t *prefer;
	nodemask_t mask;
	int near, ret;

	ret = use_promises(inode, index, end - index);
	if (ret)
		return ret;

	prefer = placement(vma, index, DMEMFS_SB(inode->i_sb)->order, &mask, &near);
	while (index < end) {
		struct dmem_piece piece;

		ret = dmem_alloc(&DMEMFS_SB(inode->i_sb)->account, prefer, near, order,
				 end - index, &piece);
		if (!ret)
			ret = add_piece(inode, index, &piece);
		if (ret)
			break;
		index += piece.nr;
		order = 0;
	}
	if (index < end)
		return_promises(inode, index, end - index);
	return ret;
}

/*
 * Fill the aligned span around @index with one piece. Returns 0 also if only a smaller piece was to
 * be had, which then is at the start of the block of @index; the caller looks what is missing.
 */
static int fill_span(struct inode *inode, pgoff_t index, struct vm_area_struct *vma)
{
	pgoff_t start = round_down(index, DMEM_SPAN_UNITS);
	struct dmem_piece piece;
	const nodemask_t *prefer;
	nodemask_t mask;
	int near, ret;

	ret = use_promises(inode, start, DMEM_SPAN_UNITS);
	if (ret)
		return ret;

	prefer = placement(vma, start, DMEM_SPAN_ORDER, &mask, &near);
	ret = dmem_alloc(&DMEMFS_SB(inode->i_sb)->account, prefer, near, DMEM_SPAN_ORDER, 1,
			 &piece);
	if (ret) {
		return_promises(inode, start, DMEM_SPAN_UNITS);
		return ret;
	}
	if (piece.nr < DMEM_SPAN_UNITS)
		start = round_down(index, DMEM_CHUNK_UNITS);
	ret = add_piece(inode, start, &piece);
	if (ret)
		piece.nr = 0;
	return_promises(inode, round_down(index, DMEM_SPAN_UNITS), DMEM_SPAN_UNITS - piece.nr);
	return ret;
}

/*
 * Is the whole aligned span around @index a hole that can be filled at once? It must not cross the
 * end of the file, and behind that not @end.
 */
static bool span_possible(struct inode *inode, pgoff_t index, pgoff_t end)
{
	pgoff_t start = round_down(index, DMEM_SPAN_UNITS);
	pgoff_t eof = end_of_file(inode), data = start, stop;

	if (DMEMFS_SB(inode->i_sb)->order != DMEM_SPAN_ORDER)
		return false;
	if (start + DMEM_SPAN_UNITS > (start < eof ? eof : end))
		return false;
	return !dmemfs_next_data(DMEMFS_I(inode), &data, &stop) || data >= start + DMEM_SPAN_UNITS;
}

/**
 * dmemfs_populate() - make sure that a page of a file has memory
 * @inode: the file
 * @index: the page
 * @end:   up to where more pages will be wanted soon; none behind @index are promised to be there
 * @vma:   mapping whose policy says where the memory is to come from, or NULL
 *
 * Context: Process context, may sleep. Caller holds mapping.invalidate_lock, shared at least.
 * Return: %0, -ENOSPC (only where the file had no promise, or memory has gone bad and there is no
 * other) or -ENOMEM.
 */
int dmemfs_populate(struct inode *inode, pgoff_t index, pgoff_t end, struct vm_area_struct *vma)
{
	struct dmemfs_inode_info *info = DMEMFS_I(inode);
	unsigned int order = DMEMFS_SB(inode->i_sb)->order;
	pgoff_t at, block_end, data, stop;
	struct dmem_piece piece;
	struct mutex *lock;	/* nobody else fills the same block */
	int ret = 0;

	lockdep_assert_held(&inode->i_mapping->invalidate_lock);
	if (dmemfs_lookup(info, index, &piece))
		return 0;

	lock = dmemfs_block_lock(inode, index);
	mutex_lock(lock);
	if (dmemfs_lookup(info, index, &piece))
		goto unlock;

	if (span_possible(inode, index, end)) {
		ret = fill_span(inode, index, vma);
		if (ret)
			goto unlock;
	}

	if (order) {
		at = round_down(index, DMEM_CHUNK_UNITS);
		block_end = at + DMEM_CHUNK_UNITS;
	} else {
		at = index;
		block_end = clamp(end, at + 1, round_up(at + 1, DMEM_CHUNK_UNITS));
	}
	while (!ret && at < block_end) {
		data = at;
		if (!dmemfs_next_data(info, &data, &stop))
			data = block_end;
		if (data > at) {
			stop = min(data, block_end);
			ret = fill_hole(inode, at, stop,
					stop - at == DMEM_CHUNK_UNITS && order ?
					DMEM_CHUNK_ORDER : 0, vma);
		}
		at = stop;
	}
	/* No room for all that will be wanted: do with what is wanted now. */
	if (ret == -ENOSPC && !order && block_end - index > 1 &&
	    !dmemfs_lookup(info, index, &piece))
		ret = fill_hole(inode, index, index + 1, 0, vma);
	/* Of a block that has gone bad, only what there is no other memory for is missing. */
	if (ret == -ENOSPC && dmemfs_lookup(info, index, &piece))
		ret = 0;
unlock:
	mutex_unlock(lock);
	return ret;
}

/**
 * dmemfs_has_room() - could the holes in a part of a file be filled?
 * @inode: the file
 * @first: first page
 * @end:   first page behind
 *
 * A guess: others may be faster. Saves a large fallocate() from failing half way.
 */
bool dmemfs_has_room(struct inode *inode, pgoff_t first, pgoff_t end)
{
	struct dmemfs_inode_info *info = DMEMFS_I(inode);
	struct dmem_account *account = &DMEMFS_SB(inode->i_sb)->account;
	pgoff_t eof = clamp(end_of_file(inode), first, end);
	u64 below, behind;
	int ret;

	mutex_lock(&info->lock);
	below = eof - first - pages_in(info, first, eof);
	behind = end - eof - pages_in(info, eof, end);
	below -= min(below, info->promised);
	ret = dmem_promise(account, below + behind);
	if (!ret)
		dmem_release(account, below + behind);
	mutex_unlock(&info->lock);
	return !ret;
}

/**
 * dmemfs_grow() - promise memory for a larger file, and set its size
 * @inode: the file
 * @size:  in bytes, not less than now
 *
 * Context: Caller holds the inode lock and mapping.invalidate_lock exclusively.
 * Return: %0 or -ENOSPC, and nothing has changed.
 */
int dmemfs_grow(struct inode *inode, loff_t size)
{
	struct dmemfs_inode_info *info = DMEMFS_I(inode);
	pgoff_t first = end_of_file(inode), end = size_to_pages(inode, size);
	u64 holes;
	int ret;

	lockdep_assert_held_write(&inode->i_mapping->invalidate_lock);
	mutex_lock(&info->lock);
	holes = end - first - pages_in(info, first, end);
	ret = dmem_promise(&DMEMFS_SB(inode->i_sb)->account, holes);
	if (!ret) {
		info->promised += holes;
		i_size_write(inode, size);
	}
	mutex_unlock(&info->lock);
	return ret;
}

/* Take the memory of [index, stop), which is one piece, out of the map of the file. */
static int take_out(struct dmemfs_inode_info *info, pgoff_t index, pgoff_t stop)
{
	MA_STATE(mas, &info->extents, index, stop - 1);
	int ret;

	mutex_lock(&info->lock);
	mas_lock(&mas);
	ret = mas_store_gfp(&mas, NULL, GFP_KERNEL);
	mas_unlock(&mas);
	if (!ret)
		info->nr_pages -= stop - index;
	mutex_unlock(&info->lock);
	return ret;
}

/*
 * Take [first, end) out of the file. With @promised, holes below the end of the file that come
 * from it keep a promise.
 *
 * Pages that a device may access stay with the file, cleared: nobody can tell the difference but
 * for the space they take. So do all when the map of extents needs memory to become smaller, and
 * there is none.
 */
static void remove(struct inode *inode, pgoff_t first, pgoff_t end, bool promised)
{
	struct dmemfs_inode_info *info = DMEMFS_I(inode);
	struct dmem_account *account = &DMEMFS_SB(inode->i_sb)->account;
	pgoff_t index, stop;

	for (index = first; index < end && dmemfs_next_data(info, &index, &stop) && index < end;
	     index = stop) {
		struct dmem_piece piece, rest;
		bool pinned;

		dmemfs_lookup(info, index, &piece);
		piece.nr = dmem_pinned_run(piece.pfn, min(stop, end) - index, &pinned);
		stop = index + piece.nr;
		if (pinned || take_out(info, index, stop)) {
			dmemfs_clear_bytes(inode, (loff_t)index << PAGE_SHIFT,
					   (loff_t)stop << PAGE_SHIFT);
			continue;
		}

		rest = piece;
		piece.nr = below_end(inode, index, piece.nr);
		rest.pfn += piece.nr;
		rest.nr -= piece.nr;
		if (promised)
			dmem_unalloc(account, &piece);
		else
			dmem_free(account, &piece);
		dmem_free(account, &rest);

		mutex_lock(&info->lock);
		if (promised)
			info->promised += piece.nr;
		else
			info->unpromised += piece.nr;
		mutex_unlock(&info->lock);
	}
}

/**
 * dmemfs_shrink() - free what lies behind the new end of a file, and set its size
 * @inode: the file
 * @size:  in bytes, not more than now
 *
 * The rest of the last block that stays is cleared.
 *
 * Context: Caller holds the inode lock and mapping.invalidate_lock exclusively; nothing behind the
 * new size is mapped.
 */
void dmemfs_shrink(struct inode *inode, loff_t size)
{
	struct dmemfs_inode_info *info = DMEMFS_I(inode);
	pgoff_t old_end = end_of_file(inode), end = size_to_pages(inode, size);
	u64 holes, unpromised;

	lockdep_assert_held_write(&inode->i_mapping->invalidate_lock);
	mutex_lock(&info->lock);
	/* Holes that stay: promises go to them first. */
	holes = info->promised + info->unpromised -
		(old_end - end - pages_in(info, end, old_end));
	unpromised = min(info->unpromised, holes);
	dmem_release(&DMEMFS_SB(inode->i_sb)->account,
		     info->promised - (holes - unpromised));
	info->promised = holes - unpromised;
	info->unpromised = unpromised;
	i_size_write(inode, size);
	mutex_unlock(&info->lock);

	remove(inode, end, ULONG_MAX, false);
	dmemfs_clear_bytes(inode, size, (loff_t)end << PAGE_SHIFT);
}

/**
 * dmemfs_punch() - free a part of a file
 * @inode: the file
 * @first: first page, at a block
 * @end:   first page behind, at a block
 *
 * As long as the file is mapped the holes keep their promise: an access must not fail later.
 *
 * Context: Caller holds the inode lock and mapping.invalidate_lock exclusively; nothing of it is
 * mapped.
 */
void dmemfs_punch(struct inode *inode, pgoff_t first, pgoff_t end)
{
	struct dmemfs_inode_info *info = DMEMFS_I(inode);
	bool mapped;

	lockdep_assert_held_write(&inode->i_mapping->invalidate_lock);
	mutex_lock(&info->lock);
	mapped = info->mappings;
	mutex_unlock(&info->lock);
	remove(inode, first, end, mapped);
}

/**
 * dmemfs_punch_lost() - free pages of a file whose contents are lost
 * @inode: the file
 * @first: first page
 * @end:   first page behind
 *
 * A page of a larger block is not freed by a hole in the block. This makes an exception of those
 * that nobody can use: the next access finds a good page there.
 *
 * Context: Caller holds the inode lock and mapping.invalidate_lock exclusively. Lost pages are not
 * mapped.
 */
void dmemfs_punch_lost(struct inode *inode, pgoff_t first, pgoff_t end)
{
	struct dmemfs_inode_info *info = DMEMFS_I(inode);
	pgoff_t index = first, stop;

	while (index < end && dmemfs_next_data(info, &index, &stop) && index < end) {
		struct dmem_piece piece;
		unsigned long nr, good;

		dmemfs_lookup(info, index, &piece);
		nr = min(stop, end) - index;
		good = dmem_next_lost(piece.pfn, piece.pfn + nr) - piece.pfn;
		index += good;
		if (good < nr) {
			dmemfs_punch(inode, index, index + 1);
			index++;
		}
	}
}

/**
 * dmemfs_remove_all() - free all a file has
 * @inode: the file, about to go away
 */
void dmemfs_remove_all(struct inode *inode)
{
	struct dmemfs_inode_info *info = DMEMFS_I(inode);
	struct dmem_account *account = &DMEMFS_SB(inode->i_sb)->account;
	pgoff_t index = 0, stop;
	struct dmem_piece piece;

	while (dmemfs_next_data(info, &index, &stop)) {
		dmemfs_lookup(info, index, &piece);
		dmem_free(account, &piece);
		index = stop;
		if (!stop)
			break;
	}
	mtree_destroy(&info->extents);
	dmem_release(account, info->promised);
	info->promised = 0;
	info->unpromised = 0;
	info->nr_pages = 0;
}

/**
 * dmemfs_clear_bytes() - make what a file has in [start, end) zero
 * @inode: the file
 * @start: first byte
 * @end:   first byte behind
 *
 * Pages whose contents are lost are left alone.
 *
 * Context: Caller holds mapping.invalidate_lock.
 */
void dmemfs_clear_bytes(struct inode *inode, loff_t start, loff_t end)
{
	struct dmemfs_inode_info *info = DMEMFS_I(inode);

	while (start < end) {
		pgoff_t index = start >> PAGE_SHIFT, stop;
		struct dmem_piece piece;
		size_t nr;

		if (!dmemfs_lookup(info, index, &piece)) {
			if (!dmemfs_next_data(info, &index, &stop))
				break;
			start = (loff_t)index << PAGE_SHIFT;
			continue;
		}
		nr = min_t(loff_t, end - start, PAGE_SIZE - offset_in_page(start));
		if (dmem_next_lost(piece.pfn, piece.pfn + 1) > piece.pfn)
			memset(dmem_pfn_to_kaddr(piece.pfn) + offset_in_page(start), 0, nr);
		start += nr;
		cond_resched();
	}
}

/**
 * dmemfs_add_mapping() - the file is about to be mapped
 * @inode: the file
 *
 * Return: %0, or -ENOMEM if no promise can be made for all of its holes.
 */
int dmemfs_add_mapping(struct inode *inode)
{
	struct dmemfs_inode_info *info = DMEMFS_I(inode);
	int ret;

	mutex_lock(&info->lock);
	ret = dmem_promise(&DMEMFS_SB(inode->i_sb)->account, info->unpromised);
	if (!ret) {
		info->promised += info->unpromised;
		info->unpromised = 0;
		info->mappings++;
	}
	mutex_unlock(&info->lock);
	return ret ? -ENOMEM : 0;
}

/**
 * dmemfs_dup_mapping() - another VMA maps a file that is mapped already
 * @inode: the file
 */
void dmemfs_dup_mapping(struct inode *inode)
{
	struct dmemfs_inode_info *info = DMEMFS_I(inode);

	mutex_lock(&info->lock);
	info->mappings++;
	mutex_unlock(&info->lock);
}

/**
 * dmemfs_drop_mapping() - a VMA that maps the file goes away
 * @inode: the file
 */
void dmemfs_drop_mapping(struct inode *inode)
{
	struct dmemfs_inode_info *info = DMEMFS_I(inode);

	mutex_lock(&info->lock);
	info->mappings--;
	mutex_unlock(&info->lock);
}
