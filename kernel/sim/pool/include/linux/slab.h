/* SPDX-License-Identifier: GPL-2.0 */
#ifndef SIM_POOL_SLAB_H
#define SIM_POOL_SLAB_H

#include <stdlib.h>

typedef unsigned int gfp_t;

#define GFP_KERNEL	0
#define __GFP_NOFAIL	1

/* Every sim_fail_every'th allocation that may fail does, if that is not 0. */
extern unsigned long sim_fail_every, sim_allocations;

static inline void *kvcalloc(size_t nr, size_t size, gfp_t gfp)
{
	if (!(gfp & __GFP_NOFAIL) && sim_fail_every && ++sim_allocations % sim_fail_every == 0)
		return NULL;
	return calloc(nr, size);
}

#define kcalloc	kvcalloc
#define kvfree	free
#define kfree	free

#endif
