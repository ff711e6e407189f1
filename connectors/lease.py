"""Until when this process may write to a system: a worker that was paused must find that it may no longer.

What is written for a lease (`while_leased`) is not sent once the lease is over: the last look is taken right before
bytes leave, and no request is allowed to take longer than what is left (RELIABILITY P7). The clock goes on while the
process, or the whole machine, sleeps.
"""

from __future__ import annotations

import contextvars
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
ANSWER_SECONDS = 2.0
"""What is kept of a lease for storing the answer."""

_held: contextvars.ContextVar[Callable[[], float] | None] = contextvars.ContextVar("lease", default=None)


def now() -> float:
    """Seconds on a clock that sleeps never."""
    return time.clock_gettime(_CLOCK)


@contextmanager
def while_leased(left_seconds: Callable[[], float]) -> Iterator[None]:
    """Writes made inside, in this thread, go out only while `left_seconds` says that something is left."""
    token = _held.set(left_seconds)
    try:
        yield
    finally:
        _held.reset(token)


def left_seconds() -> float | None:
    """How long a write that begins now may take; None: nobody leased anything."""
    held = _held.get()
    return None if held is None else held() - ANSWER_SECONDS
