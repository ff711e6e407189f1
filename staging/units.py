"""Units of work: done once, also when the connection is lost while they are committed (RELIABILITY P8, matrix row 12).

Each leaves a token in its own transaction. When the answer to a COMMIT does not come, the token decides: where it
stands, the work is done; where it does not, nothing of it is, and it is done again. The token's lock, held until its
transaction ends, tells a commit that is still going on from one that never was.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from staging.engine import unavailable_reason
from staging.errors import DatabaseUnavailable
from staging.locks import lock_key

TRIES = 5
PATIENCE_SECONDS = 60.0
"""For how long a database that went away is waited for: a restart takes seconds."""
COMMITTING = "3s"
"""How long a commit that was cut off may still go on, before its session is ended."""
KEPT_DAYS = 1
_PASSING = frozenset({"40001", "40P01", "55P03", "57P01", "57P02", "57P03"})
"""Serialization failure, deadlock, lock timeout, shutdown: nothing was done, and doing it again may help."""

log = logging.getLogger("concord.database")
T = TypeVar("T")


def do(engine: Engine, what: str, work: Callable[[Connection], T]) -> T:
    """Does `work` in a transaction of its own, once. It may be begun several times: it must take what it needs from the
    connection, and change nothing else before it is committed.

    Raises DatabaseUnavailable when the database stays away; what `work` raises passes through."""
    until = time.monotonic() + PATIENCE_SECONDS
    for number in range(1, TRIES + 1):
        token = uuid.uuid4().hex
        try:
            return _once(engine, token, what, work)
        except DBAPIError as error:
            if not _is_passing(error) or number == TRIES:
                raise
            log.warning("%s was cut off (%s); trying again", what, type(error.orig).__name__)
        _wait_for(engine, until)
    raise AssertionError("a last try returns or raises")


def _once(engine: Engine, token: str, what: str, work: Callable[[Connection], T]) -> T:
    with engine.connect() as conn:
        transaction = conn.begin()
        try:
            conn.execute(
                text(
                    "insert into ops.unit_of_work (token, what)"
                    " select :token, :what from (select pg_advisory_xact_lock(:key)) as held"
                ),
                {"token": token, "what": what, "key": lock_key(f"unit:{token}")},
            )
            outcome = work(conn)
        except BaseException:
            transaction.rollback()
            raise
        try:
            transaction.commit()
        except DBAPIError as error:
            if not error.connection_invalidated or not _is_done(engine, token):
                raise
            log.warning("%s: the answer to the commit was lost, and it was committed", what)
        return outcome


def _is_passing(error: DBAPIError) -> bool:
    return error.connection_invalidated or getattr(error.orig, "sqlstate", None) in _PASSING


def _is_done(engine: Engine, token: str) -> bool:
    """Whether a unit whose commit was not answered is committed, once that is settled."""
    _wait_for(engine, time.monotonic() + PATIENCE_SECONDS)
    key = lock_key(f"unit:{token}")
    try:
        with engine.connect() as conn, conn.begin():
            conn.execute(text(f"set local lock_timeout = '{COMMITTING}'"))
            conn.execute(text("select pg_advisory_xact_lock(:key)"), {"key": key})
    except DBAPIError:
        _end_session(engine, key)
    with engine.connect() as conn, conn.begin():
        conn.execute(text("select pg_advisory_xact_lock(:key)"), {"key": key})
        found = conn.execute(text("select 1 from ops.unit_of_work where token = :token"), {"token": token})
        return found.first() is not None


def _end_session(engine: Engine, key: int) -> None:
    """Ends the session that still holds a unit's lock: its client is cut off and will never end it."""
    with engine.connect() as conn, conn.begin():
        conn.execute(
            text(
                "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and granted"
                " and objsubid = 1 and classid::bigint = :high and objid::bigint = :low and pid <> pg_backend_pid()"
                " and database = (select oid from pg_database where datname = current_database())"
            ),
            {"high": (key >> 32) & 0xFFFFFFFF, "low": key & 0xFFFFFFFF},
        )


def _wait_for(engine: Engine, until: float) -> None:
    """Waits until the database answers. Raises DatabaseUnavailable when it does not in time."""
    pause = 0.05
    while True:
        try:
            with engine.connect() as conn:
                conn.execute(text("select 1"))
                return
        except DBAPIError as error:
            if time.monotonic() + pause > until:
                raise DatabaseUnavailable(unavailable_reason(engine.url, error)) from None
        time.sleep(pause)
        pause = min(pause * 2, 2.0)


def forget(conn: Connection) -> int:
    """Deletes tokens that nobody can ask for any more; gives how many."""
    found = conn.execute(
        text("delete from ops.unit_of_work where at < now() - make_interval(days => :days)"), {"days": KEPT_DAYS}
    )
    return int(found.rowcount)
