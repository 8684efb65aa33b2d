/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * GRUB with drop-ins for its settings, as on Debian, Ubuntu and SUSE
 *
 *     etc/default/grub, etc/default/grub.d/NAME.cfg   shell, read in this order by grub-mkconfig
 *     etc/grub.d/NN_name                              scripts whose output makes up grub.cfg
 *     boot/grub/grub.cfg                              what GRUB reads at boot
 *
 * Ours is one drop-in that puts our arguments in front of GRUB_CMDLINE_LINUX_DEFAULT, which every
 * entry gets but the ones for recovery. In front, as what follows a `--` would go to init.
 */

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/macro.h"
#include "basic/root-fs.h"
#include "host/bootloader-ops.h"
#include "host/grub-config.h"
#include "host/host-file.h"
#include "host/kernel-support.h"
#include "host/run-in-root.h"
#include "host/state.h"
#include "plan/cmdline.h"

#define SETTINGS "etc/default/grub"
#define DROPINS "etc/default/grub.d"
#define DROPIN DROPINS "/90-dmemd.cfg"
#define SCRIPTS "etc/grub.d"

/* Where the tool writes: a half-written grub.cfg is never where GRUB would find it. */
#define GENERATED_NEW STATE_FOLDER "/grub.cfg"

/* os-prober looks into every partition, and on a busy array of disks that takes its time. */
#define TOOL_TIMEOUT_USEC (15ULL * 60 * 1000000)

#define PATH_ROOM 512

/* Settings that read settings that read settings: beyond that somebody goes round in circles. */
#define INCLUDE_DEPTH_MAX 4

DEFINE_CLEANUP(char **, strv_free);

/* Debian and SUSE name the same things differently. */
typedef struct GrubVariant {
        const char *config;      /* grub.cfg */
        const char *environment; /* grubenv */
        const char *custom;      /* read by grub.cfg at boot, written by the administrator */
        const char *generator;   /* the script that reads the drop-ins */
        const char *tool;        /* what writes grub.cfg */
        const char *tool_name;
        const char *package; /* that has the tool */
} GrubVariant;

/*
 * On Debian kernel updates run update-grub. Where it is missing, nobody keeps grub.cfg, so
 * grub-mkconfig alone is not enough.
 */
static const GrubVariant variants[] = {
        {
                .config = "boot/grub/grub.cfg",
                .environment = "boot/grub/grubenv",
                .custom = "boot/grub/custom.cfg",
                .generator = "usr/sbin/grub-mkconfig",
                .tool = "usr/sbin/update-grub",
                .tool_name = "update-grub",
                .package = "grub2-common",
        },
        {
                .config = "boot/grub2/grub.cfg",
                .environment = "boot/grub2/grubenv",
                .custom = "boot/grub2/custom.cfg",
                .generator = "usr/sbin/grub2-mkconfig",
                .tool = "usr/sbin/grub2-mkconfig",
                .tool_name = "grub2-mkconfig -o /boot/grub2/grub.cfg",
                .package = "grub2",
        },
};

static const GrubVariant *variant(const BootLoader *loader) {
        return loader->variant;
}

/* grub-mkconfig as released by the GRUB project reads no drop-ins; the distributions add that. */
static int reads_dropins(int root_fd, const GrubVariant *v) {
        _cleanup_free_ char *text = NULL;
        int r;

        r = root_read_file(root_fd, v->generator, &text, NULL);
        if (r == -ENOENT || r == -EACCES)
                return root_exists(root_fd, DROPINS);
        if (r < 0)
                return r;
        return strstr(text, "default/grub.d") ? 1 : 0;
}

static int say_why(char **ret_why, const char *why) {
        free(*ret_why);
        *ret_why = strdup(why);
        return *ret_why ? 0 : -ENOMEM;
}

static int grub_probe(BootLoader *loader, const Policy *p, char **ret_why) {
        const GrubVariant *v = NULL;
        int settings, dropins, r;

        for (size_t i = 0; i < ELEMENTSOF(variants) && !v; i++) {
                r = root_exists(loader->root_fd, variants[i].config);
                if (r < 0)
                        return r;
                if (r > 0)
                        v = variants + i;
        }
        if (!v)
                return say_why(ret_why, "no boot/grub/grub.cfg and no boot/grub2/grub.cfg");
        settings = root_exists(loader->root_fd, SETTINGS);
        dropins = root_exists(loader->root_fd, DROPINS);
        if (settings < 0 || dropins < 0)
                return settings < 0 ? settings : dropins;
        if (!settings && !dropins)
                return say_why(ret_why, "no " SETTINGS " and no " DROPINS "/");

        r = reads_dropins(loader->root_fd, v);
        if (r < 0)
                return r;
        if (r == 0)
                return say_why(ret_why, "its grub-mkconfig does not read " DROPINS "/");
        /* Its entries are then files of their own, and grub.cfg only asks for them */
        r = host_file_has_line(loader->root_fd, v->config, "blscfg");
        if (r > 0)
                return say_why(ret_why, "grub.cfg takes its entries from boot/loader/entries/");
        loader->variant = v;
        loader->generated = v->config;
        return 1;
}

/* Without the tool nobody keeps grub.cfg up to date: a boot loader that was left behind. */
static int grub_evidence(BootLoader *loader) {
        int r;

        r = root_exists(loader->root_fd, variant(loader)->tool);
        return r < 0 ? r : r > 0 ? 0 : -1;
}

static int read_saved_entry(BootLoader *loader, char **ret) {
        _cleanup_free_ char *text = NULL;
        int r;

        r = root_read_file(loader->root_fd, variant(loader)->environment, &text, NULL);
        if (r >= 0)
                r = grub_environment_get(text, "saved_entry", ret);
        return r == -ENOMEM ? r : 0;
}

/* Whether the kernel of an entry knows dmem=, as far as can be told. */
static int kernel_support(int root_fd, const char *kernel, DmemSupport *ret) {
        _cleanup_free_ char *version = NULL;
        int r;

        *ret = DMEM_SUPPORT_UNKNOWN;
        r = kernel_version_from_path(kernel, &version);
        if (r < 0)
                return r == -ENOENT ? 0 : r;
        return kernel_support_load(root_fd, version, ret);
}

static int grub_entries(BootLoader *loader, const char *text, size_t size, BootEntries *ret) {
        _cleanup_free_ char *own_text = NULL, *saved_entry = NULL;
        _cleanup_(boot_entries_done) BootEntries entries = { 0 };
        int r;

        if (!text) {
                r = root_read_file(loader->root_fd, loader->generated, &own_text, &size);
                if (r < 0)
                        return r;
                text = own_text;
        }
        r = read_saved_entry(loader, &saved_entry);
        if (r < 0)
                return r;
        r = grub_config_parse(loader->generated, text, size, saved_entry, &entries);
        if (r < 0)
                return r;
        for (size_t i = 0; i < entries.n_items; i++) {
                BootEntry *entry = entries.items + i;

                if (!entry->kernel)
                        continue;
                /* Entries come in pairs for one kernel: ask once */
                if (i > 0 && entries.items[i - 1].kernel &&
                    streq(entries.items[i - 1].kernel, entry->kernel))
                        entry->support = entries.items[i - 1].support;
                else
                        r = kernel_support(loader->root_fd, entry->kernel, &entry->support);
                if (r < 0)
                        return r;
        }
        *ret = entries;
        entries = (BootEntries){ 0 };
        return 0;
}

/* What the text of our drop-in says; nothing if there is none. */
static int dropin_arguments(const char *text, char ***ret) {
        _cleanup_(foreign_arguments_done) ForeignArguments found = { 0 };
        _cleanup_(strv_freep) char **arguments = NULL;
        int r;

        r = text ? grub_find_arguments(DROPIN, text, SHELL_TEXT_SETTINGS, &found) : 0;
        if (r < 0)
                return r;
        arguments = new0(char *, found.n_items + 1);
        if (!arguments)
                return -ENOMEM;
        for (size_t i = 0; i < found.n_items; i++)
                arguments[i] = TAKE_PTR(found.items[i].word);
        *ret = TAKE_PTR(arguments);
        return 0;
}

static int grub_asked(const BootLoader *loader, const BootFiles *files, char ***ret) {
        const char *text = NULL;

        for (size_t i = 0; i < files->n_items; i++)
                if (streq(files->items[i].path, DROPIN))
                        text = files->items[i].after;
        return dropin_arguments(text, ret);
}

static int grub_configured(BootLoader *loader, char ***ret) {
        _cleanup_(boot_entries_done) BootEntries entries = { 0 };
        int r;

        r = grub_entries(loader, NULL, 0, &entries);
        if (r == -EACCES) { /* only root may read it on many hosts */
                _cleanup_free_ char *text = NULL;

                r = root_read_file(loader->root_fd, DROPIN, &text, NULL);
                return r < 0 && r != -ENOENT ? r : dropin_arguments(text, ret);
        }
        if (r < 0)
                return r;
        return boot_entries_take_default(&entries, ret);
}

static int find_in_text(BootLoader *loader, const char *path, ShellText kind, unsigned depth,
                        ForeignArguments *ret);

/* The files that settings read by `. /FILE`; what is not said in full cannot be followed. */
static int find_in_included(BootLoader *loader, char *text, unsigned depth, ForeignArguments *ret) {
        static const char *const commands[] = { ". ", "source " };

        for (char *line = text, *next; line; line = next) {
                next = strchr(line, '\n');
                if (next)
                        *next++ = '\0';
                for (size_t i = 0; i < ELEMENTSOF(commands); i++) {
                        char *path = strstr(line, commands[i]);
                        int r;

                        if (!path || memchr(line, '#', (size_t)(path - line)) ||
                            (path > line && !strchr(" \t;&|{", path[-1])))
                                continue;
                        path += strlen(commands[i]);
                        path += strspn(path, " \t\"'");
                        path[strcspn(path, " \t\r\"';&|")] = '\0';
                        if (*path != '/' || strchr(path, '$'))
                                continue;
                        r = find_in_text(loader, path + strspn(path, "/"), SHELL_TEXT_SETTINGS,
                                         depth + 1, ret);
                        if (r < 0)
                                return r;
                        break;
                }
        }
        return 0;
}

static int find_in_text(BootLoader *loader, const char *path, ShellText kind, unsigned depth,
                        ForeignArguments *ret) {
        _cleanup_free_ char *text = NULL;
        int r;

        r = root_read_file(loader->root_fd, path, &text, NULL);
        /* What only root may read, only root's apply can look at; a dry run goes on without */
        if (r == -ENOENT || r == -EISDIR || r == -EBADFD || r == -EACCES)
                return 0;
        if (r >= 0)
                r = grub_find_arguments(path, text, kind, ret);
        if (r < 0 || kind != SHELL_TEXT_SETTINGS || depth == INCLUDE_DEPTH_MAX)
                return r;
        return find_in_included(loader, text, depth, ret);
}

static int find_in_file(BootLoader *loader, const char *path, ShellText kind,
                        ForeignArguments *ret) {
        return find_in_text(loader, path, kind, 0, ret);
}

static bool is_settings_dropin(const char *name) {
        size_t length = strlen(name);

        return name[0] != '.' && length > 4 && streq(name + length - 4, ".cfg") &&
               !streq(name, "90-dmemd.cfg");
}

/* What grub-mkconfig leaves out: hidden files and those of editors and dpkg. */
static bool is_script(const char *name) {
        size_t length = strlen(name);

        return name[0] != '.' && name[0] != '#' && length > 0 && name[length - 1] != '~' &&
               !strstr(name, ".dpkg-") && !streq(name, "README");
}

static int find_in_folder(BootLoader *loader, const char *folder, bool (*counts)(const char *),
                          ShellText kind, ForeignArguments *ret) {
        _cleanup_(strv_freep) char **names = NULL;
        int r;

        r = root_list(loader->root_fd, folder, "", &names);
        if (r < 0)
                return r == -ENOENT || r == -EACCES ? 0 : r;
        for (char **name = names; *name; name++) {
                char path[PATH_ROOM];
                int length;

                if (!counts(*name))
                        continue;
                length = snprintf(path, sizeof(path), "%s/%s", folder, *name);
                if (length < 0 || (size_t)length >= sizeof(path))
                        return -ENAMETOOLONG;
                r = find_in_file(loader, path, kind, ret);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int grub_foreign(BootLoader *loader, ForeignArguments *ret) {
        int r;

        r = find_in_file(loader, SETTINGS, SHELL_TEXT_SETTINGS, ret);
        if (r >= 0)
                r = find_in_folder(loader, DROPINS, is_settings_dropin, SHELL_TEXT_SETTINGS, ret);
        if (r >= 0)
                r = find_in_folder(loader, SCRIPTS, is_script, SHELL_TEXT_SCRIPT, ret);
        if (r >= 0)
                r = find_in_file(loader, variant(loader)->custom, SHELL_TEXT_SCRIPT, ret);
        return r;
}

/* Does a file that is read after ours set the variable without regard to what it was? */
static int find_override(BootLoader *loader, const char *path, Findings *findings) {
        static const char name[] = "GRUB_CMDLINE_LINUX_DEFAULT";
        _cleanup_free_ char *text = NULL;
        unsigned number = 1;
        int r;

        r = root_read_file(loader->root_fd, path, &text, NULL);
        if (r < 0)
                return r == -ENOMEM ? r : 0;
        for (char *line = text, *next; line; line = next, number++) {
                const char *start;

                next = strchr(line, '\n');
                if (next)
                        *next++ = '\0';
                start = strstr(line, name);
                if (!start || start[strlen(name)] != '=' ||
                    (start > line && !strchr(" \t;&|{", start[-1])) ||
                    memchr(line, '#', (size_t)(start - line)) ||
                    strstr(start + 1, "$GRUB_CMDLINE_LINUX_DEFAULT") ||
                    strstr(start + 1, "${GRUB_CMDLINE_LINUX_DEFAULT"))
                        continue;
                r = boot_override_add(findings, path, number, name);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int grub_explain_difference(BootLoader *loader, Findings *findings) {
        _cleanup_(strv_freep) char **names = NULL;
        int r;

        r = root_list(loader->root_fd, DROPINS, "", &names);
        if (r < 0)
                return r == -ENOMEM ? r : 0;
        for (char **name = names; *name; name++) {
                char path[PATH_ROOM];

                if (!is_settings_dropin(*name) || strcmp(*name, "90-dmemd.cfg") < 0 ||
                    strlen(*name) >= sizeof(path) - sizeof(DROPINS))
                        continue;
                (void)snprintf(path, sizeof(path), DROPINS "/%s", *name);
                r = find_override(loader, path, findings);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* In double quotes of the shell and again unquoted in grub.cfg, these characters stay as they are.
 */
static bool is_plain(const char *argument) {
        static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                    "0123456789=:,_@.-";

        return *argument != '\0' && argument[strspn(argument, plain)] == '\0';
}

static int grub_prepare(BootLoader *loader, char *const *arguments, BootFiles *ret) {
        _cleanup_free_ char *words = NULL, *text = NULL;

        if (!*arguments)
                return boot_files_add(ret, loader->root_fd, DROPIN, NULL);
        for (char *const *a = arguments; *a; a++)
                if (!is_plain(*a))
                        return -EINVAL;
        words = arguments_join(arguments);
        if (!words)
                return -ENOMEM;
        if (asprintf(&text,
                     "# Written by `dmemctl apply`, which replaces it: settings belong into "
                     "dmemd.conf(5).\n"
                     "# Sets guest memory aside at boot; `dmemctl plan` shows where the figures "
                     "come from.\n"
                     "# To take it out: `dmemctl revert`, or remove this file and run %s.\n"
                     "GRUB_CMDLINE_LINUX_DEFAULT=\"%s $GRUB_CMDLINE_LINUX_DEFAULT\"\n",
                     variant(loader)->tool_name, words) < 0)
                return -ENOMEM;
        return boot_files_add(ret, loader->root_fd, DROPIN, text);
}

static bool grub_owns(const BootLoader *loader, const char *path) {
        return streq(path, DROPIN) || streq(path, variant(loader)->config);
}

static int grub_check_tool(BootLoader *loader, char **ret_why) {
        _cleanup_close_ int fd = -EBADF;
        char *why = NULL;
        struct stat st;

        fd = root_openat(loader->root_fd, variant(loader)->tool, O_PATH, 0);
        if (fd >= 0 && fstat(fd, &st) < 0)
                return -errno;
        if (fd >= 0 && S_ISREG(st.st_mode) && (st.st_mode & 0111))
                return 0;
        if (asprintf(&why, "%s: %s; install the package %s", variant(loader)->tool,
                     fd >= 0 ? "cannot be executed" : strerror(-fd), variant(loader)->package) < 0)
                return -ENOMEM;
        *ret_why = why;
        return -ENOEXEC;
}

static int remove_generated(BootLoader *loader) {
        int r, q;

        r = root_unlink(loader->root_fd, GENERATED_NEW);
        q = root_unlink(loader->root_fd, GENERATED_NEW ".new");
        return r < 0 ? r : q < 0 ? q : 0;
}

static int grub_generate(BootLoader *loader, char **ret_text, size_t *ret_size, char **ret_output) {
        _cleanup_free_ char *tool = NULL;
        char option[] = "-o", output[] = "/" GENERATED_NEW;
        char *arguments[4] = { NULL, option, output, NULL };
        int r, q;

        if (asprintf(&tool, "/%s", variant(loader)->tool) < 0)
                return -ENOMEM;
        arguments[0] = tool;
        r = remove_generated(loader);
        if (r < 0)
                return r;
        r = run_in_root(loader->root_fd, arguments, TOOL_TIMEOUT_USEC, ret_output);
        if (r > 0)
                r = -EPROTO;
        if (r == 0) {
                r = root_read_file(loader->root_fd, GENERATED_NEW, ret_text, ret_size);
                /* An update-grub of the administrator's own may not listen to -o */
                if (r == -ENOENT)
                        r = root_read_file(loader->root_fd, loader->generated, ret_text, ret_size);
        }
        q = remove_generated(loader);
        if (r >= 0 && q < 0) {
                free(TAKE_PTR(*ret_text));
                r = q;
        }
        return r;
}

static int grub_clean(BootLoader *loader) {
        int r;

        r = remove_generated(loader);
        if (r >= 0)
                r = root_remove_stale(loader->root_fd, DROPIN);
        if (r >= 0)
                r = root_remove_stale(loader->root_fd, loader->generated);
        return r < 0 ? r : 0;
}

static const char *grub_tool_name(const BootLoader *loader) {
        return variant(loader)->tool_name;
}

const BootLoaderOps grub_ops = {
        .type = BOOT_LOADER_GRUB,
        .probe = grub_probe,
        .evidence = grub_evidence,
        .configured = grub_configured,
        .entries = grub_entries,
        .foreign = grub_foreign,
        .explain_difference = grub_explain_difference,
        .prepare = grub_prepare,
        .asked = grub_asked,
        .owns = grub_owns,
        .tool_name = grub_tool_name,
        .check_tool = grub_check_tool,
        .generate = grub_generate,
        .patch = grub_config_replace,
        .clean = grub_clean,
};
