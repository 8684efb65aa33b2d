/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "basic/macro.h"
#include "basic/utf8.h"
#include "test.h"

#define BAD "\xef\xbf\xbd"

TEST(replace_invalid) {
        static const struct {
                const char *text, *expected;
        } table[] = {
                { "", "" },
                { "a\n\x7f", "a\n\x7f" },
                { "\xc2\x9b \xe2\x82\xac \xf0\x9f\x98\x80",
                  "\xc2\x9b \xe2\x82\xac \xf0\x9f\x98\x80" },
                { "\xff", BAD },
                { "x\x80y", "x" BAD "y" },
                { "\xc0\x80", BAD BAD },                 /* overlong */
                { "\xe0\x80\xaf", BAD BAD BAD },         /* overlong */
                { "\xed\xa0\x80", BAD BAD BAD },         /* surrogate */
                { "\xf4\x90\x80\x80", BAD BAD BAD BAD }, /* beyond U+10FFFF */
                { "\xe2\x82", BAD BAD },                 /* the end is missing */
                { "\xe2\x82z", BAD BAD "z" },
                { BAD, BAD },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                _cleanup_free_ char *text = utf8_replace_invalid(table[i].text);

                EXPECT_STREQ(table[i].expected, text, table[i].expected);
        }
}

TEST(length) {
        EXPECT_EQ("none", utf8_length("\x80"), 0U);
        EXPECT_EQ("end", utf8_length(""), 1U);
        EXPECT_EQ("one", utf8_length("a\xff"), 1U);
        EXPECT_EQ("two", utf8_length("\xc3\xa4z"), 2U);
        EXPECT_EQ("three", utf8_length("\xe2\x82\xac"), 3U);
        EXPECT_EQ("four", utf8_length("\xf0\x9f\x98\x80"), 4U);
}

TEST_MAIN()
