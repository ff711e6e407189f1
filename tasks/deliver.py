"""Deliver: what is ready goes to its target, each write once, settled item by item (DESIGN 5.6, RELIABILITY P1-P11).

claim     `inflight` is committed before anything is sent
look      a create looks for its twin in the target first, where the landscape says how (match before create)
send      a batch of the target's own size
settle    receipts, links, shadows and read-backs of a batch in one transaction
recover   what a dead process left in flight is looked up before it is sent again
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import msgspec
import orjson
import polars as pl

from canonical import keys
from canonical.landscape import Target as TargetDeclaration
from canonical.mapping.native import native_values
from canonical.mapping.payloads import build_payloads
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
    Write,
)
from staging import crosswalk, landing, locks, outbox, queues
from staging.letters import bury
from tasks.retry import wait_seconds
from tasks.world import World

LEASE_SECONDS = 120
_JSON = msgspec.json.Encoder(decimal_format="number")
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


def deliver(world: World, integrations: Sequence[str], *, systems: Sequence[str] | None = None) -> Delivered:
    """Sends everything that is due for these integrations, until nothing is, or its system cannot take it now."""
    worker = uuid.uuid4().hex
    done = Delivered()
    names = list(systems) if systems is not None else sorted(world.target_systems(integrations))
    with locks.lane(world.engine, f"worker:{worker}"):
        _recover(world, worker, names, done)
        while True:
            able = [n for n in names if n not in done.troubled]
            _wake(world, able)
            with world.transaction() as conn:
                lanes = outbox.due_lanes(conn, able, integrations)
            if not lanes:
                return done
            progressed = False
            for lane in lanes:
                progressed |= _drain(world, lane, integrations, worker, done)
            if not progressed:
                return done


def _drain(world: World, lane: Lane, integrations: Sequence[str], worker: str, done: Delivered) -> bool:
    """Sends one lane's due writes batch by batch; says whether anything was claimed."""
    system, stream, _, _ = lane
    claimed_any = False
    while system not in done.troubled:
        target = world.target(system)
        size = max(1, target.facts(stream).batch_size)
        with world.transaction() as conn:
            rows = outbox.claim(conn, lane, integrations, worker=worker, limit=size, lease_seconds=LEASE_SECONDS)
        if not rows:
            return claimed_any
        claimed_any = True
        rows = _look_first(world, target, rows, done)
        if rows:
            _settle(world, target, _send(world, target, rows, done), worker, done)
    return claimed_any


def _send(world: World, target: Target, rows: list[Row], done: Delivered) -> list[Answer]:
    """One call to the target; an answer for each row, whatever happens."""
    stream, system = rows[0]["stream"], rows[0]["system"]
    writes = [
        Write(
            ref=str(row["id"]),
            op=row["op"],
            source_id=row["source_id"],
            payload=_exact(row["payload"]),
            key=row["key"],
        )
        for row in rows
    ]
    try:
        receipts = {r.ref: r for r in target.write(stream, writes)}
    except ConnectorError as error:
        return [Answer(row, _receipt_of(error, row, system, done)) for row in rows]
    missing = "the answer said nothing about this item"
    return [
        Answer(row, receipts.get(str(row["id"])) or Receipt(str(row["id"]), "unknown", reason=missing)) for row in rows
    ]


def _exact(payload: str) -> Mapping[str, Any]:
    """The frozen payload; amounts stay exactly as they were frozen."""
    parsed: Mapping[str, Any] = json.loads(payload, parse_float=Decimal)
    return parsed


def _receipt_of(error: ConnectorError, row: Row, system: str, done: Delivered) -> Receipt:
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


# ------------------------------------------------------------------------------------------------------- settle


def _settle(world: World, target: Target, answers: list[Answer], worker: str, done: Delivered) -> None:
    """Everything that follows from a batch's answers, in one transaction; then looks up what is unknown."""
    finished = [a for a in answers if a.receipt.outcome == "done"]
    records = _read_back(target, finished)
    with world.transaction() as conn:
        _note(conn, answers)
        outbox.settle(conn, _moved(answers), worker=worker)
        if finished:
            _confirm(conn, world, finished, records)
        for answer in answers:
            if answer.receipt.outcome == "rejected":
                bury(
                    conn,
                    answer.row,
                    answer.receipt.field,
                    answer.receipt.reason,
                    world.owner_of_system(answer.row["system"]),
                )
    for answer in answers:
        outcome = answer.receipt.outcome
        if outcome == "done":
            done.count(answer.row)
        elif outcome == "rejected":
            done.rejected += 1
        elif outcome == "retry":
            done.retried += 1
    unknown = [a.row for a in answers if a.receipt.outcome == "unknown"]
    if unknown:
        _look_up(world, target, unknown, worker, done)


_STATE = {"done": "delivered", "rejected": "rejected", "retry": "ready", "unknown": "unknown"}


def _moved(answers: list[Answer]) -> pl.DataFrame:
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


def _note(conn: Any, answers: list[Answer]) -> None:
    rows = [
        (
            int(a.row["id"]),
            int(a.row["attempts"]),
            a.receipt.outcome,
            a.receipt.status,
            a.receipt.field,
            a.receipt.reason,
        )
        for a in answers
    ]
    schema = {
        "outbox_id": pl.Int64, "number": pl.Int64, "outcome": pl.String, "status": pl.Int64, "field": pl.String,
        "reason": pl.String,
    }  # fmt: skip
    outbox.note_attempts(conn, pl.DataFrame(rows, schema=schema, orient="row"))


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
        outbox.overtake_creates(conn, [int(a.row["id"]) for a in created])
    program = world.outbound(entity, system, stream)
    ids = [str(a.receipt.source_id or a.row["source_id"]) for a in finished]
    natives = native_values([records.get(i, b"{}") for i in ids], program).to_list()
    archived = [a.row["op"] in ("archive", "delete") for a in finished]
    outbox.confirm_shadow(
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
    restored = [(entity, system, stream, i, f) for i, a in zip(ids, finished, strict=True) for f in a.row["fields"]]
    if restored:
        columns = ("entity", "system", "stream", "source_id", "field")
        rows = pl.DataFrame(restored, schema=dict.fromkeys(columns, pl.String), orient="row")
        queues.close_findings(conn, rows, "put back by Concord", kind="unauthorised_edit")


# ------------------------------------------------------------------------------- look before a (second) create


def _find_by(world: World, row: Row) -> tuple[tuple[str, str], ...]:
    integration = world.landscape.integrations.get(row["integration"])
    targets: Sequence[TargetDeclaration] = integration.to if integration else ()
    for target in targets:
        if (target.system, target.stream) == (row["system"], row["stream"]):
            return target.find_by
    return ()


def _twins(world: World, target: Target, row: Row) -> Sequence[SourceRecord] | None:
    """Live records of the target that are this create's twin; None where the landscape does not say how to look."""
    asked: Mapping[str, str | None] = orjson.loads(row["asked"])
    wanted = {path: asked.get(path) for path, _ in _find_by(world, row)}
    by = {path: value for path, value in wanted.items() if value}
    if not by or len(by) < len(wanted):
        return None
    return [r for r in target.find(row["stream"], by) if not r.deleted]


def _look_first(world: World, target: Target, rows: list[Row], done: Delivered) -> list[Row]:
    """Creates whose twin stands in the target already are linked instead; gives what is left to be sent."""
    if rows[0]["op"] != "create" or not _find_by(world, rows[0]):
        return rows
    left: list[Row] = []
    for row in rows:
        try:
            twins = _twins(world, target, row)
        except ConnectorError as error:
            answers = [Answer(row, _receipt_of(error, row, row["system"], done)) for row in rows]
            # nothing was sent yet: also an ambiguous look is a plain retry
            plain = [Answer(a.row, _as_retry(a.receipt)) for a in answers]
            with world.transaction() as conn:
                _note(conn, plain)
                outbox.settle(conn, _moved(plain), worker=row["claimed_by"])
            done.troubled.setdefault(row["system"], str(error))
            return []
        if not twins:
            left.append(row)
        else:
            _link_twin(world, row, twins, done)
    return left


def _as_retry(receipt: Receipt) -> Receipt:
    if receipt.outcome == "retry":
        return receipt
    return Receipt(receipt.ref, "retry", reason=receipt.reason, wait_seconds=30.0)


def _link_twin(world: World, row: Row, twins: Sequence[SourceRecord], done: Delivered) -> None:
    """One twin: it is linked and planned again as an update. Several: a person must say which."""
    with world.transaction() as conn:
        if len(twins) == 1:
            links = pl.DataFrame(
                {
                    "system": [row["system"]],
                    "stream": [row["stream"]],
                    "source_id": [twins[0].id],
                    "canonical_id": [row["canonical_id"]],
                    "is_primary": [True],
                    "because": ["found in the target before it was created"],
                    "score": [1.0],
                }
            )
            if crosswalk.link_new(conn, row["entity"], links, by="concord"):
                outbox.again(conn, [int(row["id"])], "the record was found in the target: linked, not created")
                done.found += 1
                return
        listed = ", ".join(t.id for t in twins[:5])
        outbox.park(conn, int(row["id"]), f"{len(twins)} records in the target look like it: {listed}")
        queues.open_findings(conn, _twin_finding(row, listed), world.owner_of_system(row["system"]))


def _twin_finding(row: Row, listed: str) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "kind": ["target_duplicate"],
            "entity": [row["entity"]],
            "canonical_id": [row["canonical_id"]],
            "system": [row["system"]],
            "stream": [row["stream"]],
            "source_id": [None],
            "field": [None],
            "ours": [None],
            "theirs": [listed],
            "action": ["ask"],
            "because": ["a create found records in the target that it may not be told apart from"],
        },
        schema_overrides=dict.fromkeys(("source_id", "field", "ours"), pl.String),
    )


def _look_up(world: World, target: Target, rows: list[Row], worker: str, done: Delivered) -> None:
    """Settles unknown writes by looking: found is done, not found is sent again with the same key (P5)."""
    for row in rows:
        facts = target.facts(row["stream"])
        try:
            if row["op"] == "create":
                twins = _twins(world, target, row)
            else:
                found = target.get(row["stream"], [str(row["source_id"])]) if hasattr(target, "get") else []
                twins = None if found else []
        except ConnectorError as error:
            done.unknown += 1
            done.troubled.setdefault(row["system"], str(error))
            continue
        if twins and len(twins) == 1:
            receipt = Receipt(str(row["id"]), "done", source_id=twins[0].id, record=twins[0].payload, reason="found")
            _settle(world, target, [Answer(row, receipt)], worker, done)
        elif twins:
            _link_twin(world, row, twins, done)
        elif row["op"] != "create" or facts.write_class == "A" or (twins is not None and facts.write_class == "B"):
            # updates are absolute values; class A resends under its key; class B looked and found nothing
            wait = facts.index_lag_seconds if row["op"] == "create" else 1.0
            again = Receipt(str(row["id"]), "retry", reason="not found there: sent again", wait_seconds=wait)
            _settle(world, target, [Answer(row, again)], worker, done)
        else:
            done.unknown += 1
            with world.transaction() as conn:
                queues.open_findings(conn, _ambiguous(row), world.owner_of_system(row["system"]))


def _ambiguous(row: Row) -> pl.DataFrame:
    finding = _twin_finding(row, "")
    return finding.with_columns(
        pl.lit("ambiguous_create").alias("kind"),
        pl.lit("the answer to this create was lost and the target cannot be searched: look there").alias("because"),
    )


def _recover(world: World, worker: str, systems: Sequence[str], done: Delivered) -> None:
    """Takes over what dead workers left: whoever's lane lock is free is gone; whoever's lease is over must be."""
    with world.transaction() as conn:
        left = [
            row
            for row in outbox.expired(conn)
            if row["system"] in systems
            and (row["lease_is_over"] or not locks.is_held(conn, f"worker:{row['claimed_by']}"))
        ]
        outbox.take_over(conn, [int(r["id"]) for r in left], worker=worker, lease_seconds=LEASE_SECONDS)
    for row in left:
        row["claimed_by"] = worker
        _look_up(world, world.target(row["system"]), [row], worker, done)


# --------------------------------------------------------------------------------------------- waiting children


def _wake(world: World, systems: Sequence[str]) -> int:
    """Readies writes whose parents are known in the target now, with the parents' own ids put in."""
    with world.transaction() as conn:
        rows = outbox.waiting(conn, systems)
        woken: list[Row] = []
        for system in {r["system"] for r in rows}:
            mine = [r for r in rows if r["system"] == system]
            wanted = {(ref["entity"], ref["id"]) for r in mine for ref in r["refs"]}
            parents = pl.DataFrame(
                sorted(wanted), schema={"entity": pl.String, "canonical_id": pl.String}, orient="row"
            )
            links = outbox.parent_links(conn, system, parents)
            woken += [_filled(world, r, links) for r in mine if all((x["entity"], x["id"]) in links for x in r["refs"])]
        if woken:
            columns = ("outbox_id", "payload", "asked", "key", "write_hash")
            outbox.wake(conn, pl.DataFrame([{c: w[c] for c in columns} for w in woken]))
    return len(woken)


def _filled(world: World, row: Row, links: Mapping[tuple[str, str], str]) -> Row:
    """A waiting write with its parents' ids in payload and shadow; key and hash follow the payload."""
    program = world.outbound(row["entity"], row["system"], row["stream"])
    found = {ref["path"]: links[(ref["entity"], ref["id"])] for ref in row["refs"]}
    kinds = {path: program.kinds[path] for path in found}
    extra = build_payloads(pl.DataFrame({p: [v] for p, v in found.items()}), kinds)[0]
    payload = _JSON.encode(_merged(_exact(row["payload"]), _exact(extra))).decode()
    asked = {**orjson.loads(row["asked"]), **found}
    where = (row["system"], row["stream"], row["canonical_id"])
    key = (
        keys.create_key(*where)
        if row["op"] == "create"
        else keys.update_key(*where, int(row["version"]), payload, row["op"])
    )
    return {
        "outbox_id": int(row["id"]),
        "payload": payload,
        "asked": orjson.dumps(asked).decode(),
        "key": key,
        "write_hash": keys.write_hash(row["entity"], *where, row["op"], payload),
    }


def _merged(into: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(into)
    for name, value in more.items():
        was = merged.get(name)
        merged[name] = _merged(was, value) if isinstance(was, Mapping) and isinstance(value, Mapping) else value
    return merged
