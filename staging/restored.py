"""After a restore: nothing is sent to a target before it was read to its end, and what was made there meanwhile is
found again instead of made a second time (RELIABILITY row 17).

begin      right after the restore: every target rests, every stream is read from its beginning, open writes are void
adopt      what a target holds now is what is compared with, not what it held when the backup was made
link       records made there since are linked again: by our own id, or because they hold exactly what would be created
strangers  what is left over may still be one: creates there wait for a person
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import polars as pl
from sqlalchemy import Connection, text

from staging.dirty import NOTED_ANEW
from staging.frames import ident, literal, temporary

Stream = tuple[str, str]
MOST_PAIRS = 25_000_000
"""Creates times unknown records of a stream that are compared with each other; beyond, a person is asked."""


def _same(asked: str, held: str) -> str:
    """SQL: whether a target that rounds, trims or changes the case of what it is told would hold this value so."""
    number = "'^-?[0-9]+([.][0-9]+)?$'"
    return (
        f"(coalesce({asked}, '') = coalesce({held}, '') or lower(btrim({asked})) = lower(btrim({held})) or case when"
        f" {asked} ~ {number} and {held} ~ {number} then ({asked})::numeric = ({held})::numeric else false end)"
    )


def begin(conn: Connection, targets: Iterable[tuple[str, str, bool]]) -> int:
    """Puts targets (system, stream, whether it can be read) to rest; gives how many open writes became void: what they
    were for is planned anew from what the systems hold now. What was on its way is looked up as ever."""
    names = {"system": "text", "stream": "text", "is_read": "boolean"}
    schema: dict[str, pl.DataType | type[pl.DataType]] = {
        "system": pl.String, "stream": pl.String, "is_read": pl.Boolean,
    }  # fmt: skip
    table = temporary(conn, "resting", names, pl.DataFrame(sorted(targets), schema=schema, orient="row"))
    conn.execute(
        text(
            f"insert into ops.restored (system, stream, is_read) select * from {table} on conflict (system, stream)"
            " do update set at = now(), learned_at = null, strangers = 0, is_read = excluded.is_read"
        )
    )
    conn.execute(text("delete from landing.cursor"))
    found = conn.execute(
        text(
            "with void as (update ops.outbox set state = 'superseded', settled_at = now(), hold_id = null,"
            " reason = 'the database was set back to a backup: planned anew' where state in ('planned', 'ready',"
            " 'waiting', 'held') returning entity, canonical_id, integration, system, stream)"
            " insert into ops.dirty (entity, canonical_id, integration, system, stream)"
            f" select distinct entity, canonical_id, integration, system, stream from void {NOTED_ANEW}"
        )
    )
    conn.execute(text("update ops.outbox set lease_until = null where state in ('inflight', 'unknown')"))
    return int(found.rowcount)


_WAITING = "learned_at is null"


def waiting(conn: Connection) -> list[Stream]:
    """Targets that were not read to their end since the restore."""
    rows = conn.execute(text(f"select system, stream from ops.restored where {_WAITING} order by 1, 2"))
    return [(r.system, r.stream) for r in rows]


def due(conn: Connection) -> list[Stream]:
    """Those of them that have been by now, or cannot be read at all."""
    rows = conn.execute(
        text(
            f"select r.system, r.stream from ops.restored r where {_WAITING} and (not r.is_read or exists (select from"
            " landing.cursor c where c.system = r.system and c.stream = r.stream and c.last_sweep_at > r.at))"
            " order by 1, 2"
        )
    )
    return [(r.system, r.stream) for r in rows]


def unlinked_rest(entity: str, streams: Sequence[Stream]) -> str:
    """SQL: whether the staged record `s` is to be resolved now: in these streams only what is linked."""
    if not streams:
        return "true"
    listed = ", ".join(f"({literal(a)}, {literal(b)})" for a, b in streams)
    return (
        f"((s.system, s.stream) not in ({listed}) or exists (select from ops.crosswalk l where l.entity ="
        f" {literal(entity)} and l.system = s.system and l.stream = s.stream and l.source_id = s.source_id"
        " and l.ended_at is null))"
    )


def adopt(conn: Connection, entity: str, system: str, stream: str) -> int:
    """Takes what linked records of a target hold now for what was asked and read there, as far as it changed since the
    backup (what differed then and was only reported is left as it was); gives how many."""
    unchanged = f"{_same('s.read ->> a.key', 't.native ->> a.key')} or {_same('a.value', 't.native ->> a.key')}"
    held = f"case when {unchanged} then a.value else t.native ->> a.key end"
    now = f"(select jsonb_object_agg(a.key, {held}) from json_each_text(s.asked) a)"
    read = "(select jsonb_object_agg(k, t.native::jsonb -> k) from json_object_keys(s.asked) k)"
    found = conn.execute(
        text(
            f"update ops.shadow s set asked = {now}::json, read = {read}::json, confirmed_at = clock_timestamp()"
            f" from {ident('staging', entity)} t where s.entity = :entity and s.system = :system and s.stream = :stream"
            " and t.system = s.system and t.stream = s.stream and t.source_id = s.source_id and not t.deleted"
            " and t.native is not null and s.asked::text <> '{}'"
        ),
        {"entity": entity, "system": system, "stream": stream},
    )
    return int(found.rowcount)


def link_by_mark(conn: Connection, entity: str, system: str, stream: str, path: str) -> int:
    """Links unknown records of a target that carry the id of a golden record which has none there; gives how many."""
    found = conn.execute(
        text(
            "insert into ops.crosswalk (entity, system, stream, source_id, canonical_id, is_primary, because, score,"
            " linked_by) select distinct on (g.id) :entity, s.system, s.stream, s.source_id, g.id, true,"
            " 'carries our own id: made before the backup was restored', 1, 'concord'"
            f" from {ident('staging', entity)} s"
            f" join {ident('golden', entity)} g on g.id = s.native ->> :path where s.system = :system"
            " and s.stream = :stream and s.state = 'dirty' and not s.deleted and not exists (select from"
            " ops.crosswalk c where c.entity = :entity and c.system = s.system and c.stream = s.stream"
            " and c.ended_at is null and (c.source_id ="
            " s.source_id or c.canonical_id = g.id)) order by g.id, s.source_id on conflict do nothing"
        ),
        {"entity": entity, "system": system, "stream": stream, "path": path},
    )
    return int(found.rowcount)


def link_alike(conn: Connection, entity: str, system: str, stream: str) -> int:
    """Links unknown records of a target that hold, field by field, what one planned create there alone would write;
    gives how many. Two that are alike are left to a person."""
    values = {"entity": entity, "system": system, "stream": stream}
    unknown = (
        f"select s.source_id, s.native::jsonb as native from {ident('staging', entity)} s where s.system = :system"
        " and s.stream = :stream and s.state = 'dirty' and not s.deleted and s.native is not null"
        " and not exists (select from ops.crosswalk c where c.entity = :entity and c.system = s.system"
        " and c.stream = s.stream and c.source_id = s.source_id and"
        " c.ended_at is null)"
    )
    wanted = (
        "select o.id, o.canonical_id, o.asked from ops.outbox o where o.state = 'planned' and o.op = 'create'"
        " and o.entity = :entity and o.system = :system and o.stream = :stream"
    )
    same = _same("a.value", "u.native ->> a.key")
    sizes = conn.execute(
        text(f"select (select count(*) from ({unknown}) u) * (select count(*) from ({wanted}) w)"), values
    ).scalar_one()
    if not 0 < sizes <= MOST_PAIRS:
        return 0
    found = conn.execute(
        text(
            f"with unknown as ({unknown}), wanted as ({wanted}), alike as (select w.canonical_id, u.source_id,"
            " count(*) over (partition by w.id) as takers, count(*) over (partition by u.source_id) as givers"
            " from wanted w join unknown u on exists (select from json_each_text(w.asked) a where a.value <> '')"
            f" and not exists (select from json_each_text(w.asked) a where not {same}))"
            " insert into ops.crosswalk (entity, system, stream, source_id, canonical_id, is_primary, because, score,"
            " linked_by) select :entity, :system, :stream, source_id, canonical_id, true, 'holds exactly what would be"
            " created there: made before the backup was restored', 1, 'concord' from alike where takers = 1"
            " and givers = 1 on conflict do nothing"
        ),
        values,
    )
    return int(found.rowcount)


def void_made(conn: Connection) -> int:
    """Ends planned creates whose record is known by now; their pairs are planned again. Gives how many."""
    found = conn.execute(
        text(
            "with made as (update ops.outbox o set state = 'superseded', settled_at = now(), reason ="
            " 'the record was found in the target after the restore' where o.state = 'planned' and o.op = 'create'"
            " and exists (select from ops.crosswalk c where c.entity = o.entity and c.system = o.system and c.stream ="
            " o.stream and c.canonical_id = o.canonical_id and c.ended_at is null)"
            " returning o.entity, o.canonical_id, o.integration, o.system, o.stream)"
            " insert into ops.dirty (entity, canonical_id, integration, system, stream)"
            f" select distinct entity, canonical_id, integration, system, stream from made {NOTED_ANEW}"
        )
    )
    return int(found.rowcount)


def learned(conn: Connection, system: str, stream: str) -> None:
    """What stands in the target is known again: its writes may go."""
    conn.execute(
        text("update ops.restored set learned_at = now() where system = :system and stream = :stream"),
        {"system": system, "stream": stream},
    )


def count_strangers(conn: Connection, entity: str) -> int:
    """Counts, for each target, the records that were first read after the restore and whose golden record knows no
    other: each may be what an older create of another one made. Gives their number."""
    found = conn.execute(
        text(
            "update ops.restored r set strangers = n.n from (select c.system, c.stream, count(*) as n"
            " from ops.crosswalk c join ops.restored t using (system, stream) where c.entity = :entity"
            " and c.ended_at is null and c.linked_at > t.at and t.learned_at is not null and c.because not like"
            " '%backup was restored' and not exists (select from ops.crosswalk o where o.entity = c.entity and"
            " o.canonical_id = c.canonical_id and o.ended_at is null and o.id <> c.id) group by 1, 2) n"
            " where r.system = n.system and r.stream = n.stream returning n.n"
        ),
        {"entity": entity},
    )
    return sum(int(n) for n in found.scalars())


def doubt(conn: Connection, system: str, stream: str, *, is_looked_up: bool) -> str | None:
    """Why a create in this target may be a second one since the restore; None: there is no reason to think so, or a
    person has looked and said so. `is_looked_up`: each is searched for there before it is sent."""
    row = conn.execute(
        text(
            "select is_read, strangers from ops.restored r where system = :system and stream = :stream and not exists"
            " (select from ops.hold h where h.system = r.system and h.stream = r.stream and h.kind = 'duplicate'"
            " and h.op = 'create' and h.state in ('approved', 'rejected') and h.closed_at > r.at)"
        ),
        {"system": system, "stream": stream},
    ).one_or_none()
    if row is None:
        return None
    if not row.is_read and not is_looked_up:
        return "the database was set back to a backup, and this target cannot be read: what was made there is not known"
    if row.strangers:
        return (
            f"since the database was set back to a backup, {row.strangers} records of this target are known from"
            " nowhere else: this may be one of them"
        )
    return None


def rests(conn: Connection, system: str, stream: str) -> bool:
    """Whether nothing is sent to this target, because it was not read to its end since the restore."""
    return bool(
        conn.execute(
            text(f"select exists (select from ops.restored where {_WAITING} and system = :s and stream = :t)"),
            {"s": system, "t": stream},
        ).scalar_one()
    )
