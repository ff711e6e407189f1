"""Undo: the way back from what one run wrote to a target record, decided field by field (DESIGN 9.15).

A field is set back only while it still holds what we wrote: what somebody, or a later run, has put there since is left
alone and told. A record that we created is archived only while nobody has changed it. What was archived is brought back
where the system can; what was deleted for good is told.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

Op = Literal["update", "archive", "restore"]


@dataclass(frozen=True)
class Written:
    """All that one run did to one target record, in order.

    ops      create, update, archive, delete
    changes  per write, its list of {field, old, new}; a create's may be empty
    asked    what its writes asked for, by target path (the last word on each)
    read     what the record read back when the last write was confirmed, by target path
    later    fields that a later run wrote; `is_ended`: a later run archived or deleted the record
    """

    ops: tuple[str, ...]
    changes: tuple[Sequence[Mapping[str, Any]], ...]
    asked: Mapping[str, str | None]
    read: Mapping[str, str | None]
    later: frozenset[str] = frozenset()
    is_ended: bool = False


@dataclass(frozen=True, slots=True)
class Back:
    """One field: what stands there now, and what stood there before."""

    field: str
    now: str | None
    then: str | None


@dataclass(frozen=True, slots=True)
class Left:
    """What is left alone: a field, or the whole record (None), and why."""

    field: str | None
    because: str


@dataclass(frozen=True, slots=True)
class WayBack:
    """What undoes it: an update of these fields, an archive, bringing it back, or nothing."""

    op: Op | None
    fields: tuple[Back, ...] = ()
    left: tuple[Left, ...] = ()


def way_back(
    written: Written,
    live: Mapping[str, str | None] | None,
    paths: frozenset[str],
    *,
    can_archive: bool,
    can_restore: bool = False,
    is_archived: bool = False,
) -> WayBack:
    """The inverse of what one run did to one record.

    live         what the record holds now at our paths; None: it is gone there, or archived
    paths        the paths that the mapping sheet writes there today
    can_archive  whether the target can archive records of this stream, can_restore: bring archived ones back
    is_archived  whether the target shows it as archived now
    """
    if written.is_ended or (written.later and written.ops[-1] in ("archive", "delete")):
        return WayBack(None, left=(Left(None, "a later run archived it, or wrote it again"),))
    if written.ops[-1] == "delete":
        return WayBack(None, left=(Left(None, "it was deleted there for good"),))
    if written.ops[-1] == "archive":
        return _unarchive(live, can_restore=can_restore, is_archived=is_archived)
    if live is None:
        return WayBack(None, left=(Left(None, "it is not there any more"),))
    if "create" in written.ops:
        return _uncreate(written, live, can_archive=can_archive)
    fields, left = [], []
    for name, old in _before(written.changes).items():
        why = _moved_on(written, live, name, paths)
        if why is not None:
            left.append(Left(name, why))
        elif not same(live.get(name), old):
            fields.append(Back(name, live.get(name), old))
    return WayBack("update" if fields else None, tuple(fields), tuple(left))


def _unarchive(live: Mapping[str, str | None] | None, *, can_restore: bool, is_archived: bool) -> WayBack:
    if live is not None:
        return WayBack(None, left=(Left(None, "it was archived, and somebody has reopened it"),))
    if not is_archived:
        return WayBack(None, left=(Left(None, "it is not there any more"),))
    if not can_restore:
        return WayBack(None, left=(Left(None, "it was archived there: reopen it by hand, nothing of ours can"),))
    return WayBack("restore")


def _uncreate(written: Written, live: Mapping[str, str | None], *, can_archive: bool) -> WayBack:
    if not can_archive:
        return WayBack(None, left=(Left(None, "it was created, and this system cannot archive: remove it by hand"),))
    moved = [name for name in written.asked if name in written.read and not same(live.get(name), written.read[name])]
    if moved or written.later:
        names = ", ".join(sorted({*moved, *written.later}))
        return WayBack(None, left=(Left(None, f"it was created, and has changed since: {names}"),))
    return WayBack("archive")


def _before(changes: Sequence[Sequence[Mapping[str, Any]]]) -> dict[str, str | None]:
    """Field → what stood there before the run's first write of it."""
    found: dict[str, str | None] = {}
    for write in changes:
        for change in write:
            found.setdefault(str(change["field"]), change.get("old"))
    return found


def _moved_on(written: Written, live: Mapping[str, str | None], name: str, paths: frozenset[str]) -> str | None:
    """Why a field is left alone; None: it still holds what we wrote."""
    if name in written.later:
        return "moved on: a later run wrote it"
    if name not in paths:
        return "the mapping sheet does not write it any more"
    ours = [side[name] for side in (written.read, written.asked) if name in side]
    if not any(same(live.get(name), value) for value in ours):
        return "moved on: somebody has changed it there since"
    return None


def same(a: str | None, b: str | None) -> bool:
    """Whether two values of a target say the same: as text, as numbers, or as JSON; empty is empty."""
    if (a or None) == (b or None):
        return True
    if a is None or b is None:
        return False
    try:
        return Decimal(a) == Decimal(b)
    except InvalidOperation:
        pass
    try:
        return bool(a[:1] in "[{" and json.loads(a) == json.loads(b))
    except json.JSONDecodeError:
        return False
