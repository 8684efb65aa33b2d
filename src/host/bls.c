/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Boot entries that are files of their own, after the Boot Loader Specification
 *
 * bls             Fedora and RHEL, where GRUB reads them; entries made by hand for systemd-boot
 * kernel-install  entries that kernel-install makes for this machine, read by systemd-boot
 *
 * Our arguments are in the options of each entry that boots this system, and in the file from which
 * the options of new entries are made:
 *
 *     etc/kernel/cmdline   of kernel-install. Without it, kernel-install takes
 * usr/lib/kernel/cmdline or what this boot got, so it is made when there are arguments, with the
 *                          options of an entry in it: without root= a kernel finds no root.
 *     kernelopts           in grubenv, where entries say `options $kernelopts` (RHEL 8), so that
 *                          all of them get it. But a rescue entry that says so, too, must stay
 *                          clean: then our arguments go into each of the other entries.
 *
 * The template comes first: whatever happens then, a kernel installed later is as wanted. Each file
 * by itself boots before and after.
 */

#include "basic/root-fs.h"
#include "host/bls-host.h"
#include "host/bootloader-ops.h"
#include "host/grub-config.h"
#include "host/host-dmem.h"
#include "host/kernel-cmdline.h"
#include "host/kernel-support.h"
#include "plan/cmdline.h"

#define TEMPLATE "etc/kernel/cmdline"
#define VENDOR_TEMPLATE "usr/lib/kernel/cmdline"
#define SETTINGS "etc/default/grub"

DEFINE_CLEANUP(char **, strv_free);

static char *no_arguments[] = { NULL };

static const BlsHost *host_of(const BootLoader *loader) {
        return loader->data;
}

static void bls_done(BootLoader *loader) {
        bls_host_free(loader->data);
        loader->data = NULL;
}

static bool is_kernel_install(const BootLoader *loader) {
        return loader->ops->type == BOOT_LOADER_KERNEL_INSTALL;
}

static int load(BootLoader *loader, const BootFiles *changes, BlsFiles *ret) {
        return bls_host_load(host_of(loader), loader->root_fd, !is_kernel_install(loader), changes,
                             ret);
}

static int say_why(char **ret_why, const char *why) {
        *ret_why = strdup(why);
        return *ret_why ? 0 : -ENOMEM;
}

static int find_host(BootLoader *loader, char **ret_why) {
        BlsHost *host;
        int r;

        r = bls_host_find(loader->root_fd, &host);
        if (r == -ENOENT)
                return say_why(ret_why, "no entry in loader/entries/ and no image in EFI/Linux/ "
                                        "below efi/, boot/ and boot/efi/");
        if (r < 0)
                return r;
        loader->data = host;
        return 1;
}

static int bls_probe(BootLoader *loader, const Policy *p, char **ret_why) {
        int r;

        r = find_host(loader, ret_why);
        if (r <= 0 || p->boot_loader == BOOT_LOADER_BLS)
                return r;
        if (host_of(loader)->reader != BLS_READER_GRUB && bls_host_has_own(host_of(loader))) {
                bls_done(loader);
                return say_why(ret_why, "the entries are those of kernel-install");
        }
        return 1;
}

static int kernel_install_probe(BootLoader *loader, const Policy *p, char **ret_why) {
        int r;

        r = find_host(loader, ret_why);
        if (r <= 0)
                return r;
        if (!bls_host_has_own(host_of(loader))) {
                bls_done(loader);
                return say_why(ret_why, "no entry or image begins with the machine id or with what "
                                        "etc/kernel/entry-token says");
        }
        if (p->boot_loader != BOOT_LOADER_KERNEL_INSTALL &&
            host_of(loader)->reader == BLS_READER_GRUB) {
                bls_done(loader);
                return say_why(ret_why, "GRUB reads the entries");
        }
        return 1;
}

/* Entries may be left behind by a loader that is not there any more, or was never in use. */
static int bls_evidence(BootLoader *loader) {
        static const char *const places[] = { "EFI/systemd/systemd-bootx64.efi",
                                              "EFI/systemd/systemd-bootaa64.efi" };
        const BlsHost *host = host_of(loader);
        int r;

        if (host->reader == BLS_READER_GRUB)
                return 0;
        r = bls_booted_by_systemd_boot(loader->root_fd);
        if (r != -ENODATA)
                return r < 0 ? r : r > 0 ? 1 : -1;
        for (char **folder = host->folders; *folder; folder++)
                for (size_t i = 0; i < ELEMENTSOF(places); i++) {
                        _cleanup_free_ char *path = NULL;

                        if (asprintf(&path, "%s/%s", *folder, places[i]) < 0)
                                return -ENOMEM;
                        if (root_exists(loader->root_fd, path) > 0)
                                return 0;
                }
        return -1;
}

static int load_support(int root_fd, const BlsFile *file, DmemSupport *ret) {
        _cleanup_free_ char *version = NULL;
        int r = 0;

        *ret = DMEM_SUPPORT_UNKNOWN;
        if (file->entry.kernel)
                r = kernel_version_from_path(file->entry.kernel, &version);
        if (r == -ENOMEM)
                return r;
        if (version) {
                r = kernel_support_load(root_fd, version, ret);
                if (r < 0 || *ret != DMEM_SUPPORT_UNKNOWN)
                        return r;
        }
        return file->entry.version ? kernel_support_load(root_fd, file->entry.version, ret) : 0;
}

static int make_entry(BootLoader *loader, const BlsFiles *files, const BlsFile *file,
                      BootEntry *entry) {
        const char *title = file->entry.title ? file->entry.title : file->id;
        const char *kernel = file->entry.kernel ? file->entry.kernel : file->entry.image;
        _cleanup_free_ char *options = NULL;
        int r;

        entry->title = strdup(title);
        entry->path = strdup(file->path);
        entry->kernel = kernel ? strdup(kernel) : NULL;
        entry->line = file->entry.options_line;
        entry->kind = file->kind;
        entry->is_default = file->is_default;
        if (!entry->title || !entry->path || (kernel && !entry->kernel))
                return -ENOMEM;
        r = bls_files_options(host_of(loader), files, file, &options);
        if (r >= 0)
                r = cmdline_extract(kernel ? options : "", &entry->arguments);
        return r < 0 ? r : load_support(loader->root_fd, file, &entry->support);
}

static int bls_preview(BootLoader *loader, const BootFiles *changes, BootEntries *ret) {
        _cleanup_(boot_entries_done) BootEntries entries = { 0 };
        _cleanup_(bls_files_done) BlsFiles files = { 0 };
        int r;

        r = load(loader, changes, &files);
        if (r < 0)
                return r;
        entries.items = new0(BootEntry, files.n_items + 1);
        if (!entries.items)
                return -ENOMEM;
        for (size_t i = 0; i < files.n_items && r >= 0; i++)
                r = make_entry(loader, &files, files.items + i, entries.items + entries.n_items++);
        if (r < 0)
                return r;
        *ret = entries;
        entries = (BootEntries){ 0 };
        return 0;
}

static int bls_entries(BootLoader *loader, const char *text, size_t size, BootEntries *ret) {
        return bls_preview(loader, NULL, ret);
}

static int bls_configured(BootLoader *loader, char ***ret) {
        _cleanup_(boot_entries_done) BootEntries entries = { 0 };
        int r;

        r = bls_entries(loader, NULL, 0, &entries);
        return r < 0 ? r : boot_entries_take_default(&entries, ret);
}

/* What grub2-mkconfig and tuned would put into the entries at their next run. */
static int bls_foreign(BootLoader *loader, ForeignArguments *ret) {
        static const char *const paths[] = { SETTINGS, "etc/tuned/bootcmdline" };

        for (size_t i = 0; i < ELEMENTSOF(paths) && host_of(loader)->reader == BLS_READER_GRUB;
             i++) {
                _cleanup_free_ char *text = NULL;
                int r;

                r = root_read_file(loader->root_fd, paths[i], &text, NULL);
                if (r == -ENOENT || r == -EACCES)
                        continue;
                if (r >= 0)
                        r = grub_find_arguments(paths[i], text, SHELL_TEXT_SETTINGS, ret);
                if (r < 0)
                        return r;
        }
        return 0;
}

static bool uses_variable(const BlsFile *file, const char *name) {
        const char *options = file->entry.options;
        size_t length = strlen(name);

        for (const char *p = options; p && (p = strchr(p, '$')); p++)
                if (strncmp(p + 1, name, length) == 0 && strspn(p + 1 + length, " \t") > 0)
                        return true;
                else if (strncmp(p + 1, name, length) == 0 && p[1 + length] == '\0')
                        return true;
        return false;
}

/* Adds a file that is to become @after, which is taken; it may be NULL. */
static int add_file(BootFiles *files, int root_fd, const char *path, char *after) {
        _cleanup_free_ char *own = after;

        return boot_files_add(files, root_fd, path, own);
}

/*
 * grubenv, if an entry fills in kernelopts from it. Returns 1 if our arguments are in there, 0 if
 * they have to be in the entries.
 */
static int prepare_environment(BootLoader *loader, const BlsFiles *bls, char *const *arguments,
                               BootFiles *ret) {
        const BlsHost *host = host_of(loader);
        bool is_used = false, for_recovery = false;
        char *text;
        int r;

        for (size_t i = 0; i < bls->n_items; i++) {
                const BlsFile *file = bls->items + i;

                if (!uses_variable(file, "kernelopts"))
                        continue;
                is_used = is_used || file->kind == BOOT_ENTRY_NORMAL;
                for_recovery = for_recovery || file->kind != BOOT_ENTRY_NORMAL;
        }
        if (!bls->environment || (!is_used && !for_recovery))
                return 0;
        if (is_used && !for_recovery) {
                r = grub_environment_replace(bls->environment, "kernelopts", arguments, &text);
                if (r >= 0)
                        r = add_file(ret, loader->root_fd, host->environment, text);
                if (r >= 0)
                        return 1;
                if (r != -ENOENT && r != -EBADMSG && r != -ENOSPC)
                        return r;
        }
        r = grub_environment_replace(bls->environment, "kernelopts", no_arguments, &text);
        if (r == -ENOENT || r == -EBADMSG)
                return 0; /* not set or not GRUB's: nothing of ours can be in it */
        return r < 0 ? r : add_file(ret, loader->root_fd, host->environment, text);
}

/* The options of an entry that boots this system, the default one if it does. */
static const char *find_options(const BlsFiles *bls) {
        const char *options = NULL;

        for (size_t i = 0; i < bls->n_items; i++) {
                const BlsFile *file = bls->items + i;

                if (file->kind == BOOT_ENTRY_NORMAL && file->entry.options &&
                    (!options || file->is_default))
                        options = file->entry.options;
        }
        return options;
}

/* A first etc/kernel/cmdline. NULL if there is nothing to make it of, or nobody would read it. */
static int make_template(BootLoader *loader, const BlsFiles *bls, char **ret) {
        const BlsHost *host = host_of(loader);
        const char *options;
        int r;

        *ret = NULL;
        if (!is_kernel_install(loader) && host->reader != BLS_READER_GRUB)
                return 0; /* entries made by hand */
        for (size_t i = 0; i < bls->n_items; i++)
                if (uses_variable(bls->items + i, "kernelopts"))
                        return 0;
        r = root_read_file(loader->root_fd, VENDOR_TEMPLATE, ret, NULL);
        if (r != -ENOENT)
                return r;
        options = find_options(bls);
        return options ? kernel_cmdline_from_options(options, ret) : 0;
}

static int prepare_template(BootLoader *loader, const BlsFiles *bls, char *const *arguments,
                            BootFiles *ret) {
        _cleanup_free_ char *text = NULL;
        BootFile *file;
        int r;

        r = boot_files_add(ret, loader->root_fd, TEMPLATE, NULL);
        if (r < 0)
                return r;
        file = ret->items + ret->n_items - 1;
        if (file->before && strlen(file->before) != file->before_size)
                return -EBADMSG;
        if (file->before)
                text = strdup(file->before);
        else if (arguments[0]) {
                r = make_template(loader, bls, &text);
                if (r < 0)
                        return r;
                if (!text)
                        return 0;
        } else
                return 0;
        if (!text)
                return -ENOMEM;
        r = kernel_cmdline_replace(text, arguments, &file->after);
        if (r >= 0)
                file->after_size = strlen(file->after);
        return r;
}

static int prepare_entry(BootLoader *loader, const BlsFiles *bls, const BlsFile *file,
                         char *const *arguments, BootFiles *ret) {
        const BlsHost *host = host_of(loader);
        const char *base = NULL;
        char *text;
        int r;

        if (host->reader == BLS_READER_GRUB &&
            ((bls->environment && strstr(bls->environment, "\ndefault_kernelopts=")) ||
             (bls->config && strstr(bls->config, "default_kernelopts="))))
                base = "$default_kernelopts";
        r = bls_entry_replace(file->text, host->reader, arguments, base, &text);
        return r < 0 ? r : add_file(ret, loader->root_fd, file->path, text);
}

static int bls_prepare(BootLoader *loader, char *const *arguments, BootFiles *ret) {
        _cleanup_(bls_files_done) BlsFiles bls = { 0 };
        bool in_environment;
        int r;

        r = load(loader, NULL, &bls);
        if (r >= 0)
                r = prepare_template(loader, &bls, arguments, ret);
        if (r >= 0)
                r = prepare_environment(loader, &bls, arguments, ret);
        if (r < 0)
                return r;
        in_environment = r > 0;
        for (size_t i = 0; i < bls.n_items; i++) {
                const BlsFile *file = bls.items + i;
                char *const *own = arguments;

                if (file->kind == BOOT_ENTRY_RECOVERY ||
                    (in_environment && uses_variable(file, "kernelopts")))
                        own = no_arguments;
                else if (file->kind != BOOT_ENTRY_NORMAL)
                        continue;
                r = prepare_entry(loader, &bls, file, own, ret);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int arguments_of(const BootLoader *loader, const BootFile *file, char ***ret) {
        const BlsHost *host = host_of(loader);
        _cleanup_(bls_entry_done) BlsEntry entry = { 0 };
        _cleanup_free_ char *line = NULL;
        const char *text = file->after ? file->after : "";
        int r;

        if (streq(file->path, TEMPLATE))
                r = kernel_cmdline_join(text, &line);
        else if (host->environment && streq(file->path, host->environment)) {
                r = grub_environment_get(text, "kernelopts", &line);
                if (r == -ENOENT) {
                        line = strdup("");
                        r = line ? 0 : -ENOMEM;
                }
        } else {
                r = bls_entry_parse(text, host->reader, &entry);
                line = TAKE_PTR(entry.options);
                if (r >= 0 && !line)
                        line = strdup("");
                if (!line)
                        r = -ENOMEM;
        }
        return r < 0 ? r : cmdline_extract(line, ret);
}

/* Of files that do not agree, those that have some: the others were not ready yet. */
static int bls_asked(const BootLoader *loader, const BootFiles *files, char ***ret) {
        for (size_t i = 0; i < files->n_items; i++) {
                _cleanup_(strv_freep) char **arguments = NULL;
                int r;

                r = arguments_of(loader, files->items + i, &arguments);
                if (r < 0)
                        return r;
                if (arguments[0]) {
                        *ret = TAKE_PTR(arguments);
                        return 0;
                }
        }
        return cmdline_extract("", ret);
}

/*
 * The template that apply made would be gone, and until the next boot kernel-install would take the
 * arguments of this one: ours, too.
 */
static int bls_going_back(const BootLoader *loader, BootFiles *files) {
        _cleanup_(strv_freep) char **booted = NULL;
        int r;

        r = root_exists(loader->root_fd, VENDOR_TEMPLATE);
        if (r == 0)
                r = host_load_booted(loader->root_fd, &booted);
        if (r == -ENOMEM)
                return r;
        if (r < 0 || !booted || !booted[0])
                return 0;
        for (size_t i = 0; i < files->n_items; i++) {
                BootFile *file = files->items + i;

                if (!streq(file->path, TEMPLATE) || file->after || !file->before)
                        continue;
                r = kernel_cmdline_replace(file->before, no_arguments, &file->after);
                if (r < 0)
                        return r;
                file->after_size = strlen(file->after);
        }
        return 0;
}

/* An entry in one of the folders that the boot loader reads, with no way out of it. */
static bool is_entry_path(const BlsHost *host, const char *path) {
        size_t length = strlen(path);

        if (length < 5 || !streq(path + length - 5, ".conf"))
                return false;
        for (char **folder = host->folders; *folder; folder++) {
                const char *rest = startswith(path, *folder);
                const char *name = rest ? startswith(rest, "/loader/entries/") : NULL;

                if (name && *name != '.' && !strchr(name, '/'))
                        return true;
        }
        return false;
}

static bool bls_owns(const BootLoader *loader, const char *path) {
        const BlsHost *host = host_of(loader);

        return streq(path, TEMPLATE) || (host->environment && streq(path, host->environment)) ||
               is_entry_path(host, path);
}

static int bls_clean(BootLoader *loader) {
        const BlsHost *host = host_of(loader);
        int r;

        r = root_remove_stale(loader->root_fd, TEMPLATE);
        if (r >= 0 && host->environment)
                r = root_remove_stale(loader->root_fd, host->environment);
        for (char **folder = host->folders; *folder && r >= 0; folder++) {
                _cleanup_free_ char *path = NULL;

                if (asprintf(&path, "%s/loader/entries", *folder) < 0)
                        return -ENOMEM;
                r = root_remove_all_stale(loader->root_fd, path);
        }
        return r < 0 ? r : 0;
}

const BootLoaderOps bls_ops = {
        .type = BOOT_LOADER_BLS,
        .shares_files = true,
        .probe = bls_probe,
        .evidence = bls_evidence,
        .done = bls_done,
        .configured = bls_configured,
        .entries = bls_entries,
        .preview = bls_preview,
        .foreign = bls_foreign,
        .prepare = bls_prepare,
        .asked = bls_asked,
        .going_back = bls_going_back,
        .owns = bls_owns,
        .clean = bls_clean,
};

const BootLoaderOps kernel_install_ops = {
        .type = BOOT_LOADER_KERNEL_INSTALL,
        .shares_files = true,
        .probe = kernel_install_probe,
        .evidence = bls_evidence,
        .done = bls_done,
        .configured = bls_configured,
        .entries = bls_entries,
        .preview = bls_preview,
        .foreign = bls_foreign,
        .prepare = bls_prepare,
        .asked = bls_asked,
        .going_back = bls_going_back,
        .owns = bls_owns,
        .clean = bls_clean,
};
