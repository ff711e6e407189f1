"""A rehearsal: what a sync would write, record by record and field by field, leaving nothing behind (DESIGN 9.13).

Reading and landing happen for real. Everything after that runs in one transaction that is rolled back; the gate's
verdict comes from its own count, because nobody else can see the candidates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from canonical import brake, keys
from staging import outbox
from staging.engine import Connection
from tasks.plan import note_declarations, plan_leftovers
from tasks.release import count_of, money_held
from tasks.resolve import resolve
from tasks.stage import stage
from tasks.sync import Mode, PlainSteps, Steps, Trouble, chosen, entities_of
from tasks.world import World

NAMES = ("name", "number", "sku", "reference", "last_name", "email")
"""Fields by which a person recognises a record, the best first."""


@dataclass(frozen=True)
class PlannedWrite:
    """One write that a sync would make."""

    integration: str
    entity: str
    canonical_id: str
    label: str
    system: str
    stream: str
    op: str
    source_id: str | None
    because: str
    hold: str | None
    """Why a person would have to agree first; None: nobody."""
    waits_for: list[dict[str, str]]
    changes: list[dict[str, Any]]
    """field, old, new, authority: the system of record of the value."""
    write_hash: str


@dataclass(frozen=True)
class PlannedTarget:
    """What one target would be told, counted, and what the brake would say of it."""

    integration: str
    system: str
    stream: str
    op: str
    count: int
    verdict: str
    because: str


@dataclass
class Listing:
    """A whole plan."""

    integrations: tuple[str, ...]
    targets: list[PlannedTarget] = field(default_factory=list)
    writes: list[PlannedWrite] = field(default_factory=list)
    trouble: list[Trouble] = field(default_factory=list)
    golden_versions: int = 0
    reviews: int = 0
    digest: str = ""
    """One hash over all writes: two plans with the same digest say the same."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def rehearse(
    world: World, name: str, *, read: bool = True, mode: Mode = "incremental", steps: Steps | None = None
) -> Listing:
    """What `sync` of an integration (or `all`) would write now. `read` False: from what is landed already."""
    integrations = chosen(world, name)
    entities = entities_of(world, integrations)
    streams = world.streams_for(entities)
    listing = Listing(integrations)
    if read:
        results = (steps or PlainSteps(world, None)).extract(streams, mode, None)
        listing.trouble += [r for r in results if isinstance(r, Trouble)]
    with world.rehearsal() as conn:
        note_declarations(world, integrations)
        for system, stream in streams:
            staged = stage(world, system, stream, sync_id=None, docs_dir=None)
            if staged.stopped:
                listing.trouble.append(Trouble(system, stream, "validate", "GateStopped", staged.stopped))
        for entity in entities:
            done = resolve(world, entity, sync_id=None, integrations=integrations)
            listing.golden_versions += done.versions
            listing.reviews += done.asked
        plan_leftovers(world, integrations, sync_id=None)
        listing.targets = _targets(world, conn, integrations)
        listing.writes = [_write(row) for row in outbox.unsent(conn, integrations, NAMES, _columns(world))]
    listing.digest = keys.set_hash(w.write_hash for w in listing.writes)
    return listing


def _columns(world: World) -> dict[str, set[str]]:
    return {e.name: set(e.columns) for e in world.landscape.model.entities}


def _targets(world: World, conn: Connection, integrations: Sequence[str]) -> list[PlannedTarget]:
    found = []
    for which in outbox.planned_sets(conn, integrations):
        verdict = brake.judge(
            count_of(which, money_held(conn, world, which)), world.landscape.integrations[which.integration].brake
        )
        found.append(
            PlannedTarget(
                which.integration, which.system, which.stream, which.op, which.planned, verdict.action, verdict.because
            )
        )
    return found


def _write(row: dict[str, Any]) -> PlannedWrite:
    return PlannedWrite(
        integration=row["integration"],
        entity=row["entity"],
        canonical_id=row["canonical_id"],
        label=row["label"] or row["canonical_id"],
        system=row["system"],
        stream=row["stream"],
        op=row["op"],
        source_id=row["source_id"],
        because=row["because"],
        hold=row["reason"],
        waits_for=row["refs"] or [],
        changes=row["before"] or [],
        write_hash=row["write_hash"],
    )
