"""python -m benchmarks.deliver --rows 20000 [--json]

Creates `rows` accounts in a target on loopback that answers a batch of 100 at once, through the whole of delivery:
claimed, committed as in flight, sent, receipts settled with links and shadows. What comes before (reading to release)
is done first and not counted. Figures: docs/reference/performance.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from benchmarks.load import bench
from benchmarks.load.concord_side import Clock, prepared
from benchmarks.load.memory import peak_mib
from sandbox.http_sources import start_sources
from staging.embedded import admin_connection, create_database

MANIFEST = """\
# The ledger's accounts: a target that answers at once, in batches of 100, and knows a key it has seen (class A).
streams:
  accounts:
    path: /accounts
    records: data
    key: id
    write_class: A
    create: {path: /accounts, batch: 100, body: array, items: data, id: id, ref_field: external_id,
             idempotency_header: Idempotency-Key}
"""


def declared(folder: Path, urls: tuple[str, ...]) -> Path:
    """The load benchmark's landscape, whose ledger takes what it is told."""
    made = bench.declared(folder, urls)
    (made / "connectors" / "ledger.yaml").write_text(MANIFEST)
    file = made / "landscape.yaml"
    text = file.read_text().replace('url: "http://127.0.0.1:9"', f'url: "{urls[0]}"')
    text = text.replace(
        "create: true, mode: ask, find_by: {external_id: id}", "create: true, mode: write, update: false"
    )
    text = text.replace("    on_delete: archive\n", "    on_delete: ignore\n")
    file.write_text(text)
    return made


def side(folder: Path) -> int:
    """In a process of its own: everything up to release, then delivery with the clock on."""
    from tasks import sync as syncing
    from tasks.deliver import deliver
    from tasks.sync import PlainSteps

    world = prepared(folder, is_warm=True)
    names = tuple(world.landscape.integrations)
    steps = PlainSteps(world, syncing.begin(world, "all", "incremental", started_by="benchmark"))
    entities = syncing.entities_of(world, names)
    streams = world.streams_for(entities)
    for what in (steps.extract(streams, "incremental", None), steps.stage(streams), steps.resolve(entities, names)):
        if not what:
            raise SystemExit("nothing came through")
    released = steps.release(names)
    clock = Clock()
    began = time.perf_counter()
    done = clock.timed("deliver", lambda: deliver(world, names))
    seconds = time.perf_counter() - began
    print(
        json.dumps(
            {
                "released": released.ready, "writes": done.writes, "rejected": done.rejected, "unknown": done.unknown,
                "seconds": seconds, "cpu_seconds": clock.cpu["deliver"], "peak_mib": peak_mib(),
            }
        )
    )  # fmt: skip
    return 0 if done.writes == released.ready else 1


def main() -> int:
    """Measures once and prints the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.deliver", description=__doc__.splitlines()[2])
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--side", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.side:
        return side(asked.side)
    with bench.place() as at, start_sources(asked.rows, len(bench.SYSTEMS)) as sources:
        landscape = declared(at.folder, sources.urls)
        bench.prepare(at, landscape)
        with admin_connection(at.server) as connection:
            create_database(connection, "bench_concord_0", bench.TEMPLATE)
        try:
            figures = bench.alone(["-m", "benchmarks.deliver", "--side", str(landscape)], at.environment("concord", 0))
        except bench.LoadFailed as failed:
            print(failed, file=sys.stderr)
            return 1
    figures["writes_per_second"] = figures["writes"] / figures["seconds"]
    if asked.json:
        print(json.dumps(figures, indent=1))
    else:
        print(
            f"{figures['writes']:,} writes in {figures['seconds']:.1f} s: {figures['writes_per_second']:,.0f} a second,"
            f" {figures['cpu_seconds']:.1f} s of this process's CPU, peak {figures['peak_mib']:.0f} MiB"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
