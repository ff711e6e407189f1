"""Sweep: what a complete reading did not show, and when that is believed (RELIABILITY P13).

A record is gone when two complete sweeps in a row did not show it and its system, asked for it by id, says that it is
not there. Far fewer records than before are believed only when a person says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from canonical import brake, keys
from connectors.protocol import Source
from staging import doubts, landing, sweeps
from staging.crash import crash_point
from staging.engine import Connection
from tasks.world import World

FEW = 5
"""So many records may vanish from any stream without a word."""
ASKED_AT_ONCE = 100


class Seen:
    """Which ids a sweep has met, eight bytes each. Two ids of one hash make a missing record look as if it was met:
    it is found by the next sweep; none is ever taken for gone that was met."""

    def __init__(self) -> None:
        self._hashes: list[pl.Series] = []
        self._is_plain = True

    def add(self, landed: Sequence[str], beside: Sequence[str], *, is_plain: bool) -> None:
        """Ids that were landed, and ids that were met without: what could not be read is not gone (RELIABILITY P13).
        `is_plain`: every one of `landed` is a live record now."""
        self._hashes.append(pl.Series([*landed, *beside], dtype=pl.String).hash())
        self._is_plain = self._is_plain and is_plain and not beside

    def is_all(self, live: int) -> bool:
        """Whether the `live` records of the stream were all met, as far as their number tells it."""
        return self._is_plain and pl.concat([pl.Series(dtype=pl.UInt64), *self._hashes]).n_unique() == live

    def absent_from(self, ids: pl.Series) -> list[str]:
        """Those of the ids that were not met, sorted. They are candidates, not tombstones."""
        met = pl.concat([pl.Series(dtype=pl.UInt64), *self._hashes])
        return ids.filter(~ids.hash().is_in(met.implode())).sort().to_list()


@dataclass(frozen=True)
class Swept:
    """What a complete sweep says about records that it did not show."""

    gone: landing.Counts
    """Tombstones that were landed."""
    held: str | None = None
    """Why the absence of records is not believed; None: nothing to doubt."""


def conclude(world: World, source: Source, system: str, stream: str, run: int, before: int, seen: Seen) -> Swept:
    """Draws the conclusions of a complete sweep that met `seen`, where there were `before` live records."""
    with world.transaction() as conn:
        is_all = seen.is_all(sweeps.live_count(conn, system, stream))
        missing = [] if is_all else seen.absent_from(sweeps.live_ids(conn, system, stream))
        held = _held(world, system, stream, before, len(missing), doubts.accepted_drop(conn, system, stream))
        if held is not None:
            _doubt(world, conn, system, stream, before, len(missing), held)
            return Swept(landing.Counts(), held)
        doubts.close(conn, "count_drop", system, stream, f"not so any more in extract run {run}")
        candidates = sweeps.missed_again(conn, run, system, stream, missing)
    gone = _not_there(source, stream, candidates)
    with world.transaction() as conn:
        sweeps.met_after_all(conn, system, stream, sorted(set(candidates).difference(gone)))
        counts = _bury(conn, run, system, stream, gone)
        crash_point("extract.landing")
    crash_point("extract.landed")
    return Swept(counts)


def _held(world: World, system: str, stream: str, before: int, missing: int, believed: int | None) -> str | None:
    verdict = brake.judge_drop(stream, system, stream, before, before - missing, world.brake_of(system, stream))
    if verdict.action == "release" or missing <= FEW:
        return None
    is_believed = believed is not None and before - missing >= believed
    return None if is_believed else verdict.because


def _doubt(world: World, conn: Connection, system: str, stream: str, before: int, missing: int, because: str) -> None:
    doubts.report(
        conn,
        world.owner_of_system(system),
        [
            {
                "kind": "count_drop",
                "entity": world.landscape.systems[system].streams[stream].subject,
                "system": system,
                "stream": stream,
                "ours": str(before),
                "theirs": str(before - missing),
                "because": because,
            }
        ],
    )


def _not_there(source: Source, stream: str, candidates: Sequence[str]) -> list[str]:
    """Those of which the system itself says that they are not there."""
    still_there: set[str] = set()
    for start in range(0, len(candidates), ASKED_AT_ONCE):
        found = source.get(stream, candidates[start : start + ASKED_AT_ONCE])
        still_there.update(r.id for r in found if not r.deleted)
    return [i for i in candidates if i not in still_there]


def _bury(conn: Connection, run: int, system: str, stream: str, gone: Sequence[str]) -> landing.Counts:
    if not gone:
        return landing.Counts()
    landed = landing.land_page(
        conn,
        run,
        system=system,
        stream=stream,
        ids=gone,
        payloads=[b"{}"] * len(gone),
        hashes=keys.raw_hashes([b"{}"] * len(gone)),
        changed=[None] * len(gone),
        deleted=[True] * len(gone),
        parents=None,
        refused=0,
        pages=0,
        case_sensitive=True,
    )
    return landed.counts
