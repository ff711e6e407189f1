"""Reading a table by keyset: sweeps in key order, incremental reads in (change mark, key) order.

Cursor (JSON):
    {"mark": M}               all marks below M are landed; the next read starts at M less the overlap
    {"mark": M, "after": K}   a sweep that stopped after key K; M is what the table's newest mark was when it began
A stream without a change mark has {"after": K} while it sweeps and {} at its end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import xxhash
from sqlalchemy import BigInteger, ColumnElement, Connection, Engine, Integer, and_, func, literal, or_, select

from connectors.protocol import Cursor, Misdeclared, Page, RefusedRecord, SourceRecord
from connectors.sql.engine import reading
from connectors.sql.errors import translating
from connectors.sql.tables import TableStream, columns_of
from connectors.sql.values import (
    NotLandable,
    bind,
    encode_rows,
    id_parts,
    id_text,
    iso_text,
    source_id,
)

_IDS_A_QUERY = 500
SKEW = timedelta(minutes=5)
"""How far a source's change mark may be ahead of its own clock before it is taken for a mistake."""
Row = Sequence[Any]


@dataclass(slots=True)
class Shaped:
    """Rows as the columns of a page."""

    ids: list[str]
    payloads: list[bytes]
    changed: list[str | None]
    deleted: list[bool]
    parents: list[str]
    refused: list[RefusedRecord]


def shape(stream: TableStream, rows: Sequence[Row]) -> Shaped:
    """Rows as ids, payloads and marks; a row without a usable key, or that has a twin in the page, is refused."""
    names = [facts.name for facts in stream.columns]
    at = {name: i for i, name in enumerate(names)}
    out = Shaped([], [], [], [], [], [])
    encoded = encode_rows([(f.name, f.kind) for f in stream.columns], rows)
    for row, result in zip(rows, encoded, strict=True):
        try:
            identity = source_id(_key_texts(stream, [row[at[k]] for k in stream.key]))
            parent = id_text(row[at[stream.parent]]) if stream.parent else ""
        except NotLandable as problem:
            out.refused.append(RefusedRecord(result.payload, str(problem)))
            continue
        if result.reason is not None:
            out.refused.append(RefusedRecord(result.payload, result.reason, identity))
            continue
        out.ids.append(identity)
        out.payloads.append(result.payload)
        out.changed.append(_mark_text(_mark_value(stream, row, at)))
        out.deleted.append(_is_archived(stream, row, at))
        out.parents.append(parent)
    return out


def _key_texts(stream: TableStream, values: Sequence[Any]) -> list[str]:
    return [id_text(v, padded=stream.facts_of(k).is_padded) for k, v in zip(stream.key, values, strict=True)]


def _mark_value(stream: TableStream, row: Row, at: dict[str, int]) -> Any:
    if stream.changed is None:
        return None
    value = row[at[stream.changed]]
    return row[at[stream.created]] if value is None and stream.created else value


def _mark_text(value: Any) -> str | None:
    return None if value is None else iso_text(value)


def _is_archived(stream: TableStream, row: Row, at: dict[str, int]) -> bool:
    if stream.archive is None:
        return False
    value = row[at[stream.archive.column]]
    return value == stream.archive.value or (value is not None and str(value) == str(stream.archive.value))


def read(engine: Engine, stream: TableStream, since: Cursor | None, timezone: str) -> Iterator[Page]:
    """Pages of the stream; each is its own short read-only transaction."""
    if since is None or stream.changed is None or "after" in since or not since.get("mark"):
        yield from _sweep(engine, stream, dict(since or {}), timezone)
    else:
        yield from _changed_since(engine, stream, str(since["mark"]), timezone)


def _sweep(engine: Engine, stream: TableStream, since: dict[str, Any], timezone: str) -> Iterator[Page]:
    """Every row once, by key. What changes meanwhile is found by the next incremental read."""
    after = since.get("after")
    with translating(stream.where), reading(engine) as connection:
        mark = since.get("mark") if after else _newest(connection, stream, timezone)
        total = None if after else int(connection.execute(select(func.count()).select_from(stream.source)).scalar_one())
        unusable = [] if after else _without_key(connection, stream)
    keys = [stream.element(k) for k in stream.key]
    base = {"mark": mark} if mark is not None else {}
    while True:
        condition = _beyond(keys, _bound_key(stream, after, engine)) if after else None
        rows = _fetch(engine, stream, [*(k.is_not(None) for k in keys)], condition, keys)
        more = len(rows) > stream.page_size
        last = rows[: stream.page_size]
        after = _key_position(stream, last[-1]) if last else None
        page = _page(stream, rows, {**base, "after": after} if more else base, not more)
        page.total = total
        page.refused.extend(unusable)
        unusable = []
        yield page
        if not more:
            return


def _changed_since(engine: Engine, stream: TableStream, mark: str, timezone: str) -> Iterator[Page]:
    """Rows with a mark at or beyond `mark` less the overlap, up to the newest mark seen at the start."""
    assert stream.changed is not None
    keys = [stream.element(k) for k in stream.key]
    order = _order(stream)
    kind = stream.facts_of(stream.changed).kind
    dialect = engine.dialect.name
    with translating(stream.where), reading(engine) as connection:
        until = connection.execute(select(func.max(order)).select_from(stream.source)).scalar_one()
        now = _now(connection, timezone)
    as_text = dialect == "sqlite" or kind == "text"
    start = _bound(
        kind, _reach_back(mark, stream.overlap_seconds, ZoneInfo(timezone), as_text=as_text), dialect, stream
    )
    fixed = [order >= typed(order, start), *(k.is_not(None) for k in keys)]
    if until is not None:
        fixed.append(order <= typed(order, until))
    beyond: ColumnElement[bool] | None = None
    while True:
        rows = _fetch(engine, stream, fixed, beyond, [order, *keys])
        more = len(rows) > stream.page_size
        last = rows[: stream.page_size][-1:]
        names = {f.name: i for i, f in enumerate(stream.columns)}
        if last:
            value = _mark_value(stream, last[0], names)
            mark = later(mark, capped(_mark_text(value), now))
            key = [last[0][names[k]] for k in stream.key]
            beyond = _beyond([order, *keys], [value, *key])
        yield _page(stream, rows, {"mark": mark}, not more)
        if not more:
            return


def _order(stream: TableStream) -> ColumnElement[Any]:
    assert stream.changed is not None
    element = stream.element(stream.changed)
    return func.coalesce(element, stream.element(stream.created)) if stream.created else element


def _fetch(
    engine: Engine,
    stream: TableStream,
    fixed: Sequence[ColumnElement[bool]],
    beyond: ColumnElement[bool] | None,
    order: Sequence[ColumnElement[Any]],
) -> list[Row]:
    """One page and one row more, which tells whether there is another page."""
    conditions = [*fixed, beyond] if beyond is not None else list(fixed)
    query = select(*columns_of(stream)).where(*conditions).order_by(*order).limit(stream.page_size + 1)
    with translating(stream.where), reading(engine) as connection:
        return list(connection.execute(query).all())


def _page(stream: TableStream, rows: Sequence[Row], cursor: Cursor, is_last: bool) -> Page:
    """The rows as a page. Two rows of one key are both refused: nothing says which of them is right."""
    rows = list(rows)
    extra = rows.pop() if not is_last else None
    at = {f.name: i for i, f in enumerate(stream.columns)}
    counts: dict[tuple[str, ...], int] = {}
    for row in [*rows, *([extra] if extra is not None else [])]:
        twin = tuple(str(row[at[n]]) for n in stream.key)
        counts[twin] = counts.get(twin, 0) + 1
    single: list[Row] = []
    twins: list[Row] = []
    for row in rows:
        (single if counts[tuple(str(row[at[n]]) for n in stream.key)] == 1 else twins).append(row)
    shaped = shape(stream, single)
    doubled = shape(stream, twins)
    because = f"several rows have this key ({', '.join(stream.key)})"
    refused = [RefusedRecord(p, because, i) for i, p in zip(doubled.ids, doubled.payloads, strict=True)]
    return Page(
        ids=shaped.ids,
        payloads=shaped.payloads,
        changed=shaped.changed,
        deleted=shaped.deleted,
        cursor=cursor,
        parents=shaped.parents if stream.parent else None,
        refused=[*shaped.refused, *refused, *doubled.refused],
        is_last=is_last,
        schema=fingerprint(stream),
    )


def fingerprint(stream: TableStream) -> str:
    """Changes when a column of the stream comes, goes or changes its type."""
    shown = "\n".join(f"{f.name}:{f.kind}:{f.length}" for f in sorted(stream.columns, key=lambda f: f.name))
    return xxhash.xxh3_64_hexdigest(shown.encode())


def _beyond(elements: Sequence[ColumnElement[Any]], values: Sequence[Any]) -> ColumnElement[bool]:
    """Lexicographic `elements > values`, spelled out because not every dialect compares rows, and index-friendly."""
    bounds = [typed(e, v) for e, v in zip(elements, values, strict=True)]
    branches = [
        and_(*(e == b for e, b in zip(elements[:i], bounds[:i], strict=True)), elements[i] > bounds[i])
        for i in range(len(elements))
    ]
    return and_(elements[0] >= bounds[0], or_(*branches))


def typed(element: ColumnElement[Any], value: Any) -> ColumnElement[Any]:
    """The value as a parameter of the element's own type: PostgreSQL compares no timestamp with a varchar.

    Whole numbers go as the widest kind, so that an id too large for its column is no error but no row.
    """
    return literal(value, BigInteger() if isinstance(element.type, Integer) else element.type)


def _key_position(stream: TableStream, row: Row) -> list[Any]:
    """The row's key for the cursor: JSON scalars, exact."""
    at = {f.name: i for i, f in enumerate(stream.columns)}
    values = [row[at[k]] for k in stream.key]
    return [v if isinstance(v, (str, int)) and not isinstance(v, bool) else id_text(v) for v in values]


def _bound_key(stream: TableStream, after: Sequence[Any], engine: Engine) -> list[Any]:
    if not isinstance(after, list) or len(after) != len(stream.key):
        raise Misdeclared("the stored cursor is of another key than the declared one", where=stream.where)
    return [
        _bound(stream.facts_of(k).kind, v, engine.dialect.name, stream) for k, v in zip(stream.key, after, strict=True)
    ]


def _bound(kind: Any, value: Any, dialect: str, stream: TableStream) -> Any:
    try:
        return bind(kind, value, dialect)
    except ValueError:
        raise Misdeclared("the stored cursor does not fit the column", where=stream.where) from None


def _without_key(connection: Connection, stream: TableStream) -> list[RefusedRecord]:
    """Rows that keyset order cannot reach because a part of their key is null."""
    empty = or_(*(stream.element(k).is_(None) for k in stream.key))
    rows = connection.execute(select(*columns_of(stream)).where(empty).limit(stream.page_size)).all()
    return shape(stream, rows).refused


def _newest(connection: Connection, stream: TableStream, timezone: str) -> str | None:
    """The newest change mark, or the source's now where a row claims to come from the future."""
    if stream.changed is None:
        return None
    found = connection.execute(select(func.max(_order(stream))).select_from(stream.source)).scalar_one()
    return capped(_mark_text(found), _now(connection, timezone))


def _now(connection: Connection, timezone: str) -> datetime:
    """The database's own clock, as a wall clock in the system's declared zone and in UTC at once."""
    shown = iso_text(connection.execute(select(func.current_timestamp())).scalar_one())
    moment = datetime.fromisoformat(shown)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(ZoneInfo(timezone))


def capped(mark: str | None, now: datetime) -> str | None:
    """The mark, or now where it lies in the future : one bad date must not poison the cursor."""
    moment = _moment(mark)
    if mark is None or moment is None:
        return mark
    limit = now if moment.tzinfo else now.replace(tzinfo=None)
    if moment <= limit + SKEW:
        return mark
    return limit.date().isoformat() if len(mark) == 10 else limit.isoformat(timespec="seconds")


def later(mark: str, other: str | None) -> str:
    """The greater of two marks; a read that began inside the overlap must not move the cursor back."""
    if other is None:
        return mark
    first, second = _moment(mark), _moment(other)
    if first is not None and second is not None and (first.tzinfo is None) == (second.tzinfo is None):
        return other if second >= first else mark
    if mark.lstrip("-").isdigit() and other.lstrip("-").isdigit():
        return str(max(int(mark), int(other)))
    return other


def _moment(mark: str | None) -> datetime | None:
    if mark is None or len(mark) < 10 or mark.isdigit():
        return None
    try:
        return datetime.fromisoformat(mark)
    except ValueError:
        return None


def _reach_back(mark: str, seconds: float, zone: ZoneInfo, *, as_text: bool) -> str:
    """The mark less the overlap. A mark that is not a time (a row version) has none: it starts at itself.

    A wall clock shows one hour of autumn twice: a mark in that hour reaches back to its first showing.
    Where the database compares marks as text, the form that sorts before every other form of that second is used:
    a blank sorts before the `T`, and no zone before any zone.
    """
    moment = _moment(mark)
    if moment is None:
        return mark
    earlier = moment - timedelta(seconds=seconds) - _repeated(moment, zone)
    if len(mark) == 10:
        return date.isoformat(earlier.date())
    if as_text:
        return earlier.replace(tzinfo=None).isoformat(sep=" ", timespec="seconds")
    return earlier.isoformat(timespec="seconds")


def _repeated(moment: datetime, zone: ZoneInfo) -> timedelta:
    """How much of a wall clock without a zone is shown a second time around this moment (usually nothing)."""
    if moment.tzinfo is not None:
        return timedelta()
    first, second = (moment.replace(tzinfo=zone, fold=fold).utcoffset() or timedelta() for fold in (0, 1))
    return max(first - second, timedelta())


def get(engine: Engine, stream: TableStream, ids: Sequence[str]) -> list[SourceRecord]:
    """The rows of these ids that exist."""
    found: list[SourceRecord] = []
    with translating(stream.where), reading(engine) as connection:
        for start in range(0, len(ids), _IDS_A_QUERY):
            found.extend(rows_by_id(connection, stream, ids[start : start + _IDS_A_QUERY]))
    return found


def rows_by_id(connection: Connection, stream: TableStream, ids: Sequence[str]) -> list[SourceRecord]:
    """The rows of these ids, inside the caller's transaction."""
    keys = [bound for text in ids if (bound := key_values(stream, text, connection.dialect.name)) is not None]
    if not keys:
        return []
    elements = [stream.element(k) for k in stream.key]
    condition: ColumnElement[bool]
    if len(elements) == 1:
        condition = elements[0].in_([typed(elements[0], k[0]) for k in keys])
    else:
        condition = or_(*(and_(*(e == typed(e, v) for e, v in zip(elements, k, strict=True))) for k in keys))
    wanted = set(ids)
    rows = connection.execute(select(*columns_of(stream)).where(condition)).all()
    return [record for record in as_records(stream, rows) if record.id in wanted]


def key_values(stream: TableStream, text: str, dialect: str) -> list[Any] | None:
    """The key's values for an id; None where no row can have it."""
    parts = id_parts(text, len(stream.key))
    if parts is None:
        return None
    try:
        return [bind(stream.facts_of(k).kind, p, dialect) for k, p in zip(stream.key, parts, strict=True)]
    except ValueError:
        return None


def as_records(stream: TableStream, rows: Sequence[Row]) -> list[SourceRecord]:
    """Rows as records; those that cannot be landed are left out."""
    shaped = shape(stream, rows)
    columns = zip(shaped.ids, shaped.payloads, shaped.changed, shaped.deleted, strict=True)
    return [SourceRecord(*values) for values in columns]
