# SPDX-License-Identifier: LGPL-2.1-or-later
"""doc/runbook.md, typed line by line on a machine with two nodes and GRUB."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

from lab.images import SOURCE_ROOT
from lab.machine import MIB

from .common import DmemScenario, message_id

RUNBOOK = SOURCE_ROOT / "doc" / "runbook.md"
PLAYBOOK = SOURCE_ROOT / "ansible" / "playbooks" / "rollout.yml"


@dataclass
class Line:
    number: int  # in the file
    prompt: str  # "#" on the host, "$" where Ansible runs
    command: str
    comment: str

    @property
    def status(self) -> int:
        """What it exits with, as the comment says."""
        m = re.match(r"exits with (\d+)\b", self.comment)
        return int(m[1]) if m else 0


def read_runbook() -> dict[str, list[Line]]:
    """The lines to type, by the title of the section they stand in."""
    sections: dict[str, list[Line]] = {}
    title, inside = "", False
    for number, text in enumerate(RUNBOOK.read_text().splitlines(), 1):
        if text.startswith("```"):
            inside = text == "```console"
        elif inside:
            m = re.fullmatch(r"([#$]) (.*?)(?:    # (.*))?", text)
            if not m:
                raise ValueError(f"{RUNBOOK.name}:{number}: neither # nor $: {text}")
            sections[title].append(Line(number, m[1], m[2], m[3] or ""))
        elif text.startswith("## "):
            title = text[3:]
            sections[title] = []
    return sections


class Runbook(DmemScenario):
    nodes = "6G,8G"
    thorough = "six boots"

    def prepare(self) -> None:
        self.sections = read_runbook()
        self.disk = self.machine.out("findmnt -no SOURCE /")
        self.typed: set[str] = set()
        # As hosts have it: a journal that outlives the boot
        self.machine.run("mkdir -p /var/log/journal && journalctl --flush")

    def type(self, title: str) -> None:
        """Does what a section says."""
        self.typed.add(title)
        for line in self.sections[title]:
            if line.prompt == "#":
                self.type_line(line)
            else:
                self.check_ansible(line)

    def type_line(self, line: Line) -> None:
        if line.command == "systemctl reboot":
            self.machine.reboot()
            return
        if line.command.startswith("apt-get "):
            return  # the programs of this machine came without a package
        r = self.machine.run(line.command.replace("/dev/sda1", self.disk), check=False)
        if r.status == 127 and line.comment == "if it is installed":
            return
        self.equal(r.status, line.status, f"{RUNBOOK.name}:{line.number}: exit status\n{r}")

    def check_ansible(self, line: Line) -> None:
        """Nothing to log in to: what the line names has to be there."""
        words = line.command.split()
        self.check(words[0] in ("ansible-galaxy", "ansible-playbook"), f"line {line.number}: {words[0]}")
        if words[0] == "ansible-playbook":
            self.equal(words[1], "dmemd.dmemd.rollout", f"playbook of line {line.number}")
        for name in re.findall(r"-e (\w+)=", line.command):
            self.contains(PLAYBOOK.read_text(), name, f"variable of line {line.number}")

    def test_first_host(self) -> None:
        self.type("First host")
        self.equal(self.dmemctl_json("status")["state"], "in-force", "state")

    def test_fleet(self) -> None:
        self.type("Fleet")

    def test_a_memory_error(self) -> None:
        address = self.dmem_nodes()[1].regions[0][0] + 64 * MIB
        self.machine.run(f"echo {address:#x} >/sys/devices/system/memory/hard_offline_page")
        end = time.monotonic() + 60
        while not self.journal(f"MESSAGE_ID={message_id('PAGE_POISONED')}"):
            self.check(time.monotonic() < end, "no journal entry about the error")
            time.sleep(0.5)
        self.type("A memory error at night")
        self.equal(len(self.dmemctl_json("poisoned")["units"]), 2, "units that are bad or retired")

    def test_a_new_module(self) -> None:
        self.type("A memory module was replaced")
        self.equal(self.dmemctl_json("poisoned")["units"], [], "units that are bad")

    def test_it_does_not_come_back(self) -> None:
        self.type("The host does not come back")
        self.equal(self.dmemctl_json("status")["state"], "in-force", "state")

    def test_remove_everything(self) -> None:
        self.type("Remove everything")
        self.equal(self.own_arguments(), [], "own arguments on the command line")
        self.equal(self.dmem_nodes(), {}, "nodes of class dmem")

    def test_that_was_all(self) -> None:
        self.equal(sorted(self.typed), sorted(self.sections), "sections of the runbook")

    # Each goes on where the one before it ended
    steps = tuple(name for name in list(vars()) if name.startswith("test_"))
