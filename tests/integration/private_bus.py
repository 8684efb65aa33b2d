# SPDX-License-Identifier: LGPL-2.1-or-later
"""A system bus of our own, and dmemd on it: a real dbus-daemon, real sd-bus, any user."""

from __future__ import annotations

import json
import os
import pathlib
import pwd
import select
import shutil
import signal
import socket
import subprocess
import sys
import time

SKIP = 77
TIMEOUT = 120.0  # a busy machine and sanitizers are slow, what is broken hangs for ever

BUS_CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <listen>unix:path={socket}</listen>
  <auth>EXTERNAL</auth>
{policy}
</busconfig>
"""

# Everybody may do everything
OPEN_POLICY = """\
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_destination="*" eavesdrop="true"/>
    <allow receive_sender="*" eavesdrop="true"/>
  </policy>
"""

# What a system bus allows before any service adds to it, as far as it matters here
SYSTEM_POLICY = """\
  <policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus"/>
  </policy>
  <include>{file}</include>
"""

# A bus wants to know who it is: users that every system has
ORDINARY_USER = pwd.getpwnam("nobody").pw_uid


def as_user(uid: int, *command: str) -> list[str]:
    """The command as somebody else, if we may."""
    if os.geteuid() != 0:
        return list(command)
    return ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--", *command]


def need(*tools: str) -> None:
    """Ends the test, skipped, unless these programs are there."""
    for tool in tools:
        if not shutil.which(tool):
            print(f"skipped: {tool} is not installed")
            sys.exit(SKIP)


def enter_name_spaces(*kinds: str) -> None:
    """Starts the test again in name spaces of its own, /run and /var/lib empty; or ends it, skipped."""
    if os.geteuid() != 0:
        print(f"skipped: needs root, for name spaces ({', '.join(kinds)})")
        sys.exit(SKIP)
    options = [f"--{kind}" for kind in kinds]
    if "DMEMD_TEST_NAMESPACE" not in os.environ:
        os.environ["DMEMD_TEST_NAMESPACE"] = "1"
        if subprocess.run(["unshare", *options, "true"], check=False).returncode != 0:
            print(f"skipped: no name spaces ({', '.join(kinds)}) are to be had here")
            sys.exit(SKIP)
        os.execvp("unshare", ["unshare", *options, "--propagation=private", sys.executable,
                              *sys.argv])
    for folder in ("/run", "/var/lib"):
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], check=True)


def wait_for(what: str, condition, timeout: float = TIMEOUT):
    """Until condition() is true; what it then returned."""
    end = time.monotonic() + timeout
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout} s: {what}")
        time.sleep(0.02)


class PrivateBus:
    def __init__(self, folder: pathlib.Path, policy: str = OPEN_POLICY):
        path = folder / "bus"
        config = folder / "bus.conf"
        config.write_text(BUS_CONFIG.format(socket=path, policy=policy))
        folder.chmod(0o755)  # for ordinary users
        path.unlink(missing_ok=True)  # of a bus that was killed
        self.address = f"unix:path={path}"
        self.process = subprocess.Popen(
            ["dbus-daemon", f"--config-file={config}", "--nofork", "--nopidfile", "--nosyslog"],
            stderr=subprocess.DEVNULL)
        wait_for("the socket of dbus-daemon", path.exists)

    def environment(self) -> dict[str, str]:
        return os.environ | {"DBUS_SYSTEM_BUS_ADDRESS": self.address}

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(TIMEOUT)

    def busctl(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess:
        result = subprocess.run(["busctl", "--system", f"--timeout={TIMEOUT}", *arguments],
                                text=True, timeout=TIMEOUT, capture_output=True,
                                env=self.environment(), check=False)
        if check and result.returncode != 0:
            raise AssertionError(f"busctl {arguments}: {result.stderr}")
        return result

    def get(self, name: str, path: str = "/org/dmemd1", interface: str = "org.dmemd1.Manager"):
        reply = self.busctl("--json=short", "get-property", "org.dmemd1", path, interface, name)
        return json.loads(reply.stdout)["data"]

    def call(self, method: str):
        reply = self.busctl("--json=short", "call", "org.dmemd1", "/org/dmemd1",
                            "org.dmemd1.Manager", method)
        return json.loads(json.loads(reply.stdout)["data"][0])

    def owner(self) -> int:
        """The process that has the name org.dmemd1, 0 if none has."""
        reply = self.busctl("--json=short", "call", "org.freedesktop.DBus", "/org/freedesktop/DBus",
                            "org.freedesktop.DBus", "GetConnectionUnixProcessID", "s", "org.dmemd1",
                            check=False)
        return json.loads(reply.stdout)["data"][0] if reply.returncode == 0 else 0


class Notify:
    """The socket on which a service tells systemd how it is."""

    def __init__(self, folder: pathlib.Path):
        self.path = folder / "notify"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(self.path))
        self.seen: list[str] = []

    def read(self) -> list[str]:
        while select.select([self.socket], [], [], 0)[0]:
            self.seen += self.socket.recv(65536).decode().split("\n")
        return self.seen

    def wait(self, line: str) -> None:
        wait_for(f"{line} for systemd", lambda: line in self.read())

    def close(self) -> None:
        self.socket.close()


class Daemon:
    """dmemd, watched: its stderr is in a file, a sanitizer's report fails the test."""

    def __init__(self, bus: PrivateBus, folder: pathlib.Path, command: list[str],
                 environment: dict[str, str] | None = None):
        self.log = folder / f"stderr-{time.monotonic_ns()}"
        self.bus = bus
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, stderr=log,
                                            env=bus.environment() | (environment or {}))

    def wait_ready(self) -> "Daemon":
        def ready() -> bool:
            if self.process.poll() is not None:
                raise AssertionError(f"dmemd ended with {self.process.returncode}: {self.text()}")
            # Not one before us whose end the bus has not noticed yet.
            return self.bus.owner() == self.process.pid

        wait_for("the name org.dmemd1", ready)
        return self

    def text(self) -> str:
        return self.log.read_text()

    def reload(self) -> None:
        self.process.send_signal(signal.SIGHUP)

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.terminate()
        status = self.process.wait(TIMEOUT)
        for report in ("AddressSanitizer", "LeakSanitizer", "runtime error"):
            if report in self.text():
                raise AssertionError(self.text())
        return status


class Signals:
    """What org.dmemd1 sends from now on, read from busctl monitor."""

    def __init__(self, bus: PrivateBus, folder: pathlib.Path):
        self.bus = bus
        self.output = folder / f"signals-{time.monotonic_ns()}"
        with self.output.open("w") as stdout:
            self.process = subprocess.Popen(
                ["busctl", "--system", "--json=short", "--match=type='signal',sender='org.dmemd1'",
                 "--match=type='signal',interface='org.example.Probe'", "monitor"],
                stdout=stdout, env=bus.environment())
        wait_for("busctl monitor", self.is_listening)

    def is_listening(self) -> bool:
        """Not all versions of busctl say when they begin: send signals until one arrives."""
        subprocess.run(["busctl", "--system", "emit", "/", "org.example.Probe", "Hello"],
                       env=self.bus.environment(), check=True)
        return "org.example.Probe" in self.output.read_text()

    def read(self) -> list[dict]:
        messages = []
        for line in self.output.read_text().splitlines():
            try:
                message = json.loads(line)
            except ValueError:
                continue
            if message.get("type") == "signal" and message["interface"] != "org.example.Probe":
                messages.append(message)
        return messages

    def changed(self, path: str) -> list[dict]:
        """The properties of each PropertiesChanged of an object."""
        return [m["payload"]["data"][1] for m in self.read()
                if m["member"] == "PropertiesChanged" and m["path"] == path]

    def members(self, member: str) -> list[dict]:
        return [m for m in self.read() if m["member"] == member]

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(TIMEOUT)
