"""What a connector's harness gives to the conformance suite: a running system, and hands and eyes at its other side."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TypeVar

from connectors.protocol import Context

Role = Literal["source", "target", "notifier"]
Test = TypeVar("Test", bound=Callable[..., None])


def of(*roles: Role) -> Callable[[Test], Test]:
    """A check of connectors that have all these roles; the harness module says which it has, in `ROLES`."""

    def mark(test: Test) -> Test:
        test.roles = frozenset(roles)  # type: ignore[attr-defined]
        return test

    return mark


class Peer:
    """A running system. Records have a name; everything else about them is the harness's affair.

    Methods act at the system's own side, never through the connector under test.
    """

    kind: str = ""
    """The connector's folder."""
    edge: int = 7
    """How many records are sure to lie on several pages."""
    is_removal_final: bool = True
    """Whether a removed record is gone, rather than in a bin or an archive."""
    secret: str = ""
    """A wrong secret that `wrong_context` carries; empty: the system knows no login."""

    def __init__(self, context: Context, stream: str) -> None:
        self.context = context
        self.stream = stream

    def wrong_context(self) -> Context:
        """The same system with `secret` for a secret."""
        raise NotImplementedError

    def add(self, names: Sequence[str]) -> list[str]:
        """Create records; returns their ids in that order."""
        raise NotImplementedError

    def rename(self, record_id: str, name: str) -> None:
        """Change a record so that its change mark moves."""
        raise NotImplementedError

    def remove(self, record_id: str) -> None:
        """Delete a record as the system's people do."""
        raise NotImplementedError

    def names(self) -> dict[str, str]:
        """All live records: id → name."""
        raise NotImplementedError

    def name_of(self, payload: bytes) -> str:
        """The name inside a record as the connector read it."""
        raise NotImplementedError

    def values(self, name: str) -> Mapping[str, Any]:
        """A good payload for a create or update."""
        raise NotImplementedError

    def refused_values(self, name: str) -> Mapping[str, Any]:
        """A payload that the system refuses for this record alone."""
        raise NotImplementedError

    def by_name(self, name: str) -> Mapping[str, str]:
        """What to ask `find` for."""
        raise NotImplementedError

    @contextmanager
    def slow(self, connector: Any) -> Iterator[None]:
        """Make the system slower than the connector's patience."""
        raise NotImplementedError
        yield


def call(method: str, url: str, headers: Mapping[str, str], body: Any = None) -> Any:
    """A plain HTTP request with a JSON answer (None when it has no body)."""
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(url, data, {"content-type": "application/json", **headers}, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        said = answer.read()
    return json.loads(said) if said else None


@contextmanager
def sandbox_delay(url: str, connector: Any) -> Iterator[None]:
    """The sandbox waits for each request; the connector's deadline for a whole request is shorter."""
    call("POST", f"{url}/_sandbox/fault", {}, {"kind": "delay", "count": -1, "seconds": 1.5})
    before = connector._client._deadline_seconds
    connector._client._deadline_seconds = 0.3
    try:
        yield
    finally:
        connector._client._deadline_seconds = before
        call("DELETE", f"{url}/_sandbox/faults", {})
