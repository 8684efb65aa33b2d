/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "host/bootloader.h"
#include "basic/root-fs.h"
#include "host/bootloader-ops.h"

/* In the order in which they are asked. */
static const BootLoaderOps *const known[] = {
        &grub_ops,
        &bls_ops,
        &kernel_install_ops,
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
        if (r == -ENOENT)
                r = 0;
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
        return r;
}

/* A file cannot be found by looking, it is only ever named. */
static bool is_asked_for(const Policy *p, BootLoaderType type) {
        return p->boot_loader == type ||
               (p->boot_loader == BOOT_LOADER_AUTO && type != BOOT_LOADER_FILE);
}

/* Returns 1 and a new object if that kind is found, else 0 and why not. */
static int probe(int root_fd, const Policy *p, const BootLoaderOps *ops, BootLoader **ret,
                 char **ret_why) {
        _cleanup_(boot_loader_freep) BootLoader *loader = NULL;
        int r;

        loader = new0(BootLoader, 1);
        if (!loader)
                return -ENOMEM;
        loader->root_fd = root_fd;
        loader->ops = ops;
        r = ops->probe(loader, p, ret_why);
        if (r > 0)
                *ret = TAKE_PTR(loader);
        return r;
}

/* Of two that are found, the one for which more speaks. -ENOTUNIQ if that cannot be told. */
static int choose(BootLoader **first, BootLoader *second) {
        _cleanup_(boot_loader_freep) BootLoader *other = second;
        int a, b;

        a = (*first)->ops->evidence ? (*first)->ops->evidence(*first) : 0;
        b = second->ops->evidence ? second->ops->evidence(second) : 0;
        if (a < -1 || b < -1)
                return a < -1 ? a : b;
        if (a == b)
                return -ENOTUNIQ;
        if (b > a) {
                other = *first;
                *first = second;
        }
        return 0;
}

int boot_loader_find(int root_fd, const Policy *p, BootLoader **ret) {
        _cleanup_(boot_loader_freep) BootLoader *found = NULL;

        for (size_t i = 0; i < ELEMENTSOF(known); i++) {
                _cleanup_free_ char *why = NULL;
                BootLoader *loader = NULL;
                int r;

                if (!is_asked_for(p, known[i]->type))
                        continue;
                r = probe(root_fd, p, known[i], &loader, &why);
                if (r < 0)
                        return r;
                if (r == 0)
                        continue;
                if (found)
                        r = choose(&found, loader);
                else
                        found = loader;
                if (r < 0)
                        return r;
        }
        if (!found)
                return -ENOENT;
        *ret = TAKE_PTR(found);
        return 0;
}

BootLoader *boot_loader_free(BootLoader *loader) {
        if (!loader)
                return NULL;
        if (loader->ops->done)
                loader->ops->done(loader);
        free(loader->path);
        free(loader);
        return NULL;
}

char *boot_loader_explain(int root_fd, const Policy *p) {
        char *text = NULL;

        for (size_t i = 0; i < ELEMENTSOF(known); i++) {
                _cleanup_(boot_loader_freep) BootLoader *loader = NULL;
                _cleanup_free_ char *why = NULL, *before = text;
                int r;

                text = TAKE_PTR(before);
                if (!is_asked_for(p, known[i]->type))
                        continue;
                r = probe(root_fd, p, known[i], &loader, &why);
                before = TAKE_PTR(text);
                if (asprintf(&text, "%s%s%s: %s", before ? before : "", before ? "; " : "",
                             boot_loader_type_to_string(known[i]->type),
                             r < 0 ? strerror(-r)
                             : why ? why
                                   : "found") < 0)
                        return NULL;
        }
        return text;
}

BootLoaderType boot_loader_type(const BootLoader *loader) {
        return loader->ops->type;
}

const char *boot_loader_file(const BootLoader *loader) {
        return loader->path;
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

int boot_loader_preview(BootLoader *loader, const BootFiles *changes, BootEntries *ret) {
        return loader->ops->preview ? loader->ops->preview(loader, changes, ret) : -EOPNOTSUPP;
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

int boot_loader_going_back(const BootLoader *loader, BootFiles *files) {
        return loader->ops->going_back ? loader->ops->going_back(loader, files) : 0;
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

int boot_loader_patch(BootLoader *loader, const char *text, size_t size, char *const *arguments,
                      char **ret_text, size_t *ret_size) {
        return loader->ops->patch(text, size, arguments, ret_text, ret_size);
}

int boot_loader_clean(BootLoader *loader) {
        return loader->ops->clean ? loader->ops->clean(loader) : 0;
}

bool boot_loader_shares_files(const BootLoader *loader) {
        return loader->ops->shares_files;
}
