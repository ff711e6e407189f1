"""A mail server of the tests' own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from connectors.protocol import Context, Secret
from tests.contract.conformance.peer import Peer
from tests.fixtures.smtp import MailServer

ROLES = frozenset({"notifier"})
PASSWORD = "right-password-4711"


class Mailbox(Peer):
    secret = "wrong-password-0815"

    def __init__(self, server: MailServer) -> None:
        self.server = server
        super().__init__(self._context(PASSWORD), "")

    def _context(self, password: str) -> Context:
        login = {"user": "concord", "password": Secret(lambda: password)}
        return Context("mail", {**self.server.settings, **login}, {}, network="loopback")

    def wrong_context(self) -> Context:
        return self._context(self.secret)

    def received(self) -> str:
        """Everything that ever arrived, as text."""
        return "\n".join(f"{got.subject}\n{got.body}" for got in self.server.inbox)

    @contextmanager
    def slow(self, connector: Any) -> Iterator[None]:
        from connectors.mail import dialogue as module

        before, module.DEADLINE_SECONDS, self.server.hang_seconds = module.DEADLINE_SECONDS, 0.3, 1.0
        try:
            yield
        finally:
            module.DEADLINE_SECONDS, self.server.hang_seconds = before, 0.0


@contextmanager
def open_peer(request: pytest.FixtureRequest, folder: Path) -> Iterator[Peer]:
    with MailServer(folder, login=("concord", PASSWORD)) as server:
        yield Mailbox(server)
