/* SPDX-License-Identifier: GPL-2.0 */
#ifndef SIM_POOL_BUG_H
#define SIM_POOL_BUG_H

#include <linux/types.h>

/* A test may expect warnings; it looks at the count. */
extern unsigned long sim_warnings;

#define WARN_ON_ONCE(condition) ({				\
	bool __warn = (condition);				\
								\
	sim_warnings += __warn;					\
	__warn;							\
})

#endif
