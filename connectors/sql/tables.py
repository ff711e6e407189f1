"""A declared stream as a reflected table: every name is checked against what the database really has.

Options of a stream (all optional):

    table, schema      the table or view; default: the stream's name in the connection's own schema
    select             instead of a table: one SELECT that names each of its columns
    columns            only these columns are read
    created            the column that stands in where `changed` is empty (rows never modified since their insert)
    overlap_seconds    how far back every incremental read reaches; default 60
    page_size          rows a page; default 1,000
    write              true: Concord may write here; default false
    upsert_by          columns with a unique constraint: a create with their values again updates that row (class A)
    marker             a unique text column that takes our idempotency key (class A)
    archive            {column: …, value: …, live: …}: how a record is marked as gone, and what live ones hold
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import CHAR, Connection, FromClause, MetaData, Table, column, event, inspect, text, types
from sqlalchemy.sql import ColumnElement, quoted_name

from canonical.landscape import Stream
from connectors.protocol import Misdeclared
from connectors.sql.values import Kind, kind_of

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_$ .\-]{0,127}")
"""What may stand as an identifier at all (RELIABILITY 54); whether it exists is then asked of the database."""
_BIND_LIKE = re.compile(r"(?<![:\w\\]):(?=\w)")
PAGE_SIZE = 1_000
OVERLAP_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class ColumnFacts:
    """One column of a stream."""

    name: str
    kind: Kind
    length: int | None = None
    is_padded: bool = False
    """CHAR(n): the blanks at its end are the database's, not the value's."""


@dataclass(frozen=True, slots=True)
class Archive:
    """How a row says that it is gone."""

    column: str
    value: Any
    live: Any


@dataclass(frozen=True)
class TableStream:
    """A stream bound to its table."""

    name: str
    where: str
    source: FromClause
    columns: tuple[ColumnFacts, ...]
    key: tuple[str, ...]
    changed: str | None
    created: str | None
    parent: str | None
    page_size: int
    overlap_seconds: float
    writes: bool
    upsert_by: tuple[str, ...]
    marker: str | None
    archive: Archive | None

    def facts_of(self, name: str) -> ColumnFacts:
        return next(facts for facts in self.columns if facts.name == name)

    def element(self, name: str) -> ColumnElement[Any]:
        found: ColumnElement[Any] = self.source.c[name]
        return found

    @property
    def table(self) -> Table:
        if not isinstance(self.source, Table):
            raise Misdeclared("only a table can be written", where=self.where)
        return self.source


def bind_stream(connection: Connection, stream: Stream, where: str) -> TableStream:
    """Reflect the stream's table and check every declared name. Raises Misdeclared naming what is not there."""
    options = stream.options
    source = _selected(options, where) if "select" in options else _reflected(connection, stream, where)
    available = [c.name for c in source.c]
    wanted = _names(options.get("columns", available), available, "columns", where)
    key = _names(stream.key, available, "key", where)
    changed = _optional(stream.changed, available, "changed", where)
    created = _optional(options.get("created"), available, "created", where)
    parent = _optional(stream.child_of.by if stream.child_of else None, available, "child_of.by", where)
    archive = _archive(options.get("archive"), available, where)
    needed = (*key, changed, created, parent, archive.column if archive else None)
    chosen = dict.fromkeys((*wanted, *(n for n in needed if n)))
    if not key:
        raise Misdeclared("expected at least one key column", where=where)
    bound = TableStream(
        name=stream.name,
        where=where,
        source=source,
        columns=tuple(column_facts(source.c[n]) for n in chosen),
        key=key,
        changed=changed,
        created=created,
        parent=parent,
        page_size=_count(options, "page_size", PAGE_SIZE, where),
        overlap_seconds=float(options.get("overlap_seconds", OVERLAP_SECONDS)),
        writes=options.get("write") is True,
        upsert_by=_names(options.get("upsert_by", ()), available, "upsert_by", where),
        marker=_optional(options.get("marker"), available, "marker", where),
        archive=archive,
    )
    if bound.writes:
        _check_uniqueness(connection, bound)
    return bound


def known(name: str, available: Sequence[str], place: str, where: str) -> str:
    """The name, if the table has it. Raises Misdeclared with the nearest one."""
    if name in available:
        return name
    near = difflib.get_close_matches(name, available, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    shown = name if _NAME.fullmatch(name) else "a name that cannot be a column's"
    raise Misdeclared(f"{place}: expected a column of the table, found {shown}{hint}", where=where)


def _reflected(connection: Connection, stream: Stream, where: str) -> Table:
    name = str(stream.options.get("table", stream.name))
    schema = stream.options.get("schema")
    for identifier in (name, schema):
        if identifier is not None and not _NAME.fullmatch(str(identifier)):
            raise Misdeclared("expected a plain table and schema name", where=where)
    inspector = inspect(connection)
    available = [*inspector.get_table_names(schema), *inspector.get_view_names(schema)]
    if name not in available and not inspector.has_table(name, schema):
        near = difflib.get_close_matches(name, available, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise Misdeclared(f"expected a table or view, found no {name}{hint}", where=where)
    metadata = MetaData()
    event.listen(metadata, "column_reflect", _quote)
    if connection.dialect.name == "sqlite":
        event.listen(metadata, "column_reflect", _loosen)
    return Table(name, metadata, schema=schema, autoload_with=connection, resolve_fks=False)


class _Loose(types.UserDefinedType[Any]):
    """A SQLite column as it is stored: the declared type is a hint there, and any value may stand in any column."""

    cache_ok = True

    def __init__(self, kind: Kind) -> None:
        self.kind = kind

    def get_col_spec(self, **_: Any) -> str:
        return "NUMERIC" if self.kind == "decimal" else "TEXT"


def _quote(_inspector: Any, _table: Any, info: Any) -> None:
    """Names are quoted always: by itself SQLAlchemy takes one that ends in a line break for a plain one."""
    info["name"] = quoted_name(info["name"], quote=True)


def _loosen(_inspector: Any, _table: Any, info: Any) -> None:
    kind = kind_of(info["type"])
    if kind in ("decimal", "date", "datetime", "time", "boolean"):
        info["type"] = _Loose(kind)


def _selected(options: Mapping[str, Any], where: str) -> FromClause:
    """A declared SELECT as a subquery. Its columns are read from its own text, so that no query is needed for them."""
    import sqlglot  # 33 MiB: for who declares a SELECT

    statement = str(options["select"])
    try:
        parsed = sqlglot.parse(statement)
    except sqlglot.errors.SqlglotError:
        raise Misdeclared("`select`: expected one SELECT statement", where=where) from None
    if len(parsed) != 1 or not isinstance(parsed[0], sqlglot.exp.Query):
        raise Misdeclared("`select`: expected one SELECT statement", where=where)
    names = parsed[0].named_selects
    if not names or "*" in names or "" in names:
        raise Misdeclared("`select`: expected every column by name or with an alias, found * or none", where=where)
    if len(set(names)) != len(names):
        raise Misdeclared("`select`: expected each column name once", where=where)
    clause = text(_BIND_LIKE.sub(r"\\:", statement.rstrip().rstrip(";")))
    return clause.columns(*[column(n) for n in names]).subquery("declared")


def column_facts(found: Any) -> ColumnFacts:
    declared = found.type
    kind = declared.kind if isinstance(declared, _Loose) else kind_of(declared)
    length = declared.length if isinstance(declared, types.String) else None
    return ColumnFacts(found.name, kind, length, isinstance(declared, CHAR))


def _names(given: Any, available: Sequence[str], place: str, where: str) -> tuple[str, ...]:
    if isinstance(given, str):
        given = (given,)
    return tuple(known(str(name), available, place, where) for name in given)


def _optional(given: str | None, available: Sequence[str], place: str, where: str) -> str | None:
    return None if given is None else known(str(given), available, place, where)


def _archive(given: Any, available: Sequence[str], where: str) -> Archive | None:
    if given is None:
        return None
    if not isinstance(given, Mapping) or not {"column", "value"} <= set(given):
        raise Misdeclared("archive: expected {column: …, value: …}", where=where)
    return Archive(known(str(given["column"]), available, "archive", where), given["value"], given.get("live"))


def _count(options: Mapping[str, Any], name: str, default: int, where: str) -> int:
    value = options.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 100_000:
        raise Misdeclared(f"{name}: expected a whole number between 1 and 100,000", where=where)
    return value


def _check_uniqueness(connection: Connection, stream: TableStream) -> None:
    """Class A rests on a constraint of the database; without it the declaration is wrong."""
    table = stream.table
    inspector = inspect(connection)
    # SQLite keeps an inline UNIQUE only as an automatic index.
    auto = {"include_auto_indexes": True} if connection.dialect.name == "sqlite" else {}
    indexes = inspector.get_indexes(table.name, table.schema, **auto)
    unique = [set(c["column_names"]) for c in inspector.get_unique_constraints(table.name, table.schema)]
    unique += [{str(n) for n in i["column_names"]} for i in indexes if i["unique"]]
    unique.append({c.name for c in table.primary_key.columns})
    for place, names in (("upsert_by", stream.upsert_by), ("marker", (stream.marker,) if stream.marker else ())):
        if names and set(names) not in unique:
            raise Misdeclared(
                f"{place}: expected columns with a unique constraint, found none on {', '.join(names)}",
                where=stream.where,
            )


def columns_of(stream: TableStream) -> list[ColumnElement[Any]]:
    """The columns to select, in the order of `stream.columns`."""
    return [stream.source.c[facts.name] for facts in stream.columns]
