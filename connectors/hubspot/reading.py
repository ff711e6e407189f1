"""Reading HubSpot: complete lists, what changed by search, what is in the bin, single records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from connectors.http import Answer, Gate, HttpClient
from connectors.http.client import RATE_PATIENCE_SECONDS
from connectors.http.outcome import segment
from connectors.hubspot.shapes import BATCH_SIZE, PAGE_SIZE, SEARCH_DEPTH, SEARCH_PAGE_SIZE, ObjectType
from connectors.paging import LoopGuard, Mark, Split, Window, in_order
from connectors.protocol import Cursor, Misdeclared, Page, SourceRecord, SystemFault

_GONE = frozenset({404})
_LIST_RATHER_ABOVE = 200
"""Search shows no associations, so each changed record is read by itself: for more than this (or 1 % of the stream)
walking the whole list takes fewer requests."""


class Reader:
    """Reads one object type of one account. Thread-safe."""

    def __init__(self, client: HttpClient, searches: Gate, kind: ObjectType, overlap_seconds: float) -> None:
        self._client = client
        self._searches = searches
        self._kind = kind
        self._overlap_seconds = overlap_seconds if kind.overlap_seconds is None else kind.overlap_seconds
        self._splitter = kind.splitter()
        self.where = kind.where

    def read(self, cursor: Cursor | None) -> Iterator[Page]:
        """Pages; cursors are {"since": mark, "count": live records in the last complete list}."""
        start = Mark.read(str(cursor.get("since"))) if cursor and cursor.get("since") else None
        if cursor is None or start is None:
            yield from self._listed(None, 0)
            return
        known = int(cursor.get("count") or 0)
        since = start.minus(self._overlap_seconds)
        if self._kind.associations:
            total = self._search(since.text("epoch_ms"), None, 1)[0].envelope.get("total")
            if isinstance(total, int) and total > max(_LIST_RATHER_ABOVE, known // PAGE_SIZE):
                yield from self._listed(cursor, known)
                return
        yield from self._changed(cursor, since, known)

    def get(self, ids: Sequence[str]) -> list[SourceRecord]:
        """Live records by id; an id that was merged into another is gone."""
        if self._kind.associations:
            found = in_order(self._one, ids, self._client.limits.concurrency)
        else:
            batches = [ids[start : start + BATCH_SIZE] for start in range(0, len(ids), BATCH_SIZE)]
            found = in_order(self._many, batches, self._client.limits.concurrency)
        return [record for split in found for record in _records(split)]

    def find(self, by: Mapping[str, str]) -> list[SourceRecord]:
        """Live records by property values (`properties.NAME`), as search sees them."""
        filters, names = [], list(self._kind.properties)
        for path, value in by.items():
            head, _, name = path.partition(".")
            if head != "properties" or not name:
                raise Misdeclared(f"find: expected properties.NAME, found {path}", where=self.where)
            filters.append({"propertyName": name, "operator": "EQ", "value": value})
            names.append(name)
        asked = {"filterGroups": [{"filters": filters}], "properties": list(dict.fromkeys(names)), "limit": PAGE_SIZE}
        split = self._split(self._post_search(asked))
        return _records(split)

    def first_page(self) -> None:
        """One record, to see that credentials and scopes are good."""
        self._split(self._client.get(self._kind.path, {"limit": "1"}))

    def _listed(self, cursor: Cursor | None, known: int) -> Iterator[Page]:
        """The whole list in order of ids, then the bin. The cursor moves at the end: nothing is in order of change."""
        since = str(cursor["since"]) if cursor else None
        before: Cursor = dict(cursor) if cursor else {}
        window: Window | None = None
        count = 0
        held: Split | None = None
        for date, split in self._walk(archived=False):
            window = window or Window.open(since, date, self.where)
            if held is not None:
                yield _page(held, before, clock=window.now.text())
            window.see(split.changed)
            count += len(split)
            held = split
        assert held is not None
        assert window is not None
        after = {"since": window.reached or window.now.text(), "count": count}
        has_bin = self._kind.archived != "never"
        yield _page(held, before if has_bin else after, is_last=not has_bin, clock=window.now.text())
        if has_bin:
            yield from self._bin(before, after)

    def _changed(self, cursor: Cursor, since: Mark, known: int) -> Iterator[Page]:
        """What changed, in order of the change mark: every page moves the cursor. Then the bin."""
        guard = LoopGuard(self.where)
        bound, after = since.text("epoch_ms"), None
        window: Window | None = None
        here = dict(cursor)
        while True:
            split, date = self._search(bound, after, SEARCH_PAGE_SIZE)
            window = window or Window.open(str(cursor["since"]), date, self.where)
            guard.page(split.ids)
            window.see(split.changed)
            here = {**here, "since": window.reached}
            next_after = split.envelope.get("next")
            total = split.envelope.get("total")
            is_end = next_after is None and self._kind.archived != "always"
            shown = self._with_associations(split)
            size = total if isinstance(total, int) else None
            yield _page(shown, here, is_last=is_end, total=size, clock=window.now.text())
            if next_after is None:
                break
            after = str(next_after)
            if int(after) + SEARCH_PAGE_SIZE > SEARCH_DEPTH:
                bound, after = self._restart(split), None
            guard.token(f"{bound} {after}")
        if self._kind.archived == "always":
            yield from self._bin(here, here)

    def _restart(self, split: Split) -> str:
        """The lower bound of a new search where the old one reaches its end: the last mark that was seen."""
        mark = Mark.read(split.changed[-1]) if split.changed else None
        if mark is None:
            raise SystemFault("a search result without its change mark", where=self.where)
        return mark.text("epoch_ms")

    def _bin(self, before: Cursor, after: Cursor) -> Iterator[Page]:
        """Archived records; the last page completes the read."""
        held: Split | None = None
        for _, split in self._walk(archived=True):
            if held is not None:
                yield _page(held, before)
            held = split
        if held is not None:
            yield _page(held, after, is_last=True)

    def _walk(self, *, archived: bool) -> Iterator[tuple[str | None, Split]]:
        """List pages by `after`."""
        guard = LoopGuard(self.where)
        query = {**self._kind.query, "limit": str(PAGE_SIZE)} | ({"archived": "true"} if archived else {})
        while True:
            answer = self._client.get(self._kind.path, query)
            split = self._split(answer)
            guard.page(split.ids)
            yield answer.headers.get("date"), split
            token = split.envelope.get("next")
            if token is None:
                return
            guard.token(str(token))
            query = {**query, "after": str(token)}

    def _search(self, bound: str, after: str | None, limit: int) -> tuple[Split, str | None]:
        mark = self._kind.mark
        asked: dict[str, Any] = {
            "filterGroups": [{"filters": [{"propertyName": mark, "operator": "GTE", "value": bound}]}],
            "sorts": [{"propertyName": mark, "direction": "ASCENDING"}],
            "properties": list(self._kind.properties),
            "limit": limit,
        }
        answer = self._post_search({**asked, **({"after": after} if after else {})})
        return self._split(answer), answer.headers.get("date")

    def _post_search(self, asked: Mapping[str, Any]) -> Answer:
        self._searches.admit(RATE_PATIENCE_SECONDS, self.where)
        return self._client.send("POST", f"{self._kind.path}/search", json=asked, effect="read")

    def _with_associations(self, split: Split) -> Split:
        """A search page as the list would show it: one that was archived or merged meanwhile is left to the bin."""
        if not self._kind.associations or not split.ids:
            return split
        whole = Split([], [], [], [], None, list(split.refused), split.envelope)
        for one in in_order(self._one, split.ids, self._client.limits.concurrency):
            whole.ids += one.ids
            whole.payloads += one.payloads
            whole.changed += one.changed
            whole.deleted += one.deleted
        return whole

    def _one(self, record_id: str) -> Split:
        """One record with its associations; an empty split where it is gone."""
        answer = self._client.get(f"{self._kind.path}/{segment(record_id)}", self._kind.query, accept=_GONE)
        if answer.status == 404:
            return _only(self._splitter.split(b'{"results":[]}'), ())
        body = b'{"results":[' + answer.json_body() + b"]}"
        return _only(self._splitter.split(body, self.where), (record_id,))

    def _many(self, ids: Sequence[str]) -> Split:
        asked = {"properties": list(self._kind.properties), "inputs": [{"id": record_id} for record_id in ids]}
        answer = self._client.send("POST", f"{self._kind.path}/batch/read", json=asked, effect="read")
        return _only(self._split(answer), ids)

    def _split(self, answer: Answer) -> Split:
        return self._splitter.split(answer.json_body(), self.where)


def _only(split: Split, ids: Sequence[str]) -> Split:
    """The rows of these ids: an answer may speak of others (the survivor of a merge)."""
    wanted = set(ids)
    rows = [number for number, found in enumerate(split.ids) if found in wanted]
    return Split(
        [split.ids[row] for row in rows],
        [split.payloads[row] for row in rows],
        [split.changed[row] for row in rows],
        [split.deleted[row] for row in rows],
        None,
        split.refused,
        split.envelope,
    )


def _records(split: Split) -> list[SourceRecord]:
    rows = zip(split.ids, split.payloads, split.changed, split.deleted, strict=True)
    return [SourceRecord(*row) for row in rows]


def _page(
    split: Split, cursor: Cursor, *, is_last: bool = False, total: int | None = None, clock: str | None = None
) -> Page:
    return Page(
        ids=split.ids,
        payloads=split.payloads,
        changed=split.changed,
        deleted=split.deleted,
        cursor=cursor,
        refused=split.refused,
        is_last=is_last,
        total=total,
        clock=clock,
    )
