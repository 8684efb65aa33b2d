# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the scenarios share: reading the machine the way an administrator would."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from lab.images import SOURCE_ROOT
from lab.machine import GIB, MIB, Machine, Result
from lab.scenario import CheckFailed, Scenario

DROP_IN = "/etc/default/grub.d/90-dmemd.cfg"
GRUB_CFG = "/boot/grub/grub.cfg"
SELFTESTS = "/usr/local/lib/dmem-selftests"
# With intel_iommu=on: QEMU's device for teaching, which copies memory at command; alone in its slot, it is
# alone in its group
EDU = ("-machine", "q35", "-device", "intel-iommu", "-device", "edu,addr=0x10")
OWN_ARGUMENTS = ("dmem", "hugepagesz", "hugepages", "hugetlb_free_vmemmap")


def message_id(name: str) -> str:
    """The id of a kind of journal entry, from the header that everything else has it from."""
    text = (SOURCE_ROOT / "src" / "host" / "message-ids.h").read_text()
    m = re.search(rf'^#define MESSAGE_{name} "([0-9a-f]{{32}})"$', text, re.M)
    if not m:
        raise CheckFailed(f"message-ids.h has no MESSAGE_{name}")
    return m[1]


@dataclass
class DmemNode:
    """A node of class dmem. Bytes; regions are (start, end)."""

    requested: int
    size: int
    free: int
    used: int
    poisoned: int
    regions: list[tuple[int, int]]


class DmemScenario(Scenario):
    """A scenario that looks at dmem."""

    selftest_timeout: float = 900

    # The host

    def command_line(self) -> list[str]:
        return self.machine.read("/proc/cmdline").split()

    def own_arguments(self) -> list[str]:
        return [x for x in self.command_line() if x.partition("=")[0] in OWN_ARGUMENTS]

    def mem_total(self) -> int:
        m = re.search(r"^MemTotal:\s+(\d+) kB", self.machine.read("/proc/meminfo"), re.M)
        assert m
        return int(m[1]) * 1024

    def vmstat(self, name: str) -> int:
        m = re.search(rf"^{name} (\d+)$", self.machine.read("/proc/vmstat"), re.M)
        if not m:
            raise CheckFailed(f"/proc/vmstat has no {name}")
        return int(m[1])

    def iomem(self) -> list[tuple[int, int, str]]:
        """The ranges of /proc/iomem, at any depth: start, end, name; end exclusive."""
        found = []
        for line in self.machine.read("/proc/iomem").splitlines():
            m = re.match(r"^\s*([0-9a-f]+)-([0-9a-f]+) : (.*)$", line)
            if m:
                found.append((int(m[1], 16), int(m[2], 16) + 1, m[3]))
        return found

    def dmem_nodes(self) -> dict[int, DmemNode]:
        """Class dmem. No nodes if there is no class."""
        text = self.machine.run(
            "cd /sys/class/dmem 2>/dev/null && for n in node*; do [ -d $n ] || continue; echo $n; "
            "for a in requested size free used poisoned; do cat $n/${a}_bytes; done; "
            "cat $n/regions; done; true"
        ).stdout
        nodes: dict[int, DmemNode] = {}
        for block in re.split(r"^node", text, flags=re.M)[1:]:
            lines = block.split("\n")
            regions = [
                (int(a, 16), int(b, 16))
                for a, b in re.findall(r"^0x([0-9a-f]+)-0x([0-9a-f]+)$", "\n".join(lines[6:]), re.M)
            ]
            nodes[int(lines[0])] = DmemNode(*map(int, lines[1:6]), regions)  # type: ignore[arg-type]
        return nodes

    # The programs

    def dmemctl(self, arguments: str, status: int = 0, **kw: Any) -> Result:
        """Runs dmemctl; a status other than @status fails the test."""
        r = self.machine.run(f"dmemctl --no-pager {arguments}", check=False, **kw)
        if r.status != status:
            raise CheckFailed(f"exit status {r.status}, should be {status}\n{r}")
        return r

    def dmemctl_json(self, arguments: str, status: int = 0) -> dict[str, Any]:
        r = self.dmemctl(f"--json=short {arguments}", status)
        try:
            value = json.loads(r.stdout)
        except ValueError as e:
            raise CheckFailed(f"no JSON: {e}\n{r}") from e
        self.equal(value.get("version"), 1, f"version in the JSON of {arguments}")
        return value

    def as_user(self, command: str) -> Result:
        """Runs a command as somebody without any rights."""
        argv = ["setpriv", "--reuid=user", "--regid=user", "--clear-groups", "sh", "-c", command]
        return self.machine.run(argv, check=False)

    def bus_property(self, name: str, path: str = "/org/dmemd1", interface: str = "Manager") -> str:
        """The value of a property as busctl prints it, without its type."""
        text = self.machine.out(
            f"busctl get-property org.dmemd1 {path} org.dmemd1.{interface} {name}"
        )
        return text.partition(" ")[2]

    def journal(self, *matches: str) -> list[dict[str, Any]]:
        """The entries of this boot that match."""
        self.machine.run("journalctl --sync")
        text = self.machine.out(["journalctl", "-b", "-q", "-o", "json", *matches])
        return [json.loads(x) for x in text.splitlines()]

    def touch(self, arguments: str, check: bool = True) -> dict[str, str]:
        """Runs dmem-touch and returns what it prints."""
        r = self.machine.run(f"dmem-touch {arguments}", check=check)
        return dict(x.split("=", 1) for x in r.stdout.splitlines() if "=" in x)

    def run_selftest(self, command: str) -> str:
        """Runs one of the kernel's selftests, which prints TAP; no test point may fail. Returns the TAP."""
        r = self.machine.run(f"{SELFTESTS}/{command}", timeout=self.selftest_timeout, check=False)
        failed = [x for x in r.stdout.splitlines() if x.startswith("not ok") and "# SKIP" not in x]
        self.check(not failed and r.status in (0, 4), f"{command}: {failed}\n{r}")
        self.check(re.search(r"^ok ", r.stdout, re.M), f"{command} printed no TAP\n{r}")
        self.check(re.search(r"^1\.\.\d+$", r.stdout, re.M), f"{command} did not come to its end\n{r}")
        return r.stdout

    def bind_edu(self) -> None:
        self.machine.run("modprobe vfio-pci && modprobe vfio_iommu_type1")
        self.machine.run("echo vfio-pci >/sys/bus/pci/devices/0000:00:10.0/driver_override")
        self.machine.run("echo 0000:00:10.0 >/sys/bus/pci/drivers_probe")

    def run_vfio_selftest(self) -> None:
        """On a machine with EDU."""
        text = self.run_selftest("dmemfs_vfio")
        self.check("# SKIP" not in text and "no edu" not in text, f"nothing was tested\n{text}")

    def run_selftests(self) -> dict[str, str]:
        """All but the one that leaves less memory behind than the others count with. The TAP of each."""
        programs = [x for x in self.machine.out(f"ls {SELFTESTS}").split() if x != "dmemfs_poison"]
        self.check(programs, f"no selftests in {SELFTESTS}")
        return {program: self.run_selftest(program) for program in programs}

    def run_kunit(self) -> None:
        """On a machine with kunit.enable=1. The suite dmem has run while the kernel started."""
        self.machine.run("modprobe dmemfs_kunit", timeout=300)
        log = self.machine.out("dmesg | sed 's/^\\[[^]]*\\] //'")
        failed = re.findall(r"^ *not ok .*", log, re.M)
        self.check(not failed, f"KUnit: {failed}")
        for suite in ("dmem", "dmemfs"):
            self.check(re.search(rf"^ok \d+ {suite}$", log, re.M), f"KUnit reported nothing about {suite}")
        self.machine.run("modprobe -r dmemfs_kunit")

    def snapshot(self) -> str:
        """Checksums, modes and owners of all that dmemctl could change."""
        return self.machine.out(
            "{ find /etc /boot /var/lib/dmemd -type f -exec sha256sum {} +; "
            "find /etc /boot /var/lib/dmemd -printf '%p %M %u %g %l\\n'; } 2>/dev/null | sort"
        )

    def check_unchanged(self, before: str, what: str) -> None:
        after = self.snapshot()
        if after != before:
            old, new = set(before.splitlines()), set(after.splitlines())
            raise CheckFailed(
                f"{what} changed files:\n" + "\n".join([f"- {x}" for x in sorted(old - new)])
                + "\n" + "\n".join([f"+ {x}" for x in sorted(new - old)])
            )

    def kernel_lines(self, filename: str = GRUB_CFG) -> list[tuple[str, str]]:
        """Menu entry title and command line of each kernel that GRUB offers."""
        found, title = [], ""
        for line in self.machine.read(filename).splitlines():
            m = re.match(r"^\s*menuentry '([^']*)'", line)
            if m:
                title = m[1]
            m = re.match(r"^\s*linux\s+(.*)$", line)
            if m:
                found.append((title, m[1]))
        return found


__all__ = [
    "DROP_IN",
    "GIB",
    "GRUB_CFG",
    "MIB",
    "CheckFailed",
    "DmemNode",
    "DmemScenario",
    "Machine",
    "message_id",
]
