"""The backlog: what is landed and not yet staged. The next steps take it, whichever run landed it (DESIGN 9.1).

work                               the records themselves, each with its latest payload
rework, put_back, dirty_parents    put records back to work
set_state                          moves records on
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
from sqlalchemy import Connection, text

from staging.frames import literal, read_frame, temporary


def rework(conn: Connection, system: str, stream: str, declared: str) -> int:
    """Puts records back to `landed` that were staged under other declarations (DESIGN 9.2); gives how many."""
    found = conn.execute(
        text(
            "update landing.record set state = 'landed' where system = :system and stream = :stream"
            " and state <> 'landed' and declared is distinct from :declared"
        ),
        {"system": system, "stream": stream, "declared": declared},
    )
    return int(found.rowcount)


def put_back(conn: Connection, system: str, stream: str, ids: Sequence[str]) -> int:
    """Puts live records back to `landed`, to be mapped and judged anew; gives how many."""
    found = conn.execute(
        text(
            "update landing.record set state = 'landed' where system = :system and stream = :stream"
            " and source_id = any(:ids) and not deleted"
        ),
        {"system": system, "stream": stream, "ids": list(ids)},
    )
    return int(found.rowcount)


def dirty_parents(conn: Connection, system: str, child: str, parent: str, declared: str) -> None:
    """A child stream's landed rows put their parents back to work, and are done themselves (DESIGN 9.6)."""
    conn.execute(
        text(
            "with kids as (update landing.record set state = 'staged', declared = :declared where system = :system"
            " and stream = :child and state = 'landed' returning parent_id)"
            " update landing.record r set state = 'landed' from (select distinct parent_id from kids) k"
            " where r.system = :system and r.stream = :parent and r.source_id = k.parent_id"
        ),
        {"system": system, "child": child, "parent": parent, "declared": declared},
    )


def ignore_landed(conn: Connection, system: str, stream: str, declared: str) -> None:
    """A stream that makes nothing: its landed rows are kept and need no work."""
    conn.execute(
        text(
            "update landing.record set state = 'ignored', declared = :declared"
            " where system = :system and stream = :stream and state = 'landed'"
        ),
        {"system": system, "stream": stream, "declared": declared},
    )


WORK = {
    "source_id": pl.String, "raw_id": pl.Int64, "changed": pl.String, "deleted": pl.Boolean, "payload": pl.String,
}  # fmt: skip


def work(
    conn: Connection,
    system: str,
    stream: str,
    limit: int,
    after: str = "",
    only: Sequence[str] | None = None,
    parts: Sequence[str] = (),
) -> pl.DataFrame:
    """Up to `limit` landed records with their latest payload, by source id beyond `after` (of those in `only`).

    A record waits until each of the streams that hold its `parts` was read to its end after it was landed: half a
    record is told to nobody."""
    among = ""
    whole = "".join(
        " and r.landed_at <= (select max(e.started_at) from landing.extract_run e where e.state = 'complete'"
        f" and e.mode <> 'record' and e.system = {literal(system)} and e.stream = {literal(part)})"
        for part in parts
    )
    if only is not None:
        wanted = pl.DataFrame({"source_id": list(only)}, schema={"source_id": pl.String})
        table = temporary(conn, "wanted", {"source_id": "text"}, wanted.unique())
        among = f" join {table} w on w.source_id = r.source_id"
    return read_frame(
        conn,
        "select r.source_id, r.raw_id, v.changed, r.deleted, v.payload from landing.record r"
        f" join landing.raw_record v on v.id = r.raw_id{among}"
        f" where r.system = {literal(system)} and r.stream = {literal(stream)} and r.state = 'landed'"
        f" and r.source_id > {literal(after)}{whole} order by r.source_id limit {limit}",
        WORK,
    )


def children(conn: Connection, system: str, stream: str, parents: pl.DataFrame) -> pl.DataFrame:
    """Live child records (`parent_id`, `payload`) of the parents named by `parents.source_id`."""
    table = temporary(conn, "parents", {"source_id": "text"}, parents.select("source_id"))
    return read_frame(
        conn,
        f"select r.parent_id, v.payload from landing.record r join {table} p on p.source_id = r.parent_id"
        " join landing.raw_record v on v.id = r.raw_id"
        f" where r.system = {literal(system)} and r.stream = {literal(stream)} and not r.deleted"
        " order by r.parent_id, r.source_id",
        {"parent_id": pl.String, "payload": pl.String},
    )


def set_state(conn: Connection, system: str, stream: str, done: pl.DataFrame, declared: str) -> None:
    """Moves landed records on: `done` has source_id, raw_id, state. A version landed meanwhile stays landed."""
    table = temporary(conn, "done", {"source_id": "text", "raw_id": "bigint", "state": "text"}, done)
    conn.execute(
        text(
            f"update landing.record r set state = d.state, declared = :declared from {table} d"
            " where r.system = :system and r.stream = :stream and r.source_id = d.source_id and r.raw_id = d.raw_id"
        ),
        {"system": system, "stream": stream, "declared": declared},
    )
