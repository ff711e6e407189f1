"""One HTTP client for one system: each call is one request with one outcome (no retries: those belong to tasks)."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import httpx
import msgspec

from connectors import journal, lease
from connectors.auth import Auth, NoAuth
from connectors.http import outcome, wire
from connectors.http.allow import Network, base_url, origin
from connectors.http.body import BodyRefused, read_body
from connectors.http.guard import Guard
from connectors.http.outcome import Effect
from connectors.http.rate import gate_of
from connectors.protocol import (
    AuthFailed,
    ConnectorError,
    Healths,
    LeaseOver,
    Limits,
    Misdeclared,
    RateLimited,
    Rates,
    SystemFault,
    Transient,
)

log = logging.getLogger("concord.http")

DEADLINE_SECONDS = 60.0
MAX_RAW_BYTES = 64 * 1024 * 1024
MAX_BYTES = 128 * 1024 * 1024
MAX_REDIRECTS = 5
RATE_PATIENCE_SECONDS = 30.0
DEFAULT_PAUSE_SECONDS = 1.0
_ENCODER = msgspec.json.Encoder(decimal_format="number")
"""Decimals are written as JSON numbers with all their digits."""
_BOM = b"\xef\xbb\xbf"
_JSON_TYPES = ("json", "text/plain", "octet-stream", "text/javascript")
"""Content types that carry JSON in practice; what the body says is checked as well."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. `headers` by lower-case name; `body` decoded, without a byte order mark."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    where: str
    effect: Effect = "read"

    @property
    def is_web_page(self) -> bool:
        """Whether it is a page for people: a login or maintenance page answers 200 as well."""
        return "text/html" in self.headers.get("content-type", "").lower()

    def json_body(self) -> bytes:
        """The body, sure to be neither empty nor a web page: SystemFault (reads) or Ambiguous (writes) otherwise."""
        kind = self.headers.get("content-type", "")
        if not self.body.strip():
            raise outcome.unclear(self.effect, f"answered {self.status} with no body", self.where, self.status)
        is_page = self.body.lstrip()[:1] == b"<"
        if is_page or (kind and not any(one in kind.lower() for one in _JSON_TYPES)):
            found = "a web page" if is_page else kind[:60]
            raise outcome.unclear(self.effect, f"expected JSON, found {found}", self.where, self.status)
        return self.body

    def json(self) -> Any:
        """The body as Python values; a body that is cut or damaged is Transient (reads) or Ambiguous (writes)."""
        body = self.json_body()
        try:
            return msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as wrong:
            raise outcome.cut_short(self.effect, f"expected whole JSON, found {wrong}", self.where) from None
        except RecursionError:
            raise outcome.unclear(self.effect, "the JSON is nested too deeply", self.where) from None


class HttpClient:
    """Speaks to one system: its base URL, its credentials, its limits. Thread-safe; `close` it in the end.

    Paths are relative to the base URL; an absolute URL (a next-page link) must share the base URL's origin.
    exhausted: headers that count what is left of a limit → seconds to wait when one says 0. rates: who counts requests
    for all processes; without it each counts its own. healths: who knows when to leave the system alone.
    """

    def __init__(
        self,
        url: str,
        *,
        system: str,
        network: Network = "public",
        auth: Auth | None = None,
        limits: Limits | None = None,
        headers: Mapping[str, str] | None = None,
        deadline_seconds: float = DEADLINE_SECONDS,
        max_raw_bytes: int = MAX_RAW_BYTES,
        max_bytes: int = MAX_BYTES,
        exhausted: Mapping[str, float] | None = None,
        rates: Rates | None = None,
        healths: Healths | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.system = system
        self.limits = limits or Limits()
        self._base = base_url(url, network)
        self._exhausted = dict(exhausted or {})
        self._joined = lru_cache(maxsize=256)(self._join)
        self._auth = auth or NoAuth()
        self._gate = gate_of(rates, system, self.limits.windows)
        self._guard = Guard(system, healths)
        self._slots = threading.BoundedSemaphore(self.limits.concurrency)
        encoding = "identity" if network == "loopback" else "gzip, deflate"
        self._headers = {"accept": "application/json", "accept-encoding": encoding, "user-agent": "Concord"}
        self._headers |= {name.lower(): value for name, value in (headers or {}).items()}
        self._deadline_seconds = deadline_seconds
        self._max_raw_bytes = max_raw_bytes
        self._max_bytes = max_bytes
        self._transport = transport or wire.transport(network, self.limits.concurrency)

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()
        self._auth.close()

    def get(
        self,
        path: str,
        params: Mapping[str, Any] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        accept: frozenset[int] = frozenset(),
    ) -> Answer:
        """Read; same-origin redirects are followed. Statuses in `accept` are answers, the others raise."""
        return self.send("GET", path, params=params, headers=headers, accept=accept, effect="read")

    def send(
        self,
        method: str,
        path: str,
        *,
        effect: Effect,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        accept: frozenset[int] = frozenset(),
        deadline_seconds: float | None = None,
        where: str | None = None,
    ) -> Answer:
        """One request. `effect` says whether it may change the system (a search by POST is a read). `where` names
        the request in errors and logs instead of its path, which may be a secret itself.

        Raises the classes of connectors.protocol; after a 401 it is tried once more with a secret that has changed
        meanwhile, or with a renewed token.
        """
        url = self._url(path, params)
        where = where or f"{self.system} {method} {url.path}"
        body = _ENCODER.encode(json) if json is not None else content
        extra = dict(headers or {})
        if json is not None:
            extra.setdefault("content-type", "application/json")
        seconds = deadline_seconds or self._deadline_seconds
        request = _Request(method, url, extra, body, effect, where, seconds)
        self._guard.admit(where)
        try:
            answer = self._answered(request, accept)
        except ConnectorError as error:
            self._guard.went(error)
            raise
        self._guard.went(SystemFault("a web page", status=answer.status) if answer.is_web_page else None)
        return answer

    def _answered(self, request: _Request, accept: frozenset[int]) -> Answer:
        """The answer to a request; once more with newer credentials if these were refused. Raises for the others."""
        effect, where = request.effect, request.where
        credentials = self._auth.credentials()
        answer = self._follow(request, credentials)
        self._heed(answer)
        if answer.status == 401 and 401 not in accept and (fresh := self._auth.renewed(credentials)) is not None:
            credentials = fresh
            answer = self._follow(request, fresh)
        if answer.status in accept:
            return answer
        if 200 <= answer.status < 300:
            return answer
        raise self._error(answer, effect, where, credentials)

    def _error(self, answer: Answer, effect: Effect, where: str, credentials: Mapping[str, str]) -> ConnectorError:
        """What a status stands for, without the credentials that the system may have repeated in its answer."""
        body = outcome.masked(answer.body, credentials.values())
        error = outcome.of_status(answer.status, answer.headers, body, effect, where)
        assert error is not None
        if isinstance(error, RateLimited):
            self._gate.pause(error.wait_seconds if error.wait_seconds is not None else DEFAULT_PAUSE_SECONDS)
        if isinstance(error, AuthFailed):
            said = str(error).removeprefix(f"{where}: ")
            return AuthFailed(f"{said}; {self._auth.advice}", where=where, status=error.status)
        return error

    def _heed(self, answer: Answer) -> None:
        """Others may use the same limit: when the system says that nothing is left of it, everybody waits."""
        for name, seconds in self._exhausted.items():
            if answer.headers.get(name) == "0":
                self._gate.pause(seconds)

    def charge(self, requests: int, where: str) -> None:
        """Count further requests against the limits: those that the system sees in one of ours, as in a batch."""
        for _ in range(requests):
            self._gate.admit(RATE_PATIENCE_SECONDS, where)

    def same_origin(self, link: str) -> str:
        """A next-page link as a path for `get`; SystemFault when it leads elsewhere (credentials would go along)."""
        try:
            url = self._base.join(link.strip())
        except (httpx.InvalidURL, ValueError):
            raise SystemFault("a next-page link that is no URL", where=self.system) from None
        if origin(url) != origin(self._base) or url.userinfo:
            raise SystemFault(f"a next-page link to another host ({url.host[:80]})", where=self.system)
        return str(url)

    def _url(self, path: str, params: Mapping[str, Any] | None) -> httpx.URL:
        url = self._joined(path)
        return url.copy_merge_params(dict(params)) if params else url

    def _join(self, path: str) -> httpx.URL:
        url = self._base.join(path.lstrip("/") if "://" not in path else path)
        if origin(url) != origin(self._base):
            raise Misdeclared(f"expected a path on {self._base.host}, found another host", where=self.system)
        return url

    def _follow(self, request: _Request, credentials: Mapping[str, str]) -> Answer:
        """The answer after redirects: only reads, only inside the origin."""
        answer = self._once(request, credentials)
        for _ in range(MAX_REDIRECTS):
            target = answer.headers.get("location")
            if request.effect != "read" or answer.status not in (301, 302, 303, 307, 308) or not target:
                return answer
            url = request.url.join(target)
            if origin(url) != origin(self._base) or url.userinfo:
                raise SystemFault(f"redirected to another host ({url.host[:80]})", where=request.where)
            request = request.moved_to(url)
            answer = self._once(request, credentials)
        raise SystemFault(f"more than {MAX_REDIRECTS} redirects", where=request.where)

    def _once(self, request: _Request, credentials: Mapping[str, str]) -> Answer:
        self._gate.admit(RATE_PATIENCE_SECONDS, request.where)
        if not self._slots.acquire(timeout=request.deadline_seconds):
            raise Transient("all connections are busy", where=request.where)
        try:
            return self._exchange(request, credentials)
        finally:
            self._slots.release()

    def _exchange(self, request: _Request, credentials: Mapping[str, str]) -> Answer:
        started = time.monotonic()
        exchange = wire.begin(_deadline(request), is_write=request.effect == "write")
        status = 0
        try:
            made = request.build(self._headers, credentials)
            response = self._transport.handle_request(made)
            try:
                status = response.status_code
                encoding = response.headers.get("content-encoding", "")
                assert isinstance(response.stream, httpx.SyncByteStream)
                body = read_body(response.stream, encoding, self._max_raw_bytes, self._max_bytes)
            finally:
                response.close()
        except httpx.TransportError as failed:
            is_sent = exchange.sent_bytes > 0 or not isinstance(self._transport, httpx.HTTPTransport)
            if isinstance(failed, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout):
                is_sent = False
            raise outcome.of_failure(failed, request.effect, is_sent, request.where) from None
        except BodyRefused as refused:
            raise outcome.unclear(request.effect, str(refused), request.where, status) from None
        finally:
            journal.note(request.method, request.told_path, status)
            milliseconds = (time.monotonic() - started) * 1000
            log.debug("%s %s in %.0f ms", request.where, status or "without an answer", milliseconds)
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Answer(status, headers, body.removeprefix(_BOM), request.where, request.effect)


def _deadline(request: _Request) -> float:
    """How long a request may take: a write never longer than its lease. LeaseOver where that is over."""
    left = lease.left_seconds() if request.effect == "write" else None
    if left is None:
        return request.deadline_seconds
    if left <= 0:
        raise LeaseOver("not sent: the lease is over, somebody else may be at it", where=request.where)
    return min(request.deadline_seconds, left)


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    url: httpx.URL
    headers: Mapping[str, str]
    body: bytes | None
    effect: Effect
    where: str
    deadline_seconds: float

    @property
    def told_path(self) -> str:
        """The path, unless the request goes by another name because its path is a secret."""
        return self.url.path if self.where.endswith(self.url.path) else ""

    def moved_to(self, url: httpx.URL) -> _Request:
        """The same request at a new address; a POST that reads stays a POST."""
        return _Request(self.method, url, self.headers, self.body, self.effect, self.where, self.deadline_seconds)

    def build(self, shared: Mapping[str, str], credentials: Mapping[str, str]) -> httpx.Request:
        url = self.url
        named = {name[1:]: value for name, value in credentials.items() if name.startswith("?")}
        if named:
            url = url.copy_merge_params(named)
        headers = {**shared, **self.headers, **{n: v for n, v in credentials.items() if not n.startswith("?")}}
        timeout = dict.fromkeys(("connect", "read", "write", "pool"), self.deadline_seconds)
        try:
            return httpx.Request(self.method, url, headers=headers, content=self.body, extensions={"timeout": timeout})
        except (ValueError, UnicodeError):
            raise Misdeclared(
                "a header or credential with characters that HTTP does not allow", where=self.where
            ) from None


def is_gone(error: ConnectorError) -> bool:
    """Whether an error says that the addressed record does not exist (any more)."""
    return error.status in (404, 410)
