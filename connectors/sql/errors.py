"""What went wrong in a database, said as what to do next. Messages carry codes and names, never values or URLs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import exc

from connectors.protocol import (
    AuthFailed,
    ConnectorError,
    Misdeclared,
    Rejected,
    SystemFault,
    Transient,
    Unreachable,
)

_TRANSIENT_STATES = ("08", "40", "53300", "55", "57")
"""PostgreSQL SQLSTATE prefixes worth another try: connection, rollback, too many connections, locks, shutdown and
cancelled by statement_timeout (PostgreSQL manual, appendix A)."""
_MISDECLARED_STATES = ("3D", "3F", "42P01", "42703", "42P02", "42601", "42883", "42804", "42P10", "25006", "0A")
_AUTH_STATES = ("28", "42501")
_RECORD_STATES = ("22", "23", "P0001")
_WORDS: tuple[tuple[str, type[ConnectorError], str], ...] = (
    ("authentication failed", AuthFailed, "the login was refused"),
    ("no password supplied", AuthFailed, "the login needs a password"),
    ("access denied", AuthFailed, "the login was refused"),
    ("no pg_hba.conf entry", AuthFailed, "the server does not let this login in from here"),
    ('role "', AuthFailed, "the login was refused"),
    ("translate host name", Unreachable, "the host name does not resolve"),
    ("name or service not known", Unreachable, "the host name does not resolve"),
    ("failed to resolve host", Unreachable, "the host name does not resolve"),
    ("unable to open database file", Unreachable, "the database file cannot be opened"),
    ("does not exist", Misdeclared, "the database, table or column does not exist"),
    ("no such table", Misdeclared, "the table does not exist"),
    ("no such column", Misdeclared, "the column does not exist"),
    ("readonly database", Misdeclared, "the database is read only"),
    ("file is not a database", Misdeclared, "the file is not a database"),
    ("malformed", SystemFault, "the database file is damaged"),
    ("disk is full", SystemFault, "the database's disk is full"),
    ("interrupted", Transient, "the statement took longer than its time limit"),
    ("locked", Transient, "the database is locked by another writer"),
)
_QUOTED_VALUE = re.compile(r':\s*"[^"]*"\s*$')


def translated(error: exc.SQLAlchemyError, where: str) -> ConnectorError:
    """The protocol error for an error of SQLAlchemy or its driver."""
    if isinstance(error, exc.NoSuchTableError):
        return Misdeclared("the table does not exist", where=where)
    if isinstance(error, exc.TimeoutError):
        return Transient("no free connection in the pool", where=where)
    if not isinstance(error, exc.DBAPIError):
        return Misdeclared(f"the database cannot be used as declared ({type(error).__name__})", where=where)
    state = sqlstate(error)
    if state is not None:
        return _by_state(error, state, where)
    words = str(error.orig).lower()
    for part, kind, message in _WORDS:
        if part in words:
            return kind(message, where=where)
    if isinstance(error, exc.IntegrityError):
        return Rejected(_primary(error), where=where)
    if error.connection_invalidated or isinstance(error, (exc.OperationalError, exc.InterfaceError)):
        return Transient("the database cannot be reached or closed the connection", where=where)
    if isinstance(error, exc.DataError):
        return Rejected("the database refuses a value", where=where)
    return SystemFault(f"the database failed ({type(error.orig).__name__})", where=where)


def sqlstate(error: exc.DBAPIError) -> str | None:
    """The five-character SQLSTATE where the driver gives one (psycopg does)."""
    state = getattr(error.orig, "sqlstate", None)
    return state if isinstance(state, str) and len(state) == 5 else None


def _by_state(error: exc.DBAPIError, state: str, where: str) -> ConnectorError:
    if state == "57014":
        return Transient("the statement took longer than its time limit", where=where)
    if state.startswith(_AUTH_STATES):
        return AuthFailed(f"the login or its rights were refused (SQLSTATE {state})", where=where)
    if state.startswith(_TRANSIENT_STATES) or error.connection_invalidated:
        return Transient(f"the database asks for another try (SQLSTATE {state})", where=where)
    if state.startswith(_MISDECLARED_STATES):
        return Misdeclared(f"the declaration does not fit the database (SQLSTATE {state})", where=where)
    if state.startswith(_RECORD_STATES):
        column = getattr(getattr(error.orig, "diag", None), "column_name", None)
        return Rejected(_primary(error), field=column, where=where)
    return SystemFault(f"the database failed (SQLSTATE {state})", where=where)


def _primary(error: exc.DBAPIError) -> str:
    """The server's own sentence without the values it quotes at its end."""
    text = getattr(getattr(error.orig, "diag", None), "message_primary", None) or str(error.orig)
    return _QUOTED_VALUE.sub("", text.splitlines()[0])[:200]


@contextmanager
def translating(where: str) -> Iterator[None]:
    """Everything that a database can throw leaves this block as a protocol error, without its statement or values."""
    try:
        yield
    except exc.SQLAlchemyError as error:
        raise translated(error, where) from None
