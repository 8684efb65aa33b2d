# SPDX-License-Identifier: LGPL-2.1-or-later
"""What memory costs to get and to give back, against the size of the pool and how fragmented it is."""

from __future__ import annotations

import json
import subprocess

from lab.machine import GIB, TIB

from .place import get_program, host_place
from .result import Chart, Result, Table

ORDERS = {"4K": 0, "2M": 9, "1G": 18}
HOW = ("kernel/overlay/fs/dmemfs/pool.c as it is, compiled in user space: up to 64 pieces are handed out and given back "
       "in random order, many times; time of one piece in the median turn; nothing is touched")


def pool(quick: bool, rounds: int) -> Result:
    result = Result("pool", "cost of allocating and freeing against size and fragmentation of the pool", host_place())
    program = get_program("pool")
    count = 10_000 if quick else 100_000
    sizes = [GIB, 4 * GIB, 16 * GIB, 64 * GIB, 256 * GIB, TIB]
    cases = [(s, 0, page) for page in ORDERS for s in sizes]
    cases += [(TIB, percent, page) for page in ORDERS for percent in (50, 90, 99)]
    try:
        for r in range(-1, rounds):
            for case in cases if r % 2 else reversed(cases):
                size, percent, page = case
                n = count // (50 if page == "1G" else 1)
                out = subprocess.run([str(program), str(size), str(percent), str(ORDERS[page]), str(n)],
                                     capture_output=True, text=True, check=True).stdout
                seen = json.loads(out)
                if r < 0:
                    continue
                for what in ("alloc", "free"):
                    result.add(f"{what} {page}, {_name(size, percent)}", "s", HOW, seen[f"{what}_ns"] / 1e9)
                if page == "2M" and not percent:
                    result.add(f"metadata, {_name(size, 0)}", "bytes", "what the pool allocates for itself before it hands out anything",
                               seen["metadata_bytes"])
    finally:
        program.unlink()
    for page in ORDERS:
        largest = _name(TIB, 0)
        # One piece of 1G is all that a pool of 1G has
        first = GIB if page != "1G" else 4 * GIB
        for what in ("alloc", "free"):
            result.ratio(f"{what} {page}: a pool of 1 TiB takes, to {first // GIB} GiB", "quotient",
                         f"{what} {page}, {largest}", f"{what} {page}, {_name(first, 0)}", "<= 3")
            for percent in (50, 99):
                result.ratio(f"{what} {page}: with {percent} % out at random, to an empty pool", "quotient",
                             f"{what} {page}, {_name(TIB, percent)}", f"{what} {page}, {largest}", "<= 3")
    for what in ("alloc", "free"):
        table = Table(f"One {what}", list(ORDERS))
        for size, percent in [(s, 0) for s in sizes] + [(TIB, p) for p in (50, 90, 99)]:
            name = _name(size, percent)
            table.rows.append((name, [f"{what} {page}, {name}" for page in ORDERS]))
        result.tables.append(table)
    result.tables.append(Table("Metadata of the pool", ["bytes"],
                               [(_name(s, 0), [f"metadata, {_name(s, 0)}"]) for s in sizes]))
    for page in ("4K", "2M"):
        result.charts.append(Chart(f"One allocation of {page}", [
            (_name(s, p), f"alloc {page}, {_name(s, p)}") for s, p in [(s, 0) for s in sizes] + [(TIB, 50), (TIB, 99)]]))
    return result


def _name(size: int, percent: int) -> str:
    text = f"{size // GIB} GiB" if size < TIB else "1 TiB"
    return f"{text}, {percent} % out" if percent else text
