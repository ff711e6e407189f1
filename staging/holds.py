"""Holds: sets of writes that wait for a person, and what the person decided (DESIGN 9.4, 9.14)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, text

from staging.outbox import CHANGES


def open_hold(
    conn: Connection,
    *,
    kind: str,
    integration: str,
    entity: str,
    system: str,
    stream: str,
    op: str,
    reason: str,
    writes: int,
    owner: str | None,
    requested_by: str | None = None,
) -> int:
    """Opens a hold over a set of writes; gives its id. `requested_by`: who asked for these writes in person, and so
    cannot be the one who lets them go (RELIABILITY P23)."""
    found = conn.execute(
        text(
            "insert into ops.hold (kind, integration, entity, system, stream, op, reason, writes, owner, requested_by,"
            " state, due_at) values (:kind, :integration, :entity, :system, :stream, :op, :reason, :writes, :owner,"
            " :requested_by, 'open', now() + interval '3 days') returning id"
        ),
        {
            "kind": kind,
            "integration": integration,
            "entity": entity,
            "system": system,
            "stream": stream,
            "op": op,
            "reason": reason,
            "writes": writes,
            "owner": owner,
            "requested_by": requested_by,
        },
    )
    return int(found.scalar_one())


def one(conn: Connection, hold_id: int) -> Mapping[str, Any] | None:
    """A hold, or None."""
    row = conn.execute(text("select * from ops.hold where id = :id"), {"id": hold_id}).mappings().one_or_none()
    return dict(row) if row else None


def open_of(conn: Connection, integrations: Sequence[str]) -> list[Mapping[str, Any]]:
    """The open holds of these integrations, the oldest first."""
    found = conn.execute(
        text("select * from ops.hold where state = 'open' and integration = any(:names) order by id"),
        {"names": list(integrations)},
    ).mappings()
    return [dict(r) for r in found]


def writes_of(conn: Connection, hold_id: int) -> list[Mapping[str, Any]]:
    """The writes behind a hold that still wait, with what they would change."""
    found = conn.execute(
        text(
            f"select o.id, o.canonical_id, o.op, o.source_id, o.fields, {CHANGES} as before, o.because, o.reason,"
            " o.write_hash, o.created_at from ops.outbox o where o.hold_id = :id and o.state = 'held' order by o.id"
        ),
        {"id": hold_id},
    ).mappings()
    return [dict(r) for r in found]


def approve(conn: Connection, hold_id: int, *, by: str, reason: str) -> int:
    """Releases exactly the writes that wait behind the hold now, by their hashes; gives how many.

    A write that changed after the hold opened is another row and is held anew by the next release."""
    conn.execute(
        text(
            "insert into ops.approval (hold_id, verdict, by, reason, write_hashes) select :id, 'approve', :by, :reason,"
            " coalesce(array_agg(write_hash order by id), '{}') from ops.outbox where hold_id = :id and state = 'held'"
        ),
        {"id": hold_id, "by": by, "reason": reason},
    )
    found = conn.execute(
        text(
            "update ops.outbox set state = case when refs is not null then 'waiting' else 'ready' end, due_at = now(),"
            " released_at = now() where hold_id = :id and state = 'held'"
        ),
        {"id": hold_id},
    )
    _close(conn, hold_id, "approved", by, reason)
    return int(found.rowcount)


def reject(conn: Connection, hold_id: int, *, by: str, reason: str) -> int:
    """Ends the writes behind the hold without sending them; gives how many."""
    conn.execute(
        text(
            "insert into ops.approval (hold_id, verdict, by, reason, write_hashes) select :id, 'reject', :by, :reason,"
            " coalesce(array_agg(write_hash order by id), '{}') from ops.outbox where hold_id = :id and state = 'held'"
        ),
        {"id": hold_id, "by": by, "reason": reason},
    )
    found = conn.execute(
        text(
            "update ops.outbox set state = 'superseded', settled_at = now(), reason = 'rejected by ' || :by"
            " where hold_id = :id and state = 'held'"
        ),
        {"id": hold_id, "by": by},
    )
    _close(conn, hold_id, "rejected", by, reason)
    return int(found.rowcount)


def _close(conn: Connection, hold_id: int, state: str, by: str, reason: str) -> None:
    conn.execute(
        text(
            "update ops.hold set state = :state, closed_at = now(), closed_by = :by, closed_because = :reason"
            " where id = :id and state = 'open'"
        ),
        {"id": hold_id, "state": state, "by": by, "reason": reason},
    )


def close_empty(conn: Connection) -> int:
    """Ends open holds whose writes were all overtaken; gives how many."""
    found = conn.execute(
        text(
            "update ops.hold h set state = 'expired', closed_at = now(), closed_by = 'concord',"
            " closed_because = 'all its writes were overtaken by later versions' where state = 'open'"
            # a scalar, not `not exists`: one held write answers, where a join would read them all
            " and (select o.id from ops.outbox o where o.hold_id = h.id and o.state = 'held' limit 1) is null"
        )
    )
    return int(found.rowcount)
