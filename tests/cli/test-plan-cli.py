#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What users and scripts see of dmemctl plan, check-config and cat-config: status, stdout, stderr."""

from __future__ import annotations

import fcntl
import json
import os
import pathlib
import pty
import re
import select
import shutil
import struct
import subprocess
import tempfile
import termios
import time
import unittest

from cli import DMEMCTL, FIXTURES, SOURCE, captured_hosts, check_schema, jsonschema

BEFORE, IN_FORCE = FIXTURES / "x86_64-2n-before", FIXTURES / "x86_64-2n-in-force"
GiB = 1 << 30
TIME_LIMIT = 60
PLAIN = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "TERM": "xterm-256color"}


def run(*arguments, stdout=subprocess.PIPE, **environment):
    """Exit status, stdout and stderr of one command, without the caller's environment."""
    options = {k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")}
    r = subprocess.run([DMEMCTL, *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=stdout,
                       stderr=subprocess.PIPE, text=True, timeout=TIME_LIMIT,
                       env={**PLAIN, **options, **environment})
    return r.returncode, r.stdout, r.stderr


def run_on_terminal(*arguments, columns=100, **environment):
    """The same with stdout on a terminal of that width; returns status and what it showed."""
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    options = {k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")}
    process = subprocess.Popen([DMEMCTL, *map(str, arguments)], stdin=subprocess.DEVNULL,
                               stdout=child, stderr=child, env={**PLAIN, **options, **environment},
                               start_new_session=True)
    os.close(child)
    shown, end = b"", time.monotonic() + TIME_LIMIT
    while time.monotonic() < end:
        ready, _, _ = select.select([parent], [], [], 1)
        if not ready:
            continue
        try:
            data = os.read(parent, 4096)
        except OSError:  # EIO: nobody has the other side open any more
            break
        if not data:
            break
        shown += data
    os.close(parent)
    return process.wait(TIME_LIMIT), shown.decode().replace("\r\n", "\n")


def plan_json(*arguments):
    status, out, err = run("--json=short", *arguments, "plan")
    if status not in (0, 1):
        raise AssertionError(f"{arguments}: exit status {status}: {err}")
    return json.loads(out)


class Tree:
    """A host of a few nodes that boots by GRUB, in a scratch folder."""

    def __init__(self, case: unittest.TestCase, nodes=(16, 16)):
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="dmemd-test-cli."))
        case.addCleanup(shutil.rmtree, self.root)
        self.write("dmemd-capture/page_size", "4096\n")
        self.write("proc/zoneinfo", "".join(
            f"Node {n}, zone   Normal\n  pages free     1000\n        spanned  {g << 18}\n"
            f"        present  {g << 18}\n        managed  {g << 18}\n"
            for n, g in enumerate(nodes)))
        for n in range(len(nodes)):
            self.write(f"sys/devices/system/node/node{n}/cpulist", f"{n}\n")
            self.write(f"sys/devices/system/node/node{n}/meminfo",
                       f"Node {n} MemTotal:  1000000 kB\n")

    def write(self, path, text):
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text if isinstance(text, bytes) else text.encode())

    def conf(self, text, name="etc/dmemd/dmemd.conf"):
        self.write(name, text)

    def boots_with(self, configured, booted):
        self.write("etc/default/grub", "GRUB_CMDLINE_LINUX_DEFAULT=quiet\n")
        (self.root / "etc/default/grub.d").mkdir(parents=True, exist_ok=True)
        self.write("boot/grub/grub.cfg",
                   "menuentry 'Linux' --class gnu-linux $menuentry_id_option 'linux' {\n"
                   f"\tlinux\t/boot/vmlinuz-6.12.0 root=/dev/sda1 ro quiet {configured}\n"
                   "}\n")
        self.write("proc/cmdline", f"BOOT_IMAGE=/boot/vmlinuz-6.12.0 root=/dev/sda1 ro {booted}\n")


class Usage(unittest.TestCase):
    def check(self, arguments, expected):
        status, out, err = run(*arguments)
        self.assertEqual((status, out), (2, ""), arguments)
        self.assertEqual(err.count("\n"), 1, arguments)
        self.assertIn(expected, err)
        self.assertIn("dmemctl --help", err)

    def test_wrong(self):
        for arguments, expected in [
                (["frobnicate"], "no verb frobnicate, the verbs are"),
                (["pla"], "no verb pla,"),
                (["plan", "x"], "x is too much"),
                (["plan", "--", "--diff"], "--diff is too much"),
                (["--frobnicate", "plan"], "no option --frobnicate"),
                (["-x", "plan"], "no option -x"),
                (["--diff=yes", "plan"], "--diff takes no argument"),
                (["--di", "plan"], "no option --di, perhaps you mean --diff"),
                (["--roo=/", "plan"], "perhaps you mean --root"),
                (["--roo", "/", "plan"], "perhaps you mean --root"),
                (["plan", "--root"], "--root needs an argument"),
                (["--root=", "plan"], "--root= needs a directory"),
                (["--config=", "plan"], "--config= needs a file"),
                (["--json=yaml", "plan"], "it must be pretty, short or off"),
                (["check-config", "--diff"], "--diff does not go with check-config"),
                (["cat-config", "-j"], "cat-config has no JSON form"),
        ]:
            self.check(arguments, expected)
        status, _, err = run("frobnicate")
        for verb in "plan", "check-config", "cat-config":
            self.assertIn(verb, err)

    def test_root(self):
        status, out, err = run("--root=/nowhere/at/all", "plan")
        self.assertEqual((status, out), (1, ""))
        self.assertIn("/nowhere/at/all", err)

    def test_help(self):
        status, out, err = run("--help")
        self.assertEqual((status, err), (0, ""))
        self.assertEqual(run("-h")[1], out)
        self.assertEqual(run("plan", "--help")[1], out)
        # Each verb that it names runs, each option that it names is taken.
        for verb in re.findall(r"^  ([a-z-]+) ", out.split("Options:")[0], re.M):
            self.assertNotIn("no verb", run(verb, "--root=/nowhere/at/all")[2])
        for option in re.findall(r"^ +(?:-\w )?(--[a-z0-9-]+)", out.split("Options:")[1], re.M):
            self.assertNotIn("no option", run(option)[2], option)
        self.assertRegex(run("--version")[1], r"^dmemctl \d+\.\d+\.\d+\n$")

    def test_options_anywhere(self):
        expected = run(f"--root={BEFORE}", "--no-legend", "plan")
        self.assertEqual(expected[0], 0)
        self.assertEqual(run("plan", "--no-legend", "--root", BEFORE), expected)
        self.assertEqual(run("plan", "--no-legend", "--root", BEFORE, POSIXLY_CORRECT="1"),
                         expected)


class Plan(unittest.TestCase):
    @unittest.skipUnless(jsonschema, "python3-jsonschema is not installed")
    def test_schema(self):
        for root in captured_hosts():
            check_schema(plan_json(f"--root={root}"), "plan")
        with tempfile.TemporaryDirectory() as empty:
            plan = plan_json(f"--root={empty}")
            check_schema(plan, "plan")
            self.assertEqual((plan["booted"], plan["configured"], plan["changed"],
                              plan["reboot_required"], plan["boot_node"]), (None,) * 5)

    def test_after_reboot(self):
        """The plan of a host that runs with it is the plan of before."""
        before, after = plan_json(f"--root={BEFORE}"), plan_json(f"--root={IN_FORCE}")
        for key in "backend", "page_size", "boot_node", "nodes", "arguments", "savings":
            self.assertEqual(before[key], after[key], key)
        self.assertTrue(before["reboot_required"])

    def test_adds_up(self):
        """As shown, not only as computed."""
        tree = Tree(self, nodes=(16, 7, 33))
        tree.conf("[HugePages]\nPages2M=3\nPages1G=1\n[Dmem]\nAlign=4G\n")
        _, out, _ = run(f"--root={tree.root}", "plan")
        rows = [list(map(int, line.split()[1:])) for line in out.splitlines()
                if re.match(r" +(\d+|all)  ", line)]
        self.assertEqual(len(rows), 4)
        for row in rows:
            self.assertEqual(row[0], sum(row[1:]), row)
        for column in zip(*rows):
            self.assertEqual(column[-1], sum(column[:-1]))

    def test_json_formats(self):
        options = ["--root=" + str(BEFORE), "plan"]
        short = run("--json=short", *options)[1]
        pretty = run("--json=pretty", *options)[1]
        self.assertEqual(short.count("\n"), 1)
        self.assertGreater(pretty.count("\n"), 20)
        self.assertEqual(json.loads(short), json.loads(pretty))
        self.assertEqual(run("-j", *options)[1], short)
        self.assertEqual(run_on_terminal("-j", "--no-pager", *options)[1], pretty)
        self.assertEqual(run("-j", "--json=off", *options), run(*options))

    def test_changes(self):
        planned = "dmem=0:12G,1:14G"
        for configured, booted, changed, reboot in [
                ("", "", True, True),
                (planned, "", False, True),
                (planned, planned, False, False),
                ("", planned, True, False),
                ("dmem=0:12G", planned, True, False),
                (planned + " hugepages=4", planned, True, False)]:
            tree = Tree(self)
            tree.boots_with(configured, booted)
            plan = plan_json(f"--root={tree.root}")
            self.assertEqual(plan["arguments"], [planned])
            self.assertEqual(plan["configured"], configured.split())
            self.assertEqual(plan["booted"], booted.split())
            self.assertEqual((plan["changed"], plan["reboot_required"]), (changed, reboot))
            root = f"--root={tree.root}"
            self.assertEqual(run(root, "plan")[0], 0)
            self.assertEqual(run(root, "plan", "--detailed-exitcode")[0], 2 if changed else 0)
            status, out, err = run(root, "plan", "--diff")
            self.assertEqual((status, err), (0, ""))
            self.assertEqual(out == "", not changed)

    def test_diff(self):
        tree = Tree(self)
        tree.boots_with("hugepagesz=1G hugepages=0:4 dmem=0:1G", "")
        tree.conf("[HugePages]\nPages1G=4\n")
        self.assertEqual(run(f"--root={tree.root}", "plan", "--diff")[1], """\
--- configured
+++ planned
+dmem=0:8G,1:10G
 hugepagesz=1G
-hugepages=0:4
-dmem=0:1G
+hugepages=0:4,1:4
+hugetlb_free_vmemmap=on
""")

    def test_errors(self):
        """The plan is printed even when it cannot be applied, and why is on stderr as well."""
        tree = Tree(self)
        tree.conf("[Dmem]\nSize=13G\n")
        root = f"--root={tree.root}"
        status, out, err = run(root, "plan")
        self.assertEqual(status, 1)
        self.assertIn("dmem=1:13G", out)
        for text in out, err:
            self.assertIn("Size= in /etc/dmemd/dmemd.conf, line 2", text)
        self.assertEqual(run(root, "plan", "--detailed-exitcode")[0], 1)
        self.assertIn("does-not-fit", [f["code"] for f in plan_json(root)["findings"]])

        tree.conf("[Kernel]\nReserve=0\nReservePercent=0\nBootNodeReserve=0\n")
        self.assertEqual(run(root, "plan")[0], 1)
        self.assertEqual(run(root, "plan", "--allow-below-floor")[0], 0)

    def test_config_option(self):
        tree = Tree(self)
        tree.conf("[Dmem]\nSize=x\n")
        tree.write("outside.conf", "[Dmem]\nSize=1G\n")
        root, outside = f"--root={tree.root}", f"--config={tree.root}/outside.conf"
        self.assertEqual(plan_json(root, outside)["arguments"], ["dmem=0:1G,1:1G"])
        status, out, err = run(root, "plan")
        self.assertEqual((status, out), (78, ""))
        self.assertIn("/etc/dmemd/dmemd.conf:2: Size=\"x\"", err)
        status, out, err = run(root, "plan", "--config=/nowhere/x.conf")
        self.assertEqual((status, out), (78, ""))
        self.assertIn("/nowhere/x.conf: cannot be read", err)
        self.assertEqual(run(root, "plan", "--config=/dev/null")[0], 0)

    def test_config_pipe(self):
        """What a shell passes in a pipe is read; one into which nobody writes does not hang us."""
        tree = Tree(self)
        r = subprocess.run(["bash", "-c", '"$0" --root="$1" --json=short plan '
                            '--config=<(sleep 0.2; echo "[Dmem]"; sleep 0.2; echo Size=1G)',
                            DMEMCTL, str(tree.root)], capture_output=True, text=True,
                           timeout=TIME_LIMIT)
        self.assertEqual(json.loads(r.stdout)["arguments"], ["dmem=0:1G,1:1G"], r.stderr)
        os.mkfifo(tree.root / "fifo")
        for path, expected in ("fifo", "timed out"), ("proc", "Is a directory"), \
                ("none", "No such file"):
            status, out, err = run(f"--root={tree.root}", "check-config",
                                   f"--config={tree.root}/{path}")
            self.assertEqual((status, out), (78, ""))
            self.assertIn(f"{path}: cannot be read", err)
            self.assertIn(expected, err)
        status, _, err = run("check-config", "--config=/dev/zero")
        self.assertEqual(status, 78)
        self.assertIn("File too large", err)

    def test_nodes_left_alone(self):
        tree = Tree(self)
        tree.write("sys/devices/system/node/node1/cpulist", "\n")
        (tree.root / "sys/devices/system/node/node5").mkdir()
        nodes = {n["id"]: n for n in plan_json(f"--root={tree.root}")["nodes"]}
        self.assertEqual(nodes[1]["reason"], "no-cpus")
        self.assertEqual(nodes[5]["installed_bytes"], None)
        self.assertEqual(nodes[5]["kernel_bytes"], None)
        self.assertEqual(nodes[5]["reason"], "memory-unknown")
        _, out, _ = run(f"--root={tree.root}", "plan")
        self.assertRegex(out, r"(?m)^ +5 +unknown +- .*memory-unknown$")

    def test_many_nodes(self):
        tree = Tree(self, nodes=[256] * 64)
        before = time.monotonic()
        plan = plan_json(f"--root={tree.root}")
        # Far more than it takes, for machines that are busy and sanitizers
        self.assertLess(time.monotonic() - before, 5)
        self.assertEqual(len(plan["nodes"]), 64)
        self.assertEqual(plan["arguments"][0].count(":"), 64)
        self.assertNotIn("error", [f["severity"] for f in plan["findings"]])

    def test_garbage(self):
        for path in ("proc/zoneinfo", "proc/meminfo", "proc/cmdline", "proc/iomem",
                     "sys/devices/system/node/node0/cpulist",
                     "sys/devices/system/node/node0/meminfo", "boot/grub/grub.cfg"):
            for data in b"", b"\0" * 4096, b"\xff" * 100, b"Node 0, zone x\n present 9" + b"9" * 99:
                tree = Tree(self)
                tree.boots_with("", "")
                tree.write(path, data)
                status, out, err = run(f"--root={tree.root}", "plan")
                self.assertIn(status, (0, 1), (path, data, err))
                self.assertIn("Boot arguments", out)


class Output(unittest.TestCase):
    def test_full_disk(self):
        if not os.path.exists("/dev/full"):
            self.skipTest("there is no /dev/full")
        for arguments in ["plan"], ["plan", "-j"], ["--help"], ["--version"], ["plan", "--diff"]:
            with open("/dev/full", "w") as full:
                status, _, err = run(f"--root={BEFORE}", *arguments, stdout=full)
            self.assertEqual(status, 1, arguments)
            self.assertIn("standard output: No space left on device", err)

    def test_closed(self):
        for words in "plan", "-j plan", "--help":
            r = subprocess.run(["sh", "-c", f'"$0" --root="$1" {words} >&-', DMEMCTL, str(BEFORE)],
                               stderr=subprocess.PIPE, text=True, timeout=TIME_LIMIT)
            self.assertEqual(r.returncode, 1, words)
            self.assertEqual(r.stderr, "dmemctl: cannot write to standard output: "
                             "Bad file descriptor\n")
        # What prints nothing loses nothing
        r = subprocess.run(["sh", "-c", '"$0" --root="$1" check-config <&- >&- 2>&-', DMEMCTL,
                            str(BEFORE)], timeout=TIME_LIMIT)
        self.assertEqual(r.returncode, 0)

    def test_terminal(self):
        arguments = [f"--root={BEFORE}", "--no-pager", "plan"]
        for columns in 40, 60, 80, 100, 200:
            status, out = run_on_terminal(*arguments, columns=columns)
            self.assertEqual(status, 0)
            self.assertIn("\x1b[", out)
            plain = re.sub(r"\x1b\[[0-9;]*m", "", out)
            self.assertNotIn("\x1b", plain)
            if columns >= 60:
                self.assertIn("█", plain)
                for line in plain.splitlines():
                    if re.match(r" +(\d+|all)  ", line):
                        self.assertLessEqual(len(line), columns, line)
        _, out = run_on_terminal(*arguments, NO_COLOR="1")
        self.assertNotIn("\x1b", out)
        self.assertIn("█", out)
        _, out = run_on_terminal(*arguments, TERM="dumb")
        self.assertNotIn("\x1b", out)
        _, out = run_on_terminal(*arguments, LC_ALL="C", NO_COLOR="1")
        self.assertTrue(out.isascii())
        self.assertIn("##", out)
        # Not on a terminal: neither colours nor bars, and always the same
        out = run(*arguments)[1]
        self.assertTrue(out.isascii())
        self.assertEqual(run(*arguments, COLUMNS="200", LC_ALL="C")[1], out)

    def test_pager(self):
        arguments = [f"--root={BEFORE}", "plan"]
        pager = {"PAGER": "sed s/^/paged:/"}
        self.assertIn("paged:", run_on_terminal(*arguments, **pager)[1])
        self.assertIn("paged:", run_on_terminal(*arguments, PAGER="false",
                                                SYSTEMD_PAGER=pager["PAGER"])[1])
        self.assertNotIn("paged:", run_on_terminal(*arguments, "--no-pager", **pager)[1])
        self.assertNotIn("paged:", run_on_terminal(*arguments, **pager, SYSTEMD_PAGER="")[1])
        self.assertNotIn("paged:", run(*arguments, **pager)[1])
        # Who leaves the pager does not change the exit status, nor does one that does not exist.
        self.assertEqual(run_on_terminal(*arguments, PAGER="true")[0], 0)
        status, out = run_on_terminal(*arguments, PAGER="/nowhere/pager",
                                      PATH="/nowhere")
        self.assertEqual(status, 0)
        self.assertIn("Boot arguments", out)

    def test_no_legend(self):
        _, out, _ = run(f"--root={BEFORE}", "--no-legend", "plan")
        for text in "NODE", "all", "adds up":
            self.assertNotIn(text, out.split("Boot arguments")[0])

    def trace(self, *arguments):
        """The system calls by which dmemctl could change something, without its output."""
        if not shutil.which("strace"):
            self.skipTest("strace is not installed")
        with tempfile.NamedTemporaryFile("r") as trace:
            r = subprocess.run(["strace", "-f", "-y", "-o", trace.name, DMEMCTL, *arguments],
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                               timeout=TIME_LIMIT, env={**PLAIN, "ASAN_OPTIONS": "detect_leaks=0"})
            if "ptrace" in r.stderr:
                self.skipTest(f"strace cannot trace here: {r.stderr.strip()}")
            self.assertEqual(r.returncode, 0, r.stderr)
            calls = trace.read().splitlines()
        self.assertGreater(len(calls), 50)
        # With sanitizers: their own look at /proc/self, and pipes to see what memory is mapped
        calls = [c for c in calls if "/proc/self" not in c and "<pipe:" not in c]
        return [c for c in calls if re.search(
            r"O_(WRONLY|RDWR|CREAT|TRUNC|TMPFILE)|\b(rename|unlink|link|symlink|mkdir|mknod|rmdir"
            r"|truncate|ftruncate|fallocate|fchmod|chmod|fchown|chown|lchown|utime|futime|setxattr"
            r"|fsetxattr|removexattr|mount|umount2?|flock|socket|connect|sendmsg|sendto|pwrite64"
            r"|writev|pwritev|copy_file_range|sendfile|splice|fsync|fdatasync|sync|syncfs|ioctl"
            r"|fork|vfork|execve)(at2?|64|ns|2)?\(", c)
            and not re.search(r" execve\(.*dmemctl|ioctl\([012]<", c)] + \
            [c for c in calls if re.search(r"\bwrite\((?![12]<)", c)]

    def test_writes_nothing(self):
        """plan and dry runs have no system call that could change a thing."""
        tree = Tree(self)
        tree.boots_with("dmem=0:1G", "")
        tree.write("usr/sbin/update-grub", "#!/bin/sh\nexit 1\n")
        (tree.root / "usr/sbin/update-grub").chmod(0o755)
        root = f"--root={tree.root}"
        for words in ["plan"], ["-j", "plan"], ["plan", "--diff"], ["apply", "--dry-run"], \
                ["apply", "--diff"], ["verify"], ["status"], ["check-config"], ["cat-config"]:
            if words == ["verify"]:
                tree.boots_with("dmem=0:12G,1:14G", "dmem=0:12G,1:14G")
                for node, size in (0, 12), (1, 14):
                    folder = f"sys/class/dmem/node{node}"
                    for name in "requested_bytes", "size_bytes", "free_bytes":
                        tree.write(f"{folder}/{name}", f"{size * GiB}\n")
                    for name in "used_bytes", "poisoned_bytes":
                        tree.write(f"{folder}/{name}", "0\n")
                tree.write("proc/zoneinfo", "".join(
                    f"Node {n}, zone   Normal\n  pages free 1\n        present  {g << 18}\n"
                    for n, g in ((0, 4), (1, 2))))
            self.assertEqual(self.trace(root, *words), [], words)

    @unittest.skipUnless(os.geteuid() == 0, "root is needed to become somebody else")
    def test_read_only(self):
        """An ordinary user, on files that nobody can write."""
        tree = Tree(self)
        tree.boots_with("", "")
        tree.write("usr/sbin/update-grub", "#!/bin/sh\nexit 1\n")
        (tree.root / "usr/sbin/update-grub").chmod(0o755)
        tree.conf("[Dmem]\nSize=1G\n")
        script = ('mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && ! touch "$1/x" && '
                  'exec setpriv --reuid=65534 --regid=65534 --clear-groups "$0" --root="$1" "$2" $3')
        tree.root.chmod(0o755)
        for words, expected in (["plan", ""], 0), (["plan", "-j"], 0), (["apply", "--dry-run"], 0), \
                (["apply", ""], 1):
            r = subprocess.run(["unshare", "--mount", "sh", "-c", script, DMEMCTL, tree.root, *words],
                               capture_output=True, text=True, timeout=TIME_LIMIT)
            if "unshare" in r.stderr or "mount:" in r.stderr:
                self.skipTest(f"nothing can be mounted here: {r.stderr.strip()}")
            self.assertEqual(r.returncode, expected, (words, r.stderr))
            if words[0] == "plan":
                self.assertIn("dmem=0:1G,1:1G", r.stdout, words)


class Configuration(unittest.TestCase):
    def test_example(self):
        """The example is valid as it is, and says the defaults when its comments are taken off."""
        example = (SOURCE / "conf/dmemd.conf").read_text()
        with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
            file.write(re.sub(r"(?m)^#(?=(?!Size=64G)[A-Z]\w+=)", "", example))
            file.flush()
            self.assertIn("\nBackend=dmem\n", pathlib.Path(file.name).read_text())
            for path in SOURCE / "conf/dmemd.conf", file.name:
                self.assertEqual(run("check-config", f"--config={path}"), (0, "", ""))
                self.assertEqual(plan_json(f"--root={BEFORE}", f"--config={path}"),
                                 plan_json(f"--root={BEFORE}", "--config=/dev/null"))

    def test_check(self):
        tree = Tree(self)
        root = f"--root={tree.root}"
        self.assertEqual(run(root, "check-config"), (0, "", ""))
        tree.conf("[Plan]\nBackend=x\n[Foo]\n")
        tree.conf("\n[Node 70000]\n", "run/dmemd/dmemd.conf.d/10-a.conf")
        status, out, err = run(root, "check-config")
        self.assertEqual((status, out), (78, ""))
        self.assertEqual([line.split(": ")[1] for line in err.splitlines()],
                         ["/etc/dmemd/dmemd.conf:2", "/etc/dmemd/dmemd.conf:3",
                          "/run/dmemd/dmemd.conf.d/10-a.conf:2"])
        status, out, err = run(root, "check-config", "-j")
        self.assertEqual((status, err), (78, ""))
        document = json.loads(out)
        self.assertEqual([e["line"] for e in document["errors"]], [2, 3, 2])
        check_schema(document, "check-config")

    def test_cat(self):
        tree = Tree(self)
        root = f"--root={tree.root}"
        self.assertEqual(run(root, "cat-config", "--no-legend"), (0, "", ""))
        tree.conf("# main\n[Plan]\n")
        tree.conf("[Dmem]\nSize=1G", "usr/lib/dmemd/dmemd.conf.d/50-b.conf")
        tree.conf("[Kernel]\n", "usr/lib/dmemd/dmemd.conf.d/10-a.conf")
        (tree.root / "etc/dmemd/dmemd.conf.d").mkdir()
        (tree.root / "etc/dmemd/dmemd.conf.d/10-a.conf").symlink_to("/dev/null")
        self.assertEqual(run(root, "cat-config"), (0, """\
# /etc/dmemd/dmemd.conf
# main
[Plan]

# /usr/lib/dmemd/dmemd.conf.d/50-b.conf
[Dmem]
Size=1G
""", ""))


@unittest.skipUnless(jsonschema, "python3-jsonschema is not installed")
class Schemas(unittest.TestCase):
    """What the other verbs print is what their schemas say, whatever is known of the host."""

    def validate(self, name, *arguments):
        status, out, err = run("-j", *arguments)
        if out == "":
            self.assertNotEqual((status, err), (0, ""), arguments)
            return None
        document = json.loads(out)
        check_schema(document, name)
        return document

    def hosts(self):
        yield from captured_hosts()
        for configured, booted in ("", ""), ("dmem=0:12G,1:14G", ""), ("dmem=0:1G", "dmem=0:1G"):
            tree = Tree(self)
            tree.boots_with(configured, booted)
            yield tree.root
        tree.conf("[HugePages]\nPages1G=2\n[Plan]\nBackend=hugetlb\n")
        yield tree.root

    def test_status_and_verify(self):
        for root in self.hosts():
            self.assertIsNotNone(self.validate("status", f"--root={root}", "status"))
            self.validate("verify", f"--root={root}", "verify")

    def test_apply(self):
        for root in self.hosts():
            self.validate("apply", f"--root={root}", "apply", "--dry-run")
        tree = Tree(self)
        tree.boots_with("dmem=0:12G,1:14G", "")
        self.validate("apply", f"--root={tree.root}", "revert", "--dry-run")


class Manual(unittest.TestCase):
    """What there is, is described."""

    @staticmethod
    def page(name):
        return (SOURCE / "man" / name).read_text().replace("\\-", "-")

    def test_dmemctl(self):
        page, (_, text, _) = self.page("dmemctl.1"), run("--help")
        for verb in re.findall(r"^  ([a-z-]+) ", text.split("Options:")[0], re.M):
            self.assertRegex(page, rf"(?m)^\.BI? {verb}\b")
        for option in re.findall(r"--[a-z0-9-]+", text):
            self.assertIn(option, page)
        # And the other way round
        verbs = re.findall(r"(?m)^\.BI? ([a-z][a-z-]*)",
                           page.split(".SH VERBS\n")[1].split(".SH OPTIONS\n")[0])
        for verb in set(verbs):
            self.assertRegex(text, rf"(?m)^  {verb} ")
        for option in re.findall(r"--[a-z0-9-]+", page):
            self.assertIn(option, text)

    def test_findings(self):
        page = self.page("dmemctl.1")
        for source in [*SOURCE.glob("src/*/*.c")]:
            for code in re.findall(r'findings_add\([^"]*?"([a-z-]+)"', source.read_text()):
                self.assertIn(code, page, source)

    def test_dmemfs(self):
        """Mount options and module parameters, as the sources of the module have them."""
        page = self.page("dmemfs.5")
        sources = [p.read_text() for p in (SOURCE / "kernel/overlay/fs/dmemfs").glob("*.c")]
        options = {name for text in sources for name in re.findall(r'__fsparam\(\w+, "(\w+)"', text)}
        parameters = {name for text in sources for name in re.findall(r"module_param\((\w+),", text)}
        for title, names in ("MOUNT OPTIONS", options), ("MODULE PARAMETERS", parameters):
            section = page.split(f".SH {title}\n")[1].split(".SH ")[0]
            found = set(re.findall(r"\.TP\n\.B[IR] (\w+)= ", section))
            self.assertTrue(names)
            self.assertEqual(found, names, title)

    def test_settings(self):
        page = self.page("dmemd.conf.5")
        settings = re.findall(r"(?m)^#([A-Z]\w+)=", (SOURCE / "conf/dmemd.conf").read_text())
        self.assertGreater(len(settings), 15)
        for setting in settings:
            self.assertIn(f"{setting}=", page)


if __name__ == "__main__":
    unittest.main()
