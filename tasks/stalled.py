"""Records that are not fresh although runs are: changes that were read or accepted and do not move (RELIABILITY P22).

What a person holds back (a hold, a pause, a target that is only observed) or a missing parent keeps is not late: each
of these has its own time and its own owner.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from canonical.landscape import Landscape
from staging import rhythm
from staging.engine import Connection
from staging.rhythm import NotTaken, Waiting
from tasks.world import World


@dataclass(frozen=True, slots=True)
class Stalled:
    """What of an integration waits for longer than it promises, in counts."""

    integration: str
    said: str
    since: datetime


def found(world: World, conn: Connection) -> list[Stalled]:
    """Every integration whose changes wait for longer than its timeliness."""
    promised = promises(world.landscape)
    if not promised:
        return []
    writes = rhythm.late_writes(conn, promised)
    records = rhythm.late_records(conn, min(promised.values()))
    read_by = {name: set(world.streams_for(world.needed_entities([name]))) for name in promised}
    now = rhythm.clock(conn)
    return judged(promised, writes, records, read_by, now)


def promises(landscape: Landscape) -> dict[str, float]:
    """How long a change may take, by integration, in seconds; its declared delay on top."""
    return {
        name: float(each.sla.timeliness + each.hold_seconds)
        for name, each in landscape.integrations.items()
        if each.sla.timeliness
    }


def judged(
    promised: Mapping[str, float],
    writes: Sequence[Waiting],
    records: Sequence[NotTaken],
    read_by: Mapping[str, set[tuple[str, str]]],
    now: datetime,
) -> list[Stalled]:
    """What stands still, by integration, with how much of it and since when."""
    late = []
    for name, seconds in promised.items():
        to_write = [each for each in writes if each.integration == name]
        unread = [
            each
            for each in records
            if (each.system, each.stream) in read_by[name] and (now - each.since).total_seconds() > seconds
        ]
        if not to_write and not unread:
            continue
        parts = [f"{each.writes} to write to {each.system}" for each in to_write]
        parts += [f"{each.records} read from {each.system}/{each.stream} and not taken over" for each in unread]
        since = min([*(each.since for each in to_write), *(each.since for each in unread)])
        said = f"changes wait since {since:%Y-%m-%d %H:%M %Z}, promised within {seconds / 60:g} min: {', '.join(parts)}"
        late.append(Stalled(name, said, since))
    return late
