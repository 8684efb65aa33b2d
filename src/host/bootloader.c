/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "host/bootloader.h"
#include "basic/root-fs.h"
#include "host/bootloader-ops.h"

/* In the order in which they are asked. */
static const BootLoaderOps *const known[] = {
        &grub_ops,
        &cmdline_file_ops,
};

static void boot_file_done(BootFile *file) {
        free(file->path);
        free(file->before);
        free(file->after);
}

void boot_files_done(BootFiles *files) {
        for (size_t i = 0; i < files->n_items; i++)
                boot_file_done(files->items + i);
        free(files->items);
        *files = (BootFiles){ 0 };
}

int boot_files_add(BootFiles *files, int root_fd, const char *path, const char *after) {
        BootFile file = { 0 }, *grown;
        int r;

        r = root_read_file(root_fd, path, &file.before, &file.before_size);
        if (r < 0 && r != -ENOENT)
                return r;
        grown = reallocarray(files->items, files->n_items + 1, sizeof(BootFile));
        if (grown) {
                files->items = grown;
                file.path = strdup(path);
        }
        file.after = after ? strdup(after) : NULL;
        file.after_size = after ? strlen(after) : 0;
        if (!grown || !file.path || (after && !file.after)) {
                boot_file_done(&file);
                return -ENOMEM;
        }
        grown[files->n_items++] = file;
        return 0;
}

/* A file cannot be found by looking, it is only ever named. */
static bool is_asked_for(const Policy *p, BootLoaderType type) {
        return p->boot_loader == type ||
               (p->boot_loader == BOOT_LOADER_AUTO && type != BOOT_LOADER_FILE);
}

int boot_loader_find(int root_fd, const Policy *p, BootLoader **ret) {
        _cleanup_(boot_loader_freep) BootLoader *loader = NULL;

        loader = new0(BootLoader, 1);
        if (!loader)
                return -ENOMEM;
        loader->root_fd = root_fd;
        for (size_t i = 0; i < ELEMENTSOF(known); i++) {
                _cleanup_free_ char *why = NULL;
                int r;

                if (!is_asked_for(p, known[i]->type))
                        continue;
                loader->ops = known[i];
                r = known[i]->probe(loader, p, &why);
                if (r < 0)
                        return r;
                if (r > 0) {
                        *ret = TAKE_PTR(loader);
                        return 0;
                }
        }
        return -ENOENT;
}

BootLoader *boot_loader_free(BootLoader *loader) {
        if (loader)
                free(loader->path);
        free(loader);
        return NULL;
}

char *boot_loader_explain(int root_fd, const Policy *p) {
        char *text = NULL;

        for (size_t i = 0; i < ELEMENTSOF(known); i++) {
                _cleanup_free_ char *why = NULL, *before = text;
                BootLoader loader = { .root_fd = root_fd, .ops = known[i] };
                int r;

                text = NULL;
                if (!is_asked_for(p, known[i]->type)) {
                        text = TAKE_PTR(before);
                        continue;
                }
                r = known[i]->probe(&loader, p, &why);
                free(loader.path);
                if (asprintf(&text, "%s%s%s: %s", before ? before : "", before ? "; " : "",
                             boot_loader_type_to_string(known[i]->type),
                             r < 0 ? strerror(-r)
                             : why ? why
                                   : "found") < 0)
                        return NULL;
        }
        if (!text && asprintf(&text, "this version of dmemctl cannot change %s",
                              boot_loader_type_to_string(p->boot_loader)) < 0)
                return NULL;
        return text;
}

BootLoaderType boot_loader_type(const BootLoader *loader) {
        return loader->ops->type;
}

int boot_loader_root(const BootLoader *loader) {
        return loader->root_fd;
}

int boot_loader_configured(BootLoader *loader, char ***ret) {
        return loader->ops->configured(loader, ret);
}

int boot_loader_entries(BootLoader *loader, const char *text, size_t size, BootEntries *ret) {
        return loader->ops->entries(loader, text, size, ret);
}

int boot_loader_foreign(BootLoader *loader, ForeignArguments *ret) {
        return loader->ops->foreign(loader, ret);
}

int boot_loader_explain_difference(BootLoader *loader, Findings *findings) {
        return loader->ops->explain_difference ? loader->ops->explain_difference(loader, findings)
                                               : 0;
}

int boot_loader_prepare(BootLoader *loader, char *const *arguments, BootFiles *ret) {
        return loader->ops->prepare(loader, arguments, ret);
}

int boot_loader_asked(const BootLoader *loader, const BootFiles *files, char ***ret) {
        return loader->ops->asked(loader, files, ret);
}

bool boot_loader_owns(const BootLoader *loader, const char *path) {
        return loader->ops->owns(loader, path);
}

const char *boot_loader_generated(const BootLoader *loader) {
        return loader->generated;
}

const char *boot_loader_tool(const BootLoader *loader) {
        return loader->ops->tool_name ? loader->ops->tool_name(loader) : NULL;
}

int boot_loader_check_tool(BootLoader *loader, char **ret_why) {
        return loader->ops->check_tool ? loader->ops->check_tool(loader, ret_why) : 0;
}

int boot_loader_generate(BootLoader *loader, char **ret_text, size_t *ret_size, char **ret_output) {
        return loader->ops->generate(loader, ret_text, ret_size, ret_output);
}

int boot_loader_clean(BootLoader *loader) {
        return loader->ops->clean ? loader->ops->clean(loader) : 0;
}

bool boot_loader_shares_files(const BootLoader *loader) {
        return loader->ops->shares_files;
}
