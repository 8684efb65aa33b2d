/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The texts of the Boot Loader Specification: entries (type 1) and loader.conf
 *
 * Text in, plain data or text out; no file is touched here. Source: UAPI.1 "Boot Loader
 * Specification", UAPI.10 "Version Format Specification", loader.conf(5), and for what GRUB makes
 * of an entry its command blscfg.
 *
 * An entry is lines of `KEY VALUE`, separated by blanks or tabs; `#` begins a comment.
 */

#include <stdbool.h>
#include <stddef.h>

/* Who reads the entries at boot; they do not agree on all of it. */
typedef enum BlsReader {
        BLS_READER_SYSTEMD_BOOT, /* all `options` lines count, joined by a blank */
        /* Only the first `options` line counts, `$name` in it is a variable of GRUB's, and a line
         * without a value ends the entry */
        BLS_READER_GRUB,
} BlsReader;

/* NULL: there is no such key. */
typedef struct BlsEntry {
        char *title, *version, *machine_id, *sort_key;
        char *kernel;          /* `linux` */
        char *image;           /* `uki`: a unified kernel image */
        char *options;         /* as @reader understands it, variables not expanded */
        unsigned options_line; /* where the first of them is; that of the kernel if there is none */
} BlsEntry;

void bls_entry_done(BlsEntry *entry);

/* @text ends at its NUL. Returns 0 or -ENOMEM. */
int bls_entry_parse(const char *text, BlsReader reader, BlsEntry *ret);

/*
 * @text with our arguments taken out of its options and @arguments in the place of the first ones,
 * else at the end. Everything else stays byte for byte; a line with nothing left in it goes, as it
 * would end the entry for GRUB. Without any options a line is added that begins with @base (may be
 * NULL). Returns 0 or -ENOMEM.
 */
int bls_entry_replace(const char *text, BlsReader reader, char *const *arguments, const char *base,
                      char **ret);

/* Compares two versions: <0, 0 or >0, the newer one being the greater. NULL is older than all. */
int bls_version_compare(const char *a, const char *b);

/*
 * The name of an entry without `.conf` and without the counter of tries (`+3-1`) of automatic boot
 * assessment. @ret_bad: there are no tries left. NULL: no memory.
 */
char *bls_entry_id(const char *file_name, bool *ret_bad);

/* The value of `default` in loader.conf, to be freed. Returns 0, -ENOENT or -ENOMEM. */
int bls_loader_default(const char *text, char **ret);
