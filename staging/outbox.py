"""The outbox: writes to be done, from planned to settled. Its rows change state by the statements here and no others.

planned → ready | waiting | held      released as one set per (target, entity, operation) (DESIGN 9.4)
waiting → ready                        when its parents are known in the target
held    → ready | superseded           by a person, or a time
ready   → inflight                     claimed, and committed before anything is sent
inflight → delivered | rejected | ready (again) | unknown | dead
unknown → delivered | ready            looked up first; never a blind second create
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import polars as pl
from sqlalchemy import Connection, text

from staging.frames import ident, literal, read_frame, temporary, write_frame

_TABLE = ident("ops", "outbox")
OPEN = "('planned', 'ready', 'waiting', 'held')"


def enqueue(conn: Connection, rows: pl.DataFrame) -> int:
    """Stores planned writes; the frame's columns are the table's."""
    return write_frame(conn, _TABLE, rows.with_columns(pl.lit("planned").alias("state")))


def begin_plan(
    conn: Connection, *, sync_id: int | None, integration: str, entity: str, system: str, stream: str
) -> int:
    """Opens a plan, the frozen set of one integration's target in one sync; gives its id."""
    found = conn.execute(
        text(
            "insert into ops.plan (sync_id, integration, entity, system, stream)"
            " values (:sync, :integration, :entity, :system, :stream) returning id"
        ),
        {"sync": sync_id, "integration": integration, "entity": entity, "system": system, "stream": stream},
    )
    return int(found.scalar_one())


def add_to_plan(
    conn: Connection, plan_id: int, *, considered: int, unchanged: int, adopted: int, enqueued: int
) -> None:
    """Adds one chunk's counts to a plan."""
    conn.execute(
        text(
            "update ops.plan set considered = considered + :considered, unchanged = unchanged + :unchanged,"
            " adopted = adopted + :adopted, enqueued = enqueued + :enqueued where id = :id"
        ),
        {"id": plan_id, "considered": considered, "unchanged": unchanged, "adopted": adopted, "enqueued": enqueued},
    )


def open_writes(conn: Connection, entity: str, system: str, stream: str, ids: pl.DataFrame) -> pl.DataFrame:
    """Writes not yet settled for these golden records: canonical_id, outbox_id, state, op, write_hash."""
    table = temporary(conn, "open_for", {"canonical_id": "text"}, ids.select("canonical_id").unique())
    return read_frame(
        conn,
        f"select o.canonical_id, o.id, o.state, o.op, o.write_hash from {table} a join ops.outbox o using (canonical_id)"
        f" where o.entity = {literal(entity)} and o.system = {literal(system)} and o.stream = {literal(stream)}"
        " and o.state in ('planned', 'ready', 'waiting', 'held', 'inflight', 'unknown')",
        {
            "canonical_id": pl.String, "outbox_id": pl.Int64, "state": pl.String, "op": pl.String,
            "write_hash": pl.String,
        },
    )  # fmt: skip


def supersede(conn: Connection, outbox_ids: Sequence[int], reason: str) -> int:
    """Ends writes that were not sent and are overtaken."""
    found = conn.execute(
        text(
            "update ops.outbox set state = 'superseded', settled_at = now(), reason = :reason"
            f" where id = any(:ids) and state in {OPEN}"
        ),
        {"ids": list(outbox_ids), "reason": reason},
    )
    return int(found.rowcount)


def refused(conn: Connection, entity: str, system: str, stream: str, ids: pl.DataFrame) -> pl.DataFrame:
    """What a target refused of these golden records and nobody has dealt with: canonical_id, write_hash."""
    table = temporary(conn, "refused_for", {"canonical_id": "text"}, ids.select("canonical_id").unique())
    return read_frame(
        conn,
        f"select o.canonical_id, o.write_hash from {table} a join ops.outbox o using (canonical_id)"
        " join ops.dead_letter d on d.outbox_id = o.id and d.state = 'open'"
        f" where o.entity = {literal(entity)} and o.system = {literal(system)} and o.stream = {literal(stream)}"
        " and o.state = 'rejected'",
        {"canonical_id": pl.String, "write_hash": pl.String},
    ).unique()


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


@dataclass(frozen=True, slots=True)
class PlannedSet:
    """What is planned and not released of one (integration, target, entity, operation), with what the brake needs."""

    integration: str
    entity: str
    system: str
    stream: str
    op: str
    planned: int
    blanked: int
    released: int
    blanked_released: int
    linked: int
    money: tuple[Mapping[str, Any], ...]


def planned_sets(conn: Connection, integrations: Sequence[str]) -> list[PlannedSet]:
    """The sets that `release` decides on, counted with the last 24 hours' releases."""
    found = conn.execute(_PLANNED_SETS, {"names": list(integrations)}).mappings()
    return [
        PlannedSet(
            integration=r["integration"],
            entity=r["entity"],
            system=r["system"],
            stream=r["stream"],
            op=r["op"],
            planned=int(r["planned"]),
            blanked=int(r["blanked"]),
            released=int(r["released"]),
            blanked_released=int(r["blanked_released"]),
            linked=int(r["linked"]),
            money=tuple(r["money"]),
        )
        for r in found
    ]


# The first set of creates is the going live itself: nothing is linked by the integration yet (DESIGN 9.15). Writes that
# a person approved (they had a hold) do not count against the day.
_PLANNED_SETS = text(
    """
    with planned as (
        select integration, entity, system, stream, op, count(*) as planned, sum(blanked) as blanked,
               coalesce(json_agg(money) filter (where money is not null), '[]'::json) as money
        from ops.outbox where state = 'planned' and integration = any(:names) group by 1, 2, 3, 4, 5
    ), released as (
        select entity, system, stream, op, count(*) as released, sum(blanked) as blanked_released
        from ops.outbox
        where released_at > now() - interval '24 hours' and hold_id is null and state <> 'superseded'
        group by 1, 2, 3, 4
    ), live as (
        select distinct integration, system, stream from ops.outbox where released_at is not null
    ), shadows as (
        select entity, system, stream, count(*) as linked from ops.shadow group by 1, 2, 3
    )
    select p.*, coalesce(r.released, 0) as released, coalesce(r.blanked_released, 0) as blanked_released,
           case when p.op = 'create' and l.integration is null then 0 else coalesce(s.linked, 0) end as linked
    from planned p
    left join released r using (entity, system, stream, op)
    left join live l using (integration, system, stream)
    left join shadows s using (entity, system, stream)
    order by p.integration, p.system, p.stream, p.op
    """
)
_SET = "state = 'planned' and integration = :integration and entity = :entity and system = :system and stream = :stream and op = :op"  # noqa: E501


def release_set(conn: Connection, which: PlannedSet, hold_seconds: int) -> dict[str, int]:
    """Releases a set: `waiting` where a parent is not known in the target yet, else `ready`, due after its hold."""
    found = conn.execute(
        text(
            "update ops.outbox set state = case when refs is not null then 'waiting' else 'ready' end,"
            f" released_at = now(), due_at = now() + make_interval(secs => :hold) where {_SET} and reason is null"
            " returning state"
        ),
        {**_names(which), "hold": hold_seconds},
    )
    tally: dict[str, int] = {}
    for state in found.scalars():
        tally[state] = tally.get(state, 0) + 1
    return tally


def hold_set(conn: Connection, which: PlannedSet, hold_id: int, *, only_asking: bool) -> int:
    """Puts a set (or those of its writes that carry a reason to ask) behind a hold; gives how many."""
    found = conn.execute(
        text(
            f"update ops.outbox set state = 'held', hold_id = :hold where {_SET}"
            + (" and reason is not null" if only_asking else "")
        ),
        {**_names(which), "hold": hold_id},
    )
    return int(found.rowcount)


def _names(which: PlannedSet) -> dict[str, str]:
    return {
        "integration": which.integration,
        "entity": which.entity,
        "system": which.system,
        "stream": which.stream,
        "op": which.op,
    }


def asking_sets(conn: Connection, integrations: Sequence[str]) -> list[tuple[PlannedSet, int, str]]:
    """Planned sets in which writes carry a reason to ask a person: the set, how many of its writes, one reason."""
    found = conn.execute(
        text(
            "select integration, entity, system, stream, op, count(*) as n, min(reason) as why from ops.outbox"
            " where state = 'planned' and reason is not null and integration = any(:names) group by 1, 2, 3, 4, 5"
            " order by 1, 3, 4, 5"
        ),
        {"names": list(integrations)},
    )
    return [
        (PlannedSet(r.integration, r.entity, r.system, r.stream, r.op, r.n, 0, 0, 0, 0, ()), int(r.n), str(r.why))
        for r in found
    ]


# ---------------------------------------------------------------------------------------------------- delivery


def due_lanes(conn: Connection, systems: Sequence[str], integrations: Sequence[str]) -> list[tuple[str, str, str, str]]:
    """(system, stream, entity, op) with something ready and due, creates before updates before archives."""
    found = conn.execute(
        text(
            "select system, stream, entity, op from ops.outbox o where state = 'ready' and due_at <= now()"
            " and system = any(:systems) and integration = any(:names)"
            " and not exists (select from ops.pause p where p.what in ('system:' || o.system,"
            " 'integration:' || o.integration))"
            " group by 1, 2, 3, 4 order by 1, array_position(array['create', 'update', 'archive', 'delete'], op), 2, 3"
        ),
        {"systems": list(systems), "names": list(integrations)},
    )
    return [(r.system, r.stream, r.entity, r.op) for r in found]


_SENT = (
    "o.id, o.plan_id, o.integration, o.entity, o.canonical_id, o.version, o.system, o.stream, o.op, o.source_id,"
    " o.payload::text as payload, o.asked::text as asked, o.fields, o.key, o.attempts, o.claimed_by, o.state"
)


def claim(
    conn: Connection,
    lane: tuple[str, str, str, str],
    integrations: Sequence[str],
    *,
    worker: str,
    limit: int,
    lease_seconds: int,
) -> list[dict[str, Any]]:
    """Takes up to `limit` ready writes of a lane for `worker`, none whose record has one in flight, oldest first."""
    system, stream, entity, op = lane
    found = conn.execute(
        text(
            "with due as (select id from ops.outbox o where state = 'ready' and due_at <= now() and system = :system"
            " and stream = :stream and entity = :entity and op = :op and integration = any(:names) and not exists"
            " (select from ops.outbox f where f.system = o.system and f.stream = o.stream and f.entity = o.entity"
            " and f.canonical_id = o.canonical_id and f.state in ('inflight', 'unknown')) and not exists"
            " (select from ops.outbox e where e.system = o.system and e.stream = o.stream and e.entity = o.entity"
            " and e.canonical_id = o.canonical_id and e.state = 'ready' and e.id < o.id)"
            " and not exists (select from ops.pause p where p.what in ('system:' || o.system,"
            " 'integration:' || o.integration))"
            " order by id for update skip locked limit :limit)"
            " update ops.outbox o set state = 'inflight', claimed_by = :worker, attempts = attempts + 1,"
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
        },
    ).mappings()
    return sorted((dict(r) for r in found), key=lambda r: int(r["id"]))


def note_attempts(conn: Connection, rows: pl.DataFrame) -> None:
    """Stores attempts: outbox_id, number, outcome, status, field, reason."""
    write_frame(conn, ident("ops", "attempt"), rows)


def settle(conn: Connection, rows: pl.DataFrame, *, worker: str) -> int:
    """Moves claimed writes on: outbox_id, state, source_id, reason, wait_seconds. Only rows this worker still holds."""
    columns = {
        "outbox_id": "bigint", "state": "text", "source_id": "text", "reason": "text", "wait_seconds": "float8",
    }  # fmt: skip
    table = temporary(conn, "answers", columns, rows.select(list(columns)))
    found = conn.execute(
        text(
            "update ops.outbox o set state = a.state, source_id = coalesce(a.source_id, o.source_id),"
            " reason = a.reason, lease_until = null,"
            " attempts = o.attempts - case when a.state = 'ready' and a.reason = 'rate limited' then 1 else 0 end,"
            " due_at = case when a.state = 'ready' then now() + make_interval(secs => a.wait_seconds) else o.due_at end,"
            " settled_at = case when a.state in ('delivered', 'rejected', 'dead') then now() end"
            f" from {table} a where o.id = a.outbox_id and o.state in ('inflight', 'unknown') and o.claimed_by = :worker"
        ),
        {"worker": worker},
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


def take_over(conn: Connection, outbox_ids: Sequence[int], *, worker: str, lease_seconds: int) -> int:
    """Makes `worker` the holder of writes whose holder is gone; they become `unknown` until looked up."""
    found = conn.execute(
        text(
            "update ops.outbox set state = 'unknown', claimed_by = :worker,"
            " lease_until = clock_timestamp() + make_interval(secs => :lease) where id = any(:ids)"
            " and state in ('inflight', 'unknown')"
        ),
        {"ids": list(outbox_ids), "worker": worker, "lease": lease_seconds},
    )
    return int(found.rowcount)


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
            " on conflict do nothing"
        ),
        {"ids": list(outbox_ids)},
    )
    return int(found.rowcount)


def again(conn: Connection, outbox_ids: Sequence[int], reason: str) -> int:
    """Ends claimed writes that turned out to concern a record that exists already; their pairs are planned again."""
    found = conn.execute(
        text(
            "with done as (update ops.outbox set state = 'superseded', settled_at = now(), reason = :reason,"
            " lease_until = null where id = any(:ids) and state in ('inflight', 'unknown')"
            " returning entity, canonical_id, integration, system, stream)"
            " insert into ops.dirty (entity, canonical_id, integration, system, stream) select distinct * from done"
            " on conflict do nothing"
        ),
        {"ids": list(outbox_ids), "reason": reason},
    )
    return int(found.rowcount)


def unsent(
    conn: Connection, integrations: Sequence[str], names: Sequence[str], columns: Mapping[str, Collection[str]]
) -> list[dict[str, Any]]:
    """Every write of these integrations that was not sent, with its record's name: the first of `names` that its entity
    has (`columns`: entity → its columns)."""
    rows: list[dict[str, Any]] = []
    for entity, has in columns.items():
        label = next((f"g.{ident(n)}" for n in names if n in has), "null")
        found = conn.execute(
            text(
                f"select o.id, o.integration, o.entity, o.canonical_id, {label} as label, o.system, o.stream, o.op,"
                " o.source_id, o.because, o.reason, o.refs, o.before, o.write_hash, o.state"
                f" from ops.outbox o left join {ident('golden', entity)} g on g.id = o.canonical_id"
                f" where o.entity = :entity and o.integration = any(:names) and o.state in {OPEN} order by o.id"
            ),
            {"entity": entity, "names": list(integrations)},
        ).mappings()
        rows += [dict(r) for r in found]
    return sorted(rows, key=lambda r: int(r["id"]))


def park(conn: Connection, outbox_id: int, reason: str) -> None:
    """Holds a claimed write back for a person, with the reason."""
    conn.execute(
        text(
            "update ops.outbox set state = 'held', reason = :reason, lease_until = null"
            " where id = :id and state in ('inflight', 'unknown')"
        ),
        {"id": outbox_id, "reason": reason},
    )


def counts(conn: Connection) -> list[Mapping[str, Any]]:
    """How many writes stand where: system, stream, integration, op, state, count, oldest (seconds)."""
    found = conn.execute(
        text(
            "select system, stream, integration, op, state, count(*) as count,"
            " extract(epoch from now() - min(created_at))::bigint as oldest_seconds"
            " from ops.outbox group by 1, 2, 3, 4, 5 order by 1, 2, 3, 4, 5"
        )
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
            " version = greatest(s.version, excluded.version), is_archived = excluded.is_archived, confirmed_at = clock_timestamp()"
        )
    )


def shadows(conn: Connection, entity: str, system: str, stream: str, ids: pl.DataFrame) -> pl.DataFrame:
    """The shadows of golden records in a target: id, source_id, asked, read (JSON text), version."""
    table = temporary(conn, "shadow_ids", {"canonical_id": "text"}, ids.select("canonical_id").unique())
    return read_frame(
        conn,
        f"select s.canonical_id, s.source_id, s.asked::text, s.read::text, s.version, s.is_archived from {table} a"
        f" join ops.shadow s using (canonical_id) where s.entity = {literal(entity)}"
        f" and s.system = {literal(system)} and s.stream = {literal(stream)}",
        {
            "id": pl.String, "source_id": pl.String, "asked": pl.String, "read": pl.String, "version": pl.Int64,
            "archived": pl.Boolean,
        },
    )  # fmt: skip


# -------------------------------------------------------------------------------------------------------- dirty


def mark_dirty(conn: Connection, pairs: pl.DataFrame) -> int:
    """Notes (golden record, target) pairs that must be planned: entity, canonical_id, integration, system, stream."""
    if pairs.is_empty():
        return 0
    columns = dict.fromkeys(("entity", "canonical_id", "integration", "system", "stream"), "text")
    table = temporary(conn, "dirty_pairs", columns, pairs.select(list(columns)))
    found = conn.execute(
        text(
            f"insert into ops.dirty ({', '.join(columns)}) select distinct {', '.join(columns)} from {table}"
            " on conflict do nothing"
        )
    )
    return int(found.rowcount)


def mark_all_dirty(conn: Connection, entity: str, golden: str, integration: str, system: str, stream: str) -> int:
    """Notes every golden record of an entity for one target (its declaration changed)."""
    found = conn.execute(
        text(
            "insert into ops.dirty (entity, canonical_id, integration, system, stream)"
            f" select :entity, g.id, :integration, :system, :stream from {golden} g on conflict do nothing"
        ),
        {"entity": entity, "integration": integration, "system": system, "stream": stream},
    )
    return int(found.rowcount)


def take_dirty(conn: Connection, entity: str, integration: str, system: str, stream: str, limit: int) -> pl.DataFrame:
    """Removes and gives up to `limit` pairs of a target; they count as planned when the transaction commits."""
    found = conn.execute(
        text(
            "delete from ops.dirty where ctid in (select ctid from ops.dirty where entity = :entity and integration ="
            " :integration and system = :system and stream = :stream order by canonical_id limit :limit"
            " for update skip locked) returning canonical_id"
        ),
        {"entity": entity, "integration": integration, "system": system, "stream": stream, "limit": limit},
    )
    return pl.DataFrame({"canonical_id": pl.Series(found.scalars().all(), dtype=pl.String)})


def target_declared(conn: Connection, integration: str, system: str, stream: str) -> tuple[str | None, str | None]:
    """Under which outbound declaration, and in which mode, the target was planned last."""
    row = conn.execute(
        text("select declared, mode from ops.target_state where integration = :i and system = :s and stream = :t"),
        {"i": integration, "s": system, "t": stream},
    ).one_or_none()
    return (row.declared, row.mode) if row else (None, None)


def set_target_declared(conn: Connection, integration: str, system: str, stream: str, declared: str, mode: str) -> None:
    """Notes the outbound declaration and mode that a target is planned under from now on."""
    conn.execute(
        text(
            "insert into ops.target_state (integration, system, stream, declared, mode) values (:i, :s, :t, :d, :m)"
            " on conflict (integration, system, stream) do update set declared = excluded.declared,"
            " mode = excluded.mode"
        ),
        {"i": integration, "s": system, "t": stream, "d": declared, "m": mode},
    )
