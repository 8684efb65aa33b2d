# SPDX-License-Identifier: LGPL-2.1-or-later
"""dmemctl plan on a large host; dmemd when it starts, at rest and in an event storm."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Optional

from lab.images import image
from lab.machine import GIB, KIB, LabError, Machine, cache_folder

from .place import Lab, host_place, lab_in
from .result import Chart, Result, Table

NODES = 64
NODE_SIZE = 512 * GIB


def write_host(root: Path, nodes: int = NODES, size: int = NODE_SIZE, block: int = 2 * GIB) -> None:
    """The files of a host that a plan is made from."""
    sys_nodes = root / "sys/devices/system/node"
    blocks = root / "sys/devices/system/memory"
    zones = []
    blocks.mkdir(parents=True)
    (blocks / "block_size_bytes").write_text(f"{block:x}\n")
    for n in range(nodes):
        folder = sys_nodes / f"node{n}"
        folder.mkdir(parents=True)
        (folder / "cpulist").write_text(f"{8 * n}-{8 * n + 7}\n")
        (folder / "meminfo").write_text(f"Node {n} MemTotal: {size // KIB} kB\n")
        pages = size // 4096
        zones.append(f"Node {n}, zone   Normal\n  pages free     {pages}\n        min      100\n        spanned  {pages}\n"
                     f"        present  {pages}\n        managed  {pages}\n")
        for b in range(n * size // block, (n + 1) * size // block):
            (folder / f"memory{b}").mkdir()
            (blocks / f"memory{b}").mkdir()
            (blocks / f"memory{b}/phys_index").write_text(f"{b:08x}\n")
            (blocks / f"memory{b}/state").write_text("online\n")
            (blocks / f"memory{b}/online").write_text("1\n")
    (sys_nodes / "has_memory").write_text(f"0-{nodes - 1}\n")
    (sys_nodes / "online").write_text(f"0-{nodes - 1}\n")
    proc = root / "proc"
    proc.mkdir()
    (proc / "zoneinfo").write_text("".join(zones))
    total = nodes * size // KIB
    (proc / "meminfo").write_text(f"MemTotal: {total} kB\nMemFree: {total} kB\nMemAvailable: {total} kB\n")
    (proc / "cmdline").write_text("root=/dev/sda1\n")


def userland(quick: bool, host: bool, rounds: int) -> Result:
    result = Result("userland", "dmemctl and dmemd", host_place())
    if not host:
        image("dmem")  # with which dmemctl is built
    plan(result, rounds)
    if host:
        daemon_on_host(result)
    else:
        daemon(result, quick, rounds)
    return result


def find_dmemctl() -> str:
    """Built from these sources, else installed."""
    for build in sorted(cache_folder().glob("build-*/src/dmemctl/dmemctl"), key=lambda p: -p.stat().st_mtime):
        # Sanitizers make it ten times slower
        if "sanitized" not in str(build):
            return str(build)
    found = shutil.which("dmemctl")
    if not found:
        raise LabError("there is no dmemctl: neither built (tools/build-image does) nor installed")
    return found


def plan(result: Result, rounds: int) -> None:
    dmemctl = find_dmemctl()
    # Some 50 000 files, which a busy disk takes minutes for
    shared = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=shared) as folder:
        write_host(Path(folder))
        argv = [dmemctl, f"--root={folder}", "--json=short", "plan"]
        for r in range(-1, rounds):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            begin = time.monotonic()
            done = subprocess.run(argv, capture_output=True, text=True, check=False)
            wall = time.monotonic() - begin
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            made = json.loads(done.stdout) if done.returncode == 0 else {"nodes": []}
            if len(made["nodes"]) != NODES or not all(n["dmem_bytes"] for n in made["nodes"]):
                raise LabError(f"the plan is not one for {NODES} nodes:\n{done.stdout[:2000]}{done.stderr}")
            if r < 0:
                continue
            how = f"dmemctl plan on the files of a host with {NODES} nodes of {NODE_SIZE // GIB} GiB in blocks of 2 GiB"
            result.add("plan, elapsed", "s", how, wall)
            result.add("plan, processor", "s", f"{how}, user and system time",
                       after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    result.ratio(f"plan for {NODES} nodes: processor time", "value", "plan, processor", wanted="<= 2 s")
    result.tables.append(Table(f"dmemctl plan, {NODES} nodes", ["elapsed", "processor"],
                               [("plan", ["plan, elapsed", "plan, processor"])]))


def process_figures(run: Any, pid: str) -> dict[str, float]:
    """PSS in bytes, processor time in seconds."""
    text = run(f"cat /proc/{pid}/smaps_rollup; cut -d' ' -f14,15 /proc/{pid}/stat; getconf CLK_TCK 2>/dev/null || echo 100")
    rss = int(re.findall(r"^Rss:\s+(\d+)", text, re.M)[0]) * KIB
    pss = int(re.findall(r"^Pss:\s+(\d+)", text, re.M)[0]) * KIB
    user, system, hertz = map(int, text.split()[-3:])
    return {"rss": rss, "pss": pss, "cpu": (user + system) / hertz}


def daemon(result: Result, quick: bool, rounds: int) -> None:
    events, rest = (200, 10) if quick else (5000, 60)
    machine = Machine(image("dmem"), "3G,3G", boot="direct", append="dmem=1G", name=f"bench-{os.getpid()}")
    with lab_in(machine) as lab:
        result.place = {**result.place, "machine": lab.describe()}
        for _ in range(1 if quick else min(rounds, 5)):
            result.add("dmemd, start", "s", "systemctl start until sd_notify(READY=1), ExecMainStart to Active in systemd's clock",
                       start_seconds(lab))
        pid = lab.run("systemctl show -p MainPID --value dmemd").strip()
        at_rest = process_figures(lab.run, pid)
        time.sleep(rest)
        after = process_figures(lab.run, pid)
        result.add("dmemd, PSS at rest", "bytes", "Pss of smaps_rollup", after["pss"])
        result.add("dmemd, RSS at rest", "bytes", "Rss of smaps_rollup", after["rss"])
        result.add("dmemd, processor at rest", "s", f"utime + stime over {rest} s without any event", after["cpu"] - at_rest["cpu"])
        storm(lab, result, events, pid)
    _daemon_figures(result)


def start_seconds(lab: Lab) -> float:
    lab.run("systemctl restart dmemd")
    text = lab.run("systemctl show -p ExecMainStartTimestampMonotonic -p ActiveEnterTimestampMonotonic --value dmemd")
    a, b = sorted(map(int, text.split()))
    return (b - a) / 1e6


def storm(lab: Lab, result: Result, events: int, pid: str) -> None:
    """Retires pages in turn as fast as one shell can. What a storm of hardware errors is to dmemd."""
    first = int(re.findall(r"0x([0-9a-f]+)-", lab.run("cat /sys/class/dmem/node0/regions"))[0], 16)
    before = process_figures(lab.run, pid)
    begin = time.monotonic()
    lab.run(f"i=0; while [ $i -lt {events} ]; do echo $(({first} + i * 4096)) >/sys/class/dmem/node0/retire || exit 1; i=$((i + 1)); done",
            timeout=1200)
    result.add("storm, kernel", "s", f"{events} pages retired through sysfs by one shell, one after the other", time.monotonic() - begin)
    while True:
        known = len(json.loads(lab.run("dmemctl --json=short poisoned", timeout=600))["units"])
        if known >= events:
            break
        if time.monotonic() > begin + 900:
            raise LabError(f"dmemd knows of {known} of {events} pages after 15 minutes")
        time.sleep(0.5)
    result.add("storm, all in the ledger", "s", "until dmemctl poisoned shows all of them, from the first on", time.monotonic() - begin)
    after = process_figures(lab.run, pid)
    if lab.run("systemctl show -p MainPID --value dmemd").strip() != pid:
        raise LabError("dmemd did not live through the storm")
    result.add("storm, processor for one event", "s", "utime + stime of dmemd over the storm, divided by its events",
               (after["cpu"] - before["cpu"]) / events)
    result.add("storm, PSS after", "bytes", "Pss of smaps_rollup after that", after["pss"])


def daemon_on_host(result: Result) -> None:
    def run(command: str) -> str:
        return subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout

    pid: Optional[str] = subprocess.run(["systemctl", "show", "-p", "MainPID", "--value", "dmemd"], capture_output=True,
                                        text=True, check=False).stdout.strip()
    if not pid or pid == "0":
        result.notes.append("dmemd does not run here")
        return
    before = process_figures(run, pid)
    time.sleep(60)
    after = process_figures(run, pid)
    result.add("dmemd, PSS at rest", "bytes", "Pss of smaps_rollup", after["pss"])
    result.add("dmemd, RSS at rest", "bytes", "Rss of smaps_rollup", after["rss"])
    result.add("dmemd, processor at rest", "s", "utime + stime over 60 s", after["cpu"] - before["cpu"])
    _daemon_figures(result)


def _daemon_figures(result: Result) -> None:
    table = Table("dmemd", ["value"])
    for name in result.measures:
        if name.startswith(("dmemd, ", "storm, ")):
            table.rows.append((name, [name]))
    result.tables.append(table)
    result.charts.append(Chart("dmemd's memory", [(n, n) for n in ("dmemd, PSS at rest", "storm, PSS after") if n in result.measures]))

