/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A file with the kernel command line in it, named by File= in [BootLoader]
 *
 * One line that a boot loader reads, or a tool that makes something else of it. Never found by
 * itself. Our arguments are replaced where they stand; everything else stays byte for byte. Whoever
 * else reads the file sees it change, so revert puts back our arguments and not the whole line.
 */

#include "basic/root-fs.h"
#include "host/bootloader-ops.h"
#include "plan/cmdline.h"

/* The line without its end. -EBADMSG if there is more than one line in it, or a NUL. */
static int check_line(char *text, size_t size) {
        size_t length = strlen(text);

        if (length != size)
                return -EBADMSG;
        while (length > 0 && text[length - 1] == '\n')
                text[--length] = '\0';
        return strchr(text, '\n') ? -EBADMSG : 0;
}

/* An absent file is an empty line. */
static int read_line(const BootLoader *loader, char **ret) {
        _cleanup_free_ char *text = NULL;
        size_t size;
        int r;

        r = root_read_file(loader->root_fd, loader->path, &text, &size);
        if (r == -ENOENT) {
                text = strdup("");
                size = 0;
                r = text ? 0 : -ENOMEM;
        }
        if (r >= 0)
                r = check_line(text, size);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(text);
        return 0;
}

static int file_probe(BootLoader *loader, const Policy *p, char **ret_why) {
        const char *path = p->boot_loader_file;
        _cleanup_free_ char *folder = NULL;
        int r;

        if (p->boot_loader != BOOT_LOADER_FILE || !path) {
                *ret_why = strdup("no File= is set");
                return *ret_why ? 0 : -ENOMEM;
        }
        path += strspn(path, "/");
        folder = strndup(path, (size_t)(strrchr(path, '/') ? strrchr(path, '/') - path : 0));
        if (!folder)
                return -ENOMEM;
        /* Nobody would read the file that a slip of the pen creates */
        r = *folder ? root_exists(loader->root_fd, folder) : 1;
        if (r < 0)
                return r;
        if (r == 0) {
                if (asprintf(ret_why, "there is no folder /%s/ for File=%s", folder,
                             p->boot_loader_file) >= 0)
                        return 0;
                *ret_why = NULL;
                return -ENOMEM;
        }
        loader->path = strdup(path);
        return loader->path ? 1 : -ENOMEM;
}

static int file_configured(BootLoader *loader, char ***ret) {
        _cleanup_free_ char *line = NULL;
        int r;

        r = read_line(loader, &line);
        return r < 0 ? r : cmdline_extract(line, ret);
}

/* One entry, of whose kernel nothing is known. */
static int file_entries(BootLoader *loader, const char *text, size_t size, BootEntries *ret) {
        _cleanup_(boot_entries_done) BootEntries entries = { 0 };
        BootEntry *entry;
        int r;

        entries.items = entry = new0(BootEntry, 1);
        if (!entry)
                return -ENOMEM;
        entries.n_items = 1;
        entry->line = 1;
        entry->kind = BOOT_ENTRY_NORMAL;
        entry->is_default = true;
        entry->path = strdup(loader->path);
        entry->title = strdup("kernel command line");
        entry->kernel = strdup("?");
        if (!entry->path || !entry->title || !entry->kernel)
                return -ENOMEM;
        r = file_configured(loader, &entry->arguments);
        if (r < 0)
                return r;
        *ret = entries;
        entries = (BootEntries){ 0 };
        return 0;
}

static int file_foreign(BootLoader *loader, ForeignArguments *ret) {
        return 0; /* whatever of ours is in it, we replace */
}

static int file_prepare(BootLoader *loader, char *const *arguments, BootFiles *ret) {
        _cleanup_free_ char *line = NULL, *replaced = NULL, *text = NULL;
        BootFile *file;
        int r;

        r = boot_files_add(ret, loader->root_fd, loader->path, NULL);
        if (r < 0)
                return r;
        file = ret->items + ret->n_items - 1;
        r = read_line(loader, &line);
        if (r < 0)
                return r;
        r = cmdline_replace(line, arguments, &replaced);
        if (r < 0)
                return r;
        if (!file->before && replaced[0] == '\0')
                return 0; /* there is none, and there need not be one */
        if (file->before && streq(line, replaced))
                text = strdup(file->before); /* with or without a newline at the end */
        else if (asprintf(&text, "%s\n", replaced) < 0)
                text = NULL;
        if (!text)
                return -ENOMEM;
        file->after_size = strlen(text);
        file->after = TAKE_PTR(text);
        return 0;
}

static int file_asked(const BootLoader *loader, const BootFiles *files, char ***ret) {
        for (size_t i = 0; i < files->n_items; i++)
                if (streq(files->items[i].path, loader->path))
                        return cmdline_extract(files->items[i].after ?: "", ret);
        return cmdline_extract("", ret);
}

static bool file_owns(const BootLoader *loader, const char *path) {
        return streq(path, loader->path);
}

static int file_clean(BootLoader *loader) {
        int r;

        r = root_remove_stale(loader->root_fd, loader->path);
        return r < 0 ? r : 0;
}

const BootLoaderOps cmdline_file_ops = {
        .type = BOOT_LOADER_FILE,
        .shares_files = true,
        .probe = file_probe,
        .configured = file_configured,
        .entries = file_entries,
        .foreign = file_foreign,
        .prepare = file_prepare,
        .asked = file_asked,
        .owns = file_owns,
        .clean = file_clean,
};
