"""Settle: what follows from a target's answers, item by item: states, links, shadows, dead letters, closed findings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import orjson
import polars as pl

from canonical import readback
from canonical.mapping.native import native_values
from connectors import journal
from connectors.protocol import (
    Ambiguous,
    ConnectorError,
    Misdeclared,
    NotSent,
    RateLimited,
    Receipt,
    Target,
    Transient,
)
from staging import audit, crosswalk, delivery, golden, landing, letters, locks, queues, shadow
from staging.crash import crash_point
from staging.engine import Connection
from tasks.retry import asked_wait, wait_seconds
from tasks.world import World

LIMITED_SECONDS = 30.0
"""Before a system is asked again that told us to slow down without saying for how long."""
STUCK_SECONDS = 60.0
"""Before a system is asked again that refuses us as a whole: a person has to act."""

Reading = Literal["read", "not now", "unreadable"]
"""Whether records could be read back by id."""
Lane = tuple[str, str, str, str]
"""System, stream, entity, operation."""


Row = dict[str, Any]


@dataclass
class Delivered:
    """What delivery did: (system/stream, op) → count, what was refused, and which systems had to be left alone."""

    done: dict[str, dict[str, int]] = field(default_factory=dict)
    rejected: int = 0
    unknown: int = 0
    retried: int = 0
    found: int = 0
    troubled: dict[str, str] = field(default_factory=dict)
    """System → what keeps it from being written to."""
    stopped: dict[Lane, str] = field(default_factory=dict)
    """Lanes that are not sent to any more, and why, while others of their system may be."""
    tried: dict[Lane, set[str]] = field(default_factory=dict)
    """Whose records were answered in each lane."""
    refused: dict[Lane, int] = field(default_factory=dict)
    """How many of them were refused."""
    unclear: dict[Lane, int] = field(default_factory=dict)
    """Batches in a row that had no clear answer."""

    def count(self, row: Row) -> None:
        ops = self.done.setdefault(f"{row['system']}/{row['stream']}", {})
        ops[row["op"]] = ops.get(row["op"], 0) + 1

    @property
    def writes(self) -> int:
        return sum(n for ops in self.done.values() for n in ops.values())


@dataclass(frozen=True)
class Answer:
    """What became of one claimed write."""

    row: Row
    receipt: Receipt


def lane_of(row: Row) -> Lane:
    """The lane that a write goes by."""
    return row["system"], row["stream"], row["entity"], row["op"]


def settle(
    world: World, target: Target, answers: list[Answer], worker: str, done: Delivered, *, is_found: bool = False
) -> list[Row]:
    """Everything that follows from a batch's answers, in one unit of work; gives what is unknown, to be looked up.

    `is_found`: the records were found there by what tells them, so their ids are not in doubt."""
    answers, records = _read_back(world, target, answers, is_found=is_found)

    ids = {str(i) for a in answers for i in (a.row["source_id"], a.receipt.source_id) if i}
    calls = journal.take(ids)

    def store(conn: Connection) -> set[int]:
        batch = note(conn, answers)
        kept = delivery.settle(conn, moved(answers), worker=worker)
        # a worker that slept past its lease has lost its rows: whoever took them over settles them
        ours = [a for a in answers if int(a.row["id"]) in kept]
        finished = [a for a in ours if a.receipt.outcome == "done"]
        if finished:
            _confirm(conn, world, finished, records)
        for answer in ours:
            if answer.receipt.outcome == "rejected":
                owner = world.owner_of_system(answer.row["system"])
                letters.bury(conn, answer.row, answer.receipt.field, answer.receipt.reason, owner)
        _tell(conn, batch, ours, calls)
        crash_point("deliver.settling")
        return kept

    kept = world.unit("settle answers", store)
    crash_point("deliver.settled")
    answers = [a for a in answers if int(a.row["id"]) in kept]
    for answer in answers:
        outcome = answer.receipt.outcome
        if outcome in ("done", "rejected"):
            done.tried.setdefault(lane_of(answer.row), set()).add(answer.row["canonical_id"])
        if outcome == "done":
            done.count(answer.row)
        elif outcome == "rejected":
            done.rejected += 1
            lane = lane_of(answer.row)
            done.refused[lane] = done.refused.get(lane, 0) + 1
        elif outcome == "retry":
            done.retried += 1
    return [a.row for a in answers if a.receipt.outcome == "unknown"]


_STATE = {"done": "delivered", "rejected": "rejected", "retry": "ready", "unknown": "unknown"}


def moved(answers: list[Answer]) -> pl.DataFrame:
    """Answers as the outbox takes them: outbox_id, state, source_id, reason, wait_seconds, is_counted."""
    rows = [
        (
            int(a.row["id"]),
            _STATE[a.receipt.outcome],
            a.receipt.source_id,
            a.receipt.reason,
            asked_wait(a.receipt.wait_seconds, int(a.row["attempts"])),
            a.receipt.is_counted,
        )
        for a in answers
    ]
    schema = {
        "outbox_id": pl.Int64, "state": pl.String, "source_id": pl.String, "reason": pl.String,
        "wait_seconds": pl.Float64, "is_counted": pl.Boolean,
    }  # fmt: skip
    return pl.DataFrame(rows, schema=schema, orient="row")


def note(conn: Connection, answers: list[Answer]) -> audit.Batch:
    """Stores an attempt for each answer; gives what the audit keeps of them together."""
    batch = audit.batch_of(
        (int(a.row["id"]), int(a.row["attempts"]), a.receipt.outcome, a.receipt.status, str(a.row["payload"]))
        for a in answers
    )
    rows = [
        (
            int(a.row["id"]),
            int(a.row["attempts"]),
            a.receipt.outcome,
            a.receipt.status,
            a.receipt.field,
            a.receipt.reason,
            batch.name,
            salt,
        )
        for a, salt in zip(answers, batch.salts, strict=True)
    ]
    schema = {
        "outbox_id": pl.Int64, "number": pl.Int64, "outcome": pl.String, "status": pl.Int64, "field": pl.String,
        "reason": pl.String, "batch": pl.String, "salt": pl.String,
    }  # fmt: skip
    delivery.note_attempts(conn, pl.DataFrame(rows, schema=schema, orient="row"))
    return batch


def _tell(conn: Connection, batch: audit.Batch, answers: list[Answer], calls: list[dict[str, str | int]]) -> None:
    """The batch's row in the audit: what was asked and answered, without a value."""
    if not answers:
        return
    first = answers[0].row
    outcomes = Counter(a.receipt.outcome for a in answers)
    detail = {"op": first["op"], "outcomes": outcomes, "calls": calls, **batch.detail}
    audit.append(conn, "concord", "batch.sent", f"target:{first['system']}/{first['stream']}", detail)


# ------------------------------------------------------------------------------------------------------ reading back


def _read_back(
    world: World, target: Target, answers: list[Answer], *, is_found: bool
) -> tuple[list[Answer], dict[str, bytes]]:
    """The records as the target holds them after the write (P16): from the receipts, or read by id. A create whose id
    is not that of what we asked for is not believed: it becomes unknown, and is looked up (matrix row 25)."""
    finished = [a for a in answers if a.receipt.outcome == "done"]
    records = {str(a.receipt.source_id): a.receipt.record for a in finished if a.receipt.record is not None}
    unread = [
        str(a.receipt.source_id)
        for a in finished
        if a.receipt.record is None and a.receipt.source_id and a.row["op"] in ("create", "update")
    ]
    reading: Reading = "read"
    if unread:
        reading, found = _by_id(target, finished[0].row["stream"], unread)
        records.update(found)
    creates = [a for a in finished if a.row["op"] == "create"]
    if not creates or is_found:
        return answers, records
    doubts = _doubts(world, creates, records, reading)
    return [_doubted(a, doubts) for a in answers], records


def _by_id(target: Target, stream: str, ids: Sequence[str]) -> tuple[Reading, dict[str, bytes]]:
    """Records by id. What an update is not read back by now is read with the stream: the shadow's read side stays empty
    until then."""
    if not hasattr(target, "get"):
        return "unreadable", {}
    try:
        return "read", {r.id: r.payload for r in target.get(stream, ids) if not r.deleted}
    except Misdeclared:
        return "unreadable", {}
    except ConnectorError:
        return "not now", {}


def _doubts(
    world: World, creates: Sequence[Answer], records: Mapping[str, bytes], reading: Reading
) -> dict[int, tuple[str, bool]]:
    """Outbox id → why the id that came back for a create cannot be believed, and whether it may still be the one."""
    first = creates[0].row
    entity, system, stream = first["entity"], first["system"], first["stream"]
    ids = [str(a.receipt.source_id) for a in creates]
    program = world.outbound(entity, system, stream)
    natives = native_values([records.get(i, b"{}") for i in ids], program).to_list()
    # what was answered must not be lost because our database is away for a moment
    holders = world.unit("who has these ids", lambda conn: crosswalk.holders(conn, entity, system, stream, ids))
    doubts: dict[int, tuple[str, bool]] = {}
    for answer, found_id, native in zip(creates, ids, natives, strict=True):
        is_open = False
        held_by = holders.get(found_id)
        if held_by not in (None, answer.row["canonical_id"]):
            because = f"it was answered with the id of another record ({found_id})"
        elif ids.count(found_id) > 1:
            because = f"several creates were answered with one id ({found_id})"
        elif found_id not in records and reading == "read":
            because = f"it was answered with an id that does not exist there ({found_id})"
        elif found_id not in records and reading == "not now":
            because, is_open = f"the record of its id could not be read back yet ({found_id})", True
        elif found_id in records and readback.is_another(orjson.loads(answer.row["asked"]), orjson.loads(native)):
            because = f"it was answered with the id of a record that says something else ({found_id})"
        else:
            continue
        doubts[int(answer.row["id"])] = because, is_open
    return doubts


def _doubted(answer: Answer, doubts: Mapping[int, tuple[str, bool]]) -> Answer:
    doubt = doubts.get(int(answer.row["id"]))
    if doubt is None:
        return answer
    because, is_open = doubt
    answer.row["source_id"] = answer.receipt.source_id if is_open else None
    receipt = replace(answer.receipt, outcome="unknown", source_id=answer.row["source_id"], record=None, reason=because)
    return Answer(answer.row, receipt)


# -------------------------------------------------------------------------------------------------------- confirming


def _confirm(conn: Connection, world: World, finished: list[Answer], records: Mapping[str, bytes]) -> None:
    """Links, shadows and closed findings of delivered writes."""
    first = finished[0].row
    entity, system, stream = first["entity"], first["system"], first["stream"]
    created = [a for a in finished if a.row["op"] == "create" and a.receipt.source_id]
    if created:
        _link(conn, created)
    program = world.outbound(entity, system, stream)
    ids = [str(a.receipt.source_id or a.row["source_id"]) for a in finished]
    natives = native_values([records.get(i, b"{}") for i in ids], program).to_list()
    archived = [a.row["op"] in ("archive", "delete") for a in finished]
    shadow.confirm_shadow(
        conn,
        pl.DataFrame(
            {
                "entity": [entity] * len(ids),
                "system": [system] * len(ids),
                "stream": [stream] * len(ids),
                "canonical_id": [a.row["canonical_id"] for a in finished],
                "source_id": ids,
                "asked": [a.row["asked"] for a in finished],
                "read": [n if i in records else "{}" for i, n in zip(ids, natives, strict=True)],
                "version": [int(a.row["version"]) for a in finished],
                "is_archived": archived,
            }
        ),
    )
    landing.forget_hash(conn, system, stream, ids)
    done_ids = [int(a.row["id"]) for a in finished]
    delivery.overtaken_meanwhile(conn, entity, golden.golden_table(world.landscape.model[entity]), done_ids)
    letters.close_accepted(conn, done_ids)
    restored = [(entity, system, stream, i, f) for i, a in zip(ids, finished, strict=True) for f in a.row["fields"]]
    if restored:
        columns = ("entity", "system", "stream", "source_id", "field")
        rows = pl.DataFrame(restored, schema=dict.fromkeys(columns, pl.String), orient="row")
        queues.close_findings(conn, rows, "put back by Concord", kind="unauthorised_edit")


def _link(conn: Connection, created: Sequence[Answer]) -> None:
    """The ids that our creates were given."""
    first = created[0].row
    entity, system, stream = first["entity"], first["system"], first["stream"]
    # resolve links under this lock: a record that we just made is not found new by it meanwhile
    locks.gate(conn, f"resolve:{entity}")
    links = pl.DataFrame(
        [(system, stream, str(a.receipt.source_id), a.row["canonical_id"]) for a in created],
        schema=dict.fromkeys(("system", "stream", "source_id", "canonical_id"), pl.String),
        orient="row",
    ).with_columns(
        pl.lit(True).alias("is_primary"),
        pl.lit("created there by Concord").alias("because"),
        pl.lit(None, dtype=pl.Float64).alias("score"),
    )
    crosswalk.link_new(conn, entity, links, by="concord")
    delivery.overtake_creates(conn, [int(a.row["id"]) for a in created])


def receipt_of(error: ConnectorError, row: Row, system: str, done: Delivered) -> Receipt:
    """A whole call's failure, as the receipt of one of its rows. A system's fault never costs a record (P10)."""
    ref, said, attempts = str(row["id"]), str(error), int(row["attempts"])
    if isinstance(error, Ambiguous):
        return Receipt(ref, "unknown", reason=said)
    done.troubled[system] = said
    if isinstance(error, Transient):
        is_limited = isinstance(error, RateLimited)
        wait = error.wait_seconds if error.wait_seconds is not None or not is_limited else LIMITED_SECONDS
        is_counted = not (is_limited or isinstance(error, NotSent))
        return Receipt(ref, "retry", reason=said, wait_seconds=wait, is_counted=is_counted, status=error.status)
    wait = max(wait_seconds(attempts), STUCK_SECONDS)
    return Receipt(ref, "retry", reason=said, wait_seconds=wait, status=error.status)
