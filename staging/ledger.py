"""The ledger's proof: conservation as SQL over the whole database (DESIGN 7, RELIABILITY P3).

Every check counts one thing twice, at the two places where it must be the same: what was received and what became of
it, what was kept and what is said to be kept, what was planned and what stands in the outbox. A row that is deleted,
doubled or moved by hand makes a sum differ. Nothing here changes a row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from staging import locks
from staging.frames import ident, literal
from staging.tables import OUTBOX_STATES

SHOWN = 20
"""Failing scopes that are listed one by one for a check; its sums count them all."""


@dataclass(frozen=True, slots=True)
class LedgerCheck:
    """One sum, counted twice. `scope` is `all`, or the run, stream, batch, plan or entity where it does not agree."""

    name: str
    scope: str
    ok: bool
    expected: int
    found: int
    because: str
    """What the sum means; where it does not agree also an example."""


@dataclass(frozen=True, slots=True)
class _Sum:
    """A query of rows (scope, expected, found, example) and the sentence that it proves."""

    name: str
    means: str
    sql: str


_LANDING = (
    _Sum(
        "received_is_accounted_for",
        "received = new + changed + unchanged + deleted + repeated + refused, for each reading",
        "select 'run ' || id || ' of ' || system || '/' || stream as scope, received as expected,"
        " new + changed + unchanged + deleted + repeated + refused as found, null as example from landing.extract_run",
    ),
    _Sum(
        "versions_are_kept",
        "each reading's new + changed + deleted records are kept as versions",
        "select 'run ' || e.id || ' of ' || e.system || '/' || e.stream as scope, e.new + e.changed + e.deleted as"
        " expected, coalesce(v.n, 0) as found, null as example from landing.extract_run e full join (select"
        " extract_run_id, count(*) as n from landing.raw_record group by 1) v on v.extract_run_id = e.id",
    ),
    # a record seen first when it was gone already is counted as deleted, not as new
    _Sum(
        "records_are_counted",
        "a stream's records = the new ones of all its readings + those first seen when they were gone",
        "select coalesce(e.place, r.place) as scope, coalesce(e.n, 0) + coalesce(d.n, 0) as expected,"
        " coalesce(r.n, 0) as found, null as example from (select system || '/' || stream as place, sum(new) as n from"
        " landing.extract_run group by 1) e full join (select system || '/' || stream as place, count(*) as n from"
        " landing.record group by 1) r using (place) left join (select v.system || '/' || v.stream as place, count(*)"
        " as n from landing.raw_record v where v.deleted and not exists (select from landing.raw_record f where"
        " f.system = v.system and f.stream = v.stream and f.source_id = v.source_id and f.id < v.id) group by 1) d"
        " using (place)",
    ),
    _Sum(
        "records_stand_at_their_latest_version",
        "each record points to the latest version that was read of it",
        "select r.system || '/' || r.stream as scope, count(*) as expected, count(v.id) as found,"
        " min(r.source_id) filter (where v.id is null) as example from landing.record r left join (select system,"
        " stream, source_id, max(id) as id from landing.raw_record group by 1, 2, 3) v on v.system = r.system and"
        " v.stream = r.stream and v.source_id = r.source_id and v.id = r.raw_id group by 1",
    ),
    # An entry carries the last reading that refused its record, so only a stream's last such reading can be counted.
    # One record may be refused several times in a reading: its entry says all the reasons.
    _Sum(
        "refused_is_quarantined",
        "what a stream's last refusing reading refused stands in quarantine as unreadable",
        "select 'run ' || e.id || ' of ' || e.system || '/' || e.stream as scope, e.refused as expected,"
        " case when q.n between 1 and e.refused then e.refused else coalesce(q.n, 0) end as found, null as example from"
        " (select distinct on (system, stream) * from"
        " landing.extract_run where refused > 0 order by system, stream, id desc) e left join (select extract_run_id,"
        " count(*) as n from ops.quarantine where scope = 'unreadable' group by 1) q on q.extract_run_id = e.id",
    ),
    _Sum(
        "cursor_has_its_reading",
        "each cursor was stored by a reading of its stream",
        "select c.system || '/' || c.stream as scope, 1 as expected, count(e.id) as found, null as example from"
        " landing.cursor c left join landing.extract_run e on e.id = c.extract_run_id and e.system = c.system and"
        " e.stream = c.stream group by 1",
    ),
)

_SYNCED = (
    _Sum(
        "work_has_its_sync",
        "each reading, batch, plan and golden version belongs to a sync that is known",
        "select w.what as scope, count(*) as expected, count(s.id) as found, min(w.sync_id::text) filter (where s.id is"
        " null) as example from (select 'readings' as what, sync_id from landing.extract_run union all select"
        " 'batches', sync_id from ops.batch union all select 'plans', sync_id from ops.plan union all select"
        " 'golden versions', sync_id from golden.history) w left join ops.sync s on s.id = w.sync_id"
        " where w.sync_id is not null group by 1",
    ),
)

_GATE = (
    # a stopped or abandoned batch moved nothing: its records are landed still and are mapped again
    _Sum(
        "mapped_is_accounted_for",
        "mapped = passed + quarantined + ignored, for each batch that was judged",
        "select 'batch ' || id || ' of ' || entity as scope, mapped as expected, passed + quarantined + ignored as"
        " found, null as example from ops.batch where state in ('passed', 'split')",
    ),
    _Sum(
        "quarantined_is_explained",
        "each quarantined record has an entry that names the rule and is open, unless a person discarded it",
        "select r.system || '/' || r.stream as scope, count(*) as expected, count(q.raw_id) as found, min(r.source_id)"
        " filter (where q.raw_id is null) as example from landing.record r left join (select distinct system, stream,"
        " source_id, raw_id from ops.quarantine where scope = 'record' and state <> 'resolved') q on"
        " q.system = r.system and q.stream ="
        " r.stream and q.source_id = r.source_id and q.raw_id = r.raw_id where r.state = 'quarantined' group by 1",
    ),
    _Sum(
        "quarantine_holds_nothing_that_passed",
        "each open entry's record is quarantined, or has a newer version to be judged",
        "select q.system || '/' || q.stream as scope, count(*) as expected, count(*) filter (where r.state in"
        " ('quarantined', 'landed')) as found, min(q.source_id) filter (where r.state is null or r.state not in"
        " ('quarantined', 'landed')) as example from ops.quarantine q left join landing.record r on r.system = q.system"
        " and r.stream = q.stream and r.source_id = q.source_id where q.scope = 'record' and q.state ="
        " 'open' group by 1",
    ),
)

_LINKS = (
    _Sum(
        "one_primary_link",
        "a golden record has exactly one primary link in each stream where it has links",
        "select entity || ' in ' || system || '/' || stream as scope, count(*) as expected, count(*) filter"
        " (where n = 1)"
        " as found, min(canonical_id) filter (where n <> 1) as example from (select entity, system, stream,"
        " canonical_id, count(*) filter (where is_primary) as n from ops.crosswalk where ended_at is null"
        " group by 1, 2, 3, 4) l group by 1",
    ),
    _Sum(
        "shadow_is_linked",
        "each shadow's target record is, or was, linked to its golden record",
        "select s.entity || ' in ' || s.system || '/' || s.stream as scope, count(*) as expected, count(*)"
        " filter (where"
        " exists (select from ops.crosswalk c where c.entity = s.entity and c.system = s.system and c.stream = s.stream"
        " and c.source_id = s.source_id and c.canonical_id = s.canonical_id)) as found, min(s.canonical_id) filter"
        " (where not exists (select from ops.crosswalk c where c.entity = s.entity and c.system = s.system and"
        " c.stream = s.stream and c.source_id = s.source_id and c.canonical_id = s.canonical_id)) as example"
        " from ops.shadow s group by 1",
    ),
)

_KNOWN_STATES = ", ".join(literal(s) for s in OUTBOX_STATES)
_PLACE = "o.system || '/' || o.stream"

_OUTBOX = (
    _Sum(
        "enqueued_is_in_the_outbox",
        "each plan's writes are all in the outbox",
        "select 'plan ' || coalesce(p.id, o.plan_id) as scope, coalesce(p.enqueued, 0) as expected, coalesce(o.n, 0) as"
        " found, null as example from (select id, enqueued from ops.plan) p full join (select plan_id,"
        " count(*) as n from ops.outbox group by 1) o on o.plan_id = p.id",
    ),
    _Sum(
        "every_write_has_one_home",
        "enqueued = planned + ready + waiting + held + inflight + unknown + delivered + superseded + rejected + dead",
        f"select {_PLACE} as scope, count(*) as expected, count(*) filter (where state in ({_KNOWN_STATES})) as found,"
        " null as example from ops.outbox o group by 1",
    ),
    _Sum(
        "created_is_linked",
        "each delivered create is linked to its golden record",
        f"select {_PLACE} as scope, count(*) as expected, count(c.id) as found, min(o.id::text) filter (where c.id is"
        " null) as example from ops.outbox o left join (select entity, system, stream, source_id, canonical_id,"
        " min(id) as id from ops.crosswalk group by 1, 2, 3, 4, 5) c on c.entity = o.entity and c.system = o.system and"
        " c.stream = o.stream and c.source_id = o.source_id and c.canonical_id = o.canonical_id"
        " where o.state = 'delivered' and o.op = 'create' group by 1",
    ),
    _Sum(
        "delivered_is_shadowed",
        "the shadow of each delivered write stands at its version or a later one",
        f"select {_PLACE} as scope, count(*) as expected, count(s.canonical_id) as found, min(o.canonical_id) filter"
        " (where s.canonical_id is null) as example from (select entity, system, stream, canonical_id, max(version) as"
        " version from ops.outbox where state = 'delivered' group by 1, 2, 3, 4) o left join ops.shadow s on s.entity ="
        " o.entity and s.system = o.system and s.stream = o.stream and s.canonical_id = o.canonical_id"
        " and s.version >= o.version group by 1",
    ),
    _Sum(
        "delivered_was_answered",
        "each delivered write has the target's answer",
        f"select {_PLACE} as scope, count(*) as expected, count(a.outbox_id) as found, min(o.id::text) filter (where"
        " a.outbox_id is null) as example from ops.outbox o left join (select distinct outbox_id from ops.attempt"
        " where outcome = 'done') a on a.outbox_id = o.id where o.state = 'delivered' group by 1",
    ),
    _Sum(
        "held_waits_for_somebody",
        "each held write has an open hold, or a reason of its own",
        f"select {_PLACE} as scope, count(*) as expected, count(*) filter (where h.id is not null or (o.hold_id is null"
        " and o.reason is not null)) as found, min(o.id::text) filter (where h.id is null and (o.hold_id is not null or"
        " o.reason is null)) as example from ops.outbox o left join ops.hold h on h.id = o.hold_id and h.state = 'open'"
        " where o.state = 'held' group by 1",
    ),
    _Sum(
        "refused_writes_have_a_letter",
        "each write that a target refused, or that was given up, has a dead letter",
        f"select {_PLACE} as scope, count(*) as expected, count(d.outbox_id) as found, min(o.id::text) filter (where"
        " d.outbox_id is null) as example from ops.outbox o left join (select distinct outbox_id from"
        " ops.dead_letter) d"
        " on d.outbox_id = o.id where o.state in ('rejected', 'dead') group by 1",
    ),
    _Sum(
        "letters_have_their_write",
        "each open dead letter is of a write that was refused or given up",
        "select d.system || '/' || d.stream as scope, count(*) as expected, count(o.id) as found,"
        " min(d.id::text) filter"
        " (where o.id is null) as example from ops.dead_letter d left join ops.outbox o on o.id = d.outbox_id and"
        " o.state in ('rejected', 'dead') where d.state = 'open' group by 1",
    ),
    _Sum(
        "waiting_names_its_parents",
        "what waits for parents names them, and what may be sent waits for none",
        f"select {_PLACE} as scope, count(*) as expected, count(*) filter (where (o.state = 'waiting') = (o.refs is not"
        " null)) as found, min(o.id::text) filter (where (o.state = 'waiting') <> (o.refs is not null)) as example"
        " from ops.outbox o where o.state in ('waiting', 'ready', 'inflight', 'unknown') group by 1",
    ),
)


def _entity_sums(entity: str, lists: list[str]) -> Iterator[_Sum]:
    """The sums of one entity's own tables."""
    yield from _staged_sums(entity)
    yield from _golden_sums(entity)
    for field in lists:
        yield _line_sum(entity, field)


def _staged_sums(entity: str) -> Iterator[_Sum]:
    """What is staged was landed and judged, and is linked or asked about; candidates are no home."""
    name, staged, candidate = literal(entity), ident("staging", entity), ident("staging", f"{entity}_candidate")
    place = f"{name} || ' from ' || s.system || '/' || s.stream"
    link = f"c.entity = {name} and c.system = s.system and c.stream = s.stream and c.source_id = s.source_id"
    yield _Sum(
        "staged_was_landed",
        "each staged record was landed",
        f"select {place} as scope, count(*) as expected, count(r.raw_id) as found, min(s.source_id) filter (where"
        f" r.raw_id is null) as example from {staged} s left join landing.record r on r.system = s.system and"
        " r.stream ="
        " s.stream and r.source_id = s.source_id group by 1",
    )
    yield _Sum(
        "staged_was_judged",
        "each staged record came with a batch that passed the gate",
        f"select {place} as scope, count(*) as expected, count(b.id) as found, min(s.source_id) filter (where b.id is"
        f" null) as example from {staged} s left join ops.batch b on b.id = s.batch_id and b.state in ('passed',"
        f" 'split') and b.entity = {name} group by 1",
    )
    yield _Sum(
        "resolved_is_linked",
        "each resolved record that is not gone belongs to a golden record",
        f"select {place} as scope, count(*) as expected, count(c.id) as found, min(s.source_id) filter (where c.id is"
        f" null) as example from {staged} s left join ops.crosswalk c on {link} and c.ended_at is null"
        " where s.state = 'resolved' and not s.deleted group by 1",
    )
    yield _Sum(
        "doubtful_is_asked",
        "each record that waits for a review has one",
        f"select {place} as scope, count(*) as expected, count(v.source_id) as found, min(s.source_id) filter (where"
        f" v.source_id is null) as example from {staged} s left join (select distinct system, stream, source_id from"
        f" ops.review where entity = {name} and state <> 'withdrawn') v on v.system = s.system and v.stream = s.stream"
        " and v.source_id = s.source_id where s.state = 'review' and not s.deleted group by 1",
    )
    # what we created in a target is linked before it is read, and a target need not be a source
    yield _Sum(
        "linked_is_staged",
        "each linked record that is landed and passed is staged",
        f"select {place} as scope, count(*) as expected, count(t.source_id) as found, min(s.source_id) filter (where"
        " t.source_id is null) as example from ops.crosswalk s join landing.record r on r.system = s.system"
        " and r.stream"
        f" = s.stream and r.source_id = s.source_id and r.state = 'staged' and not r.deleted left join {staged} t on"
        " t.system = s.system and t.stream = s.stream and t.source_id = s.source_id"
        f" where s.entity = {name} and s.ended_at is null and not exists (select from ops.outbox o where o.entity ="
        " s.entity and o.system = s.system and o.stream = s.stream and o.canonical_id = s.canonical_id and o.op ="
        " 'create') group by 1",
    )
    # candidates of a process that died are no home: their records must be landed still, to be mapped again
    yield _Sum(
        "candidates_are_only_copies",
        "each candidate belongs to an open batch and its record is landed still",
        f"select {name} as scope, count(*) as expected, count(*) filter (where b.id is not null and r.state ="
        " 'landed') as found, min(s.source_id) filter (where b.id is null or r.state is distinct from 'landed') as"
        f" example from {candidate} s left join ops.batch b on b.id = s.batch_id and b.state = 'open' left join"
        " landing.record r on r.system = s.system and r.stream = s.stream and r.source_id = s.source_id",
    )


def _golden_sums(entity: str) -> Iterator[_Sum]:
    """Golden records have their sources, their history and their writes, and nothing else has."""
    name, golden = literal(entity), ident("golden", entity)
    place = f"{name} || ' from ' || s.system || '/' || s.stream"
    yield _Sum(
        "link_has_its_golden_record",
        "each live link leads to a golden record",
        f"select {place} as scope, count(*) as expected, count(g.id) as found, min(s.source_id) filter (where g.id is"
        f" null) as example from ops.crosswalk s left join {golden} g on g.id = s.canonical_id where s.entity = {name}"
        " and s.ended_at is null group by 1",
    )
    yield _Sum(
        "golden_record_has_its_sources",
        "each golden record has, or had, a source record",
        f"select {name} as scope, count(*) as expected, count(c.canonical_id) as found, min(g.id) filter (where"
        f" c.canonical_id is null) as example from {golden} g left join (select distinct canonical_id from"
        " ops.crosswalk"
        f" where entity = {name}) c on c.canonical_id = g.id",
    )
    yield _Sum(
        "history_is_whole",
        "a golden record's version = the number of its history's rows = the last of them",
        f"select {name} as scope, count(*) as expected, count(*) filter (where g.version = h.n and g.version = h.last)"
        " as found, min(coalesce(g.id, h.canonical_id)) filter (where (g.version = h.n and g.version = h.last) is not"
        f" true) as example from {golden} g full join (select canonical_id, count(*) as n, max(version) as last from"
        f" golden.history where entity = {name} group by 1) h on h.canonical_id = g.id",
    )
    yield _Sum(
        "write_has_its_golden_record",
        "each write is of a golden record",
        f"select {name} as scope, count(*) as expected, count(g.id) as found, min(o.id::text) filter (where g.id is"
        f" null) as example from ops.outbox o left join {golden} g on g.id = o.canonical_id where o.entity = {name}",
    )


def _line_sum(entity: str, field: str) -> _Sum:
    """The lines of one list field."""
    golden, lines, column = ident("golden", entity), ident("golden", f"{entity}_{field}"), ident(field)
    return _Sum(
        "lines_are_whole",
        "a golden record's lines stand as rows, as many as it has",
        f"select {literal(f'{entity}.{field}')} as scope, coalesce(sum(coalesce(g.n, 0)), 0) as expected,"
        " coalesce(sum(coalesce(l.n, 0)), 0) as found, min(coalesce(g.id, l.id)) filter (where coalesce(g.n, 0) <>"
        f" coalesce(l.n, 0)) as example from (select id, json_array_length({column}) as n from {golden}"
        f" where {column} is not null) g full join (select id, count(*) as n from {lines} group by 1) l using (id)",
    )


def verify(conn: Connection) -> list[LedgerCheck]:
    """Every sum over all there is: one result each with scope `all`, followed by the scopes where it does not agree.

    Sound at any moment, also beside a running sync and after a kill: read in one snapshot where `conn` is in a
    REPEATABLE READ transaction."""
    sums: dict[str, list[_Sum]] = {}
    for one in (*_LANDING, *_SYNCED, *_GATE, *_LINKS, *_OUTBOX):
        sums.setdefault(one.name, []).append(one)
    for entity, lists in entities(conn).items():
        for one in _entity_sums(entity, lists):
            sums.setdefault(one.name, []).append(one)
    return [result for group in sums.values() for result in _counted(conn, group)]


def _counted(conn: Connection, group: list[_Sum]) -> Iterator[LedgerCheck]:
    """One sum over all its scopes, then those that do not agree."""
    first = group[0]
    rows = " union all ".join(f"({one.sql})" for one in group)
    found = conn.execute(
        text(
            f"with counted as ({rows}), wrong as (select * from counted where expected <> found or example is not null)"
            " select 'all' as scope, coalesce(sum(expected), 0)::bigint as expected, coalesce(sum(found), 0)::bigint as"
            " found, (select count(*) from wrong)::text as example, 0 as place from counted union all (select scope,"
            f" expected::bigint, found::bigint, example::text, 1 from wrong order by scope limit {SHOWN})"
            " order by place, scope"
        )
    ).all()
    failing = int(found[0].example)
    total = LedgerCheck(first.name, "all", not failing, int(found[0].expected), int(found[0].found), first.means)
    yield total
    for row in found[1:]:
        because = f"{first.means}; for example {row.example}" if row.example else first.means
        yield LedgerCheck(first.name, str(row.scope), False, int(row.expected), int(row.found), because)


def entities(conn: Connection) -> Mapping[str, list[str]]:
    """The applied entities → their list fields that stand as rows, as the database has them."""
    found = conn.execute(
        text(
            "select s.relname as entity, coalesce(array_agg(a.attname order by a.attname) filter (where l.oid is not"
            " null), '{}') as lists from pg_class s join pg_namespace sn on sn.oid = s.relnamespace and sn.nspname ="
            " 'staging' join pg_namespace gn on gn.nspname = 'golden' join pg_class g on g.relnamespace = gn.oid and"
            " g.relname = s.relname join pg_class c on c.relnamespace = sn.oid and c.relname = s.relname ||"
            " '_candidate' join pg_attribute a on a.attrelid = g.oid and a.attnum > 0 and not a.attisdropped"
            " left join pg_class l on l.relnamespace = gn.oid and l.relname = g.relname || '_' || a.attname"
            " and l.relkind = 'r' and a.atttypid = 'json'::regtype where s.relkind = 'r' group by 1 order by 1"
        )
    )
    return {str(r.entity): list(r.lists) for r in found}


def summary(conn: Connection) -> dict[str, Any]:
    """The ledger's figures: records and writes by state, what waits for whom, what a dead process left behind."""
    records: dict[str, dict[str, int]] = {}
    for place, state, n in conn.execute(
        text(
            "select system || '/' || stream, case when deleted then 'deleted' else state end, count(*)"
            " from landing.record group by 1, 2 order by 1, 2"
        )
    ):
        records.setdefault(place, {})[state] = int(n)
    writes = dict.fromkeys(OUTBOX_STATES, 0)
    for state, n in conn.execute(text("select state, count(*) from ops.outbox group by 1")):
        writes[state] = int(n)
    golden = {
        entity: int(conn.execute(text(f"select count(*) from {ident('golden', entity)}")).scalar_one())
        for entity in entities(conn)
    }
    queues = {
        name: int(conn.execute(text(f"select count(*) from ops.{name} where state = 'open'")).scalar_one())
        for name in ("quarantine", "review", "hold", "finding", "dead_letter")
    }
    return {"records": records, "golden": golden, "writes": writes, "open": queues, "left_behind": left_behind(conn)}


def left_behind(conn: Connection) -> dict[str, int]:
    """Readings, batches and writes in flight whose process is gone; the next sync takes them up."""
    places = conn.execute(
        text(
            "select 'readings' as what, 'extract:' || system || '/' || stream as lane from landing.extract_run"
            " where state = 'running' union all select 'batches', 'stage:' || system || '/' || stream from ops.batch"
            " where state = 'open' union all select 'writes', 'worker:' || claimed_by from ops.outbox"
            " where state in ('inflight', 'unknown')"
        )
    ).all()
    held = {lane: locks.is_held(conn, lane) for lane in {p.lane for p in places}}
    found = {"readings": 0, "batches": 0, "writes": 0}
    for place in places:
        found[place.what] += not held[place.lane]
    return found
