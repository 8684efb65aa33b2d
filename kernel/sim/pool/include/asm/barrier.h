/* SPDX-License-Identifier: GPL-2.0 */
#define smp_store_release(p, v)	__atomic_store_n(p, v, __ATOMIC_RELEASE)
