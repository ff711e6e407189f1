"""The queues as people read them: one list, one entry, the same filters everywhere. Nothing here changes a row.

A queue is a table of `staging.tables.queues` (or `identity.review`); each entry gets its `cause`, the class of what
happened, by which a hundred entries of one cause are found together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, text

Row = dict[str, Any]
Queue = Literal["quarantine", "dead_letter", "review", "hold", "finding"]
QUEUES: tuple[Queue, ...] = ("quarantine", "review", "hold", "finding", "dead_letter")


@dataclass(frozen=True, slots=True)
class Filter:
    """Which entries are asked for; None: all. `since` and `until` are about when they were opened (until excluded)."""

    cause: str | None = None
    system: str | None = None
    owner: str | None = None
    """A role; `nobody` for those that have none."""
    entity: str | None = None
    integration: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    is_all: bool = False
    """Closed ones too."""

    @property
    def is_narrow(self) -> bool:
        """Whether anything but the state is asked for."""
        return any(getattr(self, f.name) for f in fields(self) if f.name != "is_all")


CAUSES: Mapping[Queue, str] = {
    "quarantine": "q.rule",
    "review": "case when q.score is null or q.score >= 1 then 'same_identifier' else 'similar' end",
    "hold": "q.kind",
    "finding": "q.kind",
    "dead_letter": "case when o.state = 'dead' then 'given_up' when q.field is not null then 'field ' || q.field"
    " else coalesce('status ' || (select max(a.status) from ops.attempt a where a.outbox_id = o.id and a.outcome ="
    " 'rejected'), 'refused') end",
}
"""SQL: the class of what happened."""
_FROM: Mapping[Queue, str] = {
    "dead_letter": "ops.dead_letter q left join ops.outbox o on o.id = q.outbox_id",
}
_MORE: Mapping[Queue, str] = {
    "dead_letter": ", o.integration, o.entity, o.canonical_id, o.op, o.source_id, o.fields, o.because, o.attempts",
    "hold": ", (select count(*) from ops.outbox o where o.hold_id = q.id and o.state = 'held') as waiting",
}


def found(conn: Connection, queue: Queue, asked: Filter, *, limit: int, offset: int = 0) -> tuple[list[Row], int]:
    """Entries, the oldest first, and how many there are in all."""
    where, values = _where(queue, asked)
    total = int(conn.execute(text(f"select count(*) from {_from(queue)}{where}"), values).scalar_one())
    rows = conn.execute(
        text(f"{_select(queue)}{where} order by q.opened_at, q.id limit :limit offset :offset"),
        {**values, "limit": limit, "offset": offset},
    ).mappings()
    return [dict(r) for r in rows], total


def ids(conn: Connection, queue: Queue, asked: Filter, *, limit: int) -> list[int]:
    """The numbers of entries, the oldest first."""
    where, values = _where(queue, asked)
    query = text(f"select q.id from {_from(queue)}{where} order by q.opened_at, q.id limit :limit")
    return [int(i) for i in conn.execute(query, {**values, "limit": limit}).scalars()]


def one(conn: Connection, queue: Queue, entry_id: int) -> Row | None:
    """One entry, whatever its state."""
    rows = conn.execute(text(f"{_select(queue)} where q.id = :id"), {"id": entry_id}).mappings()
    return next((dict(r) for r in rows), None)


def some(conn: Connection, queue: Queue, numbers: Sequence[int]) -> dict[int, Row]:
    """These entries by their numbers, whatever their state."""
    rows = conn.execute(text(f"{_select(queue)} where q.id = any(:ids)"), {"ids": list(numbers)}).mappings()
    return {int(r["id"]): dict(r) for r in rows}


def causes(conn: Connection, queue: Queue) -> dict[str, int]:
    """The causes of what is open → how many entries, the most frequent first."""
    counted = conn.execute(
        text(
            f"select {CAUSES[queue]} as cause, count(*) as n from {_from(queue)} where q.state = 'open'"
            " group by 1 order by 2 desc, 1"
        )
    )
    return {str(r.cause): int(r.n) for r in counted}


def _from(queue: Queue) -> str:
    return _FROM.get(queue, f"ops.{queue} q")


def _select(queue: Queue) -> str:
    """Every column with the cause and the age; a dead letter brings its write."""
    seconds = "extract(epoch from coalesce(q.closed_at, now()) - q.opened_at)::bigint as age_seconds"
    return f"select q.*, {CAUSES[queue]} as cause, {seconds}{_MORE.get(queue, '')} from {_from(queue)}"


def _where(queue: Queue, asked: Filter) -> tuple[str, dict[str, Any]]:
    of_write = "o" if queue == "dead_letter" else "q"
    conditions = {
        "cause": f"{CAUSES[queue]} = :cause",
        "system": "q.system = :system",
        "owner": "split_part(coalesce(q.owner, 'nobody'), ' (', 1) = :owner",
        "entity": f"{of_write}.entity = :entity",
        "integration": f"{of_write}.integration = :integration",
        "since": "q.opened_at >= :since",
        "until": "q.opened_at < :until",
    }
    values = {name: getattr(asked, name) for name in conditions if getattr(asked, name) is not None}
    parts = [conditions[name] for name in values] + ([] if asked.is_all else ["q.state = 'open'"])
    return (f" where {' and '.join(parts)}" if parts else ""), values
