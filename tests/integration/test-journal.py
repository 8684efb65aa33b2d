#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What dmemd, dmemd-setup and dmemctl send to the journal, read at its socket.

usage: test-journal.py DMEMD DMEMD_SETUP DMEMCTL SOURCE_ROOT

The socket has a fixed place: we go into a mount namespace of our own and put one there. Needs root.
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True  # the sources stay as they are
sys.path.insert(0, str(pathlib.Path(__file__).parent))
from host_tree import GiB, HostTree
from journal_socket import SOCKET, Journal
from private_bus import Daemon, PrivateBus, TIMEOUT, enter_name_spaces, need, wait_for

DMEMD, DMEMD_SETUP, DMEMCTL, SOURCE_ROOT = "", "", "", pathlib.Path()
REASONS = {"no-kernel-support", "no-reservation", "no-module", "module-not-loaded",
           "configuration", "mount"}


class JournalTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="dmemd-test-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.tree = HostTree(self.folder / "root")
        self.journal = Journal(SOURCE_ROOT)
        self.addCleanup(self.journal.close)

    def start(self) -> Daemon:
        """As systemd does it: stderr is the journal's, and its name is in the environment."""
        bus = PrivateBus(self.folder)
        self.addCleanup(bus.stop)
        daemon = Daemon(bus, self.folder,
                        ["sh", "-c", 'JOURNAL_STREAM=$(stat -Lc %d:%i /dev/stderr) exec "$@"', "sh",
                         DMEMD, f"--root={self.tree.root}"])
        self.addCleanup(daemon.stop)
        return daemon.wait_ready()

    def wait(self, name: str, count: int = 1) -> list[dict[str, str]]:
        wait_for(f"{count} entries {name}",
                 lambda: len(self.journal.with_id(self.journal.message_id(name))) >= count)
        return self.journal.with_id(self.journal.message_id(name))

    def test_in_force(self):
        daemon = self.start()
        entry = self.wait("IN_FORCE")[0]
        self.assertEqual(entry["PRIORITY"], "5")
        self.assertEqual(entry["DMEM_STATE"], "in-force")
        self.assertEqual(entry["DMEM_REQUESTED"], str(10 * GiB))
        self.assertEqual(entry["DMEM_GRANTED"], str(10 * GiB))
        self.assertNotIn("DMEM_NODE", entry)
        self.assertEqual(entry["SYSLOG_IDENTIFIER"], "dmemd")
        daemon.stop()
        self.assertEqual(daemon.text(), "", "said twice")
        self.assertEqual(len(self.journal.with_id(self.journal.message_id("IN_FORCE"))), 1)

    def test_drift_of_a_node(self):
        self.tree.set(1, "size_bytes", 5 * GiB)
        self.tree.write("sys/class/dmem/node1/regions", f"{1 << 33:#x}-{(1 << 33) + 5 * GiB:#x}\n")
        self.start()
        entries = self.wait("DRIFT")
        self.assertEqual(len(entries), 1)
        self.assertEqual(entries[0]["DMEM_NODE"], "1")
        self.assertEqual(entries[0]["DMEM_REQUESTED"], str(6 * GiB))
        self.assertEqual(entries[0]["DMEM_GRANTED"], str(5 * GiB))
        self.assertEqual(entries[0]["PRIORITY"], "4")
        self.assertIn("Node 1", entries[0]["MESSAGE"])

    def test_drift_of_huge_pages(self):
        """What is reserved on that node is another matter."""
        self.tree.cmdline("dmem=0:4G,1:6G hugepagesz=2M hugepages=1:5")
        self.tree.write("sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages", "3\n")
        self.start()
        entries = [e for e in self.wait("DRIFT") if "huge pages" in e["MESSAGE"]]
        self.assertEqual([e["DMEM_NODE"] for e in entries], ["1"])
        self.assertNotIn("DMEM_REQUESTED", entries[0])
        self.assertNotIn("DMEM_GRANTED", entries[0])

    def test_drift_of_the_host(self):
        self.tree.cmdline("dmem=banana")
        self.tree.write("proc/iomem", "00000000-00000000 : System RAM\n")
        for file in (self.tree.root / "sys/class/dmem").rglob("*"):
            if file.is_file():
                file.unlink()
        for folder in ("node0", "node1", ""):
            (self.tree.root / "sys/class/dmem" / folder).rmdir()
        self.start()
        entries = self.wait("DRIFT")
        self.assertIn("banana", entries[0]["MESSAGE"])
        self.assertNotIn("DMEM_NODE", entries[0])

    def test_once_for_each_change(self):
        daemon = self.start()
        self.wait("IN_FORCE")
        self.tree.set(0, "poisoned_bytes", 8192)
        self.tree.set(0, "free_bytes", 4 * GiB - 8192)
        daemon.reload()
        entry = self.wait("DEGRADED")[0]
        self.assertIn("8K", entry["MESSAGE"])
        for _ in range(3):
            daemon.reload()
        self.tree.set(0, "poisoned_bytes", 0)
        self.tree.set(0, "free_bytes", 4 * GiB)
        daemon.reload()
        self.wait("IN_FORCE", 2)
        self.assertEqual(len(self.journal.with_id(self.journal.message_id("DEGRADED"))), 1)
        self.assertEqual(len(self.journal.with_id(self.journal.message_id("DRIFT"))), 0)

    def test_applied_and_reverted(self):
        """Said once, by the one that changed something. What the host is comes from the tree."""
        for path in ("proc/cmdline", "proc/iomem", "proc/meminfo", "proc/zoneinfo", "sys"):
            subprocess.run(["mount", "--bind", self.tree.root / path, f"/{path}"], check=True)
            self.addCleanup(subprocess.run, ["umount", f"/{path}"], check=True)
        drop_ins = pathlib.Path("/run/dmemd/dmemd.conf.d")
        drop_ins.mkdir(parents=True)
        (drop_ins / "zz-test.conf").write_text(
            "[BootLoader]\nType=file\nFile=/run/arguments\n[Node 0]\nSize=3G\n[Node 1]\nSize=6G\n")
        for verb, settings, name, said in (
                ("apply", "dmem=0:3G,1:6G\n", "PLAN_APPLIED", "the next boot gets dmem=0:3G,1:6G"),
                ("revert", None, "REVERTED", "the next boot reserves nothing")):
            for arguments in ([verb, "--dry-run"], [verb], [verb]):
                run = subprocess.run([DMEMCTL, *arguments], capture_output=True, text=True, timeout=TIMEOUT,
                                     check=False)
                self.assertEqual(run.returncode, 0, run.stderr)
            file = pathlib.Path("/run/arguments")
            self.assertEqual(file.read_text() if file.exists() else None, settings)
            entries = self.wait(name)
            self.assertEqual(len(entries), 1)
            self.assertEqual(entries[0]["PRIORITY"], "5")
            self.assertIn(said, entries[0]["MESSAGE"])
            self.assertEqual(entries[0]["SYSLOG_IDENTIFIER"], "dmemctl")

    def test_setup_failed(self):
        if "dmemfs" in pathlib.Path("/proc/filesystems").read_text():
            self.skipTest("this kernel knows dmemfs")
        run = subprocess.run(
            ["sh", "-c", 'JOURNAL_STREAM=$(stat -Lc %d:%i /dev/stderr) exec "$@"', "sh",
             DMEMD_SETUP],
            stderr=subprocess.PIPE, text=True, timeout=TIMEOUT, check=False)
        self.assertEqual(run.returncode, 1)
        self.assertEqual(run.stderr, "")
        entry = self.wait("SETUP_FAILED")[0]
        self.assertEqual(entry["PRIORITY"], "3")
        self.assertIn(entry["DMEM_REASON"], REASONS)
        self.assertIn("Cannot mount dmemfs on /run/dmemfs", entry["MESSAGE"])
        self.assertFalse(pathlib.Path("/run/dmemfs").exists(), "a folder is left behind")


def main() -> int:
    need("dbus-daemon", "busctl", "unshare", "mount")
    enter_name_spaces("mount")
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
