"""JSON records as sent → one text column for each path that a mapping wants.

The fast way decodes each record once into a typed struct of the batch's usual shape (`shape`) and reads columns off it.
A record goes the slow, strict way (`strict`) when anything about it is unusual: an unknown shape, a key too many, a
`\\u0000`, a huge exponent, a whole forest of brackets. Both ways answer the same; only the strict one refuses.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np
import polars as pl

from canonical.mapping.paths import ABSENT, Member, Step, split_path, walk
from canonical.mapping.payloads import build_payloads
from canonical.mapping.shape import Shape, learn
from canonical.mapping.strict import MAX_DEPTH, NotStrict, Number, parse_strict, plain_text

__all__ = ["Decoded", "build_payloads", "decode", "decode_list"]

SAMPLE = 64
"""Records from the start of a batch, and as many spread over it, whose keys make its shape."""
# What makes a record unusual: NUL, and white space between a key and its colon (its keys could not be counted).
_UNUSUAL = ["\\u0000", '" :', '"\t:', '"\n:', '"\r:']
# Any exponent of three digits may be beyond a float's range.
_HUGE = r"[0-9][eE]\+?[0-9]{3}"
_NEVER = -1_000_000
"""A count of keys that no record's text can agree with."""
_BRACKETS = MAX_DEPTH - 4
_UNTYPED = msgspec.json.Decoder(float_hook=Number)
_LIST_OF_RAW = msgspec.json.Decoder(list[msgspec.Raw])


@dataclass(frozen=True)
class Decoded:
    """A batch of records as columns: row i is record i."""

    frame: pl.DataFrame
    """One String column for each path, named by it; refused records are all null."""
    absent: dict[str, pl.Series] = field(default_factory=dict)
    """Path → Boolean series, for paths that at least one record does not mention at all."""
    refused: list[tuple[int, str, str]] = field(default_factory=list)
    """(row, rule, reason) of records that are not read."""


def decode(payloads: Sequence[bytes], paths: Sequence[str]) -> Decoded:
    """Read `paths` from JSON objects, one row a payload, in order. Raises `paths.BadPath` for an unreadable path."""
    paths = tuple(dict.fromkeys(paths))
    wanted = [(path, *split_path(path)) for path in paths]
    shape = learn(_sample(payloads), [(names, bool(rest)) for _, names, rest in wanted]) if payloads else None
    if shape is None:
        return _assemble(len(payloads), paths, [], [], *_slow(payloads, range(len(payloads)), wanted))
    objects, rows, odd = _structs(payloads, shape)
    reader = _Reader(objects, shape)
    columns = [reader.column(names, rest) for _, names, rest in wanted]
    again = sorted({i for column in columns for i in column.again})
    odd.extend(rows[i] for i in again)
    return _assemble(len(payloads), paths, rows, columns, *_slow(payloads, sorted(set(odd)), wanted))


def decode_list(payloads: Sequence[bytes], list_path: str, paths: Sequence[str]) -> Decoded:
    """Read `paths` from each element of a list inside each record.

    The frame has one row an element and a column `_row` (UInt32): the record it stands in. `refused` rows are elements.
    """
    whole = decode(payloads, [list_path.removesuffix("[]")]).frame.to_series(0)
    elements: list[bytes] = []
    parents: list[int] = []
    for row, text in enumerate(whole):
        if text is None or not text.startswith("["):
            continue
        found = [bytes(raw) for raw in _LIST_OF_RAW.decode(text)]
        elements.extend(found)
        parents.extend([row] * len(found))
    decoded = decode(elements, paths)
    frame = decoded.frame.with_columns(pl.Series("_row", parents, dtype=pl.UInt32))
    return Decoded(frame, decoded.absent, decoded.refused)


def _sample(payloads: Sequence[bytes]) -> Iterable[Any]:
    stride = max(1, len(payloads) // SAMPLE)
    for payload in (*payloads[:SAMPLE], *payloads[SAMPLE::stride]):
        try:
            yield _UNTYPED.decode(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            continue


def _structs(payloads: Sequence[bytes], shape: Shape) -> tuple[list[Any], list[int], list[int]]:
    """The usual records as structs with their rows, and the rows of the unusual ones."""
    text = _as_text(payloads).to_frame()
    seen = text.select(
        keys=pl.col("text").str.count_matches('":', literal=True),
        odd=(
            pl.col("text").is_null()
            | pl.col("text").str.contains_any(_UNUSUAL)
            | pl.col("text").str.contains(_HUGE)
            | (pl.col("text").str.count_matches("[", literal=True) > _BRACKETS)
        ),
    )
    is_odd = seen["odd"].fill_null(value=True).to_numpy()
    read = msgspec.json.Decoder(shape.type, float_hook=str).decode
    objects: list[Any] = []
    rows: list[int] = []
    odd: list[int] = np.flatnonzero(is_odd).tolist()
    for row in range(len(payloads)) if not odd else np.flatnonzero(~is_odd).tolist():
        try:
            objects.append(read(payloads[row]))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            odd.append(row)
            continue
        rows.append(row)
    counted = _count_keys(objects, shape)
    # A key too many in the text: one stands twice, or the record holds objects where the shape has none.
    differs = counted != seen["keys"].to_numpy()[rows]
    if differs.any():
        odd.extend(np.asarray(rows)[differs].tolist())
        keep = np.flatnonzero(~differs).tolist()
        objects, rows = [objects[i] for i in keep], [rows[i] for i in keep]
    return objects, rows, odd


def _as_text(payloads: Sequence[bytes]) -> pl.Series:
    """The payloads as text, null where they are not UTF-8."""
    try:
        return pl.Series("text", payloads, dtype=pl.Binary).cast(pl.String)
    except pl.exceptions.ComputeError:
        return pl.Series("text", [_utf8(payload) for payload in payloads], dtype=pl.String)


def _utf8(payload: bytes) -> str | None:
    try:
        return payload.decode()
    except UnicodeDecodeError:
        return None


def _count_keys(objects: list[Any], shape: Shape) -> np.ndarray[Any, np.dtype[np.int64]]:
    """How many different keys each struct holds, below it included (None and UNSET hold none)."""
    made = shape.type
    is_object = np.fromiter((type(o) is made for o in objects), dtype=bool, count=len(objects))
    counted = is_object * shape.required
    for key in shape.keys.values():
        if key.is_required and key.struct is None and not key.is_raw:
            continue
        get = attrgetter(key.attribute)
        values = [get(o) if type(o) is made else msgspec.UNSET for o in objects]
        if not key.is_required:
            counted += np.fromiter((v is not msgspec.UNSET for v in values), dtype=bool, count=len(values))
        if key.struct is not None:
            counted += _count_keys(values, key.struct)
        elif key.is_raw:
            counted += np.fromiter((_keys_inside(v) for v in values), dtype=np.int64, count=len(values))
    return counted


def _keys_inside(raw: Any) -> int:
    """Different keys in a raw value; `_NEVER` when it is too deep or odd to be usual."""
    if raw is msgspec.UNSET or b"{" not in (text := bytes(raw)):
        return 0
    try:
        level: list[Any] = [_UNTYPED.decode(text)]
    except (msgspec.MsgspecError, RecursionError):
        return _NEVER
    keys = depth = 0
    while level:
        depth += 1
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                keys += len(item)
                below.extend(v for v in item.values() if isinstance(v, dict | list))
            elif isinstance(item, list):
                below.extend(v for v in item if isinstance(v, dict | list))
        level = below
    return keys if depth < MAX_DEPTH // 2 else _NEVER


@dataclass(slots=True)
class _Column:
    values: pl.Series
    absent: np.ndarray[Any, np.dtype[np.bool_]] | None = None
    again: list[int] = field(default_factory=list)
    """Positions whose value only the strict way can tell."""


class _Reader:
    """Columns off the structs of a batch; each level of nesting is taken out once."""

    def __init__(self, objects: list[Any], shape: Shape) -> None:
        self._levels: dict[tuple[str, ...], tuple[list[Any], Shape | None, bool]] = {(): (objects, shape, False)}

    def column(self, names: tuple[str, ...], rest: tuple[Step, ...]) -> _Column:
        """The column at a path."""
        taken = len(names)
        for at in range(1, len(names) + 1):
            if self._level(names[:at])[1] is None:
                taken = at
                break
        values, _, is_raw = self._level(names[:taken])
        left = names[taken:]
        if is_raw:
            return _inside_raw(values, (*(Member(n) for n in left), *rest))
        if left or rest:
            # The shape knows only plain values here: null says that all below is empty, else there is nothing below.
            return _marked([None if v is None else msgspec.UNSET for v in values])
        return _marked(values)

    def _level(self, names: tuple[str, ...]) -> tuple[list[Any], Shape | None, bool]:
        """The values at a path of names, the shape below them, and whether they are raw JSON."""
        known = self._levels.get(names)
        if known is not None:
            return known
        above, shape, _ = self._level(names[:-1])
        if shape is None:
            raise KeyError(names)
        key = shape.keys[names[-1]]
        made, get = shape.type, attrgetter(key.attribute)
        if set(map(type, above)) <= {made}:
            values = list(map(get, above))
        else:
            values = [get(o) if type(o) is made else o for o in above]
        self._levels[names] = values, key.struct, key.is_raw
        return self._levels[names]


def _inside_raw(values: list[Any], steps: tuple[Step, ...]) -> _Column:
    found: list[Any] = []
    again: list[int] = []
    for position, raw in enumerate(values):
        if raw is msgspec.UNSET or raw is None:
            found.append(raw)
            continue
        try:
            value = walk(_UNTYPED.decode(raw), steps)
        except (msgspec.MsgspecError, RecursionError):
            again.append(position)
            value = None
        found.append(msgspec.UNSET if value is ABSENT else _text_of(value))
    column = _marked(found)
    column.again.extend(again)
    return column


def _text_of(value: Any) -> str | None:
    return str(value) if type(value) is int else plain_text(value)


def _marked(values: list[Any]) -> _Column:
    """A column of decoded scalars as text; UNSET is absent."""
    kinds = set(map(type, values))
    absent = None
    if msgspec.UnsetType in kinds:
        absent = np.fromiter((v is msgspec.UNSET for v in values), dtype=bool, count=len(values))
        values = [None if v is msgspec.UNSET else v for v in values]
        kinds.discard(msgspec.UnsetType)
    kinds.discard(type(None))
    if kinds <= {str}:
        return _Column(pl.Series(values, dtype=pl.String), absent)
    if kinds == {bool}:
        return _Column(pl.Series(values, dtype=pl.Boolean).cast(pl.String), absent)
    again = [i for i, v in enumerate(values) if isinstance(v, list | dict)] if kinds & {list, dict} else []
    return _Column(pl.Series([_scalar(v) for v in values], dtype=pl.String), absent, again)


def _scalar(value: Any) -> str | None:
    if type(value) is str:
        return value
    if type(value) is bool:
        return "true" if value else "false"
    return str(value) if type(value) is int else None


_Wanted = Sequence[tuple[str, tuple[str, ...], tuple[Step, ...]]]


def _slow(
    payloads: Sequence[bytes], rows: Sequence[int], wanted: _Wanted
) -> tuple[list[int], list[list[Any]], list[tuple[int, str, str]]]:
    """The strict way: rows read, their values by path (ABSENT where not mentioned), and the refusals."""
    steps = [(*(Member(n) for n in names), *rest) for _, names, rest in wanted]
    read: list[int] = []
    values: list[list[Any]] = []
    refused: list[tuple[int, str, str]] = []
    for row in rows:
        try:
            record = parse_strict(payloads[row])
        except NotStrict as refusal:
            refused.append((row, refusal.rule, refusal.reason))
            continue
        read.append(row)
        found = (walk(record, path) for path in steps)
        values.append([v if v is ABSENT else plain_text(v) for v in found])
    return read, values, refused


def _assemble(
    count: int,
    paths: tuple[str, ...],
    rows: list[int],
    columns: list[_Column],
    slow_rows: list[int],
    slow_values: list[list[Any]],
    refused: list[tuple[int, str, str]],
) -> Decoded:
    """Fast and slow rows in the order of the payloads."""
    is_whole = len(rows) == count and not slow_rows and not refused
    data: dict[str, pl.Series] = {}
    absent: dict[str, pl.Series] = {}
    for at, path in enumerate(paths):
        column = columns[at] if columns else _Column(pl.Series([], dtype=pl.String))
        if is_whole:
            data[path] = column.values.alias(path)
            mask = column.absent
        else:
            data[path], mask = _merged(count, path, rows, column, slow_rows, [v[at] for v in slow_values])
        if mask is not None and mask.any():
            absent[path] = pl.Series(path, mask, dtype=pl.Boolean)
    return Decoded(pl.DataFrame(data) if data else pl.DataFrame(height=count), absent, refused)


def _merged(
    count: int, path: str, rows: list[int], column: _Column, slow_rows: list[int], slow: list[Any]
) -> tuple[pl.Series, np.ndarray[Any, np.dtype[np.bool_]]]:
    mask = np.zeros(count, dtype=bool)
    if column.absent is not None:
        mask[np.asarray(rows, dtype=np.int64)] = column.absent
    mask[np.asarray(slow_rows, dtype=np.int64)] = [v is ABSENT for v in slow]
    found = pl.Series([None if v is ABSENT else v for v in slow], dtype=pl.String)
    everything = pl.concat([column.values.rename(""), found.rename(""), pl.Series([None], dtype=pl.String)])
    # Row i takes the value at place[i]; a refused row takes the last one, null. Slow rows come later and win.
    place = np.full(count, len(everything) - 1, dtype=np.int64)
    place[np.asarray(rows, dtype=np.int64)] = np.arange(len(rows))
    place[np.asarray(slow_rows, dtype=np.int64)] = np.arange(len(rows), len(rows) + len(slow_rows))
    return everything.gather(place).alias(path), mask
