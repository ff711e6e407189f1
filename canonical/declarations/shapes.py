"""Reading nodes by shape: a `Section` is asked for its keys one by one, notes what is wrong and goes on.

Nothing here raises: every question has an answer good enough to continue with, so that one reading finds all problems.
At the end `done()` reports the keys nobody asked for, with the nearest of those somebody did.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from canonical.declarations.yaml import Node
from canonical.landscape import Limit, SecretRef
from canonical.problems import Problem

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,62}\Z")
"""Entities, fields, streams and roles may become identifiers of the database (RELIABILITY 54)."""
DASHED_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,62}\Z")
"""Systems, roles and integrations are labels only, so a dash is welcome."""
_DURATION = re.compile(r"([0-9]+)(s|m|h|d)\Z")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_PERCENT = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*%\Z")
_LIMIT = re.compile(r"max\(\s*([0-9]+)\s*,\s*([0-9]+(?:\.[0-9]+)?)\s*%\s*\)\Z")
SECRET_KINDS: tuple[Literal["env", "file", "block"], ...] = ("env", "file", "block")

T = TypeVar("T", bound=str)
RawShape = Literal["any", "secret", "secret or text", "list", "bound"]
"""What becomes of a value that is asked for as it stands: `{env: NAME}` and its like, a list, a number or a date."""


@dataclass(frozen=True, slots=True)
class Mention:
    """A name that must exist somewhere else, looked up when everything is read."""

    kind: Literal["role", "system", "entity"]
    name: str
    node: Node
    where: str


@dataclass(slots=True)
class Notes:
    """What one reading of a landscape has found so far."""

    problems: list[Problem] = field(default_factory=list)
    mentions: list[Mention] = field(default_factory=list)

    def report(self, node: Node, where: str, expected: str, found: str, suggestion: str | None = None) -> None:
        self.problems.append(Problem(node.file, node.line, where or "the file", expected, found, suggestion))


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that a person most likely meant, if any is near."""
    options = sorted(known)
    close = difflib.get_close_matches(word, options, n=1, cutoff=0.6)
    if close:
        return close[0]
    folded = {option.lower(): option for option in options}
    close = difflib.get_close_matches(word.lower(), list(folded), n=1, cutoff=0.6)
    return folded[close[0]] if close else None


def one_of(options: Iterable[str], limit: int = 12) -> str:
    """`one of a, b, c` for messages; long lists are cut."""
    names = list(options)
    shown = ", ".join(names[:limit])
    return f"one of {shown}{', …' if len(names) > limit else ''}" if names else "a declared name (there is none yet)"


def parse_duration(text: str) -> int | None:
    """Seconds of `45s`, `20m`, `24h`, `7d`; None if it is none of these."""
    found = _DURATION.match(text)
    return int(found[1]) * _SECONDS[found[2]] if found else None


def parse_share(text: str) -> float | None:
    """0..1 of `99.9%`; None if it is not a percentage between 0 and 100."""
    found = _PERCENT.match(text)
    if not found or float(found[1]) > 100:
        return None
    return float(found[1]) / 100


def parse_limit(text: str) -> Limit | None:
    """A brake threshold: `max(5, 2%)`, `2%` or `5`. Zero, and more than 100 %, is no threshold (RELIABILITY 60)."""
    if found := _LIMIT.match(text):
        limit = Limit(int(found[1]), float(found[2]) / 100)
    elif (share := parse_share(text)) is not None:
        limit = Limit(0, share)
    elif text.isascii() and text.isdigit():
        limit = Limit(int(text), 0.0)
    else:
        return None
    both_zero = limit.count == 0 and limit.share == 0
    return None if limit.share > 1 or both_zero else limit


class Section:
    """One mapping of a declaration, read key by key."""

    def __init__(self, notes: Notes, node: Node, where: str = "") -> None:
        self.notes = notes
        self.node = node
        self.where = where
        self._asked: dict[str, None] = {}
        self._is_readable = node.kind == "mapping"
        if node.kind not in ("mapping", "refused"):
            notes.report(node, where, "a mapping (key: value)", node.shown)

    # ---- places

    def at(self, key: str) -> str:
        return f"{self.where}.{key}" if self.where else key

    def has(self, key: str) -> bool:
        return key in self.node.entries

    def get(
        self, key: str, *, required: bool = False, expected: str = "a value", shape: RawShape = "any"
    ) -> Node | None:
        """The node of a key, None if it is absent or empty; absence of a required one is reported. `shape` is what the
        caller takes of it, for the schemas that editors use (`schemas`)."""
        self._asked[key] = None
        entry = self.node.entries.get(key)
        if entry is None or entry.node.kind == "nothing":
            if required and self._is_readable:
                place = entry.node if entry else self.node
                self.notes.report(place, self.at(key), expected, "nothing")
            return None
        return None if entry.node.kind == "refused" else entry.node

    def key_node(self, key: str) -> Node:
        """A node that stands on the line of the key itself; the section's own where the key is absent."""
        entry = self.node.entries.get(key)
        return Node(self.node.file, entry.line, "text", key) if entry else self.node

    def wrong(self, key: str, expected: str, found: str | None = None, suggestion: str | None = None) -> None:
        node = self.node.entries[key].node if key in self.node.entries else self.node
        self.notes.report(node, self.at(key), expected, node.shown if found is None else found, suggestion)

    def done(self) -> None:
        """Report the keys that nobody asked for."""
        for key, entry in self.node.entries.items():
            if key not in self._asked and self._is_readable and entry.node is not None:
                node = Node(self.node.file, entry.line, "text", key)
                close = nearest(key, self._asked)
                self.notes.report(node, self.at(key), one_of(self._asked, 30), f"the unknown key '{key}'", close)

    # ---- scalars

    def text(self, key: str, *, required: bool = False, pattern: re.Pattern[str] | None = None) -> str | None:
        node = self.get(key, required=required, expected="text")
        return None if node is None else read_text(self.notes, node, self.at(key), pattern)

    def mention(self, kind: Literal["role", "system", "entity"], key: str, *, required: bool = False) -> str | None:
        """A text that names something declared elsewhere."""
        name = self.text(key, required=required)
        if name is not None:
            self.mention_of(kind, name, self.node.entries[key].node, self.at(key))
        return name

    def mention_of(self, kind: Literal["role", "system", "entity"], name: str, node: Node, where: str) -> None:
        """A name found elsewhere than at a key of its own (in a list)."""
        self.notes.mentions.append(Mention(kind, name, node, where))

    def choice(self, key: str, options: Sequence[T], default: T, *, is_optional: bool = True) -> T:
        """One of some words. Not `is_optional`: the caller refuses its absence, `default` is only to go on with."""
        value = self.text(key)
        if value is None:
            return default
        for option in options:
            if option == value:
                return option
        self.wrong(key, one_of(options), suggestion=nearest(value, options))
        return default

    def boolean(self, key: str, default: bool = False) -> bool:
        node = self.get(key)
        if node is None:
            return default
        if node.kind != "boolean":
            self.wrong(key, "true or false")
            return default
        return node.text == "true"

    def integer(self, key: str, default: int, *, low: int = 0, high: int = 10**9) -> int:
        node = self.get(key)
        if node is None:
            return default
        if node.kind != "integer" or not low <= int(node.text) <= high:
            self.wrong(key, f"a whole number from {low} to {high}")
            return default
        return int(node.text)

    def number(self, key: str, default: float, *, low: float = 0.0, high: float = 1e9) -> float:
        node = self.get(key)
        if node is None:
            return default
        if node.kind not in ("integer", "number") or not low <= float(node.text) <= high:
            self.wrong(key, f"a number from {low:g} to {high:g}")
            return default
        return float(node.text)

    def duration(self, key: str, *, zero: bool = False) -> int | None:
        """Seconds of a duration (`20m`)."""
        node = self.get(key)
        if node is None:
            return None
        seconds = parse_duration(node.text) if node.kind == "text" else None
        if seconds is None or (seconds == 0 and not zero):
            self.wrong(key, "a duration such as 45s, 20m, 24h or 7d" + ("" if zero else ", more than 0"))
        return seconds

    def share(self, key: str, *, zero: bool = False) -> float | None:
        """0..1 of a percentage (`99.9%`)."""
        node = self.get(key)
        if node is None:
            return None
        share = parse_share(node.text) if node.kind == "text" else None
        if share is None or (share == 0 and not zero):
            self.wrong(key, 'a percentage above 0% and at most 100%, in quotes ("99.9%")')
            return None
        return share

    def limit(self, key: str, default: Limit) -> Limit:
        node = self.get(key)
        if node is None:
            return default
        limit = parse_limit(node.text) if node.kind in ("text", "integer") else None
        if limit is None:
            self.wrong(key, 'a threshold such as "max(5, 2%)", above 0 and at most 100%')
        return limit or default

    # ---- lists and mappings

    def texts(self, key: str, *, single: bool = False, pattern: re.Pattern[str] | None = None) -> tuple[str, ...]:
        """A list of texts; with `single` one text stands for a list of one."""
        return tuple(value for value, _ in self.text_items(key, single=single, pattern=pattern))

    def text_items(
        self, key: str, *, single: bool = False, pattern: re.Pattern[str] | None = None
    ) -> list[tuple[str, Node]]:
        """As `texts`, each with its node."""
        node = self.get(key)
        if node is None:
            return []
        if node.kind == "text" and single:
            value = read_text(self.notes, node, self.at(key), pattern)
            return [] if value is None else [(value, node)]
        found: list[tuple[str, Node]] = []
        for index, item in enumerate(self._items(key, node)):
            value = read_text(self.notes, item, f"{self.at(key)}[{index}]", pattern)
            if value is not None and value in (known for known, _ in found):
                self.notes.report(item, f"{self.at(key)}[{index}]", "each name once", f"'{value}' again")
            elif value is not None:
                found.append((value, item))
        return found

    def _items(self, key: str, node: Node) -> tuple[Node, ...]:
        if node.kind != "sequence":
            self.wrong(key, "a list")
            return ()
        return node.items

    def section(self, key: str, *, required: bool = False) -> Section | None:
        node = self.get(key, required=required, expected="a mapping (key: value)")
        return None if node is None else Section(self.notes, node, self.at(key))

    def sections(self, key: str, *, pattern: re.Pattern[str] = NAME, required: bool = False) -> Iterator[Named]:
        """The named mappings below a key: `systems:` → (name, its section)."""
        section = self.section(key, required=required)
        if section is not None:
            yield from section.each(pattern)

    def each(self, pattern: re.Pattern[str] = NAME) -> Iterator[Named]:
        """Every key of this section as (name, section of its value); names are checked by pattern."""
        for name, entry in self.node.entries.items():
            self._asked[name] = None
            if not pattern.match(name):
                node = Node(self.node.file, entry.line, "text", name)
                self.notes.report(node, self.where, f"a name like {pattern.pattern[:-2]}", node.shown)
            elif entry.node.kind == "nothing":
                yield Named(name, Section(self.notes, Node(entry.node.file, entry.line, "mapping"), self.at(name)))
            else:
                yield Named(name, Section(self.notes, entry.node, self.at(name)))

    def list_of(self, key: str, *, required: bool = False) -> list[Section]:
        """A list of mappings."""
        node = self.get(key, required=required, expected="a list of mappings")
        if node is None:
            return []
        return [
            Section(self.notes, item, f"{self.at(key)}[{index}]") for index, item in enumerate(self._items(key, node))
        ]

    def text_map(self, key: str) -> dict[str, str]:
        """A mapping of text to text."""
        section = self.section(key)
        if section is None:
            return {}
        found = {name: section.text(name) for name in section.node.entries}
        return {name: value for name, value in found.items() if value is not None}

    def value(self, key: str) -> Any:
        """Any value as plain Python, with `{env: …}` and its like as SecretRef."""
        node = self.get(key)
        return None if node is None else with_secret_refs(node)


@dataclass(frozen=True, slots=True)
class Named:
    """One entry of a mapping of mappings."""

    name: str
    section: Section

    def __iter__(self) -> Iterator[Any]:
        return iter((self.name, self.section))


def read_text(notes: Notes, node: Node, where: str, pattern: re.Pattern[str] | None = None) -> str | None:
    """The text of a node; anything else, a number that wants quotes included, is reported."""
    if node.kind == "refused":
        return None
    if node.kind != "text":
        hint = f'"{node.text}"' if node.kind in ("boolean", "integer", "number") else None
        notes.report(node, where, "text, in quotes" if hint else "text", node.shown, hint)
        return None
    if pattern is not None and not pattern.match(node.text):
        notes.report(node, where, f"a name like {pattern.pattern[:-2]}", node.shown)
        return None
    return node.text


def secret_ref(node: Node) -> SecretRef | None:
    """The SecretRef that a mapping `{env: NAME}` / `{file: PATH}` / `{block: NAME}` stands for, else None."""
    if node.kind != "mapping" or len(node.entries) != 1:
        return None
    (name, entry), *_ = node.entries.items()
    for kind in SECRET_KINDS:
        if kind == name and entry.node.kind == "text" and entry.node.text:
            return SecretRef(kind, entry.node.text)
    return None


def with_secret_refs(node: Node) -> Any:
    """Plain Python of a node, its secret references as values of their own."""
    ref = secret_ref(node)
    if ref is not None:
        return ref
    if node.kind == "mapping":
        return {key: with_secret_refs(entry.node) for key, entry in node.entries.items()}
    if node.kind == "sequence":
        return [with_secret_refs(item) for item in node.items]
    return node.plain
