# SPDX-License-Identifier: LGPL-2.1-or-later
"""tools/lab: machines by hand."""

from __future__ import annotations

import argparse
import fcntl
import os
import select
import shlex
import signal
import struct
import sys
import termios
import time
import tty
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, Optional

from .channel import ChannelClosed, Job
from .images import image
from .machine import (
    BOOT_TIMEOUT,
    DEFAULT_CPU,
    DEFAULT_NODES,
    LabError,
    Machine,
    cache_folder,
    exit_status,
    parse_nodes,
    run_folder,
)

DESCRIPTION = """\
Boots machines with this source tree installed, in QEMU, without a network and without root. They
have several NUMA nodes, systemd, GRUB and a D-Bus; their disks are thrown away.

  tools/lab shell          boot, and give a root shell; the machine ends with the shell
  tools/lab run -- CMD...  boot, run CMD, hand on its output and its exit status
  tools/lab status         the machines that run now
  tools/lab stop           end them all
  tools/lab clean          remove kernels, images and builds; downloads and compiled objects stay

Inside the shell `reboot` works, and the shell comes back in the rebooted machine. The first start
builds a kernel, which takes about 12 minutes on two processors; later ones take about 20 seconds.
"""

EXAMPLES = """\
examples:
  tools/lab shell
  tools/lab shell --nodes=4G,6G --append=dmem=0:2G,1:4G
  tools/lab shell --nodes=4G/2,2G/0,0/1     one node without CPUs, one without memory
  tools/lab shell --kernel=stock            Debian's own kernel
  tools/lab shell --loader=systemd-boot     UEFI firmware and systemd-boot instead of BIOS and GRUB
  tools/lab shell --kernel=debug            one that looks for mistakes; give it more memory
  tools/lab run -- numactl --hardware
  tools/lab run --append=dmem=banana -- 'dmesg | grep dmem'
  tools/lab run --mce='-b 0 1 0xbd000000000000c0 0x5 0x100000000 0x8c' -- dmesg

--mce takes the arguments of QEMU's mce command: [-b] CPU BANK STATUS MCGSTATUS ADDR MISC. The
machine check is raised when the machine is up, before the command or the shell starts. In a shell,
the key Ctrl-] asks for such a line at any time.

exit status: that of the command; 125 if the lab itself failed; 2 for wrong arguments.
"""


def add_machine_options(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--nodes",
        default=DEFAULT_NODES,
        metavar="SIZE[/CPUS],...",
        help=f"memory and number of CPUs (default 1) of each NUMA node (default {DEFAULT_NODES})",
    )
    p.add_argument(
        "--kernel",
        default="dmem",
        metavar="dmem|debug|stock|FOLDER",
        help="which kernel, see tools/build-image --help (default dmem)",
    )
    p.add_argument(
        "--append",
        action="append",
        default=[],
        metavar="ARGUMENTS",
        help="kernel arguments; the kernel is then started by QEMU instead of GRUB",
    )
    p.add_argument(
        "--boot",
        choices=("disk", "direct"),
        help="who starts the kernel: the loader on the disk, or QEMU (default: disk, with --append direct)",
    )
    p.add_argument(
        "--loader",
        default="grub-bios",
        metavar="NAME",
        help="boot loader on the disk, see tools/build-image --help (default grub-bios)",
    )
    p.add_argument(
        "--suite", default="", help="release of Debian, such as trixie (default: that of this machine)"
    )
    p.add_argument(
        "--cpu", default=DEFAULT_CPU, help=f"CPU model (default {DEFAULT_CPU}; EPYC for AMD, nested KVM)"
    )
    p.add_argument("--mce", action="append", default=[], metavar="LINE", help="raise a machine check")
    p.add_argument(
        "--qemu", action="append", default=[], metavar="ARGUMENTS", help="more arguments for QEMU"
    )
    p.add_argument(
        "--put",
        action="append",
        default=[],
        metavar="FILE[:PATH]",
        help="copy a file into the machine, below /root/ if no path is given",
    )


def parse_arguments() -> argparse.Namespace:
    p = argparse.ArgumentParser(
        prog="tools/lab",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = p.add_subparsers(dest="verb", required=True, metavar="VERB")
    shell = verbs.add_parser("shell", help="boot a machine and give a root shell")
    add_machine_options(shell)
    run = verbs.add_parser("run", help="boot a machine and run one command")
    add_machine_options(run)
    run.add_argument("--timeout", type=float, default=600, help="seconds the command may take (default 600)")
    run.add_argument("command", nargs="+", help="one argument is a shell command, several are argv")
    verbs.add_parser("status", help="the machines that run now")
    verbs.add_parser("stop", help="end all machines")
    verbs.add_parser("clean", help="remove kernels, images and builds")
    args = p.parse_args()
    if args.verb in ("shell", "run"):
        try:
            args.nodes = parse_nodes(args.nodes)
        except ValueError as e:
            p.error(f"--nodes: {e}")
        if args.boot == "disk" and args.append:
            p.error("--append needs --boot=direct; else change the settings of the boot loader in the machine")
        args.boot = args.boot or ("direct" if args.append else "disk")
    return args


def note(text: str) -> None:
    print(f"== {text}", file=sys.stderr, flush=True)


@contextmanager
def running_machine(args: argparse.Namespace) -> Iterator[Machine]:
    machine = Machine(
        image(args.kernel, args.loader, args.suite),
        args.nodes,
        boot=args.boot,
        append=" ".join(args.append),
        cpu=args.cpu,
        qemu_arguments=[x for line in args.qemu for x in shlex.split(line)],
        name=f"{args.verb}-{os.getpid()}",
    )
    begin = time.monotonic()
    note("booting the machine (takes 20 s)")
    with machine:
        note(f"booted in {time.monotonic() - begin:.0f} s; console: {machine.folder}/console.log")
        for item in args.put:
            local, _, path = item.partition(":")
            mode = oct(os.stat(local).st_mode & 0o777)[2:]
            machine.put_file(local, path or f"/root/{Path(local).name}", mode)
        for line in args.mce:
            raise_mce(machine, line)
        yield machine


def raise_mce(machine: Machine, line: str) -> None:
    answer = machine.qmp.human(f"mce {line}").strip()
    if answer:
        raise LabError(f"mce {line}: {answer}")


def verb_run(args: argparse.Namespace) -> int:
    def on_output(stream: int, data: bytes) -> None:
        out = sys.stdout if stream == 1 else sys.stderr
        out.buffer.write(data)
        out.buffer.flush()

    with running_machine(args) as machine:
        command = args.command[0] if len(args.command) == 1 else args.command
        return machine.run(command, timeout=args.timeout, check=False, on_output=on_output).status


class Shell:
    """The terminal of the caller, connected to a shell in the machine."""

    ESCAPE = b"\x1d"  # Ctrl-]

    def __init__(self, machine: Machine):
        self.machine = machine
        self.job: Optional[Job] = None
        self.resized = False

    def run(self) -> int:
        if not sys.stdin.isatty():
            return self._loop()
        saved = termios.tcgetattr(0)
        signal.signal(signal.SIGWINCH, self._on_resize)
        try:
            tty.setraw(0)
            return self._loop()
        finally:
            termios.tcsetattr(0, termios.TCSADRAIN, saved)

    def _start(self) -> Job:
        env = {"TERM": os.environ.get("TERM", "vt100"), "PS1": "\\u@\\h:\\w\\$ "}
        return self.machine.start_job(
            ["/bin/bash", "-i"], env=env, pty=self._size(), on_output=lambda _, d: self._print(d)
        )

    def _loop(self) -> int:
        channel = self.machine.channel
        boots = channel.boots
        stdin_open = True
        # `reboot` is allowed here, a panic ends the machine all the same (panic= makes it a reset,
        # which cannot be told apart, so the console is what tells)
        self.machine.qmp.command("set-action", reboot="reset")
        job = self._start()
        while True:
            if job.status is not None:
                if channel.boots == boots and self.machine.alive and not self._rebooting():
                    return exit_status(job.status)
                note_raw("the machine reboots")
                self.machine.wait_hello(boots + 1, BOOT_TIMEOUT)
                boots = channel.boots
                self.machine.wait_booted()
                job = self._start()
            fds = [channel.sock] + ([0] if stdin_open else [])
            ready, _, _ = select.select(fds, [], [], 0.5)
            if self.resized:
                self.resized = False
                channel.send_resize(job, *self._size())
            if channel.sock in ready:
                channel.receive()
            if 0 in ready:
                data = os.read(0, 65536)
                if data == self.ESCAPE:
                    self._ask_mce()
                elif data:
                    channel.send_input(job, data)
                else:
                    stdin_open = False
                    channel.send_eof(job)

    def _rebooting(self) -> bool:
        """The shell ended: because of exit, or because the machine goes down?"""
        state = self.machine.run("systemctl is-system-running", check=False, timeout=BOOT_TIMEOUT)
        return state.stdout.strip() == "stopping"

    def _ask_mce(self) -> None:
        raw = termios.tcgetattr(0)
        cooked = termios.tcgetattr(0)
        cooked[3] |= termios.ICANON | termios.ECHO | termios.ISIG
        cooked[1] |= termios.OPOST
        cooked[0] |= termios.ICRNL
        termios.tcsetattr(0, termios.TCSADRAIN, cooked)
        try:
            line = input("\nmachine check, [-b] CPU BANK STATUS MCGSTATUS ADDR MISC: ").strip()
            if line:
                raise_mce(self.machine, line)
        except (LabError, EOFError) as e:
            print(e)
        finally:
            termios.tcsetattr(0, termios.TCSADRAIN, raw)

    def _on_resize(self, *_: object) -> None:
        self.resized = True

    def _size(self) -> tuple[int, int]:
        try:
            rows, columns, _, _ = struct.unpack("HHHH", fcntl.ioctl(0, termios.TIOCGWINSZ, b"\0" * 8))
        except OSError:
            rows, columns = 24, 80
        return rows or 24, columns or 80

    def _print(self, data: bytes) -> None:
        os.write(1, data)


def note_raw(text: str) -> None:
    os.write(2, f"\r\n== {text}\r\n".encode())


def verb_shell(args: argparse.Namespace) -> int:
    with running_machine(args) as machine:
        note("a root shell; exit or Ctrl-D ends the machine, Ctrl-] raises a machine check")
        try:
            return Shell(machine).run()
        except ChannelClosed:
            note("the machine has gone off")
            tail = machine.console().splitlines()[-15:]
            if any("Kernel panic" in x for x in tail):
                print("\n".join(tail), file=sys.stderr)
                return 125
            return 0


def machines() -> list[tuple[Path, int, int]]:
    """Folder, process of QEMU, process that started it, for each machine that runs."""
    found = []
    for folder in sorted(run_folder().iterdir()):
        try:
            pid, owner = map(int, (folder / "pid").read_text().split())
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                if f"dmemd-lab-{folder.name.rpartition('-')[0]}".encode() in f.read().split(b"\0"):
                    found.append((folder, pid, owner))
        except (OSError, ValueError):
            continue
    return found


def verb_status() -> int:
    for folder, pid, owner in machines():
        seconds = time.time() - (folder / "pid").stat().st_mtime
        print(f"{folder.name}: QEMU {pid}, started by {owner}, up {seconds:.0f} s, {folder}/console.log")
    if not machines():
        print("no machine runs")
    return 0


def verb_stop() -> int:
    for folder, pid, _ in machines():
        print(f"ending {folder.name}")
        os.kill(pid, signal.SIGTERM)
    return 0


def verb_clean() -> int:
    import shutil

    if machines():
        print("tools/lab: machines are running; tools/lab stop ends them", file=sys.stderr)
        return 125
    for pattern in ("kernel-*", "guest-*", "image-*", "base-*", "build-*", "run", "tmp", "log"):
        for path in cache_folder().glob(pattern):
            if path.suffix == ".lock":
                continue
            print(f"removing {path}")
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
    return 0


def main() -> int:
    args = parse_arguments()
    try:
        if args.verb == "status":
            return verb_status()
        if args.verb == "stop":
            return verb_stop()
        if args.verb == "clean":
            return verb_clean()
        return verb_run(args) if args.verb == "run" else verb_shell(args)
    except (LabError, OSError) as e:
        print(f"tools/lab: {e}", file=sys.stderr)
        return 125
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
