"""What the brake lets go and what it holds, at and around its thresholds."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from canonical.brake import Count, Moved, judge, judge_drop
from canonical.landscape import Brake, Limit

BRAKE = Brake()


def count(op: Any, planned: int, **more: Any) -> Count:
    return Count("accounting", "contacts", "customer", op, planned, **({"linked": 1_300} | more))


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        pytest.param(count("archive", 26), "", id="26-archives-of-1300-are-2-percent"),
        pytest.param(count("archive", 27), "deletes", id="27-are-more"),
        pytest.param(count("delete", 27), "deletes", id="deletes-count-like-archives"),
        pytest.param(count("archive", 5, linked=10), "", id="the-count-holds-where-the-share-is-less"),
        pytest.param(count("archive", 6, linked=10), "deletes", id="one-above-the-count"),
        pytest.param(count("archive", 20, released=7), "deletes", id="a-trickle-adds-up-over-24-hours"),
        pytest.param(count("update", 260), "", id="20-percent-of-updates"),
        pytest.param(count("update", 261), "changes", id="above-20-percent"),
        pytest.param(count("create", 261), "changes", id="creates-count-as-changes"),
        pytest.param(count("create", 5_000, linked=0), "", id="nothing-linked-yet-creates-are-free"),
        pytest.param(count("update", 51, linked=0), "changes", id="nothing-linked-yet-updates-are-not"),
        pytest.param(count("archive", 6, linked=0), "deletes", id="nor-archives"),
        pytest.param(count("update", 60, blanked=65), "", id="5-percent-blanked"),
        pytest.param(count("update", 60, blanked=66), "blanked", id="more-than-5-percent-blanked"),
        pytest.param(count("update", 60, blanked=40, blanked_released=30), "blanked", id="blanks-add-up"),
        pytest.param(count("update", 60, blanked=0, blanked_released=99), "", id="no-blank-now-nothing-to-hold"),
        pytest.param(count("update", 0, released=9_999), "", id="nothing-planned"),
    ],
)
def test_counts(given: Count, rule: str) -> None:
    verdict = judge(given, BRAKE)
    assert verdict.rule == rule
    assert verdict.action == ("hold" if rule else "release")


@pytest.mark.parametrize(
    ("op", "moved", "held", "rule"),
    [
        pytest.param("update", "10.00", "100.00", "", id="10-percent"),
        pytest.param("update", "10.01", "100.00", "money", id="a-cent-more"),
        pytest.param("update", "1.00", "0", "money", id="from-nothing"),
        pytest.param("create", "999.00", "0", "", id="a-create-moves-no-money"),
    ],
)
def test_money_is_judged_per_currency(op: str, moved: str, held: str, rule: str) -> None:
    money = {"EUR": Moved(Decimal(moved), Decimal(held)), "GBP": Moved(Decimal(0), Decimal(5))}
    assert judge(count(op, 1, money=money), BRAKE).rule == rule


def test_the_reason_says_what_how_many_and_what_is_allowed() -> None:
    verdict = judge(count("archive", 37), BRAKE)
    assert verdict.because == "37 archives in accounting/contacts, brake allows 26 (max(5, 2 % of 1,300))"
    verdict = judge(count("archive", 1, released=40), BRAKE)
    assert "with the last 24 hours' 40" in verdict.because
    assert judge(count("update", 1), BRAKE).because == "1 update in accounting/contacts, within the brake"


def test_every_broken_limit_is_named() -> None:
    given = count("update", 2_000, blanked=100, money={"EUR": Moved(Decimal(9), Decimal(1))})
    verdict = judge(given, BRAKE)
    assert verdict.rule == "changes"
    assert [word in verdict.because for word in ("2,000 updates", "100 field values turn empty", "9.00 EUR moved")] == [
        True,
        True,
        True,
    ]


def test_a_declared_brake_counts() -> None:
    assert judge(count("archive", 1), Brake(deletes=Limit(0, 0.0))).action == "hold"


@pytest.mark.parametrize(
    ("before", "now", "action"),
    [
        pytest.param(1_000, 950, "release", id="5-percent-fewer"),
        pytest.param(1_000, 949, "hold", id="more-than-5-percent-fewer"),
        pytest.param(5_000, 0, "hold", id="an-empty-list"),
        pytest.param(0, 0, "release", id="never-had-any"),
        pytest.param(10, 20, "release", id="more-than-before"),
    ],
)
def test_a_stream_that_loses_records(before: int, now: int, action: str) -> None:
    verdict = judge_drop("customer", "crm", "companies", before, now, BRAKE)
    assert verdict.action == action
    assert f"{now:,}" in verdict.because
