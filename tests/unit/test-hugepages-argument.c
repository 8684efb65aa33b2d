/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <inttypes.h>

#include "basic/root-fs.h"
#include "plan/cmdline.h"
#include "plan/hugepages-argument.h"
#include "test.h"

/* `NODE:COUNTxSIZE` with blanks between */
static char *to_text(const HugePagesAsked *asked, size_t n) {
        char *text;
        size_t size;
        FILE *f = open_memstream(&text, &size);

        for (size_t i = 0; i < n; i++)
                fprintf(f, "%s%u:%" PRIu64 "x%" PRIu64 "M", i > 0 ? " " : "", asked[i].node,
                        asked[i].count, asked[i].page_size / MiB);
        fclose(f);
        return text;
}

TEST(parse) {
        static const struct {
                const char *arguments;
                const char *asked;
        } table[] = {
                { "", "" },
                { "dmem=0:4G", "" },
                { "hugepagesz=1G hugepages=0:4,1:2", "0:4x1024M 1:2x1024M" },
                { "hugepagesz=1G hugepages=1:4,0:2 hugepagesz=2M hugepages=0:512",
                  "0:2x1024M 0:512x2M 1:4x1024M" },
                { "hugepagesz=2M hugepages=0:1 hugepagesz=1G hugepages=0:2", "0:2x1024M 0:1x2M" },
                { "hugepagesz=1048576K hugepages=0:1", "0:1x1024M" },
                /* Nobody in particular is asked */
                { "hugepages=4", "" },
                { "hugepages=0:4", "" },
                { "hugepagesz=1G hugepages=4", "" },
                /* The kernel ignores these, too */
                { "hugepagesz=1G hugepages=0:4 hugepages=1:4", "0:4x1024M" },
                { "hugepagesz=1G hugepages=0:4 hugepagesz=1G hugepages=1:4", "0:4x1024M" },
                { "hugepagesz=1GB hugepages=0:4", "" },
                { "hugepagesz=1G hugepages=0:4,1:x,2:1", "0:4x1024M" },
                { "hugepagesz=1G hugepages=0:4,2", "0:4x1024M" },
                { "hugepagesz=1G hugepages=", "" },
                { "hugepagesz=1G hugepages=4294967296:1", "" },
                { "hugepagesz=1G hugepages=0:18446744073709551616", "" },
                { "hugepagesz=1G hugepages=0:18446744073709551615",
                  "0:18446744073709551615x1024M" },
                { "hugepagesz=1G hugepages=0:4,0:2,1:0", "0:2x1024M" },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                char **words = NULL;
                HugePagesAsked *asked = NULL;
                _cleanup_free_ char *text = NULL;
                size_t n = 0;

                EXPECT_EQ(table[i].arguments, cmdline_extract(table[i].arguments, &words), 0);
                EXPECT_EQ(table[i].arguments, hugepages_parse(words, &asked, &n), 0);
                text = to_text(asked, n);
                EXPECT_STREQ(table[i].arguments, text, table[i].asked);
                free(asked);
                strv_free(words);
        }
}

TEST(find) {
        const HugePagesAsked asked[] = { { 0, GiB, 4 }, { 0, 2 * MiB, 5 }, { 3, GiB, 6 } };
        HugePagesAsked *none = (HugePagesAsked *)asked;
        size_t n = 7;

        EXPECT_EQ("0 1G", hugepages_find(asked, 3, 0, GiB), 4);
        EXPECT_EQ("0 2M", hugepages_find(asked, 3, 0, 2 * MiB), 5);
        EXPECT_EQ("3 2M", hugepages_find(asked, 3, 3, 2 * MiB), 0);
        EXPECT_EQ("no words at all", hugepages_parse(NULL, &none, &n), 0);
        EXPECT_EQ("no words at all", n, 0);
        free(none);
}

TEST_MAIN()
