"""Erasing one subject: every value of it, in every table, with a count for each and a search of all of them afterwards.

What stays holds no value: ids (so that the ledger's sums hold and the record is refused when it is read again), states,
times, and the audit, which never had one. A subject is a golden record with every golden record that was made from the
same source records (`subject_of`). Its rows are found by key; what other rows copied of it (an answer of a system, a
parent's name in a child's payload) is found by its identifying values: texts that no other record of the entity holds.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import polars as pl
from sqlalchemy import Connection, text

from staging import audit
from staging.copies import GONE, OWN, Erased, blacken, columns_of, keep_shares
from staging.frames import ident, literal, temporary
from staging.ledger import entities

REASON = "its subject was erased here on request: erase it in this system as well"
"""Why a record that is read again is refused."""
SHORTEST = 4
"""Characters of a value below which finding it elsewhere proves nothing."""
_KEYS = ident("pg_temp", "erased_keys")
_GOLD = ident("pg_temp", "erased_gold")


class OnItsWay(Exception):
    """A write of the subject is being sent at this moment."""


@dataclass(frozen=True)
class Subject:
    """Who is erased. `records`: (system, stream, source id); `golden`: (entity, canonical id)."""

    golden: tuple[tuple[str, str], ...]
    records: tuple[tuple[str, str, str], ...]


# -------------------------------------------------------------------------------------------------------- who it is


def subject_of(conn: Connection, entity: str, canonical_id: str, children: Iterable[tuple[str, str, str]]) -> Subject:
    """The golden record, its source records, whatever else was made from these, and their child records. `children`:
    (system, child stream, parent stream)."""
    gold, keys = {(entity, canonical_id)}, set[tuple[str, str, str]]()
    while True:
        found = conn.execute(
            text(
                "select c.system, c.stream, c.source_id from ops.crosswalk c where c.canonical_id = any(:ids)"
                " and (c.ended_at is null or not exists (select from ops.crosswalk l where l.ended_at is null"
                " and (l.system, l.stream, l.source_id) = (c.system, c.stream, c.source_id)"
                " and l.canonical_id <> all(:ids) and l.entity = c.entity))"
            ),
            {"ids": [i for _, i in gold]},
        )
        keys |= {(r.system, r.stream, r.source_id) for r in found}
        _note(conn, gold, keys)
        more = conn.execute(
            text(
                "select distinct c.entity, c.canonical_id from ops.crosswalk c"
                f" join {_KEYS} k using (system, stream, source_id) where c.ended_at is null"
            )
        )
        before = len(gold)
        gold |= {(r.entity, r.canonical_id) for r in more}
        if len(gold) == before:
            break
    keys |= _children(conn, children)
    return Subject(tuple(sorted(gold)), tuple(sorted(keys)))


def _note(conn: Connection, gold: Iterable[tuple[str, str]], keys: Iterable[tuple[str, str, str]]) -> None:
    """Puts who is erased where the statements find it."""
    names = ("system", "stream", "source_id")
    frame = pl.DataFrame(sorted(keys), schema=dict.fromkeys(names, pl.String), orient="row")
    temporary(conn, "erased_keys", dict.fromkeys(names, "text"), frame)
    frame = pl.DataFrame(sorted(gold), schema={"entity": pl.String, "canonical_id": pl.String}, orient="row")
    temporary(conn, "erased_gold", {"entity": "text", "canonical_id": "text"}, frame)


def _children(conn: Connection, children: Iterable[tuple[str, str, str]]) -> set[tuple[str, str, str]]:
    """The records of child streams that belong to the subject's."""
    frame = pl.DataFrame(sorted(children), schema=dict.fromkeys(("system", "child", "parent"), pl.String), orient="row")
    pairs = temporary(conn, "erased_children", dict.fromkeys(frame.columns, "text"), frame)
    found = conn.execute(
        text(
            f"select r.system, r.stream, r.source_id from {pairs} p join {_KEYS} k on k.system = p.system"
            " and k.stream = p.parent join landing.record r on r.system = p.system and r.stream = p.child"
            " and r.parent_id = k.source_id"
        )
    )
    return {(r.system, r.stream, r.source_id) for r in found}


# -------------------------------------------------------------------------------------------------- what is known of it


def values_of(conn: Connection, subject: Subject, columns: Mapping[str, Sequence[str]]) -> list[str]:
    """The identifying values: texts in `columns` (entity → its columns of names, addresses, phones and free text), now
    or in history, that no other golden record holds there."""
    _note(conn, subject.golden, subject.records)
    found: dict[str, None] = {}
    for entity in dict.fromkeys(e for e, _ in subject.golden):
        for column in columns.get(entity, ()):
            found |= dict.fromkeys(_unique(conn, entity, column))
    ids = {source_id for _, _, source_id in subject.records}
    return [v for v in found if len(v.strip()) >= SHORTEST and v not in ids]


def _unique(conn: Connection, entity: str, column: str) -> list[str]:
    """What the subject holds or held in a column and nobody else does."""
    name, golden, staged = ident(column), ident("golden", entity), ident("staging", entity)
    held = conn.execute(
        text(
            f"with held as (select g.{name}::text as v from {golden} g join {_GOLD} e on e.canonical_id = g.id"
            f" union select s.{name}::text from {staged} s join {_KEYS} k using (system, stream, source_id)"
            " union select c.v from golden.history h"
            f" join {_GOLD} e using (entity, canonical_id), json_array_elements(h.changes) as told,"
            " lateral (values (told -> 'new' ->> :column), (told -> 'old' ->> :column)) as c (v))"
            f" select v from held where v is not null and not exists (select from {golden} g where g.{name}::text = v"
            f" and g.id not in (select canonical_id from {_GOLD}))"
        ),
        {"column": column},
    )
    return [str(v) for v in held.scalars()]


# ------------------------------------------------------------------------------------------------------- erasing it

_BY_KEY = f" from {_KEYS} k where (t.system, t.stream, t.source_id) = (k.system, k.stream, k.source_id)"
_BY_GOLD = f" from {_GOLD} k where (t.entity, t.canonical_id) = (k.entity, k.canonical_id)"
_WRITES = f"(select o.id from ops.outbox o join {_GOLD} k using (entity, canonical_id))"
_ENDED = "closed_at = coalesce(closed_at, now()), closed_by = coalesce(closed_by, 'concord')"
_SAID = f"closed_because = '{GONE}'"

STEPS: Mapping[str, tuple[str, ...]] = {
    "landing.raw_record": (f"update landing.raw_record t set payload = '{{}}', raw_hash = 0{_BY_KEY}",),
    # deleted: a rework of what was landed takes it for gone, and makes nothing of it again
    "landing.record": (f"update landing.record t set raw_hash = null, deleted = true, state = 'staged'{_BY_KEY}",),
    "golden.history": (f"update golden.history t set changes = '[]'{_BY_GOLD}",),
    "ops.match_key": (f"delete from ops.match_key t using {_KEYS} k where (t.system, t.stream, t.source_id) ="
                      " (k.system, k.stream, k.source_id)",),
    "ops.review": (
        "update ops.review t set state = case state when 'open' then 'withdrawn' else state end, closed_at ="
        f" coalesce(closed_at, now()), answered_by = coalesce(answered_by, 'concord'), because = '{GONE}',"
        f" answer_reason = '{GONE}', score = null where exists (select from {_KEYS} k where (t.system, t.stream,"
        " t.source_id) = (k.system, k.stream, k.source_id) or t.other = concat_ws(chr(31), k.system, k.stream,"
        f" k.source_id)) or exists (select from {_GOLD} k where k.canonical_id = t.canonical_id)",
    ),
    "ops.finding": (
        f"update ops.finding t set ours = null, theirs = null, because = '{GONE}', state = case state when 'open' then"
        f" 'accepted' else state end, {_ENDED}, {_SAID} where exists (select from {_KEYS} k where (t.system, t.stream,"
        f" t.source_id) = (k.system, k.stream, k.source_id)) or exists (select from {_GOLD} k where k.canonical_id ="
        " t.canonical_id)",
    ),
    "ops.quarantine": (
        f"update ops.quarantine t set raw = null, reason = '{GONE}', state = case state when 'open' then 'discarded'"
        f" else state end, {_ENDED}, {_SAID}{_BY_KEY}",
    ),
    "ops.approval": (
        "update ops.approval t set write_hashes = array(select case when h in (select o.write_hash from ops.outbox o"
        f" where o.id in {_WRITES}) then '{GONE}' else h end from unnest(t.write_hashes) h) where t.write_hashes &&"
        f" array(select o.write_hash from ops.outbox o where o.id in {_WRITES})",
    ),
    "ops.attempt": (f"update ops.attempt t set reason = null where t.outbox_id in {_WRITES}",),
    "ops.dead_letter": (
        f"update ops.dead_letter t set reason = '{GONE}', edited = null, edited_because = case when edited_because is"
        f" not null then '{GONE}' end, state = case state when 'open' then 'discarded' else state end, {_ENDED},"
        f" {_SAID} where t.outbox_id in {_WRITES}",
    ),
    "ops.outbox": (
        "update ops.outbox t set payload = '{}', asked = '{}', before = '[]', money = null, key = 'erased ' ||"
        f" t.id, write_hash = 'erased ' || t.id, reason = case when reason is not null then '{GONE}' end, state = case"
        " when state in ('planned', 'ready', 'waiting', 'held') then 'superseded' else state end, settled_at ="
        f" coalesce(settled_at, now()), refs = null{_BY_GOLD}",
    ),
    "ops.shadow": (f"update ops.shadow t set asked = '{{}}', read = '{{}}', is_archived = true{_BY_GOLD}",),
    "ops.saved_write": (
        f"update ops.saved_write t set label = '{GONE}', payload = '{{}}', changes = '[]', waits_for = '[]',"
        f" write_hash = '{GONE}', fingerprint = '{GONE}'{_BY_GOLD}",
    ),
    "ops.dirty": (f"delete from ops.dirty t using {_GOLD} k where (t.entity, t.canonical_id) = (k.entity,"
                  " k.canonical_id)",),
    "ops.crosswalk": (
        f"update ops.crosswalk t set ended_at = coalesce(ended_at, now()), ended_because = '{GONE}', because ="
        f" '{GONE}', score = null{_BY_GOLD}",
    ),
    "ops.erased": (f"insert into ops.erased (system, stream, source_id) select * from {_KEYS} on conflict do nothing",),
}  # fmt: skip
"""Table → what is done to the subject's rows, in this order. Rows stay where a sum of the ledger counts them."""


def erase(conn: Connection, subject: Subject, values: Sequence[str]) -> Erased:
    """Erases the subject in the caller's transaction, then searches every table. Raises OnItsWay."""
    _note(conn, subject.golden, subject.records)
    _refuse_sent(conn)
    done = Erased()
    keep_shares(conn, _WRITES)
    for table, statements in STEPS.items():
        for statement in statements:
            done.count(table, conn.execute(text(statement)).rowcount)
    _empty_entities(conn, done)
    if values:
        blacken(conn, values, done)
    return done


def _refuse_sent(conn: Connection) -> None:
    sent = conn.execute(
        text(
            f"select o.id from ops.outbox o join {_GOLD} k using (entity, canonical_id)"
            " where o.state in ('inflight', 'unknown') limit 1"
        )
    ).scalar_one_or_none()
    if sent is not None:
        raise OnItsWay(f"write {sent} of this record is on its way at this moment: try again when it is settled")


def _empty_entities(conn: Connection, done: Erased) -> None:
    """Staged and golden records of every entity lose their values, their lines and candidates are removed."""
    tables = columns_of(conn)
    for entity in entities(conn):
        staged, golden = ident("staging", entity), ident("golden", entity)
        nulls = _nulls(tables["staging", entity])
        found = conn.execute(
            text(f"update {staged} t set {nulls}, absent = '{{}}', deleted = true, unresolved = false,"
                 f" state = 'resolved'{_BY_KEY}")
        )  # fmt: skip
        done.count(f"staging.{entity}", found.rowcount)
        candidate = ident("staging", f"{entity}_candidate")
        gone = conn.execute(text(f"delete from {candidate} t using {_BY_KEY.removeprefix(' from ')}"))
        done.count(f"staging.{entity}_candidate", gone.rowcount)
        found = conn.execute(
            text(f"update {golden} t set {_nulls(tables['golden', entity])}, deleted = true, provisional = '{{}}'"
                 f" from {_GOLD} k where k.canonical_id = t.id and k.entity = {literal(entity)}")
        )  # fmt: skip
        done.count(f"golden.{entity}", found.rowcount)
    main = set(entities(conn))
    for schema, name in tables:
        if schema == "golden" and name not in main and "id" in tables[schema, name]:
            gone = conn.execute(
                text(f"delete from {ident(schema, name)} t using {_GOLD} k where k.canonical_id = t.id::text")
            )
            done.count(f"golden.{name}", gone.rowcount)


def _nulls(columns: Mapping[str, str]) -> str:
    """Every column that holds something of the record, hidden ones too, set to nothing."""
    return ", ".join(f"{ident(c)} = null" for c in columns if c not in OWN)


# -------------------------------------------------------------------------------------------- what is read of it again


def known(conn: Connection, system: str, stream: str, ids: Sequence[str]) -> frozenset[str]:
    """Those of some source ids whose subjects were erased."""
    is_any = text("select exists (select from ops.erased where system = :s and stream = :t)")
    # most streams have none, and a group of pages has 25,000 ids to send
    if not conn.execute(is_any, {"s": system, "t": stream}).scalar_one():
        return frozenset()
    found = conn.execute(
        text("select source_id from ops.erased where system = :s and stream = :t and source_id = any(:ids)"),
        {"s": system, "t": stream, "ids": list(ids)},
    )
    return frozenset(found.scalars())


def record(
    conn: Connection, entity: str, canonical_id: str, *, by: str, proof: Mapping[str, object]
) -> tuple[int, str]:
    """Keeps the proof of an erasure; gives its number and digest."""
    told = json.dumps(proof, sort_keys=True)
    digest = audit.over([told])
    found = conn.execute(
        text(
            "insert into ops.erasure (entity, canonical_id, by, proof, digest)"
            " values (:entity, :id, :by, cast(:proof as json), :digest) returning id"
        ),
        {"entity": entity, "id": canonical_id, "by": by, "proof": told, "digest": digest},
    )
    return int(found.scalar_one()), digest


def done_since(conn: Connection, after: int = 0) -> Iterator[tuple[str, str]]:
    """(entity, canonical id) of the erasures beyond a number, in order: a restored backup must do them again."""
    yield from (
        (r.entity, r.canonical_id)
        for r in conn.execute(
            text("select entity, canonical_id from ops.erasure where id > :after order by id"), {"after": after}
        )
    )
