"""Walking from page to page: guards against walks that do not end, reading ahead, several pages at once in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

from connectors.protocol import SystemFault, Transient

T = TypeVar("T")
A = TypeVar("A")

MAX_PAGES = 100_000
MAX_SAME_PAGES = 3
"""A page may come twice when records move between pages; the third time the system walks in a circle."""
MAX_EMPTY_PAGES = 1_000
"""Filtered lists have empty pages between full ones; so many in a row are no list any more."""


class WalkExpired(Transient):
    """The system no longer knows the way to the next page: the walk starts again from its beginning."""


class LoopGuard:
    """Stops a walk that does not get on: the same next token twice, the same page again and again, page after page
    without a record, too many pages."""

    def __init__(self, where: str, max_pages: int = MAX_PAGES) -> None:
        self._where = where
        self._max_pages = max_pages
        self._tokens: set[str] = set()
        self._last_page: tuple[str, ...] = ()
        self._same = 1
        self._pages = self._empty = 0

    def page(self, ids: Sequence[str]) -> None:
        """Account for a page of these ids."""
        self._pages += 1
        if self._pages > self._max_pages:
            raise SystemFault(f"more than {self._max_pages} pages", where=self._where)
        page = tuple(ids)
        self._same = self._same + 1 if page and page == self._last_page else 1
        self._last_page = page
        self._empty = 0 if page else self._empty + 1
        if self._empty > MAX_EMPTY_PAGES:
            raise SystemFault(f"{self._empty} pages in a row without a record", where=self._where)
        if self._same >= MAX_SAME_PAGES:
            raise SystemFault(f"the same page came {self._same} times in a row", where=self._where)

    def token(self, token: str) -> None:
        """Account for a next-page token (or link) about to be followed."""
        if token in self._tokens:
            raise SystemFault("the same next-page token came twice", where=self._where)
        self._tokens.add(token)


def ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items, with the next one being fetched in the background while this one is used."""
    nothing = object()
    with ThreadPoolExecutor(1, thread_name_prefix="page") as pool:
        coming: Future[T | object] = pool.submit(next, items, nothing)
        while (item := coming.result()) is not nothing:
            coming = pool.submit(next, items, nothing)
            yield item  # type: ignore[misc]


def in_order(fetch: Callable[[A], T], arguments: Iterable[A], workers: int) -> Iterator[T]:
    """`fetch` of each argument, `workers` at a time, results in the arguments' order; at most that many wait."""
    with ThreadPoolExecutor(max(1, workers), thread_name_prefix="page") as pool:
        running: deque[Future[T]] = deque()
        try:
            for argument in arguments:
                running.append(pool.submit(copy_context().run, fetch, argument))
                if len(running) >= workers:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            for future in running:
                future.cancel()
