"""Dead letters: writes that a target refused for good; they wait for a person, who repairs and replays them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, text

from staging.outbox import CHANGES


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


_LETTER = (
    "select d.id, d.state, d.field, d.reason, d.edited, d.outbox_id, o.plan_id, o.integration, o.entity,"
    " o.canonical_id, o.system, o.stream, o.op, o.source_id, o.version, o.fields, o.payload::text as payload,"
    " o.asked::text as asked, o.before from ops.dead_letter d join ops.outbox o on o.id = d.outbox_id"
)


def open_ones(conn: Connection, ids: Sequence[int]) -> list[dict[str, Any]]:
    """Those of these letters that are open, with their writes; locked, so that nobody else replays them."""
    found = conn.execute(
        text(f"{_LETTER} where d.id = any(:ids) and d.state = 'open' order by d.id for update of d"), {"ids": list(ids)}
    ).mappings()
    return [dict(r) for r in found]


def some(conn: Connection, ids: Sequence[int]) -> list[dict[str, Any]]:
    """These letters, open or not, with their writes."""
    found = conn.execute(text(f"{_LETTER} where d.id = any(:ids) order by d.id"), {"ids": list(ids)}).mappings()
    return [dict(r) for r in found]


def end(conn: Connection, ids: Sequence[int], state: str, *, by: str, reason: str) -> int:
    """Closes open letters as `replayed` or `discarded`; gives how many."""
    found = conn.execute(
        text(
            "update ops.dead_letter set state = :state, closed_at = now(), closed_by = :by, closed_because = :reason"
            " where id = any(:ids) and state = 'open'"
        ),
        {"ids": list(ids), "state": state, "by": by, "reason": reason},
    )
    return int(found.rowcount)


def resolve(conn: Connection, letter_id: int, because: str) -> None:
    """Says of a letter that a replay has closed that there was nothing to send any more."""
    conn.execute(
        text("update ops.dead_letter set state = 'resolved', closed_because = :because where id = :id"),
        {"id": letter_id, "because": because},
    )


def name_write(conn: Connection, letter_id: int, outbox_id: int) -> None:
    """Notes the write that a replay has made of a letter."""
    conn.execute(
        text("update ops.dead_letter set replayed_as = :write where id = :id"), {"id": letter_id, "write": outbox_id}
    )


def later_write(conn: Connection, outbox_id: int) -> Mapping[str, Any] | None:
    """A later write of the same record to the same target that is to be sent or was (id, state), if there is one."""
    found = conn.execute(
        text(
            "select l.id, l.state from ops.outbox o join ops.outbox l on l.entity = o.entity and l.system = o.system"
            " and l.stream = o.stream and l.canonical_id = o.canonical_id and l.id > o.id where o.id = :id"
            " and l.state not in ('superseded', 'rejected', 'dead') order by l.id desc limit 1"
        ),
        {"id": outbox_id},
    ).mappings()
    row = found.one_or_none()
    return dict(row) if row else None


def authority_of(conn: Connection, plan_id: int) -> dict[str, str]:
    """Target path → system of record, as a plan noted it."""
    found = conn.execute(text("select authority from ops.plan where id = :id"), {"id": plan_id}).scalar_one_or_none()
    return dict(found or {})


def requeue(conn: Connection, letter_id: int, plan_id: int, *, is_edited: bool) -> int:
    """Plans the write of a letter once more, in its frozen words or as it was edited; gives the new write."""
    words = (
        "(d.edited ->> 'payload')::json, (d.edited ->> 'asked')::json, (d.edited ->> 'before')::json,"
        " array(select json_array_elements_text(d.edited -> 'fields')), d.edited ->> 'write_hash'"
        if is_edited
        else "o.payload, o.asked, o.before, o.fields, o.write_hash"
    )
    how = "as it was edited" if is_edited else "as it failed"
    found = conn.execute(
        text(
            "insert into ops.outbox (plan_id, integration, entity, canonical_id, version, system, stream, op,"
            " source_id, payload, asked, before, fields, write_hash, key, state, because, blanked, money)"
            " select :plan, o.integration, o.entity, o.canonical_id, o.version, o.system, o.stream, o.op, o.source_id,"
            f" {words}, o.key, 'planned', 'dead letter ' || d.id || ' replayed, {how}', o.blanked, o.money"
            " from ops.dead_letter d join ops.outbox o on o.id = d.outbox_id where d.id = :id returning id"
        ),
        {"id": letter_id, "plan": plan_id},
    )
    return int(found.scalar_one())


def standing_of(conn: Connection, outbox_ids: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Writes → their state and what they change."""
    found = conn.execute(
        text(f"select o.id, o.state, {CHANGES} as changes from ops.outbox o where o.id = any(:ids)"),
        {"ids": list(outbox_ids)},
    ).mappings()
    return {int(r["id"]): {"state": r["state"], "changes": r["changes"]} for r in found}


def keep_edit(conn: Connection, letter_id: int, edited: Mapping[str, Any], *, by: str, reason: str) -> bool:
    """Keeps the payload of an open letter as a person has put it right; False when it is not open.

    `edited`: payload, asked, before (JSON texts), fields, write_hash."""
    found = conn.execute(
        text(
            "update ops.dead_letter set edited = cast(:edited as json), edited_by = :by, edited_because = :reason,"
            " edited_at = now() where id = :id and state = 'open'"
        ),
        {"id": letter_id, "edited": json.dumps(dict(edited)), "by": by, "reason": reason},
    )
    return bool(found.rowcount)
