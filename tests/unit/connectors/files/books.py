"""Workbooks made on the spot, and a clock that needs no waiting."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from openpyxl import Workbook

from connectors.files.place import Clock

OLD = 1_700_000_000
"""A modification time that is long past for every test."""


class FakeClock:
    """Time that passes only when somebody sleeps; `while_asleep` is what others do meanwhile."""

    def __init__(self) -> None:
        self.time = OLD + 1_000.0
        self.while_asleep: Callable[[], None] = lambda: None

    def sleep(self, seconds: float) -> None:
        self.time += seconds
        self.while_asleep()

    def as_clock(self) -> Clock:
        return Clock(lambda: self.time, self.sleep)


def workbook(rows: list[list[Any]], change: Callable[[Any], None] | None = None) -> bytes:
    book = Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.title = "Prices"
    for row in rows:
        sheet.append(row)
    if change is not None:
        change(book)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()
