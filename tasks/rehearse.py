"""A rehearsal: what a sync would write, record by record and field by field, leaving nothing behind (DESIGN 9.13).

Reading and landing happen for real. Everything after that runs in one transaction that is rolled back; the gate's
verdict comes from its own count, because nobody else can see the candidates.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson

from canonical import brake, plans
from canonical.plans import PlannedWrite
from staging import dirty, golden, outbox
from staging import plans as saved
from staging.engine import Connection
from tasks.gather import Way, ways
from tasks.plan import note_declarations, plan_leftovers
from tasks.release import count_of, money_held
from tasks.resolve import resolve
from tasks.stage import stage
from tasks.sync import Mode, PlainSteps, Steps, Trouble, chosen, entities_of
from tasks.world import World

NAMES = ("name", "number", "sku", "reference", "last_name", "email")
"""Fields by which a person recognises a record, the best first."""


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
    """A whole plan: everything that is not sent yet, what was planned earlier and waits or is held included."""

    integrations: tuple[str, ...]
    targets: list[PlannedTarget] = field(default_factory=list)
    writes: list[PlannedWrite] = field(default_factory=list)
    trouble: list[Trouble] = field(default_factory=list)
    golden_versions: int = 0
    reviews: int = 0
    digest: str = ""
    """One hash over all writes: two plans with the same digest say the same."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"writes": [w.as_dict() for w in self.writes]}


def rehearse(
    world: World, name: str, *, read: bool = True, mode: Mode = "incremental", steps: Steps | None = None
) -> Listing:
    """What `sync` of an integration (or `all`) would write now. `read` False: from what is landed already."""
    integrations = chosen(world, name)
    listing = Listing(integrations)
    if read:
        listing.trouble += read_streams(world, integrations, steps or PlainSteps(world, None), mode)
    with world.rehearsal() as conn:
        work_out(world, conn, listing, sync_id=None)
    return listing


def read_streams(world: World, integrations: Sequence[str], steps: Steps, mode: Mode) -> list[Trouble]:
    """Reads and lands all that these integrations need; gives what could not be read."""
    streams = world.streams_for(entities_of(world, integrations))
    troubles = []
    for read in steps.extract(streams, mode, None):
        if isinstance(read, Trouble):
            troubles.append(read)
        elif read.rested:
            troubles.append(Trouble(read.system, read.stream, "extract", "NotRead", read.rested))
    return troubles


def work_out(world: World, conn: Connection, listing: Listing, *, sync_id: int | None) -> None:
    """Fills a listing from what is landed, inside one transaction of the world (a rehearsal, or one that is kept)."""
    integrations = listing.integrations
    entities = entities_of(world, integrations)
    note_declarations(world, integrations)
    for system, stream in world.streams_for(entities):
        staged = stage(world, system, stream, sync_id=sync_id, docs_dir=None)
        if staged.stopped:
            listing.trouble.append(Trouble(system, stream, "validate", "GateStopped", staged.stopped))
    for name in entities:
        done = resolve(world, name, sync_id=sync_id, integrations=integrations)
        listing.golden_versions += done.versions
        listing.reviews += done.asked
    known = {(w.integration.name, w.target.system, w.target.stream): w for w in ways(world, integrations)}
    if world.is_rehearsing:
        # what an observed target was not told before it would be told, too: it is planned whole
        for integration, system, stream in (place for place, way in known.items() if way.target.mode == "observe"):
            entity = world.landscape.model[world.landscape.integrations[integration].entity]
            table = golden.golden_table(entity)
            dirty.mark_all_dirty(conn, entity.name, table, integration, system, stream)
    plan_leftovers(world, integrations, sync_id=sync_id)
    listing.targets = _targets(world, conn, known, integrations)
    columns = {e.name: set(e.columns) for e in world.landscape.model.entities}
    listing.writes = [_write(row, known) for row in outbox.unsent(conn, integrations, NAMES, columns)]
    listing.digest = plans.digest(listing.writes)


Ways = Mapping[tuple[str, str, str], Way]


def _targets(world: World, conn: Connection, known: Ways, integrations: Sequence[str]) -> list[PlannedTarget]:
    found = [
        _target(fallen.which, "hold", f"changed behind hold {fallen.behind}: {fallen.reason}")
        for fallen in outbox.fallen_sets(conn, integrations)
    ]
    for which in outbox.planned_sets(conn, integrations):
        way = known.get((which.integration, which.system, which.stream))
        verdict = brake.judge(
            count_of(which, money_held(conn, world, which)), world.landscape.integrations[which.integration].brake
        )
        word, because = verdict.action, verdict.because
        said = f"{word}: {because}" if word == "hold" else because
        if way is not None and way.target.mode == "observe":
            found.append(_target(which, "observe", f"nothing is sent before it goes live; then {said}"))
        elif way is not None and way.is_paused:
            found.append(_target(which, "paused", f"nothing is sent before it is resumed; then {said}"))
        else:
            found.append(_target(which, word, because))
    return found


def _target(which: outbox.PlannedSet, verdict: str, because: str) -> PlannedTarget:
    return PlannedTarget(which.integration, which.system, which.stream, which.op, which.planned, verdict, because)


def _write(row: dict[str, Any], known: Ways) -> PlannedWrite:
    way = known.get((row["integration"], row["system"], row["stream"]))
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
        payload=row["payload"],
        mode=way.target.mode if way is not None else "write",
    )


# ------------------------------------------------------------------------------------------------------- saved plans


def save(world: World, name: str, listing: Listing, *, mode: Mode, by: str) -> int:
    """Keeps a plan as it was shown; gives its id. A plan with trouble is not whole and must not be kept."""
    with world.transaction() as conn:
        return saved.save(
            conn,
            name=name,
            mode=mode,
            declaration=world.landscape.digest,
            digest=listing.digest,
            golden_versions=listing.golden_versions,
            reviews=listing.reviews,
            targets=[asdict(t) for t in listing.targets],
            writes=[_kept(w) for w in listing.writes],
            made_by=by,
        )


def _kept(write: PlannedWrite) -> dict[str, Any]:
    row = asdict(write) | {"fingerprint": write.fingerprint}
    return row | {name: orjson.dumps(row[name]).decode() for name in ("changes", "waits_for")}


def writes_of(conn: Connection, plan_id: int) -> list[PlannedWrite]:
    """The writes of a saved plan, as they were shown."""
    return _restored(saved.writes_of(conn, plan_id))


def _restored(rows: Iterable[Mapping[str, Any]]) -> list[PlannedWrite]:
    return [PlannedWrite(**{k: v for k, v in row.items() if k != "fingerprint"}) for row in rows]
