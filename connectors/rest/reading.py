"""List walks of a REST manifest: which request comes next, and when a stream is known to be complete."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import httpx

from canonical.declarations.manifest import StreamManifest
from connectors.http import Answer, HttpClient
from connectors.paging import LoopGuard, Mark, Shape, Split, Splitter, WalkExpired, Window, ahead, in_order
from connectors.protocol import Cursor, Misdeclared, Page, SystemFault

_EXPIRED = frozenset({410})


@dataclass(frozen=True, slots=True)
class Fetched:
    """One answer of a list, split. `link` is the Link header's next URL."""

    split: Split
    date: str | None
    link: str | None

    def number(self, name: str) -> int | None:
        """A count from the envelope, where it is one."""
        value = self.split.envelope.get(name)
        text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
        return int(text) if text.isdigit() else None


class Lister:
    """Reads one stream of one system. Thread-safe: what a walk knows lives in its generator."""

    def __init__(self, client: HttpClient, manifest: StreamManifest) -> None:
        self._client = client
        self._manifest = manifest
        self.where = f"{client.system}/{manifest.name}"
        paging = manifest.paging
        wanted = {"next": paging.next, "total": paging.total, "pages": paging.pages}
        child = manifest.stream.child_of
        self.splitter = Splitter(
            Shape(
                records=manifest.records,
                key=manifest.stream.key,
                changed=manifest.stream.changed,
                parent=child.by if child else None,
                envelope={name: path for name, path in wanted.items() if path},
            )
        )

    def read(self, cursor: Cursor | None) -> Iterator[Page]:
        """Pages from the cursor on (None: everything), the next one fetched while this one is used."""
        since = str(cursor["since"]) if cursor and cursor.get("since") else None
        yield from ahead(self._keyset(since) if self._manifest.paging.kind == "keyset" else self._unordered(since))

    def fetch(self, params: Mapping[str, str], since: Mark | None, url: str | None = None) -> Fetched:
        """One list request."""
        manifest, headers = self._manifest, dict[str, str]()
        query = {} if url else {**manifest.params, **params}
        if manifest.since and since is not None:
            text = manifest.since.template.replace("{since}", since.text(manifest.since.format))
            if manifest.since.header:
                headers[manifest.since.header] = text
            elif manifest.since.param and not url:
                query[manifest.since.param] = text
        answer = self._send(url or manifest.path, query, headers)
        split = self.splitter.split(answer.json_body(), self.where)
        return Fetched(split, answer.headers.get("date"), _next_link(answer))

    def _send(self, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> Answer:
        if self._manifest.method == "GET":
            answer = self._client.get(path, query or None, headers=headers, accept=_EXPIRED)
        else:
            answer = self._client.send("POST", path, json=query, headers=headers, effect="read", accept=_EXPIRED)
        if answer.status in _EXPIRED:
            raise WalkExpired("the walk's token has expired; it starts again", where=self.where, status=answer.status)
        return answer

    def _unordered(self, since: str | None) -> Iterator[Page]:
        """A walk whose records come in no order of change: the cursor moves when everything was seen."""
        start = Mark.read(since)
        overlap = self._manifest.overlap_seconds
        guard, window, received, first_total = LoopGuard(self.where), None, 0, None
        before: Cursor = {"since": since} if since else {}
        held: tuple[Fetched, int | None] | None = None
        for fetched in self._walk(start.minus(overlap) if start else None):
            if window is None:
                window = Window.open(since, fetched.date, self.where)
            if held is not None:
                yield _page(held[0].split, before, False, held[1], window)
            guard.page(fetched.split.ids)
            window.see(fetched.split.changed)
            received += len(fetched.split)
            total = fetched.number("total")
            first_total = total if first_total is None else first_total
            held = (fetched, total)
        if held is None or window is None:
            raise SystemFault("the list gave no page", where=self.where)
        fetched, total = held
        has_all = total is None or (received >= total and (first_total is None or total >= first_total))
        reached = window.reached
        after: Cursor = {"since": reached} if has_all and reached else before
        yield _page(fetched.split, after, has_all, total, window)

    def _walk(self, since: Mark | None) -> Iterator[Fetched]:
        match self._manifest.paging.kind:
            case "page" | "offset":
                yield from self._counted(since)
            case "cursor":
                yield from self._by_token(since)
            case "link":
                yield from self._by_link(since)
            case _:
                yield self.fetch({}, since)

    def _sized(self) -> dict[str, str]:
        paging = self._manifest.paging
        return {paging.size_param: str(paging.size)} if paging.size_param else {}

    def _counted(self, since: Mark | None) -> Iterator[Fetched]:
        """By page or offset. When the first answer tells how many there are, the others are asked for at once."""
        paging = self._manifest.paging
        step = {"page": 1}.get(paging.kind)
        at = paging.first if paging.kind == "page" else 0

        def fetch(position: int) -> Fetched:
            return self.fetch({**self._sized(), str(paging.param): str(position)}, since)

        first = fetch(at)
        yield first
        size = len(first.split)
        pages, total = first.number("pages"), first.number("total")
        if size == 0 or (pages is None and total is not None and size >= total):
            return
        if pages is None and total is not None:
            pages = -(-total // size)
        if pages is not None:
            positions = (at + number * (step or size) for number in range(1, pages))
            for fetched in in_order(fetch, positions, self._client.limits.concurrency):
                yield fetched
                if len(fetched.split) == 0:
                    return
            return
        count = size  # the system may cap a page below the size asked for: a page is short compared with the first
        while count >= size:
            at += step or count
            fetched = fetch(at)
            count = len(fetched.split)
            if count:
                yield fetched

    def _by_token(self, since: Mark | None) -> Iterator[Fetched]:
        guard, params = LoopGuard(self.where), self._sized()
        while True:
            fetched = self.fetch(params, since)
            yield fetched
            token = fetched.split.envelope.get("next")
            if token is None or token is False or token == "":
                return
            if not isinstance(token, str | int):
                raise SystemFault("expected a next-page token, found something else", where=self.where)
            guard.token(str(token))
            params = {**self._sized(), str(self._manifest.paging.param): str(token)}

    def _by_link(self, since: Mark | None) -> Iterator[Fetched]:
        guard, url = LoopGuard(self.where), None
        while True:
            fetched = self.fetch(self._sized(), since, url)
            yield fetched
            link = fetched.split.envelope.get("next") if self._manifest.paging.next else fetched.link
            if not link:
                return
            if not isinstance(link, str):
                raise SystemFault("expected a next-page link, found something else", where=self.where)
            guard.token(link)
            url = self._client.same_origin(link.strip(" <>"))

    def _keyset(self, since: str | None) -> Iterator[Page]:
        """Ordered by change mark and id: each page moves the cursor, and a cut walk goes on from its last page."""
        manifest, guard = self._manifest, LoopGuard(self.where)
        if manifest.stream.changed is None:
            raise Misdeclared("keyset paging needs `changed`", where=self.where)
        style = manifest.since.format if manifest.since else "iso"
        start = Mark.read(since)
        mark = start.minus(manifest.overlap_seconds).text(style) if start else None
        last_id, window = "", None
        while True:
            params = self._sized()
            if mark is not None:
                params |= {str(manifest.paging.param): mark, str(manifest.paging.after_param): last_id}
            fetched = self.fetch(params, None)
            split = fetched.split
            window = window or Window.open(since, fetched.date, self.where)
            guard.page(split.ids)
            window.see(split.changed)
            is_last = len(split) == 0
            cursor: Cursor = {"since": window.reached} if window.reached else {}
            yield _page(split, cursor, is_last, fetched.number("total"), window)
            if is_last:
                return
            if not split.ids or not split.changed[-1]:
                raise SystemFault("keyset paging: the last record of a page has no change mark", where=self.where)
            mark, last_id = split.changed[-1], split.ids[-1]


def _page(split: Split, cursor: Cursor, is_last: bool, total: int | None, window: Window) -> Page:
    return Page(
        ids=split.ids,
        payloads=split.payloads,
        changed=split.changed,
        deleted=split.deleted,
        cursor=cursor,
        parents=split.parents,
        refused=split.refused,
        is_last=is_last,
        total=total,
        clock=window.now.text(),
    )


def _next_link(answer: Answer) -> str | None:
    """The Link header's rel="next", read by httpx."""
    if "link" not in answer.headers:
        return None
    links = httpx.Response(200, headers={"link": answer.headers["link"]}).links
    return links.get("next", {}).get("url")
