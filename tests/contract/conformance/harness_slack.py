"""The inbox of the sandbox."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from connectors.protocol import Context, Secret
from sandbox.runner import Running
from tests.contract.conformance.peer import Peer, call

ROLES = frozenset({"notifier"})


class Inbox(Peer):
    secret = "wrong-hook-0815"

    def __init__(self, sandbox: Running) -> None:
        self.url = sandbox.slack_url
        self.webhook = sandbox.slack_webhook
        super().__init__(self._context(self.webhook), "")

    def _context(self, webhook: str) -> Context:
        return Context("slack", {"webhook_url": Secret(lambda: webhook)}, {}, network="loopback")

    def wrong_context(self) -> Context:
        return self._context(f"{self.webhook.rpartition('/')[0]}/{self.secret}")

    def received(self) -> str:
        """Everything that ever arrived, as text."""
        found = call("GET", f"{self.url}/_sandbox/requests?writes=1", {})
        return "\n".join(one["body"] for one in found["requests"] if one["status"] == 200)

    @contextmanager
    def slow(self, connector: Any) -> Iterator[None]:
        from connectors.slack import connector as module

        call("POST", f"{self.url}/_sandbox/fault", {}, {"kind": "delay", "count": -1, "seconds": 1.5})
        before = module._DEADLINE_SECONDS
        module._DEADLINE_SECONDS = 0.3
        try:
            yield
        finally:
            module._DEADLINE_SECONDS = before
            call("DELETE", f"{self.url}/_sandbox/faults", {})


@contextmanager
def open_peer(request: pytest.FixtureRequest, folder: Path) -> Iterator[Peer]:
    yield Inbox(request.getfixturevalue("sandbox"))
