"""All mapping sheets of a landscape as one: connectors' standard rows, overridden by the landscape's own, checked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

import re2

from canonical.declarations.connectors import ConnectorDefaults
from canonical.declarations.secrets import looks_secret
from canonical.declarations.shapes import nearest, one_of
from canonical.landscape import System
from canonical.mapping.functions import RULES
from canonical.mapping.pipeline import parted
from canonical.mapping.sheet import CANONICAL, IGNORE, SheetRow, read_sheet
from canonical.model import Entity
from canonical.problems import Problem


def standard_rows(
    systems: Mapping[str, System], connectors: Mapping[str, ConnectorDefaults], entities: Mapping[str, Entity]
) -> tuple[list[SheetRow], list[Problem]]:
    """The rows that connectors ship, for each system they serve, as far as this landscape has their entities, fields
    and streams: a standard sheet speaks of more than any one business uses."""
    rows: list[SheetRow] = []
    problems: list[Problem] = []
    for system in systems.values():
        defaults = connectors.get(system.connector)
        if defaults is None or defaults.sheet is None or system.engine != system.connector:
            continue
        found, wrong = read_sheet(f"connectors/{system.connector}/mapping.csv", defaults.sheet, system.name)
        problems.extend(wrong)
        rows.extend(row for row in found if _is_of_use(row, system, entities))
    return rows, problems


def _is_of_use(row: SheetRow, system: System, entities: Mapping[str, Entity]) -> bool:
    if row.stream and row.stream not in system.streams:
        return False
    if row.entity is None:
        return True
    entity = entities.get(row.entity)
    paths = (row.target_path,) if row.direction == "inbound" else row.paths
    return entity is not None and all(path in sheet_paths(entity) for path in paths)


def overridden(standard: Iterable[SheetRow], own: Sequence[SheetRow]) -> tuple[SheetRow, ...]:
    """The landscape's rows, and the standard ones that none of them replaces.

    Outbound, a row replaces the one of the same entity for the same target field, a constant those of all entities,
    and any row a constant; inbound, the one from the same stream to the same canonical field, and an ignored source
    field replaces what it was mapped to."""
    outbound = {(row.system, row.target_field, row.entity) for row in own if row.direction == "outbound"}
    anybody = {(system, field) for system, field, _ in outbound}
    inbound = {(row.system, row.stream, row.target_field) for row in own if row.direction == "inbound"}
    ignored = [row for row in own if row.direction == "ignored"]

    def is_replaced(row: SheetRow) -> bool:
        if row.direction == "outbound":
            place = (row.system, row.target_field)
            return (
                (*place, row.entity) in outbound or (*place, None) in outbound or (not row.entity and place in anybody)
            )
        is_ignored = bool(row.sources) and all(
            any(other.system == row.system and covers(other, source) for other in ignored) for source in row.sources
        )
        return (row.system, row.stream, row.target_field) in inbound or (row.direction == "inbound" and is_ignored)

    return (*own, *(row for row in standard if not is_replaced(row)))


def covers(row: SheetRow, source: str) -> bool:
    """Whether an ignored row names a source field, its wildcards included."""
    return any(source == pattern or fnmatchcase(source, pattern.replace("[", "[[]")) for pattern in row.sources)


def sheet_paths(entity: Entity) -> dict[str, str]:
    """Every path below an entity that a sheet may name → its field: leaves, groups, and the fields of lines."""
    paths = {leaf.path: leaf.field for leaf in entity.leaves}
    for field in entity.fields:
        if field.type == "address":
            paths[field.name] = field.name
        for line in field.of:
            paths.update({f"{field.name}.{leaf.path}": field.name for leaf in line.leaves})
    return paths


def row_problems(
    rows: Sequence[SheetRow], systems: Mapping[str, System], entities: Mapping[str, Entity]
) -> Iterator[Problem]:
    """What is wrong with the landscape's own rows, taken one by one."""
    seen: dict[tuple[str, ...], SheetRow] = {}
    for row in rows:
        yield from _side_problems(row, systems, entities)
        yield from _rule_problems(row)
        if row.direction == "ignored":
            continue
        own, others = _claims(row)
        first = next((seen[claim] for claim in (own, *others) if claim in seen), None)
        if first is not None:
            found = f"'{row.target_field}' again (first in {first.file}:{first.line})"
            yield _wrong(row, "target_field", "each target field once for a stream", found)
        seen.setdefault(own, row)
        if row.direction == "outbound":
            seen.setdefault(("anybody", row.system, row.target_field), row)


def _claims(row: SheetRow) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """What a row takes for itself, and whose claims stand against it besides the same one.

    Records of several entities may live in one stream of a target, each written by rows of its own; a constant is
    written with all of them."""
    if row.direction == "inbound":
        return ("in", row.system, row.stream, row.target_field), []
    if row.entity is None:
        return ("constant", row.system, row.target_field), [("anybody", row.system, row.target_field)]
    return ("out", row.system, row.entity, row.target_field), [("constant", row.system, row.target_field)]


def _wrong(row: SheetRow, column: str, expected: str, found: str, suggestion: str | None = None) -> Problem:
    return Problem(row.file, row.line, f"row {row.line}, column {column}", expected, found, suggestion)


def _side_problems(row: SheetRow, systems: Mapping[str, System], entities: Mapping[str, Entity]) -> Iterator[Problem]:
    source_side = row.direction != "outbound"
    system_column = "source_system" if source_side else "target_system"
    system = systems.get(row.system)
    if system is None:
        options = (*systems, CANONICAL, *(() if source_side else (IGNORE,)))
        yield _wrong(row, system_column, one_of(options), f"'{row.system}'", nearest(row.system, options))
    elif row.stream and row.stream not in system.streams:
        column = "source_field" if source_side else "target_field"
        expected = f"a stream of {row.system}: {one_of(system.streams)}"
        yield _wrong(row, column, expected, f"'{row.stream}'", nearest(row.stream, system.streams))
    elif row.direction == "inbound" and row.entity in entities:
        yield from _makes_problems(row, system)
    if row.entity is not None:
        yield from _leaf_problems(row, entities)


def _makes_problems(row: SheetRow, system: System) -> Iterator[Problem]:
    stream = system.streams.get(row.stream)
    if stream is None:
        return
    parent = system.streams.get(stream.child_of.stream) if stream.child_of else None
    made = [made.entity for made in (parent or stream).makes]
    if row.entity not in made:
        expected = f"an entity that {row.system}/{row.stream} makes ({', '.join(made) or 'none: declare makes'})"
        yield _wrong(row, "target_field", expected, f"'{row.entity}'", nearest(str(row.entity), made))


def _leaf_problems(row: SheetRow, entities: Mapping[str, Entity]) -> Iterator[Problem]:
    column = "target_field" if row.direction == "inbound" else "source_field"
    entity = entities.get(row.entity or "")
    if entity is None:
        expected = f"an entity: {one_of(entities)}"
        yield _wrong(row, column, expected, f"'{row.entity}'", nearest(row.entity or "", entities))
        return
    # what is written to a target may carry the canonical id, so that its record can be found again by it
    known = {**sheet_paths(entity), **({"id": "id"} if row.direction == "outbound" else {})}
    for path in (row.target_path,) if row.direction == "inbound" else row.paths:
        path = path.replace("[]", "")
        if path not in known:
            close = nearest(path, known)
            yield _wrong(
                row, column, f"a field of {entity.name}", f"'{path}'", f"{entity.name}.{close}" if close else None
            )


def _rule_problems(row: SheetRow) -> Iterator[Problem]:
    for column, value in (("rule", row.rule), ("notes", row.notes)):
        if looks_secret(value):
            yield _wrong(row, column, "no secret in a sheet", "what looks like one")
    for name, args in parted(row.rule):
        if name not in RULES:
            yield _wrong(row, "rule", one_of(RULES, 40), f"'{name[:40]}'", nearest(name, RULES))
        elif name == "extract" and (problem := regex_problem(args.raw)):
            yield _wrong(row, "rule", "extract and a regular expression of RE2 (linear time)", problem)


def regex_problem(pattern: str) -> str | None:
    """Why a linear-time engine does not take a pattern, None if it does (RELIABILITY 58)."""
    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0] if error.args else ""
        return reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
    return None
