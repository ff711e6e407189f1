"""The crosswalk: which source record is which golden record. History is kept, nothing is overwritten."""

from __future__ import annotations

from collections.abc import Sequence

import orjson
import polars as pl
from sqlalchemy import Connection, text

from staging.frames import ident, learn, literal, read_frame, temporary, write_frame

_TABLE = ident("ops", "crosswalk")


def link(conn: Connection, entity: str, links: pl.DataFrame, *, by: str) -> int:
    """Adds links: system, stream, source_id, canonical_id, is_primary, because, score."""
    rows = links.select(
        pl.lit(entity).alias("entity"),
        "system",
        "stream",
        "source_id",
        "canonical_id",
        "is_primary",
        "because",
        "score",
        pl.lit(by).alias("linked_by"),
    )
    # in the order of its indexes: canonical ids are hashes, and each would go to another page of an index
    written = write_frame(conn, _TABLE, rows.sort("canonical_id"))
    learn(conn, _TABLE, written)
    return written


def link_new(conn: Connection, entity: str, links: pl.DataFrame, *, by: str) -> int:
    """The same for records of a target; one that is linked already is left as it is. Gives how many were new."""
    columns = {
        "system": "text", "stream": "text", "source_id": "text", "canonical_id": "text", "is_primary": "boolean",
        "because": "text", "score": "float8",
    }  # fmt: skip
    table = temporary(conn, "new_links", columns, links.select(list(columns)))
    listed = ", ".join(columns)
    found = conn.execute(
        text(
            f"insert into ops.crosswalk (entity, {listed}, linked_by) select :entity, {listed}, :by from {table}"
            " on conflict do nothing"
        ),
        {"entity": entity, "by": by},
    )
    return int(found.rowcount)


def link_own(conn: Connection, entity: str, staged: str, system: str, stream: str, path: str) -> int:
    """Links records that carry, at the target path `path`, our id of a create that is open: its answer was lost and the
    record was read first. `staged` is the entity's staging table, quoted. Gives how many were linked."""
    found = conn.execute(
        text(
            "insert into ops.crosswalk (entity, system, stream, source_id, canonical_id, is_primary, because, score,"
            " linked_by) select :entity, s.system, s.stream, s.source_id, o.canonical_id, true,"
            f" 'carries our own id of a create without an answer', 1, 'concord' from {staged} s join ops.outbox o on"
            " o.entity = :entity and o.system = s.system and o.stream = s.stream and o.op = 'create' and o.state in"
            " ('ready', 'inflight', 'unknown') and o.canonical_id = s.native ->> :path where s.system = :system and"
            " s.stream = :stream and s.state = 'dirty' and not s.deleted on conflict do nothing"
        ),
        {"entity": entity, "system": system, "stream": stream, "path": path},
    )
    return int(found.rowcount)


def holder(conn: Connection, entity: str, system: str, stream: str, source_id: str) -> str | None:
    """The golden record that a source record is linked to now."""
    return conn.execute(
        text(
            "select canonical_id from ops.crosswalk where entity = :e and system = :s and stream = :t"
            " and source_id = :i and ended_at is null"
        ),
        {"e": entity, "s": system, "t": stream, "i": source_id},
    ).scalar_one_or_none()


def holders(conn: Connection, entity: str, system: str, stream: str, source_ids: Sequence[str]) -> dict[str, str]:
    """Source id → the golden record that it is linked to now, for those that are linked."""
    found = conn.execute(
        text(
            "select source_id, canonical_id from ops.crosswalk where entity = :e and system = :s and stream = :t"
            " and source_id = any(:ids) and ended_at is null"
        ),
        {"e": entity, "s": system, "t": stream, "ids": list(source_ids)},
    )
    return {r.source_id: r.canonical_id for r in found}


def follow_the_living(conn: Connection, entity: str, staged: str, canonical_ids: pl.DataFrame) -> list[str]:
    """Where a primary link's record is gone and a twin of it lives in the same (system, stream), the twin becomes the
    primary link (DESIGN 9.7): merged there as a finding asked, or deleted and typed again. Gives the ids concerned.

    `staged` is the quoted staging table. What the target last held is forgotten with the old link."""
    table = temporary(conn, "followed", {"canonical_id": "text"}, canonical_ids.select("canonical_id").unique())
    old = conn.execute(
        text(
            "update ops.crosswalk c set is_primary = false"
            f" from {table} t, {staged} s where c.canonical_id = t.canonical_id and c.entity = :entity"
            " and c.is_primary and c.ended_at is null and s.system = c.system and s.stream = c.stream"
            " and s.source_id = c.source_id and s.deleted and exists (select from ops.crosswalk o"
            f" join {staged} l on l.system = o.system and l.stream = o.stream and l.source_id = o.source_id"
            " where o.entity = c.entity and o.canonical_id = c.canonical_id and o.system = c.system"
            " and o.stream = c.stream and o.ended_at is null and not o.is_primary and not l.deleted)"
            " returning c.system, c.stream, c.canonical_id, c.source_id"
        ),
        {"entity": entity},
    ).all()
    for system, stream, canonical_id, source_id in old:
        key = {"e": entity, "s": system, "t": stream, "c": canonical_id, "old": source_id}
        conn.execute(
            text(
                "update ops.crosswalk set is_primary = true where id = (select min(o.id) from ops.crosswalk o"
                f" join {staged} l on l.system = o.system and l.stream = o.stream and l.source_id = o.source_id"
                " where o.entity = :e and o.system = :s and o.stream = :t and o.canonical_id = :c"
                " and o.ended_at is null and not l.deleted)"
            ),
            key,
        )
        conn.execute(
            text(
                "delete from ops.shadow where entity = :e and system = :s and stream = :t and canonical_id = :c"
                " and source_id = :old"
            ),
            key,
        )
    return [r.canonical_id for r in old]


def primaries(conn: Connection, entity: str, canonical_ids: pl.DataFrame) -> pl.DataFrame:
    """The (canonical_id, system, stream) that have a primary link already."""
    table = temporary(conn, "primary_ids", {"canonical_id": "text"}, canonical_ids.select("canonical_id").unique())
    return read_frame(
        conn,
        f"select c.canonical_id, c.system, c.stream from {table} a join ops.crosswalk c using (canonical_id)"
        f" where c.entity = {literal(entity)} and c.is_primary and c.ended_at is null",
        {"canonical_id": pl.String, "system": pl.String, "stream": pl.String},
    )


def primary_among(conn: Connection, entity: str, links: pl.DataFrame) -> pl.DataFrame:
    """Those of some records (system, stream, source_id) that are the primary link of their golden record now."""
    columns = dict.fromkeys(("system", "stream", "source_id"), "text")
    table = temporary(conn, "maybe_primary", columns, links.select(list(columns)))
    return read_frame(
        conn,
        f"select c.system, c.stream, c.source_id from {table} t join ops.crosswalk c using (system, stream, source_id)"
        f" where c.entity = {literal(entity)} and c.is_primary and c.ended_at is null",
        dict.fromkeys(columns, pl.String),
    )


def links_in(conn: Connection, entity: str, system: str, stream: str, canonical_ids: pl.DataFrame) -> pl.DataFrame:
    """The primary links (id, source_id) of golden records in one system's stream."""
    table = temporary(conn, "link_ids", {"canonical_id": "text"}, canonical_ids.select("canonical_id").unique())
    return read_frame(
        conn,
        f"select c.canonical_id, c.source_id from {table} a join ops.crosswalk c using (canonical_id)"
        f" where c.entity = {literal(entity)} and c.system = {literal(system)} and c.stream = {literal(stream)}"
        " and c.is_primary and c.ended_at is null",
        {"id": pl.String, "source_id": pl.String},
    )


def all_links(conn: Connection, canonical_id: str) -> list[dict[str, object]]:
    """Every link a golden record has or had, oldest first."""
    found = conn.execute(
        text("select * from ops.crosswalk where canonical_id = :id order by id"), {"id": canonical_id}
    ).mappings()
    return [dict(r) for r in found]


def resolve_tokens(conn: Connection, tokens: Sequence[str], entity: str, unique_columns: Sequence[str]) -> pl.DataFrame:
    """Reference tokens (`canonical.model.Token`) to canonical ids of `entity`: frame (token, canonical_id).

    Tokens that do not resolve yet are left out. `unique_columns` are the columns that a value token may name."""
    parsed = [(t, *map(str, orjson.loads(t))) for t in dict.fromkeys(tokens)]
    by_link = [p for p in parsed if p[1] == "link"]
    by_value = [p for p in parsed if p[1] == "value"]
    found: list[pl.DataFrame] = []
    schema = {"token": pl.String, "canonical_id": pl.String}
    if by_link:
        frame = pl.DataFrame(
            [(t, system, stream, source) for t, _, system, stream, source in by_link],
            schema={"token": pl.String, "system": pl.String, "stream": pl.String, "source_id": pl.String},
            orient="row",
        )
        table = temporary(conn, "tokens", dict.fromkeys(frame.columns, "text"), frame)
        sql = (
            f"select t.token, c.canonical_id from {table} t join ops.crosswalk c on c.entity = {literal(entity)}"
            " and c.system = t.system and c.stream = t.stream and c.source_id = t.source_id and c.ended_at is null"
        )
        found.append(read_frame(conn, sql, schema))
    for column in unique_columns:
        values = [(t, value) for t, _, name, value, *_ in by_value if name == column]
        if not values:
            continue
        frame = pl.DataFrame(values, schema={"token": pl.String, "value": pl.String}, orient="row")
        table = temporary(conn, "value_tokens", {"token": "text", "value": "text"}, frame)
        # a value that several golden records hold resolves to none of them
        sql = (
            f"select t.token, min(g.id) from {table} t join {ident('golden', entity)} g"
            f" on g.{ident(column)}::text = t.value group by t.token having count(*) = 1"
        )
        found.append(read_frame(conn, sql, schema))
    return pl.concat(found).unique("token") if found else pl.DataFrame(schema=schema)
