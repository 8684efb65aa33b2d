/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <sys/wait.h>

#include "host/ledger-file.h"
#include "tree.h"

#define HEAD(n) "{\"version\":1,\"units\":" #n "}\n"
#define BOOT "{\"boot_id\":\"aa\",\"dimms\":null}\n"
#define UNIT(address, rest)                                                                        \
        "{\"address\":\"" address "\",\"node\":0,\"state\":\"free\",\"source\":\"mce\","           \
        "\"first_seen_usec\":1,\"last_seen_usec\":2,\"boot\":0" rest "}\n"

static LedgerFile load(int root_fd) {
        LedgerFile f = {};

        EXPECT_EQ("load", ledger_file_load(root_fd, &f), 0);
        return f;
}

TEST(conditions) {
        static const struct {
                const char *text;
                LedgerCondition condition;
                size_t n_units;
        } table[] = {
                { HEAD(0), LEDGER_GOOD, 0 },
                { HEAD(1) BOOT UNIT("0x1000", ""), LEDGER_GOOD, 1 },
                { HEAD(2) BOOT UNIT("0x2000", "") UNIT("0x1000", ""), LEDGER_GOOD, 2 },
                { HEAD(1) BOOT UNIT("0x1000", ",\"later\":[1]"), LEDGER_GOOD, 1 },
                { "", LEDGER_DAMAGED, 0 },
                { "\n", LEDGER_DAMAGED, 0 },
                { "hello\n", LEDGER_DAMAGED, 0 },
                { HEAD(2) BOOT UNIT("0x1000", ""), LEDGER_DAMAGED, 1 },
                { HEAD(1) BOOT "{\"address\":\"0x1000\"}\n", LEDGER_DAMAGED, 1 },
                { HEAD(1) BOOT "{\"address\":\"0x1000\"", LEDGER_DAMAGED, 0 },
                { HEAD(1) UNIT("0x1000", ""), LEDGER_DAMAGED, 1 }, /* of no boot */
                { HEAD(1) BOOT UNIT("0x1001", ""), LEDGER_DAMAGED, 0 },
                { HEAD(1) BOOT UNIT("4096", ""), LEDGER_DAMAGED, 0 },
                { HEAD(2) BOOT UNIT("0x1000", "") UNIT("0x1000", ""), LEDGER_DAMAGED, 1 },
                { HEAD(1) BOOT UNIT("0x1000", ",\"device\":\"0:1\""), LEDGER_DAMAGED, 1 },
                { HEAD(1) BOOT UNIT("0x1000", ",\"forgotten\":4"), LEDGER_DAMAGED, 1 },
                { HEAD(1) BOOT UNIT("0x1000", "") "zzz\n", LEDGER_DAMAGED, 1 },
                { "{\"version\":0,\"units\":0}\n", LEDGER_DAMAGED, 0 },
                { "{\"version\":2}\n{\"x\":1}\n{\"address\":\"0x5000\",\"state\":\"odd\"}\n",
                  LEDGER_NEWER, 1 },
                { "{\"version\":9999}\nwhat\n", LEDGER_NEWER, 0 },
                { HEAD(1) "{\"boot_id\":\"\x1b[31m\",\"dimms\":null}\n" UNIT("0x1000", ""),
                  LEDGER_DAMAGED, 1 },
                { HEAD(1) "{\"boot_id\":\"aa\",\"dimms\":[5]}\n" UNIT("0x1000", ""), LEDGER_DAMAGED,
                  1 },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                _cleanup_close_ int root_fd = tree_new();
                _cleanup_(ledger_file_done) LedgerFile f = {};
                _cleanup_free_ char *problem = NULL;

                tree_write(root_fd, LEDGER_FILE, table[i].text);
                f = load(root_fd);
                EXPECT_EQ(table[i].text, f.condition, table[i].condition);
                EXPECT_EQ(table[i].text, f.ledger->n_units, table[i].n_units);
                problem = ledger_file_problem(&f);
                EXPECT_EQ(table[i].text, problem == NULL, table[i].condition == LEDGER_GOOD);
        }
}

TEST(there_and_back) {
        _cleanup_close_ int root_fd = tree_new(), lock = -EBADF;
        _cleanup_(ledger_file_done) LedgerFile f = {}, again = {};
        Dimm items[] = { { strdup("BANK 0 \"A1\""), strdup("1234") }, { NULL, NULL } };
        Dimms dimms = { items, 2 };
        Sighting s = {
                .address = UINT64_MAX - 4095,
                .node = 3,
                .state = UNIT_USED,
                .source = SOURCE_SYSFS,
                .user = { strdup("/run/a\\040\"b"), strdup("0:44"), strdup("1:q,w,2"), 7, 8192 },
        };
        const LedgerUnit *unit;
        unsigned boot;

        EXPECT_EQ("no folder", ledger_lock(root_fd, false, 0), -ENOENT);
        lock = ledger_lock(root_fd, true, 0);
        EXPECT_TRUE("lock", lock >= 0);
        f = load(root_fd);
        EXPECT_EQ("absent", f.condition, LEDGER_ABSENT);
        EXPECT_TRUE("unchanged", !ledger_file_changed(root_fd, &f));
        (void)ledger_add_boot(f.ledger, "0a-b", &boot);
        (void)ledger_set_dimms(f.ledger, boot, &dimms);
        (void)ledger_report(f.ledger, &s, 1, 42, boot);
        EXPECT_EQ("save", ledger_file_save(root_fd, &f), 0);
        EXPECT_TRUE("nothing left to write", !ledger_is_dirty(f.ledger));
        EXPECT_TRUE("unchanged", !ledger_file_changed(root_fd, &f));

        again = load(root_fd);
        EXPECT_EQ("good", again.condition, LEDGER_GOOD);
        unit = ledger_find(again.ledger, UINT64_MAX - 4095);
        EXPECT_TRUE("there", unit != NULL);
        if (unit) {
                EXPECT_EQ("node", unit->node, 3);
                EXPECT_EQ("state", unit->state, UNIT_USED);
                EXPECT_EQ("source", unit->source, SOURCE_SYSFS);
                EXPECT_EQ("first", unit->first_seen, 42);
                EXPECT_STREQ("file", unit->user.file, "/run/a\\040\"b");
                EXPECT_STREQ("processes", unit->user.processes, "1:q,w,2");
                EXPECT_EQ("offset", unit->user.offset, 8192);
                EXPECT_EQ("inode", unit->user.inode, 7);
                EXPECT_TRUE("not told", !unit->told);
                EXPECT_TRUE("saved", unit->saved && !unit->dirty);
        }
        EXPECT_STREQ("boot", again.ledger->boots[0].id, "0a-b");
        EXPECT_EQ("modules", again.ledger->boots[0].dimms.n_items, 2);
        EXPECT_STREQ("module", again.ledger->boots[0].dimms.items[0].locator, "BANK 0 \"A1\"");
        EXPECT_TRUE("module", again.ledger->boots[0].dimms.items[1].serial == NULL);
        tree_write(root_fd, LEDGER_FILE, HEAD(0));
        EXPECT_TRUE("changed", ledger_file_changed(root_fd, &again));
        free(items[0].locator);
        free(items[0].serial);
}

TEST(set_aside) {
        _cleanup_close_ int root_fd = tree_new();

        for (unsigned i = 0; i < 3; i++) {
                _cleanup_(ledger_file_done) LedgerFile f = {};
                _cleanup_free_ char *said = NULL, *kept = NULL;
                _cleanup_close_ int lock = -EBADF;
                const char *name;

                tree_write(root_fd, LEDGER_FILE, HEAD(2) BOOT UNIT("0x1000", ""));
                EXPECT_EQ("open", ledger_file_open(root_fd, true, 0, &f, &lock, &said), 0);
                EXPECT_EQ("what could be read", f.ledger->n_units, 1);
                EXPECT_TRUE("has to be written", ledger_is_dirty(f.ledger));
                EXPECT_TRUE("writable", ledger_file_writable(&f));
                EXPECT_EQ("gone", root_exists(root_fd, LEDGER_FILE), 0);
                name = said ? strstr(said, "kept as /") : NULL;
                EXPECT_TRUE("where it is", name != NULL);
                if (name) {
                        EXPECT_EQ("read", root_read_file(root_fd, name + 9, &kept, NULL), 0);
                        EXPECT_STREQ("byte for byte", kept, HEAD(2) BOOT UNIT("0x1000", ""));
                }
        }
}

TEST(newer) {
        static const char text[] = "{\"version\":2}\n{\"address\":\"0x5000\"}\n";
        _cleanup_close_ int root_fd = tree_new(), lock = -EBADF;
        _cleanup_(ledger_file_done) LedgerFile f = {};
        _cleanup_free_ char *said = NULL, *kept = NULL;

        tree_write(root_fd, LEDGER_FILE, text);
        EXPECT_EQ("open", ledger_file_open(root_fd, true, 0, &f, &lock, &said), 0);
        EXPECT_TRUE("said", said && strstr(said, "later version"));
        EXPECT_TRUE("not writable", !ledger_file_writable(&f));
        EXPECT_EQ("read", root_read_file(root_fd, LEDGER_FILE, &kept, NULL), 0);
        EXPECT_STREQ("stays", kept, text);
}

/* What the daemon's user could put there must not lead root anywhere. */
TEST(links) {
        _cleanup_close_ int root_fd = tree_new();
        _cleanup_(ledger_file_done) LedgerFile f = {};
        _cleanup_free_ char *said = NULL, *precious = NULL;
        _cleanup_close_ int lock = -EBADF;

        tree_write(root_fd, "etc/precious", "keep me\n");
        tree_write(root_fd, LEDGER_FOLDER "/x", "");
        EXPECT_EQ("link", symlinkat("/etc/precious", root_fd, LEDGER_FILE), 0);
        EXPECT_EQ("link",
                  symlinkat("/etc/precious", root_fd, LEDGER_FOLDER "/.#dmemd-" LEDGER_NAME), 0);
        EXPECT_EQ("open", ledger_file_open(root_fd, true, 0, &f, &lock, &said), 0);
        EXPECT_EQ("nothing read", f.ledger->n_units, 0);
        EXPECT_EQ("save", ledger_file_save(root_fd, &f), 0);
        EXPECT_EQ("read", root_read_file(root_fd, "etc/precious", &precious, NULL), 0);
        EXPECT_STREQ("precious", precious, "keep me\n");
        (void)close(TAKE_FD(lock));
        EXPECT_EQ("unlink", unlinkat(root_fd, LEDGER_FOLDER "/lock", 0), 0);
        EXPECT_EQ("link", symlinkat("/etc/precious", root_fd, LEDGER_FOLDER "/lock"), 0);
        EXPECT_EQ("lock", ledger_lock(root_fd, true, 0), -ELOOP);
}

TEST(not_a_file) {
        _cleanup_close_ int root_fd = tree_new();
        _cleanup_(ledger_file_done) LedgerFile f = {};

        tree_write(root_fd, LEDGER_FILE "/x", "");
        f = load(root_fd);
        EXPECT_EQ("a folder", f.condition, LEDGER_DAMAGED);
}

TEST(lock) {
        _cleanup_close_ int root_fd = tree_new(), lock = -EBADF;
        int status = -1;
        pid_t pid;

        lock = ledger_lock(root_fd, true, 0);
        EXPECT_TRUE("ours", lock >= 0);
        pid = fork();
        if (pid == 0)
                _exit(ledger_lock(root_fd, true, 50000) == -EBUSY ? 0 : 1);
        EXPECT_EQ("wait", waitpid(pid, &status, 0), pid);
        EXPECT_EQ("not theirs", status, 0);
}

TEST(full_disk) {
        _cleanup_(ledger_freep) Ledger *l = ledger_new();
        _cleanup_fclose_ FILE *f = fopen("/dev/full", "w");

        if (!f)
                TEST_SKIP("no /dev/full here");
        (void)setvbuf(f, NULL, _IONBF, 0);
        EXPECT_TRUE("an error", ledger_write(l, f) < 0);
}

TEST_MAIN()
