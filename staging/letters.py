"""Dead letters: writes that a target refused for good; they wait for a person, who repairs and replays them."""

from __future__ import annotations

from collections.abc import Mapping
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
