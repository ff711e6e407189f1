"""The schema's versions: `concord db upgrade`, and the refusal to work on another one.

Alembic keeps the version in `ops.schema_version`. Only the owner role migrates. Entity tables are not versioned here:
they follow the declared model (`staging.entity_tables`).
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from staging.engine import database_url, engine, transaction
from staging.errors import DatabaseUnavailable, SchemaMissing, SchemaNewer
from staging.tables import metadata

VERSION_TABLE = "schema_version"
VERSION_SCHEMA = "ops"
UPGRADE_LOCK = 0x636F6E636F7264  # "concord": one process migrates, the others wait and find it done


def upgrade(over: Engine | None = None, app_role: str | None = None) -> str:
    """Bring the schema to this code's version in one transaction; returns the version. Repeatable.

    `app_role` gets the rights to work on it; it defaults to the user of the app's database URL.
    Raises SchemaNewer when a newer Concord was here, DatabaseUnavailable when the database cannot be used.
    """
    over = over if over is not None else engine("owner")
    app_role = app_role if app_role is not None else database_url("app").username
    config = _config()
    with transaction(over) as connection:
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(UPGRADE_LOCK)))
        _refuse_unknown(current(connection))
        config.attributes.update(connection=connection, app_role=app_role)
        try:
            command.upgrade(config, "head")
        except DBAPIError as error:
            said = str(error.orig).strip().splitlines()[0]
            raise DatabaseUnavailable(f"the schema could not be upgraded, nothing was changed: {said}") from error
    return head()


def current(connection: Connection) -> str | None:
    """The schema's version in the database; None: there is none yet."""
    return MigrationContext.configure(
        connection, opts={"version_table": VERSION_TABLE, "version_table_schema": VERSION_SCHEMA}
    ).get_current_revision()


def head() -> str:
    """The version that this code works on."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    assert revision is not None, "staging/migrations holds at least the first revision"
    return revision


def ensure_current(over: Engine | None = None) -> None:
    """Raise SchemaMissing or SchemaNewer unless the database's schema is the one that this code works on."""
    with transaction(over) as connection:
        found = current(connection)
        lacking = _lacking(connection) if found == head() else []
    if lacking:
        raise SchemaMissing(
            f"the database says that its schema is at version {found}, but {', '.join(lacking[:3])} is not there:"
            " it was changed by hand or set back in part; restore a backup"
        )
    if found == head():
        return
    if found is None:
        raise SchemaMissing("the database has no tables of Concord yet: run `concord db upgrade`")
    _refuse_unknown(found)
    raise SchemaMissing(
        f"the database's schema is at version {found}, this Concord needs {head()}: run `concord db upgrade`"
    )


def _lacking(connection: Connection) -> list[str]:
    """Tables that this version has and the database has not."""
    wanted = sorted(table.fullname for table in metadata.tables.values())
    found = connection.execute(
        sa.text("select name from unnest(cast(:names as text[])) as name where to_regclass(name) is null"),
        {"names": wanted},
    )
    return list(found.scalars())


def is_known(version: str) -> bool:
    """Whether this code knows how to bring a schema of this version to its own."""
    return version in {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}


def _refuse_unknown(found: str | None) -> None:
    if found is not None and not is_known(found):
        raise SchemaNewer(
            f"the database's schema is at version {found}, which this Concord ({head()}) does not know: "
            "a newer Concord has upgraded it; use that one"
        )


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    return config
