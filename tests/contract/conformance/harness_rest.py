"""A small system of our own making behind a manifest: the engine's features, without any vendor's manners."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from canonical.declarations.manifest import read_manifest
from canonical.declarations.shapes import Notes
from canonical.declarations.yaml import read_yaml
from connectors.protocol import Context, Secret
from tests.contract.conformance.peer import Peer

TOKEN = "good-token"
MANIFEST = b"""
auth: {kind: bearer, from: token}
check: /v1/customers
timeout: 1s
streams:
  customers:
    path: /v1/customers
    records: data.items
    key: id
    changed: updated_at
    since: {param: updated_since, format: iso}
    paging: {kind: cursor, param: after, next: paging.next, size_param: limit, size: 3}
    deleted_when: "archived == true"
    deletes: absent
    get: {path: "/v1/customers/{id}", record: data}
    find: {path: /v1/customers, params: {name: name}, records: data.items}
    write_class: A
    create:
      method: POST
      path: /v1/customers
      body: wrapped
      wrap: data
      id: data.id
      record: data
      idempotency_header: Idempotency-Key
    update: {method: PATCH, path: "/v1/customers/{id}", body: wrapped, wrap: data, id: data.id, record: data}
    archive: {method: DELETE, path: "/v1/customers/{id}"}
"""

ROLES = frozenset({"source", "target"})


class Shop:
    """The system's records and what it does when it is asked."""

    def __init__(self) -> None:
        self.records: dict[str, dict[str, Any]] = {}
        self.answered: dict[str, str] = {}
        self.lock = threading.Lock()
        self.gate = threading.Event()
        self.gate.set()
        self.count = 0

    def put(self, record_id: str | None, name: str) -> dict[str, Any]:
        self.count += record_id is None
        record_id = record_id or str(self.count)
        moment = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        self.records[record_id] = {"id": record_id, "name": name, "updated_at": moment}
        return self.records[record_id]

    def listed(self, query: Mapping[str, str]) -> dict[str, Any]:
        rows = sorted(self.records.values(), key=lambda r: int(r["id"]))
        if since := query.get("updated_since"):
            rows = [r for r in rows if r["updated_at"] >= since[:19]]
        if "name" in query:
            rows = [r for r in rows if query["name"].lower() in r["name"].lower()]
        rows = [r for r in rows if int(r["id"]) > int(query.get("after", 0))]
        size = int(query.get("limit", 50))
        following = rows[size - 1]["id"] if len(rows) > size else None
        return {"data": {"items": rows[:size]}, "paging": {"next": following}}

    def written(self, method: str, record_id: str | None, data: Mapping[str, Any], key: str | None) -> tuple[int, Any]:
        if method == "DELETE":
            return (204, None) if self.records.pop(str(record_id), None) else (404, {"error": "gone"})
        if len(data["name"]) > 60:
            return 422, {"error": "name is too long"}
        if method == "PATCH":
            return (200, {"data": self.put(record_id, data["name"])}) if record_id in self.records else (404, {})
        if key and key in self.answered:
            return 200, {"data": self.records[self.answered[key]]}
        made = self.put(None, data["name"])
        if key:
            self.answered[key] = made["id"]
        return 201, {"data": made}


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that hung up is what the suite asks for."""


def handler(shop: Shop) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

        def work(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            shop.gate.wait(10)
            with shop.lock:
                status, content = self.answer(json.loads(body) if body else {})
            raw = b"" if content is None else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def answer(self, body: dict[str, Any]) -> tuple[int, Any]:
            if self.headers.get("authorization") != f"Bearer {TOKEN}":
                return 401, {"error": "who are you?"}
            url = urlsplit(self.path)
            _, _, record_id = url.path.removeprefix("/v1/").partition("/")
            if self.command != "GET":
                key = self.headers.get("idempotency-key")
                return shop.written(self.command, record_id or None, body.get("data", {}), key)
            if not record_id:
                return 200, shop.listed({name: values[0] for name, values in parse_qs(url.query).items()})
            found = shop.records.get(record_id)
            return (200, {"data": found}) if found else (404, {"error": "not found"})

        do_GET = do_POST = do_PATCH = do_DELETE = work

    return Handler


class Declared(Peer):
    secret = "wrong-token-0815"

    def __init__(self, url: str, shop: Shop) -> None:
        self.url = url
        self.shop = shop
        node, problems = read_yaml("connectors/shop.yaml", MANIFEST)
        notes = Notes(problems)
        self.manifest = read_manifest(notes, node, "shop")
        assert not notes.problems, notes.problems
        super().__init__(self._context(TOKEN), "customers")

    def _context(self, token: str) -> Context:
        settings = {"url": self.url, "token": Secret(lambda: token), "manifest": self.manifest}
        streams = {name: one.stream for name, one in self.manifest.streams.items()}
        return Context("shop", settings, streams, network="loopback")

    def wrong_context(self) -> Context:
        return self._context(str(self.secret))

    def add(self, names: Sequence[str]) -> list[str]:
        with self.shop.lock:
            return [self.shop.put(None, name)["id"] for name in names]

    def rename(self, record_id: str, name: str) -> None:
        with self.shop.lock:
            self.shop.put(record_id, name)

    def remove(self, record_id: str) -> None:
        with self.shop.lock:
            del self.shop.records[record_id]

    def names(self) -> dict[str, str]:
        with self.shop.lock:
            return {i: r["name"] for i, r in self.shop.records.items()}

    def name_of(self, payload: bytes) -> str:
        return str(json.loads(payload)["name"])

    def values(self, name: str) -> Mapping[str, Any]:
        return {"name": name}

    def refused_values(self, name: str) -> Mapping[str, Any]:
        return {"name": name + "x" * 60}

    def by_name(self, name: str) -> Mapping[str, str]:
        return {"name": name}

    @contextmanager
    def slow(self, connector: Any) -> Iterator[None]:
        self.shop.gate.clear()
        try:
            yield
        finally:
            self.shop.gate.set()


@contextmanager
def open_peer(request: pytest.FixtureRequest, folder: Path) -> Iterator[Peer]:
    shop = Shop()
    server = _Server(("127.0.0.1", 0), handler(shop))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Declared(f"http://127.0.0.1:{server.server_address[1]}", shop)
    shop.gate.set()
    server.shutdown()
    server.server_close()
