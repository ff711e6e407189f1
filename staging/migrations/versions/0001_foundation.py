"""Landing, golden history and operations: the first schema."""

from __future__ import annotations

from alembic import context, op
from sqlalchemy.schema import CreateSchema

from staging.grants import grant_work
from staging.tables import SCHEMAS, metadata

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    connection = op.get_bind()
    for schema in SCHEMAS:
        connection.execute(CreateSchema(schema, if_not_exists=True))
    metadata.create_all(connection)
    grant_work(connection, context.config.attributes.get("app_role"))
