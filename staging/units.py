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

import psycopg
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from staging import locks
from staging.engine import unavailable_reason
from staging.errors import DatabaseUnavailable

TRIES = 5
PATIENCE_SECONDS = 60.0
"""For how long a database that went away is waited for: a restart takes seconds."""
PERSISTS_SECONDS = 120.0
"""For how long a step comes back to a database that stops again and again (RELIABILITY P21)."""
PAUSE_SECONDS = 0.5
"""Before the second try; longer before each further one: whoever was in the way has gone by then."""
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
    return _patiently(engine, what, lambda: _once(engine, uuid.uuid4().hex, what, work))


def repeat(engine: Engine, what: str, work: Callable[[Connection], T]) -> T:
    """Does `work` in a transaction of its own, at least once: for what may be noted twice and costs less without a
    token. What runs around requests needs it: an answer that has come must not be lost while our database is away.

    Raises as `do`."""

    def begun() -> T:
        with engine.connect() as conn, conn.begin():
            return work(conn)

    return _patiently(engine, what, begun)


def _patiently(engine: Engine, what: str, step: Callable[[], T]) -> T:
    until = time.monotonic() + PATIENCE_SECONDS
    for number in range(1, TRIES + 1):
        try:
            return step()
        except (DBAPIError, psycopg.Error) as error:
            if number == TRIES or not _is_worth_another(error):
                raise
            log.warning("%s was cut off (%s); trying again", what, type(error).__name__)
        _wait_for(engine, until)
    raise AssertionError("a last try returns or raises")


def persist(engine: Engine, what: str, step: Callable[[], T]) -> T:
    """Does a whole step of a sync, again where the database went away or gave way to others in the middle of it: what
    is done is known by its state, so a step goes on where it stopped. Bounded in tries and in patience.

    Raises what the step raises when that does not pass, DatabaseUnavailable when the database stays away."""
    until = time.monotonic() + PERSISTS_SECONDS
    for number in range(1, TRIES + 1):
        try:
            return step()
        except (DBAPIError, psycopg.Error, DatabaseUnavailable) as error:
            if number == TRIES or not _is_worth_another(error):
                raise
            log.warning("%s was cut off (%s); going on with it", what, type(error).__name__)
        time.sleep(PAUSE_SECONDS * number)
        _wait_for(engine, until)
    raise AssertionError("a last try returns or raises")


def _is_worth_another(error: DBAPIError | psycopg.Error | DatabaseUnavailable) -> bool:
    if isinstance(error, DatabaseUnavailable):
        return True
    cause = error.orig if isinstance(error, DBAPIError) else error  # COPY speaks to the driver itself
    state = getattr(cause, "sqlstate", None)
    # a refused or a lost connection has no code of PostgreSQL's
    is_away = isinstance(cause, psycopg.OperationalError) and state is None
    return is_away or state in _PASSING or (isinstance(error, DBAPIError) and error.connection_invalidated)


def _once(engine: Engine, token: str, what: str, work: Callable[[Connection], T]) -> T:
    with engine.connect() as conn:
        transaction = conn.begin()
        try:
            conn.execute(
                text(
                    "insert into ops.unit_of_work (token, what)"
                    " select :token, :what from (select pg_advisory_xact_lock(:key)) as held"
                ),
                {"token": token, "what": what, "key": locks.lock_key(_lock_of(token))},
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


def _is_done(engine: Engine, token: str) -> bool:
    """Whether a unit whose commit was not answered is committed, once that is settled."""
    _wait_for(engine, time.monotonic() + PATIENCE_SECONDS)
    name = _lock_of(token)
    try:
        with engine.connect() as conn, conn.begin():
            conn.execute(text(f"set local lock_timeout = '{COMMITTING}'"))
            locks.gate(conn, name)
    except DBAPIError:
        with engine.connect() as conn, conn.begin():
            locks.end_holder(conn, name)
    with engine.connect() as conn, conn.begin():
        locks.gate(conn, name)
        found = conn.execute(text("select 1 from ops.unit_of_work where token = :token"), {"token": token})
        return found.first() is not None


def _lock_of(token: str) -> str:
    return f"unit:{token}"


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
