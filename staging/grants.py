"""What the app role may do: all work on rows, no change of tables, and of the audit only to add."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Connection

from staging.tables import SCHEMAS

APPEND_ONLY = ("ops.audit",)
READ_ONLY = ("ops.schema_version",)


def grant_work(connection: Connection, app_role: str | None) -> None:
    """Let `app_role` work on every table of ours, those still to be made included. Repeatable.

    Nothing is done where one role does both (then the audit's append-only rule is a habit, not a right), or where the
    role does not exist.
    """
    if app_role is None or not _is_another_role(connection, app_role):
        return
    role = connection.dialect.identifier_preparer.quote_identifier(app_role)
    for schema in SCHEMAS:
        for statement in (
            f"grant usage on schema {schema} to {role}",
            f"grant select, insert, update, delete, truncate on all tables in schema {schema} to {role}",
            f"grant usage on all sequences in schema {schema} to {role}",
            f"alter default privileges in schema {schema} "
            f"grant select, insert, update, delete, truncate on tables to {role}",
            f"alter default privileges in schema {schema} grant usage on sequences to {role}",
            *_maintenance(connection, schema, role),
        ):
            connection.execute(sa.text(statement))
    for table in READ_ONLY:
        connection.execute(sa.text(f"revoke insert, update, delete, truncate on {table} from {role}"))
    for table in APPEND_ONLY:
        connection.execute(sa.text(f"revoke update, delete, truncate on {table} from {role}"))


def _maintenance(connection: Connection, schema: str, role: str) -> tuple[str, ...]:
    """The right to refresh a table's statistics after a bulk write; PostgreSQL has it since version 17."""
    if (connection.dialect.server_version_info or (0,))[0] < 17:
        return ()
    return (
        f"grant maintain on all tables in schema {schema} to {role}",
        f"alter default privileges in schema {schema} grant maintain on tables to {role}",
    )


def _is_another_role(connection: Connection, name: str) -> bool:
    found = connection.execute(
        sa.text("select 1 from pg_roles where rolname = :name and rolname <> current_user"), {"name": name}
    )
    return found.first() is not None
