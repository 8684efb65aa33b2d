// SPDX-License-Identifier: GPL-2.0
/* The grammar of dmem=, as a table; then random text, which has to obey it as well. */
#include <string.h>

#include "check.h"
#include "dmem_cases.h"

static void test_items(void)
{
	for (size_t i = 0; i < sizeof(parse_cases) / sizeof(*parse_cases); i++) {
		const struct parse_case *c = &parse_cases[i];
		const char *text = c->text;
		struct dmem_item item[2];
		unsigned int n;

		n = dmem_parse(text, 3, SECTION, item, 2);
		CHECK(text, n == 1, "%u items", n);
		CHECK(text, item->text == text && item->len == strlen(text), "text is kept");
		CHECK(text, item->param == 3, "param %u", item->param);
		if (c->error) {
			CHECK(text, item->error && strstr(item->error, c->error),
			      "got \"%s\"", item->error ? item->error : "no error");
			continue;
		}
		CHECK(text, !item->error, "got \"%s\"", item->error);
		CHECK(text, item->kind == c->kind, "kind %d", item->kind);
		CHECK(text, item->nid == c->nid, "node %d", item->nid);
		CHECK(text, item->size == c->size, "size %llx", item->size);
		CHECK(text, item->addr == c->addr, "addr %llx", item->addr);
		CHECK(text, item->align == c->align, "align %llx", item->align);
	}
}

/* A bad item costs only itself, and an item more than there is room for is not written. */
static void test_lists(void)
{
	static const struct {
		const char *text;
		const char *good;	/* a letter for each item: g, or b for bad */
	} lists[] = {
		{ "0:4G,1:8G", "gg" },
		{ "4G,", "gb" },
		{ ",4G", "bg" },
		{ ",", "bb" },
		{ "4G,banana,1:2G:1G", "gbg" },
		{ "4G, 1:4G", "gb" },
		{ "1G@5G,512M@16M,!1G", "ggg" },
		{ "1G,2G,3G,4G,5G,6G", "gggg" /* there is room for four */ },
	};

	for (size_t i = 0; i < sizeof(lists) / sizeof(*lists); i++) {
		struct dmem_item item[5];
		unsigned int n;

		item[4].len = 4711;
		n = dmem_parse(lists[i].text, 0, SECTION, item, 4);
		CHECK(lists[i].text, n == strlen(lists[i].good), "%u items", n);
		for (unsigned int k = 0; k < n; k++)
			CHECK(lists[i].text, !item[k].error == (lists[i].good[k] == 'g'),
			      "item %u: %s", k, item[k].error ? item[k].error : "good");
		CHECK(lists[i].text, item[4].len == 4711, "wrote past the end");
	}
	CHECK("no room", dmem_parse("4G", 0, SECTION, NULL, 0) == 0, "returned something");
}

/* Random text: what is accepted must read the same when it is written out again. */
static void test_random(void)
{
	static const char alphabet[] = "0123456789::!@,,KMGTkmgtxX ab-";

	srand(1);
	for (int round = 0; round < 300000; round++) {
		char text[24], again[96];
		struct dmem_item item[sizeof(text)], copy;
		size_t len = rand() % (sizeof(text) - 1);
		unsigned int n, commas = 0;
		int k = 0;

		for (size_t i = 0; i < len; i++) {
			text[i] = alphabet[rand() % (sizeof(alphabet) - 1)];
			commas += text[i] == ',';
		}
		text[len] = '\0';
		n = dmem_parse(text, 0, SECTION, item, sizeof(text));
		CHECK(text, n == commas + 1, "%u items", n);

		for (unsigned int i = 0; i < n; i++) {
			if (item[i].error)
				continue;
			k = 0;
			if (item[i].nid >= 0)
				k += sprintf(again + k, "%d:", item[i].nid);
			k += sprintf(again + k, "%s%lluK", item[i].kind == DMEM_LEAVE ? "!" : "",
				     item[i].size / K);
			if (item[i].kind == DMEM_RANGE)
				k += sprintf(again + k, "@%#llx", item[i].addr);
			sprintf(again + k, ":%lluK", item[i].align / K);
			dmem_parse(again, 0, SECTION, &copy, 1);
			CHECK(text, !copy.error && copy.kind == item[i].kind &&
			      copy.nid == item[i].nid && copy.size == item[i].size &&
			      copy.addr == item[i].addr && copy.align == item[i].align,
			      "reads differently as %s", again);
		}
	}
}

static void test_hugepages(void)
{
	static const struct {
		const char *text;
		u64 page_size;
		bool understood;
		u64 promised[3], gib[3];	/* for nodes 0, 1 and 4 */
	} table[] = {
		{ "64", 2 * M, true, { 44 * M, 44 * M, 44 * M } },
		{ "0:64,1:128", 2 * M, true, { 128 * M, 256 * M, 0 } },
		{ "0:1,4:2", 1 * G, true, { 1 * G, 0, 2 * G }, { 1, 0, 2 } },
		{ "4", 1 * G, true, { 2 * G, 2 * G, 2 * G }, { 2, 2, 2 } },
		{ "0", 1 * G, true, { 0 } },
		{ "7:5", 1 * G, true, { 0 } },
		{ "", 2 * M, false, { 0 } },
		{ "banana", 2 * M, false, { 0 } },
		{ "0:1,5", 2 * M, false, { 2 * M, 0, 0 } },
		{ "5,0:1", 2 * M, false, { 0 } },
		{ "0:1,", 2 * M, false, { 2 * M, 0, 0 } },
		{ "0:", 2 * M, false, { 0 } },
		{ "0:9999999999999999999", 2 * M, true, { ~0ULL, 0, 0 } },
		{ "99999999999999999999", 2 * M, false, { 0 } },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
		struct dmem_node nodes[3] = { { .nid = 0 }, { .nid = 1 }, { .nid = 4 } };
		bool understood;

		understood = dmem_parse_hugepages(table[i].text, table[i].page_size, nodes, 3);
		CHECK(table[i].text, understood == table[i].understood, "returned %d", understood);
		for (int n = 0; n < 3; n++) {
			CHECK(table[i].text, nodes[n].promised == table[i].promised[n],
			      "node %d: %llx", nodes[n].nid, nodes[n].promised);
			CHECK(table[i].text, nodes[n].gib_pages == table[i].gib[n],
			      "node %d: %llu", nodes[n].nid, nodes[n].gib_pages);
		}
	}
	CHECK("no nodes", !dmem_parse_hugepages("5", 2 * M, NULL, 0), "understood");
}

static void test_hugepagesz(void)
{
	static const struct {
		const char *text;
		bool good;
		u64 size;
	} table[] = {
		{ "1G", true, 1 * G },
		{ "2M", true, 2 * M },
		{ "2097152", true, 2 * M },
		{ "0x200000", true, 2 * M },
		{ "2MB", false, 7 },
		{ "", false, 7 },
		{ "-1", false, 7 },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
		u64 size = 7;
		bool good = dmem_parse_hugepagesz(table[i].text, &size);

		CHECK(table[i].text, good == table[i].good, "returned %d", good);
		CHECK(table[i].text, size == table[i].size, "size %llx", size);
	}
}

int main(void)
{
	test_items();
	test_lists();
	test_random();
	test_hugepages();
	test_hugepagesz();
	return check_result("dmem-parse");
}
