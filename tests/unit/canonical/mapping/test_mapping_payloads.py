"""Columns named by target paths become nested JSON; what is not written has no key."""

from __future__ import annotations

import json
from typing import Any

import polars as pl
import pytest

from canonical.mapping.payloads import JsonKind, build_payloads


def build(cells: dict[str, str | None], kinds: dict[str, JsonKind] | None = None, **present: bool) -> str:
    frame = pl.DataFrame({path: pl.Series([value], dtype=pl.String) for path, value in cells.items()})
    masks = pl.DataFrame({path: [mask] for path, mask in present.items()}) if present else None
    return build_payloads(frame, kinds or dict.fromkeys(cells, "string"), masks)[0]


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        pytest.param({"a": "x", "b": None}, '{"a":"x","b":null}', id="flat"),
        pytest.param({"a.b": "1", "a.c": "2", "d": "3"}, '{"a":{"b":"1","c":"2"},"d":"3"}', id="nested"),
        pytest.param(
            {"P[T=D].N": "1", "P[T=D].C": "2"}, '{"P":[{"T":"D","N":"1","C":"2"}]}', id="paths meet in an element"
        ),
        pytest.param(
            {"P[T=D].N": "1", "P[T=F].N": "2"}, '{"P":[{"T":"D","N":"1"},{"T":"F","N":"2"}]}', id="two elements"
        ),
        pytest.param({"E[1]": "y", "E[0]": "x"}, '{"E":["x","y"]}', id="positions in order"),
        pytest.param({"E[0].v": "x"}, '{"E":[{"v":"x"}]}', id="object at a position"),
        pytest.param(
            {'q"x': 'a"b\\c\n\x01é😀'},
            json.dumps({'q"x': 'a"b\\c\n\x01é😀'}, ensure_ascii=False, separators=(",", ":")),
            id="escapes",
        ),
    ],
)
def test_shapes(cells: dict[str, str | None], expected: str) -> None:
    assert json.loads(build(cells)) == json.loads(expected)
    assert build(cells) == expected


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("number", "12.50", "12.50"),
        ("number", "-0.1", "-0.1"),
        ("number", "1e3", "1e3"),
        ("number", "007", '"007"'),
        ("number", "x", '"x"'),
        ("number", None, "null"),
        ("boolean", "true", "true"),
        ("boolean", "yes", '"yes"'),
        ("boolean", None, "null"),
        ("json", '[{"a":1}]', '[{"a":1}]'),
        ("json", None, "null"),
        ("string", "12", '"12"'),
    ],
)
def test_kinds(kind: JsonKind, value: str | None, expected: str) -> None:
    assert build({"v": value}, {"v": kind}) == f'{{"v":{expected}}}'


def test_what_is_not_written_has_no_key_and_leaves_no_empty_shells() -> None:
    frame = pl.DataFrame({"a.b": ["1", "1"], "P[T=D].N": ["2", "2"], "c": ["3", "3"], "E[0]": ["4", "4"]})
    present = pl.DataFrame(
        {"a.b": [True, False], "P[T=D].N": [False, True], "c": [False, False], "E[0]": [False, True]}
    )
    kinds: dict[str, JsonKind] = dict.fromkeys(frame.columns, "string")
    assert build_payloads(frame, kinds, present) == ['{"a":{"b":"1"}}', '{"P":[{"T":"D","N":"2"}],"E":["4"]}']


def test_a_row_with_nothing_written_is_an_empty_object() -> None:
    assert build({"a": "x"}, None, a=False) == "{}"
    assert build_payloads(pl.DataFrame({"a": ["x", "y"]}), {}) == ["{}", "{}"]


def test_columns_without_a_kind_are_left_out() -> None:
    assert build({"id": "1", "a": "x"}, {"a": "string"}) == '{"a":"x"}'


@pytest.mark.parametrize(
    "paths",
    [["a", "a.b"], ["a.b", "a"], ["L[].x"], ["E.x", "E[0]"]],
    ids=["value then below", "below then value", "each", "object and list"],
)
def test_contradicting_paths_are_refused(paths: list[str]) -> None:
    kinds: dict[str, Any] = dict.fromkeys(paths, "string")
    with pytest.raises(ValueError):
        build_payloads(pl.DataFrame({path: ["1"] for path in paths}), kinds)
