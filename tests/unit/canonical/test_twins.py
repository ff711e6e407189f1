"""Records of one page that share an id, or nearly: which version counts, and when nobody can tell."""

from __future__ import annotations

import pytest

from canonical.twins import alike_but_for_case, contested


@pytest.mark.parametrize(
    ("rows", "unclear"),
    [
        pytest.param([], [], id="nothing"),
        pytest.param([("a", 1, None), ("b", 1, None)], [], id="different-ids"),
        pytest.param([("a", 1, None), ("a", 1, None)], [], id="a-repetition"),
        pytest.param([("a", 1, None), ("a", 2, None)], [0, 1], id="no-marks"),
        pytest.param([("a", 1, "1"), ("a", 2, "2")], [], id="the-later-mark"),
        pytest.param([("a", 2, "2"), ("a", 1, "1")], [], id="the-later-mark-first"),
        pytest.param([("a", 1, "1"), ("a", 2, "1")], [0, 1], id="the-same-mark"),
        pytest.param([("a", 1, None), ("a", 2, "1")], [], id="a-mark-beats-none"),
        pytest.param([("a", 1, "1"), ("a", 2, "2"), ("a", 3, "2")], [0, 1, 2], id="two-latest"),
        pytest.param([("a", 1, "1"), ("a", 2, "2"), ("a", 2, "2")], [], id="the-latest-twice"),
        pytest.param([("b", 9, None), ("a", 1, None), ("c", 9, None), ("a", 2, None)], [1, 3], id="others-go-on"),
    ],
)
def test_contested(rows: list[tuple[str, int, str | None]], unclear: list[int]) -> None:
    assert contested([i for i, _, _ in rows], [h for _, h, _ in rows], [m for _, _, m in rows]) == unclear


@pytest.mark.parametrize(
    ("ids", "known", "alike"),
    [
        pytest.param([], [], [], id="nothing"),
        pytest.param(["1", "2"], [], [], id="numbers"),
        pytest.param(["a", "a"], [], [], id="the-same-id-twice"),
        pytest.param(["A", "b", "a"], [], [0, 2], id="in-one-page"),
        pytest.param(["Straße", "STRASSE"], [], [0, 1], id="folded-as-unicode-does"),
        pytest.param(["a", "b"], ["A"], [0], id="known-otherwise"),
        pytest.param(["a"], ["a"], [], id="known-as-it-is"),
    ],
)
def test_alike_but_for_case(ids: list[str], known: list[str], alike: list[int]) -> None:
    assert alike_but_for_case(ids, known) == alike
