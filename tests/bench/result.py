# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a benchmark has found out, as data: raw samples, and what is computed from them.

Every figure that is shown is the median of a measure's samples, or one of the three kinds of ratio
of two medians. The JSON file holds the samples and the recipes, so that anybody can compute all
of it again; check() does.
"""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Optional, Union

# Of two measures a and b; cut and deviation are shown in percent
KINDS = {
    "quotient": lambda a, b: a / b if b else float("inf"),
    "cut": lambda a, b: 1 - a / b,  # how much smaller a is than b
    "deviation": lambda a, b: abs(a - b) / b,
    "value": lambda a, _: a,  # of a alone, for a bar on a figure itself
}


class Broken(Exception):
    """A result file contradicts itself."""


@dataclass
class Measure:
    name: str
    unit: str  # s, bytes, ns, or a count of something
    how: str  # in what way it was taken
    samples: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.samples)


@dataclass
class Ratio:
    name: str
    kind: str
    a: str  # names of measures
    b: Optional[str] = None
    wanted: Optional[str] = None  # the bar: ">= 3", in percent for cut and deviation
    value: float = 0
    held: Optional[bool] = None  # None: there is no bar


@dataclass
class Table:
    """Cells are names of measures, or None where there is nothing to measure."""

    title: str
    columns: list[str]
    rows: list[tuple[str, list[Optional[str]]]] = field(default_factory=list)


@dataclass
class Chart:
    title: str
    bars: list[tuple[str, str]] = field(default_factory=list)  # label, measure


class Result:
    def __init__(self, benchmark: str, title: str, place: dict[str, Any]):
        self.benchmark = benchmark
        self.title = title
        self.place = place  # on what machine, see place.py
        self.measures: dict[str, Measure] = {}
        self.ratios: list[Ratio] = []
        self.tables: list[Table] = []
        self.charts: list[Chart] = []
        self.notes: list[str] = []  # what a reader has to know; what could not be measured

    def add(self, name: str, unit: str, how: str, *samples: float) -> str:
        """Adds samples to a measure, which the first call makes. Returns its name."""
        m = self.measures.setdefault(name, Measure(name, unit, how))
        if (m.unit, m.how) != (unit, how):
            raise ValueError(f"two measures are called {name!r}")
        m.samples += samples
        return name

    def ratio(self, name: str, kind: str, a: str, b: Optional[str] = None, wanted: Optional[str] = None) -> None:
        """Left out if one of the measures could not be taken."""
        if a not in self.measures or (b is not None and b not in self.measures):
            return
        r = Ratio(name, kind, a, b, wanted)
        r.value, r.held = compute(r, self.measures)
        self.ratios.append(r)

    def missed(self) -> list[Ratio]:
        return [r for r in self.ratios if r.held is False]

    def as_json(self) -> dict[str, Any]:
        return {
            "version": 1,
            "benchmark": self.benchmark,
            "title": self.title,
            "place": self.place,
            "ratios": [asdict(r) for r in self.ratios],
            "tables": [asdict(t) for t in self.tables],
            "charts": [asdict(c) for c in self.charts],
            "notes": self.notes,
            "measures": [{**asdict(m), "median": m.median} for m in self.measures.values()],
        }

    def write(self, folder: Path) -> None:
        from .svg import draw

        text = json.dumps(self.as_json(), indent=1)
        check(json.loads(text))
        (folder / f"{self.benchmark}.json").write_text(text + "\n")
        (folder / f"{self.benchmark}.svg").write_text(draw(self))
        (folder / f"{self.benchmark}.txt").write_text(self.as_text() + "\n")

    # For people

    def as_text(self) -> str:
        lines = [f"{self.benchmark}: {self.title}", ""]
        if self.ratios:
            width = max(len(r.name) for r in self.ratios)
            for r in self.ratios:
                bar = ""
                if r.wanted:
                    bar = f"   wanted {r.wanted}{'' if r.held else ': MISSED'}"
                lines.append(f"  {r.name:<{width}}  {self.ratio_text(r):>10}{bar}")
            lines.append("")
        for t in self.tables:
            lines += self._table(t)
        lines.append("  How:")
        seen: dict[str, list[str]] = {}
        for m in self.measures.values():
            seen.setdefault(m.how, []).append(f"{len(m.samples)}")
        for how, counts in seen.items():
            samples = "-".join(sorted({min(counts, key=int), max(counts, key=int)}, key=int))
            lines.append(f"    - {how} [{samples} sample{'' if samples == '1' else 's'} each, median]")
        for note in self.notes:
            lines.append(f"    - {note}")
        return "\n".join(lines) + "\n"

    def ratio_text(self, r: Ratio) -> str:
        if r.kind in ("cut", "deviation"):
            return f"{100 * r.value:.2f} %"
        if r.kind == "value":
            return format_value(r.value, self.measures[r.a].unit)
        return f"{r.value:.3g} x"

    def _table(self, t: Table) -> list[str]:
        cells = [
            [label, *(self.cell(name) for name in names)] for label, names in t.rows
        ]
        head = ["", *t.columns]
        widths = [max(len(row[i]) for row in [head, *cells]) for i in range(len(head))]
        lines = [f"  {t.title}", ""]
        for row in [head, *cells]:
            first = f"{row[0]:<{widths[0]}}"
            lines.append("    " + "  ".join([first, *(f"{x:>{w}}" for x, w in zip(row[1:], widths[1:]))]))
        return [*lines, ""]

    def cell(self, name: Optional[str]) -> str:
        if name is None or name not in self.measures:
            return "-"
        m = self.measures[name]
        return format_value(m.median, m.unit)


def compute(r: Ratio, measures: dict[str, Measure]) -> tuple[float, Optional[bool]]:
    a = measures[r.a].median
    value = KINDS[r.kind](a, measures[r.b].median if r.b is not None else 0)
    if not r.wanted:
        return value, None
    operator, _, text = r.wanted.partition(" ")
    limit = _limit(text)
    seen = 100 * value if r.kind in ("cut", "deviation") else value
    return value, {">=": seen >= limit, ">": seen > limit, "<=": seen <= limit, "=": seen == limit}[operator]


def _limit(text: str) -> float:
    number, _, unit = text.partition(" ")
    return float(number) * {"": 1, "%": 1, "GiB": 1 << 30, "MiB": 1 << 20, "s": 1}[unit]


def format_value(value: float, unit: str) -> str:
    if unit == "bytes":
        for size, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
            if abs(value) >= size:
                return f"{value / size:.2f} {name}"
        return f"{value:.0f} B"
    if unit == "s":
        for size, name in ((1, "s"), (1e-3, "ms"), (1e-6, "us")):
            if abs(value) >= size:
                return f"{value / size:.3g} {name}"
        return f"{value * 1e9:.0f} ns"
    return f"{value:.0f}" if value == int(value) or value >= 1000 else f"{value:.3g}"


def check(data: dict[str, Any]) -> None:
    """Computes every median and ratio of a result file again. Raises Broken if one is different."""
    try:
        if data["version"] != 1:
            raise Broken(f"version {data['version']}")
        measures = {
            m["name"]: Measure(m["name"], m["unit"], m["how"], [float(x) for x in m["samples"]])
            for m in data["measures"]
        }
        for m in data["measures"]:
            if not m["samples"] or not m["how"]:
                raise Broken(f"{m['name']}: no samples, or it is not said how they were taken")
            _same(m["median"], measures[m["name"]].median, f"median of {m['name']}")
        for item in data["ratios"]:
            r = Ratio(**item)
            value, held = compute(r, measures)
            _same(r.value, value, r.name)
            if r.held != held:
                raise Broken(f"{r.name}: held is {r.held}, but {value} compares as {held}")
        used: list[Union[str, None]] = [x for t in data["tables"] for _, row in t["rows"] for x in row]
        used += [name for c in data["charts"] for _, name in c["bars"]]
        for name in used:
            if name is not None and name not in measures:
                raise Broken(f"{name!r} is shown, but was not measured")
    except (KeyError, TypeError, ValueError) as e:
        raise Broken(f"{type(e).__name__}: {e}") from e


def _same(stored: float, computed: float, what: str) -> None:
    if abs(stored - computed) > 1e-9 * max(abs(stored), abs(computed)):
        raise Broken(f"{what}: stored {stored}, computed {computed}")
