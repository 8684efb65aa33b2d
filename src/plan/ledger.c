/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <inttypes.h>
#include <stdio.h>

#include "plan/ledger.h"

static const char *const state_names[_UNIT_STATE_MAX] = {
        [UNIT_FREE] = "free",
        [UNIT_USED] = "used",
        [UNIT_PENDING] = "pending",
        [UNIT_OUTSIDE] = "outside",
};

static const char *const source_names[_UNIT_SOURCE_MAX] = {
        [SOURCE_UNKNOWN] = "unknown",
        [SOURCE_MCE] = "mce",
        [SOURCE_SYSFS] = "sysfs",
};

static int find_name(const char *const *names, size_t n, const char *text) {
        for (size_t i = 0; i < n; i++)
                if (streq(names[i], text))
                        return (int)i;
        return -EINVAL;
}

const char *unit_state_to_string(UnitState state) {
        assert(state < _UNIT_STATE_MAX);
        return state_names[state];
}

int unit_state_from_string(const char *text, UnitState *ret) {
        int i = find_name(state_names, _UNIT_STATE_MAX, text);

        if (i < 0)
                return i;
        *ret = (UnitState)i;
        return 0;
}

const char *unit_source_to_string(UnitSource source) {
        assert(source < _UNIT_SOURCE_MAX);
        return source_names[source];
}

int unit_source_from_string(const char *text, UnitSource *ret) {
        int i = find_name(source_names, _UNIT_SOURCE_MAX, text);

        if (i < 0)
                return i;
        *ret = (UnitSource)i;
        return 0;
}

/* Making and freeing */

void dimms_done(Dimms *dimms) {
        for (size_t i = 0; i < dimms->n_items; i++) {
                free(dimms->items[i].locator);
                free(dimms->items[i].serial);
        }
        free(dimms->items);
        *dimms = (Dimms){};
}

static int copy_text(const char *text, char **ret) {
        *ret = text ? strdup(text) : NULL;
        return text && !*ret ? -ENOMEM : 0;
}

int dimms_copy(const Dimms *from, Dimms *ret) {
        Dimms copy = {};

        copy.items = new0(Dimm, from->n_items + 1);
        if (!copy.items)
                return -ENOMEM;
        for (; copy.n_items < from->n_items; copy.n_items++) {
                const Dimm *dimm = &from->items[copy.n_items];
                Dimm *to = &copy.items[copy.n_items];

                if (copy_text(dimm->locator, &to->locator) < 0 ||
                    copy_text(dimm->serial, &to->serial) < 0) {
                        copy.n_items++;
                        dimms_done(&copy);
                        return -ENOMEM;
                }
        }
        *ret = copy;
        return 0;
}

void unit_user_done(UnitUser *user) {
        free(user->file);
        free(user->device);
        free(user->processes);
        *user = (UnitUser){};
}

void sightings_free(Sighting *sightings, size_t n) {
        for (size_t i = 0; i < n; i++)
                unit_user_done(&sightings[i].user);
        free(sightings);
}

void poison_nodes_free(PoisonNode *nodes, size_t n) {
        for (size_t i = 0; i < n; i++) {
                free(nodes[i].regions);
                free(nodes[i].units);
        }
        free(nodes);
}

Ledger *ledger_new(void) {
        return new0(Ledger, 1);
}

Ledger *ledger_free(Ledger *l) {
        if (!l)
                return NULL;
        for (size_t i = 0; i < l->n_units; i++)
                unit_user_done(&l->units[i].user);
        free(l->units);
        for (size_t i = 0; i < l->n_boots; i++)
                dimms_done(&l->boots[i].dimms);
        free(l->boots);
        free(l);
        return NULL;
}

/* Looking up */

LedgerUnit *ledger_find(const Ledger *l, uint64_t address) {
        size_t low = 0, high = l->n_units;

        while (low < high) {
                size_t middle = low + (high - low) / 2;

                if (l->units[middle].address < address)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low < l->n_units && l->units[low].address == address ? &l->units[low] : NULL;
}

bool ledger_is_dirty(const Ledger *l) {
        for (size_t i = 0; i < l->n_units; i++)
                if (l->units[i].dirty)
                        return true;
        return false;
}

void ledger_mark_saved(Ledger *l) {
        for (size_t i = 0; i < l->n_units; i++) {
                l->units[i].saved = true;
                l->units[i].dirty = false;
        }
}

const PoisonNode *poison_nodes_find(const PoisonNode *nodes, size_t n, uint64_t address) {
        for (size_t i = 0; i < n; i++)
                for (size_t k = 0; k < nodes[i].n_regions; k++)
                        if (address >= nodes[i].regions[k].start &&
                            address < nodes[i].regions[k].end)
                                return &nodes[i];
        return NULL;
}

static int compare_poisoned(const void *a, const void *b) {
        const PoisonedUnit *x = a, *y = b;

        return (x->address > y->address) - (x->address < y->address);
}

static const PoisonedUnit *find_poisoned(const PoisonNode *node, uint64_t address) {
        const PoisonedUnit key = { .address = address };

        if (node->n_units == 0)
                return NULL;
        return bsearch(&key, node->units, node->n_units, sizeof(PoisonedUnit), compare_poisoned);
}

int poison_nodes_have(const PoisonNode *nodes, size_t n, uint64_t address) {
        const PoisonNode *node = poison_nodes_find(nodes, n, address);

        if (!node)
                return 0;
        if (!node->units_known)
                return -ENODATA;
        return find_poisoned(node, address) != NULL;
}

/* Boots */

int ledger_add_boot(Ledger *l, const char *id, unsigned *ret) {
        LedgerBoot *grown;

        for (size_t i = 0; i < l->n_boots; i++)
                if (streq(l->boots[i].id, id)) {
                        *ret = (unsigned)i;
                        return 0;
                }
        grown = reallocarray(l->boots, l->n_boots + 1, sizeof(LedgerBoot));
        if (!grown)
                return -ENOMEM;
        l->boots = grown;
        l->boots[l->n_boots] = (LedgerBoot){};
        (void)snprintf(l->boots[l->n_boots].id, BOOT_ID_MAX, "%s", id);
        *ret = (unsigned)l->n_boots++;
        return 1;
}

int ledger_set_dimms(Ledger *l, unsigned boot, const Dimms *dimms) {
        LedgerBoot *b = &l->boots[boot];
        int r;

        if (b->dimms_known)
                return 0;
        r = dimms_copy(dimms, &b->dimms);
        if (r < 0)
                return r;
        b->dimms_known = true;
        return 1;
}

/* Drops the units for which @keep is false. Returns 1 if there were any. */
static int drop_units(Ledger *l, bool (*keep)(const LedgerUnit *unit, unsigned boot),
                      unsigned boot) {
        size_t n = 0;

        for (size_t i = 0; i < l->n_units; i++) {
                if (keep(&l->units[i], boot))
                        l->units[n++] = l->units[i];
                else
                        unit_user_done(&l->units[i].user);
        }
        if (n == l->n_units)
                return 0;
        l->n_units = n;
        return 1;
}

static bool not_forgotten_earlier(const LedgerUnit *unit, unsigned boot) {
        return unit->forgotten == LEDGER_NO_BOOT || unit->forgotten == boot;
}

int ledger_prune(Ledger *l, unsigned boot, unsigned *ret) {
        _cleanup_free_ unsigned *index = NULL;
        _cleanup_free_ bool *named = NULL;
        unsigned n = 0;
        int changed;

        changed = drop_units(l, not_forgotten_earlier, boot);
        *ret = boot;
        index = new0(unsigned, l->n_boots);
        named = new0(bool, l->n_boots);
        if (!index || !named)
                return changed; /* a boot too many does no harm */
        named[boot] = true;
        for (size_t i = 0; i < l->n_units; i++)
                named[l->units[i].boot] = true;
        for (unsigned i = 0; i < l->n_boots; i++) {
                if (!named[i]) {
                        dimms_done(&l->boots[i].dimms);
                        continue;
                }
                index[i] = n;
                l->boots[n++] = l->boots[i];
        }
        if (n == l->n_boots)
                return changed;
        l->n_boots = n;
        for (size_t i = 0; i < l->n_units; i++) {
                l->units[i].boot = index[l->units[i].boot];
                if (l->units[i].forgotten != LEDGER_NO_BOOT)
                        l->units[i].forgotten = index[l->units[i].forgotten];
        }
        *ret = index[boot];
        return 1;
}

/* Events and lists */

static bool user_is_known(const UnitUser *user) {
        return user->file || user->device || user->processes;
}

static void take_user(LedgerUnit *unit, UnitUser *user) {
        if (!user_is_known(user))
                return;
        unit_user_done(&unit->user);
        unit->user = *user;
        *user = (UnitUser){};
}

static void take_back(LedgerUnit *unit) {
        if (unit->forgotten == LEDGER_NO_BOOT)
                return;
        unit->forgotten = LEDGER_NO_BOOT;
        unit->told = false;
        unit->dirty = true;
}

static void report(LedgerUnit *unit, Sighting *s, uint64_t now, unsigned boot) {
        unit->last_seen = now;
        unit->node = s->node;
        unit->state = s->state;
        if (unit->source == SOURCE_UNKNOWN || s->source == SOURCE_MCE)
                unit->source = s->source;
        /* What was forgotten in this boot stays so: the kernel has it, and this comes late */
        if (unit->forgotten != boot || (unit->retired && !s->retired))
                take_back(unit);
        /* Now its content is lost, too */
        if (unit->retired && !s->retired)
                unit->told = false;
        unit->retired = s->retired && (unit->retired || unit->first_seen == 0);
        if (unit->first_seen == 0)
                unit->first_seen = now;
        take_user(unit, &s->user);
        unit->dirty = true;
}

static int compare_sightings(const void *a, const void *b) {
        const Sighting *x = *(Sighting *const *)a, *y = *(Sighting *const *)b;

        if (x->address != y->address)
                return x->address < y->address ? -1 : 1;
        return (x > y) - (x < y); /* in the order in which they came */
}

/* A row of pointers, sorted by address. */
static Sighting **sort_sightings(Sighting *sightings, size_t n) {
        Sighting **row = new0(Sighting *, n + 1);

        for (size_t i = 0; row && i < n; i++)
                row[i] = &sightings[i];
        if (row)
                qsort(row, n, sizeof(Sighting *), compare_sightings);
        return row;
}

int ledger_report(Ledger *l, Sighting *sightings, size_t n, uint64_t now, unsigned boot) {
        _cleanup_free_ Sighting **row = NULL;
        LedgerUnit *merged;
        size_t n_merged = 0, old = 0;

        if (n == 0)
                return 0;
        row = sort_sightings(sightings, n);
        merged = new0(LedgerUnit, l->n_units + n);
        if (!row || !merged) {
                free(merged);
                return -ENOMEM;
        }
        for (size_t i = 0; i < n; i++) {
                uint64_t address = row[i]->address;

                while (old < l->n_units && l->units[old].address <= address)
                        merged[n_merged++] = l->units[old++];
                if (n_merged == 0 || merged[n_merged - 1].address != address) {
                        if (n_merged + l->n_units - old >= LEDGER_UNITS_MAX)
                                continue;
                        merged[n_merged++] = (LedgerUnit){
                                .address = address,
                                .boot = boot,
                                .forgotten = LEDGER_NO_BOOT,
                        };
                }
                report(&merged[n_merged - 1], row[i], now, boot);
        }
        while (old < l->n_units)
                merged[n_merged++] = l->units[old++];
        free(l->units);
        l->units = merged;
        l->n_units = n_merged;
        return 0;
}

/* What only the kernel's lists have, as sightings. */
static int find_unheard(const Ledger *l, const PoisonNode *nodes, size_t n, Sighting **ret,
                        size_t *ret_n) {
        size_t room = 0, n_found = 0;
        Sighting *found;

        for (size_t i = 0; i < n; i++)
                room += nodes[i].units_known ? nodes[i].n_units : 0;
        found = new0(Sighting, room + 1);
        if (!found)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++)
                for (size_t k = 0; nodes[i].units_known && k < nodes[i].n_units; k++)
                        if (!ledger_find(l, nodes[i].units[k].address))
                                found[n_found++] = (Sighting){
                                        .address = nodes[i].units[k].address,
                                        .node = nodes[i].id,
                                        .state = nodes[i].units[k].used ? UNIT_USED : UNIT_FREE,
                                };
        *ret = found;
        *ret_n = n_found;
        return 0;
}

/* Returns 1 if this changed anything. */
static int settle(LedgerUnit *unit, const PoisonNode *nodes, size_t n) {
        const PoisonNode *node = poison_nodes_find(nodes, n, unit->address);
        const PoisonedUnit *found = node ? find_poisoned(node, unit->address) : NULL;
        unsigned id = node ? node->id : unit->node;
        UnitState state = UNIT_OUTSIDE;

        if (node && !node->units_known)
                return 0;
        if (found)
                state = found->used ? UNIT_USED : UNIT_FREE;
        else if (node && node->units_partial)
                return 0;
        else if (node)
                state = UNIT_PENDING;
        if (unit->state == state && unit->node == id)
                return 0;
        unit->state = state;
        unit->node = id;
        unit->dirty = true;
        return 1;
}

int ledger_reconcile(Ledger *l, const PoisonNode *nodes, size_t n, uint64_t now, unsigned boot) {
        Sighting *unheard;
        size_t n_unheard;
        int changed, r;

        r = find_unheard(l, nodes, n, &unheard, &n_unheard);
        if (r < 0)
                return r;
        r = ledger_report(l, unheard, n_unheard, now, boot);
        sightings_free(unheard, n_unheard);
        if (r < 0)
                return r;
        changed = n_unheard > 0;
        for (size_t i = 0; i < l->n_units; i++)
                changed |= settle(&l->units[i], nodes, n);
        return changed;
}

/* Are these the same processes, whether their commands are named or not? */
static bool same_processes(const char *a, const char *b) {
        if (!a || !b)
                return a == b;
        for (;;) {
                size_t x = strspn(a, "0123456789"), y = strspn(b, "0123456789");

                if (x != y || memcmp(a, b, x) != 0)
                        return false;
                /* A command may have commas in it; the next process begins behind `,DIGITS` */
                do
                        a = strchr(a, ',');
                while (a && strspn(++a, "0123456789") == 0);
                do
                        b = strchr(b, ',');
                while (b && strspn(++b, "0123456789") == 0);
                if (!a || !b)
                        return a == b;
        }
}

static bool same_text(const char *a, const char *b) {
        return a == b || (a && b && streq(a, b));
}

int ledger_set_users(Ledger *l, Sighting *users, size_t n) {
        int changed = 0;

        for (size_t i = 0; i < n; i++) {
                LedgerUnit *unit = ledger_find(l, users[i].address);
                UnitUser *user = &users[i].user;

                if (!unit || !user_is_known(user))
                        continue;
                if (same_processes(unit->user.processes, user->processes)) {
                        free(user->processes);
                        user->processes = TAKE_PTR(unit->user.processes);
                        if (same_text(unit->user.file, user->file) &&
                            same_text(unit->user.device, user->device) &&
                            unit->user.inode == user->inode && unit->user.offset == user->offset) {
                                unit->user.processes = TAKE_PTR(user->processes);
                                continue;
                        }
                }
                take_user(unit, user);
                unit->dirty = true;
                changed = 1;
        }
        return changed;
}

/* Forgetting */

static bool not_forgotten_now(const LedgerUnit *unit, unsigned boot) {
        return unit->forgotten != boot || unit->state == UNIT_FREE || unit->state == UNIT_USED;
}

int ledger_forget(Ledger *l, uint64_t address, unsigned boot) {
        LedgerUnit *unit = ledger_find(l, address);

        if (!unit || unit->forgotten != LEDGER_NO_BOOT)
                return 0;
        unit->forgotten = boot;
        unit->dirty = true;
        (void)drop_units(l, not_forgotten_now, boot);
        return 1;
}

void ledger_take_back(Ledger *l, uint64_t address) {
        LedgerUnit *unit = ledger_find(l, address);

        if (unit)
                take_back(unit);
}

int ledger_forget_all(Ledger *l, unsigned boot) {
        int any = 0;

        for (size_t i = 0; i < l->n_units; i++) {
                if (l->units[i].forgotten != LEDGER_NO_BOOT)
                        continue;
                l->units[i].forgotten = boot;
                l->units[i].dirty = true;
                any = 1;
        }
        (void)drop_units(l, not_forgotten_now, boot);
        return any;
}

/* Two writers */

/*
 * @ours knows something that @unit, the copy of the file, does not. What was forgotten in this very
 * boot, @boot of the file, stays so: the kernel tells of it late, but nothing new. But for a page
 * that was good when it was retired, and is bad now.
 */
static void overlay(LedgerUnit *unit, LedgerUnit *ours, unsigned boot) {
        bool reported = ours->last_seen > unit->last_seen;
        bool worse = unit->retired && !ours->retired;

        unit->state = ours->state;
        unit->node = ours->node;
        if (unit->source == SOURCE_UNKNOWN || ours->source == SOURCE_MCE)
                unit->source = ours->source;
        unit->retired = unit->retired && ours->retired;
        if (ours->first_seen < unit->first_seen)
                unit->first_seen = ours->first_seen;
        if (reported) {
                unit->last_seen = ours->last_seen;
                if (unit->forgotten != boot || worse)
                        unit->forgotten = ours->forgotten;
        }
        take_user(unit, &ours->user);
        unit->dirty = true;
}

/* Adds our boots to those of the file. @index: where they are then. */
static int rebase_boots(const Ledger *l, Ledger *file, unsigned *index) {
        int r;

        for (size_t i = 0; i < l->n_boots; i++) {
                r = ledger_add_boot(file, l->boots[i].id, &index[i]);
                if (r < 0)
                        return r;
                if (!l->boots[i].dimms_known)
                        continue;
                r = ledger_set_dimms(file, index[i], &l->boots[i].dimms);
                if (r < 0)
                        return r;
        }
        return 0;
}

static void rebase_unit(LedgerUnit *unit, LedgerUnit *ours, unsigned boot) {
        bool told = unit->told || ours->told;

        if (ours->dirty)
                overlay(unit, ours, boot);
        unit->dirty |= told != unit->told;
        unit->told = told;
        unit_user_done(&ours->user);
}

int ledger_rebase(Ledger *l, unsigned boot, Ledger *file) {
        _cleanup_free_ unsigned *index = NULL;
        LedgerUnit *merged;
        size_t n = 0, i = 0, k = 0;
        Ledger old;
        int r;

        index = new0(unsigned, l->n_boots + 1);
        merged = new0(LedgerUnit, l->n_units + file->n_units + 1);
        r = index && merged ? rebase_boots(l, file, index) : -ENOMEM;
        if (r < 0) {
                free(merged);
                return r;
        }
        while (i < l->n_units || k < file->n_units) {
                LedgerUnit *ours = i < l->n_units ? &l->units[i] : NULL;
                LedgerUnit *theirs = k < file->n_units ? &file->units[k] : NULL;

                if (ours && (!theirs || ours->address <= theirs->address)) {
                        ours->boot = index[ours->boot];
                        if (ours->forgotten != LEDGER_NO_BOOT)
                                ours->forgotten = index[ours->forgotten];
                        i++;
                        if (theirs && ours->address == theirs->address)
                                rebase_unit(theirs, ours, index[boot]);
                        else if (!ours->saved)
                                merged[n++] = *ours;
                        else
                                unit_user_done(&ours->user); /* it was taken out of the file */
                        continue;
                }
                merged[n++] = *theirs;
                k++;
        }
        free(file->units);
        file->units = merged;
        file->n_units = n;

        old = *l;
        *l = *file;
        *file = old;
        file->n_units = 0; /* their texts have moved */
        return 0;
}

/* Modules */

static const Dimm *find_dimm(const Dimms *dimms, const char *locator) {
        for (size_t i = 0; i < dimms->n_items; i++)
                if (same_text(dimms->items[i].locator, locator))
                        return &dimms->items[i];
        return NULL;
}

static const char *text_or(const char *text, const char *otherwise) {
        return text ? text : otherwise;
}

char *dimms_describe_changes(const Dimms *then, const Dimms *now) {
        _cleanup_free_ char *text = NULL;
        size_t size;
        FILE *f;

        f = open_memstream(&text, &size);
        if (!f)
                return NULL;
        for (size_t i = 0; i < then->n_items; i++) {
                const Dimm *old = &then->items[i], *new = find_dimm(now, old->locator);
                const char *locator = text_or(old->locator, "?");

                if (!new)
                        fprintf(f, "%s: %s is gone\n", locator, text_or(old->serial, "a module"));
                else if (!same_text(old->serial, new->serial))
                        fprintf(f, "%s: %s was replaced by %s\n", locator,
                                text_or(old->serial, "a module"),
                                text_or(new->serial, "another one"));
        }
        for (size_t i = 0; i < now->n_items; i++)
                if (!find_dimm(then, now->items[i].locator))
                        fprintf(f, "%s: %s is new\n", text_or(now->items[i].locator, "?"),
                                text_or(now->items[i].serial, "a module"));
        if (fclose(f) != 0)
                return NULL;
        return TAKE_PTR(text);
}
