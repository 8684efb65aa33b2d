/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What dmemctl.c and the verbs share: the options, the exit status, the way out
 *
 * A verb lives in verb-NAME.c, is listed in the table of dmemctl.c with the options it knows, and
 * returns an exit status or a negative errno, which dmemctl.c words and turns into 1. Data goes to
 * stdout, messages go to stderr through message(). A verb need not check its writes to stdout:
 * dmemctl.c does once, at the end, and a failure there is exit status 1.
 */

#include <json.h>
#include <stdbool.h>

#include "basic/macro.h"
#include "host/config.h"
#include "host/host-plan.h"
#include "host/status.h"

/* Exit status, interface to scripts; see dmemctl(1). EXIT_SUCCESS and EXIT_FAILURE are 0 and 1. */
#define EXIT_USAGE 2
#define EXIT_DIFFERS 2 /* with --detailed-exitcode */
#define EXIT_NOT_IN_FORCE 3
#define EXIT_NO_SUCH_NODE 4
#define EXIT_UNCHANGED 77 /* with --unchanged-exit-77 */
#define EXIT_CONFIGURATION 78

typedef enum JsonMode {
        JSON_MODE_OFF,
        JSON_MODE_SHORT,
        JSON_MODE_PRETTY,
} JsonMode;

typedef struct Dmemctl {
        /* Options of dmemctl */
        int root_fd;
        const char *root; /* as given; `/` by default */
        JsonMode json;
        bool pager;
        bool legend;

        /* Options of verbs; false and NULL unless given */
        const char *config_file;
        bool diff;
        bool detailed_exitcode;
        bool allow_below_floor;
        bool dry_run;
        bool unchanged_exit_77;
        bool all;
        bool without_tool;

        /* What stdout is, found out at the start, before a pager is between us and it */
        bool terminal;
        bool colour;      /* terminal, and neither NO_COLOR nor TERM=dumb */
        bool utf8;        /* the locale's character set */
        unsigned columns; /* width of the terminal; 80 without one */
} Dmemctl;

/* One per line; the table in dmemctl.c names the same. */
int verb_apply(Dmemctl *d, int argc, char *argv[]);
int verb_capture(Dmemctl *d, int argc, char *argv[]);
int verb_cat_config(Dmemctl *d, int argc, char *argv[]);
int verb_check_config(Dmemctl *d, int argc, char *argv[]);
int verb_forget(Dmemctl *d, int argc, char *argv[]);
int verb_history(Dmemctl *d, int argc, char *argv[]);
int verb_metrics(Dmemctl *d, int argc, char *argv[]);
int verb_monitor(Dmemctl *d, int argc, char *argv[]);
int verb_plan(Dmemctl *d, int argc, char *argv[]);
int verb_poisoned(Dmemctl *d, int argc, char *argv[]);
int verb_retire(Dmemctl *d, int argc, char *argv[]);
int verb_revert(Dmemctl *d, int argc, char *argv[]);
int verb_status(Dmemctl *d, int argc, char *argv[]);
int verb_verify(Dmemctl *d, int argc, char *argv[]);

/* `dmemctl: …` on stderr, with a newline. */
void message(const char *format, ...) _printf_(1, 2);

/* Why the command line is wrong, with a hint. Returns EXIT_USAGE. */
int usage_error(const char *format, ...) _printf_(1, 2);

/* Says all errors of a configuration on stderr. */
void message_config_errors(const ConfigErrors *errors);

/*
 * host_plan_load() with the options of @d; errors are said on stderr.
 * Returns 0, or the exit status to leave with; @ret is set only with 0.
 */
int load_host_plan(Dmemctl *d, HostPlan **ret);

/*
 * status_load() with the configuration of the host; its errors are said on stderr, and what runs is
 * shown without knowing what is wanted. Returns as status_load().
 */
int load_host_status(Dmemctl *d, Status **ret);

/* The findings as lines of text: severity in colour, node, message. For stdout. */
void print_findings(const Dmemctl *d, const Findings *findings);

/* Prints a document in the format of --json. Takes the object. Returns 0 or -ENOMEM for NULL. */
int print_json(const Dmemctl *d, json_object *object);

/* From here on stdout is a pager, if it is a terminal and nobody said --no-pager. */
void pager_open(const Dmemctl *d);

/* Escape sequences, empty strings without colour. */
const char *colour_error(const Dmemctl *d);
const char *colour_warning(const Dmemctl *d);
const char *colour_good(const Dmemctl *d);
const char *colour_bold(const Dmemctl *d);
const char *colour_dim(const Dmemctl *d);
const char *colour_off(const Dmemctl *d);
