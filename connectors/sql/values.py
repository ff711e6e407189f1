"""How database values become JSON text and back: exact, the same on every read, never through a guess.

    integer, decimal, float   JSON numbers with the digits the database shows    1234.50
    date, time, timestamp     ISO 8601 text, the zone only where the database has one
    boolean, null             themselves
    JSON columns              nested as they are
    everything else           text; bytes are refused by column name

A key's text (`id_text`) is what the crosswalk keeps: "42", "2024-01-02", "A-1".
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Literal
from uuid import UUID

import msgspec
from sqlalchemy import types

from connectors.protocol import Rejected

Kind = Literal["integer", "decimal", "boolean", "date", "datetime", "time", "json", "bytes", "text"]

_ENCODER = msgspec.json.Encoder(order="deterministic")
_INT64 = range(-(2**63), 2**64)
_BOOLEANS = {"true": True, "false": False, "1": True, "0": False}


class NotLandable(ValueError):
    """A value that has no faithful JSON form; the message says why, never the value."""


def kind_of(declared: types.TypeEngine[Any]) -> Kind:
    """The kind of a reflected column type."""
    families: tuple[tuple[type[types.TypeEngine[Any]], Kind], ...] = (
        (types.Boolean, "boolean"),
        (types.Integer, "integer"),
        (types.Numeric, "decimal"),
        (types.DateTime, "datetime"),
        (types.Date, "date"),
        (types.Time, "time"),
        (types.JSON, "json"),
        (types.LargeBinary, "bytes"),
    )
    for family, kind in families:
        if isinstance(declared, family):
            return kind
    return "text"


def id_text(value: Any, *, padded: bool = False) -> str:
    """The one text form of a key part. Raises NotLandable for a key that cannot identify anything."""
    if value is None:
        raise NotLandable("the key is empty")
    text = _plain(value)
    if padded:
        text = text.rstrip(" ")
    if not text.strip():
        raise NotLandable("the key is blank")
    if text != text.strip():
        raise NotLandable("the key has spaces before or after it")
    return text


def source_id(parts: Sequence[str]) -> str:
    """A record's id: its only key part, or the compact JSON array of its parts."""
    return parts[0] if len(parts) == 1 else json.dumps(list(parts), separators=(",", ":"), ensure_ascii=False)


def id_parts(text: str, count: int) -> tuple[str, ...] | None:
    """The key parts of an id; None where the text cannot be an id of that many parts."""
    if count == 1:
        return (text,)
    try:
        parts = json.loads(text)
    except ValueError:
        return None
    if not isinstance(parts, list) or len(parts) != count:
        return None
    return tuple(str(part) for part in parts)


def _plain(value: Any) -> str:
    """A scalar as text."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        raise NotLandable("is binary: leave the column out by the option `columns`")
    return str(value)


def iso_text(value: Any) -> str:
    """A temporal value as ISO 8601; PostgreSQL's own text (`2024-01-02 03:04:05.1+00`) gets its `T` and full zone."""
    text = _plain(value)
    if len(text) > 10 and text[10] == " ":
        text = f"{text[:10]}T{text[11:]}"
    if len(text) > 3 and text[-3] in "+-" and ":" in text:
        text += ":00"
    return text


def _number(value: Decimal) -> Any:
    if not value.is_finite():
        raise NotLandable("is not a number (NaN or infinity)")
    return msgspec.Raw(format(value, "f").encode())


def _float(value: float) -> Any:
    if not math.isfinite(value):
        raise NotLandable("is not a number (NaN or infinity)")
    return value


def _integer(value: int) -> Any:
    return value if value in _INT64 else msgspec.Raw(str(value).encode())


def _string(value: str) -> str:
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise NotLandable("is not valid UTF-8") from None
    return value


_CONVERT: Mapping[type, Callable[[Any], Any]] = {
    str: _string,
    int: _integer,
    float: _float,
    Decimal: _number,
    datetime: iso_text,
    date: iso_text,
    time: iso_text,
    timedelta: str,
    UUID: str,
    bytes: _plain,
    memoryview: _plain,
}
_AS_IT_IS = (bool, type(None), dict, list)


@dataclass(frozen=True, slots=True)
class Encoded:
    """One record's payload, or the reason why it has none."""

    payload: bytes
    reason: str | None = None


def encode_rows(columns: Sequence[tuple[str, Kind]], rows: Sequence[Sequence[Any]]) -> list[Encoded]:
    """Each row as compact JSON with sorted keys. Columns whose values need no conversion cost nothing."""
    failures: dict[int, str] = {}
    converted: list[Sequence[Any]] = []
    for position, (name, kind) in enumerate(columns):
        values = [row[position] for row in rows]
        converted.append(_convert_column(name, kind, values, failures))
    names = [name for name, _ in columns]
    out: list[Encoded] = []
    for index, row_values in enumerate(zip(*converted, strict=True)):
        if (reason := failures.get(index)) is not None:
            out.append(Encoded(_raw(names, rows[index]), reason))
            continue
        out.append(Encoded(_ENCODER.encode(dict(zip(names, row_values, strict=True)))))
    return out


def _convert_column(name: str, kind: Kind, values: list[Any], failures: dict[int, str]) -> Sequence[Any]:
    convert = _kind_converter(kind)
    found = set(map(type, values))
    if convert is None and found <= {bool, type(None)}:
        return values
    out = []
    for index, value in enumerate(values):
        step = convert if convert is not None and isinstance(value, str) else _CONVERT.get(type(value))
        if step is None:
            step = _as_it_is if isinstance(value, _AS_IT_IS) else _plain
        try:
            out.append(step(value))
        except NotLandable as problem:
            failures.setdefault(index, f"column {name} {problem}")
            out.append(None)
    return out


def _as_it_is(value: Any) -> Any:
    return value


def _kind_converter(kind: Kind) -> Callable[[Any], Any] | None:
    """What is done with *text* found in a column of this kind."""
    if kind in ("date", "datetime", "time"):
        return lambda value: iso_text(_string(value))
    if kind == "json":
        return _embedded
    return None


def _embedded(value: str) -> Any:
    try:
        msgspec.json.decode(value, type=msgspec.Raw)
    except msgspec.DecodeError:
        return _string(value)
    return msgspec.Raw(value.encode())


def _raw(names: Sequence[str], row: Sequence[Any]) -> bytes:
    """A refused row for the person who looks at it: every value as best it can be shown."""
    shown = {name: None if value is None else repr(value)[:200] for name, value in zip(names, row, strict=True)}
    return json.dumps(shown, sort_keys=True, separators=(",", ":")).encode()


def bind(kind: Kind, text: Any, dialect: str) -> Any:
    """A value we read ourselves (a key, a change mark, a search value), as the driver wants it.

    Text that PostgreSQL and SQLite showed us goes back as the same text, which keeps `infinity` and odd forms whole.
    Raises ValueError where the text cannot be a value of the column: nothing can be equal to it.
    """
    if not isinstance(text, str):
        return text
    try:
        if kind == "integer":
            return _widest(int(text))
        if kind == "decimal":
            return text if dialect == "sqlite" else Decimal(text)
        if kind == "boolean":
            return _BOOLEANS[text.lower()]
    except (KeyError, InvalidOperation) as problem:
        raise ValueError("no value of this kind") from problem
    if dialect in ("postgresql", "sqlite"):
        return text
    parsers: Mapping[str, Callable[[str], Any]] = {
        "date": date.fromisoformat,
        "datetime": datetime.fromisoformat,
        "time": time.fromisoformat,
    }
    return parsers[kind](text) if kind in parsers else text


def _widest(number: int) -> int:
    if not -(2**63) <= number < 2**63:
        raise ValueError("wider than any column of whole numbers")
    return number


def bind_written(column: str, kind: Kind, length: int | None, value: Any, dialect: str) -> Any:
    """A value that we are asked to write, checked against the column. Raises Rejected naming the column."""
    if value is None:
        return None
    if kind == "json":
        return value
    if isinstance(value, (dict, list)):
        raise Rejected(f"expected one {kind} value, found a nested one", field=column)
    text = _plain(value)
    if kind == "text":
        try:
            _string(text)
        except NotLandable as problem:
            raise Rejected(str(problem), field=column) from None
        if length is not None and len(text) > length:
            raise Rejected(f"at most {length} characters fit, found {len(text)}", field=column)
        return text
    try:
        _check_temporal(kind, text)
        return bind(kind, text, dialect)
    except ValueError:
        raise Rejected(f"expected a value of kind {kind}", field=column) from None


def _check_temporal(kind: Kind, text: str) -> None:
    if kind == "date":
        date.fromisoformat(text)
    elif kind == "datetime":
        datetime.fromisoformat(text)
    elif kind == "time":
        time.fromisoformat(text)
    elif kind == "decimal" and not Decimal(text).is_finite():
        raise ValueError("not finite")
    elif kind == "bytes":
        raise ValueError("binary")
