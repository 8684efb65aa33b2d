/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * BootChange - new boot settings, carried out so that a crash leaves the old or the new ones
 *
 *     change.json   what was and what will be, complete before anything changes
 *     settings      the files that we write
 *     tool          makes the generated file from them, beside its place; checked, then moved there
 *     read back     every entry that may boot by default is as wanted
 *     state         applied.json and previous.json
 *     change.json   removed: done
 *
 * A file that is neither as it was when we looked nor as we want it belongs to somebody else: that
 * is a failure, too. A step that fails puts back what was before. After a crash
 * boot_change_recover() finds change.json and goes forward if the boot loader has the new settings
 * completely, else back; what somebody else changed in the meantime stays.
 */

#include <stddef.h>

#include "host/bootloader.h"

typedef struct BootChange {
        const char *operation; /* static: `apply` or `revert` */
        BootFiles settings;    /* of the boot loader */
        BootFiles state;       /* below var/lib/dmemd/ */
        bool regenerate;       /* run the tool; else the generated file is right as it is */
        bool without_tool;     /* change the generated file itself instead */
        bool as_before;        /* the settings were so once: entries need not agree on arguments */
        char **arguments_before; /* ours in the entries; NULL: they were not all the same */
        char **arguments_after;  /* never NULL */
        char *generated_before;  /* NULL: nothing is generated */
        size_t generated_before_size;
} BootChange;

void boot_change_done(BootChange *change);

/*
 * Keeps other writers away until the file descriptor is closed. With @create the folder that is
 * locked is made if it is missing, else that is -ENOENT.
 * Returns a file descriptor; -EBUSY and who holds it in @ret_holder (may be NULL); -EPERM if the
 * folder belongs to another user than root; or another errno.
 */
int boot_change_lock(int root_fd, bool create, char **ret_holder);

/* Sets what is not settings and state: the generated file and the arguments in its entries. */
int boot_change_look(BootLoader *loader, BootChange *change);

/*
 * Carries it out. Wants the lock.
 * @findings: why the boot loader's entries are not as wanted, if that is the reason
 * @ret_problem: what failed, where, and whether all is as before; set on error, and on success if
 *     there is something to be said all the same
 *
 * Returns 0, or a negative errno.
 */
int boot_change_run(int root_fd, BootLoader *loader, const BootChange *change, Findings *findings,
                    char **ret_problem);

/*
 * The boot loader that change.json or previous.json, whichever @path is, was written for, as a
 * policy that asks for that one and no other: what is configured may have changed since.
 * Returns 1; 0 if there is no such file or it does not say; or -ENOMEM.
 */
int boot_change_policy(int root_fd, const char *path, Policy **ret);

/* Has an interrupted change left its traces? Returns 1 or 0, or a negative errno. */
int boot_change_interrupted(int root_fd);

/*
 * Repairs what an interrupted change left. Wants the lock.
 * @ret_what: on success what was done, on error what is in the way; NULL if there was nothing
 *
 * Returns 0, or a negative errno.
 */
int boot_change_recover(int root_fd, BootLoader *loader, char **ret_what);

/* What went wrong with a file of the boot loader, and what to do about it; not to be freed. */
const char *boot_change_reason(int error);

/*
 * The text of previous.json: what @change replaces, applied.json included, and by what. The
 * reverse: settings and state become what the text says, and previous.json is removed; @ret_problem
 * names the file that is in the way, if one is.
 */
int boot_change_remember(const BootLoader *loader, const BootChange *change, char **ret);
int boot_change_from_previous(int root_fd, BootLoader *loader, const char *text, size_t size,
                              BootChange *ret, char **ret_problem);
