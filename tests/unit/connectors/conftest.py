"""Vendor-shaped systems in process, behind a transport that remembers what was asked and can answer otherwise."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from sandbox import hubspot, xero
from sandbox.runner import TENANT_ID, fill_store
from sandbox.seed import World, build_world
from sandbox.store import Store

Interception = Callable[[httpx.Request], httpx.Response | None]


@dataclass
class Wire(httpx.BaseTransport):
    """A transport to a sandbox system. `intercept` may answer (or raise) instead of the system."""

    inner: httpx.BaseTransport
    requests: list[httpx.Request] = field(default_factory=list)
    intercept: Interception | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.intercept(request) if self.intercept else None
        if answer is not None:
            return answer
        with self.lock:  # served by one loop, the systems see one request at a time
            return self.inner.handle_request(request)

    def bodies(self, path: str) -> list[Any]:
        """What was sent to paths that end like this."""
        return [json.loads(one.content) for one in self.requests if one.url.path.endswith(path) and one.content]


@pytest.fixture(scope="session")
def world() -> World:
    return build_world(seed=7, scale=0.1)


@pytest.fixture
def crm_store(world: World) -> Iterator[Store]:
    store = Store(":memory:")
    fill_store(store, world.crm)
    yield store
    store.close()


@pytest.fixture
def crm_wire(crm_store: Store) -> Wire:
    app = hubspot.create_app(crm_store, "secret", limit=100_000)
    return Wire(TestClient(app, base_url="https://api.hubapi.com")._transport)


@pytest.fixture
def ledger_store(world: World) -> Iterator[Store]:
    store = Store(":memory:")
    fill_store(store, world.accounting)
    yield store
    store.close()


@pytest.fixture
def ledger_wire(ledger_store: Store) -> Wire:
    app = xero.create_app(ledger_store, "secret", TENANT_ID)
    return Wire(TestClient(app, base_url="https://api.xero.com")._transport)
