# SPDX-License-Identifier: LGPL-2.1-or-later
"""The QEMU monitor: just enough of QMP to steer a machine."""

from __future__ import annotations

import json
import socket
from typing import Any


class QmpError(Exception):
    pass


class Qmp:
    def __init__(self, sock: socket.socket, timeout: float = 30):
        sock.settimeout(timeout)
        self._sock = sock
        self._file = sock.makefile("rwb", buffering=0)

    def connect(self) -> None:
        greeting = self._read()
        if "QMP" not in greeting:
            raise QmpError(f"unexpected greeting: {greeting}")
        self.command("qmp_capabilities")

    def close(self) -> None:
        self._file.close()
        self._sock.close()

    def command(self, name: str, **arguments: Any) -> Any:
        request: dict[str, Any] = {"execute": name}
        if arguments:
            request["arguments"] = {k.replace("_", "-"): v for k, v in arguments.items()}
        self._file.write(json.dumps(request).encode() + b"\n")
        while True:
            answer = self._read()
            if "return" in answer:
                return answer["return"]
            if "error" in answer:
                raise QmpError(f"{name}: {answer['error'].get('desc', answer['error'])}")

    def human(self, line: str) -> str:
        """A command of the human monitor, for what QMP does not have."""
        return self.command("human-monitor-command", command_line=line)

    def _read(self) -> dict[str, Any]:
        line = self._file.readline()
        if not line:
            raise QmpError("QEMU closed its monitor")
        return json.loads(line)
