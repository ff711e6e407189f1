"""Two versions of mapping sheets compared by what they mean: which rows came, went, or say something else now.

A row is known by what it decides: inbound the canonical field that a stream fills, outbound the target field that an
entity's records write, ignored the source field. Where it stands in the sheet does not matter. A row whose target was
changed is recognised by its source, so that a reviewer reads one change and not a removal beside an addition.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from canonical.mapping.sheet import COLUMNS, SheetRow

Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """One row that says something else now."""

    before: SheetRow
    after: SheetRow

    @property
    def fields(self) -> dict[str, tuple[str, str]]:
        """Column → (old, new), of those that differ."""
        pairs = {name: (getattr(self.before, name), getattr(self.after, name)) for name in COLUMNS}
        return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}

    @property
    def unmaps(self) -> bool:
        """Whether a field that was mapped is ignored now."""
        return self.before.direction != "ignored" and self.after.direction == "ignored"


@dataclass(frozen=True, slots=True)
class Loss:
    """How many of the mappings of a system are gone."""

    system: str
    before: int
    removed: int

    @property
    def is_many(self) -> bool:
        """Half or more: nobody's daily edit (RELIABILITY 64)."""
        return self.removed > 0 and 2 * self.removed >= self.before


@dataclass(frozen=True, slots=True)
class SheetDiff:
    """What differs between two versions."""

    added: tuple[SheetRow, ...]
    removed: tuple[SheetRow, ...]
    changed: tuple[Change, ...]
    unchanged: int
    losses: tuple[Loss, ...]
    """Of every system that lost mappings; a field that is ignored now is lost too."""

    @property
    def is_empty(self) -> bool:
        return not (self.added or self.removed or self.changed)

    @property
    def many(self) -> tuple[Loss, ...]:
        return tuple(loss for loss in self.losses if loss.is_many)

    def as_dict(self) -> dict[str, Any]:
        return {
            "added": [row_dict(row) for row in self.added],
            "removed": [row_dict(row) for row in self.removed],
            "changed": [
                {
                    "before": row_dict(change.before),
                    "after": row_dict(change.after),
                    "fields": {name: {"old": old, "new": new} for name, (old, new) in change.fields.items()},
                }
                for change in self.changed
            ],
            "unchanged": self.unchanged,
            "losses": [{**asdict(loss), "is_many": loss.is_many} for loss in self.losses],
        }


def row_dict(row: SheetRow) -> dict[str, Any]:
    """A row as JSON shows it."""
    return {
        **{name: getattr(row, name) for name in COLUMNS},
        "direction": row.direction,
        "file": row.file,
        "line": row.line,
    }


def compare(before: Sequence[SheetRow], after: Sequence[SheetRow]) -> SheetDiff:
    """How `after` differs from `before`. Rows are given in the order of their sheets."""
    old, new = list(before), list(after)
    same = _pairs(old, new, lambda row: tuple(getattr(row, name) for name in COLUMNS))
    changes: list[Change] = []
    for key in (_decides, _reads):
        changes += [Change(a, b) for a, b in _pairs(old, new, key)]
    changes.sort(key=lambda change: (change.after.file, change.after.line))
    gone = [*old, *(change.before for change in changes if change.unmaps)]
    return SheetDiff(tuple(new), tuple(old), tuple(changes), len(same), _losses(before, gone))


def _pairs(old: list[SheetRow], new: list[SheetRow], key: Callable[[SheetRow], Key]) -> list[tuple[SheetRow, SheetRow]]:
    """Take the rows with the same key out of both lists, in order."""
    waiting: dict[Key, list[SheetRow]] = {}
    for row in old:
        waiting.setdefault(key(row), []).append(row)
    pairs = [(rows.pop(0), row) for row in new if (rows := waiting.get(key(row)))]
    paired = {id(row) for pair in pairs for row in pair}
    old[:] = [row for row in old if id(row) not in paired]
    new[:] = [row for row in new if id(row) not in paired]
    return pairs


def _decides(row: SheetRow) -> Key:
    """What a row decides: no two good rows of a landscape decide the same."""
    if row.direction == "ignored":
        return ("ignored", row.system, row.source_field)
    if row.direction == "inbound":
        return ("inbound", row.system, row.stream, row.target_field)
    return ("outbound", row.system, row.entity or "", row.target_field)


def _reads(row: SheetRow) -> Key:
    """What a row is made from: mapped elsewhere or ignored, it still speaks of the same field."""
    side = "out" if row.direction == "outbound" else "in"
    # A constant is made from nothing, so nothing tells two of them apart.
    return (side, row.system, row.stream if side == "out" else "", row.source_field or row.target_field)


def _losses(before: Iterable[SheetRow], gone: Iterable[SheetRow]) -> tuple[Loss, ...]:
    had = _mappings(before)
    lost = _mappings(gone)
    return tuple(Loss(system, had[system], lost[system]) for system in sorted(lost) if lost[system])


def _mappings(rows: Iterable[SheetRow]) -> Mapping[str, int]:
    return Counter(row.system for row in rows if row.direction != "ignored")
