#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""dmemctl poisoned, retire and forget on hosts made of files."""

import json
import os
import pathlib
import subprocess
import tempfile
import unittest

from cli import DMEMCTL, check_schema
from host_tree import GiB, HostTree

LEDGER = "var/lib/dmemd/ledger/poisoned.jsonl"
BOOT = "d9b2d63d-a233-4123-847e-b1b7a5a9c2d1"
EARLIER = "00000000-a233-4123-847e-b1b7a5a9c2d1"


def memory_device(locator: str, serial: str) -> bytes:
    """A structure of type 17, see DMTF DSP0134."""
    data = bytearray(28)
    data[0:2] = 17, 28
    data[0x0c:0x0e] = b"\x00\x40"
    data[0x10], data[0x18] = 1, 2
    return bytes(data) + locator.encode() + b"\0" + serial.encode() + b"\0\0"


class PoisonTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="dmemd-test-")
        self.addCleanup(folder.cleanup)
        self.tree = HostTree(pathlib.Path(folder.name))
        self.tree.write("proc/sys/kernel/random/boot_id", BOOT + "\n")
        for node in (0, 1):
            self.tree.write(f"sys/class/dmem/node{node}/events", "0\n")
            self.tree.write(f"sys/class/dmem/node{node}/poisoned", "")
            self.tree.write(f"sys/class/dmem/node{node}/users", "")

    def run_verb(self, *arguments, status=0):
        run = subprocess.run([DMEMCTL, f"--root={self.tree.root}", *arguments], timeout=120,
                             capture_output=True, text=True, check=False)
        self.assertEqual(run.returncode, status, f"{arguments}: {run.stdout}{run.stderr}")
        return run

    def units(self) -> dict[str, dict]:
        document = json.loads(self.run_verb("-j", "poisoned").stdout)
        check_schema(document, "poisoned")
        self.assertEqual(document["source"], "files")
        pretty = json.loads(self.run_verb("--json=pretty", "poisoned").stdout)
        self.assertEqual([u["address"] for u in pretty["units"]],
                         [u["address"] for u in document["units"]])
        return {unit["address"]: unit for unit in document["units"]}

    def ledger(self) -> list[dict]:
        lines = (self.tree.root / LEDGER).read_text().splitlines()
        documents = [json.loads(line) for line in lines]
        for document in documents:
            check_schema(document, "ledger")
        return documents

    def write_ledger(self, *units: dict, boots=((EARLIER, None),), units_said=None):
        head = {"version": 1, "units": len(units) if units_said is None else units_said}
        lines = [head, *({"boot_id": b, "dimms": d} for b, d in boots), *units]
        self.tree.write(LEDGER, "".join(json.dumps(line) + "\n" for line in lines))

    @staticmethod
    def unit(address: int, **more) -> dict:
        return {"address": f"{address:#x}", "node": 0, "state": "free", "source": "mce",
                "first_seen_usec": 1, "last_seen_usec": 2, "boot": 0} | more

    def test_nothing(self):
        self.assertIn("No memory is poisoned", self.run_verb("poisoned").stdout)
        self.assertEqual(self.units(), {})
        self.assertFalse((self.tree.root / "var").exists(), "looking must not write")

    def test_this_boot_and_earlier_ones(self):
        self.write_ledger(self.unit(0x1_0000_0000), self.unit(0x1_0000_1000),
                          self.unit(0x9_0000_0000))
        self.tree.write("sys/class/dmem/node0/poisoned",
                        "0x0000000100000000 free\n0x0000000100002000 used\n")
        self.tree.write("sys/class/dmem/node0/users",
                        "0x0000000100002000 0:44 12 0x200000 1,7 /vm\\040a (deleted)      \n")
        units = self.units()
        self.assertEqual({a: u["state"] for a, u in units.items()},
                         {"0x100000000": "free", "0x100001000": "pending",
                          "0x100002000": "used", "0x900000000": "outside"})
        self.assertEqual([u["this_boot"] for u in units.values()], [False, False, True, False])
        used = units["0x100002000"]
        self.assertEqual((used["file"], used["offset"], used["inode"], used["device"]),
                         ("/vm\\040a (deleted)", "0x200000", 12, "0:44"))
        self.assertEqual([p["pid"] for p in used["processes"]], [1, 7])
        text = self.run_verb("poisoned").stdout
        self.assertIn("4 units of 4 KiB, 16K in all", text)
        self.assertIn("/vm\\040a (deleted)", text)
        self.assertNotIn("ADDRESS", self.run_verb("--no-legend", "poisoned").stdout)

    def test_commands(self):
        self.write_ledger(self.unit(0x1_0000_0000, file="/f", device="0:1", inode=1, offset="0x0",
                                    processes="12:qemu,a:b,7,99:x,..."))
        unit = self.units()["0x100000000"]
        self.assertEqual(unit["processes"], [{"pid": 12, "command": "qemu,a:b"},
                                             {"pid": 7, "command": None},
                                             {"pid": 99, "command": "x"}])

    def test_retire(self):
        for text in ("0x100000fff", "4294967296", "0x100000000"):
            self.run_verb("retire", text)
        units = self.units()
        self.assertEqual(list(units), ["0x100000000"])
        self.assertEqual(units["0x100000000"]["source"], "sysfs")
        self.assertTrue(units["0x100000000"]["retired"])
        self.assertEqual([d.get("address") for d in self.ledger()[2:]], ["0x100000000"])

    def test_retire_refused(self):
        for text, status, word in (("0x1000", 4, "0x100000000-0x200000000"),
                                   ("0x480000000", 4, "no region"), ("-1", 2, "-1"),
                                   ("1G", 2, "1G"), ("0x", 2, "0x"), ("0x1" + "0" * 16, 2, "0x1"),
                                   ("", 2, "ADDRESS")):
            run = self.run_verb("retire", text, status=status)
            self.assertIn(word, run.stderr, text)
            self.assertFalse((self.tree.root / LEDGER).exists(), text)

    def test_retire_in_an_image(self):
        """Nothing says where its memory will be."""
        with tempfile.TemporaryDirectory() as image:
            subprocess.run([DMEMCTL, f"--root={image}", "retire", "0x1000"], check=True,
                           capture_output=True, timeout=120)
            self.assertIn('"address":"0x1000"', (pathlib.Path(image) / LEDGER).read_text())

    def test_forget(self):
        self.write_ledger(self.unit(0x1_0000_0000), self.unit(0x1_0000_1000),
                          self.unit(0x1_0000_2000))
        self.tree.write("sys/class/dmem/node0/poisoned", "0x0000000100000000 free\n")
        run = self.run_verb("forget", "0x100000010")
        self.assertIn("until the next boot", run.stdout)
        self.assertTrue(self.units()["0x100000000"]["forgotten"])
        run = self.run_verb("forget", "0x100001000")
        self.assertNotIn("until the next boot", run.stdout)
        self.assertNotIn("0x100001000", self.units())
        self.assertIn("not on the list", self.run_verb("forget", "0x100001000").stdout)
        self.run_verb("forget", "--all")
        self.assertEqual(list(self.units()), ["0x100000000"])
        self.assertIn("nothing to forget", self.run_verb("forget", "--all").stdout)
        # The next boot
        self.tree.write("proc/sys/kernel/random/boot_id", EARLIER.replace("0", "1") + "\n")
        self.tree.write("sys/class/dmem/node0/poisoned", "")
        self.run_verb("retire", "0x100005000")
        self.assertEqual(list(self.units()), ["0x100005000"])

    def test_forget_refused(self):
        self.write_ledger(self.unit(0x1_0000_0000))
        before = (self.tree.root / LEDGER).read_text()
        for arguments in ((), ("--all", "0x1000"), ("all",)):
            self.run_verb("forget", *arguments, status=2)
        self.assertEqual((self.tree.root / LEDGER).read_text(), before)

    def test_modules(self):
        def dmi(*modules):
            path = self.tree.root / "sys/firmware/dmi/tables/DMI"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"".join(memory_device(*m) for m in modules))

        dmi(("A1", "1111"), ("B1", "2222"))
        self.run_verb("retire", "0x100000000")
        self.run_verb("retire", "0x100001000")
        self.assertIn("No memory module was replaced",
                      self.run_verb("forget", "0x100001000").stdout)
        self.tree.write("proc/sys/kernel/random/boot_id", EARLIER + "\n")
        dmi(("A1", "3333"), ("B1", "2222"))
        run = self.run_verb("forget", "--all")
        self.assertIn("A1: 1111 was replaced by 3333", run.stdout)
        self.assertNotIn("2222", run.stdout)

    def test_damaged(self):
        self.write_ledger(self.unit(0x1_0000_0000), units_said=2)
        damaged = (self.tree.root / LEDGER).read_text()
        run = self.run_verb("poisoned", status=1)
        self.assertIn("0x100000000", run.stdout)
        self.assertIn("is damaged", run.stderr)
        self.assertEqual((self.tree.root / LEDGER).read_text(), damaged)
        run = self.run_verb("retire", "0x100001000")
        self.assertIn("kept as", run.stderr)
        self.assertEqual(list(self.units()), ["0x100000000", "0x100001000"])
        aside = list((self.tree.root / LEDGER).parent.glob("*.damaged-*"))
        self.assertEqual([p.read_text() for p in aside], [damaged])

    def test_newer(self):
        text = '{"version":7,"x":1}\n{"address":"0x100000000","colour":"red"}\n'
        self.tree.write(LEDGER, text)
        self.assertEqual(list(self.units()), ["0x100000000"])
        for verb in (("retire", "0x100001000"), ("forget", "--all")):
            run = self.run_verb(*verb, status=1)
            self.assertIn("later version", run.stderr)
            self.assertEqual((self.tree.root / LEDGER).read_text(), text)

    def test_no_terminal_tricks(self):
        self.write_ledger(self.unit(0x1_0000_0000, file="/\x1b[31mred", device="0:1", inode=1,
                                    offset="0x0", processes="1:\x07"))
        self.assertNotIn("\x1b", self.run_verb("poisoned").stdout)
        self.assertIn("\\033[31mred", self.run_verb("poisoned").stdout)

    def test_many(self):
        self.write_ledger(*(self.unit(0x1_0000_0000 + 4096 * i) for i in range(20000)))
        self.assertEqual(len(json.loads(self.run_verb("-j", "poisoned").stdout)["units"]), 20000)
        self.run_verb("retire", "0x100000000")

    @unittest.skipIf(os.geteuid() == 0, "root may do that")
    def test_live_needs_root(self):
        run = subprocess.run([DMEMCTL, "retire", "0x1000"], capture_output=True, text=True,
                             timeout=120, check=False)
        self.assertEqual(run.returncode, 1)
        self.assertIn("root", run.stderr)

    def test_full_disk(self):
        self.write_ledger(self.unit(0x1_0000_0000))
        with open("/dev/full", "w", encoding="ascii") as full:
            run = subprocess.run([DMEMCTL, f"--root={self.tree.root}", "poisoned"], stdout=full,
                                 stderr=subprocess.PIPE, text=True, timeout=120, check=False)
        self.assertEqual(run.returncode, 1)


if __name__ == "__main__":
    unittest.main(verbosity=2)
