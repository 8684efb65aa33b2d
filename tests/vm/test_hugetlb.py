# SPDX-License-Identifier: LGPL-2.1-or-later
"""Backend=hugetlb: a kernel without dmem, and huge pages that the boot does not find."""

# To free pages with HVO makes Debian's 6.12.117 complain (Bad page state: its tail pages are not
# what they were before). So the machines in which pages go and come have none.

from __future__ import annotations

from .common import DmemScenario

CONFIG = """\
[Plan]
Backend=hugetlb
[Kernel]
Reserve=2G
BootNodeReserve=0
[Dmem]
Align=128M
"""


def pages(scenario: DmemScenario, node: int, size: int = 2048) -> int:
    path = f"/sys/devices/system/node/node{node}/hugepages/hugepages-{size}kB/nr_hugepages"
    return int(scenario.machine.read(path))


class HugePages(DmemScenario):
    """plan, apply and reboot on Debian's kernel"""

    kernel = "stock"
    nodes = "3G,4G"
    steps = ("test_apply", "test_reboot")

    def prepare(self) -> None:
        self.machine.run("update-grub")
        self.machine.put("/etc/dmemd/dmemd.conf", CONFIG)

    def planned(self) -> dict[int, int]:
        plan = self.dmemctl_json("plan")
        return {n["id"]: n["hugepages"][0]["count"] for n in plan["nodes"]}

    def test_apply(self) -> None:
        self.before = self.dmemctl_json("plan")
        applied = self.dmemctl_json("apply")
        self.equal(applied["changed"], True, "changed")
        self.equal(applied["arguments"][0], "hugepagesz=2M", "first argument")
        self.equal(applied["arguments"][-1], "hugetlb_free_vmemmap=on", "last argument")
        self.equal(self.dmemctl_json("apply")["changed"], False, "changed by the second run")

    def test_reboot(self) -> None:
        self.machine.reboot()
        self.equal(self.own_arguments(), self.before["arguments"], "own arguments")
        for node, count in self.planned().items():
            self.check(count > 0, f"nothing is planned on node {node}")
            self.equal(pages(self, node), count, f"huge pages of node {node}")

    def test_plan_is_the_plan_of_before(self) -> None:
        after = self.dmemctl_json("plan")
        for key in ("nodes", "arguments", "savings", "boot_node"):
            self.equal(after[key], self.before[key], key)
        self.equal([f["code"] for f in after["findings"]],
                   [f["code"] for f in self.before["findings"]], "findings")

    def test_in_force(self) -> None:
        self.equal(self.dmemctl_json("status")["state"], "in-force", "state")
        self.equal(self.dmemctl_json("verify")["granted_as_planned"], True, "granted as planned")
        self.equal(self.machine.out("systemctl is-active dmemd-setup.service").strip(), "active",
                   "dmemd-setup.service")


class Shortfall(DmemScenario):
    """Pages of 2M that are missing come back at run time, as far as there is memory"""

    kernel = "stock"
    nodes = "3G,4G"
    boot = "direct"
    want = 1000
    append = f"hugepagesz=2M hugepages=0:100,1:{want}"

    def take(self, count: int) -> None:
        """Leaves only @count pages on node 1."""
        self.machine.run(
            f"echo {count} >/sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages"
        )
        self.equal(pages(self, 1), count, "huge pages of node 1")

    def correct(self) -> None:
        self.machine.run("systemctl reload dmemd-setup.service", timeout=200)
        self.equal(self.machine.out("systemctl is-active dmemd-setup.service").strip(), "active",
                   "dmemd-setup.service")

    def shortfalls(self) -> list[int]:
        # No plan was applied here, which is drift in any case
        return [f["node"] for f in self.dmemctl_json("status", 3)["findings"]
                if f["code"] == "hugepages-less"]

    def test_it_is_corrected(self) -> None:
        self.equal(pages(self, 1), self.want, "huge pages of node 1")
        self.equal(self.shortfalls(), [], "nodes that lack pages after the boot")
        self.take(self.want - 100)
        self.equal(self.shortfalls(), [1], "nodes that lack pages")
        self.correct()
        self.equal(pages(self, 1), self.want, "huge pages of node 1")
        self.equal(self.shortfalls(), [], "nodes that lack pages at the end")
        # Not by its unit: journald may find a process gone before it has looked where it belonged
        entries = self.journal("SYSLOG_IDENTIFIER=dmemd-setup", "DMEM_NODE=1")
        self.contains(entries[-1]["MESSAGE"],
                      f"{self.want} huge pages of 2M asked for, {self.want - 100} found at boot, "
                      f"{self.want} granted", "journal")

    def test_what_cannot_be_had_is_no_failure(self) -> None:
        """Free memory is taken away first, so that not all pages come back."""
        self.take(100)
        self.machine.run(
            "mount -t tmpfs -o size=8G,mpol=bind:1 hog /mnt && "
            "free=$(awk '/MemFree/ { print int($4 / 1024) }' /sys/devices/system/node/node1/meminfo) && "
            "dd if=/dev/zero of=/mnt/hog bs=1M count=$((free - 1000)) 2>/dev/null"
        )
        self.correct()
        had = pages(self, 1)
        self.check(100 < had < self.want, f"node 1 has {had} huge pages")
        self.equal(self.shortfalls(), [1], "nodes that lack pages")
        self.machine.run("umount /mnt")
        self.correct()
        # Not to the last page: what the kernel itself took meanwhile may be in the way
        self.check(had < pages(self, 1) <= self.want, f"node 1 has {pages(self, 1)} huge pages, had {had}")


class GiganticPages(DmemScenario):
    """1G pages: 6.12 takes them from another node than the one that was named"""

    kernel = "stock"
    nodes = "3G,5G"
    boot = "direct"
    append = "hugepagesz=1G hugepages=0:3,1:2"

    def test_counted_by_node(self) -> None:
        """Node 0 cannot have three. What was taken from node 1 in its place is given back."""
        count = pages(self, 0, 1 << 20)
        self.check(count < 3, f"node 0 has {count} pages of 1G")
        self.equal(pages(self, 1, 1 << 20), 2, "pages of 1G on node 1")
        status = self.dmemctl_json("status", 3)
        codes = [(f["code"], f["node"]) for f in status["findings"]]
        self.check(("hugepages-less", 0) in codes, f"findings: {codes}")
        self.equal(self.machine.out("systemctl is-active dmemd-setup.service").strip(), "active",
                   "dmemd-setup.service")
        self.contains(
            "\n".join(e["MESSAGE"] for e in self.journal("_SYSTEMD_UNIT=dmemd-setup.service")),
            "Node 0: 3 huge pages of 1G asked for", "journal")
