/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <fcntl.h>
#include <getopt.h>
#include <langinfo.h>
#include <locale.h>
#include <stdarg.h>
#include <sys/ioctl.h>

#include "basic/root-fs.h"
#include "basic/size-util.h"
#include "dmemctl/output.h"
#include "dmemctl/verbs.h"

/* Options that belong to verbs, as bits of Verb.options. */
enum {
        OPTION_CONFIG = 1 << 0,
        OPTION_DIFF = 1 << 1,
        OPTION_DETAILED_EXITCODE = 1 << 2,
        OPTION_ALLOW_BELOW_FLOOR = 1 << 3,
        OPTION_DRY_RUN = 1 << 4,
        OPTION_UNCHANGED_EXIT_77 = 1 << 5,
        OPTION_JSON = 1 << 6, /* the verb has a JSON form */
        OPTION_ALL = 1 << 7,
        OPTION_WITHOUT_TOOL = 1 << 8,
};

typedef struct Verb {
        const char *name;
        int (*run)(Dmemctl *d, int argc, char *argv[]);
        unsigned options;
        int min_arguments, max_arguments;
        const char *argument; /* what --help calls them; NULL: it takes none */
        const char *help;
} Verb;

/* One per line, in the order of --help; the options that no verb here has do not exist. */
static const Verb verbs[] = {
        { "status", verb_status, OPTION_JSON, 0, 0, NULL,
          "Show what is configured, booted and granted on each node" },
        { "plan", verb_plan,
          OPTION_CONFIG | OPTION_DIFF | OPTION_DETAILED_EXITCODE | OPTION_ALLOW_BELOW_FLOOR |
                  OPTION_JSON,
          0, 0, NULL, "Show how the memory of this host would be divided" },
        { "apply", verb_apply,
          OPTION_CONFIG | OPTION_DIFF | OPTION_ALLOW_BELOW_FLOOR | OPTION_DRY_RUN |
                  OPTION_UNCHANGED_EXIT_77 | OPTION_JSON,
          0, 0, NULL, "Write the plan to the boot loader, for the next boot" },
        { "verify", verb_verify, OPTION_CONFIG | OPTION_DETAILED_EXITCODE | OPTION_JSON, 0, 0, NULL,
          "Check that the plan is configured, booted and granted" },
        { "revert", verb_revert,
          OPTION_DIFF | OPTION_DRY_RUN | OPTION_UNCHANGED_EXIT_77 | OPTION_WITHOUT_TOOL |
                  OPTION_JSON,
          0, 0, NULL, "Put back the boot settings of before the last apply" },
        { "monitor", verb_monitor, OPTION_JSON, 0, 0, NULL,
          "Follow what dmemd tells, line by line" },
        { "poisoned", verb_poisoned, OPTION_JSON, 0, 0, NULL,
          "Show the memory that must not be used any more" },
        { "retire", verb_retire, 0, 1, 1, "ADDRESS",
          "Take 4 KiB out of use, now and for the boots to come" },
        { "forget", verb_forget, OPTION_ALL, 0, 1, "[ADDRESS]",
          "Drop 4 KiB, or --all, from the list of bad memory" },
        { "history", verb_history, OPTION_JSON, 0, 0, NULL,
          "Show what the journal has, of this boot and earlier ones" },
        { "metrics", verb_metrics, 0, 0, 0, NULL, "Print the figures in OpenMetrics text" },
        { "capture", verb_capture, OPTION_JSON, 1, 1, "DIR",
          "Copy what plan reads to DIR, for --root=DIR elsewhere" },
        { "check-config", verb_check_config, OPTION_CONFIG | OPTION_JSON, 0, 0, NULL,
          "Say all that is wrong in the configuration" },
        { "cat-config", verb_cat_config, 0, 0, 0, NULL, "Show the configuration files that count" },
};

/* What runs without a verb. */
#define DEFAULT_VERB "status"

/* Values of options without a letter. */
enum {
        ARG_VERSION = 0x100,
        ARG_ROOT,
        ARG_JSON,
        ARG_NO_PAGER,
        ARG_NO_LEGEND,
        ARG_CONFIG,
        ARG_DIFF,
        ARG_DETAILED_EXITCODE,
        ARG_ALLOW_BELOW_FLOOR,
        ARG_DRY_RUN,
        ARG_UNCHANGED_EXIT_77,
        ARG_ALL,
        ARG_WITHOUT_TOOL,
};

typedef struct Option {
        const char *name;
        int value;            /* what getopt_long() returns: ARG_… or the letter */
        unsigned verb_option; /* OPTION_…, 0: all verbs */
        const char *argument; /* NULL: takes none */
        const char *help;
} Option;

static const Option options[] = {
        { "help", 'h', 0, NULL, "Show this help" },
        { "version", ARG_VERSION, 0, NULL, "Show the version" },
        { "root", ARG_ROOT, 0, "DIR", "Work on the host or image below DIR" },
        { "json", ARG_JSON, 0, "FORMAT", "Print JSON: pretty, short or off" },
        { "no-pager", ARG_NO_PAGER, 0, NULL, "Do not start a pager" },
        { "no-legend", ARG_NO_LEGEND, 0, NULL, "Print neither headers nor hints" },
        { "config", ARG_CONFIG, OPTION_CONFIG, "FILE", "Read this configuration file alone" },
        { "diff", ARG_DIFF, OPTION_DIFF, NULL, "Show what would change, and nothing else" },
        { "detailed-exitcode", ARG_DETAILED_EXITCODE, OPTION_DETAILED_EXITCODE, NULL,
          "Exit with 2 if something differs" },
        { "allow-below-floor", ARG_ALLOW_BELOW_FLOOR, OPTION_ALLOW_BELOW_FLOOR, NULL,
          "Let less stay with the kernel than is safe" },
        { "dry-run", ARG_DRY_RUN, OPTION_DRY_RUN, NULL, "Write nothing, say what would be" },
        { "unchanged-exit-77", ARG_UNCHANGED_EXIT_77, OPTION_UNCHANGED_EXIT_77, NULL,
          "Exit with 77 if there was nothing to do" },
        { "without-tool", ARG_WITHOUT_TOOL, OPTION_WITHOUT_TOOL, NULL,
          "Change grub.cfg itself, where update-grub cannot run" },
        { "all", ARG_ALL, OPTION_ALL, NULL, "Forget all there is" },
};

static bool option_exists(const Option *o) {
        unsigned all = 0;

        for (size_t i = 0; i < ELEMENTSOF(verbs); i++)
                all |= verbs[i].options;
        return o->verb_option == 0 || (o->verb_option & all) != 0;
}

static const Verb *find_verb(const char *name) {
        for (size_t i = 0; i < ELEMENTSOF(verbs); i++)
                if (streq(verbs[i].name, name))
                        return &verbs[i];
        return NULL;
}

/* The verbs that know an option: `plan, apply`. */
static void print_verbs_with(unsigned option, FILE *f) {
        const char *separator = "";

        for (size_t i = 0; i < ELEMENTSOF(verbs); i++)
                if (option == 0 || (verbs[i].options & option)) {
                        fprintf(f, "%s%s", separator, verbs[i].name);
                        separator = ", ";
                }
}

static int help(const Dmemctl *d) {
        printf("%sdmemctl [OPTION...] [VERB]%s\n\n"
               "Plan the memory that this host sets aside for guests.\n",
               colour_bold(d), colour_off(d));
        printf("\n%sVerbs:%s\n", colour_bold(d), colour_off(d));
        for (size_t i = 0; i < ELEMENTSOF(verbs); i++) {
                const Verb *v = &verbs[i];
                char left[64];

                (void)snprintf(left, sizeof(left), "%s%s%s", v->name, v->argument ? " " : "",
                               v->argument ? v->argument : "");
                printf("  %-26s %s%s\n", left, v->help,
                       streq(v->name, DEFAULT_VERB) ? " (the default)" : "");
        }
        printf("\n%sOptions:%s\n", colour_bold(d), colour_off(d));
        for (size_t i = 0; i < ELEMENTSOF(options); i++) {
                const Option *o = &options[i];
                char left[64];

                if (!option_exists(o))
                        continue;
                (void)snprintf(left, sizeof(left), "%s--%s%s%s", o->value == 'h' ? "-h " : "   ",
                               o->name, o->argument ? "=" : "", o->argument ? o->argument : "");
                printf("  %-26s %s", left, o->help);
                if (o->verb_option) {
                        printf(" (");
                        print_verbs_with(o->verb_option, stdout);
                        printf(")");
                }
                printf("\n");
                if (o->value == ARG_JSON)
                        printf("  %-26s %s\n", "-j",
                               "The same as --json=pretty on a terminal, --json=short elsewhere");
        }
        printf("\nSee dmemctl(1) and dmemd.conf(5).\n");
        return EXIT_SUCCESS;
}

/* Why the command line is wrong; the hint is always the same. */
int usage_error(const char *format, ...) {
        va_list ap;

        fputs("dmemctl: ", stderr);
        va_start(ap, format);
        (void)vfprintf(stderr, format, ap);
        va_end(ap);
        fputs("; see `dmemctl --help`\n", stderr);
        return EXIT_USAGE;
}

static int unknown_verb(const char *name) {
        fprintf(stderr, "dmemctl: there is no verb %s, the verbs are ", name);
        print_verbs_with(0, stderr);
        fputs("; see `dmemctl --help`\n", stderr);
        return EXIT_USAGE;
}

/* What stdout is, before a pager may take its place. */
static void look_at_terminal(Dmemctl *d) {
        const char *no_colour = getenv("NO_COLOR"), *term = getenv("TERM");
        const char *columns = getenv("COLUMNS");
        struct winsize size = {};
        unsigned width = 0;

        d->terminal = isatty(STDOUT_FILENO);
        d->colour = d->terminal && !(no_colour && no_colour[0]) && term && !streq(term, "dumb");
        d->utf8 = streq(nl_langinfo(CODESET), "UTF-8");
        if (!columns || parse_unsigned(columns, &width) < 0)
                width = d->terminal && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) >= 0 ? size.ws_col
                                                                                    : 0;
        d->columns = width > 0 && width <= 4096 ? width : 80;
}

/* Sets *ret to -1, or to the exit status to leave with. */
static int parse_json_mode(Dmemctl *d, const char *text) {
        if (streq(text, "pretty"))
                d->json = JSON_MODE_PRETTY;
        else if (streq(text, "short"))
                d->json = JSON_MODE_SHORT;
        else if (streq(text, "off"))
                d->json = JSON_MODE_OFF;
        else
                return usage_error("--json=%s is not understood, it must be pretty, short or off",
                                   text);
        return -1;
}

/* A command line taken apart: the verb and its arguments, and the verb options that were used. */
typedef struct CommandLine {
        char **words; /* not options; borrowed from argv */
        int n_words;
        unsigned used;
        bool help, version;
} CommandLine;

/* Applies one option. Returns -1, or the exit status to leave with. */
static int apply_option(Dmemctl *d, CommandLine *c, int value) {
        switch (value) {
        case 'h':
                c->help = true;
                return -1;
        case ARG_VERSION:
                c->version = true;
                return -1;
        case 'j':
                d->json = d->terminal ? JSON_MODE_PRETTY : JSON_MODE_SHORT;
                return -1;
        case ARG_ROOT:
                if (optarg[0] == '\0')
                        return usage_error("--root= needs a directory");
                d->root = optarg;
                return -1;
        case ARG_JSON:
                return parse_json_mode(d, optarg);
        case ARG_NO_PAGER:
                d->pager = false;
                return -1;
        case ARG_NO_LEGEND:
                d->legend = false;
                return -1;
        case ARG_CONFIG:
                if (optarg[0] == '\0')
                        return usage_error("--config= needs a file");
                d->config_file = optarg;
                return -1;
        case ARG_DIFF:
                d->diff = true;
                return -1;
        case ARG_DETAILED_EXITCODE:
                d->detailed_exitcode = true;
                return -1;
        case ARG_ALLOW_BELOW_FLOOR:
                d->allow_below_floor = true;
                return -1;
        case ARG_DRY_RUN:
                d->dry_run = true;
                return -1;
        case ARG_UNCHANGED_EXIT_77:
                d->unchanged_exit_77 = true;
                return -1;
        case ARG_ALL:
                d->all = true;
                return -1;
        case ARG_WITHOUT_TOOL:
                d->without_tool = true;
                return -1;
        }
        assert(false);
        return EXIT_FAILURE;
}

static const Option *find_option(int value) {
        for (size_t i = 0; i < ELEMENTSOF(options); i++)
                if (options[i].value == value)
                        return &options[i];
        return NULL;
}

/*
 * getopt_long() takes `--ro=` for `--root=`. A script that uses this breaks when an option is
 * added, so it is refused from the start: the word must be there in full.
 */
static bool is_abbreviated(char *const argv[], const char *name) {
        const char *word = argv[optind - 1];
        const char *rest;

        if (optarg == word) /* the argument was a word of its own */
                word = argv[optind - 2];
        rest = startswith(word, "--");
        rest = rest ? startswith(rest, name) : NULL;
        return !rest || (*rest != '\0' && *rest != '=');
}

static int parse_command_line(Dmemctl *d, CommandLine *c, int argc, char *argv[]) {
        struct option long_options[ELEMENTSOF(options) + 1] = {};
        size_t n = 0;

        for (size_t i = 0; i < ELEMENTSOF(options); i++)
                if (option_exists(&options[i]))
                        long_options[n++] = (struct option){
                                .name = options[i].name,
                                .has_arg = options[i].argument ? required_argument : no_argument,
                                .val = options[i].value,
                        };
        c->words = new0(char *, (size_t)argc + 1);
        if (!c->words)
                return EXIT_FAILURE;

        /* `-`: options may follow words, whatever POSIXLY_CORRECT says; `:`: we do the talking */
        for (;;) {
                int index = -1, value, status;
                const Option *o;

                value = getopt_long(argc, argv, "-:hj", long_options, &index);
                if (value < 0)
                        break;
                if (value == 1) {
                        c->words[c->n_words++] = optarg;
                        continue;
                }
                if (value == ':')
                        return usage_error("%s needs an argument", argv[optind - 1]);
                if (value == '?') {
                        const char *word = argv[optind - 1];

                        if (optopt && !find_option(optopt))
                                return usage_error("there is no option -%c", optopt);
                        if (optopt)
                                return usage_error("--%s takes no argument",
                                                   find_option(optopt)->name);
                        return usage_error("there is no option %s", word);
                }
                if (index >= 0 && is_abbreviated(argv, long_options[index].name))
                        return usage_error("there is no option %s, perhaps you mean --%s",
                                           argv[optind - 1], long_options[index].name);
                status = apply_option(d, c, value);
                if (status >= 0)
                        return status;
                o = find_option(value);
                if (o)
                        c->used |= o->verb_option;
        }
        while (optind < argc)
                c->words[c->n_words++] = argv[optind++];
        return -1;
}

static const char *first_option_name(unsigned bits) {
        for (size_t i = 0; i < ELEMENTSOF(options); i++)
                if (options[i].verb_option & bits)
                        return options[i].name;
        return "?";
}

static int check_verb(const Dmemctl *d, const CommandLine *c, const Verb *verb) {
        int n_arguments = c->n_words > 0 ? c->n_words - 1 : 0;
        unsigned stray = c->used & ~verb->options;

        if (stray)
                return usage_error("--%s does not go with %s", first_option_name(stray),
                                   verb->name);
        if (d->json != JSON_MODE_OFF && !(verb->options & OPTION_JSON))
                return usage_error("%s has no JSON form", verb->name);
        if (n_arguments < verb->min_arguments || (n_arguments > 0 && c->words[1][0] == '\0'))
                return usage_error("%s needs %s", verb->name, verb->argument ?: "no argument");
        if (n_arguments > verb->max_arguments)
                return usage_error("%s takes %s, %s is too much", verb->name,
                                   verb->max_arguments == 0 ? "no argument" : "fewer arguments",
                                   c->words[1 + verb->max_arguments]);
        return -1;
}

static int run_verb(Dmemctl *d, CommandLine *c) {
        char *default_words[] = { (char *)DEFAULT_VERB, NULL };
        _cleanup_close_ int root_fd = -EBADF;
        const Verb *verb;
        int status;

        if (c->n_words == 0 && !find_verb(DEFAULT_VERB))
                return usage_error("no verb given");
        verb = find_verb(c->n_words > 0 ? c->words[0] : DEFAULT_VERB);
        if (!verb)
                return unknown_verb(c->words[0]);
        status = check_verb(d, c, verb);
        if (status >= 0)
                return status;

        root_fd = root_open(d->root);
        if (root_fd < 0) {
                message("cannot open the root directory %s: %s", d->root, strerror(-root_fd));
                return EXIT_FAILURE;
        }
        d->root_fd = root_fd;
        status = c->n_words > 0 ? verb->run(d, c->n_words, c->words)
                                : verb->run(d, 1, default_words);
        if (status < 0) {
                message("%s failed: %s", verb->name, strerror(-status));
                return EXIT_FAILURE;
        }
        return status;
}

int main(int argc, char *argv[]) {
        Dmemctl d = {
                .root_fd = -EBADF,
                .root = "/",
                .pager = true,
                .legend = true,
        };
        CommandLine c = {};
        int status;

        /* Only what characters are: numbers and messages stay as scripts expect them. */
        (void)setlocale(LC_CTYPE, "");
        look_at_terminal(&d);
        status = output_start();
        if (status < 0)
                status = parse_command_line(&d, &c, argc, argv);
        if (status < 0) {
                if (c.help)
                        status = help(&d);
                else if (c.version)
                        status = printf("dmemctl %s\n", PROJECT_VERSION) < 0 ? EXIT_FAILURE
                                                                             : EXIT_SUCCESS;
                else
                        status = run_verb(&d, &c);
        }
        free(c.words);
        return output_finish(status);
}
