/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <inttypes.h>
#include <stdio.h>

#include "dmemd/bus.h"
#include "dmemd/log.h"
#include "dmemd/poison-tell.h"

/* Signals at once. Who misses some sees PoisonEvents change, and can ask for the list. */
#define SIGNALS_MAX 256

/* The fields of one entry. */
typedef struct Fields {
        char *list[16];
        size_t n;
} Fields;

static void fields_done(Fields *f) {
        for (size_t i = 0; i < f->n; i++)
                free(f->list[i]);
}

/* A field less, if there is no memory, is no reason to say nothing. */
static _printf_(2, 3) void add(Fields *f, const char *format, ...) {
        va_list arguments;
        int r;

        assert(f->n + 1 < ELEMENTSOF(f->list));
        va_start(arguments, format);
        r = vasprintf(&f->list[f->n], format, arguments);
        va_end(arguments);
        if (r >= 0)
                f->n++;
        f->list[f->n] = NULL;
}

static void add_user(Fields *f, const UnitUser *user) {
        if (user->file)
                add(f, "DMEM_FILE=%s", user->file);
        if (user->device) {
                add(f, "DMEM_DEV=%s", user->device);
                add(f, "DMEM_INODE=%" PRIu64, user->inode);
                add(f, "DMEM_OFFSET=0x%" PRIx64, user->offset);
        }
        if (user->processes)
                add(f, "DMEM_PROCESSES=%s", user->processes);
}

/* `part of FILE at offset 0x…, mapped by …`; what is not known is left out. */
static char *describe_user(const LedgerUnit *unit) {
        _cleanup_free_ char *text = NULL;
        const UnitUser *user = &unit->user;
        size_t size;
        FILE *f;

        f = open_memstream(&text, &size);
        if (!f)
                return NULL;
        fprintf(f, "part of %s", user->file ? user->file : "a file");
        if (user->device)
                fprintf(f, " at offset 0x%" PRIx64, user->offset);
        if (user->processes)
                fprintf(f, ", mapped by %s", user->processes);
        if (fclose(f) != 0)
                return NULL;
        return TAKE_PTR(text);
}

static void tell_unit(const LedgerUnit *unit, const PoisonWatch *node) {
        _cleanup_(fields_done) Fields f = {};
        _cleanup_free_ char *user = NULL;

        add(&f, "DMEM_NODE=%u", unit->node);
        add(&f, "DMEM_ADDRESS=0x%" PRIx64, unit->address);
        add(&f, "DMEM_SIZE=%" PRIu64, UNIT_SIZE);
        add(&f, "DMEM_STATE=%s", unit_state_to_string(unit->state));
        add(&f, "DMEM_SOURCE=%s", unit_source_to_string(unit->source));
        if (node && node->events_known)
                add(&f, "DMEM_COUNT=%" PRIu64, node->events);
        if (unit->state != UNIT_USED) {
                log_event(
                        unit->retired ? LOG_NOTICE : LOG_WARNING, MESSAGE_PAGE_POISONED, f.list,
                        "Node %u: 4 KiB at 0x%" PRIx64 " %s; they were free, nobody lost anything",
                        unit->node, unit->address, unit->retired ? "were retired" : "are poisoned");
                return;
        }
        add_user(&f, &unit->user);
        user = describe_user(unit);
        if (unit->retired)
                log_event(LOG_NOTICE, MESSAGE_PAGE_POISONED, f.list,
                          "Node %u: 4 KiB at 0x%" PRIx64
                          " were retired, %s, which keeps them until "
                          "it gives them back",
                          unit->node, unit->address, user ?: "part of a file");
        else
                log_event(LOG_WARNING, MESSAGE_PAGE_POISONED, f.list,
                          "Node %u: 4 KiB at 0x%" PRIx64 " are poisoned, %s; who touches them gets "
                          "SIGBUS",
                          unit->node, unit->address, user ?: "part of a file");
}

static void tell_count(const PoisonWatch *node, size_t n) {
        _cleanup_(fields_done) Fields f = {};

        add(&f, "DMEM_NODE=%u", node->id);
        add(&f, "DMEM_COUNT=%zu", n);
        add(&f, "DMEM_SIZE=%" PRIu64, n * UNIT_SIZE);
        log_event(LOG_WARNING, MESSAGE_STORM, f.list,
                  "Node %u: %zu more pages of 4 KiB are poisoned or retired; 'dmemctl poisoned' "
                  "lists them",
                  node->id, n);
}

static void tell_missed(PoisonWatch *node, uint64_t now) {
        _cleanup_(fields_done) Fields f = {};

        if (node->missed == 0 || now < node->missed_until)
                return;
        add(&f, "DMEM_NODE=%u", node->id);
        add(&f, "DMEM_COUNT=%" PRIu64, node->missed);
        log_event(LOG_WARNING, MESSAGE_EVENTS_MISSED, f.list,
                  "Node %u: %" PRIu64 " events of poisoned memory did not arrive; what they were "
                  "about was taken from the kernel's list",
                  node->id, node->missed);
        node->missed = 0;
        node->missed_until = now + PACE_USEC;
}

/* Units side by side that are alike go out as one signal. Returns how many units that are. */
static size_t tell_bus(Manager *m, const Ledger *l, size_t first) {
        const LedgerUnit *unit = &l->units[first];
        size_t n = 1;
        int r;

        while (first + n < l->n_units && !unit[n].told && unit[n].node == unit->node &&
               unit[n].state == unit->state && unit[n].source == unit->source &&
               unit[n].address == unit->address + n * UNIT_SIZE)
                n++;
        r = sd_bus_emit_signal(m->bus, BUS_PATH, BUS_INTERFACE_MANAGER, "Poisoned", "tutss",
                               unit->address, unit->node, (uint64_t)n * UNIT_SIZE,
                               unit_state_to_string(unit->state),
                               unit_source_to_string(unit->source));
        if (r < 0)
                log_message(LOG_WARNING, "Cannot send signal Poisoned: %s", strerror(-r));
        return n;
}

static bool is_news(const LedgerUnit *unit, unsigned node) {
        return !unit->told && unit->node == node &&
               (unit->state == UNIT_FREE || unit->state == UNIT_USED);
}

static void tell_node(const Ledger *l, PoisonWatch *node, uint64_t now) {
        size_t n = 0, due;

        for (size_t i = 0; i < l->n_units; i++)
                n += is_news(&l->units[i], node->id);
        if (n > 0)
                switch (pace_ask(&node->pace, now, n)) {
                case PACE_TELL_EACH:
                        for (size_t i = 0; i < l->n_units; i++)
                                if (is_news(&l->units[i], node->id))
                                        tell_unit(&l->units[i], node);
                        break;
                case PACE_TELL_COUNT:
                        tell_count(node, n);
                        break;
                case PACE_WAIT:
                default:
                        break;
                }
        due = pace_due(&node->pace, now);
        if (due > 0)
                tell_count(node, due);
        tell_missed(node, now);
}

void poison_tell(Manager *m, Ledger *l, PoisonWatch *nodes, size_t n_nodes, uint64_t now) {
        size_t n_signals = 0;

        for (size_t i = 0; i < n_nodes; i++)
                tell_node(l, &nodes[i], now);
        for (size_t i = 0; m->bus && i < l->n_units && n_signals < SIGNALS_MAX;) {
                if (!is_news(&l->units[i], l->units[i].node)) {
                        i++;
                        continue;
                }
                i += tell_bus(m, l, i);
                n_signals++;
        }
        for (size_t i = 0; i < l->n_units; i++)
                if (is_news(&l->units[i], l->units[i].node)) {
                        l->units[i].told = true;
                        l->units[i].dirty = true;
                }
}
