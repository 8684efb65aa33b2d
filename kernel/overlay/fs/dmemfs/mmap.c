// SPDX-License-Identifier: GPL-2.0
/*
 * Mappings of dmemfs files: VM_PFNMAP, shared only, with leaves as large as the page size of the
 * mount, the file, the memory and the VMA allow.
 */
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/pagemap.h>
#include <linux/pfn_t.h>
#include <linux/sched/mm.h>
#include <linux/uaccess.h>

#include "dmemfs.h"
#include "trace.h"

static struct dmemfs_sb_info *vma_sb_info(const struct vm_area_struct *vma)
{
	return DMEMFS_SB(file_inode(vma->vm_file)->i_sb);
}

static vm_fault_t errno_to_fault(int error)
{
	return error == -ENOMEM ? VM_FAULT_OOM : VM_FAULT_SIGBUS;
}

/*
 * Threads that fault in one block can come with leaves of different sizes: the file may have grown
 * between them. Nobody may then put a leaf of 4K below one of 2M, or a leaf where a table is. So
 * who comes second lets the access happen again, and the caller holds the lock of the block.
 *
 * A table below a PUD is made by the kernel, before the file system is asked and without that lock.
 * If it appears after the check, vmf_insert_pfn_pud() leaves it alone unless it is told to make an
 * entry writable; and new entries need not be told, they have the protection of the VMA.
 */
static vm_fault_t insert(struct vm_fault *vmf, unsigned long pfn, unsigned int order)
{
	bool write = vmf->flags & FAULT_FLAG_WRITE;

	switch (order) {
	case 0:
		if (pmd_trans_huge(*vmf->pmd))
			return VM_FAULT_NOPAGE;
		return vmf_insert_pfn(vmf->vma, vmf->address, pfn);
#ifdef CONFIG_ARCH_SUPPORTS_PMD_PFNMAP
	case PMD_ORDER:
		if (!pmd_none(*vmf->pmd) && !pmd_trans_huge(*vmf->pmd))
			return VM_FAULT_NOPAGE;
		return vmf_insert_pfn_pmd(vmf, __pfn_to_pfn_t(pfn, PFN_DEV), write);
#endif
#ifdef CONFIG_ARCH_SUPPORTS_PUD_PFNMAP
	case PUD_ORDER:
		if (!pud_none(*vmf->pud) && !pud_trans_huge(*vmf->pud))
			return VM_FAULT_NOPAGE;
		return vmf_insert_pfn_pud(vmf, __pfn_to_pfn_t(pfn, PFN_DEV),
					  write && !pud_none(*vmf->pud));
#endif
	default:
		return VM_FAULT_FALLBACK;
	}
}

/*
 * The leaf must lie inside of the VMA, be aligned in the file (for 1G, so that every zap of whole
 * aligned spans of the file finds it whole) and must not reach behind the page with the last byte.
 */
static bool leaf_fits(const struct vm_fault *vmf, unsigned int order, pgoff_t end)
{
	const struct vm_area_struct *vma = vmf->vma;
	unsigned long nr = 1UL << order;
	unsigned long address = ALIGN_DOWN(vmf->address, nr << PAGE_SHIFT);
	pgoff_t index = ALIGN_DOWN(vmf->pgoff, nr);

	if (address < vma->vm_start || vma->vm_end - address < nr << PAGE_SHIFT)
		return false;
	if (vmf->pgoff - index != (vmf->address - address) >> PAGE_SHIFT)
		return false;
	return index + nr <= end;
}

static vm_fault_t dmemfs_huge_fault(struct vm_fault *vmf, unsigned int order)
{
	struct inode *inode = file_inode(vmf->vma->vm_file);
	struct address_space *mapping = inode->i_mapping;
	unsigned long nr = 1UL << order;
	struct dmem_piece piece;
	vm_fault_t fault;
	struct mutex *lock; /* of the block */
	pgoff_t index, end;
	int ret;

	if (order > DMEMFS_SB(inode->i_sb)->order)
		return VM_FAULT_FALLBACK;

	/* Holds off truncate and punch; also what i_size is compared with stays true. */
	filemap_invalidate_lock_shared(mapping);

	end = DIV_ROUND_UP_ULL(i_size_read(inode), PAGE_SIZE);
	fault = VM_FAULT_SIGBUS;
	if (vmf->pgoff >= end)
		goto unlock;

	fault = VM_FAULT_FALLBACK;
	if (!leaf_fits(vmf, order, end))
		goto unlock;

	ret = dmemfs_populate(inode, vmf->pgoff, vmf->pgoff + 1, vmf->vma);
	if (ret) {
		fault = errno_to_fault(ret);
		goto unlock;
	}

	index = ALIGN_DOWN(vmf->pgoff, nr);
	if (!dmemfs_lookup(DMEMFS_I(inode), index, &piece))
		goto unlock;
	if (piece.nr < nr || !IS_ALIGNED(piece.pfn, nr))
		goto unlock;
	/* Smaller leaves go around a page that is lost. Poison comes before it removes mappings. */
	if (dmem_next_lost(piece.pfn, piece.pfn + nr) < piece.pfn + nr) {
		if (!order)
			fault = VM_FAULT_HWPOISON;
		goto unlock;
	}

	lock = dmemfs_block_lock(inode, vmf->pgoff);
	mutex_lock(lock);
	fault = insert(vmf, piece.pfn, order);
	mutex_unlock(lock);

unlock:
	filemap_invalidate_unlock_shared(mapping);
	trace_dmemfs_fault(inode, vmf->address, vmf->pgoff, order, fault);
	return fault;
}

static vm_fault_t dmemfs_fault(struct vm_fault *vmf)
{
	return dmemfs_huge_fault(vmf, 0);
}

static bool maps_spans(const struct vm_area_struct *vma)
{
	return vma_sb_info(vma)->order == DMEM_SPAN_ORDER;
}

/*
 * Nobody can split a leaf of 1G: the kernel zaps it instead, but only where it knows such leaves.
 * __split_vma() does not, it takes the memory itself for a page table. So remove the leaf at the
 * place where the VMA will be split. Its write lock, which the caller is going to take anyway,
 * keeps faults from bringing it back before the split is done.
 */
static int dmemfs_may_split(struct vm_area_struct *vma, unsigned long address)
{
	unsigned long start = ALIGN_DOWN(address, PUD_SIZE);

	if (maps_spans(vma) && start != address && start >= vma->vm_start &&
	    vma->vm_end - start >= PUD_SIZE) {
		vma_start_write(vma);
		zap_vma_ptes(vma, start, PUD_SIZE);
	}
	return 0;
}

/*
 * mremap() calls this for the new VMA before it moves the page tables, with the old VMA locked.
 * For leaves of 1G it would clear the entry and forget to flush the TLB. So leave it nothing to
 * move. A split, which is known by the old VMA being where the new one will be, moves nothing. Nor
 * is there anything to be done at a fork, where the VMA belongs to another mm.
 */
static void dmemfs_vma_open(struct vm_area_struct *vma)
{
	struct inode *inode = file_inode(vma->vm_file);
	loff_t start = (loff_t)vma->vm_pgoff << PAGE_SHIFT;

	dmemfs_dup_mapping(inode);
	if (maps_spans(vma) && vma->vm_mm == current->mm &&
	    !vma_lookup(vma->vm_mm, vma->vm_start))
		dmemfs_unmap(inode, start, start + (vma->vm_end - vma->vm_start));
}

static void dmemfs_vma_close(struct vm_area_struct *vma)
{
	dmemfs_drop_mapping(file_inode(vma->vm_file));
}

/* For ptrace and /proc/PID/mem, at most to the end of the page. */
static int dmemfs_access(struct vm_area_struct *vma, unsigned long address, void *buffer, int len,
			 int write)
{
	struct inode *inode = file_inode(vma->vm_file);
	pgoff_t index = linear_page_index(vma, address);
	struct dmem_piece piece;
	int ret = -EIO;
	void *kaddr;

	if ((write & FOLL_WRITE) && !(vma->vm_flags & VM_WRITE))
		return -EFAULT;

	len = min_t(int, len, PAGE_SIZE - offset_in_page(address));
	filemap_invalidate_lock_shared(inode->i_mapping);
	if (index >= DIV_ROUND_UP_ULL(i_size_read(inode), PAGE_SIZE))
		goto unlock;
	ret = dmemfs_populate(inode, index, index + 1, vma);
	if (ret || !dmemfs_lookup(DMEMFS_I(inode), index, &piece))
		goto unlock;
	ret = -EIO;
	if (dmem_next_lost(piece.pfn, piece.pfn + 1) == piece.pfn)
		goto unlock;

	kaddr = dmem_pfn_to_kaddr(piece.pfn) + offset_in_page(address);
	if (write & FOLL_WRITE)
		memcpy(kaddr, buffer, len);
	else if (copy_mc_to_kernel(buffer, kaddr, len))
		goto unlock;
	ret = len;
unlock:
	filemap_invalidate_unlock_shared(inode->i_mapping);
	return ret;
}

static const struct vm_operations_struct dmemfs_vm_ops = {
	.open		= dmemfs_vma_open,
	.close		= dmemfs_vma_close,
	.may_split	= dmemfs_may_split,
	.fault		= dmemfs_fault,
	.huge_fault	= dmemfs_huge_fault,
	.access		= dmemfs_access,
};

/**
 * dmemfs_mmap() - file_operations.mmap
 * @file: the file
 * @vma:  the mapping
 *
 * Return: %0; -EINVAL for a private mapping, which page frame mappings cannot be; -ENOMEM if the
 * file has holes that no memory can be promised for.
 */
int dmemfs_mmap(struct file *file, struct vm_area_struct *vma)
{
	int ret;

	/* Without write access to the file VM_SHARED is not set. */
	if (!(vma->vm_flags & VM_MAYSHARE))
		return -EINVAL;

	ret = dmemfs_add_mapping(file_inode(file));
	if (ret)
		return ret;

	file_accessed(file);
	/* VM_HUGEPAGE: large leaves do not depend on what transparent_hugepage/enabled says. */
	vm_flags_set(vma, VM_PFNMAP | VM_DONTEXPAND | VM_DONTDUMP | VM_HUGEPAGE);
	vma->vm_ops = &dmemfs_vm_ops;
	return 0;
}

/**
 * dmemfs_get_unmapped_area() - file_operations.get_unmapped_area
 * @file:    the file
 * @address: hint, or the address with MAP_FIXED
 * @len:     bytes
 * @pgoff:   where in the file
 * @flags:   MAP_*
 *
 * Finds a place where addresses and offsets in the file are congruent modulo the largest leaf that
 * fits into the mapping.
 *
 * Return: the address or a negative errno.
 */
unsigned long dmemfs_get_unmapped_area(struct file *file, unsigned long address, unsigned long len,
				       unsigned long pgoff, unsigned long flags)
{
	unsigned int order = DMEMFS_SB(file_inode(file)->i_sb)->order;
	unsigned long align, wide, at;

	if (order == DMEM_SPAN_ORDER && len < PUD_SIZE)
		order = DMEM_CHUNK_ORDER;
	if (order == DMEM_CHUNK_ORDER && len < PMD_SIZE)
		order = 0;
	align = PAGE_SIZE << order;

	if ((flags & MAP_FIXED) || address || !order ||
	    check_add_overflow(len, align - PAGE_SIZE, &wide))
		return mm_get_unmapped_area(current->mm, file, address, len, pgoff, flags);

	at = mm_get_unmapped_area(current->mm, file, 0, wide, pgoff, flags);
	if (IS_ERR_VALUE(at))
		return mm_get_unmapped_area(current->mm, file, 0, len, pgoff, flags);
	return at + (((pgoff << PAGE_SHIFT) - at) & (align - 1));
}

/**
 * dmemfs_unmap() - remove a part of a file from all page tables
 * @inode: the file
 * @start: first byte
 * @end:   first byte behind, LLONG_MAX for all
 *
 * Whole spans on mounts that may map them, as leaves of 1G can only be removed as a whole.
 */
void dmemfs_unmap(struct inode *inode, loff_t start, loff_t end)
{
	loff_t leaf = (loff_t)PAGE_SIZE << DMEMFS_SB(inode->i_sb)->order;

	start = round_down(start, leaf);
	if (end > LLONG_MAX - leaf)
		unmap_mapping_range(inode->i_mapping, start, 0, 1);
	else
		unmap_mapping_range(inode->i_mapping, start, round_up(end, leaf) - start, 1);
}
