"""Each rule on values it can and cannot do. A failed value is null and names the rule that failed."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from canonical.mapping.functions import RULES
from canonical.mapping.functions.base import BadRule
from canonical.model import Field

GOOD: list[Any] = []


def good(rule: str, value: str | None, expected: str | None, **about: Any) -> None:
    GOOD.append(pytest.param(rule, value, expected, about, id=f"{rule}: {value!r}"))


good("trim", "  Ann \t", "Ann")
good("trim", "  ", None)
good("lower", "ÄB", "äb")
good("upper", "sw1a", "SW1A")
good("code", "gb 123.456-78/9", "GB123456789")
good("map A=x B=y", "A", "x")
good('map "In Progress"=open', "In Progress", "open")
good("map A=x *=keep", "Q", "Q")
good("map A=x *=empty", "Q", None)
good("map A= *=keep", "A", None)
good("map A=x", None, None)
good("default n/a", None, "n/a")
good("default n/a", "  ", "n/a")
good("default n/a", "x", "x")
good('default "a b"', None, "a b")
good("const GBP", "x", "GBP")
good("required", "x", "x")
good("trim | upper | map AB=cd", " ab ", "cd")
good(r"extract ^INV-(\d+)$", "INV-12", "12")
good("extract (a|b)c", "xbc", "b")
good('extract "(\\d+)"', '"7"', "7")
good("boolean yes=true no=false 0=false", "YES", "true")
good("boolean yes=true no=false 0=false", "0", "false")
good("split_name first", "Ann Lee", "Ann")
good("split_name last", "Ann Lee", "Lee")
good("split_name middle", "Ann Lee", None)
good("split_name title", "Dr. Juan Q. de la Vega III", "Dr.")
good("split_name last", "Dr. Juan Q. de la Vega III", "de la Vega")
good("split_name suffix", "Dr. Juan Q. de la Vega III", "III")
good("split_name last", "Lee, Ann", "Lee")
good("date DD/MM/YYYY", "31/01/2024", "2024-01-31")
good("date DD/MM/YYYY", "3/4/2024", "2024-04-03")
good("date MM/DD/YYYY", "03/04/2024", "2024-03-04")
good("date DD.MM.YY", "31.01.24", "2024-01-31")
good('date "DD MMM YYYY"', "5 Feb 2024", "2024-02-05")
good('date "DD MMMM YYYY"', "05 February 2024", "2024-02-05")
good("date DD/MM/YYYY YYYY-MM-DD", "2024-01-31", "2024-01-31")
good("date YYYYMMDD", "20240131", "2024-01-31")
good("date", "2024-02-29", "2024-02-29")
good("date", "2024-02-29T00:00:00Z", "2024-02-29")
good("datetime DD/MM/YYYY HH:mm Europe/London", "01/07/2024 10:00", "2024-07-01T09:00:00.000000Z")
good("datetime ISO Europe/Berlin", "2024-01-01T10:00:00", "2024-01-01T09:00:00.000000Z")
good("datetime ISO Europe/Berlin", "2024-01-01T10:00:00Z", "2024-01-01T10:00:00.000000Z")
good("datetime local", "2024-01-01 10:00", "2024-01-01T15:00:00.000000Z", timezone="America/New_York")
good("datetime YYYY-MM-DD UTC", "2024-01-01", "2024-01-01T00:00:00.000000Z")
good("ms_date", "/Date(1439434356790+0000)/", "2015-08-13T02:52:36.790000Z")
good("ms_date", "/Date(-1000)/", "1969-12-31T23:59:59.000000Z")
good("ms_date", "/Date(1518685950940+1300)/", "2018-02-15", kind="date")
good("epoch", "0", "1970-01-01T00:00:00.000000Z")
good("epoch ms", "1500", "1970-01-01T00:00:01.500000Z")
good("epoch s", "86400", "1970-01-02", kind="date")
good("number", "12.50", "12.50")
good("number", "1e3", "1000")
good("number", "+007", "7")
good("number en", "1,234.50", "1234.50")
good("number de", "1.234,50", "1234.50")
good("number de", "-12,5", "-12.5")
good("number fr", "1\u202f234\u00a0567,8", "1234567.8")
good("number ch", "1'234.5", "1234.5")
good("money de EUR", "1.234,56 €", "1234.56")
good("money en GBP", "£1,234.5", "1234.5")
good("money en GBP", "GBP 1,234.5", "1234.5")
good("money", "0.30000000000000004", "0.30000000000000004")
good("phone GB", "020 7946 0000", "+442079460000")
good("phone", "+33 1 42 68 53 00", "+33142685300")
good("country", "Deutschland", "DE")
good("country", "uk", "GB")
good("country", "FRA", "FR")
good("country", " United  Kingdom ", "GB")
good("first", '["a","b"]', "a")
good("first", '[null,"b"]', "b")
good("first", "[]", None)
good("last", '["a",1.50]', "1.50")
good("last", "plain", "plain")
good("each", '["a",null,2]', '["a",2]')
good("each ;", '["a","b"]', "a;b")
good("each", "[]", None)
good("address_part postcode", "1 High St\nLondon\nSW1A 1AA", "SW1A 1AA")
good("lookup contacts", '7"', '["link","crm","contacts","7\\""]', kind="reference", referenced="customer")
good("lookup erp/parties", "7", '["link","erp","parties","7"]', kind="reference", referenced="customer")
good("lookup =product.sku", "A1", '["value","sku","A1"]', kind="reference", referenced="product")
good("lookup =customer.email", " A@B.com ", '["value","email","a@b.com"]', kind="reference", referenced="customer")
good("lookup contacts", "", None, kind="reference", referenced="customer")


@pytest.mark.parametrize(("rule", "value", "expected", "about"), GOOD)
def test_a_rule_gives(rule: str, value: str | None, expected: str | None, about: dict[str, Any], apply: Any) -> None:
    # Beside others, so that both the distinct values and the whole column are run.
    assert apply(rule, [value], **dict(about)) == ([expected], [None])
    assert apply(rule, [None, value, value, None], **dict(about))[0][1:3] == [expected] * 2


@pytest.mark.parametrize(
    ("rule", "value", "failed"),
    [
        pytest.param(rule, value, failed, id=f"{rule}: {value!r}")
        for rule, value, failed in [
            ("map A=x *=flag", "Q", "choice"),
            ("map A=x", "a", "choice"),
            ("required", None, "required"),
            ("required", " ", "required"),
            (r"extract ^INV-(\d+)$", "INV-x", "extract"),
            ("boolean yes=true no=false", "2", "boolean"),
            ("date DD/MM/YYYY", "30/02/2024", "date"),
            ("date DD/MM/YYYY", "12/31/2024", "date"),
            ("date DD/MM/YYYY", "2024-01-31", "date"),
            ("date DD/MM/YYYY", "01/01/24", "date"),
            ("date DD/MM/YYYY", "01/01/12024", "date"),
            ("date DD/MM/YYYY", "01/01/2024 10:00", "date"),
            ("date", "03/04/2024", "date"),
            ("date", "2024-02-30", "date"),
            ("date", "2024-01-31T10:00:00Z", "date"),
            ("datetime ISO Europe/London", "2024-03-31T01:30:00", "datetime"),
            ("datetime DD/MM/YYYY HH:mm Europe/London", "31/03/2024 01:30", "datetime"),
            ("datetime", "2024-01-01T10:00:00", "datetime"),
            ("datetime ISO UTC", "2024-01-01T25:00:00Z", "datetime"),
            ("ms_date", "2024-01-01", "ms_date"),
            ("ms_date", "/Date(999999999999999)/", "ms_date"),
            ("epoch", "1.5", "epoch"),
            ("epoch", "soon", "epoch"),
            ("number", "1,234", "number"),
            ("number", "1.234,56", "number"),
            ("number", "1_000", "number"),
            ("number", "١٢", "number"),
            ("number", "nan", "number"),
            ("number", "1e999999", "number"),
            ("number en", "1,23", "number"),
            ("number en", "1.234,56", "number"),
            ("number de", "1,234.56", "number"),
            ("money en GBP", "€12", "money"),
            ("money", "12 GBP", "money"),
            ("phone GB", "0", "phone"),
            ("phone GB", "1" * 40, "phone"),
            ("phone GB", "020 7946 0000 ext 5", "phone"),
            ("phone", "020 7946 0000", "phone"),
            ("country", "Narnia", "country"),
            ("first", "[1,", "first"),
        ]
    ],
)
def test_a_rule_refuses(rule: str, value: str | None, failed: str, apply: Any) -> None:
    assert apply(rule, [value]) == ([None], [failed])
    assert apply(rule, [value, value, None])[1][:2] == [failed] * 2


def test_join_leaves_out_what_is_empty(apply: Any) -> None:
    assert apply("join", ["Ann", None, " "], ["Lee", "Lee", None])[0] == ["Ann Lee", "Lee", None]
    assert apply('join ", "', ["a"], [""], ["c"])[0] == ["a, c"]


def test_several_sources_are_joined_even_without_a_rule(apply: Any) -> None:
    assert apply("", ["a"], ["b"])[0] == ["a b"]
    assert apply("upper", ["a"], ["b"])[0] == ["A B"]


def test_dates_and_times_are_written_in_the_targets_own_way(apply: Any) -> None:
    assert apply("date DD/MM/YYYY", ["2024-01-31", None], inbound=False)[0] == ["31/01/2024", None]
    values, _ = apply("datetime YYYY-MM-DD HH:mm Europe/London", ["2024-07-01T09:00:00.000000Z"], inbound=False)
    assert values == ["2024-07-01 10:00"]


def test_a_constant_needs_no_source(apply: Any) -> None:
    assert apply("const ACTIVE")[0] == ["ACTIVE"]


def test_the_first_failure_is_the_one_reported(apply: Any) -> None:
    values, rules = apply("map A=x *=flag | default y", ["Q", None])
    assert (values, rules) == ([None, "y"], ["choice", None])


def test_an_autumn_hour_is_the_first_one(apply: Any) -> None:
    values, _ = apply("datetime ISO Europe/London", ["2024-10-27T01:30:00"])
    assert values == ["2024-10-27T00:30:00.000000Z"]


def test_the_systems_own_zone_is_used(apply: Any, london: Any) -> None:
    values, _ = apply("datetime DD/MM/YYYY HH:mm:ss", ["01/07/2024 10:00:05"], system=london)
    assert values == ["2024-07-01T09:00:05.000000Z"]


def test_value_of_takes_a_field_of_the_referenced_record(apply: Any) -> None:
    known = {("product", "sku"): pl.DataFrame({"id": ["p1", "p2"], "value": ["A1", None]})}
    values, rules = apply(
        "value_of sku", ["p1", "p2", "p3", None], kind="reference", referenced="product", inbound=False, lookups=known
    )
    assert values == ["A1", None, None, None]
    assert rules == [None, None, "value_of", None]


CHOICE = Field("status", "choice", "crm", "o", "crm", values=("lead", "active"))


@pytest.mark.parametrize(
    ("rule", "about", "expected", "hint"),
    [
        ("trimm", {}, "a known rule", "trim"),
        ("trim x", {}, "trim alone", None),
        ("map", {}, "pairs", None),
        ("map A", {}, "pairs", None),
        ("map A=1 A=2", {}, "once", None),
        ("map A=x *=guess", {}, "*=flag", None),
        ("map A=lad", {"kind": "choice", "field": CHOICE}, "lead, active", None),
        ("default", {}, "a value", None),
        ("extract (a+)+$(", {}, "RE2", None),
        ("extract (?=a)b", {}, "RE2", None),
        ("extract abc", {}, "group", None),
        ("boolean yes=1", {}, "true", None),
        ("split_name surname", {}, "first|middle", None),
        ("date DD/MM", {}, "a date format", None),
        ("date MM/MM/YYYY", {}, "once", None),
        ("date __import__", {}, "a date format", None),
        ("date DD/MM/YYYY-HH:mm", {}, "without a time", None),
        ("datetime DD/MM/YYYY HH:mm", {}, "a zone", None),
        ("datetime DD/MM/YYYY HH UTC", {}, "minutes", None),
        ("date", {"inbound": False}, "one format", None),
        ("datetime UTC", {"inbound": False}, "a format", None),
        ("epoch us", {}, "epoch", None),
        ("number xx", {}, "a locale", None),
        ("number en de", {}, "number", None),
        ("money en XXX", {}, "a locale", None),
        ("phone ZZ", {}, "phone", None),
        ("country GB", {}, "country alone", None),
        ("address_part street", {}, "line1", None),
        ("address_part city ZZ", {}, "ISO 3166", None),
        ("address_block tabs", {}, "lines", None),
        ("lookup contacts", {}, "on a reference", None),
        ("lookup", {"kind": "reference"}, "lookup STREAM", None),
        ("lookup contcts", {"kind": "reference"}, "a stream of crm", "contacts"),
        ("lookup =prduct.sku", {"kind": "reference"}, "an entity", "product"),
        ("lookup =product.sk", {"kind": "reference"}, "a field of product", "sku"),
        ("lookup =product.sku", {"kind": "reference", "referenced": "customer"}, "a field of customer", None),
        ("value_of sku", {}, "outbound", None),
        ("value_of sku", {"inbound": False}, "on a reference", None),
        ("value_of sk", {"inbound": False, "kind": "reference", "referenced": "product"}, "a field of product", "sku"),
        ("text", {}, "outbound", None),
        ("number xx", {"inbound": False}, "a locale", None),
        ("ms_date x", {}, "ms_date alone", None),
        ("eval __import__('os')", {}, "a known rule", None),
    ],
)
def test_a_wrong_rule_is_refused(rule: str, about: dict[str, Any], expected: str, hint: str | None, apply: Any) -> None:
    with pytest.raises(BadRule) as caught:
        apply(rule, ["x"], **about)
    assert expected in caught.value.expected
    assert caught.value.suggestion == hint


def test_a_rule_without_a_source_is_refused(apply: Any) -> None:
    for rule in ("", "trim"):
        with pytest.raises(BadRule, match="const"):
            apply(rule)


def test_every_rule_says_what_it_does() -> None:
    for name, rule in RULES.items():
        assert rule.name == name
        assert rule.doc.endswith(".")
        assert rule.signature.startswith(name)
        assert rule.inverse is None or rule.inverse in RULES


@pytest.mark.parametrize("name", [name for name, rule in RULES.items() if rule.signature != name])
@pytest.mark.parametrize("inbound", [True, False], ids=["inbound", "outbound"])
def test_a_rule_taken_from_the_list_and_not_filled_in_is_refused(name: str, inbound: bool, apply: Any) -> None:
    with pytest.raises(BadRule):
        apply(RULES[name].signature, ["x"], inbound=inbound)


def test_the_list_s_own_words_can_be_meant_in_quotes(apply: Any) -> None:
    assert apply('const "VALUE"', ["x"])[0] == ["VALUE"]
