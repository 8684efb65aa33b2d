# SPDX-License-Identifier: LGPL-2.1-or-later
"""A root directory with GRUB's own tools in it, for tests of apply and revert.

The tree has its own etc/, boot/ and var/, and shares usr/ with this machine, so that the real
update-grub runs in it. It lives in a mount namespace of its own and is gone when the test ends.
What it shares with this machine is mounted read-only.
"""

import ctypes
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback

try:
    import jsonschema
except ImportError:
    jsonschema = None

SCHEMAS = pathlib.Path(__file__).resolve().parents[2] / "conf/schema"
SKIP = 77
TIME_LIMIT = 900  # seconds for one command
GRUB_TOOLS = ["update-grub", "grub-mkconfig", "grub-probe"]
NODES = {0: 8 << 30, 1: 16 << 30}
DROPIN = "etc/default/grub.d/90-dmemd.cfg"
CONFIG = "boot/grub/grub.cfg"
SETTINGS = """\
GRUB_DEFAULT=0
GRUB_TIMEOUT=5
GRUB_DISTRIBUTOR=Debian
GRUB_CMDLINE_LINUX_DEFAULT="quiet"
GRUB_CMDLINE_LINUX="console=ttyS0"
"""


def skip(reason):
    print(f"skipped: {reason}")
    sys.exit(SKIP)


def check_requirements():
    if os.geteuid() != 0:
        skip("needs root, as the tools of the boot loader run in a chroot")
    for tool in GRUB_TOOLS:
        if not os.path.exists(f"/usr/sbin/{tool}"):
            skip(f"/usr/sbin/{tool} is missing, the packages grub-common and grub2-common have it")


def enter_namespace():
    libc = ctypes.CDLL(None, use_errno=True)
    CLONE_NEWNS, MS_REC, MS_PRIVATE, PR_SET_PDEATHSIG = 0x20000, 0x4000, 1 << 18, 1
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if libc.unshare(CLONE_NEWNS) != 0 or libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None):
        skip(f"cannot have a mount namespace: {os.strerror(ctypes.get_errno())}")


def in_child(main, folder):
    status = 1
    try:
        enter_namespace()
        status = main(folder)
    except SystemExit as leaving:
        status = leaving.code
    except BaseException:  # whatever it is, this process must not go on as if it were the parent
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def run(main):
    """Calls main(folder) in a child with a mount namespace of its own; returns its exit status.

    The trees in `folder` have folders of this machine mounted in them. Those mounts exist only in
    the child: we, who remove the folder when the child is gone, never see them.
    """
    check_requirements()
    folder = tempfile.mkdtemp(dir="/var/tmp", prefix="dmemd-test-")
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        in_child(main, folder)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: os.kill(child, signal.SIGKILL))
    _, status = os.waitpid(child, 0)
    shutil.rmtree(folder)
    return os.waitstatus_to_exitcode(status)


def mount(*arguments):
    subprocess.run(["mount", *map(str, arguments)], check=True, timeout=TIME_LIMIT)


def umount(where):
    subprocess.run(["umount", str(where)], check=True, timeout=TIME_LIMIT)


def write(path, text, mode=0o644):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


class Tree:
    """One root directory. `root` is its path."""

    def __init__(self, dmemctl, parent):
        self.dmemctl = str(dmemctl)
        self.root = pathlib.Path(tempfile.mkdtemp(dir=parent))
        self.mounts = []
        self.make_system()
        self.make_boot()
        self.make_memory()

    def make_system(self):
        for name in ["bin", "sbin", "lib", "lib64"]:
            (self.root / name).symlink_to(f"usr/{name}")
        for name in ["proc", "sys", "dev", "run", "tmp", "root", "var/lib", "usr/sbin"]:
            (self.root / name).mkdir(parents=True)
        for entry in sorted(pathlib.Path("/usr").iterdir()):
            if entry.is_dir() and not entry.is_symlink() and entry.name not in ("sbin", "src"):
                self.bind(entry, f"usr/{entry.name}")
        for tool in GRUB_TOOLS:
            shutil.copy2(f"/usr/sbin/{tool}", self.root / "usr/sbin")
        shutil.copytree("/etc/grub.d", self.root / "etc/grub.d")
        for name in ["ld.so.cache", "ld.so.conf"]:
            if os.path.exists(f"/etc/{name}"):
                shutil.copy2(f"/etc/{name}", self.root / "etc")
        # Other systems on the disks of this machine are none of our business
        (self.root / "etc/grub.d/30_os-prober").unlink(missing_ok=True)

    def make_boot(self):
        write(self.root / "etc/default/grub", SETTINGS)
        (self.root / "etc/default/grub.d").mkdir()
        self.add_kernel("6.12.1-dmem", True)
        self.add_kernel("6.1.0-9-amd64", False)
        (self.root / "boot/grub").mkdir()
        self.run_in("/usr/sbin/update-grub", check=True)

    def add_kernel(self, version, dmem):
        """dmem: the kernel knows dmem=; None: nobody can tell."""
        for name in ["vmlinuz", "initrd.img"]:
            write(self.root / f"boot/{name}-{version}", "not empty\n")
        if dmem is not None:
            write(self.root / f"boot/config-{version}",
                  "CONFIG_64BIT=y\n" + ("CONFIG_DMEM=y\n" if dmem else "# CONFIG_X is not set\n"))

    def make_memory(self):
        zones = ""
        for node, size in NODES.items():
            folder = self.root / f"sys/devices/system/node/node{node}"
            write(folder / "cpulist", f"{node}\n")
            write(folder / "meminfo", f"Node {node} MemTotal:       {size >> 10} kB\n")
            zones += (f"Node {node}, zone   Normal\n  pages free     1\n        spanned  {size >> 12}\n"
                      f"        present  {size >> 12}\n        managed  {size >> 12}\n")
        write(self.root / "proc/zoneinfo", zones)
        write(self.root / "proc/cmdline", "BOOT_IMAGE=/boot/vmlinuz quiet\n")
        write(self.root / "proc/meminfo", "MemTotal: 25165824 kB\nMemAvailable: 24165824 kB\n")
        write(self.root / "proc/iomem", "00000000-00000000 : System RAM\n")

    def bind(self, source, where):
        target = self.root / where
        target.mkdir(exist_ok=True)
        mount("--bind", source, target)
        self.mounts.append(target)
        # Whatever goes wrong in the tree, it must not happen to this machine
        mount("-o", "remount,bind,ro", target)

    def small_disk(self, where, size):
        """Puts a file system of `size` bytes in place of a folder, with what the folder has."""
        target = self.root / where
        saved = tempfile.mkdtemp(dir=self.root / "tmp")
        shutil.copytree(target, saved, dirs_exist_ok=True)
        mount("-t", "tmpfs", "-o", f"size={size},mode=755", "small", target)
        shutil.copytree(saved, target, dirs_exist_ok=True)
        self.mounts.append(target)

    def read_only(self, where):
        target = self.root / where
        mount("--bind", target, target)
        mount("-o", "remount,bind,ro", target)
        self.mounts.append(target)

    def release(self, where):
        target = self.root / where
        umount(target)
        self.mounts.remove(target)

    def close(self):
        for target in reversed(self.mounts):
            subprocess.run(["umount", "-l", str(target)], check=True, timeout=TIME_LIMIT)
        self.mounts.clear()

    def configure(self, text):
        write(self.root / "etc/dmemd/dmemd.conf", text)

    def set_tool(self, script):
        """Another update-grub; None: none at all."""
        path = self.root / "usr/sbin/update-grub"
        path.unlink(missing_ok=True)
        if script is not None:
            write(path, script, 0o755)

    def restore_tool(self):
        shutil.copy2("/usr/sbin/update-grub", self.root / "usr/sbin")

    def run_in(self, *command, check=False):
        """Runs a command in the tree as on a live host, with this machine's proc, sys and dev."""
        script = ('for f in proc sys dev; do mount --rbind /$f "$0/$f"; done; '
                  'exec chroot "$0" "$@"')
        return subprocess.run(["unshare", "-m", "sh", "-ec", script, str(self.root), *command],
                              check=check, capture_output=True, text=True, timeout=TIME_LIMIT)

    def command(self, *arguments):
        return [self.dmemctl, f"--root={self.root}", *arguments]

    def run(self, *arguments, prefix=(), **options):
        """Runs dmemctl on the tree."""
        environment = dict(os.environ)
        if prefix:  # the leak check of a sanitizer and a tracer cannot both have the process
            environment["ASAN_OPTIONS"] = "detect_leaks=0"
        return subprocess.run([*prefix, *self.command(*arguments)], capture_output=True, text=True,
                              timeout=TIME_LIMIT, env=environment, **options)

    def json(self, verb, *arguments):
        document = json.loads(self.run("--json=short", verb, *arguments).stdout)
        if jsonschema:
            schema = SCHEMAS / f"{'apply' if verb == 'revert' else verb}.json"
            jsonschema.validate(document, json.loads(schema.read_text()))
        return document

    def text(self, path):
        return (self.root / path).read_text()

    def exists(self, path):
        return (self.root / path).exists()

    def linux_lines(self):
        return [line.strip() for line in self.text(CONFIG).splitlines()
                if line.split()[:1] == ["linux"]]

    def own_arguments(self):
        """Our arguments of each entry, the recovery entries left out, which must have none."""
        result = []
        for line in self.linux_lines():
            own = [word for word in line.split()
                   if word.split("=")[0] in ("dmem", "hugepages", "hugepagesz",
                                             "hugetlb_free_vmemmap")]
            if "single" in line.split():
                assert own == [], f"recovery entry with {own}"
            else:
                result.append(" ".join(own))
        return result

    def state(self, with_times=False):
        """What boot settings there are, byte for byte, with modes; nothing temporary may be."""
        result = {}
        for folder in ["boot", "etc", "var"]:
            for path in sorted((self.root / folder).rglob("*")):
                assert not path.name.startswith(".#"), f"{path} was left behind"
                status = path.lstat()
                entry = [oct(status.st_mode), status.st_uid, status.st_gid]
                if path.is_file():
                    entry.append(path.read_bytes())
                if with_times:
                    entry.append(status.st_mtime_ns)
                result[str(path.relative_to(self.root))] = entry
        return result


def difference(before, after):
    return sorted(name for name in before.keys() | after.keys()
                  if before.get(name) != after.get(name))
