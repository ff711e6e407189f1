"""Flips: fields that are written again and again, because somebody changes them again and again (RELIABILITY P16)."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
from sqlalchemy import Connection, text

from staging.frames import literal, read_frame, temporary

FLIPS = 3
"""More flips of one field in an hour than this are a war, and Concord leaves it."""
_PLACE = {"id": pl.String, "path": pl.String}


def often_written(conn: Connection, entity: str, system: str, stream: str, ids: pl.DataFrame) -> pl.DataFrame:
    """Fields (id, path) of these records (`ids.canonical_id`) that were told one and the same value more than `FLIPS`
    times within the last hour, and after a person's last word about it."""
    table = temporary(conn, "flipping", {"canonical_id": "text"}, ids.select("canonical_id").unique())
    place = f"= {literal(entity)} and o.system = {literal(system)} and o.stream = {literal(stream)}"
    return read_frame(
        conn,
        f"select o.canonical_id, f.path from {table} t join ops.outbox o on o.canonical_id = t.canonical_id"
        f" and o.entity {place} and o.op = 'update' and o.state = 'delivered'"
        " and o.settled_at > now() - interval '1 hour'"
        " cross join lateral unnest(o.fields) as f(path) where o.settled_at > coalesce((select max(w.closed_at)"
        " from ops.finding w where w.kind = 'edit_war' and w.state = 'accepted' and w.entity = o.entity"
        " and w.system = o.system and w.stream = o.stream and w.canonical_id = o.canonical_id and w.field = f.path),"
        f" '-infinity') group by o.canonical_id, f.path, o.asked ->> f.path having count(*) > {FLIPS}",
        _PLACE,
    ).unique()


def frozen(conn: Connection, entity: str, system: str, stream: str) -> pl.DataFrame:
    """Fields (id, path) that are left alone in a target until a person has said what is right."""
    return read_frame(
        conn,
        "select canonical_id, field from ops.finding where kind = 'edit_war' and state = 'open'"
        f" and entity = {literal(entity)} and system = {literal(system)} and stream = {literal(stream)}",
        _PLACE,
    )


def thaw(conn: Connection, entity: str, system: str, stream: str, agreed: Sequence[tuple[str, str]]) -> None:
    """Closes what agrees again: (canonical id, path)."""
    for canonical_id, path in agreed:
        conn.execute(
            text(
                "update ops.finding set state = 'corrected', closed_at = now(), closed_by = 'concord',"
                " closed_because = 'both agree again' where state = 'open' and kind = 'edit_war' and entity = :e"
                " and system = :s and stream = :t and canonical_id = :c and field = :f"
            ),
            {"e": entity, "s": system, "t": stream, "c": canonical_id, "f": path},
        )
