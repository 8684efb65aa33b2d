# SPDX-License-Identifier: LGPL-2.1-or-later
"""A connection plugin for Ansible: to a lab machine, which has no network, by its agent.

The test that has the machine listens on a socket and does one thing for each connection to it:
run a command with some input. See test_ansible.py.
"""

from __future__ import annotations

import base64
import json
import shlex
import socket

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.connection import ConnectionBase

DOCUMENTATION = r"""
name: lab
short_description: Reach a machine of the lab
author: The dmemd project
options:
  socket:
    description: Where the test listens.
    vars:
      - name: lab_socket
"""


class Connection(ConnectionBase):
    transport = "lab"
    has_pipelining = True

    def _connect(self):
        self._connected = True
        return self

    def close(self):
        self._connected = False

    def exec_command(self, cmd, in_data=None, sudoable=True):
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        return self.ask(cmd, in_data or b"")

    def put_file(self, in_path, out_path):
        super().put_file(in_path, out_path)
        with open(in_path, "rb") as f:
            self.must(f"cat >{shlex.quote(out_path)}", f.read())

    def fetch_file(self, in_path, out_path):
        super().fetch_file(in_path, out_path)
        data = self.must(f"cat {shlex.quote(in_path)}", b"")
        with open(out_path, "wb") as f:
            f.write(data)

    def must(self, command, data):
        status, out, err = self.ask(command, data)
        if status != 0:
            raise AnsibleConnectionFailure(f"{command}: {err.decode(errors='replace')}")
        return out

    def ask(self, command, data):
        request = {"command": command, "input": base64.b64encode(data).decode()}
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(self.get_option("socket"))
            s.sendall(json.dumps(request).encode())
            s.shutdown(socket.SHUT_WR)
            with s.makefile("rb") as f:
                answer = json.load(f)
        if "error" in answer:
            raise AnsibleConnectionFailure(answer["error"])
        return answer["status"], base64.b64decode(answer["stdout"]), base64.b64decode(answer["stderr"])
