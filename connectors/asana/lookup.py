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
from collections.abc import Callable, Mapping, Sequence

from connectors.asana.kinds import Kind
from connectors.asana.reading import Reader
from connectors.paging.exact import equals_all
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
        self._records: dict[str, SourceRecord] = {}
        self._read_at: float | None = None

    def find(self, by: Mapping[str, str]) -> list[SourceRecord]:
        """Live records that hold exactly these values at these sheet paths."""
        if any(path.split(".")[0] == "external" for path in by) and not self._kind.external:
            raise Misdeclared(
                "find: `external` needs the option `external: true` and an OAuth app", where=self._kind.where
            )
        candidates: Sequence[SourceRecord]
        if _EXTERNAL in by:
            candidates = self._reader.get([f"external:{by[_EXTERNAL]}"])
        else:
            candidates = self._live()
        return [record for record in candidates if not record.deleted and equals_all(record.payload, by)]

    def note(self, records: Sequence[SourceRecord]) -> None:
        """Records as writes left them: known without another reading."""
        with self._lock:
            for record in records:
                self._records.pop(record.id, None)
                if not record.deleted:
                    self._records[record.id] = record

    def forget(self) -> None:
        """Nobody can say what a write did: read anew before the next answer."""
        with self._lock:
            self._read_at = None

    def _live(self) -> list[SourceRecord]:
        with self._lock:
            now = self._clock()
            if self._read_at is None or now > self._read_at + FRESH_SECONDS:
                self._records = {record.id: record for record in self._reader.records()}
                self._read_at = now
            return list(self._records.values())
