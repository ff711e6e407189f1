"""REST manifests: a system that needs no Python, declared in `connectors/NAME.yaml` of a landscape.

The base URL and the secrets belong to the system (`url:`, `token: {env: …}` in landscape.yaml), so that test and
production share one manifest. All paths below are relative to that URL; `{id}` in a path is the record's id,
URL-quoted. JSON paths are dotted (`meta.next.after`); an empty one means the answer itself.

    auth: {kind: bearer, from: token}              # settings.token holds the secret
    # auth: {kind: basic, user: user, from: password}
    # auth: {kind: api_key, header: X-Api-Key, from: key}      (or query: api_key)
    # auth: {kind: oauth2, authorize_url: …, token_url: …, scopes: […]}    the system's `oauth2:` adds who we are there
    headers: {Accept: application/json}
    check: /v1/me                                  # a cheap authenticated GET
    limits: [{requests: 100, seconds: 10}]
    concurrency: 4
    streams:
      customers:
        path: /v1/customers
        params: {include_archived: "true"}         # sent with every list request
        records: data.items
        key: id                                    # or a list; dotted: meta.id
        changed: updated_at
        since: {param: updated_since, format: iso}           # or header: If-Modified-Since, format: http_date
        paging: {kind: cursor, param: after, next: paging.next.after, size_param: limit, size: 100, total: total}
        makes: [{entity: customer}]
        deleted_when: "archived == true"
        deletes: flag
        get: {path: "/v1/customers/{id}", record: data}
        find: {path: /v1/customers, params: {tax_number: tax_no}, records: data.items}
        write_class: B
        index_lag: 90s                             # class B: how long a search may not find what was created
        # key_life: 24h                            # class A: how long an idempotency key is remembered
        create: {method: POST, path: /v1/customers, body: wrapped, wrap: data, id: data.id, record: data}
        update: {method: PATCH, path: "/v1/customers/{id}", record: data}
        archive: {method: PATCH, path: "/v1/customers/{id}", fields: {status: archived}}

Paging kinds (`param`, `size_param`, `size` where they apply):
    none     one answer holds everything
    page     `param` counts pages from `first` (1); the last is a page shorter than `size`, or `pages`/`total` says so
    offset   `param` counts records from 0
    cursor   `param` carries what stands at `next` in the answer before; absent or empty: the end
    link     the next URL stands at `next`, or in the Link header (rel="next") when `next` is empty
    keyset   `param` carries the change mark and `after_param` the id of the last record; ordered by both
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from canonical.declarations.oauth import read_shipped
from canonical.declarations.shapes import Notes, Section, one_of
from canonical.declarations.streams import read_stream
from canonical.declarations.yaml import Node
from canonical.landscape import Stream

AuthKind = Literal["none", "bearer", "basic", "api_key", "oauth2"]
PagingKind = Literal["none", "page", "offset", "cursor", "link", "keyset"]
SinceFormat = Literal["iso", "date", "epoch", "epoch_ms", "http_date"]
BodyShape = Literal["single", "array", "wrapped"]
Deletes = Literal["flag", "absent", "tombstone", "hidden"]
SHORTEST_KEY_LIFE_SECONDS = 1_800.0
"""What is believed of a key's life unless it is declared: no vendor that we know of forgets one sooner (Qonto, 30 min;
Stripe keeps keys for at least 24 h)."""
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_PATH = re.compile(r"/[^\s?#]*\Z")
_HEADER = re.compile(r"[A-Za-z0-9-]{1,63}\Z")


@dataclass(frozen=True, slots=True)
class Auth:
    """How requests prove who they are. `secret` and `user` are names of the system's settings, never values."""

    kind: AuthKind = "none"
    secret: str = "token"  # noqa: S105 - the name of a setting
    user: str | None = None
    header: str = "Authorization"
    query: str | None = None
    """For api_key: the query parameter that carries it instead of the header."""
    prefix: str = ""
    """For api_key: what stands before the secret in the header (`Token `)."""
    oauth2: Mapping[str, Any] = field(default_factory=dict)
    """For oauth2: what every system of this kind has in common (URLs, scopes); see canonical.declarations.oauth."""


@dataclass(frozen=True, slots=True)
class Paging:
    """How a list is walked; see the module's table."""

    kind: PagingKind = "none"
    param: str | None = None
    after_param: str | None = None
    size_param: str | None = None
    size: int = 100
    first: int = 1
    next: str | None = None
    total: str | None = None
    pages: str | None = None


@dataclass(frozen=True, slots=True)
class Since:
    """How only what changed is asked for: a query parameter or a header carries the cursor's change mark."""

    param: str | None = None
    header: str | None = None
    format: SinceFormat = "iso"
    template: str = "{since}"
    """The parameter's text around the mark (`modified gt {since}`)."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One kind of write.

    body       single: the record's fields; array: a list of records; wrapped: {wrap: fields} or {wrap: [fields, …]}
               when `batch` is above 1
    batch      most records in one request
    items      JSON path of the list of results in the answer of a batch; empty: the answer is the list
    id, record JSON path of the new id and of the whole record (in the answer, or in one item of it)
    error      JSON path, in an item, of what went wrong; absent or empty: the item succeeded
    ref_field  a field of each item sent that the answer repeats, so that results are matched by name, not by position
    fields     fixed fields sent with the write (an archive that is a status)
    """

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    path: str
    body: BodyShape = "single"
    wrap: str | None = None
    batch: int = 1
    id: str | None = None
    record: str | None = None
    items: str | None = None
    error: str | None = None
    ref_field: str | None = None
    idempotency_header: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Get:
    """Reading one record by id: `record` is its place in the answer."""

    path: str
    record: str = ""


@dataclass(frozen=True, slots=True)
class Find:
    """Exact search: target field (sheet path) → query parameter."""

    path: str
    params: Mapping[str, str]
    records: str = ""


@dataclass(frozen=True, slots=True)
class StreamManifest:
    """One list of records of a REST system."""

    name: str
    path: str
    stream: Stream
    """What the rest of Concord knows of it: key, change mark, entities made."""
    method: Literal["GET", "POST"] = "GET"
    params: Mapping[str, str] = field(default_factory=dict)
    records: str = ""
    since: Since | None = None
    paging: Paging = Paging()
    get: Get | None = None
    find: Find | None = None
    create: Operation | None = None
    update: Operation | None = None
    archive: Operation | None = None
    delete: Operation | None = None
    write_class: Literal["A", "B", "C"] = "C"
    index_lag_seconds: float = 0.0
    key_life_seconds: float | None = None
    """How long idempotency keys are remembered, as declared."""
    deletes: Deletes = "absent"
    overlap_seconds: float = 60.0
    change_granularity_seconds: float = 1.0

    @property
    def key_life(self) -> float | None:
        """How long the key of a create is remembered; None where creates carry none."""
        if self.create is None or self.create.idempotency_header is None:
            return None
        return self.key_life_seconds or SHORTEST_KEY_LIFE_SECONDS


@dataclass(frozen=True)
class Manifest:
    """One REST system's manners. `name` is the connector's name: the file's stem."""

    name: str
    auth: Auth = Auth()
    headers: Mapping[str, str] = field(default_factory=dict)
    check: str | None = None
    streams: Mapping[str, StreamManifest] = field(default_factory=dict)
    limits: tuple[tuple[int, float], ...] = ()
    concurrency: int = 4
    timeout_seconds: float = 30.0

    @property
    def settings(self) -> dict[str, dict[str, Any]]:
        """The settings that a system of this kind must or may declare."""
        wanted: dict[str, dict[str, Any]] = {"url": {"required": True, "type": "url", "secret": False}}
        if self.auth.kind == "oauth2":
            wanted["oauth2"] = {"required": True, "type": "oauth2", "default": self.auth.oauth2}
        elif self.auth.kind != "none":
            wanted[self.auth.secret] = {"required": True, "type": "text", "secret": True}
        if self.auth.user:
            wanted[self.auth.user] = {"required": True, "type": "text", "secret": False}
        return wanted


def read_manifest(notes: Notes, node: Node, name: str) -> Manifest:
    """The manifest that a file declares; what is wrong with it goes to `notes`."""
    return read_declared_manifest(Section(notes, node), name)


def read_declared_manifest(top: Section, name: str) -> Manifest:
    """As `read_manifest`, of the file's section."""
    auth = _auth(top)
    headers = top.text_map("headers")
    check = top.text("check", pattern=_PATH)
    limits = []
    for window in top.list_of("limits"):
        requests = window.integer("requests", 1, low=1)
        seconds = window.number("seconds", 1.0, low=0.001)
        window.done()
        limits.append((requests, seconds))
    manifest = Manifest(
        name=name,
        auth=auth,
        headers=headers,
        check=check,
        streams={key: _stream(key, section) for key, section in top.sections("streams", required=True)},
        limits=tuple(limits),
        concurrency=top.integer("concurrency", 4, low=1, high=64),
        timeout_seconds=float(top.duration("timeout") or 30),
    )
    top.done()
    return manifest


def _auth(top: Section) -> Auth:
    section = top.section("auth")
    if section is None:
        return Auth()
    kinds: tuple[AuthKind, ...] = ("none", "bearer", "basic", "api_key", "oauth2")
    # A misspelled kind is taken for the usual one, so that the system's token is not refused on top of it.
    fallback: AuthKind = "bearer" if section.has("kind") else "none"
    kind = section.choice("kind", kinds, fallback, is_optional=False)
    defaults = {"basic": "password", "api_key": "key"}
    auth = Auth(
        kind=kind,
        secret=section.text("from") or defaults.get(kind, "token"),
        user=section.text("user") or ("user" if kind == "basic" else None),
        header=section.text("header", pattern=_HEADER) or ("X-Api-Key" if kind == "api_key" else "Authorization"),
        query=section.text("query"),
        prefix=section.text("prefix") or "",
        oauth2=read_shipped(section) if kind == "oauth2" else {},
    )
    if not section.has("kind"):
        section.wrong("kind", one_of(kinds), "nothing")
    section.done()
    return auth


def _stream(name: str, section: Section) -> StreamManifest:
    deletes: tuple[Deletes, ...] = ("flag", "absent", "tombstone", "hidden")
    classes: tuple[Literal["A", "B", "C"], ...] = ("A", "B", "C")
    methods: tuple[Literal["GET", "POST"], ...] = ("GET", "POST")
    found = StreamManifest(
        name=name,
        stream=read_stream(name, section),
        path=section.text("path", required=True, pattern=_PATH) or "/",
        method=section.choice("method", methods, "GET"),
        params=section.text_map("params"),
        records=section.text("records") or "",
        since=_since(section),
        paging=_paging(section),
        get=_get(section),
        find=_find(section),
        create=_operation(section, "create", "POST"),
        update=_operation(section, "update", "PATCH"),
        archive=_operation(section, "archive", "PATCH"),
        delete=_operation(section, "delete", "DELETE"),
        write_class=section.choice("write_class", classes, "C"),
        index_lag_seconds=float(section.duration("index_lag", zero=True) or 0),
        key_life_seconds=float(life) if (life := section.duration("key_life")) else None,
        deletes=section.choice("deletes", deletes, "absent"),
        overlap_seconds=float(60 if (overlap := section.duration("overlap", zero=True)) is None else overlap),
        change_granularity_seconds=float(section.duration("change_granularity") or 1),
    )
    _agree(section, found)
    section.done()
    return found


def _agree(section: Section, found: StreamManifest) -> None:
    """What must hold between the parts of one stream."""
    if found.since and not found.stream.changed:
        section.wrong("since", "changed: the field that carries the change mark", "no change mark")
    if found.stream.deleted_when and found.deletes == "absent" and not section.has("deletes"):
        section.wrong("deleted_when", "deletes: flag beside it", "deletes not said")
    create = found.create
    if create and found.write_class == "A" and not create.idempotency_header:
        section.wrong("write_class", "create.idempotency_header, which makes class A true", "no such header")
    if create and found.write_class == "B" and found.find is None:
        section.wrong("write_class", "find:, which makes class B true", "no find")
    for operation in ("update", "archive", "delete"):
        declared: Operation | None = getattr(found, operation)
        if declared and declared.batch == 1 and "{id}" not in declared.path and not declared.wrap:
            section.wrong(operation, "{id} in its path", f"'{declared.path}'")


def _since(stream: Section) -> Since | None:
    section = stream.section("since")
    if section is None:
        return None
    formats: tuple[SinceFormat, ...] = ("iso", "date", "epoch", "epoch_ms", "http_date")
    since = Since(
        param=section.text("param"),
        header=section.text("header", pattern=_HEADER),
        format=section.choice("format", formats, "iso"),
        template=section.text("template") or "{since}",
    )
    if (since.param is None) == (since.header is None):
        stream.wrong("since", "either param: or header:", "both" if since.param else "neither")
    if "{since}" not in since.template:
        section.wrong("template", "{since} within it")
    section.done()
    return since


def _paging(stream: Section) -> Paging:
    section = stream.section("paging")
    if section is None:
        return Paging()
    kinds: tuple[PagingKind, ...] = ("none", "page", "offset", "cursor", "link", "keyset")
    kind = section.choice("kind", kinds, "none")
    paging = Paging(
        kind=kind,
        param=section.text("param", required=kind in ("page", "offset", "cursor", "keyset")),
        after_param=section.text("after_param", required=kind == "keyset"),
        size_param=section.text("size_param"),
        size=section.integer("size", 100, low=1, high=100_000),
        first=section.integer("first", 1, low=0, high=1),
        next=section.text("next", required=kind == "cursor"),
        total=section.text("total"),
        pages=section.text("pages"),
    )
    section.done()
    return paging


def _get(stream: Section) -> Get | None:
    section = stream.section("get")
    if section is None:
        return None
    get = Get(section.text("path", required=True, pattern=_PATH) or "/", section.text("record") or "")
    if "{id}" not in get.path and section.has("path"):
        section.wrong("path", "{id} within it")
    section.done()
    return get


def _find(stream: Section) -> Find | None:
    section = stream.section("find")
    if section is None:
        return None
    find = Find(
        path=section.text("path", required=True, pattern=_PATH) or "/",
        params=section.text_map("params"),
        records=section.text("records") or "",
    )
    if not find.params:
        section.wrong("params", "field: query parameter", "nothing")
    section.done()
    return find


def _operation(
    stream: Section, name: str, default: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
) -> Operation | None:
    section = stream.section(name)
    if section is None:
        return None
    bodies: tuple[BodyShape, ...] = ("single", "array", "wrapped")
    methods: tuple[Literal["GET", "POST", "PUT", "PATCH", "DELETE"], ...] = ("GET", "POST", "PUT", "PATCH", "DELETE")
    fields = section.section("fields")
    operation = Operation(
        method=section.choice("method", methods, default),
        path=section.text("path", required=True, pattern=_PATH) or "/",
        body=section.choice("body", bodies, "single"),
        wrap=section.text("wrap"),
        batch=section.integer("batch", 1, low=1, high=10_000),
        id=section.text("id"),
        record=section.text("record"),
        items=section.text("items"),
        error=section.text("error"),
        ref_field=section.text("ref_field"),
        idempotency_header=section.text("idempotency_header", pattern=_HEADER),
        fields={} if fields is None else {key: entry.node.plain for key, entry in fields.node.entries.items()},
    )
    if operation.body == "wrapped" and not operation.wrap:
        section.wrong("wrap", "the key that the fields stand under", "nothing")
    if operation.body == "single" and operation.batch > 1:
        section.wrong("body", "array or wrapped, for more than one record a request", "single")
    section.done()
    return operation
