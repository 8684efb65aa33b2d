#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The Ansible collection, run by ansible-core against a host made of files.

Arguments: dmemctl, the source tree. The host boots from a file (Type=file), so nothing of this
machine takes part. As root, or as root of a user namespace.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import unittest

DMEMCTL, SOURCE = (os.path.realpath(a) for a in sys.argv[1:3])
sys.dont_write_bytecode = True  # the sources stay as they are
from host_tree import GiB, HostTree

SKIP = 77
PLAYBOOK = shutil.which("ansible-playbook", path="/usr/bin:/usr/local/bin")
ARGUMENTS = "boot/arguments"
GROUP = {"Dmem": {"Align": "1G", "CPULessNodes": False},
         "BootLoader": {"Type": "file", "File": f"/{ARGUMENTS}"}}
HOST = {"Node 1": {"Size": "8G"}}


def skip(reason):
    print(f"skipped: {reason}")
    sys.exit(SKIP)


def become_root():
    if os.geteuid() == 0:
        return
    if "DMEMD_TEST_IN_NAMESPACE" in os.environ or not shutil.which("unshare"):
        skip("needs root, or a user namespace in which it is root")
    os.environ["DMEMD_TEST_IN_NAMESPACE"] = "1"
    if subprocess.run(["unshare", "--map-root-user", "true"], check=False).returncode != 0:
        skip("needs root; this machine lets nobody else have a user namespace")
    os.execvp("unshare", ["unshare", "--map-root-user", sys.executable, *sys.argv])


class AnsibleTest(unittest.TestCase):
    """The tests share the host, and are in the order in which an administrator meets it."""

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="dmemd-test-")
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        shutil.copytree(f"{SOURCE}/ansible", cls.folder / "ansible_collections/dmemd/dmemd")
        cls.root = cls.folder / "root"
        cls.tree = HostTree(cls.root)
        cls.tree.write(ARGUMENTS, "root=/dev/sda1 quiet\n")
        (cls.folder / "ansible.cfg").touch()  # else the one of this machine would count
        cls.group, cls.host = dict(GROUP), dict(HOST)
        cls.write_playbook("site", [{
            "name": "What the role found",
            "ansible.builtin.copy": {"content": "{{ dmemd_applied | to_json }}",
                                     "dest": str(cls.folder / "result"), "mode": "0600"},
            "check_mode": False, "changed_when": False, "diff": False,
        }], roles=["dmemd.dmemd.dmemd"])

    @classmethod
    def write_playbook(cls, name, tasks, **keys):
        play = {"name": name, "hosts": "compute", "gather_facts": False, "tasks": tasks, **keys}
        (cls.folder / f"{name}.yml").write_text(json.dumps([play]))

    def playbook(self, name, *options, status=0):
        """Runs a playbook. Returns its output, which names each task and has a recap."""
        (self.folder / "hosts.json").write_text(json.dumps({"compute": {
            "vars": {"ansible_connection": "local", "ansible_python_interpreter": "/usr/bin/python3",
                     "dmemd_root": str(self.root), "dmemd_executable": DMEMCTL,
                     "dmemd_group_settings": self.group},
            "hosts": {"host1": {"dmemd_host_settings": self.host}}}}))
        (self.folder / "result").unlink(missing_ok=True)
        environment = os.environ | {
            "ANSIBLE_COLLECTIONS_PATH": str(self.folder),
            "ANSIBLE_HOME": str(self.folder / "home"),
            "ANSIBLE_LOCAL_TEMP": str(self.folder / "tmp"),
            "ANSIBLE_REMOTE_TEMP": str(self.folder / "tmp"),
            "ANSIBLE_CONFIG": str(self.folder / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1", "ANSIBLE_PIPELINING": "1",
            "ANSIBLE_DEPRECATION_WARNINGS": "0", "LC_ALL": "C.UTF-8", "HOME": str(self.folder),
        }
        run = subprocess.run([PLAYBOOK, "-i", self.folder / "hosts.json", *options,
                              self.folder / f"{name}.yml"],
                             stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600,
                             env=environment, check=False)
        self.assertEqual(run.returncode, status, run.stdout + run.stderr)
        return run.stdout

    def changed(self, output):
        return int(re.search(r"^host1 .*\bchanged=(\d+)", output, re.M)[1])

    def result(self):
        return json.loads((self.folder / "result").read_text())

    def snapshot(self):
        return {str(p.relative_to(self.root)): (oct(p.lstat().st_mode),
                                                p.read_bytes() if p.is_file() else None)
                for p in sorted(self.root.rglob("*"))}

    def arguments(self):
        return (self.root / ARGUMENTS).read_text()

    def reboot(self, sizes):
        """The host as it is after a boot with what it would boot with now."""
        self.tree.cmdline(self.arguments().strip())
        self.tree.write("proc/zoneinfo", "".join(
            f"Node {node}, zone   Normal\n  pages free     1000\n        spanned  {pages}\n"
            f"        present  {pages}\n        managed  {pages}\n"
            for node, pages in ((n, (total - sizes[n]) // 4096)
                                for n, total in enumerate((8 * GiB, 12 * GiB)))))
        for node, size in enumerate(sizes):
            self.tree.add_node(node, size, (1 + 4 * node) * GiB)

    def test_1_check_mode_tells_and_writes_nothing(self):
        before = self.snapshot()
        output = self.playbook("site", "--check", "--diff")
        self.assertEqual(self.snapshot(), before)
        self.assertGreater(self.changed(output), 0)
        self.assertIn("+Size=8G", output)  # of the drop-in
        self.assertIn("-root=/dev/sda1 quiet", output)
        self.assertIn("+root=/dev/sda1 quiet dmem=0:4G,1:8G", output)
        self.assertEqual(self.result()["changed"], True)
        self.assertEqual(self.result()["reboot_required"], True)
        self.assertEqual(self.result()["files"], [f"/{ARGUMENTS}"])

    def test_2_first_run(self):
        output = self.playbook("site")
        self.assertGreater(self.changed(output), 0)
        self.assertEqual(self.arguments(), "root=/dev/sda1 quiet dmem=0:4G,1:8G\n")
        result = self.result()
        self.assertEqual(result["arguments"], ["dmem=0:4G,1:8G"])
        self.assertEqual(result["plan"]["version"], 1)
        self.assertEqual([n["dmem_bytes"] for n in result["plan"]["nodes"]], [4 * GiB, 8 * GiB])
        self.assertEqual(result["reboot_required"], True)
        drop_in = (self.root / "etc/dmemd/dmemd.conf.d/50-group.conf").read_text()
        self.assertEqual(drop_in.split("\n", 1)[1], textwrap.dedent(f"""\

            [Dmem]
            Align=1G
            CPULessNodes=no

            [BootLoader]
            Type=file
            File=/{ARGUMENTS}
            """))

    def test_3_second_run_changes_nothing(self):
        before = self.snapshot()
        output = self.playbook("site", "--diff")
        self.assertEqual(self.changed(output), 0)
        self.assertEqual(self.snapshot(), before)
        self.assertEqual(self.result()["changed"], False)
        # Nothing to do any more, but the host still runs with the old arguments
        self.assertEqual(self.result()["reboot_required"], True)

    def module(self, state, check=False, **parameters):
        """Runs the module by itself, as Ansible does on a host. Returns its result."""
        arguments = {"root": str(self.root), "executable": DMEMCTL, "state": state, **parameters,
                     "_ansible_check_mode": check, "_ansible_diff": True,
                     "_ansible_remote_tmp": str(self.folder / "tmp")}
        run = subprocess.run(
            ["/usr/bin/python3", f"{SOURCE}/ansible/plugins/modules/dmemctl.py"],
            input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}), capture_output=True, text=True,
            timeout=60, check=False)
        self.assertEqual(run.stderr, "")
        result = json.loads(run.stdout)
        self.assertEqual(run.returncode, result.get("failed", False))
        return result

    def error(self, rc, pattern, state, **parameters):
        result = self.module(state, **parameters)
        self.assertEqual((result["failed"], result.get("rc")), (True, rc))
        self.assertRegex(result["msg"], pattern)
        return result

    def file(self, name, text, mode=0o644):
        path = self.folder / name
        path.write_text(text)
        path.chmod(mode)
        return str(path)

    def test_4_after_the_reboot(self):
        self.reboot([4 * GiB, 8 * GiB])
        before = self.snapshot()
        verify = self.module("verify")
        self.assertEqual((verify["changed"], verify["in_force"], verify["reboot_required"]),
                         (False, True, False))
        self.assertEqual(verify["verification"]["advice"], "The plan is in force, nothing to do.")
        apply = self.module("apply")
        self.assertEqual((apply["changed"], apply["reboot_required"], apply["diff"]),
                         (False, False, []))

        # As if the drop-in of the host had gone and another come; that of the group is still there
        drop_ins = {"60-host.conf": "", "70-x.conf": "[Node 0]\nSize=3G\n"}
        for state in ("plan", "apply"):
            result = self.module(state, check=True, drop_ins=drop_ins)
            self.assertEqual(result["arguments"], ["dmem=0:3G,1:10G"])
            self.assertEqual(result["reboot_required"], True)
            self.assertEqual(result["changed"], state == "apply")
        plan = self.module("plan", drop_ins=drop_ins)
        self.assertEqual((plan["diff"]["before"], plan["diff"]["after"]),
                         ("dmem=0:4G,1:8G\n", "dmem=0:3G,1:10G\n"))

        other = self.file("other.conf", "[Dmem]\nSize=2G\n")
        result = self.error(3, "The boot loader does not have the plan", "verify", config=other)
        self.assertEqual(result["in_force"], False)
        self.assertEqual(self.snapshot(), before)

    def test_4_errors(self):
        before = self.snapshot()
        bad = self.file("bad.conf", "[Dmem]\nSize=7 apples\n")
        large = self.file("large.conf", "[Node 1]\nSize=900G\n")
        for state in ("plan", "apply", "verify"):
            self.error(78, r"bad\.conf:2: .*7 apples", state, config=bad)
        for state in ("plan", "apply"):
            result = self.error(1, r"900G.*large\.conf, line 2", state, config=large)
            self.assertIn("does-not-fit", [f["code"] for f in result["findings"]])
            self.assertEqual(result["plan"]["version"], 1)
        self.error(78, r"/etc/dmemd/dmemd\.conf\.d/10-x\.conf:2: \[Node\] names no node", "plan",
                   drop_ins={"10-x.conf": "\n[Node]\n"})
        self.error(1, r"900G.*in /etc/dmemd/dmemd\.conf\.d/70-x\.conf, line 2", "plan",
                   drop_ins={"70-x.conf": "[Node 1]\nSize=900G\n"})
        self.error(None, "config= goes with state=plan, apply, verify", "revert", config=bad)
        self.error(None, "allow_below_floor= goes with state=plan, apply", "verify",
                   allow_below_floor=True)
        self.error(None, "mutually exclusive", "plan", config=bad, drop_ins={"a.conf": ""})
        self.error(None, "must be one of: plan, apply, verify, revert", "sing")
        for executable in ("no-such-dmemctl", "/no/such/dmemctl", bad):
            self.error(None, "install the package dmemd", "plan", executable=executable)
        for name, text, rc, pattern in (
                ("later", "echo '{\"version\": 2}'", 0, "JSON has version 2"),
                ("broken", "echo no JSON", 0, "no JSON document"),
                ("list", "echo '[]'", 0, "no JSON document"),
                ("silent", "exit 5", 5, "exit status 5")):
            fake = self.file(name, f"#!/bin/sh\n{text}\n", 0o755)
            self.error(rc, pattern, "plan", executable=fake)
        self.error(1, "/no/such/folder", "plan", root="/no/such/folder")
        self.assertEqual(self.snapshot(), before)

    def test_5_bad_settings_change_nothing(self):
        before = self.snapshot()
        type(self).host = {"Node 1": {"Size": "900G"}}
        self.assertRegex(self.playbook("site", status=2), r"900G.*/60-host\.conf, line 4")
        self.assertEqual(self.snapshot(), before)

    def test_6_settings_taken_back(self):
        type(self).host = {}
        output = self.playbook("site")
        self.assertGreater(self.changed(output), 0)
        self.assertFalse((self.root / "etc/dmemd/dmemd.conf.d/60-host.conf").exists())
        self.assertEqual(self.arguments(), "root=/dev/sda1 quiet dmem=0:4G,1:10G\n")
        self.assertEqual(self.result()["reboot_required"], True)

    def test_7_revert(self):
        before = self.snapshot()
        check = self.module("revert", check=True)
        self.assertEqual((check["changed"], check["files"]), (True, [f"/{ARGUMENTS}"]))
        self.assertEqual(self.snapshot(), before)
        revert = self.module("revert")
        self.assertEqual((revert["changed"], revert["arguments"]), (True, ["dmem=0:4G,1:8G"]))
        self.assertEqual(self.arguments(), "root=/dev/sda1 quiet dmem=0:4G,1:8G\n")
        self.assertEqual(self.module("revert")["changed"], False)


if __name__ == "__main__":
    if not PLAYBOOK:
        skip("ansible-playbook is not installed, the package ansible-core has it")
    become_root()
    unittest.main(argv=sys.argv[:1], verbosity=2, failfast=True)
