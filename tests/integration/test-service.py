#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The units under this system's own systemd, in name spaces: what may happen to the daemon.

usage: test-service.py MESON BUILD_ROOT
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True  # the sources stay as they are
sys.path.insert(0, str(pathlib.Path(__file__).parent))
from host_tree import GiB
from name_space_host import NameSpaceHost, NotHere
from private_bus import SKIP, need, wait_for

TIMEOUT = 120.0
BASE = 0x1_0000_0000  # of node 0 in HostTree
LEDGER = "/var/lib/dmemd/ledger"
IDS = dict(re.findall(r'#define MESSAGE_(\w+) "([0-9a-f]{32})"',
                      (pathlib.Path(__file__).parents[2] / "src/host/message-ids.h").read_text()))


class Service(unittest.TestCase):
    """In the order of the names, on one host."""

    host: NameSpaceHost
    events = 0

    @classmethod
    def setUpClass(cls):
        cls.host.run("journalctl --update-catalog; systemctl start dbus.service")
        for node in (0, 1):
            cls.host.put(f"/sys/class/dmem/node{node}/events", "0\n")

    def wait(self, what: str, condition):
        return wait_for(what, condition, TIMEOUT)

    def show(self, name: str, unit: str = "dmemd.service") -> str:
        return self.host.out(f"systemctl show --value -p {name} {unit}")

    def ask(self, name: str) -> object:
        run = self.host.run("busctl --json=short --auto-start=no get-property org.dmemd1 /org/dmemd1 "
                            f"org.dmemd1.Manager {name}", check=False, as_nobody=True)
        return json.loads(run.stdout)["data"] if run.returncode == 0 else None

    def poison(self, number: int) -> None:
        """As the kernel shows it; no uevent comes, so that it is found with the next look."""
        type(self).events += number
        folder = "/sys/class/dmem/node0"
        self.host.put(f"{folder}/poisoned", "".join(f"0x{BASE + 4096 * i:016x} free\n" for i in range(self.events)))
        self.host.put(f"{folder}/poisoned_bytes", f"{4096 * self.events}\n")
        self.host.put(f"{folder}/events", f"{self.events}\n")

    def kept(self) -> int:
        text = self.host.run(f"cat {LEDGER}/poisoned.jsonl", check=False).stdout
        return sum("address" in json.loads(line) for line in text.splitlines())

    def entries(self, name: str) -> list[str]:
        text = self.host.out(f"journalctl --sync; journalctl -q -o cat MESSAGE_ID={IDS[name]}")
        return text.splitlines()

    def said(self) -> int:
        """Entries about the state, whatever it is: this machine is what it is."""
        return sum(len(self.entries(name)) for name in ("IN_FORCE", "DRIFT", "DEGRADED"))

    def check_nothing_lost(self) -> None:
        # Any question makes the daemon look
        self.wait("all events", lambda: self.ask("PoisonEvents") == self.events)
        self.wait("the ledger", lambda: self.kept() == self.events)
        units = json.loads(self.host.run("dmemctl -j poisoned").stdout)
        self.assertEqual((units["source"], len(units["units"])), ("dmemd", self.events))

    def new_daemon(self, pid: str) -> None:
        self.wait("a new daemon", lambda: self.show("MainPID") not in (pid, "0") and self.ask("State"))

    def test_0_inactive_where_it_has_no_business(self):
        """In a container, here: by condition, which is no failure."""
        for unit in ("dmemd.service", "dmemd-setup.service"):
            self.host.run(f"systemctl start {unit}")
            self.assertEqual(self.show("ActiveState", unit), "inactive")
            self.assertEqual(self.show("ConditionResult", unit), "no")
        self.host.run("systemctl start dmem-ready.target")
        self.assertEqual(self.show("ActiveState", "dmem-ready.target"), "active")
        self.assertEqual(self.host.out("systemctl --failed --plain --no-legend"), "")
        # From here on as on a host
        self.host.run("sed '/^ConditionVirtualization=/d' /usr/lib/systemd/system/dmemd.service "
                      ">/etc/systemd/system/dmemd.service && systemctl daemon-reload")

    def test_1_start(self):
        self.host.run("systemctl enable --now dmemd.service")
        self.assertEqual(self.show("ActiveState"), "active")
        pid = self.show("MainPID")
        self.assertEqual(self.host.out(f"stat -c %U /proc/{pid}"), "dmemd")
        status = self.host.out(f"cat /proc/{pid}/status")
        for line in ("CapEff:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"):
            self.assertIn(line, status)
        self.assertEqual(self.ask("TotalBytes"), 10 * GiB)
        self.assertIn("10G reserved", self.show("StatusText"))
        self.assertEqual(self.host.out(f"stat -c %U {LEDGER} /var/lib/dmemd"), "dmemd\nroot")

    def test_2_activated_by_the_bus(self):
        self.host.run("systemctl stop dmemd.service")
        self.host.run("dmemctl -j status", check=False)
        self.assertEqual(self.show("ActiveState"), "inactive", "looking started it")
        run = self.host.run("busctl get-property org.dmemd1 /org/dmemd1 org.dmemd1.Manager TotalBytes", as_nobody=True)
        self.assertEqual(run.stdout, f"t {10 * GiB}\n")
        self.assertEqual(self.show("ActiveState"), "active")

    def test_3_what_everybody_sees(self):
        for command in ("dmemctl metrics", "dmemctl poisoned", "busctl introspect org.dmemd1 /org/dmemd1/node/1",
                        "busctl call org.dmemd1 /org/dmemd1 org.dmemd1.Manager GetStatus",
                        "systemctl is-active dmemd.service", "cat /run/dmemd/dmemd.prom"):
            self.host.run(command, as_nobody=True)
        for command in ("dmemctl apply", f"dmemctl retire {BASE:#x}", f"touch {LEDGER}/x", "touch /run/dmemd/x",
                        "busctl set-property org.dmemd1 /org/dmemd1 org.dmemd1.Manager State s none"):
            self.assertNotEqual(self.host.run(command, check=False, as_nobody=True).returncode, 0, command)

    def test_4_killed(self):
        self.poison(2)
        self.check_nothing_lost()
        pid, said = self.show("MainPID"), self.said()
        self.assertGreater(said, 0)
        self.host.run(f"kill -9 {pid}")
        self.poison(3)
        self.new_daemon(pid)
        self.check_nothing_lost()
        self.assertEqual(self.show("NRestarts"), "1")
        self.assertEqual(self.said(), said, "said again")
        self.assertEqual(len(self.entries("PAGE_POISONED")), 5)

    def test_5_reload(self):
        pid = self.show("MainPID")
        self.host.put("/etc/dmemd/dmemd.conf", "[Plan]\nBackend=magic\n")
        self.host.run("systemctl reload dmemd.service")
        self.wait("the reason", lambda: "etc/dmemd/dmemd.conf:2:" in self.host.out(
            "journalctl --sync; journalctl -q -o cat -p err -u dmemd.service"))
        self.assertEqual(self.ask("Backend"), "dmem")
        self.host.put("/etc/dmemd/dmemd.conf", "[Plan]\nBackend=hugetlb\n")
        self.host.run("systemctl reload dmemd.service")
        self.wait("the good one", lambda: self.ask("Backend") == "hugetlb")
        self.host.run("rm /etc/dmemd/dmemd.conf && systemctl reload dmemd.service")
        self.assertEqual(self.show("MainPID"), pid)
        self.check_nothing_lost()

    def test_6_watchdog(self):
        folder = "/run/systemd/system/dmemd.service.d"
        self.host.put(f"{folder}/test.conf", "[Service]\nWatchdogSec=3s\n")
        self.host.run("systemctl daemon-reload && systemctl restart dmemd.service")
        pid = self.show("MainPID")
        self.host.run(f"kill -STOP {pid}")
        self.poison(2)
        self.new_daemon(pid)
        self.assertIn("Watchdog timeout", self.host.out("journalctl -q -o cat -u dmemd.service"))
        self.host.run(f"rm -r {folder}; systemctl daemon-reload && systemctl restart dmemd.service")
        self.check_nothing_lost()

    def test_7_no_bus(self):
        pid = self.show("MainPID")
        self.host.run("kill -STOP $(systemctl show --value -p MainPID dbus.service)")
        self.poison(20)
        self.host.run("kill -HUP " + pid)
        self.wait("the ledger", lambda: self.kept() == self.events)
        self.host.run("systemctl kill -s KILL dbus.service; systemctl stop dbus.socket dbus.service")
        for _ in range(3):  # more than the limit of restarts would allow
            self.poison(20)
            self.host.run("kill -HUP " + pid)
            self.wait("the ledger", lambda: self.kept() == self.events)
        self.assertEqual(self.show("MainPID"), pid)
        self.assertEqual(json.loads(self.host.run("dmemctl -j status", check=False).stdout)["source"], "sysfs")
        self.host.run("systemctl start dbus.socket dbus.service")
        self.wait("the bus", lambda: self.ask("State"))
        self.assertEqual(self.show("MainPID"), pid)
        self.check_nothing_lost()

    def test_8_no_room(self):
        """Full, and read-only after an error of the file system; what was not written is later."""
        for spoil, repair in ((f"dd if=/dev/zero of={LEDGER}/fill bs=4k", f"rm {LEDGER}/fill"),
                              (f"mount -o remount,ro {LEDGER}", f"mount -o remount,rw {LEDGER}")):
            self.host.run(f"systemctl stop dmemd.service && cp -a {LEDGER} /run/kept && "
                          f"mount -t tmpfs -o size=1M,mode=755 tmpfs {LEDGER} && cp -a /run/kept/. {LEDGER} && "
                          "systemctl start dmemd.service")
            self.host.run(spoil, check=False)
            before = len(self.entries("LEDGER_PROBLEM"))
            self.poison(20)
            self.wait("all events", lambda: self.ask("PoisonEvents") == self.events)
            self.wait("the message", lambda n=before: len(self.entries("LEDGER_PROBLEM")) == n + 1)
            self.assertLess(self.kept(), self.events)
            self.assertEqual(len(json.loads(self.host.out("dmemctl -j poisoned"))["units"]), self.events)
            self.host.run(repair)
            # The end is a reason to try again at once
            self.host.run("systemctl stop dmemd.service")
            self.assertEqual(self.kept(), self.events)
            self.host.run(f"rm -r /run/kept; cp -a {LEDGER} /run/kept; umount {LEDGER}; cp -a /run/kept/. {LEDGER}; "
                          "rm -r /run/kept; systemctl start dmemd.service")
            self.check_nothing_lost()

    def test_9_journal(self):
        text = self.host.out(f"journalctl -q -x -o short MESSAGE_ID={IDS['LEDGER_PROBLEM']}")
        self.assertIn("What to do: make room on /var", text)
        kinds = {e["kind"] for e in json.loads(self.host.out("dmemctl -j history"))["entries"]}
        self.assertLessEqual({"page-poisoned", "storm", "ledger-problem"}, kinds)
        self.assertEqual(self.host.out("systemctl --failed --plain --no-legend"), "")


def main() -> int:
    need("nm", "systemctl", "busctl", "dbus-daemon", "nsenter", "unshare", "setpriv")
    if os.geteuid() != 0:
        print("skipped: needs root, for name spaces")
        return SKIP
    symbols = subprocess.run(["nm", "-D", f"{sys.argv[2]}/src/dmemd/dmemd"], capture_output=True, text=True,
                             check=True).stdout
    if "__asan_init" in symbols:
        print("skipped: the restrictions of the unit leave no room for a sanitizer")
        return SKIP
    with tempfile.TemporaryDirectory(prefix="dmemd-test-") as folder:
        try:
            Service.host = NameSpaceHost(pathlib.Path(folder), sys.argv[1], sys.argv[2])
        except NotHere as e:
            print(f"skipped: {e}")
            return SKIP
        try:
            program = unittest.main(argv=[sys.argv[0], *sys.argv[3:]], verbosity=2, exit=False)
            if not program.result.wasSuccessful():
                print(Service.host.run("journalctl -q --no-pager -n 100", check=False).stdout)
        finally:
            Service.host.stop()
    return 0 if program.result.wasSuccessful() else 1


if __name__ == "__main__":
    if len(sys.argv) < 3:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    sys.exit(main())
