"""Reading Asana: whole lists, tasks that changed, single records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from connectors.asana.kinds import BASE, PAGE_SIZE, Kind
from connectors.asana.workspace import Workspace
from connectors.http import Answer, HttpClient
from connectors.http.outcome import segment
from connectors.paging import LoopGuard, Mark, Shape, Split, Splitter, WalkExpired, Window, in_order
from connectors.paging.strict import leaf
from connectors.protocol import Cursor, Page, SourceRecord

_GONE = frozenset({404})
_HIDDEN = frozenset({403})
"""Somebody made the record private: it is there, and shows us nothing."""
_STALE = frozenset({400})
_NAMES = Splitter(Shape(records="data", key=("gid",), envelope={"next": "next_page.offset"}))


@dataclass(frozen=True, slots=True)
class _Listed:
    """One page of a list, and the clock of the answer."""

    split: Split
    date: str | None


class Reader:
    """Reads one stream of one workspace. Thread-safe."""

    def __init__(self, client: HttpClient, workspace: Workspace, kind: Kind) -> None:
        self._client = client
        self._workspace = workspace
        self._kind = kind
        self._splitter = kind.splitter()
        self.where = kind.where

    def read(self, cursor: Cursor | None) -> Iterator[Page]:
        """Pages in order of gids. Tasks: what changed since the cursor, project by project; the cursor moves when all
        projects were seen. The rest has no change marks to ask by: always everything, and an empty cursor."""
        if self._kind.has_marks:
            yield from self._changed(cursor)
            return
        for listed in self._listed():
            yield _page(listed.split, {}, is_last=listed.split.envelope.get("next") is None)

    def records(self) -> Iterator[SourceRecord]:
        """Every record that is not archived."""
        pages = self._changed(None) if self._kind.has_marks else self.read(None)
        for page in pages:
            rows = zip(page.ids, page.payloads, page.changed, page.deleted, strict=True)
            yield from (SourceRecord(*row) for row in rows if not row[3])

    def get(self, ids: Sequence[str]) -> list[SourceRecord]:
        """Records by gid (tasks also by `external:GID`). Those that were deleted are left out; those that became
        private say nothing but their gid."""
        found = in_order(self._one, ids, self._client.limits.concurrency)
        return [record for split in found for record in _records(split)]

    def first_page(self) -> None:
        """One small request, to see that credentials and scopes are good."""
        if self._kind.has_marks:
            next(self._projects(), None)
        else:
            self._split(self._client.get(self._kind.path, {**self._scope(), "limit": "1"}))

    def split_one(self, body: bytes) -> Split:
        """The one record of an answer's envelope."""
        record = leaf(body, ("data",))
        return self._splitter.split(b'{"data":[' + (record or b"") + b"]}", self.where)

    def _scope(self) -> dict[str, str]:
        return {"workspace": self._workspace.gid}

    def _listed(self) -> Iterator[_Listed]:
        for answer, split in self._walk(self._kind.path, {**self._scope(), **self._kind.query}, self._splitter):
            yield _Listed(split, answer.headers.get("date"))

    def _changed(self, cursor: Cursor | None) -> Iterator[Page]:
        since = str(cursor["since"]) if cursor and cursor.get("since") else None
        start = Mark.read(since)
        asked = {"modified_since": start.minus(self._kind.overlap_seconds).text()} if start else {}

        def tasks_of(project: str) -> list[_Listed]:
            query = {**self._kind.query, **asked, "project": project}
            walk = self._walk(self._kind.path, query, self._splitter)
            return [_Listed(split, answer.headers.get("date")) for answer, split in walk]

        before: Cursor = {"since": since} if since else {}
        window: Window | None = None
        seen: set[str] = set()
        held = Split([], [], [], [], None, [], {})
        projects = self._projects()
        for pages in in_order(tasks_of, projects, self._client.limits.concurrency):
            for listed in pages:
                window = window or Window.open(since, listed.date, self.where)
                window.see(listed.split.changed)
                fresh = _unseen(listed.split, seen)
                if len(held):
                    yield _page(held, before)
                held = fresh if len(fresh) else Split([], [], [], [], None, [], {})
        after: Cursor = {"since": window.reached} if window and window.reached else before
        yield _page(held, after, is_last=True)

    def _projects(self) -> Iterator[str]:
        """The projects whose tasks are read: the declared ones, or all of the workspace, archived ones too."""
        if self._kind.projects:
            yield from self._kind.projects
            return
        for _, split in self._walk(f"{BASE}/projects", {**self._scope(), "opt_fields": "name"}, _NAMES):
            yield from split.ids

    def _walk(self, path: str, query: dict[str, str], splitter: Splitter) -> Iterator[tuple[Answer, Split]]:
        """The pages of a list. WalkExpired where Asana no longer knows the way from page to page."""
        guard = LoopGuard(self.where)
        query = {**query, "limit": str(PAGE_SIZE)}
        while True:
            is_following = "offset" in query
            answer = self._client.get(path, query, accept=_STALE if is_following else frozenset())
            if answer.status in _STALE:
                raise WalkExpired(
                    "the token of the next page is no longer valid", where=self.where, status=answer.status
                )
            split = splitter.split(answer.json_body(), self.where)
            guard.page(split.ids)
            yield answer, split
            token = split.envelope.get("next")
            if token is None:
                return
            guard.token(str(token))
            query = {**query, "offset": str(token)}

    def _one(self, gid: str) -> Split:
        nothing = Split([], [], [], [], None, [], {})
        if not gid.isdigit() and not (self._kind.external and gid.startswith("external:")):
            return nothing
        path = f"{self._kind.path}/{segment(gid)}"
        answer = self._client.get(path, self._kind.query, accept=_GONE | _HIDDEN)
        if answer.status in _HIDDEN:
            return self._splitter.split(b'{"data":[{"gid":"%s"}]}' % gid.encode()) if gid.isdigit() else nothing
        return nothing if answer.status == 404 else self.split_one(answer.json_body())

    def _split(self, answer: Answer) -> Split:
        return self._splitter.split(answer.json_body(), self.where)


def _unseen(split: Split, seen: set[str]) -> Split:
    """The rows whose ids were not seen before in this read: a task can be in several projects."""
    rows = [row for row, gid in enumerate(split.ids) if gid not in seen]
    seen.update(split.ids)
    if len(rows) == len(split.ids):
        return split
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


def _page(split: Split, cursor: Cursor, *, is_last: bool = False) -> Page:
    return Page(
        ids=split.ids,
        payloads=split.payloads,
        changed=split.changed,
        deleted=split.deleted,
        cursor=cursor,
        refused=split.refused,
        is_last=is_last,
    )
