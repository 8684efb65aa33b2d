# SPDX-License-Identifier: LGPL-2.1-or-later
"""dmemfs on Debian's own kernel: memory that memmap= keeps away, named to the module by regions=."""

from __future__ import annotations

import re
import time

from .common import GIB, MIB, SELFTESTS, DmemScenario

# The machine has 4 and 6 GiB: node 0 is 0-3G and 4G-5G, node 1 is 5G-11G. Taken away are
OWN = [(4 * GIB, 5 * GIB, 0), (6 * GIB, 10 * GIB, 1)]  # start, end, node; for dmemfs
SPARE = (10 * GIB, 11 * GIB)  # to try things with
ACPI = (0xB8000000, 0xC0000000)  # the section with ACPI tables, below the PCI hole
NOWHERE = (16 * GIB, 17 * GIB)  # behind the end of memory, which memmap= does not mind

# Says that the plan is not dmemd's
DMEMD_FILE = "/etc/dmemd/dmemd.conf.d/50-memmap.conf"

REGIONS = ",".join(f"{start:x}-{end:x}" for start, end, _ in OWN)


def memmap(start: int, end: int) -> str:
    return f"memmap={(end - start) // MIB}M${start:#x}"


class _Stock(DmemScenario):
    kernel = "stock"

    def plan_nothing(self) -> None:
        self.machine.run("mkdir -p /etc/dmemd/dmemd.conf.d")
        self.machine.put(DMEMD_FILE, "[Plan]\nBackend=none\n")
        self.machine.run("systemctl try-reload-or-restart dmemd.service")


class StockKernel(_Stock):
    thorough = "the file system once more, on Debian's kernel"
    nodes = "4G,6G"
    boot = "direct"
    append = " ".join(
        [memmap(a, b) for a, b in [*((a, b) for a, b, _ in OWN), SPARE, ACPI, NOWHERE]]
        + [f"dmemfs.regions={REGIONS}"]
    )

    def load(self, regions: str) -> tuple[bool, str]:
        """Loads the module with @regions instead of those of the command line; what it says."""
        self.machine.run("dmesg --clear")
        path = self.machine.out("modinfo -n dmemfs")
        r = self.machine.run(["insmod", path, *([f"regions={regions}"] if regions else [])], check=False)
        log = self.machine.out("dmesg | sed -n 's/^.*dmemfs: //p'")
        return r.ok, log

    def claims(self) -> list[tuple[int, int]]:
        return sorted((a, b) for a, b, name in self.iomem() if name == "dmem")

    # As it boots: nothing was done in the machine but to give it these arguments

    def test_kernel_is_debians(self) -> None:
        release = self.machine.out("uname -r")
        self.check(re.fullmatch(r"6\.12\.\d+\+deb\d+-cloud-amd64", release), f"kernel {release}")
        self.equal(self.machine.run(["grep", "-q", "CONFIG_DMEM=", f"/boot/config-{release}"],
                                    check=False).status, 1, "CONFIG_DMEM in its configuration")

    def test_regions_are_on_their_nodes(self) -> None:
        nodes = self.dmem_nodes()
        self.equal(sorted(nodes), [0, 1], "nodes of class dmem")
        for start, end, node in OWN:
            n = nodes[node]
            self.equal(n.regions, [(start, end)], f"regions of node {node}")
            self.equal((n.requested, n.size, n.free), (end - start,) * 3, f"bytes of node {node}")

    def test_it_has_no_struct_page(self) -> None:
        gone = sum(b - a for a, b, _ in OWN) + sum(b - a for a, b in (SPARE, ACPI))
        self.equal(self.vmstat("nr_memmap_boot_pages"), (10 * GIB - gone) // 64 // 4096,
                   "pages of struct page")

    def test_it_is_claimed(self) -> None:
        self.equal(self.claims(), [(a, b) for a, b, _ in OWN], "dmem in /proc/iomem")
        for start, end, _ in OWN:
            for at in (start, (start + end) // 2, end - 4096):
                for direction in (f"if=/dev/mem of=/dev/null skip={at // 4096}",
                                  f"if=/dev/zero of=/dev/mem seek={at // 4096}"):
                    r = self.machine.run(f"dd bs=4096 count=1 conv=notrunc {direction}", check=False)
                    self.check(not r.ok, f"/dev/mem gives access to {at:#x}: {r}")
                    # The latter behind all that the kernel itself has
                    self.check(re.search("Operation not permitted|Bad address", r.stderr),
                               f"/dev/mem at {at:#x}: {r}")

    def test_module_says_what_this_kernel_lacks(self) -> None:
        log = self.machine.out("dmesg | grep dmemfs:")
        self.contains(log, "MPOL_MF_STRICT", "what the module says when it is loaded")

    def test_units_are_active(self) -> None:
        for unit in ("dmemd-setup.service", "dmem-ready.target", "dmemd.service"):
            r = self.machine.run(f"systemctl is-active {unit}", check=False)
            self.equal(r.stdout.strip(), "active", unit)
        failed = self.machine.out("systemctl list-units --failed --plain --no-legend")
        self.equal(failed, "", "failed units")
        self.equal(self.machine.out("findmnt -no FSTYPE /run/dmemfs"), "dmemfs", "type of the mount")

    def test_status(self) -> None:
        self.plan_nothing()
        for service in ("start", "stop"):
            self.machine.run(f"systemctl {service} dmemd.service")
            status = self.dmemctl_json("status")
            self.equal(status["state"], "in-force", f"state after {service} of dmemd")
            for node, (start, end, _) in zip(status["nodes"], OWN):
                self.equal(node["granted_bytes"], end - start, f"granted on node {node['id']}")
        self.machine.run("systemctl start dmemd.service")
        self.contains(self.dmemctl("status").stdout, "in-force", "status")

    def test_dmem_is_not_applied_to_a_kernel_that_does_not_know_it(self) -> None:
        self.machine.run(["rm", "-f", DMEMD_FILE])
        before = self.snapshot()
        self.dmemctl("plan")
        r = self.dmemctl("apply", 1)
        self.contains(r.stderr, "CONFIG_DMEM", "apply")
        self.check_unchanged(before, "plan and apply")

    # Memory of guests

    def test_memory_comes_zeroed_in_large_leaves(self) -> None:
        self.machine.run("mkdir -p /run/1g && mount -t dmemfs -o pagesize=1G dmemfs /run/1g")
        for _, _, node in OWN:
            for mount, faults in (("/run/dmemfs", 512), ("/run/1g", 1)):
                seen = self.touch(f"--node={node} --fill=0xa5 {mount}/n{node} 1G")
                self.equal(seen["nonzero"], "0", f"bytes of node {node} that were not zero")
                # Debian's kernel cannot show page tables: one fault for each leaf
                self.equal(seen["faults"], str(faults), f"faults for 1G of node {node} in {mount}")
        # Whoever looks at the page tables, may it split the leaf, finds no struct page and harms nobody
        job = self.machine.start_job("dmem-touch --fill=0xa5 --hold /run/1g/watched 1G")
        self.machine.channel.wait(lambda: b"holding\n" in job.stdout or job.status is not None,
                                  time.monotonic() + 600)
        self.machine.run("cd /proc/$(pidof dmem-touch) && cat smaps smaps_rollup numa_maps >/dev/null && "
                         "echo 1 >clear_refs")
        self.machine.channel.send_input(job, b"read\n")
        self.machine.channel.send_eof(job)
        self.machine.wait_job(job)
        self.contains(job.stdout.decode(), "differing=0", "what dmem-touch sees afterwards")
        self.machine.run("umount /run/1g")

    def test_selftests_of_the_kernel(self) -> None:
        tap = self.run_selftests()
        self.contains(tap["dmemfs_numa"], "# SKIP this kernel", "what dmemfs_numa skips")
        self.run_selftest("dmemfs_poison")

    # What is refused

    def test_unloading_gives_everything_back(self) -> None:
        self.machine.run("systemctl stop dmemd.service dmem-ready.target dmemd-setup.service")
        self.machine.run("umount /run/dmemfs && rmmod dmemfs")
        self.equal(self.claims(), [], "dmem in /proc/iomem without the module")

    def refuse(self, regions: str, because: str) -> None:
        loaded, log = self.load(regions)
        self.check(not loaded, f"regions={regions} was accepted")
        self.contains(log, because, f"regions={regions}")
        self.equal(self.claims(), [], f"dmem in /proc/iomem after regions={regions}")

    def test_refuses_what_is_not_set_aside(self) -> None:
        for start, end, because in (
            (5 * GIB, 6 * GIB, "System RAM"),
            (5 * GIB, 7 * GIB, "System RAM"),  # the second half is free
            (0, 128 * MIB, "System RAM"),
            (*NOWHERE, "the firmware does not call all of it usable"),
            (10 * GIB, 12 * GIB, "the firmware does not call all of it usable"),
            (32 * GIB, 33 * GIB, "the firmware does not call all of it usable"),
            (*ACPI, "the firmware does not call all of it usable"),
            (0xE0000000, 0xE8000000, "the firmware does not call all of it usable"),  # devices
            (1 << 60, (1 << 60) + GIB, "beyond what this CPU can address"),
        ):
            self.refuse(f"{start:x}-{end:x}", because)

    def test_refuses_what_is_no_range(self) -> None:
        at, end = f"{SPARE[0]:x}", f"{SPARE[1]:x}"
        for text in ("banana", at, f"{at}-", f"-{end}", f"{at}+{end}", f"{at}-{end}-{end}", "10G-11G",
                     f"{at}-{end},", f"{at}-{end},,", f"{at}-1{'0' * 16}"):
            self.refuse(text, "is not a range")
        self.refuse("", "no memory to work with")
        for text in (f"{SPARE[0] + 0x1000:x}-{end}", f"{at}-{SPARE[1] - 2 * MIB:x}"):
            self.refuse(text, "multiples of 128M")
        for text in (f"{at}-{at}", f"{end}-{at}"):
            self.refuse(text, "its end is not above its start")

    def test_refuses_what_is_in_use(self) -> None:
        a, b = SPARE
        self.refuse(f"{a:x}-{b:x},{a:x}-{b:x}", "in use already")
        self.refuse(f"{a:x}-{b:x},{b - 128 * MIB:x}-{b:x}", "in use already")
        # Somebody else's claim, of a part only
        self.machine.run(
            f"modprobe ramoops mem_address={a + 256 * MIB:#x} mem_size=0x100000 record_size=0x20000 ecc=0"
        )
        self.refuse(f"{a:x}-{b:x}", "in use already")
        self.machine.run("rmmod ramoops")

    def test_one_bad_range_refuses_all(self) -> None:
        self.refuse(f"{REGIONS},{5 * GIB:x}-{6 * GIB:x}", "System RAM")

    def test_accepts_it_after_all_that(self) -> None:
        b = SPARE[1]
        # One range may span what memmap= took away in two pieces; a prefix does no harm
        loaded, log = self.load(f"0x{6 * GIB:x}-0x{b:x},{4 * GIB:x}-{5 * GIB:x}")
        self.check(loaded, f"two good ranges were refused: {log}")
        self.equal(self.claims(), [(4 * GIB, 5 * GIB), (6 * GIB, b)], "dmem in /proc/iomem")
        self.equal({i: n.size for i, n in self.dmem_nodes().items()}, {0: GIB, 1: b - 6 * GIB}, "bytes")
        self.machine.run("rmmod dmemfs")


class OneRangeOverTwoNodes(_Stock):
    """A range that begins on one node and ends on the next"""

    thorough = "the file system once more, on Debian's kernel"
    nodes = "4G,4G"
    boot = "direct"
    append = f"memmap=2G$0x{4 * GIB:x} dmemfs.regions={4 * GIB:x}-{6 * GIB:x}"

    def test_each_node_gets_its_part(self) -> None:
        nodes = self.dmem_nodes()
        self.equal(nodes[0].regions, [(4 * GIB, 5 * GIB)], "regions of node 0")
        self.equal(nodes[1].regions, [(5 * GIB, 6 * GIB)], "regions of node 1")
        self.plan_nothing()
        self.equal(self.dmemctl_json("status")["state"], "in-force", "state")

    def test_strict_mbind_is_what_the_patch_is_for(self) -> None:
        # Documentation/filesystems/dmemfs.rst warns of it. If it does not happen any more, Debian
        # has mended mm/mempolicy.c, and the warning should go.
        self.machine.expected += ["queue_folios_", "BUG: unable to handle page fault", "Oops:", "Call Trace:",
                                  "INFO: task .* blocked", "rcu.*stall"]
        self.machine.start_job(f"{SELFTESTS}/dmemfs_numa --strict-mbind")
        end = time.monotonic() + 600
        while time.monotonic() < end and "BUG: unable" not in self.machine.console():
            time.sleep(1)
        self.contains(self.machine.console(), "queue_folios_", "the console after mbind(MPOL_MF_STRICT)")
