#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""apply, verify, status and revert where boot entries are files of their own: Fedora, RHEL 8,
systemd-boot, entries made by hand; with the real kernel-install where it is installed.

usage: test-bls-apply.py DMEMCTL [CASE...]

Captured entries come from the folder named by DMEMD_CORPUS, if it is set. Exits 77 without root.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import traceback

try:
    import jsonschema
except ImportError:
    jsonschema = None

SCHEMAS = pathlib.Path(__file__).resolve().parents[2] / "conf/schema"
TIME_LIMIT = 120
PLANNED = "dmem=0:4G,1:14G"
SMALLER = "dmem=0:2G,1:2G"
OWN = ("dmem", "hugepages", "hugepagesz", "hugetlb_free_vmemmap")
ID = "646d656d0000000000000000000000aa"
OTHER_ID = "646d656d0000000000000000000000bb"
ENTRIES = "boot/loader/entries"
CMDLINE = "etc/kernel/cmdline"
GRUBENV = "boot/grub2/grubenv"
FEDORA = """\
title Fedora Linux ({0}) 39
version {0}
linux /vmlinuz-{0}
initrd /initramfs-{0}.img
options {1}
grub_users $grub_users
grub_arg --unrestricted
grub_class fedora
"""


def words(text):
    return text.split()


def ours(text):
    return [word for word in words(text) if word.split("=")[0] in OWN]


def others(text):
    return [word for word in words(text) if word.split("=")[0] not in OWN]


class Tree:
    """A host of two nodes, 8 and 16 GiB, without a boot loader so far."""

    def __init__(self, dmemctl, root):
        self.dmemctl, self.root = dmemctl, pathlib.Path(root)
        zones = ""
        for node, size in ((0, 8 << 30), (1, 16 << 30)):
            folder = f"sys/devices/system/node/node{node}"
            self.write(f"{folder}/cpulist", f"{node}\n")
            self.write(f"{folder}/meminfo", f"Node {node} MemTotal: {size >> 10} kB\n")
            zones += (f"Node {node}, zone   Normal\n  pages free     1\n"
                      f"        spanned  {size >> 12}\n        present  {size >> 12}\n"
                      f"        managed  {size >> 12}\n")
        self.write("proc/zoneinfo", zones)
        self.write("proc/cmdline", "BOOT_IMAGE=/vmlinuz root=/dev/booted quiet\n")
        self.write("proc/meminfo", "MemTotal: 25165824 kB\nMemAvailable: 24165824 kB\n")
        self.write("proc/iomem", "00000000-00000000 : System RAM\n")
        self.write("dmemd-capture/page_size", "4096\n")
        self.write("etc/machine-id", f"{ID}\n")
        self.write("var/lib/x", "")

    def write(self, path, text):
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode() if isinstance(text, str) else text)

    def read(self, path):
        return (self.root / path).read_bytes().decode()

    def exists(self, path):
        return (self.root / path).exists()

    def configure(self, text):
        self.write("etc/dmemd/dmemd.conf", text)

    def kernel(self, version, dmem=True):
        if dmem is not None:
            self.write(f"boot/config-{version}",
                       "CONFIG_64BIT=y\n" + ("CONFIG_DMEM=y\n" if dmem else ""))

    def fedora(self, options="root=UUID=a ro rhgb quiet"):
        self.write("boot/grub2/grub.cfg", 'set default="${saved_entry}"\ninsmod blscfg\nblscfg\n')
        self.environment(f"saved_entry={ID}-6.5.6-300.fc39.x86_64\n")
        for version in ("6.5.6-300.fc39.x86_64", "6.4.1-1.fc39.x86_64"):
            self.kernel(version)
            self.write(f"{ENTRIES}/{ID}-{version}.conf", FEDORA.format(version, options))
        self.write(f"{ENTRIES}/{ID}-0-rescue.conf",
                   FEDORA.format("0-rescue-" + ID, options))

    def environment(self, text):
        block = "# GRUB Environment Block\n" + text
        self.write(GRUBENV, block + "#" * (1024 - len(block)))

    def systemd_boot(self, folder="boot/efi", options="root=PARTUUID=b rw quiet"):
        for version in ("6.12.1-dmem", "6.1.0-9"):
            self.kernel(version)
            self.write(f"{folder}/loader/entries/{ID}-{version}.conf",
                       f"# made by kernel-install\ntitle      Debian\nversion    {version}\n"
                       f"machine-id {ID}\nsort-key   debian\n"
                       f"options    {options} systemd.machine_id={ID}\n"
                       f"linux      /{ID}/{version}/linux\n")
        self.write(f"{folder}/loader/loader.conf", "timeout 3\n")

    def entries(self, folder=ENTRIES):
        return {path.name: path.read_bytes().decode()
                for path in sorted((self.root / folder).glob("*.conf"))}

    def run(self, *arguments):
        return subprocess.run([self.dmemctl, f"--root={self.root}", *arguments],
                              capture_output=True, text=True, timeout=TIME_LIMIT)

    def json(self, verb, *arguments):
        document = json.loads(self.run("--json=short", verb, *arguments).stdout)
        if jsonschema:
            schema = SCHEMAS / f"{'apply' if verb == 'revert' else verb}.json"
            jsonschema.validate(document, json.loads(schema.read_text()))
        return document

    def state(self):
        """All boot settings, byte for byte; nothing temporary may be there."""
        result = {}
        for folder in ("boot", "efi", "etc"):
            for path in sorted((self.root / folder).rglob("*")):
                assert not path.name.startswith(".#"), f"{path} was left behind"
                if path.is_file():
                    result[str(path.relative_to(self.root))] = path.read_bytes()
        return result


def expect(result, status, *texts, stream="stderr"):
    output = getattr(result, stream)
    assert result.returncode == status, \
        f"exit status {result.returncode}, expected {status}\n{result.stdout}{result.stderr}"
    for text in texts:
        assert text in output, f"`{text}` is not in {stream}:\n{output}"


def expect_same(before, after, allowed=()):
    changed = sorted(name for name in before.keys() | after.keys()
                     if before.get(name) != after.get(name) and name not in allowed)
    assert not changed, f"changed: {changed}"


def option_lines(text):
    return [line.split(None, 1)[1] if len(line.split(None, 1)) > 1 else ""
            for line in text.splitlines() if line.split()[:1] == ["options"]]


def check_only_ours_changed(before, after):
    """All lines but those of options are the same, and of those all words that are not ours."""
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    assert [line for line in old if line.split()[:1] != ["options"]] == \
        [line for line in new if line.split()[:1] != ["options"]], (before, after)
    assert others(" ".join(option_lines(before))) == others(" ".join(option_lines(after)))


def whole_way(tree, folder=ENTRIES, expected=PLANNED, planned=None):
    """dry run, apply, apply again, status, verify, another plan, revert: all of it."""
    original = tree.state()
    before = tree.entries(folder)
    expect(tree.run("apply", "--dry-run"), 0)
    document = tree.json("apply", "--dry-run")
    assert document["changed"] is True and document["dry_run"] is True
    patch = tree.run("apply", "--diff")
    expect(patch, 0, f"+++ /{folder}/", stream="stdout")
    expect_same(original, tree.state())

    result = tree.run("apply")
    expect(result, 0, "written", "Reboot required", stream="stdout")
    applied = tree.state()
    for name, text in tree.entries(folder).items():
        check_only_ours_changed(before[name], text)
        if planned and name in planned:
            assert ours(" ".join(option_lines(text))) == planned[name].split(), (name, text)
        elif "rescue" in name:
            assert text == before[name], (name, text)
        else:
            assert ours(" ".join(option_lines(text))) == expected.split(), (name, text)
    document = tree.json("apply")
    assert document["changed"] is False and document["files"] == [], document
    expect(tree.run("apply", "--unchanged-exit-77"), 77)
    expect_same(applied, tree.state())
    assert tree.json("plan")["configured"] == [PLANNED]
    assert tree.json("status")["state"] == "pending-reboot"
    expect(tree.run("verify"), 3, "reboot", stream="stdout")
    assert tree.json("verify")["configured_as_planned"] is True

    tree.configure("[Dmem]\nSize=2G\n" + tree.extra)
    expect(tree.run("apply"), 0)
    expect(tree.run("revert"), 0)
    expect_same(applied, tree.state(), ["etc/dmemd/dmemd.conf"])
    tree.configure(tree.extra)
    expect(tree.run("apply", "--unchanged-exit-77"), 77)

    # Back to before the first one: apply that, then revert would go to what is now
    tree.configure("[Plan]\nBackend=none\n" + tree.extra)
    expect(tree.run("apply"), 0)
    for name, text in tree.entries(folder).items():
        assert ours(" ".join(option_lines(text))) == [], (name, text)
        check_only_ours_changed(before[name], text)
    expect(tree.run("revert"), 0)
    expect_same(applied, tree.state(), ["etc/dmemd/dmemd.conf"])


def case_fedora(tree):
    tree.fedora()
    whole_way(tree)
    assert tree.read(CMDLINE) == f"root=UUID=a ro rhgb quiet {PLANNED}\n"


def case_revert_to_nothing(tree):
    for prepare in (tree.fedora, tree.systemd_boot):
        prepare()
        before = tree.state()
        expect(tree.run("apply"), 0)
        expect(tree.run("revert"), 0, f"/{CMDLINE} removed", stream="stdout")
        expect_same(before, tree.state())
        expect(tree.run("revert"), 0, "Nothing to revert", stream="stdout")
        shutil.rmtree(tree.root / "boot")


def case_revert_while_ours_are_booted(tree):
    """Without a template kernel-install would hand the arguments of this boot to the next kernel."""
    for prepare in (tree.fedora, tree.systemd_boot):
        prepare()
        before = tree.state()
        expect(tree.run("apply"), 0)
        tree.write("proc/cmdline", f"root=/dev/booted {PLANNED} quiet\n")
        expect(tree.run("revert"), 0, f"/{CMDLINE} written", "Reboot required", stream="stdout")
        assert "root=" in tree.read(CMDLINE) and not ours(tree.read(CMDLINE)), tree.read(CMDLINE)
        tree.write("proc/cmdline", "root=/dev/booted quiet\n")
        expect_same(before, tree.state(), [CMDLINE])
        # One of the vendor's is taken instead: then ours goes
        tree.clear()
        prepare()
        tree.write("usr/lib/kernel/cmdline", "root=/dev/vendor\n")
        expect(tree.run("apply"), 0)
        tree.write("proc/cmdline", f"root=/dev/booted {PLANNED} quiet\n")
        expect(tree.run("revert"), 0, f"/{CMDLINE} removed", stream="stdout")
        (tree.root / "usr/lib/kernel/cmdline").unlink()
        tree.write("proc/cmdline", "root=/dev/booted quiet\n")
        tree.clear()


def case_fedora_with_a_template(tree):
    tree.fedora()
    tree.write(CMDLINE, "# ours are added\nroot=UUID=a ro\n  rhgb quiet")
    whole_way(tree)
    assert tree.read(CMDLINE) == f"# ours are added\nroot=UUID=a ro\n  rhgb quiet {PLANNED}"


def case_rhel8(tree):
    """Options come from kernelopts, for the rescue entry, too: that one has to stay clean."""
    tree.fedora("$kernelopts $tuned_params")
    tree.environment("saved_entry=x\nkernelopts=root=/dev/mapper/rhel-root ro crashkernel=auto\n")
    before = tree.read(GRUBENV)
    whole_way(tree)
    assert tree.read(GRUBENV) == before
    assert not tree.exists(CMDLINE)


def case_rhel8_without_rescue(tree):
    tree.fedora("$kernelopts $tuned_params")
    (tree.root / f"{ENTRIES}/{ID}-0-rescue.conf").unlink()
    tree.environment("saved_entry=x\nkernelopts=root=/dev/mapper/rhel-root ro crashkernel=auto\n")
    before, entries = tree.read(GRUBENV), tree.entries()
    expect(tree.run("apply"), 0, f"/{GRUBENV} written", stream="stdout")
    after = tree.read(GRUBENV)
    assert len(after) == 1024 and tree.entries() == entries
    assert f"\nkernelopts=root=/dev/mapper/rhel-root ro crashkernel=auto {PLANNED}\n" in after
    assert after.rstrip("#").endswith("\n") and "saved_entry=x\n" in after
    expect(tree.run("apply", "--unchanged-exit-77"), 77)
    # Somebody else's variable stays when ours goes back
    tree.environment("boot_success=1\n" + after.rstrip("#").split("\n", 1)[1])
    expect(tree.run("revert"), 0)
    assert len(tree.read(GRUBENV)) == 1024
    assert "boot_success=1\n" in tree.read(GRUBENV) and "dmem=" not in tree.read(GRUBENV)
    tree.write(GRUBENV, before)
    expect(tree.run("apply"), 0)
    expect(tree.run("revert"), 0)
    assert tree.read(GRUBENV) == before


def case_systemd_boot(tree):
    for folder in ("boot/efi", "efi", "boot"):
        tree.systemd_boot(folder)
        whole_way(tree, f"{folder}/loader/entries")
        assert tree.read(CMDLINE) == f"root=PARTUUID=b rw quiet {PLANNED}\n"
        tree.clear()


def case_systemd_boot_shared_with_others(tree):
    """Two partitions, tries that are counted, another system that is not ours to change."""
    tree.systemd_boot("boot/efi")
    text = f"machine-id {OTHER_ID}\nlinux /x\noptions root=other dmem=9G\n"
    tree.write(f"boot/efi/loader/entries/{OTHER_ID}-6.1.conf", text)
    tree.write("boot/efi/loader/entries/windows.conf", "title W\nefi /w.efi\n")
    tree.write(f"boot/loader/entries/{ID}-6.13.1+3-0.conf",
               f"machine-id {ID}\nlinux /l\noptions root=c\n")
    expect(tree.run("apply"), 0)
    assert tree.read(f"boot/efi/loader/entries/{OTHER_ID}-6.1.conf") == text
    assert ours(tree.read(f"boot/loader/entries/{ID}-6.13.1+3-0.conf")) == [PLANNED]
    # It boots, and is renamed by that; another kernel comes, the oldest one goes
    old = tree.root / f"boot/loader/entries/{ID}-6.13.1+3-0.conf"
    old.rename(old.with_name(f"{ID}-6.13.1.conf"))
    (tree.root / f"boot/efi/loader/entries/{ID}-6.1.0-9.conf").unlink()
    tree.write(f"boot/efi/loader/entries/{ID}-6.14.conf",
               f"machine-id {ID}\nlinux /l\noptions {tree.read(CMDLINE)}")
    expect(tree.run("apply", "--unchanged-exit-77"), 77)
    expect(tree.run("revert"), 0)
    for folder in ("boot/efi/loader/entries", "boot/loader/entries"):
        for name, content in tree.entries(folder).items():
            assert (ours(content) == []) == (OTHER_ID not in name), (name, content)


def case_default_is_somebody_elses(tree):
    tree.systemd_boot()
    tree.write(f"boot/efi/loader/entries/{OTHER_ID}-6.1.conf", "linux /x\noptions root=o\n")
    tree.write("boot/efi/loader/loader.conf", f"default {OTHER_ID}-*\n")
    before = tree.state()
    expect(tree.run("apply"), 1, f"{OTHER_ID}-6.1.conf, line 2", "which boots by default",
           "nothing was changed")
    expect(tree.run("apply", "--dry-run"), 1, "which boots by default")
    expect_same(before, tree.state())
    tree.write("boot/efi/loader/loader.conf", f"default {ID}-*\n")
    expect(tree.run("apply"), 0)


def unified_image(cmdline):
    """The least of a PE file that has the sections .uname and .cmdline."""
    text = cmdline.encode()
    head = b"MZ" + bytes(58) + (64).to_bytes(4, "little")
    head += b"PE\0\0" + bytes(2) + (2).to_bytes(2, "little") + bytes(16)
    sections = b""
    for name, size, offset in ((b".uname", 5, 512), (b".cmdline", len(text), 520)):
        sections += name.ljust(8, b"\0") + size.to_bytes(4, "little") + bytes(4)
        sections += size.to_bytes(4, "little") + offset.to_bytes(4, "little") + bytes(16)
    return (head + sections).ljust(512, b"\0") + b"6.12\0\0\0\0" + text


def case_unified_images(tree):
    image = f"efi/EFI/Linux/{ID}-6.12.efi"
    tree.write(image, unified_image("root=a quiet"))
    tree.write(CMDLINE, "root=a quiet\n")
    tree.kernel("6.12")
    before = tree.state()
    expect(tree.run("apply"), 1, image, "unified kernel image", "kernel-install", "Type=file",
           "nothing was changed")
    expect_same(before, tree.state())
    # As the message says
    tree.configure(f"[BootLoader]\nType=file\nFile=/{CMDLINE}\n")
    expect(tree.run("apply"), 0)
    tree.write(image, unified_image(tree.read(CMDLINE)))
    tree.configure("")
    expect(tree.run("apply", "--unchanged-exit-77"), 77)
    assert tree.json("plan")["configured"] == [PLANNED]


def case_made_by_hand(tree):
    tree.write(f"{ENTRIES}/arch.conf", "title Arch Linux\nlinux /vmlinuz-linux\n"
               "initrd /initramfs-linux.img\noptions root=/dev/a rw\n")
    tree.write(f"{ENTRIES}/arch-fallback.conf", "title Arch Linux (fallback)\n"
               "linux /vmlinuz-linux\noptions root=/dev/a\noptions rw\n")
    tree.write("boot/loader/loader.conf", "default  arch.conf\n")
    whole_way(tree)
    assert not tree.exists(CMDLINE)


NASTY = {
    "tabs, blanks, comments": "\ttitle\tA  B\n  # options dmem=3G\n\noptions\t root=a  b=\"c  d\" \n",
    "DOS line ends": "title A\r\noptions root=a quiet\r\n",
    "no newline at the end": "title A\noptions root=a dmem=1G quiet",
    "many lines of options": "options root=a\noptions hugepages=3\noptions dmem=1G x\noptions y\n",
    "only ours": "options dmem=1G hugepagesz=1G hugepages=3\ntitle A\n",
    "none": "title A\ninitrd /i\n",
    "for init": "options root=a quiet -- dmem=5 x\n",
    "quotes": "options root=a \"dyndbg=file drivers/pci/* +p; dmem=1\" dmem=\"1G\" b\n",
    "dashes": "options root=a hugetlb-free-vmemmap=on default_hugepagesz=1G\n",
    "not ours": "options xdmem=1G dmem.x=2 hugepagesz1=2 dmem nodmem=1\n",
    "Latin-1": "title Gr\udcfc\udcdfe\noptions root=a\n",
}


def case_nasty_entries(tree):
    folder = "boot/efi/loader/entries"
    for name, text in NASTY.items():
        content = (f"linux /{ID}/6.12/linux\n" + text).encode(errors="surrogateescape")
        tree.write(f"{folder}/{ID}-6.12.conf", content)
        tree.write(CMDLINE, "root=a\n")
        before = tree.state()
        expect(tree.run("apply"), 0)
        after = (tree.root / f"{folder}/{ID}-6.12.conf").read_bytes()
        assert PLANNED.encode() in after, (name, after)
        assert tree.json("plan")["configured"] == [PLANNED], (name, after)
        expect(tree.run("apply", "--unchanged-exit-77"), 77)
        expect(tree.run("revert"), 0)
        expect_same(before, tree.state())
        tree.clear()


def case_nasty_entries_of_grub(tree):
    for name, text in NASTY.items():
        if name in ("none", "tabs, blanks, comments"):
            continue  # GRUB stops at the empty line, or has no options to add to
        content = (f"linux /vmlinuz-6.12\n" + text).encode(errors="surrogateescape")
        tree.write("boot/grub2/grub.cfg", "insmod blscfg\nblscfg\n")
        tree.write(f"{ENTRIES}/{ID}-6.12.conf", content)
        tree.write(CMDLINE, "root=a\n")
        before = tree.state()
        expect(tree.run("apply"), 0)
        assert tree.json("plan")["configured"] == [PLANNED], name
        expect(tree.run("apply", "--unchanged-exit-77"), 77)
        expect(tree.run("revert"), 0)
        expect_same(before, tree.state())
        tree.clear()


def case_nasty_folders(tree):
    """What else may lie about in loader/entries/."""
    tree.systemd_boot()
    folder = "boot/efi/loader/entries"
    tree.write(f"{folder}/{ID}-zero.conf", bytes(2000))
    tree.write(f"{folder}/{ID}-empty.conf", "")
    tree.write(f"{folder}/.{ID}-hidden.conf", "linux /l\n")
    (tree.root / folder / f"{ID}-folder.conf").mkdir()
    (tree.root / folder / f"{ID}-dangling.conf").symlink_to("nowhere")
    tree.write("elsewhere/entry", f"linux /l\noptions root=z\n")
    (tree.root / folder / f"{ID}-link.conf").symlink_to("/elsewhere/entry")
    before = tree.state()
    expect(tree.run("apply"), 0)
    assert tree.read("elsewhere/entry") == f"linux /l\noptions root=z {PLANNED}\n"
    expect(tree.run("revert"), 0)
    expect_same(before, tree.state())


def case_foreign_arguments(tree):
    tree.fedora()
    for path, text, line, word in (
            ("etc/default/grub", "# dmem=1G\nGRUB_CMDLINE_LINUX=\"quiet hugepages=3\"\n", 2,
             "hugepages=3"),
            ("etc/tuned/bootcmdline", "TUNED_BOOT_CMDLINE=\"nohz=on hugepagesz=1G\"\n", 1,
             "hugepagesz=1G")):
        tree.write(path, text)
        before = tree.state()
        expect(tree.run("apply"), 1, f"{path}, line {line}: {word}", "nothing was changed")
        codes = [f["code"] for f in tree.json("apply", "--dry-run")["findings"]]
        assert "foreign-argument" in codes, codes
        expect_same(before, tree.state())
        (tree.root / path).unlink()


def case_kernels_without_dmem(tree):
    tree.fedora()
    tree.kernel("6.4.1-1.fc39.x86_64", False)
    expect(tree.run("apply"), 0, "6.4.1-1.fc39.x86_64", "CONFIG_DMEM")
    expect(tree.run("revert"), 0)
    tree.kernel("6.5.6-300.fc39.x86_64", False)
    before = tree.state()
    expect(tree.run("apply"), 1, "CONFIG_DMEM", "nothing was changed")
    expect_same(before, tree.state())
    for version in ("6.5.6-300.fc39.x86_64", "6.4.1-1.fc39.x86_64"):
        (tree.root / f"boot/config-{version}").unlink()
    tree.write("usr/lib/modules/6.5.6-300.fc39.x86_64/config", "CONFIG_DMEM=y\n")
    expect(tree.run("apply"), 0)


def case_new_kernel_without_ours(tree):
    """As where kernelopts may not have them: apply once more, and revert still goes back."""
    tree.fedora()
    before = tree.state()
    expect(tree.run("apply"), 0)
    new = f"{ENTRIES}/{ID}-6.6.1-1.fc39.x86_64.conf"
    tree.write(new, FEDORA.format("6.6.1-1.fc39.x86_64", "root=UUID=a ro"))
    expect(tree.run("verify"), 3)
    assert tree.json("verify")["configured_as_planned"] is False
    expect(tree.run("apply"), 0, f"/{new} written", stream="stdout")
    expect(tree.run("revert"), 0)
    (tree.root / new).unlink()
    expect_same(before, tree.state())


def case_all_entries_written_anew(tree):
    """As grub2-mkconfig does it: from etc/default/grub, which knows nothing of ours."""
    tree.fedora()
    before = tree.state()
    expect(tree.run("apply"), 0)
    for mkconfig in range(2):
        for name, text in tree.entries().items():
            line = option_lines(text)[0]
            tree.write(f"{ENTRIES}/{name}", text.replace(line, "root=UUID=a ro rhgb quiet"))
        assert tree.json("plan")["changed"] is True
        expect(tree.run("verify"), 3, "dmemctl apply", stream="stdout")
        assert tree.json("status")["state"] != "pending-reboot"
        if mkconfig == 0:
            expect(tree.run("apply"), 0, "written", stream="stdout")
            assert tree.json("verify")["configured_as_planned"] is True
    expect(tree.run("revert"), 0)
    expect_same(before, tree.state())


def case_one_entry_lost_ours(tree):
    """One that does not boot by default is missing ours: verify says so."""
    tree.fedora()
    expect(tree.run("apply"), 0)
    path = f"{ENTRIES}/{ID}-6.4.1-1.fc39.x86_64.conf"
    tree.write(path, tree.read(path).replace(" " + PLANNED, ""))
    expect(tree.run("verify"), 3, "6.4.1-1.fc39.x86_64", "dmemctl apply", stream="stdout")
    document = tree.json("verify")
    assert document["configured_as_planned"] is False
    assert "entry-differs" in [f["code"] for f in document["findings"]], document


def case_nothing_is_there(tree):
    before = tree.state()
    expect(tree.run("apply"), 1, "no boot loader", "loader/entries", "grub.cfg")
    tree.configure("[BootLoader]\nType=kernel-install\n")
    expect(tree.run("apply"), 1, "kernel-install: no entry")
    tree.configure("[BootLoader]\nType=bls\n")
    expect(tree.run("apply"), 1, "bls: no entry")
    expect_same(before, tree.state(), ["etc/dmemd/dmemd.conf"])


def case_bad_files(tree):
    tree.systemd_boot()
    for text in (b"root=a\0b\n", bytes(10)):
        tree.write(CMDLINE, text)
        before = tree.state()
        expect(tree.run("apply"), 1, f"/{CMDLINE}", "no text", "nothing was changed")
        expect_same(before, tree.state())
    (tree.root / CMDLINE).unlink()
    (tree.root / CMDLINE).mkdir()
    before = tree.state()
    expect(tree.run("apply"), 1)
    expect_same(before, tree.state())
    (tree.root / CMDLINE).rmdir()
    expect(tree.run("apply"), 0)
    for text in ("", "{", '{"version":1,"files":[{"path":"boot/efi/loader/entries/../../x.conf",'
                 '"content":"x"}]}', '{"version":1,"files":[{"path":"etc/kernel/cmdline"}]}',
                 '{"version":1,"files":[{"path":"etc/kernel/cmdline","content":1}]}'):
        tree.write("var/lib/dmemd/previous.json", text)
        before = tree.state()
        expect(tree.run("revert"), 1, "previous.json", "nothing was changed")
        expect_same(before, tree.state())


def case_captured_entries(tree):
    corpus = os.environ.get("DMEMD_CORPUS")
    folder = pathlib.Path(corpus or "/nonexistent") / "bootloader"
    if not folder.is_dir():
        print("  (DMEMD_CORPUS is not set, left out)")
        return
    for path in sorted(folder.glob("bls.*.conf")):
        content = path.read_bytes()
        rescue = "rescue" in path.name
        machine = ([line.split()[1] for line in content.decode().splitlines()
                    if line.startswith("machine-id")] + [ID])[0]
        name = f"{machine}-0-rescue.conf" if rescue else f"{machine}-{path.name[4:]}"
        for config in ("", "[Plan]\nBackend=hugetlb\n"):
            tree.write("etc/machine-id", f"{machine}\n")
            tree.write(f"{ENTRIES}/{name}", content)
            tree.write(f"{ENTRIES}/{machine}-z.conf", "linux /l\noptions root=z\n")
            if b"grub_" in content:
                tree.write("boot/grub2/grub.cfg", "blscfg\n")
            tree.configure(config)
            before = tree.state()
            expect(tree.run("apply"), 0)
            after = tree.read(f"{ENTRIES}/{name}")
            assert (after == content.decode()) == rescue, (path, after)
            check_only_ours_changed(content.decode(), after)
            expect(tree.run("apply", "--unchanged-exit-77"), 77)
            expect(tree.run("revert"), 0)
            expect_same(before, tree.state())
            tree.clear()
    tree.write("etc/machine-id", f"{ID}\n")
    for path in sorted(folder.glob("kernel-cmdline.*")):
        tree.systemd_boot()
        tree.write(CMDLINE, path.read_bytes())
        before = tree.state()
        expect(tree.run("apply"), 0)
        assert others(tree.read(CMDLINE)) == others(path.read_text())
        assert ours(tree.read(CMDLINE)) == [PLANNED]
        expect(tree.run("revert"), 0)
        expect_same(before, tree.state())
        tree.clear()


def kernel_install(tree, *arguments):
    """The real one, in the tree, with this machine's /usr."""
    script = ('mkdir -p "$0"/usr "$0"/proc "$0"/dev "$0"/tmp; '
              'for f in bin sbin lib lib64; do [ -h "$0/$f" ] || ln -s usr/$f "$0/$f"; done; '
              'mount --bind /usr "$0/usr"; mount --rbind /dev "$0/dev"; '
              'exec chroot "$0" kernel-install "$@"')
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "SYSTEMD_LOG_LEVEL": "warning"}
    return subprocess.run(["unshare", "-m", "sh", "-ec", script, str(tree.root), *arguments],
                          capture_output=True, text=True, timeout=TIME_LIMIT, env=environment)


def case_real_kernel_install(tree):
    """Kernels that are installed before, after and between, by the tool itself."""
    if not shutil.which("kernel-install"):
        print("  (kernel-install is not installed, left out)")
        return
    tree.write("etc/os-release", "ID=debian\nPRETTY_NAME=Debian\n")
    tree.write("etc/kernel/install.conf", "layout=bls\nBOOT_ROOT=/boot/efi\n")
    tree.write(f"boot/efi/{ID}/x", "")
    tree.write("boot/efi/loader/entries.srel", "type1\n")
    tree.write("boot/efi/loader/entries/x", "")
    tree.write("boot/vmlinuz-6.1", "kernel\n")
    tree.write("boot/initrd.img-6.1", "initrd\n")

    def add(version):
        tree.kernel(version)
        # Only what makes the entry; depmod and the like want a real kernel
        result = kernel_install(tree, "add", version, "/boot/vmlinuz-6.1", "/boot/initrd.img-6.1")
        assert result.returncode == 0, result
        return tree.read(f"boot/efi/loader/entries/{ID}-{version}.conf")

    os.environ.pop("KERNEL_INSTALL_BYPASS", None)
    tree.write("etc/kernel/install.d/50-depmod.install", "")
    tree.write("etc/kernel/cmdline", "root=/dev/first ro\n")
    first = add("6.1")
    assert "root=/dev/first ro" in first, first
    (tree.root / CMDLINE).unlink()
    before = tree.state()
    expect(tree.run("apply"), 0, f"/{CMDLINE} written", stream="stdout")
    assert tree.read(CMDLINE) == f"root=/dev/first ro {PLANNED}\n", tree.read(CMDLINE)
    second = add("6.2")
    assert ours(second) == [PLANNED] and "root=/dev/first" in second, second
    assert second.count("systemd.machine_id=") == 1, second
    expect(tree.run("apply", "--unchanged-exit-77"), 77)
    tree.configure("[Dmem]\nSize=2G\n")
    expect(tree.run("apply"), 0)
    assert ours(add("6.3")) == ["dmem=0:2G,1:2G"] or ours(add("6.3")) == ["dmem=2G"]
    expect(tree.run("revert"), 0)
    assert all(ours(text) == [PLANNED]
               for text in tree.entries("boot/efi/loader/entries").values())
    assert before.keys() <= tree.state().keys()


def main():
    if os.geteuid() != 0:
        print("skipped: only root's apply writes")
        return 77
    cases = {name[len("case_"):]: function for name, function in globals().items()
             if name.startswith("case_")}
    failed = 0
    for name in sys.argv[2:] or list(cases):
        with tempfile.TemporaryDirectory(prefix="dmemd-test-") as folder:
            tree = Tree(os.path.abspath(sys.argv[1]), folder)
            tree.extra = ""

            def clear(tree=tree):
                for path in ("boot", "efi", "etc/kernel", "var/lib/dmemd", "etc/dmemd"):
                    shutil.rmtree(tree.root / path, ignore_errors=True)

            tree.clear = clear
            try:
                cases[name](tree)
                print(f"ok   {name}", flush=True)
            except Exception:  # the other cases are to run, too
                failed += 1
                traceback.print_exc()
                print(f"FAIL {name}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
