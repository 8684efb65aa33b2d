#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""dmemctl capture: the plan of a copy is the plan of the host, and nothing more is copied."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import stat
import struct
import subprocess
import tempfile
import unittest
import unittest.mock

from cli import DMEMCTL, captured_hosts, check_schema

NOBODY = 65534


def dmemctl(*arguments, **kwargs):
    return subprocess.run([DMEMCTL, *map(str, arguments)], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=120, check=False, **kwargs)


def plans(root, **kwargs):
    """All that plan prints: as JSON, as text and as a difference, with the exit status."""
    runs = [dmemctl(f"--root={root}", *words, **kwargs)
            for words in (["-j", "plan"], ["plan"], ["plan", "--diff"])]
    return [(run.returncode, run.stdout, run.stderr) for run in runs]


class CaptureTest(unittest.TestCase):
    def setUp(self):
        self.scratch = pathlib.Path(tempfile.mkdtemp(prefix="dmemd-test-capture."))
        self.addCleanup(shutil.rmtree, self.scratch)
        self.copy = self.scratch / "copy"
        self.root = self.scratch / "host"

    def write(self, path, text, mode=0o644):
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        file.chmod(mode)

    def link(self, path, target):
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).symlink_to(target)

    def host(self):
        """Two nodes with reserved memory, GRUB, a configuration with all that is special."""
        self.write("dmemd-capture/page_size", "4096\n")
        self.write("proc/zoneinfo", "".join(
            f"Node {n}, zone   Normal\n  pages free     1\n        present  {8 << 18}\n"
            for n in (0, 1)))
        self.write("proc/meminfo", "MemTotal: 16000000 kB\nMemAvailable: 1000 kB\n")
        self.write("proc/cmdline", "root=/dev/sda1 dmem=0:4G,1:5G quiet\n")
        self.write("proc/iomem", "00000000-00000000 : System RAM\n  00000000-00000000 : dmem\n")
        self.write("sys/devices/system/memory/block_size_bytes", "8000000\n")
        for n, start in (0, 4 << 30), (1, 16 << 30):
            real = f"sys/devices/virtual/dmem/node{n}"
            for name, text in ("requested_bytes", 4 << 30), ("size_bytes", 4 << 30), \
                    ("free_bytes", 4 << 30), ("used_bytes", 0), ("poisoned_bytes", 0):
                self.write(f"{real}/{name}", f"{text}\n")
            self.write(f"{real}/regions", f"{start:#x}-{start + (4 << 30):#x}\n")
            self.link(f"sys/class/dmem/node{n}", f"../../devices/virtual/dmem/node{n}")
            self.write(f"sys/devices/system/node/node{n}/cpulist", f"{n}\n")
            self.write(f"sys/devices/system/node/node{n}/meminfo", f"Node {n} MemTotal: 1000 kB\n")
            self.write(f"sys/devices/system/node/node{n}/numastat", "numa_hit 1\n")
            self.write(f"sys/devices/system/memory/memory{n + 7}/state", "online\n")
            self.link(f"sys/devices/system/node/node{n}/memory{n + 7}",
                      f"../../memory/memory{n + 7}")
        self.write("etc/default/grub", "GRUB_CMDLINE_LINUX_DEFAULT=quiet\n")
        self.write("etc/default/grub.d/90-dmemd.cfg",
                   'GRUB_CMDLINE_LINUX_DEFAULT="dmem=0:4G $GRUB_CMDLINE_LINUX_DEFAULT"\n')
        self.write("usr/sbin/grub-mkconfig", "# default/grub.d\n", 0o755)
        self.write("boot/grub/grub.cfg",
                   "menuentry 'Linux' --class gnu-linux $menuentry_id_option 'linux' {\n"
                   "\tlinux\t/boot/vmlinuz-6.12.0 root=/dev/sda1 ro quiet dmem=0:4G,1:5G\n}\n")
        self.write("etc/dmemd/dmemd.conf", "[Kernel]\nReserve=1G\n")
        self.write("usr/lib/dmemd/dmemd.conf", "[Kernel]\nReserve=3G\n")
        self.write("usr/lib/dmemd/dmemd.conf.d/10-a.conf", "[Dmem]\nAlign=2G\n")
        self.write("usr/lib/dmemd/dmemd.conf.d/20-b.conf", "[Dmem]\nAlign=4G\n")
        self.write("usr/lib/dmemd/dmemd.conf.d/30-c.conf", "[Dmem]\nAlign=8G\n")
        self.link("etc/dmemd/dmemd.conf.d/20-b.conf", "/dev/null")
        self.write("etc/dmemd/dmemd.conf.d/30-c.conf", "")
        os.mkfifo(self.root / "etc/dmemd/dmemd.conf.d/40-d.conf")
        self.write("etc/passwd", "secret\n")
        return self.root

    def capture(self, root, *arguments, **kwargs):
        run = dmemctl(f"--root={root}", *arguments, "capture", self.copy, **kwargs)
        self.assertEqual(run.returncode, 0, run.stderr)
        return run

    def test_same_plan(self):
        run = self.capture(self.host())
        self.assertEqual(run.stderr, "")
        self.assertIn(f"--root={self.copy} plan", run.stdout)
        self.assertEqual(plans(self.copy), plans(self.root))
        plan = json.loads(plans(self.copy)[0][1])
        self.assertEqual(plan["configured"], ["dmem=0:4G,1:5G"])
        self.assertEqual(plan["booted"], ["dmem=0:4G,1:5G"])
        self.assertEqual(plan["nodes"][1]["installed_bytes"], 12 << 30)

    def test_nothing_more(self):
        document = json.loads(self.capture(self.host(), "-j").stdout)
        check_schema(document, "capture")
        self.assertTrue(document["same_plan"])
        self.assertEqual(document["left_out"], [])
        for path in document["files"]:
            self.assertEqual((self.copy / path[1:]).read_bytes(),
                             (self.root / path[1:]).read_bytes(), path)
        files = {"/" + str(f.relative_to(self.copy)) for f in self.copy.rglob("*")
                 if f.is_file() and f.stat().st_size > 0 and not f.is_symlink()}
        self.assertEqual(files, set(document["files"]))
        for path in "etc/passwd", "sys/devices/system/node/node0/numastat", \
                "usr/lib/dmemd/dmemd.conf":
            self.assertFalse((self.copy / path).exists(), path)
        self.assertTrue((self.copy / "sys/devices/system/node/node0/memory7").is_symlink())
        self.assertFalse((self.copy / "sys/class/dmem/node0").is_symlink())

    def test_unified_image(self):
        """Of an image of many megabytes only what was read is copied."""
        self.host()
        (self.root / "boot/grub/grub.cfg").unlink()
        sections = b""
        for name, offset, text in (b".cmdline", 4096, b"root=/dev/sda1 dmem=0:4G,1:5G"), \
                (b".uname", 1 << 24, b"6.12.0"):
            sections += struct.pack("<8sIIII16x", name, len(text), 0, 512, offset)
        image = bytearray(b"MZ" + bytes(58) + struct.pack("<I", 64) +
                          struct.pack("<4sHH12xHH", b"PE\0\0", 0x8664, 2, 0, 0) + sections)
        image += bytes((1 << 24) + 512 - len(image))
        image[4096:4096 + 29] = b"root=/dev/sda1 dmem=0:4G,1:5G"
        image[1 << 24:(1 << 24) + 6] = b"6.12.0"
        self.write("boot/efi/EFI/Linux/host-6.12.0.efi", bytes(image))
        self.write("boot/efi/loader/loader.conf", "timeout 1\n")
        self.write("etc/kernel/cmdline", "root=/dev/sda1 dmem=0:4G,1:5G\n")
        self.capture(self.root)
        self.assertEqual(plans(self.copy), plans(self.root))
        copied = self.copy / "boot/efi/EFI/Linux/host-6.12.0.efi"
        self.assertTrue(copied.exists())
        self.assertLess(copied.stat().st_blocks * 512, 1 << 20)

    def test_of_a_copy(self):
        self.capture(self.host())
        first, self.copy = self.copy, self.scratch / "again"
        self.capture(first)
        r = subprocess.run(["diff", "-r", "--no-dereference", first, self.copy],
                           capture_output=True, text=True, check=False)
        self.assertEqual(r.stdout, "File {0}/etc/dmemd/dmemd.conf.d/40-d.conf is a fifo while "
                         "file {1}/etc/dmemd/dmemd.conf.d/40-d.conf is a fifo\n"
                         .format(first, self.copy))

    def test_other_hosts(self):
        for i, root in enumerate([*captured_hosts(), pathlib.Path("/")]):
            self.copy = self.scratch / str(i)
            document = json.loads(self.capture(root, "-j").stdout)
            # What lives changes while we look at it
            if root != pathlib.Path("/"):
                self.assertEqual(plans(self.copy), plans(root), root)
                self.assertTrue(document["same_plan"])

    def test_wrong_configuration(self):
        self.host()
        self.write("etc/dmemd/dmemd.conf", "[Kernel]\nReserve=x\n")
        run = self.capture(self.root, "-j")
        self.assertIn("/etc/dmemd/dmemd.conf:2", run.stderr)
        self.assertIsNone(json.loads(run.stdout)["same_plan"])
        self.assertEqual(plans(self.copy), plans(self.root))
        self.assertEqual(plans(self.copy)[0][0], 78)
        self.assertTrue((self.copy / "proc/zoneinfo").exists())

    def test_where_it_goes(self):
        self.host()
        root = f"--root={self.root}"
        self.copy.mkdir()
        self.assertEqual(dmemctl(root, "capture", f"{self.copy}/").returncode, 0)
        for path, expected in (self.copy, "is not empty"), ("/dev/null", "Not a directory"), \
                (self.scratch / "no/such/folder", "No such file"), (self.root, "is not empty"):
            run = dmemctl(root, "capture", path)
            self.assertEqual((run.returncode, run.stdout), (1, ""), path)
            self.assertIn(expected, run.stderr)
        relative = dmemctl(root, "capture", "relative", cwd=self.scratch)
        self.assertEqual(relative.returncode, 0, relative.stderr)
        self.assertEqual(plans(self.scratch / "relative"), plans(self.copy))
        self.assertEqual(sorted(f.name for f in self.scratch.iterdir()),
                         ["copy", "host", "relative"])
        for words in ["capture"], ["capture", "a", "b"], ["capture", ""]:
            self.assertEqual(dmemctl(root, *words).returncode, 2, words)

    def test_leads_nowhere(self):
        """Links of an image that point out of it neither lead out nor are followed."""
        self.host()
        (self.scratch / "outside").write_text("[Kernel]\nReserve=7G\n")
        (self.root / "etc/dmemd/dmemd.conf").unlink()
        self.link("etc/dmemd/dmemd.conf", "../../../../outside")
        self.link("etc/dmemd/dmemd.conf.d/50-e.conf", self.scratch / "outside")
        run = self.capture(self.root)
        self.assertIn("cannot be read", run.stderr)
        self.assertEqual(plans(self.copy), plans(self.root))
        self.assertNotIn("7G", "".join(f.read_text() for f in self.copy.rglob("*.conf")
                                       if f.is_file() and not f.is_symlink()))

    @unittest.skipUnless(os.geteuid() == 0, "root is needed to become somebody else")
    def test_ordinary_user(self):
        self.host()
        self.scratch.chmod(0o777)
        (self.root / "boot/grub/grub.cfg").chmod(0o600)
        as_user = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        # Where the project was built, an ordinary user may not be let in
        program = shutil.copy(DMEMCTL, self.scratch)
        with unittest.mock.patch.dict(globals(), {"DMEMCTL": program}):
            run = self.capture(self.root, "-j", **as_user)
        document = json.loads(run.stdout)
        self.assertEqual([f["path"] for f in document["left_out"]], ["/boot/grub/grub.cfg"])
        self.assertIn("/boot/grub/grub.cfg is left out: Permission denied; root may read it",
                      run.stderr)
        self.assertFalse((self.copy / "boot/grub/grub.cfg").exists())
        self.assertEqual((self.copy / "proc/cmdline").stat().st_uid, NOBODY)
        # All but the boot loader is as it was
        here, there = json.loads(plans(self.root)[0][1]), json.loads(plans(self.copy)[0][1])
        for key in here.keys() - {"configured", "changed"}:
            self.assertEqual(there[key], here[key], key)

        # What only root may read stays for the owner alone in a copy that root makes.
        self.copy = self.scratch / "by-root"
        self.capture(self.root)
        mode = (self.copy / "boot/grub/grub.cfg").stat().st_mode
        self.assertEqual(stat.S_IMODE(mode), 0o600)

    @unittest.skipUnless(os.geteuid() == 0, "root is needed to make a small file system")
    def test_full_disk(self):
        self.host()
        small = self.scratch / "small"
        script = ('mount -t tmpfs -o size=32k,nr_inodes=12 small "$1" && '
                  '{ "$0" --root="$2" capture "$1/copy"; echo "status $?"; ls -A "$1"; }')
        small.mkdir()
        r = subprocess.run(["unshare", "--mount", "sh", "-c", script, DMEMCTL, small, self.root],
                           capture_output=True, text=True, timeout=60, check=False)
        if r.returncode != 0:
            self.skipTest(f"nothing can be mounted here: {r.stderr.strip()}")
        self.assertEqual(r.stdout, "status 1\n", r.stderr)
        self.assertIn("No space left on device; nothing was kept", r.stderr)


if __name__ == "__main__":
    unittest.main()
