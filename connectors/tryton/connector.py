"""The roles: parties as a source and a target."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC
from typing import Any

from connectors.auth import Bearer
from connectors.http.client import HttpClient
from connectors.http.receipts import one_by_one
from connectors.paging.marks import Window
from connectors.protocol import (
    Context,
    Cursor,
    Limits,
    Misdeclared,
    Page,
    Receipt,
    Rejected,
    SourceRecord,
    StreamFacts,
    SystemFault,
    Write,
)
from connectors.tryton.api import Api, Domain, Listed, moment
from connectors.tryton.records import FIELDS, MECHANISMS, as_record, cleaned_party, compact
from connectors.tryton.writing import values_of

MODEL = "party.party"
STREAM = "parties"
PAGE_SIZE = 200
_BATCH = 20
_IDS_A_QUERY = 200
_MARKED = ("", "addresses.", "contact_mechanisms.", "identifiers.")
"""Whose change marks tell that a party changed: its own and those of its lines."""
_PLAIN_FINDS = ("name", "code")


class Tryton:
    """Source and target over the parties of one Tryton database."""

    def __init__(self, context: Context) -> None:
        settings = context.settings
        self._context = context
        self.limits = Limits(concurrency=int(settings.get("concurrency", 2)))
        self._overlap_seconds = float(settings.get("overlap_seconds", 300))
        self._client = HttpClient(
            f"{str(settings.get('url', '')).rstrip('/')}/{settings.get('database', '')}",
            system=context.system,
            network=context.network,
            auth=Bearer(settings.get("key", "")),
            limits=self.limits,
            rates=context.rates,
            healths=context.healths,
            deadline_seconds=float(settings.get("deadline_seconds", 60)),
        )
        self._api = Api(self._client)
        self._countries: dict[str, int] = {}

    def check(self) -> None:
        """The key is accepted, and parties have the fields that are read."""
        for name in self._context.streams:
            self._where(name)
        known = self._api.fields(MODEL)
        missing = sorted({field.split(".")[0] for field in FIELDS} - known)
        if missing:
            raise Misdeclared(f"this Tryton's parties have no {', '.join(missing)}", where=self._context.system)

    def facts(self, stream: str) -> StreamFacts:
        self._where(stream)
        return StreamFacts(
            batch_size=_BATCH,
            write_class="B",
            index_lag_seconds=0.0,
            change_granularity_seconds=0.000001,
            deletes="absent",
            ops=frozenset({"create", "update", "archive"}),
            overlap_seconds=self._overlap_seconds,
        )

    def read(self, stream: str, since: Cursor | None) -> Iterator[Page]:
        """Pages in order of id. The cursor moves when the walk is complete; a sweep cut short goes on where it was.

        Cursor: {"changed": T} everything before T is landed; {"after": N, "changed": T} a sweep between ids N and the
        end that began at T.
        """
        where = self._where(stream)
        position = dict(since or {})
        mark = position.get("changed")
        is_sweep = since is None or "after" in position or mark is None
        after = int(position.get("after", 0))
        window: Window | None = None
        while True:
            domain: Domain = [["id", ">", after]]
            if not is_sweep:
                domain.append(self._changed_since(str(mark), where))
            found = self._api.listed(MODEL, domain, FIELDS, limit=PAGE_SIZE + 1)
            if window is None:
                window = Window.open(None if is_sweep else str(mark), found.date, where)
                started = str(mark) if is_sweep and mark else window.now.text()
            is_last = len(found.records) + len(found.refused) <= PAGE_SIZE
            if is_last:
                yield _page(found, {"changed": started}, is_last)
                return
            page = found.first(PAGE_SIZE)
            if not page.last or page.last <= after:
                raise SystemFault("a page with no record behind the one before", where=where)
            after = page.last
            yield _page(page, {"after": after, "changed": started} if is_sweep else {"changed": mark}, is_last)

    def get(self, stream: str, ids: Sequence[str]) -> Sequence[SourceRecord]:
        self._where(stream)
        numbers = [int(one) for one in ids if one.isascii() and one.isdigit() and len(one) <= 18]
        records: list[SourceRecord] = []
        for start in range(0, len(numbers), _IDS_A_QUERY):
            part = numbers[start : start + _IDS_A_QUERY]
            found, _ = self._api.search(MODEL, [["id", "in", part]], FIELDS, limit=len(part))
            records.extend(as_record(row) for row in found)
        return records

    def find(self, stream: str, by: Mapping[str, str]) -> Sequence[SourceRecord]:
        """Active parties by name, code, tax number, or a contact mechanism's value."""
        where = self._where(stream)
        if not by:
            raise Misdeclared("find: expected at least one field", where=where)
        domain = [_find_clause(field, value, where) for field, value in by.items()]
        found, _ = self._api.search(MODEL, domain, FIELDS, limit=PAGE_SIZE, is_live_only=True)
        return [as_record(row) for row in found]

    def write(self, stream: str, writes: Sequence[Write]) -> Sequence[Receipt]:
        where = self._where(stream)
        for item in writes:
            self._check_fields(item, where)
        return one_by_one(writes, lambda item: self._write(item, where))

    def close(self) -> None:
        self._client.close()

    def _where(self, stream: str) -> str:
        where = f"{self._context.system}/{stream}"
        if stream != STREAM or stream not in self._context.streams:
            raise Misdeclared(f"expected the stream {STREAM}, found another", where=where)
        return where

    def _changed_since(self, mark: str, where: str) -> Domain:
        window = Window.open(mark, None, where)
        if window.since is None:
            raise Misdeclared("the stored cursor is not a time", where=where)
        at = moment(window.since.minus(self._overlap_seconds).at.astimezone(UTC))
        fields = [f"{owner}{mark}" for owner in _MARKED for mark in ("create_date", "write_date")]
        return ["OR", *([field, ">=", at] for field in fields)]

    def _check_fields(self, item: Write, where: str) -> None:
        """A field that Tryton lacks would be answered by a 500 that says nothing: it is asked before."""
        unknown = sorted(set(item.payload) - self._api.fields(MODEL))
        if unknown:
            raise Misdeclared(f"parties have no field {unknown[0]}", where=where)

    def _write(self, item: Write, where: str) -> Receipt:
        if item.op == "create":
            values = values_of(item.payload, None, self._country, where)
            made = self._api.create(MODEL, values, FIELDS)
            return _done(item, made)
        number = _number(item)
        if item.op == "archive":
            return _done(item, self._api.update(MODEL, number, {"active": False}, FIELDS))
        if item.op != "update":
            raise Misdeclared(f"{item.op} is not done to parties", where=where)
        found, _ = self._api.search(MODEL, [["id", "=", number]], FIELDS, limit=1)
        if not found:
            raise Rejected("the party does not exist (any more)", status=404)
        values = values_of(item.payload, cleaned_party(found[0]), self._country, where)
        return _done(item, self._api.update(MODEL, number, values, FIELDS) if values else found[0])

    def _country(self, code: str) -> int | None:
        """Tryton's id of a country."""
        if code not in self._countries:
            found, _ = self._api.search("country.country", [["code", "=", code]], ["code"], limit=1)
            if not found:
                return None
            self._countries[code] = int(found[0]["id"])
        return self._countries[code]


def _number(item: Write) -> int:
    text = item.source_id or ""
    if not (text.isascii() and text.isdigit()):
        raise Rejected("a party's id is a number", status=404)
    return int(text)


def _done(item: Write, held: Mapping[str, Any]) -> Receipt:
    record = as_record(held)
    return Receipt(item.ref, "done", record.id, record=record.payload)


def _page(found: Listed, cursor: Cursor, is_last: bool) -> Page:
    records = [as_record(row) for row in found.records]
    return Page(
        ids=[record.id for record in records],
        payloads=[record.payload for record in records],
        changed=[record.changed for record in records],
        deleted=[record.deleted for record in records],
        cursor=cursor,
        refused=found.refused,
        is_last=is_last,
    )


def _find_clause(field: str, value: str, where: str) -> list[Any]:
    if field in _PLAIN_FINDS:
        return [field, "=", value]
    if field in MECHANISMS:
        return ["contact_mechanisms", "where", [["type", "=", field], ["value", "=", value]]]
    if field in ("tax_identifier.full", "tax_identifier.code"):
        bare = compact(value)
        national = f"{bare[:2].lower()}_%"
        return [
            "identifiers",
            "where",
            ["OR", ["code_compact", "=", bare], [["code_compact", "=", bare[2:]], ["type", "like", national]]],
        ]
    known = ", ".join((*_PLAIN_FINDS, *MECHANISMS, "tax_identifier.full"))
    raise Misdeclared(f"find: expected one of {known}", where=where)


def build(context: Context) -> Tryton:
    """A connector for the context; it connects on first use."""
    return Tryton(context)
