# SPDX-License-Identifier: LGPL-2.1-or-later
"""The whole chain, from a bare machine to guest memory without struct page."""

from __future__ import annotations

import time

from .common import DROP_IN, GIB, MIB, DmemScenario, message_id


class Chain(DmemScenario):
    """plan, apply, reboot, use, on two nodes of unequal size with an empty configuration"""

    nodes = "6G,8G"
    steps = ("test_nothing_is_reserved_at_first", "test_plan_writes_nothing", "test_apply", "test_reboot")

    def prepare(self) -> None:
        # The image boots by a grub.cfg that no update-grub has made yet
        self.machine.run("update-grub")

    def test_nothing_is_reserved_at_first(self) -> None:
        self.equal(self.own_arguments(), [], "own arguments on the command line")
        self.equal(self.dmem_nodes(), {}, "nodes of class dmem")
        self.equal([x for x in self.iomem() if x[2] == "dmem"], [], "dmem in /proc/iomem")
        self.total_before = self.mem_total()
        self.pages_before = self.vmstat("nr_memmap_boot_pages")
        status = self.dmemctl_json("status")
        self.equal(status["state"], "none", "state")
        self.equal(self.machine.out("systemctl list-units --failed --plain --no-legend"), "", "failed units")
        # Nothing reserved: the services have nothing to do, which is no failure
        for unit in ("dmemd-setup.service", "dmemd.service"):
            r = self.machine.run(f"systemctl is-active {unit}", check=False)
            self.equal(r.stdout.strip(), "inactive", unit)

    def test_plan_writes_nothing(self) -> None:
        before = self.snapshot()
        self.plan = self.dmemctl_json("plan")
        self.check_unchanged(before, "plan")
        self.check(self.plan["changed"] is True, f"plan says changed: {self.plan['changed']}")
        text = self.dmemctl("plan").stdout
        for argument in self.plan["arguments"]:
            self.contains(text, argument, "plan")
        by_user = self.as_user("dmemctl --no-pager --json=short plan")
        self.equal(by_user.status, 0, "exit status of plan as an ordinary user")

    def test_plan_follows_the_rules(self) -> None:
        nodes = {n["id"]: n for n in self.plan["nodes"]}
        self.equal(sorted(nodes), [0, 1], "planned nodes")
        for i, (size, kept) in enumerate(((6 * GIB, 4 * GIB), (8 * GIB, 2 * GIB))):
            n = nodes[i]
            # What the firmware keeps below 1 MiB and in front of the PCI hole is not installed
            self.check(size - 2 * MIB <= n["installed_bytes"] <= size, f"node {i} installed: {n}")
            want = (n["installed_bytes"] - kept) // GIB * GIB
            self.equal(n["dmem_bytes"], want, f"dmem of node {i}")
            self.equal(n["kernel_bytes"], n["installed_bytes"] - want, f"kernel share of node {i}")
        self.equal(self.plan["boot_node"], 0, "boot node")
        self.equal(self.plan["arguments"], ["dmem=0:1G,1:6G"], "arguments")

    def test_apply_as_user_is_refused(self) -> None:
        before = self.snapshot()
        r = self.as_user("dmemctl --no-pager apply")
        self.equal(r.status, 1, "exit status of apply as an ordinary user")
        self.check(r.stderr.strip(), "apply as an ordinary user says nothing")
        self.check_unchanged(before, "apply as an ordinary user")

    def test_apply_dry_run_writes_nothing(self) -> None:
        before = self.snapshot()
        r = self.dmemctl("apply --dry-run --diff")
        self.contains(r.stdout, "dmem=0:1G,1:6G", "apply --dry-run --diff")
        self.check_unchanged(before, "apply --dry-run")

    def test_apply(self) -> None:
        before = self.machine.read("/etc/default/grub")
        applied = self.dmemctl_json("apply")
        self.equal(applied["changed"], True, "changed")
        self.equal(applied["reboot_required"], True, "reboot_required")
        self.equal(applied["arguments"], self.plan["arguments"], "arguments")
        self.equal(self.machine.read("/etc/default/grub"), before, "/etc/default/grub")
        self.contains(self.machine.read(DROP_IN), "dmem=0:1G,1:6G", DROP_IN)

    def test_grub_boots_it_but_not_for_recovery(self) -> None:
        lines = self.kernel_lines()
        self.check(len(lines) >= 3, f"entries in grub.cfg: {lines}")
        for title, line in lines:
            has = "dmem=0:1G,1:6G" in line.split()
            self.equal(has, "recovery" not in title, f"dmem= in entry '{title}': {line}")

    def test_apply_again_changes_no_byte(self) -> None:
        before = self.snapshot()
        applied = self.dmemctl_json("apply")
        self.equal(applied["changed"], False, "changed")
        self.dmemctl("apply --unchanged-exit-77", 77)
        self.check_unchanged(before, "the second apply")

    def test_status_asks_for_a_reboot(self) -> None:
        status = self.dmemctl_json("status", 3)
        self.equal(status["state"], "pending-reboot", "state")
        self.equal(status["reboot_required"], True, "reboot_required")
        self.dmemctl("verify", 3)

    def test_apply_is_in_the_journal(self) -> None:
        entries = self.journal(f"MESSAGE_ID={message_id('PLAN_APPLIED')}")
        self.equal(len(entries), 1, "journal entries about the apply")

    def test_reboot(self) -> None:
        self.machine.reboot()
        self.equal(self.own_arguments(), self.plan["arguments"], "own arguments on the command line")

    def test_the_reservation_is_what_was_asked_for(self) -> None:
        nodes = self.dmem_nodes()
        self.equal(sorted(nodes), [0, 1], "nodes of class dmem")
        for i, want in ((0, 1 * GIB), (1, 6 * GIB)):
            n = nodes[i]
            self.equal((n.requested, n.size), (want, want), f"requested and granted on node {i}")
            self.equal((n.free, n.used, n.poisoned), (want, 0, 0), f"free, used, poisoned on node {i}")
            self.equal(sum(b - a for a, b in n.regions), want, f"sum of the regions of node {i}")
        self.regions = [r for n in nodes.values() for r in n.regions]

    def test_it_has_no_struct_page(self) -> None:
        gone = self.pages_before - self.vmstat("nr_memmap_boot_pages")
        self.equal(gone, 7 * GIB // 64 // 4096, "pages of struct page that are not needed any more")
        fell = self.total_before - self.mem_total()
        # What left MemTotal is the memory itself less its struct pages. Not to the byte: the kernel
        # sizes hash tables by the memory it has
        self.check(
            abs(fell - 7 * GIB * 63 // 64) <= 64 * MIB,
            f"MemTotal fell by {fell / MIB:.1f} MiB",
        )

    def test_it_is_not_system_ram(self) -> None:
        resources = self.iomem()
        dmem = [(a, b) for a, b, name in resources if name == "dmem"]
        self.equal(sorted(dmem), sorted(self.regions), "dmem in /proc/iomem")
        for a, b, name in resources:
            if name == "System RAM":
                for start, end in self.regions:
                    self.check(b <= start or end <= a, f"{a:#x}-{b:#x} is System RAM and dmem")
        start = self.regions[0][0]
        r = self.machine.run(
            f"dd if=/dev/mem bs=4096 skip={start // 4096} count=1 2>&1 >/dev/null", check=False
        )
        self.check(r.status != 0, "/dev/mem reads dmem")

    def test_services_run(self) -> None:
        for unit in ("dmemd-setup.service", "dmem-ready.target", "dmemd.service"):
            self.equal(
                self.machine.run(f"systemctl is-active {unit}", check=False).stdout.strip(), "active", unit
            )
        self.equal(self.machine.out("systemctl list-units --failed --plain --no-legend"), "", "failed units")

    def test_dmemfs_is_mounted(self) -> None:
        self.equal(self.machine.out("findmnt -no FSTYPE /run/dmemfs"), "dmemfs", "type of the mount")
        self.contains(self.machine.out("findmnt -no OPTIONS /run/dmemfs"), "pagesize=2M", "mount options")
        self.equal(self.machine.out("stat -c '%a %U %G' /run/dmemfs"), "750 root root", "mode and owner")

    def test_status_is_in_force(self) -> None:
        status = self.dmemctl_json("status")
        self.equal(status["state"], "in-force", "state")
        self.equal(status["reboot_required"], False, "reboot_required")
        self.equal(status["source"], "dmemd", "source")
        self.dmemctl("verify")
        text = self.dmemctl("status").stdout
        self.contains(text, "in-force", "status")

    def test_status_without_dmemd_reads_sysfs(self) -> None:
        self.machine.run("systemctl stop dmemd.service")
        status = self.dmemctl_json("status")
        self.equal((status["state"], status["source"]), ("in-force", "sysfs"), "state and source")
        self.machine.run("systemctl start dmemd.service")

    def test_the_plan_is_still_the_plan(self) -> None:
        plan = self.dmemctl_json("plan --detailed-exitcode")
        self.equal(plan["arguments"], self.plan["arguments"], "arguments")
        for old, new in zip(self.plan["nodes"], plan["nodes"]):
            self.equal(new, old, "planned node")
        self.equal((plan["changed"], plan["reboot_required"]), (False, False), "changed, reboot_required")

    def test_bus(self) -> None:
        text = self.machine.out("busctl introspect org.dmemd1 /org/dmemd1")
        for member in ("org.dmemd1.Manager", ".State", ".GetPlan", ".GetStatus", ".StateChanged"):
            self.contains(text, member, "busctl introspect")
        self.equal(self.bus_property("State"), '"in-force"', "State")
        self.equal(self.bus_property("TotalBytes"), str(7 * GIB), "TotalBytes")
        self.equal(self.bus_property("RebootRequired"), "false", "RebootRequired")
        self.equal(self.bus_property("MetadataSavedBytes"), str(7 * GIB // 64), "MetadataSavedBytes")
        self.equal(self.bus_property("SizeBytes", "/org/dmemd1/node/1", "Node"), str(6 * GIB), "SizeBytes")
        r = self.as_user("busctl call org.dmemd1 /org/dmemd1 org.dmemd1.Manager GetStatus")
        self.equal(r.status, 0, f"GetStatus as an ordinary user: {r}")

    def test_in_force_is_in_the_journal(self) -> None:
        entries = self.journal(f"MESSAGE_ID={message_id('IN_FORCE')}")
        self.equal(len(entries), 1, "journal entries that say in force")
        self.check("DMEM_GRANTED" in entries[0], f"no DMEM_GRANTED= in {entries[0]}")
        catalog = self.machine.out(["journalctl", "--list-catalog", message_id("IN_FORCE")])
        self.check(catalog.strip(), "the message is not in the catalog")

    def test_memory_comes_zeroed_in_2m_leaves_from_each_node(self) -> None:
        for node in (0, 1):
            free = self.dmem_nodes()[node].free
            job = self.machine.start_job(
                f"dmem-touch --node={node} --fill=0xa5 --hold /run/dmemfs/n{node} 256M"
            )
            ready = self.machine.channel.wait(
                lambda: b"holding\n" in job.stdout or job.status is not None, time.monotonic() + 120
            )
            self.check(ready and job.status is None, f"dmem-touch: {job.stdout!r} {job.stderr!r}")
            seen = dict(x.split("=", 1) for x in job.stdout.decode().splitlines() if "=" in x)
            self.equal(seen["nonzero"], "0", "bytes that were not zero")
            self.equal(seen["faults"], "128", "faults for 256M")
            leaves = (seen["leaf_1G"], seen["leaf_2M"], seen["leaf_4K"])
            self.equal(leaves, ("0", str(256 * MIB), "0"), "bytes in leaves of 1G, 2M, 4K")
            self.equal(free - self.dmem_nodes()[node].free, 256 * MIB, f"taken from node {node}")
            self.machine.channel.send_eof(job)
            self.equal(self.machine.wait_job(job).status, 0, "exit status of dmem-touch")
            self.equal(self.dmem_nodes()[node].free, free, f"free on node {node} after it ended")

    def test_pages_of_a_deleted_file_cannot_be_read(self) -> None:
        # All of node 0 is written and freed; whoever gets it next must find zeroes
        self.touch("--node=0 --fill=0x5a --keep /run/dmemfs/secret 1G")
        self.machine.run("rm /run/dmemfs/secret")
        self.equal(self.touch("--node=0 /run/dmemfs/next 1G")["nonzero"], "0", "bytes of the deleted file")
        # The same through read(), by truncation instead of deletion, and in small pages
        self.machine.run("mkdir -p /run/small && mount -t dmemfs -o pagesize=4K,node=0 dmemfs /run/small")
        self.touch("--fill=0x5a --keep /run/small/secret 64M")
        self.machine.run("truncate -s 0 /run/small/secret && truncate -s 64M /run/small/secret")
        r = self.machine.out("tr -d '\\000' </run/small/secret | wc -c; rm /run/small/secret")
        self.equal(r.strip(), "0", "bytes of the truncated file")
        self.equal(self.touch("/run/small/next 64M")["nonzero"], "0", "bytes seen in 4K pages")
        self.machine.run("umount /run/small")

    def test_selftests_of_the_kernel(self) -> None:
        self.run_selftests()

    def test_bad_mount_options_are_explained(self) -> None:
        for option, expected in (
            ("pagesize=3M", ("pagesize", "4K", "2M", "1G")),
            ("colour=red", ("colour",)),
            ("node=7", ("node",)),
            ("size=much", ("size",)),
        ):
            # mount(8) of Debian 12 does not show what the kernel says through the fs_context; with
            # the old system call that goes to the kernel's log
            r = self.machine.run(
                f"dmesg -C; mount -t dmemfs -o {option} dmemfs /mnt; r=$?; dmesg; exit $r", check=False
            )
            self.check(r.status != 0, f"mount -o {option} worked")
            for part in expected:
                self.contains(r.stdout + r.stderr, part, f"what is said about mount -o {option}")

    def test_drift_is_noticed(self) -> None:
        self.machine.run("mkdir -p /etc/dmemd/dmemd.conf.d")
        self.machine.put("/etc/dmemd/dmemd.conf.d/50-test.conf", "[Node 1]\nSize=2G\n")
        self.machine.run("systemctl reload dmemd.service")
        status = self.dmemctl_json("status", 3)
        self.equal(status["state"], "drift", "state")
        self.equal(self.bus_property("State"), '"drift"', "State on the bus")
        self.dmemctl("verify", 3)
        self.dmemctl("plan --detailed-exitcode", 2)
        self.check(self.journal(f"MESSAGE_ID={message_id('DRIFT')}"), "no entry about drift in the journal")

    def test_bad_configuration_keeps_the_old_one(self) -> None:
        self.machine.put("/etc/dmemd/dmemd.conf.d/50-test.conf", "[Node 1]\nSizes=2G\n")
        self.machine.run("systemctl reload dmemd.service", check=False)
        self.equal(self.machine.out("systemctl is-active dmemd.service"), "active", "dmemd")
        self.equal(self.bus_property("State"), '"drift"', "State with the old configuration")
        self.machine.run("rm /etc/dmemd/dmemd.conf.d/50-test.conf")
        self.machine.run("systemctl reload dmemd.service")
        self.equal(self.bus_property("State"), '"in-force"', "State with the good configuration")

    def test_revert_and_reboot(self) -> None:
        if "revert" not in self.dmemctl("--help").stdout:
            self.skip("this dmemctl has no revert")
        self.dmemctl("revert")
        self.machine.reboot()
        self.equal(self.own_arguments(), [], "own arguments on the command line")
        # Not to the byte: what the kernel allocates before it counts differs by pages between boots
        off = abs(self.mem_total() - self.total_before)
        self.check(off < MIB, f"MemTotal is {off / 1024:.0f} KiB off what it was")
