"""Expectations of the business beyond what the model's types imply: `expectations/*.yaml`.

    entity: order
    tolerance: "max(20, 5%)"          # more failing records than this stop the batch
    volume: {at_least: "50%"}         # of the median of recent runs
    rules:
      - name: shipped_within_ordered
        predicate: "gross is null or gross >= 0"
        means: An order is never worth less than nothing
        on_fail: quarantine           # quarantine | warn | stop

A predicate is one SQL condition (PostgreSQL) over the entity's columns: no subqueries, no other tables, and only the
functions that `predicates` names. Records for which it is false fail; where it is unknown (null), they pass, as in a
CHECK.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from canonical.declarations.shapes import Notes, Section
from canonical.declarations.yaml import Node
from canonical.landscape import Limit
from canonical.model import Entity

OnFail = Literal["quarantine", "warn", "stop"]
DEFAULT_TOLERANCE = Limit(20, 0.05)
"""RELIABILITY P10's flood guard in spirit: a handful of bad records is daily business, more is a broken source."""


@dataclass(frozen=True, slots=True)
class SqlRule:
    """One predicate that every record of the entity is to satisfy."""

    name: str
    predicate: str
    """As sqlglot writes it again, columns quoted: safe to stand in parentheses in a WHERE."""
    means: str = ""
    fields: tuple[str, ...] = ()
    """The columns it reads."""
    on_fail: OnFail = "quarantine"


@dataclass(frozen=True, slots=True)
class VolumeRule:
    """A complete sweep that finds less than this share of the median of recent ones stops the batch."""

    at_least: float = 0.5


@dataclass(frozen=True, slots=True)
class EntityRules:
    """What a landscape expects of one entity."""

    entity: str
    rules: tuple[SqlRule, ...] = ()
    tolerance: Limit = DEFAULT_TOLERANCE
    """How many records of a batch may fail before the batch stops: the greater of a count and a share."""
    volume: VolumeRule | None = None
    source: str = ""


def read_rules(notes: Notes, node: Node, entities: dict[str, Entity]) -> EntityRules | None:
    """The expectations that a file declares; what is wrong with them goes to `notes`."""
    return read_declared_rules(Section(notes, node), entities)


def read_declared_rules(top: Section, entities: Mapping[str, Entity]) -> EntityRules | None:
    """As `read_rules`, of the file's section."""
    name = top.mention("entity", "entity", required=True)
    entity = entities.get(name or "")
    rules: list[SqlRule] = []
    for section in top.list_of("rules"):
        rule = _read_rule(section, entity)
        if rule.name in (other.name for other in rules):
            section.wrong("name", "each name once", f"'{rule.name}' again")
        rules.append(rule)
    tolerance = top.limit("tolerance", DEFAULT_TOLERANCE)
    volume = _read_volume(top)
    top.done()
    return None if entity is None else EntityRules(entity.name, tuple(rules), tolerance, volume, top.node.file)


def _read_volume(top: Section) -> VolumeRule | None:
    section = top.section("volume")
    if section is None:
        return None
    at_least = section.share("at_least")
    section.done()
    return VolumeRule() if at_least is None else VolumeRule(at_least)


def _read_rule(section: Section, entity: Entity | None) -> SqlRule:
    from canonical.declarations.models import FIELD_NAME

    fails: tuple[OnFail, ...] = ("quarantine", "warn", "stop")
    name = section.text("name", required=True, pattern=FIELD_NAME) or ""
    text = section.text("predicate", required=True)
    means = section.text("means") or ""
    on_fail = section.choice("on_fail", fails, "quarantine")
    section.done()
    if text is None or entity is None:
        return SqlRule(name, "", means, (), on_fail)
    from canonical.declarations.predicates import parse_predicate  # a parser of SQL, 33 MiB: for who declares rules

    problems, predicate, columns = parse_predicate(text, entity)
    for expected, found, suggestion in problems:
        section.wrong("predicate", expected, found, suggestion)
    return SqlRule(name, predicate, means, columns, on_fail)
