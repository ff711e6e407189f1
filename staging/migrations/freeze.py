"""Write the first revision's SQL from `staging/tables/`: `make schema`, until the first release.

A revision must mean the same for ever, so it cannot create whatever the tables say today. Before the first release
there is one revision, and changing a table means writing it anew; afterwards this file stays as it is and each change
is a revision of its own (`alembic revision`). Tests refuse a schema that the tables do not match.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateSchema, CreateTable

from staging.tables import SCHEMAS, metadata
from staging.tables.guards import GUARDS

FIRST = Path(__file__).parent / "versions" / "0001_foundation.sql"
HEADER = "-- The first schema, written by `make schema` from staging/tables/; never edited by hand.\n\n"


def rendered() -> str:
    """The statements that make every table of `staging/tables/`, entity tables aside."""
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    statements: list[str] = [str(CreateSchema(name, if_not_exists=True).compile(dialect=dialect)) for name in SCHEMAS]
    for table in metadata.sorted_tables:
        statements.append(str(CreateTable(table).compile(dialect=dialect)))
        indexes = sorted(table.indexes, key=lambda index: str(index.name))
        statements += [str(CreateIndex(index).compile(dialect=dialect)) for index in indexes]
    statements += GUARDS
    lines = (line.rstrip() for statement in statements for line in f"{statement.strip()};\n".split("\n"))
    return HEADER + "\n".join(lines)


def is_frozen() -> bool:
    """Whether the first revision is what the tables say now."""
    return FIRST.read_text() == rendered()


if __name__ == "__main__":
    FIRST.write_text(rendered())
    print(f"{FIRST.name}: {len(metadata.tables)} tables")
