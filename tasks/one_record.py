"""One record, all the way and by itself: read by its id, landed, staged, resolved, planned, delivered (DESIGN 9.15).

Its parents come along where they must: records it refers to that are not known yet are read before it, and a write that
waits for a parent's own id takes the parent's write with it. Nothing else that is pending is touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson
import polars as pl

from canonical import keys
from canonical.model import Entity
from staging import crosswalk, dirty, erasure, golden, landing, locks, outbox, story
from staging.engine import Connection
from tasks.deliver import deliver
from tasks.extract import extract
from tasks.gather import authorities, ways
from tasks.plan import Golden, plan_target
from tasks.release import release
from tasks.resolve import resolve
from tasks.stage import stage
from tasks.sync import Summary, TurnedAway, at_work, begin, count_delivered
from tasks.world import World

MOST_PARENTS = 100
"""Records that are read because others refer to them; a cycle or a long chain ends here."""
Record = tuple[str, str, str]
"""System, stream, source id."""


@dataclass
class Step:
    """What became of one record that was read."""

    record: str
    read: str
    """new, changed, unchanged, deleted, or missing: the system does not know it."""
    entities: list[dict[str, Any]] = field(default_factory=list)
    """For each entity it makes: entity, state, canonical_id, because, problems."""


@dataclass
class OneRecord:
    """What became of a record, its parents and the writes they caused."""

    record: str
    sync_id: int
    steps: list[Step] = field(default_factory=list)
    """The record first, then what was read for its sake."""
    golden: list[dict[str, Any]] = field(default_factory=list)
    """New versions: entity, canonical_id, version, changes."""
    writes: list[dict[str, Any]] = field(default_factory=list)
    """Writes of its golden records: entity, canonical_id, system, stream, op, state, because, reason, fields."""
    summary: Summary | None = None

    def as_dict(self) -> dict[str, Any]:
        return {
            "record": self.record,
            "sync_id": self.sync_id,
            "steps": [asdict(s) for s in self.steps],
            "golden": self.golden,
            "writes": self.writes,
            "trouble": [asdict(t) for t in self.summary.trouble] if self.summary else [],
        }


def sync_record(world: World, record: Record, integrations: Sequence[str], *, by: str) -> OneRecord:
    """Brings one record of a system into agreement for these integrations. Raises TurnedAway, SyncBusy,
    ConnectorError, KeyError for a stream that is not declared."""
    system, stream, _ = record
    declared = world.landscape.systems[system].streams[stream]
    if declared.child_of is not None:
        raise TurnedAway(f"{system}/{stream} holds parts of {declared.child_of.stream}: name the record they belong to")
    if not declared.makes:
        raise TurnedAway(f"{system}/{stream} makes no entity: there is nothing to bring into agreement")
    name = "/".join(record)
    sync_id = begin(world, name, "record", started_by=by)
    found = OneRecord(name, sync_id)
    summary = found.summary = Summary(sync_id=sync_id, integrations=tuple(integrations), mode="record", rounds=1)
    with at_work(world, name, summary):
        work = _Work(world, sync_id, tuple(integrations), found)
        work.read(record)
        work.resolve()
        ids = work.plan()
        release(world, work.integrations, sync_id=sync_id)
        with world.transaction() as conn:
            only = story.open_writes(conn, ids)
        count_delivered(summary, deliver(world, work.integrations, only=only))
        with world.transaction() as conn:
            found.golden = [
                {"entity": entity, "canonical_id": i, "version": v["version"], "changes": v["changes"]}
                for entity, i in ids
                for v in golden.history_of(conn, entity, i)
                if v["sync_id"] == sync_id
            ]
            found.writes = story.writes_of(conn, ids)
        summary.golden_versions = len(found.golden)
    return found


Golds = dict[str, set[str]]
"""Entity → canonical ids."""


class _Work:
    """The records of one call, as far as they have come."""

    def __init__(self, world: World, sync_id: int, integrations: tuple[str, ...], found: OneRecord) -> None:
        self.world, self.sync_id, self.integrations, self.found = world, sync_id, integrations, found
        self.records: dict[Record, None] = {}

    def read(self, record: Record) -> None:
        """Reads, lands and stages a record, then what it refers to and is not known yet."""
        todo = [record]
        while todo and len(self.records) < MOST_PARENTS:
            each = todo.pop(0)
            if each in self.records:
                continue
            self.records[each] = None
            step = Step("/".join(each), _land(self.world, each, self.sync_id))
            self.found.steps.append(step)
            if step.read == "missing":
                continue
            done = stage(self.world, each[0], each[1], sync_id=self.sync_id, docs_dir=None, only=[each[2]])
            if done.stopped:
                raise TurnedAway(f"{step.record} is refused by validation: {done.stopped}")
            todo += [parent for parent in self._unknown_parents(each) if parent not in self.records]

    def _unknown_parents(self, record: Record) -> list[Record]:
        """Source records that this one refers to and that belong to no golden record yet."""
        found: list[Record] = []
        with self.world.transaction() as conn:
            for entity in self._entities(record):
                for target, tokens in story.references(conn, entity, *record).items():
                    unique = self.world.landscape.model[target].match.unique
                    known = set(crosswalk.resolve_tokens(conn, tokens, target, unique)["token"])
                    found += [link for t in tokens if t not in known and (link := _link(t)) is not None]
        return [r for r in found if r[0] in self.world.landscape.active_systems]

    def _entities(self, record: Record) -> list[Entity]:
        makes = self.world.landscape.systems[record[0]].streams[record[1]].makes
        return [self.world.landscape.model[m.entity] for m in makes]

    def resolve(self) -> None:
        """Resolves what was read, parents first, and tells what became of each record."""
        records = pl.DataFrame(
            list(self.records), schema=dict.fromkeys(("system", "stream", "source_id"), pl.String), orient="row"
        )
        made = {e.name for r in self.records for e in self._entities(r)}
        for entity in (e for e in self.world.landscape.model.entities if e.name in made):
            resolve(self.world, entity.name, sync_id=self.sync_id, integrations=(), only=records)
        with self.world.transaction() as conn:
            for record, step in zip(self.records, self.found.steps, strict=True):
                step.entities = [story.standing(conn, e, *record) for e in self._entities(record)]

    def plan(self) -> list[tuple[str, str]]:
        """Plans the golden records for their targets, and the parents that their writes wait for; gives
        (entity, canonical id) of all of them."""
        golds: Golds = {}
        # what was read for the record's sake is told to others only where its write waits for that
        for each in self.found.steps[0].entities:
            if each["canonical_id"]:
                golds.setdefault(each["entity"], set()).add(each["canonical_id"])
        planned: set[tuple[str, str]] = set()
        names, systems = self.integrations, None
        while golds:
            with self.world.transaction() as conn:
                self._plan(conn, golds, names, systems)
                planned |= {(entity, i) for entity, ids in golds.items() for i in ids}
                waits = story.awaited(conn, self.sync_id)
            golds = {}
            for entity, canonical_id, _ in waits:
                if (entity, canonical_id) not in planned and len(planned) < MOST_PARENTS:
                    golds.setdefault(entity, set()).add(canonical_id)
            # a parent is written by whichever integration creates it in the system that waits for it
            systems = {system for _, _, system in waits}
            names = tuple(self.world.landscape.integrations)
        self.integrations = tuple(
            i
            for i in self.world.landscape.integrations
            if self.world.landscape.integrations[i].entity in {entity for entity, _ in planned}
        )
        return sorted(planned)

    def _plan(self, conn: Connection, golds: Golds, names: Iterable[str], systems: set[str] | None) -> None:
        for way in ways(self.world, names):
            target, entity = way.target, way.entity
            if entity.name not in golds or way.is_paused or (systems is not None and target.system not in systems):
                continue
            locks.gate(conn, f"resolve:{entity.name}")
            asked = pl.DataFrame({"canonical_id": pl.Series(sorted(golds[entity.name]), dtype=pl.String)})
            doubtful = dirty.in_doubt(conn, entity.name, target.system, target.stream)
            asked = asked.filter(~pl.col("canonical_id").is_in(doubtful.implode()))
            records = golden.read(conn, entity, asked)
            if records.is_empty():
                continue
            changed = self._changed(conn, entity, records["id"].to_list())
            dirty.forget(conn, entity.name, way.integration.name, target.system, target.stream, asked)
            authority = authorities(self.world, way)
            plan_id = outbox.begin_plan(conn, sync_id=self.sync_id, **way.place, authority=authority)
            is_known = pl.Series("is_known", [True] * records.height, dtype=pl.Boolean)
            chunk = Golden(records, is_known, changed=changed)
            plan_target(conn, self.world, way, chunk, plan_id=plan_id, sync_id=self.sync_id)

    def _changed(self, conn: Connection, entity: Entity, ids: Sequence[str]) -> pl.DataFrame:
        """Which columns this call changed of golden records: id, _changed."""
        rows = []
        for canonical_id in ids:
            mine = [v for v in golden.history_of(conn, entity.name, canonical_id) if v["sync_id"] == self.sync_id]
            changes: list[dict[str, Any]] = [c for v in mine for c in v["changes"]]  # type: ignore[attr-defined]
            rows.append((canonical_id, sorted({str(c["field"]) for c in changes})))
        schema: dict[str, Any] = {"id": pl.String, "_changed": pl.List(pl.String)}
        return pl.DataFrame([r for r in rows if r[1]], schema=schema, orient="row")


def _link(token: str) -> Record | None:
    """The source record that a reference names; None where it names a value."""
    kind, *parts = orjson.loads(token)
    return (str(parts[0]), str(parts[1]), str(parts[2])) if kind == "link" else None


def _land(world: World, record: Record, sync_id: int) -> str:
    """Reads one record by its id and lands it; says how it differs. Of a record that has parts, the stream of parts is
    read on from its cursor: which of them are new cannot be asked by id, and half a record must be told to nobody."""
    system, stream, source_id = record
    source: Any = world.source(system)
    with locks.lane(world.engine, f"extract:{system}/{stream}"):
        rows = [r for r in source.get(stream, [source_id]) if r.id == source_id]
        counts = _store(world, record, sync_id, rows)
    if not rows:  # it may be gone or hidden; that it is gone needs a complete reading (RELIABILITY P13)
        return "missing"
    for child in world.children(system, stream):
        if because := extract(world, system, child.name, mode="incremental", sync_id=sync_id).rested:
            raise TurnedAway(f"{'/'.join(record)} waits for {system}/{child.name}: {because}")
    words = ("new", "changed", "deleted")
    return next((word for word in words if getattr(counts, word)), "unchanged")


def _store(world: World, record: Record, sync_id: int, rows: Sequence[Any]) -> landing.Counts:
    system, stream, _ = record
    payloads = [r.payload for r in rows]
    exact = world.landscape.systems[system].streams[stream].ids == "case_sensitive"
    with world.transaction() as conn:
        if erasure.known(conn, system, stream, [r.id for r in rows]):
            raise TurnedAway(f"{'/'.join(record)}: {erasure.REASON}")
        run = landing.begin(conn, sync_id=sync_id, system=system, stream=stream, mode="record", cursor=None)
        landed = landing.land_page(
            conn,
            run,
            system=system,
            stream=stream,
            ids=[r.id for r in rows],
            payloads=payloads,
            hashes=keys.raw_hashes(payloads),
            changed=[r.changed for r in rows],
            deleted=[r.deleted for r in rows],
            parents=None,
            refused=0,
            case_sensitive=exact,
        )
        landing.finish(conn, run, is_complete=False)
    return landed.counts
