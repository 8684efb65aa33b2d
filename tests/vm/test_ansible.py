# SPDX-License-Identifier: LGPL-2.1-or-later
"""The Ansible collection rolls a configuration out to a machine, its reboot included."""

from __future__ import annotations

import base64
import json
import os
import re
import select
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

from lab.images import SOURCE_ROOT
from lab.machine import LabError

from .common import DmemScenario

PLUGINS = SOURCE_ROOT / "tests" / "vm" / "ansible_plugins"
# Of the standard library, what no module of Ansible wants
LEFT_OUT = ("dist-packages", "test", "idlelib", "lib2to3", "ensurepip", "tkinter", "pydoc_data", "config-*")


class Ansible(DmemScenario):
    nodes = "6G,8G"
    thorough = "Ansible starts Python dozens of times, which takes minutes in an emulation"
    steps = ("test_check_mode_tells_and_writes_nothing", "test_rollout")

    def prepare(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="dmemd-test-")
        self.keep = folder  # goes with the scenario
        self.folder = Path(folder.name)
        shutil.copytree(SOURCE_ROOT / "ansible", self.folder / "ansible_collections" / "dmemd" / "dmemd")
        (self.folder / "ansible.cfg").touch()  # else the one of this machine would count
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.folder / "socket"))
        self.listener.listen()
        self.install_python()

    def install_python(self) -> None:
        """That of this machine, as the lab's are of the same Debian and have none."""
        python = Path("/usr/bin/python3").resolve()
        library = Path("/usr/lib") / python.name
        tar = ["tar", "-C", "/", "-czf", "-", *(f"--exclude={library.name}/{x}" for x in LEFT_OUT),
               "usr/bin/python3", str(python)[1:], str(library)[1:]]
        data = subprocess.run(tar, stdout=subprocess.PIPE, check=True).stdout
        self.machine.run("tar -C / -xzf -", stdin=data)
        self.machine.run(["python3", "-c", "import json, subprocess, zipfile"])

    def serve(self) -> None:
        """Does what the connection plugin asks for, one connection."""
        connection, _ = self.listener.accept()
        with connection, connection.makefile("rb") as f:
            request = json.load(f)
            try:
                job = self.machine.start_job(["sh", "-c", request["command"]])
                self.machine.channel.send_input(job, base64.b64decode(request["input"]))
                self.machine.channel.send_eof(job)
                r = self.machine.wait_job(job, request["command"])
                answer = {"status": r.status, "stdout": base64.b64encode(bytes(job.stdout)).decode(),
                          "stderr": base64.b64encode(bytes(job.stderr)).decode()}
            except (LabError, TimeoutError) as e:
                answer = {"error": str(e)}
            connection.sendall(json.dumps(answer).encode())

    def rollout(self, host_settings: dict[str, dict[str, str]], *options: str, status: int = 0) -> str:
        """Runs the playbook of the collection. Returns what it prints."""
        (self.folder / "hosts.json").write_text(json.dumps({"compute": {
            "vars": {"ansible_connection": "lab", "lab_socket": str(self.folder / "socket"),
                     "ansible_user": "root", "ansible_python_interpreter": "/usr/bin/python3",
                     "dmemd_group_settings": {"Kernel": {"Reserve": "2G"}}},
            "hosts": {"host1": {"dmemd_host_settings": host_settings}}}}))
        environment = {
            "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "HOME": str(self.folder),
            "ANSIBLE_CONFIG": str(self.folder / "ansible.cfg"), "ANSIBLE_HOME": str(self.folder / "home"),
            "ANSIBLE_COLLECTIONS_PATH": str(self.folder), "ANSIBLE_CONNECTION_PLUGINS": str(PLUGINS),
            "ANSIBLE_PIPELINING": "1", "ANSIBLE_NOCOLOR": "1", "PYTHONDONTWRITEBYTECODE": "1",
        }
        argv = ["ansible-playbook", "-i", str(self.folder / "hosts.json"), *options, "dmemd.dmemd.rollout"]
        # It may reboot the machine, which is a crash otherwise
        self.machine.qmp.command("set-action", reboot="reset")
        with open(self.folder / "output", "w+") as output:
            run = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                   env=environment)
            try:
                while run.poll() is None:
                    if select.select([self.listener], [], [], 0.2)[0]:
                        self.serve()
            finally:
                run.kill()
                run.wait()
            output.seek(0)
            text = output.read()
        self.machine.qmp.command("set-action", reboot="shutdown")
        self.equal(run.returncode, status, f"exit status of ansible-playbook:\n{text}\n")
        return text

    def changed(self, output: str) -> int:
        m = re.search(r"^host1 .*\bchanged=(\d+)", output, re.M)
        self.check(m, f"no recap in {output}")
        assert m
        return int(m[1])

    def test_check_mode_tells_and_writes_nothing(self) -> None:
        if not shutil.which("ansible-playbook"):
            self.skip("ansible-playbook is not installed, the package ansible-core has it")
        before = self.snapshot()
        output = self.rollout({"Node 1": {"Size": "4G"}}, "--check", "--diff")
        self.check_unchanged(before, "--check")
        self.contains(output, "+Size=4G", "difference of the drop-in")
        self.contains(output, "dmem=0:1G,1:4G", "difference of the boot settings")
        self.equal(self.machine.channel.boots, 1, "boots")

    def test_rollout(self) -> None:
        output = self.rollout({"Node 1": {"Size": "4G"}}, "--diff")
        self.check(self.changed(output) > 0, f"nothing was changed:\n{output}")
        self.equal(self.machine.channel.boots, 2, "boots")
        self.equal(self.own_arguments(), ["dmem=0:1G,1:4G"], "own arguments on the command line")
        self.equal(self.dmemctl_json("status")["state"], "in-force", "state")

    def test_again(self) -> None:
        before = self.snapshot()
        output = self.rollout({"Node 1": {"Size": "4G"}})
        self.equal(self.changed(output), 0, f"changed:\n{output}\n")
        self.equal(self.machine.channel.boots, 2, "boots")
        self.check_unchanged(before, "the second run")

    def test_a_wish_that_does_not_fit_ends_it(self) -> None:
        before = self.snapshot()
        output = self.rollout({"Node 1": {"Size": "40G"}}, status=2)
        self.contains(output, "40G asked for do not fit", "what Ansible says")
        self.contains(output, "60-host.conf, line 4", "what Ansible says")
        self.equal(self.machine.channel.boots, 2, "boots")
        self.check_unchanged(before, "a wish that does not fit")

    def test_a_reload_is_enough_for_a_mount(self) -> None:
        output = self.rollout({"Node 1": {"Size": "4G"}, "Mount": {"Mode": "0755"}})
        self.check(self.changed(output) > 0, f"nothing was changed:\n{output}")
        self.equal(self.machine.out("stat -c %a /run/dmemfs"), "755", "mode of the mount")
        self.equal(self.machine.channel.boots, 2, "boots")
