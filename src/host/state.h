/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * State - what dmemctl remembers about the boot settings it wrote, under var/lib/dmemd/
 *
 * applied.json   the plan that was written last; dmemd and verify compare the host with it
 * previous.json  what the boot loader's files were before that; revert puts it back
 * change.json    only while a change is under way, or after a crash in the midst of one
 *
 * All are JSON with a `version`, and are replaced in one step. The folder belongs to root and only
 * root writes in it: what is read here ends up in boot settings, so a file of another owner is
 * refused. The daemon, which runs as a user of its own, keeps its ledger in a folder below.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "basic/macro.h"
#include "plan/plan.h"

#define STATE_FOLDER "var/lib/dmemd"
#define STATE_APPLIED STATE_FOLDER "/applied.json"
#define STATE_PREVIOUS STATE_FOLDER "/previous.json"
#define STATE_CHANGE STATE_FOLDER "/change.json"

typedef struct AppliedNode {
        unsigned id;
        uint64_t dmem_bytes;
        uint64_t huge_2m; /* number of pages */
        uint64_t huge_1g; /* number of pages */
} AppliedNode;

/* The plan as it was applied. */
typedef struct Applied {
        Backend backend;
        uint64_t time_usec; /* realtime, since 1970 */
        char *boot_id;      /* of the boot in which it was applied; NULL: from outside */
        char **arguments;   /* never NULL; empty: nothing is planned */
        AppliedNode *nodes; /* sorted by id */
        size_t n_nodes;
} Applied;

Applied *applied_free(Applied *a); /* accepts NULL, returns NULL */
DEFINE_CLEANUP(Applied *, applied_free);

/* What is worth remembering of @plan, as if it were applied now to the host at @root_fd. */
int applied_new(int root_fd, const Plan *plan, Applied **ret);

/* NULL if the plan gives this node nothing. */
const AppliedNode *applied_find_node(const Applied *a, unsigned id);

/*
 * Returns 0; -ENOENT if nothing was ever applied or it was reverted; -EBADMSG if the file is
 * damaged or of a version that we do not know; -EPERM if it belongs to somebody else.
 */
int state_load_applied(int root_fd, Applied **ret);

/* Text to be freed by the caller, and back; @text need not end in a NUL. -EBADMSG, -ENOMEM. */
int applied_to_text(const Applied *a, char **ret);
int applied_from_text(const char *text, size_t size, Applied **ret);
