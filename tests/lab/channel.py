# SPDX-License-Identifier: LGPL-2.1-or-later
"""The agent's protocol, seen from the host. The frames are described in agent.c.

One thread, no locks: whoever waits for a job reads the socket and hands every frame that arrives
to the job it belongs to, so that several jobs can run at once.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from dataclasses import dataclass, field
from typing import Callable, Optional, Sequence

RUN, STDIN, SIGNAL, RESIZE = 1, 2, 3, 4
HELLO, STDOUT, STDERR, EXIT = 16, 17, 18, 19
RUN_PTY = 1

_HEAD = struct.Struct("=III")
_CHUNK = 256 * 1024


class ChannelClosed(Exception):
    """The other end is gone: QEMU has ended."""


@dataclass
class Job:
    """A command in the machine. status is a wait status, None while it runs."""

    id: int
    stdout: bytearray = field(default_factory=bytearray)
    stderr: bytearray = field(default_factory=bytearray)
    status: Optional[int] = None
    on_output: Optional[Callable[[int, bytes], None]] = None


class Channel:
    def __init__(self, sock: socket.socket):
        self.sock = sock
        self.jobs: dict[int, Job] = {}
        self.boots = 0  # HELLOs seen
        self.boot_id = ""
        self._buffer = bytearray()
        self._next_id = 1

    def close(self) -> None:
        self.sock.close()

    def start(
        self,
        argv: Sequence[str],
        env: dict[str, str],
        pty: Optional[tuple[int, int]] = None,
        on_output: Optional[Callable[[int, bytes], None]] = None,
    ) -> Job:
        job = Job(self._next_id, on_output=on_output)
        self._next_id += 1
        self.jobs[job.id] = job
        rows, columns = pty or (0, 0)
        strings = [*argv, *(f"{k}={v}" for k, v in env.items())]
        payload = struct.pack("=IIII", RUN_PTY if pty else 0, rows, columns, len(argv))
        payload += b"".join(s.encode() + b"\0" for s in strings)
        self._send(RUN, job.id, payload)
        return job

    def send_input(self, job: Job, data: bytes) -> None:
        for i in range(0, len(data), _CHUNK):
            self._send(STDIN, job.id, data[i : i + _CHUNK])

    def send_eof(self, job: Job) -> None:
        self._send(STDIN, job.id, b"")

    def send_signal(self, job: Job, signo: int) -> None:
        self._send(SIGNAL, job.id, struct.pack("=I", signo))

    def send_resize(self, job: Job, rows: int, columns: int) -> None:
        self._send(RESIZE, job.id, struct.pack("=II", rows, columns))

    def wait(self, done: Callable[[], bool], deadline: float) -> bool:
        """Handles what arrives until done() or the deadline (time.monotonic()); says whether done."""
        while not done():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            if select.select([self.sock], [], [], min(left, 1.0))[0]:
                self.receive()
        return True

    def receive(self) -> None:
        """Reads once and handles all whole frames."""
        try:
            data = self.sock.recv(1 << 20)
        except ConnectionError as e:
            raise ChannelClosed() from e
        if not data:
            raise ChannelClosed()
        self._buffer += data
        while len(self._buffer) >= _HEAD.size:
            size, kind, job_id = _HEAD.unpack_from(self._buffer)
            if len(self._buffer) < _HEAD.size + size:
                break
            payload = bytes(self._buffer[_HEAD.size : _HEAD.size + size])
            del self._buffer[: _HEAD.size + size]
            self._handle(kind, job_id, payload)

    def _handle(self, kind: int, job_id: int, payload: bytes) -> None:
        if kind == HELLO:
            # A new boot: whatever ran before has ended without saying so
            for job in self.jobs.values():
                if job.status is None:
                    job.status = 9
            self.jobs.clear()
            self.boots += 1
            self.boot_id = payload.decode()
            return
        job = self.jobs.get(job_id)
        if not job:
            return
        if kind in (STDOUT, STDERR):
            if job.on_output:
                job.on_output(1 if kind == STDOUT else 2, payload)
            else:
                (job.stdout if kind == STDOUT else job.stderr).extend(payload)
        elif kind == EXIT:
            (job.status,) = struct.unpack("=i", payload)
            del self.jobs[job_id]

    def _send(self, kind: int, job_id: int, payload: bytes) -> None:
        # The agent may be busy writing to us, so keep reading while the socket is full
        data = memoryview(_HEAD.pack(len(payload), kind, job_id) + payload)
        while data:
            readable, writable, _ = select.select([self.sock], [self.sock], [], 60)
            if readable:
                self.receive()
            if not writable:
                if not readable:
                    raise TimeoutError("the agent does not take any input")
                continue
            try:
                data = data[self.sock.send(data, socket.MSG_DONTWAIT) :]
            except BlockingIOError:
                continue
            except ConnectionError as e:
                raise ChannelClosed() from e
