#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""dmemd on a bus of its own, looking at a host made of files.

usage: test-dmemd-bus.py DMEMD DMEMCTL FUZZ_BUS SOURCE_ROOT
"""

import json
import os
import pathlib
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import xml.etree.ElementTree as ElementTree

sys.dont_write_bytecode = True  # the sources stay as they are
sys.path.insert(0, str(pathlib.Path(__file__).parent))
from host_tree import GiB, HostTree, MiB
from private_bus import (ORDINARY_USER, SYSTEM_POLICY, Daemon, Notify, PrivateBus, Signals, TIMEOUT,
                         as_user, need, wait_for)

DMEMD, DMEMCTL, FUZZ_BUS, SOURCE_ROOT = "", "", "", pathlib.Path()
NODE = "org.dmemd1.Node"
UNKNOWN = 2**64 - 1


class BusTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="dmemd-test-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.tree = HostTree(self.folder / "root")
        self.bus = PrivateBus(self.folder)
        self.addCleanup(self.bus.stop)

    def start(self, ready=True, **environment) -> Daemon:
        daemon = Daemon(self.bus, self.folder, [DMEMD, f"--root={self.tree.root}"], environment)
        self.addCleanup(daemon.stop)
        return daemon.wait_ready() if ready else daemon

    def signals(self) -> Signals:
        signals = Signals(self.bus, self.folder)
        self.addCleanup(signals.stop)
        return signals


class Properties(BusTest):
    def test_manager(self):
        self.start()
        for name, value in (
                ("Backend", "dmem"), ("State", "in-force"), ("RebootRequired", False),
                ("Configured", []), ("Booted", ["dmem=0:4G,1:6G"]), ("TotalBytes", 10 * GiB),
                ("FreeBytes", 10 * GiB), ("UsedBytes", 0), ("PoisonedBytes", 0),
                ("MetadataSavedBytes", 160 * MiB), ("Mounts", [["/run/dmemfs", "all", 2 * MiB]])):
            self.assertEqual(self.bus.get(name), value, name)

    def test_nodes(self):
        self.start()
        for name, value in (
                ("Id", 1), ("RequestedBytes", 6 * GiB), ("SizeBytes", 6 * GiB),
                ("FreeBytes", 6 * GiB), ("UsedBytes", 0), ("PoisonedBytes", 0),
                ("Regions", [[0x3_0000_0000, 0x3_0000_0000 + 6 * GiB]]), ("Cpus", "2-3")):
            self.assertEqual(self.bus.get(name, "/org/dmemd1/node/1", NODE), value, name)

    def test_object_manager(self):
        self.start()
        reply = json.loads(self.bus.busctl(
            "--json=short", "call", "org.dmemd1", "/org/dmemd1",
            "org.freedesktop.DBus.ObjectManager", "GetManagedObjects").stdout)["data"][0]
        self.assertEqual(sorted(reply), ["/org/dmemd1/node/0", "/org/dmemd1/node/1"])
        self.assertEqual(reply["/org/dmemd1/node/0"][NODE]["SizeBytes"]["data"], 4 * GiB)

    def test_unknown_is_not_zero(self):
        self.tree.write("sys/class/dmem/node1/free_bytes", "banana\n")
        self.start()
        self.assertEqual(self.bus.get("FreeBytes"), UNKNOWN)
        self.assertEqual(self.bus.get("FreeBytes", "/org/dmemd1/node/1", NODE), UNKNOWN)
        self.assertEqual(self.bus.get("FreeBytes", "/org/dmemd1/node/0", NODE), 4 * GiB)
        self.assertIsNone(self.bus.call("GetStatus")["free_bytes"])

    def test_plan_and_status_are_those_of_dmemctl(self):
        self.start()
        run = subprocess.run([DMEMCTL, f"--root={self.tree.root}", "--json=short", "plan"],
                             capture_output=True, text=True, timeout=TIMEOUT, check=True)
        self.assertEqual(self.bus.call("GetPlan"), json.loads(run.stdout))
        run = subprocess.run([DMEMCTL, f"--root={self.tree.root}", "--json=short", "status"],
                             capture_output=True, text=True, timeout=TIMEOUT, check=True)
        status = json.loads(run.stdout)
        self.assertEqual(status["source"], "files")
        self.assertEqual(self.bus.call("GetStatus"), status | {"source": "dmemd"})

    def test_dmemctl_asks_the_daemon(self):
        self.start()
        run = subprocess.run([DMEMCTL, "status"], capture_output=True, text=True, timeout=TIMEOUT,
                             env=self.bus.environment(), check=False)
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertIn("from dmemd", run.stdout)
        self.assertIn("dmem=0:4G,1:6G", run.stdout)
        run = subprocess.run([DMEMCTL, "-j"], capture_output=True, text=True, timeout=TIMEOUT,
                             env=self.bus.environment(), check=False)
        self.assertEqual(json.loads(run.stdout), self.bus.call("GetStatus"))

    def test_dmemctl_does_not_start_the_daemon(self):
        run = subprocess.run([DMEMCTL, "status"], capture_output=True, text=True, timeout=TIMEOUT,
                             env=self.bus.environment(), check=False)
        self.assertIn("from sysfs", run.stdout)
        self.assertEqual(run.stderr, "")


class Metrics(BusTest):
    """What dmemctl metrics prints, and the file for node_exporter."""

    def setUp(self):
        super().setUp()
        self.runtime = self.folder / "run"
        self.runtime.mkdir()
        self.file = self.runtime / "dmemd.prom"

    def start_in_folder(self) -> Daemon:
        daemon = self.start(RUNTIME_DIRECTORY=str(self.runtime))
        wait_for("the file", self.file.exists)
        return daemon

    def families(self) -> dict[str, tuple[str, dict[str, float]]]:
        """Type and samples by node of what is in the file."""
        try:
            from prometheus_client.parser import text_string_to_metric_families
        except ImportError:
            self.skipTest("python3-prometheus-client is not installed")
        return {f.name: (f.type, {s.labels.get("node", ""): s.value for s in f.samples})
                for f in text_string_to_metric_families(self.file.read_text())}

    def test_dmemctl_asks_the_daemon(self):
        self.tree.write("sys/class/dmem/node1/events", "3\n")
        self.start()
        run = subprocess.run([DMEMCTL, "metrics"], capture_output=True, text=True, timeout=TIMEOUT,
                             env=self.bus.environment(), check=False)
        self.assertEqual((run.returncode, run.stderr), (0, ""))
        self.assertIn('dmem_granted_bytes{node="1"} 6442450944\n', run.stdout)
        self.assertIn('dmem_poison_events_total{node="1"} 3\n', run.stdout)
        self.assertIn("dmem_missed_events_total 0\n", run.stdout)
        self.assertTrue(run.stdout.endswith("\n# EOF\n"))

    def test_the_file_says_the_same(self):
        self.tree.write("sys/class/dmem/node1/events", "3\n")
        self.start_in_folder()
        reply = self.bus.busctl("--json=short", "call", "org.dmemd1", "/org/dmemd1",
                                "org.dmemd1.Manager", "GetMetrics").stdout
        samples = [[line for line in text.splitlines() if not line.startswith("#")]
                   for text in (json.loads(reply)["data"][0], self.file.read_text())]
        self.assertEqual(*samples)
        families = self.families()
        self.assertEqual(families["dmem_free_bytes"], ("gauge", {"0": 4 * GiB, "1": 6 * GiB}))
        self.assertEqual(families["dmem_poison_events"], ("counter", {"1": 3}))
        self.assertEqual(families["dmem_info"], ("gauge", {"": 1}))
        self.assertEqual(self.file.stat().st_mode & 0o777, 0o644)
        if shutil.which("promtool"):
            subprocess.run(["promtool", "check", "metrics"], input=self.file.read_bytes(),
                           timeout=TIMEOUT, check=True)

    def test_the_file_is_whole_at_any_time(self):
        daemon = self.start_in_folder()
        lines, inodes = set(), set()
        for i in range(200):
            self.tree.set(0, "free_bytes", i * MiB)
            daemon.reload()
            text = self.file.read_text()
            # Whatever is called so, node_exporter reads it
            self.assertEqual([p for p in self.runtime.iterdir() if p.name.endswith(".prom")],
                             [self.file])
            lines.add(text.count("\n"))
            inodes.add(self.file.stat().st_ino)
            self.assertTrue(text.endswith("\n"))
        self.assertEqual(len(lines), 1)
        self.assertGreater(len(inodes), 1)
        wait_for("the last value", lambda: f'dmem_free_bytes{{node="0"}} {199 * MiB}\n'
                 in self.file.read_text())

    def test_the_file_goes_with_the_daemon(self):
        daemon = self.start_in_folder()
        self.assertEqual(daemon.stop(), 0)
        self.assertFalse(self.file.exists())

    def test_no_room_for_the_file(self):
        self.file.mkdir()
        daemon = self.start(RUNTIME_DIRECTORY=str(self.runtime))
        wait_for("the message", lambda: "Cannot write the figures" in daemon.text())
        daemon.reload()
        self.file.rmdir()
        daemon.reload()
        wait_for("the file", lambda: self.file.is_file())
        wait_for("the message", lambda: "written again" in daemon.text())
        self.assertEqual(daemon.text().count("Cannot write the figures"), 1)


class Refusals(BusTest):
    def test_no_such_object(self):
        self.start()
        for path in ("/org/dmemd1/node/2", "/org/dmemd1/node/01", "/org/dmemd1/node/0x1",
                     "/org/dmemd1/node/4294967297", "/org/dmemd1/nodes", "/org/dmemd1/node/0/1"):
            result = self.bus.busctl("get-property", "org.dmemd1", path, NODE, "Id", check=False)
            self.assertNotEqual(result.returncode, 0, path)

    def test_nothing_can_be_set(self):
        self.start()
        result = self.bus.busctl("set-property", "org.dmemd1", "/org/dmemd1", "org.dmemd1.Manager",
                                 "State", "s", "none", check=False)
        self.assertNotEqual(result.returncode, 0)
        self.assertEqual(self.bus.get("State"), "in-force")

    def test_wrong_arguments(self):
        daemon = self.start()
        for arguments in (("GetPlan", "s", "x"), ("GetStatus", "u", "7"), ("Reload",),
                          ("GetPlan", "a{sv}", "0"), ("GetStatus", "as", "3", "", "a", "b")):
            result = self.bus.busctl("call", "org.dmemd1", "/org/dmemd1", "org.dmemd1.Manager",
                                     *arguments, check=False)
            self.assertNotEqual(result.returncode, 0, arguments)
        self.assertIsNone(daemon.process.poll())

    def test_random_calls(self):
        """While what the daemon looks at changes below it."""
        daemon = self.start()
        fuzz_bus = shutil.copy(FUZZ_BUS, self.folder)  # where everybody can reach it
        with subprocess.Popen(as_user(ORDINARY_USER, fuzz_bus, "2"), stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True,
                              env=self.bus.environment()) as fuzz:
            size = 0
            while fuzz.poll() is None:
                size = (size + 7) % 13
                self.tree.set(1, "size_bytes", size * GiB)
                self.tree.add_node(size + 2, GiB, (size + 16) << 32)
                daemon.reload()
                time.sleep(0.05)
            output = fuzz.stdout.read()
        self.assertEqual(fuzz.returncode, 0, output + daemon.text())
        self.assertIsNone(daemon.process.poll())
        self.bus.get("State")
        # All that the manual has was called, and answered
        calls = {line.split()[0]: int(line.split()[2]) for line in output.splitlines()}
        for interface, names in documented().items():
            for name in names:
                self.assertGreater(calls.get(f"{interface}.{name}", 0), 0, f"{interface}.{name}")

    def test_one_daemon_only(self):
        self.start()
        second = self.start(ready=False)
        self.assertEqual(second.process.wait(TIMEOUT), 1)
        self.assertIn("org.dmemd1 is taken", second.text())

    def test_usage(self):
        for arguments, status, word in ((["--frobnicate"], 2, "frobnicate"), (["now"], 2, "now"),
                                        (["--root=/nowhere"], 1, "/nowhere"),
                                        (["--help"], 0, "org.dmemd1"),
                                        (["--version"], 0, "dmemd")):
            run = subprocess.run([DMEMD, *arguments], capture_output=True, text=True,
                                 timeout=TIMEOUT, env=self.bus.environment(), check=False)
            self.assertEqual(run.returncode, status, arguments)
            self.assertIn(word, run.stdout + run.stderr)

    def test_no_bus(self):
        """All the rest works, and the bus is found when it comes."""
        self.bus.process.kill()
        self.bus.process.wait(TIMEOUT)
        notify = Notify(self.folder)
        self.addCleanup(notify.close)
        daemon = self.start(ready=False, NOTIFY_SOCKET=str(notify.path))
        notify.wait("READY=1")
        notify.wait("STATUS=in-force: 10G reserved, 10G free; there is no system bus")
        self.tree.set(1, "poisoned_bytes", 4096)
        daemon.reload()
        wait_for("the change", lambda: "poisoned and out of use" in daemon.text())
        self.bus = PrivateBus(self.folder)
        self.addCleanup(self.bus.stop)
        daemon.wait_ready()
        self.assertEqual(self.bus.get("PoisonedBytes"), 4096)
        self.assertEqual(daemon.text().count("No system bus"), 1)
        self.assertIn("The system bus is there", daemon.text())
        self.assertEqual(daemon.stop(), 0)


class Changes(BusTest):
    def test_batched(self):
        daemon = self.start()
        signals = self.signals()
        for node, size in ((0, 3), (1, 5)):
            self.tree.set(node, "size_bytes", size * GiB)
            self.tree.set(node, "free_bytes", size * GiB)
            self.tree.write(f"sys/class/dmem/node{node}/regions",
                            f"{1 << 32:#x}-{(1 << 32) + size * GiB:#x}\n")
        daemon.reload()
        wait_for("StateChanged", lambda: signals.members("StateChanged"))
        self.assertEqual(signals.members("StateChanged")[0]["payload"]["data"],
                         ["in-force", "drift"])
        wait_for("the nodes", lambda: signals.changed("/org/dmemd1/node/1"))
        manager = signals.changed("/org/dmemd1")
        self.assertEqual(len(manager), 1)
        self.assertEqual(sorted(manager[0]), ["MetadataSavedBytes", "State", "TotalBytes"])
        self.assertEqual(manager[0]["TotalBytes"]["data"], 8 * GiB)
        for node in (0, 1):
            changed = signals.changed(f"/org/dmemd1/node/{node}")
            self.assertEqual(len(changed), 1)
            self.assertEqual(sorted(changed[0]), ["Regions", "SizeBytes"])
        self.assertIn("Drift: Node 1", daemon.text())

    def test_read_when_asked(self):
        self.start()
        self.tree.set(0, "used_bytes", 2 * MiB)
        self.tree.set(0, "free_bytes", 4 * GiB - 2 * MiB)
        wait_for("the new value", lambda: self.bus.get("UsedBytes") == 2 * MiB)
        self.assertEqual(self.bus.get("FreeBytes", "/org/dmemd1/node/0", NODE),
                         4 * GiB - 2 * MiB)

    def test_nodes_come_and_go(self):
        daemon = self.start()
        signals = self.signals()
        self.tree.add_node(7, GiB, 0x8_0000_0000)
        daemon.reload()
        added = wait_for("InterfacesAdded", lambda: signals.members("InterfacesAdded"))
        self.assertEqual(added[0]["payload"]["data"][0], "/org/dmemd1/node/7")
        self.assertIn(NODE, added[0]["payload"]["data"][1])
        for folder in ("sys/devices/system/node/node7", "sys/class/dmem/node7"):
            for file in (self.tree.root / folder).iterdir():
                file.unlink()
            (self.tree.root / folder).rmdir()
        daemon.reload()
        removed = wait_for("InterfacesRemoved", lambda: signals.members("InterfacesRemoved"))
        self.assertEqual(removed[0]["payload"]["data"], ["/org/dmemd1/node/7", [NODE]])

    @unittest.skipUnless(os.geteuid() == 0, "what apply notes is believed of root only")
    def test_apply_is_seen_at_once(self):
        self.tree.write("etc/dmemd/dmemd.conf", "[Node 0]\nSize=3G\n[Node 1]\nSize=6G\n")
        self.tree.applied("dmem=0:4G,1:6G")
        daemon = self.start()
        self.assertEqual(self.bus.get("Configured"), ["dmem=0:4G,1:6G"])
        signals = self.signals()
        self.tree.applied("dmem=0:3G,1:6G")
        wait_for("StateChanged", lambda: signals.members("StateChanged"))
        changed = signals.changed("/org/dmemd1")[0]
        self.assertEqual(changed["Configured"]["data"], ["dmem=0:3G,1:6G"])
        self.assertEqual(changed["RebootRequired"]["data"], True)
        self.assertEqual(changed["State"]["data"], "pending-reboot")
        self.assertEqual(self.bus.call("GetStatus")["configured_source"], "applied")
        self.assertIn("next boot", daemon.text())


class Configuration(BusTest):
    def write_config(self, text: str) -> None:
        self.tree.write("etc/dmemd/dmemd.conf", text)

    def test_reload(self):
        daemon = self.start()
        self.write_config("[Kernel]\nReserve=3G\n")
        daemon.reload()
        wait_for("the new plan", lambda: self.bus.call("GetPlan")["arguments"] ==
                 ["dmem=0:3G,1:9G"])

    def test_a_bad_one_changes_nothing(self):
        self.write_config("[Kernel]\nReserve=3G\n")
        daemon = self.start()
        plan = self.bus.call("GetPlan")
        self.write_config("[Kernel]\nReserve=lots\nColour=blue\n")
        daemon.reload()
        wait_for("the message", lambda: "stays in place" in daemon.text())
        self.assertIn("etc/dmemd/dmemd.conf:2:", daemon.text())
        self.assertIn("etc/dmemd/dmemd.conf:3:", daemon.text())
        self.assertEqual(self.bus.call("GetPlan"), plan)
        self.assertEqual(self.bus.get("Backend"), "dmem")

    def test_bad_from_the_start(self):
        self.write_config("[Plan]\nBackend=magic\n")
        daemon = self.start()
        self.assertIn("etc/dmemd/dmemd.conf:2:", daemon.text())
        self.assertEqual(self.bus.get("State"), "in-force")
        self.assertEqual(self.bus.get("Backend"), "")
        result = self.bus.busctl("call", "org.dmemd1", "/org/dmemd1", "org.dmemd1.Manager",
                                 "GetPlan", check=False)
        self.assertIn("check-config", result.stderr)
        self.write_config("")
        daemon.reload()
        wait_for("the plan", lambda: self.bus.get("Backend") == "dmem")
        self.bus.call("GetPlan")


class Service(BusTest):
    def test_what_systemd_hears(self):
        notify = Notify(self.folder)
        self.addCleanup(notify.close)
        daemon = self.start(NOTIFY_SOCKET=str(notify.path), WATCHDOG_USEC="1000000")
        notify.wait("READY=1")
        notify.wait("STATUS=in-force: 10G reserved, 10G free")
        notify.wait("WATCHDOG=1")
        notify.seen.clear()
        daemon.reload()
        notify.wait("RELOADING=1")
        notify.wait("READY=1")
        self.assertEqual(daemon.stop(), 0)
        notify.wait("STOPPING=1")

    def test_signals_that_stop(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            daemon = self.start()
            daemon.process.send_signal(number)
            self.assertEqual(daemon.process.wait(TIMEOUT), 0)

    def test_the_bus_goes_away(self):
        """Again and again: each time it is on the next one, and signals go out there."""
        daemon = self.start()
        for number, size in enumerate((5, 6), 1):
            self.bus.process.kill()
            self.bus.process.wait(TIMEOUT)
            wait_for("the message", lambda n=number: daemon.text().count("bus has gone away") == n)
            self.tree.set(1, "size_bytes", size * GiB)
            daemon.reload()
            self.bus = PrivateBus(self.folder)
            self.addCleanup(self.bus.stop)
            daemon.wait_ready()
            self.assertEqual(daemon.text().count("The system bus is there"), number)
            self.assertNotIn("No system bus", daemon.text(), "said twice")
            self.assertEqual(self.bus.get("TotalBytes"), (4 + size) * GiB)
            signals = self.signals()
            self.tree.set(1, "size_bytes", 3 * GiB)
            daemon.reload()
            wait_for("the change", lambda s=signals: s.changed("/org/dmemd1"))
            signals.stop()

    def test_the_bus_hangs(self):
        """Nothing is delivered, and it does its work all the same."""
        daemon = self.start()
        self.bus.process.send_signal(signal.SIGSTOP)
        try:
            for i in range(50):
                self.tree.set(1, "size_bytes", (i % 5 + 1) * GiB)
                daemon.reload()
                time.sleep(0.01)
            self.tree.set(1, "size_bytes", 2 * GiB)
            daemon.reload()
            wait_for("the entry", lambda: "Node 1: 6G were asked for, but only 2G" in daemon.text())
            self.bus.process.send_signal(signal.SIGCONT)
            wait_for("the answer", lambda: self.bus.get("TotalBytes") == 6 * GiB)
            self.bus.process.send_signal(signal.SIGSTOP)
            self.assertEqual(daemon.stop(), 0)
        finally:
            self.bus.process.send_signal(signal.SIGCONT)

    def test_the_bus_hangs_from_the_start(self):
        """Then the start takes no longer than a few seconds, and nothing is waited for."""
        self.bus.process.send_signal(signal.SIGSTOP)
        notify = Notify(self.folder)
        self.addCleanup(notify.close)
        try:
            daemon = self.start(ready=False, NOTIFY_SOCKET=str(notify.path))
            notify.wait("READY=1")
            self.tree.set(1, "size_bytes", 2 * GiB)
            daemon.reload()
            wait_for("the entry", lambda: "Node 1: 6G were asked for, but only 2G" in daemon.text())
        finally:
            self.bus.process.send_signal(signal.SIGCONT)
        daemon.wait_ready()
        self.assertEqual(self.bus.get("TotalBytes"), 6 * GiB)
        self.assertEqual(daemon.stop(), 0)

    def test_said_once_in_a_boot(self):
        runtime = self.folder / "run"
        runtime.mkdir()
        said = "The plan is in force: 10G reserved on 2 nodes"
        first = self.start(RUNTIME_DIRECTORY=str(runtime))
        wait_for("the note of it", (runtime / "announced").exists)
        self.assertIn(said, first.text())
        first.process.kill()
        first.process.wait(TIMEOUT)
        second = self.start(RUNTIME_DIRECTORY=str(runtime))
        self.tree.set(1, "poisoned_bytes", 4096)
        second.reload()
        wait_for("the change", lambda: "poisoned and out of use" in second.text())
        self.assertNotIn(said, second.text())


class Policy(BusTest):
    """The policy that is installed, on a bus that otherwise has that of a system."""

    OWNER = pwd.getpwnam("daemon").pw_uid

    @unittest.skipUnless(os.geteuid() == 0, "needs root, to be several users")
    def setUp(self):
        super().setUp()
        self.bus.stop()
        text = (SOURCE_ROOT / "conf/org.dmemd1.conf").read_text()
        self.assertIn('user="dmemd"', text)
        file = self.folder / "org.dmemd1.conf"
        file.write_text(text.replace('user="dmemd"', f'user="{self.OWNER}"'))
        self.bus = PrivateBus(self.folder, SYSTEM_POLICY.format(file=file))
        self.addCleanup(self.bus.stop)
        self.daemon_program = shutil.copy(DMEMD, self.folder)

    def start_as(self, uid: int) -> Daemon:
        daemon = Daemon(self.bus, self.folder, as_user(uid, self.daemon_program,
                                                       f"--root={self.tree.root}"))
        self.addCleanup(daemon.stop)
        return daemon

    def ask(self, uid: int, *arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(as_user(uid, "busctl", "--system", *arguments), text=True,
                              timeout=TIMEOUT, capture_output=True, env=self.bus.environment(),
                              check=False)

    def test_only_its_user_may_be_it(self):
        for uid in (0, ORDINARY_USER):
            daemon = self.start_as(uid)
            wait_for("the message", lambda d=daemon: "org.dmemd1.conf" in d.text())
            self.assertEqual(self.bus.owner(), 0)

    def test_everybody_may_ask(self):
        self.start_as(self.OWNER).wait_ready()
        path, manager = "/org/dmemd1", "org.dmemd1.Manager"
        for interface, names in documented().items():
            where = path if interface == manager else f"{path}/node/0"
            for name in names:
                arguments = (["call", "org.dmemd1", where, interface, name] if name in METHODS
                             else ["get-property", "org.dmemd1", where, interface, name])
                run = self.ask(ORDINARY_USER, *arguments)
                self.assertEqual(run.returncode, 0, f"{name}: {run.stderr}")
        for interface, method in (("ObjectManager", "GetManagedObjects"), ("Peer", "Ping"),
                                  ("Introspectable", "Introspect")):
            run = self.ask(ORDINARY_USER, "call", "org.dmemd1", path,
                           f"org.freedesktop.DBus.{interface}", method)
            self.assertEqual(run.returncode, 0, f"{method}: {run.stderr}")

    def test_nobody_may_more(self):
        self.start_as(self.OWNER).wait_ready()
        for uid in (0, ORDINARY_USER):
            for arguments in (("set-property", "org.dmemd1", "/org/dmemd1", "org.dmemd1.Manager",
                               "State", "s", "none"),
                              ("call", "org.dmemd1", "/org/dmemd1", "org.dmemd1.Control", "Stop")):
                self.assertNotEqual(self.ask(uid, *arguments).returncode, 0, arguments)


METHODS = {"GetPlan", "GetStatus", "ListPoisoned", "GetLedger", "GetMetrics"}


def documented() -> dict[str, list[str]]:
    """Methods and properties of each interface in org.dmemd1(5)."""
    page = (SOURCE_ROOT / "man/org.dmemd1.5").read_text()
    return {name: re.findall(r"(?m)^      (?:readonly \S+ )?(\w+)(?: \(\w+\)|\(out .*\))?;$", block)
            for name, block in re.findall(r"(?s)  interface (\S+) {\n(.*?)\n  };", page)}


def describe(element: ElementTree.Element) -> list[str]:
    """An interface in the notation of org.dmemd1(5)."""
    lines = []
    for title, tag in (("methods", "method"), ("signals", "signal"), ("properties", "property")):
        found = element.findall(tag)
        if found:
            lines.append(f"{title}:")
        for item in found:
            name = item.get("name")
            if tag == "property":
                emits = [a.get("value") for a in item.findall("annotation")
                         if a.get("name") == "org.freedesktop.DBus.Property.EmitsChangedSignal"]
                note = {"const": " (const)", "false": ""}.get(emits[0] if emits else "", " (emits)")
                access = {"read": "readonly"}.get(item.get("access"), item.get("access"))
                lines.append(f"{access} {item.get('type')} {name}{note};")
            else:
                arguments = ", ".join(
                    ("out " if tag == "method" and a.get("direction") == "out" else "")
                    + f"{a.get('type')} {a.get('name')}" for a in item.findall("arg"))
                lines.append(f"{name}({arguments});")
    return lines


class ManPage(BusTest):
    def test_options(self):
        """Those of --help are those of dmemd(8); dmemd-setup has none of its own."""
        page = (SOURCE_ROOT / "man/dmemd.8").read_text().replace("\\-", "-")
        described = set(re.findall(r"--[a-z][a-z-]*", page.split(".SH OPTIONS\n")[1].split("\n.SH ")[0]))
        for program, all_of_them in (DMEMD, True), (pathlib.Path(DMEMD).with_name("dmemd-setup"), False):
            text = subprocess.run([program, "--help"], capture_output=True, text=True, timeout=TIMEOUT,
                                  check=True).stdout
            options = set(re.findall(r"(?m)^ +(?:-\w )? *(--[a-z][a-z-]*)", text))
            self.assertTrue(options)
            self.assertEqual(options if all_of_them else options | described, described, program)

    def test_introspection(self):
        self.start()
        page = (SOURCE_ROOT / "man/org.dmemd1.5").read_text().replace("\\-", "-")
        for path, interface in (("/org/dmemd1", "org.dmemd1.Manager"), ("/org/dmemd1/node/0", NODE)):
            reply = self.bus.busctl("--json=short", "call", "org.dmemd1", path,
                                    "org.freedesktop.DBus.Introspectable", "Introspect").stdout
            document = ElementTree.fromstring(json.loads(reply)["data"][0])
            element = document.find(f"interface[@name='{interface}']")
            block = re.search(rf"node {re.escape(path)} {{\n  interface {re.escape(interface)} {{\n"
                              r"(.*?)\n  };\n};", page, re.DOTALL)
            self.assertIsNotNone(block, interface)
            documented = [line.strip() for line in block[1].splitlines()]
            # sd-bus lists the members of each kind by name.
            self.assertEqual(sorted(documented), sorted(describe(element)), interface)
            for line in documented:
                name = re.match(r"(?:readonly \S+ )?(\w+)( \(\w+\)|\(.*\))?;$", line)
                if name:
                    self.assertRegex(page, rf'\n\.BR? [^\n]*\b{name[1]}\b', "not described")


if __name__ == "__main__":
    if len(sys.argv) < 5:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    DMEMD, DMEMCTL, FUZZ_BUS = sys.argv[1:4]
    SOURCE_ROOT = pathlib.Path(sys.argv[4])
    need("dbus-daemon", "busctl", "setpriv")
    unittest.main(argv=[sys.argv[0], *sys.argv[5:]], verbosity=2)
