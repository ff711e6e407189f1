"""A plan that a person has seen: its writes, their fingerprints, and what has moved since (DESIGN 9.13).

A plan is applied only while every fingerprint is still the one that was shown. A fingerprint covers all that a person
agrees to by agreeing to a write: which record of which target by whose integration, the operation, the payload to the
byte, what stood there before, and which parents it would wait for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from canonical import keys


@dataclass(frozen=True)
class PlannedWrite:
    """One write that a sync would make."""

    integration: str
    entity: str
    canonical_id: str
    label: str
    system: str
    stream: str
    op: str
    source_id: str | None
    because: str
    hold: str | None
    """Why a person would have to agree first; None: nobody."""
    waits_for: list[dict[str, str]]
    changes: list[dict[str, Any]]
    """field, old, new, authority: the system of record of the value."""
    write_hash: str
    payload: str = "{}"
    """The JSON text that would be sent."""
    mode: str = "write"
    """observe: shown, but never sent while the target is only observed."""

    @property
    def place(self) -> tuple[str, str, str, str, str]:
        """What makes two writes the same one, whatever they say."""
        return (self.integration, self.entity, self.system, self.stream, self.canonical_id)

    @property
    def fingerprint(self) -> str:
        """64 hex characters of everything that a person agrees to."""
        said = [
            *self.place,
            self.op,
            self.source_id,
            self.write_hash,
            [[c["field"], c.get("old"), c.get("new")] for c in self.changes],
            sorted([w["path"], w["entity"], w["id"]] for w in self.waits_for),
        ]
        text = json.dumps(said, ensure_ascii=False, separators=(",", ":"))
        return hashlib.blake2b(text.encode(), digest_size=32).hexdigest()

    def as_dict(self) -> dict[str, Any]:
        """As JSON shows it: what is sent is told field by field, and by its fingerprint."""
        shown = asdict(self)
        del shown["payload"]
        return shown | {"fingerprint": self.fingerprint}


def digest(writes: Iterable[PlannedWrite]) -> str:
    """One hash over all writes, whatever their order: two plans with the same digest say the same."""
    return keys.set_hash(w.fingerprint for w in writes)


@dataclass(frozen=True, slots=True)
class MovedField:
    """What a write would have done to one field, and what it would do now; None: nothing."""

    field: str
    shown: tuple[str | None, str | None] | None
    now: tuple[str | None, str | None] | None


@dataclass(frozen=True, slots=True)
class MovedWrite:
    """A write that is still planned, but not as it was shown."""

    shown: PlannedWrite
    now: PlannedWrite
    fields: tuple[MovedField, ...]
    because: tuple[str, ...]
    """What differs besides fields: the operation, the target record, the parents it waits for, the form it is sent."""


@dataclass(frozen=True, slots=True)
class Moved:
    """The difference between what was shown and what is planned now."""

    added: tuple[PlannedWrite, ...] = ()
    removed: tuple[PlannedWrite, ...] = ()
    changed: tuple[MovedWrite, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)


def compare(shown: Sequence[PlannedWrite], now: Sequence[PlannedWrite]) -> Moved:
    """What moved between two plans; nothing where every fingerprint agrees. Writes that are only observed are no part
    of what is agreed to, unless they are to be sent now."""
    before = {w.place: w for w in shown if w.mode != "observe"}
    after = {w.place: w for w in now if w.mode != "observe"}
    return Moved(
        added=tuple(w for place, w in after.items() if place not in before),
        removed=tuple(w for place, w in before.items() if place not in after),
        changed=tuple(
            _moved(was, after[place])
            for place, was in before.items()
            if place in after and was.fingerprint != after[place].fingerprint
        ),
    )


def _moved(shown: PlannedWrite, now: PlannedWrite) -> MovedWrite:
    was, will = _by_field(shown.changes), _by_field(now.changes)
    fields = tuple(
        MovedField(name, was.get(name), will.get(name))
        for name in dict.fromkeys([*was, *will])
        if was.get(name) != will.get(name)
    )
    differs = (
        (shown.op != now.op, f"it would {now.op}, not {shown.op}"),
        (shown.source_id != now.source_id, f"the target's record is {now.source_id}, not {shown.source_id}"),
        (_parents(shown) != _parents(now), "it waits for other parents"),
    )
    because = tuple(said for is_so, said in differs if is_so)
    return MovedWrite(shown, now, fields, because if because or fields else ("it would be sent in another form",))


def _by_field(changes: Iterable[Mapping[str, Any]]) -> dict[str, tuple[str | None, str | None]]:
    return {str(c["field"]): (c.get("old"), c.get("new")) for c in changes}


def _parents(write: PlannedWrite) -> list[tuple[str, str, str]]:
    return sorted((w["path"], w["entity"], w["id"]) for w in write.waits_for)
