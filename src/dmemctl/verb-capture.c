/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * capture: copies what plan reads, so that a plan can be made from it elsewhere. It makes the plan
 * while it watches what is read, and then another one from the copy, which has to be the same.
 */

#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <limits.h>
#include <sys/stat.h>

#include "basic/root-fs.h"
#include "dmemctl/verbs.h"
#include "host/bootloader.h"
#include "host/capture.h"
#include "host/host-memory.h"
#include "host/plan-json.h"

typedef struct CaptureRun {
        Dmemctl *d;
        const char *folder; /* as given */
        char *temporary;    /* beside it; renamed when it is complete */
        int folder_fd;
        Capture *capture;
        char *plan; /* JSON; NULL: the configuration is wrong, so there is none */
        const CaptureFile *files;
        size_t n_files;
        Tristate same_plan;
} CaptureRun;

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw) {
        return remove(path) < 0 && errno != ENOENT ? -1 : 0;
}

static void remove_tree(const char *path) {
        if (nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS) < 0)
                message("cannot remove %s: %s", path, strerror(errno));
}

static void run_done(CaptureRun *c) {
        capture_free(c->capture);
        if (c->folder_fd >= 0)
                (void)close(c->folder_fd);
        if (c->temporary)
                remove_tree(c->temporary);
        free(c->temporary);
        free(c->plan);
}

/* Why the plan does not know what the next boot gets is a part of it, and is found out by looking.
 */
static void look_for_boot_loader(int root_fd, const HostPlan *hp) {
        char *why = NULL;

        if (!hp->configured)
                why = boot_loader_explain(root_fd, hp->policy);
        free(why);
}

/* The plan below @root_fd as text; *ret is NULL if the configuration is wrong. */
static int make_plan(int root_fd, bool say_errors, char **ret) {
        _cleanup_(config_errors_done) ConfigErrors errors = {};
        _cleanup_(json_object_putp) json_object *json = NULL;
        _cleanup_(host_plan_freep) HostPlan *hp = NULL;
        _cleanup_(policy_freep) Policy *defaults = NULL;
        int r;

        r = host_plan_load(root_fd, NULL, 0, &errors, &hp);
        if (r < 0 && errors.n_items > 0) {
                if (say_errors)
                        message_config_errors(&errors);
                /* The facts are of use even so. */
                defaults = policy_new();
                if (!defaults)
                        return -ENOMEM;
                *ret = NULL;
                return host_plan_make(root_fd, defaults, 0, &hp);
        }
        if (r < 0)
                return r;
        look_for_boot_loader(root_fd, hp);
        json = host_plan_to_json(hp);
        *ret = json ? strdup(json_object_to_json_string(json)) : NULL;
        return *ret ? 0 : -ENOMEM;
}

static int watch_plan(CaptureRun *c) {
        int r;

        c->capture = capture_new();
        if (!c->capture)
                return -ENOMEM;
        capture_start(c->capture);
        r = make_plan(c->d->root_fd, true, &c->plan);
        capture_stop(c->capture);
        if (r < 0)
                message("cannot read the host below %s: %s", c->d->root, strerror(-r));
        return r < 0 ? EXIT_FAILURE : 0;
}

/* Makes the folder that is filled; in the same place, so that it can be renamed. */
static int make_temporary(CaptureRun *c) {
        size_t length = strlen(c->folder);
        const char *name;

        while (length > 1 && c->folder[length - 1] == '/')
                length--;
        name = memrchr(c->folder, '/', length);
        name = name ? name + 1 : c->folder;
        if (asprintf(&c->temporary, "%.*s.#dmemd-%.*s.%jd", (int)(name - c->folder), c->folder,
                     (int)(c->folder + length - name), name, (intmax_t)getpid()) < 0) {
                c->temporary = NULL;
                return -ENOMEM;
        }
        if (mkdir(c->temporary, 0777) < 0) {
                message("cannot create %s: %s", c->temporary, strerror(errno));
                free(TAKE_PTR(c->temporary));
                return EXIT_FAILURE;
        }
        c->folder_fd = root_open(c->temporary);
        return c->folder_fd < 0 ? c->folder_fd : 0;
}

/* Says why it may not become the copy. An empty folder may. */
static int check_folder(const CaptureRun *c) {
        _cleanup_close_ int fd = -EBADF;
        char **names = NULL;
        bool empty;
        int r;

        fd = open(c->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0 && errno == ENOENT)
                return 0;
        if (fd < 0) {
                message("cannot write to %s: %s", c->folder, strerror(errno));
                return EXIT_FAILURE;
        }
        r = root_list(fd, ".", "", &names);
        if (r < 0)
                return r;
        empty = names[0] == NULL;
        strv_free(names);
        if (empty)
                return 0;
        message("%s is not empty; name a folder that does not exist yet", c->folder);
        return EXIT_FAILURE;
}

/* No file of procfs or sysfs says how large base pages are. */
static int write_page_size(const CaptureRun *c) {
        char text[32];
        int r;

        r = host_is_live(c->d->root_fd);
        if (r <= 0)
                return r;
        (void)snprintf(text, sizeof(text), "%ld\n", sysconf(_SC_PAGESIZE));
        r = root_mkdir_p(c->folder_fd, "dmemd-capture");
        if (r < 0)
                return r;
        return root_write_file(c->folder_fd, HOST_CAPTURE_PAGE_SIZE, text, strlen(text), 0644);
}

static int write_files(CaptureRun *c) {
        const char *path;
        int r;

        r = capture_write(c->capture, c->d->root_fd, c->folder_fd, &c->files, &c->n_files, &path);
        if (r < 0)
                message("cannot copy %s%s to %s: %s; nothing was kept", path ? "/" : "the files",
                        path ? path : "", c->folder, strerror(-r));
        else {
                r = write_page_size(c);
                if (r < 0)
                        message("cannot write /" HOST_CAPTURE_PAGE_SIZE " to %s: %s; nothing was "
                                "kept",
                                c->folder, strerror(-r));
        }
        return r < 0 ? EXIT_FAILURE : 0;
}

static int compare_plans(CaptureRun *c) {
        _cleanup_free_ char *plan = NULL;
        int r;

        if (!c->plan) {
                c->same_plan = TRISTATE_UNKNOWN;
                return 0;
        }
        r = make_plan(c->folder_fd, false, &plan);
        if (r < 0)
                return r;
        c->same_plan = plan && streq(plan, c->plan) ? TRISTATE_YES : TRISTATE_NO;
        return 0;
}

static int keep(CaptureRun *c) {
        if (rename(c->temporary, c->folder) < 0) {
                message("cannot create %s: %s; nothing was kept", c->folder, strerror(errno));
                return EXIT_FAILURE;
        }
        free(TAKE_PTR(c->temporary));
        return 0;
}

static size_t count_copied(const CaptureRun *c) {
        size_t n = 0;

        for (size_t i = 0; i < c->n_files; i++)
                n += c->files[i].error == 0;
        return n;
}

static void say_left_out(const CaptureRun *c) {
        for (size_t i = 0; i < c->n_files; i++)
                if (c->files[i].error < 0)
                        message("/%s is left out: %s%s", c->files[i].path,
                                strerror(-c->files[i].error),
                                c->files[i].error == -EACCES && geteuid() != 0
                                        ? "; root may read it"
                                        : "");
        if (c->same_plan == TRISTATE_NO)
                message("the plan made from %s is not the plan of this host%s", c->folder,
                        count_copied(c) < c->n_files ? ", as something is left out" : "");
}

static json_object *left_out_to_json(const CaptureFile *file, const char *path) {
        _cleanup_(json_object_putp) json_object *object = json_object_new_object();

        if (!object || json_add(object, "path", json_object_new_string(path)) < 0 ||
            json_add(object, "reason", json_object_new_string(strerror(-file->error))) < 0)
                return NULL;
        return TAKE_PTR(object);
}

static int add_files(const CaptureRun *c, json_object *files, json_object *left_out) {
        for (size_t i = 0; i < c->n_files; i++) {
                _cleanup_free_ char *path = NULL;
                int r;

                if (asprintf(&path, "/%s", c->files[i].path) < 0) {
                        path = NULL;
                        return -ENOMEM;
                }
                r = c->files[i].error == 0
                            ? json_append(files, json_object_new_string(path))
                            : json_append(left_out, left_out_to_json(&c->files[i], path));
                if (r < 0)
                        return r;
        }
        return 0;
}

static json_object *run_to_json(const CaptureRun *c) {
        _cleanup_(json_object_putp) json_object *object = json_object_new_object();
        json_object *files, *left_out, *same = NULL;

        if (!object || json_add(object, "version", json_object_new_int(1)) < 0 ||
            json_add(object, "folder", json_object_new_string(c->folder)) < 0)
                return NULL;
        files = json_object_new_array();
        if (json_add(object, "files", files) < 0)
                return NULL;
        left_out = json_object_new_array();
        if (json_add(object, "left_out", left_out) < 0 || add_files(c, files, left_out) < 0 ||
            tristate_to_json(c->same_plan, &same) < 0)
                return NULL;
        if (same ? json_add(object, "same_plan", same) < 0
                 : json_object_object_add(object, "same_plan", NULL) < 0)
                return NULL;
        return TAKE_PTR(object);
}

static int print_run(const CaptureRun *c) {
        if (c->d->json != JSON_MODE_OFF)
                return print_json(c->d, run_to_json(c));
        printf("%s: %zu files\n", c->folder, count_copied(c));
        if (c->d->legend && c->same_plan == TRISTATE_YES)
                printf("`dmemctl --root=%s plan` gives the plan of this host.\n", c->folder);
        return 0;
}

int verb_capture(Dmemctl *d, int argc, char *argv[]) {
        _cleanup_(run_done) CaptureRun c = { .d = d, .folder = argv[1], .folder_fd = -EBADF };
        static int (*const steps[])(CaptureRun *) = {
                watch_plan, make_temporary, write_files, compare_plans, keep,
        };
        int r;

        r = check_folder(&c);
        for (size_t i = 0; i < ELEMENTSOF(steps) && r == 0; i++)
                r = steps[i](&c);
        if (r != 0)
                return r;
        say_left_out(&c);
        return print_run(&c);
}
