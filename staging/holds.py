"""Holds: sets of writes that wait for a person, and what the person decided (DESIGN 9.4, 9.14)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, text

from canonical import keys
from staging import audit
from staging.outbox import CHANGES
from staging.overrides import Override

GOOD_FOR_DAYS = 3
"""How long a hold waits for its answer, and how long an approval lets its writes be sent: what was right on Friday is
looked at again on Monday."""
IS_GOOD = (
    "exists (select from ops.approval a where a.hold_id = o.hold_id and a.verdict = 'approve'"
    " and (a.expires_at is null or a.expires_at > clock_timestamp()))"
)
"""SQL: whether an approval of the hold of outbox row `o` is good now."""


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
    follows: int | None = None,
) -> int:
    """Opens a hold over a set of writes; gives its id. `requested_by`: who asked for these writes in person, and so
    cannot be the one who lets them go (RELIABILITY P23). `follows`: the hold behind which they stood before."""
    found = conn.execute(
        text(
            "insert into ops.hold (kind, integration, entity, system, stream, op, reason, writes, owner, requested_by,"
            " follows, state, due_at) values (:kind, :integration, :entity, :system, :stream, :op, :reason, :writes,"
            " :owner, :requested_by, :follows, 'open', now() + make_interval(days => :days)) returning id"
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
            "follows": follows,
            "days": GOOD_FOR_DAYS,
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


def decisions_on(conn: Connection, hold_id: int) -> list[dict[str, Any]]:
    """Every decision on a hold, the first one first: verdict, by, reason, at, expires_at, writes (how many)."""
    found = conn.execute(
        text(
            "select verdict, by, reason, at, expires_at, cardinality(write_hashes) as writes from ops.approval"
            " where hold_id = :id order by id"
        ),
        {"id": hold_id},
    ).mappings()
    return [dict(r) for r in found]


def approve(
    conn: Connection,
    hold_id: int,
    *,
    by: str,
    reason: str,
    hashes: Sequence[str] | None = None,
) -> int:
    """Releases the writes that wait behind an open hold (`hashes`: those of them that were shown), and ends the hold
    when none is left; gives how many. None where the hold is not open.

    A write that changed after the hold opened is another row: the next release holds it anew. The approval is good for
    `GOOD_FOR_DAYS`; what was not sent by then is held again."""
    return sum(_let_go(conn, hold_id, "hold.approved", by=by, reason=reason, hashes=hashes).values())


def _let_go(
    conn: Connection,
    hold_id: int,
    action: str,
    *,
    by: str,
    reason: str,
    hashes: Sequence[str] | None = None,
    wait_seconds: float = 0.0,
) -> dict[str, int]:
    """How many writes became `ready` and `waiting`."""
    if not _is_open(conn, hold_id):
        return {}
    found = conn.execute(
        text(
            "update ops.outbox set state = case when refs is not null then 'waiting' else 'ready' end,"
            " due_at = now() + make_interval(secs => :wait), released_at = now() where hold_id = :id and state = 'held'"
            " and (cast(:hashes as text[]) is null or write_hash = any(:hashes)) returning state, write_hash"
        ),
        {"id": hold_id, "wait": wait_seconds, "hashes": None if hashes is None else list(hashes)},
    ).all()
    gone = sorted(r.write_hash for r in found)
    _note(conn, hold_id, "approve", by, reason, gone, action, wait_seconds=wait_seconds)
    if not writes_left(conn, hold_id):
        _close(conn, hold_id, "approved", by, reason)
    return dict(Counter(r.state for r in found))


def reject(conn: Connection, hold_id: int, *, by: str, reason: str) -> int:
    """Ends the writes behind an open hold without sending them; gives how many."""
    if not _is_open(conn, hold_id):
        return 0
    found = conn.execute(
        text(
            "update ops.outbox set state = 'superseded', settled_at = now(), reason = 'rejected by ' || :by"
            " where hold_id = :id and state = 'held' returning write_hash"
        ),
        {"id": hold_id, "by": by},
    ).scalars()
    dropped = sorted(found)
    _note(conn, hold_id, "reject", by, reason, dropped, "hold.rejected")
    _close(conn, hold_id, "rejected", by, reason)
    return len(dropped)


def overridden(conn: Connection, hold_id: int, lifted: Override, *, wait_seconds: float) -> dict[str, int]:
    """Lets a hold of the brake go by an override, in the name of whoever declared it; gives what became of it."""
    reason = f"override {lifted.id} of the brake, until {lifted.until:%Y-%m-%d %H:%M %Z}: {lifted.reason}"
    return _let_go(conn, hold_id, "hold.overridden", by=lifted.by, reason=reason, wait_seconds=wait_seconds)


def _is_open(conn: Connection, hold_id: int) -> bool:
    """Whether a hold can be decided on; locks it, so that two who decide at once do not both."""
    state = text("select state from ops.hold where id = :id for update")
    return conn.execute(state, {"id": hold_id}).scalar_one_or_none() == "open"


def writes_left(conn: Connection, hold_id: int) -> int:
    """How many writes wait behind a hold."""
    found = text("select count(*) from ops.outbox where hold_id = :id and state = 'held'")
    return int(conn.execute(found, {"id": hold_id}).scalar_one())


def _note(
    conn: Connection,
    hold_id: int,
    verdict: str,
    by: str,
    reason: str,
    hashes: Sequence[str],
    action: str,
    *,
    wait_seconds: float = 0.0,
) -> None:
    """The decision with the hash of each write, beside the hold and in the audit. An approval is good from when its
    writes may go."""
    conn.execute(
        text(
            "insert into ops.approval (hold_id, verdict, by, reason, write_hashes, expires_at) values (:id, :verdict,"
            " :by, :reason, :hashes, case when :verdict = 'approve' then"
            " now() + make_interval(days => :days, secs => :wait) end)"
        ),
        {
            "id": hold_id, "verdict": verdict, "by": by, "reason": reason, "hashes": list(hashes),
            "days": GOOD_FOR_DAYS, "wait": wait_seconds,
        },
    )  # fmt: skip
    audit.append(
        conn, by, action, f"hold:{hold_id}", {"writes": len(hashes), "set": keys.set_hash(hashes)}, reason=reason
    )


def _close(conn: Connection, hold_id: int, state: str, by: str, reason: str) -> None:
    conn.execute(
        text(
            "update ops.hold set state = :state, closed_at = now(), closed_by = :by, closed_because = :reason"
            " where id = :id and state = 'open'"
        ),
        {"id": hold_id, "state": state, "by": by, "reason": reason},
    )


def ask_anew(conn: Connection, hold_id: int) -> int | None:
    """Where the time of an open hold is over, puts its writes behind a hold that takes its place, with a time of its
    own; gives the new one. None: its time is not over."""
    found = conn.execute(
        text("select id from ops.hold where id = :id and state = 'open' and due_at <= clock_timestamp() for update"),
        {"id": hold_id},
    )
    if found.scalar_one_or_none() is None:
        return None
    return _succeed(conn, hold_id, "state = 'held'", "expired", "its time was over before anybody decided")


def lapse(conn: Connection) -> list[int]:
    """Holds again what was approved and not sent while the approval was good; gives the new holds."""
    found = conn.execute(
        text(
            # an arm for each state: each has an index of its own, and most of the outbox is in neither
            f"select o.hold_id from ops.outbox o where o.state = 'ready' and o.hold_id is not null and not {IS_GOOD}"
            " union"
            f" select o.hold_id from ops.outbox o where o.state = 'waiting' and o.hold_id is not null and not {IS_GOOD}"
            " order by 1"
        )
    )
    ids = [int(i) for i in found.scalars()]
    states = "state in ('ready', 'waiting')"
    return [_succeed(conn, i, states, None, "approved, and not sent while the approval was good") for i in ids]


def _succeed(conn: Connection, hold_id: int, states: str, ends_as: str | None, because: str) -> int:
    """Moves writes of a hold behind a new one that says why; `ends_as`: how the old one is closed."""
    made = int(
        conn.execute(
            text(
                "insert into ops.hold (kind, integration, entity, system, stream, op, reason, writes, owner,"
                " requested_by, follows, state, due_at) select kind, integration, entity, system, stream, op,"
                " reason || ' (hold ' || id || ': ' || :because || ')', (select count(*) from ops.outbox o"
                f" where o.hold_id = h.id and o.{states}), owner, requested_by, id, 'open',"
                " now() + make_interval(days => :days) from ops.hold h where id = :id returning id"
            ),
            {"id": hold_id, "because": because, "days": GOOD_FOR_DAYS},
        ).scalar_one()
    )
    conn.execute(
        text(f"update ops.outbox set state = 'held', hold_id = :made where hold_id = :id and {states}"),
        {"made": made, "id": hold_id},
    )
    if ends_as:
        _close(conn, hold_id, ends_as, "concord", f"{because}; hold {made} asks anew")
    return made


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
