"""Waiting before the next try: growing, spread, capped."""

from __future__ import annotations

import pytest

from tasks.retry import CAP_SECONDS, FIRST_SECONDS, asked_wait, wait_seconds


@pytest.mark.parametrize(
    ("attempt", "middle"),
    [(0, FIRST_SECONDS), (1, FIRST_SECONDS), (2, 10), (3, 20), (8, 640), (9, CAP_SECONDS), (10_000, CAP_SECONDS)],
)
def test_each_wait_is_twice_the_last_up_to_a_quarter_of_an_hour(attempt: int, middle: float) -> None:
    assert wait_seconds(attempt, spread=0.5) == middle


@pytest.mark.parametrize("attempt", [1, 5, 50])
def test_it_is_spread_by_half_to_both_sides(attempt: int) -> None:
    middle = wait_seconds(attempt, spread=0.5)
    assert wait_seconds(attempt, spread=0.0) == middle / 2
    assert wait_seconds(attempt, spread=1.0) == middle * 1.5
    drawn = {wait_seconds(attempt) for _ in range(50)}
    assert len(drawn) > 1
    assert all(middle / 2 <= wait <= middle * 1.5 for wait in drawn)


@pytest.mark.parametrize(
    ("seconds", "spread", "wait"),
    [
        pytest.param(10.0, 0.0, 10.0, id="never shortened"),
        pytest.param(10.0, 1.0, 12.0, id="stretched"),
        pytest.param(86_400.0, 0.0, 900.0, id="capped"),
        pytest.param(None, 0.5, 5.0, id="not said"),
    ],
)
def test_a_wait_that_a_system_asked_for(seconds: float | None, spread: float, wait: float) -> None:
    assert asked_wait(seconds, 1, spread=spread) == pytest.approx(wait)
