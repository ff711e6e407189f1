"""Which (golden record, target) pairs must be planned, and under which declaration each target was planned last."""

from __future__ import annotations

import polars as pl
from sqlalchemy import Connection, text

from staging.frames import ident, temporary

NOTED_ANEW = "on conflict (entity, canonical_id, integration, system, stream) do update set entity = excluded.entity"
"""Locks a pair that is noted already: who takes pairs meanwhile leaves it, and it is planned from what commits here."""


def mark_dirty(conn: Connection, pairs: pl.DataFrame) -> int:
    """Notes (golden record, target) pairs that must be planned: entity, canonical_id, integration, system, stream."""
    if pairs.is_empty():
        return 0
    columns = dict.fromkeys(("entity", "canonical_id", "integration", "system", "stream"), "text")
    table = temporary(conn, "dirty_pairs", columns, pairs.select(list(columns)).unique().sort("canonical_id"))
    found = conn.execute(
        text(f"insert into ops.dirty ({', '.join(columns)}) select {', '.join(columns)} from {table} {NOTED_ANEW}")
    )
    return int(found.rowcount)


def mark_all_dirty(conn: Connection, entity: str, golden: str, integration: str, system: str, stream: str) -> int:
    """Notes every golden record of an entity for one target (its declaration changed)."""
    found = conn.execute(
        text(
            "insert into ops.dirty (entity, canonical_id, integration, system, stream)"
            f" select :entity, g.id, :integration, :system, :stream from {golden} g order by g.id {NOTED_ANEW}"
        ),
        {"entity": entity, "integration": integration, "system": system, "stream": stream},
    )
    return int(found.rowcount)


def mark_pointing(
    conn: Connection, entity: str, reference: str, ids: pl.DataFrame, integration: str, system: str, stream: str
) -> int:
    """Notes, for one target, the golden records whose `reference` (a column, or LIST.FIELD) is one of `ids.id`."""
    if ids.is_empty():
        return 0
    table = temporary(conn, "pointed_to", {"id": "text"}, ids.select("id"))
    field, _, inner = reference.rpartition(".")
    held = ident("golden", f"{entity}_{field}" if field else entity)
    found = conn.execute(
        text(
            "insert into ops.dirty (entity, canonical_id, integration, system, stream)"
            f" select distinct :entity, g.id, :integration, :system, :stream from {held} g join {table} p"
            f" on p.id = g.{ident(inner)} order by g.id {NOTED_ANEW}"
        ),
        {"entity": entity, "integration": integration, "system": system, "stream": stream},
    )
    return int(found.rowcount)


# Golden records that a record standing in the target may be, as far as an open question goes, and that have no record
# of their own there: a write now would be a second create. `other` is SYSTEM<31>STREAM<31>ID.
_IN_DOUBT = """
    select coalesce(r.canonical_id, o.canonical_id) as canonical_id from ops.review r
    left join ops.crosswalk o on o.entity = r.entity and o.ended_at is null
      and o.system = split_part(r.other, chr(31), 1) and o.stream = split_part(r.other, chr(31), 2)
      and o.source_id = split_part(r.other, chr(31), 3)
    where r.state = 'open' and r.entity = :entity and r.system = :system and r.stream = :stream
      and not exists (select from ops.crosswalk l where l.canonical_id = coalesce(r.canonical_id, o.canonical_id)
                      and l.entity = r.entity and l.system = r.system and l.stream = r.stream and l.ended_at is null)
"""


def in_doubt(conn: Connection, entity: str, system: str, stream: str) -> pl.Series:
    """Golden records that an open review may find in this target, and that are not linked there: they are neither
    planned there (it might be a second create) nor forgotten."""
    found = conn.execute(text(_IN_DOUBT), {"entity": entity, "system": system, "stream": stream})
    return pl.Series("canonical_id", found.scalars().all(), dtype=pl.String)


def forget(conn: Connection, entity: str, integration: str, system: str, stream: str, ids: pl.DataFrame) -> int:
    """Takes pairs of one target out of what is noted, for they are planned now; what another transaction notes anew
    meanwhile is left."""
    where = {"entity": entity, "integration": integration, "system": system, "stream": stream}
    target = "entity = :entity and integration = :integration and system = :system and stream = :stream"
    if not conn.execute(text(f"select exists (select from ops.dirty where {target})"), where).scalar_one():
        return 0
    table = temporary(conn, "planned_now", {"canonical_id": "text"}, ids.select("canonical_id").unique())
    found = conn.execute(
        text(
            "delete from ops.dirty where ctid in (select d.ctid from ops.dirty d join"
            f" {table} n using (canonical_id) where {target} for update of d skip locked)"
        ),
        where,
    )
    return int(found.rowcount)


def take_dirty(conn: Connection, entity: str, integration: str, system: str, stream: str, limit: int) -> pl.DataFrame:
    """Removes and gives up to `limit` pairs of a target; they count as planned when the transaction commits.

    A golden record that an open review may find in this very target stays noted until the review is closed: it is
    neither created there a second time nor forgotten."""
    found = conn.execute(
        text(
            f"with in_doubt as materialized ({_IN_DOUBT})"
            " delete from ops.dirty where ctid in (select d.ctid from ops.dirty d where entity = :entity"
            " and integration = :integration and system = :system and stream = :stream and not exists"
            " (select from in_doubt where in_doubt.canonical_id = d.canonical_id) order by canonical_id limit :limit"
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
