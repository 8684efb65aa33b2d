#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Completion of dmemctl in real shells, against what dmemctl takes."""

import os
import pathlib
import pty
import re
import select
import shutil
import subprocess
import tempfile
import time
import tty
import unittest

from cli import DMEMCTL, SOURCE
from host_tree import HostTree

FOLDER = SOURCE / "conf/completion"
TIMEOUT = 60.0

# In the shell, ^X^B writes the line that is edited to a file. The file is there when the shell is ready.
BASH = ["bash", "--norc", "--noprofile", "-i"]
BASH_SETUP = r"""
PATH={path}:$PATH PS1=; . {folder}/dmemctl.bash
show() {{ printf '%s' "$READLINE_LINE" >{file}.new; mv {file}.new {file}; }}
bind 'set bell-style none'; bind 'set page-completions off'; bind 'set completion-query-items 0'
bind -x '"\C-x\C-b": show'
printf ready >{file}
"""
ZSH = ["zsh", "-f", "-i"]
ZSH_SETUP = r"""
PATH={path}:$PATH PS1=; fpath=({folder} $fpath); unsetopt BEEP LIST_BEEP; LISTMAX=1000
autoload -Uz compinit; compinit -u -d {file}.dump
show() {{ print -rn -- "$BUFFER" >{file}.new; mv {file}.new {file} }}
zle -N show; bindkey '^X^B' show
# Between two lines zsh lets the terminal edit, where ^U takes back what was typed
zle-line-init() {{ printf ready >{file}; zle -D zle-line-init }}
zle -N zle-line-init
"""


class Shell:
    """A shell at a terminal."""

    def __init__(self, command: list[str], setup: str, folder: pathlib.Path):
        self.file = folder / "line"
        script = folder / "setup"
        script.write_text(setup.format(path=pathlib.Path(DMEMCTL).parent, folder=FOLDER, file=self.file))
        self.terminal, end = pty.openpty()
        tty.setraw(end)  # what is typed before the shell reads it is kept as it is
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *command], stdin=end, stdout=end, stderr=end,
            env=os.environ | {"TERM": "dumb", "HOME": str(folder), "LC_ALL": "C.UTF-8"})
        os.close(end)
        self.send(f". {script}\n")
        self.wait()

    def send(self, keys: str) -> None:
        os.write(self.terminal, keys.encode())

    def wait(self) -> str:
        end = time.monotonic() + TIMEOUT
        output = b""
        while not self.file.exists():
            if select.select([self.terminal], [], [], 0.02)[0]:
                output += os.read(self.terminal, 65536)
            if time.monotonic() > end:
                raise AssertionError(f"the shell does not answer: {output!r}")
        line = self.file.read_text()
        self.file.unlink()
        return line

    def complete(self, line: str) -> str:
        """What the line is after a tab."""
        self.send(f"{line}\t\x18\x02\x15")
        return self.wait()

    def close(self) -> None:
        os.close(self.terminal)
        self.process.wait(TIMEOUT)


def bash_offers(*words: str) -> list[str]:
    """All that bash is offered for the last word."""
    script = (f'. {FOLDER}/dmemctl.bash; compopt() {{ :; }}; complete -p dmemctl >/dev/null || exit\n'
              'COMP_WORDS=(dmemctl "$@") COMP_CWORD=$#\n'
              '_dmemctl "$DMEMCTL"; printf "%s\\n" "${COMPREPLY[@]}"')
    run = subprocess.run(["bash", "-c", script, "bash", *words], capture_output=True, text=True,
                         timeout=TIMEOUT, check=True)
    if run.stderr:
        raise AssertionError(run.stderr)
    return run.stdout.split()


def verbs() -> list[str]:
    """From the message that dmemctl has for a verb it does not know."""
    run = subprocess.run([DMEMCTL, "frobnicate"], capture_output=True, text=True, check=False)
    return re.search(r"the verbs are (.*);", run.stderr)[1].split(", ")


def takes(verb: str, option: str) -> bool:
    """Whether dmemctl finds nothing wrong with that command line."""
    value = {"--json=": "off", "--config=": "/dev/null", "--root=": "/nowhere"}.get(option, "")
    arguments = ["/x"] if verb in ("capture", "retire") else []
    run = subprocess.run([DMEMCTL, "--root=/nowhere", verb, option + value, *arguments],
                         capture_output=True, text=True, check=False)
    return run.returncode != 2


class Completion(unittest.TestCase):
    def test_verbs(self):
        self.assertEqual(bash_offers(""), verbs())
        self.assertEqual(bash_offers("--no-pager", "p"), ["plan", "poisoned"])

    def test_options(self):
        everything = bash_offers("--")
        self.assertIn("--unchanged-exit-77", everything)
        for verb in verbs():
            offered = bash_offers(verb, "--")
            for option in everything:
                if option in ("--help", "--version"):
                    self.assertIn(option, offered)
                elif option != "--json=":  # every verb takes --json=off
                    self.assertEqual(option in offered, takes(verb, option), f"{verb} {option}")

    def test_values(self):
        self.assertEqual(bash_offers("--json", "="), ["pretty", "short", "off"])
        self.assertEqual(bash_offers("--json", "=", "s"), ["short"])
        self.assertEqual(bash_offers("--root", "=", "/us"), ["/usr"])
        self.assertEqual(bash_offers("--root", "/us"), ["/usr"])
        self.assertEqual(bash_offers("capture", "/us"), ["/usr"])
        self.assertEqual(bash_offers("retire", ""), [])
        self.assertEqual(bash_offers("--config", "=", "/etc/host.con"), ["/etc/host.conf"])

    def test_in_shells(self):
        for command, setup in (BASH, BASH_SETUP), (ZSH, ZSH_SETUP):
            if not shutil.which(command[0]):
                print(f"left out: {command[0]} is not installed")
                continue
            with self.subTest(command[0]), tempfile.TemporaryDirectory() as folder:
                shell = Shell(command, setup, pathlib.Path(folder))
                try:
                    for line, expected in (
                            ("dmemctl ver", "dmemctl verify "),
                            ("dmemctl apply --dr", "dmemctl apply --dry-run "),
                            ("dmemctl status --dr", "dmemctl status --dr"),
                            ("dmemctl --js", "dmemctl --json="),
                            ("dmemctl --json=sh", "dmemctl --json=short"),
                            ("dmemctl --json=short pla", "dmemctl --json=short plan "),
                            ("dmemctl --root=/us", "dmemctl --root=/usr/"),
                            ("dmemctl capture /us", "dmemctl capture /usr/")):
                        self.assertEqual(shell.complete(line).rstrip(" "), expected.rstrip(" "))
                finally:
                    shell.close()

    def test_addresses(self):
        """What can be forgotten is what is there."""
        with tempfile.TemporaryDirectory() as folder:
            tree = HostTree(pathlib.Path(folder) / "root")
            tree.write("sys/class/dmem/node0/poisoned", "0x0000000100000000 free\n0x0000000100002000 used\n")
            wrapper = pathlib.Path(folder) / "dmemctl"
            wrapper.write_text(f'#!/bin/sh\nexec {DMEMCTL} --root={tree.root} "$@"\n')
            wrapper.chmod(0o755)
            script = (f'. {FOLDER}/dmemctl.bash; COMP_WORDS=(dmemctl forget 0x) COMP_CWORD=2\n'
                      f'_dmemctl {wrapper}; printf "%s\\n" "${{COMPREPLY[@]}}"')
            run = subprocess.run(["bash", "-c", script], capture_output=True, text=True,
                                 timeout=TIMEOUT, check=True)
            self.assertEqual(run.stdout.split(), ["0x100000000", "0x100002000"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
