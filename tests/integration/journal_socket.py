# SPDX-License-Identifier: LGPL-2.1-or-later
"""The socket at which systemd-journald would listen, and what is sent there."""

from __future__ import annotations

import pathlib
import re
import socket
import struct
import threading

SOCKET = "/run/systemd/journal/socket"


def parse_entry(data: bytes) -> dict[str, str]:
    """One datagram of the native protocol of systemd-journald."""
    fields = {}
    while data:
        line, _, data = data.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            size = struct.unpack("<Q", data[:8])[0]
            value, data = data[8:8 + size], data[9 + size:]
        fields[name.decode()] = value.decode()
    return fields


class Journal:
    def __init__(self, source_root: pathlib.Path):
        self.ids = (source_root / "src/host/message-ids.h").read_text()
        pathlib.Path(SOCKET).unlink(missing_ok=True)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(SOCKET)
        self.entries: list[dict[str, str]] = []

        # All the time, as journald does: who sends to a full socket waits.
        self.reader = threading.Thread(target=self.receive, daemon=True)
        self.reader.start()

    def receive(self) -> None:
        while data := self.socket.recv(1 << 20):
            self.entries.append(parse_entry(data))

    def read(self) -> list[dict[str, str]]:
        return list(self.entries)

    def message_id(self, name: str) -> str:
        return re.search(rf'#define MESSAGE_{name} "([0-9a-f]{{32}})"', self.ids)[1]

    def with_id(self, message_id: str) -> list[dict[str, str]]:
        return [entry for entry in self.read() if entry.get("MESSAGE_ID") == message_id]

    def close(self) -> None:
        self.socket.shutdown(socket.SHUT_RD)
        self.reader.join()
        self.socket.close()
