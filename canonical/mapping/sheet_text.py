"""A sheet's CSV as it stands: separator, line ends and every record with its own text, so that nothing is lost.

Spreadsheet programs save CSV in several ways. A byte order mark, `;` or tabs between cells, CRLF and blank rows are
understood. A record whose first cell begins with `#` is a comment: it is kept, and maps nothing.

`rewritten` is the way back: records that are as they were keep their text to the byte; new and changed ones are written
in the sheet's own manner (a new sheet: commas, LF, quotes only where they are needed).
"""

from __future__ import annotations

import csv
import io
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from canonical.problems import Problem

MAX_BYTES: Final = 5_000_000
COMMENT: Final = "#"
_BOM: Final = "\ufeff"
Cells = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a CSV file."""

    line: int
    """On which it begins."""
    raw: str
    """As it stands, its line end included (the last one may have none)."""
    cells: Cells
    """Without the blanks around them."""

    @property
    def is_blank(self) -> bool:
        return not any(self.cells)

    @property
    def is_comment(self) -> bool:
        return is_comment(self.cells)


@dataclass(frozen=True, slots=True)
class SheetText:
    """A sheet as text."""

    file: str
    delimiter: str = ","
    newline: str = "\n"
    has_bom: bool = False
    records: tuple[Record, ...] = field(default=())

    @property
    def header(self) -> Record | None:
        """The first record that says something."""
        return next((r for r in self.records if not r.is_blank and not r.is_comment), None)

    @property
    def contents(self) -> list[Cells]:
        """What each record says, whatever its quotes and empty cells at the right: () of a blank, a comment's text."""
        return [
            (r.cells[0] if not any(r.cells[1:]) else r.raw.strip(),) if self.is_comment(r) else trimmed(r.cells)
            for r in self.records
        ]

    def is_comment(self, record: Record) -> bool:
        """A sheet whose first column is its notes has no comments: a note may begin with `#`."""
        header = self.header
        return record.is_comment and (header is None or may_have_comments(header.cells))


def is_comment(cells: Sequence[str]) -> bool:
    """Whether a row says nothing but a remark."""
    return bool(cells) and cells[0].startswith(COMMENT)


def may_have_comments(header: Sequence[str]) -> bool:
    """Whether a first cell with `#` is a comment in a sheet with this header."""
    return bool(header) and header[0].lower() != "notes"


def trimmed(cells: Sequence[str]) -> Cells:
    """The cells without the empty ones at the right."""
    end = len(cells)
    while end and not cells[end - 1]:
        end -= 1
    return tuple(cells[:end])


def read_text(file: str, data: bytes) -> tuple[SheetText, list[Problem]]:
    """The records of a sheet. After a problem the records before it are given."""
    text, problem = _decoded(file, data)
    if problem is not None:
        return SheetText(file), [problem]
    problems: list[Problem] = []
    delimiter = max(",;\t", key=_first_row(text).count)
    records = tuple(_records(file, text.removeprefix(_BOM), delimiter, problems))
    ends = [r.raw[len(r.raw.rstrip("\r\n")) :] for r in records[:1]]
    newline = ends[0] if ends and ends[0] in ("\r\n", "\r") else "\n"
    return SheetText(file, delimiter, newline, text.startswith(_BOM), records), problems


def _first_row(text: str) -> str:
    """The line of the header: the first that says something."""
    for line in io.StringIO(text.removeprefix(_BOM)):
        bare = line.strip().lstrip('"').lstrip(",;\t ")
        if bare and not bare.startswith(COMMENT):
            return line
    return ""


def _decoded(file: str, data: bytes) -> tuple[str, Problem | None]:
    if len(data) > MAX_BYTES:
        return "", Problem(file, None, "the file", "at most 5 MB", f"{len(data)} bytes")
    if data[:4] == b"PK\x03\x04":
        return "", Problem(file, None, "the file", "CSV (concord mapping import reads workbooks)", "a workbook")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        found = f"the byte 0x{data[error.start]:02x}"
        return "", Problem(file, line, "the file", "text in UTF-8 (save it as CSV UTF-8)", found)
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        return "", Problem(file, line, "the file", "printable text", "the character U+0000")
    return text, None


def _records(file: str, text: str, delimiter: str, problems: list[Problem]) -> Iterator[Record]:
    taken: list[str] = []

    def lines() -> Iterator[str]:
        for line in io.StringIO(text, newline=""):
            taken.append(line)
            yield line

    reader = csv.reader(lines(), delimiter=delimiter, strict=True)
    begin = 1
    try:
        for cells in reader:
            yield Record(begin, "".join(taken), tuple(cell.strip() for cell in cells))
            taken.clear()
            begin = reader.line_num + 1
    except csv.Error as error:
        column = _longest("".join(taken), delimiter)
        is_long = "field larger" in str(error)
        where = f"row {begin}, cell {column}" if is_long else f"row {begin}"
        expected = f"at most {csv.field_size_limit():,} characters" if is_long else "cells of a CSV file"
        problems.append(Problem(file, begin, where, expected, "more" if is_long else str(error)))


def _longest(raw: str, delimiter: str) -> int:
    """Which cell of a record (from 1) is the longest, by its quotes and delimiters alone."""
    lengths, is_quoted = [0], False
    for character in raw:
        if character == '"':
            is_quoted = not is_quoted
        if character == delimiter and not is_quoted:
            lengths.append(0)
        else:
            lengths[-1] += 1
    return lengths.index(max(lengths)) + 1


def rewritten(old: SheetText, contents: Sequence[Cells], width: int) -> tuple[bytes, list[int]]:
    """(the sheet's bytes, the line of each record) with these contents (see `SheetText.contents`) in their order.

    `width`: how many columns the header has. Blank records at the end of `old` stay, if the contents end with none."""
    known: dict[Cells, deque[str]] = {}
    for record, content in zip(old.records, old.contents, strict=True):
        known.setdefault(content, deque()).append(record.raw)
    raws = [_raw(known, content, old, width) for content in contents]
    if raws and contents[-1]:
        raws += _blank_end(old)
    raws = [*(raw if raw.endswith(("\n", "\r")) else raw + old.newline for raw in raws[:-1]), *raws[-1:]]
    lines, line = [], 1
    for raw in raws[: len(contents)]:
        lines.append(line)
        line += raw.count("\r\n") + raw.replace("\r\n", "").count("\n") + raw.replace("\r\n", "").count("\r")
    text = (_BOM if old.has_bom else "") + "".join(raws)
    return text.encode(), lines


def _raw(known: dict[Cells, deque[str]], content: Cells, old: SheetText, width: int) -> str:
    kept = known.get(content)
    if kept:
        return kept.popleft()
    made = io.StringIO(newline="")
    writer = csv.writer(made, delimiter=old.delimiter, lineterminator=old.newline)
    is_whole = len(content) > 0 and not is_comment(content)
    writer.writerow((*content, *[""] * (width - len(content))) if is_whole else content)
    return made.getvalue()


def _blank_end(old: SheetText) -> list[str]:
    end = len(old.records)
    while end and old.records[end - 1].is_blank:
        end -= 1
    return [record.raw for record in old.records[end:]]
