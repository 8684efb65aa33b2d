/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "basic/id-set.h"
#include "test.h"

static void expect_set(const char *label, int r, IdSet *set, int expected_r, const char *expected) {
        _cleanup_free_ char *text = NULL;

        EXPECT_EQ(label, r, expected_r);
        if (r < 0) {
                EXPECT_EQ(label, set->n_ranges, 99 /* left untouched */);
                return;
        }
        text = id_set_format(set);
        EXPECT_STREQ(label, text, expected);
        id_set_done(set);
}

TEST(parse) {
        static const struct {
                const char *text;
                int r;
                const char *formatted;
        } table[] = {
                { "", 0, "" },
                { "\n", 0, "" },
                { "0\n", 0, "0" },
                { "0-3,7", 0, "0-3,7" },
                { "7,3,0-2,1", 0, "0-3,7" },
                { "4-4", 0, "4" },
                { "0-65535", 0, "0-65535" },
                { "65536", -ERANGE, NULL },
                { "0-4294967295", -ERANGE, NULL },
                { "3-1", -EINVAL, NULL },
                { "0,,1", -EINVAL, NULL },
                { ",", -EINVAL, NULL },
                { "-", -EINVAL, NULL },
                { "1-", -EINVAL, NULL },
                { "0-9:2/4", -EINVAL, NULL },
                { "all", -EINVAL, NULL },
                { "0 1", -EINVAL, NULL },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                IdSet set = { .n_ranges = 99 };
                int r = id_set_parse(table[i].text, &set);

                expect_set(table[i].text, r, &set, table[i].r, table[i].formatted);
        }
}

TEST(parse_mask) {
        static const struct {
                const char *text;
                int r;
                const char *formatted;
        } table[] = {
                { "0\n", 0, "" },
                { "f\n", 0, "0-3" },
                { "00000001,80000000", 0, "31-32" },
                { "ff,00000000,00000000", 0, "64-71" },
                { "1,,0", -EINVAL, NULL },
                { "100000000", -EINVAL, NULL },
                { "x", -EINVAL, NULL },
                { "", -EINVAL, NULL },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                IdSet set = { .n_ranges = 99 };
                int r = id_set_parse_mask(table[i].text, &set);

                expect_set(table[i].text, r, &set, table[i].r, table[i].formatted);
        }
}

TEST(contains) {
        IdSet set;

        EXPECT_EQ("2-3,7", id_set_parse("2-3,7", &set), 0);
        for (unsigned id = 0; id < 10; id++)
                EXPECT_EQ("2-3,7", id_set_contains(&set, id), id == 2 || id == 3 || id == 7);
        id_set_done(&set);
}

TEST_MAIN()
