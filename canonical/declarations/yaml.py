"""Strict YAML: bytes become nodes that know their line, and everything YAML would guess is asked for in quotes.

PyYAML's own loader turns `NO` into False, `00123` into 83 and `12:30:45` into 45045, lets duplicate keys pass and
expands aliases. Here only its event stream is used; the values are built by rules a person can predict:

    true, false        boolean            5, -3      integer           0.80     number
    (nothing), null    nothing            "…", '…', anything else      text

Refused, each with its line: duplicate keys, anchors and aliases, tags, merge keys, several documents, tabs and other
bad syntax, text that is not UTF-8, more than 1 MB, more than 32 levels, and unquoted words that YAML 1.1 reads as
something else (`NO`, `yes`, `00123`, `0x1F`, `1e3`, `12:30`, `2024-02-30`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

import yaml

from canonical.problems import Problem, Refused

MAX_BYTES = 1_000_000
MAX_DEPTH = 32

NodeKind = Literal["text", "boolean", "integer", "number", "nothing", "mapping", "sequence", "refused"]

_BOOLEAN_WORDS = re.compile(r"(?:yes|no|on|off|true|false)\Z", re.IGNORECASE)
_NOTHING = frozenset({"", "~", "null", "Null", "NULL"})
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})\Z")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)\.[0-9]+\Z")
# What YAML resolvers would read as a number (yaml.org/type/int, yaml.org/type/float).
_OTHER_NUMBERS = re.compile(
    r"""[-+]?(?:
        0[xX][0-9a-fA-F_]+ | 0[oO]?[0-7_]+ | 0[bB][01_]+ | [0-9][0-9_]*
        | [0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)? | [0-9][0-9_]*[eE][-+]?[0-9]+
        | \.(?:inf|Inf|INF|nan|NaN|NAN)
    )\Z""",
    re.VERBOSE,
)
_BASE_SIXTY = re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?\Z")
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
"""Control characters and halves of surrogate pairs, which escapes in double quotes can write."""
_DATE = re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt \t].*)?\Z")


@dataclass(frozen=True, slots=True)
class Node:
    """One value of a declaration file, with the line it begins on. `refused`: already reported, ask no more of it."""

    file: str
    line: int | None
    kind: NodeKind
    text: str = ""
    entries: Mapping[str, Entry] = field(default_factory=dict)
    items: tuple[Node, ...] = ()

    @property
    def plain(self) -> Any:
        """The value as plain Python: str, bool, int, Decimal, None, dict, list."""
        match self.kind:
            case "boolean":
                return self.text == "true"
            case "integer":
                return int(self.text)
            case "number":
                return Decimal(self.text)
            case "nothing" | "refused":
                return None
            case "mapping":
                return {key: entry.node.plain for key, entry in self.entries.items()}
            case "sequence":
                return [item.plain for item in self.items]
            case _:
                return self.text

    @property
    def shown(self) -> str:
        """How a message names this value; long ones are cut."""
        match self.kind:
            case "text":
                cut = self.text if len(self.text) <= 40 else self.text[:39] + "…"
                return ascii(cut) if not cut.isprintable() else f"'{cut}'"
            case "boolean" | "integer" | "number":
                return f"the unquoted {self.text}"
            case "mapping":
                return "a mapping" if self.entries else "an empty mapping"
            case "sequence":
                return f"a list of {len(self.items)}" if self.items else "an empty list"
            case _:
                return "nothing"

    def walk(self, where: str = "") -> Iterator[tuple[str, str, Node]]:
        """Every node below as (dotted place, nearest key, node), this one included."""
        stack: list[tuple[str, str, Node]] = [(where, "", self)]
        while stack:
            place, key, node = stack.pop()
            yield place, key, node
            for name, entry in node.entries.items():
                stack.append((f"{place}.{name}" if place else name, name, entry.node))
            for index, item in enumerate(node.items):
                stack.append((f"{place}[{index}]", key, item))


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of a mapping: the line of the key and its value."""

    line: int | None
    node: Node


def node_of(value: Any, file: str = "", line: int | None = None) -> Node:
    """A node made from plain Python values, so that shipped defaults and declared files are read by one reader."""
    match value:
        case Node():
            return value
        case None:
            return Node(file, line, "nothing")
        case bool():
            return Node(file, line, "boolean", "true" if value else "false")
        case int():
            return Node(file, line, "integer", str(value))
        case float() | Decimal():
            return Node(file, line, "number", str(value))
        case Mapping():
            entries = {str(key): Entry(line, node_of(item, file, line)) for key, item in value.items()}
            return Node(file, line, "mapping", entries=entries)
        case list() | tuple():
            return Node(file, line, "sequence", items=tuple(node_of(item, file, line) for item in value))
        case _:
            return Node(file, line, "text", str(value))


def read_yaml(file: str, data: bytes) -> tuple[Node, list[Problem]]:
    """The file's root node and every problem of its notation. A syntax error ends the reading: the node is what came
    before it, kind `refused`, so that nothing further is asked of a half-read file."""
    text, problem = _decode(file, data)
    if problem:
        return Node(file, 1, "refused"), [problem]
    builder = _Builder(file)
    try:
        root = builder.build(text)
    except yaml.YAMLError as error:
        builder.problems.append(_syntax_problem(file, text, error))
        root = None
    except _Stop:
        root = None
    if root is None:
        return Node(file, 1, "refused"), builder.problems
    return root, builder.problems


def load_yaml(file: str, data: bytes) -> Node:
    """As `read_yaml`, for those who want the node or nothing. Raises Refused."""
    node, problems = read_yaml(file, data)
    if problems:
        raise Refused(problems)
    return node


class _Stop(Exception):
    """Reading cannot go on; the reason is among the builder's problems."""


def _decode(file: str, data: bytes) -> tuple[str, Problem | None]:
    if len(data) > MAX_BYTES:
        return "", Problem(file, None, "the file", "at most 1 MB", f"{len(data)} bytes")
    try:
        return data.decode("utf-8-sig"), None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        found = f"the byte 0x{data[error.start]:02x} at position {error.start}"
        return "", Problem(file, line, "the file", "text in UTF-8", found)


def _syntax_problem(file: str, text: str, error: yaml.YAMLError) -> Problem:
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else None
        source = text.splitlines()[mark.line] if mark and mark.line < len(text.splitlines()) else ""
        if source.lstrip(" ").startswith("\t") or "'\\t'" in (error.problem or ""):
            return Problem(file, line, "the syntax", "spaces for indentation", "a tab")
        return Problem(file, line, "the syntax", "valid YAML", " ".join(filter(None, [error.context, error.problem])))
    if isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, error.position) + 1
        return Problem(file, line, "the file", "printable text", f"the character U+{_code(error.character):04X}")
    return Problem(file, None, "the syntax", "valid YAML", str(error))


def _line(event: yaml.Event) -> int:
    """Events of the parser always carry marks; only hand-made ones have none."""
    return event.start_mark.line + 1 if event.start_mark else 1


def _code(character: object) -> int:
    return character if isinstance(character, int) else ord(str(character)[:1] or "\0")


class _Builder:
    """Builds nodes from PyYAML's events, which carry marks and know nothing of types."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []

    def build(self, text: str) -> Node:
        self.events: Iterator[yaml.Event] = yaml.parse(text, Loader=yaml.SafeLoader)
        root: Node | None = None
        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    self.report(event, "the file", "one YAML document", "a second one")
                    raise _Stop
                root = self.value(next(self.events), "", 1)
        return root or Node(self.file, 1, "nothing")

    def report(self, event: yaml.Event, where: str, expected: str, found: str, suggestion: str | None = None) -> None:
        self.problems.append(Problem(self.file, _line(event), where or "the file", expected, found, suggestion))

    def value(self, event: yaml.Event, where: str, depth: int) -> Node:
        line = _line(event)
        if depth > MAX_DEPTH:
            self.report(event, "the nesting", f"at most {MAX_DEPTH} levels", "more")
            raise _Stop
        if isinstance(event, yaml.AliasEvent):
            self.report(event, where, "the value itself, or text in quotes", f"the alias *{event.anchor}")
            return Node(self.file, line, "refused")
        if isinstance(event, yaml.NodeEvent) and event.anchor:
            self.report(event, where, "the value itself (no anchors)", f"the anchor &{event.anchor}")
        tag = getattr(event, "tag", None)
        if tag:
            self.report(event, where, "a plain value (no tags)", f"the tag {str(tag)[:60]}")
        if isinstance(event, yaml.MappingStartEvent):
            return self.mapping(line, where, depth)
        if isinstance(event, yaml.SequenceStartEvent):
            items: list[Node] = []
            while not isinstance(item := next(self.events), yaml.SequenceEndEvent):
                items.append(self.value(item, f"{where}[{len(items)}]", depth + 1))
            return Node(self.file, line, "sequence", items=tuple(items))
        assert isinstance(event, yaml.ScalarEvent)
        return Node(self.file, line, "refused") if tag else self.scalar(event, where)

    def mapping(self, line: int, where: str, depth: int) -> Node:
        entries: dict[str, Entry] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            key_node = self.value(event, where, depth + 1)
            key = key_node.text
            place = f"{where}.{key}" if where else key
            if key_node.kind in ("mapping", "sequence") or (key_node.kind == "nothing" and key != "null"):
                self.report(event, where, "text as a key", key_node.shown)
            elif key_node.kind in ("boolean", "integer", "number"):
                self.report(event, place, "a key in quotes", key_node.shown, f'"{key}"')
            node = self.value(next(self.events), place, depth + 1)
            if key == "<<" and key_node.kind == "text":
                self.report(event, where, "every key written out", "the merge key <<")
            elif key in entries and key_node.kind != "refused":
                self.report(event, place, "each key once", f"'{key}' again (first on line {entries[key].line})")
            else:
                entries[key] = Entry(_line(event), node)
        return Node(self.file, line, "mapping", entries=entries)

    def scalar(self, event: yaml.ScalarEvent, where: str) -> Node:
        text, line = event.value, _line(event)
        if bad := _UNPRINTABLE.search(text):
            self.report(event, where, "printable text", f"the character U+{ord(bad[0]):04X}")
            return Node(self.file, line, "refused")
        if event.style is not None:
            return Node(self.file, line, "text", text)
        if text in ("true", "false"):
            return Node(self.file, line, "boolean", text)
        if text in _NOTHING:
            return Node(self.file, line, "nothing", text)
        if _INTEGER.match(text):
            return Node(self.file, line, "integer", text)
        if _NUMBER.match(text):
            return Node(self.file, line, "number", text)
        guess = _guess(text)
        if guess is None:
            return Node(self.file, line, "text", text)
        hint = text.lower() if text.lower() in ("true", "false") else f'"{text}"'
        self.report(event, where, "quotes around it", f"the unquoted {text}, which YAML reads as {guess}", hint)
        # The text is kept so that a refused key does not swallow its neighbours.
        return Node(self.file, line, "refused", text)


def _guess(text: str) -> str | None:
    """What a YAML 1.1 reader would make of an unquoted word that looks like text to a person, if anything."""
    if _BOOLEAN_WORDS.match(text):
        return "true or false"
    if _BASE_SIXTY.match(text):
        return "a number to base 60"
    if _DATE.match(text):
        return "a date"
    if _OTHER_NUMBERS.match(text) and any(c.isdigit() or c in "nN" for c in text):
        return "a number"
    return None
