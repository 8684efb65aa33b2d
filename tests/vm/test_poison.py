# SPDX-License-Identifier: LGPL-2.1-or-later
"""A memory error from the kernel to the administrator, and over a reboot."""

from __future__ import annotations

import time
from typing import Any

from .common import GIB, MIB, DmemScenario, message_id

HARD_OFFLINE = "/sys/devices/system/memory/hard_offline_page"
TRACE = "/sys/kernel/tracing"


class Poison(DmemScenario):
    """retire, a page that a process maps, reboot, forget"""

    nodes = "2G,4G"
    thorough = "two boots; it has not been run to its end yet"
    boot = "direct"
    append = "dmem=1:2G"
    steps = (
        "test_retire",
        "test_a_page_in_use",
        "test_who_it_was",
        "test_reboot",
        "test_forget",
    )

    def prepare(self) -> None:
        self.machine.run("systemctl start dmem-ready.target dmemd.service")
        self.machine.run(f"mountpoint -q {TRACE} || mount -t tracefs tracefs {TRACE}")
        self.machine.run(f"echo 1 >{TRACE}/events/ras/memory_failure_event/enable")
        (start, end), *_ = self.dmem_nodes()[1].regions
        self.retired = end - 8 * MIB + 0x5000
        self.poisoned = start + (end - start) // 2 + 0x3000

    def listed(self) -> dict[int, str]:
        """What the kernel has out of use on node 1."""
        text = self.machine.read("/sys/class/dmem/node1/poisoned")
        return {int(line.split()[0], 16): line.split()[1] for line in text.splitlines()}

    def known(self) -> dict[int, dict[str, Any]]:
        """What dmemctl poisoned shows."""
        units = self.dmemctl_json("poisoned")["units"]
        return {int(u["address"], 16): u for u in units}

    def wait_entry(self, name: str, address: int) -> dict[str, Any]:
        end = time.monotonic() + 30
        while True:
            for entry in self.journal(f"MESSAGE_ID={message_id(name)}"):
                if entry.get("DMEM_ADDRESS") == f"{address:#x}":
                    return entry
            self.check(time.monotonic() < end, f"no entry {name} about {address:#x}")
            time.sleep(0.5)

    def test_retire(self) -> None:
        self.dmemctl(f"retire {self.retired + 7:#x}")
        self.equal(self.listed(), {self.retired: "free"}, "the kernel's list")
        entry = self.wait_entry("PAGE_POISONED", self.retired)
        self.equal(entry["DMEM_SOURCE"], "sysfs", "source")
        self.equal(entry["DMEM_NODE"], "1", "node")
        self.dmemctl(f"retire {self.retired:#x}")
        self.dmemctl("retire 0x1000", 4)
        self.equal(sorted(self.known()), [self.retired], "dmemctl poisoned")
        codes = [f["code"] for f in self.dmemctl_json("status", 3)["findings"]]
        self.check("poisoned" in codes, f"findings: {codes}")

    def test_a_page_in_use(self) -> None:
        size = self.dmem_nodes()[1].free - 8 * MIB
        size -= size % (2 * MIB)
        self.job = self.machine.start_job(f"dmem-touch --fill=0x77 --hold /run/dmemfs/victim {size}")
        ready = self.machine.channel.wait(
            lambda: b"holding\n" in self.job.stdout or self.job.status is not None, time.monotonic() + 180
        )
        self.check(ready and self.job.status is None, f"dmem-touch: {self.job.stdout!r} {self.job.stderr!r}")
        self.machine.run(f"echo {self.poisoned:#x} >{HARD_OFFLINE}")
        self.equal(self.listed().get(self.poisoned), "used", "the kernel's list")
        self.check(self.machine.alive, "the machine went down")

    def test_who_it_was(self) -> None:
        entry = self.wait_entry("PAGE_POISONED", self.poisoned)
        self.contains(entry["DMEM_FILE"], "victim", "file in the journal")
        self.contains(entry["DMEM_PROCESSES"], ":dmem-touch", "processes in the journal")
        self.check(int(entry["DMEM_OFFSET"], 16) % 4096 == 0, f"offset {entry['DMEM_OFFSET']}")
        unit = self.known()[self.poisoned]
        self.contains(unit["file"], "victim", "file in dmemctl poisoned")
        self.equal(unit["offset"], entry["DMEM_OFFSET"], "offset in dmemctl poisoned")
        self.equal([p["command"] for p in unit["processes"]], ["dmem-touch"], "processes")
        # Who does not know dmem sees it as well: this is what rasdaemon records
        self.contains(self.machine.read(f"{TRACE}/trace"), "memory_failure_event", "trace")
        self.equal(self.bus_property("MissedEvents"), "0", "missed events")

    def test_reboot(self) -> None:
        self.machine.channel.send_eof(self.job)
        self.machine.wait_job(self.job)
        self.machine.reboot()
        self.machine.run("systemctl start dmem-ready.target dmemd.service")
        self.equal(self.listed(), {self.retired: "free", self.poisoned: "free"}, "the kernel's list")
        (again,) = self.journal(f"MESSAGE_ID={message_id('RETIRED_AGAIN')}")
        self.equal(again["DMEM_COUNT"], "2", "pages that were retired again")
        (mounted,) = [x for x in self.journal("SYSLOG_IDENTIFIER=dmemd-setup")
                      if "is mounted" in x["MESSAGE"]]
        self.check(int(again["__MONOTONIC_TIMESTAMP"]) < int(mounted["__MONOTONIC_TIMESTAMP"]),
                   "dmemfs was mounted first")
        self.equal(self.journal(f"MESSAGE_ID={message_id('PAGE_POISONED')}"), [], "what is no news")
        known = self.known()
        self.equal(sorted(known), sorted([self.retired, self.poisoned]), "dmemctl poisoned")
        self.check(not any(u["this_boot"] for u in known.values()), "found in an earlier boot")
        self.contains(known[self.poisoned]["file"], "victim", "the file it was part of then")
        self.equal(self.touch("/run/dmemfs/next 1G")["nonzero"], "0", "bytes that were not zero")

    def test_forget(self) -> None:
        r = self.dmemctl("forget --all")
        self.contains(r.stdout, "until the next boot", "forget")
        self.equal(len(self.listed()), 2, "pages out of use in this boot")
        self.machine.reboot()
        self.machine.run("systemctl start dmem-ready.target dmemd.service")
        self.equal(self.listed(), {}, "the kernel's list")
        self.equal(self.known(), {}, "dmemctl poisoned")
        self.equal(self.dmem_nodes()[1].size, 2 * GIB, "size of node 1")
