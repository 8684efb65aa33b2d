# SPDX-License-Identifier: LGPL-2.1-or-later
"""The suite `kernel` of tools/test: what maintainers of the kernel check before they read."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Callable, Optional, Sequence

from .images import SOURCE_ROOT

Add = Callable[[str, bool, str], None]

OVERLAY = SOURCE_ROOT / "kernel" / "overlay"
PATCHES = SOURCE_ROOT / "kernel" / "patches" / "6.12"

# What checkpatch.pl takes for mistakes although it is not: MAINTAINERS has its entry from the first
# patch on; the macros of trace events are laid out like this everywhere; user space has other types,
# no __printf(), and needs volatile to make an access happen.
IGNORED = ("FILE_PATH_CHANGES",)
IGNORED_IN = {
    "include/ras/ras_event.h": ("SPACING",),
    "fs/dmemfs/trace.h": ("OPEN_ENDED_LINE", "PARENTHESIS_ALIGNMENT"),
    "tools/testing/": ("VOLATILE", "CAMELCASE", "PREFER_DEFINED_ATTRIBUTE_MACRO", "EMBEDDED_FUNCTION_NAME"),
}


def output_of(argv: Sequence[object], cwd: Optional[Path] = None, timeout: float = 600) -> tuple[int, str]:
    done = subprocess.run(
        [str(x) for x in argv],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=timeout,
        check=False,
    )
    return done.returncode, done.stdout


def find_kernel(build: bool) -> Optional[Path]:
    """The folder of tools/build-kernel; None if it would have to be built and must not."""
    argv = [SOURCE_ROOT / "tools" / "build-kernel", *([] if build else ["--cached"])]
    done = subprocess.run([str(x) for x in argv], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode == 3:
        return None
    if done.returncode:
        raise RuntimeError("tools/build-kernel failed")
    return Path(done.stdout.strip())


def checkpatch(style: Path, patch: Path) -> str:
    """What checkpatch.pl says about a patch, but for what is ignored in the file that it is about."""
    ignored = ",".join(IGNORED)
    _, text = output_of(
        ["perl", style / "checkpatch.pl", "--no-tree", "--strict", "--quiet", "--show-types", "--showfile"]
        + ["--terse", "--max-line-length=100", f"--ignore={ignored}", patch],
        cwd=patch.parent,  # where it leaves a file behind if that is a git tree
    )
    found = []
    for line in text.splitlines():
        name, _, rest = line.partition(": ")
        if name.startswith("total") or not rest.startswith(("CHECK:", "WARNING:", "ERROR:")):
            continue
        kind = rest.split(":")[1]
        path = name.partition(":")[0]
        if not any(path.startswith(p) and kind in kinds for p, kinds in IGNORED_IN.items()):
            found.append(line)
    return "\n".join(found)


def check_series(style: Path, scratch: Path, add: Add) -> None:
    """The series must apply with git am, give what the build uses, and please checkpatch.pl."""
    series, original = scratch / "series", style / "original"
    status, text = output_of([SOURCE_ROOT / "tools" / "kernel-series", series, original])
    add("the series is made", status == 0, text)
    if status:
        return

    built, applied = scratch / "built", scratch / "applied"
    for tree in (built, applied):
        shutil.copytree(original, tree)
    shutil.copytree(OVERLAY, built, dirs_exist_ok=True)
    argv = ["patch", "-s", "-p1", "--fuzz=0", "--no-backup-if-mismatch"]
    has_already = f'. "{SOURCE_ROOT}/tools/lib/common.sh"; has_already "$@"'
    for patch in sorted(PATCHES.glob("*.patch")):
        if subprocess.run(["bash", "-c", has_already, "bash", built, patch], check=False).returncode == 0:
            continue
        with open(patch, "rb") as f:
            subprocess.run([*argv, "-d", built], stdin=f, check=True)

    git = ["git", "-C", applied, "-c", "user.name=x", "-c", "user.email=x@localhost", "-c", "gc.auto=0"]
    patches = sorted(series.glob("0*.patch"))
    steps = (["init", "-q"], ["add", "-f", "-A", "."], ["commit", "-q", "-m", "x"], ["am", "-q", *patches])
    for step in steps:
        status, text = output_of([*git, *step])
        if status:
            break
    add("git am applies the series", status == 0, text)
    status, text = output_of(["diff", "-r", "-q", "--exclude=.git", built, applied])
    add("the series gives the tree that is built", status == 0, text)
    for patch in patches:
        text = checkpatch(style, patch)
        add(f"checkpatch {patch.name}", not text, text)


def check_sources(kernel: Path, scratch: Path, add: Add) -> None:
    style = kernel / "style"
    sources = sorted(p for p in OVERLAY.rglob("*.[ch]") if "tools" not in p.relative_to(OVERLAY).parts)
    _, text = output_of(["perl", style / "kernel-doc", "-none", *sources])
    add("kernel-doc", not text.strip(), text)

    warnings = (style / "warnings").read_text()
    add("sparse and W=1 on mm/", not warnings.strip(), warnings)
    module = scratch / "module"
    shutil.copytree(OVERLAY / "fs", module / "fs")
    shutil.copytree(OVERLAY / "include", module / "include")
    status, text = output_of(
        ["make", "-s", "-C", kernel / "devel", f"M={module}/fs/dmemfs", "CONFIG_DMEMFS=m"]
        + ["CONFIG_DMEMFS_KUNIT_TEST=m", "W=1", "C=2", "-j2", "modules"]
    )
    add("sparse and W=1 on dmemfs", status == 0 and not text.strip(), text)

    documents = sorted((OVERLAY / "Documentation").rglob("*.rst"))
    for document in documents:
        status, text = output_of(["rst2pseudoxml", "--report=1", "--halt=2", document, "/dev/null"])
        add(str(document.relative_to(OVERLAY)), status == 0 and not text.strip(), text)
    abi = OVERLAY / "Documentation" / "ABI"
    status, text = output_of(["perl", style / "get_abi.pl", "validate", "--dir", abi])
    add("Documentation/ABI", status == 0 and not text.strip(), text)


def run(kernel: Path, add: Add) -> None:
    with tempfile.TemporaryDirectory(prefix="dmemd-kernel-") as folder:
        check_sources(kernel, Path(folder), add)
        check_series(kernel / "style", Path(folder), add)
