/* SPDX-License-Identifier: GPL-2.0 */
/* What happens to promises and memory. Sizes are bytes, addresses physical. */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM dmemfs

#if !defined(_DMEMFS_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define _DMEMFS_TRACE_H

#include <linux/fs.h>
#include <linux/tracepoint.h>

/* A promise for memory was asked for; ret is 0 if it was made. */
TRACE_EVENT(dmemfs_promise,
	TP_PROTO(u64 pages, u64 charged, int ret),
	TP_ARGS(pages, charged, ret),
	TP_STRUCT__entry(
		__field(u64, bytes)
		__field(u64, charged)
		__field(int, ret)
	),
	TP_fast_assign(
		__entry->bytes = pages << PAGE_SHIFT;
		__entry->charged = charged << PAGE_SHIFT;
		__entry->ret = ret;
	),
	TP_printk("bytes=%llu charged=%llu ret=%d", __entry->bytes, __entry->charged,
		  __entry->ret)
);

/* Memory was taken out of the pool. cleared: those who need it had to wait for it being cleared. */
TRACE_EVENT(dmemfs_alloc,
	TP_PROTO(int nid, unsigned long pfn, unsigned long pages, bool cleared),
	TP_ARGS(nid, pfn, pages, cleared),
	TP_STRUCT__entry(
		__field(int, nid)
		__field(u64, address)
		__field(u64, bytes)
		__field(bool, cleared)
	),
	TP_fast_assign(
		__entry->nid = nid;
		__entry->address = PFN_PHYS(pfn);
		__entry->bytes = (u64)pages << PAGE_SHIFT;
		__entry->cleared = cleared;
	),
	TP_printk("node=%d address=0x%llx bytes=%llu cleared=%d", __entry->nid,
		  __entry->address, __entry->bytes, __entry->cleared)
);

DECLARE_EVENT_CLASS(dmemfs_memory,
	TP_PROTO(int nid, unsigned long pfn, unsigned long pages),
	TP_ARGS(nid, pfn, pages),
	TP_STRUCT__entry(
		__field(int, nid)
		__field(u64, address)
		__field(u64, bytes)
	),
	TP_fast_assign(
		__entry->nid = nid;
		__entry->address = PFN_PHYS(pfn);
		__entry->bytes = (u64)pages << PAGE_SHIFT;
	),
	TP_printk("node=%d address=0x%llx bytes=%llu", __entry->nid, __entry->address,
		  __entry->bytes)
);

/* Memory came back to the pool. */
DEFINE_EVENT(dmemfs_memory, dmemfs_free,
	TP_PROTO(int nid, unsigned long pfn, unsigned long pages),
	TP_ARGS(nid, pfn, pages)
);

/* Free memory was cleared in the background. */
DEFINE_EVENT(dmemfs_memory, dmemfs_clear,
	TP_PROTO(int nid, unsigned long pfn, unsigned long pages),
	TP_ARGS(nid, pfn, pages)
);

/* A page went bad: poisoned by the hardware or retired by the administrator. */
TRACE_EVENT(dmemfs_poison,
	TP_PROTO(int nid, unsigned long pfn, bool poisoned, bool used, dev_t dev,
		 unsigned long ino, pgoff_t pgoff),
	TP_ARGS(nid, pfn, poisoned, used, dev, ino, pgoff),
	TP_STRUCT__entry(
		__field(int, nid)
		__field(u64, address)
		__field(bool, poisoned)
		__field(bool, used)
		__field(dev_t, dev)
		__field(u64, ino)
		__field(pgoff_t, pgoff)
	),
	TP_fast_assign(
		__entry->nid = nid;
		__entry->address = PFN_PHYS(pfn);
		__entry->poisoned = poisoned;
		__entry->used = used;
		__entry->dev = dev;
		__entry->ino = ino;
		__entry->pgoff = pgoff;
	),
	TP_printk("node=%d address=0x%llx %s %s dev=%d:%d ino=%llu pgoff=0x%lx", __entry->nid,
		  __entry->address, __entry->poisoned ? "poisoned" : "retired",
		  __entry->used ? "used" : "free", MAJOR(__entry->dev), MINOR(__entry->dev),
		  __entry->ino, __entry->pgoff)
);

/* A fault, with the page order that was tried. */
TRACE_EVENT(dmemfs_fault,
	TP_PROTO(const struct inode *inode, unsigned long address, pgoff_t pgoff,
		 unsigned int order, vm_fault_t fault),
	TP_ARGS(inode, address, pgoff, order, fault),
	TP_STRUCT__entry(
		__field(dev_t, dev)
		__field(u64, ino)
		__field(unsigned long, address)
		__field(pgoff_t, pgoff)
		__field(unsigned int, order)
		__field(unsigned int, fault)
	),
	TP_fast_assign(
		__entry->dev = inode->i_sb->s_dev;
		__entry->ino = inode->i_ino;
		__entry->address = address;
		__entry->pgoff = pgoff;
		__entry->order = order;
		__entry->fault = (__force unsigned int)fault;
	),
	TP_printk("dev=%d:%d ino=%llu address=0x%lx pgoff=0x%lx order=%u %s",
		  MAJOR(__entry->dev), MINOR(__entry->dev), __entry->ino, __entry->address,
		  __entry->pgoff, __entry->order,
		  __print_symbolic(__entry->fault,
				   { (__force unsigned int)VM_FAULT_NOPAGE, "mapped" },
				   { (__force unsigned int)VM_FAULT_FALLBACK, "smaller" },
				   { (__force unsigned int)VM_FAULT_SIGBUS, "SIGBUS" },
				   { (__force unsigned int)VM_FAULT_HWPOISON, "poisoned" },
				   { (__force unsigned int)VM_FAULT_OOM, "OOM" }))
);

#endif /* _DMEMFS_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
