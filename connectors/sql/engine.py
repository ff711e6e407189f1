"""One engine a system: bounded statements, UTC, exact values, and reads that cannot write."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, exc, make_url
from sqlalchemy.engine import URL

from connectors.http.allow import Network, checked
from connectors.http.wire import resolve
from connectors.protocol import Misdeclared

_CONNECT_SECONDS = 10
_SQLITE_STEPS = 2_000
"""Virtual-machine steps of SQLite between two looks at the clock: well under a millisecond."""
_TEXT_TYPES = ("date", "time", "timetz", "timestamp", "timestamptz", "interval", "json", "jsonb", "money")
"""PostgreSQL types read as the server's own text: Python has no `infinity`, no year 12000, no exact JSON number."""


def parse_url(text: str, where: str) -> URL:
    """The declared URL. Raises Misdeclared without showing it: it holds a password."""
    try:
        url = make_url(text)
        url.get_dialect()
    except (exc.ArgumentError, exc.NoSuchModuleError, ValueError):
        raise Misdeclared("expected a SQLAlchemy URL of an installed dialect in `url`", where=where) from None
    if url.get_backend_name() == "postgresql" and url.drivername in ("postgresql", "postgres"):
        url = url.set(drivername="postgresql+psycopg")
    return url


def open_engine(url: URL, *, where: str, network: Network, statement_seconds: float) -> Engine:
    """An engine with a small pool; no connection is made yet."""
    backend = url.get_backend_name()
    arguments: dict[str, Any] = {}
    if backend in ("postgresql", "mysql", "mariadb"):
        arguments["connect_timeout"] = _CONNECT_SECONDS
    elif backend == "sqlite":
        arguments["timeout"] = min(statement_seconds, _CONNECT_SECONDS)
    pool: dict[str, Any] = {} if _is_memory(url) else {"pool_size": 4, "max_overflow": 2}
    try:
        engine = create_engine(url, pool_pre_ping=True, connect_args=arguments, hide_parameters=True, **pool)
    except (ImportError, exc.ArgumentError, TypeError) as problem:
        raise Misdeclared(f"this database cannot be opened ({type(problem).__name__})", where=where) from None
    _guard_address(engine, url, network)
    prepare = {"postgresql": _prepare_postgresql, "sqlite": _prepare_sqlite}.get(backend)
    if prepare is not None:
        prepare(engine, statement_seconds)
    return engine


def _guard_address(engine: Engine, url: URL, network: Network) -> None:
    """Connect only where the declared network allows; PostgreSQL to the very address that was checked."""
    if not url.host:
        return
    host, port = url.host, url.port or 0

    @event.listens_for(engine, "do_connect")
    def settle(_dialect: Any, _record: Any, _arguments: Any, parameters: dict[str, Any]) -> None:
        addresses = checked(resolve(host, port, _CONNECT_SECONDS), network, host)
        if url.get_backend_name() == "postgresql":
            parameters["hostaddr"] = addresses[0]


def _is_memory(url: URL) -> bool:
    return url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:")


def _prepare_postgresql(engine: Engine, statement_seconds: float) -> None:
    @event.listens_for(engine, "connect")
    def settle(connection: Any, _record: Any) -> None:
        adapters = connection.adapters
        as_text = adapters.get_loader(adapters.types["text"].oid, 0)
        for name in _TEXT_TYPES:
            adapters.register_loader(name, as_text)
        connection.autocommit = True
        connection.execute(
            "select set_config('statement_timeout', %s, false), set_config('timezone', 'UTC', false),"
            " set_config('datestyle', 'ISO, YMD', false), set_config('idle_in_transaction_session_timeout', %s, false)",
            (str(int(statement_seconds * 1000)), str(int(statement_seconds * 5000))),
        )
        connection.autocommit = False


def _prepare_sqlite(engine: Engine, statement_seconds: float) -> None:
    """SQLite by explicit BEGIN (savepoints need it), with a clock that interrupts long statements."""

    @event.listens_for(engine, "connect")
    def settle(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        connection.text_factory = _decode

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    @event.listens_for(engine, "before_cursor_execute")
    def wind(connection: Connection, *_: Any) -> None:
        deadline = time.monotonic() + statement_seconds
        _driver(connection).set_progress_handler(_is_past(deadline), _SQLITE_STEPS)


def _driver(connection: Connection) -> Any:
    return connection.connection.driver_connection


def _is_past(deadline: float) -> Callable[[], int]:
    return lambda: int(time.monotonic() > deadline)


def _decode(raw: bytes) -> str:
    """SQLite does not check its text: what is not UTF-8 becomes surrogates here and is refused record by record."""
    return raw.decode("utf-8", "surrogateescape")


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A transaction that cannot write (PostgreSQL, SQLite), and that ends by rollback whatever the dialect."""
    backend = engine.dialect.name
    options = {"postgresql_readonly": True} if backend == "postgresql" else {}
    with engine.connect().execution_options(**options) as connection:
        if backend == "sqlite":
            connection.exec_driver_sql("PRAGMA query_only = 1")
        try:
            yield connection
        finally:
            if backend == "sqlite" and not connection.invalidated:
                connection.exec_driver_sql("PRAGMA query_only = 0")
