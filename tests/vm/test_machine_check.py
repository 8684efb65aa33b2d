# SPDX-License-Identifier: LGPL-2.1-or-later
"""Machine checks that name an address in dmem: the host and its guests live on."""

from __future__ import annotations

import time

from .common import GIB, DmemScenario

# Status of bank 1: what the processor reports, see the Intel SDM volume 3, chapter 17
CORRECTED = 0x9C0000400000009F  # valid, address and misc valid: corrected memory read error
ACTION_OPTIONAL = 0xBD000000000000C0  # uncorrected, found by the memory scrubber
MCG_OPTIONAL = 0x5  # in progress, can be restarted


class MachineCheck(DmemScenario):
    nodes = "2G,4G"
    boot = "direct"
    append = "dmem=1:2G"

    def prepare(self) -> None:
        self.machine.run("systemctl start dmemd-setup.service || modprobe dmemfs")
        self.machine.run("echo 1 >/sys/devices/system/machinecheck/machinecheck0/check_interval")
        self.machine.run("mkdir -p /run/mce && mount -t dmemfs -o pagesize=2M dmemfs /run/mce")
        (start, end), *_ = self.dmem_nodes()[1].regions
        # All of the pool is mapped by somebody, so this address is, too
        self.address = start + (end - start) // 2 + 0x3000
        self.job = self.machine.start_job("dmem-touch --fill=0x77 --hold /run/mce/victim 2G")
        ready = self.machine.channel.wait(
            lambda: b"holding\n" in self.job.stdout or self.job.status is not None, time.monotonic() + 180
        )
        self.check(ready and self.job.status is None, f"dmem-touch: {self.job.stdout!r} {self.job.stderr!r}")
        self.equal(self.dmem_nodes()[1].used, 2 * GIB, "used bytes")

    def dmesg_has(self, text: str, seconds: float = 30) -> str:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            log = self.machine.out("dmesg")
            if text in log:
                return log
            time.sleep(1)
        self.contains(self.machine.out("dmesg | grep -i -e mce -e 'memory fail'; true"), text, "kernel log")
        return ""

    def victim_reads(self) -> str:
        """The process that maps the memory reads all of it; returns bytes that differ or how it ended."""
        seen = len(self.job.stdout)
        self.machine.channel.send_input(self.job, b"read\n")
        self.machine.channel.wait(
            lambda: b"differing=" in self.job.stdout[seen:] or self.job.status is not None,
            time.monotonic() + 120,
        )
        if self.job.status is not None:
            return f"ended with wait status {self.job.status}"
        return self.job.stdout[seen:].decode().strip()

    def test_corrected_error_is_harmless(self) -> None:
        self.machine.mce(0, 1, CORRECTED, 0, self.address)
        self.dmesg_has("Machine check events logged")
        self.equal(self.victim_reads(), "differing=0", "what the user of the memory sees")

    def test_uncorrected_error_does_not_take_the_host_down(self) -> None:
        self.machine.mce(0, 1, ACTION_OPTIONAL, MCG_OPTIONAL, self.address, broadcast=True)
        self.dmesg_has("Memory failure")
        self.check(self.machine.alive, "the machine went down")
        self.equal(self.machine.out("echo alive"), "alive", "a command after the machine check")

    def test_the_rest_of_the_memory_stays_usable(self) -> None:
        self.machine.channel.send_eof(self.job)
        self.machine.wait_job(self.job)
        self.equal(self.touch("/run/mce/next 256M")["nonzero"], "0", "bytes that were not zero")
