"""The roles of a HubSpot account."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import httpx

from connectors.http import HttpClient, gate_of
from connectors.hubspot.reading import Reader
from connectors.hubspot.shapes import BATCH_SIZE, ObjectType, object_type
from connectors.hubspot.writing import Writer
from connectors.oauth import auth_of
from connectors.paging import ahead
from connectors.paging.exact import equals_all
from connectors.protocol import (
    Context,
    Cursor,
    Limits,
    Misdeclared,
    Page,
    Receipt,
    SourceRecord,
    StreamFacts,
    Write,
)

_OVERLAP_SECONDS = 60.0


class HubSpot:
    """Source and target over the CRM objects of one account."""

    def __init__(self, context: Context, *, transport: httpx.BaseTransport | None = None) -> None:
        settings = context.settings
        self._system = context.system
        self._index_lag_seconds = float(settings.get("index_lag_seconds", 30))
        windows = ((int(settings.get("requests_per_10_seconds", 100)), 10.0),)
        self.limits = Limits(windows, int(settings.get("concurrency", 4)))
        self._client = HttpClient(
            str(settings.get("url", "https://api.hubapi.com")),
            system=context.system,
            network=context.network,
            auth=auth_of(context, transport=transport),
            limits=self.limits,
            rates=context.rates,
            healths=context.healths,
            transport=transport,
        )
        searches = gate_of(
            context.rates, f"{context.system} search", [(int(settings.get("searches_per_second", 4)), 1.0)]
        )
        self._kinds = {
            name: object_type(context.system, name, stream.options) for name, stream in context.streams.items()
        }
        self._overlap_seconds = max(_OVERLAP_SECONDS, 2 * self._index_lag_seconds)
        self._readers = {
            name: Reader(self._client, searches, kind, self._overlap_seconds) for name, kind in self._kinds.items()
        }
        self._writers = {name: Writer(self._client, kind) for name, kind in self._kinds.items()}

    def check(self) -> None:
        """Read one record of each stream: token and scopes are good."""
        for reader in self._readers.values():
            reader.first_page()

    def facts(self, stream: str) -> StreamFacts:
        kind = self._kind(stream)
        return StreamFacts(
            batch_size=BATCH_SIZE,
            write_class="A" if kind.external_id else "B",
            index_lag_seconds=self._index_lag_seconds,
            change_granularity_seconds=0.001,
            deletes="flag",
            ops=frozenset({"create", "update", "archive"}),
            overlap_seconds=self._overlap_seconds if kind.overlap_seconds is None else kind.overlap_seconds,
        )

    def read(self, stream: str, since: Cursor | None) -> Iterator[Page]:
        self._kind(stream)
        return ahead(self._readers[stream].read(since))

    def get(self, stream: str, ids: Sequence[str]) -> Sequence[SourceRecord]:
        self._kind(stream)
        return self._readers[stream].get(ids)

    def find(self, stream: str, by: Mapping[str, str]) -> Sequence[SourceRecord]:
        self._kind(stream)
        return [record for record in self._readers[stream].find(by) if equals_all(record.payload, by)]

    def write(self, stream: str, writes: Sequence[Write]) -> Sequence[Receipt]:
        self._kind(stream)
        return self._writers[stream].write(writes)

    def close(self) -> None:
        self._client.close()

    def _kind(self, stream: str) -> ObjectType:
        if stream not in self._kinds:
            raise Misdeclared("no such stream is declared", where=f"{self._system}/{stream}")
        return self._kinds[stream]


def build(context: Context) -> HubSpot:
    """A connector for one account; it connects on first use."""
    return HubSpot(context)
