# SPDX-License-Identifier: LGPL-2.1-or-later
"""stress-ng, as Debian packages it, on dmemfs with each page size.

Of its stressors, those that work on files below --temp-path. What the kernel says about it fails the
test as always.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from lab.images import SOURCE_ROOT

from .common import DmemScenario

# With what makes each of them more than a repetition of the same call
STRESSORS = (
    "access 2", "chmod 2", "chown 2", "copy-file 2", "dentry 2", "dir 2", "dirdeep 1", "dirmany 1",
    "fallocate 2 --fallocate-bytes 64M", "fault 2", "fcntl 1", "file-ioctl 1",
    "filename 1", "flock 2", "fpunch 2", "fsize 1", "fstat 1", "getdent 1", "hdd 2 --hdd-bytes 64M",
    "inotify 1", "iomix 2 --iomix-bytes 64M", "lease 1", "link 1", "locka 1", "lockf 1", "lockofd 1",
    "mmap 2 --mmap-bytes 64M --mmap-file", "msync 2", "open 2", "readahead 1 --readahead-bytes 64M",
    "rename 2", "revio 1 --revio-bytes 64M", "seek 2 --seek-size 64M", "sendfile 1", "splice 1",
    "sync-file 1 --sync-file-bytes 64M", "touch 2", "utime 1",
)


class StressNg(DmemScenario):
    thorough = "stress-ng works on each page size for minutes"
    nodes = "4G,3G"
    boot = "direct"
    bare = True
    append = "dmem=0:1G,1:2G"

    def prepare(self) -> None:
        done = subprocess.run([str(SOURCE_ROOT / "tools" / "build-foreign")], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, text=True, check=False)
        self.equal(done.returncode, 0, "exit status of tools/build-foreign")
        self.machine.put_file(Path(done.stdout.strip()), "/run/foreign.tar", "0644")
        self.machine.run("mkdir /run/foreign && tar -C /run/foreign -xf /run/foreign.tar && rm /run/foreign.tar")
        self.machine.run("modprobe dmemfs")
        self.free = {i: n.free for i, n in self.dmem_nodes().items()}

    def stress(self, page_size: str) -> None:
        where = f"/run/{page_size}"
        self.machine.run(f"mkdir {where} && mount -t dmemfs -o pagesize={page_size} dmemfs {where}")
        failed = []
        for stressor in STRESSORS:
            r = self.machine.run(
                f"cd {where} && LD_LIBRARY_PATH=/run/foreign/lib /run/foreign/stress-ng --verify "
                f"--timeout 1 --temp-path {where} --{stressor}", timeout=600, check=False)
            # Also if it was left out, which is no failure for stress-ng
            if not r.ok or "successful run completed" not in r.stdout + r.stderr:
                failed.append(str(r))
        self.check(not failed, "\n".join(failed))
        # What a stressor leaves behind when its time is over
        self.machine.run(f"rm -rf {where}/* && umount {where}")
        self.equal({i: n.free for i, n in self.dmem_nodes().items()}, self.free, "free bytes of the nodes")

    def test_4k(self) -> None:
        self.stress("4K")

    def test_2m(self) -> None:
        self.stress("2M")

    def test_1g(self) -> None:
        self.stress("1G")
