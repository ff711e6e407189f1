"""Whether a record that was read back can be the one that was asked for."""

from __future__ import annotations

import pytest

from canonical.readback import is_alike, is_another


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        pytest.param("Anna Moss", "anna moss ", True, id="in other letters"),
        pytest.param("Featherstonehaugh", "Featherst", True, id="cut"),
        pytest.param("12.345", "12.35", True, id="rounded"),
        pytest.param("+44 20 7946 0000", "+442079460000", True, id="spaced"),
        pytest.param("Anna", "Bob", False, id="another"),
        pytest.param("12", "112", False, id="another number"),
        pytest.param("An", "Anna", False, id="too little to be told"),
        pytest.param("Infinity", "Infinite", False, id="no number"),
    ],
)
def test_alike(ours: str, theirs: str, expected: bool) -> None:
    assert is_alike(ours, theirs) is expected


@pytest.mark.parametrize(
    ("read", "expected"),
    [
        pytest.param({"name": "Ann", "mail": "ann@x.example", "ccy": "GBP"}, False, id="the same"),
        pytest.param({"name": "ann", "mail": None, "ccy": "GBP"}, False, id="what is empty says nothing"),
        pytest.param({"name": "Bob", "mail": "bob@x.example", "ccy": "GBP"}, True, id="only the currency agrees"),
        pytest.param({"name": "Ann", "mail": "x", "ccy": "GBP"}, False, id="most of it agrees"),
        pytest.param({}, False, id="nothing to compare"),
    ],
)
def test_another(read: dict[str, str | None], expected: bool) -> None:
    assert is_another({"name": "Ann", "mail": "ann@x.example", "ccy": "GBP", "note": None}, read) is expected


def test_numbers_and_dates_prove_nothing() -> None:
    asked = {"day": "2026-01-05", "at": "2026-01-05T10:00:00Z", "sum": "12.5", "rows": '[{"a":1}]', "name": "Ann"}
    read = {"day": "/Date(1767571200000+0000)/", "at": "5 Jan 2026", "sum": "13", "rows": '[{"a":"1"}]', "name": "ann"}
    assert is_another(asked, read) is False
