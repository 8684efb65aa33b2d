#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Random hosts and configurations, planned, applied and rebooted in files.

What must hold for any of them: the plan after the reboot is the plan of before, also without
zoneinfo; where a setting stands does not matter as long as no other file has it, too; and one size
is one plan, however it is written. The seed is fixed, so a failure comes back.

usage: test-plan-reboot.py [ROUNDS [SEED]]. Environment: DMEMCTL.
"""

from __future__ import annotations

import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile

DMEMCTL = os.environ["DMEMCTL"]
KiB, MiB, GiB = 1 << 10, 1 << 20, 1 << 30
SECTION = 128 * MiB
FOLDERS = "etc", "run", "usr/lib"
# What a reboot must not change
STABLE = "backend", "page_size", "boot_node", "nodes", "arguments", "savings", "findings"


class Host:
    """Nodes with one range of memory each, and what is reserved at its top."""

    def __init__(self, draw: random.Random):
        self.page_size = draw.choice((4096, 4096, 4096, 16384, 65536))
        self.zoneinfo = draw.random() < 0.7
        self.nodes = {}
        start, node = 0, 0
        order = list(range(draw.randint(1, 6)))
        for _ in order:
            sections = draw.choice((0, draw.randint(1, 60), draw.randint(60, 2000)))
            size = sections * SECTION
            self.nodes[node] = {
                "start": start, "size": size, "cpus": draw.random() < 0.8,
                # The kernel's own map, holes and firmware: what meminfo does not count
                "lost": draw.randrange(0, size // 32 + 1, self.page_size) if size else 0,
                "hole": draw.choice((0, self.page_size * draw.randint(1, 99))) if size else 0}
            start += size + draw.randint(0, 8) * SECTION
            node += draw.choice((1, 1, 1, draw.randint(2, 90)))
        self.reserved = dict.fromkeys(self.nodes, 0)

    def write(self, root: pathlib.Path, arguments: list[str]) -> None:
        def put(path, text):
            file = root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)

        zones = ""
        put("dmemd-capture/page_size", f"{self.page_size}\n")
        put("proc/cmdline", f"ro {' '.join(arguments)}\n")
        put("sys/devices/system/memory/block_size_bytes", f"{SECTION:x}\n")
        for node, n in self.nodes.items():
            left = n["size"] - self.reserved[node]
            installed = left - n["hole"] if left else 0
            first = n["size"] // 3 // self.page_size
            zones += "".join(
                f"Node {node}, zone {name:>8}\n  pages free     7\n        spanned  {pages}\n"
                f"        present  {pages}\n        managed  {pages}\n"
                for name, pages in (("DMA32", min(first, installed // self.page_size)),
                                    ("Normal", installed // self.page_size -
                                     min(first, installed // self.page_size))))
            folder = f"sys/devices/system/node/node{node}"
            put(f"{folder}/cpulist", f"{node}\n" if n["cpus"] else "\n")
            put(f"{folder}/meminfo",
                f"Node {node} MemTotal: {max(0, installed - n['lost']) // KiB} kB\n")
            # Only the lowest one matters
            for block in range(n["start"] // SECTION, (n["start"] + left) // SECTION)[:3]:
                os.symlink(f"../../memory/memory{block}", root / folder / f"memory{block}")
            if self.reserved[node]:
                put(f"sys/class/dmem/node{node}/regions",
                    f"{n['start'] + left:#x}-{n['start'] + n['size']:#x}\n")
                for name in "requested", "size", "free":
                    put(f"sys/class/dmem/node{node}/{name}_bytes", f"{self.reserved[node]}\n")
        if self.zoneinfo:
            put("proc/zoneinfo", zones)


def spell(draw: random.Random, size: int) -> str:
    """One of the ways to write a size."""
    ways = [str(size), f"{size:#x}"]
    for letter, unit in ("K", KiB), ("M", MiB), ("G", GiB):
        if size % unit == 0:
            ways += [f"{size // unit}{letter}", f"{size // unit:#x}{letter.lower()}"]
    return draw.choice(ways)


def settings(draw: random.Random, host: Host) -> list[tuple[str, str, int | str]]:
    """(section, key, value), each key once; sizes as numbers."""
    pages = draw.choice((0, 0, draw.randint(1, 2000)))
    found = [("Kernel", "Reserve", draw.randint(4, 40) * 128 * MiB),
             ("Kernel", "ReservePercent", str(draw.randint(0, 20))),
             ("Kernel", "BootNodeReserve", draw.randint(0, 20) * 128 * MiB),
             ("Dmem", "Align", SECTION << draw.randint(0, 5)),
             ("Dmem", "CPULessNodes", draw.choice(("yes", "no"))),
             ("Dmem", "Size", draw.choice(("rest", "rest", "0", "25%", draw.randint(1, 64) * GiB))),
             ("HugePages", "Pages2M", str(pages)),
             ("HugePages", "Pages1G", str(draw.choice((0, 0, 1, 3)))),
             ("Mount", "PageSize", draw.choice((2 * MiB, GiB))),
             ("Plan", "Backend", draw.choice(("dmem", "dmem", "dmem", "hugetlb")))]
    for node in host.nodes:
        if draw.random() < 0.3:
            found += [(f"Node {node}", "Reserve", draw.randint(0, 40) * 512 * MiB),
                      (f"Node {node}", "Size", draw.choice(("rest", "10%", 4 * GiB)))]
    draw.shuffle(found)
    return found[:draw.randint(0, len(found))]


def write_settings(draw: random.Random, root: pathlib.Path, found: list) -> None:
    """Each setting in a file of its own or together, in any of the folders, in any order."""
    for folder in FOLDERS:
        shutil.rmtree(root / folder / "dmemd", ignore_errors=True)
    found = draw.sample(found, len(found))
    main = draw.choice(FOLDERS)
    for i, (section, key, value) in enumerate(found):
        text = spell(draw, value) if isinstance(value, int) else value
        name = f"{main}/dmemd/dmemd.conf" if draw.random() < 0.4 else \
            f"{draw.choice(FOLDERS)}/dmemd/dmemd.conf.d/{draw.randint(10, 99)}-{i}.conf"
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a") as f:
            f.write(f"[{section}]\n{key} = {text}\n")


def plan(root: pathlib.Path) -> dict:
    run = subprocess.run([DMEMCTL, f"--root={root}", "-j", "plan"], capture_output=True, text=True,
                         timeout=120, check=False)
    if run.returncode not in (0, 1):
        raise AssertionError(f"exit status {run.returncode}: {run.stderr}")
    document = json.loads(run.stdout)
    for finding in document["findings"]:
        # Where a setting stands is a part of the message
        finding["message"] = finding["message"].split(" in /")[0]
    return document


def compare(what: str, before: dict, after: dict) -> list[str]:
    return [f"{what}: {key}: {before[key]} became {after[key]}" for key in STABLE
            if before[key] != after[key]]


def check(draw: random.Random, folder: pathlib.Path) -> list[str]:
    host = Host(draw)
    root, after = folder / "before", folder / "after"
    host.write(root, [])
    found = settings(draw, host)
    write_settings(draw, root, found)
    first = plan(root)
    problems = []
    write_settings(draw, root, found)
    problems += compare("the same settings in other places", first, plan(root))

    # The reboot. What the plan takes of a node is no longer in zoneinfo, meminfo and blocks.
    if not any(f["severity"] == "error" for f in first["findings"]):
        for n in first["nodes"]:
            host.reserved[n["id"]] = n["dmem_bytes"]
        host.write(after, first["arguments"])
        for name in FOLDERS:
            if (root / name).exists():
                shutil.copytree(root / name, after / name, dirs_exist_ok=True)
        second = plan(after)
        problems += compare("reboot", first, second)
        if second["booted"] != first["arguments"] or second["reboot_required"]:
            problems.append(f"reboot: booted with {second['booted']}")
    return problems


def main() -> int:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    failures = 0
    for i in range(rounds):
        with tempfile.TemporaryDirectory(prefix="dmemd-test-reboot.") as folder:
            for problem in check(random.Random(f"{seed} {i}"), pathlib.Path(folder)):
                print(f"round {i}: {problem}", file=sys.stderr)
                failures += 1
    print(f"{rounds} hosts, {failures} differences")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
