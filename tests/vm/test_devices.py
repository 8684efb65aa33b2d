# SPDX-License-Identifier: LGPL-2.1-or-later
"""Devices that access guest memory by VFIO: nobody else gets what they may still write to."""

from __future__ import annotations

from .common import EDU, DmemScenario


class Vfio(DmemScenario):
    nodes = "2G,3G"
    boot = "direct"
    append = "dmem=1:1G intel_iommu=on"
    qemu_arguments = EDU

    def prepare(self) -> None:
        self.machine.run("systemctl stop dmemd.service dmemd-setup.service; umount /run/dmemfs; modprobe dmemfs",
                         check=False)
        self.bind_edu()

    def test_memory_of_a_device_is_not_given_away(self) -> None:
        self.run_vfio_selftest()
