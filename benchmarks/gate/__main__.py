"""python -m benchmarks.gate --rows 100000 --runs 5 [--again] [--json]

One batch of customers is read and mapped, then judged in turn by the gate (Great Expectations' suite, and our own count
that must agree with it) and by one SQL statement written by hand for the same six checks. No documents are built.
`--again`: every record of the batch stands in the staging area already and is compared with what was read before.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from statistics import median

from sqlalchemy import text

from benchmarks.load import bench
from benchmarks.load.concord_side import prepared
from sandbox.http_sources import start_sources
from staging import backlog, staged
from staging.embedded import admin_connection, create_database
from staging.engine import dispose

BY_HAND = text(
    """
    select count(*), count(*) filter (where problems is not null), count(*) filter (where name is null),
           count(*) filter (where status not in ('lead', 'active', 'inactive')),
           count(*) filter (where of_record > 1), count(*) filter (where tax_id is not null and of_tax_id > 1),
           count(*) filter (where is_another)
    from (select c.problems, c.name, c.status, c.tax_id, h.source_id is not null as is_another,
                 count(*) over (partition by c.system, c.stream, c.source_id) as of_record,
                 count(*) over (partition by c.system, c.stream, c.tax_id) as of_tax_id
          from staging.customer_candidate c
          left join staging.customer h
            on h.system = c.system and h.stream = c.stream and h.source_id = c.source_id and not h.deleted
               and coalesce(h.tax_id, h.email) is not null and coalesce(c.tax_id, c.email) is not null
               and not coalesce(h.tax_id = c.tax_id or h.email = c.email, false)
               and not string_to_array(lower(h.name), ' ') && string_to_array(lower(c.name), ' ')
          where c.batch_id = :batch and not c.deleted) c
    """
)


def timed(work: Callable[[], object]) -> float:
    """Seconds that the work takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def measure(rows: int, runs: int, *, is_again: bool) -> dict[str, object]:
    """The two sides in turn, on one committed batch; `is_again`: of records that were read before."""
    from tasks.part import Part
    from tasks.sync import PlainSteps

    with bench.place() as at, start_sources(rows, len(bench.SYSTEMS)) as sources:
        folder = bench.declared(at.folder, sources.urls)
        bench.prepare(at, folder)
        with admin_connection(at.server) as connection:
            create_database(connection, "bench_concord_0", bench.TEMPLATE)
        os.environ.update(at.environment("concord", 0))
        world = prepared(folder, is_warm=True)
        PlainSteps(world, None).extract([("north", "customers")], "incremental", None)
        stream = world.landscape.systems["north"].streams["customers"]
        with world.transaction() as conn:
            landed = backlog.work(conn, "north", "customers", rows, "")
        payloads = [payload.encode() for payload in landed["payload"].to_list()]
        digest = world.declared("north", "customers")
        part = Part(world, "north", stream, stream.makes[0], landed, payloads, digest, sync_id=None)
        part.store()
        with world.transaction() as conn:
            if is_again:
                staged.merge(conn, part.entity, part.batch)
                conn.execute(text(f"analyze {staged.staged_table(part.entity)}"))
            conn.execute(text(f"analyze {staged.candidate_table(part.entity)}"))

        def by_hand() -> None:
            with world.transaction() as conn:
                conn.execute(BY_HAND, {"batch": part.batch}).one()

        times = [(timed(lambda: part.judge(None)), timed(by_hand)) for _ in range(runs)]
        dispose()
    gate, hand = (median(side) for side in zip(*times, strict=True))
    return {
        "rows": landed.height, "runs": runs, "gate_seconds": gate, "by_hand_seconds": hand,
        "ratio": median(a / b for a, b in times), "parts": dict(part.found.seconds) if part.found else {},
    }  # fmt: skip


def main() -> int:
    """Measures and prints the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gate", description="The gate beside SQL by hand.")
    parser.add_argument("--rows", type=int, default=100_000, help="rows of the one batch")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--again", action="store_true", help="of records that were read before")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    figures = measure(asked.rows * len(bench.SYSTEMS), asked.runs, is_again=asked.again)
    if asked.json:
        print(json.dumps(figures, indent=1))
    else:
        print(
            f"{figures['rows']:,} rows: gate {figures['gate_seconds']:.2f} s, by hand {figures['by_hand_seconds']:.2f}"
            f" s, {figures['ratio']:.2f} times (medians of {asked.runs}; last run's parts: {figures['parts']})"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
