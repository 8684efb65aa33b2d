/* SPDX-License-Identifier: GPL-2.0 */
#ifndef SIM_LINUX_TYPES_H
#define SIM_LINUX_TYPES_H
/* The host's own, for its headers; then what only the kernel has. */
#include_next <linux/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
/* As in the kernel, so that %llu fits. */
typedef unsigned long long u64;
typedef u64 phys_addr_t;
typedef unsigned long pgoff_t;
#endif
