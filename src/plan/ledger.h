/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Ledger - which 4 KiB of guest memory must not be used any more, over boots
 *
 * The kernel forgets at a reboot which memory was bad; the ledger does not. It is keyed by physical
 * address, and fed from two sides: events (what was reported just now, with who used it) and the
 * lists of the kernel (all that is out of use in this boot). Pure: the time, the boot and the lists
 * come in as arguments; host/ledger-file.h keeps it on disk.
 *
 * Invariants: units sorted by address, no address twice, every address a multiple of UNIT_SIZE;
 * every index of a boot below n_boots. All changes take time linear in the size of the ledger, or
 * little more, however many units come at once.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "basic/macro.h"
#include "plan/drift.h"

#define UNIT_SIZE UINT64_C(4096)

/* 2 GiB of bad memory: more is not kept, so that nobody can fill the host with it. */
#define LEDGER_UNITS_MAX (UINT64_C(1) << 19)

/* No node in this boot, or none that is known. */
#define UNIT_NO_NODE UINT32_MAX

/* No boot, where an index of one is meant. */
#define LEDGER_NO_BOOT UINT32_MAX

/* What has become of a unit in this boot. */
typedef enum UnitState {
        UNIT_FREE,    /* out of use, and part of no file */
        UNIT_USED,    /* out of use, but still part of a file: whoever touches it gets SIGBUS */
        UNIT_PENDING, /* in the pool: it should have been retired again, and was not (yet) */
        UNIT_OUTSIDE, /* in no region of this boot */
        _UNIT_STATE_MAX,
} UnitState;

typedef enum UnitSource {
        SOURCE_UNKNOWN, /* found in the kernel's list, and nobody heard why */
        SOURCE_MCE,     /* the hardware reported it */
        SOURCE_SYSFS,   /* an administrator retired it */
        _UNIT_SOURCE_MAX,
} UnitSource;

const char *unit_state_to_string(UnitState state);              /* `free`, `used`, … */
int unit_state_from_string(const char *text, UnitState *ret);   /* 0 or -EINVAL */
const char *unit_source_to_string(UnitSource source);           /* `unknown`, `mce`, `sysfs` */
int unit_source_from_string(const char *text, UnitSource *ret); /* 0 or -EINVAL */

/* A memory module; a text that is not known is NULL. */
typedef struct Dimm {
        char *locator; /* where it sits, as the firmware names it */
        char *serial;
} Dimm;

typedef struct Dimms {
        Dimm *items;
        size_t n_items;
} Dimms;

void dimms_done(Dimms *dimms);
int dimms_copy(const Dimms *from, Dimms *ret);

#define BOOT_ID_MAX 37 /* a UUID and its NUL */

/* A boot in which units were found. */
typedef struct LedgerBoot {
        char id[BOOT_ID_MAX]; /* of /proc/sys/kernel/random/boot_id; empty: not known */
        bool dimms_known;
        Dimms dimms; /* what was plugged in then */
} LedgerBoot;

/* Who uses a unit. Texts that are not known are NULL, and then so are the numbers. */
typedef struct UnitUser {
        char *file;      /* path, escaped as in /proc/mounts */
        char *device;    /* of the file: MAJOR:MINOR; NULL: inode and offset are not known */
        char *processes; /* PID:COMMAND or PID, separated by commas */
        uint64_t inode;
        uint64_t offset; /* of the unit in the file */
} UnitUser;

void unit_user_done(UnitUser *user);

typedef struct LedgerUnit {
        uint64_t address;
        unsigned node; /* UNIT_NO_NODE: none */
        UnitState state;
        UnitSource source;
        uint64_t first_seen; /* realtime usec */
        uint64_t last_seen;  /* the last time that it was reported */
        unsigned boot;       /* index of the boot in which it was first seen */
        unsigned forgotten;  /* index of the boot in which it was forgotten, or LEDGER_NO_BOOT */
        bool retired;        /* on demand, its content was not lost; false if that is not known */
        bool told;           /* the journal and the bus know of it */
        UnitUser user;       /* the last one that is known */

        /* Not part of what is kept: how this copy stands to the file. */
        bool saved; /* was in the file when we last read or wrote it */
        bool dirty; /* differs from what was in it */
} LedgerUnit;

typedef struct Ledger {
        LedgerUnit *units;
        size_t n_units;
        LedgerBoot *boots;
        size_t n_boots;
} Ledger;

Ledger *ledger_new(void);
Ledger *ledger_free(Ledger *l); /* accepts NULL, returns NULL */
DEFINE_CLEANUP(Ledger *, ledger_free);

LedgerUnit *ledger_find(const Ledger *l,
                        uint64_t address); /* the unit that starts there, or NULL */

/* Is there anything that the file does not have? */
bool ledger_is_dirty(const Ledger *l);

/*
 * The boot with this @id, which is added if it is not there. Sets *ret to its index.
 * Returns 1 if it was added, 0, or -ENOMEM.
 */
int ledger_add_boot(Ledger *l, const char *id, unsigned *ret);

/* Notes what is plugged in in boot @boot. Returns 1 if that was not known, 0, or -ENOMEM. */
int ledger_set_dimms(Ledger *l, unsigned boot, const Dimms *dimms);

/*
 * Drops what only mattered in other boots than @boot: units that were forgotten in them, and boots
 * that no unit names. Indices change; the one of @boot is returned in @ret.
 * Returns 1 if anything was dropped, or 0.
 */
int ledger_prune(Ledger *l, unsigned boot, unsigned *ret);

/* An event: one unit was reported. */
typedef struct Sighting {
        uint64_t address;
        unsigned node;
        UnitState state;
        UnitSource source;
        bool retired; /* on demand: what is in it is not lost */
        UnitUser user;
} Sighting;

/*
 * Takes in @n events, in any order. New units are added; known ones are updated, and are no longer
 * forgotten, unless that was in @boot, the one that runs: then the event came late (but not that a
 * retired one has gone bad). Takes the texts of @sightings. New ones beyond LEDGER_UNITS_MAX are
 * left out. Returns 0 or -ENOMEM.
 */
void sightings_free(Sighting *sightings, size_t n);
int ledger_report(Ledger *l, Sighting *sightings, size_t n, uint64_t now, unsigned boot);

/* One unit of the kernel's list. */
typedef struct PoisonedUnit {
        uint64_t address;
        bool used;
} PoisonedUnit;

/* What class dmem says of a node. */
typedef struct PoisonNode {
        unsigned id;
        DmemRange *regions; /* sorted */
        size_t n_regions;
        bool events_known;
        uint64_t events; /* so far, in this boot */
        bool units_known;
        bool units_partial;  /* it changed while it was read: some may be missing */
        PoisonedUnit *units; /* sorted by address, none twice */
        size_t n_units;
} PoisonNode;

void poison_nodes_free(PoisonNode *nodes, size_t n);

/* The node with a region that holds @address, or NULL. */
const PoisonNode *poison_nodes_find(const PoisonNode *nodes, size_t n, uint64_t address);

/* Does the kernel's list have the unit? -ENODATA if the list of its node is not known. */
int poison_nodes_have(const PoisonNode *nodes, size_t n, uint64_t address);

/*
 * Makes the ledger agree with the kernel's lists: adds what only they have, and brings node and
 * state of all units in line. Nodes whose list is not known change nothing.
 * Returns 1 if anything changed, 0, or -ENOMEM.
 */
int ledger_reconcile(Ledger *l, const PoisonNode *nodes, size_t n, uint64_t now, unsigned boot);

/*
 * Notes who uses units that are known, from lists that have no names of processes: a name that we
 * have stays with its process. Takes the texts. Returns 1 if anything changed, or 0.
 */
int ledger_set_users(Ledger *l, Sighting *users, size_t n);

/*
 * Forgets a unit. While the kernel has it out of use (state free or used) it is only marked, as it
 * would be found again: it goes with the next boot. Else it is gone at once.
 * Returns 1, or 0 if there is no such unit or it was forgotten already.
 */
int ledger_forget(Ledger *l, uint64_t address, unsigned boot);
int ledger_forget_all(Ledger *l, unsigned boot); /* returns 1 if there were any */

/* Somebody wants it out of use after all: it is not forgotten any more, if it was. */
void ledger_take_back(Ledger *l, uint64_t address);

/*
 * Somebody else has written the file, which now says @file: keeps from @l what the file has never
 * had, and what we know better. Boots are matched by their id; @boot is the one that runs, an index
 * in @l. @l takes the place of @file, whose content is used up. Returns 0 or -ENOMEM.
 */
int ledger_rebase(Ledger *l, unsigned boot, Ledger *file);

/* After the file was written or read: it has all that is here. */
void ledger_mark_saved(Ledger *l);

/*
 * What is plugged in now and was not in boot @boot, and the other way round, as lines for a
 * reader, to be freed; empty if nothing changed. NULL if one of both is not known (or no memory).
 */
char *dimms_describe_changes(const Dimms *then, const Dimms *now);
