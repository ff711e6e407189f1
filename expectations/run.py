"""The gate's engine: one batch of candidates judged by Great Expectations, and checked by our own count.

    checked query → temporary table (one evaluation of every predicate) → GX's verdict
    our own count over the candidate table, on a connection of its own  → must agree, else GateDisagrees

GX runs one batch after another in a process (several at once are unsafe upstream), in one context that keeps nothing
between batches.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import exc

from canonical.checks import RECORD, Check, CheckResult
from expectations.context import build_page, context, opened, path_safe
from expectations.errors import CheckBroken, GateCutOff, GateDisagrees, GateError
from expectations.split import LIVE, Candidates, checked_sql, counts_sql, verbatim
from expectations.suite import SuitePlan, expectations, plan_suite

if TYPE_CHECKING:
    from great_expectations.core import ExpectationSuiteValidationResult
    from great_expectations.data_context.data_context.ephemeral_data_context import EphemeralDataContext
    from great_expectations.datasource.fluent.postgres_datasource import PostgresDatasource

CHECKED_TABLE = "concord_checked"
SESSION = ("TIME ZONE 'UTC'", "work_mem = '64MB'", "jit = off", "enable_seqscan = off")
"""Grouping a batch of 100,000 records in memory takes half the time; compiling these queries takes longer than them.
What a check looks up for each record is looked up by an index, even in a table that is empty when the query is planned:
another stream may fill it meanwhile, and reading all of it for each record once took more than four minutes."""
_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the suite found in one batch. `results` follow the order of the checks."""

    success: bool
    total: int
    """Rows of the batch."""
    failing_rows: int
    """Rows that at least one quarantining check failed."""
    results: tuple[CheckResult, ...]
    page: Path | None
    """This batch's Data Docs page, if documents were asked for."""
    page_problem: str | None = None
    """Why there is no page although one was asked for. Documents are for people: they never stop a batch."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """What each part took: evaluate, suite, count, docs."""

    @property
    def failing(self) -> tuple[CheckResult, ...]:
        return tuple(r for r in self.results if r.unexpected)


def run_batch(
    url: str,
    *,
    table: str,
    schema: str,
    batch_id: int,
    checks: Sequence[Check],
    run_name: str,
    key_columns: Sequence[str] = RECORD,
    docs_dir: Path | None = None,
    meta: Mapping[str, object] | None = None,
    only: str = LIVE,
) -> Verdict:
    """Judge the committed rows of one batch in `schema.table`, of which `only` says (in SQL) which are judged.

    `url` is a `postgresql+psycopg://` URL. `meta` is what the page says about the batch, in order: integration, system,
    stream, entity, batch, owner. GX never sees another batch's rows.

    Raises GateCutOff, CheckBroken, GateDisagrees, and GateError for a check that was not computed.
    """
    candidates = Candidates(schema, table, batch_id, only)
    plan = plan_suite(checks)
    with _ONE_AT_A_TIME, opened(url, docs_dir) as (gx, source), ThreadPoolExecutor(1) as beside:
        engine = source.get_execution_engine().engine
        clock = _Clock()
        counted = beside.submit(_count, url, plan, candidates)
        _evaluate(engine, plan, candidates, key_columns[-1])
        clock.lap("evaluate")
        result = _run_suite(gx, source, plan, candidates, run_name, meta or {})
        clock.lap("suite")
        found = _unexpected(result, plan)
        failing_rows = _agree(counted.result(), plan, candidates, found)
        clock.lap("count")
        page, problem = _document(gx, result, meta or {}) if docs_dir else (None, None)
        clock.lap("docs")
    results = tuple(CheckResult(check, found[check.name]) for check in checks)
    return Verdict(bool(result.success), found[ROWS], failing_rows, results, page, problem, clock.seconds)


def preload(docs_dir: Path | None = None) -> None:
    """Import Great Expectations and set up its context (6 s) while something else still waits for its rows."""
    with _ONE_AT_A_TIME:
        context(docs_dir)


class _Clock:
    """Seconds since the lap before, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._since = time.monotonic()

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self.seconds[name], self._since = now - self._since, now


def _evaluate(engine: sa.Engine, plan: SuitePlan, candidates: Candidates, shown: str) -> None:
    """Evaluate every predicate once, into a temporary table of the one connection that GX will use."""
    query = checked_sql(plan.computed, plan.native_columns, candidates, shown)
    try:
        with engine.begin() as connection:
            for setting in SESSION:
                connection.execute(sa.text(f"SET {setting}"))
            connection.execute(verbatim(f"CREATE TEMPORARY TABLE {CHECKED_TABLE} AS {query}"))
    except exc.DBAPIError as error:
        broken = _broken(engine, plan, candidates)
        raise broken or GateError(f"batch {candidates.batch_id} cannot be checked: {_plainly(error)}") from error
    with engine.begin() as connection:
        # From here on nothing that a rule or GX does in this session can write.
        connection.execute(sa.text("SET default_transaction_read_only = on"))


def _broken(engine: sa.Engine, plan: SuitePlan, candidates: Candidates) -> CheckBroken | None:
    """The first check that cannot be run by itself."""
    for check in plan.rows:
        try:
            with engine.connect() as connection:
                connection.execute(verbatim(counts_sql((check,), candidates)))
        except exc.DBAPIError as error:
            return CheckBroken(check.name, check.predicate, _plainly(error))
    return None


def _plainly(error: exc.DBAPIError) -> str:
    """The server's sentence; where it could quote a record's value (class 22, data) only its code."""
    state = str(getattr(error.orig, "sqlstate", "") or "")
    if state.startswith("22"):
        return f"a value that it cannot take (SQLSTATE {state})"
    return str(error.orig).partition("\n")[0]


def _run_suite(
    gx: EphemeralDataContext,
    source: PostgresDatasource,
    plan: SuitePlan,
    candidates: Candidates,
    run_name: str,
    meta: Mapping[str, object],
) -> ExpectationSuiteValidationResult:
    from great_expectations import ExpectationSuite, ValidationDefinition
    from great_expectations.core.run_identifier import RunIdentifier

    origin = [str(meta[k]) for k in ("system", "stream") if k in meta]
    title = path_safe(" ".join([str(meta.get("entity", candidates.table)), *(["from", *origin] if origin else [])]))
    # A table asset: of a query asset GX fetches every row only to learn the names of its columns.
    asset = source.add_table_asset(f"batch {candidates.batch_id}", table_name=CHECKED_TABLE)
    rows = asset.add_batch_definition_whole_table("rows")
    suite = ExpectationSuite(title, expectations=[e for _, e in expectations(plan)])
    definition = ValidationDefinition(name=title, data=rows, suite=gx.suites.add_or_update(suite))
    gx.validation_definitions.add_or_update(definition)
    run = RunIdentifier(run_name=path_safe(run_name), run_time=datetime.now(UTC))
    try:
        return definition.run(result_format={"result_format": "BASIC"}, run_id=run)
    finally:
        # the next batch of this stream has another asset: GX would look for this one's
        gx.validation_definitions.delete(title)


def _document(
    gx: EphemeralDataContext, result: ExpectationSuiteValidationResult, about: Mapping[str, object]
) -> tuple[Path | None, str | None]:
    """The page, or why there is none: a full disk, another process that tidies the same folder."""
    try:
        return build_page(gx, result, about), None
    except Exception as error:  # GX and its stores raise whatever their parts raise
        return None, f"the validation page could not be written: {type(error).__name__}: {error}"


ROWS = ""
"""The key under which `_unexpected` counts the rows of the batch; no check has an empty name."""


def _unexpected(result: ExpectationSuiteValidationResult, plan: SuitePlan) -> dict[str, int]:
    """Failing rows for each check, and all rows. A check that could not be computed is an error, never a pass."""
    found: dict[str, int] = {}
    for each in result.results:
        name = str(each.expectation_config.meta["check"]) if each.expectation_config else ""
        outcome: dict[str, Any] = each.result
        if "unexpected_count" in outcome:
            # Of no rows at all GX counts None.
            found[name], found[ROWS] = int(outcome["unexpected_count"] or 0), int(outcome["element_count"] or 0)
        elif "observed_value" in outcome:
            found[name] = 0 if each.success else 1
        else:
            raise GateError(f"check {name} was not computed: {each.exception_info}")
    missing = [c.name for c in (*plan.table, *plan.rows) if c.name not in found]
    if missing:
        raise GateError(f"the suite answered nothing for {', '.join(missing)}")
    return found


def _count(url: str, plan: SuitePlan, candidates: Candidates) -> tuple[int, ...]:
    """Count straight from the candidate table: see `counts_sql`. Beside GX, which waits for the same rows meanwhile."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    try:
        with engine.begin() as connection:
            for setting in SESSION:
                connection.execute(sa.text(f"SET {setting}"))
            connection.execute(sa.text("SET TRANSACTION READ ONLY"))
            return tuple(connection.execute(verbatim(counts_sql(plan.rows, candidates))).one())
    except exc.DBAPIError as error:
        kind = GateCutOff if error.connection_invalidated else GateError
        raise kind(f"batch {candidates.batch_id} cannot be counted: {_plainly(error)}") from error


def _agree(counted: tuple[int, ...], plan: SuitePlan, candidates: Candidates, found: dict[str, int]) -> int:
    """Refuse to go on where our own count and GX's verdict differ.

    Returns the rows that at least one quarantining check failed."""
    total, failing_rows, *counts = counted
    ours = {ROWS: int(total)} | {c.name: int(n) for c, n in zip(plan.rows, counts, strict=True)}
    differing = tuple((n or "rows", found.get(n, 0), ours[n]) for n in ours if found.get(n, 0) != ours[n])
    if differing:
        raise GateDisagrees(candidates.batch_id, differing)
    return int(failing_rows)
