"""Checks sorted by how Great Expectations judges them, and the SQL of our own split. No GX, no database."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql.base import PGDialect

from canonical.checks import CANDIDATES, Check
from expectations.context import path_safe
from expectations.errors import CheckBroken, GateDisagrees
from expectations.split import Candidates, checked_sql, counts_sql, failing_column, failing_rows_sql, verbatim
from expectations.suite import plan_suite

BATCH = Candidates("staging", "order_candidate", 7)


def check(name: str = "mine", kind: Any = "landscape", predicate: str = "n > 0", **more: Any) -> Check:
    return Check(name, kind, ("n",), predicate, "It holds", **more)


@pytest.mark.parametrize(
    ("given", "place"),
    [
        (check(kind="required", predicate='"n" IS NOT NULL'), "native"),
        (check(kind="choice", predicate="\"n\" IN ('a')", values=("a",)), "native"),
        (check(kind="choice", predicate="line.n IN ('a')"), "computed"),
        (check(kind="required", predicate='"n" IS NOT NULL OR "m" IS NOT NULL'), "computed"),
        (check(kind="range", predicate='"n" >= 0', minimum="0"), "computed"),
        (check(kind="no_problems", predicate="problems IS NULL"), "computed"),
        (check(kind="volume", predicate="", minimum="5"), "table"),
    ],
    ids=["required", "choice", "choice in lines", "required group", "range", "problems", "volume"],
)
def test_how_a_check_is_judged(given: Check, place: str) -> None:
    plan = plan_suite([given])
    assert {name: getattr(plan, name) for name in ("native", "computed", "table") if getattr(plan, name)} == {
        place: (given,)
    }


@pytest.mark.parametrize(
    "empty", [check(predicate=" "), check(kind="volume", predicate="n > 0")], ids=["no predicate", "no least"]
)
def test_a_check_that_checks_nothing_is_refused(empty: Check) -> None:
    with pytest.raises(ValueError, match="check mine checks nothing"):
        plan_suite([empty])


def test_the_batch_stands_where_a_predicate_asks_for_it() -> None:
    sql = counts_sql([check(predicate=f"n NOT IN (SELECT n FROM {CANDIDATES} AS c)")], BATCH)
    assert CANDIDATES not in sql
    assert sql.count('"staging"."order_candidate" WHERE "batch_id" = 7 AND (NOT deleted)') == 2


def test_lines_are_read_once_for_all_their_checks() -> None:
    lines = [check(f"c{n}", over="f(lines) AS line(x text)", aggregate=f"bool_and(x <> '{n}')") for n in range(3)]
    for sql in (counts_sql(lines, BATCH), checked_sql(lines, {}, BATCH, "source_id")):
        assert sql.count("f(lines)") == 1
        assert sql.count("bool_and") == 3


def test_column_names_fit_and_stay_apart() -> None:
    names = [failing_column(check("very_" * 20 + str(n))) for n in range(5)] + [failing_column(check("short"))]
    assert len(set(names)) == 6
    assert all(len(n.encode()) <= 63 and " " in n for n in names)


@pytest.mark.parametrize(
    "text",
    ["n::text", "n ~ ':a::b'", "n = ':batch_id'", "n LIKE '100%:%%'", r"n ~ '\:x\\:y'", "n = '12:30' AND m = ':'"],
)
def test_nothing_in_a_predicate_is_a_parameter(text: str) -> None:
    compiled = verbatim(f"SELECT 1 WHERE {text}").compile(dialect=PGDialect(paramstyle="named"))  # type: ignore[no-untyped-call]
    assert (str(compiled), compiled.params) == (f"SELECT 1 WHERE {text}", {})


def test_the_split_names_keys_rule_column_and_reason() -> None:
    rows = failing_rows_sql(check("it's"), "order_candidate", 7, key_columns=("system", "source_id"))
    assert [c.name for c in rows.selected_columns] == ["system", "source_id", "rule", "column", "reason"]
    inserted = sa.table("q", *(sa.column(c) for c in "abcde")).insert().from_select(list("abcde"), rows)
    sql = str(inserted.compile(dialect=PGDialect()))  # type: ignore[no-untyped-call]
    assert "'it''s'::text AS \"rule\"" in sql
    assert "(n > 0\n) IS FALSE" in sql


@pytest.mark.parametrize(
    ("name", "safe"),
    [("sync orders, nightly #7", "sync orders, nightly #7"), ("../../etc/passwd", "etc-passwd"), ("<b>:%\n", "b"),
     ("", "unnamed"), ("..", "unnamed"), ("Änderung", "Änderung"), ("x" * 200, "x" * 80)],
    ids=["plain", "path", "signs", "empty", "dots", "letters", "long"],
)  # fmt: skip
def test_names_that_become_paths(name: str, safe: str) -> None:
    assert path_safe(name) == safe


def test_errors_say_where_expected_and_found() -> None:
    assert str(CheckBroken("mine", "x > 1", 'column "x" does not exist')) == (
        "check mine: expected a predicate over the candidate columns, found 'x > 1': column \"x\" does not exist"
    )
    assert str(GateDisagrees(7, (("mine", 1, 2),))) == (
        "batch 7: the suite and the split disagree: mine: the suite found 1, the split would take 2"
    )


def test_great_expectations_is_not_imported_before_a_batch_has_rows() -> None:
    code = "import sys, expectations.run, expectations.split; sys.exit('great_expectations' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
