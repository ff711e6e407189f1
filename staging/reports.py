"""What people ask of our database: read-only, in the words of the commands. Nothing here changes a row.

Long questions are named queries in `staging/queries/*.sql`, each with a comment on its purpose.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, text

from staging import pauses as resting
from staging.outbox import CHANGES

Row = dict[str, Any]
_HERE = Path(__file__).parent / "queries"


@cache
def _query(name: str) -> str:
    return (_HERE / f"{name}.sql").read_text(encoding="utf-8")


def _rows(conn: Connection, sql: str, values: Mapping[str, Any] | None = None) -> list[Row]:
    return [dict(r) for r in conn.execute(text(sql), dict(values or {})).mappings()]


# ------------------------------------------------------------------------------------------------------------ status


def last_syncs(conn: Connection, integrations: Sequence[str]) -> dict[str, Row]:
    """Integration → its last sync (alone or as part of `all`), and when it last ended well."""
    found = _rows(conn, _query("last_syncs"), {"names": list(integrations)})
    return {str(r["integration"]): r for r in found}


def outbox_waits(conn: Connection) -> list[Row]:
    """Writes that are not settled: system, stream, state, count, oldest_seconds, reason (one of them)."""
    return _rows(
        conn,
        "select system, stream, state, count(*) as count,"
        " extract(epoch from now() - min(created_at))::bigint as oldest_seconds, min(reason) as reason from ops.outbox"
        " where state in ('planned', 'ready', 'waiting', 'held', 'inflight', 'unknown') group by 1, 2, 3"
        " order by 1, 2, 3",
    )


def open_queues(conn: Connection) -> list[Row]:
    """What waits for whom: queue, owner, count, oldest_seconds."""
    return _rows(conn, _query("open_queues"))


def pauses(conn: Connection) -> list[Row]:
    """What is paused: what, by, reason, at, until, and how much waits behind it."""
    held = resting.active(conn)
    behind = resting.waiting_behind(conn, [p.what for p in held])
    return [
        {"what": p.what, "by": p.by, "reason": p.reason, "at": p.at, "until": p.until, "waiting": behind[p.what]}
        for p in held
    ]


def incidents(conn: Connection) -> list[Row]:
    """Open incidents, the oldest first."""
    return _rows(
        conn,
        "select id, kind, integration, system, owner, cause, unaffected, next_step, times, opened_at, last_seen_at"
        " from ops.incident where state = 'open' order by opened_at",
    )


def longest_runs(conn: Connection, syncs: int = 50) -> dict[str, float]:
    """Integration → seconds of the longest of its last complete syncs."""
    found = _rows(
        conn,
        "select integration, max(seconds)::float8 as seconds from (select integration,"
        " extract(epoch from ended_at - started_at) as seconds, row_number() over (partition by integration"
        " order by id desc) as n from ops.sync where state = 'complete') s where n <= :syncs group by 1",
        {"syncs": syncs},
    )
    return {str(r["integration"]): float(r["seconds"]) for r in found}


# ----------------------------------------------------------------------------------------------------------- payloads


def payload(conn: Connection, raw_id: int) -> str | None:
    """A landed record's bytes, as text."""
    found: str | None = conn.execute(
        text("select payload from landing.raw_record where id = :id"), {"id": raw_id}
    ).scalar_one_or_none()
    return found


def sample_payloads(conn: Connection, system: str, stream: str, limit: int = 1_000) -> list[bytes]:
    """The latest landed versions of a stream's live records."""
    found = conn.execute(
        text(
            "select r.payload from landing.raw_record r where r.system = :system and r.stream = :stream"
            " and not r.deleted order by r.id desc limit :limit"
        ),
        {"system": system, "stream": stream, "limit": limit},
    )
    return [str(p).encode() for p in found.scalars()]


# ------------------------------------------------------------------------------------------------------- one record


def writes_of(conn: Connection, entity: str, canonical_id: str) -> list[Row]:
    """Every write that a golden record caused, in order."""
    return _rows(conn, _query("writes_of").replace("{changes}", CHANGES), {"entity": entity, "id": canonical_id})


def attempts_of(conn: Connection, outbox_ids: Sequence[int]) -> list[Row]:
    """Every try of these writes, in order."""
    return _rows(
        conn,
        "select outbox_id, number, outcome, status, field, reason, started_at, ended_at from ops.attempt"
        " where outbox_id = any(:ids) order by outbox_id, id",
        {"ids": list(outbox_ids)},
    )


def open_entries_of(conn: Connection, entity: str, canonical_id: str) -> list[Row]:
    """What waits for a person about a golden record and its source records: queue, id, opened_at, owner, what."""
    return _rows(conn, _query("open_entries_of"), {"entity": entity, "id": canonical_id})


def open_entries_of_record(conn: Connection, entity: str, system: str, stream: str, source_id: str) -> list[Row]:
    """The same for one source record, linked or not."""
    values = {"entity": entity, "system": system, "stream": stream, "source": source_id}
    return _rows(conn, _query("open_entries_of_record"), values)


# -------------------------------------------------------------------------------------------------- a sync under way


def now(conn: Connection) -> datetime:
    """The database's clock."""
    at: datetime = conn.execute(text("select clock_timestamp()")).scalar_one()
    return at


def readings_since(conn: Connection, since: datetime) -> list[Row]:
    """Streams read since then: id, system, stream, state, received."""
    return _rows(
        conn,
        "select id, system, stream, state, received from landing.extract_run where started_at >= :since order by id",
        {"since": since},
    )


def batches_since(conn: Connection, since: datetime) -> list[Row]:
    """Batches judged since then: id, entity, system, stream, state, passed, quarantined."""
    return _rows(
        conn,
        "select id, entity, system, stream, state, passed, quarantined from ops.batch"
        " where ended_at >= :since and state <> 'abandoned' order by id",
        {"since": since},
    )


def settled_since(conn: Connection, since: datetime) -> list[Row]:
    """Writes delivered since then, a row for each target and operation: system, stream, op, count."""
    return _rows(
        conn,
        "select system, stream, op, count(*) as count from ops.outbox"
        " where state = 'delivered' and settled_at >= :since group by 1, 2, 3 order by 1, 2, 3",
        {"since": since},
    )
