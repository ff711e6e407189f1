"""Delivery's side of the outbox: what is due is claimed, sent by the task, and settled; nothing here sends.

How states move stands in `staging.outbox`. A worker settles only rows that it still holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
from sqlalchemy import Connection, text

from staging.dirty import NOTED_ANEW
from staging.frames import ident, temporary, write_frame
from staging.holds import IS_GOOD
from staging.outbox import OPEN
from staging.pauses import RESTS

_SENT = (
    "o.id, o.plan_id, o.integration, o.entity, o.canonical_id, o.version, o.system, o.stream, o.op, o.source_id,"
    " o.payload::text as payload, o.asked::text as asked, o.fields, o.key, o.attempts, o.claimed_by, o.state,"
    " o.request, coalesce(extract(epoch from clock_timestamp() - o.sent_at), 0)::float8 as key_age_seconds"
)


_MAY_GO = f"(o.hold_id is null or {IS_GOOD})"
"""What was held goes only while its approval is good (RELIABILITY P23)."""
_FRESH_KEY = (
    "case when o.op = 'create' and o.attempts = 0 then left(o.key, 48) || coalesce((select '.' || count(*) from"
    " ops.outbox r where r.canonical_id = o.canonical_id and r.entity = o.entity and r.system = o.system"
    " and r.stream = o.stream and r.op = 'create' and r.state = 'rejected' having count(*) > 0), '') else o.key end"
)
"""A create's key has no version (DESIGN 9.11). But a target that refused one remembers it with its body, and would
answer the same to the next: what follows a refusal goes out under a key of its own. No two of them can both be done."""


_ONLY = "(cast(:only as bigint[]) is null or o.id = any(:only))"


def _listed(only: Sequence[int] | None) -> list[int] | None:
    return None if only is None else list(only)


def due_lanes(
    conn: Connection, systems: Sequence[str], integrations: Sequence[str], only: Sequence[int] | None = None
) -> list[tuple[str, str, str, str]]:
    """(system, stream, entity, op) with something ready and due (`only`: among these writes), creates before updates
    before archives."""
    found = conn.execute(
        text(
            "select system, stream, entity, op from ops.outbox o where state = 'ready' and due_at <= now()"
            " and system = any(:systems) and integration = any(:names)"
            f" and {_ONLY} and not {RESTS} and {_MAY_GO}"
            " group by 1, 2, 3, 4 order by 1, array_position(array['create', 'update', 'archive', 'delete'], op), 2, 3"
        ),
        {"systems": list(systems), "names": list(integrations), "only": _listed(only)},
    )
    return [(r.system, r.stream, r.entity, r.op) for r in found]


def resting_lanes(
    conn: Connection, systems: Sequence[str], integrations: Sequence[str]
) -> dict[tuple[str, str, str, str], str]:
    """(system, stream, entity, op) with something ready, due or not, that is left alone for now → why. Left alone is a
    system, or one lane of it (`staging.health`)."""
    found = conn.execute(
        text(
            "select distinct o.system, o.stream, o.entity, o.op, b.reason from ops.breaker b join ops.outbox o"
            " on b.system in (o.system, o.system || '/' || o.stream || ' ' || o.op || ' ' || o.entity)"
            " where b.state <> 'closed' and o.state = 'ready' and o.system = any(:systems)"
            f" and o.integration = any(:names) and not {RESTS}"
        ),
        {"systems": list(systems), "names": list(integrations)},
    )
    return {(r.system, r.stream, r.entity, r.op): r.reason or "it was in trouble lately" for r in found}


def claim(
    conn: Connection,
    lane: tuple[str, str, str, str],
    integrations: Sequence[str],
    *,
    worker: str,
    limit: int,
    lease_seconds: float,
    only: Sequence[int] | None = None,
) -> list[dict[str, Any]]:
    """Takes up to `limit` ready writes of a lane for `worker`, none whose record has one in flight, oldest first."""
    system, stream, entity, op = lane
    found = conn.execute(
        text(
            "with due as (select id from ops.outbox o where state = 'ready' and due_at <= now() and system = :system"
            " and stream = :stream and entity = :entity and op = :op and integration = any(:names) and not exists"
            " (select from ops.outbox f where f.system = o.system and f.stream = o.stream and f.entity = o.entity"
            " and f.canonical_id = o.canonical_id and f.state in ('inflight', 'unknown'))"
            # a scalar subquery is asked row by row in the order of ids, and no further than the limit; as `not exists`
            # it became a join of everything that is ready with itself, for every batch
            " and o.id = (select min(e.id) from ops.outbox e where e.canonical_id = o.canonical_id"
            " and e.system = o.system and e.stream = o.stream and e.entity = o.entity and e.state = 'ready')"
            f" and {_ONLY} and not {RESTS} and {_MAY_GO}"
            " order by id for update skip locked limit :limit)"
            " update ops.outbox o set state = 'inflight', claimed_by = :worker, attempts = attempts + 1,"
            f" key = {_FRESH_KEY},"
            " lease_until = clock_timestamp() + make_interval(secs => :lease) from due where o.id = due.id"
            f" returning {_SENT}"
        ),
        {
            "system": system,
            "stream": stream,
            "entity": entity,
            "op": op,
            "names": list(integrations),
            "limit": limit,
            "worker": worker,
            "lease": lease_seconds,
            "only": _listed(only),
        },
    ).mappings()
    return sorted((dict(r) for r in found), key=lambda r: int(r["id"]))


def note_attempts(conn: Connection, rows: pl.DataFrame) -> None:
    """Stores attempts: outbox_id, number, outcome, status, field, reason."""
    write_frame(conn, ident("ops", "attempt"), rows)


def settle(conn: Connection, rows: pl.DataFrame, *, worker: str) -> set[int]:
    """Moves claimed writes on: outbox_id, state, source_id, reason, wait_seconds, is_counted (whether it was a try).

    Only rows this worker still holds; gives their ids: what follows from an answer follows only for them (P7)."""
    columns = {
        "outbox_id": "bigint", "state": "text", "source_id": "text", "reason": "text", "wait_seconds": "float8",
        "is_counted": "boolean",
    }  # fmt: skip
    table = temporary(conn, "answers", columns, rows.select(list(columns)))
    found = conn.execute(
        text(
            "update ops.outbox o set state = a.state, source_id ="
            " case when a.state <> 'ready' or o.op <> 'create' then coalesce(a.source_id, o.source_id) end,"
            " reason = a.reason, request = case when a.state <> 'ready' then o.request end,"
            " lease_until = case when a.state = 'unknown' then o.lease_until end,"
            " attempts = o.attempts - case when a.is_counted then 0 else 1 end,"
            " due_at = case when a.state = 'ready' then now() + make_interval(secs => a.wait_seconds)"
            " else o.due_at end,"
            " settled_at = case when a.state in ('delivered', 'rejected', 'dead') then now() end"
            f" from {table} a where o.id = a.outbox_id and o.state in ('inflight', 'unknown')"
            " and o.claimed_by = :worker returning o.id"
        ),
        {"worker": worker},
    )
    return {int(i) for i in found.scalars()}


def sending(
    conn: Connection, outbox_ids: Sequence[int], *, worker: str, lease_seconds: float, request: str, is_again: bool
) -> set[int]:
    """Notes in which request claimed writes are sent now, and holds them for another lease; gives those that this
    worker still holds. `is_again`: the same request once more, which is a try of its own."""
    found = conn.execute(
        text(
            "update ops.outbox set lease_until = clock_timestamp() + make_interval(secs => :lease), request = :request,"
            " attempts = attempts + :more, sent_at = coalesce(sent_at, clock_timestamp())"
            " where id = any(:ids) and state in ('inflight', 'unknown') and claimed_by = :worker returning id"
        ),
        {"ids": list(outbox_ids), "worker": worker, "lease": lease_seconds, "request": request, "more": int(is_again)},
    )
    return {int(i) for i in found.scalars()}


def renew(conn: Connection, outbox_ids: Sequence[int], *, worker: str, lease_seconds: float) -> set[int]:
    """Holds claimed writes for another lease; gives those that this worker still holds."""
    found = conn.execute(
        text(
            "update ops.outbox set lease_until = clock_timestamp() + make_interval(secs => :lease)"
            " where id = any(:ids) and state in ('inflight', 'unknown') and claimed_by = :worker returning id"
        ),
        {"ids": list(outbox_ids), "worker": worker, "lease": lease_seconds},
    )
    return {int(i) for i in found.scalars()}


def overtaken_meanwhile(conn: Connection, entity: str, golden: str, outbox_ids: Sequence[int]) -> int:
    """Notes delivered writes whose golden record moved on meanwhile: what was sent may not be what should stand there.
    `golden` is the quoted golden table."""
    found = conn.execute(
        text(
            "insert into ops.dirty (entity, canonical_id, integration, system, stream)"
            " select distinct o.entity, o.canonical_id, o.integration, o.system, o.stream from ops.outbox o"
            f" join {golden} g on g.id = o.canonical_id and g.version > o.version"
            f" where o.id = any(:ids) and o.entity = :entity {NOTED_ANEW}"
        ),
        {"ids": list(outbox_ids), "entity": entity},
    )
    return int(found.rowcount)


def park(conn: Connection, outbox_ids: Sequence[int], reason: str, hold_id: int, *, worker: str) -> int:
    """Puts claimed writes behind a hold, with the reason; gives how many this worker still held."""
    found = conn.execute(
        text(
            "update ops.outbox set state = 'held', reason = :reason, hold_id = :hold, lease_until = null"
            " where id = any(:ids) and state in ('inflight', 'unknown') and claimed_by = :worker"
        ),
        {"ids": list(outbox_ids), "reason": reason, "hold": hold_id, "worker": worker},
    )
    return int(found.rowcount)


def again(conn: Connection, outbox_ids: Sequence[int], reason: str, *, worker: str) -> int:
    """Ends writes that this worker claimed and that turned out to concern a record that exists already; their pairs
    are planned again."""
    found = conn.execute(
        text(
            "with done as (update ops.outbox set state = 'superseded', settled_at = now(), reason = :reason,"
            " lease_until = null where id = any(:ids) and state in ('inflight', 'unknown') and claimed_by = :worker"
            " returning entity, canonical_id, integration, system, stream)"
            " insert into ops.dirty (entity, canonical_id, integration, system, stream) select distinct * from done"
            f" {NOTED_ANEW}"
        ),
        {"ids": list(outbox_ids), "reason": reason, "worker": worker},
    )
    return int(found.rowcount)


def overtake_creates(conn: Connection, outbox_ids: Sequence[int]) -> int:
    """After creates were delivered: later creates of the same records are void; their pairs are planned again."""
    found = conn.execute(
        text(
            "with late as (update ops.outbox l set state = 'superseded', settled_at = now(),"
            " reason = 'the record exists in the target meanwhile' from ops.outbox d where d.id = any(:ids)"
            " and l.id <> d.id and l.system = d.system and l.stream = d.stream and l.entity = d.entity"
            f" and l.canonical_id = d.canonical_id and l.op = 'create' and l.state in {OPEN}"
            " returning l.entity, l.canonical_id, l.integration, l.system, l.stream)"
            " insert into ops.dirty (entity, canonical_id, integration, system, stream) select distinct * from late"
            f" {NOTED_ANEW}"
        ),
        {"ids": list(outbox_ids)},
    )
    return int(found.rowcount)


def expired(conn: Connection) -> list[dict[str, Any]]:
    """Writes in flight or unknown whose lease is over or was never renewed: id, claimed_by, lease left (bool)."""
    found = conn.execute(
        text(
            f"select {_SENT}, (o.lease_until is null or o.lease_until < clock_timestamp()) as lease_is_over"
            " from ops.outbox o where o.state in ('inflight', 'unknown') order by o.id"
        )
    ).mappings()
    return [dict(r) for r in found]


def take_over(conn: Connection, rows: Sequence[Mapping[str, Any]], *, worker: str, lease_seconds: float) -> set[int]:
    """Makes `worker` the holder of writes whose holder is gone; they become `unknown` until looked up. Gives the ids of
    those that are still as `rows` say: of two who find them, one takes them over."""
    if not rows:
        return set()
    found = conn.execute(
        text(
            "update ops.outbox o set state = 'unknown', claimed_by = :worker,"
            " lease_until = clock_timestamp() + make_interval(secs => :lease)"
            " from unnest(cast(:ids as bigint[]), cast(:holders as text[])) as was(id, holder)"
            " where o.id = was.id and o.state in ('inflight', 'unknown')"
            " and o.claimed_by is not distinct from was.holder returning o.id"
        ),
        {
            "ids": [int(r["id"]) for r in rows],
            "holders": [r["claimed_by"] for r in rows],
            "worker": worker,
            "lease": lease_seconds,
        },
    )
    return {int(i) for i in found.scalars()}


def waiting(conn: Connection, systems: Sequence[str]) -> list[dict[str, Any]]:
    """Writes that wait for parents: id, system, refs, payload, asked, hash parts."""
    found = conn.execute(
        text(
            "select id, entity, canonical_id, system, stream, op, version, refs, payload::text as payload,"
            " asked::text as asked from ops.outbox where state = 'waiting' and system = any(:systems) order by id"
        ),
        {"systems": list(systems)},
    ).mappings()
    return [dict(r) for r in found]


def parent_links(conn: Connection, system: str, parents: pl.DataFrame) -> dict[tuple[str, str], str]:
    """(entity, canonical id) → the parent's own id in `system`, for those that are known there."""
    table = temporary(conn, "parents_asked", {"entity": "text", "canonical_id": "text"}, parents)
    found = conn.execute(
        text(
            "select distinct on (c.entity, c.canonical_id) c.entity, c.canonical_id, c.source_id from ops.crosswalk c"
            f" join {table} p using (entity, canonical_id) where c.system = :system and c.is_primary"
            " and c.ended_at is null order by c.entity, c.canonical_id, c.stream"
        ),
        {"system": system},
    )
    return {(r.entity, r.canonical_id): r.source_id for r in found}


def wake(conn: Connection, rows: pl.DataFrame) -> int:
    """Readies waiting writes whose parents are known now: outbox_id, payload, asked, key, write_hash."""
    columns = {"outbox_id": "bigint", "payload": "json", "asked": "json", "key": "text", "write_hash": "text"}
    table = temporary(conn, "woken", columns, rows.select(list(columns)))
    found = conn.execute(
        text(
            "update ops.outbox o set state = 'ready', refs = null, payload = w.payload, asked = w.asked, key = w.key,"
            f" write_hash = w.write_hash from {table} w where o.id = w.outbox_id and o.state = 'waiting'"
        )
    )
    return int(found.rowcount)
