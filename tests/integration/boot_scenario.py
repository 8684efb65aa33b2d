# SPDX-License-Identifier: LGPL-2.1-or-later
"""Small root directories, one kind for each boot loader, for tests that change them very often.

A stand-in for update-grub does in milliseconds what the real one does to files: it writes beside
grub.cfg, copies that over the old one, and waits for no disk. test-grub-apply.py has the real one.
"""

import json
import os
import pathlib
import shutil
import subprocess
import tempfile

import grub_tree
from grub_tree import write

UPDATE_GRUB = r"""#!/bin/sh
config=/boot/grub/grub.cfg
[ "$1" != -o ] || config=$2
. /etc/default/grub
for file in /etc/default/grub.d/*.cfg; do
    [ ! -e "$file" ] || . "$file"
done
rm -f "$config.new"
{
    echo 'set default="0"'
    echo '### BEGIN /etc/grub.d/10_linux ###'
    for version in 6.12.1-dmem 6.1.0-9-amd64; do
        common="/boot/vmlinuz-$version root=/dev/sda1 ro"
        printf "menuentry 'Debian, with Linux %s' {\n\tlinux\t%s\n}\n" "$version" \
            "$common $GRUB_CMDLINE_LINUX $GRUB_CMDLINE_LINUX_DEFAULT"
        printf "menuentry 'Debian, with Linux %s (recovery mode)' {\n\tlinux\t%s\n}\n" "$version" \
            "$common single $GRUB_CMDLINE_LINUX"
    done
    echo '### END /etc/grub.d/10_linux ###'
} > "$config.new"
cat "$config.new" > "$config"
rm -f "$config.new"
"""

FIRST = ""  # the configurations of two plans
SECOND = "[Dmem]\nSize=2G\n"


class Scenario(grub_tree.Tree):
    """A tree with one boot loader. boot_files: what the next boot depends on, in the order in which
    they change."""

    name = None
    configuration = ""  # that chooses the boot loader
    boot_files = []

    def make_system(self):
        for name in ["proc", "sys", "dev", "run", "tmp", "root", "var/lib", "usr/sbin", "etc",
                     "boot"]:
            (self.root / name).mkdir(parents=True)
        for name in ["bin", "lib", "lib64"]:
            (self.root / name).symlink_to(f"host/{name}")
        self.bind("/usr", "host")

    def plan(self, text):
        self.configure(text + self.configuration)

    def boot_settings(self):
        return {path: (self.root / path).read_bytes() if self.exists(path) else None
                for path in self.boot_files}


class Grub(Scenario):
    name = "grub"
    boot_files = [grub_tree.DROPIN, grub_tree.CONFIG]

    def make_boot(self):
        write(self.root / "etc/default/grub", grub_tree.SETTINGS)
        write(self.root / "usr/sbin/grub-mkconfig", "# default/grub.d\n", 0o755)
        (self.root / "etc/default/grub.d").mkdir()
        (self.root / "boot/grub").mkdir()
        for version in ["6.12.1-dmem", "6.1.0-9-amd64"]:
            self.add_kernel(version, version.endswith("dmem"))
        self.set_tool(UPDATE_GRUB)
        self.run_in("/usr/sbin/update-grub", check=True)


class File(Scenario):
    name = "file"
    configuration = "[BootLoader]\nType=file\nFile=/boot/cmdline.txt\n"
    boot_files = ["boot/cmdline.txt"]

    def make_boot(self):
        write(self.root / "boot/cmdline.txt", "root=/dev/sda1 ro -- x\n")


ID = "646d656d0000000000000000000000aa"
VERSIONS = ["6.5.6-300.fc39.x86_64", "6.4.1-1.fc39.x86_64"]
ENTRY = """\
title Fedora Linux ({0}) 39
version {0}
machine-id {2}
linux /vmlinuz-{0}
initrd /initramfs-{0}.img
options {1}
"""


class Bls(Scenario):
    """Fedora: GRUB reads the entries."""

    name = "bls"
    boot_files = [f"boot/loader/entries/{ID}-{version}.conf" for version in VERSIONS] + \
        ["etc/kernel/cmdline"]

    def make_boot(self):
        write(self.root / "etc/machine-id", f"{ID}\n")
        write(self.root / "etc/kernel/cmdline", "root=/dev/sda1 ro\n")
        for version in VERSIONS:
            self.add_kernel(version, True)
        for version in [*VERSIONS, f"0-rescue-{ID}"]:
            write(self.root / f"boot/loader/entries/{ID}-{version}.conf",
                  ENTRY.format(version, "root=/dev/sda1 ro", ID))
        self.make_loader()

    def make_loader(self):
        write(self.root / "boot/grub2/grub.cfg", 'set default="0"\ninsmod blscfg\nblscfg\n')
        block = f"# GRUB Environment Block\nsaved_entry={ID}-{VERSIONS[0]}\n"
        write(self.root / "boot/grub2/grubenv", block + "#" * (1024 - len(block)))


class KernelInstall(Bls):
    """systemd-boot."""

    name = "kernel-install"

    def make_loader(self):
        write(self.root / "boot/loader/loader.conf", f"default {ID}-*\n")
        write(self.root / "boot/EFI/systemd/systemd-bootx64.efi", "not empty\n")


ALL = [Grub, File, Bls, KernelInstall]


def timeless(state):
    """Without the moment at which the plan was applied."""
    def without(text):
        document = json.loads(text)
        document.pop("time_usec", None)
        return document

    for path in ["var/lib/dmemd/applied.json", "var/lib/dmemd/previous.json"]:
        if path in state:
            document = without(state[path][-1])
            for file in document.get("files", []):
                for key in ["content", "written"]:
                    if file["path"].endswith("applied.json") and file.get(key):
                        file[key] = without(file[key])
            state[path] = [*state[path][:-1], document]
    return state


class Snapshot:
    """What is below boot/, etc/ and var/: taken from a tree, or made up."""

    FOLDERS = ["boot", "etc", "var"]

    def __init__(self, files, folders):
        self.files = files      # path: (mode, content)
        self.folders = folders  # paths

    @classmethod
    def take(cls, tree):
        files, folders = {}, set()
        for top in cls.FOLDERS:
            for where, _, names in os.walk(tree.root / top):
                folders.add(str(pathlib.Path(where).relative_to(tree.root)))
                for name in names:
                    path = pathlib.Path(where, name)
                    files[str(path.relative_to(tree.root))] = (path.stat().st_mode & 0o7777,
                                                               path.read_bytes())
        return cls(files, folders)

    def key(self):
        return (frozenset(self.files.items()), frozenset(self.folders))

    def put(self, tree):
        """Makes the tree so; what is so already is left alone, which saves most of the time."""
        now = Snapshot.take(tree)
        for path in now.files.keys() - self.files.keys():
            (tree.root / path).unlink()
        for path in sorted(now.folders - self.folders, reverse=True):
            shutil.rmtree(tree.root / path, ignore_errors=True)
        for path in sorted(self.folders - now.folders):
            (tree.root / path).mkdir(parents=True, exist_ok=True)
        for path, (mode, content) in self.files.items():
            if now.files.get(path) != (mode, content):
                write(tree.root / path, "")
                (tree.root / path).write_bytes(content)
                (tree.root / path).chmod(mode)


class Stages:
    """The states that a test goes through, as snapshots and as what the tree's state() says:
    nothing applied; the first plan; the second plan; the second one reverted."""

    def __init__(self, tree):
        self.snapshots, self.states, self.boot = {}, {}, {}
        tree.plan(FIRST)
        self.keep(tree, "nothing")
        self.step(tree, "apply")
        self.keep(tree, "first")
        tree.plan(SECOND)
        self.keep(tree, "planned")
        self.step(tree, "apply")
        self.keep(tree, "second")
        self.step(tree, "revert")
        self.keep(tree, "reverted")

    @staticmethod
    def step(tree, verb):
        result = tree.run(verb)
        assert result.returncode == 0, f"{tree.name}: {verb}: {result}"

    def keep(self, tree, name):
        self.snapshots[name] = Snapshot.take(tree)
        self.states[name] = timeless(tree.state())
        self.boot[name] = tree.boot_settings()

    def put(self, tree, name):
        self.snapshots[name].put(tree)

    def expect(self, tree, name, where):
        changed = grub_tree.difference(self.states[name], timeless(tree.state()))
        if changed:
            now = timeless(tree.state())
            details = "".join(f"\n  {path}: {now.get(path)}\n  wanted: {self.states[name].get(path)}"
                              for path in changed[:3])
            raise AssertionError(f"{tree.name}: {where}: not as {name}: {changed}{details}")


def make(kind, dmemctl, parent):
    try:
        return kind(dmemctl, parent)
    except subprocess.CalledProcessError as error:
        grub_tree.skip(f"cannot make a tree for {kind.name}: {error.stderr}")
