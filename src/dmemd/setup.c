/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * dmemd-setup - makes the reserved memory of this boot available: takes out of use again what was
 * bad in earlier boots, mounts dmemfs, and gets huge pages that the boot could not find
 *
 * Runs once at boot as root, before dmem-ready.target. Follows what this boot has set aside and not
 * what is planned for the next one. Never unmounts: guests may live in it.
 */

#include <getopt.h>
#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/utsname.h>

#include "basic/root-fs.h"
#include "basic/size-util.h"
#include "dmemd/log.h"
#include "dmemd/setup-retire.h"
#include "host/config.h"
#include "host/host-dmem.h"
#include "host/host-hugepages.h"
#include "host/kernel-module.h"
#include "host/mount.h"
#include "plan/cmdline.h"
#include "plan/hugepages-argument.h"

#define EXIT_CONFIGURATION 78 /* as dmemctl says it, and EX_CONFIG of sysexits.h */

DEFINE_CLEANUP(char **, strv_free);

static const char help_text[] =
        "dmemd-setup [OPTIONS...]\n"
        "\n"
        "Make the memory that this boot has reserved for guests available: take out of use again\n"
        "what was bad in earlier boots, mount dmemfs as section [Mount] of dmemd.conf says, and "
        "get\n"
        "the huge pages that the boot was asked for and could not find. Meant to be run by\n"
        "dmemd-setup.service.\n"
        "\n"
        "  -h --help      show this help\n"
        "     --version   show the version\n"
        "\n"
        "See dmemd(8) and dmemd.conf(5).\n";

/* Says that and why it failed. @reason is a word for programs, in DMEM_REASON=. */
static _printf_(2, 3) int setup_failed(const char *reason, const char *format, ...) {
        char reason_field[64], *fields[] = { reason_field, NULL };
        _cleanup_free_ char *text = NULL;
        va_list arguments;
        int r;

        va_start(arguments, format);
        r = vasprintf(&text, format, arguments);
        va_end(arguments);
        (void)snprintf(reason_field, sizeof(reason_field), "DMEM_REASON=%s", reason);
        log_event(LOG_ERR, MESSAGE_SETUP_FAILED, fields, "%s", r < 0 ? "Out of memory" : text);
        return EXIT_FAILURE;
}

static int load_policy(int root_fd, Policy **ret) {
        _cleanup_(config_errors_done) ConfigErrors errors = {};
        int r;

        r = config_load(root_fd, NULL, &errors, ret);
        for (size_t i = 0; i < errors.n_items; i++) {
                const ConfigError *e = &errors.items[i];

                if (e->line > 0)
                        (void)setup_failed("configuration", "%s:%u: %s", e->path, e->line,
                                           e->message);
                else
                        (void)setup_failed("configuration", "%s: %s", e->path, e->message);
        }
        if (r < 0 && errors.n_items == 0)
                (void)setup_failed("configuration", "Cannot read the configuration: %s",
                                   strerror(-r));
        return r;
}

/* A number, or a name of the user data base. Returns 0 or -ENOENT. */
static int find_user(const char *name, uid_t *ret) {
        const struct passwd *entry;
        unsigned number;

        if (parse_unsigned(name, &number) >= 0 && number != (uid_t)-1) {
                *ret = number;
                return 0;
        }
        entry = getpwnam(name);
        if (!entry)
                return -ENOENT;
        *ret = entry->pw_uid;
        return 0;
}

static int find_group(const char *name, gid_t *ret) {
        const struct group *entry;
        unsigned number;

        if (parse_unsigned(name, &number) >= 0 && number != (gid_t)-1) {
                *ret = number;
                return 0;
        }
        entry = getgrnam(name);
        if (!entry)
                return -ENOENT;
        *ret = entry->gr_gid;
        return 0;
}

/* The words of this boot that ask for memory, in one line; or NULL if there are none. */
static char *what_was_asked(int root_fd) {
        _cleanup_(strv_freep) char **booted = NULL;

        if (host_load_booted(root_fd, &booted) < 0 || strv_length(booted) == 0)
                return NULL;
        return arguments_join(booted);
}

/* Why there is no file system type dmemfs. Returns the exit status. */
static int explain_no_type(int root_fd, const char *where) {
        _cleanup_(in_force_done) InForce in_force = {};
        _cleanup_free_ char *asked = what_was_asked(root_fd);
        struct utsname kernel;
        int has_module;

        if (uname(&kernel) < 0 || host_load_in_force(root_fd, &in_force) < 0)
                return setup_failed("module-not-loaded",
                                    "Cannot mount dmemfs on %s: the kernel "
                                    "does not know this file system",
                                    where);
        if (!in_force.reserved && !in_force.reserved_unknown && asked) {
                if (kernel_has_option(root_fd, kernel.release, "CONFIG_DMEM") == 0)
                        return setup_failed(
                                "no-kernel-support",
                                "Cannot mount dmemfs on %s: this boot asked for '%s', but kernel "
                                "%s is built without CONFIG_DMEM and reserved nothing; boot a "
                                "kernel with it, or run 'dmemctl revert'",
                                where, asked, kernel.release);
                return setup_failed("no-reservation",
                                    "Cannot mount dmemfs on %s: this boot asked for '%s', but "
                                    "kernel %s reserved nothing; 'journalctl -k --grep=dmem' says "
                                    "why, 'dmemctl apply' writes the arguments anew",
                                    where, asked, kernel.release);
        }
        has_module = kernel_has_module(root_fd, kernel.release, "dmemfs");
        if (has_module <= 0)
                return setup_failed("no-module",
                                    "Cannot mount dmemfs on %s: kernel %s has no module dmemfs "
                                    "below /lib/modules/%s/; install it for this kernel and run "
                                    "'systemctl reload-or-restart dmemd-setup.service'",
                                    where, kernel.release, kernel.release);
        return setup_failed("module-not-loaded",
                            "Cannot mount dmemfs on %s: the module dmemfs of kernel %s does not "
                            "load; 'modprobe dmemfs' and 'journalctl -k --grep=dmemfs' say why",
                            where, kernel.release);
}

static int mount_dmemfs(int root_fd, const Policy *policy) {
        char page_size[FORMAT_SIZE_MAX];
        _cleanup_free_ char *why = NULL;
        MountWish wish = {
                .type = "dmemfs",
                .where = policy->mount_where,
                .page_size = policy->mount_page_size,
                .mode = policy->mount_mode,
        };
        int r;

        if (find_user(policy->mount_user, &wish.uid) < 0)
                return setup_failed("configuration",
                                    "Cannot mount dmemfs on %s: there is no user '%s'; correct "
                                    "User= in section [Mount] of dmemd.conf",
                                    wish.where, policy->mount_user);
        if (find_group(policy->mount_group, &wish.gid) < 0)
                return setup_failed("configuration",
                                    "Cannot mount dmemfs on %s: there is no group '%s'; correct "
                                    "Group= in section [Mount] of dmemd.conf",
                                    wish.where, policy->mount_group);

        r = mount_ensure(&wish, &why);
        if (r == -ENODEV)
                return explain_no_type(root_fd, wish.where);
        if (r < 0)
                return setup_failed("mount", "Cannot mount dmemfs on %s: %s", wish.where,
                                    why ?: strerror(-r));
        log_message(LOG_INFO, "dmemfs %s on %s, page size %s",
                    r > 0 ? "is mounted" : "was mounted already", wish.where,
                    format_size(page_size, wish.page_size));
        return EXIT_SUCCESS;
}

static uint64_t pages_to_bytes(uint64_t count, uint64_t page_size) {
        uint64_t bytes;

        return __builtin_mul_overflow(count, page_size, &bytes) ? UINT64_MAX : bytes;
}

/* One line per node and page size: what was asked for and what is there. */
static void report_pages(const HugePagesWish *w) {
        char size[FORMAT_SIZE_MAX], node[48], requested[48], granted[48];
        char *fields[] = { node, requested, granted, NULL };

        format_size(size, w->page_size);
        if (!w->known) {
                log_message(LOG_WARNING,
                            "Node %u: %" PRIu64 " huge pages of %s were asked for, but the kernel "
                            "knows none of that size there",
                            w->node, w->asked, size);
                return;
        }
        (void)snprintf(node, sizeof(node), "DMEM_NODE=%u", w->node);
        (void)snprintf(requested, sizeof(requested), "DMEM_REQUESTED=%" PRIu64,
                       pages_to_bytes(w->asked, w->page_size));
        (void)snprintf(granted, sizeof(granted), "DMEM_GRANTED=%" PRIu64,
                       pages_to_bytes(w->granted, w->page_size));
        log_event(w->granted < w->asked  ? LOG_WARNING
                  : w->before < w->asked ? LOG_NOTICE
                                         : LOG_INFO,
                  NULL, fields,
                  "Node %u: %" PRIu64 " huge pages of %s asked for, %" PRIu64 " found at boot, "
                  "%" PRIu64 " granted",
                  w->node, w->asked, size, w->before, w->granted);
}

/*
 * Too few pages are a host that works, only with less memory for guests: dmemd and `dmemctl
 * status` say so, and this unit does not fail.
 */
static int grow_pools(int root_fd) {
        _cleanup_(strv_freep) char **booted = NULL;
        _cleanup_free_ HugePagesAsked *asked = NULL;
        _cleanup_free_ HugePagesWish *wishes = NULL;
        size_t n;
        int r;

        r = host_load_booted(root_fd, &booted);
        if (r >= 0)
                r = hugepages_parse(booted, &asked, &n);
        if (r < 0)
                return r;
        wishes = new0(HugePagesWish, n + 1);
        if (!wishes)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++)
                wishes[i] = (HugePagesWish){
                        .node = asked[i].node,
                        .page_size = asked[i].page_size,
                        .asked = asked[i].count,
                };
        r = host_grow_pools(root_fd, wishes, n);
        if (r < 0)
                return r;
        for (size_t i = 0; i < n; i++)
                report_pages(&wishes[i]);
        return 0;
}

static bool has_argument(char *const *arguments, const char *name) {
        for (; arguments && *arguments; arguments++)
                if (startswith(*arguments, name))
                        return true;
        return false;
}

/* Not on a host that was booted with huge pages alone. Returns 1, 0 or a negative errno. */
static int wants_mount(int root_fd) {
        _cleanup_(in_force_done) InForce in_force = {};
        _cleanup_(strv_freep) char **booted = NULL;
        int r;

        r = host_load_booted(root_fd, &booted);
        if (r >= 0)
                r = host_load_in_force(root_fd, &in_force);
        if (r < 0)
                return r;
        return in_force.class_present || in_force.reserved || has_argument(booted, "dmem=") ||
               !has_argument(booted, "hugepages=");
}

static int run(void) {
        _cleanup_(policy_freep) Policy *policy = NULL;
        _cleanup_close_ int root_fd = -EBADF;
        int wanted, r;

        root_fd = root_open("/");
        if (root_fd < 0)
                return setup_failed("mount", "Cannot open /: %s", strerror(-root_fd));
        /* Asked before the module is loaded, which makes the class appear. */
        wanted = wants_mount(root_fd);
        if (wanted != 0) {
                /* First of all, and whatever else is wrong: somebody may mount dmemfs by hand. */
                mount_load_type("dmemfs");
                setup_retire(root_fd);
        }
        r = wanted < 0 ? wanted : grow_pools(root_fd);
        if (r < 0)
                return setup_failed("mount", "Cannot read what this boot was asked for: %s",
                                    strerror(-r));
        if (wanted == 0)
                return EXIT_SUCCESS;
        if (load_policy(root_fd, &policy) < 0)
                return EXIT_CONFIGURATION;
        return mount_dmemfs(root_fd, policy);
}

int main(int argc, char *argv[]) {
        enum {
                OPTION_VERSION = 0x100,
        };
        static const struct option options[] = {
                { "help", no_argument, NULL, 'h' },
                { "version", no_argument, NULL, OPTION_VERSION },
                {},
        };
        int option;

        while ((option = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
                if (option != 'h' && option != OPTION_VERSION)
                        return 2;
                fputs(option == 'h' ? help_text : "dmemd-setup " PROJECT_VERSION "\n", stdout);
                return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
        }
        if (optind < argc) {
                fprintf(stderr,
                        "dmemd-setup: there is nothing to do with '%s'; see dmemd-setup --help\n",
                        argv[optind]);
                return 2;
        }
        return run();
}
