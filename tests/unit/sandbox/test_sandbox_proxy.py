"""What a proxy does to a connection: late, slow, in slices, cut, reset, held, refused."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from sandbox.proxy import Proxy

GREETING = b"x" * 1_000


class Echo:
    """Says what it is told, after a greeting of 1,000 bytes; remembers all it was told."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self.told = b""
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                one, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(one,), daemon=True).start()

    def _talk(self, one: socket.socket) -> None:
        with one:
            try:
                one.sendall(GREETING)
                while heard := one.recv(4096):
                    self.told += heard
                    one.sendall(heard)
            except OSError:
                return

    def close(self) -> None:
        self._server.close()


@pytest.fixture
def echo() -> Iterator[Echo]:
    echo = Echo()
    yield echo
    echo.close()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[Proxy]:
    with Proxy("127.0.0.1", echo.port) as proxy:
        yield proxy


def connect(proxy: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.listen_port), timeout=5)


def read(one: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count and (piece := one.recv(count - len(found))):
        found += piece
    return found


def test_unhurt_it_carries_both_ways(proxy: Proxy) -> None:
    with connect(proxy) as one:
        assert read(one, 1_000) == GREETING
        one.sendall(b"hello")
        assert read(one, 5) == b"hello"
    assert proxy.connections_seen == 1


@pytest.mark.parametrize(
    ("kind", "figures"),
    [
        ("latency", {"seconds": 0.2}),
        ("bandwidth", {"bytes_per_second": 5_000}),
        ("slicing", {"size_bytes": 100, "seconds": 0.02}),
    ],
    ids=["latency", "bandwidth", "slicing"],
)
def test_what_only_delays_keeps_every_byte(proxy: Proxy, kind: str, figures: dict[str, float]) -> None:
    with proxy.hurt(kind, **figures):  # type: ignore[arg-type]
        began = time.monotonic()
        with connect(proxy) as one:
            assert read(one, 1_000) == GREETING
        assert time.monotonic() - began >= 0.18


def test_a_limit_closes_after_its_bytes(proxy: Proxy) -> None:
    with proxy.hurt("limit", size_bytes=37), connect(proxy) as one:
        assert read(one, 1_000) == GREETING[:37]


def test_a_reset_is_no_end(proxy: Proxy) -> None:
    with proxy.hurt("reset"), pytest.raises(ConnectionResetError), connect(proxy) as one:
        read(one, 1_000)


def test_a_reset_after_a_match_lets_the_system_hear_it(proxy: Proxy, echo: Echo) -> None:
    with proxy.hurt("reset", direction="requests", match=b"COMMIT"), connect(proxy) as one:
        read(one, 1_000)
        one.sendall(b"begin")
        assert read(one, 5) == b"begin"
        one.sendall(b"COMMIT")
        with pytest.raises(ConnectionResetError):
            read(one, 6)
    deadline = time.monotonic() + 10
    while echo.told != b"beginCOMMIT" and time.monotonic() < deadline:
        time.sleep(0.01)
    assert echo.told == b"beginCOMMIT"


def test_a_black_hole_tells_nobody_and_gives_back_what_it_held(proxy: Proxy) -> None:
    hole = proxy.add("timeout")
    with connect(proxy) as one:
        one.settimeout(0.3)
        with pytest.raises(TimeoutError):
            one.recv(1)
        proxy.remove(hole)
        one.settimeout(5)
        assert read(one, 1_000) == GREETING


def test_a_black_hole_with_an_end_closes(proxy: Proxy) -> None:
    with proxy.hurt("timeout", seconds=0.1), connect(proxy) as one:
        assert read(one, 1_000) == b""


def test_down_refuses_and_cuts_and_up_takes_again_at_the_same_port(proxy: Proxy) -> None:
    with connect(proxy) as one:
        read(one, 1_000)
        proxy.down()
        assert not proxy.is_up
        with pytest.raises(ConnectionError):
            read(one, 1)
        with pytest.raises(ConnectionRefusedError):
            connect(proxy)
    proxy.up()
    with connect(proxy) as one:
        assert read(one, 1_000) == GREETING


def test_an_end_may_be_told_late(proxy: Proxy) -> None:
    with proxy.hurt("slow_close", direction="answers", seconds=0.3), connect(proxy) as one:
        read(one, 1_000)
        began = time.monotonic()
        one.shutdown(socket.SHUT_WR)
        assert one.recv(1) == b""
        assert time.monotonic() - began >= 0.25


def test_a_system_that_is_not_there_resets(echo: Echo) -> None:
    echo.close()
    # The reset may come before `connect` has seen that it is connected, and is its error then.
    with Proxy("127.0.0.1", 1) as proxy, pytest.raises(ConnectionResetError), connect(proxy) as one:
        one.recv(1)


@pytest.mark.parametrize(
    ("kind", "figures", "said"),
    [
        ("flood", {}, "expected one of"),
        ("bandwidth", {}, "bytes_per_second"),
        ("slicing", {}, "size_bytes: expected"),
    ],
)
def test_what_means_nothing_is_refused(proxy: Proxy, kind: str, figures: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        proxy.add(kind, **figures)  # type: ignore[arg-type]
