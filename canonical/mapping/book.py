"""A workbook of mapping sheets, read: one worksheet a sheet, every cell text, nothing guessed.

What Excel made of a cell is not what somebody wrote: a date, a formula, a decimal, TRUE and a merged area are refused
by the name of the cell (a whole number is harmless and read as its digits). The hidden worksheet `_concord` knows which
file a worksheet is (`book_made`); those in brackets, such as `(crm standard)`, are there to be read, and other hidden
ones are no sheets.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from openpyxl import load_workbook
from openpyxl.cell.text import Text
from openpyxl.utils import get_column_letter
from openpyxl.xml.constants import SHEET_MAIN_NS
from openpyxl.xml.functions import iterparse

from canonical.mapping.sheet_text import Cells, trimmed
from canonical.packages import package_trouble
from canonical.problems import Problem

INDEX: Final = "_concord"
"""The hidden worksheet with the lists of the drop-downs and the files that worksheets are."""
INDEX_HEAD: Final = ("worksheet", "file", "digest")
MAX_BYTES: Final = 20_000_000
MAX_UNPACKED: Final = 64_000_000
MAX_ROWS: Final = 20_000
MAX_COLUMNS: Final = 40
_MERGED = re.compile(rb'<(?:\w+:)?mergeCell [^>]*ref="([A-Z]+\d+:[A-Z]+\d+)"')
_ESCAPED = re.compile("_x([0-9A-Fa-f]{4})_")
_LIKE_ESCAPED = re.compile("_(?=x[0-9A-Fa-f]{4}_)")
_STRINGS = "xl/sharedstrings.xml"
_WANTED = "text (format the column as text and type it again)"


@dataclass(frozen=True, slots=True)
class Known:
    """What the workbook itself says about one of its worksheets."""

    file: str
    digest: str
    """Of the CSV as it was when the workbook was made."""


@dataclass(frozen=True, slots=True)
class Worksheet:
    """The cells of one worksheet: `rows[0]` is row 1, blank ones are ()."""

    title: str
    rows: tuple[Cells, ...]


@dataclass(frozen=True, slots=True)
class Book:
    """A workbook's sheets, in its order, and what it knows of them by their titles."""

    worksheets: tuple[Worksheet, ...] = ()
    known: Mapping[str, Known] = field(default_factory=dict)


def escaped(text: str) -> str:
    """Text as OOXML stores it: what looks like its own escape of a character is escaped (ECMA-376-1, 22.9.2.19)."""
    return _LIKE_ESCAPED.sub("_x005F_", text)


def unescaped(text: str) -> str:
    """The way back; Excel writes the characters like this that XML cannot hold. Halves of pairs stay as they stand."""

    def character(found: re.Match[str]) -> str:
        made = chr(int(found[1], 16))
        return found[0] if "\ud800" <= made <= "\udfff" else made

    return _ESCAPED.sub(character, text)


def read_book(file: str, data: bytes) -> tuple[Book, list[Problem]]:
    """The worksheets of an .xlsx that are sheets. Nothing is read of a workbook that is unsafe (RELIABILITY 65)."""
    trouble = f"{len(data)} bytes, more than 20 MB" if len(data) > MAX_BYTES else None
    trouble = trouble or package_trouble(data, max_total_bytes=MAX_UNPACKED)
    if trouble is not None:
        return Book(), [Problem(file, None, "the workbook", "a plain .xlsx", trouble)]
    problems: list[Problem] = []
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as package:
            book = load_workbook(io.BytesIO(data), read_only=True, keep_links=False)
            try:
                sheets: list[Any] = list(book.worksheets)
                strings = _strings(package)
                for sheet in sheets:
                    sheet._shared_strings = strings
                known = _known(book)
                # A sheet that somebody has hidden is still a sheet: what was typed there is not passed over.
                titles = {s.title for s in sheets if s.sheet_state == "visible"} | set(known)
                wanted = [s for s in sheets if is_sheet(s.title) and s.title in titles]
                found = []
                for sheet in wanted:
                    problems += _merged(file, sheet, package)
                    found.append(Worksheet(sheet.title, tuple(_rows(file, sheet, problems))))
            finally:
                book.close()
    except Exception as error:  # openpyxl raises whatever its XML parser met: KeyError, ValueError, ParseError …
        return Book(), [Problem(file, None, "the workbook", "a plain .xlsx", f"none ({type(error).__name__})")]
    # Excel adds empty worksheets of its own accord; one that was a sheet, or is the only one, is not passed over.
    kept = [s for s in found if s.rows or s.title in known] or found
    if not kept:
        problems.append(Problem(file, None, "the workbook", "a visible worksheet that is a mapping sheet", "none"))
    return Book(tuple(kept), known), problems


def is_sheet(title: str) -> bool:
    """Whether a worksheet of this name is a mapping sheet, rather than something to read."""
    return title != INDEX and not title.startswith("(")


def _strings(package: zipfile.ZipFile) -> list[str]:
    """The workbook's table of strings as it stands: openpyxl's own reading takes parts of escapes out of it."""
    name = next((name for name in package.namelist() if name.lower() == _STRINGS), None)
    if name is None:
        return []
    found: list[str] = []
    with package.open(name) as source:
        for _, node in iterparse(source):
            if node.tag == f"{{{SHEET_MAIN_NS}}}si":
                text: Any = Text.from_tree(node)
                found.append(text.content)
                node.clear()
    return found


def _known(book: Any) -> dict[str, Known]:
    if INDEX not in book.sheetnames:
        return {}
    known: dict[str, Known] = {}
    for cells in book[INDEX].iter_rows(min_row=2, max_row=MAX_ROWS, max_col=len(INDEX_HEAD), values_only=True):
        title, file, digest = (unescaped(str(cell)) if cell is not None else "" for cell in (*cells, None, None)[:3])
        if title and file:
            known[title] = Known(file, digest)
    return known


def _merged(file: str, sheet: Any, package: zipfile.ZipFile) -> Iterator[Problem]:
    """Of merged cells all but one are lost."""
    for area in _MERGED.findall(package.read(sheet._worksheet_path.lstrip("/"))):
        where = f"worksheet {sheet.title}, cells {area.decode()}"
        yield Problem(file, None, where, "one value a cell", "merged cells")


def _rows(file: str, sheet: Any, problems: list[Problem]) -> Sequence[Cells]:
    """The rows up to the last one that says something."""
    sheet.reset_dimensions()
    rows: list[Cells] = []
    for number, cells in enumerate(sheet.iter_rows(), start=1):
        content = trimmed([_text(file, sheet.title, cell, problems) for cell in cells])
        if content and (number > MAX_ROWS or len(content) > MAX_COLUMNS):
            where = f"worksheet {sheet.title}, row {number}"
            expected = f"at most {MAX_ROWS:,} rows and {MAX_COLUMNS} columns"
            problems.append(Problem(file, number, where, expected, f"a value in column {len(content)}"))
            break
        if content:
            rows += [()] * (number - 1 - len(rows))
            rows.append(content)
    return rows


def _text(file: str, title: str, cell: Any, problems: list[Problem]) -> str:
    value = cell.value
    if value is None:
        return ""
    if cell.data_type == "s":
        return unescaped(str(value)).strip()
    if cell.data_type == "n" and isinstance(value, int):
        return str(value)
    shown = str(value)[:40]
    found = {
        "d": f"the date {shown}",
        "f": "a formula",
        "b": f"the truth value {shown.upper()}",
        "e": f"the error {shown}",
    }.get(str(cell.data_type), f"the number {shown}")
    where = f"worksheet {title}, cell {get_column_letter(cell.column)}{cell.row}"
    problems.append(Problem(file, int(cell.row), where, _WANTED, found))
    return ""
