# SPDX-License-Identifier: LGPL-2.1-or-later
"""The lab: real machines in QEMU, driven from tests and from tools/lab."""

from .machine import (
    LabError,
    Machine,
    MachineDied,
    MachineTimeout,
    Node,
    Result,
    parse_nodes,
    parse_size,
)

__all__ = [
    "LabError",
    "Machine",
    "MachineDied",
    "MachineTimeout",
    "Node",
    "Result",
    "parse_nodes",
    "parse_size",
]
