"""Stopping when asked: SIGTERM lets the step at hand end, and nothing new begins (matrix row 7).

What is left is where any run finds it: ready in the outbox, or behind a stream's cursor.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_asked = threading.Event()


def is_asked() -> bool:
    """Whether this process was asked to stop."""
    return _asked.is_set()


@contextmanager
def on_sigterm() -> Iterator[None]:
    """Inside, SIGTERM asks to stop instead of ending the process; a second one ends it. In the main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(_: int, __: object) -> None:
        _asked.set()
        signal.signal(signal.SIGTERM, before)

    before = signal.signal(signal.SIGTERM, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        _asked.clear()
