"""Deliver: what is ready goes to its target, each write once, settled item by item (DESIGN 5.6, RELIABILITY P1-P11).

claim     `inflight` is committed before anything is sent
look      a create looks for its twin in the target first, where the landscape says how (match before create)
send      a batch of the target's own size, for as long as the claim is surely ours
settle    receipts, links, shadows and read-backs of a batch in one unit of work
recover   what a dead process left in flight is looked up before it is sent again
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from connectors import journal
from connectors.http.rate import delivering
from connectors.lease import now
from connectors.protocol import ConnectorError, Target
from staging import delivery, holds, locks
from staging.crash import crash_point
from tasks import flood, stopping
from tasks.lease import LEASE_SECONDS, Lease
from tasks.look import look_first, look_up
from tasks.send import send
from tasks.settle import Delivered, Lane, Row, settle
from tasks.wake import wake
from tasks.world import World


def deliver(
    world: World,
    integrations: Sequence[str],
    *,
    systems: Sequence[str] | None = None,
    only: Sequence[int] | None = None,
) -> Delivered:
    """Sends everything that is due for these integrations, until nothing is, or its system cannot take it now, or this
    process is asked to stop. `only`: of these writes of the outbox."""
    worker = uuid.uuid4().hex
    done = Delivered()
    names = list(systems) if systems is not None else sorted(world.target_systems(integrations))
    with locks.lane(world.engine, f"worker:{worker}"), delivering(), journal.kept():
        if only is None:
            with world.transaction() as conn:
                holds.lapse(conn)
            _recover(world, worker, names, done)
        while not stopping.is_asked():
            able = [n for n in names if n not in done.troubled]
            wake(world, able)
            with world.transaction() as conn:
                lanes = delivery.due_lanes(conn, able, integrations, only)
            progressed = False
            for lane in lanes:
                if lane not in done.stopped:
                    progressed |= _drain(world, lane, integrations, worker, done, only)
            if not progressed:
                break
    with world.transaction() as conn:  # what waits for a system that is left alone is trouble as long as it waits
        done.stopped = {**delivery.resting_lanes(conn, names, integrations), **done.stopped}
    for (system, *_), because in done.stopped.items():
        done.troubled.setdefault(system, because)
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
    passage = flood.passage(world, lane, done)
    while lane not in done.stopped and system not in done.troubled and not stopping.is_asked():
        target = _target(world, system, done)
        if target is None:
            break
        size = 1 if passage == "try" else max(1, target.facts(stream).batch_size)
        claimed_at = now()
        with world.transaction() as conn:
            rows = delivery.claim(
                conn, lane, integrations, worker=worker, limit=size, lease_seconds=LEASE_SECONDS, only=only
            )
        if not rows:
            break
        crash_point("deliver.claimed")
        claimed_any = True
        with Lease(world, worker, [int(r["id"]) for r in rows], claimed_at, LEASE_SECONDS) as lease:
            _work_off(world, target, rows, lease, worker, done)
        passage = flood.judge(world, lane, done, passage)
    return claimed_any


def _work_off(world: World, target: Target, rows: list[Row], lease: Lease, worker: str, done: Delivered) -> None:
    """Looks, sends, settles and looks up one claimed batch."""
    rows = look_first(world, target, rows, done)
    if not rows:
        return
    answers = send(world, target, rows, lease, done)
    flood.note(answers, done)
    unknown = settle(world, target, answers, worker, done) if answers else []
    if unknown:
        look_up(world, target, unknown, lease, worker, done)


def _recover(world: World, worker: str, systems: Sequence[str], done: Delivered) -> None:
    """Takes over what dead workers left: whoever's lane lock is free is gone; whoever's lease is over must be."""
    claimed_at = now()
    with world.transaction() as conn:
        left = [
            row
            for row in delivery.expired(conn)
            if row["system"] in systems
            and (row["lease_is_over"] or not locks.is_held(conn, f"worker:{row['claimed_by']}"))
        ]
        taken = delivery.take_over(conn, left, worker=worker, lease_seconds=LEASE_SECONDS)
    if taken:
        crash_point("deliver.taken_over")
    lanes: dict[tuple[str, str, str], list[Row]] = {}
    for row in left:
        if int(row["id"]) in taken:
            row["claimed_by"] = worker
            lanes.setdefault((row["system"], row["stream"], row["op"]), []).append(row)
    for (system, _, _), rows in lanes.items():
        if target := _target(world, system, done):
            with Lease(world, worker, [int(r["id"]) for r in rows], claimed_at, LEASE_SECONDS) as lease:
                look_up(world, target, rows, lease, worker, done)


def _target(world: World, system: str, done: Delivered) -> Target | None:
    """The system's connector; None, and the system is left alone, where it cannot even be opened (a missing secret)."""
    try:
        return world.target(system)
    except ConnectorError as error:
        done.troubled[system] = str(error)
        return None
