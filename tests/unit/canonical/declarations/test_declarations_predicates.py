"""Predicates of the business: one SQL condition over the entity's own columns, and nothing else."""

from __future__ import annotations

import pytest

from canonical.declarations.predicates import parse_predicate
from canonical.model import Entity, Field


def field(name: str, kind: str) -> Field:
    return Field(name, kind, "crm", "boss", "crm")  # type: ignore[arg-type]


ENTITY = Entity(
    "thing", "", "boss", "crm", "crm",
    (field("name", "text"), field("active", "boolean"), field("total", "decimal"), field("since", "date")),
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "predicate", "columns"),
    [
        ("total >= 0", '"total" >= 0', ("total",)),
        ("name is null or total > 1", '"name" IS NULL OR "total" > 1', ("name", "total")),
        ("active", '"active"', ("active",)),
        ("not active", 'NOT "active"', ("active",)),
        ("total between 1 and 2", '"total" BETWEEN 1 AND 2', ("total",)),
        ("name in ('a', 'b')", "\"name\" IN ('a', 'b')", ("name",)),
        ("lower(trim(name)) like 'a%'", "LOWER(TRIM(\"name\")) LIKE 'a%'", ("name",)),
        ("round(abs(total), 2) = coalesce(total, 0)", 'ROUND(ABS("total"), 2) = COALESCE("total", 0)', ("total",)),
        ("length(name) < 40", 'LENGTH("name") < 40', ("name",)),
        ("name || 'x' <> 'yx'", "\"name\" || 'x' <> 'yx'", ("name",)),
        ("total > 1 -- a remark", '"total" > 1', ("total",)),
        ("case when active then total > 0 else true end = true", None, ("active", "total")),
        ("date_part('year', since) >= 1990", None, ("since",)),
        ("total::integer = total", None, ("total",)),
    ],
)
def test_good(text: str, predicate: str | None, columns: tuple[str, ...]) -> None:
    problems, found, read = parse_predicate(text, ENTITY)
    assert problems == []
    assert predicate is None or found == predicate
    assert set(read) == set(columns)
    assert parse_predicate(found, ENTITY)[0] == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "one SQL condition"),
        ("total >", "one SQL condition"),
        ("total", "one SQL condition"),
        ("total + 1", "one SQL condition"),
        ("total > 0; drop table thing", "one SQL condition"),
        ("select 1", "one SQL condition"),
        ("drop table thing", "one SQL condition"),
        ("totl > 0", "a column of thing"),
        ("other.total > 0", "a column of the entity without a table"),
        ("pg_sleep(10) is null", "a function"),
        ("pg_read_file('/etc/passwd') like 'root%'", "a function"),
        ("current_user = name", "a function"),
        ("sum(total) > 1", "a function"),
        ("total > (select max(total) from thing)", "comparisons of columns"),
        ("exists (select 1)", "one SQL condition"),
        ("total > 1 and row_number() over () = 1", "comparisons of columns"),
        ("total = any(array[1])", "comparisons of columns"),
        ("(" * 3000 + "total > 0" + ")" * 3000, "at most 2000 characters"),
        ("name = $1", "comparisons of columns"),
    ],
)
def test_refused(text: str, expected: str) -> None:
    problems, predicate, _ = parse_predicate(text, ENTITY)
    assert predicate == ""
    assert any(problem[0].startswith(expected) for problem in problems), problems


def test_near_columns_and_functions_are_suggested() -> None:
    problems, _, _ = parse_predicate("totl > lenght(name)", ENTITY)
    assert {problem[2] for problem in problems} == {"total", "length"}
