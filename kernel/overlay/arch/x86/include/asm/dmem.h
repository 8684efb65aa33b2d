/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _ASM_X86_DMEM_H
#define _ASM_X86_DMEM_H

#include <linux/cc_platform.h>
#include <linux/init.h>
#include <linux/types.h>

#include <asm/e820/api.h>

#include <xen/xen.h>

/* Says why dmem= cannot work on this machine, or returns NULL. */
static inline const char * __init arch_dmem_unsupported(void)
{
	/* What looks like RAM here is a piece of somebody else's, moved about page by page. */
	if (xen_pv_domain() || xen_initial_domain())
		return "not on Xen PV or in dom0";
	/*
	 * memremap() of what is no System RAM is decrypted, user mappings are not: the two would
	 * see different bytes. Memory that a guest has not accepted yet cannot be touched at all.
	 */
	if (cc_platform_has(CC_ATTR_MEM_ENCRYPT))
		return "not with memory encryption";
	if (cc_platform_has(CC_ATTR_HOST_SEV_SNP))
		return "not on a host that runs SEV-SNP guests";
	return NULL;
}

/* The table must not run full: what falls off its end is neither RAM nor reserved afterwards. */
static inline unsigned int __init arch_dmem_max_regions(void)
{
	/* A region in the middle of an entry makes three of it. */
	return (E820_MAX_ENTRIES - e820_table->nr_entries) / 2;
}

/*
 * Takes a range out of "System RAM". It must be a reserved range rather than a hole: in a hole the
 * kernel looks for room for PCI windows. The tables of the firmware and for kexec still call it
 * RAM: from the one KVM learns that it is cacheable, by the other the next kernel may use it again.
 */
static inline void __init arch_dmem_claim(phys_addr_t start, phys_addr_t end)
{
	e820__range_update(start, end - start, E820_TYPE_RAM, E820_TYPE_RESERVED);
	e820__update_table(e820_table);
}

#endif /* _ASM_X86_DMEM_H */
