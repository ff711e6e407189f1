"""How long to wait before the next try: growing, jittered, capped."""

from __future__ import annotations

import random

FIRST_SECONDS = 5.0
CAP_SECONDS = 900.0


def wait_seconds(attempt: int, *, spread: float | None = None) -> float:
    """Seconds before try `attempt + 1`: doubled each time up to a quarter of an hour, then spread over ±50 %.

    `spread` (0..1) is drawn at random unless given."""
    drawn = random.random() if spread is None else spread  # noqa: S311  not for secrets
    base = min(CAP_SECONDS, FIRST_SECONDS * 2.0 ** min(max(attempt - 1, 0), 20))
    return float(base * (0.5 + drawn))
