# SPDX-License-Identifier: LGPL-2.1-or-later
"""Tests in real machines.

A scenario is a class with a machine; its test_* methods run on that machine one after the other,
in the order in which they are written. After each of them the console and the kernel's log must be
free of warnings and crashes, unless the test said which it expects (self.machine.expected).
"""

from __future__ import annotations

import importlib
import inspect
import sys
import time
import traceback
from pathlib import Path
from typing import Any, Callable, Optional, Sequence, Union

from .images import image
from .machine import DEFAULT_CPU, DEFAULT_NODES, LabError, Machine, MachineDied, Node

Report = Callable[[str, str, str], None]


class CheckFailed(Exception):
    """What a test found is not what it should be."""


class Skip(Exception):
    """This test cannot run here; the text says why."""


class Scenario:
    kernel = "dmem"
    nodes: Union[str, Sequence[Node]] = DEFAULT_NODES
    boot = "disk"
    loader = "grub-bios"  # on the disk, see tools/build-image
    suite = ""  # of Debian; that of this machine if empty
    append = ""
    cpu = DEFAULT_CPU
    bare = False
    uefi = False
    qemu_arguments: Sequence[str] = ()
    # Left out unless asked for: needs what takes many minutes to make. The text says what.
    thorough = ""
    # Tests that all later ones build on: if one of them fails, the rest cannot run
    steps: Sequence[str] = ()

    def __init__(self, machine: Machine):
        self.machine = machine

    @classmethod
    def new_machine(cls, append: Optional[str] = None, qemu_arguments: Sequence[str] = ()) -> Machine:
        """A machine as the class says, but for the kernel arguments if given, and with more of QEMU's."""
        return Machine(
            image(cls.kernel, cls.loader, cls.suite),
            cls.nodes,
            boot=cls.boot,
            append=cls.append if append is None else append,
            cpu=cls.cpu,
            bare=cls.bare,
            uefi=cls.uefi,
            qemu_arguments=[*cls.qemu_arguments, *qemu_arguments],
            name=scenario_name(cls),
        )

    def replace_machine(self, append: Optional[str] = None, qemu_arguments: Sequence[str] = ()) -> None:
        """Goes on with a new machine, unless the kernel of the old one has complained."""
        complaints = self.machine.complaints()
        self.check(not complaints, "the kernel complained:\n" + "\n".join(complaints))
        self.machine.stop()
        self.machine = self.new_machine(append, qemu_arguments)
        self.machine.start()

    def prepare(self) -> None:
        """Runs once the machine is up, before the first test."""

    def skip(self, reason: str) -> None:
        raise Skip(reason)

    # Checks. They say what was looked at, what was seen and what should have been.

    def check(self, condition: object, what: str) -> None:
        if not condition:
            raise CheckFailed(what)

    def equal(self, seen: Any, wanted: Any, what: str) -> None:
        if seen != wanted:
            raise CheckFailed(f"{what}: {seen!r}, should be {wanted!r}")

    def contains(self, text: str, part: str, what: str) -> None:
        if part not in text:
            raise CheckFailed(f"{what}: does not contain {part!r}:\n{text}")


def find(folder: Path) -> list[type[Scenario]]:
    """The scenarios of the test_*.py files in @folder, which must be an importable package."""
    found: list[type[Scenario]] = []
    for path in sorted(folder.glob("test_*.py")):
        module = importlib.import_module(f"{folder.name}.{path.stem}")
        classes = [
            c
            for _, c in inspect.getmembers(module, inspect.isclass)
            if issubclass(c, Scenario) and c.__module__ == module.__name__ and test_names(c)
            and not c.__name__.startswith("_")  # what others have in common
        ]
        found += sorted(classes, key=lambda c: inspect.getsourcelines(c)[1])
    return found


def scenario_name(cls: type[Scenario]) -> str:
    return f"{cls.__module__.rpartition('.')[2].removeprefix('test_')}.{cls.__name__}"


def test_names(cls: type[Scenario]) -> list[str]:
    """In the order of the source, those of base classes first."""
    names: dict[str, None] = {}
    for c in reversed(cls.__mro__):
        for name, value in vars(c).items():
            if name.startswith("test_") and callable(value):
                names[name] = None
    return list(names)


def run(cls: type[Scenario], report: Report, wanted: str = "") -> None:
    """Runs a scenario; with @wanted only tests with that text in their names, and steps."""
    base = scenario_name(cls)
    names = [n for n in test_names(cls) if wanted in f"{base}.{n}"]
    if not names:
        return
    names = [n for n in test_names(cls) if n in names or n in cls.steps]
    runner = _Runner(cls, report)
    try:
        for name in names:
            runner.run(name)
    finally:
        runner.stop()


class _Runner:
    def __init__(self, cls: type[Scenario], report: Report):
        self.cls = cls
        self.name = scenario_name(cls)
        self.report = report
        self.scenario: Optional[Scenario] = None
        self.broken = ""  # why no further test can run

    def run(self, name: str) -> None:
        full = f"{self.name}.{name}"
        begin = time.monotonic()
        outcome, reason = self._attempt(name)
        if outcome == "failed" and name in self.cls.steps:
            self.broken = f"builds on {name}, which failed"
        seconds = time.monotonic() - begin
        line = f"{outcome:<7} {full} ({seconds:.1f} s)"
        if outcome != "passed":
            line += f": {reason}"
        print(line, file=sys.stderr, flush=True)
        self.report(full, outcome, reason.splitlines()[0] if reason else "")

    def stop(self, keep: bool = False) -> None:
        if self.scenario:
            self.scenario.machine.stop(keep)
            self.scenario = None

    def _attempt(self, name: str) -> tuple[str, str]:
        if self.broken:
            return "skipped", self.broken
        try:
            if not self.scenario:
                self._start()
            assert self.scenario
            getattr(self.scenario, name)()
            self._check_kernel()
            return "passed", ""
        except Skip as e:
            return "skipped", str(e)
        except (CheckFailed, LabError) as e:
            reason = str(e)
            if isinstance(e, CheckFailed):
                reason += self._where(e)
        except Exception:  # a bug of the test is a failure of the test
            reason = traceback.format_exc()
        if self.scenario and not self.scenario.machine.alive:
            # The next test gets a new machine, unless what went before matters to it
            self.stop(keep=True)
            if self.cls.steps:
                self.broken = f"the machine went down during {name}"
        return "failed", reason

    def _start(self) -> None:
        c = self.cls
        machine = c.new_machine()
        try:
            machine.start()
            self.scenario = c(machine)
            self.scenario.prepare()
        except BaseException as e:
            machine.stop(keep=True)
            self.scenario = None
            self.broken = f"the machine of {self.name} does not come up"
            if isinstance(e, (LabError, CheckFailed)):
                raise LabError(str(e)) from e
            raise

    def _check_kernel(self) -> None:
        assert self.scenario
        machine = self.scenario.machine
        try:
            complaints = machine.complaints()
        except MachineDied:
            if "Kernel panic" not in " ".join(machine.expected):
                raise
            complaints = []
        if complaints:
            raise CheckFailed("the kernel complained:\n" + "\n".join(complaints))

    @staticmethod
    def _where(e: CheckFailed) -> str:
        frames = traceback.extract_tb(e.__traceback__)
        for frame in reversed(frames):
            if "/tests/vm/" in frame.filename:
                return f"\n({Path(frame.filename).name}, line {frame.lineno}: {frame.line})"
        return ""
