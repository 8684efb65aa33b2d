# SPDX-License-Identifier: LGPL-2.1-or-later
"""Devices that access guest memory by VFIO: nobody else gets what they may still write to."""

from __future__ import annotations

import re

from .common import DmemScenario


class Vfio(DmemScenario):
    nodes = "2G,3G"
    boot = "direct"
    append = "dmem=1:1G intel_iommu=on"
    # QEMU's device for teaching copies memory at command; alone in its slot, it is alone in its group
    qemu_arguments = ("-machine", "q35", "-device", "intel-iommu", "-device", "edu,addr=0x10")

    def prepare(self) -> None:
        self.machine.run("systemctl stop dmemd.service dmemd-setup.service; umount /run/dmemfs; modprobe dmemfs",
                         check=False)
        self.machine.run("modprobe vfio-pci && modprobe vfio_iommu_type1")
        self.machine.run("echo vfio-pci >/sys/bus/pci/devices/0000:00:10.0/driver_override")
        self.machine.run("echo 0000:00:10.0 >/sys/bus/pci/drivers_probe")

    def test_memory_of_a_device_is_not_given_away(self) -> None:
        r = self.machine.run("/usr/local/lib/dmem-selftests/dmemfs_vfio", timeout=300, check=False)
        failed = [x for x in r.stdout.splitlines() if x.startswith("not ok")]
        self.check(not failed and r.ok, f"dmemfs_vfio: {failed}\n{r}")
        self.check("# SKIP" not in r.stdout and "no edu" not in r.stdout, f"nothing was tested\n{r}")
        self.check(re.search(r"^ok ", r.stdout, re.M), f"no TAP\n{r}")
