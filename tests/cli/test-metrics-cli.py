#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""dmemctl metrics, read by the parser of Prometheus' own Python client."""

import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

from cli import DMEMCTL, SOURCE, captured_hosts
from host_tree import GiB, HostTree, MiB

try:
    from prometheus_client.openmetrics.parser import text_string_to_metric_families
except ImportError:
    print("skipped: python3-prometheus-client is not installed")
    sys.exit(77)


def metrics(root, stdout=subprocess.PIPE) -> subprocess.CompletedProcess:
    return subprocess.run([DMEMCTL, f"--root={root}", "metrics"], stdout=stdout,
                          stderr=subprocess.PIPE, text=True, timeout=30, check=False)


def read(text: str) -> dict:
    """Name, type and samples; a sample is its labels and its value."""
    return {family.name: (family.type, {(s.name, *sorted(s.labels.items())): s.value
                                        for s in family.samples})
            for family in text_string_to_metric_families(text)}


class Metrics(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="dmemd-test-")
        self.addCleanup(folder.cleanup)
        self.tree = HostTree(pathlib.Path(folder.name))

    def read(self) -> dict:
        run = metrics(self.tree.root)
        self.assertEqual((run.returncode, run.stderr), (0, ""))
        return read(run.stdout)

    def per_node(self, name: str) -> dict:
        return {labels[1][1]: value for labels, value in self.read()[name][1].items()}

    def test_figures(self):
        self.tree.set(0, "requested_bytes", 5 * GiB)
        self.tree.set(0, "used_bytes", 2 * MiB)
        self.tree.set(0, "free_bytes", 4 * GiB - 2 * MiB - 8192)
        self.tree.set(0, "poisoned_bytes", 8192)
        self.tree.set(0, "events", 2)
        for name, node0, node1 in (("requested", 5 * GiB, 6 * GiB), ("granted", 4 * GiB, 6 * GiB),
                                   ("used", 2 * MiB, 0), ("free", 4 * GiB - 2 * MiB - 8192, 6 * GiB),
                                   ("poisoned", 8192, 0)):
            self.assertEqual(self.per_node(f"dmem_{name}_bytes"), {"0": node0, "1": node1}, name)
        families = self.read()
        self.assertEqual(families["dmem_poison_events"],
                         ("counter", {("dmem_poison_events_total", ("node", "0")): 2}))
        self.assertEqual(families["dmem_metadata_saved_bytes"][1],
                         {("dmem_metadata_saved_bytes",): 160 * MiB})
        self.assertEqual(families["dmem_granted_bytes"][0], "gauge")

    def test_information(self):
        version = subprocess.run([DMEMCTL, "--version"], capture_output=True, text=True,
                                 check=True).stdout.split()[1]
        self.tree.write("etc/dmemd/dmemd.conf", "[Plan]\nBackend=hugetlb\n")
        self.assertEqual(self.read()["dmem"], ("info", {
            ("dmem_info", ("backend", "hugetlb"), ("version", version)): 1}))
        self.tree.write("etc/dmemd/dmemd.conf", "[Plan]\nBackend=magic\n")
        run = metrics(self.tree.root)
        self.assertIn("dmemd.conf:2:", run.stderr)
        self.assertEqual(run.returncode, 0)
        self.assertIn(("dmem_info", ("backend", ""), ("version", version)), read(run.stdout)["dmem"][1])

    def state(self) -> list[str]:
        """Those that are 1."""
        states = self.read()["dmem_state"][1]
        self.assertEqual(sorted(labels[1][1] for labels in states),
                         ["degraded", "drift", "in-force", "none", "pending-reboot"])
        return [labels[1][1] for labels, value in states.items() if value]

    def test_state(self):
        self.assertEqual(self.state(), ["in-force"])
        self.tree.set(1, "size_bytes", 5 * GiB)
        self.tree.write("sys/class/dmem/node1/regions", f"{1 << 33:#x}-{(1 << 33) + 5 * GiB:#x}\n")
        self.assertEqual(self.state(), ["drift"])

    def test_what_is_not_known_is_left_out(self):
        self.tree.write("sys/class/dmem/node1/free_bytes", "banana\n")
        self.assertNotIn("1", self.per_node("dmem_free_bytes"))
        families = self.read()
        self.assertNotIn("dmem_reboot_required", families, "nobody knows what the next boot gets")
        self.assertNotIn("dmem_missed_events", families, "there is no daemon that could miss one")

    @unittest.skipUnless(os.geteuid() == 0, "what apply notes is believed of root only")
    def test_reboot_required(self):
        for arguments, value in ("dmem=0:4G,1:6G", 0), ("dmem=0:3G,1:6G", 1):
            self.tree.applied(arguments)
            self.assertEqual(self.read()["dmem_reboot_required"][1], {("dmem_reboot_required",): value})

    def test_any_host(self):
        for root in captured_hosts():
            run = metrics(root)
            self.assertEqual(run.returncode, 0, root)
            families = read(run.stdout)
            # All of them fit into the numbers of Prometheus
            for _, samples in families.values():
                self.assertTrue(all(0 <= value < 2 ** 64 for value in samples.values()), root)

    def test_each_is_in_the_manual(self):
        page = (SOURCE / "man/dmemd.8").read_text()
        names = set(re.findall(r"(?m)^(dmem_\w+)", metrics(self.tree.root).stdout))
        self.assertGreater(len(names), 7)
        for name in names | {"dmem_missed_events_total", "dmem_reboot_required"}:
            self.assertRegex(page, rf"\b{name}\b")

    def test_full_disk(self):
        with open("/dev/full", "w", encoding="ascii") as full:
            self.assertEqual(metrics(self.tree.root, stdout=full).returncode, 1)


if __name__ == "__main__":
    unittest.main(verbosity=2)
