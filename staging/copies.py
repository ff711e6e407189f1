"""What other rows copied of an erased subject: found by its identifying values in every text of every table.

A record's own values are never touched, for they would be written to targets: another record that holds such a value
itself (a household's address) is counted as a mention. Everything else (payloads as read, logs, answers, drafts) loses
the value, and is searched again afterwards.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, text

from staging import audit
from staging.frames import ident
from staging.ledger import entities

GONE = "[erased]"
"""Stands where a text was that must not be empty."""
OWN = frozenset(
    ("system", "stream", "source_id", "raw_id", "declared", "batch_id", "deleted", "state", "unresolved", "staged_at",
     "absent", "id", "version", "provisional", "updated_at")
)  # fmt: skip
"""Columns of entity tables that are bookkeeping."""


@dataclass
class Erased:
    """What was erased: table → rows; and what a search of every table found afterwards."""

    counts: dict[str, int] = field(default_factory=dict)
    copies: dict[str, int] = field(default_factory=dict)
    """table.column → rows of others in which identifying values were blackened."""
    mentions: dict[str, int] = field(default_factory=dict)
    """table.column → rows of other records that hold such a value as their own: they stay."""
    left: dict[str, int] = field(default_factory=dict)
    """table.column → rows in which something is still found; nothing, or the erasure is not whole."""
    searched: int = 0
    """Columns that were searched afterwards."""

    def count(self, table: str, rows: int) -> None:
        if rows:
            self.counts[table] = self.counts.get(table, 0) + rows


_SCHEMAS = ("landing", "staging", "golden", "ops")
_TEXTS = ("text", "json", "jsonb", "text[]")
_UNTOUCHED = frozenset(
    (("ops", "audit"), ("ops", "declaration"), ("ops", "schema_version"), ("ops", "erased"), ("ops", "erasure"))
)
"""Tables that hold no value of a record by their nature; they are searched, not changed."""
_UNSENT = "t.state in ('planned', 'ready', 'waiting', 'held', 'inflight', 'unknown')"


def blacken(conn: Connection, values: Sequence[str], done: Erased) -> None:
    """Takes identifying values out of everything that is no record's own value, and searches every column again."""
    pattern = _pattern(values)
    keep_shares(conn, f"(select t.id from ops.outbox t where t.payload::text ~* :p and not ({_UNSENT}))", p=pattern)
    # a reason is believed by its digest: one without its words is none
    gone = conn.execute(text("delete from ops.audit_reason where reason ~* :p"), {"p": pattern}).rowcount
    if gone:
        done.copies["ops.audit_reason.reason"] = gone
    tables = columns_of(conn)
    keys = _key_columns(conn)
    own = _own_values(conn, tables)
    for place, columns in tables.items():
        for column, kind in columns.items():
            if kind not in _TEXTS:
                continue
            where = f"{place[0]}.{place[1]}.{column}"
            stays = _stays(place, column, own, keys)
            if stays != "true":
                cast = f"regexp_replace(t.{ident(column)}::text, :p, '{GONE}', 'gi')::{kind}"
                changed = conn.execute(
                    text(f"update {ident(*place)} t set {ident(column)} = {cast} where t.{ident(column)}::text ~* :p"
                         f" and not ({stays})"),
                    {"p": pattern},
                ).rowcount  # fmt: skip
                if changed:
                    done.copies[where] = changed
            done.searched += 1
            _search(conn, place, column, pattern, stays, done)


def keep_shares(conn: Connection, writes: str, **values: str) -> None:
    """Each attempt's share in its batch's digest stays, without what it was worked out from: the others of the batch
    can still be proved (`staging.audit`). `writes`: SQL of the writes whose payloads are about to be erased."""
    rows = conn.execute(
        text(
            "select a.id, a.salt, a.outbox_id, a.number, a.outcome, a.status, o.payload::text as payload"
            " from ops.attempt a join ops.outbox o on o.id = a.outbox_id"
            f" where a.salt is not null and a.outbox_id in {writes}"
        ),
        values,
    ).all()
    for r in rows:
        share = audit.leaf(r.salt, (r.outbox_id, r.number, r.outcome, r.status, r.payload))
        conn.execute(
            text("update ops.attempt set leaf = :leaf, salt = null where id = :id"), {"leaf": share, "id": r.id}
        )


def _search(conn: Connection, place: tuple[str, str], column: str, pattern: str, stays: str, done: Erased) -> None:
    """Counts what is still found in a column: other records' own values, and what should not be there."""
    found = conn.execute(
        text(
            f"select count(*) filter (where {stays}) as own, count(*) filter (where not ({stays})) as wrong"
            f" from {ident(*place)} t where t.{ident(column)}::text ~* :p"
        ),
        {"p": pattern},
    ).one()
    where = f"{place[0]}.{place[1]}.{column}"
    if found.own:
        done.mentions[where] = int(found.own)
    if found.wrong:
        done.left[where] = int(found.wrong)


def _stays(
    place: tuple[str, str], column: str, own: Mapping[tuple[str, str], frozenset[str]], keys: frozenset[tuple[str, ...]]
) -> str:
    """SQL: whether a row's value in this column is left as it is, being another record's own."""
    if place in _UNTOUCHED or (*place, column) in keys or column in own.get(place, ()):
        return "true"
    if place == ("ops", "outbox") and column in ("payload", "asked", "before", "refs"):
        return _UNSENT
    if place == ("landing", "raw_record") and column == "payload":
        # a landed version whose record holds the value itself: it would be made into another value by a rework
        held = " or ".join(
            f"exists (select from {ident('staging', entity)} s where (s.system, s.stream, s.source_id) = (t.system,"
            f" t.stream, t.source_id) and concat_ws(' ', {', '.join(f's.{ident(c)}' for c in sorted(columns))}) ~* :p)"
            for (schema, entity), columns in own.items()
            if schema == "staging" and columns
        )
        return held or "false"
    return "false"


def _own_values(
    conn: Connection, tables: Mapping[tuple[str, str], Mapping[str, str]]
) -> dict[tuple[str, str], frozenset[str]]:
    """(schema, table) of staged and golden records, and of their lines → the columns that hold their values."""
    names = entities(conn)
    own: dict[tuple[str, str], frozenset[str]] = {}
    for (schema, name), columns in tables.items():
        is_lines = schema == "golden" and name != "history" and name not in names
        if (schema in ("staging", "golden") and name in names) or is_lines:
            own[schema, name] = frozenset(c for c, k in columns.items() if c not in OWN | {"native"} and k in _TEXTS)
    return own


def _pattern(values: Sequence[str]) -> str:
    """The values as one regular expression, as whole words, also as they stand inside of JSON."""
    forms: dict[str, None] = {}
    for value in values:
        forms |= dict.fromkeys((value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]))
    escaped = (re.sub(r"([^\w\s])", r"\\\1", form) for form in sorted(forms, key=len, reverse=True))
    return f"(?<![[:alnum:]])(?:{'|'.join(escaped)})(?![[:alnum:]])"


def columns_of(conn: Connection) -> dict[tuple[str, str], dict[str, str]]:
    """Every table of ours → its columns and their types."""
    found = conn.execute(
        text(
            "select n.nspname, c.relname, a.attname, format_type(a.atttypid, null) as kind from pg_class c"
            " join pg_namespace n on n.oid = c.relnamespace join pg_attribute a on a.attrelid = c.oid"
            " where c.relkind = 'r' and n.nspname = any(:schemas) and a.attnum > 0 and not a.attisdropped"
            " order by 1, 2, a.attnum"
        ),
        {"schemas": list(_SCHEMAS)},
    )
    tables: dict[tuple[str, str], dict[str, str]] = {}
    for r in found:
        tables.setdefault((r.nspname, r.relname), {})[r.attname] = r.kind
    return tables


def _key_columns(conn: Connection) -> frozenset[tuple[str, ...]]:
    """(schema, table, column) of ids: they name records, and must stay what they are."""
    found = conn.execute(
        text(
            "select n.nspname, c.relname, a.attname from pg_index i join pg_class c on c.oid = i.indrelid"
            " join pg_namespace n on n.oid = c.relnamespace join pg_attribute a on a.attrelid = c.oid"
            " and a.attnum = any(i.indkey) where i.indisprimary and n.nspname = any(:schemas)"
        ),
        {"schemas": list(_SCHEMAS)},
    )
    named = {(r.nspname, r.relname, r.attname) for r in found}
    tables = columns_of(conn)
    ids = ("source_id", "canonical_id", "other")
    return frozenset(named | {(*place, c) for place, columns in tables.items() for c in columns if c in ids})
