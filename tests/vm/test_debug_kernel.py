# SPDX-License-Identifier: LGPL-2.1-or-later
"""dmemfs on a kernel that looks for mistakes: KASAN, lockdep, kmemleak, failing allocations.

A single report in the kernel's log fails the test that it follows, see lab/machine.py.
"""

from __future__ import annotations

from .common import EDU, SELFTESTS, DmemScenario


class _DebugKernel(DmemScenario):
    kernel = "debug"
    thorough = "a second kernel, with KASAN and lockdep, is built"
    boot = "direct"
    # This kernel is so slow that systemd gives services up that are only starting
    bare = True
    selftest_timeout = 2700

    def prepare(self) -> None:
        self.machine.run("mount -t tracefs tracefs /sys/kernel/tracing && modprobe dmemfs")
        # What booting left behind is not ours
        self.machine.run("echo clear >/sys/kernel/debug/kmemleak")
        self.free = {i: n.free for i, n in self.dmem_nodes().items()}

    def check_all_is_free(self) -> None:
        self.equal({i: n.free for i, n in self.dmem_nodes().items()}, self.free, "free bytes of the nodes")

    def check_locks_are_watched(self) -> None:
        self.contains(self.machine.read("/proc/lockdep_stats"), "debug_locks:                             1",
                      "lockdep has given up, or its statistics")

    def check_nothing_leaks(self) -> None:
        # The first scan only finds candidates, the second one tells whether they still are. Who has
        # given up refuses to scan.
        self.machine.run("set -e; for i in 1 2; do echo scan >/sys/kernel/debug/kmemleak; sleep 6; done")
        self.equal(self.machine.read("/sys/kernel/debug/kmemleak"), "", "memory that nobody points to")


class DebugKernel(_DebugKernel):
    nodes = "3G,4G"
    # One node with a piece of 2G, one without; preempt=full lets more happen at once
    append = "dmem=0:1G,1:2G preempt=full kunit.enable=1 intel_iommu=on"
    qemu_arguments = EDU

    def test_this_kernel_looks_for_mistakes(self) -> None:
        self.contains(self.machine.out("dmesg"), "KernelAddressSanitizer initialized", "kernel log")
        for path in (
            "/proc/lockdep_stats",
            "/proc/self/fail-nth",
            "/sys/kernel/debug/kmemleak",
            "/sys/kernel/debug/failslab",
            "/sys/kernel/debug/fail_page_alloc",
        ):
            self.check(self.machine.run(["test", "-e", path], check=False).ok, f"no {path}")
        self.check_locks_are_watched()

    def test_selftests(self) -> None:
        self.run_selftests()
        self.check_all_is_free()

    def test_memory_of_a_device(self) -> None:
        self.bind_edu()
        self.run_vfio_selftest()
        self.check_all_is_free()

    def test_kunit(self) -> None:
        self.run_kunit()

    def test_everything_at_once_while_allocations_fail(self) -> None:
        self.run_selftest("dmemfs_stress 20 4 1 fail")
        self.check_all_is_free()

    def test_pages_go_bad(self) -> None:
        # From here on there is less memory
        self.run_selftest("dmemfs_poison")

    def test_nothing_leaks(self) -> None:
        self.check_nothing_leaks()

    def test_locks_are_still_watched(self) -> None:
        self.check_locks_are_watched()


class LoadingAndUnloading(_DebugKernel):
    """With little memory, as each time KASAN makes shadow for all of it. Node 1 gets none."""

    nodes = "2G,512M"
    append = "dmem=128M preempt=full"

    def test_load_and_unload(self) -> None:
        for _ in range(3):
            self.machine.run("modprobe -r dmemfs")
            self.check(not self.dmem_nodes(), "class dmem stays when the module goes")
            self.machine.run(f"modprobe dmemfs && {SELFTESTS}/dmemfs_clear")
        self.check_all_is_free()

    def test_nothing_leaks(self) -> None:
        # Before the allocations fail: sysfs_slab_add() then loses the name of a cache
        self.check_nothing_leaks()

    def test_loading_while_allocations_fail(self) -> None:
        # Of kmem_cache_create(), to which no memory is as bad as a wrong argument
        self.machine.expected.append("Call Trace:")
        module = self.machine.out("modinfo -n dmemfs")
        self.machine.run(f"xz -dc {module} >/run/dmemfs.ko 2>/dev/null || cp {module} /run/dmemfs.ko")
        self.run_selftest("dmemfs_failures /run/dmemfs.ko")
        self.check_all_is_free()

    def test_locks_are_still_watched(self) -> None:
        self.check_locks_are_watched()
