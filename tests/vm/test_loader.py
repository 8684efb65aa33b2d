# SPDX-License-Identifier: LGPL-2.1-or-later
"""Boot loaders, with the firmware that starts them and real reboots: plan, apply, verify, revert.

Beside the kernel that knows dmem= there is Debian's own, as on a host that keeps it for a bad day.
GRUB on BIOS with a single kernel is in test_chain.py.
"""

from __future__ import annotations

import re
from pathlib import Path

from lab.images import kernel_files

from .common import DROP_IN, GIB, GRUB_CFG, OWN_ARGUMENTS, DmemScenario

ENTRIES = "/boot/efi/loader/entries"


class _WholeWay(DmemScenario):
    """What is the same for all of them."""

    nodes = "6G,3G"
    firmware = "uefi"
    steps = ("test_two_kernels", "test_plan", "test_apply", "test_reboot", "test_revert",
             "test_reboot_after_revert")

    # What differs

    def add_kernel(self, version: str) -> None:
        """As the package of a kernel does, once its files are in /boot."""
        raise NotImplementedError

    def remove_kernel(self, version: str) -> None:
        raise NotImplementedError

    def boot_settings(self) -> str:
        """Names and contents of all that decides what is booted how."""
        raise NotImplementedError

    def command_lines(self) -> dict[str, list[str]]:
        """The command lines of the entries for each kernel, by version, without those for recovery."""
        raise NotImplementedError

    # Tools

    def copy_kernel(self, version: str, source: Path) -> None:
        for name in ("vmlinuz", "config"):
            self.machine.put_file(source / name, f"/boot/{name}-{version}", "0644")

    def arguments_of(self, line: str) -> list[str]:
        return [x for x in line.split() if x.partition("=")[0] in OWN_ARGUMENTS]

    def check_entries(self, wanted: list[str], what: str) -> None:
        lines = self.command_lines()
        self.equal(sorted(lines), sorted(self.versions), f"kernels that {what} has entries for")
        for version, options in lines.items():
            for line in options:
                self.equal(self.arguments_of(line), wanted, f"{what}: arguments of {version}: {line}")
                self.contains(line, self.root_argument, f"{what}: entry of {version}")

    # The way

    def test_firmware(self) -> None:
        r = self.machine.run("test -d /sys/firmware/efi", check=False)
        self.equal("uefi" if r.ok else "bios", self.firmware, "firmware")
        self.equal(self.machine.out("systemctl list-units --failed --plain --no-legend"), "", "failed units")

    def test_two_kernels(self) -> None:
        self.booted = self.machine.out("uname -r")
        self.root_argument = next(x for x in self.command_line() if x.startswith("root="))
        files = kernel_files("stock")
        self.other = (files / "version").read_text().strip()
        self.copy_kernel(self.other, files)
        self.add_kernel(self.other)
        self.versions = {self.booted, self.other}
        self.choose_kernel(self.booted)
        self.check_entries([], "before apply")

    def choose_kernel(self, version: str) -> None:
        """Makes it the one that boots by default."""
        raise NotImplementedError

    def test_plan(self) -> None:
        before = self.snapshot()
        self.plan = self.dmemctl_json("plan")
        self.equal((self.plan["changed"], self.plan["configured"]), (True, []), "changed, configured")
        self.equal(self.plan["arguments"], ["dmem=0:1G,1:1G"], "arguments")
        self.dmemctl("apply --dry-run --diff")
        self.check_unchanged(before, "looking")

    def test_apply(self) -> None:
        self.before = self.boot_settings()
        applied = self.dmemctl_json("apply")
        self.equal((applied["changed"], applied["reboot_required"]), (True, True), "changed, reboot")
        self.equal(applied["arguments"], self.plan["arguments"], "arguments")
        self.check_entries(self.plan["arguments"], "apply")
        without = [f for f in applied["findings"] if f["code"] == "kernel-without-dmem"]
        self.equal([f["severity"] for f in without], ["warning"], f"findings: {applied['findings']}")
        self.check(self.other in without[0]["message"], f"not about {self.other}: {without}")
        self.check("by default" not in without[0]["message"], f"boots by default: {without}")

    def test_apply_again_changes_no_byte(self) -> None:
        before = self.snapshot()
        self.dmemctl("apply --unchanged-exit-77", 77)
        self.check_unchanged(before, "the second apply")
        self.equal(self.dmemctl_json("plan")["configured"], self.plan["arguments"], "configured")
        self.dmemctl("verify", 3)

    def test_reboot(self) -> None:
        self.machine.reboot()
        self.equal(self.machine.out("uname -r"), self.booted, "kernel")
        self.equal(self.own_arguments(), self.plan["arguments"], "own arguments on the command line")
        self.check(self.root_argument in self.command_line(), f"no {self.root_argument}")

    def test_it_is_in_force(self) -> None:
        sizes = {i: n.size for i, n in self.dmem_nodes().items()}
        self.equal(sizes, {0: GIB, 1: GIB}, "regions of each node")
        self.dmemctl("verify")
        before = self.snapshot()
        self.dmemctl("apply --unchanged-exit-77", 77)
        self.check_unchanged(before, "apply after the reboot")
        self.equal(self.dmemctl_json("plan")["arguments"], self.plan["arguments"], "the plan now")

    def test_kernel_installed_later(self) -> None:
        """The next kernel gets the arguments without a run of ours."""
        self.newer = "6.99.0-newer"
        self.machine.run(
            f"for f in vmlinuz config; do cp /boot/$f-{self.booted} /boot/$f-{self.newer}; done"
        )
        self.add_kernel(self.newer)
        self.versions.add(self.newer)
        self.check_entries(self.plan["arguments"], "the package of a new kernel")
        before = self.snapshot()
        self.dmemctl("apply --unchanged-exit-77", 77)
        self.check_unchanged(before, "apply with the new kernel")

    def test_revert(self) -> None:
        self.dmemctl("revert")
        self.check_entries([], "revert")
        self.dmemctl("revert --unchanged-exit-77", 77)

    def test_kernel_installed_after_revert(self) -> None:
        """What still runs with the arguments must not hand them on to the next kernel."""
        self.equal(self.own_arguments(), self.plan["arguments"], "own arguments of this boot")
        self.remove_kernel(self.newer)
        self.add_kernel(self.newer)
        self.check_entries([], "the package of a new kernel after revert")
        self.remove_kernel(self.newer)
        self.machine.run(f"rm /boot/*-{self.newer}")
        self.versions.remove(self.newer)
        self.check_entries([], "the removal of that kernel")

    def test_reboot_after_revert(self) -> None:
        self.machine.reboot()
        self.equal(self.machine.out("uname -r"), self.booted, "kernel")
        self.equal(self.own_arguments(), [], "own arguments on the command line")
        self.equal(self.dmem_nodes(), {}, "nodes of class dmem")
        self.equal(self.dmemctl_json("status")["state"], "none", "state")


class _ByGrub(_WholeWay):
    def add_kernel(self, version: str) -> None:
        self.machine.run("update-grub")

    def remove_kernel(self, version: str) -> None:
        self.machine.run(f"mkdir -p /boot/gone && mv /boot/*-{version} /boot/gone/ && update-grub")
        self.machine.run("mv /boot/gone/* /boot/ && rmdir /boot/gone")

    def choose_kernel(self, version: str) -> None:
        """By the id that grub-mkconfig gives the entry, which says its submenu, too."""
        text = self.machine.read(GRUB_CFG)
        submenu = re.search(r"^submenu .* \$menuentry_id_option '([^']*)'", text, re.M)
        entry = re.search(rf"menuentry_id_option '(gnulinux-{re.escape(version)}-advanced-[^']*)'", text)
        self.check(submenu and entry, f"no entry for {version} in:\n{text}")
        assert submenu and entry
        self.machine.put("/etc/default/grub.d/20-default.cfg",
                         f'GRUB_DEFAULT="{submenu[1]}>{entry[1]}"\n')
        self.machine.run("update-grub")

    def boot_settings(self) -> str:
        return self.machine.out(f"ls {DROP_IN} 2>/dev/null; sha256sum {GRUB_CFG}")

    def command_lines(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for title, line in self.kernel_lines():
            version = line.split()[0].partition("vmlinuz-")[2]
            if "recovery" in title:
                self.equal(self.arguments_of(line), [], f"arguments of '{title}'")
            else:
                found.setdefault(version, []).append(line)
        return found

    def test_revert(self) -> None:
        """GRUB's settings become what they were, to the byte, but for the kernel that has come."""
        super().test_revert()
        self.check(not self.machine.run(f"test -e {DROP_IN}", check=False).ok, f"{DROP_IN} is there")

    def test_reboot_after_revert(self) -> None:
        self.equal(self.boot_settings(), self.before, "boot settings")
        super().test_reboot_after_revert()


class _BySystemdBoot(_WholeWay):
    """Entries by kernel-install, no etc/kernel/cmdline at first"""

    loader = "systemd-boot"

    def add_kernel(self, version: str) -> None:
        self.machine.run(f"kernel-install add {version} /boot/vmlinuz-{version}")

    def remove_kernel(self, version: str) -> None:
        self.machine.run(f"kernel-install remove {version}")

    def choose_kernel(self, version: str) -> None:
        name = self.machine.out(f"cd {ENTRIES} && ls *-{version}.conf")
        self.machine.put("/boot/efi/loader/loader.conf", f"timeout 0\ndefault {name}\n")

    def boot_settings(self) -> str:
        return self.machine.out(
            "cat /etc/kernel/cmdline 2>/dev/null; cd /boot/efi/loader && find . -type f | sort | xargs sha256sum"
        )

    def command_lines(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for name in self.machine.out(f"ls {ENTRIES}").split():
            text = self.machine.read(f"{ENTRIES}/{name}")
            version = re.search(r"^version\s+(\S+)$", text, re.M)
            options = re.findall(r"^options\s+(.*)$", text, re.M)
            self.check(version, f"no version in {name}:\n{text}")
            assert version
            found.setdefault(version[1], []).append(" ".join(options))
        return found

    def test_it_is_systemd_boot(self) -> None:
        info = "/sys/firmware/efi/efivars/LoaderInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
        name = self.machine.get(info)[4:].decode("utf-16-le").rstrip("\0")
        self.contains(name, "systemd-boot", "LoaderInfo")


class GrubOnBios(_ByGrub):
    """GRUB of the release of this machine, with two kernels"""

    firmware = "bios"


class SystemdBoot(_BySystemdBoot):
    """systemd-boot of the release of this machine"""


class GrubOnUefi(_ByGrub):
    """the same by UEFI firmware"""

    loader = "grub-uefi"
    thorough = "GRUB once more, by UEFI firmware"


class SystemdBoot257(_BySystemdBoot):
    """systemd-boot of Debian 13"""

    suite = "trixie"
    thorough = "another release of Debian"


class Grub212OnUefi(_ByGrub):
    """GRUB of Debian 13"""

    loader = "grub-uefi"
    suite = "trixie"
    thorough = "another release of Debian"
