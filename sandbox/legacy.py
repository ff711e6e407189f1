"""A legacy order database: the schemas `legacy` and `warehouse` in PostgreSQL, with the habits of their time.

Dates are text (DD/MM/YYYY), an address is one block of lines, `last_changed` has no zone (it is London's), countries
are whatever was typed. The warehouse came later, with dates that are dates: shipments, returns, and a view of how far
each order has come. Its tables are named with their schema (`warehouse.shipments`), the order desk's without.
A trigger keeps `last_changed`, as the old application did; another writes `legacy_log.changes`, which is not part of
the business: tests judge from it what was really written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from psycopg import sql

TABLES: dict[str, tuple[str, ...]] = {
    "clerks": ("clerk_no", "name", "mail", "active", "last_changed"),
    "clients": (
        "client_no", "fullname", "company_name", "vat_no", "tel", "mail", "addr", "ctry", "since", "status_cd",
        "last_changed", "deleted_flag",
    ),
    "products": ("sku", "descr", "unit_price", "last_changed"),
    "orders": (
        "order_no", "client_no", "order_date", "currency", "state_cd", "paid_flag", "shipped_date", "last_changed",
        "taken_by", "ship_cd", "hold_flag",
    ),
    "order_lines": ("order_no", "line_no", "sku", "qty", "shipped_qty", "unit_price", "vat_rate", "last_changed"),
    "deliveries": ("delivery_no", "order_no", "sent_on", "carrier", "tracking_no", "last_changed"),
    "jobs": ("job_no", "title", "lead_no", "state_cd", "due", "last_changed"),
    "warehouse.shipments": (
        "shipment_no", "order_no", "client_no", "state_cd", "sent_on", "carrier", "tracking_no", "last_changed",
    ),
    "warehouse.shipment_lines": ("shipment_no", "line_no", "order_line", "sku", "qty", "last_changed"),
    "warehouse.returns": (
        "return_no", "order_no", "client_no", "reason_cd", "state_cd", "announced_on", "received_on", "currency",
        "credit_cd", "last_changed",
    ),
    "warehouse.return_lines": (
        "return_no", "line_no", "order_line", "sku", "qty", "unit_price", "vat_rate", "last_changed",
    ),
}  # fmt: skip
KEYS = {
    "clerks": ("clerk_no",),
    "clients": ("client_no",),
    "products": ("sku",),
    "orders": ("order_no",),
    "order_lines": ("order_no", "line_no"),
    "deliveries": ("delivery_no",),
    "jobs": ("job_no",),
    "warehouse.shipments": ("shipment_no",),
    "warehouse.shipment_lines": ("shipment_no", "line_no"),
    "warehouse.returns": ("return_no",),
    "warehouse.return_lines": ("return_no", "line_no"),
}

_SCHEMA = """
create schema if not exists legacy;
create schema if not exists warehouse;
create schema if not exists legacy_log;
create table if not exists legacy.clerks (
  clerk_no text primary key, name text, mail text, active char(1) not null default 'Y', last_changed timestamp not null
);
create table if not exists legacy.clients (
  client_no text primary key, fullname text, company_name text, vat_no text, tel text, mail text, addr text,
  ctry text, since text, status_cd text, last_changed timestamp not null, deleted_flag char(1) not null default 'N'
);
create table if not exists legacy.products (
  sku text primary key, descr text, unit_price text, last_changed timestamp not null
);
create table if not exists legacy.orders (
  order_no text primary key, client_no text not null references legacy.clients, order_date text, currency text,
  state_cd text, paid_flag char(1) not null default 'N', shipped_date text, last_changed timestamp not null,
  taken_by text, ship_cd char(1) not null default 'N', hold_flag char(1) not null default 'N'
);
create table if not exists legacy.order_lines (
  order_no text not null references legacy.orders, line_no integer not null, sku text not null, qty numeric,
  shipped_qty numeric, unit_price numeric, vat_rate numeric, last_changed timestamp not null,
  primary key (order_no, line_no)
);
create table if not exists legacy.deliveries (
  delivery_no text primary key, order_no text references legacy.orders, sent_on text, carrier text, tracking_no text,
  last_changed timestamp not null
);
create table if not exists legacy.jobs (
  job_no text primary key, title text, lead_no text, state_cd text, due text,
  last_changed timestamp not null
);
create table if not exists warehouse.shipments (
  shipment_no text primary key, order_no text not null references legacy.orders,
  client_no text references legacy.clients, state_cd text, sent_on date, carrier text, tracking_no text,
  last_changed timestamp not null
);
create table if not exists warehouse.shipment_lines (
  shipment_no text not null references warehouse.shipments, line_no integer not null, order_line integer not null,
  sku text not null, qty numeric, last_changed timestamp not null, primary key (shipment_no, line_no)
);
create table if not exists warehouse.returns (
  return_no text primary key, order_no text not null references legacy.orders,
  client_no text references legacy.clients, reason_cd text, state_cd text, announced_on date, received_on date,
  currency text, credit_cd text, last_changed timestamp not null
);
create table if not exists warehouse.return_lines (
  return_no text not null references warehouse.returns, line_no integer not null, order_line integer not null,
  sku text not null, qty numeric, unit_price numeric, vat_rate numeric, last_changed timestamp not null,
  primary key (return_no, line_no)
);
create or replace view warehouse.order_progress as
  select o.order_no, case when sent.qty >= o.qty then 'F' else 'P' end as progress_cd, sent.sent_on, sent.last_changed
  from (select order_no, sum(qty) as qty from legacy.order_lines group by order_no) o
  join (
    select s.order_no, sum(l.qty) as qty, max(s.sent_on) as sent_on,
      greatest(max(s.last_changed), max(l.last_changed)) as last_changed
    from warehouse.shipments s join warehouse.shipment_lines l using (shipment_no)
    where s.state_cd <> 'PLAN' group by s.order_no
  ) sent using (order_no);
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
create or replace trigger touch before insert or update on {0} for each row execute function legacy_log.touch();
create or replace trigger note after insert or update or delete on {0}
  for each row execute function legacy_log.note();
"""


def _plain(url: str) -> str:
    """A URL as libpq wants it: SQLAlchemy's names of drivers are taken out."""
    return re.sub(r"^postgresql\+\w+://", "postgresql://", url)


def _place(table: str) -> sql.Identifier:
    """A table with its schema; names without one are the order desk's."""
    schema, _, name = table.rpartition(".")
    return sql.Identifier(schema or "legacy", name)


def is_seeded(url: str) -> bool:
    """Whether the legacy database is there already."""
    with psycopg.connect(_plain(url)) as connection:
        row = connection.execute("select to_regclass('legacy_log.seeded') is not null").fetchone()
    return bool(row and row[0])


def create(url: str, rows: Mapping[str, Sequence[Sequence[Any]]]) -> None:
    """Create the schema and fill it, all or nothing. The triggers come last: seeding is not a change."""
    with psycopg.connect(_plain(url)) as connection, connection.cursor() as cursor:
        cursor.execute("drop schema if exists warehouse, legacy, legacy_log cascade")
        cursor.execute(_SCHEMA)
        for table, columns in TABLES.items():
            names = sql.SQL(", ").join(map(sql.Identifier, columns))
            with cursor.copy(sql.SQL("copy {} ({}) from stdin").format(_place(table), names)) as copy:
                for row in rows.get(table, ()):
                    copy.write_row(row)
            cursor.execute(sql.SQL(_TRIGGERS).format(_place(table)))
        cursor.execute("create table legacy_log.seeded as select clock_timestamp() as at")


def edit(url: str, table: str, key: Sequence[Any], fields: Mapping[str, Any]) -> int:
    """A person's change of one row; returns how many rows had that key. `last_changed` moves by itself."""
    wanted = sql.SQL(", ").join(sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder()) for name in fields)
    where = sql.SQL(" and ").join(
        sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder()) for name in KEYS[table]
    )
    statement = sql.SQL("update {} set {} where {}").format(_place(table), wanted, where)
    with psycopg.connect(_plain(url)) as connection:
        return connection.execute(statement, [*fields.values(), *key]).rowcount


def add(url: str, table: str, fields: Mapping[str, Any]) -> None:
    """A person's new row. `last_changed` is set by itself."""
    names = sql.SQL(", ").join(map(sql.Identifier, fields))
    values = sql.SQL(", ").join(sql.Placeholder() for _ in fields)
    with psycopg.connect(_plain(url)) as connection:
        connection.execute(
            sql.SQL("insert into {} ({}) values ({})").format(_place(table), names, values), [*fields.values()]
        )


def rows(url: str, table: str) -> list[dict[str, Any]]:
    """All rows of a table, in the order of its key."""
    order = sql.SQL(", ").join(map(sql.Identifier, KEYS[table]))
    with psycopg.connect(_plain(url), row_factory=psycopg.rows.dict_row) as connection:
        return connection.execute(sql.SQL("select * from {} order by {}").format(_place(table), order)).fetchall()


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
            row = connection.execute(sql.SQL("select count(*) from {}").format(_place(table))).fetchone()
            found[table] = int(row[0]) if row else 0
        return found
