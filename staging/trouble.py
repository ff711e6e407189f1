"""What the database says in the middle of the work, as a `DatabaseTrouble` with a plain reason."""

from __future__ import annotations

import psycopg
from psycopg import errors as pg
from sqlalchemy.exc import DBAPIError, SQLAlchemyError, TimeoutError

from staging.errors import DatabaseTrouble, DatabaseUnavailable, SchemaMissing


def as_trouble(error: BaseException) -> DatabaseTrouble | None:
    """The trouble that an error tells of; None where it is a fault of ours, or no matter of the database."""
    if isinstance(error, TimeoutError):
        return DatabaseUnavailable("no connection to the database became free in time")
    cause = error.orig if isinstance(error, DBAPIError) else error  # COPY speaks to the driver itself
    if not isinstance(cause, psycopg.Error):
        return None
    said = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
    if isinstance(cause, pg.UndefinedTable | pg.InvalidSchemaName):
        return SchemaMissing(f"{said}: run `concord db upgrade`, then `concord model apply`")
    if isinstance(cause, pg.ReadOnlySqlTransaction):
        return DatabaseUnavailable(f"the database is read-only: {said}")
    if isinstance(cause, pg.InsufficientPrivilege):
        return DatabaseUnavailable(f"the database does not let us: {said}")
    if isinstance(cause, pg.DiskFull | pg.OutOfMemory):
        return DatabaseUnavailable(f"the database server has no room left: {said}; nothing is half done")
    if isinstance(cause, pg.DeadlockDetected | pg.SerializationFailure | pg.LockNotAvailable):
        return DatabaseUnavailable(f"others were in the way again and again: {said}; nothing is half done")
    if isinstance(cause, psycopg.OperationalError) or (isinstance(error, DBAPIError) and error.connection_invalidated):
        return DatabaseUnavailable(f"the database went away: {said}; what was committed stays, run it again")
    return None


def is_of_the_data(error: BaseException) -> bool | None:
    """Whether the database refused a value that it was given; None where the error is no matter of the database."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, psycopg.Error):
        return isinstance(cause, psycopg.DataError)
    return False if isinstance(error, SQLAlchemyError | DatabaseTrouble) else None
