"""Where tokens are kept: one place for all workers, which hands out the right to renew to one of them at a time.

Connectors know no database: whoever builds them gives a store (`Context.tokens`). Without one, as in a script or a
test, tokens live and end with the process.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from canonical.tokens import EARLY_SHARE, Grant, Held


class LockedToken(Protocol):
    """A system's token while nobody else may renew it. Every call lasts (is committed) when it returns."""

    def load(self) -> Held | None:
        """The token as it is now: somebody may have renewed it before we got the lock."""
        ...

    def asked(self) -> None:
        """A refresh is about to be sent. Should its answer be lost, this tells why the token is not accepted."""
        ...

    def save(self, grant: Grant, over: int) -> Held:
        """Keep a new token in place of version `over` (0: of none). Where another version stands there meanwhile,
        nothing is changed, and that one is given back."""
        ...

    def refused(self, because: str) -> None:
        """The refresh token was refused: other workers need not try it."""
        ...


class TokenStore(Protocol):
    """One system's token."""

    def load(self) -> Held | None: ...

    def lock(self) -> AbstractContextManager[LockedToken]:
        """Wait for the right to renew. Raises TimeoutError when another holds it for too long."""
        ...


class MemoryTokens:
    """A store that ends with the process. Also its own locked form."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._grant: Grant | None = None
        self._version = 0
        self._stored_at = 0.0
        self._asked_at: float | None = None
        self._refused: tuple[str, float] | None = None

    def load(self) -> Held | None:
        if self._grant is None:
            return None
        age = self._clock() - self._stored_at
        life = self._grant.life_seconds
        return Held(
            version=self._version,
            access=self._grant.access,
            refresh=self._grant.refresh,
            left_seconds=None if life is None else life - age,
            due_seconds=None if life is None else EARLY_SHARE * life - age,
            asked_seconds_ago=None if self._asked_at is None else self._clock() - self._asked_at,
            refused=self._refused[0] if self._refused else None,
            refused_seconds_ago=self._clock() - self._refused[1] if self._refused else None,
        )

    @contextmanager
    def lock(self) -> Iterator[MemoryTokens]:
        with self._lock:
            yield self

    def asked(self) -> None:
        self._asked_at = self._clock()

    def save(self, grant: Grant, over: int) -> Held:
        if over == self._version:
            self._grant, self._version, self._stored_at = grant, self._version + 1, self._clock()
            self._asked_at = self._refused = None
        held = self.load()
        assert held is not None
        return held

    def refused(self, because: str) -> None:
        self._refused = because, self._clock()
