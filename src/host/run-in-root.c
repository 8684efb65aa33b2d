/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "basic/macro.h"
#include "basic/root-fs.h"
#include "host/run-in-root.h"

#define SYSTEM_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* Is @root_fd the directory that this process has as its root anyway? */
static int is_live_root(int root_fd) {
        struct stat root, live;

        if (fstat(root_fd, &root) < 0 || stat("/", &live) < 0)
                return -errno;
        return root.st_dev == live.st_dev && root.st_ino == live.st_ino;
}

static bool is_mount_point(const char *path) {
        struct statx st;

        if (statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_TYPE, &st) < 0)
                return true; /* nothing there to bind anything to */
        return (st.stx_attributes & STATX_ATTR_MOUNT_ROOT) || !S_ISDIR(st.stx_mode);
}

/*
 * In the child. The working directory moves with the namespace, a file descriptor would not: hence
 * fchdir() first.
 */
static int enter_root(int root_fd) {
        static const char *const folders[] = { "proc", "sys", "dev" };

        if (fchdir(root_fd) < 0)
                return -errno;
        if (unshare(CLONE_NEWNS) < 0)
                return -errno;
        if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
                return -errno;
        for (size_t i = 0; i < ELEMENTSOF(folders); i++) {
                char live[16];

                if (is_mount_point(folders[i]))
                        continue;
                (void)snprintf(live, sizeof(live), "/%s", folders[i]);
                if (mount(live, folders[i], NULL, MS_BIND | MS_REC, NULL) < 0)
                        return -errno;
        }
        if (chroot(".") < 0 || chdir("/") < 0)
                return -errno;
        return 0;
}

/* Runs in the child and never returns. What goes wrong here is sent as an errno to @error_fd. */
static void child(int root_fd, char *const *arguments, int output_fd, int error_fd, pid_t parent) {
        _cleanup_close_ int null_fd = -EBADF;
        sigset_t none;
        int r;

        (void)setpgid(0, 0);
        r = prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 ? -errno : 0;
        if (r >= 0 && getppid() != parent)
                _exit(EXIT_FAILURE); /* it died before we asked to be told */

        null_fd = r < 0 ? -EBADF : open("/dev/null", O_RDWR | O_CLOEXEC);
        if (r >= 0 && (null_fd < 0 || dup2(null_fd, STDIN_FILENO) < 0 ||
                       dup2(output_fd, STDOUT_FILENO) < 0 || dup2(output_fd, STDERR_FILENO) < 0))
                r = -errno;
        if (r >= 0)
                r = is_live_root(root_fd);
        if (r == 0)
                r = enter_root(root_fd);
        else if (r > 0)
                r = chdir("/") < 0 ? -errno : 0;
        if (r >= 0) {
                (void)sigemptyset(&none);
                (void)sigprocmask(SIG_SETMASK, &none, NULL);
                (void)signal(SIGPIPE, SIG_DFL);
                (void)setenv("PATH", SYSTEM_PATH, 1);
                (void)execv(arguments[0], arguments);
                r = -errno;
        }
        (void)!write(error_fd, &r, sizeof(r));
        _exit(EXIT_FAILURE);
}

static unsigned long long now_usec(void) {
        struct timespec ts;

        (void)clock_gettime(CLOCK_MONOTONIC, &ts);
        return (unsigned long long)ts.tv_sec * 1000000 + (unsigned long long)ts.tv_nsec / 1000;
}

typedef struct Output {
        char *data;
        size_t size;
} Output;

/* Keeps the last RUN_OUTPUT_MAX bytes. Returns 0 at the end, 1 if there may be more. */
static int output_read(Output *output, int fd) {
        char part[4096];
        ssize_t n;

        n = read(fd, part, sizeof(part));
        if (n < 0)
                return errno == EINTR || errno == EAGAIN ? 1 : -errno;
        if (n == 0)
                return 0;
        if (output->size + (size_t)n > RUN_OUTPUT_MAX) {
                size_t drop = output->size + (size_t)n - RUN_OUTPUT_MAX;

                memmove(output->data, output->data + drop, output->size - drop);
                output->size -= drop;
        }
        memcpy(output->data + output->size, part, (size_t)n);
        output->size += (size_t)n;
        return 1;
}

/* Reads until the program and all that hold its output are gone, or it takes too long. */
static int watch(pid_t pid, int output_fd, int signal_fd, unsigned long long timeout_usec,
                 Output *output) {
        unsigned long long end = now_usec() + timeout_usec;

        for (;;) {
                struct pollfd fds[] = {
                        { .fd = output_fd, .events = POLLIN },
                        { .fd = signal_fd, .events = POLLIN },
                };
                unsigned long long now = now_usec();
                siginfo_t info = { 0 };
                int r;

                if (now >= end)
                        return -ETIMEDOUT;
                /* A program may leave somebody behind who keeps our pipe open: look for its end. */
                if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0)
                        return -errno;
                r = poll(fds, ELEMENTSOF(fds), info.si_pid == pid ? 0 : 200);
                if (r < 0 && errno != EINTR)
                        return -errno;
                if (r > 0 && (fds[1].revents & POLLIN)) {
                        struct signalfd_siginfo taken;

                        /* Taken note of: it must not end us later, when all is in order again */
                        (void)!read(signal_fd, &taken, sizeof(taken));
                        return -EINTR;
                }
                if (r > 0 && fds[0].revents != 0) {
                        r = output_read(output, output_fd);
                        if (r <= 0)
                                return r;
                } else if (info.si_pid == pid)
                        return 0;
        }
}

/* The signals that end us and that the caller has blocked. */
static int open_signals(void) {
        static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
        sigset_t blocked, wanted;
        int fd;

        if (sigprocmask(SIG_SETMASK, NULL, &blocked) < 0)
                return -errno;
        (void)sigemptyset(&wanted);
        for (size_t i = 0; i < ELEMENTSOF(signals); i++)
                if (sigismember(&blocked, signals[i]) == 1)
                        (void)sigaddset(&wanted, signals[i]);
        fd = signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK);
        return fd < 0 ? -errno : fd;
}

int run_in_root(int root_fd, char *const *arguments, unsigned long long timeout_usec,
                char **ret_output) {
        _cleanup_close_ int output_read_fd = -EBADF, output_write_fd = -EBADF;
        _cleanup_close_ int error_read_fd = -EBADF, error_write_fd = -EBADF, signal_fd = -EBADF;
        _cleanup_free_ char *data = NULL;
        Output output = { 0 };
        int fds[2], status, error = 0, r;
        pid_t pid, parent = getpid();

        data = new0(char, RUN_OUTPUT_MAX + 1);
        if (!data)
                return -ENOMEM;
        output.data = data;
        if (pipe2(fds, O_CLOEXEC) < 0)
                return -errno;
        output_read_fd = fds[0];
        output_write_fd = fds[1];
        if (pipe2(fds, O_CLOEXEC) < 0)
                return -errno;
        error_read_fd = fds[0];
        error_write_fd = fds[1];
        signal_fd = open_signals();
        if (signal_fd < 0)
                return signal_fd;

        /* Processes that the program leaves behind become our children, so that we can wait */
        if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
                return -errno;
        pid = fork();
        if (pid < 0)
                return -errno;
        if (pid == 0)
                child(root_fd, arguments, output_write_fd, error_write_fd, parent);
        (void)setpgid(pid, pid); /* both sides do it, whoever comes first */
        (void)close(TAKE_FD(output_write_fd));
        (void)close(TAKE_FD(error_write_fd));

        r = watch(pid, output_read_fd, signal_fd, timeout_usec, &output);
        if (r < 0)
                (void)kill(-pid, SIGKILL);
        while (waitpid(pid, &status, 0) < 0)
                if (errno != EINTR)
                        return -errno;
        /* None of those that it started may write any more when the caller puts things right */
        if (r < 0 || !WIFEXITED(status)) {
                (void)kill(-pid, SIGKILL);
                while (waitpid(-pid, NULL, 0) > 0 || errno == EINTR)
                        ;
        }
        if (r >= 0 && read(error_read_fd, &error, sizeof(error)) == (ssize_t)sizeof(error))
                return error;

        data[output.size] = '\0';
        *ret_output = TAKE_PTR(data);
        if (r < 0)
                return r;
        return WIFEXITED(status) ? WEXITSTATUS(status) : -EPROTO;
}
