/* SPDX-License-Identifier: GPL-2.0 */
#ifndef SIM_LINUX_MINMAX_H
#define SIM_LINUX_MINMAX_H
/* Both sides of one type, as the kernel insists. */
#define sim_pick_(a, op, b, x, y) ({			\
	__typeof__(a) x = (a);				\
	__typeof__(b) y = (b);				\
	(void)(&x == &y);				\
	x op y ? x : y; })
/* Names of their own, so that one may stand inside another. */
#define sim_paste_(a, b) a##b
#define sim_paste(a, b) sim_paste_(a, b)
#define sim_pick(a, op, b) \
	sim_pick_(a, op, b, sim_paste(pick_a, __COUNTER__), sim_paste(pick_b, __COUNTER__))
#define min(a, b) sim_pick(a, <, b)
#define max(a, b) sim_pick(a, >, b)
#define min_t(type, a, b) sim_pick((type)(a), <, (type)(b))
#define max_t(type, a, b) sim_pick((type)(a), >, (type)(b))
#endif
