/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include "basic/root-fs.h"
#include "dmemd/log.h"
#include "dmemd/setup-retire.h"
#include "host/host-dimm.h"
#include "host/host-poison.h"
#include "host/ledger-file.h"

/* The boot waits for us. */
#define LOCK_USEC (UINT64_C(5) * 1000 * 1000)

typedef struct Retire {
        int root_fd;
        LedgerFile file;
        int lock; /* negative: the ledger cannot be written */
        unsigned boot;
        bool changed; /* the ledger has to be written */
        bool first;   /* time in this boot */
        PoisonNode *nodes;
        size_t n_nodes;
        size_t n_retired, n_failed, n_outside;
} Retire;

static void retire_done(Retire *r) {
        ledger_file_done(&r->file);
        closep(&r->lock);
        poison_nodes_free(r->nodes, r->n_nodes);
}

static _printf_(1, 2) void ledger_problem(const char *format, ...) {
        _cleanup_free_ char *text = NULL;
        va_list arguments;
        int r;

        va_start(arguments, format);
        r = vasprintf(&text, format, arguments);
        va_end(arguments);
        if (r >= 0)
                log_event(LOG_WARNING, MESSAGE_LEDGER_PROBLEM, NULL, "%s", text);
}

/* To be written, if possible; else only to be read. Returns 0, or 1 if there is none at all. */
static int open_ledger(Retire *r) {
        _cleanup_free_ char *said = NULL;
        int q;

        q = ledger_file_open(r->root_fd, false, LOCK_USEC, &r->file, &r->lock, &said);
        if (q == -ENOENT)
                return 1;
        if (q >= 0) {
                if (said)
                        ledger_problem("%s", said);
                return 0;
        }
        ledger_problem("Cannot write to /" LEDGER_FOLDER "/: %s; only reading it",
                       q == -EBUSY ? "somebody else has the lock" : strerror(-q));
        if (ledger_file_load(r->root_fd, &r->file) < 0)
                return 1;
        said = ledger_file_problem(&r->file);
        if (said)
                ledger_problem("%s", said);
        return 0;
}

/* Notes this boot in the ledger. */
static int enter_boot(Retire *r) {
        Ledger *l = r->file.ledger;
        char id[BOOT_ID_MAX];
        Dimms dimms;
        int q;

        host_load_boot_id(r->root_fd, id);
        q = ledger_add_boot(l, id, &r->boot);
        if (q < 0)
                return q;
        r->first = q > 0;
        r->changed |= q > 0;
        r->changed |= ledger_prune(l, r->boot, &r->boot) > 0;
        if (l->boots[r->boot].dimms_known || host_load_dimms(r->root_fd, &dimms) < 0)
                return 0;
        q = ledger_set_dimms(l, r->boot, &dimms);
        dimms_done(&dimms);
        r->changed |= q > 0;
        return q < 0 ? q : 0;
}

static void retire_unit(Retire *r, const LedgerUnit *unit) {
        const PoisonNode *node = poison_nodes_find(r->nodes, r->n_nodes, unit->address);
        int q;

        if (unit->forgotten != LEDGER_NO_BOOT)
                return;
        if (!node) {
                r->n_outside++;
                return;
        }
        if (poison_nodes_have(r->nodes, r->n_nodes, unit->address) > 0)
                return;
        q = host_retire(r->root_fd, node->id, unit->address);
        if (q >= 0) {
                r->n_retired++;
                return;
        }
        if (r->n_failed++ == 0)
                log_message(LOG_ERR,
                            "Node %u: cannot take 0x%" PRIx64 " out of use, which was bad in an "
                            "earlier boot: %s; 'dmemctl retire 0x%" PRIx64 "' tries again",
                            node->id, unit->address, strerror(-q), unit->address);
}

static void tell(const Retire *r) {
        char count[sizeof("DMEM_COUNT=") + 3 * sizeof(size_t)], *fields[] = { count, NULL };
        _cleanup_free_ char *outside = NULL;

        if (r->n_failed > 1)
                log_message(LOG_ERR, "%zu more pages could not be taken out of use",
                            r->n_failed - 1);
        if (r->n_retired == 0 && (r->n_outside == 0 || !r->first))
                return;
        if (r->n_outside > 0 &&
            asprintf(&outside, "; %zu more are in no region of this boot and stay on the list",
                     r->n_outside) < 0)
                return;
        (void)snprintf(count, sizeof(count), "DMEM_COUNT=%zu", r->n_retired);
        log_event(LOG_NOTICE, MESSAGE_RETIRED_AGAIN, fields,
                  "%zu %s of 4 KiB that %s bad in earlier boots %s out of use again%s",
                  r->n_retired, r->n_retired == 1 ? "page" : "pages",
                  r->n_retired == 1 ? "was" : "were", r->n_retired == 1 ? "is" : "are",
                  outside ?: "");
}

static uint64_t now_usec(void) {
        struct timespec now;

        (void)clock_gettime(CLOCK_REALTIME, &now);
        return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* What the kernel made of it goes into the ledger as well. */
static int reload(Retire *r) {
        int q;

        poison_nodes_free(r->nodes, r->n_nodes);
        r->nodes = NULL;
        r->n_nodes = 0;
        q = host_load_poison(r->root_fd, &r->nodes, &r->n_nodes);
        if (q < 0)
                return q;
        q = ledger_reconcile(r->file.ledger, r->nodes, r->n_nodes, now_usec(), r->boot);
        r->changed |= q > 0;
        return q < 0 ? q : 0;
}

static int retire_all(Retire *r) {
        int q;

        q = enter_boot(r);
        if (q >= 0)
                q = host_load_poison(r->root_fd, &r->nodes, &r->n_nodes);
        if (q < 0)
                return q;
        for (size_t i = 0; i < r->file.ledger->n_units; i++)
                retire_unit(r, &r->file.ledger->units[i]);
        tell(r);
        return reload(r);
}

void setup_retire(int root_fd) {
        _cleanup_(retire_done) Retire r = { .root_fd = root_fd, .lock = -EBADF };
        int q;

        if (open_ledger(&r) > 0)
                return;
        q = retire_all(&r);
        if (q < 0) {
                log_message(LOG_ERR, "Cannot take out of use again what was bad: %s", strerror(-q));
                return;
        }
        if (r.lock < 0 || !ledger_file_writable(&r.file) ||
            (!r.changed && !ledger_is_dirty(r.file.ledger)))
                return;
        q = ledger_file_save(root_fd, &r.file);
        if (q < 0)
                ledger_problem("Cannot write /" LEDGER_FILE ": %s", strerror(-q));
}
