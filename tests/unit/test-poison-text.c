/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "host/poison-text.h"
#include "test.h"

TEST(poisoned) {
        static const struct {
                const char *text;
                int r;
                size_t n;
                bool last_used;
        } table[] = {
                { "", 0, 0, false },
                { "0x100000000 free\n", 0, 1, false },
                { "0x100000000 free\n0x100001000 used\n", 0, 2, true },
                { "0x100000000 used", 0, 1, true },
                { "0x0 used\n0xfffffffffffff000 used\n", 0, 2, true },
                { "0x100000000\n", -EBADMSG, 0, false },
                { "0x100000000 \n", -EBADMSG, 0, false },
                { "0x100000000 free \n", -EBADMSG, 0, false },
                { "0x100000000 FREE\n", -EBADMSG, 0, false },
                { "100000000 free\n", -EBADMSG, 0, false },
                { "0x100000800 free\n", -EBADMSG, 0, false },
                { "0x10000000000000000 free\n", -EBADMSG, 0, false },
                { "0x2000 used\n0x3000 used\n0x1000 free\n0x2000 used\n", 0, 3, true },
                { "0x1000 free\n\n", -EBADMSG, 0, false },
                { "0x1000 aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n",
                  -EBADMSG, 0, false },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                PoisonedUnit *units = NULL;
                size_t n = 77;

                EXPECT_EQ(table[i].text, poisoned_parse(table[i].text, &units, &n), table[i].r);
                EXPECT_EQ(table[i].text, n, table[i].r < 0 ? 77 : table[i].n);
                if (table[i].r == 0 && n > 0)
                        EXPECT_EQ(table[i].text, units[n - 1].used, table[i].last_used);
                EXPECT_TRUE(table[i].text, table[i].r == 0 || !units);
                free(units);
        }
}

TEST(users) {
        static const struct {
                const char *text;
                int r;
                const char *file, *processes;
        } table[] = {
                { "0x1000 0:44 12 0x200000 7,8 /run/dmemfs/a\n", 0, "/run/dmemfs/a", "7,8" },
                { "0x1000 0:44 12 0x0 - /run/dmemfs/a\\040b (deleted)\n", 0,
                  "/run/dmemfs/a\\040b (deleted)", NULL },
                { "0x1000 0:44 12 0x0 - /\xff\x1b[31m\n", 0, "/\\377\\033[31m", NULL },
                { "0x1000 0:44 12 0x0 - /\xc3\xa4\n", 0, "/\xc3\xa4", NULL },
                { "0x1000 0:44 12 0x0 7,8,... /a      \n", 0, "/a", "7,8,..." },
                { "0x1000 0:44 12 0x0 7 -   \n", 0, NULL, "7" },
                { "0x1000 - - - - -   \n", 0, NULL, NULL },
                { "0x1001 - - - - -\n", -EBADMSG, NULL, NULL },
                { "0x1000 - - - -\n", -EBADMSG, NULL, NULL },
                { "0x1000 - - - - /a\n", -EBADMSG, NULL, NULL },
                { "0x1000 0:44 12 0x0 ,.. /a\n", -EBADMSG, NULL, NULL },
                { "0x1000 0:44 12 0x0 ... /a\n", -EBADMSG, NULL, NULL },
                { "0x1000 0:44 12 0x0 -\n", -EBADMSG, NULL, NULL },
                { "0x1000 0:44 12 0 - /a\n", -EBADMSG, NULL, NULL },
                { "0x1000 0 12 0x0 - /a\n", -EBADMSG, NULL, NULL },
                { "0x1000 0:44 x 0x0 - /a\n", -EBADMSG, NULL, NULL },
                { "0x1000 0:44 12 0x0 7;8 /a\n", -EBADMSG, NULL, NULL },
                { "0x1001 0:44 12 0x0 - /a\n", -EBADMSG, NULL, NULL },
                { "0x1000\n", -EBADMSG, NULL, NULL },
        };
        Sighting *none = NULL;
        size_t n_none = 77;

        EXPECT_EQ("nobody", users_parse("", &none, &n_none), 0);
        EXPECT_EQ("nobody", n_none, 0);
        sightings_free(none, n_none);
        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                Sighting *users = NULL;
                size_t n = 77;

                EXPECT_EQ(table[i].text, users_parse(table[i].text, &users, &n), table[i].r);
                EXPECT_EQ(table[i].text, n, table[i].r < 0 ? 77 : 1);
                if (table[i].r < 0)
                        continue;
                EXPECT_STREQ(table[i].text, users[0].user.file, table[i].file);
                EXPECT_STREQ(table[i].text, users[0].user.processes, table[i].processes);
                sightings_free(users, n);
        }
}

TEST(events) {
        static const struct {
                const char *label;
                const char *pairs[32];
                int set, check;
                uint64_t n_new;
        } table[] = {
#define WHOLE                                                                                      \
        "DMEM_EVENT", "poison", "DMEM_NODE", "1", "DMEM_ADDRESS", "0x1000", "DMEM_SIZE", "4096",   \
                "DMEM_STATE", "used", "DMEM_SOURCE", "mce", "DMEM_COUNT", "9"
                { "nothing of ours", { "ACTION", "add", "SUBSYSTEM", "dmem" }, 0, -ENOMSG, 1 },
                { "whole", { WHOLE }, 0, 0, 1 },
                { "coalesced", { WHOLE, "DMEM_COALESCED", "9" }, 0, 0, 9 },
                { "more than there were", { WHOLE, "DMEM_COALESCED", "10" }, 0, -EBADMSG, 10 },
                { "none", { WHOLE, "DMEM_COALESCED", "0" }, 0, -EBADMSG, 0 },
                { "in use",
                  { WHOLE, "DMEM_FILE", "/f", "DMEM_DEV", "0:44", "DMEM_INODE", "7", "DMEM_OFFSET",
                    "0x5000", "DMEM_PROCESSES", "1:a,b,2:c" },
                  0,
                  0,
                  1 },
                { "a later source", { WHOLE, "DMEM_SOURCE", "cxl" }, 0, 0, 1 },
                { "a later key", { WHOLE, "DMEM_COLOUR", "blue" }, 0, 0, 1 },
                { "missing", { "DMEM_EVENT", "retire", "DMEM_NODE", "1" }, 0, -EBADMSG, 1 },
                { "event", { "DMEM_EVENT", "boil" }, -EBADMSG, 0, 0 },
                { "node", { "DMEM_NODE", "-1" }, -EBADMSG, 0, 0 },
                { "node", { "DMEM_NODE", "65536" }, -EBADMSG, 0, 0 },
                { "address", { "DMEM_ADDRESS", "0x1001" }, -EBADMSG, 0, 0 },
                { "address", { "DMEM_ADDRESS", "4096" }, -EBADMSG, 0, 0 },
                { "size", { "DMEM_SIZE", "0" }, -EBADMSG, 0, 0 },
                { "size", { "DMEM_SIZE", "4095" }, -EBADMSG, 0, 0 },
                { "size", { "DMEM_SIZE", "1099511627776" }, -EBADMSG, 0, 0 },
                { "state", { "DMEM_STATE", "pending" }, -EBADMSG, 0, 0 },
                { "count", { "DMEM_COUNT", "many" }, -EBADMSG, 0, 0 },
                { "device", { "DMEM_DEV", "sda" }, -EBADMSG, 0, 0 },
                { "inode", { "DMEM_INODE", "" }, -EBADMSG, 0, 0 },
                { "offset", { "DMEM_OFFSET", "0xg" }, -EBADMSG, 0, 0 },
                { "behind the end",
                  { WHOLE, "DMEM_ADDRESS", "0xfffffffffffff000", "DMEM_SIZE", "8192" },
                  0,
                  -EBADMSG,
                  1 },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                _cleanup_(poison_event_done) PoisonEvent e = {};
                int r = 0;

                for (size_t k = 0; table[i].pairs[k] && r >= 0; k += 2)
                        r = poison_event_set(&e, table[i].pairs[k], table[i].pairs[k + 1]);
                EXPECT_EQ(table[i].label, r, table[i].set);
                if (r < 0)
                        continue;
                EXPECT_EQ(table[i].label, poison_event_check(&e), table[i].check);
                EXPECT_EQ(table[i].label, poison_event_new(&e), table[i].n_new);
                if (streq(table[i].label, "in use")) {
                        EXPECT_EQ("offset", e.unit.user.offset, 0x5000);
                        EXPECT_STREQ("processes", e.unit.user.processes, "1:a,b,2:c");
                        EXPECT_EQ("node", e.unit.node, 1);
                        EXPECT_EQ("source", e.unit.source, SOURCE_MCE);
                        EXPECT_TRUE("not on demand", !e.unit.retired);
                }
        }
}

TEST(printable) {
        static const struct {
                const char *text, *expected;
        } table[] = {
                { "", "" },
                { "a b\\040", "a b\\040" },
                { "\x7f", "\\177" },
                { "\xc2\x9b", "\\302\\233" },          /* C1: CSI */
                { "\xc0\x80", "\\300\\200" },          /* overlong */
                { "\xed\xa0\x80", "\\355\\240\\200" }, /* surrogate */
                { "\xe2\x82\xac", "\xe2\x82\xac" },
                { "\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80" },
                { "\xf4\x90\x80\x80", "\\364\\220\\200\\200" },
                { "\xe2\x82", "\\342\\202" },
                { "\n", "\\012" },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                _cleanup_free_ char *text = text_printable(table[i].text);

                EXPECT_STREQ(table[i].expected, text, table[i].expected);
        }
}

TEST_MAIN()
