"""When many refusals are one cause."""

from __future__ import annotations

import pytest

from canonical.flood import LEAST_RECORDS, cause_of, flood


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param("period 2026-01 is closed", "period 2026-02 is closed", id="a date"),
        pytest.param("'Ann' is taken", "'Bob' is taken", id="a quoted value"),
        pytest.param("INV-001: no such account", "INV-002: no such account", id="a number"),
    ],
)
def test_reasons_without_their_values_are_one_cause(one: str, other: str) -> None:
    assert cause_of(None, one) == cause_of(None, other)
    assert cause_of("name", one) != cause_of("email", other)


@pytest.mark.parametrize(
    ("refused", "tried", "is_one"),
    [
        pytest.param({"a": LEAST_RECORDS}, 20, True, id="all of them"),
        pytest.param({"a": LEAST_RECORDS - 1}, 19, False, id="too few to say"),
        pytest.param({"a": LEAST_RECORDS}, 100, False, id="a fifth"),
        pytest.param({"a": LEAST_RECORDS + 1}, 100, True, id="more than a fifth"),
        pytest.param({"a": 15, "b": 15}, 30, False, id="two causes"),
        pytest.param({}, 30, False, id="none"),
    ],
)
def test_a_flood(refused: dict[str, int], tried: int, is_one: bool) -> None:
    assert (flood(refused, tried) is not None) is is_one
