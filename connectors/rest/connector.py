"""The roles of a REST system: each stream's list walk, reads by id, searches and writes, as its manifest says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import httpx

from canonical.declarations import manifest as declared
from canonical.declarations.manifest import Manifest, StreamManifest
from connectors.auth import ApiKey, Auth, Basic, Bearer, NoAuth
from connectors.http import HttpClient
from connectors.http.outcome import segment
from connectors.oauth import OAuth2
from connectors.paging import Shape, Splitter, in_order
from connectors.paging.exact import equals_all
from connectors.paging.strict import leaf, path_of
from connectors.protocol import (
    Context,
    Cursor,
    Limits,
    Misdeclared,
    Page,
    Receipt,
    SourceRecord,
    StreamFacts,
    SystemFault,
    Write,
)
from connectors.rest.reading import Lister
from connectors.rest.writing import Writer

_OPS = ("create", "update", "archive", "delete")
_GONE = frozenset({404, 410})


class RestConnector:
    """Source and target over one manifest."""

    def __init__(self, context: Context, manifest: Manifest, *, transport: httpx.BaseTransport | None = None) -> None:
        self._system = context.system
        self._manifest = manifest
        self.limits = Limits(manifest.limits, manifest.concurrency)
        self._client = HttpClient(
            str(context.settings.get("url", "")),
            system=context.system,
            network=context.network,
            auth=_auth(manifest.auth, context, transport),
            limits=self.limits,
            rates=context.rates,
            healths=context.healths,
            headers=manifest.headers,
            deadline_seconds=manifest.timeout_seconds,
            transport=transport,
        )
        self._streams = {  # the landscape may override a stream's key and change mark
            name: replace(stream, stream=context.streams.get(name, stream.stream))
            for name, stream in manifest.streams.items()
        }
        self._listers = {name: Lister(self._client, stream) for name, stream in self._streams.items()}
        self._writers = {name: Writer(self._client, stream) for name, stream in self._streams.items()}

    def check(self) -> None:
        """The declared cheap request, or else the first page of the first stream."""
        if self._manifest.check:
            self._client.get(self._manifest.check)
            return
        for lister in self._listers.values():
            lister.fetch({}, None)
            return

    def facts(self, stream: str) -> StreamFacts:
        found = self._stream(stream)
        operations = {name: getattr(found, name) for name in _OPS if getattr(found, name) is not None}
        return StreamFacts(
            batch_size=max((operation.batch for operation in operations.values()), default=1),
            write_class=found.write_class,
            key_life_seconds=found.key_life,
            index_lag_seconds=found.index_lag_seconds,
            change_granularity_seconds=found.change_granularity_seconds,
            deletes=found.deletes,
            ops=frozenset(operations),
            overlap_seconds=found.overlap_seconds,
        )

    def read(self, stream: str, since: Cursor | None) -> Iterator[Page]:
        self._stream(stream)
        return self._listers[stream].read(since)

    def get(self, stream: str, ids: Sequence[str]) -> Sequence[SourceRecord]:
        found = self._stream(stream)
        if found.get is None:
            raise Misdeclared("the manifest declares no `get`", where=self._where(stream))

        def one(record_id: str) -> SourceRecord | None:
            return self._get(found, record_id)

        return [record for record in in_order(one, ids, self.limits.concurrency) if record is not None]

    def find(self, stream: str, by: Mapping[str, str]) -> Sequence[SourceRecord]:
        found = self._stream(stream)
        if found.find is None:
            raise Misdeclared("the manifest declares no `find`", where=self._where(stream))
        if missing := sorted(set(by) - set(found.find.params)):
            raise Misdeclared(f"`find` declares no parameter for {', '.join(missing)}", where=self._where(stream))
        answer = self._client.get(found.find.path, {found.find.params[name]: value for name, value in by.items()})
        splitter = Splitter(Shape(found.find.records, found.stream.key, found.stream.changed))
        split = splitter.split(answer.json_body(), self._where(stream))
        rows = zip(split.ids, split.payloads, split.changed, strict=True)
        return [SourceRecord(*row) for row in rows if equals_all(row[1], by)]

    def write(self, stream: str, writes: Sequence[Write]) -> Sequence[Receipt]:
        self._stream(stream)
        return self._writers[stream].write(writes)

    def close(self) -> None:
        self._client.close()

    def _get(self, stream: StreamManifest, record_id: str) -> SourceRecord | None:
        assert stream.get is not None
        answer = self._client.get(stream.get.path.replace("{id}", segment(record_id)), accept=_GONE)
        if answer.status in _GONE:
            return None
        where = self._where(stream.name)
        record = leaf(answer.json_body(), path_of(stream.get.record))
        if record is None:
            raise SystemFault(f"expected a record at {stream.get.record or 'the top'}, found none", where=where)
        body = record if record[:1] == b"[" else b"[" + record + b"]"
        split = Splitter(Shape("", stream.stream.key, stream.stream.changed)).split(body, where)
        for found_id, payload, changed in zip(split.ids, split.payloads, split.changed, strict=True):
            if found_id == record_id:
                return SourceRecord(found_id, payload, changed)
        raise SystemFault("asked for one record, answered with another", where=where)

    def _stream(self, name: str) -> StreamManifest:
        if name not in self._streams:
            raise Misdeclared("no such stream in the manifest", where=self._where(name))
        return self._streams[name]

    def _where(self, stream: str) -> str:
        return f"{self._system}/{stream}"


def _auth(auth: declared.Auth, context: Context, transport: httpx.BaseTransport | None) -> Auth:
    def setting(name: str) -> str:
        if name not in context.settings:
            raise Misdeclared(f"expected the setting `{name}`, found none", where=context.system)
        return name

    match auth.kind:
        case "bearer":
            return Bearer(context.settings[setting(auth.secret)])
        case "basic":
            user = context.settings[setting(auth.user or "user")]
            return Basic(user, context.settings[setting(auth.secret)])
        case "api_key":
            name = f"?{auth.query}" if auth.query else auth.header
            return ApiKey(name, context.settings[setting(auth.secret)], auth.prefix)
        case "oauth2":
            return OAuth2.of(context, transport=transport)
        case "none":
            return NoAuth()


def build(context: Context) -> RestConnector:
    """A connector for a system whose manifest stands in `context.settings["manifest"]`."""
    manifest = context.settings.get("manifest")
    if not isinstance(manifest, Manifest):
        raise Misdeclared("expected a REST manifest, found none", where=context.system)
    return RestConnector(context, manifest)
