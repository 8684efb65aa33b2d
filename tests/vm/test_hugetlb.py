# SPDX-License-Identifier: LGPL-2.1-or-later
"""Huge pages that the boot does not find, on a kernel without dmem."""

from __future__ import annotations

from .common import DmemScenario


class GiganticPages(DmemScenario):
    """1G pages: 6.12 takes them from another node than the one that was named"""

    kernel = "stock"
    nodes = "3G,5G"
    boot = "direct"
    append = "hugepagesz=1G hugepages=0:3,1:2"

    def count(self, node: int) -> int:
        return int(self.machine.read(
            f"/sys/devices/system/node/node{node}/hugepages/hugepages-1048576kB/nr_hugepages"))

    def test_counted_by_node(self) -> None:
        """Node 0 cannot have three. What was taken from node 1 in its place is given back."""
        self.check(self.count(0) < 3, f"node 0 has {self.count(0)} pages of 1G")
        self.equal(self.count(1), 2, "pages of 1G on node 1")
        status = self.dmemctl_json("status", 3)
        codes = [(f["code"], f["node"]) for f in status["findings"]]
        self.check(("hugepages-less", 0) in codes, f"findings: {codes}")
        self.equal(self.machine.out("systemctl is-active dmemd-setup.service").strip(), "active",
                   "dmemd-setup.service")
        self.contains(
            "\n".join(e["MESSAGE"] for e in self.journal("_SYSTEMD_UNIT=dmemd-setup.service")),
            "Node 0: 3 huge pages of 1G asked for", "journal")
