"""A declared rate is never exceeded by all processes together, and nearly reached."""

from __future__ import annotations

import random
from collections import Counter, deque

import pytest

from canonical.rates import (
    LONG_SECONDS,
    RECENT_SECONDS,
    SLOTS,
    Window,
    hold_seconds,
    may_rest,
    oldest_slot,
    permits,
    slot_of,
)

START = 1_700_000_000.0
DAY = (1000, 86_400.0)


class Ledger:
    """What a database remembers, for a run of decisions."""

    def __init__(self, *windows: Window) -> None:
        self.windows = windows
        self.used: Counter[tuple[float, int]] = Counter()

    def take(self, at: float, wanted: int, *, is_delivery: bool = False) -> tuple[int, float]:
        found = permits(at, self.windows, self.used, wanted, is_delivery=is_delivery)
        for _, seconds in self.windows:
            self.used[seconds, slot_of(at, seconds)] += found.granted
        self.used = Counter({k: n for k, n in self.used.items() if k[1] >= oldest_slot(at, k[0])})
        assert (found.granted == 0) == (found.wait_seconds > 0)
        return found.granted, found.wait_seconds


@pytest.mark.parametrize(
    "windows", [[(100, 10.0)], [(40, 16.0), (5, 1.0)], [(4, 1.0)], [(1900, 10.0)]], ids=lambda w: str(w)
)
@pytest.mark.parametrize("processes", [1, 3])
def test_no_stretch_of_time_holds_more_than_is_declared(windows: list[Window], processes: int) -> None:
    ledger, chance = Ledger(*windows), random.Random(7)
    now, end = START + chance.random(), START + 6 * max(s for _, s in windows)
    sent: list[float] = []
    while now < end:
        for _ in range(processes):
            granted, _ = ledger.take(now, chance.randint(1, max(1, windows[0][0] // 10)))
            sent += [now + chance.random() * hold_seconds(windows) for _ in range(granted)]
        now += chance.random() * min(s for _, s in windows) / 20
    sent.sort()
    for most, seconds in windows:
        inside: deque[float] = deque()
        for at in sent:
            while inside and inside[0] <= at - seconds:
                inside.popleft()
            inside.append(at)
            assert len(inside) <= most
    full = min(most / seconds for most, seconds in windows) * (end - START)
    assert len(sent) >= 0.94 * full


def test_who_is_told_to_wait_finds_a_place_then() -> None:
    ledger = Ledger((5, 10.0))
    now = 1_700_000_000.3
    assert ledger.take(now, 8)[0] == 5
    granted, wait = ledger.take(now + 1, 1)
    assert (granted, 9 < wait <= 10.5) == (0, True)
    assert ledger.take(now + 1 + wait, 1)[0] == 1


def test_a_share_of_the_day_is_kept_for_deliveries() -> None:
    ledger = Ledger(DAY)
    assert ledger.take(0.0, 2000)[0] == 900
    found = permits(1.0, [DAY], ledger.used, 1)
    assert (found.granted, "10% are kept for deliveries" in found.because) == (0, True)
    assert ledger.take(1.0, 2000, is_delivery=True)[0] == 100
    assert permits(1.0, [DAY], ledger.used, 1, is_delivery=True).granted == 0
    short = (1000, LONG_SECONDS / 2)
    assert Ledger(short).take(0.0, 2000)[0] == 1000, "of short windows nothing is kept: each waits its turn"


def test_a_share_never_takes_the_only_request() -> None:
    assert Ledger((1, 86_400.0)).take(0.0, 1)[0] == 1


def test_a_pause_is_for_everybody() -> None:
    found = permits(100.0, [(5, 1.0)], {}, 1, is_delivery=True, paused_until=130.0)
    assert (found.granted, found.wait_seconds) == (0, 30.0)


def test_permits_are_held_for_one_slot_of_the_shortest_window() -> None:
    assert hold_seconds([(100, 10.0), DAY]) == 10.0 / SLOTS
    assert hold_seconds([DAY]) == 1.0


@pytest.mark.parametrize(
    ("left_seconds", "read_seconds_ago", "rests"),
    [
        pytest.param(3.0, 60.0, True, id="paused, read lately"),
        pytest.param(3.0, RECENT_SECONDS, False, id="paused, read too long ago"),
        pytest.param(3.0, None, False, id="paused, never read"),
        pytest.param(0.0, 60.0, False, id="not paused"),
        pytest.param(-5.0, 60.0, False, id="the pause is over"),
    ],
)
def test_what_was_read_lately_is_left_while_a_system_wants_to_be(
    left_seconds: float, read_seconds_ago: float | None, rests: bool
) -> None:
    assert may_rest(left_seconds, read_seconds_ago) is rests
