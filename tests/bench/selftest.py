# SPDX-License-Identifier: LGPL-2.1-or-later
"""tools/bench tests itself: results, pictures, and one small benchmark from the command line."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import tempfile
import unittest
import xml.etree.ElementTree
from pathlib import Path
from typing import Any

from lab.images import SOURCE_ROOT
from lab.machine import GIB

from . import hosts
from .hosts import parse_shape
from .result import Broken, Chart, Result, Table, check

BENCH = SOURCE_ROOT / "tools" / "bench"


def bench(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([str(BENCH), *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=600, check=False)


def sample() -> Result:
    r = Result("start", "a <small> & fast guest", {"kind": "host"})
    r.add("a", "s", "with a clock", 3, 1, 2)
    r.add("b", "s", "with a clock", 8, 8)
    r.add("c", "bytes", "counted", 1 << 30)
    r.ratio("b to a", "quotient", "b", "a", ">= 4")
    r.ratio("a less than b", "cut", "a", "b", ">= 90")
    r.ratio("c", "value", "c", wanted="= 1 GiB")
    r.ratio("to what was not measured", "quotient", "a", "nothing")
    r.tables.append(Table("Times", ["one", "none"], [("a", ["a", None])]))
    r.charts.append(Chart("Times", [("dmem <2M>", "a"), ("other", "b")]))
    return r


class Results(unittest.TestCase):
    def test_computed(self) -> None:
        r = sample()
        self.assertEqual([(x.value, x.held) for x in r.ratios], [(4, True), (0.75, False), (1 << 30, True)])
        self.assertEqual([x.name for x in r.missed()], ["a less than b"])
        check(json.loads(json.dumps(r.as_json())))

    def test_text(self) -> None:
        text = sample().as_text()
        for part in ("4 x   wanted >= 4\n", "75.00 %   wanted >= 90: MISSED\n", "with a clock [2-3 samples each, median]"):
            self.assertIn(part, text)
        self.assertLess(text.index("b to a"), text.index("Times"), "ratios come first")

    def test_broken(self) -> None:
        good = json.loads(json.dumps(sample().as_json()))

        def broken(change: Any) -> None:
            data = copy.deepcopy(good)
            change(data)
            with self.assertRaises(Broken):
                check(data)

        broken(lambda d: d["measures"][0].update(median=3))
        broken(lambda d: d["measures"][0]["samples"].append(100))
        broken(lambda d: d["measures"][0].update(samples=[]))
        broken(lambda d: d["measures"][0].update(how=""))
        broken(lambda d: d["ratios"][0].update(value=4.1))
        broken(lambda d: d["ratios"][1].update(held=True))
        broken(lambda d: d["ratios"][1].update(wanted="< 90"))
        broken(lambda d: d["tables"][0]["rows"][0][1].append("invented"))
        broken(lambda d: d["charts"][0]["bars"].append(["x", "invented"]))
        broken(lambda d: d.update(version=2))
        broken(lambda d: d.pop("measures"))

    def test_same_name(self) -> None:
        with self.assertRaises(ValueError):
            sample().add("a", "s", "in another way", 1)

    def test_files(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            sample().write(Path(folder))
            svg = xml.etree.ElementTree.parse(f"{folder}/start.svg")
            texts = [x.text for x in svg.iter("{http://www.w3.org/2000/svg}text")]
            self.assertIn("dmem <2M>", texts)
            self.assertIn("2 s", texts)


class Published(unittest.TestCase):
    def test_files(self) -> None:
        """What doc/figures.md rests on: its medians and ratios follow from its samples."""
        files = sorted((SOURCE_ROOT / "doc" / "figures").glob("*.json"))
        page = (SOURCE_ROOT / "doc" / "figures.md").read_text()
        self.assertTrue(files)
        for file in files:
            with self.subTest(file.name):
                check(json.loads(file.read_text()))
                self.assertIn(f"`figures/{file.name}`", page)
                self.assertTrue(file.with_suffix(".svg").exists())


class Shapes(unittest.TestCase):
    def test_good(self) -> None:
        shape = parse_shape("384G/2")
        self.assertEqual((shape.size, shape.nodes, shape.name), (384 * GIB, 2, "384 GiB on 2 nodes"))
        self.assertEqual(sum(n.size for n in parse_shape("24G/3").lab_nodes()), 24 * GIB)

    def test_bad(self) -> None:
        for text in ("", "384G", "384G/", "384G/0", "384/2", "385G/2", "4G/2", "384G/x", "2T/2", "1000G/65", "-8G/1"):
            with self.assertRaises(ValueError, msg=text):
                parse_shape(text)


class FakeLab:
    """A machine of 12 GiB with 4 GiB of dmem and two huge pages; answers by what a command reads."""

    ANSWERS = {
        "/proc/meminfo": "MemTotal: 7340032 kB\nMemFree: 5000000 kB\nMemAvailable: 5100000 kB\nBuffers: 10000 kB\n"
                         "Cached: 20000 kB\nAnonPages: 2880 kB\nHugePages_Total: 2\n",
        "/proc/vmstat": "nr_free_pages 1\nnr_memmap_boot_pages 32768\nnr_memmap_pages 10\n",
        "dmesg": "[    0.010000] Dentry cache hash table entries: 524288 (order: 10, 4194304 bytes, linear)\n"
                 "[    0.020000] Mount-cache hash table entries: 1024 (order: 1, 8192 bytes, linear)\n"
                 "[    2.500000] Run /sbin/init as init process\n",
        "/sys/firmware/memmap": "654336\n12884246528\n",
        "/sys/class/dmem": "4294967296\n",
        "/sys/kernel/mm/hugepages": "/x/hugepages-2048kB/nr_hugepages:512\n/x/hugepages-1048576kB/nr_hugepages:0\n",
        "page_tables": "0xffffea0000000000-0xffffea0000001000           4K     RW     GLB NX pte\n"
                       "0xffffea0000001000-0xffffea0000400000        4092K     ro     GLB NX pte\n"
                       "0xffffea0000a00000-0xffffea0000a01000           4K     RW     GLB NX pte\n",
    }

    def run(self, command: str, timeout: float = 0) -> str:
        return next(text for key, text in self.ANSWERS.items() if key in command)


class Figures(unittest.TestCase):
    def test_figures(self) -> None:
        f = hosts.figures(FakeLab())  # type: ignore[arg-type]
        installed = 654336 + 12884246528
        self.assertEqual(f["struct page"], 4096 * 32778)
        self.assertEqual(f["hash tables"], 4194304 + 8192)
        self.assertEqual(f["static"], installed - (4 << 30) - 7340032 * 1024)
        self.assertEqual(f["huge"], 1 << 30)
        self.assertEqual(f["running"], (7340032 - 5000000 - 10000 - 20000 - 2880 - (1 << 20)) * 1024)
        self.assertEqual(f["overhead"], f["static"] + f["running"])
        self.assertEqual(f["memory map's tables"], 3 * 4096)

    def test_kernel_seconds(self) -> None:
        self.assertEqual(hosts.kernel_seconds(FakeLab()), 2.5)  # type: ignore[arg-type]


class CommandLine(unittest.TestCase):
    def test_list(self) -> None:
        done = bench("--list")
        self.assertEqual(done.stdout.split(), ["memory", "boot", "sold", "start", "steady", "kvm", "count", "pool", "userland"])

    def test_usage(self) -> None:
        for arguments in (["nothing"], ["--host", "boot"], ["--shape=384G"], ["--rounds=0"], ["--rounds=x"], ["--what"], ["--way=x"],
                          ["--output=/dev/null/x", "pool"]):
            done = bench(*arguments)
            self.assertEqual(done.returncode, 2, f"{arguments}: {done.stderr}")
            self.assertEqual(done.stdout, "", arguments)

    def test_pool(self) -> None:
        """The one benchmark that takes seconds, from the command line to its files."""
        with tempfile.TemporaryDirectory() as folder:
            done = bench("--quick", "--rounds=1", f"--output={folder}/new/folder", "pool")
            # 3: a bar was missed, which a loaded machine may do
            self.assertIn(done.returncode, (0, 3), done.stderr)
            self.assertEqual(sorted(os.listdir(f"{folder}/new/folder")), ["pool.json", "pool.svg", "pool.txt"])
            data = json.loads(Path(f"{folder}/new/folder/pool.json").read_text())
            check(data)
            self.assertTrue(data["ratios"] and all(len(m["samples"]) == 1 for m in data["measures"]))
            xml.etree.ElementTree.parse(f"{folder}/new/folder/pool.svg")
            self.assertIn(data["ratios"][0]["name"], done.stdout)

    def test_export(self) -> None:
        """What is exported does without the sources and a compiler."""
        with tempfile.TemporaryDirectory() as folder:
            done = bench(f"--export={folder}/bench")
            self.assertEqual(done.returncode, 0, done.stderr)
            env = {"PATH": "/usr/bin:/bin", "HOME": folder}
            argv = ["python3", f"{folder}/bench", "--quick", "--rounds=1", f"--output={folder}/out", "pool"]
            done = subprocess.run(argv, cwd="/", env=env, capture_output=True, text=True, timeout=600, check=False)
            self.assertIn(done.returncode, (0, 3), done.stderr)
            check(json.loads(Path(f"{folder}/out/pool.json").read_text()))
        self.assertEqual(bench("--export=/nonexistent/file").returncode, 1)


if __name__ == "__main__":
    unittest.main()
