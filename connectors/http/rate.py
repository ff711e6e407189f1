"""Declared rate windows, kept in process: (requests, seconds) pairs, each exact over any stretch of that length.

A token bucket lets twice its size through around a full bucket; vendors count rolling windows. So the time of the n-th
last request is what a window remembers.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable

from connectors.protocol import RateLimited

_MARGIN = 1.01
"""Windows are stretched by 1 %: requests arrive with less spacing than they were sent with."""


class RateGate:
    """Admits requests so that no declared window is exceeded. Thread-safe."""

    def __init__(
        self,
        windows: Iterable[tuple[int, float]],
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._windows = [(deque[float](maxlen=count), seconds * _MARGIN) for count, seconds in windows if count > 0]
        self._clock = clock
        self._sleep = sleep
        self._paused_until = 0.0
        self._lock = threading.Lock()

    def admit(self, patience_seconds: float, where: str = "") -> None:
        """Wait for a place; RateLimited with the wait when it is longer than the patience."""
        until = self._clock() + patience_seconds
        while True:
            with self._lock:
                now = self._clock()
                wait = self._wait(now)
                if wait <= 0:
                    for sent, _ in self._windows:
                        sent.append(now)
                    return
            if now + wait > until:
                raise RateLimited("the declared rate is used up", wait_seconds=wait, where=where)
            self._sleep(wait)

    def pause(self, seconds: float) -> None:
        """The system asked everybody to wait: no request is admitted before."""
        with self._lock:
            self._paused_until = max(self._paused_until, self._clock() + seconds)

    def _wait(self, now: float) -> float:
        waits = [self._paused_until - now]
        for sent, seconds in self._windows:
            if len(sent) == sent.maxlen:
                waits.append(sent[0] + seconds - now)
        return max(waits)
