"""A declared rate holds for all processes together: counted in the database, judged by the system's own limit."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import sqlalchemy as sa

from connectors.http import HttpClient
from connectors.protocol import Limits, RateLimited
from staging.engine import transaction
from staging.rates import Rates
from tests.fixtures.database import TestDatabase

LIMIT, WINDOW = 40, 2.0
TRAVEL_SHARE = 0.1
"""Requests are counted when they may go, and on a busy machine some arrive later than others."""
_ASK = """
import sys, time
from connectors.http import HttpClient
from connectors.protocol import Limits
from staging.engine import engine
from staging.rates import Rates

limits = Limits(((int(sys.argv[2]), float(sys.argv[3])),))
client = HttpClient(sys.argv[1], system="crm", network="loopback", limits=limits, rates=Rates(engine("app")))
until = time.monotonic() + float(sys.argv[4])
asked = 0
while time.monotonic() < until:
    client.get("x")
    asked += 1
print(asked)
"""


class Limited(ThreadingHTTPServer):
    """A system that counts when it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        self.times: deque[float] = deque()
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        assert isinstance(self.server, Limited)
        self.server.times.append(time.monotonic())
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def system() -> Iterator[Limited]:
    server = Limited()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_three_processes_together_keep_to_the_declared_rate(database: TestDatabase, system: Limited) -> None:
    command = [sys.executable, "-c", _ASK, system.url, str(LIMIT), str(WINDOW), "6"]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    asked = [int(worker.communicate(timeout=120)[0]) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0, 0]
    times = sorted(system.times)
    assert sum(asked) == len(times)
    most = max(sum(start <= t < start + WINDOW for t in times) for start in times)
    assert most <= LIMIT * (1 + TRAVEL_SHARE), "no stretch of time holds more than the system allows"
    assert sum(asked) >= 2 * LIMIT, "the time is used, whoever uses it"


def test_counts_are_kept_only_as_long_as_they_count(database: TestDatabase) -> None:
    rates = Rates(database.engine)
    for _ in range(60):
        rates.take("crm", [(1000, 0.1)], 1)
        time.sleep(0.005)
    with transaction(database.engine) as conn:
        kept = conn.execute(sa.text("select count(*) from ops.rate")).scalar_one()
    assert kept < 60


def test_a_slow_down_is_heard_by_every_process(database: TestDatabase, system: Limited) -> None:
    ours, theirs = Rates(database.engine), Rates(database.engine)
    ours.pause("crm", 60.0)
    limits = Limits(((100, 1.0),))
    client = HttpClient(system.url, system="crm", network="loopback", limits=limits, rates=theirs)
    with pytest.raises(RateLimited, match="asked everybody to wait") as raised:
        client.get("x")
    assert raised.value.wait_seconds is not None
    assert 55 < raised.value.wait_seconds <= 60
    other = HttpClient(system.url, system="ledger", network="loopback", limits=limits, rates=theirs)
    assert other.get("x").status == 200
    client.close()
    other.close()


def test_row_20_a_days_quota_keeps_a_share_for_deliveries(database: TestDatabase) -> None:
    """A tenth of a day's quota is kept: reading is refused while deliveries still go."""
    rates, day = Rates(database.engine), [(100, 86_400.0)]
    assert rates.take("crm", day, 500).granted == 90
    refused = rates.take("crm", day, 1)
    assert (refused.granted, "kept for deliveries" in refused.because) == (0, True)
    assert rates.take("crm", day, 500, is_delivery=True).granted == 10
