"""A write is done once, tells what it did, and harms no other."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, text

from canonical.landscape import Stream
from connectors.protocol import Ambiguous, AuthFailed, Misdeclared, Receipt, Transient, Unreachable, Write
from connectors.sql import SqlConnector
from connectors.sql.errors import translated

Connect = Callable[..., SqlConnector]
TABLE = """create table clients (id integer primary key, code varchar(8) unique, name varchar(20) not null,
    since date, credit numeric(12, 2), active boolean, concord_key varchar(100) unique, gone char(1) default 'N')"""
GONE = {"column": "gone", "value": "Y"}


@pytest.fixture
def table(database: Engine) -> Engine:
    with database.begin() as connection:
        serial = TABLE.replace("integer primary key", "serial primary key")
        connection.execute(text(serial if database.dialect.name == "postgresql" else TABLE))
    return database


def rows(engine: Engine, what: str = "id, code, name") -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(f"select {what} from clients order by id"))]


def stream(**options: Any) -> Stream:
    return Stream("clients", options={"write": True, **options})


def create(ref: str, key: str | None = None, **payload: Any) -> Write:
    return Write(ref, "create", None, payload, key or f"key-{ref}")


def update(source_id: str, **payload: Any) -> Write:
    return Write("u", "update", source_id, payload, "key-u")


def outcomes(receipts: Any) -> list[tuple[str, str, str | None]]:
    return [(r.ref, r.outcome, r.field) for r in receipts]


def test_a_create_is_read_back_as_the_database_holds_it(url: str, table: Engine, connect: Connect) -> None:
    written = create("a", code="C1", name="Ann", since="2024-02-29", credit="10.5", active=True)
    [receipt] = connect(url, stream()).write("clients", [written])
    held = json.loads(receipt.record or b"")
    assert (receipt.outcome, receipt.source_id) == ("done", "1")
    assert (held["id"], held["name"], held["since"], held["gone"]) == (1, "Ann", "2024-02-29", "N")
    assert float(held["credit"]) == 10.5


@pytest.mark.parametrize("option", [{"upsert_by": ["code"]}, {"marker": "concord_key"}], ids=["natural key", "marker"])
def test_the_same_create_twice_makes_one_row(url: str, table: Engine, connect: Connect, option: dict[str, Any]) -> None:
    connector = connect(url, stream(**option))
    first, second = (connector.write("clients", [create("a", code="C1", name="Ann")])[0] for _ in range(2))
    assert connector.facts("clients").write_class == "A"
    assert (first.source_id, second.source_id) == ("1", "1")
    assert rows(table) == [(1, "C1", "Ann")]


def test_without_a_key_of_ours_a_create_is_findable(url: str, table: Engine, connect: Connect) -> None:
    connector = connect(url, stream())
    connector.write("clients", [create("a", code="C1", name="Ann")])
    assert connector.facts("clients").write_class == "B"
    assert [r.id for r in connector.find("clients", {"code": "C1", "name": "Ann"})] == ["1"]


def test_one_bad_record_costs_only_itself(url: str, table: Engine, connect: Connect) -> None:
    connector = connect(url, stream())
    receipts = connector.write(
        "clients",
        [
            create("fine", code="C1", name="Ann"),
            create("double", code="C1", name="Ben"),
            create("long", code="C2", name="x" * 21),
            create("empty", code="C3", name=None),
            create("date", code="C4", name="Dan", since="03/04/2024"),
            create("last", code="C5", name="Eve"),
        ],
    )
    assert outcomes(receipts) == [
        ("fine", "done", None),
        ("double", "rejected", None),
        ("long", "rejected", "name"),
        ("empty", "rejected", "name"),
        ("date", "rejected", "since"),
        ("last", "done", None),
    ]
    assert [row[1] for row in rows(table)] == ["C1", "C5"]


def test_a_rejection_does_not_repeat_the_value(postgres_url: str, connect: Connect) -> None:
    engine = create_engine(postgres_url)
    with engine.begin() as connection:
        connection.execute(text("create table clients (id serial primary key, code text check (code <> 'SECRET'))"))
    engine.dispose()
    [receipt] = connect(postgres_url, stream()).write("clients", [create("a", code="SECRET")])
    assert receipt.outcome == "rejected"
    assert "check constraint" in str(receipt.reason)
    assert "SECRET" not in str(receipt.reason)


def test_an_update_changes_only_what_it_names(url: str, table: Engine, connect: Connect) -> None:
    connector = connect(url, stream())
    connector.write("clients", [create("a", code="C1", name="Ann"), create("b", code="C2", name="Ben")])
    receipts = connector.write("clients", [update("2", name="Bea"), update("99", name="No")])
    assert [(r.outcome, r.status) for r in receipts] == [("done", None), ("rejected", 404)]
    assert rows(table) == [(1, "C1", "Ann"), (2, "C2", "Bea")]


def test_archive_sets_the_declared_flag_and_find_leaves_the_row_out(url: str, table: Engine, connect: Connect) -> None:
    connector = connect(url, stream(archive=GONE))
    connector.write("clients", [create("a", code="C1", name="Ann")])
    for _ in range(2):
        assert connector.write("clients", [Write("x", "archive", "1", {}, "k")])[0].outcome == "done"
    assert rows(table, "gone") == [("Y",)]
    assert connector.find("clients", {"code": "C1"}) == []
    assert [r.deleted for r in connector.get("clients", ["1"])] == [True]


@pytest.mark.parametrize(
    ("by", "expected"),
    [({"id": "1"}, ["1"]), ({"id": "one"}, []), ({"name": "ann"}, []), ({"credit": "10.50"}, ["1"])],
    ids=["a number", "not a number", "other case", "a decimal"],
)
def test_find_compares_by_the_kind_of_the_column(
    url: str, table: Engine, connect: Connect, by: dict[str, str], expected: list[str]
) -> None:
    connector = connect(url, stream())
    connector.write("clients", [create("a", code="C1", name="Ann", credit="10.5")])
    assert [r.id for r in connector.find("clients", by)] == expected


@pytest.mark.parametrize("op", ["create", "update"])
def test_an_unknown_column_is_misdeclared_before_anything_is_written(
    url: str, table: Engine, connect: Connect, op: Any
) -> None:
    batch = [create("a", code="C1", name="Ann"), Write("b", op, "1", {"nmae": "x"}, "k")]
    with pytest.raises(Misdeclared, match="did you mean name"):
        connect(url, stream()).write("clients", batch)
    assert rows(table) == []


def test_a_stream_is_read_only_until_it_says_otherwise(url: str, table: Engine, connect: Connect) -> None:
    connector = connect(url, Stream("clients"))
    assert connector.facts("clients").ops == frozenset()
    with pytest.raises(Misdeclared, match="write: true"):
        connector.write("clients", [create("a", name="Ann")])


@pytest.mark.parametrize("option", [{"upsert_by": ["name"]}, {"marker": "name"}], ids=["natural key", "marker"])
def test_a_key_without_a_unique_constraint_is_misdeclared(
    url: str, table: Engine, connect: Connect, option: dict[str, Any]
) -> None:
    with pytest.raises(Misdeclared, match="unique constraint"):
        connect(url, stream(**option)).check()


@pytest.mark.parametrize(
    "hostile", ["'; DROP TABLE clients; --", "{{7*7}}", '"', ":name", "%s%n", "%(name)s", "\\", "=1+1"]
)
def test_hostile_text_is_only_text(url: str, table: Engine, connect: Connect, hostile: str) -> None:
    connector = connect(url, stream())
    [receipt] = connector.write("clients", [create("a", code="C1", name=hostile[:20])])
    assert receipt.outcome == "done"
    assert rows(table) == [(1, "C1", hostile[:20])]
    assert [r.id for r in connector.find("clients", {"name": hostile[:20]})] == ["1"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda url: url.replace("concord_admin:", "concord_admin:wrong"), AuthFailed),
        (lambda url: url.replace("127.0.0.1", "no-such-host.invalid"), (Unreachable, Transient)),
        (lambda url: url.rsplit("/", 1)[0] + "/no_such_database", Misdeclared),
        (lambda url: "nosuchdialect://x", Misdeclared),
        (lambda url: "not a url", Misdeclared),
    ],
    ids=["password", "host", "database", "dialect", "no url"],
)
def test_a_login_that_fails_says_why_without_the_password(
    postgres_url: str, connect: Connect, change: Callable[[str], str], expected: Any
) -> None:
    password = postgres_url.split(":")[2].split("@")[0]
    with pytest.raises(expected) as caught:
        connect(change(postgres_url)).check()
    assert password not in str(caught.value)


def test_a_connection_lost_before_the_commit_is_transient_and_during_it_ambiguous(
    postgres_url: str, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = create_engine(postgres_url)
    with engine.begin() as connection:
        connection.execute(text("create table clients (id serial primary key, name text)"))
    connector = connect(postgres_url, stream())
    connector.check()
    others = "datname = current_database() and pid <> pg_backend_pid()"
    kill = f"select pg_terminate_backend(pid) from pg_stat_activity where {others}"

    def cut() -> None:
        with engine.connect() as connection:
            connection.execute(text(kill))

    from connectors.sql import writing

    original = writing._create
    monkeypatch.setattr(writing, "_create", lambda *a: (cut(), original(*a))[1])
    with pytest.raises(Transient):
        connector.write("clients", [create("a", name="Ann")])
    monkeypatch.setattr(writing, "_create", original)
    read_back = writing._read_back
    monkeypatch.setattr(writing, "_read_back", lambda *a: (read_back(*a), cut())[0])
    with pytest.raises(Ambiguous):
        connector.write("clients", [create("a", name="Ann")])
    engine.dispose()


def test_an_error_outside_the_driver_is_misdeclared() -> None:
    from sqlalchemy.exc import NoSuchTableError

    assert isinstance(translated(NoSuchTableError("x"), "legacy/x"), Misdeclared)


def test_receipts_come_in_the_order_of_the_writes(url: str, table: Engine, connect: Connect) -> None:
    batch = [create(str(i), code=f"C{i}", name=f"N{i}") for i in range(30)]
    receipts = connect(url, stream()).write("clients", batch)
    assert [r.ref for r in receipts] == [str(i) for i in range(30)]
    assert all(isinstance(r, Receipt) and r.record for r in receipts)
