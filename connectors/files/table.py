"""A grid as records: the header is found, its names are checked, each row becomes one JSON object with an id."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from canonical.landscape import Stream
from connectors.files.grid import BadCell, Grid, Number, Value
from connectors.protocol import Misdeclared, RefusedRecord, SystemFault

HEADER_WITHIN = 50
"""Rows searched for the header: title rows above it are few."""
_PATH_SIGNS = str.maketrans(dict.fromkeys(".[]+", "_"))
_LONGEST_ID = 15
_ENCODER = msgspec.json.Encoder(order="deterministic")


@dataclass(slots=True)
class Records:
    """The rows of one or several grids."""

    ids: list[str] = field(default_factory=list)
    payloads: list[bytes] = field(default_factory=list)
    changed: list[str | None] = field(default_factory=list)
    parents: list[str] = field(default_factory=list)
    refused: list[RefusedRecord] = field(default_factory=list)
    columns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Header:
    """Where the header stands and what it names; None for columns without name and content."""

    row: int
    names: tuple[str | None, ...]


def column_name(value: Value) -> str | None:
    """A header cell as the mapping sheet names it: blanks are one blank, the signs of paths (`.[]+`) become `_`."""
    if value is None or isinstance(value, BadCell):
        return None
    text = value.text if isinstance(value, Number) else str(value)
    return " ".join(text.split()).translate(_PATH_SIGNS) or None


def find_header(grid: Grid, stream: Stream, where: str) -> Header:
    """The declared header row, or the first row that has all key columns. Raises Misdeclared naming what is missing."""
    needed = needed_columns(stream)
    declared = stream.options.get("header")
    for number, values in grid.rows:
        if declared is not None and number != declared:
            continue
        if declared is None and number > HEADER_WITHIN:
            break
        names = tuple(column_name(value) for value in values)
        if set(needed) <= set(names):
            _check_header(grid, number, names, where)
            return Header(number, names)
        if declared is not None:
            break
    raise Misdeclared(_missing(grid, needed, declared), where=where)


def needed_columns(stream: Stream) -> tuple[str, ...]:
    """Columns that the declaration itself names."""
    parent = (stream.child_of.by,) if stream.child_of else ()
    changed = (stream.changed,) if stream.changed else ()
    return tuple(dict.fromkeys((*stream.key, *changed, *parent)))


def _missing(grid: Grid, needed: Sequence[str], declared: object) -> str:
    looked_at = [v for n, v in grid.rows if (n <= HEADER_WITHIN if declared is None else n == declared)]
    seen = [column_name(value) for values in looked_at for value in values]
    names = [name for name in seen if name]
    absent = [name for name in needed if name not in names]
    if not absent:
        return f"expected the columns {', '.join(needed)} in one row within the first {HEADER_WITHIN}"
    near = difflib.get_close_matches(absent[0], names, n=1, cutoff=0.6)
    hint = f"; did you mean {near[0]}?" if near else ""
    at = f"row {declared} of {grid.name}" if declared is not None else f"{grid.name}"
    return f"expected the column {absent[0]} in {at}, found none{hint}"


def _check_header(grid: Grid, row: int, names: Sequence[str | None], where: str) -> None:
    for first, last, area in grid.merged:
        if last >= row:
            place = "header" if first <= row else "row"
            raise Misdeclared(f"merged {place} cells {grid.name}!{area}: expected one value a cell", where=where)
    first_at: dict[str, int] = {}
    for at, name in enumerate(names):
        if name is None:
            continue
        if name in first_at:
            cells = f"{grid.cell(row, first_at[name])} and {grid.cell(row, at)}"
            raise Misdeclared(f"expected each column once, found {name} in {cells}", where=where)
        first_at[name] = at


def read_records(grid: Grid, stream: Stream, where: str, into: Records) -> None:
    """Add the grid's rows to `into`. Raises Misdeclared for a column that holds values under no name."""
    header = find_header(grid, stream, where)
    into.columns = tuple(name for name in header.names if name)
    at = {name: i for i, name in enumerate(header.names) if name}
    trims = stream.options.get("trim") is True
    for number, values in grid.rows:
        if number <= header.row:
            continue
        problem = _row_problem(grid, number, values, header)
        cleaned = [v.strip() if trims and isinstance(v, str) else v for v in values]
        raw = _payload(cleaned, at)
        if problem is None:
            parts = [_key_part(grid, number, at[k], cleaned) for k in stream.key]
            problem = next((p.reason for p in parts if isinstance(p, BadCell)), None)
        if problem is not None:
            into.refused.append(RefusedRecord(raw, problem))
            continue
        texts = [str(p) for p in parts]
        into.ids.append(texts[0] if len(texts) == 1 else json.dumps(texts, separators=(",", ":"), ensure_ascii=False))
        into.payloads.append(raw)
        into.changed.append(_text(cleaned[at[stream.changed]]) if stream.changed else None)
        if stream.child_of:
            into.parents.append(_text(cleaned[at[stream.child_of.by]]) or "")


def _row_problem(grid: Grid, number: int, values: Sequence[Value], header: Header) -> str | None:
    """Why a row as a whole cannot be trusted."""
    for at, value in enumerate(values):
        if isinstance(value, BadCell):
            return f"{grid.cell(number, at)} {value.reason}"
        if value is not None and (at >= len(header.names) or header.names[at] is None):
            return f"{grid.cell(number, at)} has a value but its column has no name"
    if len(values) < len(header.names):
        return f"{grid.cell(number, len(values))}: the row ends before its last column"
    return None


def _key_part(grid: Grid, number: int, at: int, values: Sequence[Value]) -> str | BadCell:
    cell = grid.cell(number, at)
    value = values[at]
    text = _text(value)
    if text is None:
        return BadCell("", f"{cell}: the key is blank")
    if text != text.strip():
        return BadCell(text, f"{cell}: the key has spaces before or after it (declare `trim: true`)")
    if isinstance(value, Number) and len(text.lstrip("-")) > _LONGEST_ID:
        return BadCell(text, f"{cell}: the number is too long for a spreadsheet to keep: make the cell text")
    return text


def _text(value: Value) -> str | None:
    if isinstance(value, Number):
        return value.text
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else None


def _payload(values: Sequence[Value], at: dict[str, int]) -> bytes:
    shown = {name: _json(values[i]) if i < len(values) else None for name, i in at.items()}
    try:
        return _ENCODER.encode(shown)
    except UnicodeEncodeError:
        return json.dumps({name: str(value) for name, value in shown.items()}, sort_keys=True).encode()


def _json(value: Value) -> object:
    if isinstance(value, Number):
        return msgspec.Raw(value.text.encode())
    return value.shown if isinstance(value, BadCell) else value


def refuse_twins(records: Records) -> Records:
    """One id twice: the same content counts once, other content refuses all of them. Order is kept."""
    contents: dict[str, set[bytes]] = {}
    for identity, payload in zip(records.ids, records.payloads, strict=True):
        contents.setdefault(identity, set()).add(payload)
    if len(contents) == len(records.ids):
        return records
    out = Records(refused=records.refused, columns=records.columns)
    seen: set[str] = set()
    for i, identity in enumerate(records.ids):
        if len(contents[identity]) > 1:
            reason = "several rows with different content have this key"
            out.refused.append(RefusedRecord(records.payloads[i], reason, identity))
        elif identity not in seen:
            seen.add(identity)
            out.ids.append(identity)
            out.payloads.append(records.payloads[i])
            out.changed.append(records.changed[i])
            if records.parents:
                out.parents.append(records.parents[i])
    return out


def check_any_header(records: Records, where: str) -> None:
    """A file must at least name its columns."""
    if not records.columns:
        raise SystemFault("the file has no header and no rows", where=where)
