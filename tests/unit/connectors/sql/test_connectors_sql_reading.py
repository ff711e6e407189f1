"""What a table says arrives whole, once, and exact."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, text

from canonical.landscape import ChildOf, Stream
from connectors.protocol import Misdeclared, Page, Transient, Unreachable
from connectors.sql import SqlConnector

Connect = Callable[..., SqlConnector]


def run(engine: Engine, *statements: str) -> None:
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))


def clients(engine: Engine, count: int, changed: str = "2024-01-02 03:04:05") -> None:
    run(engine, "create table clients (id integer primary key, name varchar(40), changed timestamp)")
    if not count:
        return
    with engine.begin() as connection:
        connection.execute(
            text("insert into clients values (:id, :name, :changed)"),
            [{"id": i, "name": f"Client {i}", "changed": changed} for i in range(1, count + 1)],
        )


def ids(pages: Iterable[Page]) -> list[str]:
    return [i for page in pages for i in page.ids]


def stream(**kwargs: Any) -> Stream:
    return Stream("clients", **{"changed": "changed", "options": {"page_size": 3}, **kwargs})


@pytest.mark.parametrize("count", [0, 1, 3, 6, 7])
def test_a_sweep_returns_every_row_once_in_key_order(url: str, database: Engine, connect: Connect, count: int) -> None:
    clients(database, count)
    pages = list(connect(url, stream()).read("clients", None))
    assert ids(pages) == [str(i) for i in range(1, count + 1)]
    assert [page.is_last for page in pages] == [False] * (len(pages) - 1) + [True]
    assert pages[0].total == count


def test_an_interrupted_sweep_goes_on_after_the_page_that_was_kept(
    url: str, database: Engine, connect: Connect
) -> None:
    clients(database, 8)
    connector = connect(url, stream())
    first = next(iter(connector.read("clients", None)))
    rest = list(connector.read("clients", json.loads(json.dumps(first.cursor))))
    assert [*first.ids, *ids(rest)] == [str(i) for i in range(1, 9)]
    assert rest[-1].cursor == {"mark": "2024-01-02T03:04:05"}


def test_equal_change_marks_across_page_edges_lose_nothing(url: str, database: Engine, connect: Connect) -> None:
    clients(database, 10)
    connector = connect(url, stream())
    cursor = list(connector.read("clients", None))[-1].cursor
    assert sorted(ids(connector.read("clients", cursor)), key=int) == [str(i) for i in range(1, 11)]


def test_an_incremental_read_returns_what_changed_since_less_the_overlap(
    url: str, database: Engine, connect: Connect
) -> None:
    clients(database, 5, "2024-01-02 03:04:05")
    connector = connect(url, stream())
    cursor = list(connector.read("clients", None))[-1].cursor
    run(
        database,
        "update clients set changed = '2024-01-02 02:00:00' where id <> 5",
        "update clients set changed = '2024-01-02 03:03:30' where id = 2",
        "update clients set changed = '2024-01-03 00:00:00' where id = 4",
    )
    pages = list(connector.read("clients", cursor))
    assert ids(pages) == ["2", "5", "4"]
    assert pages[-1].cursor == {"mark": "2024-01-03T00:00:00"}


def test_a_row_dated_in_the_future_is_read_and_does_not_poison_the_cursor(
    url: str, database: Engine, connect: Connect
) -> None:
    clients(database, 2)
    run(database, "update clients set changed = '2999-01-01 00:00:00' where id = 2")
    connector = connect(url, stream())
    cursor = list(connector.read("clients", None))[-1].cursor
    assert datetime.fromisoformat(cursor["mark"]) <= datetime.now(UTC).replace(tzinfo=None) + timedelta(minutes=5)
    assert ids(connector.read("clients", cursor)) == ["2"]
    assert ids(connector.read("clients", list(connector.read("clients", cursor))[-1].cursor)) == ["2"]


def test_rows_never_modified_are_found_by_their_creation(url: str, database: Engine, connect: Connect) -> None:
    run(
        database,
        "create table clients (id integer primary key, changed timestamp, made timestamp)",
        "insert into clients values (1, null, '2024-01-01 00:00:00'),"
        " (2, '2024-02-01 00:00:00', '2023-01-01 00:00:00')",
    )
    connector = connect(url, stream(options={"created": "made"}))
    cursor = list(connector.read("clients", None))[-1].cursor
    run(database, "insert into clients values (3, null, '2024-03-01 00:00:00')")
    assert ids(connector.read("clients", cursor)) == ["2", "3"]


def test_a_row_version_serves_as_change_mark(url: str, database: Engine, connect: Connect) -> None:
    run(
        database,
        "create table clients (id integer primary key, changed bigint)",
        "insert into clients values (1, 9), (2, 10), (3, 11)",
    )
    connector = connect(url, stream())
    cursor = list(connector.read("clients", None))[-1].cursor
    assert cursor == {"mark": "11"}
    run(database, "update clients set changed = 12 where id = 1")
    assert ids(connector.read("clients", cursor)) == ["3", "1"]


def test_numbers_dates_and_text_arrive_exactly(postgres_url: str, connect: Connect) -> None:
    engine = create_engine(postgres_url)
    run(
        engine,
        "create table clients (id integer primary key, d date, ts timestamptz, n numeric, f float8, b boolean,"
        " j jsonb, c char(8), big numeric, t text, far date)",
        "insert into clients values (1, '2024-02-29', '2024-01-02 03:04:05.12+02', 1234.50, 0.1, true,"
        """ '{"b": 1.10, "a": [1]}', 'AB', 12345678901234567890123456789, '0012', 'infinity')""",
    )
    engine.dispose()
    page = next(iter(connect(postgres_url, Stream("clients")).read("clients", None)))
    assert page.payloads == [
        b'{"b":true,"big":12345678901234567890123456789,"c":"AB      ","d":"2024-02-29","f":0.1,"far":"infinity",'
        b'"id":1,"j":{"a": [1], "b": 1.10},"n":1234.50,"t":"0012","ts":"2024-01-02T01:04:05.12+00:00"}'
    ]


def test_any_value_in_any_sqlite_column_arrives_as_it_is(tmp_path: Any, connect: Connect) -> None:
    url = f"sqlite:///{tmp_path / 'dirt.db'}"
    engine = create_engine(url)
    run(
        engine,
        "create table clients (id text, since date, total numeric)",
        "insert into clients values ('A', '03/04/2024', 12.5), ('B', 20240102, 'n/a'), ('C', null, 7)",
    )
    engine.dispose()
    page = next(iter(connect(url, Stream("clients")).read("clients", None)))
    assert [json.loads(p) for p in page.payloads] == [
        {"id": "A", "since": "03/04/2024", "total": 12.5},
        {"id": "B", "since": 20240102, "total": "n/a"},
        {"id": "C", "since": None, "total": 7},
    ]


@pytest.mark.parametrize(
    ("value", "reason"),
    [("''", "the key is blank"), ("' x'", "spaces"), ("'x '", "spaces"), ("null", "empty")],
    ids=["blank", "leading space", "trailing space", "null"],
)
def test_a_row_that_its_key_cannot_identify_is_refused_alone(
    url: str, database: Engine, connect: Connect, value: str, reason: str
) -> None:
    run(
        database,
        "create table clients (code text, name text)",
        f"insert into clients values ({value}, 'n'), ('ok', 'm')",
    )
    pages = list(connect(url, Stream("clients", key=("code",))).read("clients", None))
    assert ids(pages) == ["ok"]
    assert [reason in r.reason for page in pages for r in page.refused] == [True]


def test_rows_that_share_their_key_are_all_refused(url: str, database: Engine, connect: Connect) -> None:
    run(database, "create table clients (code text)", "insert into clients values ('a'), ('b'), ('b'), ('c')")
    pages = list(connect(url, Stream("clients", key=("code",))).read("clients", None))
    assert ids(pages) == ["a", "c"]
    assert [r.id for page in pages for r in page.refused] == ["b", "b"]


@pytest.mark.parametrize("value", ["'NaN'::numeric", "'Infinity'::float8"])
def test_a_number_that_json_cannot_hold_refuses_its_row(postgres_url: str, connect: Connect, value: str) -> None:
    engine = create_engine(postgres_url)
    run(
        engine,
        "create table clients (id int primary key, n float8)",
        f"insert into clients values (1, {value}), (2, 1)",
    )
    engine.dispose()
    page = next(iter(connect(postgres_url, Stream("clients")).read("clients", None)))
    assert page.ids == ["2"]
    assert page.refused[0].id == "1"
    assert "column n is not a number" in page.refused[0].reason


def test_text_that_is_not_utf8_refuses_its_row(tmp_path: Any, connect: Connect) -> None:
    url = f"sqlite:///{tmp_path / 'latin.db'}"
    engine = create_engine(url)
    run(engine, "create table clients (id int, name text)", "insert into clients values (1, cast(x'4dfc' as text))")
    engine.dispose()
    page = next(iter(connect(url, Stream("clients")).read("clients", None)))
    assert page.ids == []
    assert "column name is not valid UTF-8" in page.refused[0].reason


def test_bytes_are_refused_with_the_way_out(url: str, database: Engine, connect: Connect) -> None:
    blob = "bytea" if database.dialect.name == "postgresql" else "blob"
    run(database, f"create table clients (id int, photo {blob})")
    with database.begin() as connection:
        connection.execute(text("insert into clients values (1, :p)"), {"p": b"\x00\x01"})
    page = next(iter(connect(url, Stream("clients")).read("clients", None)))
    assert "leave the column out by the option `columns`" in page.refused[0].reason
    trimmed = connect(url, Stream("clients", options={"columns": ["id"]}))
    assert next(iter(trimmed.read("clients", None))).payloads == [b'{"id":1}']


def test_a_child_stream_names_its_parent_and_has_composite_ids(url: str, database: Engine, connect: Connect) -> None:
    run(
        database,
        "create table order_lines (order_no integer, line integer, qty numeric, primary key (order_no, line))",
        "insert into order_lines values (7, 2, 1), (7, 1, 2), (8, 1, 3)",
    )
    lines = Stream(
        "order_lines", key=("order_no", "line"), child_of=ChildOf("orders", "order_no", "lines"),
        options={"page_size": 2},
    )  # fmt: skip
    connector = connect(url, lines)
    pages = list(connector.read("order_lines", None))
    assert ids(pages) == ['["7","1"]', '["7","2"]', '["8","1"]']
    assert [parent for page in pages for parent in page.parents or []] == ["7", "7", "8"]
    assert [r.id for r in connector.get("order_lines", ['["8","1"]', '["9","9"]', "nonsense"])] == ['["8","1"]']


def test_a_declared_select_is_a_stream(url: str, database: Engine, connect: Connect) -> None:
    clients(database, 4)
    chosen = Stream("big", key=("number",), options={"select": "select id as number, name from clients where id > 2"})
    assert ids(connect(url, chosen).read("big", None)) == ["3", "4"]


@pytest.mark.parametrize(
    "select",
    ["select * from clients", "delete from clients", "select 1; drop table clients", "not sql at all ("],
    ids=["star", "a delete", "two statements", "nonsense"],
)
def test_a_select_that_is_not_one_plain_select_is_misdeclared(
    url: str, database: Engine, connect: Connect, select: str
) -> None:
    clients(database, 1)
    with pytest.raises(Misdeclared):
        list(connect(url, Stream("x", options={"select": select})).read("x", None))


@pytest.mark.parametrize(
    ("declared", "says"),
    [
        (Stream("cleints"), "did you mean clients"),
        (Stream("x", options={"table": 'clients"; drop table clients; --'}), "plain table"),
        (Stream("clients", key=("idd",)), "did you mean id"),
        (Stream("clients", changed="changd"), "did you mean changed"),
        (Stream("clients", key=("id; drop",)), "found a name that cannot be a column's"),
        (Stream("clients", options={"page_size": 0}), "page_size"),
        (Stream("clients", options={"archive": {"column": "gone", "value": 1}}), "archive"),
    ],
    ids=["table", "injected table", "key", "change mark", "injected key", "page size", "archive"],
)
def test_a_name_that_the_database_does_not_have_is_misdeclared(
    url: str, database: Engine, connect: Connect, declared: Stream, says: str
) -> None:
    clients(database, 1)
    with pytest.raises(Misdeclared, match=says):
        connect(url, declared).check()


def test_reading_cannot_write(postgres_url: str, connect: Connect) -> None:
    engine = create_engine(postgres_url)
    run(
        engine,
        "create table t (id int)",
        "create function sly() returns int language sql as 'insert into t values (1) returning 1'",
    )
    sly = Stream("sly", options={"select": "select sly() as id"})
    with pytest.raises(Misdeclared):
        list(connect(postgres_url, sly).read("sly", None))
    with engine.connect() as connection:
        assert connection.execute(text("select count(*) from t")).scalar() == 0
    engine.dispose()


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_statement_that_takes_too_long_is_transient(
    request: pytest.FixtureRequest, tmp_path: Any, connect: Connect, kind: str
) -> None:
    if kind == "sqlite":
        url = f"sqlite:///{tmp_path / 'slow.db'}"
        slow = "with recursive n(i) as (select 1 union all select i + 1 from n) select max(i) as id from n"
    else:
        url = request.getfixturevalue("postgres_url")
        slow = "select cast(pg_sleep(30) as text) as id"
    stream_ = Stream("slow", options={"select": slow})
    with pytest.raises(Transient, match="time limit"):
        list(connect(url, stream_, statement_seconds=0.3).read("slow", None))


def test_rows_marked_as_archived_are_stated_as_gone(url: str, database: Engine, connect: Connect) -> None:
    run(
        database,
        "create table clients (id int primary key, gone char(1))",
        "insert into clients values (1, 'N'), (2, 'Y')",
    )
    connector = connect(url, Stream("clients", options={"archive": {"column": "gone", "value": "Y"}}))
    assert next(iter(connector.read("clients", None))).deleted == [False, True]
    assert connector.facts("clients").deletes == "flag"


def test_the_hour_that_autumn_shows_twice_is_read_again(url: str, database: Engine, connect: Connect) -> None:
    clients(database, 2, "2024-10-27 01:50:00")
    connector = connect(url, stream(), timezone="Europe/London")
    cursor = list(connector.read("clients", None))[-1].cursor
    run(database, "update clients set changed = '2024-10-27 01:10:00' where id = 1")
    assert ids(connector.read("clients", cursor)) == ["1", "2"]


def test_an_address_outside_the_declared_network_is_unreachable(postgres_url: str, connect: Connect) -> None:
    with pytest.raises(Unreachable):
        connect(postgres_url, network="public").check()
