"""Matching judged by people's labels: links must be right; what is doubtful must be asked, not guessed.

The data is not part of the repository: `CONCORD_TEST_DATA` names the folder that holds it.
"""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl
import pytest

from canonical.matching import match, normal
from canonical.matching.pairs import grade_names
from canonical.model import MatchRules

DATA = os.environ.get("CONCORD_TEST_DATA")
pytestmark = pytest.mark.skipif(not DATA, reason="CONCORD_TEST_DATA names no folder with labelled data")


def read(name: str) -> pl.DataFrame:
    return pl.read_csv(Path(DATA or "") / name, infer_schema=False)


def test_people_who_share_a_mailbox_and_a_name_are_linked_rightly() -> None:
    people = read("fake_1000/fake_1000.csv")
    new = people.select(
        pl.col("unique_id").alias("key"),
        (pl.col("unique_id").cast(pl.Int64) % 4).cast(pl.String).alias("system"),
        pl.lit("people").alias("stream"),
        pl.col("unique_id").alias("source_id"),
        "first_name",
        pl.col("surname").alias("last_name"),
        "email",
        pl.col("dob").alias("birth_date"),
        "city",
    )
    rules = MatchRules(strong=("email",), alike=("first_name", "last_name", "birth_date", "city", "email"))
    known = new.clear().with_columns(pl.lit(None, dtype=pl.String).alias("canonical_id"))
    matched = match(new, known, rules, {})
    truth = people.select(pl.col("unique_id").alias("key"), "cluster")
    made = matched.decisions.filter(pl.col("action") == "create").join(truth, on="key")
    together = made.join(made, on="group", suffix="_b").filter(pl.col("key") < pl.col("key_b"))
    assert together.height > 250
    assert together.filter(pl.col("cluster") != pl.col("cluster_b")).is_empty()
    asked = matched.reviews.join(truth, on="key").join(truth, left_on="other_key", right_on="key", suffix="_b")
    right = asked.filter(pl.col("cluster") == pl.col("cluster_b")).height
    assert right / asked.height > 0.95


def test_company_names_graded_equal_are_the_same_company() -> None:
    cases = read("names/cases.csv").filter((pl.col("schema") == "Company") & (pl.col("quality") != "WEAK"))
    names = cases.select(normal.name(pl.col("name1")).alias("a"), normal.name(pl.col("name2")).alias("b"))
    graded = cases.with_columns(grade_names(names["a"], names["b"]))
    equal = graded.filter(pl.col("grade") == "equal")
    assert equal.height >= 40
    assert (equal["is_match"].str.to_lowercase() == "true").all()
    told_apart = graded.filter((pl.col("grade") == "different") & (pl.col("is_match").str.to_lowercase() == "true"))
    assert told_apart.height <= 5
