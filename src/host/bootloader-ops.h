/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * BootLoaderOps - what one kind of boot loader implements; see bootloader.h for what each does
 */

#include "host/bootloader.h"

typedef struct BootLoaderOps {
        BootLoaderType type;
        bool shares_files; /* others write in our files: revert must not replace them as a whole */

        /*
         * Returns 1 and sets the rest of @loader if this host boots by it; 0 and a few words that
         * say what was looked for and not found; or a negative errno.
         */
        int (*probe)(BootLoader *loader, const Policy *p, char **ret_why);
        /*
         * Asked where more than one kind is found: 1 if this one made this boot, -1 if it cannot
         * make any or did not make this one, 0 if nothing speaks for either. NULL: 0
         */
        int (*evidence)(BootLoader *loader);
        void (*done)(BootLoader *loader); /* frees data; may be NULL */
        int (*configured)(BootLoader *loader, char ***ret);
        int (*entries)(BootLoader *loader, const char *text, size_t size, BootEntries *ret);
        /* NULL where a tool stands between settings and entries */
        int (*preview)(BootLoader *loader, const BootFiles *changes, BootEntries *ret);
        int (*foreign)(BootLoader *loader, ForeignArguments *ret);
        int (*explain_difference)(BootLoader *loader, Findings *findings); /* may be NULL */
        int (*prepare)(BootLoader *loader, char *const *arguments, BootFiles *ret);
        int (*asked)(const BootLoader *loader, const BootFiles *files, char ***ret);
        int (*going_back)(const BootLoader *loader, BootFiles *files); /* may be NULL */
        bool (*owns)(const BootLoader *loader, const char *path);
        /* NULL where nothing is generated: */
        const char *(*tool_name)(const BootLoader *loader);
        int (*check_tool)(BootLoader *loader, char **ret_why);
        int (*generate)(BootLoader *loader, char **ret_text, size_t *ret_size, char **ret_output);
        int (*patch)(const char *text, size_t size, char *const *arguments, char **ret_text,
                     size_t *ret_size);
        int (*clean)(BootLoader *loader);
} BootLoaderOps;

struct BootLoader {
        int root_fd; /* borrowed */
        const BootLoaderOps *ops;
        const void *variant;   /* of its kind, static */
        const char *generated; /* static; NULL: nothing is generated */
        char *path;            /* of File=, below the root */
        void *data;            /* of its kind, freed by done() */
};

extern const BootLoaderOps bls_ops;
extern const BootLoaderOps cmdline_file_ops;
extern const BootLoaderOps grub_ops;
extern const BootLoaderOps kernel_install_ops;
