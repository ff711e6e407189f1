"""python -m benchmarks.load.plot: draws docs/reference/figures/load-*.json, what `--json` printed for so many rows.

Microseconds for each customer over the number of customers, both logarithmic: a load whose time grows with the rows is
a level line.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

FIGURES = Path(__file__).resolve().parents[2] / "docs" / "reference" / "figures"
WIDTH, HEIGHT = 760, 430
LEFT, RIGHT, TOP, BOTTOM = 70, 560, 30, 370
LINES = (
    ("concord", "first", "Concord, first load", "#0b57a4", ""),
    ("concord", "changed", "Concord, 1 % changed", "#2f9e77", ""),
    ("concord", "no_change", "Concord, no change", "#7a3fb0", ""),
    ("dlt", "first", "dlt, first load", "#0b57a4", "6 4"),
    ("dlt", "changed", "dlt, 1 % changed", "#2f9e77", "6 4"),
    ("dlt", "no_change", "dlt, no change", "#7a3fb0", "6 4"),
)
"""Side, load, words, colour, dashes."""

Points = list[tuple[float, float]]


@dataclass(frozen=True)
class Line:
    """One load of one side: (rows, µs a customer), few rows first."""

    words: str
    colour: str
    dashes: str
    points: Points


def lines(summaries: Iterable[Mapping[str, Any]]) -> list[Line]:
    """What was measured, line by line; what was not measured with so many rows has no point there."""
    ordered = sorted(summaries, key=lambda one: int(one["rows"]))
    found = []
    for side, load, words, colour, dashes in LINES:
        points: Points = [
            (float(one["rows"]), one["sides"][side][load]["seconds"] / one["rows"] * 1e6)
            for one in ordered
            if load in one["sides"].get(side, ())
        ]
        if points:
            found.append(Line(words, colour, dashes, points))
    return found


def drawn(measured: Sequence[Line]) -> str:
    """The lines as an SVG picture."""
    rows = sorted({x for line in measured for x, _ in line.points})
    values = [y for line in measured for _, y in line.points]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    wide = max(math.log10(rows[-1] / rows[0]), 1e-9)

    def at(x: float, y: float) -> tuple[float, float]:
        across = LEFT + 20 + (RIGHT - LEFT - 40) * math.log10(x / rows[0]) / wide
        return across, BOTTOM - (BOTTOM - TOP) * (math.log10(y) - low) / (high - low)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif"'
        ' font-size="12"><rect width="100%" height="100%" fill="white"/>',
        _text(LEFT - 50, TOP - 12, "µs a customer"),
        _text((LEFT + RIGHT) / 2, HEIGHT - 15, "customers", "middle"),
    ]
    for power in range(low, high + 1):
        _, y = at(rows[0], 10.0**power)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{RIGHT}" stroke="#ddd"/>')
        parts.append(_text(LEFT - 8, y + 4, f"{10.0**power:g}", "end"))
    for x in rows:
        across, _ = at(x, 10.0**low)
        parts.append(_text(across, BOTTOM + 20, f"{x:,.0f}", "middle"))
    for place, line in enumerate(measured):
        spots = [at(*point) for point in line.points]
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in spots)
        dashes = f' stroke-dasharray="{line.dashes}"' if line.dashes else ""
        parts.append(f'<path d="{path}" fill="none" stroke="{line.colour}" stroke-width="2"{dashes}/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{line.colour}"/>' for x, y in spots]
        y = TOP + 12 + place * 22
        parts.append(f'<path d="M{RIGHT + 15} {y}h28" stroke="{line.colour}" stroke-width="2"{dashes}/>')
        parts.append(_text(RIGHT + 50, y + 4, line.words))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _text(x: float, y: float, words: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def main() -> int:
    """Draws what lies there."""
    files = sorted(FIGURES.glob("load-*.json"))
    if not files:
        print(f"nothing to draw: {FIGURES} holds no load-*.json", file=sys.stderr)
        return 1
    picture = FIGURES / "load.svg"
    picture.write_text(drawn(lines(json.loads(f.read_text(encoding="utf-8")) for f in files)), encoding="utf-8")
    print(f"{picture.name} of {', '.join(f.name for f in files)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
