# SPDX-License-Identifier: LGPL-2.1-or-later
"""tools/demo: the product's main job in a real machine, the way an administrator would do it."""

from __future__ import annotations

import argparse
import os
import sys
import time

from .demo_stock import StockDemo
from .images import image
from .machine import GIB, MIB, LabError, Machine
from .show import NotHeld, Show

DESCRIPTION = """\
Builds a kernel and the programs, boots a machine with two NUMA nodes of unequal size in QEMU, and does
in it what an administrator would do: plan, apply, reboot, look, use. Every command is shown with what it
really prints. Ends with the figures before and after; the exit status is 0 only if every step held.
Needs no KVM and no network for the machine; installs what it needs on Debian 12 and 13.

With --stock no kernel is built: the machine has Debian's own 6.12 kernel, its memory is taken away
with memmap=, the module is built against Debian's headers, and a real guest runs on it in the end.
"""


class Demo(Show):
    # The chapters

    def run(self) -> None:
        disk = image("dmem")
        begin = time.monotonic()
        sizes = " and ".join(f"{n.size // GIB} GiB" for n in self.nodes)
        self.chapter(
            "1. A machine",
            f"QEMU emulates a server with two NUMA nodes of {sizes}. It runs Debian, with",
            "GRUB, systemd and D-Bus, a kernel with dmem=, and the programs of this source tree.",
        )
        self.machine = Machine(disk, self.nodes, name=f"demo-{os.getpid()}")
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
        self.reboot_with(self.arguments, "the plan")

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
        self.chapter("7. Before and after")
        self.table(self.before, self.after, self.reserved)
        self.conclusion()
        print(f"\n    The machine lived {seconds:.0f} s. Try things yourself: tools/lab shell")


def main() -> int:
    p = argparse.ArgumentParser(
        prog="tools/demo",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("--stock", action="store_true", help="on Debian's own kernel")
    p.add_argument(
        "--nodes", metavar="SIZE,SIZE", help="memory of the nodes (default 8G,16G; with --stock 6G,8G)"
    )
    args = p.parse_args()
    try:
        if args.stock:
            StockDemo(args.nodes or "6G,8G").run()
        else:
            Demo(args.nodes or "8G,16G").run()
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
