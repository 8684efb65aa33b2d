/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "plan/advice.h"
#include "basic/macro.h"

/* What a finding calls for; the first row whose finding is there wins. */
static const struct {
        const char *code;
        const char *text;
} for_findings[] = {
        { "argument-invalid", "Correct the boot argument: 'dmemctl apply' writes it anew, then "
                              "reboot." },
        { "no-kernel-support", "Boot a kernel with CONFIG_DMEM=y, or take the reservation back "
                               "with 'dmemctl revert' and reboot." },
        { "module-not-loaded",
          "Run 'systemctl reload-or-restart dmemd-setup.service', which loads the "
          "dmemfs module, and read what it says in 'journalctl -u "
          "dmemd-setup.service'." },
        { "granted-less", "Read 'journalctl -k --grep=dmem' for the reason; then plan less for "
                          "that node, 'dmemctl apply' and reboot." },
        { "hugepages-less", "Run 'systemctl reload-or-restart dmemd-setup.service' to try again "
                            "for the missing huge pages; if they stay missing, plan fewer, "
                            "'dmemctl apply' and reboot." },
        { "granted-more", "Run 'dmemctl apply' and reboot, so that the boot arguments say what is "
                          "wanted." },
};

static const char *const for_states[_STATE_MAX] = {
        [STATE_NONE] = "Nothing is reserved; 'dmemctl plan' shows what could be.",
        [STATE_PENDING_REBOOT] = "Reboot to bring the configured arguments in force.",
        [STATE_IN_FORCE] = "Nothing to do.",
        [STATE_DRIFT] = "Run 'dmemctl verify' to see what differs, then 'dmemctl apply'.",
        [STATE_DEGRADED] = "Nothing to do now: poisoned memory is out of use; have the memory "
                           "module checked.",
};

static bool has_finding(const Findings *findings, const char *code) {
        for (size_t i = 0; i < findings->n_items; i++)
                if (streq(findings->items[i].code, code))
                        return true;
        return false;
}

const char *advice_choose(State state, const Findings *reasons, bool unmounted) {
        if (state == STATE_PENDING_REBOOT)
                return for_states[state];
        for (size_t i = 0; i < ELEMENTSOF(for_findings); i++)
                if (has_finding(reasons, for_findings[i].code))
                        return for_findings[i].text;
        if (has_finding(reasons, "not-applied"))
                return state == STATE_NONE ? "Run 'dmemctl apply' to reserve what is planned, "
                                             "then reboot."
                                           : "The plan has changed: look at 'dmemctl plan "
                                             "--diff', then run 'dmemctl apply' and reboot.";
        if (unmounted)
                return "Run 'systemctl reload-or-restart dmemd-setup.service': memory is reserved, "
                       "but no "
                       "dmemfs is mounted.";
        return for_states[state];
}
