#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Computes plans a second time and compares: for every host of the corpus and of the fixtures.

Written from dmemctl(1) and dmemd.conf(5), not from the C code, and with numbers that never round
or wrap. usage: plan-oracle.py [ROOT...]; without arguments all captured hosts, see cli.py.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import json
import math
import os
import pathlib
import re
import subprocess
import sys
import tempfile
from fractions import Fraction

KiB, MiB, GiB, TiB = 1 << 10, 1 << 20, 1 << 30, 1 << 40
UNITS = {"K": KiB, "M": MiB, "G": GiB, "T": TiB}
DEFAULTS = {
    "Backend": "dmem", "Reserve": "2G", "ReservePercent": "3", "BootNodeReserve": "2G",
    "Size": "rest", "Align": "1G", "Nodes": "all", "CPULessNodes": "no", "Pages2M": "0",
    "Pages1G": "0", "OptimizeVmemmap": "yes", "PageSize": "2M",
}
SECTIONS = {
    "Backend": "Plan", "Reserve": "Kernel", "ReservePercent": "Kernel", "BootNodeReserve": "Kernel",
    "Size": "Dmem", "Align": "Dmem", "Nodes": "Dmem", "CPULessNodes": "Dmem",
    "Pages2M": "HugePages", "Pages1G": "HugePages", "OptimizeVmemmap": "HugePages",
    "PageSize": "Mount",
}
# Settings, and those of single nodes
CONFIGS = [
    ({}, {}),
    ({"Align": "128M"}, {}),
    ({"Reserve": "1G", "ReservePercent": "7", "BootNodeReserve": "1G"}, {}),
    ({"Reserve": "0", "ReservePercent": "1", "BootNodeReserve": "0"}, {}),
    ({"Size": "4G", "Nodes": "0-1,5"}, {}),
    ({"Size": "33%", "Align": "256M"}, {}),
    ({"Size": "97%"}, {}),
    ({"CPULessNodes": "yes", "Align": "2G"}, {}),
    ({"Pages2M": "300", "Pages1G": "1"}, {}),
    ({"Pages1G": "9", "OptimizeVmemmap": "no"}, {1: {"Pages1G": "0", "Size": "1G"}}),
    ({}, {0: {"Reserve": "6G"}, 2: {"Size": "0"}, 3: {"Size": "10%", "Pages2M": "64"}}),
    ({"Backend": "hugetlb"}, {}),
    ({"Backend": "hugetlb", "PageSize": "1G", "Pages2M": "128", "Align": "128M"}, {}),
    ({"Backend": "none", "Pages1G": "4"}, {}),
]


def size(text: str) -> int:
    return int(text[:-1]) * UNITS[text[-1]] if text[-1] in UNITS else int(text)


def show(bytes_: int) -> str:
    for unit in "TGMK":
        if bytes_ % UNITS[unit] == 0:
            return f"{bytes_ // UNITS[unit]}{unit}"
    return str(bytes_)


def read(path: pathlib.Path) -> str | None:
    try:
        return path.read_bytes().split(b"\0")[0].decode(errors="replace")
    except OSError:
        return None


def id_list(text: str) -> set[int]:
    ids: set[int] = set()
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        ids |= set(range(int(first), int(last or first) + 1))
    return ids


@dataclasses.dataclass
class Node:
    id: int
    installed: int | None = None
    estimated: bool = False
    has_cpus: bool | None = None  # None: unknown
    lowest_block: int | None = None


class Host:
    def __init__(self, root: pathlib.Path):
        base = root / "sys/devices/system/node"
        folders = [f for f in base.iterdir() if re.fullmatch(r"node\d+", f.name)] \
            if base.is_dir() else []
        text = read(root / "dmemd-capture/page_size")
        self.page_size = int(text) if text else 4096
        present = self.read_present(root)
        self.nodes = []
        for folder in sorted(folders, key=lambda f: int(f.name[4:])):
            node = Node(int(folder.name[4:]))
            self.read_memory(node, folder, present)
            self.read_cpus(node, folder)
            node.lowest_block = self.lowest_block(root, folder)
            if node.installed is not None:
                node.installed += self.regions(root, node.id)
            self.nodes.append(node)
        having = [n for n in self.nodes if n.installed]
        blocks = [(n.lowest_block, n.id) for n in having if n.lowest_block is not None]
        meminfo = dict(re.findall(r"^(\w+): +(\d+) kB$", read(root / "proc/meminfo") or "", re.M))
        self.in_use, self.in_use_huge = None, int(meminfo.get("Hugetlb", 0)) * KiB
        if "MemTotal" in meminfo and "MemAvailable" in meminfo:
            self.in_use = (int(meminfo["MemTotal"]) - int(meminfo["MemAvailable"])) * KiB
        self.boot_node = min(blocks)[1] if blocks else min((n.id for n in having), default=None)

    @staticmethod
    def read_present(root: pathlib.Path) -> dict[int, int]:
        present: dict[int, int] = {}
        node = None
        for line in (read(root / "proc/zoneinfo") or "").splitlines():
            if m := re.match(r"Node (\d+), zone", line):
                node = int(m[1])
            elif (m := re.match(r" +present +(\d+)$", line)) and node is not None:
                present[node] = present.get(node, 0) + int(m[1])
        return present

    def read_memory(self, node: Node, folder: pathlib.Path, present: dict[int, int]) -> None:
        if node.id in present:
            node.installed = present[node.id] * self.page_size
        elif m := re.search(r"^Node \d+ MemTotal: +(\d+) kB", read(folder / "meminfo") or "", re.M):
            node.installed, node.estimated = int(m[1]) * KiB, True

    @staticmethod
    def read_cpus(node: Node, folder: pathlib.Path) -> None:
        cpulist, cpumap = read(folder / "cpulist"), read(folder / "cpumap")
        if cpulist is not None:
            node.has_cpus = bool(id_list(cpulist))
        elif cpumap is not None:
            node.has_cpus = int(cpumap.strip().replace(",", ""), 16) != 0

    @staticmethod
    def lowest_block(root: pathlib.Path, folder: pathlib.Path) -> int | None:
        blocks = [int(f.name[6:]) for f in folder.iterdir() if re.fullmatch(r"memory\d+", f.name)]
        memory = root / "sys/devices/system/memory"
        if memory.is_dir():
            blocks += [int(f.name[6:]) for f in memory.iterdir()
                       if re.fullmatch(r"memory\d+", f.name) and
                       os.path.lexists(f / folder.name)]
        online = [b for b in blocks
                  if (read(memory / f"memory{b}/state") or "").strip() != "offline"]
        return min(online, default=None)

    @staticmethod
    def regions(root: pathlib.Path, node: int) -> int:
        text = read(root / f"sys/class/dmem/node{node}/regions") or ""
        return sum(int(end, 16) - int(start, 16)
                   for start, end in re.findall(r"0x([0-9a-f]+)-0x([0-9a-f]+)", text))


@dataclasses.dataclass
class Share:
    dmem: int = 0
    huge_2m: int = 0
    huge_1g: int = 0
    reason: str | None = None

    @property
    def taken(self) -> int:
        return self.dmem + self.huge_2m * 2 * MiB + self.huge_1g * GiB


class Oracle:
    def __init__(self, host: Host, settings: dict, nodes: dict):
        self.host, self.general, self.of_nodes = host, {**DEFAULTS, **settings}, nodes
        self.findings: set[tuple[str, int | None]] = set()
        self.shares = {n.id: self.share(n) for n in host.nodes}
        self.check_floors()

    def setting(self, key: str, node: int) -> str:
        return self.of_nodes.get(node, {}).get(key, self.general[key])

    def reason(self, n: Node) -> str | None:
        named = self.general["Nodes"] != "all" and n.id in id_list(self.general["Nodes"])
        if n.installed is None:
            self.findings.add(("node-unknown", n.id))
            return "memory-unknown"
        if n.installed == 0:
            self.findings.add(("node-no-memory", n.id))
            return "no-memory"
        if self.general["Nodes"] != "all" and not named:
            self.findings.add(("node-excluded", n.id))
            return "not-in-nodes"
        if n.has_cpus is False and not named and self.general["CPULessNodes"] == "no":
            self.findings.add(("node-excluded", n.id))
            return "no-cpus"
        return None

    def share(self, n: Node) -> Share:
        s = Share(reason=self.reason(n))
        if s.reason or self.general["Backend"] == "none":
            return s
        align = size(self.general["Align"])
        kernel = max(size(self.setting("Reserve", n.id)),
                     math.ceil(Fraction(n.installed * int(self.general["ReservePercent"]), 100)))
        if n.id == self.host.boot_node:
            kernel += size(self.general["BootNodeReserve"])
        pages_2m = int(self.setting("Pages2M", n.id))
        pages_1g = int(self.setting("Pages1G", n.id))
        huge = pages_2m * 2 * MiB + pages_1g * GiB
        rest = n.installed - kernel - huge
        if huge > max(0, n.installed - kernel):
            self.findings.add(("does-not-fit", n.id))
            return s
        s.huge_2m, s.huge_1g = pages_2m, pages_1g
        wish = self.setting("Size", n.id)
        if wish == "rest":
            asked = max(0, rest)
        elif wish.endswith("%"):
            asked = n.installed * int(wish[:-1]) // 100
        else:
            asked = size(wish)
        if asked > max(0, rest):
            self.findings.add(("does-not-fit", n.id))
            return s
        given = asked // align * align
        if self.general["Backend"] == "hugetlb":
            page = size(self.general["PageSize"])
            given = given // page * page
            if page == GiB:
                s.huge_1g += given // page
            else:
                s.huge_2m += given // page
        else:
            s.dmem = given
        if given == 0 and wish == "rest":
            self.findings.add(("nothing-left", n.id))
        return s

    def check_floors(self) -> None:
        host = 0
        for n in self.host.nodes:
            if n.installed is None:
                continue
            s = self.shares[n.id]
            kernel = n.installed - s.taken
            host += kernel
            at_boot = (n.installed - s.dmem) // self.host.page_size * 64
            if s.taken and (kernel < 512 * MiB or Fraction(kernel) < Fraction(n.installed, 128) or
                            kernel < at_boot):
                self.findings.add(("below-floor", n.id))
        if any(s.taken for s in self.shares.values()):
            if host < 3 * GiB // 2:
                self.findings.add(("below-floor", None))
            huge = sum(s.taken - s.dmem for s in self.shares.values())
            if self.host.in_use is not None and \
                    self.host.in_use - min(huge, self.host.in_use_huge) > host:
                self.findings.add(("in-use", None))

    def arguments(self) -> list[str]:
        def by_node(values: dict) -> str:
            return ",".join(f"{n}:{v}" for n, v in values.items() if v not in (0, "0"))

        words = []
        if dmem := by_node({n: show(s.dmem) if s.dmem else 0 for n, s in self.shares.items()}):
            words.append(f"dmem={dmem}")
        for name, page in ("huge_1g", "1G"), ("huge_2m", "2M"):
            if counts := by_node({n: getattr(s, name) for n, s in self.shares.items()}):
                words += [f"hugepagesz={page}", f"hugepages={counts}"]
        if any(s.huge_1g or s.huge_2m for s in self.shares.values()) and \
                self.general["OptimizeVmemmap"] == "yes":
            words.append("hugetlb_free_vmemmap=on")
        return words

    def hvo(self, bytes_: int, page: int) -> int:
        base = self.host.page_size
        if page // base * 64 <= base:
            return bytes_ // base * 64
        pages = bytes_ // page
        return pages * base + math.ceil(Fraction(pages * page, 128 * MiB)) * 4 * KiB + \
            bytes_ % page // base * 64

    def costs(self) -> dict[str, int]:
        base = self.host.page_size
        costs = dict.fromkeys(("plain", "hugetlb-2M", "hugetlb-2M-hvo", "hugetlb-1G-hvo", "dmem"),
                              0)
        for n in self.host.nodes:
            guests = self.shares[n.id].taken
            kernel = ((n.installed or 0) - guests) // base * 64
            costs["plain"] += kernel + guests // base * 64
            costs["hugetlb-2M"] += kernel + guests // base * 64
            costs["hugetlb-2M-hvo"] += kernel + self.hvo(guests, 2 * MiB)
            costs["hugetlb-1G-hvo"] += kernel + self.hvo(guests, GiB)
            costs["dmem"] += kernel
        return costs


# Those that follow from facts and settings alone
COMPARED = {"node-unknown", "node-no-memory", "node-excluded", "does-not-fit", "nothing-left",
            "below-floor", "in-use"}


def compare(host: Host, plan: dict, oracle: Oracle) -> list[str]:
    differences = []

    def check(what: str, got, expected) -> None:
        if got != expected:
            differences.append(f"{what}: dmemctl {got}, oracle {expected}")

    check("page_size", plan["page_size"], host.page_size)
    check("boot_node", plan["boot_node"], host.boot_node)
    check("ids", [n["id"] for n in plan["nodes"]], [n.id for n in host.nodes])
    for n, got in zip(host.nodes, plan["nodes"]):
        share = oracle.shares[n.id]
        check(f"installed of {n.id}", got["installed_bytes"], n.installed)
        check(f"kernel of {n.id}", got["kernel_bytes"],
              None if n.installed is None else n.installed - share.taken)
        check(f"dmem of {n.id}", got["dmem_bytes"], share.dmem)
        check(f"huge pages of {n.id}", {h["page_size"]: h["count"] for h in got["hugepages"]},
              {2 * MiB: share.huge_2m, GiB: share.huge_1g})
        check(f"reason of {n.id}", got["reason"], share.reason)
        check(f"eligible of {n.id}", got["eligible"], share.reason is None)
    check("arguments", plan["arguments"], oracle.arguments())
    check("findings", sorted((f["code"], str(f["node"])) for f in plan["findings"]
                             if f["code"] in COMPARED),
          sorted((code, str(node)) for code, node in oracle.findings))
    check("estimated", "installed-estimated" in [f["code"] for f in plan["findings"]],
          any(n.estimated for n in host.nodes))
    check("costs", {a["name"]: a["metadata_bytes"] for a in plan["savings"]["alternatives"]},
          oracle.costs())
    check("plain_bytes", plan["savings"]["plain_bytes"],
          sum((n.installed or 0) // host.page_size * 64 for n in host.nodes))
    return differences


def config_text(settings: dict, nodes: dict) -> str:
    text = "".join(f"[{SECTIONS[key]}]\n{key}={value}\n" for key, value in settings.items())
    for node, overrides in nodes.items():
        text += f"[Node {node}]\n" + "".join(f"{k}={v}\n" for k, v in overrides.items())
    return text


def check_host(root: pathlib.Path) -> int:
    host, failures = Host(root), 0
    for settings, nodes in CONFIGS:
        with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
            file.write(config_text(settings, nodes))
            file.flush()
            r = subprocess.run([os.environ["DMEMCTL"], f"--root={root}", f"--config={file.name}",
                                "--json=short", "plan"], capture_output=True, text=True,
                               timeout=60)
        if r.returncode not in (0, 1):
            differences = [f"exit status {r.returncode}: {r.stderr.strip()}"]
        else:
            plan = json.loads(r.stdout)
            differences = compare(host, plan, Oracle(host, settings, nodes))
            errors = any(f["severity"] == "error" for f in plan["findings"])
            if r.returncode != errors:
                differences.append(f"exit status {r.returncode} with errors: {errors}")
        for difference in differences:
            failures += 1
            print(f"{root.name} {settings} {nodes}: {difference}", file=sys.stderr)
    return failures


def main() -> int:
    roots = [pathlib.Path(a) for a in sys.argv[1:]]
    if not roots:
        from cli import captured_hosts

        roots = captured_hosts()
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        failures = sum(pool.map(check_host, roots))
    print(f"{len(roots)} hosts, {len(CONFIGS)} configurations, {failures} differences")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
