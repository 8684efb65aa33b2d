/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * retire and forget: what goes on the list of bad memory, and off it
 */

#include <inttypes.h>
#include <time.h>

#include "basic/size-util.h"
#include "dmemctl/ledger-view.h"
#include "host/host-poison.h"

/* Hexadecimal with 0x, or decimal; any byte of the unit. Returns 0 or EXIT_USAGE, said. */
static int parse_address(const char *text, uint64_t *ret) {
        uint64_t address;
        int r;

        r = startswith(text, "0x") ? parse_hex(text, &address) : parse_u64(text, &address);
        if (r < 0)
                return usage_error("%s is no physical address, it must be like 0x140000000 or "
                                   "5368709120",
                                   text);
        *ret = align_down(address, UNIT_SIZE);
        return 0;
}

static void print_regions(const LedgerView *v) {
        for (size_t i = 0; i < v->n_nodes; i++)
                for (size_t k = 0; k < v->nodes[i].n_regions; k++)
                        message("node %u has 0x%" PRIx64 "-0x%" PRIx64, v->nodes[i].id,
                                v->nodes[i].regions[k].start, v->nodes[i].regions[k].end);
}

/* Is it an address that can be retired? */
static int check_region(const LedgerView *v, uint64_t address) {
        if (poison_nodes_find(v->nodes, v->n_nodes, address) || (!v->live && v->n_nodes == 0))
                return 0;
        if (v->n_nodes == 0) {
                message("no memory is reserved in this boot, or the module dmemfs is not loaded: "
                        "there is no /sys/class/dmem/; nothing was changed");
                return EXIT_FAILURE;
        }
        message("0x%" PRIx64 " is in no region of this boot; nothing was changed", address);
        print_regions(v);
        return EXIT_NO_SUCH_NODE;
}

static int retire_now(const LedgerView *v, uint64_t address) {
        const PoisonNode *node = poison_nodes_find(v->nodes, v->n_nodes, address);
        int r;

        if (!v->live)
                return 0;
        r = host_retire(v->d->root_fd, node->id, address);
        if (r >= 0)
                return 0;
        message("the kernel does not take 0x%" PRIx64 " out of use: %s; nothing was changed",
                address, strerror(-r));
        return EXIT_FAILURE;
}

/* The state it has now: only the kernel knows whether it is part of a file. */
static int look_again(LedgerView *v, uint64_t address, Sighting *unit) {
        const PoisonNode *node;
        Sighting *users;
        size_t n;
        int r;

        poison_nodes_free(v->nodes, v->n_nodes);
        v->nodes = NULL;
        v->n_nodes = 0;
        r = host_load_poison(v->d->root_fd, &v->nodes, &v->n_nodes);
        if (r < 0)
                return r;
        node = poison_nodes_find(v->nodes, v->n_nodes, address);
        unit->state = node ? UNIT_PENDING : UNIT_OUTSIDE;
        unit->node = node ? node->id : UNIT_NO_NODE;
        for (size_t i = 0; node && i < node->n_units; i++)
                if (node->units[i].address == address)
                        unit->state = node->units[i].used ? UNIT_USED : UNIT_FREE;
        if (unit->state != UNIT_USED)
                return 0;
        r = host_load_poison_users(v->d->root_fd, node->id, &users, &n);
        for (size_t i = 0; i < n && r >= 0; i++)
                if (users[i].address == address) {
                        unit_user_done(&unit->user);
                        unit->user = users[i].user;
                        users[i].user = (UnitUser){};
                }
        if (r >= 0)
                sightings_free(users, n);
        return r < 0 ? r : 0;
}

static void print_retired(const LedgerView *v, const LedgerUnit *unit) {
        printf("0x%" PRIx64 " is out of use%s in the boots to come.\n", unit->address,
               v->live ? ", now and" : "");
        if (unit->state == UNIT_USED)
                printf("It is part of %s, which keeps it until it gives it back.\n",
                       unit->user.file ? unit->user.file : "a file");
}

int verb_retire(Dmemctl *d, int argc, char *argv[]) {
        _cleanup_(ledger_view_done) LedgerView v = { .d = d, .lock = -EBADF };
        Sighting unit = { .source = SOURCE_SYSFS, .retired = true };
        const LedgerUnit *known;
        struct timespec now;
        int r;

        r = parse_address(argv[1], &unit.address);
        if (r == 0)
                r = ledger_view_open(&v, true);
        if (r == 0)
                r = check_region(&v, unit.address);
        if (r != 0)
                return r;
        known = ledger_find(v.file.ledger, unit.address);
        if (known && known->saved && known->forgotten == LEDGER_NO_BOOT &&
            (!v.live || known->state == UNIT_FREE || known->state == UNIT_USED)) {
                printf("0x%" PRIx64 " is on the list already, and out of use.\n", unit.address);
                return EXIT_SUCCESS;
        }
        r = retire_now(&v, unit.address);
        if (r == 0)
                r = look_again(&v, unit.address, &unit);
        if (r != 0)
                return r;
        (void)clock_gettime(CLOCK_REALTIME, &now);
        ledger_take_back(v.file.ledger, unit.address);
        r = ledger_report(v.file.ledger, &unit, 1,
                          (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000, v.boot);
        unit_user_done(&unit.user);
        if (r < 0)
                return r;
        r = ledger_view_save(&v);
        if (r != 0) {
                if (v.live)
                        message("0x%" PRIx64 " is out of use in this boot alone", unit.address);
                return r;
        }
        print_retired(&v, ledger_find(v.file.ledger, unit.address));
        return EXIT_SUCCESS;
}

/* Forgetting */

/* Which modules are others than in the boot in which it was found. */
static int print_modules(const Ledger *l, unsigned then, unsigned now) {
        const LedgerBoot *old = &l->boots[then], *new = &l->boots[now];
        _cleanup_free_ char *changes = NULL;

        if (!old->dimms_known || !new->dimms_known) {
                printf("Whether memory modules were replaced since then is not known.\n");
                return 0;
        }
        changes = dimms_describe_changes(&old->dimms, &new->dimms);
        if (!changes)
                return -ENOMEM;
        if (changes[0] == '\0')
                printf("No memory module was replaced since then.\n");
        else
                printf("Memory modules that changed since then, by their serial numbers:\n%s",
                       changes);
        return 0;
}

/* Says what is to be forgotten. Returns the number of units of boot @boot. */
static size_t print_units(const Ledger *l, unsigned boot, uint64_t only, bool all) {
        char first[FORMAT_TIME_MAX];
        size_t n = 0;

        for (size_t i = 0; i < l->n_units; i++) {
                const LedgerUnit *unit = &l->units[i];

                if (unit->boot != boot || unit->forgotten != LEDGER_NO_BOOT ||
                    (!all && unit->address != only))
                        continue;
                printf("0x%" PRIx64 ", found %s (%s)\n", unit->address,
                       format_time(first, unit->first_seen), unit_source_to_string(unit->source));
                n++;
        }
        return n;
}

static int forget(LedgerView *v, uint64_t address) {
        bool all = v->d->all, out_of_use = false;
        Ledger *l = v->file.ledger;
        size_t n = 0;
        int r;

        for (unsigned boot = 0; boot < l->n_boots; boot++) {
                size_t here = print_units(l, boot, address, all);

                if (here > 0) {
                        r = print_modules(l, boot, v->boot);
                        if (r < 0)
                                return r;
                }
                n += here;
        }
        if (n == 0) {
                if (all)
                        printf("There is nothing to forget.\n");
                else
                        printf("0x%" PRIx64 " is not on the list.\n", address);
                return EXIT_SUCCESS;
        }
        if (all)
                (void)ledger_forget_all(l, v->boot);
        else
                (void)ledger_forget(l, address, v->boot);
        r = ledger_view_save(v);
        if (r != 0)
                return r;
        for (size_t i = 0; i < l->n_units; i++)
                out_of_use |=
                        l->units[i].forgotten == v->boot && (all || l->units[i].address == address);
        printf("Forgotten: %zu %s of 4 KiB.%s\n", n, n == 1 ? "unit" : "units",
               out_of_use ? " The kernel keeps out of use until the next boot what it has." : "");
        return EXIT_SUCCESS;
}

int verb_forget(Dmemctl *d, int argc, char *argv[]) {
        _cleanup_(ledger_view_done) LedgerView v = { .d = d, .lock = -EBADF };
        uint64_t address = 0;
        int r;

        if (d->all == (argc > 1))
                return usage_error("forget needs either an address or --all");
        r = argc > 1 ? parse_address(argv[1], &address) : 0;
        if (r == 0)
                r = ledger_view_open(&v, false);
        if (r != 0)
                return r;
        if (v.lock < 0) {
                printf("There is nothing to forget.\n");
                return EXIT_SUCCESS;
        }
        return forget(&v, address);
}
