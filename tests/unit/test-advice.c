/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "plan/advice.h"
#include "test.h"

TEST(choose) {
        static const struct {
                const char *label;
                State state;
                const char *codes[3];
                bool unmounted;
                const char *part; /* must be in the advice */
        } table[] = {
                { "nothing at all", STATE_NONE, {}, false, "'dmemctl plan'" },
                { "planned only", STATE_NONE, { "not-applied" }, false, "'dmemctl apply'" },
                { "pending", STATE_PENDING_REBOOT, { "reboot-required" }, false, "Reboot" },
                { "pending wins", STATE_PENDING_REBOOT, { "granted-less" }, true, "Reboot" },
                { "in force", STATE_IN_FORCE, {}, false, "Nothing to do." },
                { "in force, not mounted", STATE_IN_FORCE, {}, true, "dmemd-setup.service" },
                { "no support", STATE_DRIFT, { "no-kernel-support" }, false, "CONFIG_DMEM" },
                { "typing error",
                  STATE_DRIFT,
                  { "no-kernel-support", "argument-invalid" },
                  false,
                  "Correct the boot argument" },
                { "no module", STATE_DRIFT, { "module-not-loaded" }, true, "reload-or-restart" },
                { "less", STATE_DRIFT, { "not-applied", "granted-less" }, false, "plan less" },
                { "huge pages", STATE_DRIFT, { "hugepages-less" }, false, "missing huge pages" },
                { "more", STATE_DRIFT, { "granted-more" }, false, "'dmemctl apply'" },
                { "new plan", STATE_DRIFT, { "not-applied" }, false, "plan --diff" },
                { "drift of unknown cause", STATE_DRIFT, {}, false, "'dmemctl verify'" },
                { "poisoned", STATE_DEGRADED, { "poisoned" }, false, "memory module checked" },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                _cleanup_(findings_done) Findings reasons = {};
                const char *advice;

                for (size_t j = 0; table[i].codes[j]; j++)
                        EXPECT_EQ(table[i].label,
                                  findings_add(&reasons, table[i].codes[j], SEVERITY_WARNING, -1,
                                               "text"),
                                  0);
                advice = advice_choose(table[i].state, &reasons, table[i].unmounted);
                EXPECT_TRUE(table[i].label, advice && strstr(advice, table[i].part));
        }
}

TEST(every_state_has_one) {
        Findings none = {};

        for (State state = 0; state < _STATE_MAX; state++)
                EXPECT_TRUE(state_to_string(state), advice_choose(state, &none, false));
}

TEST_MAIN()
