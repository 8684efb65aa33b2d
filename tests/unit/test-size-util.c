/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "basic/size-util.h"
#include "test.h"

TEST(parse_size) {
        static const struct {
                const char *text;
                int r;
                uint64_t bytes;
        } table[] = {
                { "0", 0, 0 },
                { "16G", 0, 16 * GiB },
                { "16g", 0, 16 * GiB },
                { "1024M", 0, GiB },
                { "0x40000000", 0, GiB },
                { "0X10K", 0, 16 * KiB },
                { "3T", 0, 3 * TiB },
                { "007", 0, 7 },
                { "18446744073709551615", 0, UINT64_MAX },
                { "18446744073709551616", -ERANGE, 7 },
                { "16777216T", -ERANGE, 7 },
                { "16777215T", 0, 16777215 * TiB },
                { "99999999999999999999x", -EINVAL, 7 },
                { "16GB", -EINVAL, 7 },
                { "16 G", -EINVAL, 7 },
                { " 16G", -EINVAL, 7 },
                { "1.5G", -EINVAL, 7 },
                { "-1", -EINVAL, 7 },
                { "+1", -EINVAL, 7 },
                { "0x", -EINVAL, 7 },
                { "G", -EINVAL, 7 },
                { "16P", -EINVAL, 7 },
                { "", -EINVAL, 7 },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                uint64_t bytes = 7;

                EXPECT_EQ(table[i].text, parse_size(table[i].text, &bytes), table[i].r);
                EXPECT_TRUE(table[i].text, bytes == table[i].bytes);
        }
}

TEST(parse_numbers) {
        static const struct {
                const char *text;
                int r_u64, r_unsigned, r_hex;
        } table[] = {
                { "12", 0, 0, 0 },
                { "4294967295", 0, 0, 0 },
                { "4294967296", 0, -ERANGE, 0 },
                { "18446744073709551616", -ERANGE, -ERANGE, -ERANGE },
                { "ff", -EINVAL, -EINVAL, 0 },
                { "0xffffffffffffffff", -EINVAL, -EINVAL, 0 },
                { "0x10000000000000000", -EINVAL, -EINVAL, -ERANGE },
                { "1 ", -EINVAL, -EINVAL, -EINVAL },
                { "", -EINVAL, -EINVAL, -EINVAL },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                uint64_t decimal = 7, hex = 7;
                unsigned id = 7;

                EXPECT_EQ(table[i].text, parse_u64(table[i].text, &decimal), table[i].r_u64);
                EXPECT_EQ(table[i].text, parse_unsigned(table[i].text, &id), table[i].r_unsigned);
                EXPECT_EQ(table[i].text, parse_hex(table[i].text, &hex), table[i].r_hex);
                EXPECT_EQ(table[i].text, decimal == 7, table[i].r_u64 < 0);
                EXPECT_EQ(table[i].text, id == 7, table[i].r_unsigned < 0);
                EXPECT_EQ(table[i].text, hex == 7, table[i].r_hex < 0);
        }
}

TEST(format_size) {
        static const struct {
                uint64_t bytes;
                const char *exact;
                const char *rounded;
        } table[] = {
                { 0, "0", "0" },
                { 1, "1", "1" },
                { 4097, "4097", "4K" },
                { 1536 * MiB, "1536M", "1.5G" },
                { 60 * GiB, "60G", "60G" },
                { 60 * GiB - 1, "64424509439", "59.9G" },
                { TiB + 128 * MiB, "1048704M", "1T" },
                { UINT64_MAX, "18446744073709551615", "16777215.9T" },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                char buffer[FORMAT_SIZE_MAX];
                uint64_t bytes = 7;

                EXPECT_STREQ(table[i].exact, format_size(buffer, table[i].bytes), table[i].exact);
                EXPECT_EQ(table[i].exact, parse_size(buffer, &bytes), 0);
                EXPECT_TRUE(table[i].exact, bytes == table[i].bytes);
                EXPECT_STREQ(table[i].exact, format_size_rounded(buffer, table[i].bytes),
                             table[i].rounded);
        }
}

TEST_MAIN()
