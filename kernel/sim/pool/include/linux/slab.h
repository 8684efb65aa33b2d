/* SPDX-License-Identifier: GPL-2.0 */
#ifndef SIM_POOL_SLAB_H
#define SIM_POOL_SLAB_H

#include <stdlib.h>

#define GFP_KERNEL 0

/* Every sim_fail_every'th allocation fails, if that is not 0. */
extern unsigned long sim_fail_every, sim_allocations;

static inline void *kvcalloc(size_t nr, size_t size, int gfp)
{
	(void)gfp;
	if (sim_fail_every && ++sim_allocations % sim_fail_every == 0)
		return NULL;
	return calloc(nr, size);
}

#define kcalloc	kvcalloc
#define kvfree	free
#define kfree	free

#endif
