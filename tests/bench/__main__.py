# SPDX-License-Identifier: LGPL-2.1-or-later
"""tools/bench: the figures, side by side with what people would use instead."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
import zipapp
from pathlib import Path
from typing import Callable

from lab.images import SOURCE_ROOT
from lab.machine import GIB, LabError

from . import guests, hosts
from .place import PROGRAMS, CannotMeasure, exported, get_program
from .pool import pool
from .result import Result
from .userland import userland

DESCRIPTION = """\
Measures what dmem saves and how fast it is, against plain pages, THP and HugeTLB with and without HVO.
For each benchmark it prints ratios, tables, and how each figure was taken, and writes NAME.json (with
all samples), NAME.svg and NAME.txt into a folder. Whole hosts and guests are machines in QEMU's software
emulation: only ratios mean something there, not the seconds. The exit status is 1 if a benchmark failed
and 3 if a figure misses what the project promises.

benchmarks:
  memory    hosts of 384 GiB and 768 GiB: struct pages, overhead, what dmemctl predicted; the largest
            needs 14 GiB of real memory
  boot      time from the kernel's start to init, host of 384 GiB
  sold      the largest of these hosts with all of its memory sold that a plan will give away, and a memory
            hog in what is left
  start     start of a guest: time until its memory is mapped and touched, page faults, tear-down
  steady    random access at each page size
  kvm       KVM's mappings and the time to populate them; guests in QEMU
  count     instructions of the kernel for a page fault, for tear-down and for KVM's mappings
  pool      cost of allocating and freeing against size and fragmentation of the pool; needs no machine
  userland  dmemctl plan on 64 nodes; dmemd's start, memory and processor time, at rest and in a storm
"""

EXAMPLES = """\
examples:
  tools/bench                            everything: an hour or more
  tools/bench --quick                    everything on small machines with few samples, to see it work
  tools/bench start steady               only these
  tools/bench --shape=384G/8 memory boot the same for a host with 8 nodes
  tools/bench --shape=384G/2 --way=dmem --way='hugetlb 1G HVO' boot
                                         only these two, and plain pages
  tools/bench --host                     on this host itself, what needs no reboot: start and steady (root; with
                                         what pools and huge pages there are), pool, userland
  tools/bench --export=dmemd-bench       one file that does the same on a host that has no more than Python
"""

NAMES = ["memory", "boot", "sold", "start", "steady", "kvm", "count", "pool", "userland"]
ON_HOST = ["start", "steady", "pool", "userland"]


def shape(text: str) -> hosts.Shape:
    try:
        return hosts.parse_shape(text)
    except ValueError as e:
        raise argparse.ArgumentTypeError(str(e)) from e


def parse_arguments() -> argparse.Namespace:
    p = argparse.ArgumentParser(prog="tools/bench", description=DESCRIPTION, epilog=EXAMPLES,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("benchmarks", nargs="*", metavar="BENCHMARK", help="only these, in this order")
    p.add_argument("--list", action="store_true", help="the names of the benchmarks")
    p.add_argument("--output", type=Path, metavar="DIR", help="where to write (default: bench-DATE here)")
    p.add_argument("--quick", action="store_true", help="small machines, few samples")
    p.add_argument("--host", action="store_true", help="this host itself instead of machines in QEMU")
    p.add_argument("--export", type=Path, metavar="FILE", help="write a program that is tools/bench --host")
    p.add_argument("--rounds", type=int, metavar="N", help="samples of each figure (default: 7; boot 3; with --quick 2)")
    p.add_argument("--shape", type=shape, action="append", metavar="SIZE/NODES",
                   help="host for memory, boot and sold; can be repeated (default: 384G/2, 384G/4, 768G/2, 768G/4)")
    p.add_argument("--way", choices=list(hosts.WAYS), action="append", metavar="WAY",
                   help=f"way to provide memory in memory, boot and sold; can be repeated; plain pages always (default: all of "
                        f"{', '.join(hosts.WAYS)})")
    args = p.parse_args()
    if exported("measure"):
        args.host = True
    for name in args.benchmarks:
        if name not in NAMES:
            p.error(f"no such benchmark: {name!r} (allowed: {', '.join(NAMES)})")
        if args.host and name not in ON_HOST:
            p.error(f"{name!r} needs machines of its own and does not go with --host (allowed: {', '.join(ON_HOST)})")
    if args.rounds is not None and args.rounds < 1:
        p.error("--rounds: at least 1")
    return args


def benchmarks(args: argparse.Namespace) -> dict[str, Callable[[], Result]]:
    rounds = args.rounds or (2 if args.quick else 7)
    boots = args.rounds or (1 if args.quick else 3)
    default = [(8, 2)] if args.quick else [(384, 2), (384, 4), (768, 2), (768, 4)]
    shapes = args.shape or [hosts.Shape(size * GIB, n) for size, n in default]
    seen = hosts.Hosts(shapes[0] if "boot" in (args.benchmarks or NAMES) else None, args.way)
    largest = max(shapes, key=lambda s: (s.size, s.nodes))
    return {
        "memory": lambda: hosts.memory(seen, shapes),
        "boot": lambda: hosts.boot(seen, shapes[0], boots),
        "sold": lambda: hosts.sold(largest, seen.ways),
        "start": lambda: guests.start(args.quick, args.host, rounds),
        "steady": lambda: guests.steady(args.quick, args.host, rounds),
        "kvm": lambda: guests.kvm(args.quick, args.host, rounds),
        "count": lambda: guests.count(args.host, min(rounds, 3)),
        "pool": lambda: pool(args.quick, rounds),
        "userland": lambda: userland(args.quick, args.host, rounds),
    }


def export(path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for package in ("bench", "lab"):
            shutil.copytree(SOURCE_ROOT / "tests" / package, Path(folder) / package,
                            ignore=shutil.ignore_patterns("*.c", "__pycache__", "selftest.py"))
        for name in PROGRAMS:
            shutil.move(get_program(name), f"{folder}/bench/{name}.built")
        Path(folder, "__main__.py").write_text("import sys\nfrom bench.__main__ import main\nsys.exit(main())\n")
        zipapp.create_archive(folder, path, interpreter="/usr/bin/env python3", compressed=True)


def main() -> int:
    args = parse_arguments()
    if args.export:
        try:
            export(args.export)
        except (LabError, OSError) as e:
            print(f"tools/bench: --export: {e}", file=sys.stderr)
            return 1
        return 0
    if args.list:
        print("\n".join(ON_HOST if args.host else NAMES))
        return 0
    folder: Path = args.output or Path(time.strftime("bench-%Y%m%d-%H%M%S"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        print(f"tools/bench: --output: {folder}: {e.strerror}", file=sys.stderr)
        return 2
    status = 0
    table = benchmarks(args)
    for name in args.benchmarks or (ON_HOST if args.host else NAMES):
        begin = time.monotonic()
        try:
            result = table[name]()
            result.notes.insert(0, "machine: " + ", ".join(f"{k} {v}" for k, v in result.place.items() if k != "machine"))
            result.write(folder)
        except (LabError, CannotMeasure, OSError) as e:
            print(f"tools/bench: {name}: {e}", file=sys.stderr)
            status = 1
            continue
        print(result.as_text(), flush=True)
        print(f"  ({name} took {time.monotonic() - begin:.0f} s; {folder}/{name}.json, .svg, .txt)\n", flush=True)
        if result.missed() and not status:
            status = 3
    return status


if __name__ == "__main__":
    sys.exit(main())
