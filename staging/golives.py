"""Going live: a person's word that a target which is declared to be observed is written to from now on (DESIGN 9.15).

The declaration is the first word: `mode: write` and `mode: ask` are live as declared, and nothing is recorded for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

from staging import audit

Place = tuple[str, str, str]
"""Integration, system, stream."""


@dataclass(frozen=True, slots=True)
class GoingLive:
    """Who let a target go live, when, and after having seen which plan."""

    integration: str
    system: str
    stream: str
    by: str
    at: datetime
    saved_plan_id: int
    digest: str


def live(conn: Connection) -> Mapping[Place, GoingLive]:
    """Every target that a person let go live and did not take back."""
    found = conn.execute(
        text(
            "select integration, system, stream, by, at, saved_plan_id, digest from ops.going_live"
            " where ended_at is null order by id"
        )
    )
    return {
        (r.integration, r.system, r.stream): GoingLive(
            r.integration, r.system, r.stream, r.by, r.at, r.saved_plan_id, r.digest
        )
        for r in found
    }


def go(conn: Connection, place: Place, *, by: str, reason: str | None, saved_plan_id: int, digest: str) -> None:
    """Records a going live. Nothing happens where the target is live already."""
    found = conn.execute(
        text(
            "insert into ops.going_live (integration, system, stream, by, reason, saved_plan_id, digest)"
            " values (:i, :s, :t, :by, :reason, :plan, :digest)"
            " on conflict (integration, system, stream) where ended_at is null do nothing"
        ),
        {
            "i": place[0], "s": place[1], "t": place[2], "by": by, "reason": reason, "plan": saved_plan_id,
            "digest": digest,
        },
    )  # fmt: skip
    if found.rowcount:
        audit.append(conn, by, "target.live", _subject(place), {"saved_plan": saved_plan_id}, reason=reason)


def take_back(conn: Connection, place: Place, *, by: str, reason: str) -> bool:
    """Lets a target be observed again; says whether it was live."""
    found = conn.execute(
        text(
            "update ops.going_live set ended_at = now(), ended_by = :by, ended_because = :reason"
            " where integration = :i and system = :s and stream = :t and ended_at is null"
        ),
        {"i": place[0], "s": place[1], "t": place[2], "by": by, "reason": reason},
    )
    if found.rowcount:
        audit.append(conn, by, "target.observed", _subject(place), reason=reason)
    return bool(found.rowcount)


def _subject(place: Place) -> str:
    return f"target:{place[0]}/{place[1]}/{place[2]}"
