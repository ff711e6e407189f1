"""CSV text as a grid: encoding as declared, separator found or declared, every cell as it stands."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from connectors.files.grid import BadCell, Grid, Value
from connectors.protocol import Misdeclared, SystemFault

SEPARATORS = (",", ";", "\t", "|")
ERROR_WORDS = frozenset({"#REF!", "#N/A", "#VALUE!", "#DIV/0!", "#NAME?", "#NULL!", "#NUM!", "#SPILL!", "#CALC!"})
"""What spreadsheet programs show for a cell whose formula failed (ECMA-376 part 1, 18.17.3, and newer Excel)."""
_SNIFF_ROWS = 50


def read_text(name: str, data: bytes, options: Mapping[str, Any], key: Sequence[str], where: str) -> Grid:
    """The file's cells. Raises SystemFault for bytes that are not the declared text, Misdeclared for odd options."""
    text = _decoded(data, str(options.get("encoding", "utf-8")), where)
    separator = options.get("delimiter") or _separator(text, key)
    if separator not in SEPARATORS:
        raise Misdeclared("delimiter: expected one of , ; tab |", where=where)
    rows: list[tuple[int, Sequence[Value]]] = []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        for number, cells in enumerate(reader, start=1):
            values = [_value(cell) for cell in cells]
            if any(value is not None for value in values):
                rows.append((number, values))
    except csv.Error as problem:
        raise SystemFault(f"line {reader.line_num} is no CSV: {problem}", where=where) from None
    return Grid(name, rows)


def _value(cell: str) -> Value:
    if not cell.strip():
        return None
    if cell in ERROR_WORDS:
        return BadCell(cell, f"holds the error {cell}")
    if "\x00" in cell:
        return BadCell("", "holds a NUL character")
    return cell


def _decoded(data: bytes, encoding: str, where: str) -> str:
    """The text, strictly: a wrong encoding is refused with its line, never repaired by a guess."""
    try:
        codec = codecs.lookup(encoding)
    except LookupError:
        raise Misdeclared("encoding: expected a known one, such as utf-8, cp1252 or utf-16", where=where) from None
    if data.startswith(codecs.BOM_UTF8) and codec.name != "utf-8-sig":
        if codec.name != "utf-8":
            raise SystemFault(f"the file says that it is UTF-8, declared is {codec.name}", where=where)
        data = data[len(codecs.BOM_UTF8) :]
    if codec.name == "utf-8" and data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise SystemFault("the file says that it is UTF-16: declare `encoding: utf-16`", where=where)
    try:
        return data.decode(codec.name)
    except UnicodeDecodeError as problem:
        line = data.count(b"\n", 0, problem.start) + 1
        raise SystemFault(f"line {line} is not {codec.name} text; declare the file's `encoding`", where=where) from None


def _separator(text: str, key: Sequence[str]) -> str:
    """The separator under which the key columns stand in one row; else the one that splits the rows most evenly."""
    lines = list(_head(text))
    scores: list[tuple[int, int, str]] = []
    for separator in SEPARATORS:
        try:
            rows = list(csv.reader(lines, delimiter=separator))
        except csv.Error:
            continue
        has_key = any(set(key) <= {cell.strip() for cell in row} for row in rows)
        widths = [len(row) for row in rows if row]
        common = max(set(widths), key=widths.count, default=1)
        scores.append((int(has_key and common > 1) * 2 + int(has_key), widths.count(common) * (common > 1), separator))
    best = max(scores, key=lambda s: s[:2], default=(0, 0, ","))
    return best[2]


def _head(text: str) -> list[str]:
    return text[:100_000].splitlines(keepends=True)[:_SNIFF_ROWS]
