"""Golden records: the agreed version of each entity instance, its lines as rows, and the history of every change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import polars as pl
from sqlalchemy import Connection, text

from canonical.mapping.lines import exploded_lines
from canonical.model import Entity
from staging.frames import as_text, ident, learn, literal, read_frame, temporary, write_frame


def golden_table(entity: Entity) -> str:
    """The quoted name of the entity's golden table."""
    return ident("golden", entity.name)


GOLDEN = {
    "id": pl.String, "version": pl.Int64, "deleted": pl.Boolean, "provisional": pl.List(pl.String),
}  # fmt: skip


def _select(entity: Entity) -> tuple[str, dict[str, object]]:
    columns = ", ".join(as_text(f"g.{ident(leaf.column)}", leaf.kind) for leaf in entity.leaves)
    listed = f"g.id, g.version, g.deleted, array_to_json(g.provisional)::text, {columns}"
    return listed, {**GOLDEN, **{leaf.column: pl.String for leaf in entity.leaves}}


def read(conn: Connection, entity: Entity, canonical_ids: pl.DataFrame) -> pl.DataFrame:
    """The golden records among `canonical_ids.canonical_id`: id, version, deleted, provisional, leaf columns."""
    listed, schema = _select(entity)
    table = temporary(conn, "golden_ids", {"canonical_id": "text"}, canonical_ids.select("canonical_id").unique())
    return read_frame(
        conn, f"select {listed} from {table} a join {golden_table(entity)} g on g.id = a.canonical_id", schema
    )


def values(conn: Connection, entity: str, column: str, canonical_ids: Sequence[str]) -> pl.DataFrame:
    """One column of some golden records: frame (id, value)."""
    asked = pl.DataFrame({"canonical_id": pl.Series(list(canonical_ids), dtype=pl.String)}).unique()
    table = temporary(conn, "value_ids", {"canonical_id": "text"}, asked)
    return read_frame(
        conn,
        f"select g.id, g.{ident(column)}::text from {table} a"
        f" join {ident('golden', entity)} g on g.id = a.canonical_id",
        {"id": pl.String, "value": pl.String},
    )


def find(conn: Connection, entity: Entity, needle: str) -> list[str]:
    """Canonical ids that a person may mean: an id, a unique or strong value, or SYSTEM/STREAM/ID of a source record."""
    found = list(conn.execute(text(f"select id from {golden_table(entity)} where id = :n"), {"n": needle}).scalars())
    parts = needle.split("/", 2)
    if not found and len(parts) == 3:
        found = list(
            conn.execute(
                text(
                    "select canonical_id from ops.crosswalk where entity = :e and system = :a and stream = :b"
                    " and source_id = :c and ended_at is null"
                ),
                {"e": entity.name, "a": parts[0], "b": parts[1], "c": parts[2]},
            ).scalars()
        )
    if not found:
        columns = [c for c in (*entity.match.unique, *entity.match.strong) if c in entity.columns]
        columns += [c for c in ("name", "number", "sku") if c in entity.columns and c not in columns]
        for column in columns:
            sql = f"select id from {golden_table(entity)} where lower({ident(column)}::text) = lower(:n) limit 20"
            found = list(conn.execute(text(sql), {"n": needle}).scalars())
            if found:
                break
    return [str(f) for f in found]


def write(
    conn: Connection,
    entity: Entity,
    records: pl.DataFrame,
    changes: pl.DataFrame,
    *,
    sync_id: int | None,
    declared: str,
) -> int:
    """Stores new versions of golden records and why.

    `records`: id, version (the new one), deleted, provisional, leaf columns. `changes`: id, version, changes (JSON
    text, see `survivorship.differences`). Gives how many records were written."""
    if records.is_empty():
        return 0
    records, changes = records.sort("id"), changes.sort("id")  # in the order of the indexes
    new = records.filter(pl.col("version") == 1)
    write_frame(conn, golden_table(entity), new.select("id", "version", "deleted", "provisional", *entity.columns))
    learn(conn, golden_table(entity), new.height)
    old = records.filter(pl.col("version") > 1)
    if old.height:
        # a twin of the golden table gives the temporary one its types
        name = "golden_new"
        conn.exec_driver_sql(f"drop table if exists {ident('pg_temp', name)}")
        conn.exec_driver_sql(
            f"create temporary table {ident(name)} (like {golden_table(entity)} including defaults) on commit drop"
        )
        write_frame(
            conn,
            ident("pg_temp", name),
            old.select("id", "version", "deleted", "provisional", *entity.columns),
        )
        sets = ", ".join(f"{ident(c)} = n.{ident(c)}" for c in (*entity.columns, "version", "deleted", "provisional"))
        conn.execute(
            text(
                f"update {golden_table(entity)} g set {sets}, updated_at = now() from {ident('pg_temp', name)} n"
                " where g.id = n.id"
            )
        )
    history = changes.select(
        pl.lit(entity.name).alias("entity"),
        pl.col("id").alias("canonical_id"),
        "version",
        pl.lit(sync_id, pl.Int64).alias("sync_id"),
        pl.lit(declared).alias("declared"),
        "changes",
    )
    write_frame(conn, ident("golden", "history"), history)
    for field in entity.fields:
        if field.type == "list":
            _write_lines(conn, entity, field.name, entity.line_columns[field.name], records)
    return records.height


def _write_lines(conn: Connection, entity: Entity, field: str, columns: Sequence[str], records: pl.DataFrame) -> None:
    """Replaces the line rows of these records; the canonical JSON of the record stays the truth they are made from."""
    table = ident("golden", f"{entity.name}_{field}")
    ids = temporary(conn, "line_parents", {"id": "text", "n": "int"}, records.select("id", pl.lit(0).alias("n")))
    conn.execute(text(f"delete from {table} l using {ids} p where l.id = p.id"))
    lines = exploded_lines(records.select(pl.col("id").alias("_id"), field), field, columns)
    write_frame(conn, table, lines.select(pl.col("_id").alias("id"), *columns))


def history_of(conn: Connection, entity: str, canonical_id: str) -> list[dict[str, object]]:
    """Every version of a golden record, oldest first: version, at, sync_id, declared, and its changes, one a column:
    field, old, new, system, stream, source_id, because."""
    found = conn.execute(
        text(
            "select version, at, sync_id, declared, changes from golden.history where entity = :e"
            " and canonical_id = :id order by version"
        ),
        {"e": entity, "id": canonical_id},
    ).mappings()
    return [{**r, "changes": [change for told in r["changes"] for change in _by_column(told)]} for r in found]


def _by_column(told: Mapping[str, Any]) -> Iterator[dict[str, object]]:
    """What one source said, column by column."""
    new, old = told["new"], told.get("old", {})
    for column in dict.fromkeys([*new, *old]):
        source = {name: told.get(name) for name in ("system", "stream", "source_id", "because")}
        yield {"field": column, "old": old.get(column), "new": new.get(column), **source}


def all_ids(conn: Connection, entity: Entity, after: str, limit: int) -> pl.DataFrame:
    """Canonical ids beyond `after`, in order: frame (canonical_id, version)."""
    return read_frame(
        conn,
        f"select g.id, g.version from {golden_table(entity)} g where g.id > {literal(after)}"
        f" order by g.id limit {limit}",
        {"canonical_id": pl.String, "version": pl.Int64},
    )
