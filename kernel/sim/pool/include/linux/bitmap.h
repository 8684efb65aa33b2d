/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Bitmaps for user space: the same results as the kernel's, and searches as fast, which is what
 * tools/bench measures; the rest is simple. Every access is to a word with a bit below the given
 * size, so that a sanitizer sees an access beyond a bitmap.
 */
#ifndef SIM_POOL_BITMAP_H
#define SIM_POOL_BITMAP_H

#include <linux/types.h>

#define DECLARE_BITMAP(name, bits) unsigned long name[BITS_TO_LONGS(bits)]

static inline bool test_bit(unsigned long nr, const unsigned long *map)
{
	return map[nr / BITS_PER_LONG] >> (nr % BITS_PER_LONG) & 1;
}

static inline void __set_bit(unsigned long nr, unsigned long *map)
{
	map[nr / BITS_PER_LONG] |= BIT(nr % BITS_PER_LONG);
}

#define set_bit	__set_bit

static inline void __clear_bit(unsigned long nr, unsigned long *map)
{
	map[nr / BITS_PER_LONG] &= ~BIT(nr % BITS_PER_LONG);
}

static inline unsigned long sim_find(const unsigned long *map, unsigned long size,
				     unsigned long from, bool value)
{
	while (from < size) {
		unsigned long word = map[from / BITS_PER_LONG] ^ (value ? 0 : ~0UL);

		word >>= from % BITS_PER_LONG;
		if (word) {
			from += __builtin_ctzl(word);
			return from < size ? from : size;
		}
		from += BITS_PER_LONG - from % BITS_PER_LONG;
	}
	return size;
}

static inline unsigned long find_next_bit(const unsigned long *map, unsigned long size,
					  unsigned long from)
{
	return sim_find(map, size, from, true);
}

static inline unsigned long find_next_zero_bit(const unsigned long *map, unsigned long size,
					       unsigned long from)
{
	return sim_find(map, size, from, false);
}

#define find_first_bit(map, size)	find_next_bit(map, size, 0)
#define find_first_zero_bit(map, size)	find_next_zero_bit(map, size, 0)
#define for_each_set_bit(bit, map, size)						\
	for ((bit) = find_first_bit(map, size); (bit) < (size);				\
	     (bit) = find_next_bit(map, size, (bit) + 1))
#define for_each_set_bit_from(bit, map, size)						\
	for ((bit) = find_next_bit(map, size, bit); (bit) < (size);			\
	     (bit) = find_next_bit(map, size, (bit) + 1))

static inline unsigned long find_last_bit(const unsigned long *map, unsigned long size)
{
	unsigned long i = BITS_TO_LONGS(size), mask = ~0UL >> (-size % BITS_PER_LONG);

	for (; i-- > 0; mask = ~0UL)
		if (map[i] & mask)
			return (i + 1) * BITS_PER_LONG - 1 - __builtin_clzl(map[i] & mask);
	return size;
}

static inline void bitmap_set(unsigned long *map, unsigned long start, unsigned long nr)
{
	while (nr--)
		__set_bit(start++, map);
}

static inline void bitmap_clear(unsigned long *map, unsigned long start, unsigned long nr)
{
	while (nr--)
		__clear_bit(start++, map);
}

/* The pool's bitmaps are whole words. */
static inline void bitmap_zero(unsigned long *map, unsigned long bits)
{
	memset(map, 0, BITS_TO_LONGS(bits) * sizeof(long));
}

static inline void bitmap_fill(unsigned long *map, unsigned long bits)
{
	memset(map, 0xff, BITS_TO_LONGS(bits) * sizeof(long));
}

static inline void bitmap_copy(unsigned long *to, const unsigned long *from, unsigned long bits)
{
	memcpy(to, from, BITS_TO_LONGS(bits) * sizeof(long));
}

static inline bool bitmap_empty(const unsigned long *map, unsigned long bits)
{
	return find_first_bit(map, bits) == bits;
}

static inline bool bitmap_full(const unsigned long *map, unsigned long bits)
{
	return find_first_zero_bit(map, bits) == bits;
}

static inline unsigned int bitmap_weight(const unsigned long *map, unsigned long bits)
{
	unsigned int weight = 0;
	unsigned long i;

	for (i = 0; i < BITS_TO_LONGS(bits); i++)
		weight += __builtin_popcountl(map[i]);
	return weight;
}

static inline bool bitmap_subset(const unsigned long *a, const unsigned long *b,
				 unsigned long bits)
{
	unsigned long i;

	for (i = 0; i < BITS_TO_LONGS(bits); i++)
		if (a[i] & ~b[i])
			return false;
	return true;
}

static inline void bitmap_complement(unsigned long *to, const unsigned long *from,
				     unsigned long bits)
{
	unsigned long i;

	for (i = 0; i < BITS_TO_LONGS(bits); i++)
		to[i] = ~from[i];
}

static inline void bitmap_and(unsigned long *to, const unsigned long *a, const unsigned long *b,
			      unsigned long bits)
{
	unsigned long i;

	for (i = 0; i < BITS_TO_LONGS(bits); i++)
		to[i] = a[i] & b[i];
}

static inline void bitmap_or(unsigned long *to, const unsigned long *a, const unsigned long *b,
			     unsigned long bits)
{
	unsigned long i;

	for (i = 0; i < BITS_TO_LONGS(bits); i++)
		to[i] = a[i] | b[i];
}

static inline void bitmap_andnot(unsigned long *to, const unsigned long *a, const unsigned long *b,
				 unsigned long bits)
{
	unsigned long i;

	for (i = 0; i < BITS_TO_LONGS(bits); i++)
		to[i] = a[i] & ~b[i];
}

#endif
