/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "plan/dmem-argument.h"
#include "test.h"

static const char *const kinds[] = {
        [DMEM_ITEM_TAKE] = "take",
        [DMEM_ITEM_LEAVE] = "leave",
        [DMEM_ITEM_RANGE] = "range",
};

/* `take 0 4294967296 134217728;` for each good item, `bad TEXT;` for each other. */
static void show(const DmemRequest *request, char *ret) {
        *ret = '\0';
        for (size_t i = 0; i < request->n_items; i++) {
                const DmemItem *item = &request->items[i];
                char node[16] = "*";

                if (!item->all_nodes)
                        (void)snprintf(node, sizeof(node), "%u", item->node);
                ret += sprintf(ret, "%s %s %" PRIu64 "M", kinds[item->kind], node,
                               item->size / MiB);
                if (item->kind == DMEM_ITEM_RANGE)
                        ret += sprintf(ret, " @%" PRIx64, item->address);
                ret += sprintf(ret, " %" PRIu64 "M;", item->align / MiB);
        }
        for (size_t i = 0; i < request->n_bad_items; i++)
                ret += sprintf(ret, "bad %s;", request->bad_items[i].text);
}

TEST(parse) {
        static const struct {
                const char *argument, *shown;
        } table[] = {
                { "dmem=4G", "take * 4096M 128M;" },
                { "dmem=0:4g", "take 0 4096M 128M;" },
                { "dmem=0:4G,1:!512M", "take 0 4096M 128M;leave 1 512M 128M;" },
                { "dmem=4G:1G", "take * 4096M 1024M;" },
                { "dmem=12:4G:256M", "take 12 4096M 256M;" },
                { "dmem=1T", "take * 1048576M 128M;" },
                { "dmem=2048K", "take * 2M 128M;" },
                { "dmem=1G@5G", "range * 1024M @140000000 128M;" },
                { "dmem=1G@0x140000000:1G", "range * 1024M @140000000 1024M;" },
                { "dmem=1G@0X40000K", "range * 1024M @10000000 128M;" },
                { "dmem=1G@5368709120", "range * 1024M @140000000 128M;" },
                { "dmem=0M", "take * 0M 128M;" },
                { "hugepages=5", "" },
                { "dmemx=5G", "" },
                { "dmem=", "bad ;" },
                { "dmem=banana", "bad banana;" },
                { "dmem=4G,", "take * 4096M 128M;bad ;" },
                { "dmem=,4G", "take * 4096M 128M;bad ;" },
                { "dmem=banana,1:4G", "take 1 4096M 128M;bad banana;" },
                { "dmem=4", "bad 4;" },
                { "dmem=0x4G", "bad 0x4G;" },
                { "dmem=4GB", "bad 4GB;" },
                { "dmem=4 G", "bad 4 G;" },
                { "dmem= 4G", "bad  4G;" },
                { "dmem=-4G", "bad -4G;" },
                { "dmem=1.5G", "bad 1.5G;" },
                { "dmem=!", "bad !;" },
                { "dmem=0:", "bad 0:;" },
                { "dmem=:4G", "bad :4G;" },
                { "dmem=0:1:4G", "bad 0:1:4G;" },
                { "dmem=!0:4G", "bad !0:4G;" },
                { "dmem=4G:64M", "bad 4G:64M;" },
                { "dmem=4G:3G", "bad 4G:3G;" },
                { "dmem=4G:1", "bad 4G:1;" },
                { "dmem=4G:", "bad 4G:;" },
                { "dmem=!4G@5G", "bad !4G@5G;" },
                { "dmem=0:4G@5G", "bad 0:4G@5G;" },
                { "dmem=4G@", "bad 4G@;" },
                { "dmem=4G@0x", "bad 4G@0x;" },
                { "dmem=4G@5G:1G:1G", "bad 4G@5G:1G:1G;" },
                { "dmem=2147483647:1G", "take 2147483647 1024M 128M;" },
                { "dmem=2147483648:1G", "bad 2147483648:1G;" },
                { "dmem=16777215T", "take * 17592184995840M 128M;" },
                { "dmem=16777216T", "bad 16777216T;" },
                { "dmem=99999999999999999999K", "bad 99999999999999999999K;" },
                { "dmem=1G@0xffffffffffffffff", "bad 1G@0xffffffffffffffff;" },
                { "dmem=0:\"4G\"", "bad 0:\"4G\";" },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                char *const arguments[] = { (char *)table[i].argument, NULL };
                DmemRequest request;
                char shown[256];

                EXPECT_EQ(table[i].argument, dmem_request_parse(arguments, &request), 0);
                show(&request, shown);
                EXPECT_STREQ(table[i].argument, shown, table[i].shown);
                dmem_request_done(&request);
        }
}

#define NOT_KNOWN UINT64_MAX

TEST(asked_of_node) {
        static const struct {
                const char *label;
                const char *arguments[4];
                unsigned node;
                uint64_t installed;
                DmemAsked asked;
        } table[] = {
                { "nothing", {}, 0, 8 * GiB, { true, 0, 0 } },
                { "every node", { "dmem=4G" }, 3, 8 * GiB, { true, 4 * GiB, 0 } },
                { "size not known", { "dmem=4G" }, 3, NOT_KNOWN, { true, 4 * GiB, 0 } },
                { "no memory", { "dmem=4G" }, 3, 0, { true, 0, 0 } },
                { "named without memory", { "dmem=3:4G" }, 3, 0, { true, 4 * GiB, 0 } },
                { "other node", { "dmem=0:4G" }, 3, 8 * GiB, { true, 0, 0 } },
                { "later replaces", { "dmem=4G,3:1G" }, 3, 8 * GiB, { true, GiB, 0 } },
                { "later for all replaces", { "dmem=3:1G,4G" }, 3, 8 * GiB, { true, 4 * GiB, 0 } },
                { "several add up",
                  { "dmem=4G", "ro", "dmem=3:1G" },
                  3,
                  8 * GiB,
                  { true, 5 * GiB, 0 } },
                { "rounding", { "dmem=1000M" }, 0, 8 * GiB, { true, 1000 * MiB, 104 * MiB } },
                { "rounding to 1G",
                  { "dmem=2500M:1G" },
                  0,
                  8 * GiB,
                  { true, 2500 * MiB, 452 * MiB } },
                { "leave", { "dmem=!2G" }, 0, 8 * GiB, { true, 6 * GiB, 128 * MiB - 1 } },
                { "leave more", { "dmem=!9G" }, 0, 8 * GiB, { true, 0, 128 * MiB - 1 } },
                { "leave of what", { "dmem=!2G" }, 0, NOT_KNOWN, { false, 0, 128 * MiB - 1 } },
                { "take and leave",
                  { "dmem=1G", "dmem=!2G" },
                  0,
                  8 * GiB,
                  { true, 6 * GiB, 128 * MiB - 1 } },
                { "bad item", { "dmem=1G,banana" }, 0, 8 * GiB, { true, GiB, 0 } },
                { "ranges aside", { "dmem=1G@4G" }, 0, 8 * GiB, { true, 0, 0 } },
                { "saturates",
                  { "dmem=16777215T", "dmem=16777215T" },
                  0,
                  8 * GiB,
                  { true, UINT64_MAX, 0 } },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                const uint64_t *installed =
                        table[i].installed == NOT_KNOWN ? NULL : &table[i].installed;
                DmemRequest request;
                DmemAsked asked;

                EXPECT_EQ(table[i].label,
                          dmem_request_parse((char *const *)table[i].arguments, &request), 0);
                asked = dmem_request_node(&request, table[i].node, installed);
                EXPECT_EQ(table[i].label, asked.known, table[i].asked.known);
                EXPECT_EQ(table[i].label, asked.bytes, table[i].asked.bytes);
                EXPECT_EQ(table[i].label, asked.loss, table[i].asked.loss);
                dmem_request_done(&request);
        }
}

TEST(asked_with_ranges) {
        static const struct {
                const char *argument;
                uint64_t bytes, loss;
        } table[] = {
                { "dmem=4G", 0, 0 },
                { "dmem=1G@4G", GiB, 0 },
                { "dmem=1G@4G,2G@8G", 3 * GiB, 0 },
                { "dmem=256M@64M", 256 * MiB, 128 * MiB },
                { "dmem=64M@0", 64 * MiB, 64 * MiB },
                { "dmem=200M@64M", 200 * MiB, 72 * MiB },
                { "dmem=1G@1M:1G", GiB, GiB },
                { "dmem=1M@0xffffffffffe00000:1G", MiB, MiB },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                char *const arguments[] = { (char *)table[i].argument, NULL };
                DmemRequest request;
                DmemAsked asked;

                EXPECT_EQ(table[i].argument, dmem_request_parse(arguments, &request), 0);
                asked = dmem_request_ranges(&request);
                EXPECT_EQ(table[i].argument, asked.bytes, table[i].bytes);
                EXPECT_EQ(table[i].argument, asked.loss, table[i].loss);
                dmem_request_done(&request);
        }
}

TEST_MAIN()
