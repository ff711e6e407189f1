"""The pure parts: addresses, waits, rates, bodies, credentials, receipts."""

from __future__ import annotations

import gzip
import ipaddress
import tracemalloc
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import pytest

from canonical.rates import Permits
from connectors.auth import ApiKey, Basic
from connectors.http.allow import Network, base_url, is_allowed
from connectors.http.body import BodyRefused, read_body
from connectors.http.outcome import excerpt, masked, retry_after, segment
from connectors.http.rate import RateGate, SharedGate, delivering, gate_of
from connectors.http.receipts import batch_key, in_key_order, one_by_one
from connectors.protocol import (
    Ambiguous,
    ConnectorError,
    Misdeclared,
    RateLimited,
    Receipt,
    Rejected,
    Transient,
    Write,
)

ADDRESSES: list[tuple[str, Network | None]] = [
    ("93.184.215.14", "public"), ("2606:4700::1111", "public"),
    ("10.1.2.3", "private"), ("192.168.0.9", "private"), ("172.16.0.1", "private"), ("fd00::1", "private"),
    ("100.64.0.1", "private"), ("127.0.0.1", "loopback"), ("127.9.9.9", "loopback"), ("::1", "loopback"),
    ("169.254.169.254", None), ("fe80::1", None), ("0.0.0.0", None), ("::", None), ("224.0.0.1", None),
    ("255.255.255.255", None), ("::ffff:169.254.169.254", None), ("::ffff:127.0.0.1", "loopback"),
    ("::ffff:10.0.0.1", "private"), ("64:ff9b::7f00:1", "loopback"), ("2002:7f00:1::", "loopback"),
]  # fmt: skip


@pytest.mark.parametrize(("address", "home"), ADDRESSES)
def test_an_address_belongs_to_one_network_or_none(address: str, home: Network | None) -> None:
    networks: tuple[Network, ...] = ("public", "private", "loopback")
    allowed = [network for network in networks if is_allowed(ipaddress.ip_address(address), network)]
    assert allowed == ([home] if home else [])


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "gopher://host/", "host.example", "https://", "https://user:pw@host/", "http://host/",
     "https://host/?a=1", "https://ho st/", "https://host:99999/"],
)  # fmt: skip
def test_a_base_url_is_a_whole_https_url_without_a_login(url: str) -> None:
    with pytest.raises(Misdeclared) as raised:
        base_url(url, "public")
    assert "pw" not in str(raised.value)


DATE = "Sat, 21 Nov 2026 12:00:00 GMT"
WAITS: list[tuple[str | None, float | None]] = [
    (None, None), ("0", 0.0), ("7", 7.0), ("1.5", 1.5), (" 3 ", 3.0), ("-1", None), ("86400", 900.0), ("soon", None),
    ("", None), ("nan", None), ("inf", 900.0), ("Sat, 21 Nov 2026 12:00:30 GMT", 30.0),
    ("Sat, 21 Nov 2026 11:59:30 GMT", None), ("Sun, 22 Nov 2026 12:00:00 GMT", 900.0), ("Sat, 99 Nov", None),
]  # fmt: skip


@pytest.mark.parametrize(("value", "seconds"), WAITS)
def test_retry_after_in_all_its_forms(value: str | None, seconds: float | None) -> None:
    assert retry_after(value, DATE) == seconds


def test_retry_after_as_a_date_without_a_date_header() -> None:
    wait = retry_after(format_datetime(datetime.now(UTC), usegmt=True))
    assert wait is None or wait <= 1


class Clock:
    """A clock that moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_no_stretch_of_a_window_holds_more_than_declared() -> None:
    clock, sent = Clock(), []
    gate = RateGate([(5, 10.0), (2, 1.0)], clock=clock, sleep=clock.sleep)
    for _ in range(40):
        gate.admit(60)
        sent.append(clock.now)
    for count, seconds in ((5, 10.0), (2, 1.0)):
        assert all(later - earlier >= seconds for earlier, later in zip(sent, sent[count:], strict=False))
    assert sent[-1] - sent[0] < 40 / 5 * 10 * 1.05


def test_a_wait_beyond_the_patience_is_told() -> None:
    clock = Clock()
    gate = RateGate([(1, 3600.0)], clock=clock, sleep=clock.sleep)
    gate.admit(30)
    with pytest.raises(RateLimited) as raised:
        gate.admit(30)
    assert raised.value.wait_seconds == pytest.approx(3636)
    assert clock.now == 100


def test_a_pause_holds_for_everybody() -> None:
    clock = Clock()
    gate = RateGate([], clock=clock, sleep=clock.sleep)
    gate.pause(5)
    gate.admit(30)
    assert clock.now == 105


class Counting:
    """Counts for all processes; grants what it is told to."""

    def __init__(self, *answers: Permits) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, int, bool]] = []
        self.paused: list[tuple[str, float]] = []

    def take(self, name: str, windows: Any, wanted: int, *, is_delivery: bool = False) -> Permits:
        self.asked.append((name, wanted, is_delivery))
        return self.answers.pop(0) if self.answers else Permits(wanted, 0.0, 1.0, "")

    def pause(self, name: str, seconds: float) -> None:
        self.paused.append((name, seconds))


def shared(rates: Counting, clock: Clock) -> SharedGate:
    return SharedGate(rates, "crm", [(100, 10.0)], clock=clock, sleep=clock.sleep, draw=lambda: 0.5)


def test_permits_for_all_processes_are_taken_a_few_at_a_time() -> None:
    rates, clock = Counting(), Clock()
    gate = shared(rates, clock)
    for _ in range(12):
        gate.admit(30)
    assert [wanted for _, wanted, _ in rates.asked] == [1, *[2] * 6], "no more than may be used while they are held"
    clock.now += 5
    gate.admit(30)
    assert rates.asked[-1] == ("crm", 1, False), "what was not used in time is not used later"


def test_a_gate_waits_for_its_permits_or_says_for_how_long() -> None:
    clock = Clock()
    none = Permits(0, 7.0, 1.0, "the declared rate of 100 requests in 10 s is used up")
    rates = Counting(none, Permits(1, 0.0, 1.0, ""), none)
    gate = shared(rates, clock)
    gate.admit(30)
    assert clock.now == 107
    with pytest.raises(RateLimited, match="100 requests in 10 s") as raised:
        gate.admit(5)
    assert raised.value.wait_seconds == 7.0


def test_a_pause_reaches_the_other_processes() -> None:
    rates, clock = Counting(), Clock()
    gate = shared(rates, clock)
    gate.admit(30)
    gate.pause(4.0)
    gate.admit(30)
    assert (rates.paused, clock.now) == ([("crm", 4.0)], 104.4), "not all in one moment"


def test_deliveries_may_use_what_is_kept_for_them() -> None:
    rates = Counting()
    with delivering():
        shared(rates, Clock()).admit(30)
    shared(rates, Clock()).admit(30)
    assert [is_delivery for _, _, is_delivery in rates.asked] == [True, False]


def test_where_nobody_counts_for_all_each_process_counts_its_own() -> None:
    assert isinstance(gate_of(None, "crm", [(1, 1.0)]), RateGate)
    assert isinstance(gate_of(Counting(), "crm", []), SharedGate), "nothing to count, but pauses to hear of"
    assert isinstance(gate_of(Counting(), "crm", [(0, 1.0), (5, 1.0)]), SharedGate)


@pytest.mark.parametrize("encoding", ["", "identity", "gzip", "x-gzip", "deflate", "raw deflate"])
def test_bodies_are_decoded(encoding: str) -> None:
    text = b'{"a": 1}' * 1000
    raw = zlib.compressobj(wbits=-15)
    sent = {
        "gzip": gzip.compress(text), "x-gzip": gzip.compress(text), "deflate": zlib.compress(text),
        "raw deflate": raw.compress(text) + raw.flush(),
    }.get(encoding, text)  # fmt: skip
    chunks = [sent[start : start + 7] for start in range(0, len(sent), 7)]
    assert read_body(chunks, encoding.removeprefix("raw "), 10**6, 10**6) == text


@pytest.mark.parametrize(
    ("body", "encoding"),
    [(gzip.compress(b"x" * 99)[:-9], "gzip"), (b"nonsense", "gzip"), (b"x", "br"), (b"x", "gzip, gzip")],
    ids=["cut", "damaged", "unknown", "twice"],
)
def test_encodings_that_cannot_be_undone(body: bytes, encoding: str) -> None:
    with pytest.raises(BodyRefused):
        read_body([body], encoding, 10**6, 10**6)


def test_a_bomb_is_not_inflated() -> None:
    bomb = gzip.compress(b" " * 100_000_000, 9)
    tracemalloc.start()
    with pytest.raises(BodyRefused):
        read_body([bomb], "gzip", 10**6, 2_000_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8_000_000


def test_credentials_as_headers_and_parameters() -> None:
    assert Basic("ann", "pa:ss").credentials() == {"authorization": "Basic YW5uOnBhOnNz"}
    assert ApiKey("X-Key", "k", "Token ").credentials() == {"x-key": "Token k"}
    assert ApiKey("?api_key", "k").credentials() == {"?api_key": "k"}


def test_an_error_body_repeats_none_of_our_secrets() -> None:
    body = b'{"message": "Bearer tok-0815-canary is not known, nor is tok-0815-canary"}'
    assert b"tok-0815" not in masked(body, ["Bearer tok-0815-canary"])
    assert masked(b"Bearer who?", ["Bearer tok-0815-canary"]) == b"Bearer who?"


def test_an_error_body_is_shown_short_escaped_on_one_line() -> None:
    shown = excerpt(b'{"message":\n "no\x1b[31m"}' + b"x" * 1000)
    assert "\n" not in shown
    assert "\x1b" not in shown
    assert len(shown) < 220


@pytest.mark.parametrize("record_id", ["", ".", ".."])
def test_an_id_never_leads_to_another_path(record_id: str) -> None:
    assert segment("a/b?c#d%") == "a%2Fb%3Fc%23d%25"
    with pytest.raises(Misdeclared):
        segment(record_id)


def writes(*refs: str) -> list[Write]:
    return [Write(ref, "create", None, {}, f"key-{ref}") for ref in refs]


def outcomes(errors: dict[str, ConnectorError]) -> list[tuple[str, str]]:
    def send(write: Write) -> Receipt:
        if write.ref in errors:
            raise errors[write.ref]
        return Receipt(write.ref, "done", source_id="1")

    return [(receipt.ref, receipt.outcome) for receipt in one_by_one(writes("a", "b", "c"), send)]


def test_one_by_one_gives_each_write_its_outcome() -> None:
    assert outcomes({"b": Rejected("no")}) == [("a", "done"), ("b", "rejected"), ("c", "done")]
    assert outcomes({"a": Ambiguous("?")}) == [("a", "unknown"), ("b", "done"), ("c", "done")]
    assert outcomes({"b": Transient("later")}) == [("a", "done"), ("b", "retry"), ("c", "retry")]
    with pytest.raises(Transient):
        outcomes({"a": Transient("later")})


def test_a_batch_key_does_not_depend_on_the_order() -> None:
    batch = writes("a", "b", "c")
    assert batch_key(batch) == batch_key(batch[::-1]) != batch_key(batch[:2])
    assert batch_key(batch[:1]) == "key-a"
    assert len(batch_key(batch)) <= 100
    sent: list[Any] = []

    def send(ordered: Any) -> Iterator[Receipt]:
        sent.append([write.ref for write in ordered])
        return [Receipt(write.ref, "done") for write in ordered]  # type: ignore[return-value]

    assert [receipt.ref for receipt in in_key_order(batch[::-1], send)] == ["c", "b", "a"]  # type: ignore[arg-type]
    assert sent == [["a", "b", "c"]]
