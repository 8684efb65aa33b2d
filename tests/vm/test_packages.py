# SPDX-License-Identifier: LGPL-2.1-or-later
"""The packages of tools/build-packages and tools/build-kernel: installed, upgraded, removed and purged."""

from __future__ import annotations

import atexit
import re
import shutil
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path

from lab.images import SOURCE_ROOT, kernel_files
from lab.machine import Result

from .common import DROP_IN, GIB, CheckFailed, DmemScenario

APT = "DEBIAN_FRONTEND=noninteractive apt-get -q -y"
# Of every file: what it is. Not what changes by itself or with any package, and not what only says which
# users there are, as packages do not remove those that they add.
LIST_FILES = (
    r"find / -xdev \( -path /proc -o -path /sys -o -path /run -o -path /tmp -o -path /root -o -path /var/log "
    r"-o -path /var/cache -o -path /var/lib/dpkg -o -path /var/lib/apt -o -path /var/lib/systemd "
    r"-o -name '*-' -o -name 'systemd-private-*' -o -name ld.so.cache \) -prune -o -printf '%p %y %m %l\n' | LC_ALL=C sort"
)
BOOT_FILES = (
    "find /boot /etc/default /etc/kernel /etc/grub.d -type f -exec sha256sum {} + 2>/dev/null | sort -k 2"
)


@lru_cache(maxsize=None)
def build_packages(suite: str) -> dict[str, Path]:
    """The packages of this source tree by their names, judged by lintian; for the release of this
    machine if @suite is empty."""
    folder = tempfile.mkdtemp(prefix="dmemd-packages-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    options = ["--no-tests", "--lintian", *([f"--suite={suite}"] if suite else [])]
    done = subprocess.run(
        [str(SOURCE_ROOT / "tools" / "build-packages"), *options, folder],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False,
    )
    if done.returncode != 0:
        raise CheckFailed(str(Result("tools/build-packages", done.returncode, done.stdout, done.stderr)))
    return {Path(p).name.partition("_")[0]: Path(p) for p in done.stdout.split()}


def newer(package: Path) -> Path:
    """The same package as the next version."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder, "x")
        subprocess.run(["dpkg-deb", "-R", str(package), str(tree)], check=True)
        control = tree / "DEBIAN" / "control"
        control.write_text(re.sub(r"^Version: .*$", r"\g<0>+next", control.read_text(), flags=re.M))
        out = package.with_name("next-" + package.name)
        subprocess.run(["dpkg-deb", "--root-owner-group", "-b", str(tree), str(out)],
                       check=True, stdout=subprocess.DEVNULL)
    return out


class Packages(DmemScenario):
    """install, use, upgrade, remove and purge"""

    nodes = "4G,4G"
    thorough = "the packages are built"
    steps = ("test_install", "test_purge", "test_apply_and_reboot", "test_purge_while_memory_is_reserved")

    def prepare(self) -> None:
        # The image boots by a grub.cfg that no update-grub has made yet
        self.machine.run("update-grub")
        self.packages = build_packages(self.suite)
        self.equal(sorted(self.packages), ["dmemd", "dmemd-dbgsym", "dmemfs-dkms", "linux-patch-dmem"],
                   "packages")
        # Not to /tmp/, which the next boot empties
        for name in ("dmemd", "linux-patch-dmem"):
            self.machine.put_file(self.packages[name], f"/var/tmp/{name}.deb", "0644")
        self.machine.put_file(newer(self.packages["dmemd"]), "/var/tmp/next.deb", "0644")
        self.take_out_the_project()
        # Whatever apt does when it is used for the first time
        self.machine.run(f"{APT} check")
        self.files = set(self.machine.out(LIST_FILES).splitlines())
        self.boot_files = self.machine.out(BOOT_FILES)
        self.booted = self.machine.read("/proc/cmdline")

    def take_out_the_project(self) -> None:
        """The image has it installed, though not as a package."""
        listing = subprocess.run(["dpkg-deb", "-c", str(self.packages["dmemd"])],
                                 check=True, stdout=subprocess.PIPE, text=True).stdout
        paths = [line.split()[5].removeprefix(".") for line in listing.splitlines()]
        files = [p for p in paths if not p.endswith("/")]
        folders = sorted((p for p in paths if "/dmemd" in p and p.endswith("/")), reverse=True)
        self.machine.run("systemctl disable dmemd-setup.service dmemd.service dmem-ready.target; userdel dmemd")
        self.machine.run(["rm", "-f", *files])
        self.machine.run(f"rmdir {' '.join(folders)} 2>/dev/null; rm -rf /var/lib/dmemd /etc/dmemd; "
                         "journalctl --update-catalog; systemctl daemon-reload")

    def apt(self, arguments: str) -> str:
        r = self.machine.run(f"{APT} {arguments}", timeout=900)
        return r.stdout + r.stderr

    def check_boot_settings(self, what: str) -> None:
        self.equal(self.machine.out(BOOT_FILES), self.boot_files, f"boot settings after {what}")
        self.equal(self.machine.read("/proc/cmdline"), self.booted, f"command line after {what}")

    def check_left_over(self, allowed: set[str]) -> None:
        """Compares the files with those before the first installation."""
        now = set(self.machine.out(LIST_FILES).splitlines())
        added = {x.split()[0] for x in now - self.files} - allowed
        self.equal(sorted(added), [], "files that were left behind or changed")
        self.equal(sorted(self.files - now), [], "files that went")
        state = self.machine.out("find /var/lib/systemd /var/lib/dpkg/info -name '*dmem*'; "
                                 "grep -l dmem /var/lib/systemd/catalog/database; true")
        self.equal(state, "", "left behind in /var/lib")

    def unit(self, name: str, attribute: str = "ActiveState") -> str:
        return self.machine.out(["systemctl", "show", "--value", "-p", attribute, name])

    def test_install(self) -> None:
        self.apt("install /var/tmp/dmemd.deb /var/tmp/linux-patch-dmem.deb")
        self.check_boot_settings("the installation")

    def test_nothing_runs_and_nothing_failed(self) -> None:
        for name in ("dmemd-setup.service", "dmemd.service"):
            self.equal(self.unit(name), "inactive", name)
            self.equal(self.machine.out(f"systemctl is-enabled {name}"), "enabled", name)
        self.equal(self.machine.out("systemctl list-units --failed --plain --no-legend"), "", "failed units")

    def test_everybody_can_plan(self) -> None:
        r = self.as_user("dmemctl --no-pager --json=short plan")
        self.equal(r.status, 0, f"exit status of plan as an ordinary user: {r}")
        self.contains(r.stdout, '"arguments":["dmem=', "plan")
        self.check_boot_settings("plan")

    def test_what_others_read_is_in_place(self) -> None:
        self.machine.run("getent passwd dmemd")
        self.equal(self.machine.out("stat -c '%U %G %a' /var/lib/dmemd /var/lib/dmemd/ledger"),
                   "root root 755\ndmemd dmemd 755", "folders for the state")
        self.check(self.machine.out("journalctl --list-catalog | grep -i dmem"), "no messages in the catalog")
        self.machine.run("test -e /usr/src/linux-patch-dmem/0001-*.patch")

    def test_remove_keeps_the_configuration(self) -> None:
        out = self.apt("remove dmemd")
        self.check("reserve" not in out, f"removal tells of a reservation that there is not:\n{out}")
        self.machine.run("test -e /etc/dmemd/dmemd.conf -a -d /var/lib/dmemd -a ! -e /usr/bin/dmemctl")
        self.check_boot_settings("the removal")

    def test_purge(self) -> None:
        out = self.apt("purge dmemd linux-patch-dmem")
        self.check("reserve" not in out, f"purge tells of a reservation that there is not:\n{out}")
        self.check_boot_settings("the purge")
        self.check_left_over(set())

    def test_apply_and_reboot(self) -> None:
        self.apt("install /var/tmp/dmemd.deb")
        self.machine.run("mkdir -p /etc/dmemd/dmemd.conf.d")
        self.machine.put("/etc/dmemd/dmemd.conf.d/10-test.conf", "[Dmem]\nNodes=1\nSize=1G\n")
        self.dmemctl("apply")
        self.boot_files = self.machine.out(BOOT_FILES)
        self.machine.reboot()
        self.booted = self.machine.read("/proc/cmdline")
        self.equal(self.own_arguments(), ["dmem=1:1G"], "own arguments on the command line")
        for name in ("dmemd-setup.service", "dmem-ready.target", "dmemd.service"):
            self.equal(self.unit(name), "active", name)
        # What needs the memory as a guest does
        self.machine.run("systemd-run --unit=guest -p Requires=dmem-ready.target -p After=dmem-ready.target "
                         "sh -c 'sleep infinity | dmem-touch --hold --keep --fill=0xa5 /run/dmemfs/guest 256M'")
        used = "until [ $(cat /sys/class/dmem/node1/used_bytes) = 268435456 ]; do sleep 0.2; done"
        self.machine.run(["timeout", "120", "sh", "-c", used])
        self.guest = self.what_the_guest_sees()

    def what_the_guest_sees(self) -> list[str]:
        return [
            self.unit("guest.service"),
            self.unit("guest.service", "MainPID"),
            self.machine.out("findmnt -no ID,TARGET,OPTIONS /run/dmemfs"),
            self.machine.out("stat -c '%i %s' /run/dmemfs/guest"),
            str(self.dmem_nodes()[1].used),
        ]

    def test_upgrade_leaves_the_guest_alone(self) -> None:
        main, setup = self.unit("dmemd.service", "MainPID"), self.unit("dmemd-setup.service", "InvocationID")
        self.apt("install /var/tmp/next.deb")
        self.equal(self.what_the_guest_sees(), self.guest, "the guest")
        self.equal(self.unit("dmemd.service"), "active", "dmemd.service")
        self.check(self.unit("dmemd.service", "MainPID") != main, "dmemd.service runs the old program")
        self.equal(self.unit("dmemd-setup.service", "InvocationID"), setup, "run of dmemd-setup.service")
        self.equal(self.dmemctl_json("status")["state"], "in-force", "state")
        self.check_boot_settings("the upgrade")

    def test_purge_while_memory_is_reserved(self) -> None:
        out = self.apt("purge dmemd")
        self.contains(out, "the boot settings still reserve memory: dmem=1:1G", "purge")
        self.contains(out, f"rm {DROP_IN} && update-grub", "purge")
        self.equal(self.what_the_guest_sees(), self.guest, "the guest")
        self.check_boot_settings("the purge")
        self.machine.run("test ! -e /var/lib/dmemd")

    def test_install_again_goes_on(self) -> None:
        users = "/sys/class/dmem/node1/users"
        self.machine.run(f"chgrp root {users} && chmod g-r {users}")
        self.apt("install /var/tmp/dmemd.deb")
        self.equal(self.machine.out(f"stat -c '%G %a' {users}"), "dmemd 440", f"who may read {users}")
        for name in ("dmemd-setup.service", "dmem-ready.target", "dmemd.service"):
            self.equal(self.unit(name), "active", name)
        self.equal(self.what_the_guest_sees(), self.guest, "the guest")
        self.equal(self.dmem_nodes()[1].size, GIB, "bytes of node 1")

    def test_take_it_out_as_the_removal_says(self) -> None:
        self.machine.put("/etc/dmemd/dmemd.conf.d/99-remove.conf", "[Plan]\nBackend=none\n")
        self.dmemctl("apply")
        out = self.apt("purge dmemd")
        self.check("reserve" not in out, f"purge tells of a reservation that there is not:\n{out}")
        self.equal(self.unit("guest.service"), "active", "the guest")
        self.machine.reboot()
        self.equal(self.own_arguments(), [], "own arguments on the command line")
        self.check_left_over({"/etc/dmemd", "/etc/dmemd/dmemd.conf.d", "/etc/dmemd/dmemd.conf.d/10-test.conf",
                              "/etc/dmemd/dmemd.conf.d/99-remove.conf"})


class PackagesOfDebian13(Packages):
    """the same, built and installed there"""

    suite = "trixie"
    thorough = "the packages are built, in another release of Debian"


class KernelPackage(DmemScenario):
    """tools/build-kernel --deb, but for the configuration, as the README says"""

    nodes = "4G,4G"
    thorough = "packages of a kernel are built"
    steps = ("test_it_is_what_boots_next", "test_reboot")

    def prepare(self) -> None:
        config = kernel_files("dmem") / "config"
        done = subprocess.run(
            [str(SOURCE_ROOT / "tools" / "build-kernel"), "--deb", f"--config={config}"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=False,
        )
        self.equal(done.returncode, 0, "exit status of tools/build-kernel --deb")
        packages = [Path(x) for x in done.stdout.split()]
        self.equal([x.name.partition("_")[0].rpartition("-")[0] for x in packages],
                   ["linux-headers", "linux-image"], "packages")
        self.machine.put_file(packages[1], "/var/tmp/image.deb", "0644")
        self.name = packages[1].name.partition("_")[0]
        self.release = self.name.removeprefix("linux-image-")
        # Debian's own kernel of that version, as far as the boot loader can tell
        lab = self.machine.out("uname -r")
        self.debian = self.release.partition("+")[0] + "+deb13-amd64"
        self.machine.run(f"cp /boot/vmlinuz-{lab} /boot/vmlinuz-{self.debian} && "
                         f"sed /DMEM/d /boot/config-{lab} >/boot/config-{self.debian}")
        self.machine.run("update-grub")
        self.equal(self.kernels()[0], self.debian, "what boots without the package")

    def kernels(self) -> list[str]:
        """In the order of the boot menu."""
        lines = self.machine.out("grep -oE '^[[:space:]]*linux[[:space:]]+/boot/vmlinuz-[^ ]+' /boot/grub/grub.cfg")
        return [line.partition("/boot/vmlinuz-")[2] for line in lines.splitlines()]

    def test_it_is_what_boots_next(self) -> None:
        self.machine.run(f"{APT} install /var/tmp/image.deb", timeout=900)
        self.equal(self.kernels()[0], self.release, "what boots with the package")
        self.check(self.debian in self.kernels(), "Debian's kernel is no longer in the menu")

    def test_reboot(self) -> None:
        self.machine.reboot()
        self.equal(self.machine.out("uname -r"), self.release, "kernel")

    def test_apply_reserves_memory(self) -> None:
        self.dmemctl("apply")
        self.machine.reboot()
        self.check(self.own_arguments(), "no arguments of ours on the command line")
        self.equal(self.machine.out("uname -r"), self.release, "kernel")
        self.equal(self.dmemctl_json("status")["state"], "in-force", "state")
        self.equal(self.machine.out("modinfo -n dmemfs"),
                   f"/lib/modules/{self.release}/kernel/fs/dmemfs/dmemfs.ko", "module")
        seen = self.touch("--fill=0xa5 /run/dmemfs/guest 256M")
        self.equal((seen["nonzero"], seen["faults"]), ("0", "128"), "bytes that were not zero, and faults")

    def test_remove(self) -> None:
        self.machine.run(f"{APT} remove {self.name}", timeout=900)
        self.equal(self.kernels()[0], self.debian, "what boots without the package")
