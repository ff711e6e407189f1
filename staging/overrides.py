"""Overrides: a person's word that the brake of an integration holds nothing until a time (RELIABILITY P12, P23).

Asking (`ask_when`, `mode: ask`) is not overridden. Each set that goes by an override is held and approved in one
transaction, with its hashes, so that the approvals tell what went and by whose word.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from staging import audit


@dataclass(frozen=True, slots=True)
class Override:
    """An override that is in force."""

    id: int
    integration: str
    by: str
    reason: str
    at: datetime
    until: datetime


def begin(conn: Connection, integration: str, *, by: str, reason: str, until: datetime) -> Override:
    """Lifts the brake of an integration until then; one that is in force gives way to this one."""
    _end(conn, integration, by=by, because="another override took its place")
    row = conn.execute(
        text(
            "insert into ops.override (integration, by, reason, until) values (:integration, :by, :reason, :until)"
            " returning id, integration, by, reason, at, until"
        ),
        {"integration": integration, "by": by, "reason": reason, "until": until},
    ).one()
    made = Override(*row)
    detail = {"until": made.until.isoformat(), "override": made.id}
    audit.append(conn, by, "brake.lifted", f"integration:{integration}", detail, reason=reason)
    return made


def end(conn: Connection, integration: str, *, by: str, reason: str) -> bool:
    """Puts the brake back before the time; says whether it was lifted."""
    _close_over(conn)
    is_ended = bool(_end(conn, integration, by=by, because=reason))
    if is_ended:
        audit.append(conn, by, "brake.restored", f"integration:{integration}", reason=reason)
    return is_ended


def active(conn: Connection, integration: str) -> Override | None:
    """The override of an integration's brake that is in force now."""
    return next((o for o in listed(conn) if o.integration == integration), None)


def listed(conn: Connection) -> list[Override]:
    """Every override that is in force now."""
    found = conn.execute(
        text(
            "select id, integration, by, reason, at, until from ops.override where ended_at is null"
            " and until > clock_timestamp() order by integration"
        )
    )
    return [Override(*row) for row in found]


def as_dict(one: Override) -> dict[str, Any]:
    """As `--json` shows it."""
    return {"integration": one.integration, "by": one.by, "reason": one.reason, "at": one.at, "until": one.until}


def _close_over(conn: Connection) -> None:
    conn.execute(
        text(
            "update ops.override set ended_at = until, ended_by = 'concord', ended_because = 'its time was over'"
            " where ended_at is null and until <= clock_timestamp()"
        )
    )


def _end(conn: Connection, integration: str, *, by: str, because: str) -> int:
    _close_over(conn)
    found = conn.execute(
        text(
            "update ops.override set ended_at = now(), ended_by = :by, ended_because = :because"
            " where integration = :integration and ended_at is null"
        ),
        {"integration": integration, "by": by, "because": because},
    )
    return int(found.rowcount)
