"""The ledger of the sandbox, looked at through its own API."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from canonical.declarations.connectors import default_streams, read_defaults
from connectors import registry
from connectors.protocol import Context, Secret
from connectors.xero import reading
from sandbox.runner import Running
from tests.contract.conformance.peer import Peer, call, sandbox_delay

ROLES = frozenset({"source", "target"})


class Ledger(Peer):
    edge = 55
    is_removal_final = False
    secret = "wrong-token-0815"

    def __init__(self, sandbox: Running) -> None:
        self.url = sandbox.accounting_url
        self.tenant = sandbox.tenant_id
        self.headers = {
            "authorization": f"Bearer {sandbox.tokens['accounting']}",
            "xero-tenant-id": self.tenant,
            "accept": "application/json",
        }
        super().__init__(self._context(sandbox.tokens["accounting"]), "contacts")

    def _context(self, token: str) -> Context:
        streams = default_streams(read_defaults("xero", *registry.defaults("xero")))
        settings = {
            "url": self.url,
            "token": Secret(lambda: token),
            "tenant_id": self.tenant,
            "requests_per_minute": 6_000,
        }
        return Context("accounting", settings, {"contacts": streams["contacts"]}, network="loopback")

    def wrong_context(self) -> Context:
        return self._context(str(self.secret))

    def _call(self, method: str, path: str = "", body: Any = None) -> Any:
        return call(method, f"{self.url}/api.xro/2.0/Contacts{path}", self.headers, body)

    def add(self, names: Sequence[str]) -> list[str]:
        ids: list[str] = []
        for start in range(0, len(names), 50):
            contacts = [{"Name": name} for name in names[start : start + 50]]
            ids += [made["ContactID"] for made in self._call("PUT", "", {"Contacts": contacts})["Contacts"]]
        return ids

    def rename(self, record_id: str, name: str) -> None:
        self._call("POST", f"/{record_id}", {"Name": name})

    def remove(self, record_id: str) -> None:
        self._call("POST", f"/{record_id}", {"ContactStatus": "ARCHIVED"})

    def names(self) -> dict[str, str]:
        found: dict[str, str] = {}
        page = 1
        while contacts := self._call("GET", f"?page={page}&pageSize=100")["Contacts"]:
            found |= {one["ContactID"]: one["Name"] for one in contacts}
            page += 1
        return found

    def name_of(self, payload: bytes) -> str:
        return str(json.loads(payload)["Name"])

    def values(self, name: str) -> Mapping[str, Any]:
        return {"Name": name}

    def refused_values(self, name: str) -> Mapping[str, Any]:
        return {"Name": name + "x" * 300}

    def by_name(self, name: str) -> Mapping[str, str]:
        return {"Name": name}

    @contextmanager
    def slow(self, connector: Any) -> Iterator[None]:
        with sandbox_delay(self.url, connector):
            yield


@contextmanager
def open_peer(request: pytest.FixtureRequest, folder: Path) -> Iterator[Peer]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "PAGE_SIZE", 50)
        yield Ledger(request.getfixturevalue("sandbox"))
