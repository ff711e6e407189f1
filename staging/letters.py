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
