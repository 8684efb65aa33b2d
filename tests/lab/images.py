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
def image(kernel: str = "dmem") -> Path:
    """The folder of an image with this source tree; @kernel as in tools/build-image. For dmem,
    $DMEMD_KERNEL may name another one: the way to try a kernel of one's own."""
    if kernel == "dmem":
        kernel = os.environ.get("DMEMD_KERNEL", kernel)
    done = subprocess.run(
        [str(SOURCE_ROOT / "tools" / "build-image"), f"--kernel={kernel}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise LabError(f"tools/build-image --kernel={kernel} failed")
    return Path(done.stdout.strip())
