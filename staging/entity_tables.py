"""The tables of the declared entities, built from the model (`concord model apply` makes them, DESIGN 9.20).

    staging.<entity>             the last good version of every source record, as canonical columns
    staging.<entity>_candidate   one batch beside it until the gate has judged it; unlogged, for it can be made again
    golden.<entity>              the agreed record
    golden.<entity>_<list>       its lines as rows, for whoever asks in SQL

`staging.model_changes` compares them with the database.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Index,
    Integer,
    MetaData,
    Numeric,
    PrimaryKeyConstraint,
    Table,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSON
from sqlalchemy.types import TypeEngine

from canonical.model import Entity, Field, Leaf, LeafKind, Model
from canonical.problems import Problem, Refused
from staging.tables import metadata as fixed_tables

SQL_TYPES: dict[LeafKind, TypeEngine[Any]] = {
    "text": Text(), "email": Text(), "phone": Text(), "url": Text(), "choice": Text(), "country": Text(),
    "currency": Text(), "reference": Text(), "integer": BigInteger(), "decimal": Numeric(), "money": Numeric(),
    "date": Date(), "datetime": DateTime(timezone=True), "boolean": Boolean(), "lines": JSON(),
}  # fmt: skip
STATES = ("dirty", "resolved", "review", "deleted")
LONGEST_NAME = 63
"""PostgreSQL's NAMEDATALEN - 1: what is longer it would cut in silence."""


@dataclass(frozen=True)
class EntityTables:
    """The tables of one entity. `lines` by list field."""

    entity: Entity
    staged: Table
    candidate: Table
    golden: Table
    lines: dict[str, Table]

    def __iter__(self) -> Iterator[Table]:
        yield from (self.staged, self.candidate, self.golden, *self.lines.values())


def entity_tables(model: Model) -> dict[str, EntityTables]:
    """Entity name → its tables. Raises Refused when names of the model would collide in the database."""
    _refuse_collisions(model)
    metadata = MetaData(naming_convention=fixed_tables.naming_convention)
    return {entity.name: _tables_of(entity, metadata) for entity in model.entities}


def leaf_column(leaf: Leaf) -> Column[Any]:
    """The column that holds a leaf in staging and golden tables alike."""
    return Column(leaf.column, SQL_TYPES[leaf.kind])


def _tables_of(entity: Entity, metadata: MetaData) -> EntityTables:
    return EntityTables(
        entity,
        _staged(entity, metadata),
        _candidate(entity, metadata),
        _golden(entity, metadata),
        {f.name: _lines(entity, f, metadata) for f in entity.fields if f.type == "list"},
    )


def _record_columns(entity: Entity) -> list[Column[Any]]:
    """What a staged record and a candidate have in common, before what their place adds."""
    return [
        Column("system", Text, nullable=False),
        Column("stream", Text, nullable=False),
        Column("source_id", Text, nullable=False),
        *(leaf_column(leaf) for leaf in entity.leaves),
        Column("absent", ARRAY(Text), nullable=False, server_default=text("'{}'")),
        Column("raw_id", BigInteger),
        Column("value_hash", BigInteger),
        Column("native", JSON),
        Column("declared", Text),
        Column("changed_at", Text),
        Column("batch_id", BigInteger),
        Column("deleted", Boolean, nullable=False, server_default=text("false")),
    ]


def _staged(entity: Entity, metadata: MetaData) -> Table:
    name = entity.name
    listed = ", ".join(f"'{state}'" for state in STATES)
    table = Table(
        name,
        metadata,
        *_record_columns(entity),
        Column("state", Text, nullable=False, server_default=text("'dirty'")),
        Column("unresolved", Boolean, nullable=False, server_default=text("false")),
        Column("staged_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
        PrimaryKeyConstraint("system", "stream", "source_id", name=_name("pk", name, "staged")),
        CheckConstraint(f"state in ({listed})", name="state_is_known"),
        schema="staging",
    )
    keys = (table.c.system, table.c.stream, table.c.source_id)
    Index(_name("ix", name, "dirty"), *keys, postgresql_where=table.c.state == "dirty")
    Index(_name("ix", name, "unresolved"), *keys, postgresql_where=table.c.unresolved)
    matched = (*entity.match.unique, *entity.match.strong, *entity.match.shared)
    _index_present(table, matched, "match")
    return table


def _candidate(entity: Entity, metadata: MetaData) -> Table:
    table = Table(
        f"{entity.name}_candidate",
        metadata,
        Column("_row", BigInteger),
        *_record_columns(entity),
        Column("problems", Text),
        Column("failed", Boolean, nullable=False, server_default=text("false")),
        schema="staging",
        prefixes=["UNLOGGED"],
    )
    Index(_name("ix", entity.name, "candidate", "batch"), table.c.batch_id)
    return table


def _golden(entity: Entity, metadata: MetaData) -> Table:
    table = Table(
        entity.name,
        metadata,
        Column("id", Text, nullable=False),
        Column("version", Integer, nullable=False),
        *(leaf_column(leaf) for leaf in entity.leaves),
        Column("provisional", ARRAY(Text), nullable=False, server_default=text("'{}'")),
        Column("deleted", Boolean, nullable=False, server_default=text("false")),
        Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
        Column("batch_id", BigInteger),
        PrimaryKeyConstraint("id", name=_name("pk", entity.name, "golden")),
        schema="golden",
    )
    # A value token looks its record up by a unique column; a changed parent its children by their references.
    _index_present(table, (*entity.match.unique, *entity.references), "golden")
    return table


def _lines(entity: Entity, field: Field, metadata: MetaData) -> Table:
    name = f"{entity.name}_{field.name}"
    leaves = [leaf for part in field.of for leaf in part.leaves]
    identity = ("id", field.key) if field.key else ()
    table = Table(
        name,
        metadata,
        Column("id", Text, nullable=False),
        *(Column(leaf.column, SQL_TYPES[leaf.kind], nullable=leaf.column != field.key) for leaf in leaves),
        *([PrimaryKeyConstraint(*identity, name=_name("pk", name))] if identity else []),
        schema="golden",
    )
    if not identity:
        Index(_name("ix", name, "id"), table.c.id)
    return table


def _index_present(table: Table, columns: tuple[str, ...], purpose: str) -> None:
    """An index on each column's present values."""
    for column in dict.fromkeys(c for c in columns if c in table.c):
        where = table.c[column].is_not(None)
        Index(_name("ix", table.name, purpose, column), table.c[column], postgresql_where=where)


def _name(*parts: str) -> str:
    """A name for an index or constraint; a long one keeps its beginning and a digest of the whole."""
    whole = "_".join(parts)
    if len(whole) <= LONGEST_NAME:
        return whole
    return f"{whole[: LONGEST_NAME - 9]}_{zlib.crc32(whole.encode()):08x}"


# ---------------------------------------------------------------------------------------------- what cannot be made


def _refuse_collisions(model: Model) -> None:
    problems = [*_table_problems(model)]
    for entity in model.entities:
        problems += _column_problems(entity)
    if problems:
        raise Refused(problems)


def _table_problems(model: Model) -> Iterator[Problem]:
    """Two things of one table name, a table of Concord's own, or a name that PostgreSQL would cut."""
    ours = {(table.schema, table.name) for table in fixed_tables.tables.values()}
    wanted: list[tuple[Entity, str, str, str]] = []
    for entity in model.entities:
        wanted += [
            (entity, "entity", "staging", entity.name),
            (entity, "entity", "staging", f"{entity.name}_candidate"),
            (entity, "entity", "golden", entity.name),
        ]
        for f in entity.fields:
            if f.type == "list":
                wanted.append((entity, f"fields.{f.name}", "golden", f"{entity.name}_{f.name}"))
    taken = Counter((schema, table) for _, _, schema, table in wanted)
    for entity, where, schema, table in wanted:
        if (schema, table) in ours or taken[schema, table] > 1:
            yield Problem(
                entity.source or entity.name, None, where, "a name whose tables are free",
                f"{schema}.{table}, which {'Concord' if (schema, table) in ours else 'another entity or list'} has",
            )  # fmt: skip
        elif len(table) > LONGEST_NAME:
            yield Problem(
                entity.source or entity.name, None, where, f"a table name of at most {LONGEST_NAME} characters",
                f"{schema}.{table}",
            )  # fmt: skip


def _column_problems(entity: Entity) -> Iterator[Problem]:
    """Fields whose columns would be Concord's own, another field's, or too long."""
    plain = Entity(entity.name, "", "", "", "", ())
    empty = _tables_of(plain, MetaData())
    own = {column.name for table in (empty.staged, empty.candidate, empty.golden) for column in table.columns}
    times = Counter(entity.columns)
    for leaf in entity.leaves:
        found = None
        if leaf.column in own:
            found = f"{leaf.column}, which Concord's own bookkeeping has"
        elif times[leaf.column] > 1:
            found = f"{leaf.column} twice"
        elif len(leaf.column) > LONGEST_NAME - len("__old9"):
            found = f"{leaf.column}, which is too long"
        if found:
            yield Problem(
                entity.source or entity.name, None, f"fields.{leaf.field}", "a field whose column is free", found
            )
    for f in entity.fields:
        if any(leaf.column == "id" for part in f.of for leaf in part.leaves):
            yield Problem(
                entity.source or entity.name, None, f"fields.{f.name}.of.id", "a line field of another name",
                "id, which holds the record's canonical id",
            )  # fmt: skip
