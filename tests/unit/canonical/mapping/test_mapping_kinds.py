"""The canonical form of each kind of leaf."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from canonical.mapping.functions.base import SHOWN
from canonical.mapping.functions.numbers import currencies, enforce_money
from canonical.model import Field, LeafKind


def declared(kind: Any, **more: Any) -> Field:
    return Field("f", kind, "crm", "o", "crm", **more)


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("text", " as it is ", " as it is "),
        ("email", " Ann@Example.COM ", "ann@example.com"),
        ("email", "o'brien+x@sub.example.co.uk", "o'brien+x@sub.example.co.uk"),
        ("email", "jürgen@münchen.de", "jürgen@münchen.de"),
        ("url", "https://example.com/a?b=c", "https://example.com/a?b=c"),
        ("url", "www.example.com", "www.example.com"),
        ("integer", "42", "42"),
        ("integer", "42.0", "42"),
        ("integer", "-007", "-7"),
        ("integer", "1e3", "1000"),
        ("decimal", "12.500", "12.5"),
        ("decimal", "-0.0", "0"),
        ("decimal", "100", "100"),
        ("decimal", "1.5E-3", "0.0015"),
        ("decimal", "007.10", "7.1"),
        ("currency", "gbp", "GBP"),
        ("date", "2024-01-31", "2024-01-31"),
        ("date", "2024-01-31 00:00:00.000", "2024-01-31"),
        ("datetime", "2024-01-31T10:00:00+01:00", "2024-01-31T09:00:00.000000Z"),
        ("datetime", "2024-01-31 10:00:00.123456789Z", "2024-01-31T10:00:00.123456Z"),
        ("datetime", "2024-01-31T10:00-05", "2024-01-31T15:00:00.000000Z"),
        ("datetime", "2024-01-31T10:00:00,5+0000", "2024-01-31T10:00:00.500000Z"),
        ("boolean", "True", "true"),
        ("country", "gb", "GB"),
        ("reference", '["link","crm","contacts","1"]', '["link","crm","contacts","1"]'),
        ("phone", "+44 20 7946 0000", "+442079460000"),
        ("email", None, None),
    ],
)
def test_canonical_form(kind: LeafKind, value: str, expected: str, enforced: Any) -> None:
    assert enforced(kind, [value])[0] == [expected]
    assert enforced(kind, [value, None, value])[0] == [expected, None, expected]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("email", "ann"),
        ("email", "a@b.com\nb@c.com"),
        ("email", "a@b.com, b@c.com"),
        ("email", "a@b.com;b@c.com"),
        ("email", "a@b"),
        ("email", "a..b@c.com"),
        ("email", "<a@b.com>"),
        ("email", "a" * 250 + "@b.com"),
        ("url", "not a url"),
        ("url", "javascript:alert(1)"),
        ("integer", "1.5"),
        ("integer", "1" * 19),
        ("integer", "1,000"),
        ("decimal", "abc"),
        ("decimal", "Infinity"),
        ("decimal", "1" * 41),
        ("currency", "ABC"),
        ("currency", "XXX"),
        ("date", "2024-02-30"),
        ("date", "0000-00-00"),
        ("date", "1900-01-00"),
        ("date", "03/04/2024"),
        ("datetime", "2024-01-31"),
        ("datetime", "2024-01-31T10:00:00"),
        ("datetime", "2024-01-31T10:61:00Z"),
        ("boolean", "yes"),
        ("boolean", "0"),
        ("boolean", "2"),
        ("country", "XX"),
        ("reference", "7"),
        ("phone", "0"),
    ],
)
def test_no_canonical_form(kind: LeafKind, value: str, enforced: Any) -> None:
    values, why = enforced(kind, [value, None])
    assert values == [None, None]
    assert [reason is None for reason in why] == [False, True]


@pytest.mark.parametrize(("value", "expected"), [("1.234", "1.234"), ("1.2340", "1.234"), ("1.2345", None)])
def test_a_decimal_keeps_to_its_scale(value: str, expected: str | None, enforced: Any) -> None:
    assert enforced("decimal", [value], declared("decimal", scale=3))[0] == [expected]


def test_a_choice_names_what_it_knows(enforced: Any) -> None:
    values, why = enforced("choice", ["lead", "Lead"], declared("choice", values=("lead", "active")))
    assert values == ["lead", None]
    assert why[1] == 'expected one of lead, active, found "Lead"'


def test_a_time_without_offset_is_read_in_its_zone(enforced: Any) -> None:
    times = ["2024-07-01T10:00:00", "2024-07-01T10:00:00Z", "2024-03-31T01:30:00"]
    assert enforced("datetime", times, None, "Europe/London")[0] == [
        "2024-07-01T09:00:00.000000Z",
        "2024-07-01T10:00:00.000000Z",
        None,
    ]


def test_a_reason_shows_little_of_a_value_and_nothing_that_acts(enforced: Any) -> None:
    nasty = "\u202e\r\n\x1b[31m" + "x" * 100
    (why,) = enforced("email", [nasty])[1]
    assert why.count("x") < SHOWN
    assert not set(why) & set("\u202e\r\n\x1b")
    assert why.endswith('…"')


@pytest.mark.parametrize(
    ("amount", "currency", "expected"),
    [
        ("12.5", "GBP", "12.50"),
        ("12", "EUR", "12.00"),
        ("12.5000", "EUR", "12.50"),
        ("-0.00", "EUR", "0.00"),
        ("0.1", "EUR", "0.10"),
        ("1200", "JPY", "1200"),
        ("1200.0", "JPY", "1200"),
        ("1.234", "KWD", "1.234"),
        ("1.5", "CLF", "1.5000"),
        ("1e2", "USD", "100.00"),
        ("12.345", "EUR", None),
        ("1.5", "JPY", None),
        ("1", "ABC", None),
        ("1", "XAU", None),
        ("1", None, None),
        ("x", "EUR", None),
        (None, None, None),
        (None, "EUR", None),
    ],
)
def test_money_has_its_currencys_decimals(amount: str | None, currency: str | None, expected: str | None) -> None:
    done = enforce_money(pl.Series([amount], dtype=pl.String), pl.Series([currency], dtype=pl.String), None)
    assert done.values.to_list() == [expected]
    is_bad = done.bad is not None and done.bad[0] is not None
    assert is_bad == (expected is None and amount is not None)


def test_money_with_its_own_scale() -> None:
    done = enforce_money(pl.Series(["1.23456"]), pl.Series(["EUR"]), 6)
    assert done.values.to_list() == ["1.234560"]


def test_every_currency_has_decimals() -> None:
    assert len(currencies()) > 150
    assert {currencies()[c] for c in ("JPY", "GBP", "KWD", "UYW")} == {0, 2, 3, 4}


def test_the_end_of_time_is_no_date_unless_it_is_declared(enforced: Any) -> None:
    values, reasons = enforced("date", ["9999-12-31", "9999-12-30", None, "never", "9999-12-31T00:00:00"])
    assert values == [None, "9999-12-30", None, None, None]
    assert "declare it among the field's sentinels" in reasons[0]
    assert (reasons[1], reasons[2]) == (None, None)
    assert "a date YYYY-MM-DD" in reasons[3]
    assert reasons[4].startswith("expected a day that will come")
