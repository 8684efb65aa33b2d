# SPDX-License-Identifier: LGPL-2.1-or-later
"""A host as a tree of files, for dmemd --root= and dmemctl --root=."""

from __future__ import annotations

import json
import pathlib

MiB = 1 << 20
GiB = 1 << 30


class HostTree:
    """Two nodes of 8 and 12 GiB that were booted with 4 and 6 GiB reserved, all granted."""

    def __init__(self, root: pathlib.Path):
        self.root = root
        self.cmdline("dmem=0:4G,1:6G")
        self.write("proc/meminfo", "MemTotal:  10000000 kB\nMemAvailable:  9000000 kB\n")
        self.write("proc/iomem", "00000000-00000000 : System RAM\n00000000-00000000 : dmem\n")
        self.write("proc/self/mountinfo",
                   "25 1 0:22 / / rw - ext4 /dev/sda1 rw\n"
                   "40 25 0:44 / /run/dmemfs rw,nosuid - dmemfs dmemfs rw,pagesize=2M,mode=0750\n")
        self.write("proc/zoneinfo", "".join(
            f"Node {node}, zone   Normal\n"
            f"  pages free     1000\n        spanned  {pages}\n        present  {pages}\n"
            f"        managed  {pages}\n"
            for node, pages in ((0, 4 * GiB // 4096), (1, 6 * GiB // 4096))))
        self.write("dmemd-capture/page_size", "4096\n")
        self.add_node(0, 4 * GiB, 0x1_0000_0000)
        self.add_node(1, 6 * GiB, 0x3_0000_0000)

    def write(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def cmdline(self, ours: str) -> None:
        self.write("proc/cmdline", f"BOOT_IMAGE=/vmlinuz root=/dev/sda1 ro {ours} quiet\n")

    def add_node(self, node: int, size: int, start: int) -> None:
        self.write(f"sys/devices/system/node/node{node}/cpulist", f"{2 * node}-{2 * node + 1}\n")
        self.write(f"sys/devices/system/node/node{node}/meminfo",
                   f"Node {node} MemTotal:  4000000 kB\n")
        self.set(node, "requested_bytes", size)
        self.set(node, "size_bytes", size)
        self.set(node, "free_bytes", size)
        self.set(node, "used_bytes", 0)
        self.set(node, "poisoned_bytes", 0)
        self.write(f"sys/class/dmem/node{node}/regions", f"{start:#x}-{start + size:#x}\n")

    def replace(self, path: str, text: str) -> None:
        """In one step, for what is read meanwhile."""
        new = self.root / (path + ".new")
        new.parent.mkdir(parents=True, exist_ok=True)
        new.write_text(text)
        new.rename(self.root / path)

    def set(self, node: int, attribute: str, value: int) -> None:
        self.replace(f"sys/class/dmem/node{node}/{attribute}", f"{value}\n")

    def applied(self, *arguments: str) -> None:
        """As dmemctl apply notes it, replaced in one step as it does."""
        new = self.root / "var/lib/dmemd/.#new"
        new.parent.mkdir(parents=True, exist_ok=True)
        new.write_text(json.dumps({
            "version": 1, "backend": "dmem", "time_usec": 1, "boot_id": None,
            "arguments": list(arguments), "nodes": []}))
        new.rename(new.with_name("applied.json"))
