/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lab-agent - runs commands in a lab machine on behalf of the harness
 *
 * Talks over one virtio-serial port, so that it needs no network and is there before anything
 * of the system that is under test. Linked statically: it must run in every root file system.
 *
 * Frames, both ways: length of the payload, type, job (three native 32 bit words), payload.
 *
 *     to the agent    RUN     flags, rows, columns, number of arguments, then strings that end in
 *                             NUL: arguments, environment
 *                     STDIN   bytes for the job; an empty frame is end of file
 *                     SIGNAL  one word, sent to the process group of the job
 *                     RESIZE  rows, columns
 *     to the host     HELLO   boot id; sent once per start of the agent
 *                     STDOUT  bytes
 *                     STDERR  bytes
 *                     EXIT    wait status; the last frame of a job
 *
 * Each job is a process group with pipes, or a session with a terminal of its own (RUN_PTY). A job
 * ends when its process has ended and its pipes have been drained of what was there by then:
 * a daemon left behind that still holds a pipe does not keep the job open.
 */

#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define PORT_NAME "org.dmemd.lab"
#define JOBS_MAX 64
#define FRAME_MAX (1U << 20)
#define CHUNK 65536

enum {
        RUN = 1,
        STDIN,
        SIGNAL,
        RESIZE,
        HELLO = 16,
        STDOUT,
        STDERR,
        EXIT
};
enum {
        RUN_PTY = 1 << 0
};

struct frame {
        uint32_t size, type, job;
};

struct job {
        uint32_t id; /* 0: slot is free */
        pid_t pid;
        int in, out, err; /* -1: closed. With a terminal in == out, and err is -1 */
        char *pending;    /* input that the job has not taken yet */
        size_t n_pending;
        int eof;    /* close in once pending is empty */
        int ended;  /* status is known */
        int status; /* as from waitpid() */
};

static struct job jobs[JOBS_MAX];
static int port = -1;
static int port_is_socket;

static void die(const char *what) {
        fprintf(stderr, "lab-agent: %s: %s\n", what, strerror(errno));
        exit(1);
}

static void write_all(int fd, const void *data, size_t size) {
        for (const char *p = data; size > 0;) {
                ssize_t n = write(fd, p, size);

                if (n < 0 && (errno == EINTR || errno == EAGAIN)) {
                        (void)poll(&(struct pollfd){ .fd = fd, .events = POLLOUT }, 1, 1000);
                        continue;
                }
                if (n < 0)
                        die("write to the port");
                p += n;
                size -= n;
        }
}

static void read_all(int fd, void *data, size_t size) {
        for (char *p = data; size > 0;) {
                ssize_t n = read(fd, p, size);

                if (n == 0) { /* the host side is closed; it may come back, a socket does not */
                        if (port_is_socket)
                                exit(0);
                        usleep(50000);
                        continue;
                }
                if (n < 0 && (errno == EINTR || errno == EAGAIN)) {
                        (void)poll(&(struct pollfd){ .fd = fd, .events = POLLIN }, 1, 1000);
                        continue;
                }
                if (n < 0)
                        die("read from the port");
                p += n;
                size -= n;
        }
}

static void send_frame(uint32_t type, uint32_t job, const void *data, size_t size) {
        struct frame f = { .size = size, .type = type, .job = job };

        write_all(port, &f, sizeof(f));
        write_all(port, data, size);
}

static void send_hello(void) {
        char id[64] = "";
        FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");

        if (f) {
                if (!fgets(id, sizeof(id), f))
                        id[0] = '\0';
                fclose(f);
        }
        id[strcspn(id, "\n")] = '\0';
        send_frame(HELLO, 0, id, strlen(id));
}

static struct job *find_job(uint32_t id) {
        for (size_t i = 0; i < JOBS_MAX; i++)
                if (jobs[i].id == id)
                        return &jobs[i];
        return NULL;
}

static void close_fd(int *fd) {
        if (*fd >= 0)
                close(*fd);
        *fd = -1;
}

static void close_input(struct job *j) {
        static const char eot = 4;

        if (j->in < 0)
                return;
        if (j->in == j->out) /* terminal: the line discipline turns this into end of file */
                (void)!write(j->in, &eot, 1);
        else
                close_fd(&j->in);
}

/* Tells the host how the job ended, without running anything. */
static void refuse_job(uint32_t id, const char *message) {
        int status = 127 << 8;

        send_frame(STDERR, id, message, strlen(message));
        send_frame(EXIT, id, &status, sizeof(status));
}

static void child_exec(char **argv, char **envp) {
        sigset_t none;

        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        signal(SIGPIPE, SIG_DFL);
        if (chdir("/root") < 0)
                (void)!chdir("/");
        environ = envp;
        execvpe(argv[0], argv, envp);
        fprintf(stderr, "lab-agent: cannot run %s: %s\n", argv[0], strerror(errno));
        _exit(127);
}

static int start_pty(struct job *j, const struct winsize *size, char **argv, char **envp) {
        int fd;

        j->pid = forkpty(&fd, NULL, NULL, size);
        if (j->pid < 0)
                return -errno;
        if (j->pid == 0)
                child_exec(argv, envp);
        fcntl(fd, F_SETFD, FD_CLOEXEC);
        fcntl(fd, F_SETFL, O_NONBLOCK);
        j->in = j->out = fd;
        return 0;
}

static void close_pipe(int fds[2]) {
        close_fd(&fds[0]);
        close_fd(&fds[1]);
}

static int start_pipes(struct job *j, char **argv, char **envp) {
        int in[2] = { -1, -1 }, out[2] = { -1, -1 }, err[2] = { -1, -1 }, r;

        if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0 ||
            (j->pid = fork()) < 0) {
                r = -errno;
                close_pipe(in);
                close_pipe(out);
                close_pipe(err);
                return r;
        }
        if (j->pid == 0) {
                setpgid(0, 0);
                dup2(in[0], STDIN_FILENO);
                dup2(out[1], STDOUT_FILENO);
                dup2(err[1], STDERR_FILENO);
                child_exec(argv, envp);
        }
        setpgid(j->pid, j->pid);
        close(in[0]);
        close(out[1]);
        close(err[1]);
        j->in = in[1];
        j->out = out[0];
        j->err = err[0];
        fcntl(j->in, F_SETFL, O_NONBLOCK);
        fcntl(j->out, F_SETFL, O_NONBLOCK);
        fcntl(j->err, F_SETFL, O_NONBLOCK);
        return 0;
}

/* payload: flags, rows, columns, argc as words; then the strings */
static void run_job(uint32_t id, char *payload, size_t size) {
        enum {
                STRINGS_MAX = 4096
        };
        static char *strings[STRINGS_MAX + 2];
        char *argv[STRINGS_MAX + 1], **envp;
        uint32_t head[4];
        size_t n = 0;
        struct job *j;
        int r;

        if (size < sizeof(head) || payload[size - 1] != '\0')
                return refuse_job(id, "lab-agent: malformed request\n");
        memcpy(head, payload, sizeof(head));
        for (char *p = payload + sizeof(head); p < payload + size && n < STRINGS_MAX;
             p += strlen(p) + 1)
                strings[n++] = p;
        strings[n] = NULL;
        if (head[3] == 0 || head[3] > n)
                return refuse_job(id, "lab-agent: malformed request\n");
        memcpy(argv, strings, head[3] * sizeof(char *));
        argv[head[3]] = NULL;
        envp = strings + head[3];

        if (find_job(id))
                return refuse_job(id, "lab-agent: this job runs already\n");
        j = find_job(0);
        if (!j)
                return refuse_job(id, "lab-agent: too many jobs\n");
        *j = (struct job){ .id = id, .in = -1, .out = -1, .err = -1 };
        if (head[0] & RUN_PTY) {
                struct winsize ws = { .ws_row = head[1], .ws_col = head[2] };

                r = start_pty(j, &ws, argv, envp);
        } else
                r = start_pipes(j, argv, envp);
        if (r < 0) {
                char text[128];

                snprintf(text, sizeof(text), "lab-agent: cannot start: %s\n", strerror(-r));
                j->id = 0;
                refuse_job(id, text);
        }
}

static void flush_input(struct job *j) {
        while (j->in >= 0 && j->n_pending > 0) {
                ssize_t n = write(j->in, j->pending, j->n_pending);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0 && errno == EAGAIN)
                        return;
                if (n < 0) { /* the job does not read any more: throw the rest away */
                        n = j->n_pending;
                        if (j->in != j->out)
                                close_fd(&j->in);
                }
                j->n_pending -= n;
                memmove(j->pending, j->pending + n, j->n_pending);
        }
        if (j->n_pending == 0) {
                free(j->pending);
                j->pending = NULL;
                if (j->eof) {
                        close_input(j);
                        j->eof = 0;
                }
        }
}

static void add_input(struct job *j, const char *data, size_t size) {
        char *p;

        if (size == 0)
                j->eof = 1;
        else if (j->in >= 0) {
                p = realloc(j->pending, j->n_pending + size);
                if (!p)
                        die("memory for input");
                memcpy(p + j->n_pending, data, size);
                j->pending = p;
                j->n_pending += size;
        }
        flush_input(j);
}

static void handle_frame(const struct frame *f, char *payload) {
        struct job *j = f->job ? find_job(f->job) : NULL;
        uint32_t w[2];

        switch (f->type) {
        case RUN:
                run_job(f->job, payload, f->size);
                break;
        case STDIN:
                if (j)
                        add_input(j, payload, f->size);
                break;
        case SIGNAL:
                if (j && !j->ended && f->size == sizeof(uint32_t)) {
                        memcpy(w, payload, sizeof(uint32_t));
                        kill(-j->pid, w[0]);
                }
                break;
        case RESIZE:
                if (j && j->out >= 0 && f->size == 2 * sizeof(uint32_t)) {
                        struct winsize ws;

                        memcpy(w, payload, sizeof(w));
                        ws = (struct winsize){ .ws_row = w[0], .ws_col = w[1] };
                        ioctl(j->out, TIOCSWINSZ, &ws);
                }
                break;
        }
}

static void read_port(void) {
        static char payload[FRAME_MAX + 1];
        struct frame f;

        read_all(port, &f, sizeof(f));
        if (f.size > FRAME_MAX) {
                errno = EMSGSIZE;
                die("frame from the host");
        }
        read_all(port, payload, f.size);
        payload[f.size] = '\0';
        handle_frame(&f, payload);
}

/* Passes on what is there now; closes at end of file. Returns 1 if there may be more. */
static int pump(struct job *j, int *fd, uint32_t type) {
        static char buffer[CHUNK];
        ssize_t n;

        if (*fd < 0)
                return 0;
        n = read(*fd, buffer, sizeof(buffer));
        if (n > 0) {
                send_frame(type, j->id, buffer, n);
                return 1;
        }
        if (n < 0 && errno == EINTR)
                return 1;
        if (n < 0 && errno == EAGAIN)
                return 0;
        if (j->in == *fd) /* terminal; EIO means that nobody has it open any more */
                j->in = -1;
        close_fd(fd);
        return 0;
}

static void finish_job(struct job *j) {
        while (pump(j, &j->out, STDOUT))
                ;
        while (pump(j, &j->err, STDERR))
                ;
        if (j->in == j->out)
                j->in = -1;
        close_fd(&j->in);
        close_fd(&j->out);
        close_fd(&j->err);
        free(j->pending);
        send_frame(EXIT, j->id, &j->status, sizeof(j->status));
        *j = (struct job){ .id = 0, .in = -1, .out = -1, .err = -1 };
}

static void reap(int sfd) {
        struct signalfd_siginfo si;
        int status;
        pid_t pid;

        (void)!read(sfd, &si, sizeof(si));
        while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
                for (size_t i = 0; i < JOBS_MAX; i++)
                        if (jobs[i].id && jobs[i].pid == pid) {
                                jobs[i].status = status;
                                jobs[i].ended = 1;
                        }
}

static void loop(int sfd) {
        for (;;) {
                struct pollfd p[2 + 3 * JOBS_MAX] = {
                        { .fd = port, .events = POLLIN },
                        { .fd = sfd, .events = POLLIN },
                };

                for (size_t i = 0; i < JOBS_MAX; i++) {
                        struct job *j = &jobs[i];
                        struct pollfd *q = p + 2 + 3 * i;

                        q[0] = (struct pollfd){ .fd = j->id ? j->out : -1, .events = POLLIN };
                        q[1] = (struct pollfd){ .fd = j->id ? j->err : -1, .events = POLLIN };
                        q[2] = (struct pollfd){ .fd = j->id && j->n_pending ? j->in : -1,
                                                .events = POLLOUT };
                }
                if (poll(p, sizeof(p) / sizeof(p[0]), -1) < 0) {
                        if (errno == EINTR)
                                continue;
                        die("poll");
                }
                if (p[1].revents)
                        reap(sfd);
                for (size_t i = 0; i < JOBS_MAX; i++) {
                        struct job *j = &jobs[i];

                        if (!j->id)
                                continue;
                        if (p[2 + 3 * i].revents)
                                pump(j, &j->out, STDOUT);
                        if (p[2 + 3 * i + 1].revents)
                                pump(j, &j->err, STDERR);
                        if (p[2 + 3 * i + 2].revents)
                                flush_input(j);
                        if (j->ended)
                                finish_job(j);
                }
                if (p[0].revents & POLLIN || (port_is_socket && p[0].revents))
                        read_port();
                else if (p[0].revents & POLLHUP)
                        usleep(50000);
        }
}

/* The device node of our port. Not by udev's link: udev may be slow, or broken by a test. */
static int open_port(void) {
        char path[300], name[sizeof(PORT_NAME) + 1];
        struct dirent *entry;
        int fd = -1;
        DIR *d;

        d = opendir("/sys/class/virtio-ports");
        if (!d)
                return -1;
        while (fd < 0 && (entry = readdir(d))) {
                FILE *f;

                if (entry->d_name[0] == '.')
                        continue;
                snprintf(path, sizeof(path), "/sys/class/virtio-ports/%s/name", entry->d_name);
                f = fopen(path, "re");
                if (!f)
                        continue;
                if (!fgets(name, sizeof(name), f))
                        name[0] = '\0';
                fclose(f);
                if (strncmp(name, PORT_NAME, strlen(PORT_NAME)) != 0)
                        continue;
                snprintf(path, sizeof(path), "/dev/%s", entry->d_name);
                fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
        }
        closedir(d);
        return fd;
}

/* With an argument, that is the number of an open socket: for tests of the agent itself. */
int main(int argc, char **argv) {
        sigset_t mask;
        int sfd;

        for (int i = 0; i < JOBS_MAX; i++)
                jobs[i] = (struct job){ .in = -1, .out = -1, .err = -1 };
        signal(SIGPIPE, SIG_IGN);
        sigemptyset(&mask);
        sigaddset(&mask, SIGCHLD);
        sigprocmask(SIG_BLOCK, &mask, NULL);
        sfd = signalfd(-1, &mask, SFD_CLOEXEC);
        if (sfd < 0)
                die("signalfd");
        if (argc > 1) {
                port = atoi(argv[1]);
                port_is_socket = 1;
        }
        while (port < 0 && (port = open_port()) < 0)
                usleep(100000);
        send_hello();
        loop(sfd);
}
