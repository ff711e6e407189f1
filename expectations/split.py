"""Our own SQL over a candidate table: the rows that fail, and how many. Knows no table by name; callers hand it one.

A predicate is the text of a check (canonical.checks). It is never formatted over data, and colons and percent signs in
it are kept as they are: SQLAlchemy would take `:word` for a parameter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
import xxhash

from canonical.checks import CANDIDATES, RECORD, Check, CheckResult, identifier, literal

BATCH_COLUMN = "batch_id"
LIVE = "NOT deleted"
"""Which of a batch's rows are judged: a tombstone has no values to judge."""
MAX_SHOWN_CHARACTERS = 60
"""How much of a failing record's id the documents show."""
REASON = ("rule", "column", "reason")
"""The columns that `failing_rows_sql` adds to the keys."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """One batch's rows in one candidate table."""

    schema: str
    table: str
    batch_id: int
    only: str = LIVE

    @property
    def name(self) -> str:
        return f"{identifier(self.schema)}.{identifier(self.table)}"

    @property
    def condition(self) -> str:
        return f"{identifier(BATCH_COLUMN)} = {int(self.batch_id)} AND ({self.only})"

    @property
    def rows(self) -> str:
        """The batch as a table expression."""
        return f"(SELECT * FROM {self.name} WHERE {self.condition})"  # noqa: S608 (names are quoted)


@dataclass(frozen=True, slots=True)
class _Judged:
    """A batch with the condition under which a row fails each check, in the order of the checks."""

    source: str
    fails: tuple[str, ...]


def _judged(checks: Sequence[Check], candidates: Candidates) -> _Judged:
    """Checks of one list share one reading of its JSON: one LATERAL for each list, a column of it for each check."""
    groups: dict[str, list[str]] = {}
    conditions: list[str] = []
    for check in checks:
        predicate = check.predicate
        if check.over:
            aggregates = groups.setdefault(check.over, [])
            # The names hold a space, so no candidate column can be called like them.
            predicate = f'"lines {list(groups).index(check.over)} {len(aggregates)}"'
            aggregates.append(f"{check.aggregate} AS {predicate}")
        conditions.append(fails(predicate, candidates))
    laterals = "".join(
        f"\nLEFT JOIN LATERAL (SELECT {', '.join(aggregates)} FROM {over}) AS {identifier(f'lines {n}')} ON TRUE"  # noqa: S608 (names are quoted)
        for n, (over, aggregates) in enumerate(groups.items())
    )
    return _Judged(f"{candidates.rows} AS candidate{laterals}", tuple(conditions))


def fails(predicate: str, candidates: Candidates) -> str:
    """The SQL condition of a row that fails. A comment at the predicate's end cannot swallow what follows."""
    return f"({predicate.replace(CANDIDATES, candidates.rows)}\n) IS FALSE"


def counts_sql(checks: Sequence[Check], candidates: Candidates) -> str:
    """One row: all rows of the batch, the rows that some quarantining check fails, then the rows that each check fails,
    in their order. One scan; OFFSET 0 keeps each condition from being evaluated once for each use."""
    judged = _judged(checks, candidates)
    inner = ", ".join(f"{condition} AS c{n}" for n, condition in enumerate(judged.fails)) or "1 AS one"
    each = "".join(f", count(*) FILTER (WHERE c{n})" for n in range(len(checks)))
    some = " OR ".join(f"c{n}" for n, check in enumerate(checks) if check.on_fail == "quarantine") or "FALSE"
    source = f"(SELECT {inner}\nFROM {judged.source} OFFSET 0) AS judged"
    return f"SELECT count(*), count(*) FILTER (WHERE {some}){each}\nFROM {source}"


def failing_column(check: Check) -> str:
    """The column of the checked query that stands for a check: what it holds fails. With a space in it, no candidate
    column is called so; within PostgreSQL's 63 bytes, a long name keeps its end by a digest."""
    name = f"fails {check.name}"
    return name if len(name.encode()) <= 63 else f"{name[:40]} {xxhash.xxh3_64_hexdigest(name.encode())}"


def checked_sql(checks: Sequence[Check], native: Mapping[str, bool], candidates: Candidates, shown_column: str) -> str:
    """What the suite looks at.

    The columns judged as they are (`native`: column → whether its values may be shown, and are escaped for it), and for
    each other check its `failing_column`, which holds the id (`shown_column`) of a row that fails and is empty for
    every other row.
    """
    judged = _judged(checks, candidates)
    shown = _escaped(f"left({identifier(shown_column)}::text, {MAX_SHOWN_CHARACTERS})")
    columns = [
        f"{_escaped(f'{identifier(c)}::text') if is_shown else identifier(c)} AS {identifier(c)}"
        for c, is_shown in native.items()
    ]
    columns += [
        f"CASE WHEN {condition} THEN {shown} END AS {identifier(failing_column(check))}"
        for check, condition in zip(checks, judged.fails, strict=True)
    ]
    listed = ",\n  ".join(columns) or "1 AS one"
    return f"SELECT {listed}\nFROM {judged.source}"


def _escaped(term: str) -> str:
    """Text as HTML shows it (html.escape without quotes): distinct values stay distinct."""
    return f"replace(replace(replace({term}, '&', '&amp;'), '<', '&lt;'), '>', '&gt;')"


def failing_rows_sql(
    check: Check,
    table: str,
    batch_id: int,
    *,
    schema: str = "staging",
    key_columns: Sequence[str] = RECORD,
    only: str = LIVE,
) -> sa.TextualSelect:
    """The rows that fail a check, for `insert … select`: the key columns, then `rule`, `column` and `reason` (text).

    For `no_problems` it has one row for each problem that mapping found, with mapping's own rule, column and reason;
    its distinct keys are what the verdict counted. Any other check has one row a record.
    """
    candidates = Candidates(schema, table, batch_id, only)
    if check.kind == "no_problems":
        # `problems` is JSON text: [{"column": …, "rule": …, "reason": …}, …]
        said = [f"coalesce(problem ->> {literal(part)}, '')" for part in REASON]
        source = f"{candidates.rows} AS candidate, json_array_elements(candidate.problems::text::json) AS problem"
        where = "TRUE"
    else:
        said = [literal(check.name), literal(check.columns[0] if check.columns else ""), literal(check.means)]
        source, where = f"{candidates.rows} AS candidate", fails(check.predicate, candidates)
    columns = [f"candidate.{identifier(k)}" for k in key_columns]
    columns += [f"{text}::text AS {identifier(name)}" for text, name in zip(said, REASON, strict=True)]
    statement = verbatim(f"SELECT {', '.join(columns)}\nFROM {source}\nWHERE {where}")
    return statement.columns(*(sa.column(k) for k in key_columns), *(sa.column(n, sa.Text()) for n in REASON))


def count_failing(
    conn: sa.Connection, checks: Sequence[Check], table: str, batch_id: int, *, schema: str = "staging"
) -> tuple[tuple[CheckResult, ...], int, int]:
    """Our own count of each row check's failing rows on the caller's connection, of all rows, and of the rows that some
    quarantining check fails: for a rehearsal, whose candidates no other connection sees."""
    rows = [c for c in checks if c.predicate]
    total, failing, *counts = conn.execute(verbatim(counts_sql(rows, Candidates(schema, table, batch_id)))).one()
    return tuple(CheckResult(c, int(n)) for c, n in zip(rows, counts, strict=True)), int(total), int(failing)


def verbatim(sql: str) -> sa.TextClause:
    """SQL text in which nothing is a parameter: SQLAlchemy reads `\\:` as a plain colon."""
    return sa.text(sql.replace(":", "\\:"))
