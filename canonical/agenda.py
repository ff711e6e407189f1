"""The queues as a workbook for a meeting, and the answers that come back in it.

make_agenda    one worksheet a queue, one row an entry, a drop-down of the answers that it can have
read_agenda    the rows that were answered, every mistake at once by the name of its cell

Every cell is text: what looks like a formula is none, on the way out and on the way back. Rows may be sorted, hidden or
left out; a row without a decision decides nothing.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from openpyxl import Workbook
from openpyxl.styles import Alignment, Font, PatternFill
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.datavalidation import DataValidation
from openpyxl.worksheet.worksheet import Worksheet as Sheet

from canonical.mapping.book import INDEX, INDEX_HEAD, Worksheet, escaped, read_book
from canonical.problems import Problem, Refused
from canonical.shown import shown

TITLES: Final[Mapping[str, str]] = {
    "hold": "Holds",
    "review": "Reviews",
    "quarantine": "Quarantine",
    "dead_letter": "Dead letters",
    "finding": "Findings",
}
ANSWERS: Final[Mapping[str, tuple[str, ...]]] = {
    "hold": ("approve", "reject"),
    "review": ("same", "different"),
    "quarantine": ("replay", "discard"),
    "dead_letter": ("replay", "close"),
    "finding": ("accept",),
}
"""What can be decided about an entry of each queue."""
DECISION, REASON, ID, AS_SHOWN = "decision", "reason for it", "id", "as shown"
_HEAD: Final = (
    (ID, 8), ("cause", 22), ("what", 60), ("record", 44), ("for", 22), ("age", 10), ("due", 18), ("can be done", 48),
    (DECISION, 14), (REASON, 40), (AS_SHOWN, 18),
)  # fmt: skip
COLUMNS: Final = tuple(name for name, _ in _HEAD)
_SAYS: Final = (
    "cause", "reason", "because", "field", "ours", "theirs", "other", "canonical_id", "score", "rule", "raw_id",
)  # fmt: skip
_MAX_CELL: Final = 2_000
_BOLD, _FILL = Font(bold=True), PatternFill("solid", fgColor="DDE6F0")
_ANSWER = PatternFill("solid", fgColor="FFF7D6")
_TOP = Alignment(vertical="top", wrap_text=True)
_FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")
MIN_REASON: Final = 3
"""Characters; the same as on the command line."""


@dataclass(frozen=True, slots=True)
class Item:
    """One entry as a row: its texts by column, and what it said when it was exported."""

    queue: str
    cells: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """One row that was answered."""

    queue: str
    id: int
    decision: str
    reason: str
    as_shown: str
    where: str
    """The decision's cell, as a person names it: `Holds!I7`."""
    row: int


def digest_of(entry: Mapping[str, Any]) -> str:
    """What an entry says, in 16 characters: an answer to something else than was shown is refused."""
    said = json.dumps([entry.get(name) for name in _SAYS], default=str)
    return hashlib.blake2b(said.encode(), digest_size=8).hexdigest()


# ------------------------------------------------------------------------------------------------------------ making


def make_agenda(items: Sequence[Item], queues: Sequence[str]) -> bytes:
    """An .xlsx with a worksheet for each of these queues, also where nothing waits in it."""
    book = Workbook()
    book.remove(book.worksheets[0])
    index = book.create_sheet(INDEX)
    for column, name in enumerate(INDEX_HEAD, start=1):
        _write(index, 1, column, name)
    for number, queue in enumerate(queues, start=2):
        _fill(book.create_sheet(TITLES[queue]), queue, [item for item in items if item.queue == queue])
        for column, text in enumerate((TITLES[queue], queue, ""), start=1):
            _write(index, number, column, text)
    book.move_sheet(index, len(book.worksheets))
    index.sheet_state = "hidden"
    book.active = 0
    made = io.BytesIO()
    book.save(made)
    return made.getvalue()


def _fill(sheet: Sheet, queue: str, items: Sequence[Item]) -> None:
    for column, (name, width) in enumerate(_HEAD, start=1):
        _write(sheet, 1, column, name)
        sheet.cell(1, column).font, sheet.cell(1, column).fill = _BOLD, _FILL
        letter = get_column_letter(column)
        sheet.column_dimensions[letter].width = width
        sheet.column_dimensions[letter].number_format = "@"
    for number, item in enumerate(items, start=2):
        for column, name in enumerate(COLUMNS, start=1):
            _write(sheet, number, column, item.cells.get(name, ""))
            sheet.cell(number, column).alignment = _TOP
        for name in (DECISION, REASON):
            sheet.cell(number, COLUMNS.index(name) + 1).fill = _ANSWER
    last = max(len(items) + 1, 2)
    sheet.freeze_panes = "B2"
    sheet.auto_filter.ref = f"A1:{get_column_letter(len(COLUMNS))}{last}"
    sheet.column_dimensions[get_column_letter(COLUMNS.index(AS_SHOWN) + 1)].hidden = True
    answers = ",".join(ANSWERS[queue])
    offered = DataValidation(type="list", formula1=f'"{answers}"', allow_blank=True, showErrorMessage=True)
    offered.errorTitle, offered.error = DECISION, f"One of: {', '.join(ANSWERS[queue])}; or nothing."
    letter = get_column_letter(COLUMNS.index(DECISION) + 1)
    offered.add(f"{letter}2:{letter}{last}")
    sheet.add_data_validation(offered)


def _write(sheet: Sheet, row: int, column: int, text: str) -> None:
    """One cell of text, whatever it looks like; what is unseen in it is written out."""
    if not text:
        return
    cell = sheet.cell(row, column, escaped(shown(text)[:_MAX_CELL]))
    cell.data_type = "s"
    cell.number_format = "@"
    if text.startswith(_FORMULA_SIGNS):
        cell.quotePrefix = True


# ----------------------------------------------------------------------------------------------------------- reading


def read_agenda(file: str, data: bytes) -> list[Answer]:
    """The answered rows of every worksheet. Raises Refused with every mistake, each by its cell."""
    book, problems = read_book(file, data)
    by_title = {title: queue for queue, title in TITLES.items()}
    answers: list[Answer] = []
    for sheet in book.worksheets:
        queue = by_title.get(sheet.title)
        if queue is None:
            problems.append(Problem(file, None, f"worksheet {sheet.title}", _listed(by_title), "another name"))
            continue
        answers += _answers(file, queue, sheet, problems)
    if problems:
        raise Refused(problems)
    return answers


def _answers(file: str, queue: str, sheet: Worksheet, problems: list[Problem]) -> Iterator[Answer]:
    head = [name.strip().lower() for name in sheet.rows[0]] if sheet.rows else []
    places = {name: head.index(name) for name in (ID, DECISION, REASON, AS_SHOWN) if name in head}
    missing = [name for name in (ID, DECISION, REASON, AS_SHOWN) if name not in places]
    if missing:
        expected = f"the columns {', '.join(missing)}"
        problems.append(Problem(file, 1, f"worksheet {sheet.title}, row 1", expected, "none of that name"))
        return
    seen: dict[int, int] = {}
    for number, cells in enumerate(sheet.rows[1:], start=2):
        told = {name: cells[at].strip() if at < len(cells) else "" for name, at in places.items()}
        if not told[DECISION]:
            continue
        where = {name: f"{sheet.title}!{get_column_letter(at + 1)}{number}" for name, at in places.items()}
        found = list(_mistakes(file, queue, number, told, where, seen))
        problems += found
        if not found:
            yield Answer(
                queue, int(told[ID]), told[DECISION].lower(), told[REASON], told[AS_SHOWN], where[DECISION], number
            )


def _mistakes(
    file: str, queue: str, row: int, told: Mapping[str, str], where: Mapping[str, str], seen: dict[int, int]
) -> Iterator[Problem]:
    """What is wrong with one answered row."""
    if told[DECISION].lower() not in ANSWERS[queue]:
        yield Problem(file, row, where[DECISION], _listed(ANSWERS[queue]), f"'{shown(told[DECISION])[:40]}'")
    if len(told[REASON]) < MIN_REASON:
        yield Problem(file, row, where[REASON], "why, in a few words", f"'{shown(told[REASON])}'")
    if not told[ID].isdecimal():
        yield Problem(file, row, where[ID], "the entry's number", f"'{shown(told[ID])[:40]}'")
    elif (number := int(told[ID])) in seen:
        yield Problem(file, row, where[ID], "each entry once", f"entry {number} in row {seen[number]} too")
    else:
        seen[number] = row


def _listed(names: Sequence[str] | Mapping[str, str]) -> str:
    return " or ".join(names)
