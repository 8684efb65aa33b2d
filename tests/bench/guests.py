# SPDX-License-Identifier: LGPL-2.1-or-later
"""Memory as a guest sees it: how long it takes to get it, how fast it is then, and KVM on it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from typing import Iterator

from lab.images import SOURCE_ROOT, image
from lab.machine import GIB, MIB, LabError, Machine, exit_status

from .place import CannotMeasure, Host, Lab, Place, lab_in
from .result import Chart, Result, Table

TOUCH = "one byte written in each 4 KiB of {}, in one thread, mapped shared from a file as QEMU does (thp: anonymous)"
DEADLINE = "chrt -d --sched-runtime 10000000 --sched-deadline 10000000 --sched-period 10000000 0 "
UNIT = "instructions"
TEARDOWN = "munmap, unlink and close, after one byte was written in each page; the median of up to 25 times"
ORDER = "all kinds in turn in each round, beginning with another one each time, after a round that does not count"


class Kinds:
    """The kinds of memory that are to be had in a place, as arguments of bench-measure."""

    def __init__(self, place: Place, size: int, skipped: list[str]):
        self.memory: dict[str, str] = {}
        for page, name, kib in (("1G", "hugetlb 1G", 1 << 20), ("2M", "hugetlb 2M", 2048)):
            free = place.run(f"cat /sys/kernel/mm/hugepages/hugepages-{kib}kB/free_hugepages 2>/dev/null || echo 0")
            if int(free) * kib * 1024 >= size:
                self.memory[name] = place.mount(f"hugetlb-{page}", "hugetlbfs", f"pagesize={page}") + "/guest"
            else:
                skipped.append(f"{name}: too few free huge pages for {size // MIB} MiB")
        if place.has_dmem():
            for page in ("1G", "2M", "4K"):
                self.memory[f"dmem {page}"] = place.mount(f"dmem-{page}", "dmemfs", f"pagesize={page}") + "/guest"
        else:
            skipped.append("dmem: no memory of dmemfs here")
        self.memory["thp"] = "thp"
        self.memory["memfd"] = "memfd"


@contextlib.contextmanager
def place_with(size: int, host: bool, qemu: tuple[str, ...] = (), counted: bool = False) -> Iterator[Place]:
    """A machine that has @size bytes of each kind of memory, or this host. counted: see Machine."""
    if host:
        if os.geteuid() != 0:
            raise CannotMeasure("mounting needs root")
        here = Host()
        try:
            here.install()
            yield here
        finally:
            here.clean_up()
        return
    gib = -(-size // GIB)
    append = f" dmem=0:{gib}G hugepagesz=1G hugepages={gib} hugepagesz=2M hugepages={gib * 512}"
    machine = Machine(
        image("dmem"), f"{4 * gib + 1}G", cpu="EPYC", boot="direct", bare=True, prealloc=True,
        counted=counted, append=append, qemu_arguments=qemu, name=f"bench-{os.getpid()}",
    )
    with lab_in(machine) as lab:
        lab.install()
        lab.run("modprobe dmemfs clear_all=1")
        yield lab


def in_turn(names: list[str], round_: int) -> list[str]:
    n = round_ % len(names)
    return names[n:] + names[:n]


def start(quick: bool, host: bool, rounds: int) -> Result:
    size = GIB if quick else 2 * GIB
    with place_with(size, host) as place:
        result = Result("start", f"start of a guest with {size // GIB} GiB", place.describe())
        kinds = Kinds(place, size, result.notes)
        cases: dict[str, tuple[str, int]] = {}  # which memory, and how often it is got in a row
        for name in kinds.memory:
            if not name.startswith("dmem"):
                cases[name] = (name, 1)
                continue
            cases[f"{name} clean"] = (name, 1)
            if not host and name != "dmem 4K":
                cases[f"{name} dirty"] = (name, 2)
        if host and place.has_dmem():
            result.notes.append("dmem dirty: nothing keeps the clearing threads of a host in use from their work")
        if not host:
            keep_for_us(place)
            check_pool(place, kinds, size)
        for r in range(-1, rounds):
            for name in in_turn(list(cases), r + 1):
                memory, times = cases[name]
                seen = get_memory(place, kinds.memory[memory], size, times=times)
                if r >= 0:
                    _add_start(result, name, size, seen)
            for name in in_turn(list(kinds.memory), r + 1):
                seen = give_back(place, kinds.memory[name], name, size)
                if r >= 0:
                    result.add(f"tear-down, {name}", "s", TEARDOWN + "; " + ORDER, seen["teardown_ns"] / 1e9)
    _start_figures(result, {name: memory for name, (memory, _) in cases.items()})
    return result


def keep_for_us(place: Place) -> None:
    """From now on a task with a deadline may have the processor as long as it likes."""
    place.run("echo -1 >/proc/sys/kernel/sched_rt_runtime_us; echo 1 >/sys/module/rcupdate/parameters/rcu_cpu_stall_suppress")


def get_memory(place: Place, memory: str, size: int, step: int = 4096, times: int = 1) -> dict[str, int]:
    """With a clean pool at first. In a lab the threads that clear memory do not run meanwhile: there
    is one processor, and who is measured has it. So what is got a second time is dirty. A real-time
    priority would not do: the kernel lets others run for a twentieth of the time all the same, but as
    a task whose deadline is a second away, while ours is never further than 10 ms."""
    if place.has_dmem():
        place.wait_clean()
    return place.measure(f"touch {memory} {size} {step} {times}", by="" if place.is_host else DEADLINE)


def page_of(name: str) -> int:
    """How much of such memory is mapped at once."""
    return {"1G": GIB, "2M": 2 * MIB, "thp": 2 * MIB}.get(name.split()[-1], 4096)


def give_back(place: Place, memory: str, name: str, size: int) -> dict[str, int]:
    """One byte in each leaf is enough to have it mapped. An emulator keeps a translation for each 4 KiB that
    was touched; to forget a quarter of a million of them takes it longer than any kernel takes here."""
    return place.measure(f"teardown {memory} {size} {page_of(name)}", by="" if place.is_host else DEADLINE)


def check_pool(place: Place, kinds: Kinds, size: int) -> None:
    """That clean and dirty are what they are called: the module's own trace tells what it cleared."""
    trace = "/sys/kernel/tracing"
    place.run(f"mountpoint -q {trace} || mount -t tracefs tracefs {trace}")
    place.run(f"echo 1 >{trace}/events/dmemfs/dmemfs_alloc/enable")
    get_memory(place, kinds.memory["dmem 2M"], size, times=2)
    place.run(f"echo 0 >{trace}/events/dmemfs/dmemfs_alloc/enable")
    text = place.run(f"grep -o 'bytes=[0-9]* cleared=.' {trace}/trace | uniq -c || true")
    if text.split() != [x for n in (0, 1) for x in (str(size // (2 * MIB)), f"bytes={2 * MIB}", f"cleared={n}")]:
        raise LabError(f"twice {size // MIB} MiB should come clean and then dirty, but came as\n{text}")


def _add_start(result: Result, name: str, size: int, seen: dict[str, int]) -> None:
    how = TOUCH.format(f"{size // GIB} GiB") + "; " + ORDER
    result.add(f"touch, {name}", "s", how, (seen["map_ns"] + seen["touch_ns"]) / 1e9)
    result.add(f"again, {name}", "s", "the same writes once more, when all of it is mapped", seen["again_ns"] / 1e9)
    result.add(f"faults, {name}", "page faults", "ru_minflt + ru_majflt while touching", seen["faults"])


def _start_figures(result: Result, cases: dict[str, str]) -> None:
    for page in ("2M", "1G"):
        huge = f"touch, hugetlb {page}"
        result.ratio(f"first touch of clean {page}: hugetlb takes", "quotient", huge, f"touch, dmem {page} clean", ">= 3")
        result.ratio(f"first touch of dirty {page}: hugetlb takes", "quotient", huge, f"touch, dmem {page} dirty", ">= 0.95")
        result.ratio(f"tear-down of {page}: hugetlb takes", "quotient", f"tear-down, hugetlb {page}", f"tear-down, dmem {page}", ">= 0.95")
    result.ratio("first touch of clean 2M: THP takes", "quotient", "touch, thp", "touch, dmem 2M clean", ">= 3")
    result.ratio("first touch of clean 4K: memfd takes", "quotient", "touch, memfd", "touch, dmem 4K clean")
    table = Table("Time and page faults until all of it is mapped and touched, time to give it back",
                  ["map and touch", "page faults", "touch again", "tear-down"])
    for name, memory in cases.items():
        table.rows.append((name, [f"touch, {name}", f"faults, {name}", f"again, {name}", f"tear-down, {memory}"]))
    result.tables.append(table)
    result.charts.append(Chart("Until mapped and touched, shorter is better", [(name, f"touch, {name}") for name in cases]))
    result.charts.append(Chart("Tear-down, shorter is better", [(name, f"tear-down, {name}") for name in dict.fromkeys(cases.values())]))


def count(host: bool, rounds: int) -> Result:
    if host:
        raise CannotMeasure("only an emulator counts all instructions")
    size = GIB
    with place_with(size, False, counted=True) as place:
        result = Result("count", f"instructions for {size // GIB} GiB", place.describe())
        kinds = Kinds(place, size, result.notes)
        place.run("modprobe kvm_amd")
        keep_for_us(place)
        for r in range(-1, rounds):
            for name in in_turn(list(kinds.memory), r + 1):
                memory = kinds.memory[name]
                seen = get_memory(place, memory, size, page_of(name)) | give_back(place, memory, name, size)
                place.wait_clean()
                seen |= place.measure(f"kvm {memory} {size}")
                if r >= 0:
                    _add_count(result, name, seen)
    _count_figures(result, list(kinds.memory))
    return result


def _add_count(result: Result, name: str, seen: dict[str, int]) -> None:
    result.add(f"fault, {name}", UNIT, "writing one byte in each page for the first time, for each page fault; clearing is "
               "part of it, but for dmem, whose memory was cleared before", seen["touch_ns"] / seen["faults"])
    result.add(f"tear-down, {name}", UNIT, TEARDOWN, seen["teardown_ns"])
    pages = seen["pages_4k"] + seen["pages_2m"] + seen["pages_1g"]
    result.add(f"KVM, {name}", UNIT, "KVM_PRE_FAULT_MEMORY for memory that the host has mapped, for each page that KVM maps "
               "then; the median of up to 25 virtual machines", seen["populate_ns"] / pages)


def _count_figures(result: Result, names: list[str]) -> None:
    result.notes.append("A machine whose clock is the count of its instructions: the figures are the same each time but for "
                        "what interrupts them, however busy the machine below is. How long an instruction takes they do not say")
    for a, b, wanted in (("hugetlb 1G", "dmem 1G", "> 1"), ("hugetlb 2M", "dmem 2M", "> 1"), ("thp", "dmem 2M", None),
                         ("memfd", "dmem 4K", None)):
        result.ratio(f"tear-down of {b}: {a} needs", "quotient", f"tear-down, {a}", f"tear-down, {b}", wanted)
    for page in ("1G", "2M"):
        result.ratio(f"KVM maps {page}: hugetlb needs", "quotient", f"KVM, hugetlb {page}", f"KVM, dmem {page}")
    result.tables.append(Table("Instructions of the kernel", ["a page fault", "tear-down of all", "KVM maps a page"],
                               [(n, [f"fault, {n}", f"tear-down, {n}", f"KVM, {n}"]) for n in names]))
    result.charts.append(Chart("Tear-down, shorter is better", [(n, f"tear-down, {n}") for n in names]))


def steady(quick: bool, host: bool, rounds: int) -> Result:
    size, accesses = (GIB, 1_000_000) if quick else (3 * GIB, 10_000_000)
    with place_with(size, host) as place:
        result = Result("steady", f"random access over {size // GIB} GiB", place.describe())
        kinds = Kinds(place, size, result.notes)
        names = list(kinds.memory)
        how = (f"{accesses} times 8 bytes read and written at random places of {size // GIB} GiB that were touched before, "
               f"a 25th at a time, and the median of those; {ORDER}")
        for r in range(-1, rounds):
            for name in in_turn(names, r + 1):
                seen = place.measure(f"random {kinds.memory[name]} {size} {accesses}")
                if r >= 0:
                    result.add(f"access, {name}", "s", how, seen["access_ns"] / seen["accesses"] / 1e9)
    if not host:
        result.notes.append("An emulator has its own translation cache, of 4 KiB pages: what it shows of page sizes is "
                            "the length of the page walk, a real processor shows more")
    for page in ("2M", "1G"):
        result.ratio(f"random access to {page}: hugetlb takes", "quotient", f"access, hugetlb {page}", f"access, dmem {page}", ">= 0.95")
    result.ratio("random access: memfd (4K) takes, to dmem 1G", "quotient", "access, memfd", "access, dmem 1G")
    result.tables.append(Table("Time of one access", ["one access"],
                               [(name, [f"access, {name}"]) for name in names]))
    result.charts.append(Chart("One random access, shorter is better", [(name, f"access, {name}") for name in names]))
    return result


def kvm(quick: bool, host: bool, rounds: int) -> Result:
    if host:
        raise CannotMeasure("its statistics are those of all guests of the host, so it needs a machine of its own")
    size = GIB if quick else 2 * GIB
    done = subprocess.run([str(SOURCE_ROOT / "tools" / "build-guest")], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise LabError("tools/build-guest failed")
    disk = ("-blockdev", f"raw,node-name=guest,read-only=on,file.driver=file,file.filename={done.stdout.strip()}",
            "-device", "virtio-blk-pci,drive=guest")
    with place_with(size, False, qemu=disk) as place:
        assert isinstance(place, Lab)
        result = Result("kvm", f"KVM guest of {size // GIB} GiB", place.describe())
        kinds = Kinds(place, size, result.notes)
        place.run("modprobe kvm_amd")
        names = [n for n in kinds.memory if n != "memfd"]
        for r in range(-1, rounds):
            for name in in_turn(names, r + 1):
                place.wait_clean()
                seen = place.measure(f"kvm {kinds.memory[name]} {size}")
                if r >= 0:
                    _add_populate(result, name, size, seen)
        place.run("mkdir -p /run/guest && for d in /dev/vd?; do mount -o ro $d /run/guest 2>/dev/null && break; done")
        guests = [n for n in names if n.endswith(("1G", "2M"))]
        for r in range(1 if quick else 3):
            for name in in_turn(guests, r):
                boot_guest(place, result, kinds, name, size)
    _kvm_figures(result, names)
    return result


def _add_populate(result: Result, name: str, size: int, seen: dict[str, int]) -> None:
    how = f"KVM_PRE_FAULT_MEMORY for {size // GIB} GiB that nobody has touched, so the host gets all of it first; {ORDER}"
    if name != "thp":  # which was touched before, see measure.c
        result.add(f"populate, {name}", "s", how, seen["first_ns"] / 1e9)
    how = f"the same once more, for memory that the host has mapped; the median of up to 25 virtual machines; {ORDER}"
    result.add(f"map again, {name}", "s", how, seen["populate_ns"] / 1e9)
    for page in ("4k", "2m", "1g"):
        result.add(f"mapped by {page.upper()}, {name}", "pages",
                   "pages_4k, pages_2m and pages_1g of KVM's own statistics after that", seen[f"pages_{page}"])


def boot_guest(place: Lab, result: Result, kinds: Kinds, name: str, size: int) -> None:
    """QEMU with its memory there, a small kernel and one program that writes to it; see guest.c."""
    machine = place.machine
    folder, align = os.path.dirname(kinds.memory[name]), name.split()[1]
    command = (
        f"/run/guest/qemu -nodefaults -no-user-config -display none -no-reboot -accel kvm -cpu host -m {size // MIB}M"
        f" -object memory-backend-file,id=ram,size={size},mem-path={folder},share=on,align={align}"
        " -machine pc,memory-backend=ram -kernel /run/guest/vmlinuz -initrd /run/guest/initrd"
        " -append 'console=ttyS0 quiet panic=-1' -serial stdio"
    )
    begin = time.monotonic()
    job = machine.start_job(command)
    machine.channel.send_eof(job)
    most = {"1G": 0, "2M": 0}
    while job.status is None and time.monotonic() < begin + 600:
        text = place.run("cat /sys/kernel/debug/kvm/pages_1g /sys/kernel/debug/kvm/pages_2m; sleep 0.3")
        for key, value in zip(most, map(int, text.split())):
            most[key] = max(most[key], value)
    output = (job.stdout + job.stderr).decode(errors="replace")
    if job.status is None or exit_status(job.status) != 0 or "wrong=0" not in output:
        raise LabError(f"the guest on {name} did not do what it should:\n{output}")
    how = "QEMU starts with memory-backend-file, boots Debian's kernel, writes to each cache line of what is free, reads it back, turns itself off"
    result.add(f"guest's life, {name}", "s", how, time.monotonic() - begin)
    for page, n in most.items():
        result.add(f"guest's {page}, {name}", "pages", "the most that KVM's statistics showed meanwhile", n)


def _kvm_figures(result: Result, names: list[str]) -> None:
    for page in ("2M", "1G"):
        result.ratio(f"KVM populates {page}: hugetlb takes", "quotient", f"populate, hugetlb {page}", f"populate, dmem {page}", ">= 3")
        result.ratio(f"KVM maps again {page}: hugetlb takes", "quotient", f"map again, hugetlb {page}", f"map again, dmem {page}")
        result.ratio(f"KVM's {page} mappings: dmem has of hugetlb's", "quotient",
                     f"mapped by {page}, dmem {page}", f"mapped by {page}, hugetlb {page}", "= 1")
    result.ratio("guest in QEMU on 1G: hugetlb takes", "quotient", "guest's life, hugetlb 1G", "guest's life, dmem 1G")
    table = Table("KVM maps all of the memory", ["populate", "map again", "by 1G", "by 2M", "by 4K"])
    for name in names:
        first = None if name == "thp" else f"populate, {name}"
        table.rows.append((name, [first, f"map again, {name}", *(f"mapped by {p}, {name}" for p in ("1G", "2M", "4K"))]))
    result.tables.append(table)
    table = Table("A guest in QEMU from start to end", ["life", "by 1G", "by 2M"])
    for name in names:
        if f"guest's life, {name}" in result.measures:
            table.rows.append((name, [f"guest's life, {name}", f"guest's 1G, {name}", f"guest's 2M, {name}"]))
    result.tables.append(table)
    result.charts.append(Chart("KVM populates all of the memory, shorter is better", [(n, f"populate, {n}") for n in names if n != "thp"]))
