# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is wrong is said, changes nothing, and never stops a boot."""

from __future__ import annotations

from .common import DROP_IN, GIB, MIB, DmemScenario, message_id


class Unreadable(DmemScenario):
    """dmem= that means nothing"""

    nodes = "3G,5G"
    boot = "direct"
    append = "dmem=banana"

    def test_it_boots_and_warns(self) -> None:
        self.contains(self.machine.out("dmesg"), '"banana"', "kernel log")
        self.check(self.mem_total() > 7 * GIB, f"MemTotal: {self.mem_total() // MIB} MiB")
        self.equal([x for x in self.iomem() if x[2] == "dmem"], [], "dmem in /proc/iomem")

    def test_status_says_so(self) -> None:
        status = self.dmemctl_json("status", 3)
        self.check(status["state"] != "in-force", f"state: {status['state']}")
        self.check(status["booted"] == ["dmem=banana"], f"booted: {status['booted']}")

    def test_setup_fails_with_a_reason(self) -> None:
        entries = self.journal(f"MESSAGE_ID={message_id('SETUP_FAILED')}")
        for entry in entries:
            self.contains(entry["MESSAGE"], "banana", "message of the setup service")
        state = self.machine.run("systemctl is-failed dmemd-setup.service", check=False).stdout.strip()
        self.check(state in ("failed", "inactive"), f"dmemd-setup.service is {state}")


class TooMuch(DmemScenario):
    """More than there is"""

    nodes = "3G,5G"
    boot = "direct"
    append = "dmem=900G"

    def test_the_kernel_keeps_its_share(self) -> None:
        self.contains(self.machine.out("dmesg"), "dmem: node 0:", "kernel log")
        nodes = self.dmem_nodes()
        self.equal(sorted(nodes), [0, 1], "nodes of class dmem")
        for i, size in ((0, 3 * GIB), (1, 5 * GIB)):
            n = nodes[i]
            self.equal(n.requested, 900 * GIB, f"requested on node {i}")
            self.check(0 < n.size <= size - 512 * MIB, f"granted on node {i}: {n.size // MIB} MiB")
            # Alignment and what was in use already cost something, but no GiB
            self.check(n.size > size - 512 * MIB - GIB, f"granted on node {i}: {n.size // MIB} MiB")

    def test_status_shows_both(self) -> None:
        status = self.dmemctl_json("status", 3)
        self.equal(status["state"], "drift", "state")
        self.contains(self.dmemctl("status", 3).stdout, "900G", "status")

    def test_memory_works(self) -> None:
        self.equal(self.touch("--node=1 /run/dmemfs/x 512M")["nonzero"], "0", "bytes that were not zero")


class UnpatchedKernel(DmemScenario):
    """Debian's kernel, which knows no dmem="""

    kernel = "stock"
    nodes = "3G,5G"

    def prepare(self) -> None:
        self.machine.run("update-grub")

    def test_plan_works(self) -> None:
        self.dmemctl("plan")
        self.equal(self.dmemctl_json("status")["state"], "none", "state")

    def test_apply_is_refused(self) -> None:
        before = self.snapshot()
        r = self.dmemctl("apply", 1)
        self.contains(r.stderr + r.stdout, "CONFIG_DMEM", "apply")
        self.check_unchanged(before, "apply")

    def test_it_still_boots(self) -> None:
        self.machine.reboot()
        self.equal(self.own_arguments(), [], "own arguments on the command line")


class UnpatchedKernelWithDmem(DmemScenario):
    """Debian's kernel, told dmem= all the same"""

    kernel = "stock"
    nodes = "3G,5G"
    boot = "direct"
    append = "dmem=1G"

    def test_it_is_noticed(self) -> None:
        status = self.dmemctl_json("status", 3)
        self.equal(status["state"], "drift", "state")
        codes = [f["code"] for f in status["findings"]]
        self.check("no-kernel-support" in codes, f"findings: {codes}")

    def test_setup_says_why(self) -> None:
        r = self.machine.run("systemctl start dmemd-setup.service", check=False)
        entries = self.journal(f"MESSAGE_ID={message_id('SETUP_FAILED')}")
        self.check(entries, f"no entry of the setup service in the journal\n{r}")
        self.contains(entries[-1]["MESSAGE"], "CONFIG_DMEM", "message of the setup service")


class NoModule(DmemScenario):
    """Memory is reserved, but dmemfs is not installed"""

    nodes = "3G,5G"
    steps = ("test_setup_says_why",)

    def test_setup_says_why(self) -> None:
        self.machine.put("/etc/dmemd/dmemd.conf", "[Kernel]\nReserve=1G\nBootNodeReserve=1G\n")
        self.dmemctl("apply")
        self.machine.run("find /lib/modules/ -name 'dmemfs.ko*' -exec mv {} /root/dmemfs.ko ';' && depmod")
        self.machine.reboot()
        self.check([x for x in self.iomem() if x[2] == "dmem"], "nothing is reserved")
        state = self.machine.run("systemctl is-failed dmemd-setup.service", check=False).stdout.strip()
        self.equal(state, "failed", "dmemd-setup.service")
        entries = self.journal(f"MESSAGE_ID={message_id('SETUP_FAILED')}")
        self.check(entries, "no entry of the setup service in the journal")
        self.contains(entries[-1]["MESSAGE"], "/lib/modules/", "message of the setup service")

    def test_status_says_so(self) -> None:
        status = self.dmemctl_json("status", 3)
        codes = [f["code"] for f in status["findings"]]
        self.check("module-not-loaded" in codes, f"findings: {codes}")

    def test_mounting_says_so(self) -> None:
        r = self.machine.run("mount -t dmemfs dmemfs /mnt", check=False)
        self.check(r.status != 0 and "dmemfs" in r.stderr, f"mount: {r}")

    def test_installing_it_repairs_all(self) -> None:
        self.machine.run(
            "install -D /root/dmemfs.ko /lib/modules/$(uname -r)/updates/dmemfs.ko && depmod && "
            "systemctl restart dmemd-setup.service && systemctl start dmem-ready.target dmemd.service"
        )
        self.equal(self.dmemctl_json("status")["state"], "in-force", "state")


class BadConfiguration(DmemScenario):
    """What is in dmemd.conf, and a disk without room"""

    nodes = "3G,5G"

    def prepare(self) -> None:
        self.machine.run("update-grub && mkdir -p /etc/dmemd")

    def refused(self, text: str, *expected: str) -> None:
        self.machine.put("/etc/dmemd/dmemd.conf", text)
        before = self.snapshot()
        for verb in ("plan", "apply"):
            r = self.dmemctl(verb, 78)
            for part in ("/etc/dmemd/dmemd.conf:", *expected):
                self.contains(r.stderr, part, f"what {verb} says about {text!r}")
        self.check_unchanged(before, "apply with a bad configuration")

    def test_unknown_key(self) -> None:
        self.refused("[Dmem]\nSize=rest\nSizes=4G\n", ":3:", "Sizes")

    def test_unknown_section(self) -> None:
        self.refused("[Dmen]\nSize=rest\n", ":1:", "Dmen")

    def test_bad_value(self) -> None:
        self.refused("[Dmem]\nAlign=3G\n", ":2:", "Align", "3G", "128M")

    def test_does_not_fit(self) -> None:
        self.machine.put("/etc/dmemd/dmemd.conf", "[Node 1]\nSize=64G\n")
        before = self.snapshot()
        r = self.dmemctl("apply", 1)
        self.contains(r.stderr + r.stdout, "64G", "apply")
        self.check_unchanged(before, "apply of a plan that does not fit")

    def test_below_floor(self) -> None:
        little = "[Kernel]\nReserve=128M\nReservePercent=0\nBootNodeReserve=0\n[Dmem]\nAlign=128M\n"
        self.machine.put("/etc/dmemd/dmemd.conf", little)
        before = self.snapshot()
        plan = self.dmemctl_json("plan", 1)
        codes = [f["code"] for f in plan["findings"] if f["severity"] == "error"]
        self.check("below-floor" in codes, f"errors of the plan: {codes}")
        self.dmemctl("apply", 1)
        self.check_unchanged(before, "apply of a plan below the floor")

    def test_full_disk(self) -> None:
        self.machine.put("/etc/dmemd/dmemd.conf", "[Kernel]\nReserve=1G\nBootNodeReserve=1G\n")
        before = self.snapshot()
        self.machine.run(
            "dd if=/dev/zero of=/root/fill bs=1M 2>/dev/null; "
            "dd if=/dev/zero of=/root/fill2 bs=4K 2>/dev/null; true"
        )
        self.equal(self.machine.out("df --output=avail / | tail -n 1").strip(), "0", "free blocks")
        r = self.dmemctl("apply", 1)
        self.contains(r.stderr, "No space left", "apply on a full disk")
        self.check_unchanged(before, "apply on a full disk")

    def test_full_disk_still_boots(self) -> None:
        self.machine.reboot()
        self.equal(self.own_arguments(), [], "own arguments on the command line")

    def test_with_room_again_it_works(self) -> None:
        self.machine.run("rm -f /root/fill /root/fill2")
        self.dmemctl("apply")
        self.contains(self.machine.read(DROP_IN), "dmem=", DROP_IN)

    def test_full_stdout_is_an_error(self) -> None:
        r = self.machine.run("dmemctl --no-pager plan >/dev/full", check=False)
        self.check(r.status != 0, "plan to a full device succeeded")
        self.check(r.stderr.strip(), "plan to a full device says nothing")
