"""The schema's versions: upgraded once, refused when newer or missing, the audit append-only for the app."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy.exc import ProgrammingError

from staging import migrate
from staging.embedded import EmbeddedServer, admin_connection, create_database
from staging.engine import SchemaMissing, SchemaNewer, transaction
from staging.tables import SCHEMAS, metadata
from tests.fixtures.database import TestDatabase


def test_fresh_database_is_at_head(database: TestDatabase) -> None:
    migrate.ensure_current(database.engine)
    with transaction(database.engine) as connection:
        assert migrate.current(connection) == migrate.head()


def test_upgrade_is_repeatable_and_safe_at_once(embedded_server: EmbeddedServer) -> None:
    with admin_connection(embedded_server) as admin:
        create_database(admin, "migrated_at_once")
    engine = sa.create_engine(embedded_server.url("owner", "migrated_at_once"))
    with pytest.raises(SchemaMissing, match="concord db upgrade"):
        migrate.ensure_current(engine)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: migrate.upgrade(engine, "concord_app"), range(4))) == [migrate.head()] * 4
    engine.dispose()


def test_migrated_schema_is_the_declared_one(database: TestDatabase) -> None:
    """What the migrations make is what staging/tables/ says, to the last column and index."""

    def ours(name: str | None, kind: str, _: object) -> bool:
        return name in SCHEMAS if kind == "schema" else name != migrate.VERSION_TABLE

    with database.owner_engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"include_schemas": True, "include_name": ours, "compare_type": True}
        )
        assert compare_metadata(context, metadata) == []


@pytest.mark.parametrize(
    ("version", "error", "says"),
    [("9999", SchemaNewer, "newer Concord"), (None, SchemaMissing, "no tables of Concord yet")],
    ids=["newer", "missing"],
)
def test_another_version_is_refused_plainly(
    database: TestDatabase, version: str | None, error: type[Exception], says: str
) -> None:
    with transaction(database.owner_engine) as connection:
        connection.execute(sa.text("delete from ops.schema_version"))
        if version:
            connection.execute(sa.text("insert into ops.schema_version values (:version)"), {"version": version})
    with pytest.raises(error, match=says):
        migrate.ensure_current(database.engine)
    if version:
        with pytest.raises(error, match=says):
            migrate.upgrade()


@pytest.mark.parametrize(
    "forbidden",
    [
        "delete from ops.audit",
        "update ops.audit set actor = 'somebody else'",
        "truncate ops.audit",
        "update ops.schema_version set version_num = '0'",
        "drop table ops.outbox",
        "create table ops.mine (id int)",
    ],
)
def test_app_role_cannot(database: TestDatabase, forbidden: str) -> None:
    with transaction(database.engine) as connection:
        connection.execute(
            sa.text("insert into ops.audit (actor, action, subject) values ('ann', 'hold.approved', 'hold:1')")
        )
    with pytest.raises(ProgrammingError, match=r"permission denied|must be owner"), transaction(database.engine) as c:
        c.execute(sa.text(forbidden))
