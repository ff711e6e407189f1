"""Walks that end, in order; cursors that never pass what was not seen."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from connectors.paging import LoopGuard, Mark, Window, ahead, in_order
from connectors.paging.exact import equals_all
from connectors.protocol import Misdeclared, SystemFault


def test_a_page_may_come_twice_but_not_three_times() -> None:
    guard = LoopGuard("crm")
    guard.page(["1", "2"])
    guard.page(["1", "2"])
    guard.page([])
    guard.page([])
    guard.page([])
    guard.page(["3"])
    guard.page(["3"])
    with pytest.raises(SystemFault, match="same page"):
        guard.page(["3"])


def test_a_token_never_comes_twice() -> None:
    guard = LoopGuard("crm")
    guard.token("a")
    guard.token("b")
    with pytest.raises(SystemFault, match="token came twice"):
        guard.token("a")


def test_a_walk_has_an_end() -> None:
    guard = LoopGuard("crm", max_pages=3)
    for number in range(3):
        guard.page([str(number)])
    with pytest.raises(SystemFault, match="more than 3"):
        guard.page(["x"])


def test_the_next_item_is_fetched_while_one_is_used() -> None:
    fetched = [threading.Event() for _ in range(3)]

    def source() -> Iterator[int]:
        for number in range(3):
            fetched[number].set()
            yield number

    walk = ahead(source())
    assert next(walk) == 0
    assert fetched[1].wait(5)
    assert list(walk) == [1, 2]


def test_errors_of_the_source_arrive_in_their_place() -> None:
    def source() -> Iterator[int]:
        yield 1
        raise SystemFault("broken")

    walk = ahead(source())
    assert next(walk) == 1
    with pytest.raises(SystemFault):
        next(walk)


def test_several_at_once_in_order() -> None:
    both = threading.Barrier(2, timeout=5)

    def fetch(number: int) -> int:
        both.wait()
        return number * 10

    assert list(in_order(fetch, range(6), 2)) == [0, 10, 20, 30, 40, 50]


def test_no_more_is_fetched_once_nobody_listens() -> None:
    asked: list[int] = []

    def fetch(number: int) -> int:
        asked.append(number)
        return number

    walk = in_order(fetch, range(1000), 2)
    assert next(walk) == 0
    walk.close()  # type: ignore[attr-defined]
    assert len(asked) < 5


MARKS = [
    ("2026-01-02T03:04:05.678Z", "2026-01-02T03:04:05.678Z"),
    ("2026-01-02T03:04:05", "2026-01-02T03:04:05.000Z"),
    ("2026-01-02T05:04:05+02:00", "2026-01-02T03:04:05.000Z"),
    ("2026-01-02", "2026-01-02T00:00:00.000Z"),
    ("1767323045", "2026-01-02T03:04:05.000Z"),
    ("1767323045678", "2026-01-02T03:04:05.678Z"),
    ("/Date(1767323045678+0000)/", "2026-01-02T03:04:05.678Z"),
    ("/Date(1767323045678+1300)/", "2026-01-02T03:04:05.678Z"),
    ("Fri, 02 Jan 2026 03:04:05 GMT", "2026-01-02T03:04:05.000Z"),
    ("soon", None), ("", None), (None, None), ("2026-02-30", None), ("/Date(99999999999999999)/", None), ("17", None),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), MARKS)
def test_marks_are_instants(text: str | None, expected: str | None) -> None:
    mark = Mark.read(text)
    assert (mark.text() if mark else None) == expected


@pytest.mark.parametrize(
    ("style", "text"),
    [("iso", "2026-01-02T03:04:05.678Z"), ("date", "2026-01-02"), ("epoch", "1767323045"),
     ("epoch_ms", "1767323045678"), ("http_date", "Fri, 02 Jan 2026 03:04:05 GMT")],
)  # fmt: skip
def test_marks_are_asked_for_in_the_source_s_style(style: str, text: str) -> None:
    mark = Mark.read("2026-01-02T03:04:05.678Z")
    assert mark is not None
    assert mark.text(style) == text  # type: ignore[arg-type]


NOW = "Fri, 02 Jan 2026 12:00:00 GMT"


def reached(marks: list[str | None], since: str | None = None) -> str | None:
    window = Window.open(since, NOW)
    window.see(marks)
    return window.reached


def test_the_cursor_is_the_latest_mark_seen() -> None:
    assert reached(["2026-01-02T10:00:00Z", None, "2026-01-02T11:00:00Z"]) == "2026-01-02T11:00:00.000Z"


def test_the_cursor_never_goes_back() -> None:
    assert reached(["2026-01-01T00:00:00Z"], since="2026-01-02T09:00:00Z") == "2026-01-02T09:00:00.000Z"


def test_nothing_seen_leaves_the_cursor() -> None:
    assert reached([], since="2026-01-02T09:00:00.000Z") == "2026-01-02T09:00:00.000Z"
    assert reached([]) is None


def test_what_changed_during_the_walk_is_asked_for_again() -> None:
    assert reached(["2026-01-02T12:05:00Z"]) == "2026-01-02T12:00:00.000Z"


def test_a_record_from_the_future_does_not_move_the_cursor() -> None:
    assert reached(["2999-01-01T00:00:00Z", "2026-01-02T11:00:00Z", "no date"]) == "2026-01-02T11:00:00.000Z"


def test_a_cursor_from_the_future_is_refused() -> None:
    with pytest.raises(Misdeclared, match="future"):
        Window.open("2999-01-01T00:00:00Z", NOW)


def test_found_records_are_compared_exactly() -> None:
    record = b'{"a": {"b": "GB1"}, "n": 5, "t": true, "P": [{"K": "X", "V": "1"}, {"K": "Y", "V": "2"}]}'
    assert equals_all(record, {"a.b": "GB1", "n": "5", "t": "true", "P[K=Y].V": "2"})
    assert not equals_all(record, {"a.b": "gb1"})
    assert not equals_all(record, {"missing": ""})
