# SPDX-License-Identifier: LGPL-2.1-or-later
"""A host without a machine: this system's own systemd, D-Bus and journal in name spaces, with what
`meson install` installs, and class dmem made of files. Needs root.

Nothing outside of the name spaces is changed: units that would (udev, sysctl, modules) are masked.
"""

from __future__ import annotations

import pathlib
import shutil
import subprocess
import time

from host_tree import HostTree
from private_bus import ORDINARY_USER, as_user, wait_for

TIMEOUT = 120.0
CGROUPS = pathlib.Path("/sys/fs/cgroup")
UNITS = pathlib.Path("usr/lib/systemd/system")

# What those targets may start: all that the units of ours need
KEEP = {"systemd-journald.service", "systemd-journald.socket", "systemd-journald-dev-log.socket",
        "systemd-sysusers.service", "systemd-tmpfiles-setup.service", "dbus.socket", "dbus.service"}

BOOT = r"""
set -e
cd "$1"
mount --bind . . && cd "$1"
mount -t overlay -o lowerdir="$2/usr:/usr" overlay usr
mount -t proc proc proc
for folder in run tmp dev sys; do mount -t tmpfs -o mode=755 tmpfs $folder; done
for node in null zero full random urandom tty; do touch dev/$node; mount --bind /dev/$node dev/$node; done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
cp -r "$2/sys/." sys/
mkdir -p sys/fs/cgroup
if [ -e /sys/fs/cgroup/cgroup.procs ]; then
        mount -t cgroup2 cgroup2 sys/fs/cgroup
else
        mount -t tmpfs -o mode=755 tmpfs sys/fs/cgroup
        mkdir sys/fs/cgroup/systemd sys/fs/cgroup/unified
        mount -t cgroup -o none,name=systemd cgroup sys/fs/cgroup/systemd
        mount -t cgroup2 cgroup2 sys/fs/cgroup/unified
fi
pivot_root . mnt
umount -l /mnt
exec env -i container=lab PATH=/usr/sbin:/usr/bin TERM=dumb \
        /lib/systemd/systemd --system --log-target=journal --show-status=no --unit=basic.target
"""


class NotHere(Exception):
    """Why it cannot be done on this machine."""


class NameSpaceHost:
    def __init__(self, folder: pathlib.Path, meson: str, build: str):
        self.root, self.installed = folder / "root", folder / "installed"
        folder.chmod(0o755)
        subprocess.run([meson, "install", "-C", build, "--no-rebuild", "--quiet"], check=True,
                       env={"DESTDIR": str(self.installed), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
        HostTree(self.installed)
        self.make_root()
        self.cgroups = [c / folder.name for c in
                        ([CGROUPS] if (CGROUPS / "cgroup.procs").exists()
                         else [CGROUPS / "systemd", CGROUPS / "unified"])]
        try:
            for cgroup in self.cgroups:
                cgroup.mkdir()
        except OSError as e:
            raise NotHere(f"no control group can be made: {e}") from e
        join = "".join(f"echo $$ >{c}/cgroup.procs && " for c in self.cgroups)
        self.log = folder / "boot"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig=KILL", "sh", "-c", join + 'exec unshare --pid --mount --uts --ipc --net --cgroup --fork '
                 '--kill-child --propagation=private sh -c "$0" boot "$@"', BOOT,
                 self.root, self.installed], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            self.pid = wait_for("a first process", self.find_init)
            wait_for("the end of the boot", self.is_up, TIMEOUT)
        except AssertionError as e:
            self.stop()
            raise NotHere(f"systemd does not come up in name spaces: {e} {self.log.read_text()}") from e

    def make_root(self) -> None:
        for name in ("usr", "etc/systemd/system", "var/lib", "run", "proc", "sys", "dev", "tmp", "mnt", "root"):
            (self.root / name).mkdir(parents=True)
        for name in ("bin", "sbin", "lib", "lib64", "lib32"):
            if pathlib.Path("/usr", name).exists():
                (self.root / name).symlink_to(f"usr/{name}")
        for name in ("passwd", "group", "nsswitch.conf", "ld.so.conf", "ld.so.conf.d", "ld.so.cache", "dbus-1"):
            source, target = pathlib.Path("/etc", name), self.root / "etc" / name
            if source.is_dir():
                shutil.copytree(source, target, symlinks=True)
            elif source.exists():
                shutil.copy(source, target)
        (self.root / "etc/machine-id").write_text("646d656d646c61620000000000000000\n")
        for wants in pathlib.Path("/", UNITS).glob("*.wants"):
            for unit in wants.iterdir():
                if unit.name not in KEEP and unit.name.rpartition(".")[2] not in ("target", "slice"):
                    mask = self.root / "etc/systemd/system" / unit.name
                    if not mask.is_symlink():
                        mask.symlink_to("/dev/null")

    def find_init(self) -> int:
        if self.process.poll() is not None:
            raise AssertionError("it ended at once")
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        for child in children:
            if pathlib.Path(f"/proc/{child}/comm").read_text() == "systemd\n":
                return int(child)
        return 0

    def is_up(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"it ended with {self.process.returncode}")
        return self.run("systemctl is-active basic.target", check=False).stdout == "active\n"

    def run(self, command: str, check: bool = True, as_nobody: bool = False) -> subprocess.CompletedProcess:
        """In a shell inside."""
        argv = ["nsenter", f"--target={self.pid}", "--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup", "--"]
        shell = ["/bin/sh", "-c", command]
        run = subprocess.run([*argv, *(as_user(ORDINARY_USER, *shell) if as_nobody else shell)], capture_output=True, text=True, timeout=TIMEOUT,
                             env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}, check=False)
        if check and run.returncode != 0:
            raise AssertionError(f"{command}: {run.returncode}\n{run.stdout}{run.stderr}")
        return run

    def out(self, command: str) -> str:
        return self.run(command).stdout.rstrip("\n")

    def put(self, path: str, text: str) -> None:
        """A file inside, in one step."""
        subprocess.run(["nsenter", f"--target={self.pid}", "--mount", "--", "/bin/sh", "-c",
                        'mkdir -p "${0%/*}" && cat >"$0.new" && mv "$0.new" "$0"', path],
                       input=text, text=True, timeout=TIMEOUT, check=True)

    def stop(self) -> None:
        self.process.kill()  # and with it, by --kill-child, all of them
        self.process.wait(TIMEOUT)
        end = time.monotonic() + TIMEOUT
        for cgroup in self.cgroups:
            for folder in [*sorted(cgroup.rglob("*/"), reverse=True), cgroup]:
                while folder.is_dir():
                    try:
                        folder.rmdir()
                    except OSError:
                        if time.monotonic() > end:
                            raise
                        time.sleep(0.05)
