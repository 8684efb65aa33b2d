/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <stdarg.h>

#include "plan/ledger.h"
#include "test.h"

/* `ADDRESS/UNIT_SIZE state source first-last told`, one after the other */
static char *show(const Ledger *l) {
        char *text = NULL;
        size_t size;
        FILE *f = open_memstream(&text, &size);

        if (!f)
                abort();
        for (size_t i = 0; i < l->n_units; i++) {
                const LedgerUnit *u = &l->units[i];

                fprintf(f, "%s%" PRIu64 ":%s/%s/%" PRIu64 "-%" PRIu64 "%s%s", i > 0 ? " " : "",
                        u->address / UNIT_SIZE, unit_state_to_string(u->state),
                        unit_source_to_string(u->source), u->first_seen, u->last_seen,
                        u->forgotten != LEDGER_NO_BOOT ? "/forgotten" : "", u->told ? "/told" : "");
        }
        (void)fclose(f);
        return text;
}

static void expect(const char *label, const Ledger *l, const char *expected) {
        _cleanup_free_ char *text = show(l);

        EXPECT_STREQ(label, text, expected);
}

static void report(Ledger *l, uint64_t now, unsigned boot, size_t n, ...) {
        Sighting *sightings = new0(Sighting, n + 1);
        va_list ap;

        va_start(ap, n);
        for (size_t i = 0; i < n; i++) {
                sightings[i].address = va_arg(ap, unsigned) * UNIT_SIZE;
                sightings[i].state = UNIT_FREE;
                sightings[i].source = SOURCE_MCE;
        }
        va_end(ap);
        EXPECT_EQ("report", ledger_report(l, sightings, n, now, boot), 0);
        sightings_free(sightings, n);
}

TEST(names) {
        UnitState state = UNIT_USED;
        UnitSource source = SOURCE_MCE;

        for (UnitState i = 0; i < _UNIT_STATE_MAX; i++) {
                EXPECT_EQ("state", unit_state_from_string(unit_state_to_string(i), &state), 0);
                EXPECT_EQ("state", state, i);
        }
        for (UnitSource i = 0; i < _UNIT_SOURCE_MAX; i++) {
                EXPECT_EQ("source", unit_source_from_string(unit_source_to_string(i), &source), 0);
                EXPECT_EQ("source", source, i);
        }
        EXPECT_EQ("bad", unit_state_from_string("", &state), -EINVAL);
        EXPECT_EQ("bad", unit_source_from_string("MCE", &source), -EINVAL);
}

TEST(events) {
        _cleanup_(ledger_freep) Ledger *l = ledger_new();
        unsigned boot = 7;
        Sighting last[2] = {
                { .address = 3 * UNIT_SIZE, .state = UNIT_FREE, .source = SOURCE_SYSFS },
                { .address = 3 * UNIT_SIZE, .state = UNIT_USED, .source = SOURCE_SYSFS },
        };

        EXPECT_EQ("boot", ledger_add_boot(l, "a", &boot), 1);
        EXPECT_EQ("boot", boot, 0);
        EXPECT_EQ("boot again", ledger_add_boot(l, "a", &boot), 0);
        EXPECT_TRUE("clean", !ledger_is_dirty(l));
        report(l, 10, boot, 3, 5, 3, 5);
        expect("sorted, once each", l, "3:free/mce/10-10 5:free/mce/10-10");
        EXPECT_TRUE("dirty", ledger_is_dirty(l));
        ledger_mark_saved(l);
        report(l, 20, boot, 3, 4, 9, 1);
        expect("between", l,
               "1:free/mce/20-20 3:free/mce/10-10 4:free/mce/20-20 5:free/mce/10-10 "
               "9:free/mce/20-20");
        report(l, 30, boot, 1, 5);
        /* The last of several counts; that the hardware found it is not taken back */
        EXPECT_EQ("twice", ledger_report(l, last, 2, 40, boot), 0);
        EXPECT_EQ("used", ledger_find(l, 3 * UNIT_SIZE)->state, UNIT_USED);
        EXPECT_EQ("mce", ledger_find(l, 3 * UNIT_SIZE)->source, SOURCE_MCE);
        EXPECT_EQ("last seen", ledger_find(l, 5 * UNIT_SIZE)->last_seen, 30);
        EXPECT_EQ("first seen", ledger_find(l, 5 * UNIT_SIZE)->first_seen, 10);
        EXPECT_TRUE("none", !ledger_find(l, 2 * UNIT_SIZE) && !ledger_find(l, 10 * UNIT_SIZE));
        EXPECT_EQ("nothing", ledger_report(l, NULL, 0, 50, boot), 0);
}

/* A page that was retired is news again when the hardware reports it, but not the other way. */
TEST(retired_then_poisoned) {
        _cleanup_(ledger_freep) Ledger *l = ledger_new();
        Sighting retired = { .address = UNIT_SIZE, .source = SOURCE_SYSFS, .retired = true };
        unsigned boot;

        (void)ledger_add_boot(l, "a", &boot);
        EXPECT_EQ("retire", ledger_report(l, &retired, 1, 10, boot), 0);
        EXPECT_TRUE("retired", l->units[0].retired);
        l->units[0].told = true;
        report(l, 20, boot, 1, 1);
        EXPECT_TRUE("its content is lost now", !l->units[0].retired && !l->units[0].told);
        l->units[0].told = true;
        EXPECT_EQ("retire", ledger_report(l, &retired, 1, 30, boot), 0);
        EXPECT_TRUE("and stays so", !l->units[0].retired && l->units[0].told);
        EXPECT_EQ("source", l->units[0].source, SOURCE_MCE);
        EXPECT_EQ("first seen", l->units[0].first_seen, 10);
}

TEST(lists) {
        DmemRange regions[] = { { 2 * UNIT_SIZE, 6 * UNIT_SIZE } };
        PoisonedUnit units[] = { { 2 * UNIT_SIZE, true }, { 4 * UNIT_SIZE, false } };
        PoisonNode nodes[] = {
                { .id = 3,
                  .regions = regions,
                  .n_regions = 1,
                  .units_known = true,
                  .units = units,
                  .n_units = 2 },
        };
        _cleanup_(ledger_freep) Ledger *l = ledger_new();
        unsigned boot;

        (void)ledger_add_boot(l, "a", &boot);
        report(l, 10, boot, 3, 2, 5, 7);
        EXPECT_EQ("reconcile", ledger_reconcile(l, nodes, 1, 20, boot), 1);
        expect("all four states", l,
               "2:used/mce/10-10 4:free/unknown/20-20 5:pending/mce/10-10 7:outside/mce/10-10");
        EXPECT_EQ("node", l->units[2].node, 3);
        ledger_mark_saved(l);
        EXPECT_EQ("again", ledger_reconcile(l, nodes, 1, 30, boot), 0);
        EXPECT_TRUE("nothing to write", !ledger_is_dirty(l));

        EXPECT_EQ("in the list", poison_nodes_have(nodes, 1, 4 * UNIT_SIZE), 1);
        EXPECT_EQ("not in it", poison_nodes_have(nodes, 1, 5 * UNIT_SIZE), 0);
        EXPECT_EQ("outside", poison_nodes_have(nodes, 1, 6 * UNIT_SIZE), 0);

        nodes[0].n_units = 1;
        nodes[0].units_partial = true;
        EXPECT_EQ("some are missing", ledger_reconcile(l, nodes, 1, 40, boot), 0);
        nodes[0].n_units = 2;
        nodes[0].units_known = false;
        units[0].used = false;
        EXPECT_EQ("unknown list", ledger_reconcile(l, nodes, 1, 40, boot), 0);
        EXPECT_EQ("unknown", poison_nodes_have(nodes, 1, 4 * UNIT_SIZE), -ENODATA);
}

static Sighting user_of(unsigned unit, const char *file, const char *processes) {
        return (Sighting){
                .address = unit * UNIT_SIZE,
                .state = UNIT_USED,
                .user = { .file = strdup(file),
                          .device = strdup("0:1"),
                          .processes = processes ? strdup(processes) : NULL },
        };
}

TEST(users) {
        static const struct {
                const char *now;
                const char *expected;
                int changed;
        } table[] = {
                { "7,8", "7:a,b,8:c", 0 },     { "7,9", "7,9", 1 },   { "7", "7", 1 },
                { "7,8,9", "7,8,9", 1 },       { "77,8", "77,8", 1 }, { NULL, NULL, 1 },
                { "7:x,8:y", "7:a,b,8:c", 0 },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                _cleanup_(ledger_freep) Ledger *l = ledger_new();
                const char *label = table[i].now ? table[i].now : "nobody";
                Sighting event = user_of(1, "/f", "7:a,b,8:c");
                Sighting users[2] = { user_of(1, "/f", table[i].now), user_of(2, "/g", NULL) };
                unsigned boot;

                (void)ledger_add_boot(l, "a", &boot);
                EXPECT_EQ(label, ledger_report(l, &event, 1, 10, boot), 0);
                ledger_mark_saved(l);
                EXPECT_EQ(label, ledger_set_users(l, users, 2), table[i].changed);
                EXPECT_STREQ(label, l->units[0].user.processes, table[i].expected);
                EXPECT_STREQ(label, l->units[0].user.file, "/f");
                EXPECT_EQ(label, ledger_is_dirty(l), table[i].changed);
                unit_user_done(&event.user);
                unit_user_done(&users[0].user);
                unit_user_done(&users[1].user);
        }
}

TEST(forget) {
        _cleanup_(ledger_freep) Ledger *l = ledger_new();
        unsigned first, second, index;

        (void)ledger_add_boot(l, "a", &first);
        (void)ledger_add_boot(l, "b", &second);
        report(l, 10, first, 4, 1, 2, 3, 4);
        l->units[2].state = UNIT_OUTSIDE;
        l->units[1].told = true;
        EXPECT_EQ("none", ledger_forget(l, 9 * UNIT_SIZE, second), 0);
        EXPECT_EQ("in use", ledger_forget(l, 2 * UNIT_SIZE, second), 1);
        EXPECT_EQ("twice", ledger_forget(l, 2 * UNIT_SIZE, second), 0);
        EXPECT_EQ("outside", ledger_forget(l, 3 * UNIT_SIZE, second), 1);
        expect("marked, and gone", l,
               "1:free/mce/10-10 2:free/mce/10-10/forgotten/told 4:free/mce/10-10");
        /* In the next boot: it is gone, and so is the boot that nobody names */
        (void)ledger_add_boot(l, "c", &index);
        EXPECT_EQ("prune", ledger_prune(l, index, &index), 1);
        expect("pruned", l, "1:free/mce/10-10 4:free/mce/10-10");
        EXPECT_EQ("boots", l->n_boots, 2);
        EXPECT_STREQ("this one", l->boots[index].id, "c");
        EXPECT_STREQ("that one", l->boots[l->units[0].boot].id, "a");
        EXPECT_EQ("prune again", ledger_prune(l, index, &index), 0);
        /* Forgotten, and reported late: it stays so, until somebody retires it again */
        (void)ledger_forget(l, UNIT_SIZE, index);
        report(l, 20, index, 1, 1);
        expect("late", l, "1:free/mce/10-20/forgotten 4:free/mce/10-10");
        /* It was good when it was retired, and is bad now: that is news */
        ledger_find(l, UNIT_SIZE)->retired = true;
        report(l, 20, index, 1, 1);
        expect("worse", l, "1:free/mce/10-20 4:free/mce/10-10");
        (void)ledger_forget(l, UNIT_SIZE, index);
        ledger_take_back(l, UNIT_SIZE);
        ledger_take_back(l, 9 * UNIT_SIZE);
        expect("back", l, "1:free/mce/10-20 4:free/mce/10-10");
        EXPECT_EQ("all", ledger_forget_all(l, index), 1);
        EXPECT_EQ("all again", ledger_forget_all(l, index), 0);
        EXPECT_EQ("still there in this boot", l->n_units, 2);
        l->units[0].state = l->units[1].state = UNIT_PENDING;
        l->units[0].forgotten = l->units[1].forgotten = LEDGER_NO_BOOT;
        EXPECT_EQ("all", ledger_forget_all(l, index), 1);
        EXPECT_EQ("gone", l->n_units, 0);
}

TEST(two_writers) {
        _cleanup_(ledger_freep) Ledger *l = ledger_new(), *file = ledger_new();
        unsigned old, ours, theirs;
        Dimms dimms = {};

        (void)ledger_add_boot(l, "old", &old);
        (void)ledger_add_boot(l, "new", &ours);
        report(l, 10, old, 4, 1, 2, 3, 4); /* as both know them */
        ledger_mark_saved(l);
        report(l, 20, ours, 2, 2, 5); /* since then */
        l->units[0].told = true;

        /*
         * dmemctl has forgotten 2 and 3, taken out 4, and added 6. That 2 was bad was on its way to
         * us meanwhile: it stays forgotten.
         */
        (void)ledger_add_boot(file, "new", &theirs);
        EXPECT_EQ("dimms", ledger_set_dimms(file, theirs, &dimms), 1);
        report(file, 10, theirs, 3, 1, 2, 3);
        report(file, 30, theirs, 1, 6);
        ledger_find(file, 2 * UNIT_SIZE)->forgotten = theirs;
        ledger_find(file, 3 * UNIT_SIZE)->forgotten = theirs;
        ledger_mark_saved(file);

        EXPECT_EQ("rebase", ledger_rebase(l, ours, file), 0);
        expect("both", l,
               "1:free/mce/10-10/told 2:free/mce/10-20/forgotten 3:free/mce/10-10/forgotten "
               "5:free/mce/20-20 6:free/mce/30-30");
        EXPECT_STREQ("boot of ours", l->boots[ledger_find(l, 5 * UNIT_SIZE)->boot].id, "new");
        EXPECT_TRUE("modules", l->boots[theirs].dimms_known);
        EXPECT_TRUE("told is news to the file", l->units[0].dirty);
        EXPECT_TRUE("known", !ledger_find(l, 6 * UNIT_SIZE)->dirty);
        EXPECT_TRUE("new", ledger_find(l, 5 * UNIT_SIZE)->dirty);
        EXPECT_EQ("boots", l->n_boots, 2);
}

TEST(modules) {
        static char a[] = "A1", b[] = "B1", c[] = "C1", one[] = "111", two[] = "222";
        Dimm then_items[] = { { a, one }, { b, two }, { c, NULL } };
        Dimm now_items[] = { { b, one }, { c, NULL }, { NULL, two } };
        Dimms then = { then_items, 3 }, now = { now_items, 3 }, copy = {};
        _cleanup_free_ char *text = dimms_describe_changes(&then, &now);
        _cleanup_free_ char *same = dimms_describe_changes(&then, &then);

        EXPECT_STREQ("changes", text,
                     "A1: 111 is gone\nB1: 222 was replaced by 111\n?: 222 is new\n");
        EXPECT_STREQ("none", same, "");
        EXPECT_EQ("copy", dimms_copy(&now, &copy), 0);
        EXPECT_EQ("copy", copy.n_items, 3);
        EXPECT_STREQ("copy", copy.items[0].serial, "111");
        dimms_done(&copy);
}

/* A storm must not take time by the square. */
TEST(many) {
        enum {
                BATCH = 1000,
                BATCHES = 100
        };
        _cleanup_(ledger_freep) Ledger *l = ledger_new();
        Sighting *batch = new0(Sighting, BATCH);
        uint64_t random = 88172645463325252;
        unsigned boot;

        (void)ledger_add_boot(l, "a", &boot);
        for (unsigned i = 0; i < BATCHES; i++) {
                for (unsigned k = 0; k < BATCH; k++) {
                        random ^= random << 13;
                        random ^= random >> 7;
                        random ^= random << 17;
                        batch[k] = (Sighting){ .address = (random >> 20) * UNIT_SIZE };
                }
                EXPECT_EQ("report", ledger_report(l, batch, BATCH, i, boot), 0);
        }
        free(batch);
        EXPECT_EQ("all", l->n_units, BATCH * BATCHES);
        for (size_t i = 1; i < l->n_units; i++)
                if (l->units[i - 1].address >= l->units[i].address)
                        EXPECT_EQ("sorted", i, 0);
}

TEST_MAIN()
