#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""dmemctl history on journals of several boots, written by systemd's own programs."""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

from cli import DMEMCTL, SOURCE, check_schema

REMOTE = next((p for p in (pathlib.Path(f"{d}/lib/systemd/systemd-journal-remote") for d in ("", "/usr"))
               if p.exists()), None)
if not REMOTE:
    print("skipped: systemd-journal-remote is not installed")
    sys.exit(77)

IDS = dict(re.findall(r'#define MESSAGE_(\w+) "([0-9a-f]{32})"',
                      (SOURCE / "src/host/message-ids.h").read_text()))
MACHINE = "c0ffee00" * 4
BOOTS = ["aaaaaaaa" * 4, "bbbbbbbb" * 4]


def run(root, *arguments, **kwargs) -> subprocess.CompletedProcess:
    return subprocess.run([DMEMCTL, f"--root={root}", *arguments, "history"], capture_output=True,
                          text=True, timeout=30, check=False, **kwargs)


class History(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="dmemd-test-")
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        self.seconds = 1_700_000_000

    def journal(self, boot: int, *entries: dict[str, str]) -> None:
        """Another file of the journal of this root."""
        stream = b""
        for entry in entries:
            self.seconds += 60
            everything = {"__REALTIME_TIMESTAMP": str(self.seconds * 1000000),
                          "__MONOTONIC_TIMESTAMP": str(self.seconds), "_BOOT_ID": BOOTS[boot],
                          "_MACHINE_ID": MACHINE} | entry
            stream += "".join(f"{k}={v}\n" for k, v in everything.items()).encode() + b"\n"
        folder = self.root / "var/log/journal" / MACHINE
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"system@{self.seconds}.journal"
        subprocess.run([REMOTE, f"--output={file}", "-"], input=stream, capture_output=True,
                       timeout=30, check=True)

    def json(self) -> list[dict]:
        result = run(self.root, "--json=short")
        self.assertEqual(result.returncode, 0, result.stderr)
        document = json.loads(result.stdout)
        check_schema(document, "history")
        return document["entries"]

    def test_each_kind(self):
        """Of all boots, by their ids: what has none, or that of somebody else, is not ours."""
        names = sorted(IDS)
        self.journal(0, {"MESSAGE": "dmemd: mentioned, no more"},
                     *({"MESSAGE": f"about {name}", "MESSAGE_ID": IDS[name]} for name in names[::2]),
                     {"MESSAGE": "of somebody else", "MESSAGE_ID": "12345678" * 4})
        self.journal(1, *({"MESSAGE": f"about {name}", "MESSAGE_ID": IDS[name]} for name in names[1::2]))
        entries = self.json()
        self.assertEqual([e["message"] for e in entries],
                         [f"about {name}" for name in names[::2] + names[1::2]])
        for entry in entries:
            name = entry["message"].split()[1]
            self.assertEqual(entry["kind"], name.lower().replace("_", "-"))
            self.assertEqual(entry["boot_id"], BOOTS[names.index(name) % 2])
            self.assertFalse(entry["this_boot"])

    def test_fields(self):
        self.journal(0, {"MESSAGE": "a page", "MESSAGE_ID": IDS["PAGE_POISONED"], "DMEM_NODE": "1",
                         "DMEM_ADDRESS": "0x140000000", "DMEM_SIZE": "4096", "DMEM_STATE": "used",
                         "DMEM_SOURCE": "mce", "DMEM_COUNT": "7", "DMEM_FILE": "/run/dmemfs/vm1"})
        entry = self.json()[0]
        expected = {"time_usec": self.seconds * 1000000, "node": 1, "address": "0x140000000",
                    "size_bytes": 4096, "state": "used", "source": "mce", "count": 7,
                    "file": "/run/dmemfs/vm1", "requested_bytes": None, "granted_bytes": None,
                    "reason": None}
        self.assertEqual({k: entry[k] for k in expected}, expected)

    def test_text(self):
        self.journal(0, {"MESSAGE": "Node 1: bad", "MESSAGE_ID": IDS["DRIFT"], "DMEM_NODE": "1"})
        result = run(self.root, env=os.environ | {"TZ": "UTC"})
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        lines = result.stdout.splitlines()
        self.assertEqual(lines[0].split(), ["TIME", "BOOT", "KIND", "NODE", "MESSAGE"])
        self.assertEqual(lines[1].split(None, 5), ["2023-11-14", "22:14:20", "earlier", "drift", "1",
                                                   "Node 1: bad"])
        self.assertNotIn("TIME", run(self.root, "--no-legend").stdout)

    def test_what_a_terminal_would_obey(self):
        self.journal(0, {"MESSAGE": "\x1b[31mred", "MESSAGE_ID": IDS["DRIFT"], "DMEM_NODE": "-1",
                         "DMEM_COUNT": "banana"})
        self.assertIn("\\033[31mred", run(self.root).stdout)
        entry = self.json()[0]
        self.assertEqual((entry["node"], entry["count"]), (None, None))

    def test_nothing(self):
        for make in (lambda: None, lambda: self.journal(0, {"MESSAGE": "of somebody else"})):
            make()
            result = run(self.root)
            self.assertEqual((result.returncode, result.stdout), (0, ""))
            self.assertIn("nothing about reserved memory", result.stderr)
            self.assertEqual(self.json(), [])

    def test_damaged(self):
        """One file is; what the others have is shown."""
        self.journal(0, {"MESSAGE": "one", "MESSAGE_ID": IDS["DRIFT"]})
        self.journal(1, {"MESSAGE": "two", "MESSAGE_ID": IDS["DRIFT"]})
        file = sorted((self.root / "var/log/journal" / MACHINE).iterdir())[0]
        data = bytearray(file.read_bytes())
        data[:4096] = b"\xff" * 4096
        file.write_bytes(data)
        self.assertEqual([e["message"] for e in self.json()], ["two"])

    def test_of_this_host(self):
        result = subprocess.run([DMEMCTL, "-j", "history"], capture_output=True, text=True, timeout=60,
                                check=False)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("entries", json.loads(result.stdout))


if __name__ == "__main__":
    unittest.main(verbosity=2)
