# SPDX-License-Identifier: LGPL-2.1-or-later
"""tools/demo: the product's main job in a real machine, the way an administrator would do it."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time

from .images import image
from .machine import GIB, KIB, MIB, LabError, Machine, Result, parse_nodes

DESCRIPTION = """\
Builds a kernel and the programs, boots a machine with two NUMA nodes of unequal size in QEMU, and does
in it what an administrator would do: plan, apply, reboot, look, use. Every command is shown with what it
really prints. Ends with the figures before and after; the exit status is 0 only if every step held.
Needs no KVM and no network for the machine; installs what it needs on Debian 12 and 13.
"""


class NotHeld(Exception):
    """A step did not do what the demo claims."""


class Demo:
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

    def hold(self, condition: object, otherwise: str) -> None:
        if not condition:
            raise NotHeld(otherwise)

    def prove(self, text: str) -> None:
        self.proven.append(text)

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

    # The chapters

    def run(self) -> None:
        begin = time.monotonic()
        sizes = " and ".join(f"{n.size // GIB} GiB" for n in self.nodes)
        self.chapter(
            "1. A machine",
            f"QEMU emulates a server with two NUMA nodes of {sizes}. It runs Debian, with",
            "GRUB, systemd and D-Bus, a kernel with dmem=, and the programs of this source tree.",
        )
        self.machine = Machine(image("dmem"), self.nodes, name=f"demo-{os.getpid()}")
        try:
            self.machine.start()
            self.before = self.figures()
            self.shell("numactl --hardware | grep size")
            self.shell("grep MemTotal /proc/meminfo")
            self.shell("grep nr_memmap_boot_pages /proc/vmstat    # pages of 4 KiB full of struct page")
            self.plan()
            self.apply()
            self.reboot()
            self.status()
            self.use()
            complaints = self.machine.complaints()
            self.hold(not complaints, "the kernel complained:\n" + "\n".join(complaints))
            self.summary(time.monotonic() - begin)
        except BaseException:
            self.machine.stop(keep=True)
            raise
        self.machine.stop()

    def plan(self) -> None:
        self.chapter(
            "2. The plan",
            "Without any configuration, 2 GiB of each node stay with the kernel, 2 GiB more on",
            "the first, and the rest is for guests in whole GiB. Nothing is written yet.",
        )
        self.shell("dmemctl --no-pager plan")
        plan = self.dmemctl("plan")
        self.wanted = {n["id"]: n["dmem_bytes"] for n in plan["nodes"]}  # type: ignore[attr-defined]
        self.arguments: list[str] = plan["arguments"]  # type: ignore[assignment]
        self.hold(all(self.wanted.values()), f"the plan gives a node nothing: {self.wanted}")
        self.reserved = sum(self.wanted.values())

    def apply(self) -> None:
        self.chapter("3. Into the boot loader", "The arguments go through GRUB's own tools.")
        self.shell("dmemctl apply")
        r = self.shell("grep -E '^[[:space:]]*linux' /boot/grub/grub.cfg")
        for line in r.stdout.splitlines():
            has = all(a in line.split() for a in self.arguments)
            self.hold(has != ("single" in line.split()), f"this entry is wrong: {line.strip()}")
        self.prove(f"apply made GRUB boot with {' '.join(self.arguments)}, its recovery entry without")

    def reboot(self) -> None:
        self.chapter("4. Reboot")
        print("# reboot", flush=True)
        begin = time.monotonic()
        self.machine.reboot()
        print(f"(took {time.monotonic() - begin:.0f} s)\n")
        self.shell("cat /proc/cmdline")
        booted = self.machine.read("/proc/cmdline").split()
        self.hold(all(a in booted for a in self.arguments), "the machine did not boot with the plan")

    def status(self) -> None:
        self.chapter("5. In force", "What was configured, what was booted and what the kernel granted.")
        self.shell("dmemctl --no-pager status")
        status = self.dmemctl("status")
        self.hold(status["state"] == "in-force", f"the state is {status['state']}")
        self.shell("findmnt /run/dmemfs")
        self.after = self.figures()
        saved = self.before["struct_page"] - self.after["struct_page"]
        self.hold(
            saved == self.reserved // 64,
            f"{saved} bytes of struct page are gone, should be {self.reserved // 64}",
        )
        self.prove("the kernel granted what was asked for on every node, and dmemfs is mounted")

    def use(self) -> None:
        self.chapter(
            "6. Guest memory",
            "dmem-touch does what QEMU does for a guest: it makes a file, maps it, binds it to a",
            "node, and reads every byte before it writes any. One page fault maps 2 MiB.",
        )
        for node in self.wanted:
            r = self.shell(f"dmem-touch --node={node} --fill=0xa5 --keep /run/dmemfs/guest{node} 512M")
            seen = dict(x.split("=", 1) for x in r.stdout.splitlines() if "=" in x)
            self.hold(seen["nonzero"] == "0", f"node {node}: memory was not zero")
            self.hold(seen["leaf_2M"] == str(512 * MIB), f"node {node}: not all of it in 2M leaves")
            self.hold(seen["faults"] == "256", f"node {node}: {seen['faults']} faults instead of 256")
        r = self.shell("grep . /sys/class/dmem/node*/used_bytes")
        for node in self.wanted:
            line = f"/sys/class/dmem/node{node}/used_bytes:{512 * MIB}"
            self.hold(line in r.stdout.split(), f"node {node}: not 512 MiB of it are used")
        self.prove("512 MiB on each node: every byte zero at first, 256 faults, all in 2M leaves")
        self.shell("rm /run/dmemfs/guest*")
        # All of the smaller node, so that what was written before comes around again
        node = min(self.wanted, key=lambda n: self.wanted[n])
        size = self.wanted[node] // MIB
        r = self.shell(f"dmem-touch --node={node} /run/dmemfs/all {size}M | grep -e bytes -e nonzero")
        self.hold("nonzero=0" in r.stdout.split(), f"node {node}: the next file saw bytes of a deleted one")
        self.prove(f"a later file that got all {size} MiB of node {node} saw nothing of deleted ones")

    def summary(self, seconds: float) -> None:
        b, a = self.before, self.after
        self.chapter("7. Before and after")
        print(f"    {'':30}{'before':>12}{'after':>12}{'change':>12}")
        for title, key in (("MemTotal of the kernel", "total"), ("of it spent on struct page", "struct_page")):
            change = (a[key] - b[key]) / MIB
            print(f"    {title:<30}{b[key] / MIB:>8.0f} MiB{a[key] / MIB:>8.0f} MiB{change:>+8.0f} MiB")
        got = self.reserved / MIB
        print(f"    {'Memory for guests':<30}{0:>8} MiB{got:>8.0f} MiB{got:>+8.0f} MiB")
        saved = (b["struct_page"] - a["struct_page"]) / MIB
        share = 100 * (b["struct_page"] - a["struct_page"]) / b["struct_page"]
        self.prove(
            f"{self.reserved // GIB} GiB for guests need no struct page: "
            f"{saved:.0f} MiB, {share:.0f} % of all, saved"
        )
        self.chapter("Every step held:")
        for line in self.proven:
            print(f"    - {line}")
        print(f"\n    The machine lived {seconds:.0f} s. Try things yourself: tools/lab shell")


def main() -> int:
    p = argparse.ArgumentParser(
        prog="tools/demo",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument(
        "--nodes", default="8G,16G", metavar="SIZE,SIZE", help="memory of the nodes (default 8G,16G)"
    )
    args = p.parse_args()
    try:
        Demo(args.nodes).run()
        return 0
    except ValueError as e:
        p.error(f"--nodes: {e}")
    except (NotHeld, LabError) as e:
        print(f"\ntools/demo: FAILED: {e}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 1


if __name__ == "__main__":
    sys.exit(main())
