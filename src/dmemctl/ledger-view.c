/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <stdio.h>
#include <time.h>

#include "basic/root-fs.h"
#include "dmemctl/dmemd-client.h"
#include "dmemctl/ledger-view.h"
#include "host/host-dimm.h"
#include "host/host-memory.h"
#include "host/host-poison.h"

/* Somebody types this and waits; whoever holds the lock only writes a file. */
#define LOCK_USEC (UINT64_C(10) * 1000 * 1000)

void ledger_view_done(LedgerView *v) {
        ledger_file_done(&v->file);
        closep(&v->lock);
        poison_nodes_free(v->nodes, v->n_nodes);
}

static int fail(const char *what, int r) {
        message("%s: %s", what, strerror(-r));
        return EXIT_FAILURE;
}

static uint64_t now_usec(void) {
        struct timespec now;

        (void)clock_gettime(CLOCK_REALTIME, &now);
        return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static int find_out_live(LedgerView *v) {
        int r = host_is_live(v->d->root_fd);

        if (r < 0)
                return fail("cannot look at the root directory", r);
        v->live = r > 0;
        v->source = v->live ? "sysfs" : "files";
        return 0;
}

/* Brings this boot and its lists into the ledger. */
static int add_lists(LedgerView *v) {
        char id[BOOT_ID_MAX];
        int r;

        host_load_boot_id(v->d->root_fd, id);
        r = ledger_add_boot(v->file.ledger, id, &v->boot);
        if (r >= 0)
                r = host_load_poison(v->d->root_fd, &v->nodes, &v->n_nodes);
        /* An image has no class dmem, and does not say what will be where when it runs */
        if (r >= 0 && (v->live || v->n_nodes > 0))
                r = ledger_reconcile(v->file.ledger, v->nodes, v->n_nodes, now_usec(), v->boot);
        return r < 0 ? fail("cannot read what the kernel has out of use", r) : 0;
}

/* Who uses it now: only the kernel knows, and tells only root. */
static void add_users(LedgerView *v) {
        for (size_t i = 0; i < v->n_nodes; i++) {
                Sighting *users;
                size_t n;

                if (host_load_poison_users(v->d->root_fd, v->nodes[i].id, &users, &n) < 0)
                        continue;
                (void)ledger_set_users(v->file.ledger, users, n);
                sightings_free(users, n);
        }
}

/* -ENOENT if the daemon does not run; anything else that is wrong is said. */
static int load_from_dmemd(LedgerView *v) {
        _cleanup_free_ char *text = NULL;
        FILE *f;
        int r;

        r = dmemd_call("GetLedger", &text);
        if (r < 0)
                return r;
        f = fmemopen(text, strlen(text), "r");
        if (!f)
                return -ENOMEM;
        r = ledger_read(f, &v->file);
        (void)fclose(f);
        if (r >= 0 && v->file.condition != LEDGER_GOOD) {
                message("cannot understand dmemd; looking without it");
                ledger_file_done(&v->file);
                return -EBADMSG;
        }
        if (r >= 0)
                v->source = "dmemd";
        return r;
}

int ledger_view_load(LedgerView *v) {
        _cleanup_free_ char *problem = NULL;
        char id[BOOT_ID_MAX];
        int r;

        r = find_out_live(v);
        if (r != 0)
                return r;
        if (v->live && load_from_dmemd(v) >= 0) {
                host_load_boot_id(v->d->root_fd, id);
                r = ledger_add_boot(v->file.ledger, id, &v->boot);
                if (r >= 0)
                        r = host_load_poison(v->d->root_fd, &v->nodes, &v->n_nodes);
                if (r < 0)
                        return r;
                add_users(v);
                return 0;
        }
        r = ledger_file_load(v->d->root_fd, &v->file);
        if (r < 0)
                return r;
        problem = ledger_file_problem(&v->file);
        if (problem)
                message("%s", problem);
        r = add_lists(v);
        if (r == 0)
                add_users(v);
        return r;
}

static int check_permission(const LedgerView *v) {
        if (!v->live || geteuid() == 0)
                return 0;
        message("only root may change which memory is used: run it with sudo");
        return EXIT_FAILURE;
}

/* Only root may read them; what is not known stays so. */
static int add_dimms(LedgerView *v) {
        Dimms dimms;
        int r;

        if (host_load_dimms(v->d->root_fd, &dimms) < 0)
                return 0;
        r = ledger_set_dimms(v->file.ledger, v->boot, &dimms);
        dimms_done(&dimms);
        return r < 0 ? r : 0;
}

int ledger_view_open(LedgerView *v, bool create) {
        _cleanup_free_ char *said = NULL;
        int r;

        r = find_out_live(v);
        if (r == 0)
                r = check_permission(v);
        if (r != 0)
                return r;
        r = ledger_file_open(v->d->root_fd, create, LOCK_USEC, &v->file, &v->lock, &said);
        if (r == -ENOENT && !create)
                return 0;
        if (r == -EBUSY) {
                message("somebody else has been writing /" LEDGER_FILE " for 10 s; nothing was "
                        "changed, try again");
                return EXIT_FAILURE;
        }
        if (r < 0)
                return fail("cannot change /" LEDGER_FILE ", nothing was changed", r);
        if (said)
                message("%s", said);
        if (!ledger_file_writable(&v->file)) {
                message("nothing was changed");
                return EXIT_FAILURE;
        }
        r = add_lists(v);
        if (r == 0)
                r = add_dimms(v);
        if (r == 0)
                (void)ledger_prune(v->file.ledger, v->boot, &v->boot);
        return r;
}

int ledger_view_save(LedgerView *v) {
        int r = ledger_file_save(v->d->root_fd, &v->file);

        return r < 0 ? fail("cannot write /" LEDGER_FILE ", which is as it was", r) : 0;
}

char *format_time(char buffer[static FORMAT_TIME_MAX], uint64_t usec) {
        time_t seconds = (time_t)(usec / 1000000);
        struct tm local;

        if (usec == 0 || !localtime_r(&seconds, &local) ||
            strftime(buffer, FORMAT_TIME_MAX, "%Y-%m-%d %H:%M:%S", &local) == 0)
                strcpy(buffer, "-");
        return buffer;
}
