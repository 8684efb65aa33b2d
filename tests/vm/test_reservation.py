# SPDX-License-Identifier: LGPL-2.1-or-later
"""dmem= on real kernels: many small machines that are there for their kernel alone."""

from __future__ import annotations

import base64
import re
import struct
import tempfile

from lab.machine import DEFAULT_CPU

from .common import GIB, MIB, DmemScenario

SECTION = 128 * MIB
FLOOR = 512 * MIB
PREFERRED = 16 * MIB  # where an image goes that is not moved

Range = tuple[int, int]


def overlap(a: Range, b: Range) -> bool:
    return a[0] < b[1] and b[0] < a[1]


def loaded_ranges(elf: bytes) -> list[Range]:
    """Physical ranges of the PT_LOAD headers of an ELF file; what has no physical address is left out."""
    offset = struct.unpack_from("<Q", elf, 32)[0]
    size, count = struct.unpack_from("<HH", elf, 54)
    found = []
    for i in range(count):
        kind, _, _, _, physical, _, length, _ = struct.unpack_from("<IIQQQQQQ", elf, offset + i * size)
        if kind == 1 and physical != 0xFFFFFFFFFFFFFFFF:
            found.append((physical, physical + length))
    return found


class Bare(DmemScenario):
    """A machine without systemd. dmemfs is loaded if there is anything to load it for."""

    boot = "direct"
    bare = True

    def prepare(self) -> None:
        self.machine.run("modprobe dmemfs 2>/dev/null || true")

    def log(self) -> str:
        return "\n".join(x for x in self.machine.out("dmesg").splitlines() if "dmem: " in x)

    def regions(self) -> list[Range]:
        return [x[:2] for x in self.iomem() if x[2] == "dmem"]

    def granted(self) -> dict[int, int]:
        return {i: n.size for i, n in self.dmem_nodes().items()}

    def node_ranges(self) -> dict[int, list[Range]]:
        """Memory of the nodes as the firmware has it."""
        found: dict[int, list[Range]] = {}
        text = self.machine.out("dmesg")
        for m in re.finditer(r"SRAT: Node (\d+) PXM \d+ \[mem (0x\w+)-(0x\w+)\]", text):
            found.setdefault(int(m[1]), []).append((int(m[2], 16), int(m[3], 16) + 1))
        return found

    def kernel_bytes(self, nid: int) -> int:
        """What the kernel kept of a node."""
        zones = self.machine.read("/proc/zoneinfo").split("Node ")[1:]
        return sum(
            int(m[1]) * 4096
            for zone in zones
            if zone.startswith(f"{nid},")
            for m in re.finditer(r"^ +present +(\d+)$", zone, re.M)
        )

    def elf_head(self, path: str) -> bytes:
        return base64.b64decode(self.machine.out(f"head -c 65536 {path} | base64 -w0"))

    def kernel_ranges(self) -> dict[str, Range]:
        return {x[2]: x[:2] for x in self.iomem() if x[2].startswith("Kernel ")}

    def check_consistent(self) -> None:
        """What holds whatever was asked for."""
        iomem, regions, nodes = self.iomem(), self.regions(), self.dmem_nodes()
        self.check(regions, "nothing is reserved")
        in_sysfs = sorted(r for n in nodes.values() for r in n.regions)
        self.equal(sorted(regions), in_sysfs, "regions in /proc/iomem, against those in sysfs")
        firmware = self.machine.out(
            "cd /sys/firmware/memmap && for e in *; do echo $(cat $e/start $e/end $e/type); done"
        )
        ram = [
            (int(a, 16), int(b, 16) + 1)
            for a, b in re.findall(r"^(0x\w+) (0x\w+) System RAM$", firmware, re.M)
        ]
        for r in regions:
            self.check(r[0] % SECTION == 0 and r[1] % SECTION == 0, f"{r} is not aligned")
            for start, end, name in iomem:
                if name.startswith(("System RAM", "Kernel", "Crash kernel")):
                    self.check(not overlap(r, (start, end)), f"{r} overlaps {name} {start:#x}-{end:#x}")
            inside = sum(max(0, min(r[1], b) - max(r[0], a)) for a, b in ram)
            self.equal(inside, r[1] - r[0], f"bytes of {r} that the firmware calls RAM")
            for a, b in loaded_ranges(self.elf_head("/proc/kcore")):
                self.check(not overlap(r, (a, b)), f"{r} is in /proc/kcore: {a:#x}-{b:#x}")
        where = self.node_ranges()
        for nid, n in nodes.items():
            self.equal(sum(b - a for a, b in n.regions), n.size, f"regions of node {nid}")
            self.check(n.size <= n.requested, f"node {nid}: {n.size} of {n.requested}")
            self.check(self.kernel_bytes(nid) >= FLOOR or not n.size, f"node {nid} is below the floor")
            for r in n.regions if where else []:
                home = any(a <= r[0] and r[1] <= b for a, b in where[nid])
                self.check(home, f"{r} is not in node {nid}: {where[nid]}")


    def load_kernel(self, flags: int) -> None:
        """kexec_file_load() with the command line in force, no initrd, and a line for each segment."""
        script = (
            'open K, "<", glob "/boot/vmlinuz-*" or die; open C, "<", "/proc/cmdline"; chomp($c = <C>); '
            f'$c .= "\\0"; syscall(320, fileno(K), -1, length $c, $c, {flags | 4 | 8}) == 0 or die $!'
        )
        self.machine.run(["perl", "-e", script])


class Sizes(Bare):
    """A size for each node, whole GiB from the top"""

    nodes = "3G,5G"
    append = "dmem=0:1G,1:3G"

    def test_granted_whole(self) -> None:
        self.equal(self.granted(), {0: GIB, 1: 3 * GIB}, "granted")
        for r in self.regions():
            self.check(r[0] % GIB == 0 and r[1] % GIB == 0, f"{r} is not whole GiB")
        self.contains(self.log(), "node 1: 3G reserved, 3G asked for", "kernel log")
        self.check_consistent()

    def test_devmem_refuses_root(self) -> None:
        start = self.regions()[-1][0]
        r = self.machine.run(f"dd if=/dev/mem of=/dev/null bs=4096 count=1 skip={start // 4096}", check=False)
        self.check(r.status != 0 and "Operation not permitted" in r.stderr, f"read of /dev/mem: {r}")
        call = f"syscall(9, 0, 4096, 1, 1, fileno(F), {start})"  # mmap()
        script = f'open F, "<", "/dev/mem" or die; print {call} == -1 ? "$!" : "mapped"'
        self.equal(self.machine.out(["perl", "-e", script]), "Operation not permitted", "mmap of /dev/mem")

    def test_write_back(self) -> None:
        text = self.machine.read("/sys/kernel/debug/x86/pat_memtype_list")
        for a, b in self.regions():
            self.contains(text, f"[mem {a:#018x}-{b:#018x}] write-back", "memory types")

    def test_kexec_stays_out_and_repeats_it(self) -> None:
        """Segments are placed elsewhere; the next kernel finds the memory and reserves it again."""
        regions = self.regions()
        self.load_kernel(0)
        text = self.machine.out("dmesg")
        segments = re.findall(r"segment\[\d+\]: .*mem=0x(\w+) memsz=0x(\w+)", text)
        self.check(segments, f"no segments in the log:\n{text[-2000:]}")
        for start, size in segments:
            s = (int(start, 16), int(start, 16) + int(size, 16))
            self.check(not any(overlap(s, r) for r in regions), f"segment {s} lies in a region")
        boots = self.machine.channel.boots
        # reboot() with LINUX_REBOOT_CMD_KEXEC
        self.machine.start_job(["perl", "-e", "syscall(169, 0xfee1dead, 672274793, 0x45584543, 0)"])
        self.machine.wait_hello(boots + 1, 120)
        self.prepare()
        self.equal(self.granted(), {0: GIB, 1: 3 * GIB}, "granted after kexec")
        self.check_consistent()

    def test_saves_a_64th(self) -> None:
        pages = self.vmstat("nr_memmap_boot_pages")
        self.replace_machine("")
        saved = self.vmstat("nr_memmap_boot_pages") - pages
        self.equal(saved * 4096 * 64, 4 * GIB, "bytes without struct page")
        self.equal(self.regions(), [], "regions without dmem=")


class Grammar(Bare):
    """Every form of item, good ones between bad ones"""

    nodes = "3G,5G"
    append = "dmem=0:!1536M,banana,1:2,7:1G,1G@5G,,1:1G:3M dmem=1:1G:1G dmem=4P"

    def test_bad_items_are_quoted(self) -> None:
        log = self.log()
        for bad in ("banana", "1:2", "7:1G", "", "1:1G:3M", "4P"):
            self.contains(log, f'ignoring "{bad}" in dmem=: ', "kernel log")

    def test_the_others_are_granted(self) -> None:
        taken = any(a <= 5 * GIB and 6 * GIB <= b for a, b in self.regions())
        self.check(taken, f"1G@5G: {self.regions()}")
        nodes = self.dmem_nodes()
        self.equal((nodes[1].requested, nodes[1].size), (2 * GIB, 2 * GIB), "node 1")
        self.check(1536 * MIB <= self.kernel_bytes(0) < 1536 * MIB + SECTION, "!1536M on node 0")
        self.check_consistent()


class Floors(Bare):
    """More than there is, also on a node that cannot give anything"""

    nodes = "3G,512M/0"
    append = "dmem=900G"

    def test_both_figures_are_visible(self) -> None:
        nodes = self.dmem_nodes()
        self.equal(sorted(nodes), [0, 1], "nodes of class dmem")
        for nid in (0, 1):
            self.equal(nodes[nid].requested, 900 * GIB, f"requested on node {nid}")
            self.contains(self.log(), f"node {nid}: of 900G asked for", "kernel log")
        self.equal(nodes[1].size, 0, "granted on node 1")
        self.check(nodes[0].size >= 2 * GIB, f"granted on node 0: {nodes[0].size}")
        self.check_consistent()


class OddNodes(Bare):
    """A node without memory and one without CPUs"""

    nodes = "2G,0/1,1G/0,2G"
    append = "dmem=256M"

    def test_nodes_with_memory_give(self) -> None:
        self.equal(self.granted(), {0: 256 * MIB, 2: 256 * MIB, 3: 256 * MIB}, "granted")
        self.check_consistent()


class OneNode(Bare):
    """Two nodes that the kernel is told to take for one, and one that it is told to split"""

    nodes = "2G,2G"
    append = "dmem=1G numa=off"

    def test_numa_off(self) -> None:
        self.equal(self.granted(), {0: GIB}, "granted")

    def test_numa_fake(self) -> None:
        self.replace_machine("dmem=256M numa=fake=4")
        self.prepare()
        self.equal(self.granted(), {i: 256 * MIB for i in range(4)}, "granted")
        self.check(len(self.regions()) >= 1, "no regions")


class Others(Bare):
    """What others were promised on the same line; then the kernel crashes"""

    nodes = "4G,4G"
    append = (
        "dmem=900G crashkernel=256M hugepagesz=1G hugepages=0:0,1:1 hugepagesz=2M hugepages=0:32,1:64"
    )
    steps = ("test_all_get_theirs",)

    def test_all_get_theirs(self) -> None:
        crash = [x for x in self.iomem() if x[2] == "Crash kernel"]
        self.equal(sum(b - a for a, b, _ in crash) >= 256 * MIB, True, f"crash kernel: {crash}")
        pages = self.machine.out(
            "cd /sys/devices/system/node; for s in 1048576 2048; do "
            "echo $(cat node0/hugepages/hugepages-${s}kB/nr_hugepages node1/hugepages/hugepages-${s}kB/nr_hugepages)"
            "; done"
        )
        self.equal(pages.split(), ["0", "1", "32", "64"], "huge pages of 1G and 2M on both nodes")
        self.check_consistent()

    def test_kdump_kernel_ignores_dmem(self) -> None:
        regions = self.regions()
        self.load_kernel(2)
        self.machine.expected += [r"sysrq", r"Call Trace:"]
        boots = self.machine.channel.boots
        self.machine.start_job("echo c >/proc/sysrq-trigger")
        self.machine.wait_hello(boots + 1, 240)
        self.check("dmem=900G" in self.command_line(), "the command line was not inherited")
        self.contains(self.machine.out("dmesg"), "ignoring dmem= in a kdump kernel", "kernel log")
        dumped = loaded_ranges(self.elf_head("/proc/vmcore"))
        self.check(dumped, "nothing is in /proc/vmcore")
        for d in dumped:
            self.check(not any(overlap(d, r) for r in regions), f"{d} of a region is in the dump")


class Kdump(Bare):
    """A kernel that is told of a crash, with all memory there"""

    nodes = "2G,2G"
    append = "dmem=1G elfcorehdr=0x1000000"

    def test_ignored(self) -> None:
        self.contains(self.log(), "ignoring dmem= in a kdump kernel", "kernel log")
        self.equal(self.regions(), [], "regions")


class MovableNode(Bare):
    """Memory that can be unplugged, with movable_node"""

    nodes = "3G,3G"
    append = "dmem=1G"

    def test_it_is_left_alone(self) -> None:
        table = bytearray(self.machine.get("/sys/firmware/acpi/tables/SRAT"))
        with tempfile.NamedTemporaryFile(suffix=".cpio") as initrd:
            initrd.write(self.as_initrd(self.hotpluggable(table, 1)))
            initrd.flush()
            self.replace_machine("dmem=1G movable_node", ["-initrd", initrd.name])
        self.prepare()
        self.contains(self.machine.out("dmesg"), "hotplug", "SRAT in the kernel log")
        nodes = self.dmem_nodes()
        self.equal({i: (n.requested, n.size) for i, n in nodes.items()}, {0: (GIB, GIB), 1: (GIB, 0)}, "nodes")

    @staticmethod
    def hotpluggable(table: bytearray, domain: int) -> bytes:
        """The table, newer than the firmware's, with the memory of @domain marked."""
        at = 48
        while at < len(table):
            if table[at] == 1 and struct.unpack_from("<I", table, at + 2)[0] == domain:
                table[at + 28] |= 2
            at += table[at + 1]
        struct.pack_into("<I", table, 24, struct.unpack_from("<I", table, 24)[0] + 1)
        table[9] = (table[9] - sum(table)) & 0xFF
        return bytes(table)

    @staticmethod
    def as_initrd(table: bytes) -> bytes:
        archive = b""
        for name, data in ((b"kernel/firmware/acpi/srat.aml", table), (b"TRAILER!!!", b"")):
            fields = [0, 0o100644, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0]
            archive += b"070701" + b"".join(b"%08X" % x for x in fields) + name + b"\0"
            archive += bytes(-len(archive) % 4) + data
            archive += bytes(-len(archive) % 4)
        return archive


class Kaslr(Bare):
    """Ten boots with KASLR"""

    nodes = "3G,5G"
    append = "dmem=0:1G,1:!1G"

    def test_ten_boots_are_the_same(self) -> None:
        seen, virtual = set(), set()
        for i in range(10):
            if i:
                self.replace_machine()
                self.prepare()
            self.equal(self.kernel_ranges()["Kernel code"][0], PREFERRED, "where the kernel is")
            seen.add(tuple(sorted(self.granted().items())))
            virtual.add(self.machine.out("grep -w _text /proc/kallsyms"))
            self.check_consistent()
        self.equal(len(seen), 1, f"different sizes in ten boots: {seen}")
        self.check(len(virtual) > 1, "virtual addresses are not random")


class Uefi(Bare):
    """The EFI stub, which finds "mem=" in dmem="""

    nodes = "3G,5G"
    uefi = True
    append = "dmem=0:1G,1:3G mem=7G"

    def test_image_is_not_moved(self) -> None:
        places = set()
        for i in range(2):
            if i:
                self.replace_machine()
                self.prepare()
            self.check(self.kernel_ranges()["Kernel code"][0] < GIB, f"{self.kernel_ranges()}")
            places.add(self.kernel_ranges()["Kernel code"][0])
            self.check_consistent()
            self.equal(self.granted()[0], GIB, "granted on node 0")
        self.equal(len(places), 1, f"the image was moved: {places}")


class NoGibPages(Bare):
    """A CPU without 1G pages: what hugetlb ignores is promised to nobody"""

    nodes = "3G,3G"
    cpu = DEFAULT_CPU + ",-pdpe1gb"
    append = "hugepagesz=1G hugepages=0:2,1:2 dmem=0:1G,1:2G"

    def test_granted(self) -> None:
        self.machine.expected.append(r"HugeTLB")
        self.equal(self.granted(), {0: GIB, 1: 2 * GIB}, "granted")
        self.check_consistent()

    def test_dmemfs_maps_none(self) -> None:
        """Such an entry in a page table would be taken for one with reserved bits."""
        r = self.machine.run("mount -t dmemfs -o pagesize=1G none /mnt", check=False)
        self.check(not r.ok, "pagesize=1G is accepted")
        told = r.stderr + self.machine.out("dmesg")
        self.contains(told, "this CPU has no such pages, use 4K or 2M", "what is said about pagesize=1G")
        self.run_selftest("dmemfs_basic")


class Kunit(Bare):
    """The tests that are built into the kernel, and those of dmemfs"""

    nodes = "1G"
    append = "kunit.enable=1"

    def test_all_pass(self) -> None:
        self.run_kunit()
