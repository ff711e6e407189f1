"""Look: find a create's twin in the target before it is sent, and what became of a write whose answer was lost."""

from __future__ import annotations

import contextvars
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import orjson
import polars as pl

from canonical import resend
from canonical.landscape import Target as TargetDeclaration
from canonical.mapping.native import native_values
from connectors.protocol import (
    ConnectorError,
    Receipt,
    SourceRecord,
    Target,
)
from staging import crosswalk, delivery, holds, locks, queues
from staging.engine import Connection
from tasks.lease import Lease
from tasks.retry import wait_seconds
from tasks.send import send, sent_together
from tasks.settle import Answer, Delivered, Row, moved, note, receipt_of, settle
from tasks.world import World


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


def look_first(world: World, target: Target, rows: list[Row], done: Delivered) -> list[Row]:
    """Creates whose twin stands in the target already are linked instead; gives what is left to be sent."""
    if rows[0]["op"] != "create" or not _find_by(world, rows[0]):
        return rows
    try:
        found = [_twins(world, target, rows[0])]  # by itself: a system that was left alone is tried by one request
        with ThreadPoolExecutor(max(1, target.limits.concurrency), thread_name_prefix="look") as pool:
            # each in the context of this thread: looking before a delivery is part of the delivery
            asked = [pool.submit(contextvars.copy_context().run, _twins, world, target, row) for row in rows[1:]]
            found += [one.result() for one in asked]
    except ConnectorError as error:
        answers = [Answer(row, receipt_of(error, row, row["system"], done)) for row in rows]
        # nothing was sent yet: also an ambiguous look is a plain retry
        plain = [Answer(a.row, _as_retry(a.receipt)) for a in answers]
        with world.transaction() as conn:
            note(conn, plain)
            delivery.settle(conn, moved(plain), worker=rows[0]["claimed_by"])
        done.troubled.setdefault(rows[0]["system"], str(error))
        return []
    left: list[Row] = []
    for row, twins in zip(rows, found, strict=True):
        if twins:
            _link_twin(world, row, twins, done)
        else:
            left.append(row)
    return left


def _as_retry(receipt: Receipt) -> Receipt:
    wait = receipt.wait_seconds if receipt.outcome == "retry" else 30.0
    return Receipt(receipt.ref, "retry", reason=receipt.reason, wait_seconds=wait, is_counted=False)


def _link_twin(world: World, row: Row, twins: Sequence[SourceRecord], done: Delivered) -> None:
    """One twin that is nobody else's: it is linked and planned again as an update. Else a person must say which."""
    with world.transaction() as conn:
        locks.gate(conn, f"resolve:{row['entity']}")
        if len(twins) == 1 and _is_ours(conn, row, twins[0]):
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
            crosswalk.link_new(conn, row["entity"], links, by="concord")
            said = "the record was found in the target: linked, not created"
            delivery.again(conn, [int(row["id"])], said, worker=row["claimed_by"])
            done.found += 1
            return
        listed = ", ".join(t.id for t in twins[:5])
        reason = f"{len(twins)} records in the target look like it: {listed}"
        owner = world.owner_of_system(row["system"])
        hold_id = holds.open_hold(
            conn,
            kind="duplicate",
            integration=row["integration"],
            entity=row["entity"],
            system=row["system"],
            stream=row["stream"],
            op=row["op"],
            reason=reason,
            writes=1,
            owner=owner,
        )
        delivery.park(conn, [int(row["id"])], reason, hold_id, worker=row["claimed_by"])
        queues.open_findings(conn, _twin_finding(row, listed), owner)


def _is_ours(conn: Connection, row: Row, twin: SourceRecord) -> bool:
    """Whether a record found in the target is free, or linked to this very golden record."""
    holder = crosswalk.holder(conn, row["entity"], row["system"], row["stream"], twin.id)
    return holder in (None, row["canonical_id"])


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


@dataclass(frozen=True)
class _Seen:
    """What a look into the target found of one write."""

    row: Row
    seen: resend.Seen
    twins: Sequence[SourceRecord] = ()


def look_up(world: World, target: Target, rows: list[Row], lease: Lease, worker: str, done: Delivered) -> None:
    """Settles writes without a clear answer by looking, never by a second create on a guess (P5)."""
    asked: list[Row] = []
    again: list[Answer] = []
    for request, group in _by_request(rows):
        due: list[Row] = []
        for row in group:
            seen = _look(world, target, row, done) if request else _Seen(row, "cannot_tell")
            if seen is None:
                continue
            if len(seen.twins) > 1 or (seen.twins and not _may_settle(world, row, seen.twins[0])):
                _link_twin(world, row, seen.twins, done)
                continue
            found = resend.resolve(_silence(target, seen, len(group)))
            match found.action:
                case "done":
                    _found(world, target, seen, worker, done)
                case "resend":
                    due.append(row)
                case "ask":
                    row["because_asked"] = found.because
                    asked.append(row)
                case "again":
                    wait = max(found.wait_seconds, wait_seconds(int(row["attempts"])) if row["attempts"] > 1 else 0.0)
                    said = Receipt(str(row["id"]), "retry", reason=found.because, wait_seconds=wait)
                    again.append(Answer(row, said))
        _resend(world, target, due, len(group), request, lease, worker, done)
    if again:
        settle(world, target, again, worker, done)
    for each in _by_cause(asked):
        _ask(world, each, worker, done)


def _by_request(rows: Sequence[Row]) -> list[tuple[str | None, list[Row]]]:
    """Writes by the request that they were sent in; what was never sent is by itself."""
    groups: dict[str | None, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["request"], []).append(row)
    return list(groups.items())


def _look(world: World, target: Target, row: Row, done: Delivered) -> _Seen | None:
    """Looks for one write in its target; None, and it stays unknown, where the target cannot be asked now."""
    try:
        if row["op"] != "create":
            return _look_at_record(world, target, row)
        if row["source_id"]:  # an answer that named its id, and could not be read back
            named = target.get(row["stream"], [str(row["source_id"])]) if hasattr(target, "get") else []
            if named:
                return _Seen(row, "there", named)
        twins = _twins(world, target, row)
    except ConnectorError as error:
        done.unknown += 1
        done.troubled.setdefault(row["system"], str(error))
        return None
    if twins is None:
        return _Seen(row, "cannot_tell")
    return _Seen(row, "there" if twins else "absent", twins)


def _look_at_record(world: World, target: Target, row: Row) -> _Seen:
    """Whether a record that was to be changed stands as it was to stand."""
    found = target.get(row["stream"], [str(row["source_id"])]) if hasattr(target, "get") else []
    live = [r for r in found if not r.deleted]
    if row["op"] in ("archive", "delete"):
        return _Seen(row, "cannot_tell" if live or not hasattr(target, "get") else "there")
    if not live:
        return _Seen(row, "cannot_tell")
    program = world.outbound(row["entity"], row["system"], row["stream"])
    read = orjson.loads(native_values([live[0].payload], program)[0])
    asked: Mapping[str, str | None] = orjson.loads(row["asked"])
    sent = [path for path in row["fields"] if path in asked]
    stands = bool(sent) and all(_stands(asked[path], read.get(path)) for path in sent)
    return _Seen(row, "there" if stands else "cannot_tell", live[:1] if stands else ())


def _stands(asked: str | None, read: str | None) -> bool:
    """Whether a field holds what was asked for it, to the letter: what is only alike is sent again, harming nobody."""
    return not read if not asked else asked == read


def _silence(target: Target, seen: _Seen, together: int) -> resend.Silence:
    row, facts = seen.row, target.facts(seen.row["stream"])
    return resend.Silence(
        op=row["op"],
        write_class=facts.write_class,
        seen=seen.seen,
        sends=int(row["attempts"]),
        is_sent=row["request"] is not None,
        key_life_seconds=facts.key_life_seconds,
        key_age_seconds=float(row["key_age_seconds"]),
        is_same_request=sent_together(row["request"]) == together,
        index_lag_seconds=facts.index_lag_seconds,
    )


def _found(world: World, target: Target, seen: _Seen, worker: str, done: Delivered) -> None:
    row = seen.row
    record = seen.twins[0] if seen.twins else None
    source_id = record.id if record else row["source_id"]
    payload = record.payload if record else None
    receipt = Receipt(str(row["id"]), "done", source_id=source_id, record=payload, reason="found")
    settle(world, target, [Answer(row, receipt)], worker, done, is_found=not row["source_id"])


def _resend(
    world: World,
    target: Target,
    due: list[Row],
    together: int,
    request: str | None,
    lease: Lease,
    worker: str,
    done: Delivered,
) -> None:
    """The same request again, under the same key: only as a whole, as a batch has one key."""
    if not due:
        return
    if len(due) < together:  # some were found meanwhile: the rest would be another request
        settle(world, target, [Answer(r, _later(r)) for r in due], worker, done)
        return
    answers = send(world, target, due, lease, done, request=request)
    if left := settle(world, target, answers, worker, done):
        done.unknown += len(left)


def _later(row: Row) -> Receipt:
    return Receipt(str(row["id"]), "unknown", reason="the rest of its batch was found there; this one was not")


def _by_cause(rows: Sequence[Row]) -> list[list[Row]]:
    """Writes that a person is asked about, by where they go and why."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        place = (row["integration"], row["entity"], row["system"], row["stream"], row["because_asked"])
        groups.setdefault(place, []).append(row)
    return list(groups.values())


def _ask(world: World, rows: Sequence[Row], worker: str, done: Delivered) -> None:
    """A person looks whether they exist: approving sends them, rejecting leaves them be."""
    first = rows[0]
    done.unknown += len(rows)
    reason = f"{first['because_asked']}. Look there: approve what is not there, reject what is"
    with world.transaction() as conn:
        locks.gate(conn, f"resolve:{first['entity']}")
        hold_id = holds.open_hold(
            conn,
            kind="duplicate",
            integration=first["integration"],
            entity=first["entity"],
            system=first["system"],
            stream=first["stream"],
            op=first["op"],
            reason=reason,
            writes=len(rows),
            owner=world.owner_of_system(first["system"]),
        )
        delivery.park(conn, [int(r["id"]) for r in rows], reason, hold_id, worker=worker)


def _may_settle(world: World, row: Row, twin: SourceRecord) -> bool:
    """Whether what was found may be what this create made: never a record of somebody else's."""
    with world.transaction() as conn:
        return _is_ours(conn, row, twin)
