/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * BlsHost - the boot entries of a host that follows the Boot Loader Specification
 *
 *     ROOT/loader/entries/NAME.conf   entries; ROOT is efi, boot or boot/efi, or more than one
 *     ROOT/EFI/Linux/NAME.efi         unified kernel images
 *     ROOT/loader/loader.conf         of systemd-boot: which entry is the default
 *
 * GRUB reads such entries, too, where its grub.cfg has the command `blscfg` (Fedora, RHEL), and
 * fills in variables from grubenv.
 */

#include "basic/macro.h"
#include "host/bls-entry.h"
#include "host/bootloader.h"

typedef struct BlsHost {
        BlsReader reader;
        char **folders;    /* the ROOTs that have entries or images, none twice */
        char *machine_id;  /* NULL: unknown */
        char *token;       /* entries that begin with `TOKEN-` are kernel-install's; NULL: none */
        char *config;      /* GRUB: grub.cfg; NULL: there is none */
        char *environment; /* GRUB: grubenv; NULL: there is none */
} BlsHost;

/*
 * Returns 0; -ENOENT if there is neither an entry nor an image; or what reading said. What cannot
 * be read because of missing rights is as if it were not there, unless it is a folder of entries.
 */
int bls_host_find(int root_fd, BlsHost **ret);
BlsHost *bls_host_free(BlsHost *host); /* accepts NULL, returns NULL */
DEFINE_CLEANUP(BlsHost *, bls_host_free);

/* An entry or an image. */
typedef struct BlsFile {
        char *path;     /* below the root */
        char *id;       /* name without `.conf` and without what counts tries */
        char *text;     /* of an entry; NULL for an image */
        BlsEntry entry; /* of an image: its command line as options, its version, itself as image */
        BootEntryKind kind; /* as everybody may see who does not know whose entries are ours */
        bool is_bad;        /* automatic boot assessment has given it up */
        bool is_default;
} BlsFile;

typedef struct BlsFiles {
        BlsFile *items; /* in the order of the boot menu */
        size_t n_items;
        char *environment; /* text of grubenv; NULL: there is none */
        char *config;      /* text of grub.cfg; NULL: there is none */
} BlsFiles;

void bls_files_done(BlsFiles *files);

/*
 * Reads all of it.
 * @everything: entries that kernel-install has not made are ours, too, unless they name another
 *              machine
 * @changes: files that count as they are to become; may be NULL
 */
int bls_host_load(const BlsHost *host, int root_fd, bool everything, const BootFiles *changes,
                  BlsFiles *ret);

/* The options of an entry with GRUB's variables filled in. Returns 0 or -ENOMEM. */
int bls_files_options(const BlsHost *host, const BlsFiles *files, const BlsFile *file, char **ret);

/* Is there an entry that kernel-install made for this machine? */
bool bls_host_has_own(const BlsHost *host);

/* Was this boot made by systemd-boot? 1, 0, or -ENODATA if nothing says so. */
int bls_booted_by_systemd_boot(int root_fd);
