"""What was asked of systems and what they answered, masked: the method, the path without ids, the status, how often.

Nothing is noted unless somebody keeps a journal; values, credentials, queries and bodies never come near it.
"""

from __future__ import annotations

import contextvars
import re
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager

_WORD = re.compile(r"[A-Za-z][A-Za-z_.-]*|v\d{1,3}(\.\d{1,3})?|\d{1,2}\.\d{1,2}")
"""A part of a path that names a resource or a version; whatever else stands there is taken for an id."""

Call = tuple[str, str, int]
"""Method, path, status (0: no answer)."""
_kept: contextvars.ContextVar[Counter[Call] | None] = contextvars.ContextVar("journal", default=None)


@contextmanager
def kept() -> Iterator[None]:
    """Calls made inside, in this thread, are noted until they are taken."""
    token = _kept.set(Counter())
    try:
        yield
    finally:
        _kept.reset(token)


def note(method: str, path: str, status: int) -> None:
    """Notes a call, where somebody keeps a journal."""
    if (calls := _kept.get()) is not None:
        calls[method, path, status] += 1


def take(ids: Collection[str] = ()) -> list[dict[str, str | int]]:
    """What was noted since it was last taken: {request, status, times}. `ids`: parts of paths that are masked even if
    they look like words."""
    calls = _kept.get()
    if not calls:
        return []
    told: Counter[tuple[str, int]] = Counter()
    for (method, path, status), times in calls.items():
        told[f"{method} {masked(path, ids)}", status] += times
    calls.clear()
    return [{"request": request, "status": status, "times": times} for (request, status), times in sorted(told.items())]


def masked(path: str, ids: Collection[str] = ()) -> str:
    """A path with `{id}` for every part that is none of the words of an API; its query is left out."""
    parts = path.partition("?")[0].split("/")
    return "/".join(p if p == "" or (_WORD.fullmatch(p) and p not in ids) else "{id}" for p in parts)
