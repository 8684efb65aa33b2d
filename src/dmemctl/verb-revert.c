/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "basic/root-fs.h"
#include "dmemctl/change.h"
#include "host/host-dmem.h"
#include "host/message-ids.h"
#include "host/state-json.h"
#include "host/state.h"
#include "plan/cmdline.h"

/*
 * The policy matters only for the boot loader that it may name. A configuration that cannot be read
 * must not be in the way of somebody who wants to go back.
 */
static int load_policy(Dmemctl *d, Policy **ret) {
        ConfigErrors errors = { 0 };
        int r;

        r = config_load(d->root_fd, NULL, &errors, ret);
        if (r == -EBADMSG) {
                message_config_errors(&errors);
                message("going on without the configuration");
                *ret = policy_new();
                r = *ret ? 0 : -ENOMEM;
        }
        config_errors_done(&errors);
        return r;
}

static int nothing_to_revert(Change *c) {
        c->changed = false;
        if (c->d->json == JSON_MODE_OFF) {
                printf("Nothing to revert: no earlier boot settings are kept in /" STATE_FOLDER
                       "/.\n");
                return change_exit_status(c);
        }
        c->reboot_required = TRISTATE_UNKNOWN;
        return change_print(c) < 0 ? -ENOMEM : change_exit_status(c);
}

static Tristate needs_reboot(const Change *c) {
        char **booted = NULL;
        Tristate result;

        if (host_load_booted(c->d->root_fd, &booted) < 0 || !booted)
                return TRISTATE_UNKNOWN;
        result = arguments_equal(booted, c->boot.arguments_after) ? TRISTATE_NO : TRISTATE_YES;
        strv_free(booted);
        return result;
}

static int revert(Change *c) {
        _cleanup_free_ char *text = NULL, *problem = NULL;
        size_t size;
        int r;

        r = state_read(c->d->root_fd, STATE_PREVIOUS, &text, &size);
        if (r == -ENOENT)
                return nothing_to_revert(c);
        if (r >= 0)
                r = boot_change_from_previous(c->d->root_fd, c->loader, text, size, &c->boot,
                                              &problem);
        if (r < 0 && problem) {
                message("%s; nothing was changed", problem);
                return EXIT_FAILURE;
        }
        if (r < 0) {
                message("/" STATE_PREVIOUS ": %s; nothing was changed",
                        r == -EBADMSG ? "it cannot be understood"
                        : r == -EPERM ? "it is not root's own"
                                      : strerror(-r));
                return EXIT_FAILURE;
        }
        c->boot.without_tool = c->d->without_tool;
        r = change_compare(c);
        if (r != 0)
                return r;
        findings_done(&c->findings);
        c->reboot_required = needs_reboot(c);
        /* Even if all is so already, there is a note less to keep */
        r = change_run(c);
        if (r != 0)
                return r;
        change_log(c, MESSAGE_REVERTED, "Went back by one apply");
        r = change_print(c);
        return r < 0 ? r : change_exit_status(c);
}

int verb_revert(Dmemctl *d, int argc, char *argv[]) {
        _cleanup_(change_done) Change c = { .d = d, .verb = "revert", .lock_fd = -EBADF };
        _cleanup_(policy_freep) Policy *policy = NULL;
        int r;

        r = change_check_permission(d, c.verb);
        if (r == 0)
                r = load_policy(d, &policy);
        if (r == 0)
                r = change_begin(&c, policy, false);
        if (r == 0)
                r = change_find_last_loader(&c, policy);
        return r != 0 ? r : revert(&c);
}
