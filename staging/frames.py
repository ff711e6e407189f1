"""Whole batches between PostgreSQL and polars, by COPY: the one way rows move in bulk.

Every value crosses as text in its canonical form (`canonical.model`), so a value read back equals the value written,
to the character. "" and NULL are different things and stay so: both sides write "" quoted and NULL as nothing.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import polars as pl
from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql
from sqlalchemy.sql import ClauseElement, quoted_name

from canonical.model import LeafKind

_DIALECT = postgresql.dialect(paramstyle="named")  # type: ignore[no-untyped-call]  # named: a % in a literal stays one
AT_ONCE_ROWS, AT_ONCE_BYTES = 2_000, 4 << 20
"""How much of a frame is text at a time: the whole of a chunk's writes took 120 MiB beside the frame. And the server
stores one part while the next is written."""


def ident(*names: str) -> str:
    """A (schema-qualified) identifier, quoted by SQLAlchemy."""
    preparer = _DIALECT.identifier_preparer
    return ".".join(preparer.quote_identifier(quoted_name(n, quote=True)) for n in names)


def literal(value: str | int | None) -> str:
    """A value as a SQL literal, for COPY statements, which take no parameters."""
    if value is None:
        return "NULL"
    if isinstance(value, int):
        return str(value)
    return "'" + value.replace("'", "''") + "'"


def compiled(statement: ClauseElement) -> str:
    """A SQLAlchemy statement with its parameters written in."""
    return str(statement.compile(dialect=_DIALECT, compile_kwargs={"literal_binds": True}))


def as_text(expression: str, kind: LeafKind | str) -> str:
    """SQL that gives a typed column in its canonical text form."""
    if kind == "datetime":
        return f"to_char({expression} at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
    if kind == "boolean":
        return f"case {expression} when true then 'true' when false then 'false' end"
    return f"{expression}::text"


def read_frame(conn: Connection, query: str | ClauseElement, schema: Mapping[str, Any]) -> pl.DataFrame:
    """Rows of `query` (at least two columns, in the order of `schema`) as a frame of those polars types.

    `List(String)` columns must be selected as `array_to_json(col)::text`."""
    sql = query if isinstance(query, str) else compiled(query)
    as_it_comes = (pl.List, pl.Boolean)
    plain = {n: pl.String if _is(t, as_it_comes) else t for n, t in schema.items()}
    parts: list[pl.DataFrame] = []
    buffer = io.BytesIO()
    cursor = conn.connection.driver_connection.cursor()  # type: ignore[union-attr]
    with cursor, cursor.copy(f"COPY ({sql}) TO STDOUT (FORMAT csv)") as copy:
        for row in copy:  # the server sends each row as a message of its own
            buffer.write(row)
            if buffer.tell() > AT_ONCE_BYTES:
                parts.append(_parsed(buffer, plain))
                buffer = io.BytesIO()
    if buffer.tell():
        parts.append(_parsed(buffer, plain))
    if not parts:
        return pl.DataFrame(schema=dict(schema))
    return pl.concat(parts).with_columns(
        pl.col(n) == "t" if _is(t, (pl.Boolean,)) else pl.col(n).str.json_decode(pl.List(pl.String))
        for n, t in schema.items()
        if _is(t, as_it_comes)
    )


def _parsed(buffer: io.BytesIO, schema: dict[str, Any]) -> pl.DataFrame:
    buffer.seek(0)
    return pl.read_csv(buffer, has_header=False, schema=schema)


def _is(kind: Any, kinds: tuple[Any, ...]) -> bool:
    """Whether a polars type, given as class or instance, is one of `kinds`."""
    return isinstance(kind, kinds) or kind in kinds


def write_frame(conn: Connection, table: str, frame: pl.DataFrame, columns: Sequence[str] | None = None) -> int:
    """COPY `frame` into `table` (already quoted); its column names are the table's. Returns the rows written.

    `List(String)` columns become `text[]`; their elements must be names, not free text."""
    if frame.is_empty():
        return 0
    frame = frame.select(columns) if columns is not None else frame
    lists = [n for n, t in frame.schema.items() if isinstance(t, pl.List)]
    if lists:
        frame = frame.with_columns(
            pl.when(pl.col(n).is_null()).then(None).otherwise("{" + pl.col(n).list.join(",") + "}").alias(n)
            for n in lists
        )
    names = ", ".join(ident(n) for n in frame.columns)
    cursor = conn.connection.driver_connection.cursor()  # type: ignore[union-attr]
    with cursor, cursor.copy(f"COPY {table} ({names}) FROM STDIN (FORMAT csv)") as copy:
        for part in frame.iter_slices(AT_ONCE_ROWS):
            buffer = io.BytesIO()
            part.write_csv(buffer, include_header=False, quote_style="necessary")
            copy.write(buffer.getbuffer())
    return frame.height


LEARN_FROM = 2_000
"""Rows written at once from which on a table's statistics may be far behind."""


def learn(conn: Connection, table: str, written: int) -> None:
    """Refreshes a table's statistics after a bulk write, where they know less than half of what it has now.

    Between a first load and autovacuum's next round the planner takes a table for empty, and reads the whole of it once
    for each row of another. A role without the right to (PostgreSQL below 17) waits for autovacuum."""
    if written < LEARN_FROM:
        return
    known = conn.exec_driver_sql(f"select reltuples from pg_class where oid = {literal(table)}::regclass").scalar_one()
    if known < written:
        relearn(conn, table, written)


def relearn(conn: Connection, table: str, changed: int) -> None:
    """Refreshes a table's statistics after many of its rows took another state: where the planner knows of none in the
    new state, it compares all of them with each other."""
    if changed < LEARN_FROM:
        return
    # a tenth of the usual sample tells a full table from an empty one; autovacuum looks closer later
    conn.exec_driver_sql("set local default_statistics_target = 10")
    # whoever analyses the table now does it for us too; waiting would make two writers wait for each other
    conn.exec_driver_sql(f"analyze (skip_locked) {table}")
    conn.exec_driver_sql("set local default_statistics_target to default")


@contextmanager
def by_index(conn: Connection) -> Iterator[None]:
    """What the statements of this block look up for each row, they look up by an index, also in a table that is empty
    when they are planned: another stream may fill it meanwhile (see `expectations.run.SESSION`)."""
    conn.exec_driver_sql("set local enable_seqscan = off")
    yield
    conn.exec_driver_sql("set local enable_seqscan to default")


def temporary(conn: Connection, name: str, columns: Mapping[str, str], frame: pl.DataFrame) -> str:
    """A temporary table that lives until the transaction ends, filled with `frame`; gives its quoted name."""
    listed = ", ".join(f"{ident(c)} {t}" for c, t in columns.items())
    conn.exec_driver_sql(f"drop table if exists {ident('pg_temp', name)}")
    conn.exec_driver_sql(f"create temporary table {ident(name)} ({listed}) on commit drop")
    write_frame(conn, ident("pg_temp", name), frame, list(columns))
    if frame.height > 1000:
        conn.exec_driver_sql(f"analyze {ident('pg_temp', name)}")
    return ident("pg_temp", name)
