"""A sheet as rows of plain values, whatever file it came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from openpyxl.utils import get_column_letter


@dataclass(frozen=True, slots=True)
class Number:
    """A number cell: its shortest exact text."""

    text: str


@dataclass(frozen=True, slots=True)
class BadCell:
    """A cell that has no value that could be trusted."""

    shown: str
    reason: str


Value = str | Number | bool | BadCell | None


@dataclass(frozen=True, slots=True)
class Grid:
    """The cells that are there; `rows` holds (row number from 1, values) without wholly empty rows."""

    name: str
    """Sheet or file, as messages name it."""
    rows: Sequence[tuple[int, Sequence[Value]]]
    merged: tuple[tuple[int, int, str], ...] = ()
    """(first row, last row, range) of merged areas."""

    def cell(self, row: int, column: int) -> str:
        """The name of a cell as a person finds it: `Prices!C7`. `column` counts from 0."""
        return f"{self.name}!{get_column_letter(column + 1)}{row}"
