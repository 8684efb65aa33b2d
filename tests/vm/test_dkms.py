# SPDX-License-Identifier: LGPL-2.1-or-later
"""kernel/dkms.conf: dkms builds the module for the kernels that it supports, and only for those."""

from __future__ import annotations

import atexit
import os
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Optional

from lab.images import SOURCE_ROOT
from lab.machine import Result

from .common import GIB, CheckFailed, DmemScenario

SCRIPT = 'mount --rbind /proc "$0/proc" && mount --rbind /dev "$0/dev" && exec chroot "$0" "$@"'


class Root:
    """A Debian with dkms, from tools/build-dkms; nothing in it touches this machine."""

    def __init__(self, archive: str):
        # As in in_namespace() of tools/lib/common.sh
        user = ["unshare", "--user", "--map-root-user", "--map-auto"]
        self.namespace = [] if os.geteuid() == 0 else user
        self.path = Path(tempfile.mkdtemp(prefix="dmemd-dkms-"))
        self.path.chmod(0o755)
        # Most of it may belong to other users than the one that runs this
        atexit.register(self.outside, ["rm", "-rf", str(self.path)])
        self.outside(["tar", "-C", str(self.path), "--numeric-owner", "--exclude=./dev/*", "-xf", archive])

    def outside(self, argv: list[str]) -> None:
        subprocess.run([*self.namespace, *argv], check=True, stdin=subprocess.DEVNULL)

    def run(self, *argv: str, status: int = 0) -> str:
        """Runs a command in the root; returns all that it prints."""
        done = subprocess.run(
            [*self.namespace, "unshare", "--mount", "sh", "-c", SCRIPT, str(self.path), *argv],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=900, check=False, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"},
        )
        if done.returncode != status:
            raise CheckFailed(f"should end with status {status}\n"
                              f"{Result(' '.join(argv), done.returncode, done.stdout, '')}")
        return done.stdout

    def modules(self) -> list[str]:
        return sorted(str(p.relative_to(self.path)) for p in self.path.glob("usr/lib/modules/**/dmemfs*"))


class Dkms(DmemScenario):
    kernel = "stock"
    thorough = "a Debian of its own, with dkms, is made"
    nodes = "4G,1G"
    boot = "direct"
    append = f"memmap=1G$0x{4 * GIB:x} dmemfs.regions={4 * GIB:x}-{5 * GIB:x}"
    steps = ("test_install",)
    root: Optional[Root] = None

    def prepare(self) -> None:
        self.release = self.machine.out("uname -r")
        self.other = self.release.replace("-cloud-amd64", "-amd64")
        conf = (SOURCE_ROOT / "kernel" / "dkms.conf").read_text()
        m = re.search(r'^PACKAGE_VERSION="(.*)"$', conf, re.M)
        self.check(m, "dkms.conf has no PACKAGE_VERSION")
        assert m
        self.version = m[1]
        self.module = f"dmemfs/{self.version}"

    def dkms(self, *argv: str, status: int = 0) -> str:
        assert self.root
        return self.root.run("dkms", *argv, status=status)

    def installed(self) -> list[str]:
        """The kernels for which the module is installed."""
        return sorted(re.findall(rf"^{self.module}, (\S+), x86_64: installed", self.dkms("status"), re.M))

    def test_version_is_that_of_the_project(self) -> None:
        m = re.search(r"version : '(.*?)'", (SOURCE_ROOT / "meson.build").read_text())
        self.equal(self.version, m and m[1], "PACKAGE_VERSION in dkms.conf")

    def test_install(self) -> None:
        done = subprocess.run([str(SOURCE_ROOT / "tools" / "build-dkms")], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode == 77:
            self.skip(done.stderr.splitlines()[-1].removeprefix("== "))
        self.equal(done.returncode, 0, f"exit status of tools/build-dkms\n{done.stderr}")
        self.root = Root(done.stdout.strip())
        self.root.run("dpkg", "--force-depends", "-i", *self.headers(self.release))
        # As kernel/README.md says
        folder = f"/usr/src/dmemfs-{self.version}"
        self.root.outside(["cp", "-r", f"{SOURCE_ROOT}/kernel/overlay", f"{self.root.path}{folder}"])
        self.root.outside(["cp", f"{SOURCE_ROOT}/kernel/dkms.conf", f"{self.root.path}{folder}/"])
        self.dkms("install", self.module, "-k", self.release)
        self.equal(self.installed(), [self.release], "kernels with the module")
        self.equal(self.root.modules(), [f"usr/lib/modules/{self.release}/updates/dkms/dmemfs.ko"],
                   "modules")

    def headers(self, release: str) -> list[str]:
        assert self.root
        found = [p.name for p in (self.root.path / "headers").glob(f"linux-headers-{release}_*.deb")]
        self.equal(len(found), 1, f"packages with headers of {release}")
        return [f"/headers/{name}" for name in found]

    def test_module_loads(self) -> None:
        assert self.root
        folder = f"/lib/modules/{self.release}/updates"
        self.machine.run("systemctl stop dmemd.service dmem-ready.target dmemd-setup.service")
        self.machine.run(f"umount /run/dmemfs && rmmod dmemfs && rm {folder}/dmemfs.ko && mkdir {folder}/dkms")
        self.machine.put_file(self.root.path / self.root.modules()[0], f"{folder}/dkms/dmemfs.ko", "0644")
        self.machine.run("depmod")
        # Not modprobe: what asks for a file system finds its module, too
        self.machine.run("systemctl start dmemd-setup.service")
        self.equal(self.machine.out("modinfo -n dmemfs"), f"{folder}/dkms/dmemfs.ko", "module that is found")
        self.equal(self.dmem_nodes()[0].size, GIB, "bytes of node 0")
        self.equal(self.touch("/run/dmemfs/f 256M")["nonzero"], "0", "bytes that were not zero")

    def test_headers_of_another_kernel_bring_the_module(self) -> None:
        assert self.root
        self.root.run("dpkg", "--force-depends", "-i", *self.headers(self.other))
        self.equal(self.installed(), sorted([self.release, self.other]), "kernels with the module")

    def test_other_kernels_are_refused(self) -> None:
        assert self.root
        before = self.installed()
        for release in ("6.1.0-56-amd64", "6.11.10-amd64", "6.13.2-amd64", "7.3.4+deb13-amd64", "6.120.1"):
            out = self.dkms("install", self.module, "-k", release, status=77)
            self.contains(out, "does not match this kernel", f"dkms install for {release}")
        self.equal(self.installed(), before, "kernels with the module")

    def test_removal_leaves_nothing(self) -> None:
        assert self.root
        self.dkms("remove", self.module, "-k", self.other)
        self.equal(self.installed(), [self.release], "kernels with the module")
        self.dkms("remove", self.module, "--all")
        self.equal(self.root.modules(), [], "modules")
        self.equal(self.dkms("status"), "", "dkms status")
        self.check(not (self.root.path / "var/lib/dkms/dmemfs").exists(), "/var/lib/dkms/dmemfs is there")
