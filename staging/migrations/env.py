"""Alembic's way in: one transaction on the connection that `staging.migrate.upgrade` hands over."""

from __future__ import annotations

from alembic import context
from sqlalchemy.schema import CreateSchema

from staging.migrate import VERSION_SCHEMA, VERSION_TABLE
from staging.tables import metadata

connection = context.config.attributes.get("connection")
if connection is None:
    raise SystemExit("Migrations run through `concord db upgrade`, which owns the transaction.")

connection.execute(CreateSchema(VERSION_SCHEMA, if_not_exists=True))
context.configure(
    connection=connection,
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    version_table_schema=VERSION_SCHEMA,
    include_schemas=True,
)
context.run_migrations()
