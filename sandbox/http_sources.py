"""Plain JSON list sources for benchmarks: pages prepared as bytes beforehand, served as fast as Python can.

`GET /customers?page=1&size=1000` answers `{"data": [...], "next": 2}` (`next` null on the last page) with nested
customer records of about 460 bytes. `POST /change?percent=1` changes that share of the records, spread evenly, with a
new `updated_at`. `POST /accounts` with a list of records is a target that answers at once: each comes back with an
id. No framework in the way: an asyncio protocol writes the bytes.

`python -m sandbox.http_sources --rows 100000 --sources 3` serves until stopped and prints a line with the URLs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson

from sandbox.people import COUNTRY_NAME, Maker, plain

READY_SECONDS = 120.0
_STATUSES = ("OPEN", "CUSTOMER", "CONNECTED", "UNQUALIFIED")
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"


def customer_records(count: int, seed: int, first: int = 1) -> list[dict[str, Any]]:
    """Nested customer records, about 460 bytes each as JSON; `first` is the number of the first one.

    Names, streets and towns repeat from a pool of 2,000 as in real lists; ids, VAT numbers, mail and phone do not.
    """
    choose = random.Random(seed)
    maker = Maker(choose)
    pool = []
    for _ in range(min(2_000, count)):
        country = maker.country()
        address, _ = maker.address(country)
        pool.append((maker.company_name(country), country, address))
    records = []
    for number in range(first, first + count):
        name, country, address = pool[choose.randrange(len(pool))]
        domain = f"{plain(name)}-{number}.example"
        records.append(
            {
                "id": f"{seed}-{number:08d}",
                "name": f"{name} {number}",
                "contact": {"email": f"buyer{number}@{domain}", "phone": _phone(number)},
                "vat_number": f"GB{number:09d}",
                "address": {
                    "line1": address.street,
                    "city": address.city,
                    "region": address.region,
                    "postcode": address.postcode,
                    "country": COUNTRY_NAME[country],
                },
                "status": choose.choice(_STATUSES),
                "since": f"{choose.randint(1, 28):02d}/{choose.randint(1, 12):02d}/{choose.randint(2005, 2024)}",
                "credit": {"limit": f"{choose.randint(1, 500) * 100}.00", "currency": "GBP"},
                "updated_at": f"2025-0{choose.randint(1, 6)}-{choose.randint(10, 28)}T10:15:00Z",
            }
        )
    return records


def _phone(number: int) -> str:
    digits = f"{number % 10_000_000:07d}"
    return f"020 7{digits[:3]} {digits[3:]}"


class Source:
    """One list of records with its pages prepared."""

    def __init__(self, records: list[dict[str, Any]]) -> None:
        self.records = records
        self._pages: dict[int, list[bytes]] = {}
        self._changes = 0

    def page(self, number: int, size: int) -> bytes:
        """The whole answer for a page, head included. A page beyond the end is empty."""
        pages = self._pages.get(size)
        if pages is None:
            pages = self._pages[size] = self._prepare(size)
        return pages[number - 1] if number <= len(pages) else _answer(b'{"data":[],"next":null}')

    def _prepare(self, size: int) -> list[bytes]:
        count = max(1, -(-len(self.records) // size))
        pages = []
        for number in range(1, count + 1):
            data = self.records[(number - 1) * size : number * size]
            pages.append(_answer(orjson.dumps({"data": data, "next": number + 1 if number < count else None})))
        return pages

    def change(self, percent: float) -> int:
        """Change this share of the records, evenly spread; returns how many."""
        self._changes += 1
        count = round(len(self.records) * percent / 100)
        for place in range(count):
            record = self.records[place * len(self.records) // count]
            record["contact"] = {**record["contact"], "phone": _phone(place * 7 + self._changes + 5_000_000)}
            record["updated_at"] = f"2025-07-01T10:{self._changes % 60:02d}:00Z"
        for size in self._pages:
            self._pages[size] = self._prepare(size)
        return count


class _Connection(asyncio.Protocol):
    """HTTP/1.1 with kept connections; a body's length is announced."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.received = b""
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        if isinstance(transport, asyncio.Transport):
            self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer each complete request."""
        self.received += data
        while self.transport is not None and (end := self.received.find(b"\r\n\r\n")) >= 0:
            head = self.received[:end].decode("latin-1")
            announced = (line[15:] for line in head.split("\r\n") if line.lower().startswith("content-length:"))
            length = int(next(announced, "0"))
            if len(self.received) < end + 4 + length:
                return
            body = self.received[end + 4 : end + 4 + length]
            self.received = self.received[end + 4 + length :]
            method, target, _ = head.split("\r\n", 1)[0].split(" ", 2)
            self.transport.write(self._respond(method, target, body))

    def _respond(self, method: str, target: str, sent: bytes) -> bytes:
        parts = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        try:
            match (method, parts.path):
                case ("GET", "/customers"):
                    page, size = max(1, int(query.get("page", 1))), max(1, int(query.get("size", 1_000)))
                    return self.source.page(page, size)
                case ("POST", "/change"):
                    return _answer(orjson.dumps({"changed": self.source.change(float(query.get("percent", 1)))}))
                case ("POST", "/accounts"):
                    made = [{"id": f"a-{record['external_id']}", **record} for record in orjson.loads(sent)]
                    return _answer(orjson.dumps({"data": made}))
        except ValueError as wrong:
            body = orjson.dumps({"error": str(wrong)})
            return b"HTTP/1.1 400 Bad Request\r\ncontent-length: %d\r\n\r\n" % len(body) + body
        return b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"


def _answer(body: bytes) -> bytes:
    return _HEAD % len(body) + body


async def serve(rows: int, sources: int, seed: int, ports: list[int], page_size: int) -> None:
    """Serve `rows` records spread over some sources until SIGTERM. Prints one line of JSON with the URLs when ready."""
    loop = asyncio.get_running_loop()
    servers = []
    share = -(-rows // sources)
    for place in range(sources):
        first = place * share + 1
        source = Source(customer_records(max(0, min(share, rows - first + 1)), seed + place, first))
        source.page(1, page_size)
        server = await loop.create_server(partial(_Connection, source), "127.0.0.1", ports[place])
        servers.append(server)
    urls = [f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}" for server in servers]
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    print(json.dumps({"urls": urls}), flush=True)
    await stopped.wait()
    for server in servers:
        server.close()


@dataclass(frozen=True)
class RunningSources:
    """Sources in a process of their own."""

    urls: tuple[str, ...]
    process: subprocess.Popen[str]

    def stop(self) -> None:
        """End the process."""
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(10)
        if self.process.stdout is not None:
            self.process.stdout.close()

    def __enter__(self) -> RunningSources:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def start_sources(rows: int, sources: int = 3, seed: int = 11, page_size: int = 1_000) -> RunningSources:
    """Start sources on free ports in a process of their own and wait until they answer."""
    command = [sys.executable, "-m", "sandbox.http_sources", "--rows", str(rows), "--sources", str(sources)]
    command += ["--seed", str(seed), "--page-size", str(page_size)]
    root = Path(__file__).resolve().parent.parent
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root)
    deadline = time.monotonic() + READY_SECONDS
    while process.stdout is not None and time.monotonic() < deadline and process.poll() is None:
        if select.select([process.stdout], [], [], 0.2)[0] and (line := process.stdout.readline()):
            return RunningSources(tuple(json.loads(line)["urls"]), process)
    process.kill()
    process.communicate()
    raise RuntimeError("the sources did not come up")


def main() -> int:
    """Read the command line and serve until stopped."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.http_sources", description="Fast JSON lists of customers.")
    parser.add_argument("--rows", type=int, default=100_000, help="records over all sources")
    parser.add_argument("--sources", type=int, default=3)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--page-size", type=int, default=1_000, help="pages of this size are prepared before the start")
    parser.add_argument("--ports", default="", help="comma-separated; free ones by default")
    asked = parser.parse_args()
    ports = [int(port) for port in asked.ports.split(",") if port] or [0] * asked.sources
    if len(ports) != asked.sources or asked.rows < 0:
        parser.error("--ports needs one port for each source, --rows is not below zero")
    asyncio.run(serve(asked.rows, asked.sources, asked.seed, ports, asked.page_size))
    return 0


if __name__ == "__main__":
    sys.exit(main())
