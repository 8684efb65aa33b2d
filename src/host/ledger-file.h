/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The ledger on disk: var/lib/dmemd/ledger/poisoned.jsonl
 *
 * One JSON object a line, so that a large ledger is read and written without a tree of it in
 * memory, and a damaged one loses a line and not all. Described by conf/schema/ledger.json:
 *
 *   {"version":1,"units":2}                                            first
 *   {"boot_id":"…","dimms":[{"locator":"…","serial":"…"}]}             in the order of their index
 *   {"address":"0x…","node":0,"state":"used","boot":0,…}               in any order
 *
 * Later versions keep a line with `address` for each unit. So what a newer dmemd wrote can be read
 * as far as it must: such a file is used, and never written.
 *
 * There are two writers, dmemd and dmemctl as root, hence the lock. The folder belongs to the
 * daemon's user, who could put anything into it: root follows no link in it, takes no byte from it
 * that ends up in boot settings, and leaves what it writes to the owner of the folder.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "plan/ledger.h"

#define LEDGER_FOLDER "var/lib/dmemd/ledger"
#define LEDGER_NAME "poisoned.jsonl"
#define LEDGER_FILE LEDGER_FOLDER "/" LEDGER_NAME

typedef enum LedgerCondition {
        LEDGER_ABSENT,     /* there is none yet */
        LEDGER_GOOD,       /* read whole */
        LEDGER_DAMAGED,    /* some lines make no sense, or some are missing */
        LEDGER_NEWER,      /* written by a later version; not to be written by us */
        LEDGER_UNREADABLE, /* reading failed, for a reason that may pass; not to be written */
} LedgerCondition;

typedef struct LedgerFile {
        LedgerCondition condition;
        int error;        /* of LEDGER_UNREADABLE: a negative errno */
        uint64_t version; /* of LEDGER_NEWER */
        Ledger *ledger;   /* what could be read, all marked as saved; never NULL after loading */
        struct stat st;   /* of the file that was read or written; st_ino 0: there was none */
} LedgerFile;

void ledger_file_done(LedgerFile *f);

/*
 * Reads it. A file in any condition is no error: see @ret->condition. Returns 0 or -ENOMEM.
 */
int ledger_file_load(int root_fd, LedgerFile *ret);

/* Has somebody else written the file since @f was read or saved? */
bool ledger_file_changed(int root_fd, const LedgerFile *f);

/* Can it be written without loss? */
static inline bool ledger_file_writable(const LedgerFile *f) {
        return f->condition != LEDGER_NEWER && f->condition != LEDGER_UNREADABLE;
}

/* What is wrong with the file, where it is and what becomes of it; NULL: nothing (or no memory). */
char *ledger_file_problem(const LedgerFile *f);

/*
 * Keeps all others from writing, as long as the file descriptor that is returned is open.
 * @create: make the folder if it is missing
 * Returns it, -ENOENT (no folder), -EBUSY (held by somebody else for longer than @timeout_usec), or
 * what opening said.
 */
int ledger_lock(int root_fd, bool create, uint64_t timeout_usec);

/*
 * The whole way of a writer to what it changes: lock, load, and put a damaged file aside, from
 * which what could be read is in @ret.
 * @ret_lock: to be closed after saving
 * @ret_said: what was found wrong and done about it, for the user; NULL if nothing
 * Returns 0, a negative errno of ledger_lock(), or of renaming.
 */
int ledger_file_open(int root_fd, bool create, uint64_t timeout_usec, LedgerFile *ret,
                     int *ret_lock, char **ret_said);

/*
 * Renames a damaged file out of the way, under the lock. @ret_name: what it is called now.
 * Returns 0 or a negative errno.
 */
int ledger_file_set_aside(int root_fd, char **ret_name);

/* Writes f->ledger, under the lock, in one step. Returns 0, or an errno and the old file is there.
 */
int ledger_file_save(int root_fd, LedgerFile *f);

/* The same as text, and back. Condition and ledger are set as by ledger_file_load(). */
int ledger_write(const Ledger *l, FILE *f);
int ledger_read(FILE *f, LedgerFile *ret);

/* The id of this boot; an empty text if it is not known. */
void host_load_boot_id(int root_fd, char ret[static BOOT_ID_MAX]);
