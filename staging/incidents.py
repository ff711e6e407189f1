"""Incidents: one open one a cause (DESIGN 9.18). Its messages (`staging.alerts`) commit together with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

from staging import alerts


@dataclass(frozen=True, slots=True)
class Cause:
    """What needs a person, in names, ids and counts; `key` is the same for the same cause."""

    key: str
    kind: str
    integration: str
    system: str | None
    owner: str
    cause: str
    unaffected: str
    next_step: str


@dataclass(frozen=True, slots=True)
class Standing:
    """An incident after it was opened or seen again, by the database's clock."""

    id: int
    times: int
    opened_at: datetime
    now: datetime
    told_at: datetime | None
    """When the last message about this cause was made, also by an earlier incident; None: never."""
    is_told: bool
    """Whether a message about this very incident was made."""
    is_queued: bool
    """Whether a message about it still waits to be sent."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """An incident that was closed."""

    id: int
    cause: Cause
    times: int
    opened_at: datetime
    closed_at: datetime
    told_at: datetime | None
    """When the last message about this incident was made; None: nobody heard of it."""


_CAUSE = "key, kind, integration, system, owner, cause, unaffected, next_step"


def open_or_escalate(conn: Connection, cause: Cause) -> Standing:
    """Opens the incident of a cause, or counts it once more and takes what is said of it now.

    A cause that comes back before anybody was told of its end goes on as the same incident."""
    values = {name: getattr(cause, name) for name in _CAUSE.split(", ")}
    if back := _taken_up(conn, cause.key):
        alerts.withdraw_recovery(conn, back)
    found = conn.execute(
        text(
            f"insert into ops.incident ({_CAUSE}, state) values (:key, :kind, :integration, :system, :owner, :cause,"
            " :unaffected, :next_step, 'open') on conflict (key) where state = 'open' do update set"
            " times = incident.times + 1, last_seen_at = clock_timestamp(), integration = excluded.integration,"
            " owner = excluded.owner, cause = excluded.cause, unaffected = excluded.unaffected,"
            " next_step = excluded.next_step returning id"
        ),
        values,
    )
    return _standing(conn, int(found.scalar_one()))


def _taken_up(conn: Connection, key: str) -> int | None:
    """Opens the last incident of a cause again if the message of its end still waits; gives its number."""
    found: int | None = conn.execute(
        text(
            "update ops.incident i set state = 'open', closed_at = null where i.key = :key and i.state = 'recovered'"
            " and not exists (select from ops.incident o where o.key = i.key and o.id > i.id)"
            " and exists (select from ops.alert_outbox a where a.incident_id = i.id and a.kind = 'recovered'"
            " and a.state = 'ready') returning id"
        ),
        {"key": key},
    ).scalar_one_or_none()
    return found


def _standing(conn: Connection, incident_id: int) -> Standing:
    # what was withdrawn was never told
    row = conn.execute(
        text(
            "select i.id, i.times, i.opened_at, clock_timestamp() as now,"
            " max(coalesce(a.sent_at, a.created_at)) as told_at,"
            " coalesce(bool_or(a.incident_id = i.id), false) as is_told,"
            " coalesce(bool_or(a.incident_id = i.id and a.state = 'ready'), false) as is_queued"
            " from ops.incident i left join ops.incident same on same.key = i.key"
            " left join ops.alert_outbox a on a.incident_id = same.id"
            " and (a.state <> 'folded' or a.folded_into is not null) where i.id = :id group by i.id"
        ),
        {"id": incident_id},
    ).one()
    return Standing(**row._mapping)


def note(
    conn: Connection, cause: Cause, since: datetime, title: str, lines: Sequence[str], *, told_by: str | None
) -> None:
    """Opens the incident of a cause as of `since`; `told_by`: who sent its message then."""
    incident_id = open_or_escalate(conn, cause).id
    conn.execute(
        text("update ops.incident set opened_at = least(opened_at, :since) where id = :id"),
        {"id": incident_id, "since": since},
    )
    if told_by:
        alerts.note_sent(conn, incident_id, title, lines, told_by, since)


def seen_since(conn: Connection, key: str, since: datetime) -> bool:
    """Whether an incident of this key was opened or seen at or after `since`, be it open or over by now."""
    found = conn.execute(
        text("select exists (select from ops.incident where key = :key and last_seen_at >= :since)"),
        {"key": key, "since": since},
    )
    return bool(found.scalar_one())


def untold(conn: Connection) -> list[tuple[Cause, Standing]]:
    """Open incidents that nobody was told of yet, because their cause had been told of a moment before."""
    rows = conn.execute(
        text(
            f"select id, {_CAUSE} from ops.incident i where state = 'open'"
            " and not exists (select from ops.alert_outbox a where a.incident_id = i.id) order by id for update"
        )
    ).mappings()
    return [(_cause(row), _standing(conn, int(row["id"]))) for row in rows.all()]


def recover(conn: Connection, keys: Sequence[str]) -> list[Recovered]:
    """Closes the open incidents of these keys."""
    rows = conn.execute(
        text(
            "update ops.incident i set state = 'recovered', closed_at = clock_timestamp() where state = 'open'"
            f" and key = any(:keys) returning id, {_CAUSE}, times, opened_at, closed_at,"
            " (select max(coalesce(a.sent_at, a.created_at)) from ops.alert_outbox a where a.incident_id = i.id"
            " and (a.state <> 'folded' or a.folded_into is not null)) as told_at"
        ),
        {"keys": list(keys)},
    ).mappings()
    return [
        Recovered(int(r["id"]), _cause(r), int(r["times"]), r["opened_at"], r["closed_at"], r["told_at"]) for r in rows
    ]


def open_keys(conn: Connection) -> list[str]:
    """The keys of all open incidents."""
    return [str(k) for k in conn.execute(text("select key from ops.incident where state = 'open'")).scalars()]


def recovered_lately(conn: Connection, key: str, seconds: float) -> bool:
    """Whether an incident of this key ended no longer ago than this."""
    found = conn.execute(
        text(
            "select exists (select from ops.incident where key = :key and state = 'recovered'"
            " and closed_at > clock_timestamp() - make_interval(secs => :seconds))"
        ),
        {"key": key, "seconds": seconds},
    )
    return bool(found.scalar_one())


def open_incidents(conn: Connection) -> list[tuple[Cause, int, datetime]]:
    """Every open incident with how often and since when it was seen, the oldest first."""
    rows = conn.execute(
        text(f"select {_CAUSE}, times, opened_at from ops.incident where state = 'open' order by opened_at")
    ).mappings()
    return [(_cause(r), int(r["times"]), r["opened_at"]) for r in rows]


def cause_of(conn: Connection, incident_id: int) -> Cause:
    """What an incident is about."""
    row = conn.execute(text(f"select {_CAUSE} from ops.incident where id = :id"), {"id": incident_id}).mappings()
    return _cause(row.one())


def _cause(row: object) -> Cause:
    return Cause(**{name: row[name] for name in _CAUSE.split(", ")})  # type: ignore[index]
