"""Typed decoders for a few named places of a JSON text, made from dotted paths: the rest is skipped, not parsed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

import msgspec

Getter = Callable[[Any], Any]


@dataclass
class _Node:
    attribute: str
    kind: Any = None
    is_required: bool = False
    children: dict[str, _Node] = field(default_factory=dict)


class Places:
    """Collects places, then makes the msgspec type that reads exactly them.

    is_lenient: containers on the way may be null or absent (an envelope); otherwise null on the way is a type error,
    which sends a record to the careful way.
    """

    def __init__(self, *, is_lenient: bool) -> None:
        self._is_lenient = is_lenient
        self._root = _Node("root")
        self._count = 0

    def add(self, path: Sequence[str], kind: Any, *, is_required: bool = False) -> Getter:
        """A place and what may stand there; returns how to read it from a decoded value.

        ValueError where another place lies inside of this one, or around it.
        """
        node, attributes = self._root, []
        for step in path:
            if node.kind is not None:
                raise ValueError(f"{'.'.join(path)} lies inside of another place")
            if step not in node.children:
                self._count += 1
                node.children[step] = _Node(f"f{self._count}")
            node = node.children[step]
            node.is_required |= is_required
            attributes.append(node.attribute)
        if node.children:
            raise ValueError(f"{'.'.join(path)} lies around another place")
        if node.kind is None or is_required:
            node.kind = kind
        return self._lenient(attributes) if self._is_lenient else attrgetter(".".join(attributes))

    def struct(self) -> type[Any]:
        """The struct type of all places added."""
        return self._struct(self._root)

    @staticmethod
    def _lenient(attributes: Sequence[str]) -> Getter:
        def get(value: Any) -> Any:
            for attribute in attributes:
                if value is None:
                    return None
                value = getattr(value, attribute)
            return value

        return get

    def _struct(self, node: _Node) -> type[Any]:
        fields: list[Any] = []
        for child in node.children.values():
            kind = child.kind if not child.children else self._struct(child)
            if child.is_required:
                fields.append((child.attribute, kind))
            elif child.children and not self._is_lenient:
                fields.append((child.attribute, kind, msgspec.field(default_factory=kind)))
            else:
                fields.append((child.attribute, kind | None if child.children else kind, None))
        names = {child.attribute: name for name, child in node.children.items()}
        return msgspec.defstruct("Place", fields, rename=names, kw_only=True, gc=False)
