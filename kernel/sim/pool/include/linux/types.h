/* SPDX-License-Identifier: GPL-2.0 */
/* The base types and constants that pool.c and ledger.c use, for user space. */
#ifndef SIM_POOL_TYPES_H
#define SIM_POOL_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

#define U64_MAX		UINT64_MAX
#define BITS_PER_LONG	64
#define BIT(n)		(1UL << (n))
#define BITS_TO_LONGS(n) (((n) + BITS_PER_LONG - 1) / BITS_PER_LONG)
#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))
#define DIV_ROUND_UP(n, d) (((n) + (d) - 1) / (d))

#define PAGE_SHIFT	12
#define PMD_SHIFT	21
#define PUD_SHIFT	30

#endif
