"""python -m benchmarks.load.floor --rows 100000 [--json]

What a load cannot be faster than, beside what dlt's merge alone takes on the same machine:

first    after a first load, the rows that it left are taken out and written back by COPY, table by table into the same
         indexes, and nothing else: no request, no mapping, no check, no match, no change of state
bare     the same rows into tables that have no index and no constraint at all, on one connection and on two at once
reload   every page is fetched, by as many threads as there are sources, cut into records, and each record's id read
         and its bytes hashed; nothing is compared with anything

Figures: docs/reference/performance.md.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import Any

import httpx
import msgspec
import psycopg
import xxhash
from psycopg import sql

from benchmarks.load import bench
from sandbox.http_sources import start_sources
from staging.embedded import admin_connection, create_database

SMALL = 1_000
"""Tables of fewer rows do not count here."""
DATABASE = "bench_concord_0"
LOADS: dict[str, bench.Side] = {"dlt's first": "dlt", "dlt's reload": "dlt", "Concord's first": "concord"}


def main() -> int:
    """Measures, and prints the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load.floor", description=__doc__.splitlines()[2])
    parser.add_argument("--rows", type=int, default=100_000, help="customers over three sources")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    with bench.place() as at, start_sources(asked.rows, len(bench.SYSTEMS)) as sources:
        landscape = bench.declared(at.folder, sources.urls)
        bench.prepare(at, landscape)
        with admin_connection(at.server) as connection:
            create_database(connection, DATABASE, bench.TEMPLATE)
            create_database(connection, "bench_dlt_0")
        reading = median(read_alone(sources.urls) for _ in range(5))
        loads = {}
        for load, side in LOADS.items():
            bench.quiet(at.server, f"bench_{side}_0")
            loads[load] = bench.one_load(at, landscape, sources, side, 0)["seconds"]
        bench.quiet(at.server, DATABASE)
        url = at.server.url("admin", DATABASE)
        with psycopg.connect(
            host=url.host, port=url.port, user=url.username, password=str(url.password), dbname=DATABASE,
            autocommit=True,
        ) as connection_:  # fmt: skip
            tables = sorted(written_back(connection_), key=lambda table: -table["seconds"])
            bare = {f"on {n}": written_bare(connection_, tables, n) for n in (1, 2)}
    figures = {
        "rows": asked.rows,
        "loads": loads,
        "tables": tables,
        "seconds": sum(table["seconds"] for table in tables),
        "bare_seconds": bare,
        "reading_seconds": reading,
    }
    if asked.json:
        print(json.dumps(figures, indent=1))
        return 0
    for table in figures["tables"]:
        print(f"{table['seconds']:6.2f} s  {table['rows']:>9,} rows  {table['mib']:5.0f} MiB  {table['table']}")
    print(", ".join(f"{load} load {seconds:.2f} s" for load, seconds in loads.items()))
    first, again = loads["dlt's first"] / 5, loads["dlt's reload"] / 25
    print(f"the rows alone: {figures['seconds']:.2f} s; a fifth of dlt's first load {first:.2f} s")
    print(f"the rows into bare tables: {bare['on 1']:.2f} s on one connection, {bare['on 2']:.2f} s on two at once")
    print(f"reading, cutting and hashing alone: {reading:.2f} s; a 25th of dlt's reload {again:.2f} s")
    return 0


class _Page(msgspec.Struct):
    data: list[msgspec.Raw]
    next: int | None = None


class _Record(msgspec.Struct):
    id: str


def read_alone(urls: Sequence[str]) -> float:
    """Seconds to fetch all pages of all sources at once, cut them into records, read each id and hash each record."""
    pages, records = msgspec.json.Decoder(_Page), msgspec.json.Decoder(_Record)

    def walk(url: str) -> None:
        number: int | None = 1
        with httpx.Client() as client:
            while number is not None:
                page = pages.decode(client.get(f"{url}/customers", params={"page": number, "size": 1_000}).content)
                for record in page.data:
                    records.decode(record)
                    xxhash.xxh3_64_intdigest(record)
                number = page.next

    began = time.perf_counter()
    with ThreadPoolExecutor(len(urls)) as pool:
        list(pool.map(walk, urls))
    return time.perf_counter() - began


def written_back(connection: psycopg.Connection) -> list[dict[str, Any]]:
    """Takes the rows of all filled tables out, empties these, and times how long each takes to be written back."""
    names = connection.execute(
        "select schemaname, relname from pg_stat_user_tables where n_live_tup >= %s"
        " and schemaname in ('landing', 'staging', 'golden', 'ops')",
        [SMALL],
    ).fetchall()
    kept = [(f"{schema}.{name}", sql.Identifier(str(schema), str(name)), io.BytesIO()) for schema, name in names]
    found = []
    with connection.cursor() as cursor:
        for _, table, rows in kept:
            with cursor.copy(sql.SQL("copy {} to stdout").format(table)) as out:
                for part in out:
                    rows.write(part)
        cursor.execute("set session_replication_role = replica")  # no trigger runs, no reference is looked up
        cursor.execute(sql.SQL("truncate {} cascade").format(sql.SQL(", ").join(table for _, table, _ in kept)))
        for name, table, rows in kept:
            began = time.perf_counter()
            with cursor.copy(sql.SQL("copy {} from stdin").format(table)) as into:
                into.write(rows.getbuffer())
            seconds, written = time.perf_counter() - began, cursor.rowcount
            size = cursor.execute("select pg_total_relation_size(%s::regclass)", [name]).fetchone() or (0,)
            found.append({"table": name, "rows": written, "mib": size[0] / 2**20, "seconds": seconds})
    return found


def written_bare(connection: psycopg.Connection, tables: Sequence[Mapping[str, Any]], at_once: int) -> float:
    """Seconds to write all rows into twins of their tables without index or constraint, by so many connections."""
    kept = []
    for table in tables:
        name = sql.Identifier(*table["table"].split("."))
        twin = sql.Identifier("public", table["table"].replace(".", "_") + f"_bare_{at_once}")
        connection.execute(sql.SQL("create table {} as table {} with no data").format(twin, name))
        rows = io.BytesIO()
        with connection.cursor() as cursor, cursor.copy(sql.SQL("copy {} to stdout").format(name)) as out:
            for part in out:
                rows.write(part)
        kept.append((twin, rows))
    server = f"{connection.info.dsn} password={connection.info.password}"

    def write(one: tuple[sql.Identifier, io.BytesIO]) -> None:
        twin, rows = one
        copy = sql.SQL("copy {} from stdin").format(twin)
        with psycopg.connect(server) as own, own.cursor() as cursor, cursor.copy(copy) as into:
            into.write(rows.getbuffer())

    began = time.perf_counter()
    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(write, kept))  # the longest first
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())
