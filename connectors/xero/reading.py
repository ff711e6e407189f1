"""Reading Xero: pages of what was modified since, records by id, exact searches."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from connectors.http import Answer, HttpClient
from connectors.http.outcome import segment
from connectors.paging import LoopGuard, Mark, Split, Window, in_order
from connectors.paging.exact import equals_all
from connectors.protocol import Cursor, Misdeclared, Page, Rejected, SourceRecord
from connectors.xero.resources import IDS_AT_ONCE, PAGE_SIZE, Resource

_GONE = frozenset({404})
_FIELD = re.compile(r"[A-Za-z]+(\.[A-Za-z]+)?\Z")
_GUID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\Z")
_DEAD = frozenset({"VOIDED", "DELETED", "ARCHIVED", "GDPRREQUEST"})


class Reader:
    """Reads one resource of one organisation. Thread-safe."""

    def __init__(self, client: HttpClient, resource: Resource, overlap_seconds: float) -> None:
        self._client = client
        self._resource = resource
        self._overlap_seconds = overlap_seconds
        self._splitter = resource.splitter()
        self.where = f"{client.system}/{resource.stream}"

    def read(self, cursor: Cursor | None) -> Iterator[Page]:
        """Pages in order of ids, which edits do not change; the cursor moves when all of them were seen."""
        since = str(cursor["since"]) if cursor and cursor.get("since") else None
        before: Cursor = {"since": since} if since else {}
        start = Mark.read(since)
        guard, window, received, first_total = LoopGuard(self.where), None, 0, None
        held: tuple[Split, int | None] | None = None
        for split, date in self._walk(start.minus(self._overlap_seconds) if start else None):
            window = window or Window.open(since, date, self.where)
            if held is not None:
                yield _page(held[0], before, held[1])
            guard.page(split.ids)
            window.see(split.changed)
            received += len(split)
            total = _count(split, "total")
            first_total = total if first_total is None else first_total
            held = split, total
        assert held is not None
        assert window is not None
        split, total = held
        has_all = total is None or (received >= total and total >= (first_total or 0))
        after: Cursor = {"since": window.reached} if has_all and window.reached else before
        yield _page(split, after, total, is_last=has_all)

    def first_page(self) -> None:
        """One small request, to see that credentials and scopes are good."""
        query = {"page": "1", "pageSize": "1"} if self._resource.has_pages else {}
        self._split(self._client.get(self._resource.path, query))

    def get(self, ids: Sequence[str]) -> list[SourceRecord]:
        """Records by id; those that were deleted are marked so."""
        if self._resource.has_ids:
            batches = [ids[start : start + IDS_AT_ONCE] for start in range(0, len(ids), IDS_AT_ONCE)]
            splits = in_order(self._many, batches, self._client.limits.concurrency)
        else:
            splits = in_order(self._one, ids, self._client.limits.concurrency)
        wanted = set(ids)
        return [record for split in splits for record in _records(split) if record.id in wanted]

    def find(self, by: Mapping[str, str]) -> list[SourceRecord]:
        """Live records whose fields equal all values."""
        query = {"where": "&&".join(self._condition(name, value) for name, value in by.items()), **self._whole()}
        split = self._split(self._client.get(self._resource.path, query))
        status = self._resource.status
        return [
            record
            for record in _records(split)
            if equals_all(record.payload, by)
            and not (status and any(equals_all(record.payload, {status: dead}) for dead in _DEAD))
        ]

    def _condition(self, name: str, value: str) -> str:
        """One comparison of Xero's `where` language; values that could end the text are refused."""
        if not _FIELD.match(name):
            raise Misdeclared(f"find: expected a field such as TaxNumber, found {name}", where=self.where)
        if name.endswith("ID"):
            if not _GUID.match(value):
                raise Rejected("expected an id of Xero's", field=name, where=self.where)
            return f'{name}==guid("{value}")'
        if '"' in value or "\\" in value or any(ord(char) < 32 for char in value):
            raise Rejected("Xero cannot search for text with quotes or backslashes", field=name, where=self.where)
        return f'{name}=="{value}"'

    def _walk(self, since: Mark | None) -> Iterator[tuple[Split, str | None]]:
        """All pages; when the first says how many there are, the others are asked for at once."""

        def fetch(number: int) -> tuple[Split, str | None]:
            query = {**self._whole(), "order": f"{self._resource.id_field} ASC"}
            if self._resource.has_archived:
                query["includeArchived"] = "true"
            if self._resource.has_pages:
                query |= {"page": str(number), "pageSize": str(PAGE_SIZE)}
            headers = {"if-modified-since": since.text()} if since else {}
            answer = self._client.get(self._resource.path, query, headers=headers)
            return self._split(answer), answer.headers.get("date")

        first = fetch(1)
        yield first
        if not self._resource.has_pages or len(first[0]) == 0:
            return
        pages = _count(first[0], "pages")
        if pages is not None:
            yield from in_order(fetch, range(2, pages + 1), self._client.limits.concurrency)
            return
        number, size = 1, len(first[0])
        count = size
        while count >= size:
            number += 1
            following = fetch(number)
            count = len(following[0])
            if count:
                yield following

    def _whole(self) -> dict[str, str]:
        """Lists show lines only when a page is asked for; unit prices with four decimals only when asked."""
        return {**({"page": "1"} if self._resource.has_pages else {}), **self._resource.decimals}

    def _many(self, ids: Sequence[str]) -> Split:
        if any(not _GUID.match(record_id) for record_id in ids):
            ids = [record_id for record_id in ids if _GUID.match(record_id)]
        query = {**self._whole(), "IDs": ",".join(ids), "includeArchived": "true"}
        return self._split(self._client.get(self._resource.path, query)) if ids else self._nothing()

    def _one(self, record_id: str) -> Split:
        path = f"{self._resource.path}/{segment(record_id)}"
        answer = self._client.get(path, self._resource.decimals, accept=_GONE)
        return self._nothing() if answer.status == 404 else self._split(answer)

    def _nothing(self) -> Split:
        return Split([], [], [], [], None, [], {})

    def _split(self, answer: Answer) -> Split:
        return self._splitter.split(answer.json_body(), self.where)


def _count(split: Split, name: str) -> int | None:
    value = split.envelope.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _records(split: Split) -> list[SourceRecord]:
    rows = zip(split.ids, split.payloads, split.changed, split.deleted, strict=True)
    return [SourceRecord(*row) for row in rows]


def _page(split: Split, cursor: Cursor, total: int | None, *, is_last: bool = False) -> Page:
    return Page(
        ids=split.ids,
        payloads=split.payloads,
        changed=split.changed,
        deleted=split.deleted,
        cursor=cursor,
        refused=split.refused,
        is_last=is_last,
        total=total,
    )
