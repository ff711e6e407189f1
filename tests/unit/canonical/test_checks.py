"""What checks a model implies, and what becomes of a batch that fails some."""

from __future__ import annotations

from typing import Any

import pytest

from canonical.checks import Check, CheckResult, checks_for, identifier, judge, judge_volume, literal, volume_check
from canonical.declarations.rules import EntityRules, SqlRule
from canonical.landscape import Limit
from canonical.model import Entity, Field, FieldType, MatchRules


def field(name: str, kind: FieldType = "text", **more: Any) -> Field:
    return Field(name, kind, record="crm", owner="sales", origin="crm", **more)


def entity(*fields: Field, unique: tuple[str, ...] = ()) -> Entity:
    return Entity("thing", "", "sales", "crm", "crm", fields, match=MatchRules(unique=unique))


def predicates(*fields: Field, **more: Any) -> dict[str, str]:
    return {c.name: c.predicate for c in checks_for(entity(*fields), **more)}


ALWAYS = {"no_problems", "record_once"}


@pytest.mark.parametrize(
    ("given", "name", "predicate"),
    [
        (field("name", required=True), "name_required", '"name" IS NOT NULL'),
        (field("a", "choice", values=("x", "it's")), "a_choice", "\"a\" IN ('x', 'it''s')"),
        (field("n", "integer", minimum="1", maximum="5"), "n_range", '"n" >= 1 AND "n" <= 5'),
        (field("n", "decimal", minimum="0.1"), "n_range", '"n" >= 0.1'),
        (field("n", "money", maximum="1E+2", currency="EUR"), "n_range", '"n" <= 100'),
        (field("d", "date", minimum="2000-01-01"), "d_range", "\"d\" >= DATE '2000-01-01'"),
        (field("t", "datetime", maximum="2100-01-01"), "t_range", "\"t\" <= TIMESTAMPTZ '2100-01-01'"),
        (field("m", "money", required=True), "m_required", '"m" IS NOT NULL AND "m_currency" IS NOT NULL'),
        (field("quantity", "decimal"), "quantity_not_negative", '"quantity" >= 0'),
    ],
    ids=["required", "choice", "range", "least", "money", "date", "moment", "money and currency", "quantity"],
)  # fmt: skip
def test_a_field_implies_a_check(given: Field, name: str, predicate: str) -> None:
    found = predicates(given)
    assert found.keys() == ALWAYS | {name}
    assert found[name] == predicate


def test_a_field_without_rules_implies_none() -> None:
    assert predicates(field("name"), field("since", "date"), field("note", "choice")).keys() == ALWAYS


def test_of_a_required_address_one_part_is_enough() -> None:
    assert " OR " in predicates(field("address", "address", required=True))["address_required"]


def test_a_bound_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="n: a bound must be a number, found 'lots'"):
        predicates(field("n", "integer", minimum="lots"))


def test_money_checks_allow_one_rounding_step_for_each_line() -> None:
    amounts = [field(n, "money", currency="field:currency") for n in ("net", "tax", "gross")]
    lines = field("lines", "list", of=(field("line"),))
    assert predicates(*amounts)["net_tax_gross"].endswith("<= 0.01 * greatest(1)")
    assert 'json_array_length("lines")' in predicates(*amounts, lines)["net_tax_gross"]
    whole = [field(n, "money", currency="JPY", scale=0) for n in ("net", "tax", "gross")]
    assert predicates(*whole)["net_tax_gross"].endswith("<= 1 * greatest(1)")


def test_dates_are_compared_only_with_dates() -> None:
    """`ordered` and `shipped` may be quantities; a date rule needs two date fields."""
    dates = {"ordered_on": "date", "shipped_on": "date", "issued_on": "date", "due_on": "datetime", "paid_on": "date"}
    found = predicates(*(field(n, k) for n, k in dates.items()))  # type: ignore[arg-type]
    assert found.keys() == ALWAYS | {"ordered_before_shipped", "issued_before_due", "issued_before_paid"}
    assert found["issued_before_paid"] == '"issued_on" <= "paid_on"'
    assert found["issued_before_due"] == '"issued_on"::date <= "due_on"::date + 1'
    assert predicates(field("issued_on", "date"), field("due", "text")).keys() == ALWAYS


LINES = field(
    "lines", "list", key="line",
    of=(
        field("line"), field("quantity", "decimal", minimum="0"), field("shipped", "decimal"),
        field("unit", "choice", values=("kg",)),
    ),
)  # fmt: skip


def test_lines_are_judged_line_by_line_over_one_reading() -> None:
    checks = {c.name: c for c in checks_for(entity(LINES)) if c.over}
    assert checks.keys() == {
        "lines_quantity_range", "lines_unit_choice", "lines_shipped_not_negative", "lines_shipped_not_above_ordered",
        "lines_line_once",
    }  # fmt: skip
    assert len({c.over for c in checks.values()}) == 1
    for check in checks.values():
        assert check.predicate == f"(SELECT {check.aggregate} FROM {check.over})"
        assert check.columns == ("lines",)


RULED = field(
    "items", "list", required=True,
    of=(
        field("name", required=True), field("rate", "decimal", maximum="100"),
        field("on", "date", minimum="2000-01-01"),
        *(field(n, "money", currency="GBP") for n in ("net", "tax", "gross")),
    ),
)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("items_required", 'json_array_length("items") > 0'),
        ("items_name_required", 'line."name" IS NOT NULL'),
        ("items_rate_range", 'THEN line."rate"::numeric END <= 100'),
        ("items_on_range", "THEN line.\"on\"::timestamptz END >= DATE '2000-01-01'"),
        ("items_net_tax_gross", "<= 0.01"),
    ],
)
def test_fields_of_lines_imply_checks(name: str, said: str) -> None:
    assert said in predicates(RULED)[name]


def test_a_rule_may_name_what_only_the_database_knows() -> None:
    *_, check = checks_for(entity(field("n")), rules(SqlRule("mine", "TRUE", "m", ("raw_id", "n"))))
    assert check.columns == ("raw_id", "n")


def test_unique_identifiers_warn_and_a_repeated_record_does_not_pass() -> None:
    checks = {c.name: c for c in checks_for(entity(field("tax_id"), unique=("tax_id",)))}
    assert checks["tax_id_unique"].on_fail == "warn"
    assert checks["tax_id_unique"].columns[0] == "tax_id"
    assert checks["record_once"].on_fail == "quarantine"


def test_checks_of_columns_that_nobody_fills_are_left_out() -> None:
    fields = (
        field("name", required=True),
        field("n", "integer", minimum="1"),
        field("address", "address", required=True),
    )
    assert predicates(*fields, mapped=("n", "address_city")).keys() == ALWAYS | {"n_range", "address_required"}
    assert predicates(*fields, mapped=("n", "address_city"))["address_required"] == '"address_city" IS NOT NULL'
    assert predicates(*fields, mapped=()).keys() == ALWAYS


def rules(*given: SqlRule) -> EntityRules:
    return EntityRules("thing", given)


def test_a_landscape_rule_is_a_check() -> None:
    rule = SqlRule("Known city!", "\"address_city\" <> '?'", "", ("address.city", "lines.quantity"), "stop")
    *_, check = checks_for(entity(field("address", "address"), LINES), rules(rule))
    assert check == Check(
        "known_city", "landscape", ("address_city", "lines"), rule.predicate, rule.predicate, "stop"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "mapped", "kept"),
    [((), (), True), (("name",), ("name",), True), (("name", "n"), ("n",), True), (("name",), ("n",), False)],
    ids=["names no field", "filled", "one of two filled", "not filled"],
)
def test_a_landscape_rule_needs_a_filled_field(fields: tuple[str, ...], mapped: tuple[str, ...], kept: bool) -> None:
    found = predicates(
        field("name"), field("n", "integer"), rules=rules(SqlRule("mine", "TRUE", "m", fields)), mapped=mapped
    )
    assert ("mine" in found) is kept


def test_two_checks_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="thing: two checks are named name_required"):
        predicates(field("name", required=True), rules=rules(SqlRule("name_required", "TRUE")))


def test_extra_checks_come_last() -> None:
    extra = Check("known", "reference_known", ("name",), "TRUE", "m")
    assert checks_for(entity(field("name")), extra=(extra,))[-1] is extra


def test_names_and_texts_are_quoted() -> None:
    assert identifier('a"b') == '"a""b"'
    assert literal("it's") == "'it''s'"


# ── verdicts ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def result(name: str, unexpected: int, on_fail: Any = "quarantine") -> CheckResult:
    return CheckResult(Check(name, "landscape", ("c",), "TRUE", f"{name} holds", on_fail), unexpected)


@pytest.mark.parametrize(
    ("results", "total", "action", "because"),
    [
        ([result("a", 0)], 9, "pass", "all 9 rows pass 1 checks"),
        ([], 0, "pass", "all 0 rows pass 0 checks"),
        ([result("a", 9, "warn")], 9, "pass", "only warnings: 9 of 9 rows (100.0%) fail a: a holds"),
        ([result("a", 2)], 9, "split", "2 of 9 rows (22.2%) fail a: a holds; quarantined, the rest goes on"),
        ([result("a", 2), result("b", 3), result("c", 1)], 9, "split", "3 of 9 rows (33.3%) fail b: b holds (2 more"),
        ([result("a", 20)], 20, "split", "20 of 20 rows"),
        ([result("a", 200)], 1000, "split", "200 of 1000 rows"),
        ([result("a", 201)], 1000, "stop", "201 of 1000 rows (20.1%) fail a: a holds, more than 20% and more than 20"),
        ([result("a", 150), result("b", 150)], 1000, "split", "150 of 1000 rows"),
        ([result("a", 9), result("b", 1, "stop")], 99, "stop", "1 of 99 rows (1.0%) fail b: b holds, and this check"),
        ([result("a", 999, "warn")], 1000, "pass", "only warnings"),
    ],
    ids=[
        "good", "empty", "warnings", "split", "worst first", "few rows", "at the share", "flood", "two checks",
        "stopping check", "a flood of warnings",
    ],
)  # fmt: skip
def test_verdict(results: list[CheckResult], total: int, action: str, because: str) -> None:
    verdict = judge(results, total)
    assert (verdict.action, verdict.because[: len(because)]) == (action, because)
    assert [r.unexpected for r in verdict.failing] == sorted(
        (r.unexpected for r in results if r.unexpected), reverse=True
    )


@pytest.mark.parametrize(
    ("tolerance", "action"),
    [(Limit(0, 0.0), "stop"), (Limit(2, 0.0), "stop"), (Limit(3, 0.0), "split"), (Limit(0, 0.3), "split")],
    ids=["nothing", "one check within", "all within the count", "all within the share"],
)
def test_a_declared_tolerance_counts_rows_that_fail_any_check(tolerance: Limit, action: str) -> None:
    assert judge([result("a", 2), result("b", 1)], 10, tolerance, failing_rows=3).action == action


def test_a_tolerance_never_counts_warnings() -> None:
    assert judge([result("a", 9, "warn")], 10, Limit(0, 0.0), failing_rows=0).action == "pass"


@pytest.mark.parametrize(
    ("count", "recent", "share", "ok", "least"),
    [
        (0, [100, 100], 0.5, True, 0),
        (50, [90, 100, 110], 0.5, True, 50),
        (49, [90, 100, 110], 0.5, False, 50),
        (2, [5, 5, 5], 0.5, False, 3),
        (0, [0, 0, 0], 0.5, True, 0),
        (95, [100, 100, 100], 0.95, True, 95),
        (500, [1, 1, 1], 0.5, True, 1),
    ],
    ids=["no history", "just enough", "too few", "rounded up", "always empty", "strict", "many more"],
)
def test_volume(count: int, recent: list[int], share: float, ok: bool, least: int) -> None:
    verdict = judge_volume(count, recent, share)
    assert (verdict.ok, verdict.least) == (ok, least)
    assert str(len(recent)) in verdict.because
    assert volume_check(verdict).minimum == str(least)
