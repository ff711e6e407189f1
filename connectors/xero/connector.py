"""The roles of a Xero organisation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import httpx

from canonical.declarations.oauth import OAuth2
from connectors.http import HttpClient
from connectors.oauth import auth_of
from connectors.paging import ahead
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
from connectors.xero.reading import Reader
from connectors.xero.resources import BASE, BATCH_SIZE, RESOURCES
from connectors.xero.writing import Writer

_OVERLAP_SECONDS = 120.0
_EXHAUSTED = {"x-minlimit-remaining": 5.0, "x-appminlimit-remaining": 5.0}
"""Both limits are for a rolling minute: a few seconds free some of it again."""
_OPTIONS = {"external_id", "overlap_seconds"}


class Xero:
    """Source and target over one organisation's books."""

    def __init__(self, context: Context, *, transport: httpx.BaseTransport | None = None) -> None:
        settings = context.settings
        self._system = context.system
        minute, day = int(settings.get("requests_per_minute", 60)), int(settings.get("requests_per_day", 5000))
        self.limits = Limits(((minute, 60.0), (day, 86_400.0)), int(settings.get("concurrency", 4)))
        tenant = settings.get("tenant_id")
        self._client = HttpClient(
            str(settings.get("url", "https://api.xero.com")),
            system=context.system,
            network=context.network,
            auth=auth_of(context, transport=transport),
            limits=self.limits,
            rates=context.rates,
            healths=context.healths,
            headers={"xero-tenant-id": str(tenant)} if tenant else {},
            exhausted=_EXHAUSTED,
            transport=transport,
        )
        oauth2 = settings.get("oauth2")
        self._is_tenant_missing = not tenant and isinstance(oauth2, OAuth2) and oauth2.grant == "authorization_code"
        self._readers: dict[str, Reader] = {}
        self._writers: dict[str, Writer] = {}
        self._facts: dict[str, StreamFacts] = {}
        for name, stream in context.streams.items():
            self._add(name, stream.options)

    def _add(self, name: str, options: Mapping[str, Any]) -> None:
        where = f"{self._system}/{name}"
        if name not in RESOURCES:
            raise Misdeclared(f"expected a stream among {', '.join(RESOURCES)}, found {name}", where=where)
        if unknown := sorted(set(options) - _OPTIONS):
            raise Misdeclared(f"expected options among {', '.join(sorted(_OPTIONS))}; found {unknown[0]}", where=where)
        resource = RESOURCES[name]
        overlap = float(options.get("overlap_seconds", _OVERLAP_SECONDS))
        external_id = options.get("external_id")
        reader = Reader(self._client, resource, overlap)
        self._readers[name] = reader
        self._writers[name] = Writer(self._client, resource, reader, str(external_id) if external_id else None)
        self._facts[name] = StreamFacts(
            batch_size=BATCH_SIZE,
            write_class="A" if external_id else "B",
            change_granularity_seconds=0.001,
            deletes="flag" if resource.status else "absent",
            ops=resource.ops,
            overlap_seconds=overlap,
        )

    def check(self) -> None:
        """Read the organisation and a record of each stream: token, tenant and scopes are good. Misdeclared, naming
        the organisations that the token opens, where `tenant_id` is needed and missing."""
        if self._is_tenant_missing:
            self._name_tenants()
        self._client.get(f"{BASE}/Organisation").json()
        for reader in self._readers.values():
            reader.first_page()

    def _name_tenants(self) -> None:
        found = self._client.get("/connections").json()
        known = [
            f"{one.get('tenantId')} ({one.get('tenantName', 'no name')})" for one in found if isinstance(one, dict)
        ]
        opens = ", ".join(known[:20]) or "no organisation"
        raise Misdeclared(f"expected `tenant_id`; this authorisation opens: {opens}", where=self._system)

    def facts(self, stream: str) -> StreamFacts:
        self._known(stream)
        return self._facts[stream]

    def read(self, stream: str, since: Cursor | None) -> Iterator[Page]:
        self._known(stream)
        return ahead(self._readers[stream].read(since))

    def get(self, stream: str, ids: Sequence[str]) -> Sequence[SourceRecord]:
        self._known(stream)
        return self._readers[stream].get(ids)

    def find(self, stream: str, by: Mapping[str, str]) -> Sequence[SourceRecord]:
        self._known(stream)
        return self._readers[stream].find(by)

    def write(self, stream: str, writes: Sequence[Write]) -> Sequence[Receipt]:
        self._known(stream)
        return self._writers[stream].write(writes)

    def close(self) -> None:
        self._client.close()

    def _known(self, stream: str) -> None:
        if stream not in self._readers:
            raise Misdeclared("no such stream is declared", where=f"{self._system}/{stream}")


def build(context: Context) -> Xero:
    """A connector for one organisation; it connects on first use."""
    return Xero(context)
