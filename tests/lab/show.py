# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the demos share: a machine in which every command is shown with what it really prints."""

from __future__ import annotations

import json
import os
import re
import sys
import time

from .machine import GIB, KIB, MIB, Machine, Result, parse_nodes


class NotHeld(Exception):
    """A step did not do what the demo claims."""


class Show:
    def __init__(self, nodes: str):
        self.nodes = parse_nodes(nodes)
        self.proven: list[str] = []
        self.colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        self.machine: Machine

    # What the reader sees

    def chapter(self, title: str, *text: str) -> None:
        bold, off = ("\x1b[1m", "\x1b[0m") if self.colour else ("", "")
        print(f"\n{bold}{title}{off}\n")
        for line in text:
            print(f"    {line}")
        if text:
            print()
        sys.stdout.flush()

    def shell(self, command: str, check: bool = True) -> Result:
        """Runs a command in the machine and shows it with what it prints."""
        bold, off = ("\x1b[1m", "\x1b[0m") if self.colour else ("", "")
        print(f"{bold}# {command}{off}", flush=True)
        r = self.machine.run(command, check=False, timeout=300)
        text = r.stdout + r.stderr
        if text:
            print(text.rstrip("\n"))
        print(flush=True)
        if check:
            self.hold(r.ok, f"'{command}' ends with status {r.status}")
        return r

    def reboot_with(self, arguments: list[str], what: str) -> None:
        """Reboots the machine, which must boot with these; @what they are called."""
        print("# reboot", flush=True)
        begin = time.monotonic()
        self.machine.reboot()
        print(f"(took {time.monotonic() - begin:.0f} s)\n")
        self.shell("cat /proc/cmdline")
        booted = self.machine.read("/proc/cmdline").split()
        self.hold(all(a in booted for a in arguments), f"the machine did not boot with {what}")

    def hold(self, condition: object, otherwise: str) -> None:
        if not condition:
            raise NotHeld(otherwise)

    def prove(self, text: str) -> None:
        self.proven.append(text)

    def table(self, before: dict[str, int], after: dict[str, int], reserved: int) -> None:
        """What figures() returned before and after; @reserved bytes are for guests now."""
        print(f"    {'':30}{'before':>12}{'after':>12}{'change':>12}")
        for title, key in (("MemTotal of the kernel", "total"), ("of it spent on struct page", "struct_page")):
            change = (after[key] - before[key]) / MIB
            print(f"    {title:<30}{before[key] / MIB:>8.0f} MiB{after[key] / MIB:>8.0f} MiB{change:>+8.0f} MiB")
        got = reserved / MIB
        print(f"    {'Memory for guests':<30}{0:>8} MiB{got:>8.0f} MiB{got:>+8.0f} MiB")
        saved = before["struct_page"] - after["struct_page"]
        self.prove(
            f"{reserved // GIB} GiB for guests need no struct page: "
            f"{saved / MIB:.0f} MiB, {100 * saved / before['struct_page']:.0f} % of all, saved"
        )

    def conclusion(self) -> None:
        self.chapter("Every step held:")
        for line in self.proven:
            print(f"    - {line}")

    # What is measured

    def figures(self) -> dict[str, int]:
        meminfo = self.machine.read("/proc/meminfo")
        vmstat = self.machine.read("/proc/vmstat")
        total = re.search(r"^MemTotal:\s+(\d+) kB", meminfo, re.M)
        pages = re.search(r"^nr_memmap_boot_pages (\d+)$", vmstat, re.M)
        assert total and pages
        return {"total": int(total[1]) * KIB, "struct_page": int(pages[1]) * 4 * KIB}

    def dmemctl(self, arguments: str) -> dict[str, object]:
        return json.loads(self.machine.out(f"dmemctl --json=short {arguments}"))
