#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""apply and revert when one of their system calls fails, or all from one on.

usage: test-boot-faults.py DMEMCTL [LOADER...]

strace makes the Nth call of a kind fail. Whatever comes of it: with exit status 0 all is as after a
run without a fault, else all is as before it, a message says why, and nothing is left behind. The
next run without a fault arrives.

DMEMD_FAULT_PLACES=N in the environment tries N places for each fault, 0 being all; DMEMD_TEST_QUICK
a few. DMEMD_SEED chooses others.
"""

import os
import random
import re
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor

sys.dont_write_bytecode = True  # nothing of ours appears among the sources
import boot_scenario
import grub_tree
from boot_scenario import Stages

WORKERS = 2
SEED = int(os.environ.get("DMEMD_SEED", "1"))

# What fails, with what, and whether it goes on failing
FAULTS = [
    ("write", "ENOSPC", False),
    ("write", "ENOSPC", True),
    ("fsync", "EIO", False),
    ("fsync", "EIO", True),
    ("renameat", "EIO", False),
    ("renameat", "EROFS", True),
    ("unlinkat", "EIO", False),
    ("unlinkat", "EROFS", True),
    ("mkdirat", "ENOSPC", False),
    ("openat", "EMFILE", False),
    ("openat", "ENOSPC", True),
    ("openat2", "EIO", False),
    ("openat2", "EACCES", True),
    ("read", "EIO", False),
    ("newfstatat", "EIO", False),
    ("fstat", "EIO", False),
    ("getdents64", "EIO", False),
    ("fchmod", "EPERM", False),
    ("flock", "ENOLCK", False),
    ("clone", "EAGAIN", False),
    ("pipe2", "EMFILE", False),
    ("signalfd4", "ENOMEM", False),
    ("poll", "ENOMEM", False),
    ("wait4", "ECHILD", False),
]


def strace(tree, fault=None, place=0, calls=None):
    """The prefix for a command, and where the record of its calls will be."""
    record = str(tree.root / "tmp/record")
    options = ["strace", "-qq", "-e", "signal=none", "-o", record]
    if fault:
        name, error, persists = fault
        when = f"{place}+" if persists else place
        return record, [*options, "-e", f"trace={name}", "-e",
                        f"inject={name}:error={error}:when={when}"]
    return record, [*options, "-e", "trace=" + ",".join(calls)]


def count_calls(tree, stages, verb, before):
    """How often each of the calls is made."""
    stages.put(tree, before)
    record, prefix = strace(tree, calls=sorted({name for name, _, _ in FAULTS}))
    result = tree.run(verb, prefix=prefix)
    assert result.returncode == 0, f"{tree.name}: {verb}: {result}"
    counts = {}
    with open(record, encoding="latin-1") as stream:
        for line in stream:
            name = line.split("(")[0]
            counts[name] = counts.get(name, 0) + 1
    return counts


def injected(record):
    with open(record, encoding="latin-1") as stream:
        return [line for line in stream if "(INJECTED)" in line]


def boot_is_whole(tree, stages, before, after, where):
    old, new, now = stages.boot[before], stages.boot[after], tree.boot_settings()
    for path in now:
        assert now[path] in (old[path], new[path]), f"{where}: {path} is neither old nor new"


def try_fault(tree, stages, verb, before, after, fault, place):
    where = f"{tree.name}: {verb}, {fault[0]} number {place}{' and on' if fault[2] else ''}: {fault[1]}"
    stages.put(tree, before)
    record, prefix = strace(tree, fault, place)
    result = tree.run(verb, prefix=prefix)
    lines = injected(record)
    assert lines, f"{where}: nothing was injected"
    boot_is_whole(tree, stages, before, after, where)

    # Output that cannot be written is an error of its own, after the change or instead of it
    output = any(re.match(r"write\([12],", line) for line in lines)
    note = "var/lib/dmemd/change.json"
    left = [path for path in [note] if tree.exists(path)]
    if result.returncode == 0:
        if left:
            assert note in result.stderr, f"{where}: left {left}, and says nothing: {result}"
            (tree.root / note).unlink()
        stages.expect(tree, after, where)
    else:
        assert result.returncode > 0, f"{where}: {result}"
        assert result.stderr or output, f"{where}: fails and does not say why: {result}"
        # Where putting back fails, too, there is no more to do than to say it
        if not (fault[2] and "could not be put back" in result.stderr) and not output:
            try:
                stages.expect(tree, before, where)
            except AssertionError as error:
                raise AssertionError(f"{error}\n{result.stderr}\n{''.join(lines)}") from None
    result = tree.run(verb)
    assert result.returncode == 0, f"{where}, then again: {result}"
    stages.expect(tree, after, f"{where}, then again")


def places(count, n):
    numbers = list(range(1, count + 1))
    return numbers if n == 0 or count <= n else sorted(random.Random(SEED).sample(numbers, n))


def check(trees, stages, verb, before, after, n):
    counts = count_calls(trees[0], stages, verb, before)
    missing = [name for name in ["write", "fsync", "renameat", "openat2", "flock"]
               if not counts.get(name)]
    assert not missing, f"{verb} makes no call of {missing}: is it traced?"
    todo = [(fault, place) for fault in FAULTS for place in places(counts.get(fault[0], 0), n)]
    failed = []

    def work(worker):
        for fault, place in todo[worker::WORKERS]:
            try:
                try_fault(trees[worker], stages, verb, before, after, fault, place)
            except AssertionError as error:
                failed.append(str(error))
    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(work, range(WORKERS)))
    for text in failed:
        print(f"FAIL {text}")
    print(f"{'FAIL' if failed else 'ok  '} {trees[0].name}: {verb} with {len(todo)} faults",
          flush=True)
    return len(failed)


def main(parent):
    if not shutil.which("strace"):
        grub_tree.skip("needs strace")
    grub_tree.mount("-t", "tmpfs", "-o", "mode=755", "trees", parent)
    quick = bool(os.environ.get("DMEMD_TEST_QUICK"))
    n, failed = int(os.environ.get("DMEMD_FAULT_PLACES", 1 if quick else 5)), 0
    for kind in boot_scenario.ALL:
        if sys.argv[2:] and kind.name not in sys.argv[2:]:
            continue
        trees = [boot_scenario.make(kind, sys.argv[1], parent) for _ in range(WORKERS)]
        try:
            stages = Stages(trees[0])
            failed += check(trees, stages, "apply", "planned", "second", n)
            failed += check(trees, stages, "revert", "second", "reverted", n)
        finally:
            for tree in trees:
                tree.close()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(grub_tree.run(main))
