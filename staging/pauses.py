"""Pauses: systems and integrations whose writes rest, who said so, why and until when (DESIGN 9.15).

A pause is heeded by every claim, so it works within one batch of whatever is being sent. One that has reached its time
rests no more; the row is closed when somebody next looks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from staging import audit

_OPEN = "p.ended_at is null and (p.until is null or p.until > clock_timestamp())"
RESTS = (
    f"exists (select from ops.pause p where {_OPEN} and p.what in ('system:' || o.system, 'integration:' ||"
    " o.integration) and (p.except_sync_id is null or p.except_sync_id is distinct from o.sync_id))"
)
"""Whether the outbox row `o` rests now."""


@dataclass(frozen=True, slots=True)
class Pause:
    """A pause that holds now. `what` is `system:NAME` or `integration:NAME`."""

    what: str
    by: str
    reason: str
    at: datetime
    until: datetime | None

    @property
    def name(self) -> str:
        return self.what.partition(":")[2]

    @property
    def said(self) -> str:
        """The pause as one clause: who, why, until when."""
        until = f" until {self.until:%Y-%m-%d %H:%M %Z}" if self.until else ""
        return f"{self.name} is paused by {self.by} since {self.at:%Y-%m-%d %H:%M %Z}{until}: {self.reason}"


def pause(
    conn: Connection,
    what: str,
    *,
    by: str,
    reason: str,
    until: datetime | None = None,
    except_sync_id: int | None = None,
) -> None:
    """Lets writes rest from now on; a pause of the same thing that holds already gives way to this one.

    `except_sync_id`: the writes of this sync go on (an undo goes through the pause that it asks for)."""
    _end(conn, what, by=by, because="another pause took its place")
    conn.execute(
        text(
            "insert into ops.pause (what, by, reason, until, except_sync_id)"
            " values (:what, :by, :reason, :until, :except)"
        ),
        {"what": what, "by": by, "reason": reason, "until": until, "except": except_sync_id},
    )
    audit.append(conn, by, "paused", what, {"until": until, "except_sync": except_sync_id}, reason=reason)


def resume(conn: Connection, what: str, *, by: str, reason: str) -> bool:
    """Ends a pause; says whether there was one."""
    close_over(conn)
    is_ended = bool(_end(conn, what, by=by, because=reason))
    if is_ended:
        audit.append(conn, by, "resumed", what, reason=reason)
    return is_ended


def _end(conn: Connection, what: str, *, by: str, because: str) -> int:
    found = conn.execute(
        text(
            "update ops.pause set ended_at = now(), ended_by = :by, ended_because = :because"
            " where what = :what and ended_at is null"
        ),
        {"what": what, "by": by, "because": because},
    )
    return int(found.rowcount)


def close_over(conn: Connection) -> int:
    """Closes pauses whose time is over; gives how many."""
    found = conn.execute(
        text(
            "update ops.pause set ended_at = until, ended_by = 'concord', ended_because = 'its time was over'"
            " where ended_at is null and until <= clock_timestamp()"
        )
    )
    return int(found.rowcount)


def active(conn: Connection) -> list[Pause]:
    """Every pause that holds now."""
    found = conn.execute(text(f"select what, by, reason, at, until from ops.pause p where {_OPEN} order by what"))
    return [Pause(r.what, r.by, r.reason, r.at, r.until) for r in found]


def resting(conn: Connection) -> frozenset[str]:
    """What rests now: `system:NAME`, `integration:NAME`."""
    return frozenset(p.what for p in active(conn))


def rests(what: frozenset[str], integration: str, system: str) -> bool:
    """Whether an integration's way to a system rests."""
    return f"integration:{integration}" in what or f"system:{system}" in what


def waiting_behind(conn: Connection, names: Sequence[str]) -> Mapping[str, int]:
    """How many writes and noted records wait behind each of these pauses: what → count."""
    if not names:
        return {}
    found: Mapping[str, Any] = dict(
        conn.execute(
            text(
                "select w.what, (select count(*) from ops.outbox o where o.state in ('planned', 'ready', 'waiting')"
                " and w.what in ('system:' || o.system, 'integration:' || o.integration)) + (select count(*) from"
                " ops.dirty d where w.what in ('system:' || d.system, 'integration:' || d.integration)) as n"
                " from unnest(cast(:names as text[])) as w (what)"
            ),
            {"names": list(names)},
        )
        .tuples()
        .all()
    )
    return {what: int(n) for what, n in found.items()}
