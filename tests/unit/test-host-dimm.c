/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "host/host-dimm.h"
#include "tree.h"

/* A memory device of 28 bytes: handle, then size at 0x0c, locators at 0x10, serial at 0x18 */
#define DEVICE(size, locator, bank, serial)                                                        \
        "\x11\x1c\x00\x11\x00\x10\xfe\xff\x48\x00\x40\x00" size "\x09\x00" locator bank            \
        "\x1a\x80\x00\x40\x06\x01" serial "\x04\x05\x00"
#define END "\x7f\x04\x00\x7f\x00\x00"

typedef struct Table {
        const char *label;
        const char *data;
        size_t size;
        int r;
        const char *expected;
} Table;

TEST(dimms) {
#define ROW(label, data, r, expected)                                                              \
        { label, data, sizeof(data) - 1, r, expected }
        static const Table table[] = {
                ROW("empty", "", 0, ""),
                ROW("end", END, 0, ""),
                ROW("one",
                    DEVICE("\x00\x40", "\x01", "\x02", "\x03") "A1\0BANK\0"
                                                               "12345\0\0" END,
                    0, "BANK A1=12345;"),
                ROW("no bank",
                    DEVICE("\x00\x40", "\x01", "\x00", "\x02") "A1\0"
                                                               "777 \0\0" END,
                    0, "A1=777;"),
                ROW("no serial", DEVICE("\x00\x40", "\x01", "\x00", "\x00") "A1\0\0" END, 0,
                    "A1=-;"),
                ROW("blank serial", DEVICE("\x00\x40", "\x01", "\x00", "\x02") "A1\0  \0\0" END, 0,
                    "A1=-;"),
                ROW("a string that is not there",
                    DEVICE("\x00\x40", "\x01", "\x00", "\x09") "A1\0\0" END, 0, "A1=-;"),
                ROW("empty slot", DEVICE("\x00\x00", "\x01", "\x00", "\x00") "A1\0\0" END, 0, ""),
                ROW("two",
                    DEVICE("\x00\x40", "\x01", "\x00",
                           "\x02") "A1\0"
                                   "1\0\0" DEVICE("\x00\x40", "\x01", "\x00", "\x02") "A2\0"
                                                                                      "2\0\0" END,
                    0, "A1=1;A2=2;"),
                ROW("behind the end", END DEVICE("\x00\x40", "\x01", "\x00", "\x00") "A1\0\0", 0,
                    ""),
                ROW("not terminated", DEVICE("\x00\x40", "\x01", "\x00", "\x00") "A1", -EBADMSG,
                    NULL),
                ROW("cut off", "\x11\x1c\x00\x11", -EBADMSG, NULL),
                ROW("too short a length", "\x11\x02\x00\x11\x00\x00", -EBADMSG, NULL),
                ROW("control characters",
                    DEVICE("\x00\x40", "\x01", "\x00", "\x02") "A\x1b\0\xff\0\0" END, 0,
                    "A\\033=\\377;"),
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                char shown[256] = "", *end = shown;
                Dimms dimms = { .n_items = 77 };

                EXPECT_EQ(table[i].label, dimms_parse(table[i].data, table[i].size, &dimms),
                          table[i].r);
                if (table[i].r < 0) {
                        EXPECT_EQ(table[i].label, dimms.n_items, 77);
                        continue;
                }
                for (size_t k = 0; k < dimms.n_items; k++)
                        end += sprintf(end, "%s=%s;", dimms.items[k].locator,
                                       dimms.items[k].serial ?: "-");
                EXPECT_STREQ(table[i].label, shown, table[i].expected);
                dimms_done(&dimms);
        }
}

TEST(host) {
        _cleanup_close_ int root_fd = tree_new();
        Dimms dimms = {};

        EXPECT_EQ("no tables", host_load_dimms(root_fd, &dimms), -ENOENT);
        tree_write_bytes(root_fd, "sys/firmware/dmi/tables/DMI", END, sizeof(END) - 1);
        EXPECT_EQ("tables", host_load_dimms(root_fd, &dimms), 0);
        EXPECT_EQ("no modules", dimms.n_items, 0);
        dimms_done(&dimms);
}

TEST_MAIN()
