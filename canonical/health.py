"""When a system in trouble is left alone, and when it is tried again: the decisions of a circuit breaker.

closed      asked as usual; failures in a row are counted, by all processes together
open        not asked at all until its time is over, longer each time it was opened in vain
half open   one request finds out whether the system works again; the others wait for what it finds

Only what a system in trouble does counts: no answer, or 5xx. A refusal (4xx) shows that it works, and being asked to
slow down says nothing. So workers do not press a system that is down (RELIABILITY P9, P10), and one that comes and goes
is met by one request at a time (matrix row 58).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

THRESHOLD = 5
"""Failures in a row, over all streams and processes, after which a system is left alone."""
FIRST_SECONDS = 10.0
MOST_SECONDS = 300.0
PROBE_SECONDS = 90.0
"""For how long the others wait for the one request that tries; then its process is taken for dead."""


@dataclass(frozen=True, slots=True)
class Health:
    """How a system was lately. `left_seconds` of its present state, by the database's clock."""

    state: Literal["closed", "open", "half_open"] = "closed"
    failures: int = 0
    opened: int = 0
    """How often it was opened since it worked last."""
    left_seconds: float = 0.0
    reason: str = ""


def passage(health: Health) -> Literal["go", "try", "wait"]:
    """Whether a request may go; try: only if nobody else is trying already."""
    if health.state == "closed":
        return "go"
    return "wait" if health.left_seconds > 0 else "try"


def failed(health: Health, reason: str, spread: float) -> Health:
    """After one more failure. `spread` (0..1) keeps systems that fell together from being tried together."""
    failures = health.failures + 1
    if health.state == "closed" and failures < THRESHOLD:
        return replace(health, failures=failures, reason=reason)
    if health.state == "open" and health.left_seconds > 0:
        return replace(health, failures=failures)  # sent before it was opened
    return stopped(replace(health, failures=failures), reason, spread)


def stopped(health: Health, reason: str, spread: float) -> Health:
    """Left alone from now on, whatever was counted: longer each time it was so in vain."""
    opened = health.opened + 1
    seconds = min(MOST_SECONDS, FIRST_SECONDS * 2.0 ** min(opened - 1, 10)) * (0.8 + 0.4 * spread)
    return Health("open", health.failures, opened, seconds, reason)
