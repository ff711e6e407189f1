"""A workbook of mapping sheets, made for people: one worksheet a sheet, drop-downs, and what connectors ship beside it.

Every cell is text, also one that begins with `=` or looks like a date: what is typed into it later stays text as well.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from openpyxl import Workbook
from openpyxl.styles import Alignment, Font, PatternFill
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.datavalidation import DataValidation
from openpyxl.worksheet.worksheet import Worksheet

from canonical.mapping.book import INDEX, INDEX_HEAD, escaped
from canonical.mapping.functions.base import Rule
from canonical.mapping.incoming import digest_of
from canonical.mapping.sheet import COLUMNS, UNPRINTABLE, SheetRow
from canonical.mapping.sheet_text import Cells, SheetText
from canonical.problems import Problem, Refused

_WIDTHS: Final = (("system", 16), ("field", 46), ("rule", 40), ("notes", 48))
_SPARE_ROWS: Final = 500
"""Rows below the last one that have the drop-downs too."""
_TITLE_SIGNS = re.compile(r"[\[\]:*?/\\]")
_MAX_TITLE = 31
_MAX_CELL: Final = 32_767
"""Excel's own limits (specifications and limits of Excel, support.microsoft.com)."""
_BOLD = Font(bold=True)
_GREY = Font(color="808080")
_HEAD = PatternFill("solid", fgColor="DDE6F0")
_TOP = Alignment(vertical="top", wrap_text=True)
_FORMULA_SIGNS = ("=", "+", "-", "@")


@dataclass(frozen=True, slots=True)
class Sheet:
    """One sheet of the landscape, and the fields that its drop-downs offer."""

    text: SheetText
    data: bytes
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Standard:
    """What a connector ships for a system: each row, and where the landscape replaces it (None: it runs)."""

    system: str
    connector: str
    rows: tuple[tuple[SheetRow, str | None], ...]


def make_book(
    sheets: Sequence[Sheet], standards: Sequence[Standard], systems: Sequence[str], rules: Mapping[str, Rule]
) -> bytes:
    """An .xlsx of these sheets. Raises Refused for two files that differ only in their folders or letter case."""
    book = Workbook()
    book.remove(book.worksheets[0])
    lists = _Lists(book.create_sheet(INDEX))
    lists.add("systems", systems)
    lists.add("targets", (*systems, "ignore"))
    lists.add("rules", [rule.signature for rule in rules.values()])
    titles = {INDEX: "the worksheet of the lists"}
    for sheet in sheets:
        title = _title(sheet.text.file, titles)
        lists.know(title, sheet.text.file, digest_of(sheet.data))
        lists.add(title, sheet.fields)
        _fill(book.create_sheet(title), sheet.text, lists)
    for standard in standards:
        _standard(book.create_sheet(_bracketed(f"{standard.system} standard", book)), standard)
    _rules(book.create_sheet("(rules)"), rules.values())
    index = book[INDEX]
    book.move_sheet(index, len(book.worksheets))
    index.sheet_state = "hidden"
    book.active = 0
    made = io.BytesIO()
    book.save(made)
    return made.getvalue()


def _title(file: str, taken: dict[str, str]) -> str:
    """The worksheet's name: the file's stem, as far as Excel takes it."""
    stem = _TITLE_SIGNS.sub("_", file.rpartition("/")[2].removesuffix(".csv"))[:_MAX_TITLE].strip("' (")
    if not stem or stem.lower() in taken:
        found = f"'{stem}', which is {taken[stem.lower()]} already" if stem else "none"
        raise Refused([Problem(file, None, "the file's name", "a name that a worksheet can have of its own", found)])
    taken[stem.lower()] = file
    return stem


def _bracketed(name: str, book: Workbook) -> str:
    """`(crm standard)`, cut and counted where names are long."""
    cut = name[: _MAX_TITLE - 2]
    number = 2
    while f"({cut})".lower() in (title.lower() for title in book.sheetnames):
        cut = f"{name[: _MAX_TITLE - 6]} {number}"
        number += 1
    return f"({cut})"


class _Lists:
    """The hidden worksheet: which file each worksheet is, and the lists of the drop-downs, one a column."""

    def __init__(self, sheet: Worksheet) -> None:
        self.sheet = sheet
        self.ranges: dict[str, str] = {}
        for column, name in enumerate(INDEX_HEAD, start=1):
            _write(sheet, 1, column, name)
        self._column = len(INDEX_HEAD) + 1
        self._row = 2

    def know(self, title: str, file: str, digest: str) -> None:
        for column, text in enumerate((title, file, digest), start=1):
            _write(self.sheet, self._row, column, text)
        self._row += 1

    def add(self, name: str, values: Sequence[str]) -> None:
        self._column += 1
        _write(self.sheet, 1, self._column, name)
        for row, value in enumerate(values, start=2):
            _write(self.sheet, row, self._column, value)
        letter = get_column_letter(self._column)
        self.ranges[name] = f"'{INDEX}'!${letter}$2:${letter}${max(len(values), 1) + 1}"


def _write(sheet: Worksheet, row: int, column: int, text: str) -> None:
    """One cell of text, whatever it looks like."""
    if not text:
        return
    cell = sheet.cell(row, column, escaped(text))
    cell.data_type = "s"
    cell.number_format = "@"
    if text.startswith(_FORMULA_SIGNS):
        cell.quotePrefix = True


def _fill(sheet: Worksheet, text: SheetText, lists: _Lists) -> None:
    header = text.header
    names = [name.lower().replace(" ", "_") for name in header.cells] if header else []
    top = 1
    for number, (record, content) in enumerate(zip(text.records, text.contents, strict=True), start=1):
        for column, value in enumerate(content, start=1):
            if len(value) > _MAX_CELL or UNPRINTABLE.search(value):
                expected = f"printable text of at most {_MAX_CELL:,} characters in a cell"
                raise Refused([Problem(text.file, record.line, f"row {record.line}", expected, "something else")])
            _write(sheet, number, column, value)
        if record is header:
            top = number
            _head(sheet, number, names)
        elif text.is_comment(record):
            sheet.cell(number, 1).font = _GREY
    last = len(text.records) + _SPARE_ROWS
    for column, name in enumerate(names, start=1):
        letter = get_column_letter(column)
        # What is typed into cells that nobody has filled yet stays text too: 1-2 does not become a date.
        sheet.column_dimensions[letter].number_format = "@"
        _offer(sheet, name, f"{letter}{top + 1}:{letter}{last}", lists)


def _head(sheet: Worksheet, row: int, names: Sequence[str]) -> None:
    """The header: frozen, with widths that show what stands below and a filter."""
    for column, name in enumerate(names, start=1):
        cell = sheet.cell(row, column)
        cell.font, cell.fill = _BOLD, _HEAD
        width = next((width for sign, width in _WIDTHS if sign in name), 14)
        sheet.column_dimensions[get_column_letter(column)].width = width
    sheet.freeze_panes = f"A{row + 1}"
    if row == 1:
        sheet.auto_filter.ref = f"A1:{get_column_letter(max(len(names), 1))}{max(sheet.max_row, 2)}"


def _offer(sheet: Worksheet, name: str, cells: str, lists: _Lists) -> None:
    """The drop-down of a column. Other values may be typed: fields are joined, rules have arguments."""
    wanted = {
        "source_system": ("systems", "A system, or canonical."),
        "target_system": ("targets", "A system, canonical, or ignore."),
        "source_field": (sheet.title, "STREAM.FIELD or ENTITY.FIELD; join several with ' + '."),
        "target_field": (sheet.title, "ENTITY.FIELD or STREAM.FIELD; - where it is ignored."),
        "rule": ("rules", "What is done with the value; join rules with ' | '. See the worksheet (rules)."),
    }.get(name)
    if wanted is None:
        return
    offered = DataValidation(type="list", formula1=lists.ranges[wanted[0]], allow_blank=True, showErrorMessage=False)
    offered.promptTitle, offered.prompt, offered.showInputMessage = name, wanted[1], True
    offered.add(cells)
    sheet.add_data_validation(offered)


def _standard(sheet: Worksheet, standard: Standard) -> None:
    """A connector's own rows, to be read: what runs as it is, and what the landscape has replaced."""
    names = (*COLUMNS, "replaced by")
    _table(sheet, names, [(*(getattr(row, n) for n in COLUMNS), by or "") for row, by in standard.rows])
    sheet.column_dimensions[get_column_letter(len(names))].width = 40
    for number, (_, by) in enumerate(standard.rows, start=2):
        for column in range(1, len(names)) if by else ():
            sheet.cell(number, column).font = _GREY


def _rules(sheet: Worksheet, rules: Iterable[Rule]) -> None:
    _table(sheet, ("rule", "does", "undone by"), [(r.signature, r.doc, r.inverse or "") for r in rules])
    for letter, width in (("A", 48), ("B", 90), ("C", 16)):
        sheet.column_dimensions[letter].width = width


def _table(sheet: Worksheet, names: Sequence[str], rows: Sequence[Cells]) -> None:
    """A worksheet that is there to be read."""
    for column, name in enumerate(names, start=1):
        _write(sheet, 1, column, name)
    for number, row in enumerate(rows, start=2):
        for column, value in enumerate(row, start=1):
            _write(sheet, number, column, value)
            sheet.cell(number, column).alignment = _TOP
    _head(sheet, 1, names)
    sheet.sheet_properties.tabColor = "A0A0A0"
    sheet.protection.sheet = True
