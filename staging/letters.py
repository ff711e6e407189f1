"""Dead letters: writes that a target refused for good; they wait for a person, who repairs and replays them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, text


def bury(conn: Connection, row: Mapping[str, Any], field: str | None, reason: str | None, owner: str | None) -> None:
    """Opens a dead letter for a refused write."""
    conn.execute(
        text(
            "insert into ops.dead_letter (outbox_id, system, stream, field, reason, owner, state)"
            " values (:id, :system, :stream, :field, :reason, :owner, 'open')"
        ),
        {
            "id": row["id"],
            "system": row["system"],
            "stream": row["stream"],
            "field": field,
            "reason": reason or "refused without a reason",
            "owner": owner,
        },
    )


def close_accepted(conn: Connection, outbox_ids: Sequence[int]) -> int:
    """Closes the letters of records of which the target accepted a later write."""
    found = conn.execute(
        text(
            "update ops.dead_letter d set state = 'resolved', closed_at = now(), closed_by = 'concord',"
            " closed_because = 'a later write of the record was accepted' from ops.outbox refused, ops.outbox done"
            " where d.state = 'open' and refused.id = d.outbox_id and done.id = any(:ids) and refused.id < done.id"
            " and refused.entity = done.entity and refused.system = done.system and refused.stream = done.stream"
            " and refused.canonical_id = done.canonical_id and refused.fields <@ done.fields"
        ),
        {"ids": list(outbox_ids)},
    )
    return int(found.rowcount)


def refused_lately(
    conn: Connection, lane: tuple[str, str, str, str], minutes: int
) -> list[tuple[int, str, str | None, str]]:
    """A lane's refusals of the last minutes that nobody has dealt with: outbox id, canonical id, field, reason."""
    system, stream, entity, op = lane
    found = conn.execute(
        text(
            "select o.id, o.canonical_id, d.field, d.reason from ops.dead_letter d join ops.outbox o"
            " on o.id = d.outbox_id where d.state = 'open' and o.state = 'rejected' and d.system = :system"
            " and d.stream = :stream and o.entity = :entity and o.op = :op"
            " and d.opened_at > now() - make_interval(mins => :minutes)"
        ),
        {"system": system, "stream": stream, "entity": entity, "op": op, "minutes": minutes},
    )
    return [(int(r.id), r.canonical_id, r.field, r.reason) for r in found]


def take_back(conn: Connection, outbox_ids: Sequence[int], because: str, wait_seconds: float) -> int:
    """Refusals that were no record's fault: their letters end, and the writes are sent again later. Gives how many."""
    found = conn.execute(
        text(
            "with letters as (update ops.dead_letter set state = 'resolved', closed_at = now(), closed_by = 'concord',"
            " closed_because = :because where state = 'open' and outbox_id = any(:ids) returning outbox_id)"
            " update ops.outbox o set state = 'ready', settled_at = null, reason = :because,"
            " due_at = now() + make_interval(secs => :wait), sent_at = null,"
            # the target remembers the refusal with the key
            " key = left(o.key, 48) || '.' || o.attempts from letters where o.id = letters.outbox_id"
            # what a later version took the place of stays as it is
            " and o.state = 'rejected' and not exists (select from ops.outbox l where l.canonical_id = o.canonical_id"
            " and l.entity = o.entity and l.system = o.system and l.stream = o.stream and l.id > o.id)"
        ),
        {"ids": list(outbox_ids), "because": because, "wait": wait_seconds},
    )
    return int(found.rowcount)
