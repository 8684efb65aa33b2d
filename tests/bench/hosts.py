# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whole hosts: what the descriptions of memory cost them, how much can be sold, how fast they boot.

A machine of the wanted size boots with plain pages first. In it `dmemctl plan` makes a plan for each
way to provide guest memory, and each plan's arguments are what the next machine boots with: so all
of them give the same memory to guests. Big machines boot with overcommitted memory: nobody touches
what is for guests.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Optional

from lab.images import image
from lab.machine import GIB, KIB, MIB, LabError, Machine, Node, parse_size

from .place import Host, Lab, host_place, lab_in, lab_place
from .result import Chart, Result, Table
from .userland import find_dmemctl, write_host

PAGE = 4 * KIB
# name: [Plan] Backend=, [Mount] PageSize=, [HugePages] OptimizeVmemmap=
WAYS = {
    "plain": ("none", "2M", "no"),
    "dmem": ("dmem", "2M", "no"),
    "hugetlb 1G HVO": ("hugetlb", "1G", "yes"),
    "hugetlb 2M HVO": ("hugetlb", "2M", "yes"),
    "hugetlb 1G": ("hugetlb", "1G", "no"),
    "hugetlb 2M": ("hugetlb", "2M", "no"),
}
# What dmemctl says about the struct pages of each way
ALTERNATIVES = {"hugetlb 2M HVO": "hugetlb-2M-hvo", "hugetlb 1G HVO": "hugetlb-1G-hvo", "dmem": "dmem"}

# As much as can be sold: whole GiB, and enough for the kernel's floor of 1/128 of a node
SELL = "[Kernel]\nReserve=1920M\nReservePercent=1\nBootNodeReserve=0\n"


@dataclass
class Shape:
    """A host: 384G on 2 nodes is 384G/2."""

    size: int
    nodes: int

    @property
    def name(self) -> str:
        return f"{self.size // GIB} GiB on {self.nodes} node{'s' if self.nodes > 1 else ''}"

    def lab_nodes(self) -> list[Node]:
        cpus = max(2, self.nodes)
        return [Node(self.size // self.nodes, cpus // self.nodes) for _ in range(self.nodes)]


def parse_shape(text: str) -> Shape:
    size, slash, nodes = text.partition("/")
    n = int(nodes) if nodes.isdecimal() else 0
    if not slash or not 1 <= n <= 64 or parse_size(size) % (n * GIB) or parse_size(size) < 4 * n * GIB:
        raise ValueError(f"not a host: {text!r} (SIZE/NODES such as 384G/2; whole GiB for each node, at least 4)")
    if parse_size(size) > 1000 * GIB:
        raise ValueError(f"{text!r}: the emulated processor addresses 1 TiB, take at most 1000G")
    return Shape(parse_size(size), n)


@dataclass
class Boot:
    """What one boot has shown."""

    figures: dict[str, int]  # bytes
    kernel_seconds: float
    wall_seconds: float
    cpu_seconds: float
    again: Optional[tuple[float, float]]  # kernel and processor of a second boot of the same machine
    place: dict[str, Any]


class Hosts:
    """Boots hosts, and remembers what came of it: the benchmarks share boots. Those of @timed boot twice."""

    def __init__(self, timed: Optional[Shape] = None, ways: Optional[list[str]] = None) -> None:
        self.timed = timed
        # All is compared with plain pages, and they make the plans
        self.ways = [w for w in WAYS if not ways or w in ways or w == "plain"]
        self.boots: dict[tuple[str, str], list[Boot]] = {}
        self.failed: dict[tuple[str, str], LabError] = {}
        self.plans: dict[str, dict[str, dict[str, Any]]] = {}

    def boot(self, shape: Shape, way: str, at_least: int = 1) -> list[Boot]:
        """Raises LabError if it does not boot, without trying that again."""
        key = (shape.name, way)
        found = self.boots.setdefault(key, [])
        while len(found) < at_least:
            if key in self.failed:
                raise self.failed[key]
            try:
                found.append(self._boot(shape, way))
            except LabError as e:
                self.failed[key] = e
                raise
        return found

    def plan(self, shape: Shape, way: str) -> dict[str, Any]:
        if shape.name not in self.plans:
            self.boot(shape, "plain")
        return self.plans[shape.name][way]

    def _boot(self, shape: Shape, way: str) -> Boot:
        arguments = "" if way == "plain" else " ".join(self.plan(shape, way)["arguments"])
        machine = big_machine(shape, arguments)
        begin = time.monotonic()
        with lab_in(machine) as lab:
            wall, cpu = time.monotonic() - begin, machine.processor_seconds()
            seconds = kernel_seconds(lab)
            if way == "dmem":
                lab.run("modprobe dmemfs")
            seen = figures(lab)
            if way == "plain" and shape.name not in self.plans:
                self.plans[shape.name] = {w: make_plan(lab, w) for w in WAYS}
            place = lab_place(machine, lab.run("uname -r").strip())
            again = boot_again(lab) if shape == self.timed else None
        print(f"  {shape.name}, {way}: {seconds:.1f} s to init{f', then {again[0]:.1f} s' if again else ''}, "
              f"overhead {seen['overhead'] / GIB:.2f} GiB", file=sys.stderr, flush=True)
        return Boot(seen, seconds, wall, cpu, again, place)


def boot_again(lab: Lab) -> tuple[float, float]:
    """By the reset button: the machine below has found real memory for what the kernel uses, as a real host has
    it from the start."""
    before = lab.machine.processor_seconds()
    lab.machine.reset()
    cpu = lab.machine.processor_seconds() - before
    return kernel_seconds(lab), cpu


def big_machine(shape: Shape, arguments: str, bare: bool = True) -> Machine:
    return Machine(image("dmem"), shape.lab_nodes(), cpu="EPYC", boot="direct", bare=bare,
                   append=f"tsc_early_khz={tsc_khz()} {arguments}", name=f"bench-{os.getpid()}")


@lru_cache(maxsize=None)
def tsc_khz() -> int:
    """What the emulated processor counts, for the kernel's clock: it runs from the start if it is told, else only
    once the kernel has found that out, and that can be after it has made the struct pages."""
    here = Host()
    try:
        here.install()
        return here.measure("tsc")["tsc_khz"]
    finally:
        here.clean_up()


def kernel_seconds(lab: Lab) -> float:
    """The kernel's own clock, which runs from its start, when it starts init."""
    m = re.search(r"^\[ *(\d+\.\d+)\] Run \S+ as init process", lab.run("dmesg"), re.M)
    if not m:
        raise LabError("the kernel does not say when it ran init")
    return float(m[1])


def make_plan(lab: Lab, way: str) -> dict[str, Any]:
    backend, page_size, optimize = WAYS[way]
    lab.machine.put("/tmp/bench.conf", f"[Plan]\nBackend={backend}\n[Mount]\nPageSize={page_size}\n"
                                       f"[HugePages]\nOptimizeVmemmap={optimize}\n")
    plan = json.loads(lab.run("dmemctl --json=short plan --config=/tmp/bench.conf"))
    errors = [f["message"] for f in plan["findings"] if f["severity"] == "error"]
    if errors:
        raise LabError(f"dmemctl plan, {way}: {errors[0]}")
    return plan


def figures(lab: Lab) -> dict[str, int]:
    """Bytes. The kernel's own words are kept as they are named."""
    meminfo = {k: int(v) * KIB for k, v in re.findall(r"^(\S+):\s+(\d+) kB", lab.run("cat /proc/meminfo"), re.M)}
    vmstat = dict(re.findall(r"^(\S+) (\d+)$", lab.run("cat /proc/vmstat"), re.M))
    log = lab.run("dmesg")
    usable = lab.run(
        "cd /sys/firmware/memmap && for i in *; do [ \"$(cat $i/type)\" != 'System RAM' ] || "
        "echo $(($(cat $i/end) + 1 - $(cat $i/start))); done")
    granted = lab.run("cat /sys/class/dmem/node*/size_bytes 2>/dev/null || true")
    huge = sum(
        int(n) * int(kib) * KIB for kib, n in re.findall(r"hugepages-(\d+)kB/nr_hugepages:(\d+)", lab.run(
            "grep -H . /sys/kernel/mm/hugepages/hugepages-*/nr_hugepages || true")))
    f = {
        "installed": sum(map(int, usable.split())),
        "dmem": sum(map(int, granted.split())),
        "huge": huge,
        "MemTotal": meminfo["MemTotal"],
        "MemAvailable": meminfo["MemAvailable"],
        "struct page": PAGE * (int(vmstat["nr_memmap_boot_pages"]) + int(vmstat["nr_memmap_pages"])),
        "hash tables": sum(int(x) for x in re.findall(r"hash table entries: .*?(\d+) bytes", log)),
        "running": meminfo["MemTotal"] - huge - sum(meminfo[k] for k in ("MemFree", "Buffers", "Cached", "AnonPages")),
        "memory map's tables": vmemmap_tables(lab),
    }
    # Memory that never became the kernel's to give away
    f["static"] = f["installed"] - f["dmem"] - f["MemTotal"]
    f["overhead"] = f["static"] + f["running"]
    f["left"] = f["MemTotal"] - f["huge"]
    return f


def vmemmap_tables(lab: Lab) -> int:
    """Bytes of page tables that map the memory map in pages of 4 KiB: what HVO makes of it."""
    text = lab.run(
        "sed -n '/---\\[ Vmemmap/,/---\\[ [^V]/p' /sys/kernel/debug/page_tables/kernel 2>/dev/null | "
        "grep -E 'pte *$' || true", timeout=600)
    tables: set[int] = set()
    for a, b in re.findall(r"^0x([0-9a-f]+)-0x([0-9a-f]+)", text, re.M):
        tables.update(range(int(a, 16) // (2 * MIB), -(-int(b, 16) // (2 * MIB))))
    return PAGE * len(tables)


def memory(hosts: Hosts, shapes: list[Shape]) -> Result:
    result: Optional[Result] = None
    for shape in shapes:
        for way in hosts.ways:
            try:
                boot = hosts.boot(shape, way)[0]
            except LabError as e:
                if not result:
                    raise
                result.notes.append(f"{shape.name}, {way}: does not boot: {str(e).splitlines()[0]}")
                continue
            result = result or Result("memory", "what the descriptions of memory cost", boot.place)
            _add_memory(result, shape, way, boot, hosts)
        assert result
        _memory_figures(result, shape)
    assert result
    result.notes.append("dmem: 'left' is MemTotal; where guests have huge pages, it is MemTotal less those; "
                        "with plain pages guests live in it")
    return result


HOW = {
    "struct page": "nr_memmap_boot_pages + nr_memmap_pages of /proc/vmstat, in pages of 4 KiB",
    "hash tables": "sum of the 'hash table entries' lines of the kernel's log; part of static",
    "static": "System RAM of /sys/firmware/memmap less what dmem took less MemTotal",
    "running": "MemTotal less MemFree, Buffers, Cached, AnonPages and huge pages: what the kernel took since, where no service runs",
    "overhead": "static + running",
    "MemTotal": "/proc/meminfo",
    "left": "MemTotal less huge pages",
    "memory map's tables": "vmemmap area of debugfs page_tables/kernel: a table for each 2 MiB that is mapped in pages of 4 KiB",
}


def _add_memory(result: Result, shape: Shape, way: str, boot: Boot, hosts: Hosts) -> None:
    key = f"{shape.name}, {way}"
    for name, how in HOW.items():
        result.add(f"{name}, {key}", "bytes", how, boot.figures[name])
    plan = hosts.plan(shape, way if way != "plain" else "dmem")
    sold = sum(n["dmem_bytes"] for n in plan["nodes"]) + sum(
        h["page_size"] * h["count"] for n in plan["nodes"] for h in n["hugepages"])
    result.add(f"for guests, {key}", "bytes",
               "what the plan gives them: dmem and huge pages as they are found, plain pages as the plan for dmem says",
               sold if way == "plain" else boot.figures["dmem"] + boot.figures["huge"])
    savings = plan["savings"]
    predicted = savings["plain_bytes"]
    if way in ALTERNATIVES:
        predicted = next(a["metadata_bytes"] for a in savings["alternatives"] if a["name"] == ALTERNATIVES[way])
    result.add(f"predicted, {key}", "bytes", "savings of dmemctl plan, made in the machine with plain pages", predicted)
    result.add(f"found, {key}", "bytes", "struct pages, and the page tables that HVO adds for them",
               boot.figures["struct page"] + (boot.figures["memory map's tables"] if "HVO" in way else 0))
    result.ratio(f"{key}: prediction off by", "deviation", f"found, {key}", f"predicted, {key}", "<= 1")
    if way != "plain":
        result.ratio(f"{key}: guests have of planned", "quotient", f"for guests, {key}", f"for guests, {shape.name}, plain")


def _memory_figures(result: Result, shape: Shape) -> None:
    big = shape.size >= 384 * GIB
    plain = f"{shape.name}, plain"
    for way in list(WAYS)[1:]:
        key = f"{shape.name}, {way}"
        if f"overhead, {key}" not in result.measures:
            continue
        wanted = ">= 90" if way == "dmem" and big else None
        result.ratio(f"{key}: struct pages cut by", "cut", f"struct page, {key}", f"struct page, {plain}")
        result.ratio(f"{key}: overhead cut by", "cut", f"overhead, {key}", f"overhead, {plain}", wanted)
    names = [w for w in WAYS if f"overhead, {shape.name}, {w}" in result.measures]
    table = Table(f"{shape.name}", names)
    for row in ("for guests", "left", "MemTotal", "struct page", "hash tables", "static", "running", "overhead",
                "predicted", "found"):
        table.rows.append((row, [f"{row}, {shape.name}, {w}" for w in names]))
    result.tables.append(table)
    result.charts.append(Chart(f"{shape.name}: overhead of the kernel, {result.cell(f'for guests, {shape.name}, dmem')} "
                               "for guests", [(w, f"overhead, {shape.name}, {w}") for w in names]))


def sold(shape: Shape, ways: list[str]) -> Result:
    """As much for guests as a plan gives away, and a host that lives on what is left."""
    name = shape.name
    image("dmem")  # with which dmemctl is built
    result = Result("sold", f"all that can be sold of {name}", host_place())
    plan = plan_to_sell(shape)
    wanted = ">= 760 GiB" if shape.size == 768 * GIB else None
    if "dmem" in ways:
        try:
            _sell_dmem(result, shape, name, " ".join(plan["arguments"]))
        except LabError as e:
            result.measures.pop(f"sold, {name}, dmem", None)
            result.add(f"sold, {name}, dmem", "bytes", f"nothing, as this host failed: {str(e).splitlines()[0]}", 0)
        result.ratio(f"{name}: dmem", "value", f"sold, {name}, dmem", wanted=wanted or "> 0 GiB")
    if "hugetlb 1G HVO" in ways:
        pages = ",".join(f"{n['id']}:{n['dmem_bytes'] // GIB}" for n in plan["nodes"])
        _sell_hvo(result, shape, name, f"hugepagesz=1G hugepages={pages} hugetlb_free_vmemmap=on")
        result.ratio(f"{name}: 1G pages with HVO", "value", f"sold, {name}, hugetlb 1G HVO")
    columns = [w for w in ways if f"sold, {name}, {w}" in result.measures]
    rows = [(row, [f"{row}, {name}, {w}" for w in columns]) for row in ("sold", "left", "MemAvailable")]
    result.tables.append(Table(name, columns, [
        (row, [x if x in result.measures else None for x in cells]) for row, cells in rows]))
    result.charts.append(Chart(f"{name}: what can be sold", [(w, f"sold, {name}, {w}") for w in columns]))
    return result


def plan_to_sell(shape: Shape) -> dict[str, Any]:
    """By dmemctl, for a host of that shape in files: a plan is no different there."""
    with tempfile.TemporaryDirectory() as folder:
        write_host(Path(folder), shape.nodes, shape.size // shape.nodes, GIB)
        config = Path(folder) / "bench.conf"
        config.write_text(SELL)
        argv = [find_dmemctl(), f"--root={folder}", "--json=short", "plan", f"--config={config}"]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LabError(f"dmemctl plan, all that can be sold:\n{done.stdout[:2000]}{done.stderr}")
    return json.loads(done.stdout)


def _sell_dmem(result: Result, shape: Shape, name: str, arguments: str) -> None:
    machine = big_machine(shape, arguments, bare=False)
    with lab_in(machine) as lab:
        lab.install()
        result.place = lab.describe()
        seen = figures(lab)
        result.add(f"sold, {name}, dmem", "bytes", f"size_bytes of all nodes, booted with {arguments}", seen["dmem"])
        result.add(f"left, {name}, dmem", "bytes", "MemTotal, with all services", seen["left"])
        result.add(f"MemAvailable, {name}, dmem", "bytes", "at rest, with all services", seen["MemAvailable"])
        services = survive_hog(lab)
        result.add(f"services, {name}, dmem", "services",
                   "system boots to 'running'; then a process takes memory until the kernel ends it; services "
                   "with the same main process as before, of those that ran and have not ended by themselves", services[0])
        result.add(f"services before, {name}, dmem", "services", "systemctl list-units --state=running", services[1])
        result.ratio(f"{name}: services that survive a memory hog", "quotient", f"services, {name}, dmem",
                     f"services before, {name}, dmem", "= 1")


def survive_hog(lab: Lab) -> tuple[int, int]:
    """A hog in the host's own share. Returns how many services live on, and how many there were."""
    state = lab.run("systemctl is-system-running", check=False).strip()
    if state != "running":
        raise LabError(f"the machine comes up {state}")
    command = ("for u in $(systemctl list-units --type=service --state=running --plain --no-legend | cut -d' ' -f1); "
               "do echo $u $(systemctl show -p MainPID --value $u); done | sort")
    before = lab.run(command).splitlines()
    if not any(x.startswith("dmemd.service") for x in before):
        raise LabError(f"dmemd does not run: {before}")
    # As somebody's program: no limit of its own, and not protected as the agent is that starts it
    r = lab.machine.run(f"echo 0 >/proc/self/oom_score_adj && exec {lab.program} hog", check=False, timeout=1200)
    killed = re.findall(r"Out of memory: Killed process \d+ \((\S+?)\)", lab.run("dmesg"))
    if r.status != 128 + 9 or set(killed) != {"bench-measure"}:
        raise LabError(f"the hog should be all that the kernel ends, it ended {killed}; hog: {r}")
    failed = lab.run("systemctl --failed --no-legend").strip()
    lab.machine.expected += ["Call Trace:"]  # the kernel shows where it ran out of memory
    complaints = lab.machine.complaints()
    if failed or complaints:
        raise LabError(f"failed units: {failed!r}; the kernel's complaints: {complaints}")
    # What status says of the plan is of no interest here: this boot's arguments come from QEMU, not from a plan
    status = json.loads(lab.run("dmemctl --json=short status", check=False))
    if status["source"] != "dmemd":
        raise LabError(f"dmemd does not answer any more: {status}")
    after = lab.run(command).splitlines()
    gone = [x for x in before if x not in after]
    return len(before) - len(gone), len(before) - len([x for x in gone if ended_by_itself(lab, x.split()[0])])


def ended_by_itself(lab: Lab, unit: str) -> bool:
    """As those do that have had nothing to do for a while, systemd-fsckd for one."""
    seen = lab.run(f"systemctl show -p ActiveState -p NRestarts -p Result {unit}").split()
    return sorted(seen) == ["ActiveState=inactive", "NRestarts=0", "Result=success"]


def _sell_hvo(result: Result, shape: Shape, name: str, arguments: str) -> None:
    """The same amount as 1G pages with HVO. Their struct pages are given back only after they were made, so
    dmemctl refuses to plan that; this asks the kernel itself."""
    machine = big_machine(shape, arguments)
    try:
        machine.start()
        seen = figures(Lab(machine))
        result.add(f"sold, {name}, hugetlb 1G HVO", "bytes", f"huge pages of all nodes, booted with {arguments}", seen["huge"])
    except LabError as e:
        result.add(f"sold, {name}, hugetlb 1G HVO", "bytes",
                   f"nothing, as this host does not come up, booted with {arguments}: {str(e).splitlines()[0]}", 0)
    finally:
        machine.stop()


def boot(hosts: Hosts, shape: Shape, rounds: int) -> Result:
    names = list(hosts.ways)
    for r in range(rounds):
        for i in range(len(names)):
            hosts.boot(shape, "plain")
            way = names[(i + r) % len(names)]
            try:
                hosts.boot(shape, way, r + 1)
            except LabError:
                if way in ("plain", "dmem"):
                    raise
    place = hosts.boot(shape, "plain")[0].place
    result = Result("boot", f"time from the kernel's start to init, {shape.name}", place)
    for way in [w for w in names if (shape.name, w) in hosts.failed]:
        names.remove(way)
        result.notes.append(f"{way}: does not boot: {str(hosts.failed[shape.name, way]).splitlines()[0]}")
    for way in names:
        for b in hosts.boot(shape, way)[:rounds]:
            assert b.again
            result.add(f"kernel, {way}", "s", "the kernel's clock in its log when it runs init, in a new machine; all ways in turn "
                       "in each round", b.kernel_seconds)
            result.add(f"processor, {way}", "s", "user and system time of QEMU for that boot, firmware and loading included, "
                       "which other work on the machine does not change much", b.cpu_seconds)
            result.add(f"wall, {way}", "s", "from the start of QEMU to the first command, firmware and loading included",
                       b.wall_seconds)
            result.add(f"second boot, {way}", "s", "the same when that machine boots again: real memory for what the kernel "
                       "uses has been found then", b.again[0])
            result.add(f"second processor, {way}", "s", "user and system time of QEMU for that", b.again[1])
    big = shape.size >= 384 * GIB
    for way in [w for w in names if w != "dmem"]:
        takes = "plain pages take" if way == "plain" else f"{way} takes"
        wanted = ">= 3" if way == "plain" else ">= 2" if "HVO" in way else None
        result.ratio(f"to init: {takes}, to dmem", "quotient", f"kernel, {way}", "kernel, dmem", wanted if big else None)
        result.ratio(f"second boot, to init: {takes}, to dmem", "quotient", f"second boot, {way}", "second boot, dmem")
    result.ratio("processor time: plain pages take, to dmem", "quotient", "processor, plain", "processor, dmem")
    columns = {"kernel to init": "kernel", "processor time": "processor", "QEMU to first command": "wall",
               "second boot: to init": "second boot", "second boot: processor time": "second processor"}
    result.tables.append(Table("Boot", list(columns), [(w, [f"{x}, {w}" for x in columns.values()]) for w in names]))
    result.charts.append(Chart("From the kernel's start to init, shorter is better", [(w, f"kernel, {w}") for w in names]))
    result.notes.append("The kernel is built without DEFERRED_STRUCT_PAGE_INIT, which moves a part of the work behind "
                        "the start of the other processors")
    return result

