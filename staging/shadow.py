"""Shadows: the last confirmed state of each target record, what we asked and what it read back (DESIGN 4, 9.10)."""

from __future__ import annotations

from decimal import Decimal

import polars as pl
from sqlalchemy import Connection, text

from staging.frames import literal, read_frame, temporary


def confirm_shadow(conn: Connection, rows: pl.DataFrame) -> None:
    """Stores what targets hold now: entity, system, stream, canonical_id, source_id, asked, read, version,
    is_archived.

    `asked` and `read` (JSON objects by target path) are laid over what stood there: an update asks only for what
    differs."""
    columns = {
        "entity": "text", "system": "text", "stream": "text", "canonical_id": "text", "source_id": "text",
        "asked": "jsonb", "read": "jsonb", "version": "int", "is_archived": "boolean",
    }  # fmt: skip
    table = temporary(conn, "confirmed", columns, rows.select(list(columns)))
    listed = ", ".join(columns)
    conn.execute(
        text(
            f"insert into ops.shadow as s ({listed}) select entity, system, stream, canonical_id, source_id,"
            f" asked::json, read::json, version, is_archived from {table}"
            " on conflict (entity, system, stream, canonical_id) do update set source_id = excluded.source_id,"
            " asked = (s.asked::jsonb || excluded.asked::jsonb)::json,"
            " read = (coalesce(s.read::jsonb, '{}') || coalesce(excluded.read::jsonb, '{}'))::json,"
            " version = greatest(s.version, excluded.version), is_archived = excluded.is_archived,"
            " confirmed_at = clock_timestamp()"
        )
    )


def shadows(conn: Connection, entity: str, system: str, stream: str, ids: pl.DataFrame) -> pl.DataFrame:
    """The shadows of golden records in a target: id, source_id, asked, read (JSON text), the paths that were
    ever asked, version, archived."""
    table = temporary(conn, "shadow_ids", {"canonical_id": "text"}, ids.select("canonical_id").unique())
    return read_frame(
        conn,
        "select s.canonical_id, s.source_id, s.asked::text, s.read::text,"
        f" (select json_agg(k)::text from json_object_keys(s.asked) k), s.version, s.is_archived from {table} a"
        f" join ops.shadow s using (canonical_id) where s.entity = {literal(entity)}"
        f" and s.system = {literal(system)} and s.stream = {literal(stream)}",
        {
            "id": pl.String, "source_id": pl.String, "asked": pl.String, "read": pl.String,
            "asked_paths": pl.List(pl.String), "version": pl.Int64, "archived": pl.Boolean,
        },
    )  # fmt: skip


def archived(conn: Connection, entity: str, records: pl.DataFrame) -> pl.DataFrame:
    """Those of some target records (system, stream, source_id) that we ourselves archived there."""
    columns = ["system", "stream", "source_id"]
    table = temporary(conn, "maybe_archived", dict.fromkeys(columns, "text"), records.select(columns))
    sql = (
        f"select system, stream, source_id from {table} join ops.shadow s using (system, stream, source_id)"
        f" where s.entity = {literal(entity)} and s.is_archived"
    )
    return read_frame(conn, sql, dict.fromkeys(columns, pl.String))


def money_held(conn: Connection, entity: str, system: str, stream: str, path: str) -> Decimal:
    """How much money stands at a target path over all linked records, as last confirmed."""
    found = conn.execute(
        text(
            "select coalesce(sum(abs((asked ->> :path)::numeric)), 0) from ops.shadow"
            " where entity = :entity and system = :system and stream = :stream and asked ->> :path ~ '^-?[0-9.]+$'"
        ),
        {"path": path, "entity": entity, "system": system, "stream": stream},
    )
    return Decimal(found.scalar_one())
