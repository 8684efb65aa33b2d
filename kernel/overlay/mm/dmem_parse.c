// SPDX-License-Identifier: GPL-2.0
/*
 * dmem_parse.c - read dmem=, and what hugepages= on the same line asks for
 *
 *	dmem=ITEM[,ITEM...]
 *	ITEM  = [NODE:][!]SIZE[:ALIGN]  |  SIZE@ADDR[:ALIGN]
 *
 * memparse() is not used: it wraps around silently, takes a number without a suffix, and 0x as
 * well as octal for sizes. Pure functions, see dmem_internal.h.
 */
#include <linux/init.h>
#include <linux/limits.h>
#include <linux/log2.h>
#include <linux/overflow.h>
#include <linux/sizes.h>
#include <linux/string.h>

#include "dmem_internal.h"

/* What is left to read of an item. */
struct cursor {
	const char *p;
	const char *end;
};

static bool __init accept(struct cursor *c, char wanted)
{
	if (c->p == c->end || *c->p != wanted)
		return false;
	c->p++;
	return true;
}

static int __init digit_value(char ch, unsigned int base)
{
	int value = -1;

	if (ch >= '0' && ch <= '9')
		value = ch - '0';
	else if (ch >= 'a' && ch <= 'f')
		value = ch - 'a' + 10;
	else if (ch >= 'A' && ch <= 'F')
		value = ch - 'A' + 10;
	return value < (int)base ? value : -1;
}

/* Returns NULL and moves on, or says what is wrong. */
static const char * __init read_number(struct cursor *c, unsigned int base, u64 *ret)
{
	const char *first = c->p;
	u64 value = 0;

	for (; c->p < c->end; c->p++) {
		int digit = digit_value(*c->p, base);

		if (digit < 0)
			break;
		if (check_mul_overflow(value, (u64)base, &value) ||
		    check_add_overflow(value, (u64)digit, &value))
			return "the number is too large";
	}
	if (c->p == first)
		return "a number is missing";
	*ret = value;
	return NULL;
}

/* Returns the factor of a suffix and moves past it, 0 if there is none. */
static u64 __init read_suffix(struct cursor *c)
{
	u64 factor = 0;

	if (c->p == c->end)
		return 0;
	switch (*c->p) {
	case 'k':
	case 'K':
		factor = SZ_1K;
		break;
	case 'm':
	case 'M':
		factor = SZ_1M;
		break;
	case 'g':
	case 'G':
		factor = SZ_1G;
		break;
	case 't':
	case 'T':
		factor = (u64)SZ_1G * SZ_1K;
		break;
	default:
		return 0;
	}
	c->p++;
	return factor;
}

static const char * __init read_size(struct cursor *c, u64 *ret)
{
	const char *error;
	u64 factor, value;

	error = read_number(c, 10, &value);
	if (error)
		return error;
	factor = read_suffix(c);
	if (!factor)
		return "a size needs a suffix, one of K, M, G and T";
	if (check_mul_overflow(value, factor, ret))
		return "the size is too large";
	return NULL;
}

/* An address may be hexadecimal, and needs no suffix. */
static const char * __init read_address(struct cursor *c, u64 *ret)
{
	unsigned int base = 10;
	const char *error;
	u64 factor, value;

	if (c->end - c->p > 2 && c->p[0] == '0' && (c->p[1] == 'x' || c->p[1] == 'X')) {
		base = 16;
		c->p += 2;
	}
	error = read_number(c, base, &value);
	if (error)
		return error;
	factor = read_suffix(c);
	if (check_mul_overflow(value, factor ? factor : 1, ret))
		return "the address is too large";
	return NULL;
}

/* A number that ends in a colon is a node, as a size always has a suffix before its colon. */
static const char * __init read_node(struct cursor *c, int *nid)
{
	struct cursor ahead = *c;
	const char *error;
	u64 value;

	*nid = DMEM_ANY_NODE;
	error = read_number(&ahead, 10, &value);
	if (!accept(&ahead, ':'))
		return NULL;
	if (error)
		return "a node number is missing before the colon";
	if (value > INT_MAX)
		return "there is no such node";
	*nid = value;
	*c = ahead;
	return NULL;
}

static const char * __init parse_item(struct cursor *c, u64 section, struct dmem_item *item)
{
	const char *error;
	u64 end;

	if (c->p == c->end)
		return "the item is empty";

	error = read_node(c, &item->nid);
	if (error)
		return error;
	item->kind = accept(c, '!') ? DMEM_LEAVE : DMEM_TAKE;
	error = read_size(c, &item->size);
	if (error)
		return error;

	if (accept(c, '@')) {
		if (item->kind == DMEM_LEAVE)
			return "'!' and '@' exclude each other";
		if (item->nid != DMEM_ANY_NODE)
			return "an address says which node, leave out the node number";
		item->kind = DMEM_RANGE;
		error = read_address(c, &item->addr);
		if (error)
			return error;
		if (check_add_overflow(item->addr, item->size, &end))
			return "the range ends beyond any memory";
	}

	item->align = section;
	if (accept(c, ':')) {
		error = read_size(c, &item->align);
		if (error)
			return error;
		if (!is_power_of_2(item->align))
			return "the alignment must be a power of two";
		if (item->align < section)
			return "the alignment must be at least one memory section";
	}
	return c->p == c->end ? NULL : "there is something behind it that does not belong there";
}

/**
 * dmem_parse() - split one dmem= into items
 * @text: what stands behind dmem=; the items point into it
 * @param: number of this dmem=, the first is 0
 * @section: size of a memory section
 * @items: where the items go
 * @max: room in @items; what comes after it is not read
 *
 * Every part between two commas becomes an item, also one that cannot be read: that one has
 * &dmem_item.error set, and the caller tells the user.
 *
 * Return: the number of items.
 */
unsigned int __init dmem_parse(const char *text, unsigned int param, u64 section,
			       struct dmem_item *items, unsigned int max)
{
	unsigned int n = 0;

	while (n < max) {
		size_t len = strcspn(text, ",");
		struct cursor c = { .p = text, .end = text + len };
		struct dmem_item *item = &items[n++];

		memset(item, 0, sizeof(*item));
		item->text = text;
		item->len = len;
		item->param = param;
		item->error = parse_item(&c, section, item);

		if (!text[len])
			break;
		text += len + 1;
	}
	return n;
}

/**
 * dmem_parse_hugepagesz() - read the value of hugepagesz= or default_hugepagesz=
 * @text: the value
 * @size: where the bytes go; untouched if the text is no size
 *
 * Return: whether the text is a size.
 */
bool __init dmem_parse_hugepagesz(const char *text, u64 *size)
{
	struct cursor c = { .p = text, .end = text + strlen(text) };
	u64 value;

	/* An address has the same form: any base, the suffix may be missing. */
	if (read_address(&c, &value) || c.p != c.end)
		return false;
	*size = value;
	return true;
}

static u64 __init saturating_bytes(u64 count, u64 page_size)
{
	u64 bytes;

	return check_mul_overflow(count, page_size, &bytes) ? U64_MAX : bytes;
}

static void __init promise(struct dmem_node *node, u64 count, u64 page_size)
{
	if (check_add_overflow(node->promised, saturating_bytes(count, page_size),
			       &node->promised))
		node->promised = U64_MAX;
	if (page_size == SZ_1G && check_add_overflow(node->gib_pages, count, &node->gib_pages))
		node->gib_pages = U64_MAX;
}

/**
 * dmem_parse_hugepages() - promise the pages of a hugepages= to the nodes
 * @text: N, or NODE:N[,NODE:N...]
 * @page_size: what the hugepagesz= before it says
 * @nodes: nodes with memory; &dmem_node.promised and &dmem_node.gib_pages grow
 * @nr_nodes: how many
 *
 * hugetlb spreads a plain N over the nodes with memory, so each is promised its share, rounded up.
 *
 * Return: whether all of the text was understood. What comes before the error counts: promising
 * too much costs a little memory, promising too little costs somebody the huge pages.
 */
bool __init dmem_parse_hugepages(const char *text, u64 page_size, struct dmem_node *nodes,
				 unsigned int nr_nodes)
{
	struct cursor c = { .p = text, .end = text + strlen(text) };
	bool plain = true;
	u64 value, count;

	for (;;) {
		struct dmem_node *node;

		if (read_number(&c, 10, &value))
			return false;
		if (!accept(&c, ':'))
			break;
		plain = false;
		if (read_number(&c, 10, &count))
			return false;
		node = value > INT_MAX ? NULL : dmem_find_node(nodes, nr_nodes, value);
		if (node)
			promise(node, count, page_size);
		if (!accept(&c, ','))
			return c.p == c.end;
	}
	if (!plain || c.p != c.end || !nr_nodes)
		return false;

	for (unsigned int i = 0; i < nr_nodes; i++)
		promise(&nodes[i], value / nr_nodes + !!(value % nr_nodes), page_size);
	return true;
}
