"""Any database SQLAlchemy speaks to, as a source and, where a stream says `write: true`, as a target."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence

from sqlalchemy import Engine, text

from connectors.protocol import (
    Context,
    Cursor,
    Limits,
    Misdeclared,
    Page,
    Receipt,
    Secret,
    SourceRecord,
    StreamFacts,
    Write,
)
from connectors.sql import reading, writing
from connectors.sql.engine import open_engine, parse_url
from connectors.sql.engine import reading as read_only
from connectors.sql.errors import translating
from connectors.sql.tables import TableStream, bind_stream

_STATEMENT_SECONDS = 60.0
_BATCH = 500


class SqlConnector:
    """Source and target over one database."""

    limits = Limits(concurrency=4)

    def __init__(self, context: Context) -> None:
        self._context = context
        self._lock = threading.Lock()
        self._engine: Engine | None = None
        self._url = ""
        self._bound: dict[str, TableStream] = {}
        self._seconds = float(context.settings.get("statement_seconds", _STATEMENT_SECONDS))

    def check(self) -> None:
        """Log in and find every declared stream."""
        with translating(self._context.system), read_only(self._open()) as connection:
            connection.execute(text("select 1"))
        for name in self._context.streams:
            self._stream(name)

    def facts(self, stream: str) -> StreamFacts:
        bound = self._stream(stream)
        ops = {"create", "update", *(["archive"] if bound.archive else [])} if bound.writes else set()
        kind = bound.facts_of(bound.changed).kind if bound.changed else None
        return StreamFacts(
            batch_size=_BATCH,
            write_class="A" if bound.upsert_by or bound.marker else "B",
            change_granularity_seconds=86_400.0 if kind == "date" else 1.0,
            deletes="flag" if bound.archive else "absent",
            ops=frozenset(ops),
            overlap_seconds=bound.overlap_seconds,
            restore={bound.archive.column: bound.archive.live}
            if bound.archive is not None and bound.archive.live is not None
            else None,
        )

    def read(self, stream: str, since: Cursor | None) -> Iterator[Page]:
        bound = self._stream(stream)
        yield from reading.read(self._open(), bound, since, self._context.timezone)

    def get(self, stream: str, ids: Sequence[str]) -> Sequence[SourceRecord]:
        bound = self._stream(stream)
        return reading.get(self._open(), bound, ids)

    def find(self, stream: str, by: Mapping[str, str]) -> Sequence[SourceRecord]:
        bound = self._stream(stream)
        with translating(bound.where), read_only(self._open()) as connection:
            return writing.find(connection, bound, by)

    def write(self, stream: str, writes: Sequence[Write]) -> Sequence[Receipt]:
        bound = self._stream(stream)
        if not bound.writes:
            raise Misdeclared("this stream is read only: declare `write: true` in its options", where=bound.where)
        return writing.write(self._open(), bound, writes)

    def close(self) -> None:
        with self._lock:
            if self._engine is not None:
                self._engine.dispose()
                self._engine = None

    def _open(self) -> Engine:
        """The engine of the secret as it is now: a rotated password needs no restart."""
        given = self._context.settings.get("url")
        current = given.get() if isinstance(given, Secret) else str(given or "")
        with self._lock:
            if self._engine is None or current != self._url:
                if self._engine is not None:
                    self._engine.dispose()
                url = parse_url(current, self._context.system)
                self._engine = open_engine(
                    url,
                    where=self._context.system,
                    network=self._context.network,
                    statement_seconds=self._seconds,
                )
                self._url = current
            return self._engine

    def _stream(self, name: str) -> TableStream:
        where = f"{self._context.system}/{name}"
        if name not in self._context.streams:
            raise Misdeclared("no such stream is declared", where=where)
        if name not in self._bound:
            with translating(where), read_only(self._open()) as connection:
                self._bound[name] = bind_stream(connection, self._context.streams[name], where)
        return self._bound[name]


def build(context: Context) -> SqlConnector:
    """A connector for the context; it connects on first use."""
    return SqlConnector(context)
