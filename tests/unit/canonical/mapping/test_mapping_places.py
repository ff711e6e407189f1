"""Addresses between one block and their parts."""

from __future__ import annotations

from typing import Any

import pytest

from canonical.mapping.functions.places import PARTS, split_address


@pytest.mark.parametrize(
    ("block", "hint", "expected"),
    [
        ("12 High Street\nLondon\nSW1A 1AA\nUK", None, ("12 High Street", None, "London", None, "SW1A 1AA", "GB")),
        ("12 High Street, London sw1a1aa", None, ("12 High Street", None, "London", None, "SW1A 1AA", "GB")),
        ("Unit 4\n1 High St\nSt. Ives, AL1 2AB", "GB", ("Unit 4", "1 High St", "St. Ives", None, "AL1 2AB", "GB")),
        ("Hauptstr. 5\n10115 Berlin\nDeutschland", None, ("Hauptstr. 5", None, "Berlin", None, "10115", "DE")),
        ("Hauptstr. 5, D-10115 Berlin", "DE", ("Hauptstr. 5", None, "Berlin", None, "10115", "DE")),
        ("1 rue de la Paix\n75002 Paris\nFrance", None, ("1 rue de la Paix", None, "Paris", None, "75002", "FR")),
        ("Damrak 1\n1012lg Amsterdam", None, ("Damrak 1", None, "Amsterdam", None, "1012 LG", "NL")),
        ("1 Main St\nWashington, DC 20500\nUSA", None, ("1 Main St", None, "Washington", "DC", "20500", "US")),
        ("5 Main St, Troy, IL 62701-1234", "US", ("5 Main St", None, "Troy", "IL", "62701-1234", "US")),
        ("Somewhere\nNowhere", None, ("Somewhere", None, "Nowhere", None, None, None)),
        ("Just a street", "GB", ("Just a street", None, None, None, None, "GB")),
        ("12345 Long Road", None, ("12345 Long Road", None, None, None, None, None)),
    ],
    ids=[
        "GB lines",
        "GB commas, code run together",
        "GB three lines",
        "DE",
        "DE with hint",
        "FR",
        "NL by its code",
        "US with state",
        "US on one line",
        "no postcode",
        "one line",
        "a house number is no postcode",
    ],
)
def test_a_block_is_taken_apart(block: str, hint: str | None, expected: tuple[str | None, ...]) -> None:
    assert tuple(split_address(block, hint)[part] for part in PARTS) == expected


@pytest.mark.parametrize(
    "block", ["12 High Street, Floor 3, Rear Door, London, SW1A 1AA", "a\nb\nc\nd\n10115 Berlin\nGermany"]
)
def test_nothing_of_a_block_is_lost(block: str) -> None:
    kept = " ".join(str(v) for v in split_address(block, None).values() if v)
    for word in block.replace(",", " ").replace("Germany", "DE").split():
        assert word in kept


def test_parts_become_a_block_without_holes(apply: Any) -> None:
    assert apply("address_block", ["1 High St"], [None], ["London"])[0] == ["1 High St\nLondon"]
    assert apply("address_block comma", ["1 High St"], ["London"])[0] == ["1 High St, London"]
    assert apply("address_block", [None], [" "])[0] == [None]
