"""A lane whose records are refused alike stops, as its system's fault, and is tried by one record at a time (P10)."""

from __future__ import annotations

from typing import Literal

from canonical import flood, health
from staging import letters
from staging.health import Healths
from tasks.settle import Delivered, Lane
from tasks.world import World

WINDOW_MINUTES = 60
Passage = Literal["go", "try", "wait"]


def passage(world: World, lane: Lane, done: Delivered) -> Passage:
    """Whether a lane is sent to: as usual, by one write that tries, or not now."""
    healths, name = Healths(world.engine), _name(lane)
    was = healths.of(name)
    found = health.passage(was)
    if found == "try" and not healths.try_it(name):
        found = "wait"
    if found == "wait":
        done.stopped[lane] = was.reason
    return found


def judge(world: World, lane: Lane, done: Delivered, was: Passage) -> Passage:
    """After a batch: a flood of refusals stops the lane, and what was refused so is sent again later."""
    refused, tried = done.refused.get(lane, 0), len(done.tried.get(lane, ()))
    if was == "try":
        return _tried(world, lane, done, refused=refused, tried=tried)
    if not refused:
        return was
    with world.transaction() as conn:
        lately = letters.refused_lately(conn, lane, WINDOW_MINUTES)
    records: dict[str, set[str]] = {}
    for _, canonical_id, field, reason in lately:
        records.setdefault(flood.cause_of(field, reason), set()).add(canonical_id)
    found = flood.flood({cause: len(ids) for cause, ids in records.items()}, tried)
    if found is None:
        return was
    alike = [i for i, _, field, reason in lately if flood.cause_of(field, reason) == found.cause]
    _stop(world, lane, done, found.because, alike)
    return "wait"


def _tried(world: World, lane: Lane, done: Delivered, *, refused: int, tried: int) -> Passage:
    """What the one write that tried has shown."""
    healths, name = Healths(world.engine), _name(lane)
    if tried > refused:
        healths.worked(name)
        return "go"
    because = healths.of(name).reason
    with world.transaction() as conn:
        lately = letters.refused_lately(conn, lane, WINDOW_MINUTES) if refused else []
    _stop(world, lane, done, because, [i for i, *_ in lately])
    return "wait"


def _stop(world: World, lane: Lane, done: Delivered, because: str, refused: list[int]) -> None:
    found = Healths(world.engine).stopped(_name(lane), because)
    with world.transaction() as conn:
        taken = letters.take_back(conn, refused, because, found.left_seconds)
    done.rejected -= min(taken, done.rejected)
    done.retried += taken
    done.stopped[lane] = because


def _name(lane: Lane) -> str:
    system, stream, entity, op = lane
    return f"{system}/{stream} {op} {entity}"
