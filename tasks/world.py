"""The world a task works in: one landscape, compiled once, with its database and its connectors.

Tasks are handed names and ids; everything else they need hangs on the World of their landscape.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import polars as pl

from canonical.checks import Check, checks_for
from canonical.declarations.digest import declared_digest, outbound_digest
from canonical.expressions import Expression, compile_for_entity
from canonical.landscape import Brake, Integration, Landscape, Limit, Stream, Target
from canonical.mapping.program import InboundProgram, OutboundProgram, compile_inbound, compile_outbound
from canonical.model import Entity
from connectors import registry
from connectors.protocol import Connector, Context, Misdeclared, Source
from connectors.protocol import Target as TargetConnector
from staging import golden, units
from staging.engine import Connection, Engine, transaction
from staging.engine import engine as app_engine
from staging.health import Healths
from staging.identity_checks import identity_checks
from staging.rates import Rates
from staging.reference_checks import reference_checks
from staging.tokens import Tokens
from tasks import arenas, messengers
from tasks import landscape as reading

if TYPE_CHECKING:
    from tasks.gather import Way

T = TypeVar("T")


class World:
    """A landscape at work. Programs are compiled when first asked for; connectors are opened once and shared."""

    def __init__(self, landscape: Landscape, folder: Path, engine: Engine | None = None) -> None:
        arenas.share_one()
        self.landscape = landscape
        self.folder = folder
        self.engine = engine if engine is not None else app_engine("app")
        self._connectors: dict[str, Connector] = {}
        self._inbound: dict[tuple[str, str, str], InboundProgram] = {}
        self._outbound: dict[tuple[str, str, str], OutboundProgram] = {}
        self._conditions: dict[tuple[str, str], Expression] = {}
        self._lock = threading.RLock()
        self._rehearsal: Connection | None = None
        self._is_kept = False

    @classmethod
    def of(cls, named: str | Path | None = None) -> World:
        """The world of a landscape's folder. Raises Refused, DatabaseUnavailable."""
        return cls(reading.load(named), reading.folder_of(named))

    @property
    def url(self) -> str:
        """Our database's URL with its password, for what opens connections of its own."""
        return self.engine.url.render_as_string(hide_password=False)

    def close(self) -> None:
        """Closes every connector."""
        with self._lock:
            for connector in self._connectors.values():
                connector.close()
            self._connectors.clear()

    # ---------------------------------------------------------------------------------------------- transactions

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """One unit of work: committed at the end, rolled back on an error; inside a rehearsal only a savepoint."""
        if self._rehearsal is not None:
            with self._rehearsal.begin_nested():
                yield self._rehearsal
            return
        with transaction(self.engine) as conn:
            yield conn

    def unit(self, what: str, work: Callable[[Connection], T]) -> T:
        """Does `work` in a transaction of its own exactly once, also when the connection is lost around its commit; it
        may be begun several times. Inside a rehearsal it is a savepoint like any transaction."""
        if self._rehearsal is not None:
            with self.transaction() as conn:
                return work(conn)
        return units.do(self.engine, what, work)

    @contextmanager
    def rehearsal(self) -> Iterator[Connection]:
        """Everything done inside happens in one transaction that is rolled back: nothing is left behind (9.13)."""
        with self.engine.connect() as conn, conn.begin() as outer:
            self._rehearsal = conn
            try:
                yield conn
            finally:
                self._rehearsal = None
                outer.rollback()

    @contextmanager
    def all_or_nothing(self) -> Iterator[Connection]:
        """Everything done inside happens in one transaction: kept together, or not at all where an error leaves it."""
        with transaction(self.engine) as conn:
            self._rehearsal, self._is_kept = conn, True
            try:
                yield conn
            finally:
                self._rehearsal, self._is_kept = None, False

    @property
    def is_in_one(self) -> bool:
        """Whether all work now is in one transaction, which no other connection sees into."""
        return self._rehearsal is not None

    @property
    def is_rehearsing(self) -> bool:
        """Whether work now is rolled back at the end."""
        return self._rehearsal is not None and not self._is_kept

    # ---------------------------------------------------------------------------------------------- connectors

    def connector(self, system: str) -> Connector:
        """The system's connector, opened on first use. Raises Misdeclared and what `build` raises."""
        with self._lock:
            if system not in self._connectors:
                declared = self.landscape.systems[system]
                kind = declared.engine or declared.connector
                self._connectors[system] = registry.build(kind, self.context(system))
            return self._connectors[system]

    def context(self, system: str, *, authorised_by: str | None = None) -> Context:
        """What the system's connector is built from. `authorised_by`: who is letting Concord in right now."""
        declared = self.landscape.systems[system]
        return Context(
            system=system,
            settings=reading.resolved(declared.settings, f"systems.{system}"),
            streams=declared.streams,
            network=declared.network,
            timezone=declared.timezone or self.landscape.timezone,
            tokens=Tokens(self.engine, system, by=authorised_by),
            rates=Rates(self.engine),
            healths=Healths(self.engine),
        )

    def source(self, system: str) -> Source:
        """The system's connector as something to read from."""
        found = self.connector(system)
        if not isinstance(found, Source):
            raise Misdeclared("expected a system that can be read", where=f"systems.{system}")
        return found

    def target(self, system: str) -> TargetConnector:
        """The system's connector as something to write to."""
        found = self.connector(system)
        if not isinstance(found, TargetConnector):
            raise Misdeclared("expected a system that can be written to", where=f"systems.{system}")
        return found

    # ---------------------------------------------------------------------------------------------- who and what

    def contact(self, role: str) -> str:
        """A role with the name and handle of its person."""
        return messengers.contact(self.landscape, role)

    def owner_of(self, entity: Entity) -> str:
        """Who answers for an entity."""
        return self.contact(entity.owner)

    def owner_of_system(self, system: str) -> str:
        """Who answers for a system."""
        return self.contact(self.landscape.systems[system].owner)

    def ranks(self, entity: Entity) -> list[str]:
        """Systems in the order in which their records found golden records: the system of record first."""
        makers = [s for s, _ in self.makers(entity.name)]
        return list(dict.fromkeys([entity.record, *entity.until_recorded, *sorted(makers)]))

    def makers(self, entity: str) -> list[tuple[str, str]]:
        """Every (system, stream) whose rows make the entity."""
        return [
            (name, stream.name)
            for name, system in self.landscape.active_systems.items()
            for stream in system.streams.values()
            if any(m.entity == entity for m in stream.makes)
        ]

    def children(self, system: str, stream: str) -> list[Stream]:
        """The child streams of a stream."""
        streams = self.landscape.systems[system].streams.values()
        return [s for s in streams if s.child_of is not None and s.child_of.stream == stream]

    def needed_entities(self, integrations: Iterable[str]) -> list[str]:
        """The entities that these integrations move, with everything they point to, in reference order."""
        wanted: set[str] = set()
        todo = [self.landscape.integrations[n].entity for n in integrations]
        while todo:
            name = todo.pop()
            if name in wanted:
                continue
            wanted.add(name)
            entity = self.landscape.model[name]
            todo += list(entity.references.values())
            todo += [e for lines in entity.line_references.values() for e in lines.values()]
        return [e.name for e in self.landscape.model.entities if e.name in wanted]

    def streams_for(self, entities: Iterable[str]) -> list[tuple[str, str]]:
        """Every (system, stream) to be read so that these entities are known, parents before their child streams."""
        found: dict[tuple[str, str], None] = {}
        for entity in entities:
            for system, stream in self.makers(entity):
                found[(system, stream)] = None
                for child in self.children(system, stream):
                    found[(system, child.name)] = None
        return list(found)

    def target_systems(self, integrations: Iterable[str]) -> set[str]:
        """The systems these integrations write to."""
        return {t.system for n in integrations for t in self.landscape.integrations[n].to}

    def brake_of(self, system: str, stream: str) -> Brake:
        """The brake that guards what is believed of a stream: the strictest of the integrations it feeds."""
        made = {m.entity for m in self.landscape.systems[system].streams[stream].makes}
        brakes = [i.brake for i in self.landscape.integrations.values() if i.entity in made]
        return min(brakes, key=lambda b: b.count_drop) if brakes else Brake()

    # ---------------------------------------------------------------------------------------------- programs

    def inbound(self, system: str, stream: str, entity: str) -> InboundProgram:
        """How a stream's records become an entity's columns."""
        key = (system, stream, entity)
        with self._lock:
            if key not in self._inbound:
                declared = self.landscape.systems[system]
                makes = next(m for m in declared.streams[stream].makes if m.entity == entity)
                self._inbound[key] = compile_inbound(
                    self.landscape.sheet,
                    declared,
                    declared.streams[stream],
                    self.landscape.model[entity],
                    makes.when,
                    self.landscape.model,
                    declared.timezone or self.landscape.timezone,
                )
            return self._inbound[key]

    def outbound(self, entity: str, system: str, stream: str) -> OutboundProgram:
        """How an entity's columns become a target's fields."""
        key = (entity, system, stream)
        with self._lock:
            if key not in self._outbound:
                declared = self.landscape.systems[system]
                self._outbound[key] = compile_outbound(
                    self.landscape.sheet,
                    self.landscape.model[entity],
                    declared,
                    declared.streams[stream],
                    self.landscape.model,
                )
            return self._outbound[key]

    def outbound_if_any(self, entity: str, system: str, stream: str) -> OutboundProgram | None:
        """The same where some integration writes there; else None."""
        for integration in self.landscape.integrations.values():
            if integration.entity == entity and any((t.system, t.stream) == (system, stream) for t in integration.to):
                return self.outbound(entity, system, stream)
        return None

    def declared(self, system: str, stream: str) -> str:
        """The digest of all that decides how a stream's records are staged."""
        makes = self.landscape.systems[system].streams[stream].makes
        parts = [declared_digest(self.landscape, system, stream, m.entity) for m in makes]
        # what is compared with our own writes is part of what is staged
        parts += [
            outbound_digest(self.landscape, m.entity, system, stream)
            for m in makes
            if self.outbound_if_any(m.entity, system, stream)
        ]
        return "+".join(parts)

    def outbound_digest(self, way: Way) -> str:
        """The digest of all that decides what a target is told."""
        return outbound_digest(self.landscape, way.entity.name, way.target.system, way.target.stream)

    def mapped(self, entity: Entity) -> Mapping[tuple[str, str], frozenset[str]]:
        """(system, stream) → the columns of the entity that its mapping sheet fills."""
        return {
            (system, stream): frozenset(self.inbound(system, stream, entity.name).columns)
            for system, stream in self.makers(entity.name)
        }

    def checks(self, entity: Entity, columns: Sequence[str]) -> tuple[Check, ...]:
        """What a batch of the entity that fills these columns is checked for."""
        extra = (*reference_checks(entity, self.landscape.model), *identity_checks(entity))
        return checks_for(entity, self.landscape.rules.get(entity.name), mapped=columns, extra=extra)

    def tolerance(self, entity: Entity) -> Limit | None:
        """How much of a batch may fail before it stops; None: the default."""
        rules = self.landscape.rules.get(entity.name)
        return rules.tolerance if rules else None

    # ---------------------------------------------------------------------------------------------- planning

    @cached_property
    def _targets(self) -> dict[str, list[tuple[Integration, Target]]]:
        found: dict[str, list[tuple[Integration, Target]]] = {}
        for integration in self.landscape.integrations.values():
            for target in integration.to:
                found.setdefault(integration.entity, []).append((integration, target))
        return found

    def pairs(self, entity: str, ids: pl.Series, *, without: Collection[str]) -> pl.DataFrame:
        """(golden record, target) of these records and every integration of their entity but `without`."""
        schema = dict.fromkeys(("entity", "canonical_id", "integration", "system", "stream"), pl.String)
        records = ids.alias("canonical_id").to_frame()
        parts = [
            records.select(
                pl.lit(entity).alias("entity"),
                "canonical_id",
                pl.lit(integration.name).alias("integration"),
                pl.lit(target.system).alias("system"),
                pl.lit(target.stream).alias("stream"),
            )
            for integration, target in self._targets.get(entity, ())
            if integration.name not in without
        ]
        return pl.concat(parts) if parts else pl.DataFrame(schema=schema)

    def authority(self, entity: Entity, columns: Sequence[str]) -> str:
        """The system of record of what a target path is made from; "" for constants and mixtures of several."""
        records = {entity.by_name[entity.by_column[c].field].record for c in columns if c in entity.by_column}
        return records.pop() if len(records) == 1 else (entity.record if records else "")

    def lookups(
        self, conn: Connection, program: OutboundProgram, records: pl.DataFrame
    ) -> dict[tuple[str, str], pl.DataFrame]:
        """The values of referenced golden records that the sheet asks for (`value_of`)."""
        found: dict[tuple[str, str], pl.DataFrame] = {}
        for column, entity, wanted in program.needs:
            ids = referenced(records, column)
            more = golden.values(conn, entity, wanted, ids)
            was = found.get((entity, wanted))
            found[(entity, wanted)] = more if was is None else pl.concat([was, more]).unique("id")
        return found

    def conditions(
        self, integration: Integration, target: Target, entity: Entity, records: pl.DataFrame, changed: pl.DataFrame
    ) -> tuple[pl.Series, pl.DataFrame]:
        """Which records are in the target's scope (`when`), and which must be asked about (`ask_when`): id, because."""
        frame = records.join(changed, on="id", how="left", maintain_order="left")
        in_scope = pl.Series("in_scope", [True] * frame.height, dtype=pl.Boolean)
        if target.when:
            in_scope = frame.select(self._condition(entity, target.when).expr.fill_null(False)).to_series()
        asks = pl.DataFrame(schema={"id": pl.String, "because": pl.String})
        if integration.ask_when:
            asking = frame.filter(self._condition(entity, integration.ask_when).expr.fill_null(False))
            asks = asking.select("id", pl.lit(f"asks when {integration.ask_when}").alias("because"))
        return in_scope, asks

    def _condition(self, entity: Entity, text: str) -> Expression:
        key = (entity.name, text)
        if key not in self._conditions:
            self._conditions[key] = compile_for_entity(text, entity)
        return self._conditions[key]

    def money_paths(self, entity: Entity, program: OutboundProgram) -> dict[str, str]:
        """Target paths that carry money → their currency's code, where it can be told."""
        found: dict[str, str] = {}
        for path, columns in program.sources.items():
            if len(columns) != 1 or columns[0] not in entity.by_column:
                continue
            leaf = entity.by_column[columns[0]]
            if leaf.kind != "money":
                continue
            declared = entity.by_name[leaf.field].currency
            if declared and not declared.startswith("field:"):
                found[path] = declared
                continue
            column = declared.removeprefix("field:") if declared else f"{leaf.column}_currency"
            twin = next((p for p, c in program.sources.items() if c == (column,)), None)
            found[path] = f"path:{twin}" if twin else ""
        return found

    def currency_paths(self, entity: Entity, program: OutboundProgram) -> frozenset[str]:
        """Target paths that carry nothing but a currency's code."""
        kinds = {column: leaf.kind for column, leaf in entity.by_column.items()}
        sources = program.sources.items()
        return frozenset(path for path, columns in sources if [kinds.get(c) for c in columns] == ["currency"])


def referenced(records: pl.DataFrame, column: str) -> list[str]:
    """The canonical ids in a reference column, or in `LIST.FIELD` inside a list of lines."""
    if "." not in column:
        return records[column].drop_nulls().unique().to_list() if column in records.columns else []
    field, _, inner = column.partition(".")
    if field not in records.columns:
        return []
    lines = records[field].drop_nulls().str.json_decode(pl.List(pl.Struct({inner: pl.String}))).explode()
    return lines.struct.field(inner).drop_nulls().unique().to_list()
