/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "plan/pace.h"
#include "test.h"

#define S(seconds) (UINT64_C(1000000) * (seconds))

TEST(pace) {
        /* One after the other on one node: what is asked at which second, and what comes out. */
        static const struct {
                const char *label;
                unsigned second;
                size_t n_new; /* 0: is anything due? */
                int answer;
                size_t due;
        } table[] = {
                { "a few", 100, 3, PACE_TELL_EACH, 0 },
                { "up to the limit", 101, 5, PACE_TELL_EACH, 0 },
                { "nothing is due", 102, 0, 0, 0 },
                { "the window is over", 130, 8, PACE_TELL_EACH, 0 },
                { "one too many", 131, 1, PACE_TELL_COUNT, 0 },
                { "then silence", 132, 500, PACE_WAIT, 0 },
                { "not yet due", 160, 0, 0, 0 },
                { "more", 160, 7, PACE_WAIT, 0 },
                { "what was not told", 161, 0, 0, 507 },
                { "still a storm", 170, 1, PACE_WAIT, 0 },
                { "and again", 191, 0, 0, 1 },
                { "a window without any", 221, 0, 0, 0 },
                { "over", 222, 2, PACE_TELL_EACH, 0 },
                { "many at once", 300, 9, PACE_TELL_COUNT, 0 },
        };
        Pace p = {};

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                if (table[i].n_new > 0)
                        EXPECT_EQ(table[i].label, pace_ask(&p, S(table[i].second), table[i].n_new),
                                  table[i].answer);
                else
                        EXPECT_EQ(table[i].label, pace_due(&p, S(table[i].second)), table[i].due);
        }
}

/* However fast they come: one entry at once, one for each silence, and none is left out. */
TEST(storm) {
        size_t entries = 0, told = 0;
        Pace p = {};

        for (uint64_t now = S(50); now < S(350); now += 3000) {
                size_t due;

                if (now < S(300) && pace_ask(&p, now, 10) != PACE_WAIT) {
                        entries++;
                        told += 10;
                }
                due = pace_due(&p, now);
                entries += due > 0;
                told += due;
        }
        EXPECT_EQ("entries", entries, 10);
        EXPECT_EQ("told", told, 10 * ((S(250) + 2999) / 3000));
}

TEST_MAIN()
