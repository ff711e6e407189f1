"""python -m benchmarks.load --rows 100000 --runs 3 [--json]"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.load import bench, figures


def main() -> int:
    """Measures, then prints figures (`--json`) or tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description="Concord beside dlt, from HTTP.")
    parser.add_argument("--rows", type=int, default=100_000, help="customers over three sources")
    parser.add_argument("--runs", type=int, default=3, help="medians are taken over so many runs")
    parser.add_argument("--sides", default=",".join(bench.SIDES), help="which sides, by comma")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    asked = parser.parse_args()
    sides: tuple[bench.Side, ...] = tuple(side for side in bench.SIDES if side in asked.sides.split(","))
    if asked.rows < 100 or asked.runs < 1 or not sides:
        parser.error(f"--rows from 100, --runs from 1, --sides of {', '.join(bench.SIDES)}")
    progress = Console(stderr=True, highlight=False)
    try:
        runs = bench.measure(asked.rows, asked.runs, sides, progress.print)
    except bench.LoadFailed as failed:
        progress.print(str(failed), markup=False)
        return 1
    summary = {**figures.summarise(runs, asked.rows), "machine": machine()}
    if asked.json:
        print(json.dumps(summary, indent=1))
    else:
        show(summary)
    return 0


def machine() -> dict[str, Any]:
    """Where it was measured: ratios travel, seconds do not."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "load_average": [round(x, 2) for x in os.getloadavg()],
    }


def show(summary: dict[str, Any]) -> None:
    """The tables for people."""
    console = Console()
    for title, head, rows in figures.tables(summary):
        table = Table(title=title, title_justify="left")
        for name in head:
            table.add_column(name)
        for row in rows:
            table.add_row(*row)
        console.print(table)


if __name__ == "__main__":
    sys.exit(main())
