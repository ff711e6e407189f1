"""Dependents: what a target is told of one record may be a value of another (`value_of`), and changes with that.

A product's new code stands in every order line that names the product: those orders are noted for the targets whose
sheet asks for the code, and planned like any other change.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from canonical.model import Entity
from staging import dirty
from staging.engine import Connection
from tasks.world import World


@dataclass(frozen=True)
class Dependent:
    """A target that is told `column` of the record that `reference` (a column, or LIST.FIELD) points to."""

    entity: str
    integration: str
    system: str
    stream: str
    reference: str
    column: str


def dependents_of(world: World, entity: Entity) -> Iterator[Dependent]:
    """Every target, of whatever entity, that is told values of this entity's records."""
    for integration in world.landscape.integrations.values():
        for target in integration.to:
            program = world.outbound(integration.entity, target.system, target.stream)
            for reference, of, column in sorted(program.needs):
                if of == entity.name:
                    yield Dependent(
                        integration.entity, integration.name, target.system, target.stream, reference, column
                    )


def note_dependents(conn: Connection, world: World, entity: Entity, changed: pl.DataFrame) -> int:
    """Notes the golden records whose targets are told a value that changed: `changed` has id and the changed columns
    (`_changed`) of records that were known before. Gives how many pairs were noted."""
    noted = 0
    if changed.is_empty():
        return noted
    for each in dependents_of(world, entity):
        ids = changed.filter(pl.col("_changed").list.contains(each.column)).select("id")
        noted += dirty.mark_pointing(conn, each.entity, each.reference, ids, each.integration, each.system, each.stream)
    return noted
