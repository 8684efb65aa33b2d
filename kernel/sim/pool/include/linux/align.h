/* SPDX-License-Identifier: GPL-2.0 */
#ifndef SIM_POOL_ALIGN_H
#define SIM_POOL_ALIGN_H

#define ALIGN_DOWN(n, to)	((n) & ~((to) - 1))
#define IS_ALIGNED(n, to)	(!((n) & ((to) - 1)))

#endif
