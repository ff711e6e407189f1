"""Circles of references, as sets."""

from __future__ import annotations

import polars as pl
import pytest

from canonical.circles import on_a_circle

CASES = {
    "nobody refers": ([], {}),
    "a chain": ([("a", "b"), ("b", "c")], {}),
    "a tree": ([("a", "top"), ("b", "top"), ("c", "a")], {}),
    "itself": ([("a", "a"), ("b", "a")], {"a": 0}),
    "two": ([("a", "b"), ("b", "a"), ("c", "a")], {"a": 1, "b": 1}),
    "three, told twice": ([("a", "b"), ("b", "c"), ("c", "a"), ("a", "b")], {"a": 2, "b": 2, "c": 2}),
    "two circles": ([("a", "b"), ("b", "a"), ("x", "x"), ("x", "a")], {"a": 1, "b": 1, "x": 0}),
    "two parents, one of them below": ([("a", "b"), ("a", "c"), ("b", "a")], {"a": 1, "b": 1}),
    "nothing known": ([("a", None)], {}),
}


@pytest.mark.parametrize("name", CASES)
def test_who_lies_on_a_circle(name: str) -> None:
    edges, expected = CASES[name]
    frame = pl.DataFrame(edges, schema={"child": pl.String, "parent": pl.String}, orient="row")
    assert dict(on_a_circle(frame).iter_rows()) == expected


def test_a_long_chain_is_no_circle() -> None:
    ids = [str(n) for n in range(100_000)]
    edges = pl.DataFrame({"child": ids[:-1], "parent": ids[1:]})
    assert on_a_circle(edges).is_empty()
    assert on_a_circle(pl.concat([edges, pl.DataFrame({"child": ids[-1:], "parent": ids[:1]})])).height == len(ids)
