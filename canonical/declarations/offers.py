"""What a mapping sheet may be filled with: known fields, and the rows that connectors ship, replaced or not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from canonical.declarations.connectors import ConnectorDefaults
from canonical.declarations.sheets import overridden, sheet_paths, standard_rows
from canonical.landscape import Landscape
from canonical.mapping.book_made import Sheet, Standard
from canonical.mapping.sheet import COLUMNS, SheetRow, read_rows
from canonical.mapping.sheet_text import Record, SheetText, read_text
from canonical.model import Entity
from canonical.problems import Refused


def offered(
    landscape: Landscape,
    connectors: Mapping[str, ConnectorDefaults],
    files: Mapping[str, bytes],
    system: str | None = None,
    seen: Mapping[str, Sequence[str]] | None = None,
) -> tuple[list[Sheet], list[Standard]]:
    """(the landscape's sheets with the fields they may name, the standard rows of its systems). A system that has
    standard rows alone is given a sheet to begin with.

    `files`: path → bytes of the landscape's declarations; `system`: only sheets that speak of it. `seen`: system →
    `STREAM.FIELD` of fields that are offered though no sheet names them. Raises Refused."""
    entities = {entity.name: entity for entity in landscape.model.entities}
    shipped, problems = standard_rows(landscape.systems, connectors, entities)
    if problems:
        raise Refused(problems)
    read = {file: _rows(file, data) for file, data in files.items() if _is_sheet(file)}
    own = [row for rows in read.values() for row in rows]
    wanted = {file: rows for file, rows in read.items() if system is None or system in {row.system for row in rows}}
    sheets = []
    for file, rows in wanted.items():
        systems = {row.system for row in rows} | ({system} if system else set())
        more = [field for name in sorted(systems) for field in (seen or {}).get(name, ())]
        fields = (*_once(known_fields([*own, *shipped], systems), more), *canonical_fields(entities.values()), "-")
        sheets.append(Sheet(read_text(file, files[file])[0], files[file], fields))
    beside = standards(landscape, shipped, own, system)
    spoken_of = {row.system for row in own}
    for standard in beside:
        if standard.system not in spoken_of:
            more = list((seen or {}).get(standard.system, ()))
            known = _once(known_fields(shipped, {standard.system}), more)
            fields = (*known, *canonical_fields(entities.values()), "-")
            sheets.append(_empty_sheet(standard.system, fields))
    return sheets, beside


def _once(known: Iterable[str], more: Iterable[str]) -> list[str]:
    return sorted({*known, *more})


def _empty_sheet(system: str, fields: tuple[str, ...]) -> Sheet:
    """A header alone, where only the standard rows run so far: somebody may write rows of their own below it."""
    header = Record(1, ",".join(COLUMNS) + "\n", COLUMNS)
    return Sheet(SheetText(f"mappings/{system}.csv", records=(header,)), b"", fields)


def _is_sheet(file: str) -> bool:
    return file.startswith("mappings/") and file.endswith(".csv")


def _rows(file: str, data: bytes) -> list[SheetRow]:
    text, problems = read_text(file, data)
    rows, more = read_rows(text)
    if problems or more:
        raise Refused([*problems, *more])
    return rows


def known_fields(rows: Iterable[SheetRow], systems: set[str]) -> list[str]:
    """Every `STREAM.FIELD` of these systems that some sheet names, sorted."""
    found: set[str] = set()
    for row in rows:
        if row.system in systems:
            found.update((row.target_field,) if row.direction == "outbound" else row.sources)
    return sorted(found)


def canonical_fields(entities: Iterable[Entity]) -> list[str]:
    """Every `ENTITY.FIELD` that a sheet may name, entity by entity in the model's order."""
    groups = {f"{entity.name}.{f.name}" for entity in entities for f in entity.fields if f.type in ("address", "list")}
    paths = [f"{entity.name}.{path}" for entity in entities for path in sheet_paths(entity)]
    return [path for path in dict.fromkeys(paths) if path not in groups]


def standards(
    landscape: Landscape, shipped: Sequence[SheetRow], own: Sequence[SheetRow], system: str | None = None
) -> list[Standard]:
    """The standard rows of each system, with the place of the row that stands in for each (None: it runs)."""
    running = set(overridden(shipped, own))
    found = []
    for name, declared in landscape.active_systems.items():
        rows = [row for row in shipped if row.system == name]
        if rows and system in (None, name):
            ours = [row for row in own if row.system == name]
            told = tuple((row, None if row in running else _replaced_by(row, ours)) for row in rows)
            found.append(Standard(name, declared.connector, told))
    return found


def standard_changes(
    landscape: Landscape,
    connectors: Mapping[str, ConnectorDefaults],
    before: Sequence[SheetRow],
    after: Sequence[SheetRow],
) -> tuple[list[SheetRow], list[SheetRow]]:
    """(standard rows that run once the landscape's own rows are `after`, those that run no more)."""
    shipped, _ = standard_rows(landscape.systems, connectors, {e.name: e for e in landscape.model.entities})
    ran, runs = set(overridden(shipped, before)), set(overridden(shipped, after))
    return [row for row in shipped if row in runs - ran], [row for row in shipped if row in ran - runs]


def _replaced_by(row: SheetRow, own: Iterable[SheetRow]) -> str:
    by = next((mine for mine in own if row not in overridden([row], [mine])), None)
    return f"{by.file}:{by.line}" if by else "rows of the landscape together"
