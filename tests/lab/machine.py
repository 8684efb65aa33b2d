# SPDX-License-Identifier: LGPL-2.1-or-later
"""A machine in QEMU: boot it, run commands in it, reboot it, break its memory.

Every wait has a time limit, and the machine cannot outlive the process that started it. The
console is kept in a file; its end is part of every error.
"""

from __future__ import annotations

import fcntl
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional, Sequence, Union

from .channel import Channel, ChannelClosed, Job
from .qmp import Qmp, QmpError

KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40

# Software emulation on a loaded machine is slow; what is broken hangs for ever
BOOT_TIMEOUT = 600
RUN_TIMEOUT = 300

# Always wanted: see the console, end QEMU on panic, and two for when the emulation gets too little
# processor time: no check of the timer's delivery, and patience until the NVMe disk is found
BASE_ARGUMENTS = "console=ttyS0 panic=-1 no_timer_check rootwait"

DEFAULT_CPU = "Cascadelake-Server-noTSX"  # Intel machine checks, 1G pages
DEFAULT_NODES = "4G,6G"

_COMPLAINTS = re.compile(
    r"Kernel panic|BUG:|BUG [\w-]+ \(|kernel BUG at|Oops:|general protection fault|WARNING: CPU:|"
    r"WARNING: (possible|suspicious|inconsistent|bad unlock|held lock|lock held|chain)|"
    r"INFO: task .* blocked|INFO: rcu.*stall|INFO: trying to register non-static key|"
    r"Call Trace:|bad pud|bad pmd|Bad page state|double fault|UBSAN:|KASAN:|ODEBUG:|"
    r"kmemleak: \d+ new"
)


class LabError(Exception):
    pass


class MachineDied(LabError):
    pass


class MachineTimeout(LabError):
    pass


@dataclass
class Node:
    """One NUMA node: bytes of memory and number of CPUs, either may be 0."""

    size: int
    cpus: int = 1


@dataclass
class Result:
    """How a command ended. status is an exit status, or 128 + signal as in a shell."""

    command: str
    status: int
    stdout: str
    stderr: str

    @property
    def ok(self) -> bool:
        return self.status == 0

    def __str__(self) -> str:
        text = f"$ {self.command}\nexit status {self.status}"
        for name, out in (("stdout", self.stdout), ("stderr", self.stderr)):
            if out.strip():
                text += f"\n{name}:\n" + "\n".join("  " + x for x in out.rstrip().splitlines())
        return text


def parse_size(text: str) -> int:
    m = re.fullmatch(r"(\d+)([KMGT]?)", text.strip())
    if not m:
        raise ValueError(f"not a size: {text!r} (allowed: digits and one of K M G T)")
    return int(m[1]) * {"": 1, "K": KIB, "M": MIB, "G": GIB, "T": TIB}[m[2]]


def parse_nodes(text: str) -> list[Node]:
    """4G,6G or 4G/2,2G/0,0/1: SIZE[/CPUS] for each node."""
    nodes = []
    for item in text.split(","):
        size, slash, cpus = item.partition("/")
        if slash and not cpus.isdecimal():
            raise ValueError(f"not a number of CPUs: {cpus!r} in {item!r}")
        nodes.append(Node(parse_size(size), int(cpus) if slash else 1))
    if not sum(n.size for n in nodes):
        raise ValueError(f"no node has memory: {text!r}")
    if not sum(n.cpus for n in nodes):
        raise ValueError(f"no node has a CPU: {text!r}")
    return nodes


def exit_status(wait_status: int) -> int:
    if os.WIFSIGNALED(wait_status):
        return 128 + os.WTERMSIG(wait_status)
    return os.WEXITSTATUS(wait_status)


def cache_folder() -> Path:
    """The same as in tools/lib/common.sh."""
    own = os.environ.get("DMEMD_CACHE")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dmemd"


def run_folder() -> Path:
    """Where machines that run now have their folders."""
    path = cache_folder() / "run"
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def forget_old_machines(keep: int = 20) -> None:
    """Removes what failed machines left behind, but for the newest."""
    folders = sorted(run_folder().iterdir(), key=lambda p: p.stat().st_mtime, reverse=True)
    for folder in folders[keep:]:
        if time.time() - folder.stat().st_mtime > 24 * 3600:
            shutil.rmtree(folder, ignore_errors=True)


class Machine:
    """
    image:   folder made by tools/build-image: disk.raw, vmlinuz, drive, loader
    nodes:   NUMA nodes, as a list or as text (see parse_nodes)
    boot:    "disk" boots as a real machine does, by the firmware and the boot loader that the disk
             was made for; "direct" hands kernel and command line to QEMU, which is faster and
             takes `append`
    append:  kernel arguments; with direct
    bare:    no systemd, only the agent, which is there as soon as the kernel is; with direct
    uefi:    UEFI firmware, which starts the kernel by its EFI stub; with direct
    prealloc: all memory of the machine is there from the start, so that no first touch of it takes
             longer than a second one
    counted: its clocks count the instructions that it executes, one for a nanosecond, and the next
             timer comes at once when it has nothing to do. What is measured so is no time, but the
             same each time, however busy this machine is. One thread, and slower
    """

    def __init__(
        self,
        image: Union[str, Path],
        nodes: Union[str, Sequence[Node]] = DEFAULT_NODES,
        *,
        boot: str = "disk",
        append: str = "",
        cpu: str = DEFAULT_CPU,
        bare: bool = False,
        uefi: bool = False,
        prealloc: bool = False,
        counted: bool = False,
        qemu_arguments: Sequence[str] = (),
        name: str = "machine",
        verbose: bool = False,
    ):
        self.image = Path(image)
        self.nodes = parse_nodes(nodes) if isinstance(nodes, str) else list(nodes)
        if boot not in ("disk", "direct"):
            raise ValueError(f"boot: {boot!r} (allowed: disk, direct)")
        if boot == "disk" and append:
            raise ValueError("kernel arguments can only be given with boot='direct'")
        if boot == "disk" and (bare or uefi):
            raise ValueError("bare and uefi go with boot='direct' only")
        self.boot = boot
        self.append = append
        self.cpu = cpu
        self.bare = bare
        self.uefi = uefi
        self.prealloc = prealloc
        self.counted = counted
        self.qemu_arguments = list(qemu_arguments)
        self.name = name
        self.verbose = verbose
        self.expected: list[str] = []  # console lines that are no failure, regular expressions
        self.folder: Path
        self.channel: Channel
        self.qmp: Qmp
        self._process: Optional[subprocess.Popen[bytes]] = None
        self._lock_fd = -1
        self._console_checked = 0
        self._dmesg_seen: set[str] = set()

    # Life

    def __enter__(self) -> "Machine":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, wait: bool = True, timeout: float = BOOT_TIMEOUT) -> None:
        """Starts QEMU; with wait, returns when the machine has finished booting."""
        if self.alive:
            raise LabError(f"{self.name} runs already")
        qemu = shutil.which("qemu-system-x86_64")
        if not qemu:
            raise LabError("qemu-system-x86_64 is not installed; tools/lab installs it")
        self._lock_image()
        forget_old_machines()
        self.folder = Path(tempfile.mkdtemp(prefix=f"{self.name}-", dir=run_folder()))
        try:
            self._create_disk()
            agent, agent_far = socket.socketpair()
            monitor, monitor_far = socket.socketpair()
            argv = self._qemu_argv(qemu, agent_far.fileno(), monitor_far.fileno())
            (self.folder / "command").write_text(shlex.join(argv) + "\n")
            with open(self.folder / "qemu.log", "wb") as log:
                # setpriv: QEMU ends when this process does, however that happens
                self._process = subprocess.Popen(
                    ["setpriv", "--pdeathsig", "KILL", "--", *argv],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=(agent_far.fileno(), monitor_far.fileno()),
                    start_new_session=True,
                )
            agent_far.close()
            monitor_far.close()
            (self.folder / "pid").write_text(f"{self._process.pid} {os.getpid()}\n")
            self.channel = Channel(agent)
            # QEMU answers once it has all of the memory, which can take minutes
            self.qmp = Qmp(monitor, BOOT_TIMEOUT) if self.prealloc else Qmp(monitor)
            try:
                self.qmp.connect()
            except QmpError as e:
                log_text = (self.folder / "qemu.log").read_text(errors="replace")
                raise LabError(f"QEMU did not start: {log_text.strip() or e}") from e
            if wait:
                self.wait_hello(1, timeout)
                self.wait_booted(timeout)
        except BaseException:
            self.stop(keep=True)
            raise

    def stop(self, keep: bool = False) -> None:
        """Ends the machine at once, as pulling the plug does. keep: leave the console behind."""
        if self._process:
            if self._process.poll() is None:
                self._process.kill()
            self._process.wait()
            self._process = None
            self.channel.close()
            self.qmp.close()
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1
        if hasattr(self, "folder") and self.folder.exists():
            (self.folder / "disk.qcow2").unlink(missing_ok=True)
            if not keep:
                shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def processor_seconds(self) -> float:
        """What QEMU has used so far, in user and system mode."""
        assert self._process
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def wait_hello(self, boots: int, timeout: float) -> None:
        """Waits until the agent has reported @boots times."""
        if not self._wait(lambda: self.channel.boots >= boots, timeout):
            raise MachineTimeout(self._describe(f"no sign of life after {timeout:.0f} s"))

    def wait_booted(self, timeout: float = BOOT_TIMEOUT) -> str:
        """Waits until systemd has nothing left to start; returns running or degraded."""
        if self.bare:
            return "running"
        end = time.monotonic() + timeout
        state = "unknown"
        # That is what systemctl says if systemd is too busy to answer it within seconds
        while state == "unknown" and time.monotonic() < end:
            r = self.run("systemctl is-system-running --wait", timeout=timeout, check=False)
            state = r.stdout.strip()
        if state not in ("running", "degraded"):
            raise LabError(self._describe(f"the machine came up {state or 'in no state'!r}\n{r}"))
        return state

    def reboot(self, command: str = "systemctl reboot", timeout: float = BOOT_TIMEOUT) -> None:
        """Reboots by @command and waits until the machine is up again."""
        boots = self.channel.boots
        self.qmp.command("set-action", reboot="reset")
        self.start_job(command)
        self.wait_hello(boots + 1, timeout)
        # From here on a reset is a crash again: QEMU ends and every wait fails
        self.qmp.command("set-action", reboot="shutdown")
        self._dmesg_seen.clear()
        self.wait_booted(timeout)

    def reset(self, timeout: float = BOOT_TIMEOUT) -> None:
        """Presses the reset button."""
        boots = self.channel.boots
        self.qmp.command("set-action", reboot="reset")
        self.qmp.command("system_reset")
        self.wait_hello(boots + 1, timeout)
        self.qmp.command("set-action", reboot="shutdown")
        self._dmesg_seen.clear()
        self.wait_booted(timeout)

    def wait_off(self, timeout: float = 60) -> None:
        """Waits until the machine is off: after poweroff, or a panic that the test expects."""
        if not self._process:
            return
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired as e:
            raise MachineTimeout(self._describe(f"still on after {timeout:.0f} s")) from e

    # Commands

    def start_job(
        self,
        command: Union[str, Sequence[str]],
        *,
        env: Optional[dict[str, str]] = None,
        pty: Optional[tuple[int, int]] = None,
        on_output: Optional[Callable[[int, bytes], None]] = None,
    ) -> Job:
        """Starts a command; text goes through sh. Use wait_job() or forget it."""
        argv = ["/bin/sh", "-c", command] if isinstance(command, str) else list(command)
        full = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root",
            "USER": "root",
            "LOGNAME": "root",
            "SHELL": "/bin/bash",
            "LANG": "C.UTF-8",
            **(env or {}),
        }
        try:
            return self.channel.start(argv, full, pty, on_output)
        except ChannelClosed as e:
            raise self._died() from e

    def wait_job(self, job: Job, command: str = "job", timeout: float = RUN_TIMEOUT) -> Result:
        if not self._wait(lambda: job.status is not None, timeout):
            self.channel.send_signal(job, signal.SIGKILL)
            self._wait(lambda: job.status is not None, 10)
            out = Result(command, -1, _text(job.stdout), _text(job.stderr))
            raise MachineTimeout(self._describe(f"took longer than {timeout:.0f} s\n{out}"))
        assert job.status is not None
        return Result(command, exit_status(job.status), _text(job.stdout), _text(job.stderr))

    def run(
        self,
        command: Union[str, Sequence[str]],
        *,
        timeout: float = RUN_TIMEOUT,
        stdin: Optional[bytes] = None,
        env: Optional[dict[str, str]] = None,
        check: bool = True,
        on_output: Optional[Callable[[int, bytes], None]] = None,
    ) -> Result:
        """Runs a command and waits for it. check: a status other than 0 is a LabError."""
        shown = command if isinstance(command, str) else shlex.join(command)
        if self.verbose:
            print(f"  {self.name}$ {shown}", file=sys.stderr, flush=True)
        job = self.start_job(command, env=env, on_output=on_output)
        if stdin:
            self.channel.send_input(job, stdin)
        self.channel.send_eof(job)
        result = self.wait_job(job, shown, timeout)
        if check and result.status != 0:
            raise LabError(self._describe(f"command failed\n{result}", console=False))
        return result

    def out(self, command: Union[str, Sequence[str]], **kw: object) -> str:
        """What a command that must succeed prints, without the final newline."""
        return self.run(command, **kw).stdout.rstrip("\n")  # type: ignore[arg-type]

    def put(self, path: str, data: Union[bytes, str], mode: str = "0644") -> None:
        """Writes a file in the machine."""
        raw = data.encode() if isinstance(data, str) else data
        quoted = shlex.quote(path)
        self.run(f"cat >{quoted} && chmod {mode} {quoted}", stdin=raw)

    def put_file(self, local: Union[str, Path], path: str, mode: str = "0755") -> None:
        self.put(path, Path(local).read_bytes(), mode)

    def get(self, path: str) -> bytes:
        """Reads a file of the machine."""
        job = self.start_job(["cat", "--", path])
        self.channel.send_eof(job)
        if not self._wait(lambda: job.status is not None, RUN_TIMEOUT):
            raise MachineTimeout(self._describe(f"reading {path} took too long"))
        if job.status:
            raise LabError(f"{self.name}: cannot read {path}: {_text(job.stderr).strip()}")
        return bytes(job.stdout)

    def read(self, path: str) -> str:
        return self.get(path).decode(errors="replace")

    # Hardware

    def mce(
        self,
        cpu: int,
        bank: int,
        status: int,
        mcgstatus: int,
        addr: int,
        misc: int = 0x8C,
        broadcast: bool = False,
    ) -> None:
        """Raises a machine check through the monitor. Uncorrected ones need @broadcast on Intel
        models and must not have it on AMD models; corrected ones must not have it at all."""
        flag = "-b " if broadcast else ""
        line = f"mce {flag}{cpu} {bank} {status:#x} {mcgstatus:#x} {addr:#x} {misc:#x}"
        try:
            answer = self.qmp.human(line).strip()
        except QmpError as e:
            raise self._died() from e
        if answer:
            raise LabError(f"{self.name}: {line}: {answer}")

    # Console

    def console(self) -> str:
        try:
            text = (self.folder / "console.log").read_text(errors="replace")
        except OSError:
            return ""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\x1bc|\r", "", text)

    def complaints(self) -> list[str]:
        """Lines that a healthy kernel does not print, new since the last call: from the console
        and, while the machine lives, from its log. What `expected` matches is left out."""
        text = self.console()
        lines = text[self._console_checked :].splitlines()
        self._console_checked = len(text)
        if self.alive and self.channel.boots:
            for line in self.run("dmesg", check=False).stdout.splitlines():
                if line not in self._dmesg_seen:
                    self._dmesg_seen.add(line)
                    if line not in lines:
                        lines.append(line)
        return [
            x
            for x in lines
            if _COMPLAINTS.search(x) and not any(re.search(e, x) for e in self.expected)
        ]

    def _describe(self, what: str, console: bool = True) -> str:
        text = f"{self.name}: {what}"
        if console:
            tail = self.console().splitlines()[-30:]
            text += "\nend of the console:\n" + "\n".join("  | " + x for x in tail)
            text += f"\nwhole console: {self.folder}/console.log"
        return text

    # Inside

    def _wait(self, done: Callable[[], bool], timeout: float) -> bool:
        try:
            return self.channel.wait(done, time.monotonic() + timeout)
        except ChannelClosed as e:
            raise self._died() from e

    def _died(self) -> MachineDied:
        status = None
        if self._process:
            try:
                status = self._process.wait(10)
            except subprocess.TimeoutExpired:
                pass
        log = (self.folder / "qemu.log").read_text(errors="replace").strip()
        text = f"the machine has gone off (QEMU exit status {status})"
        return MachineDied(self._describe(f"{text}\n{log}" if log else text))

    def _lock_image(self) -> None:
        """Shared: an image that somebody uses is not removed from the cache."""
        disk = self.image / "disk.raw"
        if not disk.exists():
            raise LabError(f"{disk} does not exist; tools/build-image makes it")
        self._lock_fd = os.open(disk, os.O_RDONLY | os.O_CLOEXEC)
        fcntl.flock(self._lock_fd, fcntl.LOCK_SH)

    def _create_disk(self) -> None:
        subprocess.run(
            ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw"]
            + ["-b", str((self.image / "disk.raw").resolve()), str(self.folder / "disk.qcow2")],
            check=True,
        )

    def _qemu_argv(self, qemu: str, agent_fd: int, monitor_fd: int) -> list[str]:
        drive = (self.image / "drive").read_text().strip()  # virtio or nvme: what the kernel has
        uefi = self._needs_uefi()
        argv = [qemu, "-nodefaults", "-no-user-config", "-display", "none"]
        argv += ["-name", f"dmemd-lab-{self.name}", "-machine", "pc", "-cpu", self.cpu]
        argv += ["-accel", f"tcg,thread={'single' if self.counted else 'multi'}", "-action", "reboot=shutdown"]
        if self.counted:
            argv += ["-icount", "shift=0,sleep=off"]
        argv += self._numa_argv()
        argv += ["-chardev", f"file,id=console,path={self.folder}/console.log,append=on"]
        argv += ["-serial", "chardev:console"]
        argv += ["-chardev", f"socket,id=monitor,fd={monitor_fd}"]
        argv += ["-mon", "chardev=monitor,mode=control"]
        argv += ["-chardev", f"socket,id=agent,fd={agent_fd}", "-device", "virtio-serial-pci"]
        argv += ["-device", "virtserialport,chardev=agent,name=org.dmemd.lab"]
        argv += ["-device", "virtio-rng-pci"]
        argv += ["-blockdev", f"qcow2,node-name=disk,discard=unmap,cache.no-flush=on,"
                 f"file.driver=file,file.filename={self.folder}/disk.qcow2"]
        if drive == "nvme":
            first = ",bootindex=1" if uefi else ""
            argv += ["-device", f"nvme,drive=disk,serial=lab,share-rw=on{first}"]
        if drive == "virtio" or (self.boot == "disk" and not uefi):
            # The BIOS cannot boot from NVMe once there is much memory, so GRUB sees the same disk
            # as virtio; a kernel whose disk is NVMe has no driver for it
            argv += ["-device", "virtio-blk-pci,drive=disk,bootindex=1,share-rw=on"]
        if uefi:
            argv += self._uefi_argv()
        if self.boot == "direct":
            root = {"nvme": "/dev/nvme0n1p1", "virtio": "/dev/vda1"}[drive]
            init = "init=/usr/lib/dmemd-lab/init " if self.bare else ""
            append = f"{BASE_ARGUMENTS} root={root} rootfstype=ext4 ro quiet {init}{self.append}".strip()
            argv += ["-kernel", str(self.image / "vmlinuz"), "-append", append]
        return argv + self.qemu_arguments

    def _needs_uefi(self) -> bool:
        if self.boot == "direct":
            return self.uefi
        return (self.image / "loader").read_text().strip() != "grub-bios"

    def _uefi_argv(self) -> list[str]:
        firmware = Path("/usr/share/OVMF")
        if not (firmware / "OVMF_CODE_4M.fd").exists():
            raise LabError(f"there is no UEFI firmware in {firmware}; install the package ovmf")
        shutil.copy(firmware / "OVMF_VARS_4M.fd", self.folder / "uefi-variables")
        drives = (f"file={firmware}/OVMF_CODE_4M.fd,readonly=on", f"file={self.folder}/uefi-variables")
        return [x for d in drives for x in ("-drive", f"if=pflash,format=raw,{d}")]

    def _numa_argv(self) -> list[str]:
        """One socket per CPU, so that no socket spans two nodes; memory is not set aside on the
        host before the guest touches it, so that a guest may be larger than the host, unless
        prealloc says so."""
        total = sum(n.size for n in self.nodes)
        cpus = sum(n.cpus for n in self.nodes)
        argv = ["-m", f"{total // MIB}M", "-smp", f"{cpus},sockets={cpus},cores=1,threads=1"]
        socket_id = 0
        for i, node in enumerate(self.nodes):
            item = f"node,nodeid={i}"
            if node.size:
                how = "prealloc=on" if self.prealloc else "reserve=off"
                argv += ["-object", f"memory-backend-ram,id=m{i},size={node.size},{how}"]
                item += f",memdev=m{i}"
            argv += ["-numa", item]
            for _ in range(node.cpus):
                argv += ["-numa", f"cpu,node-id={i},socket-id={socket_id}"]
                socket_id += 1
        return argv


def _text(data: bytes) -> str:
    return bytes(data).decode(errors="replace")
