#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Poisoned memory from the uevent to the ledger: real netlink, real bus, real journal socket.

usage: test-poison.py DMEMD DMEMD_SETUP DMEMCTL SOURCE_ROOT

We go into namespaces of our own, put a class dmem made of files at /sys and send what udev would
send. Needs root.
"""

import json
import os
import pathlib
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest

sys.dont_write_bytecode = True  # the sources stay as they are
sys.path.insert(0, str(pathlib.Path(__file__).parent))
from host_tree import GiB, HostTree
from journal_socket import SOCKET, Journal
from private_bus import Daemon, PrivateBus, Signals, TIMEOUT, enter_name_spaces, need, wait_for

DMEMD, DMEMD_SETUP, DMEMCTL, SOURCE_ROOT = "", "", "", pathlib.Path()
BASE = 0x1_0000_0000  # of node 0 in HostTree
LEDGER = pathlib.Path("/var/lib/dmemd/ledger/poisoned.jsonl")
STORM = 100000


def murmur_hash(data: bytes) -> int:
    """MurmurHash2 with seed 0, by which udev's messages are filtered."""
    m, mask = 0x5bd1e995, 0xffffffff
    h = len(data)
    while len(data) >= 4:
        k = struct.unpack("<I", data[:4])[0] * m & mask
        h = h * m & mask ^ (k ^ k >> 24) * m & mask
        data = data[4:]
    for i in reversed(range(len(data))):
        h ^= data[i] << 8 * i
    if data:
        h = h * m & mask
    h = (h ^ h >> 13) * m & mask
    return h ^ h >> 15


class Udev:
    """Sends uevents as systemd-udevd passes them on."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 15)
        self.socket.bind((0, 0))
        self.seqnum = 0

    def send(self, **properties) -> None:
        self.seqnum += 1
        everything = {"ACTION": "change", "DEVPATH": "/devices/virtual/dmem/node0",
                      "SUBSYSTEM": "dmem", "SEQNUM": self.seqnum} | properties
        text = b"".join(f"{k}={v}".encode() + b"\0" for k, v in everything.items())
        header = b"libudev\0" + struct.pack("!I", 0xfeedcafe) + struct.pack("=III", 40, 40, len(text))
        header += struct.pack("!IIII", murmur_hash(b"dmem"), 0, 0, 0)
        self.socket.sendto(header + text, (0, 2))

    def close(self) -> None:
        self.socket.close()


class Host:
    """Node 0 of class dmem, which counts events as the kernel does."""

    def __init__(self, tree: HostTree, udev: Udev):
        self.tree, self.udev = tree, udev
        self.units: dict[int, str] = {}
        self.users: list[str] = []
        self.events = self.told = 0
        for node in (0, 1):
            tree.write(f"sys/class/dmem/node{node}/retire", "")
            tree.write(f"sys/class/dmem/node{node}/users", "")
            tree.write(f"sys/class/dmem/node{node}/poisoned", "")
            tree.write(f"sys/class/dmem/node{node}/events", "0\n")

    def publish(self) -> None:
        text = "".join(f"0x{a:016x} {self.units[a]}\n" for a in sorted(self.units))
        self.tree.replace("sys/class/dmem/node0/poisoned", text)
        self.tree.replace("sys/class/dmem/node0/events", f"{self.events}\n")
        self.tree.set(0, "poisoned_bytes", 4096 * len(self.units))

    def poison(self, *addresses: int, state="free") -> None:
        for address in addresses:
            self.units[address] = state
            self.events += 1

    def tell(self, address: int, **more) -> None:
        """A uevent for all events since the last one."""
        new, self.told = self.events - self.told, self.events
        self.udev.send(**{"DMEM_EVENT": "poison", "DMEM_NODE": 0, "DMEM_ADDRESS": f"{address:#x}",
                          "DMEM_SIZE": 4096, "DMEM_STATE": self.units[address],
                          "DMEM_SOURCE": "mce", "DMEM_COUNT": self.events,
                          "DMEM_COALESCED": new} | more)


class PoisonTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="dmemd-test-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.tree = HostTree(self.folder / "root")
        self.udev = Udev()
        self.addCleanup(self.udev.close)
        self.host = Host(self.tree, self.udev)
        subprocess.run(["mount", "--bind", self.tree.root / "sys", "/sys"], check=True)
        self.addCleanup(subprocess.run, ["umount", "/sys"], check=True)
        shutil.rmtree("/var/lib/dmemd", ignore_errors=True)
        LEDGER.parent.mkdir(parents=True)
        self.journal = Journal(SOURCE_ROOT)
        self.addCleanup(self.journal.close)
        self.bus = PrivateBus(self.folder)
        self.addCleanup(self.bus.stop)

    def start(self) -> Daemon:
        daemon = Daemon(self.bus, self.folder,
                        ["sh", "-c", 'JOURNAL_STREAM=$(stat -Lc %d:%i /dev/stderr) exec "$@"', "sh",
                         DMEMD])
        self.addCleanup(daemon.stop)
        return daemon.wait_ready()

    def setup(self) -> None:
        """There is no dmemfs here: the mount fails, after all that matters."""
        subprocess.run(["sh", "-c", 'JOURNAL_STREAM=$(stat -Lc %d:%i /dev/stderr) exec "$@"', "sh",
                        DMEMD_SETUP], stderr=subprocess.PIPE, timeout=TIMEOUT, check=False)

    def listed(self) -> dict[int, str]:
        reply = self.bus.busctl("--json=short", "call", "org.dmemd1", "/org/dmemd1",
                                "org.dmemd1.Manager", "ListPoisoned")
        return {u[0]: u[2] for u in json.loads(reply.stdout)["data"][0]}

    @staticmethod
    def kept() -> dict[int, dict]:
        if not LEDGER.exists():
            return {}
        lines = [json.loads(line) for line in LEDGER.read_text().splitlines()]
        return {int(d["address"], 16): d for d in lines if "address" in d}

    def retired(self) -> list[int]:
        text = (self.tree.root / "sys/class/dmem/node0/retire").read_text()
        return [int(line, 16) for line in text.splitlines()]

    def wait_kept(self) -> None:
        wait_for("the ledger", lambda: {a: d["state"] for a, d in self.kept().items()} ==
                 self.host.units, TIMEOUT)

    def check_all(self) -> None:
        """Ledger, sysfs and D-Bus agree to the unit."""
        self.assertEqual(self.listed(), self.host.units)
        self.wait_kept()

    def entries(self, name: str) -> list[dict[str, str]]:
        return self.journal.with_id(self.journal.message_id(name))

    def wait_entries(self, name: str, count: int = 1) -> list[dict[str, str]]:
        wait_for(f"{count} entries {name}", lambda: len(self.entries(name)) >= count, TIMEOUT)
        return self.entries(name)

    def test_a_page_in_use(self):
        self.start()
        signals = Signals(self.bus, self.folder)
        self.addCleanup(signals.stop)
        self.host.poison(BASE + 8192, state="used")
        self.host.publish()
        self.host.tell(BASE + 8192, DMEM_FILE="/run/dmemfs/vm\\0401", DMEM_DEV="0:44",
                       DMEM_INODE=12, DMEM_OFFSET="0x200000", DMEM_PROCESSES="17:qemu-system-x86,18:x")
        entry = self.wait_entries("PAGE_POISONED")[0]
        expected = {"DMEM_NODE": "0", "DMEM_ADDRESS": f"{BASE + 8192:#x}", "DMEM_SIZE": "4096",
                    "DMEM_STATE": "used", "DMEM_SOURCE": "mce", "DMEM_COUNT": "1",
                    "DMEM_FILE": "/run/dmemfs/vm\\0401", "DMEM_DEV": "0:44", "DMEM_INODE": "12",
                    "DMEM_OFFSET": "0x200000", "DMEM_PROCESSES": "17:qemu-system-x86,18:x",
                    "PRIORITY": "4"}
        self.assertEqual({k: entry.get(k) for k in expected}, expected)
        self.assertIn("/run/dmemfs/vm\\0401", entry["MESSAGE"])
        signal = wait_for("Poisoned", lambda: signals.members("Poisoned"), TIMEOUT)[0]
        self.assertEqual(signal["payload"]["data"], [BASE + 8192, 0, 4096, "used", "mce"])
        self.check_all()
        self.assertEqual(self.bus.get("PoisonEvents"), 1)
        self.assertEqual(self.bus.get("MissedEvents"), 0)
        wait_for("PropertiesChanged", lambda: any("PoisonEvents" in c for c in
                                                  signals.changed("/org/dmemd1")), TIMEOUT)
        run = subprocess.run([DMEMCTL, "-j", "poisoned"], capture_output=True, text=True,
                             timeout=TIMEOUT, env=self.bus.environment(), check=True)
        document = json.loads(run.stdout)
        self.assertEqual(document["source"], "dmemd")
        unit = document["units"][0]
        self.assertTrue(unit["this_boot"])
        self.assertEqual(unit["processes"], [{"pid": 17, "command": "qemu-system-x86"},
                                             {"pid": 18, "command": "x"}])

    def test_nobody_listened(self):
        """Without a daemon nothing is lost, and a second start says nothing again."""
        self.host.poison(BASE, BASE + 4096)
        self.host.publish()
        daemon = self.start()
        self.check_all()
        self.assertEqual(len(self.wait_entries("PAGE_POISONED", 2)), 2)
        self.assertEqual(self.bus.get("MissedEvents"), 0)
        daemon.stop()
        self.start()
        self.check_all()
        self.assertEqual(len(self.entries("PAGE_POISONED")), 2)

    def test_lost_events(self):
        self.start()
        self.host.poison(*(BASE + 4096 * i for i in range(5)))
        self.host.told = 4  # four uevents that never came
        self.host.publish()
        self.host.tell(BASE)
        wait_for("MissedEvents", lambda: self.bus.get("MissedEvents") == 4, TIMEOUT)
        self.check_all()
        entry = self.wait_entries("EVENTS_MISSED")[0]
        self.assertEqual((entry["DMEM_NODE"], entry["DMEM_COUNT"]), ("0", "4"))
        # And one of which no uevent follows at all; whoever asks makes us look
        self.host.poison(BASE + 0x100000)
        self.host.publish()
        time.sleep(1.1)
        self.check_all()
        wait_for("MissedEvents", lambda: self.bus.get("MissedEvents") == 5, TIMEOUT)

    def test_strange_events(self):
        daemon = self.start()
        for properties in ({"DMEM_EVENT": "boil"}, {"DMEM_EVENT": "poison"}, {},
                           {"DMEM_EVENT": "poison", "DMEM_ADDRESS": "banana"}):
            self.udev.send(**properties)
        self.host.poison(BASE)
        self.host.publish()
        self.host.tell(BASE)
        wait_for("the one that makes sense", lambda: self.listed() == {BASE: "free"}, TIMEOUT)
        self.assertIsNone(daemon.process.poll())

    def test_storm(self):
        daemon = self.start()
        step, slowest, machine, peak, begin = STORM // 50, 0.0, 0.0, 0, time.monotonic()
        for i in range(0, STORM, step):
            self.host.poison(*(BASE + 4096 * k for k in range(i, i + step)))
            self.host.publish()
            for k in range(40):
                self.udev.send(DMEM_EVENT="poison", DMEM_NODE=0, DMEM_SIZE=4096, DMEM_STATE="free",
                               DMEM_SOURCE="mce", DMEM_ADDRESS=f"{BASE + 4096 * (i + k):#x}",
                               DMEM_COUNT=i + (k + 1) * step // 40, DMEM_COALESCED=step // 40)
            if i % (10 * step) == 0:
                daemon.reload()
            start = time.monotonic()
            self.bus.call("GetStatus")
            slowest = max(slowest, time.monotonic() - start)
            idle = time.monotonic()
            self.bus.busctl("call", "org.freedesktop.DBus", "/org/freedesktop/DBus",
                            "org.freedesktop.DBus", "GetId")
            machine = max(machine, time.monotonic() - idle)
            status = pathlib.Path(f"/proc/{daemon.process.pid}/status").read_text()
            peak = int(re.search(r"VmHWM:\s+(\d+)", status)[1])
        self.check_all()
        n_entries = len(self.entries("PAGE_POISONED")) + len(self.entries("STORM"))
        self.assertEqual(len(self.entries("DEGRADED")), 1)
        storm = self.entries("STORM")[0]
        self.assertEqual((storm["DMEM_NODE"], storm["PRIORITY"]), ("0", "4"))
        self.assertEqual(int(storm["DMEM_SIZE"]), 4096 * int(storm["DMEM_COUNT"]))
        self.assertGreater(int(storm["DMEM_COUNT"]), 8)
        print(f"GetStatus at most {slowest:.2f} s (any call {machine:.2f} s), RSS at most {peak // 1024} MiB, "
              f"{n_entries} entries, ledger {LEDGER.stat().st_size >> 20} MiB")
        self.assertLessEqual(n_entries, 10 + (time.monotonic() - begin) / 30)
        begin = time.monotonic()
        daemon.stop()
        stopping = time.monotonic() - begin
        if "__asan_init" not in subprocess.run(["nm", "-D", DMEMD], capture_output=True, text=True,
                                               check=False).stdout:
            self.assertLess(slowest, 5 + 5 * machine)
            self.assertLess(stopping, 10 + 10 * machine)
            self.assertLess(peak, 128 * 1024)

    def test_killed_and_stopped_in_a_storm(self):
        for number, action in enumerate(("kill", "stop", "restart")):
            daemon = self.start()
            for i in range(20):
                first = BASE + (number << 28) + i * 0x100000
                self.host.poison(*(first + 4096 * k for k in range(100)))
                self.host.publish()
                self.host.tell(first)
                if i == 10 and action == "kill":
                    daemon.process.kill()
                elif i == 10 and action == "stop":
                    daemon.process.send_signal(19)
                elif i == 10:
                    self.assertEqual(daemon.stop(), 0)
            if action == "stop":
                daemon.process.send_signal(18)
            else:
                daemon.process.wait(TIMEOUT)
                daemon = self.start()
            self.check_all()
            daemon.stop()
            self.wait_kept()

    def test_the_bus_goes_away_in_a_storm(self):
        daemon = self.start()
        for i in range(20):
            self.host.poison(*(BASE + i * 0x100000 + 4096 * k for k in range(100)))
            self.host.publish()
            self.host.tell(BASE + i * 0x100000)
            if i == 5:
                self.bus.process.kill()
                self.bus.process.wait(TIMEOUT)
                wait_for("the message", lambda: "bus has gone away" in daemon.text() or
                         any("bus has gone away" in e["MESSAGE"] for e in self.journal.read()))
            if i == 15:
                self.bus = PrivateBus(self.folder)
                self.addCleanup(self.bus.stop)
                daemon.wait_ready()
        self.check_all()
        self.assertEqual(self.bus.get("PoisonEvents"), 2000)
        self.assertEqual(self.bus.get("MissedEvents"), 0)

    def test_ledger_in_any_condition(self):
        self.host.poison(BASE)
        self.host.publish()
        for label, text in (("empty", ""), ("garbage", "\0\xff{[\n"),
                            ("cut off", '{"version":1,"units":2}\n{"boot_id":null,"dimms":nu')):
            LEDGER.write_text(text)
            daemon = self.start()
            self.check_all()
            daemon.stop()
            aside = list(LEDGER.parent.glob("*.damaged-*"))
            self.assertEqual([p.read_text() for p in aside], [text], label)
            aside[0].unlink()
            self.assertTrue(self.entries("LEDGER_PROBLEM"), label)
        newer = '{"version":2,"colour":1}\n{"address":"0x7000"}\n'
        LEDGER.write_text(newer)
        daemon = self.start()
        self.assertEqual(self.listed(), {0x7000: "outside"} | self.host.units)
        daemon.stop()
        self.assertEqual(LEDGER.read_text(), newer)

    def test_no_room(self):
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "small", LEDGER.parent], check=True)
        try:
            (LEDGER.parent / "fill").write_bytes(b"x" * 8192)
            daemon = self.start()
            self.host.poison(*(BASE + 4096 * i for i in range(200)))
            self.host.publish()
            self.host.tell(BASE)
            self.assertIn("No space left", self.wait_entries("LEDGER_PROBLEM")[0]["MESSAGE"])
            self.assertEqual(self.listed(), self.host.units)
            self.assertEqual(len(self.entries("LEDGER_PROBLEM")), 1)
            daemon.stop()
        finally:
            subprocess.run(["umount", LEDGER.parent], check=True)

    def test_read_only(self):
        subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "locked", LEDGER.parent], check=True)
        try:
            daemon = self.start()
            self.host.poison(BASE, BASE + 4096)
            self.host.publish()
            self.host.tell(BASE)
            self.assertIn("Read-only file system",
                          self.wait_entries("LEDGER_PROBLEM")[0]["MESSAGE"])
            self.assertEqual(self.listed(), self.host.units)
            run = subprocess.run([DMEMCTL, "retire", f"{BASE + 8192:#x}"], capture_output=True,
                                 text=True, timeout=TIMEOUT, env=self.bus.environment(), check=False)
            self.assertEqual(run.returncode, 1)
            self.assertIn("Read-only file system", run.stderr)
            subprocess.run(["mount", "-o", "remount,rw", LEDGER.parent], check=True)
            daemon.stop()
            self.wait_kept()
            self.assertEqual(len(self.entries("LEDGER_PROBLEM")), 1)
        finally:
            subprocess.run(["umount", LEDGER.parent], check=True)

    def test_forgotten_stays_forgotten(self):
        daemon = self.start()
        self.host.poison(BASE, BASE + 4096)
        self.host.publish()
        self.host.tell(BASE)
        self.check_all()
        run = subprocess.run([DMEMCTL, "forget", f"{BASE:#x}"], capture_output=True, text=True,
                             timeout=TIMEOUT, env=self.bus.environment(), check=True)
        self.assertIn("until the next boot", run.stdout)
        self.host.poison(BASE + 8192)
        self.host.publish()
        self.host.tell(BASE + 8192)
        self.check_all()
        daemon.stop()
        self.assertIn("forgotten", self.kept()[BASE])
        self.assertNotIn("forgotten", self.kept()[BASE + 4096])

    def test_retire_while_the_daemon_runs(self):
        self.start()
        run = subprocess.run([DMEMCTL, "retire", f"{BASE + 100:#x}"], capture_output=True, text=True,
                             timeout=TIMEOUT, env=self.bus.environment(), check=True)
        self.assertIn("out of use", run.stdout)
        self.assertEqual(self.retired(), [BASE])
        self.host.poison(BASE)
        self.host.publish()
        self.host.tell(BASE, DMEM_EVENT="retire", DMEM_SOURCE="sysfs")
        entry = self.wait_entries("PAGE_POISONED")[0]
        self.assertIn("retired", entry["MESSAGE"])
        self.check_all()
        self.assertEqual(self.kept()[BASE]["source"], "sysfs")
        self.assertEqual(len(self.entries("PAGE_POISONED")), 1)

    def test_boot(self):
        """What was bad is out again before anything is mounted; twice is as good as once."""
        daemon = self.start()
        self.host.poison(BASE, BASE + 4096, 0x9_0000_0000)
        self.host.publish()
        self.host.tell(BASE)
        self.wait_kept_addresses({BASE, BASE + 4096, 0x9_0000_0000})
        daemon.stop()
        # The next boot: another id in the ledger, and a kernel that knows nothing
        LEDGER.write_text(re.sub(r'"boot_id":"[^"]*"', '"boot_id":"aaaa"', LEDGER.read_text()))
        self.host.units.clear()
        self.host.events = self.host.told = 0
        self.host.publish()
        self.setup()
        self.assertEqual(self.retired(), [BASE, BASE + 4096])
        entry = self.wait_entries("RETIRED_AGAIN")[0]
        self.assertEqual(entry["DMEM_COUNT"], "2")
        self.assertIn("1 more", entry["MESSAGE"])
        self.host.poison(BASE, BASE + 4096)
        self.host.publish()
        self.setup()
        self.assertEqual(self.retired(), [BASE, BASE + 4096])
        self.assertEqual(len(self.entries("RETIRED_AGAIN")), 1)
        before = len(self.entries("PAGE_POISONED"))
        self.start()
        self.assertEqual(self.listed(), self.host.units | {0x9_0000_0000: "outside"})
        self.assertEqual(len(self.entries("PAGE_POISONED")), before, "what is known is no news")

    def wait_kept_addresses(self, addresses: set[int]) -> None:
        wait_for("the ledger", lambda: set(self.kept()) == addresses, TIMEOUT)

    def test_boot_with_a_damaged_ledger(self):
        LEDGER.write_text('{"version":1,"units":2}\n{"boot_id":"aa","dimms":null}\n'
                          f'{{"address":"{BASE:#x}","state":"free"')
        self.setup()
        self.assertEqual(self.retired(), [])
        self.assertTrue(self.entries("LEDGER_PROBLEM"))
        self.assertEqual(len(list(LEDGER.parent.glob("*.damaged-*"))), 1)
        LEDGER.write_text('{"version":9}\n' f'{{"address":"{BASE:#x}","state":"odd"}}\n')
        self.setup()
        self.assertEqual(self.retired(), [BASE], "a newer ledger is obeyed")
        self.assertIn('"version":9', LEDGER.read_text())

    def test_monitor(self):
        """It outlives the daemon, and ends well."""
        output = self.folder / "monitor"
        with output.open("w") as stdout:
            monitor = subprocess.Popen([DMEMCTL, "--json=short", "monitor"], stdout=stdout,
                                       stderr=subprocess.PIPE, text=True,
                                       env=self.bus.environment())
        self.addCleanup(monitor.kill)
        self.assertIn("does not run", monitor.stderr.readline())

        def events():
            return [json.loads(line) for line in output.read_text().splitlines()]

        first = self.start()
        wait_for("started", lambda: [e["event"] for e in events()] == ["started"], TIMEOUT)
        first.stop()
        self.start()
        wait_for("started again", lambda: [e["event"] for e in events()] ==
                 ["started", "stopped", "started"], TIMEOUT)
        self.host.poison(BASE)
        self.host.publish()
        self.host.tell(BASE)
        poisoned = wait_for("poisoned", lambda: [e for e in events() if e["event"] == "poisoned"],
                            TIMEOUT)[0]
        self.assertEqual((poisoned["address"], poisoned["size_bytes"], poisoned["node"]),
                         (f"{BASE:#x}", 4096, 0))
        wait_for("changed", lambda: any(e.get("properties", {}).get("poison_events") == 1
                                        for e in events()), TIMEOUT)
        try:
            import jsonschema
        except ImportError:
            jsonschema = None
        if jsonschema:
            schema = json.loads((SOURCE_ROOT / "conf/schema/monitor.json").read_text())
            for event in events():
                jsonschema.Draft202012Validator(schema).validate(event)
        monitor.send_signal(2)
        self.assertEqual(monitor.wait(TIMEOUT), 0)
        monitor.stderr.close()

    def test_monitor_without_a_reader(self):
        monitor = subprocess.Popen([DMEMCTL, "monitor"], stdout=subprocess.PIPE,
                                   stderr=subprocess.DEVNULL, env=self.bus.environment())
        self.addCleanup(monitor.kill)
        time.sleep(0.5)
        monitor.stdout.close()
        self.assertEqual(monitor.wait(TIMEOUT), 0)


def main() -> int:
    need("dbus-daemon", "busctl", "unshare", "mount")
    enter_name_spaces("mount", "net")
    os.makedirs(os.path.dirname(SOCKET))
    unittest.main(argv=[sys.argv[0], *sys.argv[5:]], verbosity=2)
    return 0


if __name__ == "__main__":
    if len(sys.argv) < 5:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    DMEMD, DMEMD_SETUP, DMEMCTL = sys.argv[1:4]
    SOURCE_ROOT = pathlib.Path(sys.argv[4])
    sys.exit(main())
