"""Incidents and the messages about them: one open incident a cause, messages in an outbox of their own (DESIGN 9.18).

An incident and its message commit together; sending comes after, and a message that was not accepted stays `ready`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text


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
    is_told: bool


@dataclass(frozen=True, slots=True)
class Alert:
    """A message that waits to be sent."""

    id: int
    title: str
    lines: tuple[str, ...]
    channel: str | None


_CAUSE = "key, kind, integration, system, owner, cause, unaffected, next_step"


def open_or_escalate(conn: Connection, cause: Cause) -> Standing:
    """Opens the incident of a cause, or counts it once more and takes what is said of it now."""
    found = conn.execute(
        text(
            f"insert into ops.incident ({_CAUSE}, state) values (:key, :kind, :integration, :system, :owner, :cause,"
            " :unaffected, :next_step, 'open') on conflict (key) where state = 'open' do update set"
            " times = incident.times + 1, last_seen_at = clock_timestamp(), integration = excluded.integration,"
            " owner = excluded.owner, cause = excluded.cause, unaffected = excluded.unaffected,"
            " next_step = excluded.next_step returning id"
        ),
        {name: getattr(cause, name) for name in _CAUSE.split(", ")},
    )
    return _standing(conn, int(found.scalar_one()))


def _standing(conn: Connection, incident_id: int) -> Standing:
    row = conn.execute(
        text(
            "select i.id, i.times, i.opened_at, clock_timestamp() as now,"
            " max(a.created_at) as told_at,"
            " coalesce(bool_or(a.incident_id = i.id), false) as is_told,"
            " coalesce(bool_or(a.incident_id = i.id and a.state = 'ready'), false) as is_queued"
            " from ops.incident i left join ops.incident same on same.key = i.key"
            " left join ops.alert_outbox a on a.incident_id = same.id where i.id = :id group by i.id"
        ),
        {"id": incident_id},
    ).one()
    return Standing(**row._mapping)


def note(conn: Connection, cause: Cause, since: datetime, title: str, lines: Sequence[str], *, is_told: bool) -> None:
    """Opens the incident of a cause as of `since`; `is_told`: with the message that somebody else sent then."""
    incident_id = open_or_escalate(conn, cause).id
    conn.execute(
        text("update ops.incident set opened_at = least(opened_at, :since) where id = :id"),
        {"id": incident_id, "since": since},
    )
    if is_told:
        conn.execute(
            text(
                "insert into ops.alert_outbox (incident_id, title, lines, state, attempts, created_at, sent_at)"
                " values (:incident, :title, :lines, 'sent', 1, :since, :since)"
            ),
            {"incident": incident_id, "title": title, "lines": list(lines), "since": since},
        )


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
            " exists (select from ops.alert_outbox a where a.incident_id = i.id) as is_told"
        ),
        {"keys": list(keys)},
    ).mappings()
    return [
        Recovered(int(r["id"]), _cause(r), int(r["times"]), r["opened_at"], r["closed_at"], bool(r["is_told"]))
        for r in rows
    ]


def open_keys(conn: Connection) -> list[str]:
    """The keys of all open incidents."""
    return [str(k) for k in conn.execute(text("select key from ops.incident where state = 'open'")).scalars()]


def open_incidents(conn: Connection) -> list[tuple[Cause, int, datetime]]:
    """Every open incident with how often and since when it was seen, the oldest first."""
    rows = conn.execute(
        text(f"select {_CAUSE}, times, opened_at from ops.incident where state = 'open' order by opened_at")
    ).mappings()
    return [(_cause(r), int(r["times"]), r["opened_at"]) for r in rows]


def queue_alert(conn: Connection, incident_id: int, title: str, lines: Sequence[str], channel: str | None) -> None:
    """Writes a message about an incident, to be sent after this transaction."""
    conn.execute(
        text(
            "insert into ops.alert_outbox (incident_id, title, lines, channel, state, created_at)"
            " values (:incident, :title, :lines, :channel, 'ready', clock_timestamp())"
        ),
        {"incident": incident_id, "title": title, "lines": list(lines), "channel": channel},
    )


def reword_alert(conn: Connection, incident_id: int, title: str, lines: Sequence[str]) -> None:
    """Replaces the text of a message that still waits: one message says what two would."""
    conn.execute(
        text(
            "update ops.alert_outbox set title = :title, lines = :lines where incident_id = :incident"
            " and state = 'ready'"
        ),
        {"incident": incident_id, "title": title, "lines": list(lines)},
    )


def next_alert(conn: Connection, after: int) -> Alert | None:
    """The next message to send, locked until this transaction ends: nobody else sends it meanwhile."""
    row = conn.execute(
        text(
            "select id, title, lines, channel from ops.alert_outbox where state = 'ready' and id > :after"
            " order by id limit 1 for update skip locked"
        ),
        {"after": after},
    ).one_or_none()
    return Alert(int(row.id), row.title, tuple(row.lines), row.channel) if row is not None else None


def settle_alert(conn: Connection, alert_id: int, *, error: str | None = None, is_final: bool = True) -> None:
    """What became of a message: sent; refused for good; or (not final) to be tried again."""
    state = "ready" if not is_final else "failed" if error else "sent"
    conn.execute(
        text(
            "update ops.alert_outbox set state = :state, attempts = attempts + 1, error = :error,"
            " sent_at = case when :state = 'sent' then clock_timestamp() end where id = :id"
        ),
        {"id": alert_id, "state": state, "error": error[:500] if error else None},
    )


def _cause(row: object) -> Cause:
    return Cause(**{name: row[name] for name in _CAUSE.split(", ")})  # type: ignore[index]
