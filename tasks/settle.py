"""Settle: what follows from a target's answers, item by item: states, links, shadows, dead letters, closed findings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from canonical.mapping.native import native_values
from connectors import journal
from connectors.protocol import (
    Ambiguous,
    AuthFailed,
    ConnectorError,
    Misdeclared,
    RateLimited,
    Receipt,
    SourceRecord,
    Target,
    Transient,
    Unreachable,
)
from staging import audit, crosswalk, delivery, golden, landing, letters, locks, queues, shadow
from staging.crash import crash_point
from tasks.retry import wait_seconds
from tasks.world import World

LEASE_SECONDS = 120


Lane = tuple[str, str, str, str]


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


def settle(world: World, target: Target, answers: list[Answer], worker: str, done: Delivered) -> list[Row]:
    """Everything that follows from a batch's answers, in one transaction; gives what is unknown, to be looked up."""
    finished = [a for a in answers if a.receipt.outcome == "done"]
    records = _read_back(target, finished)
    with world.transaction() as conn:
        batch = note(conn, answers)
        kept = delivery.settle(conn, moved(answers), worker=worker)
        # a worker that slept past its lease has lost its rows: whoever took them over settles them
        answers = [a for a in answers if int(a.row["id"]) in kept]
        finished = [a for a in finished if int(a.row["id"]) in kept]
        if finished:
            _confirm(conn, world, finished, records)
        for answer in answers:
            if answer.receipt.outcome == "rejected":
                letters.bury(
                    conn,
                    answer.row,
                    answer.receipt.field,
                    answer.receipt.reason,
                    world.owner_of_system(answer.row["system"]),
                )
        _tell(conn, batch, answers)
        crash_point("deliver.settling")
    crash_point("deliver.settled")
    for answer in answers:
        outcome = answer.receipt.outcome
        if outcome == "done":
            done.count(answer.row)
        elif outcome == "rejected":
            done.rejected += 1
        elif outcome == "retry":
            done.retried += 1
    return [a.row for a in answers if a.receipt.outcome == "unknown"]


_STATE = {"done": "delivered", "rejected": "rejected", "retry": "ready", "unknown": "unknown"}


def moved(answers: list[Answer]) -> pl.DataFrame:
    rows = [
        (
            int(a.row["id"]),
            _STATE[a.receipt.outcome],
            a.receipt.source_id,
            a.receipt.reason,
            a.receipt.wait_seconds or wait_seconds(int(a.row["attempts"])),
        )
        for a in answers
    ]
    schema = {
        "outbox_id": pl.Int64, "state": pl.String, "source_id": pl.String, "reason": pl.String,
        "wait_seconds": pl.Float64,
    }  # fmt: skip
    return pl.DataFrame(rows, schema=schema, orient="row")


def note(conn: Any, answers: list[Answer]) -> audit.Batch:
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


def _tell(conn: Any, batch: audit.Batch, answers: list[Answer]) -> None:
    """The batch's row in the audit: what was asked and answered, without a value."""
    if not answers:
        return
    first = answers[0].row
    ids = {str(i) for a in answers for i in (a.row["source_id"], a.receipt.source_id) if i}
    outcomes = Counter(a.receipt.outcome for a in answers)
    detail = {"op": first["op"], "outcomes": outcomes, "calls": journal.take(ids), **batch.detail}
    audit.append(conn, "concord", "batch.sent", f"target:{first['system']}/{first['stream']}", detail)


def _read_back(target: Target, finished: list[Answer]) -> dict[str, bytes]:
    """The records as the target holds them after the write: from the receipts, or read by id (P16)."""
    records = {str(a.receipt.source_id): a.receipt.record for a in finished if a.receipt.record is not None}
    unread = [
        str(a.receipt.source_id)
        for a in finished
        if a.receipt.record is None and a.receipt.source_id and a.row["op"] in ("create", "update")
    ]
    if unread and hasattr(target, "get"):
        try:
            found: Sequence[SourceRecord] = target.get(finished[0].row["stream"], unread)
            records.update({r.id: r.payload for r in found})
        except ConnectorError:
            pass  # the shadow's read side stays empty until the record is read the next time
    return records


def _confirm(conn: Any, world: World, finished: list[Answer], records: Mapping[str, bytes]) -> None:
    """Links, shadows and closed findings of delivered writes."""
    first = finished[0].row
    entity, system, stream = first["entity"], first["system"], first["stream"]
    created = [a for a in finished if a.row["op"] == "create" and a.receipt.source_id]
    if created:
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


def receipt_of(error: ConnectorError, row: Row, system: str, done: Delivered) -> Receipt:
    """A whole call's failure, as the receipt of one of its rows. A system's fault never costs a record (P10)."""
    ref, said = str(row["id"]), str(error)
    if isinstance(error, Ambiguous):
        return Receipt(ref, "unknown", reason=said)
    done.troubled[system] = said
    if isinstance(error, RateLimited):
        return Receipt(ref, "retry", reason="rate limited", wait_seconds=error.wait_seconds or 30.0)
    if isinstance(error, Transient):
        wait = error.wait_seconds or wait_seconds(int(row["attempts"]))
        return Receipt(ref, "retry", reason=said, wait_seconds=wait)
    if isinstance(error, AuthFailed | Unreachable | Misdeclared):
        return Receipt(ref, "retry", reason=said, wait_seconds=60.0)
    return Receipt(ref, "retry", reason=said, wait_seconds=wait_seconds(int(row["attempts"])))
