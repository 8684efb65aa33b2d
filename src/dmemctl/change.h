/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What apply and revert have in common: permission, the lock, repairs, and what they print
 */

#include "dmemctl/verbs.h"
#include "host/boot-change.h"

/* A change from the first look to the last word. */
typedef struct Change {
        Dmemctl *d;
        const char *verb;
        BootLoader *loader;
        int lock_fd;
        BootChange boot;
        bool changed; /* the boot settings have to change */
        Tristate reboot_required;
        Findings findings;
} Change;

void change_done(Change *c);

/* All of these return 0, or the exit status to leave with, after a message that says why. */

/* Is this process allowed to do it? Says so before anything is touched. */
int change_check_permission(const Dmemctl *d, const char *verb);

/*
 * Takes the lock, and repairs what an interrupted change left. With @create what has to exist for
 * that is made; else c->lock_fd stays invalid if it does not exist, as nobody ever changed
 * anything. Does nothing in a dry run but say that there is something to repair.
 */
int change_begin(Change *c, const Policy *policy, bool create);

/* The boot loader that the policy chooses. Call it after change_begin(). */
int change_find_loader(Change *c, const Policy *policy);

/* The one that the last apply wrote to, whatever the policy says now. */
int change_find_last_loader(Change *c, const Policy *policy);

/* Fills c->boot.regenerate and c->changed from the settings in c->boot and what is there now. */
int change_compare(Change *c);

/* Says the errors on stderr; the warnings, too, unless they are part of the JSON on stdout. */
void change_say_findings(const Change *c);

/* Carries out c->boot. */
int change_run(Change *c);

/*
 * Tells the journal of a change of this host that was carried out: @what, and what the next boot
 * gets. Nothing if nothing had to change.
 */
void change_log(const Change *c, const char *message_id, const char *what);

/* Says what was done or what would be, in words, as a diff or as JSON. */
int change_print(const Change *c);

/* The exit status of a change that went well. */
int change_exit_status(const Change *c);
