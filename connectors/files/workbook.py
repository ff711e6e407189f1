"""An .xlsx sheet as a grid: numbers as a person sees them, real dates as ISO text, formulas by their stored result."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from openpyxl import Workbook, load_workbook
from openpyxl.utils import range_boundaries

from connectors.files.grid import BadCell, Grid, Number, Value
from connectors.files.package import check_package
from connectors.protocol import Misdeclared, SystemFault

MAX_CELLS = 20_000_000
_MERGED = re.compile(rb'<(?:\w+:)?mergeCell [^>]*ref="([A-Z]+\d+:[A-Z]+\d+)"')
_FORMULA = re.compile(rb"<(?:\w+:)?f[ >/]")
_ESCAPED = re.compile(r"_x([0-9A-Fa-f]{4})_")
_PADDED = re.compile(r'"?0+"?')
_CLOCK = re.compile(r"[hHsS]")
_MANY_DIGITS = 15
"""Spreadsheets keep 15 significant digits; what binary floating point adds beyond them was never typed."""


def read_workbook(data: bytes, options: Mapping[str, Any], where: str) -> Grid:
    """The declared sheet, or the only visible one. Raises SystemFault for a file that is damaged or unsafe."""
    check_package(data, where)
    book = _load(data, where, is_stored=True)
    try:
        sheet_name = _sheet_name(book, options.get("sheet"), where)
        sheet = book[sheet_name]
        raw = _sheet_xml(data, sheet, where)
        empty_formulas = _formulas(data, sheet_name, where) if _FORMULA.search(raw) else frozenset()
        sheet.reset_dimensions()
        rows = _rows(sheet, empty_formulas, where)
    finally:
        book.close()
    merged = []
    for area in _MERGED.findall(raw):
        _, first, _, last = range_boundaries(area.decode())
        merged.append((int(first or 0), int(last or 0), area.decode()))
    return Grid(sheet_name, rows, tuple(merged))


def _load(data: bytes, where: str, *, is_stored: bool) -> Workbook:
    try:
        return load_workbook(io.BytesIO(data), read_only=True, data_only=is_stored, keep_links=False)
    except Exception as problem:  # openpyxl raises whatever its XML parser met: KeyError, ValueError, ParseError …
        raise SystemFault(f"the workbook cannot be read ({type(problem).__name__})", where=where) from None


def _sheet_name(book: Workbook, declared: Any, where: str) -> str:
    visible = [s.title for s in book.worksheets if s.sheet_state == "visible"]
    if declared is not None:
        if declared in (s.title for s in book.worksheets):
            return str(declared)
        raise Misdeclared(f"sheet: expected one of {', '.join(visible)}, found no {declared}", where=where)
    if len(visible) == 1:
        return visible[0]
    raise Misdeclared(f"sheet: expected to be told which of {', '.join(visible) or 'no visible sheet'}", where=where)


def _sheet_xml(data: bytes, sheet: Any, where: str) -> bytes:
    """The sheet's own XML (checked before to be of bearable size)."""
    path = sheet._worksheet_path.lstrip("/")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as package:
            return package.read(path)
    except KeyError:
        raise SystemFault("the workbook names a sheet that is not in it", where=where) from None


def _formulas(data: bytes, sheet_name: str, where: str) -> frozenset[tuple[int, int]]:
    """Cells that hold a formula: those among them without a stored result must not be taken for empty."""
    book = _load(data, where, is_stored=False)
    try:
        sheet = book[sheet_name]
        sheet.reset_dimensions()
        return frozenset(
            (int(cell.row), int(cell.column))
            for row in sheet.iter_rows()
            for cell in row
            if cell.data_type == "f" and cell.row and cell.column
        )
    finally:
        book.close()


def _rows(sheet: Any, formulas: frozenset[tuple[int, int]], where: str) -> list[tuple[int, Sequence[Value]]]:
    rows: list[tuple[int, Sequence[Value]]] = []
    cells_seen = 0
    try:
        for number, cells in enumerate(sheet.iter_rows(), start=1):
            cells_seen += len(cells)
            if cells_seen > MAX_CELLS:
                raise SystemFault(f"the sheet has more than {MAX_CELLS:,} cells", where=where)
            values = [_value(cell) for cell in cells]
            if formulas:
                values = [
                    BadCell("", "holds a formula without a stored result: open and save the file once")
                    if value is None and (number, at + 1) in formulas
                    else value
                    for at, value in enumerate(values)
                ]
            if any(value is not None for value in values):
                rows.append((number, values))
    except SystemFault:
        raise
    except Exception as problem:  # as in `_load`: the parser's own errors are of many kinds
        raise SystemFault(f"the sheet cannot be read ({type(problem).__name__})", where=where) from None
    return rows


def _value(cell: Any) -> Value:
    value = cell.value
    if value is None:
        return None
    if cell.data_type == "e":
        return BadCell(str(value), f"holds the error {str(value)[:12]}")
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bool):
        return value
    if isinstance(value, (datetime, date, time, timedelta)):
        return _moment(value, str(cell.number_format))
    return _number(value, str(cell.number_format))


def _text(value: str) -> Value:
    """Text as a person sees it: what XML cannot hold stands in a workbook as `_x000D_`, UTF-16 unit by unit, and a
    `_x000D_` that was typed as `_x005F_x000D_` (ECMA-376 part 1, 22.9.2.19)."""
    if "_x" in value:
        units = _ESCAPED.sub(lambda found: chr(int(found[1], 16)), value)
        try:
            value = units.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
        except UnicodeDecodeError:
            return BadCell(value, "holds half of a character")
        if "\x00" in value:
            return BadCell("", "holds a NUL character")
    return value if value.strip() else None


def _moment(value: datetime | date | time | timedelta, shown_as: str) -> Value:
    """A real date as ISO text; midnight under a format without a clock is a day."""
    if isinstance(value, datetime):
        if value.time() == time() and not _CLOCK.search(shown_as):
            return value.date().isoformat()
        return _rounded(value).isoformat()
    if isinstance(value, timedelta):
        seconds = round(value.total_seconds())
        return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    return value.isoformat()


def _rounded(value: datetime) -> datetime:
    """Binary fractions of a day come out a few microseconds beside the second that was typed."""
    nearest = (value + timedelta(microseconds=500_000)).replace(microsecond=0)
    return nearest if abs(nearest - value) <= timedelta(microseconds=1_000) else value


def _number(value: int | float | Decimal, shown_as: str) -> Value:
    if isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):
            return BadCell(str(value), "is not a number")
        text = format(Decimal(f"{value:.{_MANY_DIGITS}g}"), "f")
        text = text.rstrip("0").rstrip(".") if "." in text else text
        text = "0" if text == "-0" else text
    else:
        text = format(value, "f") if isinstance(value, Decimal) else str(value)
    if _PADDED.fullmatch(shown_as) and text.isdigit():
        width = shown_as.count("0")
        return text.zfill(width) if width > 1 else Number(text)
    return Number(text)
