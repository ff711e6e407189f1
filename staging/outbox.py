"""The outbox: writes to be done, from planned to settled. Its rows change state by the statements here and no others.

planned → ready | waiting | held      released as one set per (target, entity, operation) (DESIGN 9.4)
waiting → ready                        when its parents are known in the target
held    → ready | superseded           by a person, or a time
ready   → inflight                     claimed, and committed before anything is sent
inflight → delivered | rejected | ready (again) | unknown | dead
unknown → delivered | ready            looked up first; never a blind second create
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl
from sqlalchemy import Connection, text

from staging.frames import ident, learn, literal, read_frame, relearn, temporary, write_frame

_TABLE = ident("ops", "outbox")


OPEN = "('planned', 'ready', 'waiting', 'held')"

CHANGES = (
    "coalesce(o.before, (select json_agg(json_build_object('field', a.key, 'old', null, 'new', a.value,"
    " 'authority', coalesce(p.authority ->> a.key, ''))) from json_each_text(o.asked) a, ops.plan p"
    " where p.id = o.plan_id and a.value is not null), '[]')"
)
"""SQL: what a write of the outbox (`o`) changes, as a list of {field, old, new, authority}. A create keeps no list of
its own: all it asks for is new."""


def enqueue(conn: Connection, rows: pl.DataFrame) -> int:
    """Stores planned writes; the frame's columns are the table's."""
    in_order = rows.sort("canonical_id", maintain_order=True)  # of the indexes
    written = write_frame(conn, _TABLE, in_order.with_columns(pl.lit("planned").alias("state")))
    learn(conn, _TABLE, written)
    _ask_about_doubtful(conn)
    return written


def _ask_about_doubtful(conn: Connection) -> None:
    """A planned create of a record that may exist there already, as an earlier one was sent, never answered and ended
    by a person, is asked about again: nobody has said yet which record it is."""
    doubtful = "e.state = 'superseded' and e.op = 'create' and e.request is not null"
    if not conn.execute(text(f"select exists (select from ops.outbox e where {doubtful})")).scalar_one():
        return
    conn.execute(
        text(
            "update ops.outbox o set reason = 'it may exist there: an earlier create was sent and never answered'"
            " where o.state = 'planned' and o.op = 'create' and o.reason is null and exists (select from ops.outbox e"
            f" where {doubtful} and e.canonical_id = o.canonical_id and e.entity = o.entity and e.system = o.system"
            " and e.stream = o.stream and not exists (select from ops.outbox d where d.canonical_id = e.canonical_id"
            " and d.entity = e.entity and d.system = e.system and d.stream = e.stream and d.op = 'create'"
            " and d.state = 'delivered' and d.id > e.id))"
        )
    )


def begin_plan(
    conn: Connection,
    *,
    sync_id: int | None,
    integration: str,
    entity: str,
    system: str,
    stream: str,
    authority: Mapping[str, str],
) -> int:
    """Opens a plan, the frozen set of one integration's target in one sync; gives its id. `authority`: target path →
    system of record."""
    found = conn.execute(
        text(
            "insert into ops.plan (sync_id, integration, entity, system, stream, authority)"
            " values (:sync, :integration, :entity, :system, :stream, cast(:authority as json)) returning id"
        ),
        {
            "sync": sync_id,
            "integration": integration,
            "entity": entity,
            "system": system,
            "stream": stream,
            "authority": json.dumps(dict(authority)),
        },
    )
    return int(found.scalar_one())


def add_to_plan(
    conn: Connection, plan_id: int, *, considered: int, unchanged: int, adopted: int, enqueued: int, observed: int = 0
) -> None:
    """Adds one chunk's counts to a plan. `observed`: writes that an observed target was not told."""
    conn.execute(
        text(
            "update ops.plan set considered = considered + :considered, unchanged = unchanged + :unchanged,"
            " adopted = adopted + :adopted, enqueued = enqueued + :enqueued, observed = observed + :observed"
            " where id = :id"
        ),
        {
            "id": plan_id, "considered": considered, "unchanged": unchanged, "adopted": adopted, "enqueued": enqueued,
            "observed": observed,
        },
    )  # fmt: skip


_WAS_ASKED = (
    "case when o.reason is null then null when o.state = 'planned' then o.reason"
    " when h.kind <> 'brake' then case when o.state = 'held' then o.reason else h.reason end end"
)
"""SQL: why a person was asked about a write. Once it was sent, its own reason is what the target said of it."""


def open_writes(conn: Connection, entity: str, system: str, stream: str, ids: pl.DataFrame) -> pl.DataFrame:
    """Writes not yet settled for these golden records: canonical_id, outbox_id, state, op, write_hash, refs (JSON),
    was_reason (why a person was to be asked), was_fields and hold_id (of what is held)."""
    table = temporary(conn, "open_for", {"canonical_id": "text"}, ids.select("canonical_id").unique())
    return read_frame(
        conn,
        f"select o.canonical_id, o.id, o.state, o.op, o.write_hash, o.refs::text, {_WAS_ASKED},"
        f" array_to_json(o.fields)::text, case when o.state = 'held' then o.hold_id end from {table} a"
        " join ops.outbox o using (canonical_id) left join ops.hold h on h.id = o.hold_id"
        f" where o.entity = {literal(entity)} and o.system = {literal(system)} and o.stream = {literal(stream)}"
        " and o.state in ('planned', 'ready', 'waiting', 'held', 'inflight', 'unknown')",
        {
            "canonical_id": pl.String, "outbox_id": pl.Int64, "state": pl.String, "op": pl.String,
            "write_hash": pl.String, "refs": pl.String, "was_reason": pl.String, "was_fields": pl.List(pl.String),
            "hold_id": pl.Int64,
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
    """Of each write: currency → how much it moves."""
    sync_id: int | None = None
    """Only the writes that this sync planned; None: whoever planned them."""
    money_released: Mapping[str, Any] = field(default_factory=dict)
    """Currency → how much the releases of the last 24 hours moved."""


def planned_sets(conn: Connection, integrations: Sequence[str], sync_id: int | None = None) -> list[PlannedSet]:
    """The sets that `release` decides on, counted with the last 24 hours' releases."""
    is_any = text("select exists (select from ops.outbox where state = 'planned' and integration = any(:names))")
    if not conn.execute(is_any, {"names": list(integrations)}).scalar_one():
        return []
    found = conn.execute(_PLANNED_SETS, {"names": list(integrations), "sync": sync_id}).mappings()
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
            sync_id=sync_id,
            money_released=r["money_released"],
        )
        for r in found
    ]


# The first set of creates is the going live itself: nothing is linked by the integration yet, and it is no part of the
# day that follows (DESIGN 9.15). Writes that a person approved (they had a hold) do not count against the day. Archives
# and deletes are counted together, as what they are to the target.
_PLANNED_SETS = text(
    """
    with planned as (
        select integration, entity, system, stream, op, count(*) as planned, sum(blanked) as blanked,
               coalesce(json_agg(money) filter (where money is not null), '[]'::json) as money,
               case when op in ('archive', 'delete') then 'delete' else op end as kind
        from ops.outbox where state = 'planned' and hold_id is null and integration = any(:names)
          and (cast(:sync as bigint) is null or sync_id = :sync) group by 1, 2, 3, 4, 5
    ), live as (
        select integration, system, stream, min(released_at) as since from ops.outbox where released_at is not null
        group by 1, 2, 3
    ), day as (
        select o.entity, o.system, o.stream, o.blanked, o.money,
               case when o.op in ('archive', 'delete') then 'delete' else o.op end as kind
        from ops.outbox o join live l using (integration, system, stream)
        where o.released_at > now() - interval '24 hours' and o.hold_id is null and o.state <> 'superseded'
          and not (o.op = 'create' and o.released_at = l.since)
    ), released as (
        select entity, system, stream, kind, count(*) as released, sum(blanked) as blanked_released from day
        group by 1, 2, 3, 4
    ), moved as (
        select entity, system, stream, kind, json_object_agg(currency, amount::text) as money_released from (
            select d.entity, d.system, d.stream, d.kind, m.key as currency, sum(m.value::numeric) as amount
            from day d, json_each_text(d.money) m where d.money is not null group by 1, 2, 3, 4, 5
        ) sums group by 1, 2, 3, 4
    ), shadows as (
        select entity, system, stream, count(*) as linked from ops.shadow group by 1, 2, 3
    )
    select p.*, coalesce(r.released, 0) as released, coalesce(r.blanked_released, 0) as blanked_released,
           coalesce(m.money_released, '{}'::json) as money_released,
           case when p.op = 'create' and l.integration is null then 0 else coalesce(s.linked, 0) end as linked
    from planned p
    left join released r using (entity, system, stream, kind)
    left join moved m using (entity, system, stream, kind)
    left join live l using (integration, system, stream)
    left join shadows s using (entity, system, stream)
    order by p.integration, p.system, p.stream, p.op
    """
)


_SET = "state = 'planned' and integration = :integration and entity = :entity and system = :system and stream = :stream and op = :op and (cast(:sync as bigint) is null or sync_id = :sync)"  # noqa: E501


def release_set(conn: Connection, which: PlannedSet, hold_seconds: int) -> dict[str, int]:
    """Releases a set: `waiting` where a parent is not known in the target yet, else `ready`, due after its hold."""
    found = conn.execute(
        text(
            "update ops.outbox set state = case when refs is not null then 'waiting' else 'ready' end,"
            f" released_at = now(), due_at = now() + make_interval(secs => :hold) where {_SET} and reason is null"
            " and hold_id is null"
            " returning state"
        ),
        {**_names(which), "hold": hold_seconds},
    )
    states = list(found.scalars())
    relearn(conn, _TABLE, len(states))
    return dict(Counter(states))


def hold_set(conn: Connection, which: PlannedSet, hold_id: int) -> int:
    """Puts a whole set behind a hold; gives how many writes."""
    found = conn.execute(
        text(f"update ops.outbox set state = 'held', hold_id = :hold where {_SET} and hold_id is null"),
        {**_names(which), "hold": hold_id},
    )
    return int(found.rowcount)


def _names(which: PlannedSet) -> dict[str, str | int | None]:
    return {
        "sync": which.sync_id,
        "integration": which.integration,
        "entity": which.entity,
        "system": which.system,
        "stream": which.stream,
        "op": which.op,
    }


@dataclass(frozen=True, slots=True)
class Asking:
    """Those writes of a planned set that carry a reason to ask a person: how many, and one reason."""

    which: PlannedSet
    writes: int
    why: str
    is_apart: bool
    """Whether their reasons begin with the words that set them apart."""


def asking_sets(conn: Connection, integrations: Sequence[str], apart: str, sync_id: int | None = None) -> list[Asking]:
    """Planned writes that carry a reason to ask a person, those whose reason begins with `apart` by themselves."""
    found = conn.execute(
        text(
            "select integration, entity, system, stream, op, starts_with(reason, :apart) as is_apart, count(*) as n,"
            " min(reason) as why from ops.outbox where state = 'planned' and reason is not null"
            " and integration = any(:names) and (cast(:sync as bigint) is null or sync_id = :sync)"
            " group by 1, 2, 3, 4, 5, 6 order by 1, 3, 4, 5, 6"
        ),
        {"names": list(integrations), "apart": apart, "sync": sync_id},
    )
    return [
        Asking(
            PlannedSet(r.integration, r.entity, r.system, r.stream, r.op, r.n, 0, 0, 0, 0, (), sync_id),
            int(r.n),
            str(r.why),
            bool(r.is_apart),
        )
        for r in found
    ]


@dataclass(frozen=True, slots=True)
class Fallen:
    """Planned writes whose earlier version waits, or waited, behind a hold: what a person was shown is not what they
    say now."""

    which: PlannedSet
    behind: int
    """The hold."""
    kind: str
    reason: str


def fallen_sets(conn: Connection, integrations: Sequence[str], sync_id: int | None = None) -> list[Fallen]:
    """Planned writes that overtook held ones, by the hold that those were behind. Those that ask by themselves are
    among `asking_sets`."""
    found = conn.execute(
        text(
            "select o.integration, o.entity, o.system, o.stream, o.op, o.hold_id, h.kind, h.reason, count(*) as n"
            " from ops.outbox o join ops.hold h on h.id = o.hold_id where o.state = 'planned' and o.reason is null"
            " and o.integration = any(:names) and (cast(:sync as bigint) is null or o.sync_id = :sync)"
            " group by 1, 2, 3, 4, 5, 6, 7, 8 order by 6, 5"
        ),
        {"names": list(integrations), "sync": sync_id},
    )
    return [
        Fallen(
            PlannedSet(r.integration, r.entity, r.system, r.stream, r.op, r.n, 0, 0, 0, 0, (), sync_id),
            int(r.hold_id),
            str(r.kind),
            str(r.reason),
        )
        for r in found
    ]


def hold_fallen(conn: Connection, fallen: Fallen, hold_id: int) -> int:
    """Puts them behind a hold of their own; gives how many."""
    found = conn.execute(
        text(
            f"update ops.outbox set state = 'held', hold_id = :hold where {_SET} and reason is null"
            " and hold_id = :behind"
        ),
        {**_names(fallen.which), "hold": hold_id, "behind": fallen.behind},
    )
    return int(found.rowcount)


def hold_asking(conn: Connection, asking: Asking, hold_id: int, apart: str) -> int:
    """Puts these writes behind a hold; gives how many."""
    found = conn.execute(
        text(
            f"update ops.outbox set state = 'held', hold_id = :hold where {_SET} and reason is not null"
            " and starts_with(reason, :apart) = :is_apart"
        ),
        {**_names(asking.which), "hold": hold_id, "apart": apart, "is_apart": asking.is_apart},
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
                f" o.source_id, o.because, o.reason, o.refs, {CHANGES} as before, o.write_hash, o.state,"
                " o.payload::text as payload"
                f" from ops.outbox o left join {ident('golden', entity)} g on g.id = o.canonical_id"
                f" where o.entity = :entity and o.integration = any(:names) and o.state in {OPEN} order by o.id"
            ),
            {"entity": entity, "names": list(integrations)},
        ).mappings()
        rows += [dict(r) for r in found]
    return sorted(rows, key=lambda r: int(r["id"]))


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
