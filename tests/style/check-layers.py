#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Checks that the source files keep to the layers of HACKING.md.

usage: check-layers.py SOURCE_ROOT

Each folder of src/ may include only the folders named below, headers of ours are included as
"folder/name.h", and src/plan/ includes nothing that reads a file, a clock or the environment.
Prints each line that breaks a rule and exits 1, else prints what was checked and exits 0.
"""

import pathlib
import re
import sys

MAY_INCLUDE = {
    "basic": {"basic"},
    "plan": {"basic", "plan"},
    "host": {"basic", "plan", "host"},
    "dmemd": {"basic", "plan", "host", "dmemd"},
    "dmemctl": {"basic", "plan", "host", "dmemctl"},
}

# What a pure layer must not even see. <stdio.h> and <stdlib.h> stay: they format and allocate.
IMPURE = {
    "dirent.h", "fcntl.h", "poll.h", "pthread.h", "signal.h", "spawn.h", "syslog.h", "time.h",
    "json-c/json.h", "libmount.h", "libmount/libmount.h", "numa.h", "sys/mount.h", "sys/stat.h",
    "sys/time.h", "systemd/sd-bus.h", "systemd/sd-device.h", "systemd/sd-event.h",
    "systemd/sd-journal.h",
}
# Calls that <stdio.h>, <stdlib.h> and <unistd.h> would allow.
IMPURE_CALL = re.compile(
    r"\b(fopen|open|openat|read|write|getenv|secure_getenv|printf|fputs|puts|perror|"
    r"sysconf|system|popen|rand|random)\s*\(")

INCLUDE = re.compile(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]')
COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
STRING = re.compile(r'"(?:\\.|[^"\\\n])*"')


def blank(match: re.Match) -> str:
    """Keeps the line count, so that the line numbers we print stay right."""
    return "\n" * match.group().count("\n")


def check_file(path: pathlib.Path, layer: str) -> list[str]:
    problems = []
    text = path.read_text()
    for number, line in enumerate(text.splitlines(), 1):
        include = INCLUDE.match(line)
        if not include:
            continue
        kind, name = include.groups()
        where = f"{path}:{number}"
        if kind == '"':
            folder, slash, _ = name.partition("/")
            if not slash:
                problems.append(f'{where}: "{name}": name the folder, as in "{layer}/{name}"')
            elif folder not in MAY_INCLUDE[layer]:
                problems.append(f"{where}: src/{layer}/ may not include {folder}/")
        elif layer == "plan" and name in IMPURE:
            problems.append(f"{where}: src/plan/ is pure and may not include <{name}>")
    if layer == "plan":
        code = STRING.sub('""', COMMENT.sub(blank, text))
        for number, line in enumerate(code.splitlines(), 1):
            call = IMPURE_CALL.search(line)
            if call:
                problems.append(f"{path}:{number}: src/plan/ is pure and may not call {call[1]}()")
    return problems


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    source = pathlib.Path(sys.argv[1]) / "src"
    problems = []
    n_files = 0
    for folder in sorted(source.iterdir()):
        if not folder.is_dir():
            continue
        if folder.name not in MAY_INCLUDE:
            problems.append(f"{folder}: unknown layer; add it here and to HACKING.md")
            continue
        for path in sorted(folder.glob("*.[ch]")):
            problems += check_file(path, folder.name)
            n_files += 1
    for problem in problems:
        print(problem)
    if n_files == 0:
        print(f"{source}: no source files found")
        return 1
    print(f"{n_files} files checked, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
