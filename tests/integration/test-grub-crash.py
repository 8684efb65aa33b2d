#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""apply and revert killed at each system call that changes something.

usage: test-grub-crash.py DMEMCTL KILL_AT

After each kill the drop-in and grub.cfg are those of before or those of after, byte for byte, and
the next apply or revert repairs what is left. Each fourth such call is tried; in the environment
DMEMD_CRASH_STEP=1 asks for all of them, DMEMD_TEST_QUICK for each twelfth.
"""

import os
import shutil
import subprocess
import sys

sys.dont_write_bytecode = True  # nothing of ours appears among the sources
import grub_tree
from boot_scenario import timeless
from grub_tree import CONFIG, DROPIN, difference

KILLED = 137
FOLDERS = ["boot/grub", "etc/default", "var/lib/dmemd"]


def save(tree, name):
    where = tree.root / "tmp" / name
    for folder in FOLDERS:
        if tree.exists(folder):
            shutil.copytree(tree.root / folder, where / folder)


def restore(tree, name):
    where = tree.root / "tmp" / name
    for folder in FOLDERS:
        shutil.rmtree(tree.root / folder, ignore_errors=True)
        if (where / folder).exists():
            shutil.copytree(where / folder, tree.root / folder)


def content(tree, path):
    return tree.text(path) if tree.exists(path) else None


def boot_settings(tree):
    return {path: content(tree, path) for path in [DROPIN, CONFIG]}


def expect_state(tree, wanted, where):
    changed = difference(wanted, timeless(tree.state()))
    assert not changed, f"{where}: {changed} differ"


def check(tree, verb, kill_at, before, after, step):
    """Kills `verb` on its way from the saved state `before` to `after`."""
    restore(tree, "nothing")
    nothing = boot_settings(tree)
    restore(tree, before)
    old = boot_settings(tree)
    restore(tree, after)
    new, new_state = boot_settings(tree), timeless(tree.state())
    number, tried, repairs = 1, 0, 0
    while True:
        where = f"{verb} killed at change {number}"
        restore(tree, before)
        result = tree.run(verb, prefix=[kill_at, str(number)])
        if result.returncode == 0:
            break
        assert result.returncode == KILLED, f"{where}: {result}"
        now = boot_settings(tree)
        for path in now:
            assert now[path] in (old[path], new[path]), f"{where}: {path} is neither old nor new"
        assert now[CONFIG] == old[CONFIG] or now[DROPIN] == new[DROPIN], f"{where}: wrong order"

        # The same again arrives, and leaves nothing behind
        save(tree, "killed")
        result = tree.run(verb)
        assert result.returncode == 0, f"{where}, then again: {result}"
        tried += 1
        repairs += "interrupted" in result.stderr
        expect_state(tree, new_state, f"{where}, then again")

        # revert goes back by one change, whichever was the last to be complete
        if verb == "apply":
            restore(tree, "killed")
            result = tree.run("revert")
            assert result.returncode == 0, f"{where}, then revert: {result}"
            back = nothing if now[CONFIG] == old[CONFIG] else old
            assert boot_settings(tree) == back, f"{where}, then revert"
            tree.state()  # complains about temporary files
        shutil.rmtree(tree.root / "tmp/killed")
        number += step
    assert number > 40, f"{verb} makes only {number} changes, is it traced?"
    print(f"ok   {verb}: killed at {tried} places, {repairs} times there was something to repair",
          flush=True)


def main(parent):
    dmemctl, kill_at = sys.argv[1:]
    usual = "12" if os.environ.get("DMEMD_TEST_QUICK") else "4"
    step = int(os.environ.get("DMEMD_CRASH_STEP", usual))
    try:
        tree = grub_tree.Tree(dmemctl, parent)
    except subprocess.CalledProcessError as error:
        grub_tree.skip(f"the real update-grub does not run here: {error.stderr}")
    try:
        save(tree, "nothing")
        assert tree.run("apply").returncode == 0
        save(tree, "first")
        tree.configure("[Dmem]\nSize=2G\n")
        assert tree.run("apply").returncode == 0
        save(tree, "second")
        check(tree, "apply", kill_at, "first", "second", step)
        restore(tree, "second")
        assert tree.run("revert").returncode == 0
        save(tree, "reverted")
        check(tree, "revert", kill_at, "second", "reverted", step)
    finally:
        tree.close()
    return 0


if __name__ == "__main__":
    sys.exit(grub_tree.run(main))
