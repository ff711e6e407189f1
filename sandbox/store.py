"""The state of one HTTP system: documents by stream, requests received, answers kept for replay. One SQLite file.

Reads come from memory, which is filled from the file at start; every write goes to both. The caller decides when to
commit, so that a stored document and the log entry of the request that stored it are kept or lost together.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import orjson

Doc = dict[str, Any]
Streams = dict[str, dict[str, Doc]]
_past: ContextVar[Streams | None] = ContextVar("past", default=None)
"""What reads see instead of what is stored, within `Store.seen_as`."""

_TABLES = """
create table if not exists record (
  stream text not null, id text not null, position integer not null, doc blob not null, primary key (stream, id)
) without rowid;
create table if not exists requests (
  id integer primary key autoincrement, at text not null, method text not null, path text not null,
  query text not null, body text not null, status integer not null, is_write integer not null, fault text not null
);
create table if not exists replay (
  key text primary key, digest text not null, status integer not null, answer blob not null
);
create table if not exists meta (name text primary key, value text not null);
"""


def utc_text(epoch_ms: int) -> str:
    """ISO 8601 with milliseconds and Z, as HubSpot writes times."""
    seconds, millis = divmod(epoch_ms, 1000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{millis:03d}Z"


def now_ms() -> int:
    """Milliseconds since 1970 by this machine's clock: the systems' own clock."""
    return time.time_ns() // 1_000_000


class Store:
    """Documents of one system. Not for use from several threads at once: each system lives on one event loop."""

    def __init__(self, path: Path | str) -> None:
        self._db = sqlite3.connect(str(path), isolation_level=None, check_same_thread=False)
        self._db.execute("pragma journal_mode=wal")
        self._db.execute("pragma synchronous=normal")
        self._db.executescript(_TABLES)
        self._streams: Streams = {}
        self._born: dict[tuple[str, str], float] = {}
        self._position = 0
        self._last_mark = 0
        self._clock_offset_ms = 0
        for stream, record_id, position, doc in self._db.execute(
            "select stream, id, position, doc from record order by position"
        ):
            self._streams.setdefault(stream, {})[record_id] = orjson.loads(doc)
            self._position = position
        self._is_open = False

    def stream(self, name: str) -> dict[str, Doc]:
        """All documents of a stream by id, oldest first. Change them only through `put`."""
        past = _past.get()
        return (self._streams if past is None else past).setdefault(name, {})

    def get(self, stream: str, record_id: str) -> Doc | None:
        """One document, or None."""
        return self.stream(stream).get(record_id)

    def put(self, stream: str, record_id: str, doc: Doc) -> None:
        """Store a document under its id, keeping the place it had in the stream's order."""
        self.put_many(stream, [(record_id, doc)])

    def put_many(self, stream: str, docs: Iterable[tuple[str, Doc]]) -> None:
        """Store many documents of one stream."""
        self._begin()
        known = self.stream(stream)
        rows = []
        for record_id, doc in docs:
            self._position += 1
            if record_id not in known:
                self._born[stream, record_id] = time.monotonic()
            known[record_id] = doc
            rows.append((stream, record_id, self._position, orjson.dumps(doc)))
        self._db.executemany(
            "insert into record (stream, id, position, doc) values (?, ?, ?, ?)"
            " on conflict (stream, id) do update set doc = excluded.doc",
            rows,
        )

    def remove(self, stream: str, record_id: str) -> None:
        """Forget a document altogether (a hard delete)."""
        self._begin()
        self.stream(stream).pop(record_id, None)
        self._db.execute("delete from record where stream = ? and id = ?", (stream, record_id))

    def next_mark(self) -> int:
        """A change mark in epoch milliseconds: the clock's, and never the same twice while the clock is not set."""
        self._last_mark = max(now_ms() + self._clock_offset_ms, self._last_mark + 1)
        return self._last_mark

    def set_clock(self, offset_seconds: float) -> None:
        """Let this system's clock be so many seconds off: its change marks jump there, and back."""
        offset_ms = int(offset_seconds * 1000)
        if offset_ms != self._clock_offset_ms:
            self._clock_offset_ms, self._last_mark = offset_ms, 0

    @property
    def clock_seconds(self) -> float:
        """The time by this system's clock, in seconds since 1970."""
        return (now_ms() + self._clock_offset_ms) / 1000

    def copied(self) -> Streams:
        """Everything that is stored now, for `seen_as` later."""
        copied: Streams = orjson.loads(orjson.dumps(self._streams))
        return copied

    def without_newborn(self, seconds: float) -> Streams:
        """What is stored but for records that were first stored in the last so many seconds. For reading only."""
        since = time.monotonic() - seconds
        newborn = {place for place, at in self._born.items() if at > since}
        return {
            name: {record_id: doc for record_id, doc in docs.items() if (name, record_id) not in newborn}
            for name, docs in self._streams.items()
        }

    @contextmanager
    def seen_as(self, streams: Streams) -> Iterator[None]:
        """Reads within the block see these documents. For requests that write nothing."""
        token = _past.set(streams)
        try:
            yield
        finally:
            _past.reset(token)

    def log_request(
        self, *, method: str, path: str, query: str, body: str, status: int, is_write: bool, fault: str
    ) -> None:
        """Remember a request that was received, with the status it was answered with (0: never answered)."""
        self._begin()
        self._db.execute(
            "insert into requests (at, method, path, query, body, status, is_write, fault) values (?,?,?,?,?,?,?,?)",
            (utc_text(now_ms()), method, path, query, body, status, int(is_write), fault),
        )

    def requests(self, since: int = 0, writes_only: bool = False, limit: int = 10_000) -> list[Doc]:
        """Requests received after the given request id, oldest first."""
        rows = self._db.execute(
            "select id, at, method, path, query, body, status, is_write, fault from requests"
            " where id > ? and (is_write or not ?) order by id limit ?",
            (since, writes_only, limit),
        )
        names = ("id", "at", "method", "path", "query", "body", "status", "is_write", "fault")
        return [dict(zip(names, row, strict=True)) for row in rows]

    def request_counts(self) -> Doc:
        """How many requests were logged, how many of them asked for a change, and the last id."""
        total, writes, last = self._db.execute(
            "select count(*), coalesce(sum(is_write), 0), coalesce(max(id), 0) from requests"
        ).fetchone()
        return {"total": total, "writes": writes, "last_id": last}

    def replayed(self, key: str) -> tuple[str, int, bytes] | None:
        """The (digest of the request, status, answer) kept under an idempotency key."""
        row = self._db.execute("select digest, status, answer from replay where key = ?", (key,)).fetchone()
        return None if row is None else (row[0], row[1], row[2])

    def keep_answer(self, key: str, digest: str, status: int, answer: bytes) -> None:
        """Keep an answer for replay under an idempotency key."""
        self._begin()
        self._db.execute("insert into replay values (?, ?, ?, ?)", (key, digest, status, answer))

    def meta(self, name: str) -> str | None:
        """A named fact about this system, such as whether it was seeded."""
        row = self._db.execute("select value from meta where name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def set_meta(self, name: str, value: str) -> None:
        """Set a named fact."""
        self._begin()
        self._db.execute("insert or replace into meta values (?, ?)", (name, value))

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit at the end of the block: for work outside a request, such as seeding."""
        yield
        self.commit()

    def commit(self) -> None:
        """Make everything since the last commit last."""
        if self._is_open:
            self._db.execute("commit")
            self._is_open = False

    def close(self) -> None:
        """Commit and close the file."""
        self.commit()
        self._db.close()

    def _begin(self) -> None:
        if not self._is_open:
            self._db.execute("begin immediate")
            self._is_open = True
