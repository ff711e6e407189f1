"""Finding records by their fields.

Asana's search is for paying customers, lags behind writes and does not compare exactly; lists cannot be filtered by
name or custom field. So a look reads the whole list once and answers from it for a few seconds, together with what was
written meanwhile: a thousand creates that each look for a twin cost one reading, not a thousand.

A look must never miss what an earlier request of ours may have made: after a write without a clear answer the list is
read anew, and a list is used no longer than any worker would hold a lost write before it looks.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from connectors.asana.kinds import Kind
from connectors.asana.reading import Reader
from connectors.paging.exact import equals_all, value_at
from connectors.protocol import Misdeclared, SourceRecord

FRESH_SECONDS = 10.0
"""How long a reading is good for."""
_EXTERNAL = "external.gid"


class Lookup:
    """Looks through one stream. Thread-safe: one thread reads, the others wait for it."""

    def __init__(self, reader: Reader, kind: Kind, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._reader = reader
        self._kind = kind
        self._clock = clock
        self._lock = threading.Lock()
        self._known = _Known(())
        self._read_at: float | None = None

    def find(self, by: Mapping[str, str]) -> list[SourceRecord]:
        """Live records that hold exactly these values at these sheet paths."""
        if any(path.split(".")[0] == "external" for path in by) and not self._kind.external:
            raise Misdeclared("find: `external` needs `external: true` and an OAuth app", where=self._kind.where)
        if _EXTERNAL in by:
            candidates = self._reader.get([f"external:{by[_EXTERNAL]}"])
            return [record for record in candidates if not record.deleted and equals_all(record.payload, by)]
        with self._lock:
            now = self._clock()
            if self._read_at is None or now > self._read_at + FRESH_SECONDS:
                self._known = _Known(self._reader.records())
                self._read_at = now
            return self._known.find(by)

    def note(self, records: Sequence[SourceRecord]) -> None:
        """Records as writes left them: known without another reading."""
        with self._lock:
            for record in records:
                self._known.put(record)

    def forget(self) -> None:
        """Nobody can say what a write did: read anew before the next answer."""
        with self._lock:
            self._read_at = None


class _Known:
    """Live records by gid, and by their values at the paths that were asked for."""

    def __init__(self, records: Iterable[SourceRecord]) -> None:
        self._records = {record.id: record for record in records}
        self._by_value: dict[str, dict[str, set[str]]] = {}

    def find(self, by: Mapping[str, str]) -> list[SourceRecord]:
        """The records that hold all of these values."""
        found = [self._at(path).get(value, set()) for path, value in by.items()]
        ids = set.intersection(*found) if found else set(self._records)
        return [self._records[gid] for gid in sorted(ids)]

    def put(self, record: SourceRecord) -> None:
        """A record in place of what was known of it; one that is gone is known no more."""
        old = self._records.pop(record.id, None)
        for path, index in self._by_value.items():
            if old is not None and (value := _value(old, path)) is not None:
                index[value].discard(record.id)
            if not record.deleted and (value := _value(record, path)) is not None:
                index[value].add(record.id)
        if not record.deleted:
            self._records[record.id] = record

    def _at(self, path: str) -> Mapping[str, set[str]]:
        """Value → gids, for one path: worked out when it is first asked for."""
        if path not in self._by_value:
            index: dict[str, set[str]] = defaultdict(set)
            for gid, record in self._records.items():
                if (value := _value(record, path)) is not None:
                    index[value].add(gid)
            self._by_value[path] = index
        return self._by_value[path]


def _value(record: SourceRecord, path: str) -> str | None:
    return value_at(msgspec.json.decode(record.payload), path)
