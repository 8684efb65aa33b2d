# SPDX-License-Identifier: LGPL-2.1-or-later
"""Memory errors in dmem, from the hardware on: the host and its guests live on."""

from __future__ import annotations

import re
import time

from lab.channel import ChannelClosed, Job

from .common import GIB, MIB, DmemScenario

# Status of bank 1: what the processor reports, see the Intel SDM volume 3, chapter 17
CORRECTED = 0x9C0000400000009F  # valid, address and misc valid: corrected memory read error
ACTION_OPTIONAL = 0xBD000000000000C0  # uncorrected, found by the memory scrubber
ACTION_REQUIRED = 0xBD80000000000134  # uncorrected, data load
MCG_OPTIONAL = 0x5  # in progress, can be restarted
MCG_REQUIRED = 0x7  # and the address of the instruction is valid
DEFERRED = 0x9C0018000000009F  # AMD: uncorrected, nobody has consumed it yet

BUS_MCEERR_AR, BUS_MCEERR_AO = 4, 5
TRACING = "/sys/kernel/tracing"
HARD_OFFLINE = "/sys/devices/system/memory/hard_offline_page"


class PoisonScenario(DmemScenario):
    """A node of 2 GiB, and files in it of which the physical addresses are known."""

    nodes = "2G,4G"
    boot = "direct"
    append = "dmem=1:2G"
    node = 1

    def prepare(self) -> None:
        self.machine.run("systemctl start dmemd-setup.service || modprobe dmemfs")
        self.machine.run("echo 1 >/sys/devices/system/machinecheck/machinecheck0/check_interval")
        self.machine.run("mkdir -p /run/mce && mount -t dmemfs -o pagesize=2M dmemfs /run/mce")
        self.machine.run(f"[ -e {TRACING}/trace ] || mount -t tracefs tracefs {TRACING}")
        self.machine.run(f"echo 1 >{TRACING}/events/ras/memory_failure_event/enable")

    def victim(self, name: str, size: int) -> tuple[Job, int]:
        """A process with a file of its own, filled with 0x77, and the file's first physical address."""
        # The switch goes with the module
        self.machine.run(f"echo 1 >{TRACING}/events/dmemfs/dmemfs_alloc/enable; echo >{TRACING}/trace")
        job = self.machine.start_job(f"dmem-touch --fill=0x77 --hold --catch /run/mce/{name} {size}")
        self.wait_for(job, 0, "holding")
        first = re.search(r"dmemfs_alloc:.* address=(0x[0-9a-f]+) ", self.machine.read(f"{TRACING}/trace"))
        assert first
        return job, int(first[1], 16)

    def wait_for(self, job: Job, seen: int, text: str, seconds: float = 180) -> str:
        """Waits until the job has printed @text behind the first @seen bytes; returns what it printed."""
        ready = self.machine.channel.wait(
            lambda: text.encode() in job.stdout[seen:] or job.status is not None,
            time.monotonic() + seconds,
        )
        found = job.stdout[seen:].decode()
        self.check(ready and text in found, f"no {text!r} from dmem-touch, only {found!r}, {job.stderr!r}")
        return found

    def ask(self, job: Job, line: str, answer: str) -> str:
        seen = len(job.stdout)
        self.machine.channel.send_input(job, line.encode() + b"\n")
        return self.wait_for(job, seen, answer)

    def end(self, job: Job) -> None:
        self.machine.channel.send_eof(job)
        self.equal(self.machine.wait_job(job).status, 0, "exit status of dmem-touch")

    def wait_until(self, what: str, condition: str, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not self.machine.run(condition, check=False).ok:
            if time.monotonic() > end:
                self.check(False, f"{what}: {condition} is not true; {self.machine.out('dmesg | tail -n 20')}")
            time.sleep(0.5)

    def poisoned(self) -> dict[int, str]:
        text = self.machine.read(f"/sys/class/dmem/node{self.node}/poisoned")
        lines = [x.split() for x in text.splitlines()]
        self.equal(lines, sorted(lines), "order of the poisoned units")
        return {int(a, 16): state for a, state in lines}

    def events(self) -> int:
        return int(self.machine.read(f"/sys/class/dmem/node{self.node}/events"))

    def wait_event(self, before: int) -> None:
        self.wait_until("event", f"[ $(cat /sys/class/dmem/node{self.node}/events) -gt {before} ]")
        self.equal(self.events(), before + 1, "events")

    def check_sums(self) -> None:
        n = self.dmem_nodes()[self.node]
        self.equal(n.free + n.used + n.poisoned, n.size, "free + used + poisoned bytes")


    def physical(self, address: int) -> int:
        """A byte of memory as the hardware has it, past all that the kernel forbids."""
        return int(self.machine.qmp.human(f"xp /1xb {address:#x}").split()[-1], 16)

    def wait_cleared(self, *addresses: int) -> None:
        end = time.monotonic() + 60
        while any(self.physical(a) for a in addresses) and time.monotonic() < end:
            time.sleep(0.2)
        self.equal([self.physical(a) for a in addresses], [0] * len(addresses), f"bytes at {addresses}")


class MachineCheck(PoisonScenario):
    """As an Intel processor reports errors"""

    def test_corrected_error_is_harmless(self) -> None:
        job, address = self.victim("corrected", 4 * MIB)
        self.machine.mce(0, 1, CORRECTED, 0, address)
        self.wait_until("logged", "dmesg | grep -q 'Machine check events logged'")
        self.contains(self.ask(job, "read", "differing="), "lost=0\ndiffering=0", "what its owner sees")
        self.equal(self.poisoned(), {}, "poisoned units")
        self.end(job)

    def test_error_in_free_memory_costs_4k(self) -> None:
        job, address = self.victim("free", 4 * MIB)
        self.end(job)
        before, free = self.events(), self.dmem_nodes()[1].free
        self.machine.mce(0, 1, ACTION_OPTIONAL, MCG_OPTIONAL, address + 0x5678, broadcast=True)
        self.wait_event(before)
        self.equal(self.poisoned().get(address + 0x5000), "free", "state of the unit")
        self.equal(self.dmem_nodes()[1].free, free - 4096, "free bytes")
        self.equal(self.dmem_nodes()[1].poisoned, 4096, "poisoned bytes")
        self.check_sums()

    def test_error_found_by_the_scrubber_is_told_early(self) -> None:
        job, address = self.victim("scrubbed", 8 * MIB)
        before, seen = self.events(), len(job.stdout)
        self.machine.mce(0, 1, ACTION_OPTIONAL, MCG_OPTIONAL, address + 0x3000, broadcast=True)
        self.wait_event(before)
        self.contains(self.wait_for(job, seen, "sigbus="), f"sigbus={BUS_MCEERR_AO},0x3000,12", "the signal")
        self.equal(self.poisoned().get(address + 0x3000), "used", "state of the unit")
        users = self.machine.read("/sys/class/dmem/node1/users").split()
        self.equal(users[0], f"{address + 0x3000:#018x}", "the unit in users")
        self.equal(users[3], "0x3000", "offset in users")
        self.equal(users[5], "/scrubbed", "path in users")
        comm = self.machine.read(f"/proc/{users[4]}/comm").strip()
        self.equal(comm, "dmem-touch", f"process {users[4]} in users")

        # The rest of it is as it was; the page itself cannot be read
        text = self.ask(job, "read", "differing=")
        self.contains(text, "lost=1\ndiffering=0", "what its owner sees")
        self.contains(text, f"sigbus={BUS_MCEERR_AR},0x3000,12", "the signal at an access")
        r = self.machine.run("dd if=/run/mce/scrubbed of=/dev/null bs=4096 skip=3 count=1", check=False)
        self.contains(r.stderr, "Input/output error", "dd of the page")
        self.end(job)
        self.equal(self.poisoned().get(address + 0x3000), "free", "state after the file has gone")
        self.check_sums()

    def test_same_page_again_is_no_event(self) -> None:
        (address, _), *_ = self.poisoned().items()
        before = self.events()
        self.machine.mce(0, 1, ACTION_OPTIONAL, MCG_OPTIONAL, address, broadcast=True)
        self.wait_until("trace", f"grep -q 'already poisoned' {TRACING}/trace")
        self.equal(self.events(), before, "events")

    def test_rasdaemon_would_see_it(self) -> None:
        job, address = self.victim("ras", 4 * MIB)
        for offset, result in ((0, "Delayed"), (4096, "Recovered")):
            if result == "Recovered":
                self.end(job)
            self.machine.run(f"echo {address + offset:#x} >{HARD_OFFLINE}")
            trace = self.machine.read(f"{TRACING}/trace")
            self.contains(
                trace,
                f"memory_failure_event: pfn {(address + offset) >> 12:#x}: recovery action for "
                f"non struct page pfn: {result}",
                "trace of ras:memory_failure_event",
            )

    def test_lost_memory_is_not_cleared(self) -> None:
        """Touching it would raise the next machine check, in the kernel. All around it is cleared."""
        job, address = self.victim("lost", 4 * MIB)
        punched, cut = address + 0x4000, address + 0xB000
        self.machine.run(f"echo {punched:#x} >{HARD_OFFLINE}; echo {cut:#x} >{HARD_OFFLINE}")
        self.equal([self.physical(a) for a in (punched, cut)], [0x77, 0x77], "bytes that are lost")
        self.machine.run(f"cd /run/mce && fallocate -p -o {0x3000} -l {0x3000} lost && truncate -s {0x9000} lost")
        self.wait_cleared(punched - 1, punched + 0x1000, cut - 1, cut + 0x1000)
        self.equal(self.physical(address), 0x77, "byte that is still the file's")
        self.end(job)
        self.wait_cleared(address, cut - 0x2001)
        self.equal([self.physical(a) for a in (punched, cut)], [0x77, 0x77], "bytes that are lost, at last")
        self.check_sums()

    def test_address_outside_is_not_ours(self) -> None:
        before = self.events()
        # A hole: the machine has 6 GiB, and what is below 4 GiB moves up by a gigabyte at most
        r = self.machine.run(f"echo {64 * GIB:#x} >{HARD_OFFLINE}", check=False)
        self.check(not r.ok, "an address without memory was accepted")
        self.equal(self.events(), before, "events")

    def test_module_loaded_again_knows_all(self) -> None:
        before = self.poisoned()
        self.check(len(before) >= 4, f"units known: {before}")
        self.machine.run("systemctl stop dmemd.service; umount -a -t dmemfs && modprobe -r dmemfs")
        # Nobody is there to handle it, but it is not forgotten
        address = max(before) + 7 * 4096
        self.machine.run(f"echo {address:#x} >{HARD_OFFLINE}")
        self.machine.run("modprobe dmemfs && mount -t dmemfs dmemfs /run/mce")
        self.equal(self.poisoned(), {**before, address: "free"}, "poisoned units after loading again")
        self.check_sums()

    def test_consumer_goes_on_with_the_rest(self) -> None:
        # If processor 0 happens to be in the kernel at that moment, the kernel cannot go on, and it
        # must not: then once more
        for _ in range(4):
            job, address = self.victim("consumer", 64 * MIB)
            self.ask(job, f"spin {5 * 4096}", "spinning")
            seen = len(job.stdout)
            self.machine.expected.append("Kernel panic|Data load in unrecoverable area of kernel")
            self.machine.mce(0, 1, ACTION_REQUIRED, MCG_REQUIRED, address + 5 * 4096, broadcast=True)
            try:
                self.machine.channel.wait(lambda: b"spun" in job.stdout[seen:], time.monotonic() + 90)
                break
            except ChannelClosed:
                self.machine.stop()
                self.machine.start()
                self.prepare()
        text = self.wait_for(job, seen, "spun")
        self.contains(text, f"sigbus={BUS_MCEERR_AR},{5 * 4096:#x},12", "the signal")
        self.contains(self.ask(job, "read", "differing="), "lost=1\ndiffering=0", "what its owner sees")
        self.equal(self.poisoned().get(address + 5 * 4096), "used", "state of the unit")
        self.end(job)


class DeferredError(PoisonScenario):
    """As an AMD processor reports errors: it polls for those that nobody has consumed"""

    cpu = "EPYC,+pdpe1gb"

    def test_deferred_error(self) -> None:
        job, address = self.victim("deferred", 4 * MIB)
        before, seen = self.events(), len(job.stdout)
        self.machine.mce(0, 1, DEFERRED, 0, address + 0x2000)
        self.wait_event(before)
        self.contains(self.wait_for(job, seen, "sigbus="), f"sigbus={BUS_MCEERR_AO},0x2000,12", "the signal")
        self.contains(self.ask(job, "read", "differing="), "lost=1\ndiffering=0", "what its owner sees")
        self.end(job)

    def test_selftest_of_the_kernel(self) -> None:
        self.run_selftest("dmemfs_poison")
        # What is left serves as before
        self.run_selftest("dmemfs_basic")
        self.run_selftest("dmemfs_spans")
