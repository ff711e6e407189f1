"""Versions of a landscape's declarations: which one works now, and which ones did before (fault matrix 10, 59)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

from staging import audit, locks


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a landscape's declarations. `activated_at` None: known, and never at work."""

    digest: str
    activated_at: datetime | None
    activated_by: str | None
    files: Mapping[str, str]


def active(conn: Connection, landscape: str) -> Version | None:
    """The version that works: the one activated last. None: none ever was."""
    row = conn.execute(
        text(
            "select digest, activated_at, activated_by, files from ops.declaration where landscape = :name"
            " and activated_at is not null order by activated_at desc limit 1"
        ),
        {"name": landscape},
    ).one_or_none()
    return Version(row.digest, row.activated_at, row.activated_by, row.files) if row else None


def active_digest(conn: Connection, landscape: str) -> str | None:
    """The digest of the version that works."""
    return conn.execute(
        text(
            "select digest from ops.declaration where landscape = :name and activated_at is not null"
            " order by activated_at desc limit 1"
        ),
        {"name": landscape},
    ).scalar_one_or_none()


def activated_before(conn: Connection, digest: str) -> datetime | None:
    """When a version was last put to work; None: never."""
    found: datetime | None = conn.execute(
        text("select activated_at from ops.declaration where digest = :digest"), {"digest": digest}
    ).scalar_one_or_none()
    return found


def activate(conn: Connection, digest: str, *, by: str, reason: str | None = None) -> None:
    """Puts a known version to work from now on. `reason`: said by a person who puts an older one back."""
    conn.execute(
        text(
            "update ops.declaration set activated_at = clock_timestamp(), activated_by = :by,"
            " activated_because = :reason where digest = :digest"
        ),
        {"digest": digest, "by": by, "reason": reason},
    )
    if reason is not None:
        audit.append(conn, by, "declaration.activated", f"declaration:{digest}", reason=reason)


def gate(conn: Connection, landscape: str) -> None:
    """One at a time decides which version of a landscape works, until the transaction ends."""
    locks.gate(conn, f"declaration:{landscape}")
