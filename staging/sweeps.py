"""Sweeps: complete readings of a stream, and which records they did not show (RELIABILITY P13)."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
from sqlalchemy import Connection, text

from staging.frames import literal, read_frame


def live_ids(conn: Connection, system: str, stream: str) -> pl.Series:
    """The ids of the stream's live records."""
    found = read_frame(
        conn,
        "select source_id, deleted from landing.record"
        f" where system = {literal(system)} and stream = {literal(stream)} and not deleted",
        {"source_id": pl.String, "deleted": pl.Boolean},
    )
    return found["source_id"]


def live_count(conn: Connection, system: str, stream: str) -> int:
    """How many live records of the stream are landed."""
    found = conn.execute(
        text("select count(*) from landing.record where system = :system and stream = :stream and not deleted"),
        {"system": system, "stream": stream},
    )
    return int(found.scalar_one())


def sweep_is_due(conn: Connection, system: str, stream: str, days: int) -> bool:
    """Whether a stream's last complete sweep is older than `days` (or there was none), by the database's clock."""
    found = conn.execute(
        text(
            "select last_sweep_at > now() - make_interval(days => :days) and not exists (select from landing.record r"
            " where r.system = c.system and r.stream = c.stream and r.missed_by is not null) from landing.cursor c"
            " where system = :system and stream = :stream"
        ),
        {"system": system, "stream": stream, "days": days},
    )
    return not found.scalar_one_or_none()


def is_swept(conn: Connection, system: str, stream: str) -> bool:
    """Whether the stream was ever read completely."""
    found = conn.execute(
        text("select last_sweep_at is not null from landing.cursor where system = :system and stream = :stream"),
        {"system": system, "stream": stream},
    )
    return bool(found.scalar_one_or_none())


def read_seconds_ago(conn: Connection, system: str, stream: str) -> float | None:
    """How long ago a reading of the stream came to its end; None: none ever did."""
    found = conn.execute(
        text(
            "select extract(epoch from clock_timestamp() - max(ended_at))::float8 from landing.extract_run"
            " where system = :system and stream = :stream and state = 'complete' and mode in ('full', 'incremental')"
        ),
        {"system": system, "stream": stream},
    ).scalar_one()
    return None if found is None else float(found)


def sweep_again(conn: Connection, system: str, stream: str) -> None:
    """Lets the next reading be a complete sweep."""
    conn.execute(
        text(
            "update landing.cursor set last_sweep_at = least(last_sweep_at, 'epoch') where system = :s and stream = :t"
        ),
        {"s": system, "t": stream},
    )


def become_sweep(conn: Connection, run: int) -> None:
    """A reading that began at a cursor reads everything after all."""
    conn.execute(text("update landing.extract_run set mode = 'full' where id = :run"), {"run": run})


def missed_again(conn: Connection, run: int, system: str, stream: str, missing: Sequence[str]) -> list[str]:
    """Notes what a complete sweep did not show, and what it did show after all; gives those that the sweep before did
    not show either."""
    place = {"run": run, "system": system, "stream": stream, "missing": list(missing)}
    met_after_all(conn, system, stream, None, besides=missing)
    if not missing:
        return []
    again = conn.execute(
        text(
            "select source_id from landing.record where system = :system and stream = :stream"
            " and missed_by is not null and missed_by <> :run and source_id = any(:missing) order by source_id"
        ),
        place,
    ).scalars()
    found = [str(i) for i in again]
    conn.execute(
        text(
            "update landing.record set missed_by = :run where system = :system and stream = :stream"
            " and missed_by is null and source_id = any(:missing)"
        ),
        place,
    )
    return found


def met_after_all(
    conn: Connection, system: str, stream: str, ids: Sequence[str] | None, *, besides: Sequence[str] = ()
) -> None:
    """Takes back that these records (None: all but `besides`) were not shown."""
    conn.execute(
        text(
            "update landing.record set missed_by = null where system = :system and stream = :stream"
            " and missed_by is not null and (cast(:ids as text[]) is null or source_id = any(:ids))"
            " and source_id <> all(:besides)"
        ),
        {"system": system, "stream": stream, "ids": None if ids is None else list(ids), "besides": list(besides)},
    )
