#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Random sequences of apply, revert, new configurations, package updates and kills, against a model.

usage: test-boot-random.py DMEMCTL KILL_AT [LOADER...]

The model knows three things: what is configured, what the boot loader has now, and what it had
before the last apply that changed something. DMEMD_RANDOM_STEPS=N in the environment takes N steps
for each boot loader, DMEMD_SEED another sequence.
"""

import os
import random
import re
import sys

sys.dont_write_bytecode = True  # nothing of ours appears among the sources
import boot_scenario
import grub_tree
from grub_tree import write

SEED = int(os.environ.get("DMEMD_SEED", "1"))
KILLED = 137
PLANS = {
    "": "dmem=0:4G,1:14G",
    "[Dmem]\nSize=2G\n": "dmem=0:2G,1:2G",
    "[Dmem]\nSize=1G\n": "dmem=0:1G,1:1G",
    "[Plan]\nBackend=none\n": "",
}


class Model:
    """Arguments as text; previous: None if there is nothing to go back to."""

    def __init__(self):
        self.plan, self.now, self.previous = "", "", None

    def apply(self):
        wanted = PLANS[self.plan]
        if wanted != self.now:
            self.previous, self.now = self.now, wanted

    def revert(self):
        if self.previous is not None:
            self.now, self.previous = self.previous, None


def arguments(text):
    return " ".join(re.findall(r"\bdmem=[^\s\"]*", text))


def arguments_of_tree(tree):
    """Of each place where the boot loader takes them from; of recovery entries none."""
    if tree.name != "grub":
        return {arguments(tree.text(path)) for path in tree.boot_files}
    lines = tree.linux_lines()
    assert not any(arguments(line) for line in lines if "single" in line), lines
    return {arguments(line) for line in lines if "single" not in line}


def update_package(tree, chance):
    """Somebody rewrites what is not ours: a package, an administrator."""
    word = f"loglevel={chance.randrange(8)}"
    if tree.name == "grub":
        text = grub_tree.SETTINGS.replace("console=ttyS0", f"console=ttyS0 {word}")
        write(tree.root / "etc/default/grub", text)
        tree.run_in("/usr/sbin/update-grub", check=True)
        return
    for path in tree.boot_files:
        text = re.sub(r" loglevel=\d", "", tree.text(path))
        write(tree.root / path, text.replace("root=/dev/sda1", f"root=/dev/sda1 {word}"))


def expect(tree, model, where):
    found = arguments_of_tree(tree)
    assert found == {model.now}, f"{where}: the boot loader has {found}, not `{model.now}`"
    assert tree.exists("var/lib/dmemd/previous.json") == (model.previous is not None), \
        f"{where}: previous.json"
    assert not tree.exists("var/lib/dmemd/change.json"), where
    tree.state()  # complains about temporary files


def run(tree, verb, where):
    result = tree.run(verb)
    assert result.returncode == 0, f"{where}: {result}"


def kill(tree, model, verb, kill_at, place, where):
    """Killed, and repaired by whichever comes next."""
    result = tree.run(verb, prefix=[kill_at, str(place)])
    assert result.returncode in (0, KILLED), f"{where}: {result}"
    if result.returncode == 0:
        getattr(model, verb)()
        return
    # Either it happened or it did not: what apply says next tells, by what it has to do
    run(tree, "apply", where)
    old = (model.now, model.previous)
    outcomes = []
    model.apply()
    outcomes.append((model.now, model.previous))
    model.now, model.previous = old
    getattr(model, verb)()
    model.apply()
    outcomes.append((model.now, model.previous))
    exists = tree.exists("var/lib/dmemd/previous.json")
    assert exists in [previous is not None for _, previous in outcomes], where
    possible = [o for o in outcomes if (o[1] is not None) == exists]
    if len(set(possible)) > 1:  # they differ in what revert goes back to
        run(tree, "revert", where)
        found = arguments_of_tree(tree)
        assert found in [{previous} for _, previous in possible], f"{where}: {found}"
        model.now, model.previous = found.pop(), None
    else:
        model.now, model.previous = possible[0]


def play(tree, kill_at, steps, chance):
    model, history = Model(), []
    for number in range(steps):
        step = chance.choice(["apply", "apply", "apply", "revert", "revert", "plan", "plan",
                              "package", "kill apply", "kill revert"])
        history.append(step)
        where = f"{tree.name}, seed {SEED}, step {number}: {', '.join(history[-8:])}"
        if step == "plan":
            model.plan = chance.choice(list(PLANS))
            tree.plan(model.plan)
        elif step == "package":
            update_package(tree, chance)
        elif step.startswith("kill"):
            kill(tree, model, step.split()[1], kill_at, chance.randrange(1, 70), where)
        else:
            run(tree, step, where)
            getattr(model, step)()
        expect(tree, model, where)
    print(f"ok   {tree.name}: {steps} steps", flush=True)


def main(parent):
    grub_tree.mount("-t", "tmpfs", "-o", "mode=755", "trees", parent)
    usual = 15 if os.environ.get("DMEMD_TEST_QUICK") else 60
    steps = int(os.environ.get("DMEMD_RANDOM_STEPS", usual))
    for kind in boot_scenario.ALL:
        if sys.argv[3:] and kind.name not in sys.argv[3:]:
            continue
        tree = boot_scenario.make(kind, sys.argv[1], parent)
        try:
            tree.plan("")
            play(tree, sys.argv[2], steps, random.Random(SEED))
        finally:
            tree.close()
    return 0


if __name__ == "__main__":
    sys.exit(grub_tree.run(main))
