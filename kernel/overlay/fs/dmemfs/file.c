// SPDX-License-Identifier: GPL-2.0
/*
 * Files: read, write, size, fallocate and seek. There is no page cache; the memory of the file is
 * the only copy of its data.
 */
#include <linux/blk_types.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/pagemap.h>
#include <linux/splice.h>
#include <linux/uio.h>

#include "dmemfs.h"

/*
 * Copy at most to the end of a page, between the file and @iter. User memory must not be faulted
 * in here: it may be this very memory, whose fault takes the lock that is held. Returns the bytes
 * copied, or -EIO if the contents of the page are lost.
 */
static ssize_t copy_in_page(struct inode *inode, loff_t pos, size_t len, struct iov_iter *iter,
			    bool write)
{
	size_t offset = offset_in_page(pos);
	struct dmem_piece piece;
	size_t copied;
	void *kaddr;

	if (!dmemfs_lookup(DMEMFS_I(inode), pos >> PAGE_SHIFT, &piece)) {
		if (WARN_ON_ONCE(write))
			return 0;
		pagefault_disable();
		copied = iov_iter_zero(len, iter);
		pagefault_enable();
		return copied;
	}

	if (dmem_next_lost(piece.pfn, piece.pfn + 1) == piece.pfn)
		return -EIO;
	kaddr = dmem_pfn_to_kaddr(piece.pfn) + offset;
	pagefault_disable();
	if (write)
		copied = copy_from_iter(kaddr, len, iter);
	else
		copied = copy_to_iter(kaddr, len, iter);
	pagefault_enable();
	return copied;
}

static ssize_t dmemfs_read_iter(struct kiocb *iocb, struct iov_iter *to)
{
	struct inode *inode = file_inode(iocb->ki_filp);
	ssize_t done = 0;

	while (iov_iter_count(to)) {
		loff_t size, pos = iocb->ki_pos;
		ssize_t copied;
		size_t len;

		filemap_invalidate_lock_shared(inode->i_mapping);
		size = i_size_read(inode);
		if (pos >= size) {
			filemap_invalidate_unlock_shared(inode->i_mapping);
			break;
		}
		len = min_t(u64, iov_iter_count(to), PAGE_SIZE - offset_in_page(pos));
		len = min_t(u64, len, size - pos);
		copied = copy_in_page(inode, pos, len, to, false);
		filemap_invalidate_unlock_shared(inode->i_mapping);
		if (copied < 0) {
			if (!done)
				done = copied;
			break;
		}

		iocb->ki_pos += copied;
		done += copied;
		/* Up to where the buffer ends there is something to be had. */
		if (copied < len &&
		    fault_in_iov_iter_writeable(to, len - copied) == len - copied) {
			if (!done)
				done = -EFAULT;
			break;
		}
		if (fatal_signal_pending(current)) {
			if (!done)
				done = -EINTR;
			break;
		}
		cond_resched();
	}
	file_accessed(iocb->ki_filp);
	return done;
}

/* Pages of the last page behind the end can be written through a mapping; they must not show. */
static void clear_behind_end(struct inode *inode)
{
	loff_t size = i_size_read(inode);

	dmemfs_clear_bytes(inode, size, round_up(size, PAGE_SIZE));
}

/* Set a larger size. Caller holds the inode lock. */
static int extend(struct inode *inode, loff_t size)
{
	int ret;

	filemap_invalidate_lock(inode->i_mapping);
	clear_behind_end(inode);
	ret = dmemfs_grow(inode, size);
	filemap_invalidate_unlock(inode->i_mapping);
	return ret;
}

static void shrink(struct inode *inode, loff_t size)
{
	filemap_invalidate_lock(inode->i_mapping);
	dmemfs_unmap(inode, size, LLONG_MAX);
	dmemfs_shrink(inode, size);
	filemap_invalidate_unlock(inode->i_mapping);
}

/*
 * Write to one page. The size of the file follows the data, so that nobody reads what is not there
 * yet. Returns the bytes written or a negative errno.
 */
static ssize_t write_in_page(struct inode *inode, loff_t pos, struct iov_iter *from)
{
	size_t len = min_t(u64, iov_iter_count(from), PAGE_SIZE - offset_in_page(pos));
	pgoff_t end = DIV_ROUND_UP_ULL(pos + iov_iter_count(from), PAGE_SIZE);
	ssize_t copied;
	int ret;

	/* What is not there cannot be copied below. */
	if (fault_in_iov_iter_readable(from, len) == len)
		return -EFAULT;

	filemap_invalidate_lock_shared(inode->i_mapping);
	ret = dmemfs_populate(inode, pos >> PAGE_SHIFT, end, NULL);
	if (ret) {
		filemap_invalidate_unlock_shared(inode->i_mapping);
		return ret;
	}
	copied = copy_in_page(inode, pos, len, from, true);
	filemap_invalidate_unlock_shared(inode->i_mapping);
	if (copied < 0)
		return copied;

	if (pos + copied > i_size_read(inode)) {
		filemap_invalidate_lock(inode->i_mapping);
		ret = dmemfs_grow(inode, pos + copied);
		filemap_invalidate_unlock(inode->i_mapping);
	}
	return ret ?: copied;
}

static ssize_t dmemfs_write_iter(struct kiocb *iocb, struct iov_iter *from)
{
	struct inode *inode = file_inode(iocb->ki_filp);
	loff_t old_size, start;
	ssize_t ret, done = 0;

	inode_lock(inode);
	ret = generic_write_checks(iocb, from);
	if (ret <= 0)
		goto unlock;
	ret = file_remove_privs(iocb->ki_filp);
	if (!ret)
		ret = file_update_time(iocb->ki_filp);
	if (ret)
		goto unlock;

	old_size = i_size_read(inode);
	start = iocb->ki_pos;
	if (start + iov_iter_count(from) > old_size) {
		ret = extend(inode, max(start, old_size));
		if (ret)
			goto unlock;
	}

	while (iov_iter_count(from)) {
		ret = write_in_page(inode, iocb->ki_pos, from);
		if (ret < 0)
			break;
		iocb->ki_pos += ret;
		done += ret;
		ret = 0;
		if (fatal_signal_pending(current)) {
			ret = -EINTR;
			break;
		}
		cond_resched();
	}
	if (!done && start > old_size)
		shrink(inode, old_size);
unlock:
	inode_unlock(inode);
	return done ?: ret;
}

/* Programs are mapped privately. If execve() found out by itself, the process would be dead. */
static int dmemfs_open(struct inode *inode, struct file *file)
{
	if (file->f_flags & __FMODE_EXEC)
		return -EACCES;
	return generic_file_open(inode, file);
}

static int dmemfs_setattr(struct mnt_idmap *idmap, struct dentry *dentry, struct iattr *attr)
{
	struct inode *inode = d_inode(dentry);
	int ret;

	ret = setattr_prepare(idmap, dentry, attr);
	if (ret)
		return ret;

	if (attr->ia_valid & ATTR_SIZE) {
		loff_t old_size = i_size_read(inode);

		if (attr->ia_size > old_size) {
			ret = extend(inode, attr->ia_size);
			if (ret)
				return ret;
		} else {
			shrink(inode, attr->ia_size);
		}
		if (attr->ia_size != old_size)
			inode_set_mtime_to_ts(inode, inode_set_ctime_current(inode));
	}
	setattr_copy(idmap, inode, attr);
	return 0;
}

static int dmemfs_getattr(struct mnt_idmap *idmap, const struct path *path, struct kstat *stat,
			  u32 request_mask, unsigned int flags)
{
	struct inode *inode = d_inode(path->dentry);

	generic_fillattr(idmap, request_mask, inode, stat);
	stat->blksize = dmemfs_block_pages(inode) << PAGE_SHIFT;
	stat->blocks = READ_ONCE(DMEMFS_I(inode)->nr_pages) << (PAGE_SHIFT - SECTOR_SHIFT);
	return 0;
}

static int punch(struct inode *inode, loff_t start, loff_t end)
{
	unsigned long block = dmemfs_block_pages(inode) << PAGE_SHIFT;
	loff_t first = round_up(start, block), last = round_down(end, block);

	filemap_invalidate_lock(inode->i_mapping);
	dmemfs_punch_lost(inode, DIV_ROUND_UP_ULL(start, PAGE_SIZE), end >> PAGE_SHIFT);
	if (first < last) {
		dmemfs_unmap(inode, first, last);
		dmemfs_clear_bytes(inode, start, first);
		dmemfs_punch(inode, first >> PAGE_SHIFT, last >> PAGE_SHIFT);
		dmemfs_clear_bytes(inode, last, end);
	} else {
		dmemfs_clear_bytes(inode, start, end);
	}
	filemap_invalidate_unlock(inode->i_mapping);
	return 0;
}

static int allocate(struct inode *inode, loff_t start, loff_t end, bool keep_size)
{
	unsigned long block = dmemfs_block_pages(inode);
	pgoff_t index = start >> PAGE_SHIFT, last = DIV_ROUND_UP_ULL(end, PAGE_SIZE), stop;
	loff_t old_size = i_size_read(inode);
	struct dmem_piece piece;
	int ret = 0;

	if (!dmemfs_has_room(inode, round_down(index, block), round_up(last, block)))
		return -ENOSPC;
	if (end > old_size && !keep_size) {
		ret = extend(inode, end);
		if (ret)
			return ret;
	}
	while (!ret && index < last) {
		filemap_invalidate_lock_shared(inode->i_mapping);
		ret = dmemfs_populate(inode, index, last, NULL);
		stop = index + 1;
		if (!ret && dmemfs_lookup(DMEMFS_I(inode), index, &piece))
			stop = index + piece.nr;
		filemap_invalidate_unlock_shared(inode->i_mapping);
		index = stop;
		if (!ret && fatal_signal_pending(current))
			ret = -EINTR;
		cond_resched();
	}
	if (ret && end > old_size && !keep_size)
		shrink(inode, old_size);
	return ret;
}

static long dmemfs_fallocate(struct file *file, int mode, loff_t offset, loff_t len)
{
	struct inode *inode = file_inode(file);
	loff_t end = offset + len;
	int ret;

	if (mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE))
		return -EOPNOTSUPP;

	inode_lock(inode);
	if (mode & FALLOC_FL_PUNCH_HOLE) {
		ret = file_modified(file);
		if (!ret)
			ret = punch(inode, offset, end);
	} else {
		ret = inode_newsize_ok(inode, end);
		if (!ret)
			ret = file_modified(file);
		if (!ret)
			ret = allocate(inode, offset, end, mode & FALLOC_FL_KEEP_SIZE);
	}
	inode_unlock(inode);
	return ret;
}

static loff_t seek_data_hole(struct inode *inode, loff_t offset, bool data)
{
	loff_t size = i_size_read(inode);
	pgoff_t index, stop;

	if (offset < 0 || offset >= size)
		return -ENXIO;
	index = offset >> PAGE_SHIFT;
	if (data) {
		if (!dmemfs_next_data(DMEMFS_I(inode), &index, &stop))
			return -ENXIO;
		offset = max(offset, (loff_t)index << PAGE_SHIFT);
		return offset < size ? offset : -ENXIO;
	}
	for (;;) {
		pgoff_t at = index;

		if (!dmemfs_next_data(DMEMFS_I(inode), &at, &stop) || at > index)
			break;
		index = stop;
	}
	return min(max(offset, (loff_t)index << PAGE_SHIFT), size);
}

static loff_t dmemfs_llseek(struct file *file, loff_t offset, int whence)
{
	struct inode *inode = file_inode(file);

	if (whence != SEEK_DATA && whence != SEEK_HOLE)
		return generic_file_llseek(file, offset, whence);

	inode_lock_shared(inode);
	filemap_invalidate_lock_shared(inode->i_mapping);
	offset = seek_data_hole(inode, offset, whence == SEEK_DATA);
	filemap_invalidate_unlock_shared(inode->i_mapping);
	if (offset >= 0)
		offset = vfs_setpos(file, offset, inode->i_sb->s_maxbytes);
	inode_unlock_shared(inode);
	return offset;
}

const struct file_operations dmemfs_file_operations = {
	.open			= dmemfs_open,
	.llseek			= dmemfs_llseek,
	.read_iter		= dmemfs_read_iter,
	.write_iter		= dmemfs_write_iter,
	.mmap			= dmemfs_mmap,
	.get_unmapped_area	= dmemfs_get_unmapped_area,
	.fsync			= noop_fsync,
	.splice_read		= copy_splice_read,
	.splice_write		= iter_file_splice_write,
	.fallocate		= dmemfs_fallocate,
};

const struct inode_operations dmemfs_file_inode_operations = {
	.setattr	= dmemfs_setattr,
	.getattr	= dmemfs_getattr,
};
