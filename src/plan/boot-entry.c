/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "plan/boot-entry.h"
#include "basic/macro.h"
#include "basic/root-fs.h"
#include "plan/cmdline.h"

void boot_entries_done(BootEntries *entries) {
        for (size_t i = 0; i < entries->n_items; i++) {
                BootEntry *entry = entries->items + i;

                free(entry->title);
                free(entry->path);
                free(entry->kernel);
                strv_free(entry->arguments);
        }
        free(entries->items);
        *entries = (BootEntries){ 0 };
}

/* See init(1), systemd(1) and what grub-mkconfig writes. */
bool boot_argument_is_repair(const char *argument) {
        static const char *const words[] = {
                "single",
                "S",
                "recovery",
                "rescue",
                "emergency",
                "systemd.unit=rescue.target",
                "systemd.unit=emergency.target",
        };

        for (size_t i = 0; i < ELEMENTSOF(words); i++)
                if (streq(argument, words[i]))
                        return true;
        return false;
}

const BootEntry *boot_entries_find_default(const BootEntries *entries) {
        for (size_t i = 0; i < entries->n_items; i++)
                if (entries->items[i].is_default)
                        return entries->items + i;
        for (size_t i = 0; i < entries->n_items; i++)
                if (entries->items[i].kind == BOOT_ENTRY_NORMAL && entries->items[i].kernel)
                        return entries->items + i;
        return NULL;
}

int boot_entries_take_default(BootEntries *entries, char ***ret) {
        const BootEntry *entry = boot_entries_find_default(entries);

        if (!entry)
                return -EBADMSG;
        *ret = TAKE_PTR(entries->items[entry - entries->items].arguments);
        return 0;
}

static bool gets_arguments(const BootEntry *entry) {
        if (!entry->kernel || entry->kind == BOOT_ENTRY_RECOVERY)
                return false;
        return entry->kind == BOOT_ENTRY_NORMAL || entry->is_default;
}

static const char *what_to_do(const BootEntry *entry) {
        switch (entry->kind) {
        case BOOT_ENTRY_OTHER:
                return "; it is not one that dmemctl changes (of another system, or made by hand), "
                       "so add them there by hand or let another entry boot by default";
        case BOOT_ENTRY_IMAGE:
                return "; it is a unified kernel image, which has its arguments inside: set "
                       "Type=file and File=/etc/kernel/cmdline in [BootLoader], apply, then have "
                       "it built anew by kernel-install add";
        default:
                return "";
        }
}

static int add_difference(const BootEntry *entry, char *const *arguments, Findings *findings) {
        _cleanup_free_ char *has = NULL, *wanted = NULL;

        has = arguments_join(entry->arguments);
        wanted = arguments_join(arguments);
        if (!has || !wanted)
                return -ENOMEM;
        return findings_add(findings, "entry-differs", SEVERITY_ERROR, -1,
                            "%s, line %u: entry '%s'%s has %s%s%s of the dmemd arguments, and "
                            "%s%s%s is wanted%s",
                            entry->path, entry->line, entry->title,
                            entry->is_default ? ", which boots by default," : "", *has ? "`" : "",
                            *has ? has : "none", *has ? "`" : "", *wanted ? "`" : "",
                            *wanted ? wanted : "none", *wanted ? "`" : "", what_to_do(entry));
}

/* A default entry that cannot have the arguments: the next boot would reserve nothing. */
static int add_useless_default(const BootEntry *entry, Findings *findings) {
        return findings_add(findings, "no-entry", SEVERITY_ERROR, -1,
                            "%s, line %u: entry '%s', which boots by default, %s: let another "
                            "entry boot by default",
                            entry->path, entry->line, entry->title,
                            entry->kernel ? "is for recovery and gets no arguments of dmemd"
                                          : "starts no kernel of this system itself (but a "
                                            "hypervisor or another system)");
}

int boot_entries_check(const BootEntries *entries, char *const *arguments, Findings *findings) {
        bool as_planned = true, any = false;
        int r;

        for (size_t i = 0; i < entries->n_items; i++) {
                const BootEntry *entry = entries->items + i;
                char *const *wanted = NULL;

                if (!entry->kernel)
                        continue;
                if (gets_arguments(entry)) {
                        wanted = arguments;
                        any = true;
                } else if (entry->kind != BOOT_ENTRY_RECOVERY)
                        continue;
                if (arguments_equal(entry->arguments, wanted))
                        continue;
                as_planned = false;
                r = findings ? add_difference(entry, wanted, findings) : 0;
                if (r < 0)
                        return r;
        }
        if (!any && arguments && *arguments) {
                as_planned = false;
                r = !findings ? 0
                              : findings_add(findings, "no-entry", SEVERITY_ERROR, -1,
                                             "The boot loader has no entry for a kernel of this "
                                             "system; install a kernel, then apply again");
                if (r < 0)
                        return r;
        }
        return as_planned;
}

int boot_override_add(Findings *findings, const char *path, unsigned line, const char *name) {
        return findings_add(findings, "settings-overridden", SEVERITY_ERROR, -1,
                            "%s, line %u: sets %s anew, and is read after the settings of dmemd; "
                            "let it add to $%s, or rename the file so that it comes before",
                            path, line, name, name);
}

int boot_loader_left_add(Findings *findings, BootLoaderType last, BootLoaderType now,
                         char *const *arguments) {
        _cleanup_free_ char *has = arguments_join(arguments);
        const char *name = boot_loader_type_to_string(last);

        if (!has)
                return -ENOMEM;
        return findings_add(findings, "other-boot-loader", SEVERITY_ERROR, -1,
                            "The last apply wrote `%s` to the boot loader %s, and this one would "
                            "write to %s: run dmemctl revert first, or choose Type=%s in "
                            "[BootLoader] of dmemd.conf",
                            has, name, boot_loader_type_to_string(now), name);
}

static bool needs_dmem(char *const *arguments) {
        for (char *const *a = arguments; a && *a; a++)
                if (startswith(*a, "dmem="))
                        return true;
        return false;
}

int boot_entries_check_kernels(const BootEntries *entries, char *const *arguments,
                               Findings *findings) {
        size_t n_without = 0, n_normal = 0;
        const BootEntry *last = NULL;
        int r;

        for (size_t i = 0; arguments && *arguments && i < entries->n_items; i++)
                if (entries->items[i].is_default && !gets_arguments(entries->items + i))
                        return add_useless_default(entries->items + i, findings);
        if (!needs_dmem(arguments))
                return 0;
        for (size_t i = 0; i < entries->n_items; i++)
                if (gets_arguments(entries->items + i)) {
                        n_normal++;
                        if (entries->items[i].support == DMEM_SUPPORT_NO)
                                n_without++;
                }
        if (n_without > 0 && n_without == n_normal)
                return findings_add(findings, "kernel-without-dmem", SEVERITY_ERROR, -1,
                                    "None of the kernels that this host may boot knows dmem= "
                                    "(CONFIG_DMEM is not set); install a kernel with dmem support, "
                                    "or choose Backend=hugetlb in dmemd.conf");

        for (size_t i = 0; i < entries->n_items; i++) {
                const BootEntry *entry = entries->items + i;

                if (!gets_arguments(entry) || entry->support != DMEM_SUPPORT_NO)
                        continue;
                /* Two entries in a row for one kernel: the simple one and that of the submenu */
                if (last && streq(last->kernel, entry->kernel))
                        continue;
                last = entry;
                r = findings_add(findings, "kernel-without-dmem", SEVERITY_WARNING, -1,
                                 "%s, line %u: the kernel %s of entry '%s'%s does not know dmem= "
                                 "(CONFIG_DMEM is not set): booted by it, the host has no "
                                 "reservation",
                                 entry->path, entry->line, entry->kernel, entry->title,
                                 entry->is_default ? ", which boots by default," : "");
                if (r < 0)
                        return r;
        }
        return 0;
}

void foreign_arguments_done(ForeignArguments *foreign) {
        for (size_t i = 0; i < foreign->n_items; i++) {
                free(foreign->items[i].path);
                free(foreign->items[i].word);
        }
        free(foreign->items);
        *foreign = (ForeignArguments){ 0 };
}

int foreign_arguments_add(ForeignArguments *foreign, const char *path, unsigned line,
                          const char *word, size_t length) {
        _cleanup_free_ char *own_path = NULL, *own_word = NULL;
        ForeignArgument *grown;

        own_path = strdup(path);
        own_word = strndup(word, length);
        if (!own_path || !own_word)
                return -ENOMEM;
        grown = reallocarray(foreign->items, foreign->n_items + 1, sizeof(ForeignArgument));
        if (!grown)
                return -ENOMEM;
        foreign->items = grown;
        grown[foreign->n_items++] = (ForeignArgument){
                .path = TAKE_PTR(own_path),
                .line = line,
                .word = TAKE_PTR(own_word),
        };
        return 0;
}

int foreign_arguments_check(const ForeignArguments *foreign, Findings *findings) {
        for (size_t i = 0; i < foreign->n_items; i++) {
                const ForeignArgument *f = foreign->items + i;
                int r;

                r = findings_add(findings, "foreign-argument", SEVERITY_ERROR, -1,
                                 "%s, line %u: %s is set here by somebody else; remove it there, "
                                 "what dmemd.conf asks for is added by dmemctl apply",
                                 f->path, f->line, f->word);
                if (r < 0)
                        return r;
        }
        return 0;
}
