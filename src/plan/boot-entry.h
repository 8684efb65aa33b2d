/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * BootEntry - what a boot loader offers to boot, as plain data, and whether it is as planned
 *
 * Filled by the adapters in src/host/ from grub.cfg and the like. Pure; all remarks on boot
 * settings are worded here.
 */

#include <stdbool.h>
#include <stddef.h>

#include "plan/plan.h"

typedef enum BootEntryKind {
        BOOT_ENTRY_NORMAL,   /* boots this system and gets its arguments from the settings we extend
                              */
        BOOT_ENTRY_RECOVERY, /* boots this system in order to repair it: stays without our arguments
                              */
        BOOT_ENTRY_OTHER,    /* another system, a memory test, an entry made by hand */
        BOOT_ENTRY_IMAGE,    /* a unified kernel image: its arguments are a part of it */
} BootEntryKind;

typedef enum DmemSupport {
        DMEM_SUPPORT_UNKNOWN, /* the configuration of that kernel is not to be found */
        DMEM_SUPPORT_NO,
        DMEM_SUPPORT_YES,
} DmemSupport;

typedef struct BootEntry {
        char *title;
        char *path;    /* file that holds the entry, below the root */
        unsigned line; /* where its command line is */
        char *kernel;  /* as the entry names it; NULL if it boots none */
        BootEntryKind kind;
        bool is_default;  /* boots when nobody chooses, as far as can be told from the files */
        char **arguments; /* ours among its arguments, never NULL */
        DmemSupport support;
} BootEntry;

typedef struct BootEntries {
        BootEntry *items;
        size_t n_items;
} BootEntries;

void boot_entries_done(BootEntries *entries);

/* Does an entry with this kernel argument boot in order to repair (`single`, `rescue`, …)? */
bool boot_argument_is_repair(const char *argument);

/* The entry that boots by default, else the first normal one; NULL if there is neither. */
const BootEntry *boot_entries_find_default(const BootEntries *entries);

/*
 * The arguments of that entry, taken out of @entries. Returns 0, or -EBADMSG if there is none.
 */
int boot_entries_take_default(BootEntries *entries, char ***ret);

/*
 * Are the entries as planned? Every normal one and the default one carry exactly @arguments, a
 * recovery entry none. Adds a finding `entry-differs` of severity error for each that is not so,
 * or `no-entry` if there is none that could.
 * Returns 1 if all is as planned, 0 if not, or -ENOMEM. @findings may be NULL.
 */
int boot_entries_check(const BootEntries *entries, char *const *arguments, Findings *findings);

/*
 * Will the next boot make something of @arguments? Finding `no-entry` of severity error if the
 * default entry boots no kernel or is for recovery. Then, when @arguments has dmem=, findings
 * `kernel-without-dmem`: a warning for each normal entry whose kernel does not know it as long as
 * another does or may, else one error. No reason to bar the way back. Returns 0 or -ENOMEM.
 */
int boot_entries_check_kernels(const BootEntries *entries, char *const *arguments,
                               Findings *findings);

/*
 * A remark that explains `entry-differs`: @path, line @line, sets @name anew after our own settings
 * were read. Finding `settings-overridden` of severity error. Returns 0 or -ENOMEM.
 */
int boot_override_add(Findings *findings, const char *path, unsigned line, const char *name);

/*
 * Another boot loader than the one that is to be changed has @arguments from an earlier apply.
 * Finding `other-boot-loader` of severity error. Returns 0 or -ENOMEM.
 */
int boot_loader_left_add(Findings *findings, BootLoaderType last, BootLoaderType now,
                         char *const *arguments);

/* One of our arguments, set by somebody else. */
typedef struct ForeignArgument {
        char *path; /* below the root */
        unsigned line;
        char *word;
} ForeignArgument;

typedef struct ForeignArguments {
        ForeignArgument *items;
        size_t n_items;
} ForeignArguments;

void foreign_arguments_done(ForeignArguments *foreign);
int foreign_arguments_add(ForeignArguments *foreign, const char *path, unsigned line,
                          const char *word, size_t length);

/* A finding `foreign-argument` of severity error for each. Returns 0 or -ENOMEM. */
int foreign_arguments_check(const ForeignArguments *foreign, Findings *findings);
