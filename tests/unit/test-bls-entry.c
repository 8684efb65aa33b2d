/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "host/bls-entry.h"
#include "test.h"

static char dmem[] = "dmem=0:4G,1:5G", size[] = "hugepagesz=1G", pages[] = "hugepages=4";
static char *planned[] = { dmem, NULL };
static char *pages_planned[] = { size, pages, NULL };
static char *nothing[] = { NULL };

#define P "dmem=0:4G,1:5G"

TEST(replace) {
        static const struct {
                const char *text;
                BlsReader reader;
                char *const *arguments;
                const char *after;
        } table[] = {
                /* What stands there stays as it is: blanks, tabs, comments, line ends, order */
                { "title  A\noptions   root=/dev/a  quiet\nlinux /l\n", 0, planned,
                  "title  A\noptions   root=/dev/a  quiet " P "\nlinux /l\n" },
                { "options\troot=/dev/a quiet \t\nlinux /l\n", 0, planned,
                  "options\troot=/dev/a quiet " P " \t\nlinux /l\n" },
                { "# options x\n  options a=\"b  c\"\r\nlinux /l\r\n", 0, planned,
                  "# options x\n  options a=\"b  c\" " P "\r\nlinux /l\r\n" },
                { "linux /l\noptions ro", 0, planned, "linux /l\noptions ro " P },
                { "linux /l\n\noptions ro\n\n\n", 0, planned,
                  "linux /l\n\noptions ro " P "\n\n\n" },
                { "options ro -- x\n", 0, planned, "options ro " P " -- x\n" },
                { "options ro dmem=1G quiet\n", 0, planned, "options ro " P " quiet\n" },
                { "options ro dmem=1G hugepages=3 quiet dmem=2G\n", 0, planned,
                  "options ro " P " quiet\n" },
                { "options $kernelopts $tuned_params\ngrub_arg --unrestricted\n", BLS_READER_GRUB,
                  planned, "options $kernelopts $tuned_params " P "\ngrub_arg --unrestricted\n" },
                { "options default_hugepagesz=1G hugepagesz=1G hugepages=32\n", 0, pages_planned,
                  "options default_hugepagesz=1G hugepagesz=1G hugepages=4\n" },
                { "options_x ro\nxoptions ro\nOptions ro\nlinux /l\n", 0, nothing,
                  "options_x ro\nxoptions ro\nOptions ro\nlinux /l\n" },
                /* Several lines of options: systemd-boot joins them, GRUB takes the first */
                { "options ro\noptions dmem=1G quiet\n", 0, planned,
                  "options ro\noptions " P " quiet\n" },
                { "options ro\noptions dmem=1G quiet\n", BLS_READER_GRUB, planned,
                  "options ro " P "\noptions quiet\n" },
                { "options ro\noptions dmem=1G\ninitrd /i\n", BLS_READER_GRUB, planned,
                  "options ro " P "\ninitrd /i\n" },
                { "options ro -- a\noptions dmem=1G\n", 0, planned,
                  "options ro " P " -- a\noptions dmem=1G\n" },
                { "options ro " P "\noptions dmem=1G\n", 0, nothing, "options ro\n" },
                /* A line that has nothing left would end the entry for GRUB */
                { "linux /l\noptions dmem=1G\ninitrd /i\n", BLS_READER_GRUB, nothing,
                  "linux /l\ninitrd /i\n" },
                { "linux /l\noptions\ninitrd /i\n", 0, planned,
                  "linux /l\noptions " P "\ninitrd /i\n" },
                { "linux /l\noptions \ninitrd /i\n", 0, nothing,
                  "linux /l\noptions \ninitrd /i\n" },
                { "title A\nlinux /l\ninitrd /i\n", 0, planned,
                  "title A\nlinux /l\noptions " P "\ninitrd /i\n" },
                { "title A\r\nlinux /l\r\ninitrd /i\r\n", 0, planned,
                  "title A\r\nlinux /l\r\noptions " P "\r\ninitrd /i\r\n" },
                { "linux /l", 0, planned, "linux /l\noptions " P },
                { "linux /l\n", 0, nothing, "linux /l\n" },
                { "title A\n", 0, planned, "title A\n" },
                { "", 0, planned, "" },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                char *after = NULL, *again = NULL;

                EXPECT_EQ(table[i].text,
                          bls_entry_replace(table[i].text, table[i].reader, table[i].arguments,
                                            NULL, &after),
                          0);
                EXPECT_STREQ(table[i].text, after, table[i].after);
                EXPECT_EQ(
                        table[i].text,
                        bls_entry_replace(after, table[i].reader, table[i].arguments, NULL, &again),
                        0);
                EXPECT_STREQ(table[i].text, again, after);
                free(after);
                free(again);
        }
}

TEST(replace_with_a_base) {
        char *after = NULL;

        EXPECT_EQ("base",
                  bls_entry_replace("linux /l\n", BLS_READER_GRUB, planned, "$default_kernelopts",
                                    &after),
                  0);
        EXPECT_STREQ("base", after, "linux /l\noptions $default_kernelopts " P "\n");
        free(after);
}

TEST(parse) {
        static const struct {
                const char *text;
                BlsReader reader;
                const char *title, *version, *machine_id, *kernel, *options;
                unsigned line;
        } table[] = {
                { "# c\ntitle  A  B \nversion\t6.1\nmachine-id abc\nlinux /l\noptions a\n", 0,
                  "A  B", "6.1", "abc", "/l", "a", 6 },
                { "linux /l\r\noptions a\r\n", 0, NULL, NULL, NULL, "/l", "a", 2 },
                { "linux /l\noptions a \noptions b\n", 0, NULL, NULL, NULL, "/l", "a  b", 2 },
                { "linux /l\noptions a\noptions b", 1, NULL, NULL, NULL, "/l", "a", 2 },
                { "title A\ntitle B\nlinux /l\nlinux /m\n", 0, "B", NULL, NULL, "/m", NULL, 4 },
                { "title A\ntitle B\nlinux /l\nlinux /m\n", 1, "A", NULL, NULL, "/l", NULL, 3 },
                { "linux /l\n\noptions a\n", 0, NULL, NULL, NULL, "/l", "a", 3 },
                { "linux /l\n\noptions a\n", 1, NULL, NULL, NULL, "/l", NULL, 1 },
                { "linux /l\noptions\nversion 1\n", 1, NULL, NULL, NULL, "/l", NULL, 1 },
                { "linux /l\n#\n# x\noptions a", 1, NULL, NULL, NULL, "/l", "a", 4 },
                { "efi /shell.efi", 0, NULL, NULL, NULL, NULL, NULL, 0 },
                { "", 0, NULL, NULL, NULL, NULL, NULL, 0 },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                BlsEntry e = { 0 };

                EXPECT_EQ(table[i].text, bls_entry_parse(table[i].text, table[i].reader, &e), 0);
                EXPECT_STREQ(table[i].text, e.title, table[i].title);
                EXPECT_STREQ(table[i].text, e.version, table[i].version);
                EXPECT_STREQ(table[i].text, e.machine_id, table[i].machine_id);
                EXPECT_STREQ(table[i].text, e.kernel, table[i].kernel);
                EXPECT_STREQ(table[i].text, e.options, table[i].options);
                EXPECT_EQ(table[i].text, e.options_line, table[i].line);
                bls_entry_done(&e);
        }
}

/* The order of UAPI.10, oldest first. */
TEST(versions) {
        static const char *const sorted[] = {
                NULL,         "~1",    "",        "ab",      "abb",    "abc",
                "0001",       "002",   "12",      "122",     "122.9",  "123~rc1-1",
                "123",        "123-a", "123-a.1", "123-a1",  "123-3",  "123-3.1",
                "123^patch1", "123^1", "123.a-1", "123.1-1", "123a-1", "124",
        };

        for (size_t i = 0; i < ELEMENTSOF(sorted); i++)
                for (size_t j = 0; j < ELEMENTSOF(sorted); j++) {
                        int r = bls_version_compare(sorted[i], sorted[j]);
                        char label[64];

                        (void)snprintf(label, sizeof(label), "%s and %s", sorted[i] ?: "NULL",
                                       sorted[j] ?: "NULL");
                        EXPECT_EQ(label, (r > 0) - (r < 0), (i > j) - (i < j));
                }
        EXPECT_TRUE("zeroes", bls_version_compare("1.01", "1.1") == 0);
}

TEST(entry_id) {
        static const struct {
                const char *name, *id;
                bool is_bad;
        } table[] = {
                { "a-6.1.conf", "a-6.1", false },
                { "a-6.1+3.conf", "a-6.1", false },
                { "a-6.1+2-1.conf", "a-6.1", false },
                { "a-6.1+0-3.conf", "a-6.1", true },
                { "a-6.1+00.conf", "a-6.1", true },
                { "a-6.1+deb13.conf", "a-6.1+deb13", false },
                { "a-6.1+deb13+3.efi", "a-6.1+deb13", false },
                { "a-6.1+3-.conf", "a-6.1+3-", false },
                { "a+.conf", "a+", false },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                bool is_bad = !table[i].is_bad;
                char *id = bls_entry_id(table[i].name, &is_bad);

                EXPECT_STREQ(table[i].name, id, table[i].id);
                EXPECT_EQ(table[i].name, is_bad, table[i].is_bad);
                free(id);
        }
}

TEST(loader_default) {
        static const struct {
                const char *text;
                int r;
                const char *value;
        } table[] = {
                { "timeout 3\ndefault arch-*\n", 0, "arch-*" },
                { "default a\ndefault  b.conf \r\n", 0, "b.conf" },
                { "#default a\ntimeout 3\n", -ENOENT, NULL },
                { "default\n", -ENOENT, NULL },
                { "", -ENOENT, NULL },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                char *value = NULL;

                EXPECT_EQ(table[i].text, bls_loader_default(table[i].text, &value), table[i].r);
                EXPECT_STREQ(table[i].text, value, table[i].value);
                free(value);
        }
}

TEST_MAIN()
