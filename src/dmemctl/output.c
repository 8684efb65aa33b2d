/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "dmemctl/output.h"
#include "dmemctl/verbs.h"
#include "host/plan-json.h"

/* Holds any output we make, so that errno of the last flush tells why a write failed. */
static char stdout_buffer[1 << 18];

static pid_t pager_pid;

void message(const char *format, ...) {
        va_list ap;

        (void)fflush(stdout);
        fputs("dmemctl: ", stderr);
        va_start(ap, format);
        (void)vfprintf(stderr, format, ap);
        va_end(ap);
        fputc('\n', stderr);
}

int output_start(void) {
        /*
         * A closed stdout would make the next file we open the place that we print to. What takes
         * its place cannot be written to, so that what is lost is noticed.
         */
        for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
                if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) < 0)
                        return EXIT_FAILURE;
        (void)setvbuf(stdout, stdout_buffer, _IOFBF, sizeof(stdout_buffer));
        return -1;
}

int output_finish(int status) {
        int error = 0;

        errno = 0;
        if (fflush(stdout) != 0 || ferror(stdout))
                error = errno != 0 ? errno : EIO;
        if (close(STDOUT_FILENO) < 0 && error == 0)
                error = errno;
        if (pager_pid > 0) {
                pid_t r;

                do
                        r = waitpid(pager_pid, NULL, 0);
                while (r < 0 && errno == EINTR);
                /* Who leaves the pager early has seen enough. */
                if (error == EPIPE)
                        error = 0;
        }
        if (error == 0)
                return status;
        fprintf(stderr, "dmemctl: cannot write to standard output: %s\n", strerror(error));
        return EXIT_FAILURE;
}

/* Runs a pager given as in $PAGER: words separated by blanks. Returns only if that fails. */
static void exec_pager(const char *command) {
        char copy[1024], *words[16], *rest = copy;
        size_t n = 0;

        if (strlen(command) >= sizeof(copy))
                return;
        strcpy(copy, command);
        for (char *word; (word = strsep(&rest, " \t")) && n + 1 < ELEMENTSOF(words);)
                if (word[0] != '\0')
                        words[n++] = word;
        words[n] = NULL;
        if (n > 0)
                (void)execvp(words[0], words);
}

/* No pager could be started: pass everything on. */
static void cat_stdin(void) {
        char buffer[4096];
        ssize_t n;

        while ((n = read(STDIN_FILENO, buffer, sizeof(buffer))) > 0)
                for (ssize_t written = 0, w; written < n; written += w) {
                        w = write(STDOUT_FILENO, buffer + written, (size_t)(n - written));
                        if (w < 0)
                                _exit(EXIT_FAILURE);
                }
        _exit(EXIT_SUCCESS);
}

/* Under sudo a pager that starts a shell or writes files would do so as root. */
static bool is_borrowed_root(void) {
        return geteuid() == 0 && (getenv("SUDO_UID") || getenv("PKEXEC_UID"));
}

static const char *choose_pager(void) {
        const char *pager = getenv("SYSTEMD_PAGER");

        return pager ? pager : getenv("PAGER");
}

_Noreturn static void run_pager(const Dmemctl *d, const char *pager, pid_t parent) {
        const char *less = getenv("SYSTEMD_LESS");

        (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
        if (getppid() != parent)
                _exit(EXIT_SUCCESS);
        /* F: not for what fits on the screen, R: colours, K: leave on ^C */
        (void)setenv("LESS", less ? less : "FRSXMK", 1);
        if (d->utf8)
                (void)setenv("LESSCHARSET", "utf-8", 1);
        if (is_borrowed_root()) {
                (void)setenv("LESSSECURE", "1", 1);
                exec_pager("less");
        } else {
                if (pager)
                        exec_pager(pager);
                exec_pager("less");
                exec_pager("more");
        }
        cat_stdin();
        _exit(EXIT_FAILURE);
}

void pager_open(const Dmemctl *d) {
        const char *pager = choose_pager(), *term = getenv("TERM");
        pid_t parent = getpid();
        int fds[2];

        if (!d->pager || !d->terminal || pager_pid > 0 || !term || streq(term, "dumb") ||
            (pager && (pager[0] == '\0' || streq(pager, "cat"))))
                return;
        if (pipe2(fds, O_CLOEXEC) < 0)
                return;
        (void)fflush(stdout);
        pager_pid = fork();
        if (pager_pid == 0) {
                if (dup2(fds[0], STDIN_FILENO) < 0)
                        _exit(EXIT_FAILURE);
                /* Without an exec, too, the end of the output must be seen. */
                (void)close(fds[0]);
                (void)close(fds[1]);
                run_pager(d, pager, parent);
        }
        /* From now on whoever leaves the pager must not kill us: the exit status still counts. */
        if (pager_pid > 0 && signal(SIGPIPE, SIG_IGN) != SIG_ERR)
                (void)dup2(fds[1], STDOUT_FILENO);
        (void)close(fds[0]);
        (void)close(fds[1]);
}

static const char *escape(const Dmemctl *d, const char *sequence) {
        return d->colour ? sequence : "";
}

const char *colour_error(const Dmemctl *d) {
        return escape(d, "\x1b[1;31m");
}

const char *colour_warning(const Dmemctl *d) {
        return escape(d, "\x1b[1;33m");
}

const char *colour_good(const Dmemctl *d) {
        return escape(d, "\x1b[32m");
}

const char *colour_bold(const Dmemctl *d) {
        return escape(d, "\x1b[1m");
}

const char *colour_dim(const Dmemctl *d) {
        return escape(d, "\x1b[2m");
}

const char *colour_off(const Dmemctl *d) {
        return escape(d, "\x1b[0m");
}

int print_json(const Dmemctl *d, json_object *object) {
        _cleanup_free_ char *text = NULL;
        int flags = d->json == JSON_MODE_PRETTY ? JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED
                                                : JSON_C_TO_STRING_PLAIN;
        int r;

        r = json_to_text(object, flags, &text);
        if (r < 0)
                return r;
        printf("%s\n", text);
        return 0;
}

/* Prints words, @column characters after the start of the line, and breaks lines at @width. */
static void print_wrapped(const char *text, unsigned column, unsigned width) {
        unsigned at = column;

        while (*text) {
                size_t length = strcspn(text, " ");

                if (at > column && at + 1 + length > width) {
                        printf("\n%*s", (int)column, "");
                        at = column;
                } else if (at > column) {
                        putchar(' ');
                        at++;
                }
                printf("%.*s", (int)length, text);
                at += (unsigned)length;
                text += length;
                text += strspn(text, " ");
        }
        putchar('\n');
}

void print_findings(const Dmemctl *d, const Findings *findings) {
        /* Width of the severity and of the blanks around it */
        enum {
                COLUMN = 11
        };

        for (size_t i = 0; i < findings->n_items; i++) {
                const Finding *f = &findings->items[i];
                const char *colour = f->severity == SEVERITY_ERROR     ? colour_error(d)
                                     : f->severity == SEVERITY_WARNING ? colour_warning(d)
                                                                       : colour_dim(d);

                printf("  %s%-8s%s ", colour, severity_to_string(f->severity), colour_off(d));
                if (d->terminal && d->columns > 2 * COLUMN)
                        print_wrapped(f->message, COLUMN, d->columns);
                else
                        printf("%s\n", f->message);
        }
}

void message_config_errors(const ConfigErrors *errors) {
        for (size_t i = 0; i < errors->n_items; i++) {
                const ConfigError *e = &errors->items[i];

                if (e->line > 0)
                        message("%s:%u: %s", e->path, e->line, e->message);
                else
                        message("%s: %s", e->path, e->message);
        }
}

int load_host_status(Dmemctl *d, Status **ret) {
        _cleanup_(config_errors_done) ConfigErrors errors = {};
        _cleanup_(policy_freep) Policy *policy = NULL;
        int r;

        r = config_load(d->root_fd, NULL, &errors, &policy);
        if (r == -ENOMEM)
                return r;
        message_config_errors(&errors);
        return status_load(d->root_fd, policy, ret);
}

int load_host_plan(Dmemctl *d, HostPlan **ret) {
        ConfigErrors errors = {};
        int r;

        r = host_plan_load(d->root_fd, d->config_file,
                           d->allow_below_floor ? PLAN_ALLOW_BELOW_FLOOR : 0, &errors, ret);
        message_config_errors(&errors);
        if (r < 0 && errors.n_items > 0)
                r = EXIT_CONFIGURATION;
        else if (r < 0) {
                message("cannot read the host below %s: %s", d->root, strerror(-r));
                r = EXIT_FAILURE;
        }
        config_errors_done(&errors);
        return r;
}
