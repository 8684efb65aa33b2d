# SPDX-License-Identifier: LGPL-2.1-or-later
"""tools/demo --stock: guest memory from dmemfs on Debian's own kernel, in a real machine."""

from __future__ import annotations

import os
import re
import subprocess
import time

from .images import SOURCE_ROOT, image
from .machine import GIB, MIB, LabError, Machine, exit_status
from .show import Show

GRUB_FILE = "/etc/default/grub.d/50-memmap.cfg"
DMEMD_FILE = "/etc/dmemd/dmemd.conf.d/50-memmap.conf"
GUEST = (
    "/run/guest/qemu -nodefaults -no-user-config -display none -no-reboot -accel kvm -cpu host -m 2G"
    " -object memory-backend-file,id=ram,size=2G,mem-path=/run/1g,share=on,align=1G,host-nodes=0,policy=bind"
    " -machine pc,memory-backend=ram -kernel /run/guest/vmlinuz -initrd /run/guest/initrd"
    " -append 'console=ttyS0 quiet panic=-1' -serial stdio"
)


class StockDemo(Show):
    def run(self) -> None:
        disk, guest = image("stock"), self.guest_disk()
        begin = time.monotonic()
        sizes = " and ".join(f"{n.size // GIB} GiB" for n in self.nodes)
        self.chapter(
            "1. A machine with Debian's kernel",
            f"QEMU emulates an AMD server with two NUMA nodes of {sizes}. Its kernel is the one",
            "that Debian ships; the module dmemfs was built against Debian's headers for it.",
        )
        # No second NVMe disk nor name space: 6.12 looks for them at the same time, and which one is
        # /dev/nvme0n1, from which the machine boots, is left to chance
        self.machine = Machine(
            disk, self.nodes, cpu="EPYC", name=f"demo-stock-{os.getpid()}", qemu_arguments=[
                "-blockdev", f"raw,node-name=guest,read-only=on,file.driver=file,file.filename={guest}",
                "-device", "virtio-scsi-pci", "-device", "scsi-hd,drive=guest",
            ]
        )
        try:
            self.machine.start()
            self.look()
            self.refuse()
            self.take_away()
            self.reboot()
            self.in_force()
            self.use()
            self.guest()
            self.use_again()
            complaints = self.machine.complaints()
            self.hold(not complaints, "the kernel complained:\n" + "\n".join(complaints))
            self.chapter("9. Before and after")
            self.table(self.before, self.after, sum(b - a for a, b in self.ranges.values()))
            self.conclusion()
            print(f"\n    The machine lived {time.monotonic() - begin:.0f} s. Try things yourself: "
                  "tools/lab shell --kernel=stock")
        except BaseException:
            if hasattr(self, "machine"):
                self.machine.stop(keep=True)
            raise
        self.machine.stop()

    @staticmethod
    def guest_disk() -> str:
        done = subprocess.run([str(SOURCE_ROOT / "tools" / "build-guest")], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            raise LabError("tools/build-guest failed")
        return done.stdout.strip()

    def look(self) -> None:
        self.shell("uname -r")
        self.before = self.figures()
        self.shell("grep MemTotal /proc/meminfo")
        self.shell("grep nr_memmap_boot_pages /proc/vmstat    # pages of 4 KiB full of struct page")
        r = self.shell("dmesg | grep -o 'SRAT: Node .*'    # the memory of each node")
        # The highest stretch of each node, less its first GiB: whole aligned GiB for guests
        self.ranges: dict[int, tuple[int, int]] = {}
        for node, start, end in re.findall(r"SRAT: Node (\d+) PXM \d+ \[mem 0x(\w+)-0x(\w+)\]", r.stdout):
            first = -(-int(start, 16) // GIB) * GIB + GIB
            self.ranges[int(node)] = (first, (int(end, 16) + 1) // GIB * GIB)
        self.hold(sorted(self.ranges) == list(range(len(self.nodes))), f"nodes in SRAT: {r.stdout}")
        for node, (a, b) in self.ranges.items():
            self.hold(b - a >= 2 * GIB, f"node {node} is too small, its memory must reach 3 GiB beyond 4 GiB")

    def refuse(self) -> None:
        self.chapter(
            "2. What is refused",
            "The module takes any range that is named to it only if it is memory, and not the",
            "kernel's. Nothing was set aside in this boot, so this range is System RAM; and at the",
            "second one there are devices.",
        )
        a, b = self.ranges[0]
        for text, because in ((f"{a:x}-{b:x}", "it is System RAM"),
                              ("e0000000-e8000000", "the firmware does not call all of it usable")):
            r = self.shell(f"modprobe dmemfs regions={text}", check=False)
            self.hold(not r.ok, f"regions={text} was accepted")
            r = self.shell("dmesg | grep dmemfs: | tail -n 1")
            self.hold(because in r.stdout, f"the kernel does not say: {because}")
        self.prove("memory of the kernel, and what is no memory, were refused with the reason")

    def take_away(self) -> None:
        self.chapter(
            "3. Into the boot loader",
            "memmap= keeps memory from the kernel, dmemfs.regions= names it to the module. The",
            "dollar sign needs three backslashes here: lose it, and the kernel sees memmap=2G, which",
            "means that the machine has no more than 2 GiB. And dmemd is told to plan nothing.",
        )
        regions = ",".join(f"{a:x}-{b:x}" for a, b in self.ranges.values())
        words = [f"memmap={(b - a) // GIB}G$0x{a:x}" for a, b in self.ranges.values()]
        self.arguments = [*words, f"dmemfs.regions={regions}"]
        line = " ".join(self.arguments).replace("$", "\\\\\\$")
        self.machine.put(GRUB_FILE, f'GRUB_CMDLINE_LINUX_DEFAULT="$GRUB_CMDLINE_LINUX_DEFAULT {line}"\n')
        self.machine.run("mkdir -p /etc/dmemd/dmemd.conf.d")
        self.machine.put(DMEMD_FILE, "[Plan]\nBackend=none\n")
        self.shell(f"cat {GRUB_FILE} {DMEMD_FILE}")
        self.shell("update-grub 2>&1 | tail -n 1")
        r = self.shell("grep -E '^[[:space:]]*linux' /boot/grub/grub.cfg | grep -v single")
        for word in words:
            self.hold(word.replace("$", "\\$") in r.stdout.split(), f"grub.cfg does not boot with {word}")

    def reboot(self) -> None:
        self.chapter("4. Reboot")
        self.reboot_with(self.arguments, "these arguments")

    def in_force(self) -> None:
        self.chapter("5. In force", "The module has claimed the ranges; not even root reads them by /dev/mem.")
        r = self.shell("grep -w dmem /proc/iomem")
        for a, b in self.ranges.values():
            self.hold(f"{a:x}-{b - 1:x} : dmem" in r.stdout, f"{a:x}-{b:x} is not claimed")
            r2 = self.shell(f"dd if=/dev/mem of=/dev/null bs=4096 count=1 skip={a // 4096}", check=False)
            self.hold(not r2.ok, "/dev/mem gives access to it")
        self.shell("findmnt /run/dmemfs")
        self.shell("dmemctl --no-pager status")
        status = self.dmemctl("status")
        self.hold(status["state"] == "in-force", f"the state is {status['state']}")
        for n in status["nodes"]:  # type: ignore[attr-defined]
            a, b = self.ranges[n["id"]]
            self.hold(n["granted_bytes"] == b - a, f"node {n['id']} has {n['granted_bytes']} bytes")
        self.after = self.figures()
        reserved = sum(b - a for a, b in self.ranges.values())
        saved = self.before["struct_page"] - self.after["struct_page"]
        self.hold(saved == reserved // 64, f"{saved} bytes of struct page are gone, not {reserved // 64}")
        self.prove("each range is on its node, claimed from everybody else, and dmemfs is mounted")

    def touch(self, node: int, file: str, size: int, faults: int, option: str = "") -> None:
        r = self.shell(f"dmem-touch --node={node} {option}{file} {size // MIB}M | grep -e nonzero -e faults")
        seen = dict(x.split("=", 1) for x in r.stdout.splitlines())
        self.hold(seen["nonzero"] == "0", f"node {node}: memory was not zero")
        self.hold(seen["faults"] == str(faults), f"node {node}: {seen['faults']} faults, not {faults}")

    def use(self) -> None:
        self.chapter(
            "6. Guest memory",
            "dmem-touch does what QEMU does for a guest: it makes a file, maps it, binds it to a node,",
            "and reads every byte before it writes any. One page fault maps 2 MiB, or 1 GiB.",
        )
        self.shell("mkdir /run/1g && mount -t dmemfs -o pagesize=1G dmemfs /run/1g")
        for node in self.ranges:
            self.touch(node, f"/run/dmemfs/guest{node}", 128 * MIB, 64, "--fill=0xa5 --keep ")
        self.touch(0, "/run/1g/guest", GIB, 1, "--fill=0xa5 --keep ")
        for node in self.ranges:
            r = self.shell(f"cat /sys/class/dmem/node{node}/used_bytes")
            self.hold(r.stdout.strip() == str(128 * MIB + (0 if node else GIB)), f"node {node}: not all came from there")
        self.prove("128 MiB in 64 faults on each node and 1 GiB in one fault, every byte zero at first")
        self.shell("rm /run/dmemfs/guest* /run/1g/guest")

    def guest(self) -> None:
        self.chapter(
            "7. A guest",
            "QEMU and KVM in the machine: a guest of 2 GiB whose memory is a file of dmemfs. It boots,",
            "writes to each cache line of what is free, reads it back, and turns itself off.",
        )
        self.shell("mkdir /run/guest && mount -o ro /dev/sda /run/guest && modprobe kvm_amd")
        bold, off = ("\x1b[1m", "\x1b[0m") if self.colour else ("", "")
        print(f"{bold}# {GUEST}{off}", flush=True)
        job = self.machine.start_job(GUEST)
        self.machine.channel.send_eof(job)
        most = {"used": 0, "pages_2m": 0, "pages_1g": 0}
        end = time.monotonic() + 900
        while job.status is None and time.monotonic() < end:
            text = self.machine.out(
                "cat /sys/class/dmem/node0/used_bytes /sys/kernel/debug/kvm/pages_2m "
                "/sys/kernel/debug/kvm/pages_1g; sleep 0.3"
            )
            for key, value in zip(most, map(int, text.split())):
                most[key] = max(most[key], value)
        self.hold(job.status is not None, "the guest did not end")
        print((job.stdout + job.stderr).decode(errors="replace").strip(), "\n")
        m = re.search(r"^guest: memory=(\d+)M written=(\d+)M wrong=0\r?$", job.stdout.decode(), re.M)
        self.hold(m and exit_status(job.status or 0) == 0, "the guest did not do what it should")
        print(f"    While it ran: {most['used'] // MIB} MiB of node 0 used, mapped by KVM in up to "
              f"{most['pages_1g']} pages of 1G and {most['pages_2m']} of 2M\n")
        self.hold(most["used"] == 2 * GIB, f"{most['used']} bytes of node 0 were used")
        self.hold(most["pages_1g"] > 0 and most["pages_2m"] > 0, f"no large pages in KVM: {most}")
        assert m
        self.prove(f"a KVM guest ran on it, and found {m[2]} MiB right that it had written")

    def use_again(self) -> None:
        self.chapter("8. The next owner", "All of node 0 again, where the guest was.")
        a, b = self.ranges[0]
        self.touch(0, "/run/dmemfs/all", b - a, (b - a) // (2 * MIB))
        self.prove(f"the file that then got all {(b - a) // MIB} MiB of node 0 saw nothing of the guest")
