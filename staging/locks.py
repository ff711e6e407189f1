"""Who may work: PostgreSQL advisory locks, which end with the session that holds them, also after a SIGKILL.

lane    one process at a time extracts a stream, syncs an integration (session lock)
alive   a worker's own lock: whoever can take it knows that the worker is gone
gate    inside one transaction: resolve of an entity, release of a target
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import xxhash
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

_NOT_AVAILABLE = "55P03"
"""PostgreSQL's word for a lock that did not come in time."""


def lock_key(name: str) -> int:
    """The advisory lock number of a name (signed 64 bit)."""
    return xxhash.xxh3_64_intdigest(name.encode()) - (1 << 63)


@contextmanager
def lane(engine: Engine, name: str, *, wait: bool | float = True) -> Iterator[Connection | None]:
    """Holds the lane `name` on a connection of its own; gives None when it is taken and `wait` is false, or so many
    seconds are over."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
        try:
            yield conn if _taken(conn, lock_key(name), wait) else None
        finally:
            if not conn.invalidated:  # else the session has ended, and the lock with it
                _give_back(conn)


def _give_back(conn: Connection) -> None:
    """Leaves the session as it came from the pool."""
    try:
        # all: also what came in the instant in which waiting for it ended
        conn.exec_driver_sql("select pg_advisory_unlock_all(); reset lock_timeout; reset statement_timeout")
    except DBAPIError:
        conn.invalidate()


def _taken(conn: Connection, key: int, wait: bool | float) -> bool:
    """Whether the lock was to be had in time."""
    if wait is False:
        return bool(conn.execute(text("select pg_try_advisory_lock(:key)"), {"key": key}).scalar_one())
    milliseconds = 0 if wait is True else max(1, round(wait * 1000))
    conn.exec_driver_sql(f"set lock_timeout = {milliseconds}; set statement_timeout = 0")
    try:
        conn.execute(text("select pg_advisory_lock(:key)"), {"key": key})
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != _NOT_AVAILABLE:
            raise
        return False
    return True


def gate(conn: Connection, name: str) -> None:
    """Waits for the name's lock, held until the transaction ends."""
    conn.execute(text("select pg_advisory_xact_lock(:key)"), {"key": lock_key(name)})


_HOLDERS = (
    "from pg_locks where locktype = 'advisory' and granted and objsubid = 1"
    " and database = (select oid from pg_database where datname = current_database())"
    " and classid::bigint = :high and objid::bigint = :low"
)


def _halves(name: str) -> dict[str, int]:
    key = lock_key(name)
    return {"high": (key >> 32) & 0xFFFFFFFF, "low": key & 0xFFFFFFFF}


def is_held(conn: Connection, name: str) -> bool:
    """Whether any session holds the lane `name` now."""
    return conn.execute(text(f"select 1 {_HOLDERS}"), _halves(name)).first() is not None


def end_holder(conn: Connection, name: str) -> None:
    """Ends the session, other than this one, that holds the name's lock: a client that is cut off never will."""
    conn.execute(text(f"select pg_terminate_backend(pid) {_HOLDERS} and pid <> pg_backend_pid()"), _halves(name))
