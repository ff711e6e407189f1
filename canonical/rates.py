"""How many requests a system may get now, when several processes ask it: one decision over what was sent.

Vendors count rolling windows, and a token bucket lets twice its size through around a full bucket. So each window is
remembered in slots of a fortieth of its length, and a slot counts until its last moment has left the window, one slot
longer for permits that were taken and not used at once: 40 of 42, 95 % of the declared rate, are reached, never more.

Of long windows, such as a day's quota, a share is kept for deliveries: reading rests before writing has to (RELIABILITY
matrix row 20).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

SLOTS = 40
DELIVERY_SHARE = 0.1
LONG_SECONDS = 3_600.0
"""Windows from this length on keep a share for deliveries; of shorter ones each waits its turn."""
WARN_SHARE = 0.75
"""Of a long window that is used up so far somebody hears before reading has to rest."""
MOST_HOLD_SECONDS = 1.0
ASKED = "the system asked everybody to wait"
"""The reason of a pause that a system asked for."""

RECENT_SECONDS = 900.0
"""What was read within the shortest usual rhythm (every 15 minutes) may wait for its next turn."""

Window = tuple[int, float]
"""(requests, seconds), as connectors declare them."""


@dataclass(frozen=True, slots=True)
class Permits:
    """How many requests may be sent within `hold_seconds`; none: come back after `wait_seconds`."""

    granted: int
    wait_seconds: float
    hold_seconds: float
    because: str


def may_rest(left_seconds: float, read_seconds_ago: float | None) -> bool:
    """Whether reading is left for the next time: the system has asked for a pause that has `left_seconds` to go, and
    what it would tell was read lately (None: never). So a system that asks us to slow down slows nobody else down."""
    return left_seconds > 0 and read_seconds_ago is not None and read_seconds_ago < RECENT_SECONDS


def slot_of(at: float, seconds: float) -> int:
    """The slot of a window of that length that a moment (seconds since 1970) lies in."""
    return math.floor(at / (seconds / SLOTS))


def oldest_slot(at: float, seconds: float) -> int:
    """The oldest slot that still counts."""
    return slot_of(at, seconds) - SLOTS - 1


def hold_seconds(windows: Sequence[Window]) -> float:
    """For how long permits may be held before they are used: one slot of the shortest window."""
    return min([MOST_HOLD_SECONDS, *(seconds / SLOTS for _, seconds in windows)])


def permits(
    at: float,
    windows: Sequence[Window],
    used: Mapping[tuple[float, int], int],
    wanted: int,
    *,
    is_delivery: bool = False,
    paused_until: float = 0.0,
) -> Permits:
    """What may be sent at the moment `at`. `used`: (window's seconds, slot) → requests counted there."""
    hold = hold_seconds(windows)
    if paused_until > at:
        return Permits(0, paused_until - at, hold, ASKED)
    granted, wait, because = wanted, 0.0, ""
    for most, seconds in windows:
        is_kept = not is_delivery and seconds >= LONG_SECONDS
        allowed = math.floor(most * (1 - DELIVERY_SHARE)) if is_kept else most
        oldest = oldest_slot(at, seconds)
        counted = sorted((slot, n) for (window, slot), n in used.items() if window == seconds and slot >= oldest)
        free = max(1, allowed) - sum(n for _, n in counted)
        granted = min(granted, max(0, free))
        if free < 1 and (until := _freed_at(counted, 1 - free, seconds) - at) > wait:
            kept = f" ({DELIVERY_SHARE:.0%} are kept for deliveries)" if is_kept else ""
            wait, because = until, f"the declared rate of {most} requests in {seconds:g} s is used up{kept}"
    return Permits(granted, wait, hold, because) if granted == 0 else Permits(granted, 0.0, hold, "within the rate")


@dataclass(frozen=True, slots=True)
class Quota:
    """How much of a long window, such as a day's quota, is used."""

    most: int
    seconds: float
    used: int

    @property
    def is_low(self) -> bool:
        """Whether somebody should know: there is still enough for deliveries, and for some reading."""
        return self.used >= self.most * WARN_SHARE

    @property
    def said(self) -> str:
        left = max(0, self.most - self.used)
        return (
            f"{self.used} of the {self.most} requests that are declared for {self.seconds / 3600:g} h are used; reading"
            f" rests when {math.ceil(self.most * DELIVERY_SHARE)} are left, which are kept for deliveries ({left} are)"
        )


def quotas(at: float, windows: Sequence[Window], used: Mapping[tuple[float, int], int]) -> list[Quota]:
    """The long windows, and what of each is used at the moment `at`."""
    found = []
    for most, seconds in windows:
        if seconds >= LONG_SECONDS:
            oldest = oldest_slot(at, seconds)
            found.append(
                Quota(
                    most, seconds, sum(n for (window, slot), n in used.items() if window == seconds and slot >= oldest)
                )
            )
    return found


def _freed_at(counted: Sequence[tuple[int, int]], needed: int, seconds: float) -> float:
    """The moment at which `needed` of the counted requests will have left the window."""
    freed = 0
    for slot, n in counted:
        freed += n
        if freed >= needed:
            return (slot + SLOTS + 2) * seconds / SLOTS
    return 0.0
