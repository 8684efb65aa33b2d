# SPDX-License-Identifier: LGPL-2.1-or-later
"""A memory error from the kernel to the administrator, over a reboot, and to a guest."""

from __future__ import annotations

import base64
import json
import re
import struct
import subprocess
import time
import uuid
from typing import Any

from lab.images import SOURCE_ROOT
from lab.machine import LabError, cache_folder

from .common import GIB, MIB, message_id
from .test_machine_check import HARD_OFFLINE, TRACING, PoisonScenario

NODE = "/sys/class/dmem/node1"
LEDGER = "/var/lib/dmemd/ledger/poisoned.jsonl"
SERIAL, EARLIER_SERIAL = "LAB-0001", "LAB-0000"
STORM = 800  # pages for each thing that is done to dmemd meanwhile

# Where the firmware reports errors, in memory that memmap= keeps the kernel from: a page that holds
# the address of the next one, in which the report is
REPORTS = 0x4000000
MEMORY_ERROR = uuid.UUID("a5bc1114-6f64-4ede-b863-3e83ed7c83b1").bytes_le
RECOVERABLE = 0


def hest() -> bytes:
    """An error source of ACPI, ACPI 6.5 section 18.3.2.7: looked at each second, at REPORTS."""
    return struct.pack(
        "<I HHHBBIII BBBBQ BBHIIIIII I",
        1,  # number of sources
        9, 0, 0xFFFF, 0, 1, 1, 1, 4096,  # generic, enabled, one record of one section
        0, 64, 0, 4, REPORTS,
        0, 28, 0, 1000, 0, 0, 0, 0, 0,  # polled
        4096,
    )


def report(address: int) -> bytes:
    """What stands there if @address is bad, ACPI 6.5 section 18.3.2.7.1 and UEFI 2.10 section N.2.5."""
    error = struct.pack("<QQQQ48x", 0x2, 0, address, 0)  # the address is valid
    section = MEMORY_ERROR + struct.pack("<IHBBI36x", RECOVERABLE, 0x201, 0, 0, len(error)) + error
    return struct.pack("<IIIII", 1 << 4 | 1, 0, 0, len(section), RECOVERABLE) + section


class Poison(PoisonScenario):
    """retire, a page that a process maps, a storm, reboot, forget"""

    append = f"dmem=1:2G memmap=1M${REPORTS:#x}"
    qemu_arguments = ("-smbios", f"type=17,serial={SERIAL}")
    steps = (
        "test_retire",
        "test_firmware_reports",
        "test_a_page_in_use",
        "test_who_it_was",
        "test_who_it_was_after_a_crash",
        "test_storm",
        "test_reboot",
        "test_forget",
    )

    @classmethod
    def new_machine(cls, append=None, qemu_arguments=()):  # type: ignore[no-untyped-def]
        table = cache_folder() / "hest"
        table.write_bytes(hest())
        return super().new_machine(append, ["-acpitable", f"sig=HEST,rev=1,data={table}", *qemu_arguments])

    def prepare(self) -> None:
        super().prepare()
        self.machine.run("systemctl start dmem-ready.target dmemd.service")
        (self.first, self.last), *_ = self.dmem_nodes()[1].regions
        self.retired = self.last - 8 * MIB + 0x5000
        self.bad = {self.retired}

    def known(self) -> dict[int, dict[str, Any]]:
        """What dmemctl poisoned shows."""
        units = self.dmemctl_json("poisoned")["units"]
        return {int(u["address"], 16): u for u in units}

    def told(self) -> dict[int, str]:
        """What dmemd tells on the bus."""
        text = self.machine.out("busctl --json=short call org.dmemd1 /org/dmemd1 org.dmemd1.Manager ListPoisoned")
        return {u[0]: u[2] for u in json.loads(text)["data"][0]}

    def kept(self) -> dict[int, str]:
        """What stands in the ledger."""
        lines = [json.loads(line) for line in self.machine.read(LEDGER).splitlines()]
        return {int(x["address"], 16): x["state"] for x in lines if "address" in x}

    def wait_entry(self, name: str, address: int) -> dict[str, Any]:
        end = time.monotonic() + 120
        while True:
            for entry in self.journal(f"MESSAGE_ID={message_id(name)}"):
                if entry.get("DMEM_ADDRESS") == f"{address:#x}":
                    return entry
            self.check(time.monotonic() < end, f"no entry {name} about {address:#x}")
            time.sleep(0.5)

    def test_retire(self) -> None:
        self.dmemctl(f"retire {self.retired + 7:#x}")
        self.equal(self.poisoned(), {self.retired: "free"}, "the kernel's list")
        entry = self.wait_entry("PAGE_POISONED", self.retired)
        self.equal(entry["DMEM_SOURCE"], "sysfs", "source")
        self.equal(entry["DMEM_NODE"], "1", "node")
        self.dmemctl(f"retire {self.retired:#x}")
        self.dmemctl("retire 0x1000", 4)
        self.equal(sorted(self.known()), [self.retired], "dmemctl poisoned")
        codes = [f["code"] for f in self.dmemctl_json("status", 3)["findings"]]
        self.check("poisoned" in codes, f"findings: {codes}")

    def write_memory(self, address: int, data: bytes) -> None:
        text = base64.b64encode(data).decode()
        self.machine.run(f"echo {text} | base64 -d >/run/bytes && "
                         f"dd if=/run/bytes of=/dev/mem bs=4K seek={address} oflag=seek_bytes conv=notrunc")

    def test_firmware_reports(self) -> None:
        """As a firmware does that handles errors first: GHES. x86 QEMU has none, so we are the firmware."""
        reported = self.last - 16 * MIB
        self.bad.add(reported)
        self.write_memory(REPORTS + 4096, report(reported + 0x123))
        self.write_memory(REPORTS, struct.pack("<Q", REPORTS + 4096))
        self.wait_until("report", f"grep -q {reported:016x} {NODE}/poisoned")
        self.equal(self.poisoned(), dict.fromkeys(self.bad, "free"), "the kernel's list")
        self.equal(self.wait_entry("PAGE_POISONED", reported)["DMEM_SOURCE"], "mce", "source")

    def test_a_page_in_use(self) -> None:
        self.job, address = self.victim("victim", 8 * MIB)
        self.page = address + 0x3000
        self.bad.add(self.page)
        self.machine.run(f"echo {self.page:#x} >{HARD_OFFLINE}")
        self.equal(self.poisoned().get(self.page), "used", "the kernel's list")
        self.contains(self.ask(self.job, "read", "differing="), "lost=1\ndiffering=0", "what its owner sees")

    def test_who_it_was(self) -> None:
        entry = self.wait_entry("PAGE_POISONED", self.page)
        self.contains(entry["DMEM_FILE"], "/victim", "file in the journal")
        self.contains(entry["DMEM_PROCESSES"], ":dmem-touch", "processes in the journal")
        self.equal(entry["DMEM_OFFSET"], "0x3000", "offset in the journal")
        unit = self.known()[self.page]
        self.contains(unit["file"], "/victim", "file in dmemctl poisoned")
        self.equal(unit["offset"], entry["DMEM_OFFSET"], "offset in dmemctl poisoned")
        self.equal([p["command"] for p in unit["processes"]], ["dmem-touch"], "processes")
        self.equal(self.bus_property("MissedEvents"), "0", "missed events")

    def test_who_it_was_after_a_crash(self) -> None:
        """dmemd ends before the page is in the ledger: the kernel still knows who has it."""
        self.wait_until("ledger", f"grep -q {self.page:#x} {LEDGER}")
        self.machine.run("systemctl kill -s KILL dmemd.service; systemctl stop dmemd.service; "
                         f"sed -i /{self.page:#x}/d {LEDGER}; systemctl start dmemd.service")
        self.wait_until("ledger", f"grep {self.page:#x} {LEDGER} | grep -q /victim")

    def storm(self, first: int, meanwhile: str) -> None:
        """Many pages go bad, one in eight by an error, while something happens to dmemd or its bus."""
        job = self.machine.start_job(
            f"i=0; while [ $i -lt {STORM} ]; do f={NODE}/retire; [ $((i % 8)) -gt 0 ] || f={HARD_OFFLINE}; "
            f"echo $(({first} + i * 4096)) >$f || exit; i=$((i + 1)); done"
        )
        self.machine.run(meanwhile)
        self.equal(self.machine.wait_job(job, timeout=600).status, 0, "exit status of the storm")
        self.bad |= {first + i * 4096 for i in range(STORM)}

    def test_storm(self) -> None:
        at = self.first + 64 * MIB if self.page > self.first + GIB else self.last - 256 * MIB
        for meanwhile in (
            "true",
            "systemctl kill -s KILL dmemd.service; systemctl start dmemd.service",
            "systemctl kill -s STOP dmemd.service; sleep 1; systemctl kill -s CONT dmemd.service",
            "systemctl kill -s STOP dbus.service; sleep 1; systemctl kill -s KILL dbus.service; "
            "systemctl stop dbus.socket dbus.service; systemctl start dbus.socket dbus.service",
            "systemctl restart dmemd.service",
            "systemctl kill -s HUP dmemd.service; systemctl stop dmemd.service",
        ):
            self.storm(at, meanwhile)
            at += STORM * 4096
        self.machine.run("systemctl reset-failed dmemd.service; systemctl start dmemd.service")
        listed = self.poisoned()
        self.equal(set(listed), self.bad, "the kernel's list")
        self.equal(self.events(), len(self.bad), "events")
        self.equal(self.dmem_nodes()[1].poisoned, 4096 * (len(self.bad) - 1), "bytes out of the pool")
        self.equal(self.told(), listed, "ListPoisoned")
        self.equal({a: u["state"] for a, u in self.known().items()}, listed, "dmemctl poisoned")
        self.equal(self.bus_property("PoisonEvents"), str(len(self.bad)), "PoisonEvents")
        self.equal(self.bus_property("PoisonedBytes"), str(self.dmem_nodes()[1].poisoned), "PoisonedBytes")
        # A second start has nothing new to write, and stopping has it written in any case
        self.machine.run("systemctl restart dmemd.service")
        self.equal(self.kept(), listed, "the ledger")
        entries = self.journal(f"MESSAGE_ID={message_id('PAGE_POISONED')}")
        self.check(len(entries) < 100, f"{len(entries)} entries of {len(self.bad)} pages")

    def test_reboot(self) -> None:
        self.end(self.job)
        self.machine.reboot()
        self.machine.run("systemctl start dmem-ready.target dmemd.service")
        self.equal(self.poisoned(), dict.fromkeys(self.bad, "free"), "the kernel's list")
        (again,) = self.journal(f"MESSAGE_ID={message_id('RETIRED_AGAIN')}")
        self.equal(again["DMEM_COUNT"], str(len(self.bad)), "pages that were retired again")
        (mounted,) = [x for x in self.journal("SYSLOG_IDENTIFIER=dmemd-setup")
                      if "is mounted" in x["MESSAGE"]]
        self.check(int(again["__MONOTONIC_TIMESTAMP"]) < int(mounted["__MONOTONIC_TIMESTAMP"]),
                   "dmemfs was mounted first")
        self.equal(self.journal(f"MESSAGE_ID={message_id('PAGE_POISONED')}"), [], "what is no news")
        known = self.known()
        self.equal(set(known), self.bad, "dmemctl poisoned")
        self.check(not any(u["this_boot"] for u in known.values()), "found in an earlier boot")
        self.contains(known[self.page]["file"], "/victim", "the file it was part of then")
        self.equal(self.touch("/run/dmemfs/next 64M")["nonzero"], "0", "bytes that were not zero")

    def test_forget(self) -> None:
        # As if the modules had been replaced since the boot in which the pages went bad
        self.contains(self.machine.read(LEDGER), f'"serial":"{SERIAL}"', "the ledger")
        boot = self.machine.out("cat /proc/sys/kernel/random/boot_id")
        self.machine.run(f"sed -i '/{boot}/!s/{SERIAL}/{EARLIER_SERIAL}/g' {LEDGER}")
        shown = self.dmemctl("forget --all").stdout
        self.contains(shown, f"{EARLIER_SERIAL} was replaced by {SERIAL}", "forget")
        self.contains(shown, "until the next boot", "forget")
        self.equal(set(self.poisoned()), self.bad, "pages out of use in this boot")
        self.machine.reboot()
        self.machine.run("systemctl start dmem-ready.target dmemd.service")
        self.equal(self.poisoned(), {}, "the kernel's list")
        self.equal(self.known(), {}, "dmemctl poisoned")
        self.equal(self.dmem_nodes()[1].free, 2 * GIB, "free bytes of node 1")


class PoisonedGuest(PoisonScenario):
    """A virtual machine in the machine: its monitor is told the address, and tells the guest"""

    thorough = "needs Debian's kernel, for the guest"
    cpu = "EPYC,+pdpe1gb"

    @classmethod
    def new_machine(cls, append=None, qemu_arguments=()):  # type: ignore[no-untyped-def]
        done = subprocess.run([str(SOURCE_ROOT / "tools" / "build-guest")], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            raise LabError("tools/build-guest failed")
        return super().new_machine(append, [
            "-blockdev", f"raw,node-name=guest,read-only=on,file.driver=file,file.filename={done.stdout.strip()}",
            "-device", "virtio-blk-pci,drive=guest,serial=guest", *qemu_arguments,
        ])

    def test_guest_is_told(self) -> None:
        self.machine.run("mkdir /run/guest && mount -o ro /dev/disk/by-id/virtio-guest /run/guest && modprobe kvm_amd")
        self.machine.run(f"echo 1 >{TRACING}/events/dmemfs/dmemfs_alloc/enable; echo >{TRACING}/trace")
        job = self.machine.start_job(
            "/run/guest/qemu -nodefaults -no-user-config -display none -no-reboot -accel kvm -cpu host -m 256M"
            " -object memory-backend-file,id=ram,size=256M,mem-path=/run/mce,share=on,prealloc=on"
            " -machine pc,memory-backend=ram -kernel /run/guest/vmlinuz -initrd /run/guest/initrd"
            " -append 'console=ttyS0 quiet panic=-1' -serial stdio"
        )
        self.machine.channel.send_eof(job)
        self.wait_until("memory of the guest", f"[ $(cat {NODE}/used_bytes) -ge {256 * MIB} ]", 300)
        trace = self.machine.read(f"{TRACING}/trace")
        found = re.findall(r"dmemfs_alloc:.* address=(0x[0-9a-f]+) bytes=(\d+)", trace)
        pages = [a for address, size in found for a in range(int(address, 16), int(address, 16) + int(size), 4096)]
        self.equal(len(pages) * 4096, 256 * MIB, "memory of the guest in the trace")
        # The guest fills nearly all of it, and reads all of that
        for offset in range(96, 224, 8):
            self.machine.run(f"echo {pages[offset * 256 + 77]:#x} >{HARD_OFFLINE}")
            if job.status is not None:
                break
        self.machine.channel.wait(lambda: job.status is not None, time.monotonic() + 300)
        said = (job.stdout + job.stderr).decode(errors="replace")
        self.check(job.status is not None, f"the guest did not end: {said}")
        self.check(re.search(r"QEMU addr 0x[0-9a-f]+ and GUEST addr 0x[0-9a-f]+ of type BUS_MCEERR_AR injected", said),
                   f"QEMU did not tell its guest: {said}")
        self.check("kvm run failed" not in said, f"KVM lost the reason: {said}")
        entry = self.machine.out("dmesg | grep 'Memory failure'")
        self.contains(entry, "Delayed", "the kernel's log")
        self.check_sums()
        self.equal(self.dmem_nodes()[1].used, 0, "bytes used after the guest has gone")
