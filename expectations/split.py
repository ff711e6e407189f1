"""Our own SQL over a candidate table: the rows that fail, and how many. Knows no table by name; callers hand it one.

A predicate is the text of a check (canonical.checks). It is never formatted over data, and colons and percent signs in
it are kept as they are: SQLAlchemy would take `:word` for a parameter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from canonical.checks import CANDIDATES, RECORD, Check, identifier, literal

BATCH_COLUMN = "batch_id"
MAX_SHOWN_CHARACTERS = 60
"""How much of a failing record's id the documents show."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """One batch's rows in one candidate table."""

    schema: str
    table: str
    batch_id: int

    @property
    def name(self) -> str:
        return f"{identifier(self.schema)}.{identifier(self.table)}"

    @property
    def condition(self) -> str:
        return f"{identifier(BATCH_COLUMN)} = {int(self.batch_id)}"

    @property
    def rows(self) -> str:
        """The batch as a table expression."""
        return f"(SELECT * FROM {self.name} WHERE {self.condition})"  # noqa: S608 (names are quoted)


def fails(check: Check, candidates: Candidates) -> str:
    """The SQL condition of a row that fails the check. A comment at the predicate's end cannot swallow what follows."""
    return f"({check.predicate.replace(CANDIDATES, candidates.rows)}\n) IS FALSE"


def counts_sql(checks: Sequence[Check], candidates: Candidates) -> str:
    """One row: all rows of the batch, then the failing rows of each check, in their order; one scan."""
    counts = "".join(f",\n  count(*) FILTER (WHERE {fails(c, candidates)})" for c in checks)
    return f"SELECT count(*){counts}\nFROM {candidates.name} WHERE {candidates.condition}"


def checked_sql(checks: Sequence[Check], native: Sequence[str], candidates: Candidates, shown_column: str) -> str:
    """What the suite looks at: the columns judged as they are, and for each other check a column named after it that
    holds the id (`shown_column`) of a row that fails and is empty for every other row."""
    shown = f"left({identifier(shown_column)}::text, {MAX_SHOWN_CHARACTERS})"
    columns = [identifier(c) for c in native]
    columns += [f"CASE WHEN {fails(c, candidates)} THEN {shown} END AS {identifier(c.name)}" for c in checks]
    listed = ",\n  ".join(columns) or "1 AS one"
    return f"SELECT {listed}\nFROM {candidates.name} WHERE {candidates.condition}"


def failing_rows_sql(
    check: Check,
    table: str,
    batch_id: int,
    *,
    schema: str = "staging",
    key_columns: Sequence[str] = RECORD,
) -> sa.TextualSelect:
    """The rows that fail a check, for `insert … select`: the key columns, then `rule`, `column` and `reason` (text).

    For `no_problems` it has one row for each problem that mapping found, with mapping's own rule, column and reason; the
    number of distinct keys is what the verdict counted. Any other check has one row a record.
    """
    candidates = Candidates(schema, table, batch_id)
    keys = [f"candidate.{identifier(k)}" for k in key_columns]
    if check.kind == "no_problems":
        # `problems` is JSON text: [{"column": …, "rule": …, "reason": …}, …]
        said = [f"coalesce(problem ->> {literal(part)}, '')" for part in ("rule", "column", "reason")]
        source = f"{candidates.rows} AS candidate, json_array_elements(candidate.problems::text::json) AS problem"
        where = "TRUE"
    else:
        said = [literal(check.name), literal(check.columns[0] if check.columns else ""), literal(check.means)]
        source, where = f"{candidates.rows} AS candidate", fails(check, candidates)
    listed = ", ".join([*keys, *(f"{s}::text AS {identifier(n)}" for s, n in zip(said, REASON, strict=True))])
    statement = verbatim(f"SELECT {listed}\nFROM {source}\nWHERE {where}")
    return statement.columns(*(sa.column(k) for k in key_columns), *(sa.column(n, sa.Text()) for n in REASON))


REASON = ("rule", "column", "reason")
"""The columns that `failing_rows_sql` adds to the keys."""


def verbatim(sql: str) -> sa.TextClause:
    """SQL text in which nothing is a parameter: SQLAlchemy reads `\\:` as a plain colon."""
    return sa.text(sql.replace(":", "\\:"))
