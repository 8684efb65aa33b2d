/* SPDX-License-Identifier: GPL-2.0 */
#ifndef SIM_LINUX_SIZES_H
#define SIM_LINUX_SIZES_H
/* Plain int up to 1 GiB, as in the kernel: what overflows there has to overflow here. */
#define SZ_64 0x40
#define SZ_1K 0x400
#define SZ_1M 0x100000
#define SZ_16M 0x1000000
#define SZ_64M 0x4000000
#define SZ_128M 0x8000000
#define SZ_512M 0x20000000
#define SZ_1G 0x40000000
#endif
