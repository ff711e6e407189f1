"""A party reads the same whatever shapes Tryton chose."""

from __future__ import annotations

import json
from typing import Any

import pytest

from connectors.tryton.records import as_record, compact, full_number

CREATED = {
    "__class__": "datetime", "year": 2026, "month": 1, "day": 2, "hour": 3, "minute": 4, "second": 5, "microsecond": 60,
}  # fmt: skip


def party(**more: Any) -> dict[str, Any]:
    return {"__name__": "party.party", "id": 7, "name": "Ann", "active": 1, "create_date": CREATED, **more}


def test_the_order_of_members_and_the_kind_of_database_do_not_show() -> None:
    one = party(lines=[{"__name__": "x", "active": True, "b": 1}])
    other = {"lines": [{"b": 1, "active": 1, "__name__": "x"}], **dict(reversed(party(active=True).items()))}
    assert as_record(one).payload == as_record(other).payload
    assert b"__name__" not in as_record(one).payload


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (CREATED, "2026-01-02T03:04:05.000060Z"),
        ({"__class__": "date", "year": 2026, "month": 1, "day": 2}, "2026-01-02"),
        ({"__class__": "Decimal", "decimal": "10.50"}, "10.50"),
        ({"__class__": "timedelta", "seconds": 5}, {"seconds": 5}),
        (None, None),
    ],
    ids=["time", "day", "decimal", "duration", "nothing"],
)
def test_what_json_has_no_form_of_is_plain(value: Any, expected: Any) -> None:
    assert json.loads(as_record(party(field=value)).payload)["field"] == expected


def test_the_change_mark_is_the_last_write_or_else_the_creation() -> None:
    assert as_record(party()).changed == "2026-01-02T03:04:05.000060Z"
    assert as_record(party(write_date={**CREATED, "year": 2027})).changed == "2027-01-02T03:04:05.000060Z"


def test_an_archived_party_is_stated_as_gone() -> None:
    assert [as_record(party(active=active)).deleted for active in (1, 0, True, False)] == [False, True, False, True]


@pytest.mark.parametrize(
    ("kind", "number", "expected"),
    [
        ("gb_vat", "980 7806 84", "GB980780684"),
        ("gb_vat", "GB980780684", "GB980780684"),
        ("eu_vat", "DE 136695976", "DE136695976"),
        ("ch_vat", "CHE-100.155.212 TVA", "CHE100155212TVA"),
        ("", "123", "123"),
    ],
    ids=["prefix apart", "prefix inside", "european", "swiss", "no kind"],
)
def test_a_tax_number_is_shown_with_its_prefix(kind: str, number: str, expected: str) -> None:
    assert full_number(kind, number) == expected
    shown = json.loads(as_record(party(tax_identifier={"type": kind, "code": number})).payload)
    assert shown["tax_identifier"]["full"] == expected


def test_compact_leaves_letters_and_digits() -> None:
    assert compact("gb 980.7806-84") == "GB980780684"
