#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""apply and revert on GRUB with the real update-grub, and with everything that can go wrong.

usage: test-grub-apply.py DMEMCTL [CASE...]

Each case gets a tree of its own. Exits 77 where such trees cannot be made. With DMEMD_TEST_QUICK in
the environment only the cases in QUICK run.
"""

import fcntl
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
import traceback

sys.dont_write_bytecode = True  # nothing of ours appears among the sources
import grub_tree
from grub_tree import CONFIG, DROPIN, SETTINGS, difference, write

PLANNED = "dmem=0:4G,1:14G"
QUICK = ["apply_and_again", "looking_writes_nothing", "revert_to_nothing", "foreign_arguments",
         "read_only", "state_that_is_garbage", "ordinary_user"]


def expect(result, status, *words, stream="stderr"):
    output = getattr(result, stream)
    assert result.returncode == status, \
        f"exit status {result.returncode}, expected {status}\n{result.stdout}{result.stderr}"
    for word in words:
        assert word in output, f"`{word}` is not in {stream}:\n{output}"


def expect_unchanged(tree, before, allowed=()):
    after = tree.state()
    changed = [name for name in difference(before, after) if name not in allowed]
    assert not changed, f"changed: {changed}"


def all_have(tree, arguments):
    """Every entry but those for recovery has these arguments of ours; there are three or more."""
    own = tree.own_arguments()
    return len(own) >= 3 and set(own) == {arguments}


def apply(tree):
    expect(tree.run("apply"), 0)
    assert all_have(tree, PLANNED), tree.linux_lines()


def case_apply_and_again(tree):
    os.chmod(tree.root / CONFIG, 0o640)
    result = tree.run("apply")
    expect(result, 0, f"/{DROPIN} written", f"/{CONFIG} regenerated", "Reboot required",
           stream="stdout")
    assert all_have(tree, PLANNED), tree.linux_lines()
    assert all("quiet" in line for line in tree.linux_lines() if "single" not in line)
    assert oct((tree.root / CONFIG).stat().st_mode & 0o777) == "0o640"
    before = tree.state(with_times=True)
    expect(tree.run("apply"), 0, "nothing to do", stream="stdout")
    expect(tree.run("apply", "--unchanged-exit-77"), 77)
    assert difference(before, tree.state(with_times=True)) == []
    document = tree.json("apply")
    assert document["changed"] is False and document["files"] == []
    assert document["arguments"] == [PLANNED] and document["reboot_required"] is True
    # The boot loader's own tool comes to the same result
    tree.run_in("/usr/sbin/update-grub", check=True)
    assert all_have(tree, PLANNED)


def case_looking_writes_nothing(tree):
    before = tree.state(with_times=True)
    expect(tree.run("apply", "--dry-run"), 0, "would be written", stream="stdout")
    expect(tree.run("apply", "--diff"), 0, "--- /dev/null", f"+++ /{DROPIN}", f'+GRUB_CMDLINE',
           stream="stdout")
    document = tree.json("apply", "--dry-run")
    assert document["changed"] is True and document["dry_run"] is True
    assert document["files"][0]["path"] == f"/{DROPIN}"
    assert document["files"][0]["before"] is None and PLANNED in document["files"][0]["after"]
    assert document["regenerated"] == [f"/{CONFIG}"]
    assert difference(before, tree.state(with_times=True)) == []
    # patch(1) understands the difference
    expect(tree.run("apply"), 0)
    tree.configure("[Dmem]\nSize=2G\n")
    patch = tree.run("apply", "--diff").stdout
    assert f"-GRUB_CMDLINE_LINUX_DEFAULT=\"{PLANNED} " in patch, patch
    assert '+GRUB_CMDLINE_LINUX_DEFAULT="dmem=' in patch, patch


def case_revert_to_nothing(tree):
    before = tree.state()
    apply(tree)
    expect(tree.run("revert", "--dry-run"), 0, "would be removed", stream="stdout")
    expect(tree.run("revert"), 0, f"/{DROPIN} removed", stream="stdout")
    expect_unchanged(tree, before, allowed=["var/lib/dmemd"])
    expect(tree.run("revert"), 0, "Nothing to revert", stream="stdout")
    expect(tree.run("revert", "--unchanged-exit-77"), 77)


def case_revert_to_the_plan_before(tree):
    apply(tree)
    first = tree.state()
    tree.configure("[Dmem]\nSize=2G\n")
    expect(tree.run("apply"), 0)
    assert all_have(tree, "dmem=0:2G,1:2G") or all_have(tree, "dmem=2G"), tree.own_arguments()
    # Applying once more is no change, so there is still the same to go back to
    expect(tree.run("apply"), 0)
    expect(tree.run("revert"), 0)
    expect_unchanged(tree, first, allowed=["etc/dmemd", "etc/dmemd/dmemd.conf",
                                           "var/lib/dmemd/previous.json"])


def case_revert_with_a_broken_configuration(tree):
    apply(tree)
    tree.configure("[Nonsense]\n")
    expect(tree.run("revert"), 0, "without the configuration")
    assert all_have(tree, "")


def case_backend_none(tree):
    before = tree.state()
    tree.configure("[Plan]\nBackend=none\n")
    configured = tree.state()
    expect(tree.run("apply", "--unchanged-exit-77"), 77)
    expect_unchanged(tree, configured)
    (tree.root / "etc/dmemd/dmemd.conf").unlink()
    apply(tree)
    tree.configure("[Plan]\nBackend=none\n")
    expect(tree.run("apply"), 0, f"/{DROPIN} removed", stream="stdout")
    assert all_have(tree, "")
    assert not tree.exists(DROPIN)
    assert tree.state()[CONFIG] == before[CONFIG]


def case_hugetlb(tree):
    tree.configure("[Plan]\nBackend=hugetlb\n")
    expect(tree.run("apply"), 0)
    own = tree.own_arguments()
    assert len(set(own)) == 1 and "hugepagesz=" in own[0] and "dmem=" not in own[0], own
    expect(tree.run("apply", "--unchanged-exit-77"), 77)


def case_foreign_arguments(tree):
    places = {
        "etc/default/grub": (SETTINGS + '\nGRUB_CMDLINE_LINUX="hugepages=3"\n', 7, "hugepages=3"),
        "etc/default/grub.d/50-x.cfg": ("# dmem=1G\n\nGRUB_CMDLINE_LINUX=dmem=1G\n", 3, "dmem=1G"),
        "etc/grub.d/40_custom": ("#!/bin/sh\nexec tail -n +3 $0\nmenuentry 'don't' {\n"
                                 "# dmem=9G\n linux /k hugepagesz=1G\n}\n", 5, "hugepagesz=1G"),
        "boot/grub/custom.cfg": ("menuentry x { linux /k hugetlb_free_vmemmap=on\n}\n", 1,
                                 "hugetlb_free_vmemmap=on"),
    }
    for path, (text, line, word) in places.items():
        file = tree.root / path
        old = file.read_text() if file.exists() else None
        write(file, text, 0o755 if "grub.d/40" in path else 0o644)
        before = tree.state()
        expect(tree.run("apply"), 1, f"{path}, line {line}: {word}")
        expect_unchanged(tree, before)
        codes = [f["code"] for f in tree.json("apply", "--dry-run")["findings"]]
        assert "foreign-argument" in codes, codes
        if old is None:
            file.unlink()
        else:
            file.write_text(old)
    apply(tree)


def case_settings_override_ours(tree):
    write(tree.root / "etc/default/grub.d/99-last.cfg", 'GRUB_CMDLINE_LINUX_DEFAULT="quiet"\n')
    before = tree.state()
    expect(tree.run("apply"), 1, "Debian GNU/Linux", "as it was before",
           "etc/default/grub.d/99-last.cfg, line 1")
    expect_unchanged(tree, before, allowed=["var/lib/dmemd"])


def case_arguments_for_init(tree):
    write(tree.root / "etc/default/grub", SETTINGS.replace("quiet", "quiet -- nosplash"))
    expect(tree.run("apply"), 0)
    assert all(line.index("dmem=") < line.index(" -- ") for line in tree.linux_lines()
               if "single" not in line)


def case_cloud_image_settings(tree):
    write(tree.root / "etc/default/grub.d/50-cloudimg-settings.cfg",
          'GRUB_CMDLINE_LINUX_DEFAULT="console=tty1 a=\\"b c\\""\n')
    apply(tree)
    assert all("console=tty1" in line for line in tree.linux_lines() if "single" not in line)


def case_default_entry_made_by_hand(tree):
    write(tree.root / "etc/grub.d/40_custom", "#!/bin/sh\nexec tail -n +3 $0\n"
          "menuentry 'Mine' --id mine {\n linux /boot/vmlinuz-6.12.1-dmem quiet\n}\n", 0o755)
    expect(tree.run("apply"), 0)
    expect(tree.run("revert"), 0)
    write(tree.root / "etc/default/grub", SETTINGS.replace("DEFAULT=0", "DEFAULT=mine", 1))
    tree.run_in("/usr/sbin/update-grub", check=True)
    before = tree.state()
    expect(tree.run("apply"), 1, "entry 'Mine', which boots by default", "by hand")
    expect_unchanged(tree, before, allowed=["var/lib/dmemd"])


def case_saved_default(tree):
    write(tree.root / "etc/default/grub", SETTINGS.replace("DEFAULT=0", "DEFAULT=saved", 1))
    apply(tree)


def case_revert_while_recovery_boots_by_default(tree):
    """As GRUB_SAVEDEFAULT leaves a host after a night in recovery mode: just then the way back is wanted."""
    expect(tree.run("apply"), 0)
    write(tree.root / "etc/dmemd/dmemd.conf.d/more.conf", "[Kernel]\nReserve=6G\n")
    expect(tree.run("apply"), 0)
    title = re.search(r"menuentry '([^']*\(recovery mode\))'", (tree.root / CONFIG).read_text())[1]
    write(tree.root / "etc/default/grub", SETTINGS.replace(
        "DEFAULT=0", f'DEFAULT="Advanced options for Debian GNU/Linux>{title}"', 1))
    tree.run_in("/usr/sbin/update-grub", check=True)
    before = tree.state()
    expect(tree.run("apply"), 1, "which boots by default, is for recovery", "let another")
    expect_unchanged(tree, before)
    expect(tree.run("revert"), 0)
    assert {PLANNED} == set(tree.own_arguments()) - {""}


def case_memory_test(tree):
    write(tree.root / "etc/grub.d/20_memtest86+", "#!/bin/sh\ncat << 'E'\n"
          'menuentry "Memory test" {\n linux /boot/memtest86+x64.bin console=ttyS0\n}\nE\n', 0o755)
    expect(tree.run("apply"), 0)
    assert {"" if "memtest" in line else PLANNED for line in tree.linux_lines()
            if "single" not in line} == set(tree.own_arguments())


def case_kernels(tree):
    result = tree.run("apply", "--dry-run")
    expect(result, 0, "6.1.0-9-amd64", "CONFIG_DMEM")
    (tree.root / "boot/config-6.12.1-dmem").write_text("CONFIG_64BIT=y\n")
    before = tree.state()
    expect(tree.run("apply"), 1, "CONFIG_DMEM", "nothing was changed")
    expect_unchanged(tree, before)
    # One of which nobody can tell may be able to
    (tree.root / "boot/config-6.12.1-dmem").unlink()
    apply(tree)
    tree.configure("[Plan]\nBackend=hugetlb\n")
    (tree.root / "boot/config-6.12.1-dmem").write_text("CONFIG_64BIT=y\n")
    expect(tree.run("apply"), 0)


def case_tool_goes_wrong(tree):
    real = "exec grub-mkconfig -o /boot/grub/grub.cfg"
    scripts = {
        "missing": (None, "install the package grub2-common"),
        "fails at once": ("#!/bin/sh\necho no luck >&2\nexit 1\n", "no luck"),
        "fails half way": ("#!/bin/sh\nhead -c 2000 /boot/grub/grub.cfg > /tmp/half\n"
                           "cat /tmp/half > /boot/grub/grub.cfg\nexit 3\n", "update-grub failed"),
        "stops half way and is content": ("#!/bin/sh\nhead -c 2000 /boot/grub/grub.cfg > /tmp/half\n"
                                          "cat /tmp/half > /boot/grub/grub.cfg\n", "not whole"),
        "does nothing": ("#!/bin/sh\nexit 0\n", "Not every boot entry"),
        "is no program": ("#!/nowhere/sh\n", "update-grub"),
        "is killed": ("#!/bin/sh\nkill -9 $$\n", "update-grub failed"),
        "empties it": ("#!/bin/sh\n: > /boot/grub/grub.cfg\n", "no entry"),
        "forgets our settings": ("#!/bin/sh\nmv /etc/default/grub.d/90-dmemd.cfg /tmp/x\n"
                                 'grub-mkconfig "$@"\nmv /tmp/x /etc/default/grub.d/90-dmemd.cfg\n',
                                 "Not every boot entry"),
        "cannot be executed": ("", "cannot be executed"),
    }
    before = tree.state()
    for applied in [False, True]:
        for name, (script, words) in scripts.items():
            tree.set_tool(script)
            if name == "cannot be executed":
                os.chmod(tree.root / "usr/sbin/update-grub", 0o644)
            result = tree.run("apply")
            assert result.returncode == 1, f"{name}: {result}"
            assert words in result.stderr, f"{name}: {result.stderr}"
            expect_unchanged(tree, before, allowed=["var/lib/dmemd"])
        if not applied:
            tree.restore_tool()
            apply(tree)
            tree.configure("[Dmem]\nSize=2G\n")
            before = tree.state()
    # One that does not listen to -o is as good as any
    tree.set_tool(f"#!/bin/sh\n{real}\n")
    expect(tree.run("apply"), 0)
    assert not all_have(tree, PLANNED)
    assert not [n for n in tree.state() if n.startswith("var/lib/dmemd/grub")]


def case_revert_without_the_tool(tree):
    """From a rescue system, with a root in which no program runs: the way back is open."""
    tools = {
        "missing": None,
        "is no program of this machine": "\x7fELF is what it begins with\n",
        "has no shell": "#!/nowhere/sh\n",
        "misses what it is made of": "#!/bin/sh\nexec no-such-mkconfig -o /boot/grub/grub.cfg\n",
    }
    write(tree.root / "etc/grub.d/42_custom", "#!/bin/sh\ncat <<'EOF'\nmenuentry 'a  dmemd entry' {\n"
          "\tlinux  /vmlinuz  x='a  b'\tro\n}\n# dmem=9G\nEOF\n", 0o755)
    tree.run_in("/usr/sbin/update-grub", check=True)
    for plan_before in ("", "dmem=2G"):
        if plan_before:
            tree.configure("[Dmem]\nSize=2G\n")
            expect(tree.run("apply"), 0)
        tree.configure("[BootLoader]\nType=grub\n[Dmem]\nSize=3G\n")
        before = tree.state()
        for name, script in tools.items():
            expect(tree.run("apply"), 0)
            tree.set_tool(script)
            applied = tree.state()
            expect(tree.run("revert"), 1, "update-grub", "revert --without-tool")
            expect_unchanged(tree, applied)
            expect(tree.run("revert", "--without-tool", "--dry-run"), 0, f"/{CONFIG} would be changed",
                   stream="stdout")
            expect_unchanged(tree, applied)
            expect(tree.run("revert", "--without-tool"), 0, f"/{CONFIG} changed and read back",
                   "update-grub once the host is up", stream="stdout")
            changed = [n for n in difference(before, tree.state()) if not n.startswith("var/")]
            assert not changed, f"{name}: {changed}"
            tree.restore_tool()


def case_interrupted_by_the_user(tree):
    tree.set_tool("#!/bin/sh\ntouch /tmp/started\nsleep 60\n")
    before = tree.state()
    process = subprocess.Popen(tree.command("apply"), stderr=subprocess.PIPE, text=True)
    for _ in range(200):
        if tree.exists("tmp/started"):
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, output = process.communicate(timeout=20)
    assert process.returncode == 1 and "interrupted" in output, (process.returncode, output)
    expect_unchanged(tree, before, allowed=["var/lib/dmemd"])


def fill(path, leave):
    """Fills the file system that holds `path` but for `leave` bytes."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        while True:
            os.write(fd, bytes(4096))
    except OSError:
        pass
    os.ftruncate(fd, max(0, os.fstat(fd).st_size - leave))
    os.close(fd)


def case_full_disk(tree):
    for where in ["var/lib/dmemd", "etc/default/grub.d", "boot/grub"]:
        (tree.root / where).mkdir(parents=True, exist_ok=True)
        tree.small_disk(where, 128 * 1024)
        filler = tree.root / where / "filler"
        for pages in range(0, 12):
            fill(filler, pages * 4096)
            before = tree.state()
            result = tree.run("apply")
            if result.returncode == 0:
                filler.unlink()
                expect(tree.run("revert"), 0)
                break
            expect(result, 1, "No space left on device")
            expect_unchanged(tree, before)
        else:
            raise AssertionError(f"{where}: apply does not fit into 48K")
        filler.unlink(missing_ok=True)
        tree.release(where)


def case_full_disk_over_old_settings(tree):
    apply(tree)
    tree.configure("[Dmem]\nSize=2G\n")
    for where in ["var/lib/dmemd", "etc/default/grub.d", "boot/grub"]:
        tree.small_disk(where, 128 * 1024)
        filler = tree.root / where / "filler"
        for pages in range(0, 12):
            fill(filler, pages * 4096)
            before = tree.state()
            result = tree.run("apply")
            if result.returncode == 0:
                filler.unlink()
                expect(tree.run("revert"), 0)
                break
            expect(result, 1, "No space left on device")
            expect_unchanged(tree, before)
        filler.unlink(missing_ok=True)
        tree.release(where)


def case_read_only(tree):
    for where in ["boot/grub", "etc/default/grub.d", "var"]:
        (tree.root / "var/lib/dmemd").mkdir(exist_ok=True)
        tree.read_only(where)
        before = tree.state()
        expect(tree.run("apply"), 1, "Read-only file system")
        expect_unchanged(tree, before)
        expect(tree.run("plan"), 0)
        tree.release(where)
    apply(tree)


def case_two_writers(tree):
    apply(tree)
    fd = os.open(tree.root / "var/lib/dmemd", os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    before = tree.state()
    expect(tree.run("apply"), 1, f"process id {os.getpid()}")
    expect(tree.run("revert"), 1, f"process id {os.getpid()}")
    expect_unchanged(tree, before)
    os.close(fd)
    expect(tree.run("apply"), 0)


def case_ordinary_user(tree):
    os.chmod(tree.root.parent, 0o755)
    os.chmod(tree.root, 0o755)
    os.chmod(tree.root / CONFIG, 0o600)
    before = tree.state()
    prefix = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    if subprocess.run([*prefix, tree.dmemctl, "--version"], capture_output=True).returncode != 0:
        print("  (no other user may run dmemctl here, left out)")
        return
    expect(tree.run("apply", prefix=prefix), 1, "needs root", "sudo")
    expect(tree.run("revert", prefix=prefix), 1, "needs root")
    expect(tree.run("apply", "--dry-run", prefix=prefix), 0, "would be written", stream="stdout")
    expect_unchanged(tree, before)
    apply(tree)
    expect(tree.run("apply", "--dry-run", "--unchanged-exit-77", prefix=prefix), 77)


def case_state_of_somebody_else(tree):
    apply(tree)
    folder = tree.root / "var/lib/dmemd"
    os.chown(folder, 1, 1)
    expect(tree.run("apply"), 1, "must belong to root")
    os.chown(folder, 0, 0)
    os.chmod(folder, 0o777)
    expect(tree.run("revert"), 1, "must belong to root")
    os.chmod(folder, 0o755)
    os.chown(folder / "previous.json", 1, 1)
    expect(tree.run("revert"), 1, "not root's own")


def case_state_that_is_garbage(tree):
    apply(tree)
    before = tree.state()
    for text in ["", "{", "[]", '{"version":2}', '{"version":1,"files":[{"path":"etc/passwd",'
                 '"content":"x"}]}', '{"version":1,"files":[7]}', "\0" * 100]:
        (tree.root / "var/lib/dmemd/previous.json").write_text(text)
        expect(tree.run("revert"), 1, "previous.json", "nothing was changed")
        expect_unchanged(tree, before, allowed=["var/lib/dmemd/previous.json"])
    for text in ["", "{", '{"version":1,"arguments_before":[],"arguments_after":[],"settings":[{'
                 '"path":"etc/passwd","before":"x","after":null}],"state":[],'
                 '"generated_before":null}']:
        write(tree.root / "var/lib/dmemd/change.json", text)
        expect(tree.run("apply"), 1, "change.json", "cannot be understood")
    (tree.root / "var/lib/dmemd/change.json").unlink()
    for text in ["", "{}", "x"]:
        (tree.root / "var/lib/dmemd/applied.json").write_text(text)
        expect(tree.run("apply"), 0)
        assert PLANNED in tree.text("var/lib/dmemd/applied.json")


def case_damaged_grub_cfg(tree):
    apply(tree)
    text = tree.text(CONFIG)
    for damaged in [text[:2000], "", "\0" * 3000, text.replace(PLANNED, "dmem=1G", 1),
                    text.replace("single", f"single {PLANNED}", 1)]:
        (tree.root / CONFIG).write_text(damaged)
        expect(tree.run("apply"), 0, "regenerated", stream="stdout")
        assert tree.text(CONFIG) == text


def case_no_boot_loader(tree):
    for path in [CONFIG, "etc/default"]:
        (tree.root / path).rename(tree.root / "tmp/aside")
        before = tree.state()
        expect(tree.run("apply"), 1, "no boot loader", "no ")
        expect_unchanged(tree, before)
        (tree.root / "tmp/aside").rename(tree.root / path)
    tree.configure("[BootLoader]\nType=kernel-install\n")
    expect(tree.run("apply"), 1, "kernel-install")
    tree.configure("[BootLoader]\nType=grub\n")
    apply(tree)


def case_command_line_in_a_file(tree):
    """Type=file: our arguments among those of others."""
    line = tree.root / "boot/cmdline.txt"
    tree.configure("[BootLoader]\nType=file\nFile=/boot/cmdline.txt\n")
    grub = tree.text(CONFIG)
    expect(tree.run("apply"), 0, "/boot/cmdline.txt written", stream="stdout")
    assert line.read_text() == f"{PLANNED}\n"
    expect(tree.run("revert"), 0)
    assert not line.exists()
    line.write_text('root=/dev/sda1  a="b  c" dmem=1G ro -- x')
    expect(tree.run("apply"), 0)
    assert line.read_text() == f'root=/dev/sda1  a="b  c" {PLANNED} ro -- x\n', line.read_text()
    expect(tree.run("apply", "--unchanged-exit-77"), 77)
    assert tree.json("plan")["configured"] == [PLANNED]
    # What others add meanwhile stays when ours goes back
    line.write_text(line.read_text().replace(" ro ", " ro quiet "))
    expect(tree.run("revert"), 0)
    assert line.read_text() == 'root=/dev/sda1  a="b  c" dmem=1G ro quiet -- x\n', line.read_text()
    line.write_text("two\nlines\n")
    before = tree.state()
    expect(tree.run("apply"), 1, "more than one line")
    expect_unchanged(tree, before)
    assert tree.text(CONFIG) == grub


def case_boot_loader_chosen_anew(tree):
    """Type= changes after apply: nothing may stay behind in the boot loader of before."""
    before = tree.state()
    apply(tree)
    tree.configure("[BootLoader]\nType=file\nFile=/boot/cmdline.txt\n")
    applied = tree.state()
    for arguments in (["apply"], ["apply", "--dry-run"], ["apply", "--diff"]):
        expect(tree.run(*arguments), 1, PLANNED, "boot loader grub", "dmemctl revert", "Type=grub")
        expect_unchanged(tree, applied)
    document = tree.json("apply")
    assert "other-boot-loader" in [f["code"] for f in document["findings"]], document
    expect(tree.run("revert"), 0)
    expect_unchanged(tree, before, ["etc/dmemd", "etc/dmemd/dmemd.conf", "var/lib/dmemd"])
    # And the other way round
    expect(tree.run("apply"), 0)
    tree.configure("")
    expect(tree.run("apply"), 1, "boot loader file", "Type=file")
    expect(tree.run("revert"), 0, "/boot/cmdline.txt removed", stream="stdout")
    assert all_have(tree, "")
    expect(tree.run("apply"), 0)
    expect(tree.run("revert"), 0)


def case_boot_loader_chosen_anew_after_a_crash(tree):
    before = tree.state()
    tree.set_tool("#!/bin/sh\nkill -9 $PPID\n")
    assert tree.run("apply").returncode == -9
    assert tree.exists("var/lib/dmemd/change.json")
    tree.restore_tool()
    tree.configure("[BootLoader]\nType=file\nFile=/no/such/folder/x\n")
    expect(tree.run("revert"), 1, "put back what an interrupted change", "/no/such/folder")
    expect_unchanged(tree, before, ["etc/dmemd", "etc/dmemd/dmemd.conf", "var/lib/dmemd"])


def case_boot_loader_that_is_gone(tree):
    apply(tree)
    (tree.root / CONFIG).rename(tree.root / "boot/grub/gone.cfg")
    before = tree.state()
    expect(tree.run("revert"), 1, "/var/lib/dmemd/previous.json was written for", "boot/grub/grub.cfg",
           "remove that file")
    expect_unchanged(tree, before)


def case_bytes_that_are_no_text(tree):
    """JSON is UTF-8, whatever is in the files that it shows."""
    line = tree.root / "boot/cmdline.txt"
    tree.configure("[BootLoader]\nType=file\nFile=/boot/cmdline.txt\n")
    line.write_bytes(b"root=/dev/sda1 a=\xff\xfeb dmem=\x80 \xe2\x82\xac\n")
    (tree.root / "proc/cmdline").write_bytes(b"dmem=\xc3\x28 quiet\n")
    (tree.root / "etc/dmemd/dmemd.conf.d").mkdir()
    odd = os.fsencode(tree.root / "etc/dmemd/dmemd.conf.d") + b"/\xff.conf"
    with open(odd, "w") as file:
        file.write("[Node 1]\nSize=900G\n")

    def print_json(*arguments):
        done = subprocess.run(tree.command(*arguments), capture_output=True, timeout=120)
        return json.loads(done.stdout.decode("utf-8"))  # else it says where

    for form in ("--json=short", "--json=pretty"):
        for arguments in (["plan"], ["status"], ["apply", "--dry-run"]):
            print_json(form, *arguments)
    os.unlink(odd)
    print_json("--json=short", "verify")
    document = print_json("--json=short", "apply")
    assert document["files"][0]["before"] == "root=/dev/sda1 a=\ufffd\ufffdb dmem=\ufffd \u20ac\n"
    assert line.read_bytes() == f"root=/dev/sda1 a=\udcff\udcfeb {PLANNED} €\n".encode(
        errors="surrogateescape")
    expect(tree.run("revert"), 0)
    assert line.read_bytes() == b"root=/dev/sda1 a=\xff\xfeb dmem=\x80 \xe2\x82\xac\n"


def case_bad_configuration(tree):
    tree.configure("[Dmem]\nSize=banana\nSzie=1G\n")
    before = tree.state()
    expect(tree.run("apply"), 78, "dmemd.conf", "Szie", "banana")
    expect_unchanged(tree, before)
    tree.configure("[Dmem]\nSize=900G\n")
    before = tree.state()
    expect(tree.run("apply"), 1, "900G", "nothing was changed")
    expect_unchanged(tree, before)


def case_live_root(tree):
    """As on the host itself: dmemctl inside, its root is /."""
    program = tree.root / "usr/sbin/dmemctl"
    program.write_bytes(pathlib.Path(tree.dmemctl).read_bytes())
    program.chmod(0o755)
    result = tree.run_in("/usr/sbin/dmemctl", "apply", "--dry-run")
    if "error while loading" in result.stderr:
        print("  (a library of dmemctl is not below /usr, left out)")
        return
    if result.returncode != 0:
        # The memory of this machine may be too small to plan with, or laid out in an odd way
        print(f"  (no plan for this machine, left out: {result.stderr.strip()})")
        return
    expect(tree.run_in("/usr/sbin/dmemctl", "apply"), 0)
    expect(tree.run_in("/usr/sbin/dmemctl", "apply", "--unchanged-exit-77"), 77)
    expect(tree.run_in("/usr/sbin/dmemctl", "verify"), 3)
    expect(tree.run_in("/usr/sbin/dmemctl", "revert"), 0)


def case_verify(tree):
    expect(tree.run("verify"), 3, "dmemctl apply", stream="stdout")
    expect(tree.run("verify", "--detailed-exitcode"), 2)
    apply(tree)
    expect(tree.run("verify"), 3, "reboot", stream="stdout")
    (tree.root / "proc/cmdline").write_text(f"quiet {PLANNED}\n")
    document = tree.json("verify")
    assert document["configured_as_planned"] is True and document["booted_as_planned"] is True
    assert document["in_force"] is False, document


def main(parent):
    cases = {name[len("case_"):]: function for name, function in globals().items()
             if name.startswith("case_")}
    chosen = sys.argv[2:] or (QUICK if os.environ.get("DMEMD_TEST_QUICK") else list(cases))
    failed = 0
    for name in chosen:
        started = time.monotonic()
        try:
            tree = grub_tree.Tree(sys.argv[1], parent)
        except subprocess.CalledProcessError as error:
            grub_tree.skip(f"the real update-grub does not run here: {error.stderr}")
        try:
            cases[name](tree)
            print(f"ok   {name} ({time.monotonic() - started:.1f} s)", flush=True)
        except Exception:  # whatever went wrong, the other cases are to run, too
            failed += 1
            traceback.print_exc()
            print(f"FAIL {name}", flush=True)
        finally:
            tree.close()
    print(f"{len(chosen)} cases, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(grub_tree.run(main))
