#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""apply and revert when power is lost after any of their system calls.

usage: test-boot-power-loss.py DMEMCTL [LOADER...]

Every call that changes a file is recorded, those of update-grub included. After each one, what the
disk may hold then is put into a tree (see disk_model.py): the boot settings have to be the old or
the new ones, complete, and apply as well as revert have to arrive from there. When a run says that
it is done, nothing may be left to chance any more, even if the run before it was killed.

All states are looked at, some of them are run from. DMEMD_CRASH_STATES=N in the environment runs
from N states of each change, 0 being all; DMEMD_TEST_QUICK from few. DMEMD_SEED chooses others.
"""

import copy
import os
import random
import shutil
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

sys.dont_write_bytecode = True  # nothing of ours appears among the sources
import boot_scenario
import disk_model
import grub_tree
from boot_scenario import FIRST, SECOND, Snapshot, Stages

STATES_PER_CALL = 64
SEED = int(os.environ.get("DMEMD_SEED", "1"))
WORKERS = 2


class Case:
    """`verb` on its way from the state `before` to `after`; `other` is the other verb."""

    def __init__(self, verb, before, after):
        self.verb, self.before, self.after = verb, before, after


APPLY = Case("apply", "planned", "second")
REVERT = Case("revert", "second", "reverted")


def record(tree, stages, case):
    stages.put(tree, case.before)
    result, calls = disk_model.Recorder(tree).run(case.verb)
    assert result.returncode == 0, f"{tree.name}: {case.verb}: {result}"
    assert len(calls) > 20, f"{tree.name}: only {len(calls)} calls were recorded"
    return calls


def possible_states(stages, case, calls):
    """Yields (where, snapshot) for each state of the disk that is new."""
    disk, seen = disk_model.Disk(stages.snapshots[case.before]), set()
    for number, call in enumerate([None, *calls]):
        if call:
            disk_model.play(disk, call)
        where = f"{case.verb}, power lost after call {number}: {call.name if call else ''} " \
            f"{call.arguments[0] if call and call.arguments else ''}"
        for snapshot in disk.after_power_loss(STATES_PER_CALL, SEED + number):
            if snapshot.key() not in seen:
                seen.add(snapshot.key())
                yield where, snapshot
    expect_certain(disk, stages, case.after, case.verb)


def expect_certain(disk, stages, name, where):
    """Done means that not even the loss of power changes anything. What may come back is the note
    of a complete change, whose removal a killed run did not wait for: the next run removes it."""
    wanted, states = stages.boot[name], set()
    for snapshot in disk.after_power_loss(STATES_PER_CALL, SEED):
        found = boot_files(snapshot, wanted)
        assert found == wanted, f"{where}: said to be done, but the disk may not know it"
        snapshot.files.pop("var/lib/dmemd/change.json", None)
        states.add(snapshot.key())
    assert len(states) == 1, f"{where}: said to be done, but {len(states)} states are possible"


def boot_files(snapshot, paths):
    return {path: snapshot.files.get(path, (0, None))[1] for path in paths}


def expect_bootable(tree, stages, case, where, snapshot):
    old, new = stages.boot[case.before], stages.boot[case.after]
    now, later = boot_files(snapshot, tree.boot_files), True
    for path in tree.boot_files:
        assert now[path] in (old[path], new[path]), f"{where}: {path} is neither old nor new"
        later = later and now[path] == new[path]
    return later


def arrive(tree, stages, case, where, snapshot):
    complete = expect_bootable(tree, stages, case, where, snapshot)
    if case is APPLY:
        ends = {"apply": "second", "revert": "reverted" if complete else None}
    else:
        ends = {"apply": "second", "revert": "reverted"}
    for verb, name in ends.items():
        snapshot.put(tree)
        result = tree.run(verb)
        assert result.returncode == 0, f"{where}, then {verb}: {result}"
        if name:
            stages.expect(tree, name, f"{where}, then {verb}")
        else:  # the first apply is taken back
            assert tree.boot_settings() == stages.boot["nothing"], f"{where}, then {verb}"
            tree.state()  # complains about temporary files
            assert not tree.exists("var/lib/dmemd/change.json"), f"{where}, then {verb}"


def sample(states, n):
    if n == 0 or len(states) <= n:
        return states
    return random.Random(SEED).sample(states, n)


def check_power_loss(trees, stages, case, n_states):
    calls = record(trees[0], stages, case)
    states = list(possible_states(stages, case, calls))
    for where, snapshot in states:
        expect_bootable(trees[0], stages, case, where, snapshot)
    chosen = sample(states, n_states)
    own = threading.local()
    free = list(trees)

    def work(item):
        if not hasattr(own, "tree"):
            own.tree = free.pop()
        arrive(own.tree, stages, case, *item)
    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(work, chosen))
    print(f"ok   {trees[0].name}: {case.verb} makes {len(calls)} changes, {len(states)} states of "
          f"the disk, {len(chosen)} of them run from", flush=True)
    return calls


def check_killed_before(tree, stages, case, calls, n):
    """A run that was killed, a second one that says it is done, and then power is lost."""
    disk, disks = disk_model.Disk(stages.snapshots[case.before]), []
    for number, call in enumerate(calls[:-1], 1):
        disk_model.play(disk, call)
        disks.append((number, copy.deepcopy(disk)))
    chosen = sample(disks, n)
    for number, killed in chosen:
        killed.snapshot().put(tree)
        result, more = disk_model.Recorder(tree).run(case.verb)
        where = f"{tree.name}: {case.verb}, killed after call {number}, and again"
        assert result.returncode == 0, f"{where}: {result}"
        for call in more:
            disk_model.play(killed, call)
        expect_certain(killed, stages, case.after, where)
    print(f"ok   {tree.name}: {case.verb} again after it was killed, at {len(chosen)} places",
          flush=True)


def main(parent):
    if not shutil.which("strace"):
        grub_tree.skip("needs strace")
    grub_tree.mount("-t", "tmpfs", "-o", "mode=755", "trees", parent)
    quick = bool(os.environ.get("DMEMD_TEST_QUICK"))
    n_states = int(os.environ.get("DMEMD_CRASH_STATES", 8 if quick else 40))
    for kind in boot_scenario.ALL:
        if sys.argv[2:] and kind.name not in sys.argv[2:]:
            continue
        trees = [boot_scenario.make(kind, sys.argv[1], parent) for _ in range(WORKERS)]
        try:
            stages = Stages(trees[0])
            for case in [APPLY, REVERT]:
                calls = check_power_loss(trees, stages, case, n_states)
                check_killed_before(trees[0], stages, case, calls, 4 if quick else n_states // 4)
        finally:
            for tree in trees:
                tree.close()
    return 0


if __name__ == "__main__":
    sys.exit(grub_tree.run(main))
