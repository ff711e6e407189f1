"""Entities as declared: `model/*.yaml`, each by itself or extending one of the packaged standard entities.

extends: standard/customer      # fields, match rules and meaning are taken over
record: crm                     # what the standard leaves to the business
owner: head-of-sales
without: [legal_name]           # standard fields that this business does not use
fields:
  payment_terms: {record: accounting, owner: finance-lead}    # adds to the standard field
  segment: {type: choice, values: [retail, trade]}            # a field of its own
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib.resources import files
from typing import Literal, get_args

from canonical.declarations.shapes import Notes, Section, nearest, one_of
from canonical.declarations.yaml import Entry, Node, load_yaml
from canonical.model import Entity, Field, FieldType, MatchRules, Model

STANDARD = "standard/"
FIELD_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,46}\Z")
"""Leaves add a suffix (`_postcode`), and a PostgreSQL identifier has at most 63 bytes."""
RESERVED = frozenset({
    "id", "key", "system", "stream", "source_id", "canonical_id", "version", "provisional", "absent", "deleted",
    "changed_at", "problems", "state", "batch_id", "raw_hash", "value_hash", "native_hash", "declared_hash",
})  # fmt: skip
"""Columns of our own tables and frames, which a field would shadow."""
_TYPES: tuple[FieldType, ...] = get_args(FieldType)
_ONLY_FOR: Mapping[str, tuple[FieldType, ...]] = {
    "values": ("choice",),
    "region": ("phone",),
    "currency": ("money",),
    "scale": ("decimal", "money"),
    "entity": ("reference",),
    "of": ("list",),
    "key": ("list",),
    "min": ("integer", "decimal", "money", "date", "datetime"),
    "max": ("integer", "decimal", "money", "date", "datetime"),
}
_CURRENCY = re.compile(r"(?:[A-Z]{3}|field:[A-Za-z][A-Za-z0-9_]{0,46})\Z")
_REGION = re.compile(r"[A-Z]{2}\Z")


@dataclass(frozen=True, slots=True)
class Inherited:
    """What a field takes from its entity (or a line field from its list)."""

    record: str
    owner: str
    origin: str


@dataclass(slots=True)
class DeclaredModel:
    """The entities of a landscape while it is being read, with the nodes that later checks point at."""

    entities: dict[str, Entity] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)
    """Entity → its file's root; `entity.field` → that field."""


def standard_names() -> tuple[str, ...]:
    """The standard entities that can be extended."""
    return tuple(sorted(f.name[:-5] for f in files("canonical.standard").iterdir() if f.name.endswith(".yaml")))


@cache
def standard_node(name: str) -> Node:
    """The packaged declaration `standard/NAME`."""
    return load_yaml(f"{STANDARD}{name}.yaml", files("canonical.standard").joinpath(f"{name}.yaml").read_bytes())


def read_entity(notes: Notes, node: Node, system_owners: Mapping[str, str], model: DeclaredModel) -> None:
    """Add the entity that a file declares to `model`. `system_owners` (system → owner role) gives the owner that
    nobody names."""
    entity, fields = read_declared(Section(notes, _extended(notes, node)), system_owners, model, node.file)
    name = entity.name
    if name and name in model.entities:
        other = model.entities[name].source
        notes.report(node, "entity", "each entity in one file", f"'{name}' again (also in {other})")
    elif name:
        model.entities[name] = entity
        model.nodes[name] = fields


def read_declared(
    top: Section, system_owners: Mapping[str, str], model: DeclaredModel, file: str
) -> tuple[Entity, Node]:
    """(the entity that a section declares, all it extends included, the section's node); its fields' nodes go to
    `model`."""
    name = top.text("entity", required=True, pattern=FIELD_NAME)
    record = top.mention("system", "record") if _is_one_system(top, "record") else None
    owner = top.mention("role", "owner") or system_owners.get(record or "", "")
    origin = top.mention("system", "origin") or record or ""
    until = _systems_in(top, "until_recorded")
    inherited = Inherited(record or "", owner, origin)
    means = top.text("means") or ""
    fields: list[Field] = []
    for field_name, section in top.sections("fields", pattern=FIELD_NAME, required=True):
        fields.append(_read_field(field_name, section, inherited))
        model.nodes[f"{name}.{field_name}"] = section.node
        _check_name(field_name, section)
    entity = Entity(
        name=name or "",
        means=means,
        owner=owner,
        record=record or "",
        origin=origin,
        fields=tuple(fields),
        until_recorded=until,
        source=file,
    )
    entity = _with_match(top, entity)
    top.done()
    _check_entity(top, entity, {item.name: model.nodes[f"{name}.{item.name}"] for item in fields})
    return entity, top.node


def in_reference_order(entities: Mapping[str, Entity]) -> Model:
    """What an entity points to stands before it; where they point in a circle, the alphabet breaks it."""
    graph = {
        name: {target for target in entity.references.values() if target != name and target in entities}
        for name, entity in sorted(entities.items())
    }
    while True:
        try:
            return Model(tuple(entities[name] for name in TopologicalSorter(graph).static_order()))
        except CycleError as error:
            circle: list[str] = error.args[1]
            first = min(circle[:-1])
            graph[first] -= set(circle)


# ---- extending a standard entity


def _extended(notes: Notes, node: Node) -> Node:
    """The node with what it extends merged below it; `extends` and `without` are used up."""
    if node.kind != "mapping":
        return node
    entries = dict(node.entries)
    if "extends" not in entries:
        without = entries.pop("without", None)
        if without is not None:
            notes.report(without.node, "without", "extends: standard/… beside it", "nothing to leave out of")
        return node if without is None else _mapping(node, entries)
    extends, left_out = read_extending(Section(notes, node))
    if not extends:
        return Node(node.file, node.line, "refused")
    entries = {key: entry for key, entry in entries.items() if key not in ("extends", "without")}
    base = standard_node(extends.removeprefix(STANDARD))
    fields = dict(base.entries["fields"].node.entries)
    for item in _without(notes, left_out, fields):
        del fields[item]
    own = entries.get("fields")
    if own is not None and own.node.kind == "mapping":
        for key, entry in own.node.entries.items():
            fields[key] = _merged(fields[key], entry) if key in fields else entry
    merged = {**base.entries, **entries}
    if own is None or own.node.kind in ("mapping", "nothing"):
        merged["fields"] = Entry(node.line, Node(node.file, node.line, "mapping", entries=fields))
    if "match" in entries and "match" in base.entries:
        merged["match"] = _merged(base.entries["match"], entries["match"])
    return _mapping(node, merged)


def read_extending(section: Section) -> tuple[str, list[tuple[str, Node]]]:
    """(what a file extends, empty if that is no standard entity; the standard fields it does not use)."""
    known = [STANDARD + name for name in standard_names()]
    return section.choice("extends", known, ""), section.text_items("without")


def _mapping(node: Node, entries: Mapping[str, Entry]) -> Node:
    return Node(node.file, node.line, "mapping", entries=entries)


def _merged(base: Entry, own: Entry) -> Entry:
    """A field's own keys over the standard's; a field that says its type is new altogether."""
    if own.node.kind != "mapping" or base.node.kind != "mapping" or "type" in own.node.entries:
        return own
    return Entry(own.line, _mapping(own.node, {**base.node.entries, **own.node.entries}))


def _without(notes: Notes, left_out: Sequence[tuple[str, Node]], fields: Mapping[str, Entry]) -> list[str]:
    for index, (name, node) in enumerate(left_out):
        if name not in fields:
            notes.report(node, f"without[{index}]", one_of(fields), node.shown, nearest(name, fields))
    return [name for name, _ in left_out if name in fields]


# ---- one field


def _read_field(name: str, section: Section, inherited: Inherited, *, in_line: bool = False) -> Field:
    types = tuple(t for t in _TYPES if not in_line or t not in ("list", "address"))
    kind = section.choice("type", types, "text", is_optional=False)
    if not section.has("type"):
        section.wrong("type", one_of(types, 20), "nothing")
    record = section.mention("system", "record") if _is_one_system(section, "record") else None
    owner = section.mention("role", "owner")
    origin = section.mention("system", "origin")
    own = Inherited(record or inherited.record, owner or inherited.owner, origin or (record or inherited.origin))
    keeps: tuple[Literal["empty", "keep"], ...] = ("empty", "keep")
    bads: tuple[Literal["record", "field"], ...] = ("record", "field")
    currency = section.text("currency")
    lines = section.section("of", required=kind == "list")
    until = _systems_in(section, "until_recorded")
    found = Field(
        name=name,
        type=kind,
        record=own.record,
        owner=own.owner,
        origin=own.origin,
        means=section.text("means") or "",
        required=section.boolean("required"),
        values=section.texts("values"),
        region=section.text("region", pattern=_REGION),
        currency=currency,
        scale=section.integer("scale", 0, low=0, high=12) if section.has("scale") else None,
        entity=section.text("entity", required=kind == "reference"),
        of=() if lines is None else tuple(_read_field(n, s, own, in_line=True) for n, s in lines.each(FIELD_NAME)),
        key=section.text("key", required=kind == "list"),
        on_bad=section.choice("on_bad", bads, "record"),
        null=section.choice("null", keeps, "empty"),
        blank=section.choice("blank", keeps, "empty"),
        until_recorded=until,
        sentinels=section.texts("sentinels"),
        minimum=_bound(section, "min", kind),
        maximum=_bound(section, "max", kind),
        was=section.text("was", pattern=FIELD_NAME),
    )
    _check_field(section, found)
    section.done()
    return found


def _check_field(section: Section, found: Field) -> None:
    for key, kinds in _ONLY_FOR.items():
        if section.has(key) and found.type not in kinds:
            section.wrong(key, f"this key only for {' or '.join(kinds)}", f"it on a field of type {found.type}")
    if found.type == "choice" and not found.values:
        section.wrong("values", "the choices: a list of texts", None if section.has("values") else "nothing")
    if found.type == "list" and found.key and found.key not in (line.name for line in found.of):
        names = [line.name for line in found.of]
        section.wrong("key", one_of(names), suggestion=nearest(found.key, names))
    if found.currency and not _CURRENCY.match(found.currency):
        section.wrong("currency", "an ISO 4217 code (EUR) or field:NAME")
    low, high = found.minimum, found.maximum
    if low is not None and high is not None and (Decimal(low) > Decimal(high) if _is_number(low, high) else low > high):
        section.wrong("max", f"at least the minimum {low}", high)


def _bound(section: Section, key: str, kind: FieldType) -> str | None:
    node = section.get(key, shape="bound")
    if node is None:
        return None
    is_date = kind in ("date", "datetime")
    is_good = bool(re.match(r"\d{4}-\d{2}-\d{2}", node.text)) if is_date else _is_number(node.text)
    if node.kind not in ("text", "integer", "number") or not is_good:
        section.wrong(key, 'a date in quotes ("2024-12-31")' if is_date else "a number")
        return None
    return node.text


def _is_number(*texts: str) -> bool:
    try:
        return all(Decimal(text).is_finite() for text in texts)
    except InvalidOperation:
        return False


def _check_name(name: str, section: Section) -> None:
    if name.lower() in RESERVED:
        section.notes.report(
            section.node, section.where, "a name that no table of ours uses", f"'{name}'", f"{name}_no"
        )


def _is_one_system(section: Section, key: str) -> bool:
    """A list of systems of record is the one mistake that deserves its own words (RELIABILITY 50)."""
    entry = section.node.entries.get(key)
    if entry is not None and entry.node.kind == "sequence":
        section.get(key)
        section.wrong(key, "exactly one system of record", f"{len(entry.node.items)}")
        return False
    return True


def _systems_in(section: Section, key: str) -> tuple[str, ...]:
    """A list of systems, each of which must exist."""
    items = section.text_items(key)
    for index, (system, node) in enumerate(items):
        section.mention_of("system", system, node, f"{section.at(key)}[{index}]")
    return tuple(system for system, _ in items)


# ---- the entity as a whole


def _with_match(top: Section, entity: Entity) -> Entity:
    section = top.section("match")
    if section is None:
        return entity
    groups = {
        key: _match_columns(section, key, entity) for key in ("unique", "strong", "shared", "different_if", "alike")
    }
    rules = MatchRules(
        **groups,
        link_above=section.number("link_above", 0.99, low=0.0, high=1.0),
        ask_above=section.number("ask_above", 0.80, low=0.0, high=1.0),
    )
    if not 0 < rules.ask_above <= rules.link_above:
        section.wrong("ask_above", f"above 0 and at most link_above ({rules.link_above:g})")
    section.done()
    return Entity(
        entity.name, entity.means, entity.owner, entity.record, entity.origin, entity.fields,
        entity.until_recorded, rules, entity.source,
    )  # fmt: skip


def _match_columns(section: Section, key: str, entity: Entity) -> tuple[str, ...]:
    columns: list[str] = []
    for index, (path, node) in enumerate(section.text_items(key)):
        leaf = entity.by_path.get(path)
        if leaf is not None:
            columns.append(leaf.column)
        elif not node.file.startswith(STANDARD):  # a standard rule on a field left out is left out with it
            close = nearest(path, entity.by_path)
            section.notes.report(node, f"{section.at(key)}[{index}]", one_of(entity.by_path), node.shown, close)
    return tuple(columns)


def _check_entity(top: Section, entity: Entity, nodes: Mapping[str, Node]) -> None:
    notes = top.notes
    if not entity.owner and top.node.kind == "mapping" and not top.has("owner"):
        top.wrong("owner", "the role that answers for it (owner: ROLE)", "nothing")
    seen: dict[str, str] = {}
    for item in entity.fields:
        place = f"fields.{item.name}"
        if not item.record and not top.has("record"):
            expected = "a system of record (record: SYSTEM here or on the entity)"
            notes.report(nodes[item.name], place, expected, "none")
        for leaf in item.leaves:
            if leaf.column in seen:
                found = f"the column {leaf.column} of {seen[leaf.column]} again"
                notes.report(nodes[item.name], place, "a column of its own", found)
            seen[leaf.column] = item.name
        for part, where in [(item, place), *((line, f"{place}.of.{line.name}") for line in item.of)]:
            _check_currency(notes, nodes[item.name], where, part, item, entity)


def _check_currency(notes: Notes, node: Node, where: str, part: Field, item: Field, entity: Entity) -> None:
    """`currency: field:NAME` names a currency field of the entity, or of the same line."""
    if not part.currency or not part.currency.startswith("field:"):
        return
    wanted = part.currency.removeprefix("field:")
    known = {f.name for f in (*entity.fields, *item.of) if f.type == "currency"}
    if wanted not in known:
        close = nearest(wanted, known)
        notes.report(node, f"{where}.currency", f"field: and {one_of(sorted(known))}", f"'{part.currency}'", close)
