"""Which (golden record, target) pairs must be planned, and under which declaration each target was planned last."""

from __future__ import annotations

import polars as pl
from sqlalchemy import Connection, text

from staging.frames import temporary


def mark_dirty(conn: Connection, pairs: pl.DataFrame) -> int:
    """Notes (golden record, target) pairs that must be planned: entity, canonical_id, integration, system, stream."""
    if pairs.is_empty():
        return 0
    columns = dict.fromkeys(("entity", "canonical_id", "integration", "system", "stream"), "text")
    table = temporary(conn, "dirty_pairs", columns, pairs.select(list(columns)))
    found = conn.execute(
        text(
            f"insert into ops.dirty ({', '.join(columns)}) select distinct {', '.join(columns)} from {table}"
            " on conflict do nothing"
        )
    )
    return int(found.rowcount)


def mark_all_dirty(conn: Connection, entity: str, golden: str, integration: str, system: str, stream: str) -> int:
    """Notes every golden record of an entity for one target (its declaration changed)."""
    found = conn.execute(
        text(
            "insert into ops.dirty (entity, canonical_id, integration, system, stream)"
            f" select :entity, g.id, :integration, :system, :stream from {golden} g on conflict do nothing"
        ),
        {"entity": entity, "integration": integration, "system": system, "stream": stream},
    )
    return int(found.rowcount)


def take_dirty(conn: Connection, entity: str, integration: str, system: str, stream: str, limit: int) -> pl.DataFrame:
    """Removes and gives up to `limit` pairs of a target; they count as planned when the transaction commits."""
    found = conn.execute(
        text(
            "delete from ops.dirty where ctid in (select ctid from ops.dirty where entity = :entity and integration ="
            " :integration and system = :system and stream = :stream order by canonical_id limit :limit"
            " for update skip locked) returning canonical_id"
        ),
        {"entity": entity, "integration": integration, "system": system, "stream": stream, "limit": limit},
    )
    return pl.DataFrame({"canonical_id": pl.Series(found.scalars().all(), dtype=pl.String)})


def target_declared(conn: Connection, integration: str, system: str, stream: str) -> tuple[str | None, str | None]:
    """Under which outbound declaration, and in which mode, the target was planned last."""
    row = conn.execute(
        text("select declared, mode from ops.target_state where integration = :i and system = :s and stream = :t"),
        {"i": integration, "s": system, "t": stream},
    ).one_or_none()
    return (row.declared, row.mode) if row else (None, None)


def set_target_declared(conn: Connection, integration: str, system: str, stream: str, declared: str, mode: str) -> None:
    """Notes the outbound declaration and mode that a target is planned under from now on."""
    conn.execute(
        text(
            "insert into ops.target_state (integration, system, stream, declared, mode) values (:i, :s, :t, :d, :m)"
            " on conflict (integration, system, stream) do update set declared = excluded.declared,"
            " mode = excluded.mode"
        ),
        {"i": integration, "s": system, "t": stream, "d": declared, "m": mode},
    )
