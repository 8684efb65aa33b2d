# SPDX-License-Identifier: LGPL-2.1-or-later
"""The charts of a result as one SVG picture: horizontal bars, the figure at the end of each."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from .result import format_value

if TYPE_CHECKING:
    from .result import Chart, Result

WIDTH, LABEL, FIGURE, ROW, GAP = 860, 250, 110, 22, 34
OURS, OTHERS, TEXT = "#1f6f8b", "#b8b8b8", "#222222"


def draw(result: "Result") -> str:
    height = GAP + sum(GAP + ROW * len(c.bars) + GAP // 2 for c in result.charts)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="13">',
        f"<title>{escape(result.title)}</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        _text(10, 22, f"{result.benchmark}: {result.title}", "bold"),
    ]
    y = GAP
    for chart in result.charts:
        parts += _chart(result, chart, y)
        y += GAP + ROW * len(chart.bars) + GAP // 2
    return "\n".join([*parts, "</svg>"]) + "\n"


def _chart(result: "Result", chart: "Chart", y: int) -> list[str]:
    measures = [result.measures[name] for _, name in chart.bars]
    largest = max((m.median for m in measures), default=0) or 1
    parts = [_text(10, y + 20, chart.title)]
    y += GAP
    for (label, _), m in zip(chart.bars, measures):
        length = max(1.0, (WIDTH - LABEL - FIGURE - 20) * max(m.median, 0) / largest)
        colour = OURS if label.startswith("dmem") else OTHERS
        parts.append(_text(LABEL, y + 15, label, anchor="end"))
        parts.append(
            f'<rect x="{LABEL + 8}" y="{y + 3}" width="{length:.1f}" height="{ROW - 6}" fill="{colour}"/>'
        )
        parts.append(_text(LABEL + 14 + length, y + 15, format_value(m.median, m.unit)))
        y += ROW
    return parts


def _text(x: float, y: float, text: str, weight: str = "normal", anchor: str = "start") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" fill="{TEXT}" font-weight="{weight}" text-anchor="{anchor}">'
        f"{escape(text)}</text>"
    )
