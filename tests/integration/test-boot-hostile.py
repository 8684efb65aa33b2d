#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""apply and revert on files and folders that are not as one would expect, and among others who
write.

usage: test-boot-hostile.py DMEMCTL FAST_CLOCK [CASE...]
"""

import fcntl
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
import traceback

sys.dont_write_bytecode = True  # nothing of ours appears among the sources
import boot_scenario
import grub_tree
from boot_scenario import FIRST, SECOND, UPDATE_GRUB
from grub_tree import CONFIG, DROPIN, difference, write

FAST_CLOCK = None
CHANGE = "var/lib/dmemd/change.json"


def expect(result, status, *words, stream="stderr"):
    output = getattr(result, stream)
    assert result.returncode == status, \
        f"exit status {result.returncode}, expected {status}\n{result.stdout}{result.stderr}"
    for word in words:
        assert word in output, f"`{word}` is not in {stream}:\n{output}"


def expect_unchanged(tree, before, allowed=("var/lib/dmemd",)):
    changed = [name for name in difference(before, tree.state()) if name not in allowed]
    assert not changed, f"changed: {changed}"


def own_file(tree):
    """The last file that a change writes, which is not made by us and has to survive as it is."""
    return tree.root / tree.boot_files[-1]


def has_second_plan(tree):
    return all("2G" in text.decode() for text in tree.boot_settings().values())


def apply_both(tree):
    tree.plan(FIRST)
    expect(tree.run("apply"), 0)
    tree.plan(SECOND)


def loaders(*names):
    """For cases that make no sense with the others."""
    def decorate(case):
        case.loaders = names
        return case
    return decorate


def case_missing_state_folder(tree):
    apply_both(tree)
    shutil.rmtree(tree.root / "var")
    expect(tree.run("apply"), 0)
    assert has_second_plan(tree)
    assert stat.S_IMODE((tree.root / "var/lib/dmemd").stat().st_mode) == 0o755
    expect(tree.run("revert"), 0)
    shutil.rmtree(tree.root / "var")
    expect(tree.run("revert"), 0, "Nothing to revert", stream="stdout")
    assert not tree.exists("var")


def case_strict_umask(tree):
    old = os.umask(0o077)
    try:
        tree.plan(FIRST)
        expect(tree.run("apply"), 0)
    finally:
        os.umask(old)
    assert stat.S_IMODE((tree.root / "var/lib/dmemd").stat().st_mode) == 0o755
    assert stat.S_IMODE((tree.root / "var/lib/dmemd/applied.json").stat().st_mode) == 0o644


def case_nothing_to_do_on_a_read_only_host(tree):
    tree.plan(FIRST)
    expect(tree.run("apply"), 0)
    for where in ["boot", "etc", "var"]:
        tree.read_only(where)
    expect(tree.run("apply", "--unchanged-exit-77"), 77)
    expect(tree.run("apply", "--dry-run"), 0)
    expect(tree.run("revert"), 1, "Read-only file system", "mount it for writing")
    tree.release("var")
    expect(tree.run("revert"), 1, "Read-only file system", "as it was before")
    tree.release("etc")
    before = tree.state()
    expect(tree.run("revert"), 1, "Read-only file system", "as it was before")
    expect_unchanged(tree, before)
    tree.release("boot")
    expect(tree.run("revert"), 0)


def case_file_systems_of_their_own(tree):
    for where in ["var", "boot", "etc"]:
        tree.small_disk(where, 1 << 20)
    apply_both(tree)
    expect(tree.run("apply"), 0)
    assert has_second_plan(tree)
    expect(tree.run("revert"), 0)
    assert not has_second_plan(tree)
    tree.state()  # complains about temporary files
    for where in ["etc", "boot", "var"]:
        tree.release(where)


def case_symbolic_links(tree):
    tree.plan(FIRST)
    expect(tree.run("apply"), 0)
    (tree.root / "etc/elsewhere").mkdir()
    links = {}
    for number, path in enumerate(tree.boot_files):
        target = f"etc/elsewhere/{number}"
        (tree.root / path).rename(tree.root / target)
        # As on a live host, and as somebody may have written it by hand
        links[path] = f"/{target}" if number % 2 else \
            "/".join([".."] * path.count("/")) + f"/{target}"
        (tree.root / path).symlink_to(links[path])
    tree.plan(SECOND)
    for verb in ["apply", "revert"]:
        expect(tree.run(verb), 0)
        for path, link in links.items():
            assert os.readlink(tree.root / path) == link, f"{path} is no link any more"
        contents = [p.read_text() for p in sorted((tree.root / "etc/elsewhere").iterdir())]
        assert all(("2G" in text) == (verb == "apply") for text in contents), contents
    names = sorted(p.name for p in (tree.root / "etc/elsewhere").iterdir())
    assert names == [str(n) for n in range(len(links))], names


@loaders("grub", "file")
def case_link_loop(tree):
    apply_both(tree)
    path = tree.root / tree.boot_files[0]
    path.unlink()
    path.symlink_to(path.name)
    expect(tree.run("apply"), 1)
    assert os.readlink(path) == path.name
    path.unlink()
    expect(tree.run("apply"), 0)
    assert has_second_plan(tree)


def case_hard_links(tree):
    apply_both(tree)
    old = own_file(tree).read_text()
    os.link(own_file(tree), tree.root / "boot/snapshot")
    expect(tree.run("apply"), 0)
    assert has_second_plan(tree)
    assert (tree.root / "boot/snapshot").read_text() == old
    (tree.root / "boot/snapshot").unlink()


def case_owner_mode_and_attributes(tree):
    apply_both(tree)
    attributes = {"trusted.note": b"x" * 300,
                  "security.selinux": b"system_u:object_r:boot_t:s0\0"}
    files = [tree.root / path for path in tree.boot_files]
    for path in files:
        os.chown(path, 7, 8)
        path.chmod(0o4640)
        for name, value in attributes.items():
            os.setxattr(path, name, value)
    for verb in ["apply", "revert"]:
        expect(tree.run(verb), 0)
        for path in files:
            status = path.stat()
            assert (status.st_uid, status.st_gid) == (7, 8), f"{path}: {status}"
            assert stat.S_IMODE(status.st_mode) == 0o4640, f"{path}: {oct(status.st_mode)}"
            for name, value in attributes.items():
                assert os.getxattr(path, name) == value, f"{path}: {name}"


def case_immutable(tree):
    apply_both(tree)
    path = own_file(tree)
    if subprocess.run(["chattr", "+i", path], capture_output=True).returncode != 0:
        print("  (this file system knows no immutable files, left out)")
        return
    before = tree.state()
    try:
        expect(tree.run("apply"), 1, f"/{tree.boot_files[-1]}", "lsattr", "as it was before")
    finally:
        subprocess.run(["chattr", "-i", path], check=True)
    expect_unchanged(tree, before)
    expect(tree.run("apply"), 0)


def replaced(tree, path, make):
    """With something else in place of a file; puts the file back afterwards."""
    aside = tree.root / "tmp/aside"
    exists = (tree.root / path).exists()
    if exists:
        shutil.move(tree.root / path, aside)
    make(tree.root / path)
    try:
        for verb in ["apply", "revert"]:
            result = tree.run(verb)
            assert result.returncode == 1, f"{path}: {verb}: {result}"
            yield verb, result.stderr
    finally:
        if (tree.root / path).is_dir():
            (tree.root / path).rmdir()
        else:
            (tree.root / path).unlink()
        if exists:
            shutil.move(aside, tree.root / path)


def case_no_regular_files(tree):
    apply_both(tree)
    before = tree.state()
    kinds = {"FIFO": os.mkfifo, "folder": os.mkdir,
             "device": lambda p: os.mknod(p, stat.S_IFCHR | 0o600, os.makedev(1, 3)),
             "socket": lambda p: os.mknod(p, stat.S_IFSOCK | 0o600)}
    for name, make in kinds.items():
        for path in tree.boot_files:
            if "/entries/" in path:
                continue  # no boot loader looks at such an entry, so neither do we
            for verb, message in replaced(tree, path, make):
                where = f"{name} as {path}: {verb}: {message}"
                assert "nothing was changed" in message or "as it was before" in message, where
                assert path in message, where
                assert "regular file" in message or "folder" in message or \
                    "directory" in message, where
            expect_unchanged(tree, before)
    expect(tree.run("apply"), 0)


def case_changed_by_somebody_else(tree):
    """Between our look and our write."""
    apply_both(tree)
    path = tree.root / tree.boot_files[0]
    now = path.read_text().replace("root=/dev/sda1", "root=/dev/sdb1") + \
        ("" if tree.name == "file" else "# noted by somebody\n")
    before = tree.state()
    # Stopped as it writes change.json, it has looked at everything and changed nothing yet
    prefix = ["strace", "-qq", "-o", "/dev/null", "-e", "trace=renameat", "-e",
              "inject=renameat:delay_enter=2000000:when=1"]
    process = subprocess.Popen([*prefix, *tree.command("apply")], stderr=subprocess.PIPE,
                               text=True, env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0"})
    for _ in range(400):
        if tree.exists("var/lib/dmemd/.#dmemd-change.json"):
            break
        time.sleep(0.02)
    path.write_text(now)
    _, message = process.communicate(timeout=60)
    assert process.returncode == 1 and "somebody else changed it" in message, message
    assert f"/{tree.boot_files[0]}" in message, message
    assert path.read_text() == now
    expect_unchanged(tree, before, allowed=["var/lib/dmemd", tree.boot_files[0]])
    expect(tree.run("apply"), 0)
    assert has_second_plan(tree)


def case_two_at_once(tree):
    apply_both(tree)
    stages = [tree.boot_settings()]
    expect(tree.run("apply"), 0)
    stages.append(tree.boot_settings())
    expect(tree.run("revert"), 0)
    for _ in range(3):
        runs = [subprocess.Popen(tree.command("apply"), stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE, text=True) for _ in range(3)]
        results = [(run.communicate(timeout=60)[1], run.returncode) for run in runs]
        assert any(status == 0 for _, status in results), results
        for message, status in results:
            assert status in (0, 1), results
            assert status == 0 or "is changing the boot settings" in message, results
        assert tree.boot_settings() == stages[1]
        expect(tree.run("revert"), 0)
        assert tree.boot_settings() == stages[0]
        tree.state()  # complains about temporary files


def case_lock_on_a_read_only_host(tree):
    apply_both(tree)
    tree.read_only("var")
    fd = os.open(tree.root / "var/lib/dmemd", os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    expect(tree.run("apply"), 1, f"process id {os.getpid()}")
    os.close(fd)
    expect(tree.run("apply"), 1, "Read-only file system")
    tree.release("var")
    expect(tree.run("apply"), 0)


@loaders("grub")
def case_grub_cfg_changed_while_the_tool_ran(tree):
    apply_both(tree)
    tree.set_tool(UPDATE_GRUB + "echo '# a new kernel' >> /boot/grub/grub.cfg\n")
    expect(tree.run("apply"), 1, f"/{CONFIG}", "somebody else changed it")
    assert tree.text(CONFIG).endswith("# a new kernel\n"), tree.text(CONFIG)
    assert not has_second_plan(tree)
    assert not tree.exists(CHANGE)
    tree.set_tool(UPDATE_GRUB)
    expect(tree.run("apply"), 0)
    assert has_second_plan(tree)


@loaders("grub")
def case_tool_that_hangs(tree):
    """It is given a quarter of an hour, of a clock that runs fast."""
    apply_both(tree)
    before = tree.state()
    tree.set_tool("#!/bin/sh\necho waiting for the disk\nsleep 1000 &\nsleep 1000\n")
    environment = {**os.environ, "LD_PRELOAD": FAST_CLOCK,
                   "ASAN_OPTIONS": "verify_asan_link_order=0"}
    result = subprocess.run(tree.command("apply"), capture_output=True, text=True, timeout=120,
                            env=environment)
    expect(result, 1, "update-grub does not come to an end", "waiting for the disk",
           "as it was before")
    expect_unchanged(tree, before)


@loaders("grub")
def case_signals(tree):
    """Of the terminal and of systemd, to dmemctl alone and to the whole group."""
    apply_both(tree)
    tree.set_tool("#!/bin/sh\necho garbage > /boot/grub/grub.cfg\ntouch /tmp/started\n"
                  "sleep 1000 & sleep 1000\n")
    before = tree.state()
    for number in [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]:
        (tree.root / "tmp/started").unlink(missing_ok=True)
        process = subprocess.Popen(tree.command("apply"), stderr=subprocess.PIPE, text=True,
                                   start_new_session=True)
        while not tree.exists("tmp/started"):
            time.sleep(0.02)
        os.killpg(process.pid, number)
        _, message = process.communicate(timeout=60)
        assert process.returncode == 1 and "interrupted" in message, (number, message)
        expect_unchanged(tree, before)
    tree.set_tool(UPDATE_GRUB)
    expect(tree.run("apply"), 0)


@loaders("grub")
def case_tool_that_was_killed(tree):
    """By the kernel that was short of memory, say. What it had started must not go on writing."""
    apply_both(tree)
    before = tree.state()
    tree.set_tool("#!/bin/sh\n(sleep 1; echo garbage > /boot/grub/grub.cfg) &\nkill -9 $$\n")
    expect(tree.run("apply"), 1, "update-grub failed", "as it was before")
    time.sleep(1.5)
    expect_unchanged(tree, before)


@loaders("grub")
def case_no_entry_to_boot(tree):
    tree.plan(FIRST)
    without = UPDATE_GRUB.replace("for version in 6.12.1-dmem 6.1.0-9-amd64", "for version in ")
    tree.set_tool(without)
    before = tree.state()
    expect(tree.run("apply"), 1, "no entry for a kernel", "as it was before")
    expect_unchanged(tree, before)
    tree.set_tool(UPDATE_GRUB.replace('default="0"', 'default="none of these"'))
    expect(tree.run("apply"), 0)


@loaders("file")
def case_folder_of_the_file_is_missing(tree):
    tree.configure("[BootLoader]\nType=file\nFile=/bot/cmdline.txt\n")
    before = tree.state()
    expect(tree.run("apply"), 1, "/bot/")
    expect_unchanged(tree, before)
    assert not tree.exists("bot")


def main(parent):
    global FAST_CLOCK
    FAST_CLOCK = sys.argv[2]
    grub_tree.mount("-t", "tmpfs", "-o", "mode=755", "trees", parent)
    cases = {name[len("case_"):]: function for name, function in globals().items()
             if name.startswith("case_")}
    failed = n = 0
    for name in sys.argv[3:] or list(cases):
        for kind in boot_scenario.ALL:
            if kind.name not in getattr(cases[name], "loaders", [kind.name]):
                continue
            tree = boot_scenario.make(kind, sys.argv[1], parent)
            started = time.monotonic()
            n += 1
            try:
                cases[name](tree)
                print(f"ok   {kind.name}: {name} ({time.monotonic() - started:.1f} s)", flush=True)
            except Exception:  # whatever went wrong, the other cases are to run, too
                failed += 1
                traceback.print_exc()
                print(f"FAIL {kind.name}: {name}", flush=True)
            finally:
                tree.close()
    print(f"{n} cases, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(grub_tree.run(main))
