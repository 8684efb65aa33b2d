#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What only looks makes no system call that could change anything.

usage: test-no-writes.py DMEMCTL
"""

import os
import re
import shutil
import sys

sys.dont_write_bytecode = True  # nothing of ours appears among the sources
import boot_scenario
import grub_tree
from boot_scenario import FIRST, SECOND
from grub_tree import difference

COMMANDS = [
    ["apply", "--dry-run"],
    ["apply", "--diff"],
    ["--json=short", "apply", "--dry-run"],
    ["revert", "--dry-run"],
    ["revert", "--diff"],
    ["--json=short", "revert", "--dry-run"],
    ["plan"],
    ["plan", "--diff"],
    ["verify"],
]

# Whatever the arguments
CHANGES = ["truncate", "ftruncate", "fallocate", "rename", "renameat", "renameat2", "link",
           "linkat", "symlink", "symlinkat", "unlink", "unlinkat", "mkdir", "mkdirat", "rmdir",
           "mknod", "mknodat", "chmod", "fchmod", "fchmodat", "chown", "fchown", "lchown",
           "fchownat", "utime", "utimes", "utimensat", "futimesat", "setxattr", "lsetxattr",
           "fsetxattr", "removexattr", "lremovexattr", "fremovexattr", "copy_file_range",
           "sendfile", "splice", "pwrite64", "pwritev", "pwritev2", "fsync", "fdatasync", "sync",
           "syncfs", "sync_file_range", "mount", "umount2", "fork", "vfork", "clone3", "execve",
           "sethostname", "reboot", "init_module", "finit_module"]
# These depend
OTHERS = ["open", "openat", "openat2", "creat", "write", "writev", "clone"]


def is_harmless(call):
    name = call.split("(")[0]
    if name in ("write", "writev"):
        return re.match(r"writev?\([12],", call)
    if name in ("open", "openat", "openat2"):
        return not re.search(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|O_TMPFILE|O_APPEND", call)
    return False


def check(tree, command):
    record = tree.root / "tmp/record"
    before = tree.state(with_times=True)
    result = tree.run(*command, prefix=["strace", "-f", "-qq", "-e", "signal=none", "-o",
                                        str(record), "-e", "trace=" + ",".join(CHANGES + OTHERS)])
    assert result.returncode in (0, 3), f"{command}: {result}"
    calls = [line.split(None, 1)[1] for line in record.read_text().splitlines()]
    assert len(calls) > 20, f"{command}: is it traced?"
    harmful = [call for call in calls[1:] if not is_harmless(call)]  # the first one starts it
    assert not harmful, f"{tree.name}: {command} makes these calls:\n" + "\n".join(harmful)
    assert difference(before, tree.state(with_times=True)) == [], command


def main(parent):
    if not shutil.which("strace"):
        grub_tree.skip("needs strace")
    grub_tree.mount("-t", "tmpfs", "-o", "mode=755", "trees", parent)
    quick = bool(os.environ.get("DMEMD_TEST_QUICK"))
    for kind in boot_scenario.ALL[:2 if quick else None]:
        tree = boot_scenario.make(kind, sys.argv[1], parent)
        try:
            tree.plan(FIRST)
            for command in COMMANDS:
                check(tree, command)
            assert tree.run("apply").returncode == 0
            tree.plan(SECOND)
            for command in COMMANDS:
                check(tree, command)
            print(f"ok   {kind.name}: {len(COMMANDS)} commands, before and after an apply",
                  flush=True)
        finally:
            tree.close()
    return 0


if __name__ == "__main__":
    sys.exit(grub_tree.run(main))
