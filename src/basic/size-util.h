/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Numbers and sizes as text: strict readers and the writers that match them
 *
 * Sizes are bytes; suffixes K, M, G and T mean powers of 1024, in upper or lower case. Every
 * reader takes the whole text or nothing: no blanks, no sign, no trailing characters. Results are
 * untouched on error.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Room for any text that format_size() and format_size_rounded() write, the final NUL included. */
#define FORMAT_SIZE_MAX 32

/* Decimal digits only. Returns 0, -EINVAL (not such a number) or -ERANGE (beyond 64 bits). */
int parse_u64(const char *text, uint64_t *ret);

/* As parse_u64(), for node ids and the like; -ERANGE beyond an unsigned. */
int parse_unsigned(const char *text, unsigned *ret);

/* Hexadecimal digits, with or without a leading 0x. Returns as parse_u64(). */
int parse_hex(const char *text, uint64_t *ret);

/*
 * A size: decimal or 0x… digits, then optionally one of K M G T (`16G`, `0x40000000`, `0`).
 * Returns 0, -EINVAL (`16GB`, `1.5G`, an empty text) or -ERANGE (beyond 64 bits).
 */
int parse_size(const char *text, uint64_t *ret);

/*
 * Writes @size exactly, in the largest unit that leaves no rest: 64424509440 is `60G`, 4097 is
 * `4097`. parse_size() gives the same number back. Returns @buffer.
 */
char *format_size(char buffer[static FORMAT_SIZE_MAX], uint64_t size);

/* Writes @size for a reader: at most one decimal, rounded down: `59.9G`, `512M`, `0`. */
char *format_size_rounded(char buffer[static FORMAT_SIZE_MAX], uint64_t size);

/* @alignment is a power of two. */
static inline uint64_t align_down(uint64_t value, uint64_t alignment) {
        return value & ~(alignment - 1);
}

static inline bool is_power_of_two(uint64_t value) {
        return value != 0 && (value & (value - 1)) == 0;
}
