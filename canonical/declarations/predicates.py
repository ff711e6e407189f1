"""A business rule's predicate: one SQL condition over an entity's columns, parsed, checked and written again."""

from __future__ import annotations

from collections.abc import Iterator

import sqlglot
from sqlglot import expressions as sql
from sqlglot.errors import SqlglotError

from canonical.declarations.shapes import nearest, one_of
from canonical.model import Entity

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
