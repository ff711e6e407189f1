"""The shape of a declaration, found by asking its own reader.

A `Probe` is a `Section` that has every key and writes down how it is asked for: as text, as one of some words, as a
list of mappings. The strict reader runs on it as it runs on a file, so what comes out is what the reader takes: a key
that is added there is in the shape at once. Where an answer decides what is asked next (`kind: cursor` wants `next`),
the reader runs again with each other answer, and what it wants then is noted under that answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from canonical.declarations.shapes import NAME, SECRET_KINDS, Named, Notes, RawShape, Section, T
from canonical.declarations.yaml import Node
from canonical.landscape import Limit

Schema = dict[str, Any]
ANY_NAME = "x"
"""What a probe calls whatever a person may name: a system, a field, a stream."""
TEXT: Schema = {"type": "string"}
SECRET: Schema = {"$ref": "#/definitions/secret"}
DEFINITIONS: Schema = {
    "secret": {
        "description": "Where a secret is kept: an environment variable, a file or a Prefect Secret block.",
        "type": "object",
        "properties": {kind: {"type": "string", "minLength": 1} for kind in SECRET_KINDS},
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
    },
    "limit": {
        "description": 'A threshold: a count, a share, or the greater of both: "max(5, 2%)".',
        "anyOf": [
            {"type": "integer", "minimum": 1},
            {"type": "string", "pattern": r"^(?!0+$)[0-9]+$"},
            {"type": "string", "pattern": r"^(?!0+(\.0+)?\s*%$)0*(100(\.0+)?|[0-9]{1,2}(\.[0-9]+)?)\s*%$"},
            {
                "type": "string",
                "pattern": r"^(?!max\(\s*0+\s*,\s*0+(\.0+)?\s*%\s*\)$)"
                r"max\(\s*[0-9]+\s*,\s*0*(100(\.0+)?|[0-9]{1,2}(\.[0-9]+)?)\s*%\s*\)$",
            },
        ],
    },
    "share": {
        "description": 'A percentage in quotes: "99.9%".',
        "type": "string",
        "pattern": r"^(?!0+(\.0+)?\s*%$)0*(100(\.0+)?|[0-9]{1,2}(\.[0-9]+)?)\s*%$",
    },
    "duration": {"description": "45s, 20m, 24h, 7d", "type": "string", "pattern": "^[0-9]+(s|m|h|d)$"},
    "duration_above_zero": {
        "description": "45s, 20m, 24h, 7d",
        "type": "string",
        "pattern": "^0*[1-9][0-9]*(s|m|h|d)$",
    },
}
_RAW: Mapping[RawShape, Schema] = {
    "any": {},
    "secret": SECRET,
    "secret or text": {"anyOf": [SECRET, TEXT]},
    "list": {"type": "array"},
    "bound": {"type": ["number", "string"]},
}


@dataclass
class Shape:
    """What was asked of one mapping."""

    parts: dict[str, list[Schema | Shape]] = field(default_factory=dict)
    """Key → what its value may be; several: any of them."""
    lists: dict[str, Shape] = field(default_factory=dict)
    """Key → the shape of the mappings in its list."""
    named: tuple[str, Shape] | None = None
    """(pattern of the names, the shape below each), of a mapping whose keys people choose."""
    is_closed: bool = False
    choices: dict[str, tuple[str, ...]] = field(default_factory=dict)
    wanted: list[tuple[dict[str, str], frozenset[str]]] = field(default_factory=list)
    """Of each run: (the answers given here, the keys it would not do without)."""

    def note(self, key: str, part: Schema | Shape) -> None:
        parts = self.parts.setdefault(key, [])
        if part not in parts:
            parts.append(part)

    def below(self, key: str) -> Shape:
        """The shape of the mapping at a key."""
        found = next((part for part in self.parts.get(key, ()) if isinstance(part, Shape)), None)
        if found is None:
            found = Shape()
            self.parts.setdefault(key, []).append(found)
        return found


class Probe(Section):
    """A section that has everything and notes how it is asked for. `answers`: place → what to say there."""

    def __init__(self, shape: Shape, answers: Mapping[str, str], where: str = "") -> None:
        super().__init__(Notes(), Node("", None, "mapping"), where)
        self.shape = shape
        self.answers = answers
        self._given: dict[str, str] = {}
        self._wanted: set[str] = set()

    def _ask(self, key: str, part: Schema | Shape, *, required: bool = False) -> None:
        self.shape.note(key, part)
        if required:
            self._wanted.add(key)

    def has(self, key: str) -> bool:
        return True

    def wrong(self, key: str, expected: str, found: str | None = None, suggestion: str | None = None) -> None:
        """A probe's answers are made up: what is wrong with them does not matter."""

    def get(
        self, key: str, *, required: bool = False, expected: str = "a value", shape: RawShape = "any"
    ) -> Node | None:
        self._ask(key, _RAW[shape], required=required)
        return Node("", None, "text", ANY_NAME)

    def done(self) -> None:
        self.shape.is_closed = True
        self.shape.wanted.append((dict(self._given), frozenset(self._wanted)))

    def text(self, key: str, *, required: bool = False, pattern: re.Pattern[str] | None = None) -> str | None:
        self._ask(key, TEXT if pattern is None else {"type": "string", "pattern": ecma(pattern)}, required=required)
        return self.answers.get(self.at(key), self.answers.get(key, ANY_NAME))

    def mention(self, kind: Literal["role", "system", "entity"], key: str, *, required: bool = False) -> str | None:
        return self.text(key, required=required)

    def choice(self, key: str, options: Sequence[T], default: T, *, is_optional: bool = True) -> T:
        is_told = is_optional and default in options
        self._ask(key, {"enum": list(options), **({"default": default} if is_told else {})})
        self.shape.choices[key] = tuple(options)
        said = self.answers.get(self.at(key))
        answer = next((option for option in options if option == said), default)
        self._given[key] = answer
        return answer

    def boolean(self, key: str, default: bool = False) -> bool:
        self._ask(key, {"type": "boolean", "default": default})
        return default

    def integer(self, key: str, default: int, *, low: int = 0, high: int = 10**9) -> int:
        self._ask(key, {"type": "integer", "minimum": low, "maximum": high})
        return default

    def number(self, key: str, default: float, *, low: float = 0.0, high: float = 1e9) -> float:
        self._ask(key, {"type": "number", "minimum": low, "maximum": high})
        return default

    def duration(self, key: str, *, zero: bool = False) -> int | None:
        self._ask(key, {"$ref": f"#/definitions/duration{'' if zero else '_above_zero'}"})
        return None

    def share(self, key: str, *, zero: bool = False) -> float | None:
        self._ask(key, {"$ref": "#/definitions/share"})
        return None

    def limit(self, key: str, default: Limit) -> Limit:
        self._ask(key, {"$ref": "#/definitions/limit"})
        return default

    def text_items(
        self, key: str, *, single: bool = False, pattern: re.Pattern[str] | None = None
    ) -> list[tuple[str, Node]]:
        item = TEXT if pattern is None else {"type": "string", "pattern": ecma(pattern)}
        many = {"type": "array", "items": item, "uniqueItems": True}
        self._ask(key, {"anyOf": [item, many]} if single else many)
        return []

    def section(self, key: str, *, required: bool = False) -> Section | None:
        if key in self.where.split("."):
            return None  # lines have no lines of their own
        below = self.shape.below(key)
        if required:
            self._wanted.add(key)
        return Probe(below, self.answers, self.at(key))

    def each(self, pattern: re.Pattern[str] = NAME) -> Iterator[Named]:
        if self.shape.named is None:
            self.shape.named = (ecma(pattern), Shape())
        yield Named(ANY_NAME, Probe(self.shape.named[1], self.answers, self.at(ANY_NAME)))

    def list_of(self, key: str, *, required: bool = False) -> list[Section]:
        items = self.shape.lists.setdefault(key, Shape())
        self._ask(key, {"type": "array"}, required=required)
        return [Probe(items, self.answers, self.at(key))]

    def text_map(self, key: str) -> dict[str, str]:
        self._ask(key, {"type": "object", "additionalProperties": TEXT})
        return {}

    def value(self, key: str) -> Any:
        self._ask(key, {})
        return None


def ecma(pattern: re.Pattern[str]) -> str:
    """A pattern that is matched from the start, as JSON Schema searches with it."""
    return "^" + pattern.pattern.removesuffix(r"\Z") + ("$" if pattern.pattern.endswith(r"\Z") else "")


def shape_of(read: Callable[[Probe], object], answers: Mapping[str, str] | None = None) -> Shape:
    """The shape that a reader asks for. `answers`: what to say at places where the probe's own word leads nowhere."""
    shape, said = Shape(), dict(answers or {})
    read(Probe(shape, said))
    for place, options in list(_choices(shape)):
        for option in options:
            read(Probe(shape, {**said, place: option}))
    return shape


def _choices(shape: Shape, where: str = "") -> Iterator[tuple[str, tuple[str, ...]]]:
    """Every place where one of some words is asked for."""

    def at(key: str) -> str:
        return f"{where}.{key}" if where else key

    for key, options in shape.choices.items():
        yield at(key), options
    for key, parts in shape.parts.items():
        for part in parts:
            if isinstance(part, Shape):
                yield from _choices(part, at(key))
    for key, items in shape.lists.items():
        yield from _choices(items, at(key))
    if shape.named is not None:
        yield from _choices(shape.named[1], at(ANY_NAME))


# ---- a shape as JSON Schema


def schema_of(shape: Shape) -> Schema:
    """The JSON Schema (draft 7) of a mapping of this shape."""
    made: Schema = {"type": "object"}
    properties = {key: _any_of(shape, key, parts) for key, parts in shape.parts.items()}
    if properties:
        made["properties"] = properties
    if shape.named is not None:
        pattern, below = shape.named
        # A name alone (`prices:`) declares something with nothing further said.
        made["patternProperties"] = {pattern: {**schema_of(below), "type": ["object", "null"]}}
    if shape.is_closed or shape.named is not None:
        made["additionalProperties"] = False
    always = frozenset.intersection(*(wanted for _, wanted in shape.wanted)) if shape.wanted else frozenset()
    if always:
        made["required"] = sorted(always)
    if conditions := list(_conditions(shape, always)):
        made["allOf"] = conditions
    return made


def _any_of(shape: Shape, key: str, parts: Sequence[Schema | Shape]) -> Schema:
    schemas = [schema_of(part) if isinstance(part, Shape) else dict(part) for part in parts]
    if key in shape.lists:
        schemas = [{"type": "array", "items": schema_of(shape.lists[key])}]
    if {} in schemas:
        return {}
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


def _conditions(shape: Shape, always: frozenset[str]) -> Iterator[Schema]:
    """What is wanted besides where a certain word is said."""
    for key, options in shape.choices.items():
        for option in options:
            said = [wanted for given, wanted in shape.wanted if given.get(key) == option]
            more = (frozenset.intersection(*said) if said else frozenset()) - always
            if more:
                test = {"properties": {key: {"const": option}}, "required": [key]}
                yield {"if": test, "then": {"required": sorted(more)}}
