#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""dmemctl status on hosts made of files."""

import json
import os
import pathlib
import subprocess
import tempfile
import unittest

from cli import DMEMCTL, captured_hosts, check_schema, jsonschema
from host_tree import GiB, HostTree, MiB


def dmemctl(*arguments, stdout=subprocess.PIPE, **environment):
    return subprocess.run([DMEMCTL, *arguments], stdout=stdout, stderr=subprocess.PIPE, text=True,
                          timeout=30, env=os.environ | environment, check=False)


class StatusTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="dmemd-test-")
        self.addCleanup(folder.cleanup)
        self.tree = HostTree(pathlib.Path(folder.name))

    def status(self, *arguments, **kwargs):
        return dmemctl(f"--root={self.tree.root}", *arguments, "status", **kwargs)

    def json(self) -> dict:
        return json.loads(self.status("--json=short").stdout)

    def remove_class(self):
        for node in (0, 1):
            folder = self.tree.root / f"sys/class/dmem/node{node}"
            for file in folder.iterdir():
                file.unlink()
            folder.rmdir()
        (self.tree.root / "sys/class/dmem").rmdir()

    def test_in_force(self):
        run = self.status()
        self.assertEqual((run.returncode, run.stderr), (0, ""))
        lines = run.stdout.splitlines()
        self.assertEqual(lines[0], "in-force (from the files below --root=)")
        self.assertEqual(lines[2].split(), ["NODE", "CONFIGURED", "BOOTED", "GRANTED", "USED",
                                            "FREE", "POISONED", "CPUS"])
        self.assertEqual(lines[3].split(), ["0", "-", "4G", "4G", "0", "4G", "0", "0-1"])
        self.assertEqual(lines[4].split(), ["1", "-", "6G", "6G", "0", "6G", "0", "2-3"])
        self.assertIn("Saved:      160M of struct pages", lines)
        self.assertEqual(lines[-1], "Nothing to do.")

    def test_without_a_verb(self):
        run = dmemctl(f"--root={self.tree.root}")
        self.assertEqual(run.stdout, self.status().stdout)

    def test_no_legend(self):
        run = self.status("--no-legend")
        self.assertNotIn("NODE", run.stdout)
        self.assertNotIn("Nothing to do", run.stdout)

    def test_exit_status(self):
        self.tree.set(1, "size_bytes", 5 * GiB)
        self.tree.write("sys/class/dmem/node1/regions", f"{1 << 33:#x}-{(1 << 33) + 5 * GiB:#x}\n")
        run = self.status()
        self.assertEqual(run.returncode, 3)
        self.assertTrue(run.stdout.startswith("drift"))
        self.assertIn("Node 1", run.stdout)
        self.assertIn("journalctl", run.stdout.splitlines()[-1])
        self.assertEqual(self.status("-j").returncode, 3)

    def test_poisoned(self):
        self.tree.set(0, "poisoned_bytes", 8192)
        run = self.status()
        self.assertEqual(run.returncode, 3)
        self.assertTrue(run.stdout.startswith("degraded"))
        self.assertIn("8K", run.stdout)

    def test_poisoned_in_use(self):
        """It is not withdrawn yet, and bad all the same."""
        self.tree.write("sys/class/dmem/node0/events", "1\n")
        run = self.status()
        self.assertEqual(run.returncode, 3)
        self.assertTrue(run.stdout.startswith("degraded"))
        self.assertIn("dmemctl poisoned", run.stdout)

    def test_kernel_without_support(self):
        self.remove_class()
        self.tree.write("proc/iomem", "00000000-00000000 : System RAM\n")
        run = self.status()
        self.assertEqual(run.returncode, 3)
        self.assertIn("CONFIG_DMEM", run.stdout.splitlines()[-1])

    def test_module_missing(self):
        self.remove_class()
        run = self.status()
        self.assertEqual(run.returncode, 3)
        self.assertIn("dmemd-setup.service", run.stdout.splitlines()[-1])
        self.assertIsNone(self.json()["nodes"][0]["granted_bytes"])

    def test_banana(self):
        self.remove_class()
        self.tree.write("proc/iomem", "00000000-00000000 : System RAM\n")
        self.tree.cmdline("dmem=banana")
        run = self.status()
        self.assertEqual(run.returncode, 3)
        self.assertIn("banana", run.stdout)

    def test_nothing(self):
        self.remove_class()
        self.tree.write("proc/iomem", "00000000-00000000 : System RAM\n")
        self.tree.cmdline("")
        run = self.status()
        self.assertEqual(run.returncode, 0)
        self.assertTrue(run.stdout.startswith("none"))
        self.assertIn("dmemctl plan", run.stdout.splitlines()[-1])

    @unittest.skipUnless(os.geteuid() == 0, "what apply notes is believed of root only")
    def test_pending_reboot(self):
        self.tree.write("etc/dmemd/dmemd.conf", "[Node 0]\nSize=3G\n[Node 1]\nSize=6G\n")
        self.tree.applied("dmem=0:3G,1:6G")
        run = self.status()
        self.assertEqual(run.returncode, 3)
        self.assertTrue(run.stdout.startswith("pending-reboot"))
        self.assertEqual(run.stdout.splitlines()[3].split()[1:4], ["3G", "4G", "4G"])
        self.assertIn("as last applied", run.stdout)
        self.assertTrue(run.stdout.splitlines()[-1].startswith("Reboot"))
        status = self.json()
        self.assertEqual((status["configured_source"], status["reboot_required"]),
                         ("applied", True))

    def test_bad_configuration(self):
        """What runs is shown all the same."""
        self.tree.write("etc/dmemd/dmemd.conf", "[Plan]\nBackend=magic\n")
        run = self.status("-j")
        self.assertIn("dmemd.conf:2:", run.stderr)
        status = json.loads(run.stdout)
        self.assertIsNone(status["backend"])
        self.assertEqual((run.returncode, status["state"]), (0, "in-force"))

    def test_numbers(self):
        self.tree.set(0, "used_bytes", 2 * MiB)
        self.tree.set(0, "free_bytes", 4 * GiB - 2 * MiB)
        status = self.json()
        self.assertEqual(status["used_bytes"], 2 * MiB)
        self.assertEqual(status["free_bytes"], 10 * GiB - 2 * MiB)
        self.assertEqual(status["nodes"][1]["regions"],
                         [{"start": "0x300000000", "end": "0x480000000"}])
        self.assertEqual(status["mounts"],
                         [{"where": "/run/dmemfs", "nodes": "all", "page_size": 2 * MiB}])

    def hugetlb(self, granted0: int, booted="hugepagesz=1G hugepages=0:4,1:6 hugetlb_free_vmemmap=on"):
        """A host without dmem that was booted with huge pages of 1G."""
        self.remove_class()
        self.tree.write("proc/iomem", "00000000-00000000 : System RAM\n")
        self.tree.cmdline(booted)
        self.tree.write("etc/dmemd/dmemd.conf",
                        "[Plan]\nBackend=hugetlb\n[Mount]\nPageSize=1G\n"
                        "[Kernel]\nReserve=2G\nBootNodeReserve=2G\n[Dmem]\nAlign=1G\n")
        self.tree.write("proc/zoneinfo", "".join(
            f"Node {node}, zone   Normal\n  pages free 1\n        present  {size << 18}\n"
            for node, size in ((0, 8), (1, 8))))
        for node, count in (0, granted0), (1, 6):
            folder = f"sys/devices/system/node/node{node}/hugepages/hugepages-1048576kB"
            self.tree.write(f"{folder}/nr_hugepages", f"{count}\n")
            self.tree.write(f"{folder}/free_hugepages", f"{count - 1}\n")

    def test_hugetlb_in_force(self):
        self.hugetlb(4)
        run = self.status()
        self.assertEqual((run.returncode, run.stderr), (0, ""))
        rows = [line.split() for line in run.stdout.splitlines()]
        self.assertIn(["0", "1G", "-", "4", "4", "3"], rows)
        self.assertIn(["1", "1G", "-", "6", "6", "5"], rows)
        status = self.json()
        self.assertEqual(status["nodes"][0]["hugepages"], [
            {"page_size": GiB, "configured": None, "booted": 4, "granted": 4, "free": 3}])
        # 16M of struct pages for each GiB, less one page and its part of the page tables
        self.assertEqual(status["metadata_saved_bytes"], 10 * (16 * MiB - 4096 - 8 * 4096))
        verify = json.loads(dmemctl(f"--root={self.tree.root}", "-j", "verify").stdout)
        self.assertEqual(verify["planned"], verify["booted"])
        self.assertEqual(verify["granted_as_planned"], True)
        self.assertEqual(verify["nodes"][1]["hugepages"], [
            {"page_size": GiB, "planned": 6, "configured": None, "booted": 6, "granted": 6}])

    def test_hugetlb_short(self):
        self.hugetlb(3)
        run = self.status()
        self.assertEqual(run.returncode, 3)
        self.assertTrue(run.stdout.startswith("drift"))
        self.assertIn("Node 0: 4 huge pages of 1G were asked for, but it has only 3", run.stdout)
        self.assertIn("dmemd-setup.service", run.stdout.splitlines()[-1])
        run = dmemctl(f"--root={self.tree.root}", "-j", "verify")
        verify = json.loads(run.stdout)
        self.assertEqual((run.returncode, verify["granted_as_planned"]), (3, False))
        self.assertEqual([(f["code"], f["node"]) for f in verify["findings"]],
                         [("hugepages-less", 0)])

    def test_full_disk(self):
        with open("/dev/full", "w", encoding="ascii") as full:
            run = self.status(stdout=full)
        self.assertEqual(run.returncode, 1)
        self.assertNotEqual(run.stderr, "")

    def test_writes_nothing(self):
        def files():
            return {str(p): p.stat().st_mtime_ns for p in self.tree.root.rglob("*")}

        before = files()
        self.status()
        self.assertEqual(files(), before)

    @unittest.skipUnless(jsonschema, "python3-jsonschema is not installed")
    def test_schema(self):
        self.tree.write("sys/class/dmem/node0/size_bytes", "?\n")
        with tempfile.TemporaryDirectory() as empty:
            for root in (self.tree.root, *captured_hosts(), pathlib.Path(empty)):
                run = dmemctl(f"--root={root}", "-j", "status")
                self.assertIn(run.returncode, (0, 3), f"{root}: {run.stderr}")
                check_schema(json.loads(run.stdout), "status")


if __name__ == "__main__":
    unittest.main(verbosity=2)
