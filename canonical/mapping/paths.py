"""Where a value stands inside a JSON record, as a mapping sheet writes it.

    properties.firstname                 members, one below the other
    Phones[PhoneType=DEFAULT].PhoneNumber   the first list element whose member has that value
    Emails[0]                            the element at a position
    LineItems[].Quantity                 every element

Reading a path gives one of three answers: a value, `None` (the source says: empty) or `ABSENT` (it says nothing).
A list that is there but has no such element answers `None`, because the source did show its list.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final


class Absent:
    """The type of `ABSENT`: the record does not mention this path at all."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = Absent()


@dataclass(frozen=True, slots=True)
class Member:
    """The value of an object's member."""

    name: str


@dataclass(frozen=True, slots=True)
class Index:
    """The list element at a position, counted from 0."""

    position: int


@dataclass(frozen=True, slots=True)
class Pick:
    """The first list element whose `member` has `value` (compared as text)."""

    member: str
    value: str


@dataclass(frozen=True, slots=True)
class Each:
    """Every element of a list."""


Step = Member | Index | Pick | Each
_PART = re.compile(r"(?P<name>[^.\[\]]+)(?P<brackets>(?:\[[^\[\]]*\])*)")
_BRACKET = re.compile(r"\[([^\[\]]*)\]")


class BadPath(ValueError):
    """A path that cannot be read; the message says what was expected."""


@lru_cache(maxsize=4096)
def parse_path(text: str) -> tuple[Step, ...]:
    """Read a path; raises `BadPath`."""
    steps: list[Step] = []
    position = 0
    while True:
        part = _PART.match(text, position)
        if part is None:
            raise BadPath(f"a member name at position {position + 1} of {text!r}")
        steps.append(Member(part["name"]))
        steps.extend(_bracket(inner, text) for inner in _BRACKET.findall(part["brackets"]))
        position = part.end()
        if position == len(text):
            return tuple(steps)
        if text[position] != ".":
            raise BadPath(f"'.' at position {position + 1} of {text!r}")
        position += 1


def _bracket(inner: str, text: str) -> Step:
    if inner == "":
        return Each()
    if inner.isascii() and inner.isdigit():
        return Index(int(inner))
    member, equals, value = inner.partition("=")
    if equals and member:
        return Pick(member, value)
    raise BadPath(f"[], [0] or [Member=value] in {text!r}")


def split_path(path: str) -> tuple[tuple[str, ...], tuple[Step, ...]]:
    """The leading members of a path (plain nesting), and the steps from the first list on."""
    steps = parse_path(path)
    names: list[str] = []
    for step in steps:
        if not isinstance(step, Member):
            break
        names.append(step.name)
    return tuple(names), steps[len(names) :]


def walk(value: Any, steps: Sequence[Step]) -> Any:
    """Follow the steps inside a decoded value: the value found, None (shown empty) or `ABSENT`."""
    for at, step in enumerate(steps):
        if value is None or value is ABSENT:
            return value
        match step:
            case Member(name):
                value = value.get(name, ABSENT) if isinstance(value, dict) else ABSENT
            case Index(position):
                value = _element(value, position)
            case Pick(member, wanted):
                value = _picked(value, member, wanted)
            case Each():
                return _each(value, steps[at + 1 :])
    return value


def _element(value: Any, position: int) -> Any:
    if not isinstance(value, list):
        return ABSENT
    return value[position] if position < len(value) else None


def _picked(value: Any, member: str, wanted: str) -> Any:
    if not isinstance(value, list):
        return ABSENT
    return next((e for e in value if isinstance(e, dict) and _same(e.get(member), wanted)), None)


def _same(found: Any, wanted: str) -> bool:
    if isinstance(found, bool):
        return wanted == ("true" if found else "false")
    return found is not None and str(found) == wanted


def _each(value: Any, rest: Sequence[Step]) -> Any:
    if not isinstance(value, list):
        return ABSENT
    found = (walk(element, rest) for element in value)
    return [v for v in found if v is not ABSENT]
