"""A legacy order database: the schema `legacy` in PostgreSQL, with the habits of its time.

Dates are text (DD/MM/YYYY), an address is one block of lines, `last_changed` has no zone (it is London's), countries
are whatever was typed. A trigger keeps `last_changed`, as the old application did; another writes `legacy_log.changes`,
which is not part of the business: tests judge from it what was really written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from psycopg import sql

TABLES: dict[str, tuple[str, ...]] = {
    "clients": (
        "client_no", "fullname", "company_name", "vat_no", "tel", "mail", "addr", "ctry", "since", "status_cd",
        "last_changed", "deleted_flag",
    ),
    "products": ("sku", "descr", "unit_price", "last_changed"),
    "orders": (
        "order_no", "client_no", "order_date", "currency", "state_cd", "paid_flag", "shipped_date", "last_changed",
    ),
    "order_lines": ("order_no", "line_no", "sku", "qty", "shipped_qty", "unit_price", "vat_rate", "last_changed"),
}  # fmt: skip
KEYS = {
    "clients": ("client_no",),
    "products": ("sku",),
    "orders": ("order_no",),
    "order_lines": ("order_no", "line_no"),
}

_SCHEMA = """
create schema if not exists legacy;
create schema if not exists legacy_log;
create table if not exists legacy.clients (
  client_no text primary key, fullname text, company_name text, vat_no text, tel text, mail text, addr text,
  ctry text, since text, status_cd text, last_changed timestamp not null, deleted_flag char(1) not null default 'N'
);
create table if not exists legacy.products (
  sku text primary key, descr text, unit_price text, last_changed timestamp not null
);
create table if not exists legacy.orders (
  order_no text primary key, client_no text not null references legacy.clients, order_date text, currency text,
  state_cd text, paid_flag char(1) not null default 'N', shipped_date text, last_changed timestamp not null
);
create table if not exists legacy.order_lines (
  order_no text not null references legacy.orders, line_no integer not null, sku text not null, qty numeric,
  shipped_qty numeric, unit_price numeric, vat_rate numeric, last_changed timestamp not null,
  primary key (order_no, line_no)
);
create index if not exists clients_last_changed on legacy.clients (last_changed);
create index if not exists orders_last_changed on legacy.orders (last_changed);
create index if not exists order_lines_last_changed on legacy.order_lines (last_changed);
create table if not exists legacy_log.changes (
  id bigint generated always as identity primary key, at timestamptz not null default clock_timestamp(),
  tbl text not null, op text not null, old jsonb, new jsonb
);
create or replace function legacy_log.touch() returns trigger language plpgsql as $$
begin
  if tg_op = 'UPDATE' and old is not distinct from new then return new; end if;
  new.last_changed := clock_timestamp() at time zone 'Europe/London';
  return new;
end $$;
create or replace function legacy_log.note() returns trigger language plpgsql as $$
begin
  insert into legacy_log.changes (tbl, op, old, new) values (tg_table_name, tg_op,
    case when tg_op <> 'INSERT' then to_jsonb(old) end, case when tg_op <> 'DELETE' then to_jsonb(new) end);
  return null;
end $$;
"""
_TRIGGERS = """
create or replace trigger touch before insert or update on legacy.{0} for each row execute function legacy_log.touch();
create or replace trigger note after insert or update or delete on legacy.{0}
  for each row execute function legacy_log.note();
"""


def _plain(url: str) -> str:
    """A URL as libpq wants it: SQLAlchemy's names of drivers are taken out."""
    return re.sub(r"^postgresql\+\w+://", "postgresql://", url)


def is_seeded(url: str) -> bool:
    """Whether the legacy database is there already."""
    with psycopg.connect(_plain(url)) as connection:
        row = connection.execute("select to_regclass('legacy_log.seeded') is not null").fetchone()
    return bool(row and row[0])


def create(url: str, rows: Mapping[str, Sequence[Sequence[Any]]]) -> None:
    """Create the schema and fill it, all or nothing. The triggers come last: seeding is not a change."""
    with psycopg.connect(_plain(url)) as connection, connection.cursor() as cursor:
        cursor.execute("drop schema if exists legacy cascade; drop schema if exists legacy_log cascade")
        cursor.execute(_SCHEMA)
        for table, columns in TABLES.items():
            names = sql.SQL(", ").join(map(sql.Identifier, columns))
            with cursor.copy(sql.SQL("copy legacy.{} ({}) from stdin").format(sql.Identifier(table), names)) as copy:
                for row in rows.get(table, ()):
                    copy.write_row(row)
            cursor.execute(_TRIGGERS.format(table))
        cursor.execute("create table legacy_log.seeded as select clock_timestamp() as at")


def edit(url: str, table: str, key: Sequence[Any], fields: Mapping[str, Any]) -> int:
    """A person's change of one row; returns how many rows had that key. `last_changed` moves by itself."""
    wanted = sql.SQL(", ").join(sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder()) for name in fields)
    where = sql.SQL(" and ").join(
        sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder()) for name in KEYS[table]
    )
    statement = sql.SQL("update legacy.{} set {} where {}").format(sql.Identifier(table), wanted, where)
    with psycopg.connect(_plain(url)) as connection:
        return connection.execute(statement, [*fields.values(), *key]).rowcount


def changes(url: str, since: int = 0) -> list[dict[str, Any]]:
    """What was written to the legacy tables after seeding: id, tbl, op, old and new row; oldest first."""
    with psycopg.connect(_plain(url), row_factory=psycopg.rows.dict_row) as connection:
        return connection.execute(
            "select id, at, tbl, op, old, new from legacy_log.changes where id > %s order by id", (since,)
        ).fetchall()


def counts(url: str) -> dict[str, int]:
    """Rows per table."""
    with psycopg.connect(_plain(url)) as connection:
        found = {}
        for table in TABLES:
            row = connection.execute(sql.SQL("select count(*) from legacy.{}").format(sql.Identifier(table))).fetchone()
            found[table] = int(row[0]) if row else 0
        return found
