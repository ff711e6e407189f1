"""When a system is left alone, and tried again."""

from __future__ import annotations

import pytest

from canonical.health import FIRST_SECONDS, MOST_SECONDS, THRESHOLD, Health, failed, passage


@pytest.mark.parametrize(
    ("health", "said"),
    [
        pytest.param(Health(), "go", id="works"),
        pytest.param(Health("closed", failures=4), "go", id="stumbled"),
        pytest.param(Health("open", 5, 1, left_seconds=3.0), "wait", id="left alone"),
        pytest.param(Health("open", 5, 1, left_seconds=0.0), "try", id="its time is over"),
        pytest.param(Health("half_open", 5, 1, left_seconds=60.0), "wait", id="somebody is trying"),
        pytest.param(Health("half_open", 5, 1, left_seconds=-1.0), "try", id="who tried is gone"),
    ],
)
def test_who_may_ask(health: Health, said: str) -> None:
    assert passage(health) == said


def test_failures_in_a_row_open_it_for_longer_each_time() -> None:
    health, waits = Health(), []
    for _ in range(THRESHOLD - 1):
        health = failed(health, "503", 0.5)
        assert health.state == "closed"
    for _ in range(9):
        health = failed(health, "503", 0.5)
        assert health.state == "open"
        waits.append(health.left_seconds)
        health = Health("half_open", health.failures, health.opened, 60.0, health.reason)
    assert waits[:4] == [FIRST_SECONDS, 2 * FIRST_SECONDS, 4 * FIRST_SECONDS, 8 * FIRST_SECONDS]
    assert waits[-1] == MOST_SECONDS


def test_what_was_sent_before_it_was_opened_does_not_lengthen_its_time() -> None:
    was = Health("open", 5, 1, left_seconds=9.0)
    now = failed(was, "503", 0.5)
    assert (now.opened, now.left_seconds, now.failures) == (1, 9.0, 6)


def test_systems_that_fell_together_are_not_tried_together() -> None:
    four = Health("closed", failures=THRESHOLD - 1)
    assert failed(four, "x", 0.0).left_seconds < failed(four, "x", 1.0).left_seconds < 1.5 * FIRST_SECONDS
