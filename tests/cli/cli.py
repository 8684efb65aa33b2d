# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the tests of this folder share: where things are, captured hosts, the schemas of the JSON.

Environment: DMEMCTL, DMEMD_SOURCE, DMEMD_FIXTURES; DMEMD_CORPUS optionally.
"""

import functools
import json
import os
import pathlib
import sys

try:
    import jsonschema
except ImportError:
    jsonschema = None

DMEMCTL = os.environ["DMEMCTL"]
SOURCE = pathlib.Path(os.environ["DMEMD_SOURCE"])
FIXTURES = pathlib.Path(os.environ["DMEMD_FIXTURES"])

sys.path.insert(0, str(SOURCE / "tests/integration"))  # for host_tree


def captured_hosts() -> list[pathlib.Path]:
    """The root directories of captured hosts: ours, and those of the corpus where there is one."""
    folders = [FIXTURES]
    if "DMEMD_CORPUS" in os.environ:
        folders.append(pathlib.Path(os.environ["DMEMD_CORPUS"], "topologies"))
    return [root for folder in folders for root in sorted(folder.iterdir()) if (root / "SOURCE").exists()]


@functools.lru_cache(maxsize=None)
def _validator(name: str):
    schema = json.loads((SOURCE / f"conf/schema/{name}.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def check_schema(document, name: str) -> None:
    """Is the JSON what its schema says? Only where python3-jsonschema is installed."""
    if jsonschema:
        _validator(name).validate(document)
