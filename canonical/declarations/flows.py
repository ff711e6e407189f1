"""Where values flow between systems, and whether they go in circles (RELIABILITY 52)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise

from canonical.declarations.sheets import sheet_paths
from canonical.landscape import Integration, Target
from canonical.mapping.sheet import SheetRow
from canonical.model import Entity
from canonical.problems import Problem

Written = tuple[str, str, str]
"""(system, stream, entity) that some integration writes."""


def flow_problems(
    rows: Sequence[SheetRow],
    integrations: Mapping[str, Integration],
    entities: Mapping[str, Entity],
    own_files: frozenset[str],
    lines: Mapping[str, tuple[str, int | None]],
) -> Iterator[Problem]:
    """Targets that nothing is mapped to, two writers of one field, writes to a field's own authority, circles.

    `own_files` are the landscape's sheets: only their rows are answered for by the landscape. `lines` gives the place
    of `integrations.NAME` in landscape.yaml."""
    targets = [(flow, target) for flow in integrations.values() for target in flow.to]
    yield from _unmapped_targets(targets, rows, lines)
    yield from _two_writers(targets, rows, lines)
    yield from _to_own_authority(targets, rows, entities, own_files)
    yield from _circles(targets, rows, entities)


def _rows_to(rows: Iterable[SheetRow], flow: Integration, target: Target) -> list[SheetRow]:
    return [
        row
        for row in rows
        if row.direction == "outbound"
        and (row.system, row.stream, row.entity) == (target.system, target.stream, flow.entity)
    ]


def _unmapped_targets(
    targets: Sequence[tuple[Integration, Target]],
    rows: Sequence[SheetRow],
    lines: Mapping[str, tuple[str, int | None]],
) -> Iterator[Problem]:
    for flow, target in targets:
        if not _rows_to(rows, flow, target):
            file, line = lines[flow.name]
            found = f"none from {flow.entity}"
            expected = f"a sheet with rows to {target.system} {target.stream}.…"
            yield Problem(file, line, f"integrations.{flow.name}.to", expected, found)


def _two_writers(
    targets: Sequence[tuple[Integration, Target]],
    rows: Sequence[SheetRow],
    lines: Mapping[str, tuple[str, int | None]],
) -> Iterator[Problem]:
    writers: dict[tuple[str, str, str], tuple[Integration, Target]] = {}
    for flow, target in targets:
        told: set[str] = set()
        for row in _rows_to(rows, flow, target):
            key = (target.system, target.stream, row.target_field)
            first = writers.setdefault(key, (flow, target))
            is_same_record = first[0].entity == flow.entity or not (first[1].when and target.when)
            if first != (flow, target) and is_same_record and first[0].name not in told:
                told.add(first[0].name)
                file, line = lines[flow.name]
                expected = "one integration for each target field (or a `when` on both that keeps them apart)"
                found = f"{target.system} {row.target_field} also written by {first[0].name}"
                yield Problem(file, line, f"integrations.{flow.name}.to", expected, found)


def _records_of(row: SheetRow, entity: Entity) -> set[str]:
    """The systems of record of the fields that an outbound row is made from."""
    fields = sheet_paths(entity)
    names = [fields.get(path.replace("[]", "")) for path in row.paths]
    return {entity.by_name[name].record for name in names if name}


def _to_own_authority(
    targets: Sequence[tuple[Integration, Target]],
    rows: Sequence[SheetRow],
    entities: Mapping[str, Entity],
    own_files: frozenset[str],
) -> Iterator[Problem]:
    """A field's system of record is written only when a record is created there (DESIGN 9.5)."""
    for flow, target in targets:
        entity = entities.get(flow.entity)
        if entity is None or target.create:
            continue
        for row in _rows_to(rows, flow, target):
            if row.file in own_files and _records_of(row, entity) == {target.system}:
                expected = f"a target that is not the field's own system of record (or create: true in {flow.name})"
                found = f"{row.source_field} written back to {target.system}, which is right about it"
                yield Problem(row.file, row.line, f"row {row.line}, column target_field", expected, found)


def _circles(
    targets: Sequence[tuple[Integration, Target]], rows: Sequence[SheetRow], entities: Mapping[str, Entity]
) -> Iterator[Problem]:
    """A value that comes back to where it began, through fields of which each system is right about one."""
    edges: dict[str, set[str]] = {}
    made_by: dict[tuple[str, str], SheetRow] = {}

    def edge(source: str, target: str, row: SheetRow) -> None:
        edges.setdefault(target, set()).add(source)
        made_by[source, target] = row

    for row in rows:
        entity = entities.get(row.entity or "")
        if row.direction == "inbound" and entity is not None:
            name = sheet_paths(entity).get(row.target_path)
            if name is not None and entity.by_name[name].record == row.system:
                for source in row.sources:
                    edge(f"{row.system} {source}", row.target_field, row)
    for flow, target in targets:
        entity = entities.get(flow.entity)
        # What is written only once, at the creation of a record, comes back to nobody.
        for row in _rows_to(rows, flow, target) if entity and target.update else ():
            if entity is not None and target.system not in _records_of(row, entity):
                for source in row.sources:
                    edge(source, f"{row.system} {row.target_field}", row)
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        circle: list[str] = error.args[1]
        pairs = [pair for pair in pairwise(circle) if pair in made_by]
        row = made_by[pairs[0]]
        expected = "values that flow from a system of record outwards"
        found = f"a circle: {' → '.join(circle)}"
        yield Problem(row.file, row.line, f"row {row.line}", expected, found)
