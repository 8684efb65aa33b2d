# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where something is measured: in a lab machine, or on this host itself."""

from __future__ import annotations

import contextlib
import json
import os
import pkgutil
import re
import shlex
import subprocess
import time
from pathlib import Path
from typing import Any, Iterator, Optional

from lab.images import SOURCE_ROOT
from lab.machine import LabError, Machine, cache_folder

MEASURE = "/tmp/bench-measure"

POOL_SOURCE = SOURCE_ROOT / "kernel" / "overlay" / "fs" / "dmemfs"
PROGRAMS = {
    "measure": [],
    "pool": ["-I", str(SOURCE_ROOT / "kernel" / "sim" / "pool" / "include"), "-I", str(POOL_SOURCE),
             str(POOL_SOURCE / "pool.c")],
}


class CannotMeasure(Exception):
    """It cannot be measured here; the text says why."""


def get_program(name: str) -> Path:
    """A static program of tests/bench/, built or taken out of what --export has made. The caller
    removes it."""
    folder = cache_folder() / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / f"{name}-{os.getpid()}"
    built = exported(name)
    if built:
        program.write_bytes(built)
        program.chmod(0o755)
        return program
    source = SOURCE_ROOT / "tests" / "bench" / f"{name}.c"
    argv = ["gcc", "-std=gnu11", "-O2", "-static", "-o", str(program), str(source)]
    done = subprocess.run(argv + PROGRAMS[name], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LabError(f"{name}.c does not build:\n{done.stderr}")
    return program


def exported(name: str) -> Optional[bytes]:
    try:
        return pkgutil.get_data("bench", f"{name}.built")
    except OSError:
        return None


def processor() -> str:
    m = re.search(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    return m[1] if m else "unknown processor"


class Place:
    """Runs commands. Folders for memory are mounted below `folder`."""

    folder = "/run/dmemd-bench"
    is_host = False

    def run(self, command: str, check: bool = True, timeout: float = 600) -> str:
        raise NotImplementedError

    def measure(self, arguments: str, by: str = "") -> dict[str, Any]:
        """Runs bench-measure, see measure.c. by: what runs it, such as nice."""
        return json.loads(self.run(f"{by}{self.program} {arguments}"))

    program = MEASURE

    def describe(self) -> dict[str, Any]:
        raise NotImplementedError

    def mount(self, name: str, kind: str, options: str) -> str:
        """Mounts a file system for memory; returns its folder."""
        path = f"{self.folder}/{name}"
        self.run(f"mkdir -p {path} && mount -t {kind} -o {options} bench {path}")
        return path

    # The pool of dmemfs

    def has_dmem(self) -> bool:
        return self.run("ls /sys/class/dmem 2>/dev/null || true").strip() != ""

    def wait_clean(self, timeout: float = 600) -> None:
        """Until the threads that clear freed memory have nothing left to do: idle, twice in turn."""
        end, idle = time.monotonic() + timeout, 0
        while idle < 2:
            if time.monotonic() > end:
                raise LabError("the threads dmem_clear/N do not come to an end")
            states = self.run("for p in $(pgrep dmem_clear); do cut -d' ' -f3 /proc/$p/stat; done").split()
            idle = idle + 1 if states and set(states) == {"I"} else 0
            time.sleep(0.05)


class Lab(Place):
    def __init__(self, machine: Machine):
        self.machine = machine

    def run(self, command: str, check: bool = True, timeout: float = 600) -> str:
        return self.machine.run(command, check=check, timeout=timeout).stdout

    def install(self) -> None:
        program = get_program("measure")
        self.machine.put_file(program, MEASURE)
        program.unlink()

    def describe(self) -> dict[str, Any]:
        return lab_place(self.machine, self.run("uname -r").strip())


@contextlib.contextmanager
def lab_in(machine: Machine) -> Iterator[Lab]:
    """Starts a machine and ends it. Its kernel must not complain; what fails leaves its console behind."""
    try:
        machine.start()
        yield Lab(machine)
        complaints = machine.complaints()
        if complaints:
            raise LabError("the kernel complained:\n" + "\n".join(complaints))
    except BaseException:
        machine.stop(keep=True)
        raise
    machine.stop()


def lab_place(machine: Machine, kernel: str) -> dict[str, Any]:
    qemu = subprocess.run(["qemu-system-x86_64", "--version"], capture_output=True, text=True, check=True)
    return {
        "kind": "lab",
        "emulator": qemu.stdout.splitlines()[0].strip() + ", TCG (software emulation)",
        "processor": machine.cpu,
        "nodes": [{"bytes": n.size, "cpus": n.cpus} for n in machine.nodes],
        "kernel": kernel,
        "emulated_on": f"{os.cpu_count()} CPUs, {processor()}",
        "taken": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def host_place() -> dict[str, Any]:
    return {
        "kind": "host",
        "processor": f"{os.cpu_count()} CPUs, {processor()}",
        "kernel": os.uname().release,
        "taken": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


class Host(Place):
    is_host = True

    def __init__(self) -> None:
        self.compiled: Optional[Path] = None
        self.mounted: list[str] = []

    def run(self, command: str, check: bool = True, timeout: float = 600) -> str:
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=timeout, check=False)
        if check and done.returncode != 0:
            raise LabError(f"'{command}' ends with status {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def install(self) -> None:
        self.compiled = get_program("measure")
        self.program = shlex.quote(str(self.compiled))

    def mount(self, name: str, kind: str, options: str) -> str:
        path = super().mount(name, kind, options)
        self.mounted.append(path)
        return path

    def clean_up(self) -> None:
        for path in reversed(self.mounted):
            self.run(f"umount {path}; rmdir {path}", check=False)
        self.run(f"rmdir {self.folder}", check=False)
        self.mounted.clear()
        if self.compiled:
            self.compiled.unlink(missing_ok=True)

    def describe(self) -> dict[str, Any]:
        return host_place()
