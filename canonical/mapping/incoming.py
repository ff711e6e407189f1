"""Worksheets (or a CSV from elsewhere) on their way into a landscape.

Which file each is, its new text, and where in the workbook a problem of that text stands. Nothing is written here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

import xxhash
from openpyxl.utils import get_column_letter

from canonical.mapping.book import Book, Worksheet, read_book
from canonical.mapping.sheet import COLUMNS, header_columns
from canonical.mapping.sheet_text import (
    Cells,
    SheetText,
    is_comment,
    may_have_comments,
    read_text,
    rewritten,
    trimmed,
)
from canonical.problems import Problem, Refused

FOLDER = "mappings"
_STEM = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_. -]{0,60}\Z")
_PLACE = re.compile(r"row \d+(?:, column (\w+))?\Z")
_REFERENCE = re.compile(r"(mappings/[^\s:']+\.csv):(\d+)")


@dataclass(frozen=True)
class Incoming:
    """One sheet as it would stand in the landscape."""

    file: str
    """`mappings/NAME.csv`"""
    data: bytes
    source: str
    """The workbook or CSV it comes from."""
    worksheet: str | None = None
    """None: it comes from a CSV."""
    rows: Mapping[int, int] = field(default_factory=dict)
    """Line of `data` → row of the worksheet (line of the CSV)."""
    letters: Mapping[str, str] = field(default_factory=dict)
    """Column of a sheet → letter in the worksheet."""
    digest: str | None = None
    """Of the file's text when the workbook was made; None: the workbook does not say."""


def digest_of(data: bytes) -> str:
    """A short digest of a sheet's bytes."""
    return xxhash.xxh3_64_hexdigest(data)


def take_in(source: str, data: bytes, existing: Mapping[str, bytes]) -> list[Incoming]:
    """The sheets of an .xlsx or CSV as files of the landscape, `existing` being the ones it has (path → bytes).

    Raises Refused with every problem of every worksheet, by its cell."""
    if PurePosixPath(source).suffix.lower() == ".csv":
        book, problems, is_book = *_from_csv(source, data), False
    else:
        book, problems, is_book = *read_book(source, data), True
    found: list[Incoming] = []
    for sheet in book.worksheets:
        known = book.known.get(sheet.title)
        if known and known.digest == digest_of(b"") and known.file not in existing and len(_said(sheet)) < 2:
            continue  # it was given to begin with, and nobody did
        file = known.file if known else f"{FOLDER}/{sheet.title}.csv"
        if not _is_place(file):
            expected = "a worksheet named as its sheet is to be (letters, digits, blanks, . _ -)"
            problems.append(Problem(source, None, f"worksheet {sheet.title}", expected, f"'{file[:60]}'"))
        elif file in (other.file for other in found):
            problems.append(Problem(source, None, f"worksheet {sheet.title}", "each sheet once", f"{file} again"))
        else:
            incoming = _one(source, sheet, file, existing.get(file), problems, is_book=is_book)
            if incoming is not None:
                found.append(replace(incoming, digest=known.digest if known else None))
    if problems:
        raise Refused(problems)
    return found


def _from_csv(source: str, data: bytes) -> tuple[Book, list[Problem]]:
    text, problems = read_text(source, data)
    rows: list[Cells] = []
    # A row stands at its line, so that problems are told by the line of this file.
    for record, content in zip(text.records, text.contents, strict=True):
        rows += [()] * (record.line - 1 - len(rows))
        rows.append(content)
    return Book((Worksheet(PurePosixPath(source).stem, tuple(rows)),)), problems


def _said(sheet: Worksheet) -> list[Cells]:
    """The rows that are neither blank nor comments, the header included."""
    return [row for row in sheet.rows if row and not is_comment(row)]


def _is_place(file: str) -> bool:
    path = PurePosixPath(file)
    return str(path.parent) == FOLDER and path.suffix == ".csv" and bool(_STEM.match(path.stem))


def _one(
    source: str, sheet: Worksheet, file: str, before: bytes | None, problems: list[Problem], *, is_book: bool
) -> Incoming | None:
    """The worksheet in the manner of the file that it replaces: its columns' order, its quotes, its line ends."""
    at = next((i for i, row in enumerate(sheet.rows) if row and not is_comment(row)), None)
    where = f"worksheet {sheet.title}" if is_book else "the sheet"
    if at is None:
        expected = f"the columns {', '.join(COLUMNS)}"
        problems.append(Problem(source, None, where, expected, "an empty worksheet" if is_book else "an empty file"))
        return None
    told: list[Problem] = []
    names = header_columns(source, at + 1, sheet.rows[at], told)
    problems += [_named(problem, where) if is_book else problem for problem in told]
    if names is None:
        return None
    old, order, header = _manner(file, before, names, sheet.rows[at])
    contents: list[Cells] = []
    before_rows = len(problems)
    for number, row in enumerate(sheet.rows, start=1):
        if number == at + 1:
            contents.append(header)
        elif not row or (is_comment(row) and may_have_comments(names)):
            contents.append(_comment(row))
        else:
            problems += _beyond(source, sheet.title, number, row, names, is_book=is_book)
            values = dict(zip(names, (*row, *[""] * len(names)), strict=False))
            contents.append(trimmed([values[name] for name in order]))
    if len(problems) > before_rows:
        return None
    data, lines = rewritten(old, contents, len(order))
    rows = dict(zip(lines, range(1, len(sheet.rows) + 1), strict=True))
    letters = {name: get_column_letter(i) for i, name in enumerate(names, start=1)}
    return Incoming(file, data, source, sheet.title if is_book else None, rows, letters)


def _named(problem: Problem, where: str) -> Problem:
    return Problem(problem.file, problem.line, f"{where}, row {problem.line}", problem.expected, problem.found)


def _manner(
    file: str, before: bytes | None, names: Sequence[str], header: Cells
) -> tuple[SheetText, Sequence[str], Cells]:
    """(the text that is replaced, the order of its columns, its header); the worksheet's own where there is none."""
    if before is not None:
        old, problems = read_text(file, before)
        columns = header_columns(file, 1, old.header.cells, []) if old.header and not problems else None
        if columns is not None and old.header is not None:
            return old, columns, trimmed(old.header.cells)
    return SheetText(file), names, trimmed(header)


def _comment(row: Cells) -> Cells:
    """A comment is one text, also where somebody wrote on in the next cell."""
    return (" ".join(cell for cell in row if cell),) if row else ()


def _beyond(
    source: str, title: str, number: int, row: Cells, names: Sequence[str], *, is_book: bool
) -> Iterator[Problem]:
    if len(row) > len(names) and is_book:
        cell = f"{get_column_letter(len(row))}{number}"
        expected = "nothing beside the six columns"
        yield Problem(source, number, f"worksheet {title}, cell {cell}", expected, f"'{row[-1][:40]}'")
    elif len(row) > len(names):
        found = f"{len(row)} cells (a comma inside a cell needs quotes around the cell)"
        yield Problem(source, number, f"row {number}", f"{len(names)} cells", found)


def relocated(problems: Iterable[Problem], incoming: Sequence[Incoming]) -> list[Problem]:
    """Problems of the new files, told by the worksheet and cell (line of the CSV) that they come from."""
    by_file = {one.file: one for one in incoming}

    def place(found: re.Match[str]) -> str:
        one = by_file.get(found[1])
        row = one.rows.get(int(found[2])) if one else None
        if one is None or row is None:
            return found[0]
        return f"worksheet {one.worksheet}, row {row}" if one.worksheet else f"{one.source}:{row}"

    return [_relocated(problem, by_file.get(problem.file), place) for problem in problems]


def _relocated(problem: Problem, one: Incoming | None, place: Callable[[re.Match[str]], str]) -> Problem:
    found = _REFERENCE.sub(place, problem.found)
    if one is None:
        return Problem(problem.file, problem.line, problem.where, problem.expected, found, problem.suggestion)
    row = one.rows.get(problem.line or 0)
    where = problem.where
    if row is not None and (spot := _PLACE.match(where)):
        column = spot[1]
        where = f"row {row}" + (f", column {column}" if column else "")
        if one.worksheet and column in one.letters:
            where = f"cell {one.letters[column]}{row} ({column})"
    if one.worksheet:
        where = f"worksheet {one.worksheet}, {where}"
    return Problem(one.source, row, where, problem.expected, found, problem.suggestion)
