"""The work management of the sandbox, looked at through its own API."""

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
from sandbox.asana_work import TEAM, WORKSPACE
from sandbox.runner import Running
from tests.contract.conformance.peer import Peer, call, sandbox_delay

ROLES = frozenset({"source", "target"})


class Projects(Peer):
    edge = 105
    secret = "wrong-token-0815"

    def __init__(self, sandbox: Running) -> None:
        self.url = sandbox.asana_url
        self.headers = {"authorization": f"Bearer {sandbox.tokens['asana']}"}
        super().__init__(self._context(sandbox.tokens["asana"]), "projects")

    def _context(self, token: str) -> Context:
        streams = default_streams(read_defaults("asana", *registry.defaults("asana")))
        settings = {
            "url": self.url,
            "token": Secret(lambda: token),
            "team": TEAM["gid"],
            "requests_per_minute": 100_000,
        }
        return Context("work", settings, {"projects": streams["projects"]}, network="loopback")

    def wrong_context(self) -> Context:
        return self._context(str(self.secret))

    def _call(self, method: str, path: str, data: Any = None) -> Any:
        body = {"data": data} if data is not None else None
        return call(method, f"{self.url}/api/1.0{path}", self.headers, body)

    def add(self, names: Sequence[str]) -> list[str]:
        place = {"workspace": WORKSPACE["gid"], "team": TEAM["gid"]}
        ids: list[str] = []
        for start in range(0, len(names), 10):
            actions = [
                {"relative_path": "/projects", "method": "post", "data": {"name": name, **place}}
                for name in names[start : start + 10]
            ]
            made = self._call("POST", "/batch", {"actions": actions})["data"]
            ids += [one["body"]["data"]["gid"] for one in made]
        return ids

    def rename(self, record_id: str, name: str) -> None:
        self._call("PUT", f"/projects/{record_id}", {"name": name})

    def remove(self, record_id: str) -> None:
        self._call("DELETE", f"/projects/{record_id}")

    def names(self) -> dict[str, str]:
        found: dict[str, str] = {}
        offset = ""
        while True:
            path = f"/projects?workspace={WORKSPACE['gid']}&archived=false&limit=100{offset}"
            page = self._call("GET", path)
            found |= {one["gid"]: one["name"] for one in page["data"]}
            if page["next_page"] is None:
                return found
            offset = f"&offset={page['next_page']['offset']}"

    def name_of(self, payload: bytes) -> str:
        return str(json.loads(payload)["name"])

    def values(self, name: str) -> Mapping[str, Any]:
        return {"name": name}

    def refused_values(self, name: str) -> Mapping[str, Any]:
        return {"name": name, "due_on": "no such day"}

    def by_name(self, name: str) -> Mapping[str, str]:
        return {"name": name}

    @contextmanager
    def slow(self, connector: Any) -> Iterator[None]:
        with sandbox_delay(self.url, connector):
            yield


@contextmanager
def open_peer(request: pytest.FixtureRequest, folder: Path) -> Iterator[Peer]:
    yield Projects(request.getfixturevalue("sandbox"))
