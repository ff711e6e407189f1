"""A table in a real PostgreSQL, looked at through a connection of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, text

from canonical.landscape import Stream
from connectors.protocol import Context, Secret
from staging.embedded import EmbeddedServer
from tests.contract.conformance.peer import Peer

TABLE = """create table clients (id serial primary key, name varchar(60) not null, concord_key varchar(100) unique,
    gone char(1) not null default 'N', changed timestamptz not null default now())"""
OPTIONS = {"page_size": 3, "write": True, "marker": "concord_key", "archive": {"column": "gone", "value": "Y"}}

ROLES = frozenset({"source", "target"})


class Database(Peer):
    secret = "wrong-password-0815"

    def __init__(self, url: str, engine: Engine) -> None:
        stream = Stream("clients", changed="changed", options=OPTIONS)
        settings = {"url": Secret(lambda: url), "statement_seconds": 1}
        super().__init__(Context("legacy", settings, {"clients": stream}, network="loopback"), "clients")
        self.url = url
        self.engine = engine

    def wrong_context(self) -> Context:
        user, _, rest = self.url.partition("://")[2].partition(":")
        wrong = f"postgresql+psycopg://{user}:{self.secret}@{rest.partition('@')[2]}"
        return Context("legacy", {"url": Secret(lambda: wrong)}, self.context.streams, network="loopback")

    def run(self, statement: str, **values: Any) -> list[Any]:
        with self.engine.begin() as connection:
            result = connection.execute(text(statement), values)
            return list(result) if result.returns_rows else []

    def add(self, names: Sequence[str]) -> list[str]:
        with self.engine.begin() as connection:  # one transaction: all have the same change mark
            insert = text("insert into clients (name) values (:name) returning id")
            return [str(connection.execute(insert, {"name": name}).scalar_one()) for name in names]

    def rename(self, record_id: str, name: str) -> None:
        self.run("update clients set name = :name, changed = now() where id = :id", name=name, id=int(record_id))

    def remove(self, record_id: str) -> None:
        self.run("delete from clients where id = :id", id=int(record_id))

    def names(self) -> dict[str, str]:
        return {str(i): n for i, n in self.run("select id, name from clients where gone = 'N'")}

    def name_of(self, payload: bytes) -> str:
        return str(json.loads(payload)["name"])

    def values(self, name: str) -> Mapping[str, Any]:
        return {"name": name}

    def refused_values(self, name: str) -> Mapping[str, Any]:
        return {"name": name + "x" * 60}

    def by_name(self, name: str) -> Mapping[str, str]:
        return {"name": name}

    @contextmanager
    def slow(self, connector: Any) -> Iterator[None]:
        with self.engine.begin() as connection:
            connection.execute(text("lock table clients in access exclusive mode"))
            yield


@contextmanager
def open_peer(request: pytest.FixtureRequest, folder: Path) -> Iterator[Peer]:
    server: EmbeddedServer = request.getfixturevalue("embedded_server")
    admin = create_engine(server.url("admin", "postgres"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text("drop database if exists conformance"))
        connection.execute(text("create database conformance"))
    admin.dispose()
    url = server.url("admin", "conformance").render_as_string(hide_password=False)
    engine = create_engine(url)
    database = Database(url, engine)
    database.run(TABLE)
    yield database
    engine.dispose()
