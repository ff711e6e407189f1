"""Apply: a saved plan becomes writes exactly as it was shown, once, or not at all (DESIGN 9.13, 9.14).

Everything is worked out anew from what the systems hold now, in one transaction. It commits, its writes released, only
if every fingerprint is the one that was shown; else it is rolled back and what moved is told. So what is compared is
the very thing that is committed, and a kill leaves either nothing or an applied plan whose writes wait to be sent.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from canonical.plans import Moved, PlannedWrite, compare
from staging import audit, holds, pauses, plans
from staging.crash import crash_point
from staging.engine import Connection
from tasks.deliver import deliver
from tasks.rehearse import Listing, read_streams, work_out, writes_of
from tasks.release import release
from tasks.sync import PlainSteps, Steps, Summary, Trouble, TurnedAway, at_work, begin, chosen, count_delivered
from tasks.world import World

UNSETTLED = ("planned", "ready", "inflight", "unknown")
"""States of a write that delivery still moves by itself."""


class NotApplied(TurnedAway):
    """Nothing was written. `moved`: what is not as it was shown; `trouble`: what could not be looked at."""

    def __init__(self, message: str, *, moved: Moved | None = None, trouble: list[Trouble] | None = None) -> None:
        self.moved, self.trouble = moved or Moved(), trouble or []
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Approval:
    """Who lets the holds of a plan go with it, and why. The person has proved who it is."""

    by: str
    reason: str


@dataclass
class Applied:
    """What became of a plan that was applied now or before."""

    plan_id: int
    is_first: bool
    """False: it was applied before; this call only went on with its delivery."""
    applied_by: str
    applied_at: Any
    states: dict[str, int] = field(default_factory=dict)
    """Outbox state → how many of the plan's writes are there."""
    approved: int = 0
    """Writes that were held and went with the approval."""
    summary: Summary | None = None

    @property
    def unsettled(self) -> int:
        return sum(self.states.get(state, 0) for state in UNSETTLED)


def apply(
    world: World, plan_id: int, *, by: str, steps: Steps | None = None, approval: Approval | None = None
) -> Applied:
    """Applies a saved plan, or goes on where an earlier call was interrupted. Raises KeyError for an unknown plan,
    NotApplied, SyncBusy."""
    with world.transaction() as conn:
        plan = plans.one(conn, plan_id)
        if plan is None:
            raise KeyError(plan_id)
        shown = writes_of(conn, plan_id)
    if plan["state"] == "applied":
        return _go_on(world, plan_id, plan["name"])
    if plan["name"] != "all" and plan["name"] not in world.landscape.integrations:
        raise NotApplied(f"the landscape declares no integration {plan['name']} any more")
    integrations = chosen(world, plan["name"])
    _check(world, plan, shown, approval)
    sync_id = begin(world, plan["name"], "apply", started_by=by)
    summary = Summary(sync_id=sync_id, integrations=integrations, mode="apply", rounds=1)
    approved = 0
    with at_work(world, plan["name"], summary):
        troubles = read_streams(world, integrations, steps or PlainSteps(world, sync_id), "incremental")
        if troubles:
            raise NotApplied("not everything could be read: nothing was written", trouble=troubles)
        with world.all_or_nothing() as conn:
            listing = Listing(integrations)
            work_out(world, conn, listing, sync_id=sync_id)
            _agree(shown, listing)
            if not plans.take(conn, plan_id, by=by, sync_id=sync_id):
                raise NotApplied("somebody else applied it a moment ago; nothing more was written")
            release(world, integrations, requested_by=approval.by if approval else by)
            if approval:
                approved = _approve(conn, integrations, approval)
            done = {"sync": sync_id, "writes": len(shown), "approved": approved}
            audit.append(conn, by, "plan.applied", f"plan:{plan_id}", done)
            crash_point("apply.committing")
        crash_point("apply.committed")
        summary.golden_versions = listing.golden_versions
        count_delivered(summary, deliver(world, integrations))
    found = _standing(world, plan_id, is_first=True)
    found.approved, found.summary = approved, summary
    return found


def _check(world: World, plan: dict[str, Any], shown: list[PlannedWrite], approval: Approval | None) -> None:
    """Refuses before anything is read."""
    if approval and approval.by == plan["made_by"]:
        raise NotApplied(f"{approval.by} made this plan: somebody else must approve its holds")
    ways = {(f"integration:{w.integration}", f"system:{w.system}") for w in shown if w.mode != "observe"}
    concerned = {what for way in ways for what in way}
    with world.transaction() as conn:
        resting = [p.said for p in pauses.active(conn) if p.what in concerned]
    if resting:
        raise NotApplied("; ".join(resting))


def _agree(shown: list[PlannedWrite], listing: Listing) -> None:
    if listing.trouble:
        raise NotApplied("a batch was stopped by validation: nothing was written", trouble=listing.trouble)
    moved = compare(shown, listing.writes)
    if moved:
        raise NotApplied("the plan is not what it was: nothing was written", moved=moved)


def _approve(conn: Connection, integrations: tuple[str, ...], approval: Approval) -> int:
    """Lets the holds of these integrations go: all their writes are in the plan, or it would not have agreed."""
    return sum(
        holds.approve(conn, hold["id"], by=approval.by, reason=approval.reason)
        for hold in holds.open_of(conn, integrations)
    )


def _go_on(world: World, plan_id: int, name: str) -> Applied:
    """Sends what an interrupted call left; nothing where all is settled."""
    found = _standing(world, plan_id, is_first=False)
    if not found.unsettled or (name != "all" and name not in world.landscape.integrations):
        return found
    deliver(world, chosen(world, name))
    return _standing(world, plan_id, is_first=False)


def _standing(world: World, plan_id: int, *, is_first: bool) -> Applied:
    with world.transaction() as conn:
        plan = plans.one(conn, plan_id)
        assert plan is not None
        return Applied(plan_id, is_first, plan["applied_by"], plan["applied_at"], states=plans.progress(conn, plan_id))
