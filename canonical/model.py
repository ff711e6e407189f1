"""The canonical model as values: entities, their fields, who is right about each, and how records are matched.

A field is flattened into *leaves*, the columns that tables and frames carry. `address` has the leaves
`address.line1 … address.country`; `money` has its amount and, unless its currency stands elsewhere, `….currency`;
`list` has one leaf that holds the canonical JSON of its lines. Frames carry every leaf as text in its canonical form:

    text, email, url   as it is (email lower case)         integer   "42"
    phone              E.164                               decimal   plain, no exponent, no trailing zeros: "12.5"
    money              exactly its currency's decimals     boolean   "true" | "false"
    date               YYYY-MM-DD                          datetime  YYYY-MM-DDTHH:MM:SS.ffffffZ (UTC)
    country            ISO 3166 alpha-2                    currency  ISO 4217
    choice             one of its values                   lines     compact JSON, keys sorted, lines sorted by line key
    reference          a token until resolve (see `Token`), then the canonical id
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

FieldType = Literal[
    "text", "email", "phone", "url", "integer", "decimal", "money", "currency", "date", "datetime",
    "boolean", "choice", "country", "address", "reference", "list",
]  # fmt: skip
LeafKind = Literal[
    "text", "email", "phone", "url", "integer", "decimal", "money", "currency", "date", "datetime",
    "boolean", "choice", "country", "reference", "lines",
]  # fmt: skip
ADDRESS_PARTS = ("line1", "line2", "city", "region", "postcode", "country")
"""The parts of the `address` group, in the order in which an address block shows them."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """One column of an entity."""

    path: str
    """As the mapping sheet names it below the entity: `address.postcode`."""
    column: str
    """As tables and frames name it: `address_postcode`."""
    field: str
    kind: LeafKind


@dataclass(frozen=True, slots=True)
class Field:
    """One attribute the business agrees on. `record` is the system that is right; `owner` the role that answers."""

    name: str
    type: FieldType
    record: str
    owner: str
    origin: str
    means: str = ""
    required: bool = False
    values: tuple[str, ...] = ()
    region: str | None = None
    """For phone: the region whose national form is understood (ISO 3166 alpha-2)."""
    currency: str | None = None
    """For money: a fixed ISO 4217 code, or `field:NAME` when the currency stands in another field of the entity."""
    scale: int | None = None
    """For decimal: most digits after the point (unit prices: 6). For money: overrides the currency's own number."""
    entity: str | None = None
    """For reference: the entity it points to."""
    of: tuple[Field, ...] = ()
    """For list: the fields of one line."""
    key: str | None = None
    """For list: the line field that identifies a line within its parent."""
    on_bad: Literal["record", "field"] = "record"
    """What a value that fails its rule costs: the record is quarantined, or only the field has no opinion."""
    null: Literal["empty", "keep"] = "empty"
    blank: Literal["empty", "keep"] = "empty"
    """What a source's null and "" mean: the value is empty, or no opinion. Absent is always no opinion."""
    until_recorded: tuple[str, ...] = ()
    """Systems whose value stands in, in this order, while the system of record has no opinion (provisional)."""
    sentinels: tuple[str, ...] = ()
    """Source values that mean empty (`0000-00-00`, `9999-12-31`)."""
    minimum: str | None = None
    maximum: str | None = None
    was: str | None = None
    """The field's former name, for a rename."""

    @property
    def leaves(self) -> tuple[Leaf, ...]:
        if self.type == "address":
            return tuple(
                Leaf(f"{self.name}.{p}", f"{self.name}_{p}", self.name, "country" if p == "country" else "text")
                for p in ADDRESS_PARTS
            )
        if self.type == "money":
            amount = Leaf(self.name, self.name, self.name, "money")
            if self.currency:
                return (amount,)
            return (amount, Leaf(f"{self.name}.currency", f"{self.name}_currency", self.name, "currency"))
        if self.type == "list":
            return (Leaf(self.name, self.name, self.name, "lines"),)
        return (Leaf(self.name, self.name, self.name, self.type),)


@dataclass(frozen=True, slots=True)
class MatchRules:
    """How two records are judged to be one thing (DESIGN 3). Names are leaf columns."""

    unique: tuple[str, ...] = ()
    strong: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    different_if: tuple[str, ...] = ()
    alike: tuple[str, ...] = ()
    link_above: float = 0.99
    ask_above: float = 0.80

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that matching looks at, without repeats."""
        return tuple(dict.fromkeys((*self.unique, *self.strong, *self.shared, *self.different_if, *self.alike)))


@dataclass(frozen=True)
class Entity:
    """A thing the business agrees on."""

    name: str
    means: str
    owner: str
    record: str
    origin: str
    fields: tuple[Field, ...]
    until_recorded: tuple[str, ...] = ()
    match: MatchRules = field(default_factory=MatchRules)
    source: str = ""
    """The file that declares it, for messages."""

    @cached_property
    def by_name(self) -> dict[str, Field]:
        return {f.name: f for f in self.fields}

    @cached_property
    def leaves(self) -> tuple[Leaf, ...]:
        return tuple(leaf for f in self.fields for leaf in f.leaves)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        return tuple(leaf.column for leaf in self.leaves)

    @cached_property
    def by_path(self) -> dict[str, Leaf]:
        return {leaf.path: leaf for leaf in self.leaves}

    @cached_property
    def by_column(self) -> dict[str, Leaf]:
        return {leaf.column: leaf for leaf in self.leaves}

    @cached_property
    def references(self) -> dict[str, str]:
        """Leaf column → entity, for the entity's own references (not those inside lines)."""
        return {f.name: f.entity for f in self.fields if f.type == "reference" and f.entity}

    @cached_property
    def line_columns(self) -> dict[str, tuple[str, ...]]:
        """List field → the leaf columns of one line."""
        return {
            f.name: tuple(leaf.column for of in f.of for leaf in of.leaves) for f in self.fields if f.type == "list"
        }

    @cached_property
    def line_references(self) -> dict[str, dict[str, str]]:
        """List field → {line field → entity}."""
        return {
            f.name: {of.name: of.entity for of in f.of if of.type == "reference" and of.entity}
            for f in self.fields
            if f.type == "list"
        }


@dataclass(frozen=True)
class Model:
    """All entities, in reference order: what an entity points to stands before it (cycles are broken by name)."""

    entities: tuple[Entity, ...]

    @cached_property
    def by_name(self) -> dict[str, Entity]:
        return {e.name: e for e in self.entities}

    def __getitem__(self, name: str) -> Entity:
        return self.by_name[name]


# A reference token stands in a reference leaf between mapping and resolve. It is the compact JSON text of either
#   ["link", system, stream, source_id]   the record of that system and stream
#   ["value", column, value]              the record whose unique column has that canonical value
Token = str
