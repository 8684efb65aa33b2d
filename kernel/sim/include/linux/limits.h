/* SPDX-License-Identifier: GPL-2.0 */
#ifndef SIM_LINUX_LIMITS_H
#define SIM_LINUX_LIMITS_H
#include_next <linux/limits.h>
#ifndef INT_MAX
#define INT_MAX __INT_MAX__
#endif
#define U64_MAX (~0ULL)
#endif
