/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "host/kernel-cmdline.h"
#include "test.h"

static char dmem[] = "dmem=4G";
static char *planned[] = { dmem, NULL };
static char *nothing[] = { NULL };

TEST(replace) {
        static const struct {
                const char *text;
                char *const *arguments;
                const char *after;
        } table[] = {
                { "root=/dev/a ro quiet\n", planned, "root=/dev/a ro quiet dmem=4G\n" },
                { "root=/dev/a ro quiet", planned, "root=/dev/a ro quiet dmem=4G" },
                { "root=/dev/a\nro  quiet \n\n", planned, "root=/dev/a\nro  quiet dmem=4G \n\n" },
                { "# dmem=1G\nroot=a\n # why\n", planned, "# dmem=1G\nroot=a dmem=4G\n # why\n" },
                { "root=a dmem=1G\nro dmem=2G\n", planned, "root=a dmem=4G\nro\n" },
                { "root=a\nx dmem=2G y\n", planned, "root=a\nx dmem=4G y\n" },
                { "root=a -- b\ndmem=2G\n", planned, "root=a dmem=4G -- b\ndmem=2G\n" },
                { "root=a\r\n", planned, "root=a dmem=4G\r\n" },
                { "dmem=4G\nro\n", nothing, "\nro\n" },
                { "root=a dmem=4G", nothing, "root=a" },
                /* A quote that is not closed ends with its line */
                { "root=a dmem=1G\"\nro\n", planned, "root=a dmem=4G\nro\n" },
                { "", planned, "dmem=4G\n" },
                { "# only this", planned, "# only this\ndmem=4G\n" },
                { "", nothing, "" },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                char *after = NULL;

                EXPECT_EQ(table[i].text,
                          kernel_cmdline_replace(table[i].text, table[i].arguments, &after), 0);
                EXPECT_STREQ(table[i].text, after, table[i].after);
                free(after);
        }
}

TEST(join) {
        static const struct {
                const char *text, *line;
        } table[] = {
                { "a b\nc\n", "a b c " },
                { "# x\na\t\n  # y\nb", "a  b" },
                { "", "" },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                char *line = NULL;

                EXPECT_EQ(table[i].text, kernel_cmdline_join(table[i].text, &line), 0);
                EXPECT_STREQ(table[i].text, line, table[i].line);
                free(line);
        }
}

TEST(from_options) {
        static const struct {
                const char *options, *text;
        } table[] = {
                { "root=/dev/a  ro quiet", "root=/dev/a ro quiet\n" },
                { "BOOT_IMAGE=/x root=a initrd=\\i dmem=1G a=\"b  c\" systemd.machine_id=1 "
                  "$tuned_params",
                  "root=a a=\"b  c\"\n" },
                { "ro -- dmem=1G", "ro -- dmem=1G\n" },
                { "$kernelopts", "" },
                { "", "" },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                char *text = NULL;

                EXPECT_EQ(table[i].options, kernel_cmdline_from_options(table[i].options, &text),
                          0);
                EXPECT_STREQ(table[i].options, text, table[i].text);
                free(text);
        }
}

TEST_MAIN()
