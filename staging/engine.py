"""The way into our database: one URL a role, one engine a process, transactions that the caller owns.

`owner` migrates and applies models; `app` does the work (it cannot change tables, nor the audit's rows). The URL comes
from CONCORD_DATABASE_URL (and CONCORD_DATABASE_OWNER_URL, where the roles differ), else from the embedded server,
which is started when needed. No store function commits: `transaction` does, at the end of the caller's block.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import sqlalchemy as sa
from sqlalchemy import URL, Connection, Engine
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError

from staging.embedded import EmbeddedServer
from staging.errors import (
    DatabaseTrouble,
    DatabaseUnavailable,
    SchemaMissing,
    SchemaNewer,
)

__all__ = [
    "Connection",
    "DatabaseTrouble",
    "DatabaseUnavailable",
    "Engine",
    "SchemaMissing",
    "SchemaNewer",
    "database_url",
    "dispose",
    "engine",
    "is_embedded",
    "transaction",
]

Role = Literal["app", "owner"]
CONNECT_SECONDS = 10
# A forgotten transaction must not block the others for ever; a first load's longest statement takes minutes.
SESSION: dict[Role, dict[str, str]] = {
    "app": {
        "lock_timeout": "60s",
        "statement_timeout": "30min",
        "idle_in_transaction_session_timeout": "15min",
    },
    "owner": {"lock_timeout": "30s", "idle_in_transaction_session_timeout": "15min"},
}
_engines: dict[tuple[int, Role, URL], Engine] = {}


def is_embedded() -> bool:
    """Whether the database is the embedded one (nobody named another)."""
    return not os.environ.get("CONCORD_DATABASE_URL")


def database_url(role: Role = "app") -> URL:
    """Where our database is, for a role. Starts the embedded server if that is the one. Raises DatabaseUnavailable."""
    declared = os.environ.get("CONCORD_DATABASE_URL")
    name = "CONCORD_DATABASE_URL"
    if role == "owner" and os.environ.get("CONCORD_DATABASE_OWNER_URL"):
        name = "CONCORD_DATABASE_OWNER_URL"
        declared = os.environ[name]
    if not declared:
        server = EmbeddedServer()
        server.start()
        return server.url(role)
    try:
        url = sa.make_url(declared)
    except ArgumentError:
        raise DatabaseUnavailable(f"{name}: expected postgresql://USER:PASSWORD@HOST:PORT/DATABASE") from None
    if url.get_backend_name() not in ("postgresql", "postgres"):
        raise DatabaseUnavailable(f"{name}: expected a postgresql:// URL, found {url.get_backend_name()}://")
    return url.set(drivername="postgresql+psycopg")


def engine(role: Role = "app") -> Engine:
    """The process's engine for a role. Connections that died with the server are replaced in silence."""
    url = database_url(role)
    key = (os.getpid(), role, url)
    if key not in _engines:
        # `name` goes through libpq's options, so that each session has its limits without a round trip.
        options = " ".join(f"-c {name}={value}" for name, value in SESSION[role].items())
        _engines[key] = sa.create_engine(
            url,
            pool_pre_ping=True,
            pool_size=10,
            max_overflow=10,
            pool_recycle=1800,
            connect_args={
                "application_name": "concord",
                "connect_timeout": CONNECT_SECONDS,
                "keepalives_idle": 30,
                "options": url.query.get("options", options),
            },
            hide_parameters=True,
        )
    return _engines[key]


def dispose() -> None:
    """Close every pooled connection of this process (before a database is dropped, or a server stopped)."""
    for made in _engines.values():
        made.dispose()
    _engines.clear()


@contextmanager
def transaction(over: Engine | None = None) -> Iterator[Connection]:
    """One transaction: committed when the block ends, rolled back when it raises.

    Raises DatabaseUnavailable when no connection is to be had; what the block raises passes through unchanged.
    """
    over = over if over is not None else engine("app")
    try:
        connection = over.connect()
    except DBAPIError as error:
        raise DatabaseUnavailable(unavailable_reason(over.url, error)) from None
    with connection, connection.begin():
        yield connection


def unavailable_reason(url: URL, error: DBAPIError) -> str:
    """Why a connection failed, in one line: place and cause, never the password."""
    place = f"{url.host or 'localhost'}:{url.port or 5432}/{url.database}"
    said = str(error.orig).strip().splitlines()
    cause = said[-1] if said else type(error.orig).__name__
    if url.password:
        cause = cause.replace(str(url.password), "***")
    kind = "cannot reach" if isinstance(error, OperationalError) else "cannot use"
    return f"{kind} the database {place} as {url.username}: {cause}"
