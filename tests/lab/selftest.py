# SPDX-License-Identifier: LGPL-2.1-or-later
"""The lab tests itself: what can be tested of it without a machine, the agent included."""

from __future__ import annotations

import signal
import socket
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

from .channel import Channel, Job
from .machine import GIB, MIB, Machine, Node, exit_status, parse_nodes, parse_size

HERE = Path(__file__).resolve().parent
ENV = {"PATH": "/usr/bin:/bin"}


class Sizes(unittest.TestCase):
    def test_good(self) -> None:
        for text, want in (("0", 0), ("7", 7), ("4K", 4096), ("4G", 4 * GIB), ("1T", 1024 * GIB)):
            self.assertEqual(parse_size(text), want, text)

    def test_bad(self) -> None:
        for text in ("", "G", "4g", "-1G", "4GB", "0x10", "4 G"):
            with self.assertRaises(ValueError, msg=text):
                parse_size(text)

    def test_nodes(self) -> None:
        self.assertEqual(parse_nodes("4G,512M/2"), [Node(4 * GIB, 1), Node(512 * MIB, 2)])
        self.assertEqual(parse_nodes("4G/1,2G/0,0/1"), [Node(4 * GIB), Node(2 * GIB, 0), Node(0, 1)])
        for text in ("", "0", "4G/0", "4G/x", "4G,", "4G/"):
            with self.assertRaises(ValueError, msg=text):
                parse_nodes(text)


class QemuArguments(unittest.TestCase):
    def test_nodes(self) -> None:
        argv = Machine("/nonexistent", "4G/2,2G/0,0/1")._numa_argv()
        text = " ".join(argv)
        self.assertIn("-m 6144M -smp 3,sockets=3", text)
        self.assertIn("-numa node,nodeid=1,memdev=m1", text)
        self.assertIn("-numa node,nodeid=2 ", text + " ")
        self.assertEqual(text.count("-numa cpu,node-id=0"), 2)
        self.assertIn("-numa cpu,node-id=2,socket-id=2", text)


class Agent(unittest.TestCase):
    """The real agent, on the other end of a socket instead of a virtio port."""

    folder: tempfile.TemporaryDirectory[str]

    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = tempfile.TemporaryDirectory()
        cls.program = f"{cls.folder.name}/agent"
        subprocess.run(
            ["gcc", "-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-o", cls.program]
            + ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", str(HERE / "agent.c")],
            check=True,
        )

    @classmethod
    def tearDownClass(cls) -> None:
        cls.folder.cleanup()

    def setUp(self) -> None:
        near, far = socket.socketpair()
        self.process = subprocess.Popen([self.program, str(far.fileno())], pass_fds=[far.fileno()])
        far.close()
        self.channel = Channel(near)
        self.wait(lambda: self.channel.boots == 1)

    def tearDown(self) -> None:
        self.channel.close()
        self.assertEqual(self.process.wait(10), 0)

    def wait(self, done, seconds: float = 30) -> None:  # type: ignore[no-untyped-def]
        self.assertTrue(self.channel.wait(done, time.monotonic() + seconds))

    def start(self, command: str, **kw) -> Job:  # type: ignore[no-untyped-def]
        return self.channel.start(["/bin/sh", "-c", command], ENV, **kw)

    def finish(self, job: Job) -> tuple[int, bytes, bytes]:
        self.wait(lambda: job.status is not None)
        assert job.status is not None
        return exit_status(job.status), bytes(job.stdout), bytes(job.stderr)

    def test_output_and_status(self) -> None:
        job = self.start("echo out; echo err >&2; exit 3")
        self.assertEqual(self.finish(job), (3, b"out\n", b"err\n"))

    def test_not_found(self) -> None:
        status, _, err = self.finish(self.channel.start(["/nonexistent"], ENV))
        self.assertEqual(status, 127)
        self.assertIn(b"/nonexistent", err)

    def test_nothing_to_run(self) -> None:
        self.assertEqual(self.finish(self.channel.start([], ENV))[0], 127)

    def test_environment(self) -> None:
        job = self.channel.start(["/usr/bin/env"], {"A": "1", "B": ""})
        self.assertEqual(self.finish(job)[1], b"A=1\nB=\n")

    def test_much_input_and_output_at_once(self) -> None:
        data = bytes(range(256)) * 20000
        job = self.start("cat")
        self.channel.send_input(job, data)
        self.channel.send_eof(job)
        self.assertEqual(self.finish(job), (0, data, b""))

    def test_input_that_nobody_reads(self) -> None:
        job = self.start("exit 0")
        self.channel.send_input(job, b"x" * 1000000)
        self.channel.send_eof(job)
        self.assertEqual(self.finish(job)[0], 0)
        self.assertEqual(self.finish(self.start("echo still there"))[1], b"still there\n")

    def test_jobs_side_by_side(self) -> None:
        slow, fast = self.start("read x; echo slow $x"), self.start("echo fast")
        self.assertEqual(self.finish(fast)[1], b"fast\n")
        self.assertIsNone(slow.status)
        self.channel.send_input(slow, b"too\n")
        self.assertEqual(self.finish(slow)[1], b"slow too\n")

    def test_signal_reaches_the_whole_group(self) -> None:
        job = self.start("sleep 60 | cat")
        time.sleep(0.2)
        self.channel.send_signal(job, signal.SIGKILL)
        self.assertEqual(self.finish(job)[0], 128 + signal.SIGKILL)

    def test_daemon_does_not_hold_the_job(self) -> None:
        job = self.start("sleep 60 & echo $!")
        status, out, _ = self.finish(job)
        self.assertEqual(status, 0)
        self.finish(self.start(f"kill {out.decode()}"))

    def test_terminal(self) -> None:
        job = self.start("tty >/dev/null && stty size", pty=(50, 132))
        status, out, _ = self.finish(job)
        self.assertEqual((status, out.strip()), (0, b"50 132"))

    def test_terminal_end_of_file(self) -> None:
        job = self.start("cat; echo end", pty=(24, 80))
        self.channel.send_input(job, b"hello\n")
        self.channel.send_eof(job)
        status, out, _ = self.finish(job)
        self.assertEqual((status, out.count(b"hello"), b"end" in out), (0, 2, True))

    def test_new_boot_ends_all_jobs(self) -> None:
        job = self.start("sleep 60")
        self.channel._handle(16, 0, b"another-boot")
        self.assertEqual(job.status, 9)
        self.assertEqual(self.channel.boots, 2)
