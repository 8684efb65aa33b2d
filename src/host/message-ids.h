/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The kinds of journal entries, one id each
 *
 * An id never changes its meaning and is never used again for something else: programs filter by
 * it (`journalctl MESSAGE_ID=…`). Each has its text in conf/dmemd.catalog, which says what to do.
 */

/* dmemctl: new boot arguments were written and read back. Takes effect at the next boot. */
#define MESSAGE_PLAN_APPLIED "7b97157d6cd34787b9f70a279296ece3"

/* dmemctl: the boot settings are what they were before the last apply. */
#define MESSAGE_REVERTED "6b358dab4915427eac500766bffbff3c"

/* dmemd: what this boot was told is what it got. DMEM_REQUESTED= and DMEM_GRANTED= are totals. */
#define MESSAGE_IN_FORCE "a3ea273dc98d4759a6ca2c5a56d86878"

/* dmemd: this boot did not get what it was told; DMEM_NODE= when it is about one node. */
#define MESSAGE_DRIFT "8066fe8e51c14eb38335170c2bda33a6"

/* dmemd: in force, but some pages are poisoned or retired. */
#define MESSAGE_DEGRADED "5317539bdbb54ea58bc34628f3c4e579"

/* dmemd-setup: guest memory is reserved, or should be, and could not be made available. */
#define MESSAGE_SETUP_FAILED "658920206abf43b8835409774c00def2"

/* dmemd: 4 KiB of reserved memory are poisoned or were retired. All DMEM_ fields of dmemd(8). */
#define MESSAGE_PAGE_POISONED "eae05d5b83774647b4191903e9fc93fc"

/* dmemd: so many pages at once that they are only counted; DMEM_COUNT= of them. */
#define MESSAGE_STORM "1334cd3964c04ca2892648cbcd48998b"

/* dmemd: uevents got lost, DMEM_COUNT= of them; the kernel's list was read instead. */
#define MESSAGE_EVENTS_MISSED "f6041dbfd65c4cf093d32fabb2cc2bb2"

/* dmemd-setup: what was poisoned in earlier boots is out of use again; DMEM_COUNT= units. */
#define MESSAGE_RETIRED_AGAIN "5b04e017868c4611a7bdd264e0aae051"

/* dmemd, dmemd-setup: something is wrong with the file that remembers poisoned memory. */
#define MESSAGE_LEDGER_PROBLEM "5463482ad432407098e3c47683ae3594"
