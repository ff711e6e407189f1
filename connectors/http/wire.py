"""Sockets under our own rules: resolve, check, connect to the checked address; every wait ends at the deadline.

httpx bounds single reads, not a request: a body that drips one byte a second never times out. Here each read and
write of a socket waits at most for what the current exchange has left, so that headers, bodies and handshakes are
bounded together. An exchange also knows whether any byte of the request left: before that nothing can have happened.
"""

from __future__ import annotations

import contextvars
import ipaddress
import queue
import socket
import ssl
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

import httpcore
import httpx

from connectors import lease
from connectors.http.allow import Network, checked
from connectors.protocol import LeaseOver, Transient, Unreachable

_PIECE = 64 * 1024


@dataclass(slots=True)
class Exchange:
    """One request on the wire: until when it may take, and what has left so far."""

    deadline: float
    """On the monotonic clock, seconds."""
    is_write: bool = False
    sent_bytes: int = 0

    @property
    def left_seconds(self) -> float:
        return self.deadline - time.monotonic()


_current: contextvars.ContextVar[Exchange | None] = contextvars.ContextVar("exchange", default=None)


def begin(seconds: float, *, is_write: bool = False) -> Exchange:
    """Start an exchange in this thread: all socket work that follows belongs to it."""
    exchange = Exchange(time.monotonic() + seconds, is_write)
    _current.set(exchange)
    return exchange


def _bounded(timeout: float | None, error: type[Exception]) -> float | None:
    exchange = _current.get()
    if exchange is None:
        return timeout
    left = exchange.left_seconds
    if left <= 0:
        raise error("the deadline of the whole request has passed")
    return left if timeout is None else min(left, timeout)


class _Stream(httpcore.NetworkStream):
    """A socket whose waits are bounded by the current exchange."""

    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, _bounded(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        exchange = _current.get()
        for start in range(0, len(buffer), _PIECE):
            piece = buffer[start : start + _PIECE]
            seconds = _bounded(timeout, httpcore.WriteTimeout)
            if exchange is not None:
                if exchange.is_write and (left := lease.left_seconds()) is not None and left <= 0:
                    if exchange.sent_bytes == 0:
                        raise LeaseOver("not sent: the lease is over")
                    raise httpcore.WriteError("the lease is over")
                exchange.sent_bytes += len(piece)  # before the write: a failed write may have sent a part
            self._inner.write(piece, seconds)

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        seconds = _bounded(timeout, httpcore.ConnectTimeout)
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, seconds))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _Backend(httpcore.NetworkBackend):
    """Connects only to addresses that the system's declared network allows."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._inner = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        seconds = _bounded(timeout, httpcore.ConnectTimeout)
        failure: Exception | None = None
        for address in checked(resolve(host, port, seconds), self._network, host):
            try:
                seconds = _bounded(timeout, httpcore.ConnectTimeout)
                return _Stream(self._inner.connect_tcp(address, port, seconds, local_address, socket_options))
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as failed:
                failure = failed
        raise failure or httpcore.ConnectError(f"{host}: no address")

    def sleep(self, seconds: float) -> None:
        self._inner.sleep(seconds)


def resolve(host: str, port: int, seconds: float | None) -> list[str]:
    """The addresses of a name, within a time: the system's resolver knows no deadline, so it works in a thread."""
    try:
        return [str(ipaddress.ip_address(host.strip("[]")))]
    except ValueError:
        pass
    answers: queue.SimpleQueue[list[str] | OSError | UnicodeError] = queue.SimpleQueue()

    def ask() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            answers.put(list(dict.fromkeys(str(one[4][0]) for one in found)))
        except (OSError, UnicodeError) as failed:
            answers.put(failed)

    threading.Thread(target=ask, name=f"resolve {host}", daemon=True).start()
    try:
        answer = answers.get(timeout=seconds)
    except queue.Empty:
        raise Transient("the name was not resolved in time", where=host) from None
    if isinstance(answer, socket.gaierror) and answer.errno == socket.EAI_AGAIN:
        raise Transient("the name could not be resolved for now", where=host)
    if isinstance(answer, Exception):
        raise Unreachable("no address is known for that name", where=host)
    return answer


@cache
def _trust() -> ssl.SSLContext:
    """Whom TLS trusts: read once a process, since it takes tens of milliseconds."""
    return httpx.create_ssl_context(trust_env=False)


def transport(network: Network, concurrency: int) -> httpx.HTTPTransport:
    """An HTTP/1.1 keep-alive transport over checked addresses; no proxy and nothing else from the environment."""
    made = httpx.HTTPTransport(verify=_trust(), trust_env=False)
    made._pool.close()
    made._pool = httpcore.ConnectionPool(  # httpx has no parameter for the network backend that httpcore takes
        ssl_context=_trust(),
        max_connections=concurrency,
        max_keepalive_connections=concurrency,
        keepalive_expiry=30.0,
        network_backend=_Backend(network),
        socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
    )
    return made
