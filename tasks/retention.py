"""Retention: what is over and old goes, by the periods that the landscape declares."""

from __future__ import annotations

from dataclasses import dataclass

from canonical.retention import DAY, periods
from staging import audit, retention
from tasks.world import World


@dataclass(frozen=True)
class Removed:
    """What went of one table, or would go."""

    kind: str
    table: str
    does: str
    days: float
    rows: int


def retain(world: World, *, by: str, is_done: bool) -> list[Removed]:
    """Empties or removes what is older than its period, batch by batch; `is_done` false: only counts it."""
    found: list[Removed] = []
    for step, seconds in retention.steps(periods(world.landscape.retention)):
        does = "removed" if step.done.startswith("delete") else "emptied"
        rows = _apply(world, step, seconds) if is_done else _count(world, step, seconds)
        found.append(Removed(step.kind, step.table, does, seconds / DAY, rows))
    if is_done and any(one.rows for one in found):
        counts: dict[str, int] = {}
        for one in found:
            counts[one.table] = counts.get(one.table, 0) + one.rows
        with world.transaction() as conn:
            told = {table: rows for table, rows in counts.items() if rows}
            audit.append(conn, by, "retention.done", f"landscape:{world.landscape.name}", {"rows": told})
    return found


def _count(world: World, step: retention.Step, seconds: int) -> int:
    with world.transaction() as conn:
        return retention.due(conn, step, seconds)


def _apply(world: World, step: retention.Step, seconds: int) -> int:
    total = 0
    while True:
        rows = world.unit(f"retention of {step.table}", lambda conn: retention.apply(conn, step, seconds))
        total += rows
        if rows < retention.BATCH:
            return total
