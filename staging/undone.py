"""What one run wrote, and what has been written since: all that an undo is decided from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, text

from staging.outbox import OPEN


def run(conn: Connection, sync_id: int) -> Mapping[str, Any] | None:
    """A sync's row, or None."""
    found = conn.execute(
        text("select id, integration, mode, state, started_at, started_by from ops.sync where id = :id"),
        {"id": sync_id},
    )
    row = found.mappings().one_or_none()
    return dict(row) if row else None


def delivered(conn: Connection, sync_id: int) -> list[dict[str, Any]]:
    """The writes that a sync planned and that were delivered, whoever delivered them, in order."""
    found = conn.execute(
        text(
            "select id, integration, entity, canonical_id, version, system, stream, op, source_id, before, asked,"
            " fields from ops.outbox where sync_id = :id and state = 'delivered' order by id"
        ),
        {"id": sync_id},
    ).mappings()
    return [dict(r) for r in found]


def unsettled(conn: Connection, sync_id: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The writes of a sync that are not sent yet, and those that are on their way: id, integration, entity,
    canonical_id, system, stream, op, source_id."""
    found = conn.execute(
        text(
            f"select id, integration, entity, canonical_id, system, stream, op, source_id, state in {OPEN} as is_open"
            " from ops.outbox where sync_id = :id and (state in ('inflight', 'unknown')"
            f" or state in {OPEN}) order by id"
        ),
        {"id": sync_id},
    ).mappings()
    rows = [dict(r) for r in found]
    return [r for r in rows if r["is_open"]], [r for r in rows if not r["is_open"]]


def later(
    conn: Connection, sync_id: int, entity: str, system: str, stream: str, canonical_ids: Sequence[str]
) -> dict[str, tuple[frozenset[str], bool]]:
    """What other runs delivered to these target records after this one's last write of them: canonical id →
    (fields, whether one archived or deleted it)."""
    found = conn.execute(
        text(
            "select o.canonical_id, array_agg(distinct f) filter (where f is not null) as fields,"
            " bool_or(o.op in ('archive', 'delete')) as is_ended from ops.outbox o left join lateral unnest(o.fields)"
            " f on true where o.entity = :entity and o.system = :system and o.stream = :stream"
            " and o.canonical_id = any(:ids) and o.state = 'delivered' and o.sync_id is distinct from :sync"
            " and o.id > (select max(m.id) from ops.outbox m where m.sync_id = :sync and m.entity = o.entity"
            " and m.system = o.system and m.stream = o.stream and m.canonical_id = o.canonical_id) group by 1"
        ),
        {"entity": entity, "system": system, "stream": stream, "ids": list(canonical_ids), "sync": sync_id},
    )
    return {r.canonical_id: (frozenset(r.fields or ()), bool(r.is_ended)) for r in found}


def read_back(
    conn: Connection, entity: str, system: str, stream: str, canonical_ids: Sequence[str]
) -> dict[str, Mapping[str, str | None]]:
    """What these target records read back when our last write of them was confirmed: canonical id → path → text."""
    found = conn.execute(
        text(
            "select canonical_id, coalesce(read, '{}') as read from ops.shadow where entity = :entity"
            " and system = :system and stream = :stream and canonical_id = any(:ids)"
        ),
        {"entity": entity, "system": system, "stream": stream, "ids": list(canonical_ids)},
    )
    return {r.canonical_id: r.read for r in found}


def pairs(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """The (golden record, target) pairs of some writes, as `staging.dirty` notes them."""
    names = ("entity", "canonical_id", "integration", "system", "stream")
    return [dict(p) for p in {tuple((n, str(r[n])) for n in names) for r in rows}]
