"""Mapping sheets: the CSV that says which source field becomes which target field, by which rule.

Six columns, in any order: source_system, source_field, target_system, target_field, rule, notes.

    inbound    crm,contacts.properties.firstname + contacts.properties.lastname,canonical,customer.name,join,
    outbound   canonical,customer.address.postcode,accounting,contacts.PostalCode,,
    constant   canonical,,accounting,contacts.ContactStatus,const ACTIVE,
    ignored    crm,contacts.properties.hs_*,ignore,-,,marketing only
    comment    # addresses (a first cell that begins with # is a comment)

Spreadsheet programs save CSV in several ways: a byte order mark, `;` or tabs between cells, CRLF, blank rows at the end
are read as what they mean. Anything that could lose a row or a cell is refused with the cell's name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from canonical.mapping.sheet_text import SheetText, read_text
from canonical.problems import Problem, Refused

COLUMNS = ("source_system", "source_field", "target_system", "target_field", "rule", "notes")
MAX_CELL = 10_000
CANONICAL = "canonical"
IGNORE = "ignore"
OWN_SYSTEM = "{system}"
"""How a connector's standard sheet writes the system it will serve."""
Direction = Literal["inbound", "outbound", "ignored"]
UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff]")
"""What no XML, and so no workbook, can hold."""
_PLUS = re.compile(r"\s+\+\s+")
_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,62}\.\S(?:[^\x00-\x1f]*\S)?\Z")


@dataclass(frozen=True, slots=True)
class SheetRow:
    """One row of a sheet, and where it stands."""

    source_system: str
    source_field: str
    target_system: str
    target_field: str
    rule: str = ""
    notes: str = ""
    file: str = ""
    line: int = 0

    @property
    def direction(self) -> Direction:
        if self.target_system == IGNORE or self.target_field == "-":
            return "ignored"
        return "inbound" if self.target_system == CANONICAL else "outbound"

    @property
    def sources(self) -> tuple[str, ...]:
        """The source fields that are joined, each `STREAM.PATH` or `ENTITY.LEAFPATH`; none for a constant."""
        return tuple(_PLUS.split(self.source_field)) if self.source_field else ()

    @property
    def system(self) -> str:
        """The business system that the row concerns, whichever side it stands on."""
        return self.target_system if self.direction == "outbound" else self.source_system

    @property
    def stream(self) -> str:
        """The stream of that system."""
        field = self.target_field if self.direction == "outbound" else self.source_field
        return field.partition(".")[0]

    @property
    def entity(self) -> str | None:
        """The entity, where the row names one (an outbound constant and an ignored field do not)."""
        if self.direction == "ignored":
            return None
        field = self.target_field if self.direction == "inbound" else self.source_field
        return field.partition(".")[0] or None

    @property
    def paths(self) -> tuple[str, ...]:
        """The sources without stream or entity."""
        return tuple(source.partition(".")[2] for source in self.sources)

    @property
    def target_path(self) -> str:
        """The target without stream or entity."""
        return self.target_field.partition(".")[2]

    @property
    def where(self) -> str:
        return f"row {self.line}"


def parse_sheet(file: str, data: bytes, system: str | None = None) -> list[SheetRow]:
    """The rows of a sheet. `system` replaces `{system}` in a connector's standard sheet. Raises Refused."""
    rows, problems = read_sheet(file, data, system)
    if problems:
        raise Refused(problems)
    return rows


def read_sheet(file: str, data: bytes, system: str | None = None) -> tuple[list[SheetRow], list[Problem]]:
    """As `parse_sheet`, with the problems beside the rows that are good."""
    text, problems = read_text(file, data)
    if problems and not text.records:
        return [], problems
    rows, more = read_rows(text, system, is_whole=not problems)
    return rows, [*problems, *more]


def read_rows(
    text: SheetText, system: str | None = None, *, is_whole: bool = True
) -> tuple[list[SheetRow], list[Problem]]:
    """The rows of a sheet that is read as text, and what is wrong with them. A sheet that could not be read to its end
    (not `is_whole`) is not called empty on top of it."""
    header = text.header
    if header is None:
        return [], [Problem(text.file, 1, "the sheet", f"the columns {', '.join(COLUMNS)}", "an empty file")]
    problems: list[Problem] = []
    order = header_columns(text.file, header.line, header.cells, problems)
    if order is None:
        return [], problems
    rows: list[SheetRow] = []
    is_any = False
    for record in text.records:
        if record.line > header.line and not record.is_blank and not text.is_comment(record):
            is_any = True
            row = _row(text.file, record.line, record.cells, order, len(header.cells), system, problems)
            if row is not None:
                rows.append(row)
    if not is_any and is_whole:
        problems.append(Problem(text.file, header.line, "the sheet", "at least one row below the header", "none"))
    return rows, problems


def header_columns(file: str, line: int, cells: Sequence[str], problems: list[Problem]) -> list[str] | None:
    """The columns in the order of a header; None if it is not the header of a sheet."""
    names = [cell.lower().replace(" ", "_") for cell in cells]
    while names and not names[-1]:
        names.pop()
    missing = [name for name in COLUMNS if name not in names]
    other = [name for name in names if name not in COLUMNS]
    twice = sorted({name for name in names if names.count(name) > 1})
    for found, expected in ((missing, "the column"), (other, "no other column than the six, but not"), (twice, "once")):
        for name in found:
            what = {"the column": "no such column", "once": "it twice"}.get(expected, f"'{name[:40]}'")
            named = expected if expected.startswith("no other") else f"{expected} {name}"
            problems.append(Problem(file, line, "the header", named.removesuffix(", but not"), what))
    return None if missing or other or twice else names


def _row(
    file: str,
    line: int,
    cells: Sequence[str],
    order: Sequence[str],
    width: int,
    system: str | None,
    problems: list[Problem],
) -> SheetRow | None:
    """One row; more cells than the header has mean that an unquoted delimiter has shifted them."""
    if any(cells[len(order) :]) or len(cells) > width:
        found = f"{len(cells)} cells (a comma inside a cell needs quotes around the cell)"
        problems.append(Problem(file, line, f"row {line}", f"{len(order)} cells", found))
        return None
    values = dict(zip(order, [*cells, *[""] * (len(order) - len(cells))], strict=False))
    before = len(problems)
    for name, value in values.items():
        if len(value) > MAX_CELL or "\n" in value or "\r" in value:
            expected = f"at most {MAX_CELL} characters on one line"
            found = f"{len(value)} characters" if len(value) > MAX_CELL else "a line break within it"
            problems.append(Problem(file, line, f"row {line}, column {name}", expected, found))
        elif bad := UNPRINTABLE.search(value):
            found = f"the character U+{ord(bad[0]):04X}"
            problems.append(Problem(file, line, f"row {line}, column {name}", "printable text", found))
    if system is not None:
        for side in ("source_system", "target_system"):
            values[side] = system if values[side] == OWN_SYSTEM else values[side]
    row = SheetRow(**values, file=file, line=line)
    problems.extend(_row_problems(row))
    return row if len(problems) == before else None


def _row_problems(row: SheetRow) -> Iterator[Problem]:
    """What must hold within one row, whatever the landscape."""

    def wrong(column: str, expected: str, found: str) -> Problem:
        return Problem(row.file, row.line, f"row {row.line}, column {column}", expected, found)

    if not row.source_system:
        yield wrong("source_system", "a system or canonical", "nothing")
    if not row.target_system:
        yield wrong("target_system", "a system, canonical or ignore", "nothing")
    if row.source_system == CANONICAL == row.target_system:
        yield wrong("target_system", "canonical on one side only", "canonical on both")
    elif CANONICAL not in (row.source_system, row.target_system) and row.direction != "ignored":
        yield wrong(
            "target_system", "canonical on one side (or ignore)", f"'{row.source_system}' to '{row.target_system}'"
        )
    if row.direction == "ignored" and row.rule:
        yield wrong("rule", "nothing, for a field that is ignored", f"'{row.rule[:40]}'")
    is_constant = row.rule.startswith("const ")
    if not row.sources and not is_constant:
        yield wrong("source_field", "a field (or a rule: const VALUE)", "nothing")
    for source in row.sources:
        if not _FIELD.match(source):
            yield wrong("source_field", "STREAM.FIELD (or ENTITY.FIELD for canonical)", f"'{source[:40]}'")
    if row.direction != "ignored" and not _FIELD.match(row.target_field):
        yield wrong("target_field", "ENTITY.FIELD (or STREAM.FIELD of a system)", f"'{row.target_field[:40]}'")
    if len({source.partition(".")[0] for source in row.sources}) > 1:
        yield wrong("source_field", "fields of one stream", f"'{row.source_field[:60]}'")
