"""Columns named by target paths → nested JSON objects, one a row.

A cell is written as a value, as `null` (the value is empty), or its key is not there at all (`present` is false).
Paths that pick a list element build it: `Phones[PhoneType=DEFAULT].PhoneNumber` gives `{"PhoneType":"DEFAULT",…}`, and
paths into the same element meet in it. An object, element or list nothing is written below is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import orjson
import polars as pl

from canonical.mapping.paths import Each, Index, Member, Pick, Step, parse_path

JsonKind = Literal["string", "number", "boolean", "json"]
_NUMBER = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$"


@dataclass(slots=True)
class _Node:
    """A place in the payload: a column, or the places below it in the order in which they were first named."""

    column: str | None = None
    below: dict[Step, _Node] = field(default_factory=dict)


def build_payloads(
    frame: pl.DataFrame, kinds: Mapping[str, JsonKind], present: pl.DataFrame | None = None
) -> list[str]:
    """JSON text of each row. `kinds` names the columns to write (others are ignored) and how each is written.

    `present` has Boolean columns named like the paths; a path without a column there is always written.
    Raises ValueError when one path is both a value and a place with values below it.
    """
    if not kinds:
        return ["{}"] * frame.height
    root = _Node()
    for path in kinds:
        _place(root, path)
    names = {path: f"v{i}" for i, path in enumerate(kinds)}
    cells = frame.select(pl.col(path).alias(names[path]) for path in kinds)
    if present is not None:
        masks = present.select(pl.col(path).alias(f"p{names[path]}") for path in kinds if path in present.columns)
        cells = cells.hstack(masks)
    texts = {path: _cell(cells, names[path], kind) for path, kind in kinds.items()}
    whole = _members(root.below, texts).fill_null("{}")
    return cells.select(whole.alias("payload"))["payload"].to_list()


def quoted(name: pl.Expr) -> pl.Expr:
    """A text as a JSON string; null stays null."""
    # Encoding a struct of one field gives {"v":…}; what stands between is the JSON of the value.
    encoded = pl.struct(name.alias("v")).struct.json_encode()
    return pl.when(name.is_not_null()).then(encoded.str.slice(5).str.strip_suffix("}"))


def _place(root: _Node, path: str) -> None:
    node = root
    for step in parse_path(path):
        if isinstance(step, Each):
            raise ValueError(f"{path}: a list is written as a whole, by its own column")
        if node.column is not None:
            raise ValueError(f"{path}: {node.column} is written as a value, nothing can stand below it")
        node = node.below.setdefault(step, _Node())
    if node.column is not None or node.below:
        raise ValueError(f"{path}: something else is written at or below it")
    node.column = path


def _cell(cells: pl.DataFrame, name: str, kind: JsonKind) -> pl.Expr:
    """One column's JSON text: null where its key is not to be written."""
    value = pl.col(name)
    match kind:
        case "string":
            text = quoted(value)
        case "number":
            # Text that is no JSON number is still sent, as a string: the target then says what is wrong with it.
            text = pl.when(value.str.contains(_NUMBER)).then(value).otherwise(quoted(value))
        case "boolean":
            text = pl.when(value.is_in(["true", "false"])).then(value).otherwise(quoted(value))
        case "json":
            text = value
    text = text.fill_null("null")
    return pl.when(pl.col(f"p{name}")).then(text) if f"p{name}" in cells.columns else text


def _text(node: _Node, texts: Mapping[str, pl.Expr]) -> pl.Expr:
    if node.column is not None:
        return texts[node.column]
    if any(isinstance(step, Member) for step in node.below):
        return _members(node.below, texts)
    return _elements(node.below, texts)


def _members(below: Mapping[Step, _Node], texts: Mapping[str, pl.Expr], first: str = "") -> pl.Expr:
    """An object; null when none of its members is written. `first` stands before them (an element's discriminator)."""
    parts: list[pl.Expr] = []
    for step, node in below.items():
        if not isinstance(step, Member):
            raise ValueError(f"{step}: an object's members and a list's elements cannot stand in one place")
        key = orjson.dumps(step.name).decode()
        parts.append(pl.lit(f"{key}:") + _text(node, texts))
    return _wrapped(parts, "{" + first, "}", comma_first=bool(first))


def _elements(below: Mapping[Step, _Node], texts: Mapping[str, pl.Expr]) -> pl.Expr:
    """A list of picked or numbered elements; null when nothing is written in any of them."""
    parts: list[pl.Expr] = []
    for step, node in sorted(below.items(), key=lambda item: item[0].position if isinstance(item[0], Index) else -1):
        if isinstance(step, Pick):
            first = f"{orjson.dumps(step.member).decode()}:{orjson.dumps(step.value).decode()}"
            parts.append(_members(node.below, texts, first))
        else:
            parts.append(_text(node, texts))
    return _wrapped(parts, "[", "]")


def _wrapped(parts: list[pl.Expr], opening: str, closing: str, *, comma_first: bool = False) -> pl.Expr:
    inner = pl.concat_str(parts, separator=",", ignore_nulls=True)
    is_written = pl.any_horizontal(part.is_not_null() for part in parts)
    return pl.when(is_written).then(pl.lit(opening + ("," if comma_first else "")) + inner + pl.lit(closing))
