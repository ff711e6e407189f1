"""Send: one request to a target, and an answer for each of its writes, whatever happens."""

from __future__ import annotations

import uuid

import polars as pl

from connectors.lease import while_leased
from connectors.protocol import ConnectorError, Receipt, Target, Write
from staging import queues
from staging.crash import crash_point
from tasks.lease import Lease
from tasks.settle import Answer, Delivered, Row, receipt_of
from tasks.wake import exact
from tasks.world import World

MISSING = "the answer said nothing about this item"


def send(
    world: World, target: Target, rows: list[Row], lease: Lease, done: Delivered, *, request: str | None = None
) -> list[Answer]:
    """Sends those of these writes that are still ours; gives their answers. `request`: the one that they were sent in
    before and are sent in again; None: a new one."""
    name = request or f"{uuid.uuid4().hex}/{len(rows)}"
    kept = lease.send([int(r["id"]) for r in rows], name, is_again=request is not None)
    if request and len(kept) < len(rows):
        return []  # somebody else has taken over
    rows = [r for r in rows if int(r["id"]) in kept]
    if not rows:
        return []
    for row in rows:
        row["request"] = name
    stream, system = rows[0]["stream"], rows[0]["system"]
    crash_point("deliver.sending")
    try:
        with while_leased(lease.left_seconds):
            given = target.write(stream, [_write(row) for row in rows])
    except ConnectorError as error:
        return [Answer(row, receipt_of(error, row, system, done)) for row in rows]
    crash_point("deliver.sent")
    receipts = {r.ref: r for r in given}
    _tell_unasked(world, rows[0], [r for r in given if not r.ref])
    return [
        Answer(row, receipts.get(str(row["id"])) or Receipt(str(row["id"]), "unknown", reason=MISSING)) for row in rows
    ]


def sent_together(request: str | None) -> int:
    """How many writes a request carried."""
    return int(request.rpartition("/")[2]) if request else 0


def _write(row: Row) -> Write:
    # a create may know an id that it was answered with and that nobody could read back yet: it is not sent along
    source_id = None if row["op"] == "create" else row["source_id"]
    return Write(ref=str(row["id"]), op=row["op"], source_id=source_id, payload=exact(row["payload"]), key=row["key"])


def _tell_unasked(world: World, row: Row, unasked: list[Receipt]) -> None:
    """A target that speaks of records nobody wrote to may have done more than it was asked: somebody should look."""
    if not unasked:
        return
    columns = (
        "kind", "entity", "canonical_id", "system", "stream", "source_id", "field", "ours", "theirs", "action",
        "because",
    )  # fmt: skip
    place = (row["system"], row["stream"])
    found = [
        ("unasked_answer", row["entity"], None, *place, r.source_id, None, None, None, "report", r.reason)
        for r in unasked
    ]
    frame = pl.DataFrame(found, schema=dict.fromkeys(columns, pl.String), orient="row")
    with world.transaction() as conn:
        queues.open_findings(conn, frame, world.owner_of_system(row["system"]))
