/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "basic/root-fs.h"
#include "plan/cmdline.h"
#include "test.h"

DEFINE_CLEANUP(char **, strv_free);

TEST(word_is_ours) {
        static const struct {
                const char *word;
                bool ours;
        } table[] = {
                { "dmem=0:4G", true },
                { "dmem=", true },
                { "\"dmem=0:4G\"", true },
                { "hugepages=4", true },
                { "hugepagesz=1G", true },
                { "hugetlb_free_vmemmap=on", true },
                { "hugetlb-free-vmemmap=on", true },
                { "dmem", false },
                { "=dmem=", false },
                { "dmemfs.regions=0x0-0x1", false },
                { "dmem.debug=1", false },
                { "default_hugepagesz=1G", false },
                { "hugepages", false },
                { "Dmem=1G", false },
                { "mem=1G", false },
                { "", false },
                { "\"", false },
                { "=", false },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++)
                EXPECT_EQ(table[i].word, cmdline_word_is_ours(table[i].word), table[i].ours);
}

/* Words are shown joined by `|`. */
TEST(extract) {
        static const struct {
                const char *cmdline, *own;
        } table[] = {
                { "", "" },
                { " \t\n", "" },
                { "ro quiet", "" },
                { "ro dmem=0:4G,1:4G quiet", "dmem=0:4G,1:4G" },
                { "hugepagesz=2M hugepages=5 dmem=1G\n", "hugepagesz=2M|hugepages=5|dmem=1G" },
                { "dmem=1G\tdmem=2G", "dmem=1G|dmem=2G" },
                { "ro -- dmem=1G", "" },
                { "dmem=1G -- dmem=2G", "dmem=1G" },
                { "dmem=1G \"--\" dmem=2G", "dmem=1G" },
                { "dmem=1G --x dmem=2G", "dmem=1G|dmem=2G" },
                { "--=1 dmem=2G", "dmem=2G" },
                { "\"dmem=1G\"", "dmem=1G" },
                { "dmem=\"1G\"", "dmem=1G" },
                { "dmem=\"1G 2G\"", "dmem=1G 2G" },
                { "\"dmem=1G 2G\" x", "dmem=1G 2G" },
                { "dmem=0:\"1G\"", "dmem=0:\"1G\"" },
                { "x=\"dmem=1G dmem=2G\"", "" },
                { "x=\"a dmem=1G", "" },
                { "dmem=\"1G ro", "dmem=1G ro" },
                { "dmem=\"", "dmem=" },
                { "dmem=\"\"", "dmem=" },
                { "\"dmem=\"1G\"\"", "dmem=1G\"" },
                { "\"dmem=1G\"x y\"", "dmem=1G\"x" },
                { "hugetlb-free-vmemmap=on", "hugetlb_free_vmemmap=on" },
                { "dmem=1G\xa0"
                  "dmem=2G",
                  "dmem=1G|dmem=2G" },
                { "dmem=\xc3\xb6 dmem=2G", "dmem=\xc3\xb6|dmem=2G" },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                _cleanup_(strv_freep) char **own = NULL;
                char shown[256] = "";

                EXPECT_EQ(table[i].cmdline, cmdline_extract(table[i].cmdline, &own), 0);
                for (char **word = own; *word; word++) {
                        strcat(shown, *word);
                        if (word[1])
                                strcat(shown, "|");
                }
                EXPECT_STREQ(table[i].cmdline, shown, table[i].own);
        }
}

TEST(replace) {
        static const struct {
                const char *cmdline;
                const char *arguments[4];
                const char *expected;
        } table[] = {
                { "", {}, "" },
                { "", { "dmem=1G" }, "dmem=1G" },
                { "\n", { "dmem=1G" }, "dmem=1G\n" },
                { "ro quiet", {}, "ro quiet" },
                { "  ro\t quiet \n", {}, "  ro\t quiet \n" },
                { "ro quiet", { "dmem=1G" }, "ro quiet dmem=1G" },
                { "ro quiet\n", { "dmem=1G" }, "ro quiet dmem=1G\n" },
                { "ro  ", { "dmem=1G", "hugepages=2" }, "ro dmem=1G hugepages=2  " },
                { "ro dmem=2G quiet", { "dmem=1G" }, "ro dmem=1G quiet" },
                { "ro dmem=2G quiet", {}, "ro quiet" },
                { "ro  dmem=2G quiet", {}, "ro quiet" },
                { "ro dmem=2G\n", {}, "ro\n" },
                { "dmem=2G ro", {}, "ro" },
                { "dmem=2G dmem=3G ro", {}, "ro" },
                { " dmem=2G  dmem=3G\tro", {}, " ro" },
                { "dmem=2G\n", {}, "\n" },
                { "dmem=2G a dmem=3G b hugepages=7", { "dmem=1G" }, "dmem=1G a b" },
                { "a hugepagesz=1G b hugepages=7",
                  { "dmem=1G", "hugepages=1" },
                  "a dmem=1G hugepages=1 b" },
                { "ro -- dmem=9G", { "dmem=1G" }, "ro dmem=1G -- dmem=9G" },
                { "ro   --", { "dmem=1G" }, "ro dmem=1G   --" },
                { "-- x", { "dmem=1G" }, "dmem=1G -- x" },
                { "  -- x", { "dmem=1G" }, "  dmem=1G -- x" },
                { "dmem=1G -- x", {}, "-- x" },
                { "ro dmem=1G -- x", {}, "ro -- x" },
                { "x=\"a b", { "dmem=1G" }, "dmem=1G x=\"a b" },
                { "ro x=\"a b", { "dmem=1G" }, "ro dmem=1G x=\"a b" },
                { "ro dmem=\"1G x", { "dmem=1G" }, "ro dmem=1G" },
                { "ro dmem=1G x=\"a b", {}, "ro x=\"a b" },
                { "x=\"a  dmem=1G\" y", {}, "x=\"a  dmem=1G\" y" },
                { "\"dmem=2G\" dyndbg=\"file a +p\"",
                  { "dmem=1G" },
                  "dmem=1G dyndbg=\"file a +p\"" },
                { "ro", { "dmem=1G 2G" }, "ro dmem=\"1G 2G\"" },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                _cleanup_free_ char *result = NULL, *again = NULL;
                char *const *arguments = (char *const *)table[i].arguments;

                EXPECT_EQ(table[i].cmdline, cmdline_replace(table[i].cmdline, arguments, &result),
                          0);
                EXPECT_STREQ(table[i].cmdline, result, table[i].expected);
                EXPECT_EQ(result, cmdline_replace(result, arguments, &again), 0);
                EXPECT_STREQ("idempotent", again, table[i].expected);
        }
}

TEST(equal_and_join) {
        char *const a[] = { (char *)"dmem=1G", (char *)"hugepages=1", NULL };
        char *const b[] = { (char *)"hugepages=1", (char *)"dmem=1G", NULL };
        char *const none[] = { NULL };
        char *const blank[] = { (char *)"dmem=a b", (char *)"x", NULL };
        _cleanup_free_ char *joined = arguments_join(a), *empty = arguments_join(NULL),
                            *quoted = arguments_join(blank);

        EXPECT_TRUE("same", arguments_equal(a, a));
        EXPECT_TRUE("order counts", !arguments_equal(a, b));
        EXPECT_TRUE("length counts", !arguments_equal(a, a + 1));
        EXPECT_TRUE("NULL is empty", arguments_equal(NULL, none));
        EXPECT_TRUE("NULL is NULL", arguments_equal(NULL, NULL));
        EXPECT_STREQ("join", joined, "dmem=1G hugepages=1");
        EXPECT_STREQ("join NULL", empty, "");
        EXPECT_STREQ("join blanks", quoted, "dmem=\"a b\" x");
}

/* Properties, on lines made of pieces that hurt */

static uint32_t seed = 20261122;

static unsigned pick(unsigned n) {
        seed = seed * 1664525 + 1013904223;
        return (seed >> 8) % n;
}

static void random_line(char *line, size_t size) {
        static const char *const pieces[] = {
                " ",
                " ",
                " ",
                "\t",
                "\"",
                "\"",
                "=",
                "--",
                "-",
                "dmem=",
                "hugepages=",
                "1G",
                "ro",
                "x=",
                "a b",
                "0:4G,1:!2G",
                " dmem=",
                "\n",
                " \"dmem=",
                "hugepagesz",
                "dmem",
                " -- ",
                "\xa0",
                "hugetlb-free_vmemmap=off",
                "default_hugepagesz=1G",
        };

        line[0] = '\0';
        for (unsigned n = pick(14); n > 0; n--) {
                const char *piece = pieces[pick(ELEMENTSOF(pieces))];

                if (strlen(line) + strlen(piece) < size)
                        strcat(line, piece);
        }
}

/* All bytes that neither separate words nor belong to a word of ours, as the kernel would see. */
static void foreign_words(const char *line, char *ret) {
        bool in_quote = false, after_separator = false;

        while (*line != '\0') {
                const char *start;
                size_t length;

                for (in_quote = false; *line != '\0' && strchr(" \t\n\xa0", *line); line++)
                        ;
                for (start = line; *line != '\0' && (in_quote || !strchr(" \t\n\xa0", *line));
                     line++)
                        if (*line == '"')
                                in_quote = !in_quote;
                length = (size_t)(line - start);
                if (length > 0) {
                        char *word = strndup(start, length);

                        if (after_separator || !cmdline_word_is_ours(word))
                                ret += sprintf(ret, "[%s]", word);
                        if (streq(word, "--") || streq(word, "\"--\"") || streq(word, "\"--"))
                                after_separator = true;
                        free(word);
                }
        }
        *ret = '\0';
}

TEST(properties) {
        for (unsigned round = 0; round < 5000; round++) {
                _cleanup_(strv_freep) char **own = NULL, **replaced_own = NULL, **gone = NULL,
                                           **wanted = NULL;
                _cleanup_free_ char *same = NULL, *without = NULL, *replaced = NULL, *again = NULL;
                char line[256], other[256], before[1024], after[1024];

                random_line(line, sizeof(line));
                random_line(other, sizeof(other));
                if (cmdline_extract(line, &own) < 0 || cmdline_extract(other, &wanted) < 0 ||
                    cmdline_replace(line, own, &same) < 0 ||
                    cmdline_replace(line, NULL, &without) < 0 ||
                    cmdline_replace(line, wanted, &replaced) < 0 ||
                    cmdline_replace(replaced, wanted, &again) < 0 ||
                    cmdline_extract(without, &gone) < 0 ||
                    cmdline_extract(replaced, &replaced_own) < 0)
                        abort();

                EXPECT_TRUE(line, !gone[0]);
                EXPECT_TRUE(line, strchr(other, '"') || arguments_equal(replaced_own, wanted));
                EXPECT_EQ(line, strv_length(replaced_own), strv_length(wanted));
                EXPECT_STREQ(line, again, replaced);
                foreign_words(line, before);
                foreign_words(same, after);
                EXPECT_STREQ(line, after, before);
                foreign_words(without, after);
                EXPECT_STREQ(line, after, before);
                foreign_words(replaced, after);
                EXPECT_STREQ(line, after, before);
                if (!own[0])
                        EXPECT_STREQ(line, without, line);
        }
}

TEST_MAIN()
