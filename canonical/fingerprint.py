"""What a stream's records look like, place by place, and when they no longer look like that (RELIABILITY P19).

A place is a path of members inside a record (`properties.email`), up to the first list. Of each place is known how many
records showed it and as what kinds of value. A mapped place that every record had and that is missing now, or that is
of another kind now, is drift: nobody can tell what such a record would do downstream. Null says "empty" and is no
drift; a place that is new is kept and reported.

    kinds_at(payloads, places)   what stands there, record by record
    find(known, found, ids)      the rows that differ from what is known
    judge(hit, of)               set those rows aside, or stop the stream
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from canonical.mapping.paths import Member, parse_path

ID = "(id)"
"""The place that stands for a record's id."""
ENOUGH = 100
"""So many records must have shown a place before its absence, or another kind, means something."""
LEAST_ROWS, MOST_SHARE = 5, 0.01
"""More than this share of the records, and at least so many: the stream stops. Fewer: they are set aside (P19)."""
ABSENT, NULL = "absent", "null"
_KINDS = {ord('"'): "text", ord("{"): "object", ord("["): "list", ord("t"): "boolean", ord("f"): "boolean"}
_UUID = re.compile(r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}", re.IGNORECASE)
_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
Place = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a place: kinds that were seen (null aside), in how many records it stood, of how many."""

    kinds: frozenset[str]
    records: int
    present: int

    def plus(self, kinds: Iterable[str], records: int, present: int) -> Known:
        """With more records taken into account."""
        return Known(self.kinds | set(kinds), self.records + records, self.present + present)


@dataclass(frozen=True, slots=True)
class Drift:
    """One record that differs at one place."""

    row: int
    place: str
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.place}: expected {self.expected}, found {self.found}"


@dataclass(frozen=True, slots=True)
class DriftVerdict:
    """What becomes of records that differ."""

    action: Literal["none", "set_aside", "stop"]
    because: str


def place_of(path: str) -> Place:
    """The members of a sheet's path up to its first list: `Phones[0].Number` is the list at `Phones`."""
    members: list[str] = []
    for step in parse_path(path):
        if not isinstance(step, Member):
            break
        members.append(step.name)
    return tuple(members)


def kinds_at(payloads: Sequence[bytes], places: Iterable[Place]) -> dict[Place, list[str]]:
    """What stands at each place of each record: absent, null, text, number, boolean, list or object; a record that is
    no JSON object shows nothing anywhere."""
    wanted = list(dict.fromkeys(places))
    found: dict[Place, list[str]] = {place: [] for place in wanted}
    for payload in payloads:
        levels: dict[Place, Mapping[str, msgspec.Raw]] = {(): _members(payload)}
        for place in wanted:
            members = _level(levels, place[:-1])
            raw = members.get(place[-1])
            found[place].append(ABSENT if raw is None else _kind(raw))
    return found


def names_at(payloads: Sequence[bytes], containers: Iterable[Place]) -> set[str]:
    """The dotted paths of all members that these records have at the top and in the containers named."""
    found: set[str] = set()
    inner = {c for c in containers if c}
    for payload in payloads:
        levels: dict[Place, Mapping[str, msgspec.Raw]] = {(): _members(payload)}
        for container in ((), *inner):
            names = (".".join((*container, name)) for name in _level(levels, container))
            found.update(name for name in names if tuple(name.split(".")) not in inner)
    return found


def id_kinds(ids: Sequence[str]) -> list[str]:
    """What each id is: integer, uuid or text."""
    return ["integer" if i.isdecimal() else "uuid" if _UUID.fullmatch(i) else "text" for i in ids]


def find(known: Mapping[str, Known], found: Mapping[str, Sequence[str]]) -> list[Drift]:
    """Every row that differs from what is known of a place, by row. Places without enough records say nothing."""
    drifts: list[Drift] = []
    for place, kinds in found.items():
        before = known.get(place)
        if before is None or before.present < ENOUGH:
            continue
        allowed = _allowed(place, before)
        if allowed.issuperset(kinds):
            continue
        expected = " or ".join(sorted(before.kinds)) or "a value"
        drifts += [Drift(row, place, expected, kind) for row, kind in enumerate(kinds) if kind not in allowed]
    return sorted(drifts, key=lambda drift: (drift.row, drift.place))


def _allowed(place: str, known: Known) -> frozenset[str]:
    if place == ID:
        # ids of one make do not turn into ids of another; words among them may be anything
        never = {"uuid"} - known.kinds if known.kinds != {"uuid"} else {"integer", "text"}
        return frozenset({"integer", "uuid", "text"} - never)
    kinds = known.kinds or {"text", "number", "boolean", "list", "object"}
    return frozenset({*kinds, NULL} | ({ABSENT} if known.present < known.records else set()))


def judge(drifts: Sequence[Drift], hit: int, of: int) -> DriftVerdict:
    """`hit` of `of` records differ, those of earlier readings that are still set aside included."""
    if not drifts:
        return DriftVerdict("none", "the records look as before")
    said: dict[tuple[str, str, str], int] = {}
    for drift in drifts:
        key = (drift.place, drift.expected, drift.found)
        said[key] = said.get(key, 0) + 1
    told = "; ".join(f"{p}: expected {e}, found {f} in {n:,} records" for (p, e, f), n in said.items())
    if hit >= LEAST_ROWS and hit > MOST_SHARE * of:
        return DriftVerdict("stop", f"{hit:,} of {of:,} records are not as before: {told}")
    return DriftVerdict("set_aside", told)


def _members(raw: bytes | msgspec.Raw) -> Mapping[str, msgspec.Raw]:
    try:
        return _decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}


def _level(levels: dict[Place, Mapping[str, msgspec.Raw]], place: Place) -> Mapping[str, msgspec.Raw]:
    """The members at a place of one record, each object decoded once."""
    found = levels.get(place)
    if found is None:
        raw = _level(levels, place[:-1]).get(place[-1])
        found = levels[place] = {} if raw is None else _members(raw)
    return found


def _kind(raw: msgspec.Raw) -> str:
    first = memoryview(raw)[0]
    return NULL if first == ord("n") else _KINDS.get(first, "number")
