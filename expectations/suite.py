"""Checks as a Great Expectations suite. Great Expectations is imported when the first batch has rows, not before.

`required` and `choice` of one column become GX's own expectations for it. Every other check becomes a column
`fails <check>` of the checked query: empty for a good row, the record's source id for a bad one. GX then expects that
column to be empty, its one aggregate query counts all such checks at once, and the page shows the ids of failing
records rather than their values. Ranges are among these: GX keeps bounds as binary floats, and PostgreSQL would compare
the exact column with them as floats too.

GX writes values and descriptions into its pages as they are, so they are escaped here and in the checked query.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from canonical.checks import Check
from expectations.split import failing_column

if TYPE_CHECKING:
    from great_expectations.expectations.expectation import Expectation


@dataclass(frozen=True, slots=True)
class SuitePlan:
    """Which checks GX judges on a column as it is, which on a computed column, and which on the table."""

    native: tuple[Check, ...]
    computed: tuple[Check, ...]
    table: tuple[Check, ...]

    @property
    def rows(self) -> tuple[Check, ...]:
        """Every check that rows pass or fail."""
        return self.native + self.computed

    @property
    def native_columns(self) -> dict[str, bool]:
        """Column → whether the page may show its values (of `required` there are only empty ones to show)."""
        shown = {c.columns[0] for c in self.native if c.kind != "required"}
        return {c.columns[0]: c.columns[0] in shown for c in self.native}


def plan_suite(checks: Sequence[Check]) -> SuitePlan:
    """Sort the checks by how GX can judge them. A check with no predicate and no bound would check nothing: refused."""
    for check in checks:
        if not (check.predicate.strip() if check.kind != "volume" else check.minimum):
            raise ValueError(f"check {check.name} checks nothing: it has no predicate")
    table = tuple(c for c in checks if c.kind == "volume")
    native = tuple(c for c in checks if c.kind != "volume" and _is_native(c))
    computed = tuple(c for c in checks if c.kind != "volume" and c not in native)
    return SuitePlan(native, computed, table)


def _is_native(check: Check) -> bool:
    if len(check.columns) != 1:
        return False
    if check.kind == "choice":
        return bool(check.values)
    return check.kind == "required" and check.predicate == f'"{check.columns[0]}" IS NOT NULL'


def expectations(plan: SuitePlan) -> list[tuple[Check, Expectation]]:
    """One expectation a check, each with the check's sentence as its description."""
    return [(check, _expectation(check, native=check in plan.native)) for check in (*plan.table, *plan.rows)]


def _expectation(check: Check, *, native: bool) -> Expectation:
    from great_expectations.expectations.core.expect_column_values_to_be_in_set import ExpectColumnValuesToBeInSet
    from great_expectations.expectations.core.expect_column_values_to_be_null import ExpectColumnValuesToBeNull
    from great_expectations.expectations.core.expect_column_values_to_not_be_null import ExpectColumnValuesToNotBeNull
    from great_expectations.expectations.core.expect_table_row_count_to_be_between import ExpectTableRowCountToBeBetween

    said: dict[str, Any] = {"description": _description(check), "meta": {"check": check.name}}
    if check.kind == "volume":
        return ExpectTableRowCountToBeBetween(min_value=int(check.minimum or 0), **said)
    column = check.columns[0] if native else failing_column(check)
    if not native:
        return ExpectColumnValuesToBeNull(column=column, **said)
    if check.kind == "choice":
        return ExpectColumnValuesToBeInSet(
            column=column, value_set=[escape(v, quote=False) for v in check.values], **said
        )
    return ExpectColumnValuesToNotBeNull(column=column, **said)


def _description(check: Check) -> str:
    """The sentence on the page."""
    consequence = {
        "quarantine": "a row that fails is quarantined",
        "warn": "a row that fails is reported and goes on",
        "stop": "one failing row stops the batch",
    }[check.on_fail]
    return escape(f"{check.means} ({check.name}; {consequence}).", quote=False)
