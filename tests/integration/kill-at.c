/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Runs a command and kills it as it is about to make its Nth system call that changes something
 *
 * usage: kill-at N COMMAND [ARGUMENT...]
 *
 * Opening a file for writing, writing, syncing, renaming, removing, making folders, changing mode
 * or owner, locking and starting a process count. Children are not traced. Exits with 137 after
 * killing it, else with the command's exit status: then it makes fewer such calls.
 */

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define KILLED (128 + SIGKILL)

static int changes_something(const struct __ptrace_syscall_info *info) {
        switch (info->entry.nr) {
        case SYS_openat:
                return (info->entry.args[2] & (O_WRONLY | O_RDWR | O_CREAT)) != 0;
        case SYS_write:
        case SYS_ftruncate:
        case SYS_fsync:
        case SYS_fdatasync:
#ifdef SYS_rename
        case SYS_rename:
#endif
#ifdef SYS_renameat
        case SYS_renameat:
#endif
        case SYS_renameat2:
#ifdef SYS_unlink
        case SYS_unlink:
#endif
        case SYS_unlinkat:
#ifdef SYS_mkdir
        case SYS_mkdir:
#endif
        case SYS_mkdirat:
        case SYS_fchmod:
        case SYS_fchown:
        case SYS_flock:
        case SYS_clone:
        case SYS_clone3:
#ifdef SYS_fork
        case SYS_fork:
#endif
#ifdef SYS_vfork
        case SYS_vfork:
#endif
        case SYS_wait4:
                return 1;
        default:
                return 0;
        }
}

int main(int argc, char *argv[]) {
        unsigned long wanted, seen = 0;
        int status, deliver = 0;
        pid_t pid;

        if (argc < 3) {
                fprintf(stderr, "usage: kill-at N COMMAND [ARGUMENT...]\n");
                return 2;
        }
        wanted = strtoul(argv[1], NULL, 10);
        pid = fork();
        if (pid == 0) {
                if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0)
                        (void)execv(argv[2], argv + 2);
                perror(argv[2]);
                _exit(2);
        }
        if (pid < 0 || waitpid(pid, &status, 0) < 0 || !WIFSTOPPED(status) ||
            ptrace(PTRACE_SETOPTIONS, pid, NULL,
                   (void *)(long)(PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL)) < 0) {
                fprintf(stderr, "kill-at: cannot trace %s\n", argv[2]);
                return 2;
        }
        for (;;) {
                struct __ptrace_syscall_info info;

                if (ptrace(PTRACE_SYSCALL, pid, NULL, (void *)(long)deliver) < 0 ||
                    waitpid(pid, &status, 0) < 0) {
                        perror("kill-at");
                        return 2;
                }
                if (WIFEXITED(status))
                        return WEXITSTATUS(status);
                if (WIFSIGNALED(status))
                        return 128 + WTERMSIG(status);
                deliver = WSTOPSIG(status) == (SIGTRAP | 0x80) ? 0 : WSTOPSIG(status);
                if (deliver != 0)
                        continue;
                if (ptrace(PTRACE_GET_SYSCALL_INFO, pid, (void *)sizeof(info), &info) <= 0 ||
                    info.op != PTRACE_SYSCALL_INFO_ENTRY || !changes_something(&info))
                        continue;
                if (++seen == wanted) {
                        (void)kill(pid, SIGKILL);
                        (void)waitpid(pid, &status, 0);
                        return KILLED;
                }
        }
}
