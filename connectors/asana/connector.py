"""The roles of an Asana workspace."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import httpx

from connectors.asana.kinds import BATCH_SIZE, kind_of
from connectors.asana.lookup import Lookup
from connectors.asana.reading import Reader
from connectors.asana.workspace import Workspace
from connectors.asana.writing import Writer
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


class Asana:
    """Source and target over one workspace."""

    def __init__(self, context: Context, *, transport: httpx.BaseTransport | None = None) -> None:
        settings = context.settings
        self._system = context.system
        windows = ((int(settings.get("requests_per_minute", 150)), 60.0),)
        self.limits = Limits(windows, int(settings.get("concurrency", 4)))
        self._client = HttpClient(
            str(settings.get("url", "https://app.asana.com")),
            system=context.system,
            network=context.network,
            auth=auth_of(context, transport=transport),
            limits=self.limits,
            rates=context.rates,
            healths=context.healths,
            transport=transport,
        )
        gid, team = settings.get("workspace"), settings.get("team")
        self._workspace = Workspace(self._client, str(gid) if gid else None, str(team) if team else None)
        self._kinds = {name: kind_of(context.system, name, stream.options) for name, stream in context.streams.items()}
        self._readers = {name: Reader(self._client, self._workspace, kind) for name, kind in self._kinds.items()}
        self._lookups = {name: Lookup(self._readers[name], kind) for name, kind in self._kinds.items()}
        self._writers = {
            name: Writer(self._client, self._workspace, kind, self._readers[name], self._lookups[name])
            for name, kind in self._kinds.items()
        }

    def check(self) -> None:
        """Read the workspace and a record of each stream: token, workspace and scopes are good."""
        self._workspace.check()
        for reader in self._readers.values():
            reader.first_page()

    def facts(self, stream: str) -> StreamFacts:
        self._known(stream)
        kind = self._kinds[stream]
        return StreamFacts(
            batch_size=BATCH_SIZE,
            write_class="B",
            change_granularity_seconds=0.001,
            deletes="flag" if stream == "projects" else "absent",
            ops=kind.ops,
            overlap_seconds=kind.overlap_seconds,
        )

    def read(self, stream: str, since: Cursor | None) -> Iterator[Page]:
        self._known(stream)
        return ahead(self._readers[stream].read(since))

    def get(self, stream: str, ids: Sequence[str]) -> Sequence[SourceRecord]:
        self._known(stream)
        return self._readers[stream].get(ids)

    def find(self, stream: str, by: Mapping[str, str]) -> Sequence[SourceRecord]:
        self._known(stream)
        return self._lookups[stream].find(by)

    def write(self, stream: str, writes: Sequence[Write]) -> Sequence[Receipt]:
        self._known(stream)
        return self._writers[stream].write(writes)

    def close(self) -> None:
        self._client.close()

    def _known(self, stream: str) -> None:
        if stream not in self._kinds:
            raise Misdeclared("no such stream is declared", where=f"{self._system}/{stream}")


def build(context: Context) -> Asana:
    """A connector for one workspace; it connects on first use."""
    return Asana(context)
