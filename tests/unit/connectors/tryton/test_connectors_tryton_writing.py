"""Payloads become the fewest commands that bring a party to what is asked."""

from __future__ import annotations

from typing import Any

import pytest

from connectors.protocol import Misdeclared, Rejected
from connectors.tryton.writing import tax_kind, values_of

HELD: dict[str, Any] = {
    "id": 7,
    "name": "Ann",
    "tax_identifier": {"id": 3, "type": "gb_vat", "code": "980 7806 84", "full": "GB980780684"},
    "identifiers": [{"id": 3, "active": True, "type": "gb_vat", "code": "980 7806 84"}],
    "contact_mechanisms": [
        {"id": 10, "active": False, "type": "email", "value": "gone@x.example"},
        {"id": 11, "active": True, "type": "email", "value": "a@x.example"},
        {"id": 12, "active": True, "type": "email", "value": "second@x.example"},
    ],
    "addresses": [{"id": 20, "active": True, "street": "1 High St", "city": "London", "country": {"id": 1}}],
}
COUNTRIES = {"GB": 1, "DE": 2}


def commands(payload: dict[str, Any], held: dict[str, Any] | None = HELD) -> dict[str, Any]:
    return values_of(payload, held, COUNTRIES.get, "erp/parties")


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ({"name": "Ben"}, {"name": "Ben"}),
        ({"email": "a@x.example"}, {}),
        (
            {"email": "b@x.example"},
            {"contact_mechanisms": [["write", [11], {"type": "email", "value": "b@x.example"}]]},
        ),
        ({"email": None}, {"contact_mechanisms": [["write", [11], {"active": False}]]}),
        ({"phone": None}, {}),
        ({"phone": "1"}, {"contact_mechanisms": [["create", [{"type": "phone", "value": "1"}]]]}),
        ({"tax_identifier": {"full": "GB 980 7806 84"}}, {}),
        ({"tax_identifier": {"full": None}}, {"identifiers": [["write", [3], {"active": False}]]}),
        (
            {"tax_identifier": {"full": "DE136695976"}},
            {"identifiers": [["write", [3], {"type": "eu_vat", "code": "DE136695976"}]]},
        ),
        ({"addresses": [{"street": "1 High St", "country": {"code": "gb"}}]}, {}),
        ({"addresses": [{"city": "York"}]}, {"addresses": [["write", [20], {"city": "York"}]]}),
        (
            {"addresses": [{"city": "London"}, {"city": "Köln", "country": {"code": "DE"}}]},
            {"addresses": [["create", [{"city": "Köln", "country": 2}]]]},
        ),
        ({"addresses": [{"city": None}]}, {"addresses": [["write", [20], {"city": None}]]}),
        (
            {"addresses": [{"city": None, "street": None, "country": {"code": None}}]},
            {"addresses": [["write", [20], {"active": False}]]},
        ),
        (
            {"contact_mechanisms": [{"id": 12, "value": "c@x.example"}]},
            {"contact_mechanisms": [["write", [12], {"value": "c@x.example"}]]},
        ),
    ],
    ids=[
        "own field", "same e-mail", "other e-mail", "e-mail emptied", "nothing to empty", "new telephone",
        "same tax number", "tax number emptied", "other tax number", "same address", "part of an address",
        "second address", "one part emptied", "address emptied", "line by id",
    ],
)  # fmt: skip
def test_an_update_says_only_what_differs(payload: dict[str, Any], expected: dict[str, Any]) -> None:
    assert commands(payload) == expected


def test_a_create_makes_all_lines() -> None:
    made = commands({"name": "Ann", "email": "a@x.example", "tax_identifier": {"full": "GB1"}}, None)
    assert made == {
        "name": "Ann",
        "contact_mechanisms": [["create", [{"type": "email", "value": "a@x.example"}]]],
        "identifiers": [["create", [{"type": "gb_vat", "code": "GB1"}]]],
    }


@pytest.mark.parametrize(
    "payload",
    [
        {"addresses": [{"town": "x"}]}, {"addresses": "x"}, {"tax_identifier": "GB1"}, {"write_date": "2026"},
        {"categories": [1]},
    ],
    ids=["field of a line", "no list", "no member", "change mark", "another list"],
)  # fmt: skip
def test_what_parties_do_not_have_is_misdeclared(payload: dict[str, Any]) -> None:
    with pytest.raises(Misdeclared):
        commands(payload)


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        ({"addresses": [{"country": {"code": "QQ"}}]}, "addresses.country.code"),
        ({"tax_identifier": {"full": "12345"}}, "tax_identifier.full"),
    ],
    ids=["country", "tax number"],
)
def test_what_tryton_cannot_hold_is_rejected_with_its_field(payload: dict[str, Any], field: str) -> None:
    with pytest.raises(Rejected) as caught:
        commands(payload)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("number", "kind"),
    [("DE1", "eu_vat"), ("el 1", "eu_vat"), ("GB1", "gb_vat"), ("XI1", "eu_vat"), ("GR1", None), ("1", None)],
)
def test_the_prefix_says_the_kind_of_tax_number(number: str, kind: str | None) -> None:
    assert tax_kind(number) == kind
