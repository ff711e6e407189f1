"""Rows of the fault matrix about systems in trouble: down, slow, limited, unreachable, refusing everything alike."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from canonical.health import THRESHOLD
from connectors.http import HttpClient, wire
from connectors.protocol import Ambiguous, Transient, Unreachable
from tasks import quota, report
from tasks.deliver import deliver
from tasks.world import World
from tests.fixtures.database import TestDatabase
from tests.fixtures.till import Counter, Till

Open = Callable[..., Counter]


@pytest.fixture
def till() -> Iterator[Till]:
    with Till() as running:
        yield running


@pytest.fixture
def counter(till: Till, tmp_path: Path, database: TestDatabase) -> Iterator[Open]:
    opened: list[Counter] = []

    def open_it(**options: Any) -> Counter:
        opened.append(Counter(till, tmp_path / f"landscape-{len(opened)}", database, **options))
        return opened[-1]

    yield open_it
    for each in opened:
        each.close()


BUYERS = tuple(f"buyer{n}" for n in range(30))


def letters(shop: Counter) -> int:
    """Open dead letters."""
    return int(shop.rows("select count(*)::int as n from ops.dead_letter where state = 'open'")[0]["n"])


def due_anew(shop: Counter) -> None:
    """What is to be tried again later is due now; who is left alone stays so."""
    shop.run("update ops.outbox set due_at = now() - interval '1 s' where state = 'ready'")


# --------------------------------------------------------------------------------------------------- 18, 58: it is down


@pytest.mark.faults
@pytest.mark.parametrize("status", [500, 502, 503])
@pytest.mark.parametrize("method", ["", "POST"], ids=["for everything", "for writes"])
def test_row_18_a_target_that_is_down_costs_no_record(till: Till, counter: Open, status: int, method: str) -> None:
    """After some failures in a row it is left alone: hardly asked, nothing refused, and all goes out when it is up."""
    shop = counter(write_class="B")
    till.sell_to(*BUYERS)
    down = till.befall("status", status=status, method=method, count=-1)
    done = shop.sync()
    assert [(t.system, t.kind) for t in done.trouble] == [("till", "DeliveryStopped")]
    for _ in range(THRESHOLD + 3):
        due_anew(shop)
        shop.deliver()
    assert len(till.writes()) <= THRESHOLD + 3, "it is not pressed"
    assert letters(shop) == 0
    left_alone = "select state from ops.breaker where system like 'till%' and state <> 'closed'"
    assert shop.rows(left_alone) == [{"state": "open"}]
    down.count = 0
    shop.settled()
    assert sorted(till.names()) == sorted(n.title() for n in BUYERS)
    assert shop.rows(left_alone) == []
    assert shop.is_at_rest()


def test_row_18_one_stumble_is_not_noticed(till: Till, counter: Open) -> None:
    """A single 503 is tried again, and leaves nothing behind but the attempt."""
    shop = counter(write_class="B")
    till.sell_to("ann", "bob")
    till.befall("status", status=503)
    shop.sync()
    shop.settled()
    assert till.names() == ["Ann", "Bob"]
    assert letters(shop) == 0
    assert shop.is_at_rest()


@pytest.mark.faults
def test_row_18_what_waits_for_a_system_that_is_down_may_change_meanwhile(till: Till, counter: Open) -> None:
    """A change that could not be sent gives way to the next one. Nobody is asked: that it failed is no question."""
    shop = counter(write_class="B")
    till.sell_to("ann", "bob")
    shop.sync()
    shop.settled()
    till.sell_to("ann", email="first@example.com")
    down = till.befall("status", status=503, method="PATCH", count=-1)
    shop.sync()
    assert shop.rows("select count(*)::int as n from ops.outbox where state = 'ready' and reason is not null") == [
        {"n": 1}
    ], "it was tried"
    till.sell_to("ann", email="second@example.com")
    shop.sync()
    assert shop.rows("select kind, reason from ops.hold") == []
    down.count = 0
    shop.settled()
    assert sorted(r["email"] for r in till.records.values()) == ["bob@example.com", "second@example.com"]
    assert shop.is_at_rest()


@pytest.mark.faults
def test_row_58_a_system_that_comes_and_goes_is_met_by_one_request_at_a_time(till: Till, counter: Open) -> None:
    """Whenever its time is over one worker tries with one request; while it is up there is progress."""
    shop = counter(write_class="B", batch=2)
    till.sell_to(*BUYERS)
    shop.ready()
    down = till.befall("status", status=503, method="", count=-1)
    for _ in range(THRESHOLD):
        due_anew(shop)
        shop.deliver()
    worlds = [World.of(shop.folder) for _ in range(4)]

    def all_at_once() -> None:
        with ThreadPoolExecutor(len(worlds)) as pool:
            list(pool.map(lambda world: deliver(world, tuple(world.landscape.integrations)), worlds))

    for _ in range(3):
        due_anew(shop)
        shop.run("update ops.breaker set until = clock_timestamp() - interval '1 s'")
        before = len(till.asked)
        all_at_once()
        assert len(till.asked) - before <= 1, "one finds out for all"
    down.count = 0
    shop.run("update ops.breaker set until = clock_timestamp() - interval '1 s'")
    due_anew(shop)
    all_at_once()
    assert till.records, "there is progress while it is up"
    for world in worlds:
        world.close()
    shop.settled()
    assert sorted(till.names()) == sorted(n.title() for n in BUYERS)
    assert shop.is_at_rest()


@pytest.mark.faults
def test_row_18_thousands_refused_alike_are_the_systems_fault(till: Till, counter: Open) -> None:
    """Twenty refusals of one cause stop the lane with one incident, not with a queue of dead letters; one record tries
    from time to time, and all of them go out when it is accepted."""
    is_mad = {"is_on": True}

    def keeps(record: dict[str, Any]) -> dict[str, Any]:
        if is_mad["is_on"]:
            raise ValueError(f"{record['name']}: posting period 2026-01 is closed")
        return record

    till.keeps = keeps
    shop = counter(write_class="B")
    till.sell_to(*(f"buyer{n}" for n in range(60)))
    done = shop.sync()
    assert len(till.creates()) == 20
    assert letters(shop) == 0
    assert [(t.system, t.kind) for t in done.trouble] == [("till", "DeliveryStopped")]
    assert "20 of 20 records were refused alike" in done.trouble[0].cause
    again = shop.sync()
    assert len(till.creates()) == 20, "the lane rests"
    assert [t.kind for t in again.trouble] == ["DeliveryStopped"], "which is not over because nothing was due"
    for tries in (1, 2):
        shop.now_due()
        shop.deliver()
        assert len(till.creates()) == 20 + tries, "one record tries"
    assert letters(shop) == 0
    is_mad["is_on"] = False
    shop.settled()
    assert len(till.records) == 60
    assert shop.is_at_rest()


@pytest.mark.faults
def test_row_18_a_few_bad_records_stop_nobody(till: Till, counter: Open) -> None:
    """What is refused for itself is a dead letter, however often, while the others go out."""

    def keeps(record: dict[str, Any]) -> dict[str, Any]:
        if record["name"].endswith("7"):
            raise ValueError("name: must not end in a seven")
        return record

    till.keeps = keeps
    shop = counter(write_class="B")
    till.sell_to(*(f"buyer{n}" for n in range(50)))
    assert shop.sync().trouble == []
    assert (len(till.records), letters(shop)) == (45, 5)
    assert shop.is_at_rest()


# ----------------------------------------------------------------------------------------------- 19, 20: it is limited


def in_seconds(seconds: float) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [
        pytest.param("120", 115, 145, id="seconds"),
        pytest.param(lambda: in_seconds(300), 290, 365, id="HTTP date"),
        pytest.param(None, 20, 40, marks=pytest.mark.faults, id="missing"),
        pytest.param("86400", 890, 1085, id="a day"),
        pytest.param("-1", 20, 40, marks=pytest.mark.faults, id="negative"),
        pytest.param("soon", 20, 40, id="garbage"),
    ],
)
def test_row_19_being_asked_to_slow_down_uses_up_no_attempt(
    till: Till, counter: Open, header: Any, least: float, most: float
) -> None:
    """Retry-After is honoured in all its forms, capped at a quarter of an hour and spread; nobody asks meanwhile."""
    shop = counter(write_class="B")
    till.sell_to("ann")
    value = header() if callable(header) else header
    till.befall("status", status=429, headers={} if value is None else {"Retry-After": value})
    done = shop.sync()
    assert [t.system for t in done.trouble] == ["till"]
    [write] = shop.rows("select state, attempts, extract(epoch from due_at - now())::float8 as wait from ops.outbox")
    assert (write["state"], write["attempts"]) == ("ready", 0)
    assert least <= write["wait"] <= most
    shop.deliver()
    assert len(till.writes()) == 1
    shop.settled()
    assert till.names() == ["Ann"]
    assert letters(shop) == 0
    assert shop.is_at_rest()


def test_row_19_when_one_worker_is_asked_to_slow_down_all_wait(till: Till, counter: Open) -> None:
    """A 429 to one is heard by everybody, also where no rate is declared, and they do not all come back at once."""
    shop = counter(write_class="B", batch=5)
    till.sell_to(*BUYERS)
    shop.ready()
    till.befall("status", status=429, headers={"Retry-After": "300"}, count=-1)
    shop.deliver()
    asked = len(till.asked)
    others = [World.of(shop.folder) for _ in range(3)]
    for world in others:
        deliver(world, tuple(world.landscape.integrations))
        world.close()
    assert len(till.asked) == asked
    waits = [
        r["w"]
        for r in shop.rows(
            "select extract(epoch from due_at)::float8 as w from ops.outbox where attempts = 0 and due_at > now()"
        )
    ]
    assert max(waits) - min(waits) > 1.0
    till.troubles.clear()
    shop.settled()
    assert len(till.records) == len(BUYERS)
    assert shop.is_at_rest()


def pause_over(shop: Counter) -> None:
    """The pause that a system asked for is over, for all processes."""
    shop.run("delete from ops.rate_pause")
    shop.world.close()
    shop.world = World.of(shop.folder)


@pytest.mark.faults
def test_row_19_a_source_that_asks_us_to_slow_down_slows_nobody_else_down(till: Till, counter: Open) -> None:
    """What was read lately is left for the next sync, without trouble; what was never read is waited for and told."""
    shop = counter(write_class="B")
    limited = till.befall("status", status=429, method="GET", path="/shop", headers={"Retry-After": "60"}, count=-1)
    first = shop.sync()
    assert [(t.system, t.kind) for t in first.trouble] == [("shop", "RateLimited")]
    limited.count = 0
    pause_over(shop)
    till.sell_to("ann")
    assert shop.sync().trouble == []
    limited.count = -1
    till.sell_to("bob")
    asked = len(till.asked)
    began = time.monotonic()
    for _ in range(2):
        done = shop.sync(mode="incremental")
        assert done.trouble == []
        assert list(done.rested) == ["shop/customers"]
        assert done.rested["shop/customers"].startswith("it asked everybody to wait")
    assert time.monotonic() - began < 30, "the pause of a minute is not waited for"
    told = report.waits(shop.world, done, "all")
    assert [line.partition(": it asked")[0] for line in told] == ["not read: shop/customers"]
    assert len([a for a in till.asked[asked:] if a.path == "/shop"]) == 1, "the second does not even ask"
    limited.count = 0
    pause_over(shop)
    assert shop.sync(mode="incremental").rested == {}
    assert till.names() == ["Ann", "Bob"]
    assert shop.is_at_rest()


@pytest.mark.faults
def test_row_20_a_daily_quota_is_kept_for_deliveries_and_told_before_it_ends(till: Till, counter: Open) -> None:
    """Reading rests at nine tenths, deliveries go on; somebody hears of it at three quarters; the rest goes later."""
    shop = counter(write_class="B", is_read=True, limits="limits: [{requests: 40, seconds: 86400}]")
    told: list[int] = []
    for number in range(12):
        till.sell_to(f"buyer{number}")
        done = shop.sync()
        low, _ = quota.low(shop.world)
        if low:
            told.append(len([a for a in till.asked if a.path.startswith("/till")]))
            assert (low[0].key, low[0].system) == ("quota:till", "till")
        if any(t.step == "extract" for t in done.trouble):
            break
    used = [a for a in till.asked if a.path.startswith("/till")]
    assert told, "nobody was told"
    assert 30 <= told[0] < len(used) <= 40, "it was told before reading had to rest"
    assert any("kept for deliveries" in t.cause for t in done.trouble)
    sold = len(till.records)
    shop.run("update ops.rate set used = used - 1 where used > 3")
    shop.run("delete from ops.rate")  # the next day
    shop.settled()
    shop.sync()
    assert len(till.records) >= sold
    shop.run("delete from ops.rate")
    assert shop.is_at_rest()


# ---------------------------------------------------------------------------------- 21, 22: it cannot be had, or drips


def test_row_21_what_passes_and_what_is_misdeclared_are_told_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A black hole and a resolver that stumbles pass by themselves; a name that nobody knows is a person's matter."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    filling = [socket.socket() for _ in range(3)]
    for one in filling:  # nobody accepts: further connections are never answered
        one.setblocking(False)
        one.connect_ex(listener.getsockname())
    hole = HttpClient(
        f"http://127.0.0.1:{listener.getsockname()[1]}", system="x", network="loopback", deadline_seconds=0.5
    )
    with pytest.raises(Transient, match="before anything was sent"):
        hole.send("POST", "x", json={}, effect="write")
    for one in (*filling, listener):
        one.close()

    def answers(code: int) -> Callable[..., Any]:
        def ask(*_: Any, **__: Any) -> Any:
            raise socket.gaierror(code, "told by a test")

        return ask

    named = HttpClient("https://crm.example", system="x", deadline_seconds=1)
    monkeypatch.setattr(socket, "getaddrinfo", answers(socket.EAI_AGAIN))
    with pytest.raises(Transient) as passing:
        named.get("x")
    assert not isinstance(passing.value, Unreachable)
    monkeypatch.setattr(socket, "getaddrinfo", answers(socket.EAI_NONAME))
    with pytest.raises(Unreachable, match="no address is known"):
        named.get("x")


@contextmanager
def tls_server(
    folder: Path, name: str, *, is_expired: bool, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[int, list[bytes]]]:
    """A server for one certificate that we trust; its port, and the first bytes of every connection."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    until = now - timedelta(days=1) if is_expired else now + timedelta(days=1)
    made = x509.CertificateBuilder(
        subject, subject, key.public_key(), x509.random_serial_number(), now - timedelta(days=9), until
    )
    made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    certificate = made.sign(key, hashes.SHA256())
    file = folder / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + private)
    trusted = ssl.create_default_context(cafile=str(file))
    monkeypatch.setattr(wire, "_trust", lambda: trusted)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    listener, seen = socket.create_server(("127.0.0.1", 0)), list[bytes]()

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            try:
                seen.append(connection.recv(3, socket.MSG_PEEK))
                with context.wrap_socket(connection, server_side=True) as secure:
                    secure.recv(65536)
                    secure.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
            except OSError:
                continue

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1], seen
    finally:
        listener.close()


@pytest.mark.parametrize(
    ("name", "is_expired", "is_good"),
    [
        pytest.param("localhost", False, True, id="its own"),
        pytest.param("localhost", True, False, id="expired"),
        pytest.param("other.example", False, False, id="another host's"),
    ],
)
def test_row_21_a_certificate_is_never_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, is_expired: bool, is_good: bool
) -> None:
    """An expired or another host's certificate stops the system for a person; nothing ever goes out in plain text."""
    with tls_server(tmp_path, name, is_expired=is_expired, monkeypatch=monkeypatch) as (port, seen):
        client = HttpClient(f"https://localhost:{port}", system="x", network="loopback", deadline_seconds=5)
        if is_good:
            assert client.get("x").status == 200
        else:
            for effect in ("read", "write"):
                with pytest.raises(Unreachable, match="certificate"):
                    client.send("POST", "x", json={"secret": 1}, effect=effect)  # type: ignore[arg-type]
        client.close()
        assert seen
        assert all(first.startswith(b"\x16\x03") for first in seen), "each connection begins with a TLS handshake"


def test_row_22_an_answer_that_drips_is_cut_off_at_the_deadline(till: Till, counter: Open) -> None:
    """A byte every 0.6 s keeps nobody longer than the deadline of the whole request; what became of it is looked up."""
    shop = counter(write_class="B", timeout="2s")
    till.sell_to("ann", "bob")
    till.befall("drip", seconds=0.6)
    began = time.monotonic()
    shop.sync()
    assert time.monotonic() - began < 20, "the answer alone would take half a minute"
    shop.settled()
    assert till.names() == ["Ann", "Bob"]
    assert len(till.creates()) == 2
    assert shop.is_at_rest()


def test_row_22_a_source_that_drips_is_cut_off_too(till: Till) -> None:
    """Reading ends at the deadline with an error that passes; a write in the same case is ambiguous."""
    till.befall("drip", method="GET", path="/till", seconds=0.3, count=-1)
    till.befall("drip", seconds=0.3, count=-1)
    client = HttpClient(till.url, system="till", network="loopback", deadline_seconds=0.5)
    with pytest.raises(Transient, match="deadline"):
        client.get("till")
    with pytest.raises(Ambiguous, match="deadline"):
        client.send("POST", "till", json={"name": "Ann"}, effect="write")
    client.close()
