"""Landing, golden history and operations: the first schema."""

from __future__ import annotations

from pathlib import Path

from alembic import context, op

from staging.grants import grant_work

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    connection = op.get_bind()
    connection.exec_driver_sql(Path(__file__).with_suffix(".sql").read_text())
    grant_work(connection, context.config.attributes.get("app_role"))
