/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "basic/root-fs.h"
#include "dmemctl/change.h"
#include "host/message-ids.h"
#include "host/state-json.h"
#include "host/state.h"
#include "plan/cmdline.h"

DEFINE_CLEANUP(char **, strv_free);

/* Findings of the plan come first: they say why the figures are what they are. */
static int take_plan_findings(Change *c, const Plan *plan) {
        for (size_t i = 0; i < plan->findings.n_items; i++) {
                const Finding *f = plan->findings.items + i;
                int r;

                r = findings_add(&c->findings, f->code, f->severity, f->node, "%s", f->message);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int copy_arguments(char *const *arguments, char ***ret) {
        char **copy;

        copy = new0(char *, strv_length(arguments) + 1);
        if (!copy)
                return -ENOMEM;
        *ret = copy;
        for (size_t i = 0; arguments[i]; i++) {
                copy[i] = strdup(arguments[i]);
                if (!copy[i])
                        return -ENOMEM;
        }
        return 0;
}

static bool same_plan(const Applied *a, const Applied *b) {
        if (a->backend != b->backend || !arguments_equal(a->arguments, b->arguments) ||
            a->n_nodes != b->n_nodes)
                return false;
        for (size_t i = 0; i < a->n_nodes; i++)
                if (a->nodes[i].id != b->nodes[i].id ||
                    a->nodes[i].dmem_bytes != b->nodes[i].dmem_bytes ||
                    a->nodes[i].huge_2m != b->nodes[i].huge_2m ||
                    a->nodes[i].huge_1g != b->nodes[i].huge_1g)
                        return false;
        return true;
}

/* applied.json as it has to become. The time in it changes only together with something else. */
static int prepare_applied(Change *c, const Plan *plan) {
        _cleanup_(applied_freep) Applied *before = NULL, *after = NULL;
        _cleanup_free_ char *text = NULL;
        BootFile *file;
        int r;

        r = applied_new(c->d->root_fd, plan, &after);
        if (r < 0)
                return r;
        r = boot_files_add(&c->boot.state, c->d->root_fd, STATE_APPLIED, NULL);
        if (r < 0)
                return r;
        file = c->boot.state.items + c->boot.state.n_items - 1;
        if (file->before)
                (void)applied_from_text(file->before, file->before_size, &before);
        if (!file->before && !after->arguments[0] && !c->changed)
                return 0; /* a host that we never touched stays so */
        if (before && same_plan(before, after))
                file->after = strdup(file->before);
        else if (applied_to_text(after, &file->after) < 0)
                return -ENOMEM;
        if (!file->after)
                return -ENOMEM;
        file->after_size = strlen(file->after);
        return 0;
}

/* What the settings ask for as they are now: what revert would put back. */
static int settings_ask_for(const Change *c, char ***ret) {
        const BootFiles *settings = &c->boot.settings;
        BootFiles now = { .n_items = settings->n_items };
        int r;

        now.items = new0(BootFile, settings->n_items + 1);
        if (!now.items)
                return -ENOMEM;
        for (size_t i = 0; i < settings->n_items; i++)
                now.items[i] = (BootFile){
                        .path = settings->items[i].path,
                        .after = settings->items[i].before,
                        .after_size = settings->items[i].before_size,
                };
        r = boot_loader_asked(c->loader, &now, ret);
        free(now.items);
        return r;
}

/*
 * previous.json changes only when what revert would put back is something else than what is: not
 * when a new kernel or a damaged file makes it necessary to apply the same once more.
 */
static int prepare_previous(Change *c) {
        char **before = NULL;
        BootFile *file;
        bool same;
        int r;

        r = settings_ask_for(c, &before);
        if (r < 0)
                return r;
        same = arguments_equal(before, c->boot.arguments_after);
        strv_free(before);
        r = same ? root_exists(c->d->root_fd, STATE_PREVIOUS) : 0;
        if (r != 0)
                return r < 0 ? r : 0;
        if (c->boot.arguments_before &&
            arguments_equal(c->boot.arguments_before, c->boot.arguments_after))
                return 0;
        r = boot_files_add(&c->boot.state, c->d->root_fd, STATE_PREVIOUS, NULL);
        if (r < 0)
                return r;
        file = c->boot.state.items + c->boot.state.n_items - 1;
        r = boot_change_remember(c->loader, &c->boot, &file->after);
        if (r < 0)
                return r;
        file->after_size = strlen(file->after);
        return 0;
}

static int prepare(Change *c, const Plan *plan) {
        int r;

        boot_change_done(&c->boot);
        c->boot.operation = "apply";
        r = copy_arguments(plan->arguments, &c->boot.arguments_after);
        if (r < 0)
                return r;
        r = boot_loader_prepare(c->loader, plan->arguments, &c->boot.settings);
        if (r == -EINVAL) {
                message("the arguments have characters in them that the boot loader would change; "
                        "nothing was changed");
                return EXIT_FAILURE;
        }
        if (r < 0 && r != -ENOMEM && c->boot.settings.n_items > 0) {
                const char *why = boot_change_reason(r);

                if (r == -EBADMSG)
                        why = boot_loader_type(c->loader) == BOOT_LOADER_FILE
                                      ? "there is more than one line in it, so it is no kernel "
                                        "command line"
                                      : "it is no text";
                message("/%s: %s; nothing was changed",
                        c->boot.settings.items[c->boot.settings.n_items - 1].path, why);
                return EXIT_FAILURE;
        }
        return r < 0 ? r : change_compare(c);
}

/* Does a change of the boot loader @now reach all that one of @last has written? */
static bool replaces(const BootLoader *now, const BootLoader *last) {
        BootLoaderType x = boot_loader_type(now), y = boot_loader_type(last);
        const char *file = boot_loader_file(last);

        if (file) /* as etc/kernel/cmdline while unified images are made anew */
                return boot_loader_owns(now, file);
        x = x == BOOT_LOADER_KERNEL_INSTALL ? BOOT_LOADER_BLS : x;
        y = y == BOOT_LOADER_KERNEL_INSTALL ? BOOT_LOADER_BLS : y;
        return x == y;
}

/* What an apply wrote to another boot loader would stay there for good. */
static int check_last_loader(Change *c) {
        _cleanup_(policy_freep) Policy *policy = NULL;
        _cleanup_(boot_loader_freep) BootLoader *last = NULL;
        _cleanup_(strv_freep) char **left = NULL;
        int r;

        r = boot_change_policy(c->d->root_fd, STATE_PREVIOUS, &policy);
        if (r <= 0)
                return r;
        if (boot_loader_find(c->d->root_fd, policy, &last) < 0 || replaces(c->loader, last))
                return 0;
        r = boot_loader_configured(last, &left);
        if (r == -ENOMEM || r < 0 || !left[0])
                return r == -ENOMEM ? r : 0;
        return boot_loader_left_add(&c->findings, boot_loader_type(last),
                                    boot_loader_type(c->loader), left);
}

static int check(Change *c, const Plan *plan) {
        _cleanup_(foreign_arguments_done) ForeignArguments foreign = { 0 };
        int r;

        findings_done(&c->findings);
        r = take_plan_findings(c, plan);
        if (r >= 0)
                r = check_last_loader(c);
        if (r >= 0)
                r = boot_loader_foreign(c->loader, &foreign);
        if (r >= 0)
                r = foreign_arguments_check(&foreign, &c->findings);
        return r;
}

/* Only our own notes are to be brought up to date. */
static int update_notes(Change *c) {
        for (size_t i = 0; i < c->boot.state.n_items; i++) {
                const BootFile *f = c->boot.state.items + i;
                int r;

                if (!f->after || (f->before && streq(f->before, f->after)))
                        continue;
                r = root_write_file(c->d->root_fd, f->path, f->after, f->after_size, 0644);
                if (r < 0) {
                        message("/%s: %s; the boot settings are as planned", f->path, strerror(-r));
                        return EXIT_FAILURE;
                }
        }
        return EXIT_SUCCESS;
}

static int carry_out(Change *c, const HostPlan *hp) {
        const Plan *plan = hp->plan;
        bool writes = !c->d->dry_run && !c->d->diff;
        int r;

        /* Nobody changed anything on this host so far. Once we have the lock, look again. */
        if (writes && c->lock_fd < 0 && (c->changed || plan->arguments[0])) {
                r = change_begin(c, hp->policy, true);
                if (r == 0)
                        r = check(c, plan);
                if (r == 0)
                        r = prepare(c, plan);
                if (r != 0)
                        return r;
        }
        if (!writes)
                return c->changed ? change_run(c) : EXIT_SUCCESS;
        r = prepare_applied(c, plan);
        if (r < 0)
                return r;
        if (!c->changed)
                return update_notes(c);
        r = prepare_previous(c);
        if (r < 0)
                return r;
        r = change_run(c);
        if (r == 0)
                change_log(c, MESSAGE_PLAN_APPLIED, "Plan applied");
        return r;
}

static int apply(Change *c, const HostPlan *hp) {
        int r, status;

        r = change_begin(c, hp->policy, false);
        if (r == 0)
                r = change_find_loader(c, hp->policy);
        if (r != 0)
                return r;
        r = check(c, hp->plan);
        if (r >= 0)
                r = prepare(c, hp->plan);
        if (r != 0)
                return r;
        c->reboot_required = hp->reboot_required;
        change_say_findings(c);
        if (findings_worst(&c->findings) == SEVERITY_ERROR) {
                message("nothing was changed");
                status = EXIT_FAILURE;
        } else
                status = carry_out(c, hp);
        if (status < 0)
                return status;
        if (status != EXIT_SUCCESS) {
                /* What failed left no trace */
                c->changed = c->boot.regenerate = false;
                boot_files_done(&c->boot.settings);
                if (c->d->json == JSON_MODE_OFF)
                        return status;
        }
        r = change_print(c);
        if (r < 0)
                return r;
        return status != EXIT_SUCCESS ? status : change_exit_status(c);
}

int verb_apply(Dmemctl *d, int argc, char *argv[]) {
        _cleanup_(change_done) Change c = { .d = d, .verb = "apply", .lock_fd = -EBADF };
        _cleanup_(host_plan_freep) HostPlan *hp = NULL;
        int r;

        r = change_check_permission(d, c.verb);
        if (r == 0)
                r = load_host_plan(d, &hp);
        return r != 0 ? r : apply(&c, hp);
}
