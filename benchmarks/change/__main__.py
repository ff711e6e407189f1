"""python -m benchmarks.change --rows 3000 --times 15 [--json]

What a sync costs that finds next to nothing: after a first load, one customer of each of three sources changes, or
none does, and a whole sync is timed, without Prefect (the target takes creates alone, so nothing is sent). It is the
price of every sync by event or quarter of an hour, and of every batch, however small. docs/reference/performance.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.deliver.__main__ import declared
from benchmarks.load import bench
from benchmarks.load.concord_side import prepared
from sandbox.http_sources import start_sources
from staging.embedded import admin_connection, create_database

WARM = 3
"""Syncs of each kind that are not counted: what is compiled or prepared once is by then."""


def side(folder: Path, times: int, urls: list[str], percent: float) -> int:
    """In a process of its own: the first load, then the syncs with the clock on."""
    from tasks import sync as syncing
    from tasks.sync import PlainSteps

    world = prepared(folder, is_warm=True)

    def sync() -> tuple[float, float, int]:
        sync_id = syncing.begin(world, "all", "incremental", started_by="benchmark")
        before, worked = time.perf_counter(), time.process_time()
        done = syncing.sync(world, "all", PlainSteps(world, sync_id), sync_id=sync_id)
        if done.trouble:
            raise SystemExit(str(done.trouble))
        return time.perf_counter() - before, time.process_time() - worked, done.golden_versions

    sync()
    found: dict[str, Any] = {"nothing": [], "few": []}
    for number in range(times + WARM):
        for kind in found:
            if kind == "few":
                bench.change(urls, percent)
            seconds, cpu, versions = sync()
            if versions != (len(urls) if kind == "few" else 0):
                raise SystemExit(f"{versions} versions after a sync with {kind} changed")
            if number >= WARM:
                found[kind].append((seconds, cpu))
    print(
        json.dumps(
            {
                kind: {
                    "seconds": median(s for s, _ in runs), "cpu_seconds": median(c for _, c in runs),
                    "fastest": min(runs)[0], "slowest": max(runs)[0],
                }
                for kind, runs in found.items()
            }
        )
    )  # fmt: skip
    return 0


def main() -> int:
    """Measures, and prints the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.change", description=__doc__.splitlines()[2])
    parser.add_argument("--rows", type=int, default=3_000, help="customers over three sources")
    parser.add_argument("--times", type=int, default=15, help="syncs of each kind")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--side", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--urls", nargs="*", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    percent = 100 * len(bench.SYSTEMS) / asked.rows
    if asked.side:
        return side(asked.side, asked.times, asked.urls, percent)
    with bench.place() as at, start_sources(asked.rows, len(bench.SYSTEMS)) as sources:
        landscape = declared(at.folder, sources.urls)
        bench.prepare(at, landscape)
        with admin_connection(at.server) as connection:
            create_database(connection, "bench_concord_0", bench.TEMPLATE)
        command = ["-m", "benchmarks.change", "--side", str(landscape), "--urls", *sources.urls]
        command += ["--rows", str(asked.rows), "--times", str(asked.times)]
        try:
            figures = bench.alone(command, at.environment("concord", 0))
        except bench.LoadFailed as failed:
            print(failed, file=sys.stderr)
            return 1
    if asked.json:
        print(json.dumps(figures, indent=1))
        return 0
    for kind, figure in figures.items():
        told = {"nothing": "nothing changed", "few": f"{len(bench.SYSTEMS)} customers changed"}[kind]
        print(
            f"{told}: median {figure['seconds']:.2f} s ({figure['fastest']:.2f} to {figure['slowest']:.2f}), "
            f"{figure['cpu_seconds']:.2f} s of this process's CPU"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
