"""A lane whose records are refused alike, or not answered at all, stops as its system's fault (P10).

It is tried by one record at a time then. A system that answers nothing at all is left alone as a whole, by its breaker;
this is for one that can be read, and takes no writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from canonical import flood, health
from staging import letters
from staging.health import Healths
from tasks.settle import Answer, Delivered, Lane, lane_of
from tasks.world import World

WINDOW_MINUTES = 60
SILENT = "writes had no clear answer"
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


def note(answers: Sequence[Answer], done: Delivered) -> None:
    """After a batch was sent: whether anything of it was answered clearly."""
    if not answers:
        return
    lane = lane_of(answers[0].row)
    if any(a.receipt.outcome in ("done", "rejected") for a in answers):
        done.unclear.pop(lane, None)
    else:
        done.unclear[lane] = done.unclear.get(lane, 0) + 1


def judge(world: World, lane: Lane, done: Delivered, was: Passage) -> Passage:
    """After a batch: a flood of refusals stops the lane, and what was refused so is sent again later."""
    refused, tried = done.refused.get(lane, 0), len(done.tried.get(lane, ()))
    if was == "try":
        return _tried(world, lane, done, refused=refused, tried=tried)
    if done.unclear.get(lane, 0) >= health.THRESHOLD and lane[0] not in done.troubled:
        _stop(world, lane, done, f"{SILENT} {health.THRESHOLD} times in a row, while it can be read", [])
        return "wait"
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
    because = healths.of(name).reason
    if tried > refused or (refused and because.startswith(SILENT)):
        healths.worked(name)
        done.unclear.pop(lane, None)
        return "go"
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
