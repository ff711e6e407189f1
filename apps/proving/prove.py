"""`concord prove`: all cells of a landscape, one after another, and what they prove together."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from apps.proving import cells, evidence, underload, work
from apps.proving.cells import Base
from apps.proving.ground import Ground
from apps.proving.nursery import Ended
from apps.proving.twins import DEMO, Twins
from apps.proving.verdict import Cell, Proof
from staging.crash import POINTS

Planned = tuple[str, Callable[[Base], Cell]]
Tell = Callable[[str], None]
AGAIN = 5
"""RELIABILITY, row 4: killed during recovery up to five times in a row; where writes are sent. Elsewhere twice."""
ASLEEP = ("deliver.claimed", "deliver.sent")
RESTARTS_A_HIT = 2
SCALE = 0.05
"""About 100 customers: every kind of trouble is there, and a cell takes seconds."""


class NoCell(Exception):
    """No cell's name has the text that was asked for."""


def prove(
    home: Path,
    twins: Twins,
    tell: Tell,
    *,
    points: Sequence[str] = (),
    only: str | None = None,
    hits: int = 3,
    minutes: float | None = None,
    scale: float = SCALE,
) -> Proof:
    """Proves a landscape on twins below `home`. `points`: kills at these only, and no other cells. `only`: the cells
    whose names have this text. `minutes`: no cell begins after so many. Raises NoCell, and RuntimeError where the
    undisturbed run does not come to rest."""
    began = time.monotonic()
    done: list[Cell] = []
    planned = [each for each in _planned(twins, points, hits) if only is None or only in each[0]]
    if not planned:
        raise NoCell(only or "")
    with ready(home, twins, tell, scale) as base:
        for number, (name, run) in enumerate(planned, 1):
            if minutes is not None and time.monotonic() - began > minutes * 60:
                break
            done.append(replace(run(base), name=name))
            tell(f"{number}/{len(planned)}  {name}: {told(done[-1])}")
    skipped = len(planned) - len(done)
    met = sum(any(point in name for name, _ in planned) for point in POINTS)
    return Proof(tuple(done), met, hits, skipped, time.monotonic() - began)


@contextmanager
def ready(home: Path, twins: Twins, tell: Tell, scale: float) -> Iterator[Base]:
    """A copy with something to do for every step, and where a run of it ends that nobody disturbs."""
    tell("starting a PostgreSQL of its own and twins of the systems")
    with Ground(home, twins, scale) as ground:
        with ground.begun() as copy:
            if twins.source == DEMO:
                _check(cells.run(copy, "sync"))
        taken = ground.snapshot(copy)
        if twins.source == DEMO:
            with ground.copy_of(taken, is_kept=True) as copy:
                work.plant(copy)
            taken = ground.snapshot(copy)
        tell("a run that nobody disturbs")
        with ground.copy_of(taken) as copy:
            undisturbed = cells.run(copy, "sync")
            _check(undisturbed)
            expected = evidence.end_state(copy)
        records = sum(map(sum, (counter.values() for counter in expected.values())))
        tell(f"it took {undisturbed.settled_after:.1f} s and left {records:,} records to compare with")
        yield Base(ground, taken, expected)


def _check(ended: Ended) -> None:
    """The undisturbed run must come to rest, or nothing could be compared with it."""
    further = ended.last
    if ended.code or further.get("trouble") or further.get("writes") or further.get("versions"):
        raise RuntimeError(f"the undisturbed run does not come to rest: {ended.said or further}")


def _planned(twins: Twins, points: Sequence[str], hits: int) -> Iterator[Planned]:
    """Every cell in its order: quick and telling ones first."""
    named = [point for point in (points or POINTS) if _can_be_met(twins, point)]
    yield from _kills(named, range(1, 2))
    if not points:
        for point in ASLEEP:
            yield f"asleep at {point}", partial(cells.zombie, point=point, hit=1)
        yield f"{cells.WORKERS} workers at once", cells.workers
        restarts = RESTARTS_A_HIT * hits
        yield f"database stopped {restarts} times under load", partial(underload.database, restarts=restarts)
    yield from _kills(named, range(2, hits + 1))
    for point in () if points else named:
        times = AGAIN if point.startswith("deliver.") else 2
        yield f"killed at {point} {times} times in a row", partial(cells.kill, point=point, hit=1, times=times)


def _kills(points: Sequence[str], hits: Iterable[int]) -> Iterator[Planned]:
    for hit in hits:
        for point in points:
            yield f"killed at {point}, hit {hit}", partial(cells.kill, point=point, hit=hit)


def _can_be_met(twins: Twins, point: str) -> bool:
    """Tokens are renewed only where the landscape has a ledger whose twin gives them."""
    return not point.startswith("token.") or "accounting" in twins.http.values()


def told(cell: Cell) -> str:
    """A cell's outcome in a line."""
    if not cell.is_reached:
        return cell.said[0] if cell.said else "a run does not come there so often"
    if cell.holds:
        return f"recovered after {cell.recovery_seconds:.1f} s, nothing lost, nothing doubled"
    late = [f"recovery took {cell.recovery_seconds:.1f} s"] if cell.recovery_seconds > cell.limit_seconds else []
    counts = [f"lost {cell.lost}", f"doubled {cell.doubled}", f"written again {cell.written_again}"]
    return "BROKEN: " + "; ".join([*counts, *late, *cell.said[:3]])
