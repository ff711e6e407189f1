"""Which conditions any row meets, and which rows."""

from __future__ import annotations

import polars as pl

from canonical.met import rows_meeting

ROWS = pl.DataFrame({"id": ["a", "b", "c"], "n": [1, None, 3]})


def ids(rows: pl.DataFrame, **conditions: pl.Expr) -> dict[str, list[str]]:
    return {name: found["id"].to_list() for name, found in rows_meeting(rows, conditions)}


def test_only_what_is_met_is_given_in_the_order_of_the_conditions() -> None:
    found = ids(ROWS, big=pl.col("n") > 2, none=pl.col("n") > 9, any=pl.col("id") != "")
    assert list(found.items()) == [("big", ["c"]), ("any", ["a", "b", "c"])]


def test_what_is_unknown_is_not_met() -> None:
    assert ids(ROWS, at_most=pl.col("n") <= 3) == {"at_most": ["a", "c"]}


def test_no_rows_and_no_conditions_meet_nothing() -> None:
    assert ids(ROWS.clear(), any=pl.lit(True)) == {}
    assert ids(ROWS) == {}


def test_a_condition_may_be_the_same_for_every_row() -> None:
    assert ids(ROWS, always=pl.lit(True), never=pl.lit(False)) == {"always": ["a", "b", "c"]}
