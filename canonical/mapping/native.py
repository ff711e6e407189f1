"""What a target record holds at the paths that we write: read back the way it was written, for shadows and drift.

A path's native value is the target's own spelling of it. It is compared with what it read back after our last write,
never with what we sent, because targets trim, round and reformat (RELIABILITY P16).
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

import orjson
import polars as pl

from canonical.mapping.decode import decode, decode_list
from canonical.mapping.outbound import OutboundProgram


def native_values(payloads: Sequence[bytes], program: OutboundProgram) -> pl.Series:
    """One flat JSON object a record: target path → text, null where the record says nothing; lists as JSON text of the
    keys that we write, in the target's order."""
    plain = [w.path for w in program.work]
    frame = decode(payloads, plain).frame if plain else pl.DataFrame({"_": [None] * len(payloads)})
    columns: dict[str, list[Any]] = {path: frame[path].to_list() for path in plain}
    for path, built in program.lists.items():
        keys = [element.path for element in built.elements]
        lines = decode_list(payloads, path, keys).frame
        elements: list[list[dict[str, str]] | None] = [None] * len(payloads)
        for row, *values in lines.select("_row", *keys).iter_rows():
            element = {k: v for k, v in zip(keys, values, strict=True) if v is not None}
            held = elements[row]
            if held is None:
                held = elements[row] = []
            held.append(element)
        columns[path] = [None if e is None else orjson.dumps(e, option=orjson.OPT_SORT_KEYS).decode() for e in elements]
    names = list(columns)
    rows = zip(*columns.values(), strict=True) if names else iter([()] * len(payloads))
    return pl.Series(
        "native", [orjson.dumps(dict(zip(names, row, strict=True))).decode() for row in rows], dtype=pl.String
    )


def same_value(kind: str, ours: str | None, theirs: str | None) -> bool:
    """Whether two native spellings are plainly the same: numbers by value, lists element by element."""
    if ours == theirs:
        return True
    if ours is None or theirs is None:
        return False
    if kind == "number":
        return _number(ours) is not None and _number(ours) == _number(theirs)
    if kind == "json":
        return bool(_loosely(orjson.loads(ours)) == _loosely(orjson.loads(theirs)))
    return False


def _number(text: str) -> Decimal | None:
    try:
        return Decimal(text)
    except InvalidOperation:
        return None


def _loosely(value: Any) -> Any:
    """A JSON value with its scalars as comparable things: numbers and numeric text by value."""
    if isinstance(value, dict):
        return {k: _loosely(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [_loosely(v) for v in value]
    number = _number(str(value)) if not isinstance(value, bool) else None
    return number if number is not None else str(value)
