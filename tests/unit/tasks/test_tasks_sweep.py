"""Which ids a sweep met: what it did not meet is a candidate, never more."""

from __future__ import annotations

import polars as pl
import pytest

from tasks.sweep import Seen


def seen(*landed: str, beside: tuple[str, ...] = (), is_plain: bool = True) -> Seen:
    met = Seen()
    for start in range(0, len(landed), 2):
        met.add(landed[start : start + 2], (), is_plain=is_plain)
    met.add((), beside, is_plain=True)
    return met


@pytest.mark.parametrize(
    ("met", "live", "is_all"),
    [
        pytest.param(seen("a", "b", "c"), 3, True, id="every-live-record"),
        pytest.param(seen("a", "b", "a"), 2, True, id="one-twice"),
        pytest.param(seen("a", "b"), 3, False, id="one-missing"),
        pytest.param(seen("a", beside=("x",)), 2, False, id="an-unread-record-does-not-count-for-another"),
        pytest.param(seen("a", "b", is_plain=False), 2, False, id="a-deleted-record-does-not-count-for-another"),
        pytest.param(seen(), 0, True, id="nothing-in-an-empty-stream"),
    ],
)
def test_as_many_as_there_are(met: Seen, live: int, is_all: bool) -> None:
    assert met.is_all(live) is is_all


def test_what_was_not_met_is_named_in_order() -> None:
    met = seen("a", "ü", beside=("c",))
    assert met.absent_from(pl.Series(["d", "ü", "c", "a", "A"])) == ["A", "d"]
    assert seen().absent_from(pl.Series(["b", "a"])) == ["a", "b"]
