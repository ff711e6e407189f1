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
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from sandbox.faults import Fault, FaultPlan
from sandbox.oauth import Authority
from sandbox.store import Store

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

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.parts.app(scope, receive, send)
            return
        body = await _read_body(receive)
        request = Request(scope, _replay(body))
        if request.url.path.startswith("/_sandbox/"):
            told = self._admin(request, body)
            self.parts.store.commit()
            await _send(send, told)
            return
        text = body.decode("utf-8", "replace")
        fault = self.faults.take(request.method, request.url.path, text)
        answer = await self._work(request, body, fault)
        self.parts.store.log_request(
            method=request.method,
            path=request.url.path,
            query=request.url.query,
            body=text,
            status=answer.status if answer else 0,
            is_write=self.parts.is_write(request.method, request.url.path),
            fault=fault.kind if fault else "",
        )
        self.parts.store.commit()
        await _deliver(scope, send, answer, fault)

    async def _work(self, request: Request, body: bytes, fault: Fault | None) -> _Answer | None:
        """Do what was asked, unless the fault says otherwise. None: the connection is to be cut."""
        match fault:
            case Fault(kind="status"):
                return _canned(fault.status, fault.text, fault.headers)
            case Fault(kind="html200"):
                page = fault.text or "<!doctype html><title>Please sign in</title><h1>Please sign in</h1>"
                return _canned(200, page, {"content-type": "text/html; charset=utf-8", **fault.headers})
            case Fault(kind="empty200"):
                return _canned(200, "", fault.headers)
            case Fault(kind="reset_before"):
                return None
            case Fault(kind="delay"):
                await asyncio.sleep(fault.seconds)
            case Fault(kind="expire") if self.parts.oauth is not None:
                self.parts.oauth.expire()
        refused = self.parts.guard(request)
        answer = await _capture(refused if refused is not None else self.parts.app, request.scope, _replay(body))
        match fault:
            case Fault(kind="reset_after"):
                return None
            case Fault(kind="status_after"):
                return _canned(fault.status, fault.text, fault.headers)
        return answer

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
                    return _json(201, {"id": self.faults.plant(wanted).id})
                case ("GET", "faults"):
                    return _json(200, {"faults": self.faults.listed()})
                case ("DELETE", "faults" | "fault"):
                    self.faults.clear()
                    return _json(200, {"faults": []})
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
            half = answer.body[: len(answer.body) // 2]
            await send({"type": "http.response.body", "body": half, "more_body": True})
            _cut(scope, is_hard=False)
        case _:
            await _send(send, answer)


async def _send(send: Send, answer: _Answer) -> None:
    await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
    await send({"type": "http.response.body", "body": answer.body, "more_body": False})


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
