"""What every connector relies on: one request, one outcome, inside its deadline and its caps."""

from __future__ import annotations

import gzip
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from connectors.auth import ApiKey, Bearer
from connectors.http import Effect, HttpClient
from connectors.protocol import (
    Ambiguous,
    AuthFailed,
    ConnectorError,
    Limits,
    Misdeclared,
    RateLimited,
    Secret,
    SystemFault,
    Transient,
    Unreachable,
)

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


_open: list[HttpClient] = []


@pytest.fixture(autouse=True)
def closing() -> Iterator[None]:
    yield
    while _open:
        _open.pop().close()


def client(url: str, **more: Any) -> HttpClient:
    made = HttpClient(url, **{"system": "crm", "network": "loopback", **more})
    _open.append(made)
    return made


def send(url: str, effect: Effect, **more: Any) -> Any:
    return client(url, **more).send("POST", "things", json={"a": 1}, effect=effect).json()


BOTH = pytest.mark.parametrize(("effect", "error"), [("read", Transient), ("write", Ambiguous)])


def drip_body(connection: socket.socket, _: bytes) -> None:
    connection.sendall(OK + b"Content-Length: 1000\r\n\r\n")
    for _count in range(100):
        connection.sendall(b" ")
        time.sleep(0.05)


def drip_head(connection: socket.socket, _: bytes) -> None:
    for byte in OK + b"X-Slow: " + b"x" * 200:
        connection.sendall(bytes([byte]))
        time.sleep(0.05)


def reset(connection: socket.socket, _: bytes) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    connection.close()


def cut_by_length(connection: socket.socket, _: bytes) -> None:
    connection.sendall(OK + b'Content-Length: 100\r\n\r\n{"results": [{"id": 1}')
    connection.close()


def cut_by_close(connection: socket.socket, _: bytes) -> None:
    connection.sendall(OK + b'Connection: close\r\n\r\n{"results": [{"id": 1}')
    connection.close()


def silent(_: socket.socket, __: bytes) -> None:
    time.sleep(1.5)


@BOTH
@pytest.mark.parametrize("script", [drip_body, drip_head, reset, cut_by_length, cut_by_close, silent])
def test_an_answer_that_does_not_arrive_whole(
    serve: Callable[..., Any], script: Any, effect: Effect, error: type[ConnectorError]
) -> None:
    server = serve(script)
    with pytest.raises(error) as raised:
        send(server.url, effect, deadline_seconds=0.4)
    assert type(raised.value) is error
    assert len(server.requests) == 1


@pytest.mark.parametrize("effect", ["read", "write"])
def test_a_refused_connection_is_transient_because_nothing_was_sent(effect: Effect) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(Transient, match="before anything was sent"):
        send(f"http://127.0.0.1:{port}", effect)


FAULTS = pytest.mark.parametrize(("effect", "error"), [("read", SystemFault), ("write", Ambiguous)])


@FAULTS
@pytest.mark.parametrize(
    ("body", "kind"),
    [(b"<!doctype html><p>Please log in</p>", "text/html"), (b" <html>", "application/json"), (b"", "application/json"),
     (b"a,b\n1,2", "text/csv")],
    ids=["login page", "page as json", "empty", "csv"],
)  # fmt: skip
def test_a_system_that_answers_not_as_itself(
    reply: Callable[..., Any], body: bytes, kind: str, effect: Effect, error: type[ConnectorError]
) -> None:
    with pytest.raises(error):
        send(reply(body, kind=kind).url, effect)


@FAULTS
def test_a_gzip_bomb_is_refused(reply: Callable[..., Any], effect: Effect, error: type[ConnectorError]) -> None:
    bomb = gzip.compress(b" " * 50_000_000, 9)
    assert len(bomb) < 60_000
    with pytest.raises(error, match="larger than 1000000 bytes"):
        send(reply(bomb, more="Content-Encoding: gzip\r\n").url, effect, max_bytes=1_000_000)


@FAULTS
def test_raw_bytes_are_capped_before_decoding(
    reply: Callable[..., Any], effect: Effect, error: type[ConnectorError]
) -> None:
    with pytest.raises(error, match="larger than 1000 bytes"):
        send(reply(b" " * 1001).url, effect, max_raw_bytes=1000)


def test_a_compressed_answer_is_decoded(reply: Callable[..., Any]) -> None:
    body = gzip.compress(b'{"a": 1}')
    assert client(reply(body, more="Content-Encoding: gzip\r\n").url).get("x").json() == {"a": 1}


def test_a_byte_order_mark_is_taken_off(reply: Callable[..., Any]) -> None:
    assert client(reply(b'\xef\xbb\xbf{"a": 1}').url).get("x").json() == {"a": 1}


STATUSES: list[tuple[int, type[ConnectorError], type[ConnectorError]]] = [
    (400, Misdeclared, Misdeclared), (401, AuthFailed, AuthFailed), (403, AuthFailed, AuthFailed),
    (404, Misdeclared, Misdeclared), (408, Transient, Ambiguous), (429, RateLimited, RateLimited),
    (500, SystemFault, Ambiguous), (502, Transient, Ambiguous), (503, Transient, Ambiguous),
    (504, Transient, Ambiguous), (307, Misdeclared, Misdeclared), (302, Misdeclared, Ambiguous),
]  # fmt: skip


@pytest.mark.parametrize(("status", "read", "write"), STATUSES, ids=[str(one[0]) for one in STATUSES])
def test_statuses_say_what_to_do_next(
    reply: Callable[..., Any], status: int, read: type[ConnectorError], write: type[ConnectorError]
) -> None:
    server = reply(b'{"message": "no"}', status=f"{status} X")
    for effect, error in (("read", read), ("write", write)):
        with pytest.raises(error) as raised:
            send(server.url, effect)  # type: ignore[arg-type]
        assert type(raised.value) is error
        assert raised.value.status == status


def test_a_status_may_be_an_answer(reply: Callable[..., Any]) -> None:
    server = reply(b"{}", status="404 Not Found")
    assert client(server.url).get("x", accept=frozenset({404})).status == 404


def test_a_429_makes_everybody_wait(reply: Callable[..., Any]) -> None:
    server = reply(b"", status="429 X", more="Retry-After: 120\r\n")
    crm = client(server.url)
    with pytest.raises(RateLimited) as raised:
        crm.get("x")
    assert raised.value.wait_seconds == 120
    with pytest.raises(RateLimited):
        crm.get("y")
    assert len(server.requests) == 1


def test_a_limit_that_others_have_used_up_is_heeded(reply: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connectors.http.client.RATE_PATIENCE_SECONDS", 0.0)
    crm = client(reply(b"{}", more="X-Left: 0\r\n").url, exhausted={"x-left": 5.0})
    assert crm.get("x").json() == {}
    with pytest.raises(RateLimited) as raised:
        crm.get("x")
    assert raised.value.wait_seconds is not None
    assert 0 < raised.value.wait_seconds <= 5


def test_a_redirect_to_another_host_is_not_followed(reply: Callable[..., Any]) -> None:
    other = reply(b"{}")
    server = reply(b"", status="302 Found", more=f"Location: {other.url}/steal\r\n")
    auth = ApiKey("X-Api-Key", "key-canary")
    with pytest.raises(SystemFault, match="redirected to another host"):
        client(server.url, auth=auth).get("x")
    assert other.requests == []


def test_a_redirect_inside_the_origin_is_followed_when_reading(serve: Callable[..., Any]) -> None:
    def script(connection: socket.socket, request: bytes) -> None:
        if request.startswith(b"GET /old"):
            connection.sendall(b"HTTP/1.1 301 Moved\r\nLocation: /new\r\nContent-Length: 0\r\n\r\n")
        else:
            connection.sendall(OK + b"Content-Length: 2\r\n\r\n{}")

    server = serve(script)
    assert client(server.url).get("old").json() == {}


def test_redirects_in_a_circle_end(reply: Callable[..., Any]) -> None:
    with pytest.raises(SystemFault, match="redirects"):
        client(reply(b"", status="302 Found", more="Location: /x\r\n").url).get("x")


@pytest.mark.parametrize(
    "link", ["https://evil.example/next", "//evil.example/next", "http://127.0.0.1:1/next", "http://a@127.0.0.1:9/"]
)
def test_a_next_link_stays_on_its_origin(link: str) -> None:
    with pytest.raises(SystemFault, match="another host"):
        client("http://127.0.0.1:9").same_origin(link)


def test_a_next_link_may_be_relative() -> None:
    assert client("http://127.0.0.1:9/api").same_origin("/api/x?page=2") == "http://127.0.0.1:9/api/x?page=2"


def test_a_rotated_secret_is_used_at_once(serve: Callable[..., Any]) -> None:
    secret = ["old"]

    def script(connection: socket.socket, request: bytes) -> None:
        is_new = b"Bearer new" in request
        secret[0] = "new"  # rotated while the first request was under way
        status = b"200 OK" if is_new else b"401 Unauthorized"
        connection.sendall(b"HTTP/1.1 " + status + b"\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")

    server = serve(script)
    assert client(server.url, auth=Bearer(Secret(lambda: secret[0]))).get("x").status == 200
    assert len(server.requests) == 2


def test_a_refused_secret_is_not_tried_again_and_not_shown(
    reply: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    server = reply(b"{}", status="401 Unauthorized")
    with caplog.at_level(logging.DEBUG), pytest.raises(AuthFailed) as raised:
        client(server.url, auth=Bearer(Secret(lambda: "token-canary\n"))).get("x")
    assert len(server.requests) == 1
    assert b"Bearer token-canary\r\n" in server.requests[0]
    assert "token-canary" not in str(raised.value) + caplog.text + repr(Bearer("token-canary"))


def test_a_secret_that_would_end_its_header_is_refused() -> None:
    with pytest.raises(Misdeclared, match="control characters"):
        client("http://127.0.0.1:9", auth=Bearer("a\r\nX-Evil: 1")).get("x")


def test_one_connection_serves_many_requests(reply: Callable[..., Any]) -> None:
    server = reply(b"{}")
    crm = client(server.url)
    for _ in range(3):
        crm.get("x")
    assert (server.connections, len(server.requests)) == (1, 3)


def test_no_more_requests_at_once_than_declared(serve: Callable[..., Any]) -> None:
    running: list[int] = [0, 0]

    def script(connection: socket.socket, _: bytes) -> None:
        running[0] += 1
        running[1] = max(running)
        time.sleep(0.02)
        running[0] -= 1
        connection.sendall(OK + b"Content-Length: 2\r\n\r\n{}")

    crm = client(serve(script).url, limits=Limits(concurrency=2))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: crm.get("x"), range(10)))
    assert running[1] <= 2


@pytest.mark.parametrize("host", ["localhost", "2130706433", "[::1]", "127.1", "0x7f.1"])
def test_a_public_system_is_not_on_this_machine(host: str) -> None:
    with pytest.raises(Unreachable):
        client(f"https://{host}:9/", network="public", deadline_seconds=2).get("x")


def test_a_name_that_nobody_knows_is_unreachable() -> None:
    with pytest.raises((Unreachable, Transient)):
        client("https://no-such-host.invalid/", network="public", deadline_seconds=5).get("x")


def test_an_untrusted_certificate_is_unreachable(serve: Callable[..., Any], tmp_path: Any) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(_self_signed(tmp_path))
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(5)

    def accept() -> None:
        try:
            with context.wrap_socket(listener.accept()[0], server_side=True):
                pass
        except OSError:
            pass

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    with pytest.raises(Unreachable, match="certificate"):
        client(f"https://127.0.0.1:{listener.getsockname()[1]}").get("x")
    thread.join()
    listener.close()


def _self_signed(folder: Any) -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "other.example")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1))
    ).sign(key, hashes.SHA256())
    file = folder / "server.pem"
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.write_bytes(private + certificate.public_bytes(pem))
    return str(file)
