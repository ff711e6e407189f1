"""Release: planned writes become ready, waiting or held, one set per (target, entity, operation) (DESIGN 9.4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from canonical import brake
from canonical.landscape import Integration
from canonical.planning import CURRENCY_CHANGES
from staging import holds, landing, locks, outbox, overrides, pauses, queues, restored, shadow, units
from staging.crash import crash_point
from staging.engine import Connection
from tasks.world import World

WAIT_HOURS = 24
"""How long a write may wait for its parent before a person hears of it."""


@dataclass
class Released:
    """How many writes went which way."""

    ready: int = 0
    waiting: int = 0
    held: int = 0


def release(
    world: World, integrations: Sequence[str], *, sync_id: int | None = None, requested_by: str | None = None
) -> Released:
    """Decides on everything planned for these integrations (`sync_id`: only on what that sync planned), in one
    transaction. `requested_by`: who asked for these writes in person; holds remember it."""

    def decide(conn: Connection) -> Released:
        done = Released()
        locks.gate(conn, "release")
        units.forget(conn)
        holds.close_empty(conn)
        holds.lapse(conn)
        pauses.close_over(conn)
        queues.report_overdue_waits(conn, WAIT_HOURS)
        for asking in outbox.asking_sets(conn, integrations, CURRENCY_CHANGES, sync_id):
            _hold_what_asks(conn, world, asking, done, requested_by)
        for fallen in outbox.fallen_sets(conn, integrations, sync_id):
            _hold_what_changed(conn, world, fallen, done, requested_by)
        gone = _Gone()
        for which in outbox.planned_sets(conn, integrations, sync_id):
            if restored.rests(conn, which.system, which.stream) or (
                which.op == "create" and _is_blind(conn, world, which)
            ):
                continue
            _decide(conn, world, gone.before(which), done, gone, requested_by)
        return done

    done = world.unit("release", decide)
    crash_point("release.released")
    return done


class _Gone:
    """What this release has let go already: the next integration's set to the same target is counted with it."""

    def __init__(self) -> None:
        self._sets: dict[tuple[str, str, str, str], list[outbox.PlannedSet]] = {}

    @staticmethod
    def _place(which: outbox.PlannedSet) -> tuple[str, str, str, str]:
        kind = "delete" if which.op in ("archive", "delete") else which.op
        return which.entity, which.system, which.stream, kind

    def add(self, which: outbox.PlannedSet) -> None:
        self._sets.setdefault(self._place(which), []).append(which)

    def before(self, which: outbox.PlannedSet) -> outbox.PlannedSet:
        """The set with what went before it."""
        for earlier in self._sets.get(self._place(which), ()):
            money = {c: Decimal(m) for c, m in which.money_released.items()}
            for currency, moved in moved_by(earlier).items():
                money[currency] = money.get(currency, Decimal(0)) + moved
            which = replace(
                which,
                released=which.released + (earlier.planned if earlier.linked or earlier.op != "create" else 0),
                blanked_released=which.blanked_released + earlier.blanked,
                money_released=money,
            )
        return which


def _decide(
    conn: Connection,
    world: World,
    which: outbox.PlannedSet,
    done: Released,
    gone: _Gone,
    requested_by: str | None,
) -> None:
    """Lets a planned set go, or puts it behind a hold; an override lets it go in the name of whoever declared it."""
    integration = world.landscape.integrations[which.integration]
    if which.op == "create" and (doubt := _doubt_since_restore(conn, integration, which)):
        hold_id = _open(conn, world, integration, which, "duplicate", doubt, which.planned, requested_by)
        done.held += outbox.hold_set(conn, which, hold_id)
        return
    verdict = brake.judge(count_of(which, money_held(conn, world, which)), integration.brake)
    if verdict.action == "release":
        tally = outbox.release_set(conn, which, integration.hold_seconds)
        gone.add(which)
    else:
        hold_id = _open(conn, world, integration, which, "brake", verdict.because, which.planned, requested_by)
        held = outbox.hold_set(conn, which, hold_id)
        lifted = overrides.active(conn, integration.name)
        if lifted is None or lifted.by == requested_by:
            done.held += held
            return
        tally = holds.overridden(conn, hold_id, lifted, wait_seconds=integration.hold_seconds)
    done.ready += tally.get("ready", 0)
    done.waiting += tally.get("waiting", 0)


def _doubt_since_restore(conn: Connection, integration: Integration, which: outbox.PlannedSet) -> str | None:
    looked_up = any(t.find_by for t in integration.to if (t.system, t.stream) == (which.system, which.stream))
    return restored.doubt(conn, which.system, which.stream, is_looked_up=looked_up)


def _hold_what_changed(
    conn: Connection, world: World, fallen: outbox.Fallen, done: Released, requested_by: str | None
) -> None:
    which = fallen.which
    reason = f"changed since they were held behind hold {fallen.behind}: {fallen.reason}"
    integration = world.landscape.integrations[which.integration]
    hold_id = _open(
        conn, world, integration, which, fallen.kind, reason, which.planned, requested_by, follows=fallen.behind
    )
    done.held += outbox.hold_fallen(conn, fallen, hold_id)


def _is_blind(conn: Connection, world: World, which: outbox.PlannedSet) -> bool:
    """Whether what the target holds is not known, so that each create might be a second one. Such creates stay planned
    until the target has been read; why it was not is that sync's trouble."""
    makes = (which.system, which.stream) in world.makers(which.entity)
    return makes and landing.blind_spot(conn, which.entity, which.system, which.stream) is not None


def _hold_what_asks(
    conn: Connection, world: World, asking: outbox.Asking, done: Released, requested_by: str | None
) -> None:
    which = asking.which
    integration = world.landscape.integrations[which.integration]
    target = next(t for t in integration.to if (t.system, t.stream) == (which.system, which.stream))
    kind = "currency" if asking.is_apart else "mode" if target.mode == "ask" else "ask_when"
    hold_id = _open(conn, world, integration, which, kind, asking.why, asking.writes, requested_by)
    done.held += outbox.hold_asking(conn, asking, hold_id, CURRENCY_CHANGES)


def _open(
    conn: Connection,
    world: World,
    integration: Integration,
    which: outbox.PlannedSet,
    kind: str,
    reason: str,
    writes: int,
    requested_by: str | None,
    *,
    follows: int | None = None,
) -> int:
    return holds.open_hold(
        conn,
        kind=kind,
        integration=integration.name,
        entity=which.entity,
        system=which.system,
        stream=which.stream,
        op=which.op,
        reason=reason,
        writes=writes,
        owner=world.contact(integration.owner),
        requested_by=requested_by,
        follows=follows,
    )


def money_held(conn: Connection, world: World, which: outbox.PlannedSet) -> dict[str, Decimal]:
    """Currency → how much money the target's linked records hold; "" where a path's currency varies by record."""
    if not any(which.money):
        return {}
    entity = world.landscape.model[which.entity]
    program = world.outbound(which.entity, which.system, which.stream)
    held: dict[str, Decimal] = {}
    for path, code in world.money_paths(entity, program).items():
        currency = "" if code.startswith("path:") else code
        sums = shadow.money_held(conn, which.entity, which.system, which.stream, path)
        held[currency] = held.get(currency, Decimal(0)) + sums
    return held


def count_of(which: outbox.PlannedSet, held: dict[str, Decimal]) -> brake.Count:
    """A planned set as the brake counts it: with what the last 24 hours have moved of the same currencies."""
    released = {c: Decimal(m) for c, m in which.money_released.items()}
    return brake.Count(
        system=which.system,
        stream=which.stream,
        entity=which.entity,
        op=which.op,  # type: ignore[arg-type]  # the table's CHECK knows the four
        planned=which.planned,
        released=which.released,
        linked=which.linked,
        blanked=which.blanked,
        blanked_released=which.blanked_released,
        money={
            c: brake.Moved(m + released.get(c, Decimal(0)), held.get(c, held.get("", Decimal(0))))
            for c, m in moved_by(which).items()
            if m
        },
    )


def moved_by(which: outbox.PlannedSet) -> dict[str, Decimal]:
    """Currency → how much money the planned writes move."""
    moved: dict[str, Decimal] = {}
    for told in which.money:
        for currency, amount in told.items():
            moved[currency] = moved.get(currency, Decimal(0)) + Decimal(amount)
    return moved
