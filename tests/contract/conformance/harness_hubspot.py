"""The CRM of the sandbox, looked at through its own API."""

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
from sandbox.runner import Running
from tests.contract.conformance.peer import Peer, call, sandbox_delay

ROLES = frozenset({"source", "target"})


class Crm(Peer):
    edge = 205
    is_removal_final = False
    secret = "wrong-token-0815"

    def __init__(self, sandbox: Running) -> None:
        self.url = sandbox.crm_url
        self.headers = {"authorization": f"Bearer {sandbox.tokens['crm']}"}
        super().__init__(self._context(sandbox.tokens["crm"]), "companies")

    def _context(self, token: str) -> Context:
        streams = default_streams(read_defaults("hubspot", *registry.defaults("hubspot")))
        settings = {
            "url": self.url,
            "token": Secret(lambda: token),
            "requests_per_10_seconds": 1_000,
            "searches_per_second": 100,
            "index_lag_seconds": 0,
        }
        return Context("crm", settings, {"companies": streams["companies"]}, network="loopback")

    def wrong_context(self) -> Context:
        return self._context(str(self.secret))

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        return call(method, f"{self.url}/crm/v3/objects/companies{path}", self.headers, body)

    def add(self, names: Sequence[str]) -> list[str]:
        ids: dict[str, str] = {}
        for start in range(0, len(names), 100):
            inputs = [{"properties": {"name": name}} for name in names[start : start + 100]]
            for made in self._call("POST", "/batch/create", {"inputs": inputs})["results"]:
                ids[made["properties"]["name"]] = made["id"]
        return [ids[name] for name in names]

    def rename(self, record_id: str, name: str) -> None:
        self._call("PATCH", f"/{record_id}", {"properties": {"name": name}})

    def remove(self, record_id: str) -> None:
        self._call("DELETE", f"/{record_id}")

    def names(self) -> dict[str, str]:
        found: dict[str, str] = {}
        after = ""
        while True:
            page = self._call("GET", f"?limit=100&properties=name{after}")
            found |= {one["id"]: str(one["properties"]["name"]) for one in page["results"]}
            if "paging" not in page:
                return found
            after = f"&after={page['paging']['next']['after']}"

    def name_of(self, payload: bytes) -> str:
        return str(json.loads(payload)["properties"]["name"])

    def values(self, name: str) -> Mapping[str, Any]:
        return {"properties": {"name": name}}

    def refused_values(self, name: str) -> Mapping[str, Any]:
        return {"properties": {"name": name, "lifecyclestage": "no such stage"}}

    def by_name(self, name: str) -> Mapping[str, str]:
        return {"properties.name": name}

    @contextmanager
    def slow(self, connector: Any) -> Iterator[None]:
        with sandbox_delay(self.url, connector):
            yield


@contextmanager
def open_peer(request: pytest.FixtureRequest, folder: Path) -> Iterator[Peer]:
    yield Crm(request.getfixturevalue("sandbox"))
