"""What surrounds every HTTP system: the request log, planted faults, and the doors under `/_sandbox/` for tests.

A system is a Starlette application plus a few functions (`SystemParts`). The plane reads the whole request, asks the
system's guard (authorisation, limits), lets the application answer, logs, commits, and only then sends: an answer that
was seen is always stored.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from sandbox import lies
from sandbox.faults import WITH_WORK, Fault, FaultPlan
from sandbox.oauth import Authority
from sandbox.store import Doc, Store, Streams

MAX_BODY_BYTES = 32 * 1024 * 1024
_LOOPBACK = {"127.0.0.1", "::1", "testclient"}


class Json(Response):
    """A JSON answer."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Encode with orjson; None values are kept."""
        return orjson.dumps(content)


class RollingLimit:
    """At most `limit` requests in any `window_seconds`. `wait_seconds` tells a refused caller when to come back."""

    def __init__(self, limit: int, window_seconds: float) -> None:
        self.limit = limit
        self.window_seconds = window_seconds
        self._seen: deque[float] = deque()

    def admit(self) -> bool:
        """Count this request; False when the window is full."""
        now = time.monotonic()
        while self._seen and self._seen[0] <= now - self.window_seconds:
            self._seen.popleft()
        if len(self._seen) >= self.limit:
            return False
        self._seen.append(now)
        return True

    @property
    def remaining(self) -> int:
        """Requests left in the window."""
        return max(0, self.limit - len(self._seen))

    @property
    def wait_seconds(self) -> float:
        """Seconds until the oldest counted request leaves the window."""
        return max(0.0, self._seen[0] + self.window_seconds - time.monotonic()) if self._seen else 0.0


@dataclass(frozen=True)
class SystemParts:
    """What a system gives the plane.

    guard: refuses a request before any work (None: go on). edit: a person's change of one record, raising KeyError for
    an unknown record. counts: records per stream. is_write: whether (method, path) asks for a change. oauth: where
    tokens come from, in systems that give some.
    """

    name: str
    app: ASGIApp
    store: Store
    guard: Callable[[Request], Response | None]
    edit: Callable[[str, str, dict[str, Any]], dict[str, Any]]
    counts: Callable[[], dict[str, int]]
    is_write: Callable[[str, str], bool]
    oauth: Authority | None = None


@dataclass
class _Answer:
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class TransportProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 protocol that lets the application reach its transport, so that it can cut a connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Put the transport into the connection's state."""
        self.app_state = {**self.app_state, "transport": transport}
        super().connection_made(transport)


class Plane:
    """The ASGI application that is served: a system inside its log, faults and test doors."""

    def __init__(self, parts: SystemParts) -> None:
        self.parts = parts
        self.faults = FaultPlan()
        self._pages: dict[str, list[Doc]] = {}
        """Path → the records of the page that was answered last, for `duplicate_page`."""
        self._frozen: dict[tuple[int, str], tuple[int, Any]] = {}
        """(fault, what it keeps) → the window it was kept in, and what is repeated while the fault lasts."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.parts.app(scope, receive, send)
            return
        body = await _read_body(receive)
        request = Request(scope, _replay(body))
        store = self.parts.store
        store.set_clock(self.faults.clock_offset_seconds)
        if request.url.path.startswith("/_sandbox/"):
            told = self._admin(request, body)
            store.commit()
            await _send(send, told)
            return
        text = body.decode("utf-8", "replace")
        path = request.url.path
        fault = self.faults.take(request.method, path, text, is_search=_is_search(request))
        answer = await self._work(request, body, fault)
        store.log_request(
            method=request.method,
            path=path,
            query=request.url.query,
            body=text,
            status=answer.status if answer else 0,
            is_write=self.parts.is_write(request.method, path),
            fault=fault.kind if fault else "",
        )
        store.commit()
        if answer is not None:
            answer.headers.append((b"date", formatdate(store.clock_seconds, usegmt=True).encode()))
        await _deliver(scope, send, answer, fault)
        if (transport := scope.get("state", {}).get("transport")) is not None and transport.is_closing():
            await receive()  # of a connection that is closed; else the server answers on it that nothing was answered

    async def _work(self, request: Request, body: bytes, fault: Fault | None) -> _Answer | None:
        """Do what was asked, unless the fault says otherwise. None: the connection is to be cut."""
        match fault:
            case Fault(kind="html200"):
                page = fault.text or "<!doctype html><title>Please sign in</title><h1>Please sign in</h1>"
                return _canned(200, page, {"content-type": "text/html; charset=utf-8", **fault.headers})
            case Fault(kind="empty200"):
                return _canned(200, "", fault.headers)
            case Fault(kind="reset_before"):
                return None
            case Fault(kind=kind) if kind not in WITH_WORK:
                return _canned(fault.status, fault.text, fault.headers)
            case Fault(kind="delay"):
                await asyncio.sleep(fault.seconds)
            case Fault(kind="expire") if self.parts.oauth is not None:
                self.parts.oauth.expire()
        refused = self.parts.guard(request)
        with self._view(request, fault):
            answer = await _capture(refused if refused is not None else self.parts.app, request.scope, _replay(body))
        match fault:
            case Fault(kind="reset_after"):
                return None
            case Fault(kind="status_after"):
                return _canned(fault.status, fault.text, fault.headers)
            case Fault(kind="empty_after"):
                return _canned(answer.status, "", fault.headers)
        return self._told(request, body, answer, fault)

    def _view(self, request: Request, fault: Fault | None) -> contextlib.AbstractContextManager[None]:
        """What this request sees of the store: what is there, or what the fault lets it see."""
        store, is_write = self.parts.store, self.parts.is_write(request.method, request.url.path)
        match fault:
            case Fault(kind="stale_read") if not is_write:
                past: Streams = self._kept(fault, "store", store.copied)
                return store.seen_as(past)
            case Fault(kind="search_lag") if not is_write:
                return store.seen_as(store.without_newborn(fault.seconds))
        return contextlib.nullcontext()

    def _kept(self, fault: Fault, what: str, make: Callable[[], Any]) -> Any:
        """Something that stays the same as long as the fault's window lasts."""
        window = self.faults.window(fault) or 0
        number, kept = self._frozen.get((fault.id, what), (-1, None))
        if number != window:
            kept = make()
            self._frozen[fault.id, what] = (window, kept)
        return kept

    def _told(self, request: Request, body: bytes, answer: _Answer, fault: Fault | None) -> _Answer:
        """The answer as a lying system gives it. An honest page is remembered, to be repeated one day."""
        doc = lies.parsed(answer.body) if answer.status < 300 else None
        if doc is None:
            return answer
        path = request.url.path
        last, records = self._pages.get(path), lies.records_of(doc)
        if lies.list_name(doc) is not None and not self.parts.is_write(request.method, path):
            self._pages[path] = records
        match fault:
            case Fault(kind="empty_list"):
                told = lies.without_records(doc)
            case Fault(kind="cut_closed"):
                told = lies.cut_short(doc)
            case Fault(kind="duplicate_page") if last is not None:
                told = lies.with_records(doc, last)
            case Fault(kind="endless_page"):
                told = self._kept(fault, path, lambda: lies.endless(doc, _asked_after(request, body)))
            case Fault(kind="wrong_id"):
                told = lies.with_other_id(doc, fault.other_id)
            case Fault(kind="retyped"):
                told = lies.retyped(doc, fault.fields)
            case _:
                return answer
        return _Answer(answer.status, _resized(answer.headers, told), orjson.dumps(told))

    def _plant(self, wanted: Doc) -> Fault:
        """A new fault, with what it freezes frozen now."""
        fault = self.faults.plant(wanted)
        if fault.kind == "stale_read" and self.faults.window(fault) is not None:
            self._kept(fault, "store", self.parts.store.copied)
        return fault

    def _admin(self, request: Request, body: bytes) -> _Answer:
        """The doors for tests and for the curious. Loopback only."""
        if request.client is not None and request.client.host not in _LOOPBACK:
            return _json(403, {"error": "only from this machine"})
        door = (request.method, request.url.path.removeprefix("/_sandbox/"))
        try:
            wanted = orjson.loads(body) if body else {}
            match door:
                case ("GET", "state"):
                    store = self.parts.store
                    counts = self.parts.counts()
                    return _json(
                        200, {"system": self.parts.name, "records": counts, "requests": store.request_counts()}
                    )
                case ("GET", "requests"):
                    query = request.query_params
                    found = self.parts.store.requests(int(query.get("since", 0)), query.get("writes") == "1")
                    return _json(200, {"requests": found})
                case ("POST", "edit"):
                    return _json(200, self.parts.edit(wanted["stream"], str(wanted["id"]), wanted["fields"]))
                case ("POST", "fault"):
                    return _json(201, {"id": self._plant(wanted).id})
                case ("GET", "faults"):
                    return _json(200, {"faults": self.faults.listed()})
                case ("DELETE", "faults" | "fault"):
                    named = request.query_params.get("id")
                    self.faults.clear(int(named) if named else None)
                    return _json(200, {"faults": self.faults.listed()})
                case (method, name) if name.split("/")[0] == "oauth" and self.parts.oauth is not None:
                    return _json(200, self.parts.oauth.door(method, name, wanted))
        except KeyError as missing:
            return _json(404, {"error": f"not found: {missing.args[0]}"})
        except (ValueError, TypeError) as wrong:
            return _json(400, {"error": str(wrong)})
        return _json(404, {"error": f"no such door: {door[0]} {request.url.path}"})


async def _read_body(receive: Receive) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            break
        pieces.append(message.get("body", b""))
        size += len(pieces[-1])
        if size > MAX_BODY_BYTES or not message.get("more_body", False):
            break
    return b"".join(pieces)


def _is_search(request: Request) -> bool:
    """Whether a request looks records up by what they hold, which vendors answer from an index."""
    return request.url.path.endswith("/search") or bool({"where", "searchTerm"} & request.query_params.keys())


def _asked_after(request: Request, body: bytes) -> str:
    """The token that a page was asked for with, "" for none."""
    asked = request.query_params.get("after") or request.query_params.get("offset")
    return str(asked or (lies.parsed(body) or {}).get("after") or "")


def _resized(headers: list[tuple[bytes, bytes]], told: Doc) -> list[tuple[bytes, bytes]]:
    kept = [(name, value) for name, value in headers if name.lower() != b"content-length"]
    return [*kept, (b"content-length", str(len(orjson.dumps(told))).encode())]


def _replay(body: bytes) -> Receive:
    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


async def _capture(app: ASGIApp, scope: Scope, receive: Receive) -> _Answer:
    answer = _Answer(500, [], b"")

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = list(message["headers"])
        else:
            answer.body += message.get("body", b"")

    await app(scope, receive, send)
    return answer


def _json(status: int, content: Any) -> _Answer:
    return _canned(status, orjson.dumps(content).decode(), {"content-type": "application/json"})


def _canned(status: int, text: str, headers: dict[str, str]) -> _Answer:
    body = text.encode()
    named = {"content-length": str(len(body)), **{name.lower(): value for name, value in headers.items()}}
    return _Answer(status, [(name.encode(), value.encode()) for name, value in named.items()], body)


async def _deliver(scope: Scope, send: Send, answer: _Answer | None, fault: Fault | None) -> None:
    """Send the answer as the fault wants it: whole, in drops, in half, or not at all."""
    if answer is None:
        _cut(scope)
        return
    match fault:
        case Fault(kind="drip"):
            await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
            for start in range(0, len(answer.body), max(1, fault.piece_bytes)):
                piece = answer.body[start : start + max(1, fault.piece_bytes)]
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                await asyncio.sleep(fault.seconds)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        case Fault(kind="truncated"):
            await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
            end = fault.at if fault.at >= 0 else len(answer.body) // 2
            await send({"type": "http.response.body", "body": answer.body[:end], "more_body": True})
            _cut(scope, is_hard=False)
        case Fault(kind="cut_closed"):
            await _send_until_close(scope, send, answer)
        case _:
            await _send(send, answer)


async def _send(send: Send, answer: _Answer) -> None:
    await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
    await send({"type": "http.response.body", "body": answer.body, "more_body": False})


async def _send_until_close(scope: Scope, send: Send, answer: _Answer) -> None:
    """An answer whose end is the end of the connection. Written by hand: the server would frame it in chunks."""
    transport = scope.get("state", {}).get("transport")
    if transport is None:
        await _send(send, answer)
        return
    kept = [(name, value) for name, value in answer.headers if name.lower() != b"content-length"]
    lines = [b"HTTP/1.1 %d Told" % answer.status, *(b"%s: %s" % one for one in kept), b"connection: close", b"", b""]
    transport.write(b"\r\n".join(lines) + answer.body)
    transport.close()


def _cut(scope: Scope, is_hard: bool = True) -> None:
    """Cut the connection; hard: with a TCP reset and whatever was not sent yet is lost."""
    transport = scope.get("state", {}).get("transport")
    if transport is None:
        raise ConnectionResetError("connection cut by a planted fault")
    if not is_hard:
        transport.close()
        return
    with contextlib.suppress(OSError):
        linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"  # on, zero seconds: close sends RST instead of FIN
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    transport.abort()
