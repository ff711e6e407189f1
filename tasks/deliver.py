"""Deliver: what is ready goes to its target, each write once, settled item by item (DESIGN 5.6, RELIABILITY P1-P11).

claim     `inflight` is committed before anything is sent
look      a create looks for its twin in the target first, where the landscape says how (match before create)
send      a batch of the target's own size
settle    receipts, links, shadows and read-backs of a batch in one transaction
recover   what a dead process left in flight is looked up before it is sent again
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from connectors import journal
from connectors.http.rate import delivering
from connectors.protocol import (
    ConnectorError,
    Receipt,
    Target,
    Write,
)
from staging import delivery, locks
from staging.crash import crash_point
from tasks.look import look_first, look_up
from tasks.settle import LEASE_SECONDS, Answer, Delivered, Lane, Row, receipt_of, settle
from tasks.wake import exact, wake
from tasks.world import World


def deliver(
    world: World,
    integrations: Sequence[str],
    *,
    systems: Sequence[str] | None = None,
    only: Sequence[int] | None = None,
) -> Delivered:
    """Sends everything that is due for these integrations, until nothing is, or its system cannot take it now.
    `only`: of these writes of the outbox."""
    worker = uuid.uuid4().hex
    done = Delivered()
    names = list(systems) if systems is not None else sorted(world.target_systems(integrations))
    with locks.lane(world.engine, f"worker:{worker}"), delivering(), journal.kept():
        if only is None:
            _recover(world, worker, names, done)
        while True:
            able = [n for n in names if n not in done.troubled]
            wake(world, able)
            with world.transaction() as conn:
                lanes = delivery.due_lanes(conn, able, integrations, only)
            if not lanes:
                return done
            progressed = False
            for lane in lanes:
                progressed |= _drain(world, lane, integrations, worker, done, only)
            if not progressed:
                return done


def _drain(
    world: World,
    lane: Lane,
    integrations: Sequence[str],
    worker: str,
    done: Delivered,
    only: Sequence[int] | None = None,
) -> bool:
    """Sends one lane's due writes batch by batch; says whether anything was claimed."""
    system, stream, _, _ = lane
    claimed_any = False
    while system not in done.troubled:
        target = _target(world, system, done)
        if target is None:
            return claimed_any
        size = max(1, target.facts(stream).batch_size)
        with world.transaction() as conn:
            rows = delivery.claim(
                conn, lane, integrations, worker=worker, limit=size, lease_seconds=LEASE_SECONDS, only=only
            )
        if not rows:
            return claimed_any
        crash_point("deliver.claimed")
        claimed_any = True
        rows = _still_ours(world, look_first(world, target, rows, done), worker)
        if rows:
            answers = _send(world, target, rows, done)
            crash_point("deliver.sent")
            unknown = settle(world, target, answers, worker, done)
            look_up(world, target, unknown, worker, done)
    return claimed_any


def _still_ours(world: World, rows: list[Row], worker: str) -> list[Row]:
    """Looking takes time: the lease is renewed right before sending; what another worker took over is left to it."""
    with world.transaction() as conn:
        kept = delivery.renew(conn, [int(r["id"]) for r in rows], worker=worker, lease_seconds=LEASE_SECONDS)
    return [r for r in rows if int(r["id"]) in kept]


def _send(world: World, target: Target, rows: list[Row], done: Delivered) -> list[Answer]:
    """One call to the target; an answer for each row, whatever happens."""
    stream, system = rows[0]["stream"], rows[0]["system"]
    writes = [
        Write(
            ref=str(row["id"]),
            op=row["op"],
            source_id=row["source_id"],
            payload=exact(row["payload"]),
            key=row["key"],
        )
        for row in rows
    ]
    try:
        receipts = {r.ref: r for r in target.write(stream, writes)}
    except ConnectorError as error:
        return [Answer(row, receipt_of(error, row, system, done)) for row in rows]
    missing = "the answer said nothing about this item"
    return [
        Answer(row, receipts.get(str(row["id"])) or Receipt(str(row["id"]), "unknown", reason=missing)) for row in rows
    ]


def _recover(world: World, worker: str, systems: Sequence[str], done: Delivered) -> None:
    """Takes over what dead workers left: whoever's lane lock is free is gone; whoever's lease is over must be."""
    with world.transaction() as conn:
        left = [
            row
            for row in delivery.expired(conn)
            if row["system"] in systems
            and (row["lease_is_over"] or not locks.is_held(conn, f"worker:{row['claimed_by']}"))
        ]
        delivery.take_over(conn, [int(r["id"]) for r in left], worker=worker, lease_seconds=LEASE_SECONDS)
    for row in left:
        row["claimed_by"] = worker
        if target := _target(world, row["system"], done):
            look_up(world, target, [row], worker, done)


def _target(world: World, system: str, done: Delivered) -> Target | None:
    """The system's connector; None, and the system is left alone, where it cannot even be opened (a missing secret)."""
    try:
        return world.target(system)
    except ConnectorError as error:
        done.troubled[system] = str(error)
        return None
