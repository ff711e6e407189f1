"""What the runs say: medians, ratios, shares. Pure: measured values in, figures and tables out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

PHASES = ("first", "no_change", "changed")
PHASE_NAMES = {"first": "first load", "no_change": "reload, no change", "changed": "reload, 1 % changed"}
WAYS = (
    ("warm", "concord", "seconds"),
    ("with_import", "concord_cold", "process_seconds"),
)
"""Warm: libraries imported on both sides. With import: from the start of a process to its end, on both sides."""

Runs = Sequence[Mapping[str, Mapping[str, Mapping[str, Any]]]]
"""One entry a run: side → phase → figures of its process."""


def summarise(runs: Runs, rows: int) -> dict[str, Any]:
    """Medians over the runs, and how many times faster Concord is than dlt, warm and with imports.

    A ratio above 1: Concord is faster. `ratio_first`, `ratio_no_change` and `ratio_changed` are the warm ones."""
    sides = {side: {phase: _phase(runs, side, phase) for phase in PHASES} for side in runs[0]}
    ratios = {
        way: {phase: _ratio(runs, side, phase, clock) for phase in PHASES}
        for way, side, clock in WAYS
        if side in runs[0] and "dlt" in runs[0]
    }
    warm = ratios.get("warm", {})
    return {
        "rows": rows,
        "runs": len(runs),
        "sides": sides,
        "ratios": ratios,
        **{f"ratio_{phase}": warm.get(phase) for phase in PHASES},
    }


def _phase(runs: Runs, side: str, phase: str) -> dict[str, Any]:
    measured = [run[side][phase] for run in runs]
    stages = {name for one in measured for name in one["stages"]}
    medians = {name: median(one["stages"].get(name, 0.0) for one in measured) for name in stages}
    whole = sum(medians.values()) or 1.0
    return {
        "seconds": median(one["seconds"] for one in measured),
        "process_seconds": median(one["process_seconds"] for one in measured),
        "cpu_seconds": median(one["cpu_seconds"] for one in measured),
        "peak_mib": median(one["peak_mib"] for one in measured),
        "stages": medians,
        "shares": {name: seconds / whole for name, seconds in medians.items()},
    }


def _ratio(runs: Runs, side: str, phase: str, clock: str) -> float:
    """The median of each run's own ratio: the two sides of a run met the same machine."""
    return float(median(run["dlt"][phase][clock] / run[side][phase][clock] for run in runs))


def tables(summary: Mapping[str, Any]) -> list[tuple[str, list[str], list[list[str]]]]:
    """Title, head and rows of each table that people read."""
    found = []
    rows = [
        [
            PHASE_NAMES[phase],
            side,
            f"{one['seconds']:.2f}",
            f"{one['process_seconds']:.2f}",
            f"{one['cpu_seconds']:.2f}",
            f"{one['peak_mib']:.0f}",
        ]
        for phase in PHASES
        for side, phases in summary["sides"].items()
        for one in (phases[phase],)
    ]
    head = ["load", "side", "s, warm", "s, whole process", "s of CPU (client)", "peak MiB"]
    found.append((f"{summary['rows']:,} customers, median of {summary['runs']}", head, rows))
    ratios = [[way, *(f"{phases[phase]:.2f}" for phase in PHASES)] for way, phases in summary["ratios"].items()]
    if ratios:
        found.append(("times faster than dlt", ["", *PHASE_NAMES.values()], ratios))
    for side, phases in summary["sides"].items():
        names = sorted(phases["first"]["shares"], key=lambda n: -phases["first"]["shares"][n])
        shares = [
            [
                name,
                *(f"{phases[p]['stages'].get(name, 0):.2f} s, {phases[p]['shares'].get(name, 0):.0%}" for p in PHASES),
            ]
            for name in names
        ]
        found.append((f"{side} by stage", ["stage", *PHASE_NAMES.values()], shares))
    return found
