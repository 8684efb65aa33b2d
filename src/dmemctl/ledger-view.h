/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The ledger for poisoned, retire and forget: with the kernel's lists of this boot, if there is one
 */

#include "dmemctl/verbs.h"
#include "host/ledger-file.h"

typedef struct LedgerView {
        Dmemctl *d;
        const char *source; /* who says so: `dmemd`, `sysfs` (the live host), `files` (--root=) */
        bool live;
        LedgerFile file;
        int lock;      /* negative: not for writing */
        unsigned boot; /* index of this boot */
        PoisonNode *nodes;
        size_t n_nodes;
} LedgerView;

void ledger_view_done(LedgerView *v);

/* All of these return 0, or the exit status to leave with, after a message that says why. */

/* To be looked at: from dmemd if it runs, else from the ledger and the lists. */
int ledger_view_load(LedgerView *v);

/*
 * To be changed: locked, and refused to those who may not, or if the file is not ours to write.
 * @create: make what is missing; else ledger_view_open() succeeds with v->lock negative
 */
int ledger_view_open(LedgerView *v, bool create);

/* Writes it. */
int ledger_view_save(LedgerView *v);

/* `2026-11-26 01:02:03` in local time, `-` for 0. Returns @buffer. */
#define FORMAT_TIME_MAX 32
char *format_time(char buffer[static FORMAT_TIME_MAX], uint64_t usec);
