"""The usual shape of a batch of JSON records, learned from a sample and compiled to typed msgspec structs.

A struct that knows every key of a record makes strictness cheap. Each required key was seen at least once, each
optional one is UNSET or was seen, an unknown one is an error: so the struct tells how many *different* keys a record
has. If the text of the record shows as many keys (`":`), none stands twice. Nothing is parsed a second time for that.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Union

import msgspec

MAX_KEYS = 2_000
"""Records with more keys than this are all read by the strict reader: a struct of that size does not pay."""
MAX_NESTING = 24
"""Objects nested deeper than this are kept raw."""
_UNNAMEABLE = re.compile(r'[\\"\x00-\x1f]')
"""What msgspec does not take in the name of a struct's field."""


@dataclass(slots=True)
class Node:
    """One key of a record: what was seen there, and the keys below it."""

    below: dict[str, Node] = field(default_factory=dict)
    seen: int = 0
    objects: int = 0
    nulls: int = 0
    other: int = 0
    lists: int = 0
    whole: bool = False
    """The value is wanted as a whole (or from a list inside it on): it is kept as raw JSON."""

    @property
    def is_struct(self) -> bool:
        return bool(self.below) and not (self.whole or self.other or self.lists)

    @property
    def is_raw(self) -> bool:
        return not self.is_struct and (self.whole or bool(self.lists or self.objects))


@dataclass(frozen=True, slots=True)
class Key:
    """A key as compiled: the struct attribute that holds it, and what it holds."""

    name: str
    attribute: str
    is_required: bool
    struct: Shape | None
    is_raw: bool


@dataclass(frozen=True, slots=True)
class Shape:
    """A compiled object: its struct type and its keys by name."""

    type: Any
    keys: dict[str, Key]
    is_nullable: bool

    @property
    def required(self) -> int:
        return sum(1 for key in self.keys.values() if key.is_required)


def learn(sample: Iterable[Any], wanted: Sequence[tuple[tuple[str, ...], bool]]) -> Shape | None:
    """Compile the shape of the sample's records (decoded, untyped).

    `wanted` are paths of names, each with whether its value is wanted whole. None: no shape is worth compiling.
    """
    if any(_UNNAMEABLE.search(name) for names, _ in wanted for name in names):
        return None
    root = Node(seen=0, objects=1)
    for record in sample:
        if isinstance(record, dict):
            root.seen += 1
            _observe(root, record, 0)
    if not root.seen:
        return None
    for names, is_whole in wanted:
        _want(root, names, is_whole)
    if _size(root) > MAX_KEYS:
        return None
    return _compile(root, root.seen)


def _observe(node: Node, record: dict[str, Any], depth: int) -> None:
    for name, value in record.items():
        if _UNNAMEABLE.search(name):
            continue  # to the struct it is unknown, so its record goes the strict way
        child = node.below.get(name)
        if child is None:
            child = node.below[name] = Node()
        child.seen += 1
        if value is None:
            child.nulls += 1
        elif isinstance(value, dict):
            child.objects += 1
            if depth < MAX_NESTING:
                _observe(child, value, depth + 1)
            else:
                child.whole = True
        elif isinstance(value, list):
            child.lists += 1
        else:
            child.other += 1


def _want(root: Node, names: tuple[str, ...], is_whole: bool) -> None:
    node = root
    for name in names:
        if node is not root and (node.whole or node.other or node.lists):
            return
        if name not in node.below:
            node.below[name] = Node()
        node = node.below[name]
    if is_whole or node.objects or node.lists:
        node.whole = True


def _size(node: Node) -> int:
    return len(node.below) + sum(_size(child) for child in node.below.values())


def _compile(node: Node, times: int) -> Shape:
    keys: dict[str, Key] = {}
    fields: list[Any] = []
    for position, (name, child) in enumerate(node.below.items()):
        is_required = child.seen == times
        struct = _compile(child, child.objects) if child.is_struct else None
        key = Key(name, f"f{position}", is_required, struct, child.is_raw)
        keys[name] = key
        kind: Any = struct.type if struct else msgspec.Raw if child.is_raw else Any
        if struct:
            kind = Union[kind, None]  # noqa: UP007  (the struct type is a value here)
        if is_required:
            fields.append((key.attribute, kind))
        else:
            fields.append((key.attribute, Union[kind, msgspec.UnsetType] if kind is not Any else Any, msgspec.UNSET))  # noqa: UP007
    fields.sort(key=len)
    rename = {key.attribute: name for name, key in keys.items()}
    made = msgspec.defstruct("Record", fields, rename=rename, forbid_unknown_fields=True, gc=False)
    return Shape(made, keys, is_nullable=True)
