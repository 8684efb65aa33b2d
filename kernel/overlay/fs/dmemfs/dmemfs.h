/* SPDX-License-Identifier: GPL-2.0 */
/*
 * dmemfs - files in memory that has no struct page
 *
 *	regions.c	which memory: from the boot reservation or from the regions= parameter
 *	pool.c		which units of a node are free; pure
 *	ledger.c	what has been promised to which mount; pure
 *	node.c		nodes: locking, choice of the node, clearing
 *	extent.c	which memory a file has
 *	file.c		read, write, fallocate, truncate, seek
 *	mmap.c		mappings and faults
 *	super.c		mounts, directories, inodes
 *	poison.c	memory errors: who has the page, who is told
 *	sysfs.c		class dmem
 *
 * Lock order, outermost first:
 *
 *	inode lock (size, fallocate, write)
 *	  mmap_lock or per-VMA lock
 *	    mapping.invalidate_lock	shared: who finds or adds memory; exclusive: who removes it
 *	      dmemfs block lock		one of many, by inode and block: who adds memory to a
 *					block, or leaves for it to page tables
 *	        dmemfs_inode_info.lock	extents and promises of one file
 *	        dmem_node.lock		the pool of one node
 *	        dmem ledger lock	spinlock; all promises
 *
 * The lock of the list of all files, in poison.c, is taken with the inode lock of a directory at
 * most, and with nothing but the lock of a tree of extents inside.
 *
 * User memory may be the memory of the file itself, so it is only touched outside of
 * invalidate_lock, or with page faults disabled.
 */
#ifndef _DMEMFS_H
#define _DMEMFS_H

#include <linux/device.h>
#include <linux/fs.h>
#include <linux/maple_tree.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/nodemask.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "ledger.h"
#include "pool.h"

#define DMEMFS_MAGIC	0x646d6673	/* "dmfs" */

/**
 * struct dmem_range - memory that dmemfs may use
 * @start: first byte
 * @end:   first byte behind; both section aligned
 * @nid:   node
 * @node:  the node of it, once that is set up
 * @map:   kernel mapping of all of it, write-back
 * @owned: iomem resource requested by us, or NULL if whoever reserved the range claimed it
 */
struct dmem_range {
	phys_addr_t start;
	phys_addr_t end;
	int nid;
	struct dmem_node *node;
	void *map;
	struct resource *owned;
};

/**
 * struct dmem_owner - which file has a page, and who maps it
 * @known:     the rest is valid
 * @dev:       the mount
 * @ino:       inode number
 * @index:     page of the file
 * @path:      from the root of the mount, escaped as in /proc/mounts; empty if it is too long
 * @processes: PID:COMMAND or PID, by commas; ends in ",..." if there are more
 */
struct dmem_owner {
	bool known;
	dev_t dev;
	unsigned long ino;
	pgoff_t index;
	char path[240];
	char processes[184];
};

/**
 * struct dmem_event - a page went bad
 * @pfn:      page number
 * @poisoned: the hardware has lost its contents; else the administrator has retired it
 * @hardware: reported by memory_failure() rather than through sysfs
 * @used:     a file had it
 * @owner:    which
 */
struct dmem_event {
	unsigned long pfn;
	bool poisoned;
	bool hardware;
	bool used;
	struct dmem_owner owner;
};

/**
 * struct dmem_events - what is to be told about bad pages of a node
 * @lock:   guards the rest but @work
 * @count:  events since the module was loaded
 * @told:   of these, those that user space has been told of
 * @last:   the newest
 * @next:   not to tell anything before that, in jiffies
 * @work:   tells
 */
struct dmem_events {
	struct mutex lock;	/* see above */
	u64 count;
	u64 told;
	struct dmem_event last;
	unsigned long next;
	struct delayed_work work;
};

/**
 * struct dmem_units - what became of the memory of a node, in base pages
 * @free: nobody has it
 * @used: files have it
 * @out:  it is not handed out any more
 */
struct dmem_units {
	u64 free;
	u64 used;
	u64 out;
};

/**
 * struct dmem_node - one node with a reservation
 * @nid:       node id
 * @number:    index in the ledger
 * @requested: bytes that were asked for
 * @ranges:    its ranges, sorted by address
 * @nr_ranges: length of @ranges
 * @lock:      guards @pool and @nr_waiting
 * @pool:      what is free
 * @cleared:   woken when a chunk has been cleared
 * @nr_waiting: who waits for that, and no other chunk is begun meanwhile
 * @freed:     woken when there is something to be cleared
 * @clearer:   thread that clears free memory in the background
 * @events:    pages that went bad
 * @dev:       device nodeN in class dmem
 */
struct dmem_node {
	int nid;
	unsigned int number;
	u64 requested;
	struct dmem_range *ranges;
	unsigned int nr_ranges;
	struct mutex lock;	/* see above */
	struct dmem_pool pool;
	wait_queue_head_t cleared;
	unsigned int nr_waiting;
	wait_queue_head_t freed;
	struct task_struct *clearer;
	struct dmem_events events;
	struct device *dev;
};

/**
 * struct dmem_piece - consecutive memory of one node
 * @pfn: first page number
 * @nr:  base pages
 */
struct dmem_piece {
	unsigned long pfn;
	unsigned long nr;
};

/* regions.c */
int dmem_regions_get(struct dmem_range **ret, unsigned int *ret_nr);
void dmem_regions_put(struct dmem_range *ranges, unsigned int nr);
u64 dmem_regions_requested(const struct dmem_range *ranges, unsigned int nr, int nid);

/* node.c */
extern struct dmem_node *dmem_nodes;
extern unsigned int dmem_nr_nodes;

int dmem_nodes_init(struct dmem_range *ranges, unsigned int nr);
void dmem_nodes_exit(void);
struct dmem_node *dmem_node_by_nid(int nid);
struct dmem_node *dmem_node_by_pfn(unsigned long pfn);
struct dmem_units dmem_node_units(struct dmem_node *node);
void *dmem_pfn_to_kaddr(unsigned long pfn);
unsigned long dmem_next_lost(unsigned long pfn, unsigned long end);
int dmem_retire(struct dmem_node *node, unsigned long pfn, bool poisoned, bool *ret_used);
bool dmem_find_retired(struct dmem_node *node, unsigned long skip, unsigned long *pfn,
		       bool *ret_used);

int dmem_open_account(struct dmem_account *account, const nodemask_t *nodes, u64 limit);
void dmem_close_account(struct dmem_account *account);
int dmem_set_limit(struct dmem_account *account, u64 limit);
int dmem_promise(struct dmem_account *account, u64 nr);
void dmem_release(struct dmem_account *account, u64 nr);
int dmem_alloc(struct dmem_account *account, const nodemask_t *prefer, int near,
	       unsigned int order, unsigned long want, struct dmem_piece *ret);
void dmem_free(struct dmem_account *account, const struct dmem_piece *piece);
void dmem_unalloc(struct dmem_account *account, const struct dmem_piece *piece);
void dmem_usage(struct dmem_account *account, u64 *ret_total, u64 *ret_available);

/* poison.c */
void dmemfs_poison_init(void);
void dmemfs_poison_exit(void);
void dmem_events_init(struct dmem_events *events);
u64 dmem_events_count(struct dmem_node *node);
int dmemfs_retire(struct dmem_node *node, unsigned long pfn);
void dmemfs_find_owner(unsigned long pfn, bool commands, struct dmem_owner *ret);
void dmemfs_poison_add_file(struct inode *inode);
void dmemfs_poison_remove_file(struct inode *inode);

/* sysfs.c */
int dmem_sysfs_init(void);
void dmem_sysfs_exit(void);

/**
 * struct dmemfs_sb_info - one mount
 * @account: its promises
 * @nodes:   where memory may come from
 * @strict:  node= was given
 * @order:   largest mapping, as page order: 0, %DMEM_CHUNK_ORDER or %DMEM_SPAN_ORDER
 * @limit:   size= in bytes, 0 for none
 * @mode:    of the root directory, as mounted
 * @uid:     of the root directory, as mounted
 * @gid:     of the root directory, as mounted
 */
struct dmemfs_sb_info {
	struct dmem_account account;
	nodemask_t nodes;
	bool strict;
	unsigned int order;
	u64 limit;
	umode_t mode;
	kuid_t uid;
	kgid_t gid;
};

/**
 * struct dmemfs_inode_info - one file
 * @lock:       guards all of this
 * @extents:    page index to pfn minus page index, see extent.c
 * @nr_pages:   base pages the file has
 * @promised:   base pages promised to holes below the end of the file
 * @unpromised: base pages of holes below the end of the file without promise: holes punched while
 *              nobody had the file mapped. The next mmap() gets the promise for them or fails.
 * @mappings:   VMAs that map the file
 * @entry:      in the list of all files, see poison.c
 * @vfs_inode:  the inode
 */
struct dmemfs_inode_info {
	struct mutex lock;	/* see above */
	struct maple_tree extents;
	u64 nr_pages;
	u64 promised;
	u64 unpromised;
	unsigned int mappings;
	struct list_head entry;
	struct inode vfs_inode;
};

static inline struct dmemfs_inode_info *DMEMFS_I(const struct inode *inode)
{
	return container_of(inode, struct dmemfs_inode_info, vfs_inode);
}

static inline struct dmemfs_sb_info *DMEMFS_SB(const struct super_block *sb)
{
	return sb->s_fs_info;
}

/*
 * Memory comes and goes in blocks: the page size of the mount, but a chunk for pages of a span, so
 * that the tail of a file does not cost a whole span.
 */
static inline unsigned long dmemfs_block_pages(const struct inode *inode)
{
	return DMEMFS_SB(inode->i_sb)->order ? DMEM_CHUNK_UNITS : 1;
}

/* extent.c */
void dmemfs_extents_init_locks(void);
struct mutex *dmemfs_block_lock(struct inode *inode, pgoff_t index);
bool dmemfs_lookup(struct dmemfs_inode_info *info, pgoff_t index, struct dmem_piece *ret);
bool dmemfs_next_data(struct dmemfs_inode_info *info, pgoff_t *index, pgoff_t *ret_end);
bool dmemfs_find_page(struct dmemfs_inode_info *info, unsigned long pfn, pgoff_t *ret);
int dmemfs_populate(struct inode *inode, pgoff_t index, pgoff_t end, struct vm_area_struct *vma);
bool dmemfs_has_room(struct inode *inode, pgoff_t first, pgoff_t end);
int dmemfs_grow(struct inode *inode, loff_t size);
void dmemfs_shrink(struct inode *inode, loff_t size);
void dmemfs_punch(struct inode *inode, pgoff_t first, pgoff_t end);
void dmemfs_punch_lost(struct inode *inode, pgoff_t first, pgoff_t end);
void dmemfs_remove_all(struct inode *inode);
void dmemfs_clear_bytes(struct inode *inode, loff_t start, loff_t end);
int dmemfs_add_mapping(struct inode *inode);
void dmemfs_dup_mapping(struct inode *inode);
void dmemfs_drop_mapping(struct inode *inode);

/* file.c */
extern const struct file_operations dmemfs_file_operations;
extern const struct inode_operations dmemfs_file_inode_operations;

/* mmap.c */
int dmemfs_mmap(struct file *file, struct vm_area_struct *vma);
unsigned long dmemfs_get_unmapped_area(struct file *file, unsigned long addr, unsigned long len,
				       unsigned long pgoff, unsigned long flags);
void dmemfs_unmap(struct inode *inode, loff_t start, loff_t end);

#endif /* _DMEMFS_H */
