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
functions named here. Records for which it is false fail; where it is unknown (null), they pass, as in a CHECK.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import sqlglot
from sqlglot import expressions as sql
from sqlglot.errors import SqlglotError

from canonical.declarations.shapes import Notes, Section, nearest, one_of
from canonical.declarations.yaml import Node
from canonical.landscape import Limit
from canonical.model import Entity

OnFail = Literal["quarantine", "warn", "stop"]
FUNCTIONS: dict[str, type[sql.Expression]] = {
    "abs": sql.Abs, "coalesce": sql.Coalesce, "date_part": sql.Extract, "extract": sql.Extract,
    "greatest": sql.Greatest, "least": sql.Least, "left": sql.Left, "length": sql.Length, "lower": sql.Lower,
    "nullif": sql.Nullif, "right": sql.Right, "round": sql.Round, "substring": sql.Substring,
    "trim": sql.Trim, "upper": sql.Upper,
}  # fmt: skip
_PARTS: tuple[type[sql.Expression], ...] = (
    sql.Column, sql.Identifier, sql.Literal, sql.Boolean, sql.Null, sql.Paren, sql.Tuple, sql.Var, sql.Interval,
    sql.And, sql.Or, sql.Not, sql.EQ, sql.NEQ, sql.GT, sql.GTE, sql.LT, sql.LTE, sql.Is, sql.In, sql.Between,
    sql.Like, sql.ILike, sql.NullSafeEQ, sql.NullSafeNEQ,
    sql.Add, sql.Sub, sql.Mul, sql.Div, sql.Mod, sql.Neg, sql.DPipe,
    sql.Case, sql.If, sql.Cast, sql.DataType, *FUNCTIONS.values(),
)  # fmt: skip
_CONDITIONS: tuple[type[sql.Expression], ...] = (
    sql.And, sql.Or, sql.Not, sql.EQ, sql.NEQ, sql.GT, sql.GTE, sql.LT, sql.LTE, sql.Is, sql.In, sql.Between,
    sql.Like, sql.ILike, sql.NullSafeEQ, sql.NullSafeNEQ,
)  # fmt: skip
_MAX_CHARACTERS = 2000
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
    problems, predicate, columns = parse_predicate(text, entity)
    for expected, found, suggestion in problems:
        section.wrong("predicate", expected, found, suggestion)
    return SqlRule(name, predicate, means, columns, on_fail)


def parse_predicate(text: str, entity: Entity) -> tuple[list[tuple[str, str, str | None]], str, tuple[str, ...]]:
    """(what is wrong with it, the predicate as SQL with its columns quoted, the columns it reads)."""
    if len(text) > _MAX_CHARACTERS:
        return [(f"at most {_MAX_CHARACTERS} characters", str(len(text)), None)], "", ()
    try:
        parsed = [tree for tree in sqlglot.parse(text, dialect="postgres") if tree is not None]
    except (SqlglotError, RecursionError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        return [("one SQL condition over the entity's columns", f"'{text[:60]}' ({reason[:80]})", None)], "", ()
    if len(parsed) != 1:
        return [("one SQL condition over the entity's columns", f"{len(parsed)} statements", None)], "", ()
    tree = parsed[0]
    problems = list(_problems_of(tree, entity))
    columns = tuple(dict.fromkeys(column.name for column in tree.find_all(sql.Column)))
    for identifier in tree.find_all(sql.Identifier):
        identifier.set("quoted", True)
    return problems, "" if problems else tree.sql(dialect="postgres", comments=False), columns


def _problems_of(tree: sql.Expr, entity: Entity) -> Iterator[tuple[str, str, str | None]]:
    bare = tree.unnest()
    is_flag = isinstance(bare, sql.Column) and getattr(entity.by_column.get(bare.name), "kind", "") == "boolean"
    if not isinstance(bare, _CONDITIONS) and not is_flag:
        yield "one SQL condition over the entity's columns", f"'{tree.sql()[:60]}'", None
    for part in tree.walk():
        if isinstance(part, sql.Column):
            if part.table:
                yield "a column of the entity without a table", f"'{part.sql()[:60]}'", None
            elif part.name not in entity.by_column:
                close = nearest(part.name, entity.by_column)
                yield f"a column of {entity.name}", f"'{part.name}'", close
        elif isinstance(part, sql.Func) and not isinstance(part, _PARTS):
            name = part.name if isinstance(part, sql.Anonymous) else part.sql_name()
            yield f"a function: {one_of(FUNCTIONS, 20)}", f"'{name.lower()}'", nearest(name.lower(), FUNCTIONS)
        elif not isinstance(part, _PARTS):
            yield "comparisons of columns and values, no subqueries", f"'{part.key}'", None
