"""Landing: every record version as it was read, what is new about it, and how far each stream was read.

land_page      compares a page with what is landed and stores only what differs
finish / fail  close a reading
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import polars as pl
from sqlalchemy import Connection, text

from staging import erasure
from staging.frames import ident, learn, literal, read_frame, temporary, write_frame
from staging.tables import raw_record, record

_RAW = ident("landing", raw_record.name)
_RECORD = ident("landing", record.name)


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of the records received: every one has exactly one of these homes."""

    received: int = 0
    new: int = 0
    changed: int = 0
    unchanged: int = 0
    deleted: int = 0
    repeated: int = 0
    refused: int = 0
    bytes: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


NOTHING = Counts()


@dataclass(frozen=True, slots=True)
class Landed:
    """What landing a page gave. `alike` are the positions of records refused because of their ids' case, `spelled` the
    known ids that they equal but for it."""

    counts: Counts
    alike: list[int]
    spelled: list[str]
    aside: dict[int, str] = field(default_factory=dict)
    """Position → why the examiner set it aside."""
    differs: list[int] = field(default_factory=list)
    """The positions that were stored."""


Examine = Callable[[Sequence[str], Sequence[bytes]], Mapping[int, str]]
"""Ids and payloads → the positions that are not to be landed, each with the reason."""


def begin(conn: Connection, *, sync_id: int | None, system: str, stream: str, mode: str, cursor: object) -> int:
    """Opens a reading of a stream; gives its id."""
    found = conn.execute(
        text(
            "insert into landing.extract_run (sync_id, system, stream, mode, state, cursor_before)"
            " values (:sync, :system, :stream, :mode, 'running', cast(:cursor as jsonb)) returning id"
        ),
        {"sync": sync_id, "system": system, "stream": stream, "mode": mode, "cursor": json.dumps(cursor)},
    )
    return int(found.scalar_one())


def cursor_of(conn: Connection, system: str, stream: str) -> Mapping[str, Any] | None:
    """How far the stream was read, or None when it never was read to its end."""
    return conn.execute(
        text("select value from landing.cursor where system = :system and stream = :stream"),
        {"system": system, "stream": stream},
    ).scalar_one_or_none()


def land_page(
    conn: Connection,
    run: int,
    *,
    system: str,
    stream: str,
    ids: Sequence[str],
    payloads: Sequence[bytes],
    hashes: Sequence[int],
    changed: Sequence[str | None],
    deleted: Sequence[bool],
    parents: Sequence[str] | None,
    refused: int,
    pages: int = 1,
    case_sensitive: bool = False,
    held: int | None = None,
    examine: Examine | None = None,
    besides: Counts = NOTHING,
) -> Landed:
    """Lands records (columns of equal length), all in the caller's transaction. `hashes` are 64-bit xxh3 of the bytes.

    A record that came twice: the same bytes are `repeated`; different bytes, the one with the later change mark (and,
    without marks, the later in the page) is kept and the other counted `repeated`. An unknown id that a known one
    equals but for its case is not landed, unless ids are `case_sensitive`. `held`: about how many records of the stream
    are landed already, where the caller knows. `examine` is shown the live records that differ from what is landed, and
    says which of them are set aside. `besides`: what came with these records and is known to be as it was."""
    if not ids and not refused:
        _add(conn, run, besides, pages)
        return Landed(besides, [], [])
    incoming = _incoming(ids, hashes, changed, deleted, parents)
    once = _once(incoming)
    compared = _compared(once, _known(conn, system, stream, once["source_id"], held))
    new = compared.filter(pl.col("verdict") == "new")["source_id"].to_list()
    others = {} if case_sensitive else _other_spellings(conn, system, stream, new)
    alike = incoming.filter(pl.col("source_id").is_in(list(others)))["row"].to_list()
    forgotten = erasure.known(conn, system, stream, ids)
    again = incoming.filter(pl.col("source_id").is_in(list(forgotten)) & ~pl.col("deleted"))["row"].to_list()
    compared = compared.filter(~pl.col("source_id").is_in(list(others)))
    compared = compared.filter(~pl.col("source_id").is_in(list(forgotten)) | pl.col("deleted"))
    differs = compared.filter(pl.col("verdict") != "unchanged")
    aside = _set_aside(examine, differs.filter(~pl.col("deleted")), payloads) if examine else {}
    aside |= dict.fromkeys(again, erasure.REASON)
    if aside:
        compared = compared.filter(~pl.col("row").is_in(list(aside)))
        differs = differs.filter(~pl.col("row").is_in(list(aside)))
    if differs.height:
        _store(conn, run, system, stream, differs, payloads)
    tally = dict(compared.group_by("verdict").len().iter_rows())
    counts = Counts(
        received=len(ids) + refused,
        new=tally.get("new", 0),
        changed=tally.get("changed", 0),
        unchanged=tally.get("unchanged", 0),
        deleted=tally.get("deleted", 0),
        repeated=incoming.height - len(alike) - len(aside) - compared.height,
        refused=refused + len(alike) + len(aside),
        bytes=sum(map(len, payloads)),
    )
    counts += besides
    _add(conn, run, counts, pages)
    return Landed(counts, alike, sorted(set(others.values())), aside, differs["row"].to_list())


def _incoming(
    ids: Sequence[str],
    hashes: Sequence[int],
    changed: Sequence[str | None],
    deleted: Sequence[bool],
    parents: Sequence[str] | None,
) -> pl.DataFrame:
    """What came, in the order it came: source_id, row, raw_hash, changed, deleted, parent_id."""
    return pl.DataFrame(
        {
            "source_id": list(ids),
            "row": pl.Series(range(len(ids)), dtype=pl.Int64),
            "raw_hash": pl.Series(list(hashes), dtype=pl.Int64),
            "changed": pl.Series(list(changed), dtype=pl.String),
            "deleted": pl.Series(list(deleted), dtype=pl.Boolean),
            "parent_id": pl.Series(list(parents) if parents else [None] * len(ids), dtype=pl.String),
        },
        schema_overrides={"source_id": pl.String},
    )


def _set_aside(examine: Examine, differs: pl.DataFrame, payloads: Sequence[bytes]) -> dict[int, str]:
    """The rows that the examiner sets aside, each with its reason."""
    if differs.is_empty():
        return {}
    rows = differs["row"].to_list()
    found = examine(differs["source_id"].to_list(), [payloads[row] for row in rows])
    return {rows[place]: reason for place, reason in found.items()}


def _once(incoming: pl.DataFrame) -> pl.DataFrame:
    """Each id once: of several versions the one with the latest change mark, else the last."""
    if incoming["source_id"].n_unique() == incoming.height:
        return incoming
    ordered = incoming.sort("changed", "row", nulls_last=False)
    return ordered.unique("source_id", keep="last", maintain_order=True).sort("row")


def _compared(once: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """What each record is, beside what is known of it: `verdict` new | changed | unchanged | deleted."""
    is_same = pl.col("raw_hash").eq_missing(pl.col("was_hash")) & (pl.col("deleted") == pl.col("was_deleted"))
    return once.join(known, on="source_id", how="left", maintain_order="left").with_columns(
        verdict=pl.when(pl.col("was_deleted").is_null())
        .then(pl.when("deleted").then(pl.lit("deleted")).otherwise(pl.lit("new")))
        .when(pl.col("deleted") & ~pl.col("was_deleted"))
        .then(pl.lit("deleted"))
        .when(is_same)
        .then(pl.lit("unchanged"))
        .otherwise(pl.lit("changed"))
    )


def _other_spellings(conn: Connection, system: str, stream: str, new: Sequence[str]) -> dict[str, str]:
    """Which of these unknown ids a known one equals but for its case: id → the known one. All lower, all upper and
    capitalised spellings are looked up, by the primary key."""
    if not (together := "".join(new)) or together.lower() == together.upper():
        return {}  # no id has a letter
    asked = {other: i for i in new for other in (i.lower(), i.upper(), i.capitalize()) if other != i}
    if not asked:
        return {}
    found = conn.execute(
        text("select source_id from landing.record where system = :s and stream = :t and source_id = any(:ids)"),
        {"s": system, "t": stream, "ids": list(asked)},
    )
    return {asked[known]: known for known in found.scalars()}


WHOLE_STREAM = 8
"""A stream of up to so many times the records at hand is read whole: a row read in passing costs a tenth of a probe."""


def _known(conn: Connection, system: str, stream: str, ids: pl.Series, held: int | None) -> pl.DataFrame:
    """What is landed of these ids (and perhaps of others): source_id, was_hash, was_deleted."""
    asked = ""
    if held is None or held > WHOLE_STREAM * len(ids):
        listed = ", ".join(map(literal, ids))
        asked = f" and source_id = any(array[{listed}]::text[])"
    return read_frame(
        conn,
        "select source_id, raw_hash, deleted from landing.record"
        f" where system = {literal(system)} and stream = {literal(stream)}{asked}",
        {"source_id": pl.String, "was_hash": pl.Int64, "was_deleted": pl.Boolean},
    )


def _store(
    conn: Connection, run: int, system: str, stream: str, differs: pl.DataFrame, payloads: Sequence[bytes]
) -> None:
    # streams are read at once: the numbers that one of them draws need not follow each other
    taken = conn.execute(
        text("select nextval(pg_get_serial_sequence('landing.raw_record', 'id')) from generate_series(1, :n)"),
        {"n": differs.height},
    ).scalars()
    rows = differs["row"].to_list()
    raw = differs.select(
        pl.Series("id", taken.all(), dtype=pl.Int64),
        pl.lit(run, pl.Int64).alias("extract_run_id"),
        pl.lit(system).alias("system"),
        pl.lit(stream).alias("stream"),
        "source_id",
        pl.Series("payload", [payloads[r].decode() for r in rows], dtype=pl.String),
        "raw_hash",
        "changed",
        "deleted",
    )
    write_frame(conn, _RAW, raw)
    heads = raw.select(
        "system", "stream", "source_id", pl.col("id").alias("raw_id"), "raw_hash", "deleted"
    ).with_columns(differs["parent_id"], pl.lit("landed").alias("state"))
    is_first = differs["was_deleted"].is_null()
    learn(conn, _RAW, raw.height)
    learn(conn, _RECORD, write_frame(conn, _RECORD, heads.filter(is_first)))
    changed = heads.filter(~is_first)
    if changed.height:
        columns = {
            "source_id": "text", "raw_id": "bigint", "raw_hash": "bigint", "deleted": "boolean", "parent_id": "text",
        }  # fmt: skip
        table = temporary(conn, "landed_again", columns, changed)
        # a child that moved leaves its old parent, which is put back to work (the new one is by its landed child)
        conn.execute(
            text(
                f"update landing.record p set state = 'landed' from {table} n join landing.record r"
                " on r.system = :system and r.stream = :stream and r.source_id = n.source_id"
                " where n.parent_id <> r.parent_id and p.system = :system and p.stream <> :stream"
                " and p.source_id = r.parent_id"
            ),
            {"system": system, "stream": stream},
        )
        conn.execute(
            text(
                f"update landing.record r set raw_id = n.raw_id, raw_hash = n.raw_hash, deleted = n.deleted,"
                f" parent_id = coalesce(n.parent_id, r.parent_id), missed_by = null, state = 'landed',"
                f" landed_at = now() from {table} n"
                " where r.system = :system and r.stream = :stream and r.source_id = n.source_id"
            ),
            {"system": system, "stream": stream},
        )


def _add(conn: Connection, run: int, counts: Counts, pages: int) -> None:
    sums = ", ".join(f"{f.name} = {f.name} + :{f.name}" for f in fields(Counts))
    values = {f.name: getattr(counts, f.name) for f in fields(Counts)}
    conn.execute(
        text(f"update landing.extract_run set {sums}, pages = pages + :pages where id = :run"),
        {**values, "pages": pages, "run": run},
    )


def store_cursor(conn: Connection, run: int, system: str, stream: str, value: Mapping[str, Any]) -> None:
    """Stores the cursor, in the transaction that landed its page (RELIABILITY P4)."""
    conn.execute(
        text(
            "insert into landing.cursor (system, stream, value, extract_run_id)"
            " values (:system, :stream, cast(:value as jsonb), :run) on conflict (system, stream)"
            " do update set value = excluded.value, extract_run_id = excluded.extract_run_id, updated_at = now()"
        ),
        {"system": system, "stream": stream, "value": json.dumps(dict(value)), "run": run},
    )


def blind_spot(conn: Connection, entity: str, system: str, stream: str) -> str | None:
    """Why it is not known what a stream holds of an entity, or None: it was never read to its end, or its last batch
    was stopped by validation and nothing of it was believed."""
    found = conn.execute(
        text(
            "select exists (select from landing.cursor where system = :system and stream = :stream"
            " and last_sweep_at is not null) as is_read, (select state = 'stopped' from ops.batch where"
            " entity = :entity and system = :system and stream = :stream and state in ('passed', 'split', 'stopped')"
            " order by id desc limit 1) as is_stopped"
        ),
        {"entity": entity, "system": system, "stream": stream},
    ).one()
    if not found.is_read:
        return "it was never read to its end"
    return "its last batch was stopped by validation" if found.is_stopped else None


def finish(conn: Connection, run: int, *, is_complete: bool) -> None:
    """Closes a reading that reached its end."""
    conn.execute(
        text(
            "update landing.extract_run e set state = 'complete', is_complete = :complete, ended_at = now(),"
            " cursor_after = (select value from landing.cursor c where c.system = e.system and c.stream = e.stream)"
            " where id = :run"
        ),
        {"run": run, "complete": is_complete},
    )
    if is_complete:
        conn.execute(
            text(
                "update landing.cursor c set last_sweep_at = now() from landing.extract_run e"
                " where e.id = :run and e.mode = 'full' and c.system = e.system and c.stream = e.stream"
            ),
            {"run": run},
        )


def fail(conn: Connection, run: int, error: str) -> None:
    """Closes a reading that did not reach its end; what it landed stays landed."""
    conn.execute(
        text(
            "update landing.extract_run set state = 'failed', ended_at = now(), error = :error"
            " where id = :run and state = 'running'"
        ),
        {"run": run, "error": error[:2000]},
    )


def abandon_running(conn: Connection, system: str, stream: str) -> None:
    """Marks readings that a dead process left running. Only for the holder of the stream's lock."""
    conn.execute(
        text(
            "update landing.extract_run set state = 'abandoned', ended_at = now()"
            " where system = :system and stream = :stream and state = 'running'"
        ),
        {"system": system, "stream": stream},
    )


def forget_hash(conn: Connection, system: str, stream: str, ids: Sequence[str]) -> None:
    """After our own write: whatever is read next of these records is compared anew (DESIGN 9.10)."""
    conn.execute(
        text(
            "update landing.record set raw_hash = null where system = :system and stream = :stream"
            " and source_id = any(:ids)"
        ),
        {"system": system, "stream": stream, "ids": list(ids)},
    )
