"""A folder of workbooks as people keep them: prices, contacts and staff, with the usual human dirt."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from openpyxl import Workbook, load_workbook
from openpyxl.styles import Font

PRICE_COLUMNS = ("SKU", "Description", "List price", "Currency", "Valid from", "Active")
PEOPLE_COLUMNS = ("Ref", "Name", "Company", "E-mail", "Phone")
STAFF_COLUMNS = (
    "Staff no", "Name", "E-mail", "Phone", "Job title", "Department", "Reports to", "Joined", "Left", "Status",
)  # fmt: skip
_STAMP = datetime(2025, 6, 30, 12, 0)


def write_prices(path: Path, rows: Sequence[Sequence[Any]]) -> None:
    """The price list: sheet Prices with a title row above the header."""
    title = "Price list 2025 (do not forward)"
    _write(path, "Prices", [(title,), PRICE_COLUMNS, *rows])


def write_people(path: Path, rows: Sequence[Sequence[Any]]) -> None:
    """The contacts workbook, sheet People, and the same rows as CSV beside it in a folder of its own."""
    _write(path, "People", [PEOPLE_COLUMNS, *rows])
    copy = path.parent / "csv" / path.with_suffix(".csv").name
    copy.parent.mkdir(exist_ok=True)
    with copy.open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file, delimiter=";").writerows([PEOPLE_COLUMNS, *rows])


def write_staff(path: Path, rows: Sequence[Sequence[Any]]) -> None:
    """Who works here, as HR keeps it: sheet Staff."""
    _write(path, "Staff", [STAFF_COLUMNS, *rows])


def set_cell(path: Path, key: str, column: str, value: Any) -> None:
    """A person's change of one cell: in the row that starts with `key`, under the header `column`. Raises KeyError."""
    book = load_workbook(path)
    sheet = book.worksheets[0]
    place: int | None = None
    for row in sheet.iter_rows():
        texts = [str(cell.value).strip() for cell in row]
        if place is None and column in texts:
            place = texts.index(column)
        elif place is not None and texts[0] == key:
            row[place].value = value
            _save(book, path)
            return
    raise KeyError(f"{path.name}: no row {key!r} below a header with {column!r}")


def add_row(path: Path, row: Sequence[Any]) -> None:
    """A person's new row at the end of the first sheet."""
    book = load_workbook(path)
    book.worksheets[0].append(list(row))
    _save(book, path)


def _write(path: Path, sheet_name: str, rows: Sequence[Sequence[Any]]) -> None:
    book = Workbook()
    book.properties.created = book.properties.modified = _STAMP
    sheet = book.active or book.create_sheet()
    sheet.title = sheet_name
    for row in rows:
        sheet.append(list(row))
    for cell in sheet[1]:
        cell.font = Font(bold=True)
    _save(book, path)


def _save(book: Workbook, path: Path) -> None:
    partial = path.with_suffix(".part")
    book.save(partial)
    partial.rename(path)
