"""How far single records have come, and what has happened to them: asked when a person looks at one of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import Connection, text

from canonical.model import Entity
from staging.frames import ident
from staging.staged import staged_table

_UNSETTLED = "('planned', 'ready', 'waiting', 'held', 'inflight', 'unknown')"


def references(conn: Connection, entity: Entity, system: str, stream: str, source_id: str) -> dict[str, list[str]]:
    """The reference tokens of one staged record: entity they point to → tokens."""
    columns = [*entity.references, *(c for c, targets in entity.line_references.items() if targets)]
    if not columns:
        return {}
    listed = ", ".join(f"{ident(c)}::text as {ident(c)}" for c in columns)
    row = (
        conn.execute(
            text(
                f"select {listed} from {staged_table(entity)} where system = :s and stream = :t and source_id = :i"
                " and not deleted"
            ),
            {"s": system, "t": stream, "i": source_id},
        )
        .mappings()
        .one_or_none()
    )
    found: dict[str, list[str]] = {}
    for column, target in entity.references.items() if row else ():
        if row and row[column]:
            found.setdefault(target, []).append(str(row[column]))
    for column, targets in entity.line_references.items() if row else ():
        for line in orjson.loads(row[column]) if row and targets and row[column] else ():
            for name, target in targets.items():
                if line.get(name):
                    found.setdefault(target, []).append(str(line[name]))
    return found


def standing(conn: Connection, entity: Entity, system: str, stream: str, source_id: str) -> dict[str, Any]:
    """How far one source record has come as one entity: entity, state, canonical_id, because, problems."""
    where = {"e": entity.name, "s": system, "t": stream, "i": source_id}
    staged = conn.execute(
        text(f"select state, deleted from {staged_table(entity)} where system = :s and stream = :t and source_id = :i"),
        where,
    ).one_or_none()
    link = conn.execute(
        text(
            "select canonical_id, because from ops.crosswalk where entity = :e and system = :s and stream = :t"
            " and source_id = :i and ended_at is null"
        ),
        where,
    ).one_or_none()
    problems = conn.execute(
        text(
            "select rule || coalesce(' on ' || field, '') || ': ' || reason from ops.quarantine where state = 'open'"
            " and system = :s and stream = :t and source_id = :i and (entity = :e or entity is null) order by id"
        ),
        where,
    )
    state = "not staged" if staged is None else "gone" if staged.deleted else str(staged.state)
    return {
        "entity": entity.name,
        "state": state,
        "canonical_id": link.canonical_id if link else None,
        "because": link.because if link else None,
        "problems": list(problems.scalars()),
    }


def awaited(conn: Connection, sync_id: int) -> list[tuple[str, str, str]]:
    """The parents that writes planned by a sync wait for: entity, canonical id, the system where they are missing."""
    found = conn.execute(
        text(
            "select distinct r ->> 'entity' as entity, r ->> 'id' as id, o.system from ops.outbox o,"
            " json_array_elements(o.refs) r where o.sync_id = :id and o.refs is not null and o.state in"
            " ('planned', 'waiting') order by 1, 2, 3"
        ),
        {"id": sync_id},
    )
    return [(r.entity, r.id, r.system) for r in found]


def open_writes(conn: Connection, golds: Sequence[tuple[str, str]]) -> list[int]:
    """The writes of these golden records (entity, canonical id) that are not settled."""
    found = conn.execute(
        text(
            "select o.id from ops.outbox o join unnest(cast(:entities as text[]), cast(:ids as text[]))"
            f" g (entity, id) on g.entity = o.entity and g.id = o.canonical_id where o.state in {_UNSETTLED} order by 1"
        ),
        {"entities": [e for e, _ in golds], "ids": [i for _, i in golds]},
    )
    return [int(i) for i in found.scalars()]


def writes_of(conn: Connection, golds: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """The latest write of each of these golden records to each target."""
    found = conn.execute(
        text(
            "select distinct on (o.entity, o.canonical_id, o.system, o.stream) o.id, o.sync_id, o.integration,"
            " o.entity, o.canonical_id, o.system, o.stream, o.op, o.source_id, o.state, o.because, o.reason, o.fields"
            " from ops.outbox o join unnest(cast(:entities as text[]), cast(:ids as text[])) g (entity, id)"
            " on g.entity = o.entity and g.id = o.canonical_id"
            " order by o.entity, o.canonical_id, o.system, o.stream, o.id desc"
        ),
        {"entities": [e for e, _ in golds], "ids": [i for _, i in golds]},
    ).mappings()
    return [dict(r) for r in found]


_TIMELINE = (Path(__file__).parent / "queries" / "timeline.sql").read_text(encoding="utf-8")
MOST = 20
"""Lines of a story that a queue shows; `concord explain` tells the whole."""


def timeline(
    conn: Connection,
    entity: str | None,
    *,
    canonical_id: str | None = None,
    record: tuple[str, str, str] | None = None,
    most: int = MOST,
) -> list[dict[str, Any]]:
    """What happened to a source record (system, stream, source id) and to the golden record that it belongs to, the
    latest last: at, what. Names, states and counts, no value of any record."""
    system, stream, source_id = record or (None, None, None)
    if canonical_id is None and record:
        canonical_id = conn.execute(
            text(
                "select canonical_id from ops.crosswalk where entity = :e and system = :s and stream = :t"
                " and source_id = :i order by ended_at is not null, id desc limit 1"
            ),
            {"e": entity, "s": system, "t": stream, "i": source_id},
        ).scalar_one_or_none()
    found = conn.execute(
        text(_TIMELINE),
        {
            "entity": entity, "canonical": canonical_id, "system": system, "stream": stream, "source": source_id,
            "most": most,
        },
    ).mappings()  # fmt: skip
    return [dict(r) for r in found]
