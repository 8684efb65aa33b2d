/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <getopt.h>
#include <stdio.h>

#include "dmemd/log.h"
#include "dmemd/manager.h"

static const char help_text[] =
        "dmemd [OPTIONS...]\n"
        "\n"
        "Watch the memory that is reserved for guests, and serve its state on the system bus.\n"
        "Meant to be run by dmemd.service.\n"
        "\n"
        "     --root=DIR  look at the host whose files are below DIR, as in a captured tree\n"
        "  -h --help      show this help\n"
        "     --version   show the version\n"
        "\n"
        "See dmemd(8) and org.dmemd1(5).\n";

/* Returns 1 to go on, 0 if there is nothing more to do, -EINVAL on wrong usage (said). */
static int parse_arguments(int argc, char *argv[], const char **ret_root) {
        enum {
                OPTION_ROOT = 0x100,
                OPTION_VERSION,
        };
        static const struct option options[] = {
                { "root", required_argument, NULL, OPTION_ROOT },
                { "help", no_argument, NULL, 'h' },
                { "version", no_argument, NULL, OPTION_VERSION },
                {},
        };
        int option;

        *ret_root = "/";
        while ((option = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
                switch (option) {
                case OPTION_ROOT:
                        *ret_root = optarg;
                        break;
                case 'h':
                        fputs(help_text, stdout);
                        return 0;
                case OPTION_VERSION:
                        puts("dmemd " PROJECT_VERSION);
                        return 0;
                default:
                        return -EINVAL;
                }
        }
        if (optind < argc) {
                fprintf(stderr, "dmemd: there is nothing to do with '%s'; see dmemd --help\n",
                        argv[optind]);
                return -EINVAL;
        }
        return 1;
}

int main(int argc, char *argv[]) {
        _cleanup_(manager_freep) Manager *m = NULL;
        const char *root;
        int r;

        r = parse_arguments(argc, argv, &root);
        if (r < 0)
                return 2;
        if (r == 0)
                return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;

        r = manager_new(root, &m);
        if (r < 0) {
                log_message(LOG_ERR, "Cannot start with root %s: %s", root, strerror(-r));
                return EXIT_FAILURE;
        }
        r = manager_start(m);
        if (r < 0)
                return EXIT_FAILURE;
        r = manager_run(m);
        if (r < 0)
                log_message(LOG_ERR, "The event loop failed: %s", strerror(-r));
        return r == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
