"""Going live: what the first writes to observed targets would be, and the word of a person that they may go (9.15).

`mode: observe` in the declaration means: planned, compared and reported, never sent, until a person has seen the first
plan and says so. Their word is kept in our database with the plan that was seen; the declaration is never edited
(decision 015).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from canonical.landscape import Target
from canonical.plans import PlannedWrite
from staging import golives, readiness
from staging.golives import Place
from tasks.rehearse import Listing, PlannedTarget, rehearse, save
from tasks.sync import Steps
from tasks.world import World


@dataclass(frozen=True)
class FirstPlan:
    """What a person sees of one target before it goes live."""

    system: str
    stream: str
    declared: str
    is_live: bool
    linked: int
    """Golden records whose record there is known."""
    agreeing: int
    """… of which hold already what they should."""
    creates: int
    updates: int
    archives: int
    blanks: int
    """Fields that would be turned empty."""
    left_alone: int
    """Fields that stand there and that we have no value for: findings, left alone."""
    duplicates: int
    """Open findings of second records of one golden record there, which a person must merge."""
    in_doubt: int
    """Open questions whether a record there is one that we know: not created before they are answered."""
    held: int
    """Writes that would wait for a person."""
    waiting: int
    """Writes that would wait for their parents."""
    brake: list[PlannedTarget]
    sample: list[PlannedWrite]


@dataclass
class GoLive:
    """The whole of it: the plan, and each of its targets."""

    integration: str
    listing: Listing
    targets: list[FirstPlan]

    @property
    def observed(self) -> list[FirstPlan]:
        """Those that would go live now."""
        return [t for t in self.targets if t.declared == "observe" and not t.is_live]


SAMPLE = 5
"""Writes of each kind that are shown of a target."""


def first_plan(
    world: World, integration: str, *, system: str | None = None, read: bool = True, steps: Steps | None = None
) -> GoLive:
    """What would be written if the integration's targets (of one system) went live now; nothing is written."""
    listing = rehearse(world, integration, read=read, steps=steps)
    targets = [t for t in world.landscape.integrations[integration].to if system in (None, t.system)]
    with world.transaction() as conn:
        live = golives.live(conn)
        facts = {
            (t.system, t.stream): readiness.counts(
                conn, world.landscape.integrations[integration].entity, t.system, t.stream
            )
            for t in targets
        }
    shown = [_shown(listing, t, facts[t.system, t.stream], (integration, t.system, t.stream) in live) for t in targets]
    return GoLive(integration, listing, shown)


def _shown(listing: Listing, target: Target, facts: readiness.Counts, is_live: bool) -> FirstPlan:
    writes = [w for w in listing.writes if (w.system, w.stream) == (target.system, target.stream)]
    ops = {op: [w for w in writes if w.op == op] for op in ("create", "update", "archive", "delete")}
    # a field that had a value and would have none
    blanks = sum(1 for w in ops["update"] for c in w.changes if c.get("new") is None and c.get("old") is not None)
    return FirstPlan(
        system=target.system,
        stream=target.stream,
        declared=target.mode,
        is_live=is_live,
        linked=facts.linked,
        agreeing=max(0, facts.linked - len(ops["update"]) - len(ops["archive"]) - len(ops["delete"])),
        creates=len(ops["create"]),
        updates=len(ops["update"]),
        archives=len(ops["archive"]) + len(ops["delete"]),
        blanks=blanks,
        left_alone=facts.left_alone,
        duplicates=facts.duplicates,
        in_doubt=facts.in_doubt,
        held=sum(1 for w in writes if w.hold),
        waiting=sum(1 for w in writes if w.waits_for),
        brake=[t for t in listing.targets if (t.system, t.stream) == (target.system, target.stream)],
        sample=[w for some in ops.values() for w in some[:SAMPLE]],
    )


def go_live(world: World, shown: GoLive, targets: Sequence[FirstPlan], *, by: str, reason: str | None) -> int:
    """Records that these targets go live, with the plan that was seen; gives the saved plan's id. The next sync plans
    and sends their writes."""
    plan_id = save(world, shown.integration, shown.listing, mode="incremental", by=by)
    with world.transaction() as conn:
        for target in targets:
            place = (shown.integration, target.system, target.stream)
            golives.go(conn, place, by=by, reason=reason, saved_plan_id=plan_id, digest=shown.listing.digest)
    return plan_id


def take_back(world: World, integration: str, *, system: str | None, by: str, reason: str) -> list[Place]:
    """Lets targets that went live by a person's word be observed again; gives them."""
    places = [
        (integration, t.system, t.stream)
        for t in world.landscape.integrations[integration].to
        if system in (None, t.system)
    ]
    with world.transaction() as conn:
        return [place for place in places if golives.take_back(conn, place, by=by, reason=reason)]
