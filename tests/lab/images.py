# SPDX-License-Identifier: LGPL-2.1-or-later
"""Images of lab machines, made when they are wanted and once per process."""

from __future__ import annotations

import os
import subprocess
from functools import lru_cache
from pathlib import Path

from .machine import LabError

SOURCE_ROOT = Path(__file__).resolve().parents[2]


@lru_cache(maxsize=None)
def image(kernel: str = "dmem", loader: str = "grub-bios", suite: str = "") -> Path:
    """The folder of an image with this source tree; arguments as in tools/build-image. For dmem,
    $DMEMD_KERNEL may name another kernel: the way to try one of one's own."""
    if kernel == "dmem":
        kernel = os.environ.get("DMEMD_KERNEL", kernel)
    options = [f"--kernel={kernel}", f"--loader={loader}"]
    return _made_by("build-image", *options, *([f"--suite={suite}"] if suite else []))


@lru_cache(maxsize=None)
def kernel_files(kernel: str) -> Path:
    """The folder of a kernel without a disk: vmlinuz, config, version; see tools/build-kernel."""
    return _made_by("build-kernel", f"--kernel={kernel}")


def _made_by(tool: str, *options: str) -> Path:
    done = subprocess.run(
        [str(SOURCE_ROOT / "tools" / tool), *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise LabError(f"tools/{tool} {' '.join(options)} failed")
    return Path(done.stdout.strip())
