/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "dmemctl/change.h"
#include "basic/root-fs.h"
#include "host/journal.h"
#include "host/plan-json.h"
#include "host/state.h"
#include "plan/cmdline.h"

void change_done(Change *c) {
        boot_loader_free(c->loader);
        if (c->lock_fd >= 0)
                (void)close(c->lock_fd);
        boot_change_done(&c->boot);
        findings_done(&c->findings);
}

static bool writes(const Dmemctl *d) {
        return !d->dry_run && !d->diff;
}

int change_check_permission(const Dmemctl *d, const char *verb) {
        if (!writes(d) || geteuid() == 0)
                return EXIT_SUCCESS;
        message("dmemctl %s needs root: run it with sudo (--dry-run works for everybody)", verb);
        return EXIT_FAILURE;
}

static void say_not_found(const Change *c, const Policy *policy, int error) {
        _cleanup_free_ char *why = boot_loader_explain(c->d->root_fd, policy);

        if (error == -ENOTUNIQ)
                message("more than one boot loader is found below %s, and nothing tells which of "
                        "them boots it (%s); say so by Type= in [BootLoader] of dmemd.conf",
                        c->d->root, why ? why : strerror(-error));
        else
                message("no boot loader below %s that dmemctl can change: %s; Type= in "
                        "[BootLoader] of dmemd.conf chooses one by hand",
                        c->d->root, why ? why : strerror(-error));
}

int change_find_loader(Change *c, const Policy *policy) {
        int r;

        r = boot_loader_find(c->d->root_fd, policy, &c->loader);
        if (r < 0)
                say_not_found(c, policy, r);
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* The boot loader that the file @path of ours was written for, else the one of the policy. */
static int find_loader_of(const Change *c, const char *path, const Policy *policy,
                          BootLoader **ret) {
        _cleanup_free_ char *why = NULL;
        _cleanup_(policy_freep) Policy *written_for = NULL;
        int r;

        r = boot_change_policy(c->d->root_fd, path, &written_for);
        if (r < 0)
                return r;
        r = boot_loader_find(c->d->root_fd, written_for ? written_for : policy, ret);
        if (r >= 0)
                return EXIT_SUCCESS;
        if (!written_for) {
                say_not_found(c, policy, r);
                return EXIT_FAILURE;
        }
        why = boot_loader_explain(c->d->root_fd, written_for);
        message("the boot loader that /%s was written for is not to be found below %s: %s; if it "
                "was replaced for good, remove that file",
                path, c->d->root, why ? why : strerror(-r));
        return EXIT_FAILURE;
}

int change_find_last_loader(Change *c, const Policy *policy) {
        return find_loader_of(c, STATE_PREVIOUS, policy, &c->loader);
}

static int recover(Change *c, const Policy *policy) {
        _cleanup_(boot_loader_freep) BootLoader *loader = NULL;
        _cleanup_free_ char *what = NULL;
        int r;

        r = boot_change_interrupted(c->d->root_fd);
        if (r != 0)
                r = find_loader_of(c, STATE_CHANGE, policy, &loader);
        else if (boot_loader_find(c->d->root_fd, policy, &loader) < 0)
                return EXIT_SUCCESS; /* nothing to repair; who needs a boot loader will say so */
        if (r != 0)
                return r;
        r = boot_change_recover(c->d->root_fd, loader, &what);
        if (r < 0)
                message("%s", what ? what : strerror(-r));
        else if (what)
                message("%s", what);
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

int change_begin(Change *c, const Policy *policy, bool create) {
        _cleanup_free_ char *holder = NULL;
        int r;

        c->lock_fd = -EBADF;
        if (!writes(c->d)) {
                if (boot_change_interrupted(c->d->root_fd) > 0)
                        message("an earlier change was interrupted; the next apply or revert "
                                "repairs what it left");
                return EXIT_SUCCESS;
        }
        r = boot_change_lock(c->d->root_fd, create, &holder);
        if (r == -ENOENT && !create)
                return EXIT_SUCCESS;
        if (r == -EBUSY)
                message("%s is changing the boot settings below %s right now; try again when it "
                        "is done",
                        holder ? holder : "another program", c->d->root);
        else if (r == -EPERM)
                message("/" STATE_FOLDER "/ must belong to root and be writable by root alone, as "
                        "boot settings are restored from it: "
                        "chown root: /" STATE_FOLDER " && chmod go-w /" STATE_FOLDER);
        else if (r < 0)
                message("/" STATE_FOLDER "/: %s; nothing was changed", strerror(-r));
        if (r < 0)
                return EXIT_FAILURE;
        c->lock_fd = r;
        return recover(c, policy);
}

static bool settings_differ(const BootFiles *files) {
        for (size_t i = 0; i < files->n_items; i++) {
                const BootFile *f = files->items + i;

                if (!f->before != !f->after)
                        return true;
                if (f->before && (f->before_size != f->after_size ||
                                  memcmp(f->before, f->after, f->after_size) != 0))
                        return true;
        }
        return false;
}

/* Where not even the entries may be read, what the settings ask for has to do. */
static int compare_unreadable(Change *c) {
        char **configured = NULL;
        int r;

        r = boot_loader_configured(c->loader, &configured);
        if (r < 0)
                return r;
        c->boot.regenerate = !arguments_equal(configured, c->boot.arguments_after);
        strv_free(configured);
        return 0;
}

/* Where no tool stands in between, it can be told now what the entries will be. */
static int check_preview(Change *c) {
        _cleanup_(boot_entries_done) BootEntries entries = { 0 };
        int r;

        r = boot_loader_preview(c->loader, &c->boot.settings, &entries);
        if (r == -EOPNOTSUPP)
                return 0;
        if (r >= 0)
                r = boot_entries_check(&entries, c->boot.arguments_after, &c->findings);
        return r < 0 ? r : 0;
}

int change_compare(Change *c) {
        _cleanup_(boot_entries_done) BootEntries entries = { 0 };
        const char *generated = boot_loader_generated(c->loader);
        int r;

        r = boot_change_look(c->loader, &c->boot);
        if (r >= 0)
                r = boot_loader_entries(c->loader, c->boot.generated_before,
                                        c->boot.generated_before_size, &entries);
        if (r >= 0)
                c->boot.regenerate =
                        boot_entries_check(&entries, c->boot.arguments_after, NULL) <= 0;
        else if (r == -EBADMSG)
                c->boot.regenerate = true; /* damaged: make a new one */
        else if (r == -EACCES && !writes(c->d)) {
                r = compare_unreadable(c);
                if (r < 0)
                        return r;
        } else {
                message("%s%s: %s; nothing was changed", generated ? "/" : "",
                        generated ? generated : "boot settings", boot_change_reason(r));
                return EXIT_FAILURE;
        }
        c->changed = c->boot.regenerate || settings_differ(&c->boot.settings);
        r = check_preview(c);
        if (r >= 0)
                r = boot_entries_check_kernels(&entries, c->boot.arguments_after, &c->findings);
        return r < 0 ? r : EXIT_SUCCESS;
}

void change_say_findings(const Change *c) {
        for (size_t i = 0; i < c->findings.n_items; i++) {
                const Finding *f = c->findings.items + i;

                /* Mere information is for `dmemctl plan` to show */
                if (f->severity == SEVERITY_ERROR ||
                    (f->severity == SEVERITY_WARNING && c->d->json == JSON_MODE_OFF))
                        message("%s: %s", severity_to_string(f->severity), f->message);
        }
}

/* Where the host cannot be started, its tools may not run either. */
static void say_way_out(const Change *c) {
        const char *generated = boot_loader_generated(c->loader);

        if (generated && c->boot.regenerate && !c->boot.without_tool && streq(c->verb, "revert"))
                message("if %s cannot be made to work here, dmemctl revert --without-tool changes "
                        "/%s itself",
                        boot_loader_tool(c->loader), generated);
}

int change_run(Change *c) {
        _cleanup_free_ char *problem = NULL, *why = NULL;
        size_t n_said = c->findings.n_items;
        int r = 0;

        if (c->boot.regenerate && !c->boot.without_tool)
                r = boot_loader_check_tool(c->loader, &why);
        if (r == -ENOEXEC) {
                message("%s; nothing was changed", why);
                say_way_out(c);
                return EXIT_FAILURE;
        }
        if (r < 0)
                return r;
        if (!writes(c->d))
                return EXIT_SUCCESS;
        r = boot_change_run(c->d->root_fd, c->loader, &c->boot, &c->findings, &problem);
        if (r >= 0) {
                if (problem)
                        message("%s", problem);
                return EXIT_SUCCESS;
        }
        for (size_t i = n_said; i < c->findings.n_items; i++)
                message("%s", c->findings.items[i].message);
        message("%s", problem ? problem : strerror(-r));
        if (r != -EINTR)
                say_way_out(c);
        return EXIT_FAILURE;
}

void change_log(const Change *c, const char *message_id, const char *what) {
        _cleanup_free_ char *arguments = NULL;

        if (!c->changed || !writes(c->d) || !streq(c->d->root, "/"))
                return;
        arguments = arguments_join(c->boot.arguments_after);
        if (!arguments)
                return;
        (void)journal_send(LOG_NOTICE, message_id, NULL, "%s, the next boot %s%s", what,
                           *arguments ? "gets " : "reserves nothing", arguments);
}

/* A text taken apart into lines that keep their newline. */
typedef struct Lines {
        const char **starts; /* one more than there are lines: where the last one ends */
        size_t n_lines;
} Lines;

static int split_lines(const char *text, size_t size, Lines *ret) {
        const char *end = text + size;
        size_t n = 0;

        for (const char *p = text; p < end; n++) {
                const char *newline = memchr(p, '\n', (size_t)(end - p));

                p = newline ? newline + 1 : end;
        }
        ret->starts = new0(const char *, n + 1);
        if (!ret->starts)
                return -ENOMEM;
        ret->starts[0] = text;
        while (ret->n_lines < n) {
                const char *p = ret->starts[ret->n_lines++];
                const char *newline = memchr(p, '\n', (size_t)(end - p));

                ret->starts[ret->n_lines] = newline ? newline + 1 : end;
        }
        return 0;
}

static bool same_line(const Lines *a, size_t i, const Lines *b, size_t j) {
        size_t length = (size_t)(a->starts[i + 1] - a->starts[i]);

        return length == (size_t)(b->starts[j + 1] - b->starts[j]) &&
               memcmp(a->starts[i], b->starts[j], length) == 0;
}

static void print_lines(char mark, const Lines *lines, size_t from, size_t to, const char *colour,
                        const char *off) {
        for (size_t i = from; i < to; i++) {
                int length = (int)(lines->starts[i + 1] - lines->starts[i]);
                bool whole = length > 0 && lines->starts[i][length - 1] == '\n';

                printf("%s%c%.*s%s\n", colour, mark, length - whole, lines->starts[i], off);
                if (!whole)
                        printf("\\ No newline at end of file\n");
        }
}

/* One hunk from the first line that differs to the last, with what is around it, as diff -u. */
static int print_file_diff(const Dmemctl *d, const BootFile *file) {
        enum {
                CONTEXT = 3
        };
        Lines a = { 0 }, b = { 0 };
        size_t head = 0, tail = 0, from, after, n_a, n_b;
        int r;

        r = split_lines(file->before ? file->before : "", file->before_size, &a);
        if (r >= 0)
                r = split_lines(file->after ? file->after : "", file->after_size, &b);
        if (r < 0) {
                free(a.starts);
                return r;
        }
        while (head < a.n_lines && head < b.n_lines && same_line(&a, head, &b, head))
                head++;
        while (tail < a.n_lines - head && tail < b.n_lines - head &&
               same_line(&a, a.n_lines - 1 - tail, &b, b.n_lines - 1 - tail))
                tail++;
        from = head > CONTEXT ? head - CONTEXT : 0;
        after = tail < CONTEXT ? tail : CONTEXT;
        n_a = a.n_lines - tail + after - from;
        n_b = b.n_lines - tail + after - from;
        printf("%s--- %s%s\n+++ %s%s%s\n", colour_bold(d), file->before ? "/" : "",
               file->before ? file->path : "/dev/null", file->after ? "/" : "",
               file->after ? file->path : "/dev/null", colour_off(d));
        printf("@@ -%zu,%zu +%zu,%zu @@\n", from + (n_a > 0), n_a, from + (n_b > 0), n_b);
        print_lines(' ', &a, from, head, "", "");
        print_lines('-', &a, head, a.n_lines - tail, colour_error(d), colour_off(d));
        print_lines('+', &b, head, b.n_lines - tail, colour_good(d), colour_off(d));
        print_lines(' ', &b, b.n_lines - tail, b.n_lines - tail + after, "", "");
        free(a.starts);
        free(b.starts);
        return 0;
}

static int print_diff(const Change *c) {
        for (size_t i = 0; i < c->boot.settings.n_items; i++) {
                BootFiles one = { c->boot.settings.items + i, 1 };
                int r;

                if (!settings_differ(&one))
                        continue;
                r = print_file_diff(c->d, one.items);
                if (r < 0)
                        return r;
        }
        return 0;
}

static json_object *file_to_json(const BootFile *file) {
        _cleanup_(json_object_putp) json_object *object = json_object_new_object();
        _cleanup_free_ char *path = NULL;

        if (!object || asprintf(&path, "/%s", file->path) < 0 ||
            json_add(object, "path", json_object_new_string(path)) < 0 ||
            json_add_bytes(object, "before", file->before, file->before_size) < 0 ||
            json_add_bytes(object, "after", file->after, file->after_size) < 0)
                return NULL;
        return TAKE_PTR(object);
}

static int add_files(const Change *c, json_object *object) {
        json_object *files = json_object_new_array(), *regenerated;
        const char *generated = boot_loader_generated(c->loader);
        int r;

        r = json_add(object, "files", files);
        for (size_t i = 0; i < c->boot.settings.n_items && r >= 0; i++) {
                BootFiles one = { c->boot.settings.items + i, 1 };

                if (settings_differ(&one))
                        r = json_append(files, file_to_json(one.items));
        }
        if (r < 0)
                return r;
        regenerated = json_object_new_array();
        r = json_add(object, "regenerated", regenerated);
        if (r >= 0 && c->boot.regenerate && generated) {
                _cleanup_free_ char *path = NULL;

                if (asprintf(&path, "/%s", generated) < 0)
                        return -ENOMEM;
                r = json_append(regenerated, json_object_new_string(path));
        }
        return r;
}

static json_object *change_to_json(const Change *c) {
        _cleanup_(json_object_putp) json_object *object = json_object_new_object();
        json_object *reboot = NULL, *arguments = NULL;
        char *none[] = { NULL };

        if (!object || json_add(object, "version", json_object_new_int(1)) < 0 ||
            json_add(object, "changed", json_object_new_boolean(c->changed)) < 0 ||
            json_add(object, "dry_run", json_object_new_boolean(!writes(c->d))) < 0 ||
            tristate_to_json(c->reboot_required, &reboot) < 0)
                return NULL;
        if (json_object_object_add(object, "reboot_required", reboot) < 0) {
                (void)json_object_put(reboot);
                return NULL;
        }
        if (add_files(c, object) < 0 ||
            strv_to_json(c->boot.arguments_after ? c->boot.arguments_after : none, &arguments) <
                    0 ||
            json_add(object, "arguments", arguments) < 0 ||
            json_add(object, "findings", findings_to_json(&c->findings)) < 0)
                return NULL;
        return TAKE_PTR(object);
}

static void print_words(const Change *c) {
        const char *generated = boot_loader_generated(c->loader);
        bool done = writes(c->d);

        for (size_t i = 0; i < c->boot.settings.n_items; i++) {
                BootFiles one = { c->boot.settings.items + i, 1 };

                if (settings_differ(&one))
                        printf("/%s %s%s\n", one.items->path, done ? "" : "would be ",
                               one.items->after ? "written" : "removed");
        }
        if (c->boot.regenerate && generated && c->boot.without_tool)
                printf("/%s %schanged%s\nRun %s once the host is up.\n", generated,
                       done ? "" : "would be ", done ? " and read back" : "",
                       boot_loader_tool(c->loader));
        else if (c->boot.regenerate && generated)
                printf("/%s %sregenerated by %s%s\n", generated, done ? "" : "would be ",
                       boot_loader_tool(c->loader), done ? " and read back" : "");
        if (!c->changed)
                printf("The boot settings are as they should be, nothing to do.\n");
        if (c->reboot_required == TRISTATE_YES)
                printf("%sReboot required%s: the running kernel was started with other "
                       "arguments.\n",
                       colour_bold(c->d), colour_off(c->d));
}

int change_print(const Change *c) {
        if (c->d->json != JSON_MODE_OFF)
                return print_json(c->d, change_to_json(c));
        if (c->d->diff)
                return print_diff(c);
        print_words(c);
        return 0;
}

int change_exit_status(const Change *c) {
        return !c->changed && c->d->unchanged_exit_77 ? EXIT_UNCHANGED : EXIT_SUCCESS;
}
