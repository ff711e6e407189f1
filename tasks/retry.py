"""How long to wait before the next try: growing, jittered, capped."""

from __future__ import annotations

import random

FIRST_SECONDS = 5.0
CAP_SECONDS = 900.0
SPREAD = 0.2
"""A wait that a system asked for is stretched by up to this share: never shortened, and not over for all at once."""


def wait_seconds(attempt: int, *, spread: float | None = None) -> float:
    """Seconds before try `attempt + 1`: doubled each time up to a quarter of an hour, then spread over ±50 %.

    `spread` (0..1) is drawn at random unless given."""
    base = min(CAP_SECONDS, FIRST_SECONDS * 2.0 ** min(max(attempt - 1, 0), 20))
    return float(base * (0.5 + _drawn(spread)))


def asked_wait(seconds: float | None, attempt: int, *, spread: float | None = None) -> float:
    """Seconds before the next try where a system said how long to wait; it growing by itself where it did not."""
    if seconds is None:
        return wait_seconds(attempt, spread=spread)
    return float(min(max(seconds, 0.0), CAP_SECONDS) * (1.0 + SPREAD * _drawn(spread)))


def _drawn(spread: float | None) -> float:
    return random.random() if spread is None else spread  # noqa: S311  not for secrets
