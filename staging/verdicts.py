"""What a person decides about an entry of a queue, and what that sets in motion."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
from sqlalchemy import Connection, text

from canonical.model import Entity, Model
from staging import audit, queues, staged

KEY_SEPARATOR = "\x1f"
"""Between system, stream and source id in the key of a record that a review names."""


def discard_quarantine(conn: Connection, entry_id: int, *, by: str, reason: str) -> bool:
    """Closes an entry: the record stays out until it changes at its source. False when it is not open."""
    found = conn.execute(
        text(
            "update ops.quarantine set state = 'discarded', closed_at = now(), closed_by = :by,"
            " closed_because = :reason where id = :id and state = 'open'"
        ),
        {"id": entry_id, "by": by, "reason": reason},
    )
    if found.rowcount:
        audit.append(conn, by, "quarantine.decided", f"quarantine:{entry_id}", {"decided": "discard"}, reason=reason)
    return bool(found.rowcount)


def answer(conn: Connection, model: Model, review_id: int, verdict: str, *, by: str, reason: str) -> bool:
    """Stores a person's answer to a doubtful pair and puts both records back to work; False when it is not open."""
    row = queues.answer_review(conn, review_id, verdict, by=by, reason=reason)
    if row is None:
        return False
    keys = [(row["system"], row["stream"], row["source_id"]), key_parts(row["other"])]
    match_again(conn, model[row["entity"]], keys)
    audit.append(conn, by, "review.answered", f"review:{review_id}", {"verdict": verdict}, reason=reason)
    return True


def match_again(conn: Connection, entity: Entity, keys: Sequence[tuple[str, str, str]]) -> int:
    """Puts staged records that wait for a review back to work, so that the next sync acts on the answer."""
    rows = [staged.one(conn, entity, *key) for key in keys]
    waiting = pl.concat(rows).filter(pl.col("state") == "review") if rows else pl.DataFrame()
    if waiting.is_empty():
        return 0
    staged.settle(conn, entity, waiting.select(*staged.KEY, pl.lit("dirty").alias("state"), "unresolved", "batch_id"))
    return waiting.height


def key_parts(key: str) -> tuple[str, str, str]:
    """System, stream and source id of a key as a review holds it."""
    system, stream, source_id = key.split(KEY_SEPARATOR, 2)
    return system, stream, source_id
