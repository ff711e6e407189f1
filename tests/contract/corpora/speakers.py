"""One speaker for each kind of source: it says any bytes at all in the form of that system's lists.

A speaker of JSON serves pages over HTTP whose records are written byte for byte; the folder's and the table's speakers
put texts into files and rows. What is said is known exactly, so that what landed can be compared with it.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from canonical.declarations.connectors import default_streams, read_defaults
from canonical.declarations.manifest import read_manifest
from canonical.declarations.shapes import Notes
from canonical.declarations.yaml import read_yaml
from canonical.landscape import Stream
from connectors import registry
from connectors.protocol import Context, Secret

MANIFEST = b"""
streams:
  things:
    path: /things
    records: data
    key: id
    get: {path: "/things/{id}"}
"""
TENANT = "aaaaaaaa-0000-4000-8000-000000000000"


@dataclass
class Speaker:
    """How one kind of system lists records over HTTP. `keeps_ids`: ids are text that anybody may choose."""

    kind: str
    stream: Stream
    settings: dict[str, Any] = field(default_factory=dict)
    keeps_ids: bool = True
    is_verbatim: bool = True
    """Whether a record's bytes land as they were sent; else its JSON value does."""

    def record(self, key: bytes, *members: tuple[bytes, bytes]) -> bytes:
        """A record as bytes: its id and further members, all of them JSON texts."""
        return b"{" + b", ".join(b"%s: %s" % pair for pair in ((b'"id"', key), *members)) + b"}"

    def page(self, records: Sequence[bytes]) -> bytes:
        return b'{"data": [' + b", ".join(records) + b"]}"

    def answer(self, said: Said, query: dict[str, list[str]]) -> bytes:
        """The body for one request of the list."""
        return said.body if said.body is not None else self.page(said.records)

    def members(self, payload: bytes) -> dict[str, Any]:
        """The members that `record` was given, of a record that landed."""
        found: dict[str, Any] = json.loads(payload)
        return found

    def key(self, number: int) -> str:
        """An id that this system could have given."""
        return f"n{number:05d}"

    def context(self, url: str) -> Context:
        settings = {"url": url, **self.settings}
        return Context("peer", settings, {self.stream.name: self.stream}, network="loopback")


class Hubspot(Speaker):
    def record(self, key: bytes, *members: tuple[bytes, bytes]) -> bytes:
        inside = b", ".join(b"%s: %s" % pair for pair in members)
        return b'{"id": %s, "properties": {%s}, "archived": false}' % (key, inside)

    def page(self, records: Sequence[bytes]) -> bytes:
        return b'{"results": [' + b", ".join(records) + b"]}"

    def members(self, payload: bytes) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(payload)["properties"]
        return found


class Xero(Speaker):
    def record(self, key: bytes, *members: tuple[bytes, bytes]) -> bytes:
        return super().record(key, *members).replace(b'"id": ', b'"ContactID": ', 1)

    def page(self, records: Sequence[bytes]) -> bytes:
        paging = b'{"page": 1, "pageCount": 1, "itemCount": %d}' % len(records)
        return b'{"pagination": %s, "Contacts": [%s]}' % (paging, b", ".join(records))


class Asana(Speaker):
    def record(self, key: bytes, *members: tuple[bytes, bytes]) -> bytes:
        return super().record(key, *members).replace(b'"id": ', b'"gid": ', 1)

    def page(self, records: Sequence[bytes]) -> bytes:
        return b'{"data": [' + b", ".join(records) + b'], "next_page": null}'


class Tryton(Speaker):
    """Ids are numbers, and a page is what lies behind the last id of the page before."""

    def key(self, number: int) -> str:
        return str(number + 1)

    def page(self, records: Sequence[bytes]) -> bytes:
        return b"[" + b", ".join(records) + b"]"

    def answer(self, said: Said, query: dict[str, list[str]]) -> bytes:
        if said.body is not None:
            return said.body
        [[_, _, after]] = json.loads(base64.urlsafe_b64decode(query["d"][0]))
        return self.page(said.records[after : after + int(query["s"][0])])


@dataclass
class Said:
    """What the server says now: records in a page of the system's form, or a whole body."""

    records: list[bytes] = field(default_factory=list)
    body: bytes | None = None


def _shipped(kind: str, stream: str, **options: Any) -> Stream:
    """A stream as the connector ships it."""
    found = default_streams(read_defaults(kind, *registry.defaults(kind)))[stream]
    return Stream(found.name, key=found.key, changed=None, options={**found.options, **options})


def _declared() -> Speaker:
    node, problems = read_yaml("connectors/peer.yaml", MANIFEST)
    notes = Notes(problems)
    manifest = read_manifest(notes, node, "peer")
    assert not notes.problems, notes.problems
    return Speaker("rest", manifest.streams["things"].stream, {"manifest": manifest})


def _token() -> Secret:
    return Secret(lambda: "a-token")


def speakers() -> dict[str, Speaker]:
    """Kind → its speaker of JSON."""
    hubspot = Hubspot(
        "hubspot",
        _shipped("hubspot", "companies", archived="never"),
        {"token": _token(), "requests_per_10_seconds": 100_000},
    )
    xero = Xero(
        "xero", _shipped("xero", "contacts"), {"token": _token(), "tenant_id": TENANT, "requests_per_minute": 100_000}
    )
    tryton = Tryton("tryton", Stream("parties"), {"database": "erp", "key": _token()}, False, False)
    tasks = {"token": _token(), "workspace": "1", "requests_per_minute": 100_000}
    asana = Asana("asana", _shipped("asana", "users"), tasks)
    return {one.kind: one for one in (asana, _declared(), hubspot, xero, tryton)}


@contextmanager
def speaking(speaker: Speaker) -> Iterator[tuple[Said, Context]]:
    """A running server of this speaker; what it says may be changed from one request to the next."""
    said = Said()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = speaker.answer(said, parse_qs(urlsplit(self.path).query))
            self.send_response(200)
            self.send_header("content-type", "application/json; charset=utf-8")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield said, speaker.context(f"http://127.0.0.1:{server.server_address[1]}")
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)
