"""Leaving a system in trouble alone: each request asks before it goes, and tells how it went (canonical.health).

While a system works that costs one look a second. A person who asks by hand is always let through.
"""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from canonical.health import Health, passage
from connectors.protocol import (
    Ambiguous,
    ConnectorError,
    Healths,
    LeftAlone,
    NotSent,
    RateLimited,
    SystemFault,
    Transient,
)

_LOOK_SECONDS = 1.0
_is_by_hand: contextvars.ContextVar[bool] = contextvars.ContextVar("is_by_hand", default=False)


@contextmanager
def by_hand() -> Iterator[None]:
    """A person asks: requests made inside, in this thread, go whatever the breaker says; how they went still counts."""
    token = _is_by_hand.set(True)
    try:
        yield
    finally:
        _is_by_hand.reset(token)


class Guard:
    """The breaker of one system, as this process sees it. Thread-safe. Without `healths` everything goes."""

    def __init__(self, system: str, healths: Healths | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._system = system
        self._healths = healths
        self._clock = clock
        self._lock = threading.Lock()
        self._health = Health()
        self._seen_at: float | None = None

    def admit(self, where: str) -> None:
        """Let a request go. LeftAlone, with the wait, while the system is left alone."""
        if self._healths is None or _is_by_hand.get():
            return
        with self._lock:
            if self._seen_at is None or self._clock() - self._seen_at >= _LOOK_SECONDS:
                self._see(self._healths.of(self._system))
            health = self._health
        match passage(health):
            case "go":
                return
            case "try" if self._healths.try_it(self._system):
                return
        with self._lock:
            self._seen_at = None  # somebody else tries: look again next time
        wait = max(1.0, health.left_seconds)
        raise LeftAlone(
            f"left alone after {health.failures} failures in a row (the last: {health.reason})",
            wait_seconds=wait,
            where=where,
        )

    def went(self, error: ConnectorError | None) -> None:
        """How a request went: None when it was answered."""
        if self._healths is None:
            return
        if error is not None and is_trouble(error):
            health = self._healths.failed(self._system, f"{type(error).__name__} {error.status or ''}".strip())
            with self._lock:
                self._see(health)
        elif error is None or (error.status is not None and not isinstance(error, RateLimited)):
            with self._lock:
                is_known_well = self._health.state == "closed" and self._health.failures == 0
                if self._seen_at is not None and is_known_well:
                    return
                self._see(Health())
            self._healths.worked(self._system)

    def _see(self, health: Health) -> None:
        self._health, self._seen_at = health, self._clock()


def is_trouble(error: ConnectorError) -> bool:
    """Whether an error is the system's own: it does not answer, or not as itself."""
    return isinstance(error, Transient | SystemFault | Ambiguous) and not isinstance(error, RateLimited | NotSent)
