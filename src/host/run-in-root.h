/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Runs a program of the host below a root directory, as that host would
 *
 * With the live root it is simply executed. With any other root it runs in a chroot, in a mount
 * namespace of its own where proc/, sys/ and dev/ of the live host are bound into the root unless
 * something is mounted there, so that nothing has to be prepared and nothing is left behind.
 */

#include <stddef.h>

/* Beyond that many bytes the output is read and forgotten; the last part is what is kept. */
#define RUN_OUTPUT_MAX 65536U

/*
 * @arguments: absolute path of the program below the root, its arguments, NULL
 * @timeout_usec: after that time it is killed, with all that it started
 * @ret_output: what it wrote to stdout and stderr, to be freed; set whenever it ran
 *
 * It gets no input and a PATH with the folders of system programs in it. It is killed when we die.
 * Signals that the caller has blocked and that would end us (SIGINT, SIGTERM, SIGHUP) end it.
 *
 * Returns its exit status from 0 to 255; -ENOENT or -EACCES if it cannot be executed; -EPERM if
 * the root cannot be entered; -EPROTO if a signal killed it; -ETIMEDOUT; -EINTR; or another errno.
 */
int run_in_root(int root_fd, char *const *arguments, unsigned long long timeout_usec,
                char **ret_output);
