"""The staging area: the last good version of every source record as canonical columns, and the batch beside it.

A batch's candidates stand in `staging.<entity>_candidate` (unlogged: they can always be made again from what is
landed) until the gate has judged them; `merge` then moves what passed (DESIGN 9.3).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl
import sqlalchemy as sa
from sqlalchemy import Connection, text

from canonical.model import Entity
from staging.frames import as_text, ident, learn, literal, read_frame, temporary, write_frame

KEY = ("system", "stream", "source_id")


def candidate_table(entity: Entity) -> str:
    """The quoted name of the entity's candidate table."""
    return ident("staging", f"{entity.name}_candidate")


def staged_table(entity: Entity) -> str:
    """The quoted name of the entity's staging table."""
    return ident("staging", entity.name)


def write_candidates(conn: Connection, entity: Entity, frame: pl.DataFrame) -> int:
    """Stores a batch's candidates: key, leaf columns, absent, raw_id, value_hash, native, problems, batch_id, _row."""
    return write_frame(conn, candidate_table(entity), frame)


def count_candidates(conn: Connection, entity: Entity, batch_id: int) -> int:
    """How many candidates of a batch there are."""
    sql = f"select count(*) from {candidate_table(entity)} where batch_id = :batch"
    return int(conn.execute(text(sql), {"batch": batch_id}).scalar_one())


def drop_candidates(conn: Connection, entity: Entity, batch_id: int) -> None:
    """Removes a batch's candidates."""
    conn.execute(text(f"delete from {candidate_table(entity)} where batch_id = :batch"), {"batch": batch_id})


def mark_failed(conn: Connection, entity: Entity, batch_id: int, failing: sa.TextualSelect) -> int:
    """Marks the candidates whose key the query `failing` lists; gives how many were marked for the first time."""
    rows = failing.subquery("f")
    names = ("batch_id", "failed", *KEY)
    candidate = sa.table(f"{entity.name}_candidate", *(sa.column(c) for c in names), schema="staging")
    statement = (
        sa.update(candidate)
        .values(failed=True)
        .where(candidate.c.batch_id == batch_id, ~candidate.c.failed, *(candidate.c[k] == rows.c[k] for k in KEY))
    )
    return int(conn.execute(statement).rowcount)


def failed_ids(conn: Connection, entity: Entity, batch_id: int) -> set[str]:
    """Source ids of a batch's candidates that did not pass."""
    sql = f"select source_id from {candidate_table(entity)} where batch_id = :batch and failed"
    return set(conn.execute(text(sql), {"batch": batch_id}).scalars())


def merge(conn: Connection, entity: Entity, batch_id: int) -> int:
    """Moves what passed into the staging area; gives how many rows. No opinion keeps the last good value (9.5)."""
    columns = [ident(c) for c in entity.columns]
    kept = ", ".join(
        f"{q} = case when {literal(c)} = any(excluded.absent) then s.{q} else excluded.{q} end"
        for c, q in zip(entity.columns, columns, strict=True)
    )
    listed = ", ".join(["system", "stream", "source_id", *columns])
    carried = "absent, raw_id, value_hash, native, declared, batch_id, changed_at"
    found = conn.execute(
        text(
            f"insert into {staged_table(entity)} as s ({listed}, {carried}, state, staged_at)"
            f" select {listed}, {carried}, 'dirty', now() from {candidate_table(entity)}"
            " where batch_id = :batch and not failed"
            f" on conflict (system, stream, source_id) do update set {kept},"
            " absent = array(select unnest(excluded.absent) intersect select unnest(s.absent)),"
            " raw_id = excluded.raw_id, native = excluded.native, declared = excluded.declared,"
            " batch_id = excluded.batch_id, changed_at = excluded.changed_at, staged_at = now(), deleted = false,"
            " state = case when s.value_hash is distinct from excluded.value_hash or s.deleted"
            " or s.declared is distinct from excluded.declared then 'dirty' else s.state end,"
            " value_hash = excluded.value_hash"
        ),
        {"batch": batch_id},
    )
    learn(conn, staged_table(entity), int(found.rowcount))
    return int(found.rowcount)


def rewritten(conn: Connection, entity: Entity, batch_id: int) -> tuple[int, int]:
    """How many of a batch's records say something else than before although nothing was read anew (a value that is
    only added is no contradiction), and of how many that are read by other declarations than before."""
    differs = " or ".join(
        f"(s.{q} is not null and s.{q}::text is distinct from c.{q}::text and {literal(name)} <> all (c.absent))"
        for name, q in ((name, ident(name)) for name in entity.columns)
    )
    found = conn.execute(
        text(
            f"select count(*) filter (where {differs}), count(*) from {candidate_table(entity)} c"
            f" join {staged_table(entity)} s using (system, stream, source_id) where c.batch_id = :batch"
            " and s.raw_id = c.raw_id and s.declared is distinct from c.declared and not s.deleted"
        ),
        {"batch": batch_id},
    ).one()
    return int(found[0]), int(found[1])


def bury(conn: Connection, entity: Entity, system: str, stream: str, ids: Sequence[str], batch_id: int) -> int:
    """Marks staged records as gone at their source; gives how many were alive."""
    found = conn.execute(
        text(
            f"update {staged_table(entity)} set deleted = true, state = 'dirty', batch_id = :batch, staged_at = now()"
            " where system = :system and stream = :stream and source_id = any(:ids) and not deleted"
        ),
        {"system": system, "stream": stream, "ids": list(ids), "batch": batch_id},
    )
    return int(found.rowcount)


def _columns(entity: Entity, alias: str) -> list[str]:
    return [f"{as_text(f'{alias}.{ident(leaf.column)}', leaf.kind)}" for leaf in entity.leaves]


def _schema(entity: Entity) -> dict[str, Any]:
    return {leaf.column: pl.String for leaf in entity.leaves}


STAGED: dict[str, Any] = {
    "system": pl.String, "stream": pl.String, "source_id": pl.String, "canonical_id": pl.String,
    "is_primary": pl.Boolean, "state": pl.String, "deleted": pl.Boolean, "unresolved": pl.Boolean,
    "changed_at": pl.String, "absent": pl.List(pl.String), "batch_id": pl.Int64,
}  # fmt: skip
_STAGED_SQL = (
    "s.system, s.stream, s.source_id, c.canonical_id, c.is_primary, s.state, s.deleted, s.unresolved, s.changed_at,"
    " array_to_json(s.absent)::text, s.batch_id"
)


def dirty(conn: Connection, entity: Entity, ranks: Sequence[str], limit: int, only: str = "true") -> pl.DataFrame:
    """Up to `limit` staged records that wait for resolve, systems in the order of `ranks` (system of record first).

    Besides the dirty ones: those with references that did not resolve, as long as there are dirty ones. `only`: SQL of
    what is to be resolved now of the records `s`."""
    known = f"array[{', '.join(map(literal, ranks))}]::text[]"
    # an arm for each system: each is read in the order of the index of what is dirty, and no further than the limit
    arms = [f"s.system = {literal(r)}" for r in ranks] + [f"s.system <> all ({known})"]
    keys = " union all ".join(
        f"(select {n} as arm, s.system, s.stream, s.source_id from {staged_table(entity)} s where s.state = 'dirty'"
        f" and {arm} and {only} order by s.system, s.stream, s.source_id limit {limit})"
        for n, arm in enumerate(arms)
    )
    query = (
        f"select k.arm, {_STAGED_SQL}, {', '.join(_columns(entity, 's'))}"
        f" from (select * from ({keys}) a order by arm limit {limit}) k"
        f" join {staged_table(entity)} s using (system, stream, source_id)"
        f" left join ops.crosswalk c on c.entity = {literal(entity.name)} and c.system = s.system"
        " and c.stream = s.stream and c.source_id = s.source_id and c.ended_at is null"
    )
    found = read_frame(conn, query, {"arm": pl.Int64, **STAGED, **_schema(entity)})
    return found.sort("arm", "system", "stream", "source_id").drop("arm")


def linked(conn: Connection, entity: Entity, canonical_ids: pl.DataFrame) -> pl.DataFrame:
    """Every staged record linked to one of `canonical_ids.canonical_id`, primary or not."""
    table = temporary(conn, "asked_ids", {"canonical_id": "text"}, canonical_ids.select("canonical_id").unique())
    query = (
        f"select {_STAGED_SQL}, {', '.join(_columns(entity, 's'))} from {table} a"
        " join ops.crosswalk c on c.canonical_id = a.canonical_id and c.ended_at is null"
        f" and c.entity = {literal(entity.name)} join {staged_table(entity)} s"
        " on s.system = c.system and s.stream = c.stream and s.source_id = c.source_id"
    )
    return read_frame(conn, query, {**STAGED, **_schema(entity)})


def sharing(conn: Connection, entity: Entity, identifiers: pl.DataFrame) -> pl.DataFrame:
    """Linked staged records that hold one of the values of `identifiers` (kind = leaf column, value). One that is gone
    counts where no live one holds the value: what is typed again is what it was before (RELIABILITY P14)."""
    kinds = [k for k in identifiers["kind"].unique().to_list() if k in entity.columns]
    if not kinds:
        return pl.DataFrame(schema={**STAGED, **_schema(entity)})
    table = temporary(
        conn, "asked_values", {"kind": "text", "value": "text"}, identifiers.select("kind", "value").unique()
    )
    linked = (
        f"select from ops.crosswalk x where x.entity = {literal(entity.name)} and x.system = l.system"
        " and x.stream = l.stream and x.source_id = l.source_id and x.ended_at is null"
    )
    # one arm a column, so that each uses that column's index
    keys = " union ".join(
        f"select s.system, s.stream, s.source_id from {table} v join {staged_table(entity)} s"
        f" on v.kind = {literal(k)} and s.{ident(k)} = v.value where not s.deleted or not exists"
        f" (select from {staged_table(entity)} l where l.{ident(k)} = v.value and not l.deleted and exists ({linked}))"
        for k in kinds
    )
    return _known(conn, entity, keys, is_gone_too=True)


def in_blocks(conn: Connection, entity: Entity, blocks: pl.DataFrame) -> pl.DataFrame:
    """Linked staged records that share one of `blocks.block`."""
    if blocks.is_empty():
        return pl.DataFrame(schema={**STAGED, **_schema(entity)})
    table = temporary(conn, "asked_blocks", {"block": "text"}, blocks.select("block").unique())
    keys = (
        f"select distinct k.system, k.stream, k.source_id from {table} b join ops.match_key k"
        f" on k.entity = {literal(entity.name)} and k.block = b.block"
    )
    return _known(conn, entity, keys)


def _known(conn: Connection, entity: Entity, keys: str, *, is_gone_too: bool = False) -> pl.DataFrame:
    query = (
        f"select {_STAGED_SQL}, {', '.join(_columns(entity, 's'))} from ({keys}) k join {staged_table(entity)} s"
        " using (system, stream, source_id) join ops.crosswalk c on c.entity = "
        f"{literal(entity.name)} and c.system = s.system and c.stream = s.stream and c.source_id = s.source_id"
        " and c.ended_at is null" + ("" if is_gone_too else " where not s.deleted")
    )
    return read_frame(conn, query, {**STAGED, **_schema(entity)})


def one(conn: Connection, entity: Entity, system: str, stream: str, source_id: str) -> pl.DataFrame:
    """The staged record of that key, as a frame of one row or none."""
    key = f"select {literal(system)} as system, {literal(stream)} as stream, {literal(source_id)} as source_id"
    query = (
        f"select {_STAGED_SQL}, {', '.join(_columns(entity, 's'))} from ({key}) k join {staged_table(entity)} s"
        f" using (system, stream, source_id) left join ops.crosswalk c on c.entity = {literal(entity.name)}"
        " and c.system = s.system and c.stream = s.stream and c.source_id = s.source_id and c.ended_at is null"
    )
    return read_frame(conn, query, {**STAGED, **_schema(entity)})


def replace_match_keys(conn: Connection, entity: Entity, records: pl.DataFrame, blocks: pl.DataFrame) -> None:
    """Writes the blocking keys (`blocks`: key columns + block) of `records` anew."""
    table = temporary(conn, "keyed", dict.fromkeys(KEY, "text"), records.select(KEY))
    conn.execute(
        text(
            f"delete from ops.match_key m using {table} k where m.entity = :entity and m.system = k.system"
            " and m.stream = k.stream and m.source_id = k.source_id"
        ),
        {"entity": entity.name},
    )
    rows = blocks.select(pl.lit(entity.name).alias("entity"), "block", *KEY)
    learn(conn, ident("ops", "match_key"), write_frame(conn, ident("ops", "match_key"), rows))


def settle(conn: Connection, entity: Entity, done: pl.DataFrame) -> None:
    """Moves records on after resolve: `done` has the key, `state`, `unresolved` and the `batch_id` that was resolved.

    A version that another sync staged meanwhile stays dirty."""
    columns = {**dict.fromkeys(KEY, "text"), "state": "text", "unresolved": "boolean", "batch_id": "bigint"}
    table = temporary(conn, "settled", columns, done)
    conn.execute(
        text(
            f"update {staged_table(entity)} s set state = d.state, unresolved = d.unresolved from {table} d"
            " where s.system = d.system and s.stream = d.stream and s.source_id = d.source_id"
            " and s.batch_id is not distinct from d.batch_id"
        )
    )


def wake_unresolved(conn: Connection, entity: Entity) -> int:
    """Puts records with references that did not resolve back to work; gives how many."""
    found = conn.execute(
        text(f"update {staged_table(entity)} set state = 'dirty' where unresolved and state = 'resolved'")
    )
    return int(found.rowcount)


def natives(conn: Connection, entity: Entity, system: str, stream: str, canonical_ids: pl.DataFrame) -> pl.DataFrame:
    """What the target (system, stream) holds for these golden records, as last read: native JSON and its own
    canonical columns, with the link's source id, when that reading began and when the shadow was confirmed (9.10)."""
    table = temporary(conn, "native_ids", {"canonical_id": "text"}, canonical_ids.select("canonical_id").unique())
    columns = [f"{as_text(f's.{ident(leaf.column)}', leaf.kind)}" for leaf in entity.leaves]
    query = (
        "select c.canonical_id, c.source_id, s.native::text, coalesce(s.deleted, false),"
        f" {as_text('e.started_at', 'datetime')}, {as_text('h.confirmed_at', 'datetime')},"
        " array_to_json(s.absent)::text,"
        f" {', '.join(columns)} from {table} a join ops.crosswalk c on c.canonical_id = a.canonical_id"
        f" and c.entity = {literal(entity.name)} and c.system = {literal(system)} and c.stream = {literal(stream)}"
        f" and c.ended_at is null and c.is_primary left join {staged_table(entity)} s on s.system = c.system"
        " and s.stream = c.stream and s.source_id = c.source_id left join ops.shadow h on h.entity = c.entity"
        " and h.system = c.system and h.stream = c.stream and h.canonical_id = c.canonical_id"
        " left join landing.raw_record v on v.id = s.raw_id left join landing.extract_run e on e.id = v.extract_run_id"
    )
    schema: dict[str, Any] = {
        "id": pl.String, "source_id": pl.String, "native": pl.String, "gone": pl.Boolean, "read_at": pl.String,
        "confirmed_at": pl.String, "absent": pl.List(pl.String),
    }  # fmt: skip
    return read_frame(conn, query, {**schema, **_schema(entity)})
