# SPDX-License-Identifier: LGPL-2.1-or-later
"""tools/test: builds everything, runs every suite, and says what came of it."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import py_compile
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Optional

from .images import SOURCE_ROOT
from .machine import cache_folder

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"

DESCRIPTION = """\
Builds the project with and without sanitizers, runs every suite, and says at the end which ran and
what was skipped and why. The last line is always `N passed, N failed, N skipped`; the exit status is
0 only if something passed and nothing failed.

suites:
  tools          the tools, the lab and its agent themselves; syntax, shellcheck
  plain          unit, style and simulator tests, built with warnings as errors
  sanitized      the same under the address and the undefined behaviour sanitizer
  kernel         the sources of the kernel side as patches: checkpatch, sparse, kernel-doc, git am; needs
                 the kernel that the machines boot, and with --quick does without if it is not there
  vm             the whole chain in real machines (tests/vm/); builds a kernel the first time
"""

EXAMPLES = """\
examples:
  tools/test                 everything; builds two kernels the first time: about 40 minutes, then about 15
  tools/test --quick         without machines; under two minutes
  tools/test --vm            only the machines
  tools/test --thorough      with the machines that take many minutes more to make
  tools/test -k chain        only tests with "chain" in their names
  tools/test --list          the names of the machine tests

Builds are kept in the cache ($DMEMD_CACHE, else ~/.cache/dmemd), never in the source tree. Captured
hosts that some tests use are looked for in $DMEMD_CORPUS. $DMEMD_KERNEL may name a folder with another
kernel for the machines, see tools/build-image --help.
"""


@dataclass
class Test:
    name: str
    outcome: str
    reason: str = ""  # why it was skipped or what failed, one line


@dataclass
class Suite:
    name: str
    tests: list[Test] = field(default_factory=list)
    seconds: float = 0
    skipped: str = ""  # why the whole suite did not run

    def add(self, name: str, outcome: str, reason: str = "") -> None:
        self.tests.append(Test(name, outcome, reason))

    def count(self, outcome: str) -> int:
        return sum(t.outcome == outcome for t in self.tests)


def say(text: str) -> None:
    print(f"== {text}", file=sys.stderr, flush=True)


def first_line(text: str) -> str:
    lines = [x.strip() for x in text.splitlines() if x.strip()]
    return lines[-1] if lines else "no reason given"


def build_folder(kind: str) -> Path:
    key = hashlib.sha256(str(SOURCE_ROOT).encode()).hexdigest()[:16]
    return cache_folder() / f"build-{key}-{kind}"


def run_logged(argv: list[str], log: Path, timeout: float) -> bool:
    """Runs a command; on failure the end of its output is shown."""
    with open(log, "ab") as f:
        try:
            ok = (
                subprocess.run(
                    argv, stdin=subprocess.DEVNULL, stdout=f, stderr=f, timeout=timeout, check=False
                ).returncode
                == 0
            )
        except subprocess.TimeoutExpired:
            f.write(f"\nkilled after {timeout:.0f} s\n".encode())
            ok = False
    if not ok:
        print("\n".join(log.read_text(errors="replace").splitlines()[-40:]), file=sys.stderr)
        print(f"whole output: {log}", file=sys.stderr)
    return ok


# Suites


def suite_tools(suite: Suite, _: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for path in sorted(SOURCE_ROOT.glob("tests/**/*.py")):
            name = str(path.relative_to(SOURCE_ROOT))
            try:
                py_compile.compile(str(path), cfile=f"{folder}/x.pyc", doraise=True)
                suite.add(name, PASSED)
            except py_compile.PyCompileError as e:
                suite.add(name, FAILED, str(e))
                print(e, file=sys.stderr)
    shellcheck = shutil.which("shellcheck")
    for path in sorted([*SOURCE_ROOT.glob("tools/**/*"), *SOURCE_ROOT.glob("conf/completion/*.bash"), SOURCE_ROOT / ".ci/run"]):
        if not path.is_file():
            continue
        name = str(path.relative_to(SOURCE_ROOT))
        if not shellcheck:
            suite.add(name, SKIPPED, "shellcheck is not installed")
            continue
        done = subprocess.run(
            [shellcheck, "-x", str(path)], capture_output=True, text=True, timeout=120, check=False
        )
        suite.add(name, PASSED if done.returncode == 0 else FAILED, first_line(done.stdout))
        sys.stderr.write(done.stdout)


    test_lab(suite)


def test_lab(suite: Suite) -> None:
    """The lab's own tests, and those of tools/bench, see selftest.py of both."""
    import unittest

    import bench.selftest

    from . import selftest

    for name, module in (("lab", selftest), ("bench", bench.selftest)):
        result = unittest.TestResult()
        unittest.defaultTestLoader.loadTestsFromModule(module).run(result)
        for test, text in [*result.failures, *result.errors]:
            print(text, file=sys.stderr)
            suite.add(test.id(), FAILED, first_line(text))
        bad = len(result.failures) + len(result.errors)
        for i in range(result.testsRun - bad):
            suite.add(f"{name} self-test {i + 1}", PASSED)


def run_meson(suite: Suite, args: argparse.Namespace, options: list[str]) -> None:
    build = build_folder(suite.name)
    log = cache_folder() / "log" / f"test-{suite.name}.log"
    log.unlink(missing_ok=True)
    if not (build / "build.ninja").exists():
        setup = ["meson", "setup", str(build), str(SOURCE_ROOT), "-Dwerror=true"]
        if not run_logged([*setup, "--wrap-mode=nodownload", *options], log, 300):
            shutil.rmtree(build, ignore_errors=True)
            suite.add("configuration", FAILED, f"meson setup failed, see {log}")
            return
    say(f"building, {suite.name}")
    if not run_logged(["ninja", "-C", str(build)], log, 1800):
        suite.add("build", FAILED, f"the project does not build, see {log}")
        return
    suite.add("build", PASSED)
    say(f"running the tests, {suite.name}")
    names = meson_names(build, args.filter)
    if not names:
        return
    result_file = build / "meson-logs" / "testlog.json"
    result_file.unlink(missing_ok=True)
    ok = run_logged(
        ["meson", "test", "-C", str(build), "--no-rebuild", "--print-errorlogs", *names], log, 1800
    )
    results = result_file.read_text().splitlines() if result_file.exists() else []
    for line in results:
        t = json.loads(line)
        outcome = {"OK": PASSED, "EXPECTEDFAIL": PASSED, "SKIP": SKIPPED}.get(t["result"], FAILED)
        reason = first_line(t.get("stderr") or t.get("stdout") or "") if outcome == SKIPPED else t["result"]
        suite.add(t["name"], outcome, "" if outcome == PASSED else reason)
    if not ok and not suite.count(FAILED):
        suite.add("meson test", FAILED, f"see {log}")


def meson_names(build: Path, wanted: str) -> list[str]:
    done = subprocess.run(
        ["meson", "introspect", "--tests", str(build)], capture_output=True, text=True, check=True
    )
    return sorted({t["name"] for t in json.loads(done.stdout) if wanted in t["name"]})


def suite_plain(suite: Suite, args: argparse.Namespace) -> None:
    run_meson(suite, args, ["--buildtype=debugoptimized"])


def suite_sanitized(suite: Suite, args: argparse.Namespace) -> None:
    os.environ.setdefault("ASAN_OPTIONS", "detect_leaks=1:abort_on_error=0:strict_string_checks=1")
    os.environ.setdefault("UBSAN_OPTIONS", "print_stacktrace=1:halt_on_error=1")
    run_meson(suite, args, ["--buildtype=debug", "-Db_sanitize=address,undefined", "-Db_lundef=false"])


def suite_kernel(suite: Suite, args: argparse.Namespace) -> None:
    from . import kernelstyle

    kernel = kernelstyle.find_kernel(build=not args.quick)
    if not kernel:
        suite.add("all of it", SKIPPED, "the cache has no kernel of these sources, and --quick builds none")
        return

    def add(name: str, good: bool, text: str) -> None:
        if args.filter in name:
            suite.add(name, PASSED if good else FAILED, "" if good else first_line(text))
            if not good:
                print(f"{name}:\n{text}", file=sys.stderr)

    kernelstyle.run(kernel, add)


def suite_vm(suite: Suite, args: argparse.Namespace) -> None:
    from . import scenario

    sys.path.insert(0, str(SOURCE_ROOT / "tests"))
    for cls in scenario.find(SOURCE_ROOT / "tests" / "vm"):
        if cls.thorough and not args.thorough and not args.filter:
            suite.add(scenario.scenario_name(cls), SKIPPED, f"only with --thorough: {cls.thorough}")
            continue
        scenario.run(cls, suite.add, args.filter)


SUITES: dict[str, Callable[[Suite, argparse.Namespace], None]] = {
    "tools": suite_tools,
    "plain": suite_plain,
    "sanitized": suite_sanitized,
    "kernel": suite_kernel,
    "vm": suite_vm,
}


def parse_arguments() -> argparse.Namespace:
    p = argparse.ArgumentParser(
        prog="tools/test",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    which = p.add_mutually_exclusive_group()
    which.add_argument("--quick", action="store_true", help="leave the machines out, and part of the boot loader's cases")
    which.add_argument("--vm", action="store_true", help="only the machines")
    which.add_argument("--suite", choices=SUITES, help="only this suite")
    p.add_argument("-k", dest="filter", default="", metavar="TEXT", help="only tests with TEXT in their names")
    p.add_argument("--thorough", action="store_true", help="machines, too, that take many minutes to make")
    p.add_argument("--list", action="store_true", help="the names of the machine tests")
    return p.parse_args()


def list_tests() -> int:
    from . import scenario

    sys.path.insert(0, str(SOURCE_ROOT / "tests"))
    for cls in scenario.find(SOURCE_ROOT / "tests" / "vm"):
        for name in scenario.test_names(cls):
            print(f"{scenario.scenario_name(cls)}.{name}")
    return 0


def why_left_out(name: str, args: argparse.Namespace) -> Optional[str]:
    if args.quick and name == "vm":
        return "left out by --quick"
    if args.vm and name != "vm":
        return "left out by --vm"
    if args.suite and name != args.suite:
        return f"left out by --suite={args.suite}"
    return None


def main() -> int:
    args = parse_arguments()
    if args.list:
        return list_tests()
    (cache_folder() / "log").mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    suites = []
    for name, function in SUITES.items():
        suite = Suite(name, skipped=why_left_out(name, args) or "")
        suites.append(suite)
        if suite.skipped:
            continue
        start = time.monotonic()
        try:
            function(suite, args)
        except KeyboardInterrupt:
            suite.add("interrupted", FAILED, "interrupted")
            break
        except Exception as e:  # a suite that breaks is a failure, the others still count
            suite.add("suite", FAILED, f"{type(e).__name__}: {e}")
            print(f"{name}: {type(e).__name__}: {e}", file=sys.stderr)
        suite.seconds = time.monotonic() - start
    return report(suites, time.monotonic() - begin)


def report(suites: list[Suite], seconds: float) -> int:
    sys.stderr.flush()
    print(f"\nSuites, after {seconds:.0f} s:")
    for s in suites:
        if s.skipped:
            print(f"  {s.name:<10} did not run: {s.skipped}")
            continue
        counts = ", ".join(f"{s.count(o)} {o}" for o in (PASSED, FAILED, SKIPPED))
        print(f"  {s.name:<10} {counts} in {s.seconds:.0f} s")
    for outcome in (SKIPPED, FAILED):
        found = [(s, t) for s in suites for t in s.tests if t.outcome == outcome]
        if found:
            print(f"\n{outcome.capitalize()}:")
        groups: dict[tuple[str, str], list[str]] = {}
        for s, t in found:
            groups.setdefault((s.name, t.reason), []).append(t.name)
        for (suite_name, reason), names in groups.items():
            what = names[0] if len(names) == 1 else f"{len(names)} tests from {names[0]} on"
            print(f"  {suite_name}: {what}: {reason}")
    total = {o: sum(s.count(o) for s in suites) for o in (PASSED, FAILED, SKIPPED)}
    # A suite that was left out is one thing skipped, so that the last line does not hide it
    total[SKIPPED] += sum(bool(s.skipped) for s in suites)
    if not total[PASSED]:
        print("\nNothing passed: is the filter right?")
    print()
    print(", ".join(f"{n} {o}" for o, n in total.items()), flush=True)
    return 0 if total[PASSED] and not total[FAILED] else 1


if __name__ == "__main__":
    sys.exit(main())
