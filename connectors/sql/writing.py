"""Writing to a table: one transaction a batch, one savepoint a write, every receipt with the row as it then stood."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Engine, and_, exc, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from connectors import journal, lease
from connectors.protocol import (
    Ambiguous,
    ConnectorError,
    LeaseOver,
    Misdeclared,
    Receipt,
    Rejected,
    SourceRecord,
    Transient,
    Write,
)
from connectors.sql.errors import translated, translating
from connectors.sql.reading import as_records, key_values, rows_by_id, typed
from connectors.sql.tables import TableStream, column_facts, columns_of, known
from connectors.sql.values import bind, bind_written, id_text, source_id

_UPSERTS: dict[str, Callable[..., Any]] = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}


def find(connection: Connection, stream: TableStream, by: Mapping[str, str]) -> list[SourceRecord]:
    """Live rows whose columns equal all values exactly, also where the database compares without regard to case."""
    available = [facts.name for facts in stream.columns]
    if not by:
        raise Misdeclared("find: expected at least one column", where=stream.where)
    conditions = []
    for name, text in by.items():
        facts = stream.facts_of(known(name, available, "find", stream.where))
        try:
            element = stream.element(name)
            conditions.append(element == typed(element, bind(facts.kind, text, connection.dialect.name)))
        except ValueError:
            return []
    at = {facts.name: i for i, facts in enumerate(stream.columns)}
    rows = connection.execute(select(*columns_of(stream)).where(*conditions)).all()
    texts = {n: t for n, t in by.items() if stream.facts_of(n).kind == "text"}
    exact = [
        row
        for row in rows
        if all(str(row[at[n]]).rstrip(" " if stream.facts_of(n).is_padded else "") == t for n, t in texts.items())
    ]
    return [record for record in as_records(stream, exact) if not record.deleted]


def write(engine: Engine, stream: TableStream, writes: Sequence[Write]) -> list[Receipt]:
    """All writes in one transaction. Raises Misdeclared for a column that is not there, before anything is done."""
    available = [c.name for c in stream.table.columns]
    for item in writes:
        for name in item.payload:
            known(name, available, item.op, stream.where)
    with translating(stream.where), engine.connect() as connection:
        transaction = connection.begin()
        receipts = [_attempt(connection, stream, item) for item in writes]
        receipts = _read_back(connection, stream, receipts)
        if (left := lease.left_seconds()) is not None and left <= 0:
            transaction.rollback()
            raise LeaseOver("not committed: the lease is over, somebody else may be at it", where=stream.where)
        journal.note(writes[0].op.upper() if writes else "", f"/{stream.table.name}", 0)
        try:
            transaction.commit()
        except exc.DBAPIError as error:
            problem = translated(error, stream.where)
            if isinstance(problem, Rejected):
                raise Misdeclared("a deferred constraint refused the whole batch", where=stream.where) from None
            raise Ambiguous("the connection was lost while the batch was committed", where=stream.where) from None
    return receipts


def _attempt(connection: Connection, stream: TableStream, item: Write) -> Receipt:
    """One write in its own savepoint. Only what concerns this record alone becomes a receipt."""
    steps = {"create": _create, "update": _update, "archive": _archive}
    step = steps.get(item.op)
    if step is None:
        raise Misdeclared(f"{item.op} is not declared for this stream", where=stream.where)
    try:
        with connection.begin_nested():
            return step(connection, stream, item)
    except Rejected as problem:
        return Receipt(item.ref, "rejected", item.source_id, field=problem.field, reason=problem.reason)
    except exc.SQLAlchemyError as error:
        found = translated(error, stream.where)
        if not isinstance(found, Rejected):
            raise _undone(found) from None
        return Receipt(item.ref, "rejected", item.source_id, field=found.field, reason=found.reason)


def _undone(problem: ConnectorError) -> ConnectorError:
    """Before the commit nothing is done: what was lost with the connection can simply be tried again."""
    return Transient(str(problem)) if isinstance(problem, Ambiguous) else problem


def _values(connection: Connection, stream: TableStream, item: Write) -> dict[str, Any]:
    columns = stream.table.c
    dialect = connection.dialect.name
    out: dict[str, Any] = {}
    for name, value in item.payload.items():
        facts = _facts_for_write(stream, name)
        bound = bind_written(name, facts[0], facts[1], value, dialect)
        if bound is None and not columns[name].nullable:
            raise Rejected("must not be empty", field=name)
        out[name] = bound
    return out


def _facts_for_write(stream: TableStream, name: str) -> tuple[Any, int | None]:
    facts = column_facts(stream.table.c[name])
    return facts.kind, facts.length


def _create(connection: Connection, stream: TableStream, item: Write) -> Receipt:
    values = _values(connection, stream, item)
    if stream.marker:
        values[stream.marker] = item.key
    keys = [stream.table.c[k] for k in stream.key]
    unique = (stream.marker,) if stream.marker else stream.upsert_by
    upsert = _UPSERTS.get(connection.dialect.name)
    if not unique or upsert is None:
        row = connection.execute(insert(stream.table).values(values).returning(*keys)).one()
        return _done(stream, item, row)
    missing = [name for name in unique if values.get(name) is None]
    if missing:
        raise Rejected("must be given: creates are recognised by it", field=missing[0])
    statement = upsert(stream.table).values(values)
    rest = {n: statement.excluded[n] for n in values if n not in unique}
    # A create with the same marker is the same create: the row stays as it is, and DO UPDATE only makes it returnable.
    again = {stream.marker: statement.excluded[stream.marker]} if stream.marker else rest
    again = again or {unique[0]: statement.excluded[unique[0]]}
    row = connection.execute(
        statement.on_conflict_do_update(index_elements=list(unique), set_=again).returning(*keys)
    ).one()
    return _done(stream, item, row)


def _done(stream: TableStream, item: Write, row: Sequence[Any]) -> Receipt:
    parts = [id_text(v, padded=stream.facts_of(k).is_padded) for k, v in zip(stream.key, row, strict=True)]
    return Receipt(item.ref, "done", source_id(parts))


def _update(connection: Connection, stream: TableStream, item: Write) -> Receipt:
    return _set(connection, stream, item, _values(connection, stream, item))


def _archive(connection: Connection, stream: TableStream, item: Write) -> Receipt:
    if stream.archive is None:
        raise Misdeclared("archive needs the stream option `archive: {column: …, value: …}`", where=stream.where)
    kind, length = _facts_for_write(stream, stream.archive.column)
    value = bind_written(stream.archive.column, kind, length, stream.archive.value, connection.dialect.name)
    return _set(connection, stream, item, {stream.archive.column: value})


def _set(connection: Connection, stream: TableStream, item: Write, values: Mapping[str, Any]) -> Receipt:
    key = key_values(stream, item.source_id or "", connection.dialect.name)
    gone = Receipt(item.ref, "rejected", item.source_id, reason="no row has this key", status=404)
    if key is None:
        return gone
    condition = and_(*(e == typed(e, v) for e, v in zip(map(stream.element, stream.key), key, strict=True)))
    if not values:
        found = connection.execute(select(stream.element(stream.key[0])).where(condition)).first()
        return Receipt(item.ref, "done", item.source_id) if found else gone
    changed = connection.execute(update(stream.table).where(condition).values(values)).rowcount
    if changed > 1:
        raise Misdeclared(f"the key ({', '.join(stream.key)}) names several rows", where=stream.where)
    return Receipt(item.ref, "done", item.source_id) if changed else gone


def _read_back(connection: Connection, stream: TableStream, receipts: Sequence[Receipt]) -> list[Receipt]:
    """The rows as they stand before the commit, triggers included, in one query for the whole batch."""
    ids = [r.source_id for r in receipts if r.outcome == "done" and r.source_id is not None]
    records = {record.id: record.payload for record in rows_by_id(connection, stream, ids)} if ids else {}
    return [
        Receipt(r.ref, r.outcome, r.source_id, record=records.get(r.source_id or "")) if r.outcome == "done" else r
        for r in receipts
    ]
