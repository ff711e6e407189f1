"""From the tables that are there to the tables that the model asks for (`concord model plan` and `apply`, DESIGN 9.20).

A change only ever adds or sets aside, so none loses a value:

    create     a table, or an index
    add        a column; what is staged fills it, without reading the source again
    rename     a field that names its former name in `was:`
    retype     the old column is set aside as <column>__old, a new one is filled from the payloads that were kept
    hide       what the model no longer names is kept, marked as hidden; it comes back with the field (`show`)
    drop       an index that no rule needs any more (never a column, never a table)

Hidden columns and tables are marked by a comment in the database itself, so there is no second list to disagree with.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import sqlalchemy as sa
from alembic.ddl.base import AddColumn, ColumnName, RenameTable
from sqlalchemy import Column, Connection, Index, Table
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable, DropIndex, SetColumnComment, SetTableComment
from sqlalchemy.sql.ddl import ExecutableDDLElement

from canonical.model import Entity, Field, Model
from staging.entity_tables import EntityTables, entity_tables
from staging.grants import grant_work
from staging.tables import metadata as fixed_tables

Kind = Literal["create", "add", "rename", "retype", "hide", "show", "drop"]
HIDDEN = "hidden: the model no longer names it"
MODEL_LOCK = 0x6D6F64656C  # "model": one process applies at a time
DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class Change:
    """One step: the sentence that a person reads, and the statements that do it, in order."""

    kind: Kind
    table: str
    sentence: str
    statements: tuple[str, ...]
    refill: bool = False
    """The new column is empty until the next sync has reworked the kept payloads."""


@dataclass(frozen=True)
class Present:
    """One table as the database has it: column → (SQL type, is hidden)."""

    columns: dict[str, tuple[str, bool]]
    indexes: dict[str, tuple[str, ...]]
    """Name → columns."""
    is_hidden: bool = False


def plan_changes(connection: Connection, model: Model) -> list[Change]:
    """What has to change for this model, in the order in which it can be done. Empty: the model is applied.

    Raises Refused when names of the model would collide.
    """
    wanted = entity_tables(model)
    present = read_present(connection)
    return list(changes_between(present, wanted))


def model_applied(connection: Connection, model: Model) -> bool:
    """Whether the entity tables are the ones of this model."""
    return not plan_changes(connection, model)


def apply(connection: Connection, changes: Sequence[Change], app_role: str | None = None) -> int:
    """Do the changes in the caller's transaction, as the owner role; `app_role` may work on what is new."""
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(MODEL_LOCK)))
    for change in changes:
        for statement in change.statements:
            connection.exec_driver_sql(statement)
    grant_work(connection, app_role)
    return len(changes)


def read_present(connection: Connection) -> dict[tuple[str, str], Present]:
    """(schema, name) → the entity tables in the database; Concord's own are left out."""
    inspector = sa.inspect(connection)
    ours = {(table.schema, table.name) for table in fixed_tables.tables.values()}
    found: dict[tuple[str, str], Present] = {}
    for schema in ("staging", "golden"):
        comments = inspector.get_multi_table_comment(schema=schema)
        indexes = inspector.get_multi_indexes(schema=schema)
        for place, columns in inspector.get_multi_columns(schema=schema).items():
            name = place[1]
            if (schema, name) in ours:
                continue
            comment = comments[place]["text"] if place in comments else None
            found[schema, name] = Present(
                {c["name"]: (_sql_type(c["type"]), c.get("comment") == HIDDEN) for c in columns},
                {str(i["name"]): tuple(map(str, i["column_names"])) for i in indexes.get(place, [])},
                comment == HIDDEN,
            )
    return found


def changes_between(present: dict[tuple[str, str], Present], wanted: dict[str, EntityTables]) -> Iterator[Change]:
    """The steps from one to the other; a pure comparison."""
    for tables in wanted.values():
        entity = tables.entity
        for table in (tables.staged, tables.candidate, tables.golden):
            yield from _table_changes(present, entity, entity.fields, table)
        for field_name, table in tables.lines.items():
            field = entity.by_name[field_name]
            former = _key(table, f"{entity.name}_{field.was}") if field.was else None
            if former in present and _key(table) not in present:
                yield _renamed_table(entity, table, former[1])
                present = present | {_key(table): present[former]}
                del present[former]
            if _has_another_key(table, present.get(_key(table))):
                yield _set_aside(table, present)
                present = {key: about for key, about in present.items() if key != _key(table)}
            yield from _table_changes(present, entity, field.of, table)
    modelled = {_key(table) for tables in wanted.values() for table in tables}
    for key, table_there in present.items():
        if key not in modelled and not table_there.is_hidden:
            yield _hidden_table(*key)


# ------------------------------------------------------------------------------------------------------- one table


def _table_changes(
    present: dict[tuple[str, str], Present], entity: Entity, fields: tuple[Field, ...], table: Table
) -> Iterator[Change]:
    there = present.get(_key(table))
    if there is None:
        statements = [_sql(CreateTable(table)), *(_sql(CreateIndex(i)) for i in _sorted(table.indexes))]
        yield Change("create", table.fullname, f"create {table.fullname}", tuple(statements))
        return
    if there.is_hidden:
        shown = _sql(SetTableComment(_twin(table, None)))
        yield Change("show", table.fullname, f"show {table.fullname} again; its rows were kept", (shown,), refill=True)
    renames = _renames(fields, there, table)
    for old, new in renames.items():
        yield _renamed_column(table, old, new)
    columns = {renames.get(name, name): about for name, about in there.columns.items()}
    for column in table.columns:
        yield from _column_changes(table, column, columns)
    for name, (_, is_hidden) in columns.items():
        if name not in table.c and not is_hidden:
            yield _hidden_column(table, name)
    retyped = frozenset(c.name for c in table.columns if columns.get(c.name, ("",))[0] not in ("", _sql_type(c.type)))
    yield from _index_changes(table, there, retyped)


def _column_changes(table: Table, column: Column[Any], there: dict[str, tuple[str, bool]]) -> Iterator[Change]:
    where = f"{table.fullname}.{column.name}"
    kind = _sql_type(column.type)
    if column.name not in there:
        yield Change("add", table.fullname, f"add {where} ({kind})", (_added(table, column),), refill=True)
        return
    found, is_hidden = there[column.name]
    if found != kind:
        aside = _free_name(f"{column.name}__old", there)
        statements = (
            _sql(ColumnName(table.name, column.name, aside, schema=table.schema)),
            _sql(SetColumnComment(_hidden(table, aside))),
            _added(table, column),
        )
        sentence = f"retype {where} from {found} to {kind}; the old values stay in {aside}"
        yield Change("retype", table.fullname, sentence, statements, refill=True)
    elif is_hidden:
        shown = _sql(SetColumnComment(_twin(table, column).columns[column.name]))
        yield Change("show", table.fullname, f"show {where} again; its values were kept", (shown,), refill=True)


def _index_changes(table: Table, there: Present, retyped: frozenset[str]) -> Iterator[Change]:
    """Indexes follow a renamed column, under their old name, and stay with a column that was set aside."""
    wanted = {str(index.name): index for index in table.indexes}
    kept = {
        name
        for name, columns in there.indexes.items()
        if name in wanted and columns == tuple(wanted[name].columns.keys()) and not retyped.intersection(columns)
    }
    for name in sorted(set(there.indexes) - kept):
        column: Column[Any] = Column("any")
        Table(table.name, sa.MetaData(), column, schema=table.schema)
        statement = _sql(DropIndex(Index(name, column)))
        yield Change("drop", table.fullname, f"drop index {name}, which no rule needs as it is", (statement,))
    for name in sorted(set(wanted) - kept):
        yield Change("create", table.fullname, f"create index {name}", (_sql(CreateIndex(wanted[name])),))


def _renames(fields: tuple[Field, ...], there: Present, table: Table) -> dict[str, str]:
    """Old column → new column, for fields with `was:` whose old column is there and whose new one is not."""
    pairs = {
        old.column: new.column
        for field in fields
        if field.was
        for old, new in zip(replace(field, name=field.was).leaves, field.leaves, strict=True)
    }
    return {
        old: new
        for old, new in pairs.items()
        if old in there.columns and new not in there.columns and new in table.c and old not in table.c
    }


# ------------------------------------------------------------------------------------------------- single statements


def _renamed_column(table: Table, old: str, new: str) -> Change:
    """The column, and its name in the arrays that name columns."""
    statements = [_sql(ColumnName(table.name, old, new, schema=table.schema))]
    for listing in ("absent", "provisional"):
        if listing in table.c:
            column = table.c[listing]
            update = (
                sa.update(table)
                .values({column: sa.func.array_replace(column, sa.literal(old), sa.literal(new))})
                .where(sa.literal(old) == sa.any_(column))
            )
            statements.append(_sql(update))
    return Change("rename", table.fullname, f"rename {table.fullname}.{old} to {new}", tuple(statements))


def _renamed_table(entity: Entity, table: Table, old: str) -> Change:
    statement = _sql(RenameTable(old, table.name, schema=table.schema))
    sentence = f"rename {table.schema}.{old} to {table.name} ({entity.name}'s list was renamed)"
    return Change("rename", table.fullname, sentence, (statement,))


def _has_another_key(table: Table, there: Present | None) -> bool:
    """Whether the rows there are told apart by other columns, or by columns of another type."""
    if there is None:
        return False
    return any(there.columns.get(c.name, ("", False))[0] != _sql_type(c.type) for c in table.primary_key.columns)


def _set_aside(table: Table, present: dict[tuple[str, str], Present]) -> Change:
    """Keep a list's rows under another name: its new key would not fit them. Golden records still hold the lines."""
    names = {name: (name, False) for schema, name in present if schema == table.schema}
    aside = _free_name(f"{table.name}__old", names)
    quote = DIALECT.identifier_preparer.quote
    statements = [
        f"ALTER TABLE {quote(str(table.schema))}.{quote(table.name)} "
        f"RENAME CONSTRAINT {quote(str(table.primary_key.name))} TO {quote(f'pk_{aside}')}",
        _sql(RenameTable(table.name, aside, schema=table.schema)),
        *_hidden_table(str(table.schema), aside).statements,
    ]
    sentence = f"set {table.fullname} aside as {aside}: its lines have another key now"
    return Change("retype", table.fullname, sentence, tuple(statements), refill=True)


def _hidden_column(table: Table, name: str) -> Change:
    sentence = f"hide {table.fullname}.{name}: the model no longer names it; its values are kept"
    statements = [_sql(SetColumnComment(_hidden(table, name)))]
    return Change("hide", table.fullname, sentence, tuple(statements))


def _hidden_table(schema: str, name: str) -> Change:
    table = Table(name, sa.MetaData(), schema=schema, comment=HIDDEN)
    sentence = f"hide {schema}.{name}: the model no longer names it; its rows are kept"
    return Change("hide", table.fullname, sentence, (_sql(SetTableComment(table)),))


def _hidden(table: Table, name: str) -> Column[Any]:
    column: Column[Any] = Column(name, comment=HIDDEN)
    Table(table.name, sa.MetaData(), column, schema=table.schema)
    return column


def _twin(table: Table, column: Column[Any] | None) -> Table:
    """The table with at most one column, and no comment on either."""
    columns = [Column(column.name, column.type)] if column is not None else []
    return Table(table.name, sa.MetaData(), *columns, schema=table.schema, comment=None)


def _added(table: Table, column: Column[Any]) -> str:
    return _sql(AddColumn(table.name, column, schema=table.schema))


def _sql(element: ExecutableDDLElement | sa.Update) -> str:
    options = {"literal_binds": True} if isinstance(element, sa.Update) else {}
    return str(element.compile(dialect=DIALECT, compile_kwargs=options)).strip()


def _sql_type(kind: sa.types.TypeEngine[Any]) -> str:
    return kind.compile(dialect=DIALECT).lower()


def _key(table: Table, name: str | None = None) -> tuple[str, str]:
    return str(table.schema), name or table.name


def _free_name(base: str, there: dict[str, tuple[str, bool]]) -> str:
    return next(name for name in (base, *(f"{base}{n}" for n in range(2, 10))) if name not in there)


def _sorted(indexes: set[Index]) -> list[Index]:
    return sorted(indexes, key=lambda index: str(index.name))
