"""A folder of workbooks as people keep them: a price list and a list of contacts, with the usual human dirt."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from openpyxl import Workbook
from openpyxl.styles import Font

PRICE_COLUMNS = ("SKU", "Description", "List price", "Currency", "Valid from", "Active")
PEOPLE_COLUMNS = ("Ref", "Name", "Company", "E-mail", "Phone")
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


def _write(path: Path, sheet_name: str, rows: Sequence[Sequence[Any]]) -> None:
    book = Workbook()
    book.properties.created = book.properties.modified = _STAMP
    sheet = book.active or book.create_sheet()
    sheet.title = sheet_name
    for row in rows:
        sheet.append(list(row))
    for cell in sheet[1]:
        cell.font = Font(bold=True)
    partial = path.with_suffix(".part")
    book.save(partial)
    partial.rename(path)
