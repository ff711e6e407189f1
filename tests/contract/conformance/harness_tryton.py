"""A real Tryton server, looked at as its own client does."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from canonical.landscape import Stream
from connectors.protocol import Context, Secret
from tests.contract.conformance.peer import Peer
from tests.fixtures.tryton import TrytonServer, running_tryton

PARTY = "model.party.party"

ROLES = frozenset({"source", "target"})


class Erp(Peer):
    edge = 205
    secret = "wrong-key-0815"

    def __init__(self, server: TrytonServer) -> None:
        self.server = server
        super().__init__(self._context(server.key), "parties")

    def _context(self, key: str) -> Context:
        settings = {"url": self.server.url.removesuffix("erp/"), "database": "erp", "key": Secret(lambda: key)}
        return Context("erp", settings, {"parties": Stream("parties")}, network="loopback")

    def wrong_context(self) -> Context:
        return self._context(str(self.secret))

    def add(self, names: Sequence[str]) -> list[str]:
        return [str(i) for i in self.server.rpc(f"{PARTY}.create", [{"name": name} for name in names])]

    def rename(self, record_id: str, name: str) -> None:
        self.server.rpc(f"{PARTY}.write", [int(record_id)], {"name": name})

    def remove(self, record_id: str) -> None:
        self.server.rpc(f"{PARTY}.delete", [int(record_id)])

    def names(self) -> dict[str, str]:
        rows = self.server.rpc(f"{PARTY}.search_read", [], 0, None, None, ["name"])
        return {str(row["id"]): row["name"] for row in rows}

    def name_of(self, payload: bytes) -> str:
        return str(json.loads(payload)["name"])

    def values(self, name: str) -> Mapping[str, Any]:
        return {"name": name}

    def refused_values(self, name: str) -> Mapping[str, Any]:
        return {"name": name, "tax_identifier": {"full": "GB123"}}

    def by_name(self, name: str) -> Mapping[str, str]:
        return {"name": name}

    @contextmanager
    def slow(self, connector: Any) -> Iterator[None]:
        # No handle of Tryton makes it slow; a deadline of a millisecond is less than it ever takes.
        before = connector._client._deadline_seconds
        connector._client._deadline_seconds = 0.001
        yield
        connector._client._deadline_seconds = before


@contextmanager
def open_peer(request: pytest.FixtureRequest, folder: Path) -> Iterator[Peer]:
    with running_tryton(folder) as server:
        yield Erp(server)
