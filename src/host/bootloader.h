/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * BootLoader - where this host keeps its kernel command line, and how to change our part of it
 *
 * Found by looking at what is there, never by the name of the distribution:
 *
 * grub            etc/default/grub with drop-ins in etc/default/grub.d/, update-grub (or
 *                 grub2-mkconfig) and a generated boot/grub/grub.cfg (or boot/grub2/). Ours is one
 *                 drop-in, see grub.c.
 * bls             entries in loader/entries/ that GRUB reads by its command blscfg, or that
 *                 somebody wrote by hand for systemd-boot, see bls.c
 * kernel-install  such entries as kernel-install makes them, and etc/kernel/cmdline, see bls.c
 * file            the command line as one line in the file of File=, see cmdline-file.c
 *
 * Nothing here writes a boot setting: changes are BootFiles, which host/boot-change.h carries out.
 */

#include <stdbool.h>
#include <stddef.h>

#include "basic/macro.h"
#include "plan/boot-entry.h"
#include "plan/plan.h"
#include "plan/policy.h"

/* One file and what becomes of it. Contents may hold any byte and have a NUL behind them. */
typedef struct BootFile {
        char *path;   /* below the root, without a leading slash */
        char *before; /* NULL: there is no such file */
        size_t before_size;
        char *after; /* NULL: it is removed */
        size_t after_size;
} BootFile;

typedef struct BootFiles {
        BootFile *items;
        size_t n_items;
} BootFiles;

void boot_files_done(BootFiles *files);

/*
 * Appends a file that is to become @after (NULL: to be removed) with what it is now. One that
 * cannot be read is appended, too, so that it can be named.
 */
int boot_files_add(BootFiles *files, int root_fd, const char *path, const char *after);

typedef struct BootLoader BootLoader;

/*
 * Returns 0 and a new object; -ENOENT if there is none that we can use; -ENOTUNIQ if there is more
 * than one and nothing tells which of them boots this host; or what reading said. Which files were
 * looked for and what was missing: boot_loader_explain().
 */
int boot_loader_find(int root_fd, const Policy *p, BootLoader **ret);
BootLoader *boot_loader_free(BootLoader *loader); /* accepts NULL, returns NULL */
DEFINE_CLEANUP(BootLoader *, boot_loader_free);

/* One line that says why boot_loader_find() found not just one; to be freed. NULL: no memory. */
char *boot_loader_explain(int root_fd, const Policy *p);

BootLoaderType boot_loader_type(const BootLoader *loader);
const char *boot_loader_file(const BootLoader *loader); /* File=, below the root; else NULL */
int boot_loader_root(const BootLoader *loader);         /* borrowed */

/*
 * Our arguments that the next default boot gets, as a NULL-terminated array. From what the boot
 * loader itself reads; where only root may read that, from the source of it.
 * Returns 0, -EBADMSG (no entry that boots by default can be made out), -ENOMEM, or what reading
 * said.
 */
int boot_loader_configured(BootLoader *loader, char ***ret);

/* The entries of @text, or, if NULL, of what the boot loader reads now. */
int boot_loader_entries(BootLoader *loader, const char *text, size_t size, BootEntries *ret);

/*
 * The entries as they would be with @changes made. -EOPNOTSUPP where only a tool of the boot loader
 * can tell.
 */
int boot_loader_preview(BootLoader *loader, const BootFiles *changes, BootEntries *ret);

/* Places outside of our own files that set one of our arguments. */
int boot_loader_foreign(BootLoader *loader, ForeignArguments *ret);

/* Adds findings about what may be the reason that entries do not get the arguments we ask for. */
int boot_loader_explain_difference(BootLoader *loader, Findings *findings);

/*
 * What the files that hold our arguments have to become. -EINVAL: an argument needs quoting;
 * -EBADMSG: the last file in @ret is not what it should be.
 */
int boot_loader_prepare(BootLoader *loader, char *const *arguments, BootFiles *ret);

/*
 * The reverse: our arguments that @files ask for when they are as they have to become, of which
 * only those that boot_loader_owns() count.
 */
int boot_loader_asked(const BootLoader *loader, const BootFiles *files, char ***ret);

/*
 * @files are to become what they were before an apply: changes what would bring our arguments back
 * later. Returns 0 or -ENOMEM.
 */
int boot_loader_going_back(const BootLoader *loader, BootFiles *files);

/*
 * Others write in the same files: to go back is to put back our arguments, not the whole content.
 */
bool boot_loader_shares_files(const BootLoader *loader);

/* May a change of ours have touched this path? For files that an interrupted change names. */
bool boot_loader_owns(const BootLoader *loader, const char *path);

/* The file that the boot loader's own tool generates; NULL if there is none such. */
const char *boot_loader_generated(const BootLoader *loader);

/* What the administrator would type for what boot_loader_generate() does: `update-grub`. */
const char *boot_loader_tool(const BootLoader *loader);

/*
 * Can that tool be run? Returns 0 if so or if none is needed; -ENOEXEC and one line that says why
 * not, to be freed; -ENOMEM.
 */
int boot_loader_check_tool(BootLoader *loader, char **ret_why);

/*
 * Runs the boot loader's own tool, which reads the sources as they are now and says what the
 * generated file has to be. The tool runs inside the root. What it prints is in @ret_output, on
 * error, too, if it ran; it may be NULL.
 * Returns 0; -EPROTO if it failed; -ETIMEDOUT; -EINTR if a signal ended it; or another errno.
 */
int boot_loader_generate(BootLoader *loader, char **ret_text, size_t *ret_size, char **ret_output);

/* The generated file of @text with @arguments in place of ours, without that tool. */
int boot_loader_patch(BootLoader *loader, const char *text, size_t size, char *const *arguments,
                      char **ret_text, size_t *ret_size);

/* Removes what a tool or a run of ours that was killed left beside the files. Returns 0 or errno.
 */
int boot_loader_clean(BootLoader *loader);
