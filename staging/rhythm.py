"""When each integration ran last: what is asked of our own ledger, because a killed run may look alive elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from staging.pauses import RESTS


@dataclass(frozen=True, slots=True)
class LastRuns:
    """What the ledger knows of one integration's syncs, `all` included. None: never."""

    integration: str
    started_at: datetime | None
    """The latest start, whatever became of it."""
    completed_at: datetime | None
    """The latest end of a sync that was complete."""
    ended_at: datetime | None = None
    """The latest end, whatever became of it."""
    is_running: bool = False


@dataclass(frozen=True, slots=True)
class RunningSync:
    """A sync that the ledger holds for running."""

    id: int
    integration: str
    started_at: datetime
    started_by: str | None
    flow_run_id: str | None


@dataclass(frozen=True, slots=True)
class OverdueHold:
    """A hold that nobody answered in its time."""

    id: int
    integration: str
    system: str
    stream: str
    op: str
    writes: int
    owner: str | None
    due_at: datetime


def clock(conn: Connection) -> datetime:
    """The database's clock: the only one that counts."""
    now: datetime = conn.execute(text("select clock_timestamp()")).scalar_one()
    return now


def last_runs(conn: Connection, integrations: Sequence[str]) -> list[LastRuns]:
    """For each integration its latest start and its latest complete end. Syncs turned away as busy did not run."""
    rows = conn.execute(
        text(
            "select n.name as integration, max(s.started_at) as started_at,"
            " max(s.ended_at) filter (where s.state = 'complete') as completed_at, max(s.ended_at) as ended_at,"
            " coalesce(bool_or(s.state = 'running'), false) as is_running"
            " from unnest(cast(:names as text[])) as n(name)"
            " left join ops.sync s on s.integration in (n.name, 'all') and (s.summary is not null or s.state in"
            " ('running', 'complete', 'abandoned')) group by 1 order by 1"
        ),
        {"names": list(integrations)},
    )
    return [LastRuns(**r._mapping) for r in rows]


@dataclass(frozen=True, slots=True)
class Waiting:
    """Changes of an integration that were accepted and wait for longer than it promises."""

    integration: str
    system: str
    """Where they are to be written."""
    writes: int
    since: datetime


def late_writes(conn: Connection, promised: Mapping[str, float]) -> list[Waiting]:
    """Writes that nothing holds back (no hold, no parent, no pause) and that wait for longer than so many seconds by
    integration, the longest first."""
    rows = conn.execute(
        text(
            "select o.integration, o.system, count(*) as writes, min(o.created_at) as since from ops.outbox o"
            " join unnest(cast(:names as text[]), cast(:seconds as float8[])) as p (name, seconds)"
            " on p.name = o.integration where o.state in ('planned', 'ready', 'inflight', 'unknown')"
            f" and o.created_at < clock_timestamp() - make_interval(secs => p.seconds) and not {RESTS}"
            " group by 1, 2 order by 4"
        ),
        {"names": list(promised), "seconds": list(promised.values())},
    )
    return [Waiting(**r._mapping) for r in rows]


@dataclass(frozen=True, slots=True)
class NotTaken:
    """Records of a stream that were read and not taken over yet."""

    system: str
    stream: str
    records: int
    since: datetime


def late_records(conn: Connection, seconds: float) -> list[NotTaken]:
    """Records that were read and have waited for longer than this to be mapped and validated."""
    rows = conn.execute(
        text(
            "select system, stream, count(*) as records, min(landed_at) as since from landing.record"
            " where state = 'landed' and landed_at < clock_timestamp() - make_interval(secs => :s)"
            " group by 1, 2 order by 4"
        ),
        {"s": seconds},
    )
    return [NotTaken(**r._mapping) for r in rows]


def is_covered(conn: Connection, integration: str, mode: str, due: datetime) -> bool:
    """Whether a complete sync, begun after a run was due, has done what that run was to do."""
    found = conn.execute(
        text(
            "select exists (select from ops.sync where integration in (:name, 'all') and mode in ('full', :mode)"
            " and state = 'complete' and started_at >= :due)"
        ),
        {"name": integration, "mode": mode, "due": due},
    )
    return bool(found.scalar_one())


def known_since(conn: Connection, landscape: str) -> datetime | None:
    """When this landscape was first put to work here; None: never."""
    found: datetime | None = conn.execute(
        text("select min(first_used_at) from ops.declaration where landscape = :name"), {"name": landscape}
    ).scalar_one()
    return found


def running_syncs(conn: Connection, older_than_seconds: float) -> list[RunningSync]:
    """Syncs that began at least so long ago and have not said that they ended."""
    rows = conn.execute(
        text(
            "select id, integration, started_at, started_by, flow_run_id from ops.sync where state = 'running'"
            " and started_at < clock_timestamp() - make_interval(secs => :age) order by id"
        ),
        {"age": older_than_seconds},
    )
    return [RunningSync(int(r.id), r.integration, r.started_at, r.started_by, r.flow_run_id) for r in rows]


def abandon(conn: Connection, sync_id: int) -> bool:
    """Closes a sync whose process is gone; False when it was closed meanwhile."""
    found = conn.execute(
        text(
            "update ops.sync set state = 'abandoned', ended_at = clock_timestamp(),"
            " error = 'its process ended without a word' where id = :id and state = 'running'"
        ),
        {"id": sync_id},
    )
    return bool(found.rowcount)


def abandoned_lately(conn: Connection, seconds: float) -> list[RunningSync]:
    """Syncs of flow runs that were closed because their process was gone, no longer ago than this."""
    rows = conn.execute(
        text(
            "select id, integration, started_at, started_by, flow_run_id from ops.sync where state = 'abandoned'"
            " and flow_run_id is not null and ended_at > clock_timestamp() - make_interval(secs => :age) order by id"
        ),
        {"age": seconds},
    )
    return [RunningSync(int(r.id), r.integration, r.started_at, r.started_by, r.flow_run_id) for r in rows]


def overdue_holds(conn: Connection, integrations: Sequence[str]) -> list[OverdueHold]:
    """Open holds whose time to answer is over, the oldest first."""
    rows = conn.execute(
        text(
            "select id, integration, system, stream, op, writes, owner, due_at from ops.hold where state = 'open'"
            " and due_at < clock_timestamp() and integration = any(:names) order by due_at"
        ),
        {"names": list(integrations)},
    )
    return [OverdueHold(**r._mapping) for r in rows]


def summary_of(conn: Connection, flow_run_id: str) -> Mapping[str, Any] | None:
    """What the sync of a flow run did; None: it did not come so far."""
    found: Mapping[str, Any] | None = conn.execute(
        text("select summary from ops.sync where flow_run_id = :id order by id desc limit 1"), {"id": flow_run_id}
    ).scalar_one_or_none()
    return found
