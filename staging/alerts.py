"""Messages about incidents: an outbox of their own, one row for each place that a message goes to.

A message commits with its incident and is sent afterwards, by whoever holds the place's lane; every try is kept. What
is not accepted stays `ready` and rests until `due_at`; what is said by another message is `folded` into that one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import Connection, text

Kind = Literal["opened", "recovered", "digest"]


@dataclass(frozen=True, slots=True)
class Address:
    """Where one copy of a message goes: a messenger (a system's name), its channel, and people there."""

    via: str
    channel: str | None = None
    recipients: tuple[str, ...] = ()

    @property
    def place(self) -> tuple[str, str]:
        """The messenger and its channel, or "" where it has one only."""
        return self.via, self.channel or ""


@dataclass(frozen=True, slots=True)
class Alert:
    """A message that waits to be sent to one place."""

    id: int
    incident_id: int | None
    kind: Kind
    title: str
    lines: tuple[str, ...]
    address: Address
    attempts: int
    created_at: datetime
    rest_seconds: float
    """How long it still rests after it was not accepted; 0 or less: it may be sent now."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What a place was sent in a while."""

    messages: int
    digests: int


def queue(
    conn: Connection,
    incident_id: int | None,
    kind: Kind,
    title: str,
    lines: Sequence[str],
    address: Address,
    *,
    due_at: datetime | None = None,
) -> int:
    """Writes a message, to be sent after this transaction and not before `due_at` (None: now); gives its number."""
    found = conn.execute(
        text(
            "insert into ops.alert_outbox (incident_id, kind, title, lines, via, channel, recipients, state,"
            " created_at, due_at) values (:incident, :kind, :title, :lines, :via, :channel, :recipients, 'ready',"
            " clock_timestamp(), coalesce(:due, clock_timestamp())) returning id"
        ),
        {
            "incident": incident_id,
            "kind": kind,
            "title": title,
            "lines": list(lines),
            "via": address.via,
            "channel": address.channel,
            "recipients": list(address.recipients),
            "due": due_at,
        },
    )
    return int(found.scalar_one())


def note_sent(conn: Connection, incident_id: int, title: str, lines: Sequence[str], via: str, at: datetime) -> None:
    """Puts on record a message that somebody else sent."""
    conn.execute(
        text(
            "insert into ops.alert_outbox (incident_id, kind, title, lines, via, state, attempts, created_at, due_at,"
            " sent_at) values (:incident, 'opened', :title, :lines, :via, 'sent', 1, :at, :at, :at)"
        ),
        {"incident": incident_id, "title": title, "lines": list(lines), "via": via, "at": at},
    )


def reword(conn: Connection, incident_id: int, kind: Kind, title: str, lines: Sequence[str]) -> set[tuple[str, str]]:
    """Replaces the text of an incident's messages that still wait: one message says what two would. Gives the places,
    (messenger, channel or ""), that they wait for."""
    rows = conn.execute(
        text(
            "update ops.alert_outbox set kind = :kind, title = :title, lines = :lines where incident_id = :incident"
            " and state = 'ready' returning via, coalesce(channel, '') as channel"
        ),
        {"incident": incident_id, "kind": kind, "title": title, "lines": list(lines)},
    )
    return {(r.via, r.channel) for r in rows}


def places_told(conn: Connection, incident_id: int) -> list[Address]:
    """Where an incident was told of, or is about to be: once each; not what was told in another place's stead."""
    rows = conn.execute(
        text(
            "select via, channel, recipients from ops.alert_outbox where incident_id = :id and stands_in_for is null"
            " group by via, channel, recipients order by min(id)"
        ),
        {"id": incident_id},
    )
    return [Address(r.via, r.channel, tuple(r.recipients)) for r in rows]


def withdraw_recovery(conn: Connection, incident_id: int) -> None:
    """The end of an incident need not be told any more: its cause is back before anybody heard that it was gone."""
    conn.execute(
        text(
            "update ops.alert_outbox set state = 'folded', error = 'its cause came back'"
            " where incident_id = :id and kind = 'recovered' and state = 'ready'"
        ),
        {"id": incident_id},
    )


def retire_told_elsewhere(conn: Connection, incident_id: int) -> None:
    """Messages that still wait, but that another place has taken in their stead, are not worth sending any more."""
    conn.execute(
        text(
            "update ops.alert_outbox a set state = 'folded', folded_into = b.id, error = 'told elsewhere, and over'"
            " from ops.alert_outbox b where a.incident_id = :id and a.state = 'ready' and b.stands_in_for = a.id"
        ),
        {"id": incident_id},
    )


_ALERT = (
    "id, incident_id, kind, title, lines, via, channel, recipients, attempts, created_at,"
    " extract(epoch from due_at - clock_timestamp())::float8 as rest_seconds"
)


def waiting(conn: Connection, via: str) -> list[Alert]:
    """A place's messages that wait, in their order, those included that rest or are not due yet."""
    rows = conn.execute(
        text(f"select {_ALERT} from ops.alert_outbox where state = 'ready' and via = :via order by id"), {"via": via}
    )
    return [
        Alert(
            int(r.id), r.incident_id, r.kind, r.title, tuple(r.lines),
            Address(r.via, r.channel, tuple(r.recipients)), r.attempts, r.created_at, float(r.rest_seconds),
        )
        for r in rows
    ]  # fmt: skip


def sent_lately(conn: Connection, via: str, channel: str | None, seconds: float) -> Sent:
    """What a place was sent in so many seconds."""
    row = conn.execute(
        text(
            "select count(*) as messages, count(*) filter (where kind = 'digest') as digests from ops.alert_outbox"
            " where via = :via and channel is not distinct from :channel and state = 'sent'"
            " and sent_at > clock_timestamp() - make_interval(secs => :seconds)"
        ),
        {"via": via, "channel": channel, "seconds": seconds},
    ).one()
    return Sent(int(row.messages), int(row.digests))


def fold(conn: Connection, ids: Sequence[int], into: int) -> None:
    """These messages are said by another one."""
    conn.execute(
        text(
            "update ops.alert_outbox set state = 'folded', folded_into = :into where id = any(:ids) and state = 'ready'"
        ),
        {"ids": list(ids), "into": into},
    )


def settle_sent(conn: Connection, alert_id: int) -> None:
    """A message was accepted."""
    conn.execute(
        text(
            "update ops.alert_outbox set state = 'sent', attempts = attempts + 1, error = null,"
            " sent_at = clock_timestamp() where id = :id and state = 'ready'"
        ),
        {"id": alert_id},
    )
    _attempt(conn, alert_id, "sent", None)


def settle_refused(conn: Connection, alert_id: int, error: str) -> None:
    """A message was refused for good; the others go on."""
    conn.execute(
        text(
            "update ops.alert_outbox set state = 'failed', attempts = attempts + 1, error = :error where id = :id"
            " and state = 'ready'"
        ),
        {"id": alert_id, "error": error},
    )
    _attempt(conn, alert_id, "refused", error)


def settle_failed(conn: Connection, alert_id: int, error: str, wait_seconds: float) -> None:
    """A message was not accepted now; it rests for a while."""
    conn.execute(
        text(
            "update ops.alert_outbox set attempts = attempts + 1, error = :error,"
            " due_at = clock_timestamp() + make_interval(secs => :wait) where id = :id and state = 'ready'"
        ),
        {"id": alert_id, "error": error, "wait": wait_seconds},
    )
    _attempt(conn, alert_id, "failed", error)


def _attempt(conn: Connection, alert_id: int, outcome: str, error: str | None) -> None:
    conn.execute(
        text(
            "insert into ops.alert_attempt (alert_id, outcome, error, at)"
            " values (:id, :outcome, :error, clock_timestamp())"
        ),
        {"id": alert_id, "outcome": outcome, "error": error},
    )


def copy_elsewhere(conn: Connection, alert_id: int, address: Address) -> bool:
    """The same message to another place, in the first one's stead; once, however often the first one fails."""
    found = conn.execute(
        text(
            "insert into ops.alert_outbox (incident_id, kind, title, lines, via, channel, recipients, state,"
            " stands_in_for, created_at, due_at) select incident_id, kind, title, lines, :via, :channel, :recipients,"
            " 'ready', id, created_at, clock_timestamp() from ops.alert_outbox a where id = :id"
            " and not exists (select from ops.alert_outbox b where b.stands_in_for = a.id"
            " and b.channel is not distinct from :channel)"
        ),
        {"id": alert_id, "via": address.via, "channel": address.channel, "recipients": list(address.recipients)},
    )
    return bool(found.rowcount)


@dataclass(frozen=True, slots=True)
class Silent:
    """A messenger that has not taken what it was given."""

    via: str
    messages: int
    since: datetime
    error: str


def silent_messengers(conn: Connection, seconds: float) -> list[Silent]:
    """Places whose messages were tried and have waited for longer than this."""
    rows = conn.execute(
        text(
            "select via, count(*) as messages, min(created_at) as since, max(error) as error from ops.alert_outbox"
            " where state = 'ready' and attempts > 0 and created_at < clock_timestamp() - make_interval(secs => :s)"
            " group by via order by via"
        ),
        {"s": seconds},
    )
    return [Silent(r.via, int(r.messages), r.since, str(r.error)) for r in rows]
