"""A database of each kind that the connector is proven on: SQLite in a file, and a real PostgreSQL."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, text

from canonical.landscape import Stream
from connectors.protocol import Context, Secret
from connectors.sql import SqlConnector, build
from staging.embedded import EmbeddedServer

_COUNTER = itertools.count()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'source.db'}"
    return new_postgres_database(request.getfixturevalue("embedded_server"))


@pytest.fixture
def postgres_url(embedded_server: EmbeddedServer) -> str:
    return new_postgres_database(embedded_server)


def new_postgres_database(server: EmbeddedServer) -> str:
    name = f"source_{next(_COUNTER)}"
    admin = create_engine(server.url("admin", "postgres"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"create database {name}"))
    admin.dispose()
    return server.url("admin", name).render_as_string(hide_password=False)


@pytest.fixture
def database(url: str) -> Iterator[Engine]:
    """A second connection to the same database: what a person with a client sees."""
    engine = create_engine(url)
    yield engine
    engine.dispose()


@pytest.fixture
def connect() -> Iterator[Callable[..., SqlConnector]]:
    """Build a connector for some streams of a URL; closed at the end."""
    opened: list[SqlConnector] = []

    def make(
        url: str, *streams: Stream, network: Any = "loopback", timezone: str = "UTC", **settings: Any
    ) -> SqlConnector:
        context = Context(
            system="legacy",
            settings={"url": Secret(lambda: url), **settings},
            streams={stream.name: stream for stream in streams},
            network=network,
            timezone=timezone,
        )
        opened.append(build(context))
        return opened[-1]

    yield make
    for connector in opened:
        connector.close()
