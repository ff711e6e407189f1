"""Declared rate windows, (requests, seconds) pairs: kept by all processes together, or in this one alone.

A token bucket lets twice its size through around a full bucket; vendors count rolling windows. So the time of the n-th
last request is what a window of this process remembers; what all processes remember is canonical.rates' affair.
"""

from __future__ import annotations

import contextvars
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from canonical.rates import ASKED, Permits, Window, hold_seconds
from connectors.protocol import RateLimited, Rates

SPREAD = 0.2
"""A wait that a system asked for is stretched by up to this share, for each process by another."""
_UNCOUNTED = 10_000
"""Permits that are taken at once where nothing is declared to be counted."""
_MARGIN = 1.01
"""Windows are stretched by 1 %: requests arrive with less spacing than they were sent with."""


_is_delivering: contextvars.ContextVar[bool] = contextvars.ContextVar("is_delivering", default=False)


@contextmanager
def delivering() -> Iterator[None]:
    """Requests made inside, in this thread, may use what is kept of long windows for deliveries."""
    token = _is_delivering.set(True)
    try:
        yield
    finally:
        _is_delivering.reset(token)


class Gate(Protocol):
    """Who may send a request now."""

    def admit(self, patience_seconds: float, where: str = "") -> None:
        """Wait for a place; RateLimited with the wait when it is longer than the patience."""
        ...

    def pause(self, seconds: float) -> None:
        """The system asked everybody to wait."""
        ...


def gate_of(rates: Rates | None, name: str, windows: Sequence[Window]) -> Gate:
    """The gate of a system's windows, shared where somebody counts for all: without a declared rate it still hears
    when the system asks one of us to slow down."""
    windows = [window for window in windows if window[0] > 0]
    return SharedGate(rates, name, windows) if rates is not None else RateGate(windows)


class SharedGate:
    """Admits requests by permits that are counted for all processes. Thread-safe.

    Permits are taken a few at a time, twice as many as before when they were used up at once, and not kept for long:
    one process that is alone asks seldom, and one that stops leaves little unused."""

    def __init__(
        self,
        rates: Rates,
        name: str,
        windows: Sequence[Window],
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._rates = rates
        self._name = name
        self._windows = windows
        self._clock = clock
        self._sleep = sleep
        self._draw = draw
        self._lock = threading.Lock()
        self._left = 0
        self._until = 0.0
        self._wanted = 1
        self._paused_until = 0.0

    def admit(self, patience_seconds: float, where: str = "") -> None:
        until = self._clock() + patience_seconds
        while True:
            with self._lock:
                wait, because = self._try()
            if wait <= 0:
                return
            if self._clock() + wait > until:
                raise RateLimited(because, wait_seconds=wait, where=where)
            # everybody waits for the same moment: they do not come back in the same moment
            self._sleep(wait * (1.0 + SPREAD * self._draw()) if because == ASKED else wait)

    def pause(self, seconds: float) -> None:
        with self._lock:
            self._left = 0
            self._paused_until = max(self._paused_until, self._clock() + seconds)
        self._rates.pause(self._name, seconds)

    def _try(self) -> tuple[float, str]:
        """How long to wait, and why; 0: go."""
        now = self._clock()
        if now < self._paused_until:
            return self._paused_until - now, ASKED
        if self._left and now < self._until:
            self._left -= 1
            return 0.0, ""
        found = self._take(now)
        if found.granted == 0:
            return max(found.wait_seconds, 0.001), found.because
        self._left, self._until = found.granted - 1, now + found.hold_seconds
        return 0.0, ""

    def _take(self, now: float) -> Permits:
        was_used_up = now < self._until and self._left == 0
        self._wanted = min(self._wanted * 2, self._most()) if was_used_up else 1 if self._windows else _UNCOUNTED
        return self._rates.take(self._name, self._windows, self._wanted, is_delivery=_is_delivering.get())

    def _most(self) -> int:
        """What the windows let through while permits may be held."""
        if not self._windows:
            return _UNCOUNTED
        hold = hold_seconds(self._windows)
        return max(1, int(min(count / seconds for count, seconds in self._windows) * hold))


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
