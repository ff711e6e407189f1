"""The safe expression language of declarations (`when`, `ask_when`, `deleted_when`): a part of CEL, run on columns.

The text is parsed by cel-python's grammar and translated to a polars expression over text columns; nothing is ever
evaluated as Python. Understood:

    == != < <= > >=   && || !  (also written and, or, not)   in [a, b]   c ? a : b   + - * /
    has(x)            the value is there (not null)          size(x)     characters of a text
    x.startsWith('')  x.endsWith('')  x.contains('')  x.matches('regular expression, linear time')
    a['kind=main'].b  the element of a list with that member, as sheets write a[kind=main].b
    changed('field')  the field is among those that changed: column `_changed`, List(String)

A comparison with an empty (null) value is false, whichever way it is turned; `x == null` and `has(x)` ask for it.
Numbers are decimals of 38 digits, nine after the point. A name of kind "source" is text that is read as the literal
beside it asks: `amount > 10` compares numbers, `amount == '10'` texts, `archived == true` the word "true".
"""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import reduce
from typing import Literal

import polars as pl
import re2
from celpy.celparser import CELParseError, CELParser
from lark import Token, Tree

from canonical.model import Entity, LeafKind

MAX_CHARACTERS = 1000
NUMBER = pl.Decimal(38, 9)
Kind = Literal["text", "number", "boolean", "source", "null"]
_NUMERIC_KINDS = frozenset({"integer", "decimal", "money"})
_WORDS = re.compile(r"""("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')|\b(and|or|not)\b""")
_OPERATORS = {"and": "&&", "or": "||", "not": "!"}
_TRUTH = {"relation_lt": "<", "relation_le": "<=", "relation_gt": ">", "relation_ge": ">="}
_NAMES = ("ident", "member_dot", "member_index")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:T[0-9:.]+Z)?\Z")


class ExpressionError(ValueError):
    """What was expected and found in an expression."""

    def __init__(self, expected: str, found: str, suggestion: str | None = None) -> None:
        self.expected = expected
        self.found = found
        self.suggestion = suggestion
        super().__init__(f"expected {expected}, found {found}")


@dataclass(frozen=True)
class Expression:
    """A compiled condition: `expr` gives Boolean, never null; `columns` are the names it reads, in order."""

    text: str
    columns: tuple[str, ...]
    expr: pl.Expr
    changed: tuple[str, ...] = ()
    """The fields it asks `changed(…)` of; where there are any, the frame must carry `_changed`."""


@dataclass(frozen=True, slots=True)
class _Term:
    """A part of the expression under translation."""

    expr: pl.Expr
    kind: Kind
    literal: object = None
    leaf: str | None = None
    """The leaf kind of a plain column."""


def compile_for_entity(text: str, entity: Entity) -> Expression:
    """A condition on an entity's leaves, named as the sheet names them (`address.postcode`); the expression reads the
    frame's columns (`address_postcode`). `changed('address')` asks of every part of a group. Raises ExpressionError."""
    kinds = {leaf.path: leaf.kind for leaf in entity.leaves}
    columns = {leaf.path: (leaf.column,) for leaf in entity.leaves}
    groups = {field.name: tuple(leaf.column for leaf in field.leaves) for field in entity.fields}
    return compile_expression(text, kinds, {**groups, **columns, **{n: g for n, g in groups.items() if len(g) > 1}})


def compile_expression(
    text: str,
    kinds: Mapping[str, LeafKind | Literal["source"]] | None,
    columns: Mapping[str, tuple[str, ...]] | None = None,
) -> Expression:
    """The condition as a polars expression.

    `kinds` names every field that may be used; None: any dotted name is a source field. `columns` says under which
    column(s) a name stands in the frame, where that is not the name itself. Raises ExpressionError."""
    if len(text) > MAX_CHARACTERS:
        raise ExpressionError(f"at most {MAX_CHARACTERS} characters", f"{len(text)}")
    spelled = _WORDS.sub(lambda m: m[1] or _OPERATORS[m[2]], text)
    try:
        tree = CELParser().parse(spelled)
        compiler = _Compiler(kinds, columns or {})
        term = compiler.term(tree)
    except CELParseError as error:
        place = f" at character {error.column}" if getattr(error, "column", None) else ""
        raise ExpressionError("a condition such as status == 'active'", f"'{text[:60]}'{place}") from None
    except RecursionError:
        raise ExpressionError("a simpler condition", "too many nested parts") from None
    expr = _as_boolean(term).fill_null(False)
    return Expression(text, tuple(compiler.columns), expr, tuple(compiler.changed))


def _as_boolean(term: _Term) -> pl.Expr:
    if term.kind == "boolean":
        return term.expr
    if term.kind == "source":
        return term.expr == "true"
    raise ExpressionError("a condition (true or false)", f"a {term.kind}")


def _as_number(term: _Term) -> pl.Expr:
    if term.kind == "number":
        return term.expr
    if term.kind == "source":
        return term.expr.cast(NUMBER, strict=False)
    raise ExpressionError("a number", _named(term))


def _as_text(term: _Term) -> pl.Expr:
    if term.kind in ("text", "source"):
        return term.expr
    raise ExpressionError("a text", _named(term))


def _named(term: _Term) -> str:
    return f"the {term.kind} {term.literal!r}" if term.literal is not None else f"a {term.kind}"


class _Compiler:
    """Walks cel-python's tree; most of its levels only carry precedence and have one child."""

    def __init__(
        self, kinds: Mapping[str, LeafKind | Literal["source"]] | None, names: Mapping[str, tuple[str, ...]]
    ) -> None:
        self.kinds = kinds
        self.names = names
        self.columns: dict[str, None] = {}
        self.changed: dict[str, None] = {}

    def term(self, tree: Tree[Token] | Token) -> _Term:
        assert isinstance(tree, Tree)
        children = tree.children
        handler: Callable[[Tree[Token]], _Term] | None = {
            "ident": self._name,
            "member_dot": self._name,
            "member_index": self._name,
            "literal": self._literal,
            "ident_arg": self._function,
            "member_dot_arg": self._method,
        }.get(str(tree.data))
        if handler:
            return handler(tree)
        if len(children) == 1 and isinstance(children[0], Tree) and tree.data not in ("list_lit", "map_lit"):
            return self.term(children[0])
        match str(tree.data):
            case "expr":
                return self._choice(*(self.term(child) for child in children))
            case "conditionalor":
                left, right = (_as_boolean(self.term(child)).fill_null(False) for child in children)
                return _Term(left | right, "boolean")
            case "conditionaland":
                left, right = (_as_boolean(self.term(child)).fill_null(False) for child in children)
                return _Term(left & right, "boolean")
            case "relation":
                return self._relation(*children)
            case "addition" | "multiplication":
                return self._arithmetic(*children)
            case "unary":
                return self._unary(*children)
        what = {
            "list_lit": "a list",
            "map_lit": "a map",
            "dot_ident": "a name that begins with a dot",
            "dot_ident_arg": "a name that begins with a dot",
        }.get(str(tree.data), str(tree.data))
        raise ExpressionError("a comparison of fields, texts and numbers", what)

    def _relation(self, operation: Tree[Token] | Token, right: Tree[Token] | Token) -> _Term:
        assert isinstance(operation, Tree)
        left = self.term(operation.children[0])
        name = str(operation.data)
        if name == "relation_in":
            options = [_compare("==", left, self.term(item)) for item in _list_items(right)]
            return _Term(reduce(lambda a, b: a | b, options, pl.lit(False)), "boolean")
        sign = {"relation_eq": "==", "relation_ne": "!="}.get(name) or _TRUTH[name]
        return _Term(_compare(sign, left, self.term(right)), "boolean")

    def _arithmetic(self, operation: Tree[Token] | Token, right: Tree[Token] | Token) -> _Term:
        assert isinstance(operation, Tree)
        a, b = self.term(operation.children[0]), self.term(right)
        name = str(operation.data)
        if name == "addition_add" and "text" in (a.kind, b.kind):
            return _Term(_as_text(a) + _as_text(b), "text")
        left, right_number = _as_number(a), _as_number(b)
        match name:
            case "addition_add":
                return _Term(left + right_number, "number")
            case "addition_sub":
                return _Term(left - right_number, "number")
            case "multiplication_mul":
                return _Term(left * right_number, "number")
            case "multiplication_div":
                whole = pl.when(right_number != 0).then(right_number)
                return _Term(left / whole, "number")
        raise ExpressionError("+ - * /", "%")

    def _unary(self, operation: Tree[Token] | Token, operand: Tree[Token] | Token) -> _Term:
        assert isinstance(operation, Tree)
        inner = self.term(operand)
        if operation.data == "unary_not":
            return _Term(~_as_boolean(inner).fill_null(False), "boolean")
        return _Term(-_as_number(inner), "number")

    def _choice(self, condition: _Term, yes: _Term, no: _Term) -> _Term:
        if yes.kind != no.kind:
            raise ExpressionError("both answers of one kind", f"{_named(yes)} and {_named(no)}")
        chosen = pl.when(_as_boolean(condition).fill_null(False)).then(yes.expr).otherwise(no.expr)
        return _Term(chosen, yes.kind)

    def _name(self, tree: Tree[Token]) -> _Term:
        name = _dotted(tree)
        if self.kinds is None:
            leaf: str = "source"
        elif name in self.kinds:
            leaf = self.kinds[name]
        else:
            close = difflib.get_close_matches(name, self.kinds, n=1)
            known = ", ".join(list(self.kinds)[:12])
            raise ExpressionError(f"a known field ({known})", f"'{name}'", close[0] if close else None)
        standing = self.names.get(name, (name,))[0]
        self.columns[standing] = None
        column = pl.col(standing)
        if leaf == "source":
            return _Term(column, "source", leaf=leaf)
        if leaf in _NUMERIC_KINDS:
            return _Term(column.cast(NUMBER, strict=False), "number", leaf=leaf)
        if leaf == "boolean":
            return _Term(column == "true", "boolean", leaf=leaf)
        return _Term(column, "text", leaf=leaf)

    def _literal(self, tree: Tree[Token]) -> _Term:
        token = tree.children[0]
        assert isinstance(token, Token)
        match token.type:
            case "BOOL_LIT":
                return _Term(pl.lit(token.value == "true"), "boolean", token.value == "true")
            case "NULL_LIT":
                return _Term(pl.lit(None), "null")
            case "STRING_LIT":
                value = ast.literal_eval(token.value)
                return _Term(pl.lit(value, dtype=pl.String), "text", value)
            case "INT_LIT" | "FLOAT_LIT" if not re.search("[xX]", token.value):
                number = Decimal(token.value)
                if abs(number.adjusted()) > 20:
                    raise ExpressionError("a number of at most 20 digits", token.value[:30])
                return _Term(pl.lit(token.value).cast(NUMBER), "number", number)
        raise ExpressionError("a text, a number, true, false or null", f"'{token.value[:40]}'")

    def _function(self, tree: Tree[Token]) -> _Term:
        name, arguments = str(tree.children[0]), _arguments(tree.children[1:])
        if name not in ("has", "size", "changed"):
            close = difflib.get_close_matches(name, ("has", "size", "changed"), n=1)
            raise ExpressionError("one of has, size, changed", f"the function '{name}'", close[0] if close else None)
        if len(arguments) != 1:
            raise ExpressionError(f"{name}(one thing)", f"{len(arguments)} things")
        argument = self.term(arguments[0])
        if name == "changed":
            return self._changed(argument)
        if name == "size":
            return _Term(_as_text(argument).str.len_chars().cast(NUMBER), "number")
        if argument.leaf is None:
            raise ExpressionError("has(a field)", f"has({_named(argument)})")
        name = _dotted_member(arguments[0])
        return _Term(pl.col(self.names.get(name, (name,))[0]).is_not_null(), "boolean")

    def _changed(self, argument: _Term) -> _Term:
        name = argument.literal
        if not isinstance(name, str):
            raise ExpressionError("changed('field')", f"changed({_named(argument)})")
        if self.kinds is not None and name not in self.kinds and name not in self.names:
            close = difflib.get_close_matches(name, self.kinds, n=1)
            raise ExpressionError("changed('a known field')", f"'{name}'", close[0] if close else None)
        standing = self.names.get(name, (name,))
        self.changed.update(dict.fromkeys(standing))
        return _Term(pl.any_horizontal(pl.col("_changed").list.contains(column) for column in standing), "boolean")

    def _method(self, tree: Tree[Token]) -> _Term:
        subject, name = _as_text(self.term(tree.children[0])), str(tree.children[1])
        arguments = _arguments(tree.children[2:])
        value = self.term(arguments[0]).literal if len(arguments) == 1 else None
        if not isinstance(value, str):
            raise ExpressionError(f"{name}('a text')", "something else in the parentheses")
        match name:
            case "startsWith":
                return _Term(subject.str.starts_with(value), "boolean")
            case "endsWith":
                return _Term(subject.str.ends_with(value), "boolean")
            case "contains":
                return _Term(subject.str.contains(value, literal=True), "boolean")
            case "matches":
                return _Term(subject.str.contains(_pattern(value)), "boolean")
        known = ("startsWith", "endsWith", "contains", "matches")
        close = difflib.get_close_matches(name, known, n=1)
        raise ExpressionError(f"one of {', '.join(known)}", f"the function '{name}'", close[0] if close else None)


def _compare(sign: str, left: _Term, right: _Term) -> pl.Expr:
    """A comparison that is false where a side is null, except against the word null itself."""
    if "null" in (left.kind, right.kind):
        side = right if left.kind == "null" else left
        if sign not in ("==", "!="):
            raise ExpressionError("== null or != null", f"{sign} null")
        return side.expr.is_null() if sign == "==" else side.expr.is_not_null()
    a, b = _sides(sign, left, right)
    result = {"==": a == b, "!=": a != b, "<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b}[sign]
    return result.fill_null(False)


def _sides(sign: str, left: _Term, right: _Term) -> tuple[pl.Expr, pl.Expr]:
    """Both sides as one type: the one that is not `source` decides."""
    kinds = {left.kind, right.kind} - {"source"}
    for side, other in ((left, right), (right, left)):
        is_date = side.leaf in ("date", "datetime") and isinstance(other.literal, str)
        if is_date and not _DATE.match(str(other.literal)):
            raise ExpressionError("a date as '2024-12-31'", f"'{other.literal}'")
    if kinds == {"number"}:
        return _as_number(left), _as_number(right)
    if kinds == {"boolean"} and sign in ("==", "!="):
        return _as_boolean(left), _as_boolean(right)
    if kinds <= {"text"}:
        return _as_text(left), _as_text(right)
    raise ExpressionError("two sides of one kind", f"{_named(left)} {sign} {_named(right)}")


def _pattern(text: str) -> str:
    """A regular expression that a linear-time engine takes (no look-around, no back-references)."""
    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(text, options)
    except re2.error as error:
        reason = error.args[0]
        found = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        raise ExpressionError("a regular expression of RE2", found) from None
    return text


def _dotted(tree: Tree[Token]) -> str:
    """`a.b`, `a['b']`, `a[0].b` and `a['member=value'].b` as the sheet writes the path."""
    match str(tree.data):
        case "ident":
            return str(tree.children[0])
        case "member_dot":
            return f"{_dotted_member(tree.children[0])}.{tree.children[1]}"
        case "member_index":
            index = _only(tree.children[1])
            if isinstance(index, Token) and index.type == "STRING_LIT":
                inner, picked = _dotted_member(tree.children[0]), str(ast.literal_eval(index.value))
                return f"{inner}[{picked}]" if "=" in picked else f"{inner}.{picked}"
            if isinstance(index, Token) and index.type == "INT_LIT":
                return f"{_dotted_member(tree.children[0])}[{index.value}]"
    raise ExpressionError("a field's name", f"a {tree.data}")


def _dotted_member(tree: Tree[Token] | Token) -> str:
    """As `_dotted`, below the levels that only carry precedence."""
    while isinstance(tree, Tree) and tree.data not in _NAMES and len(tree.children) == 1:
        tree = tree.children[0]
    if not isinstance(tree, Tree):
        raise ExpressionError("a field's name", f"'{tree}'")
    return _dotted(tree)


def _only(tree: Tree[Token] | Token) -> Tree[Token] | Token:
    while isinstance(tree, Tree) and len(tree.children) == 1:
        tree = tree.children[0]
    return tree


def _arguments(children: list[Tree[Token] | Token]) -> list[Tree[Token] | Token]:
    return [item for child in children if isinstance(child, Tree) for item in child.children]


def _list_items(tree: Tree[Token] | Token) -> list[Tree[Token] | Token]:
    while isinstance(tree, Tree) and tree.data != "list_lit" and len(tree.children) == 1:
        tree = tree.children[0]
    if not isinstance(tree, Tree) or tree.data != "list_lit":
        raise ExpressionError("in [a, b, …]", "something that is not a list")
    return _arguments(list(tree.children))
