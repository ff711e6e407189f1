"""The gate on a real PostgreSQL: every check finds what is planted for it, and the split takes exactly those rows."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy import exc

from canonical.checks import Check, checks_for, judge, judge_volume, volume_check
from canonical.declarations.rules import EntityRules, SqlRule
from canonical.landscape import Limit
from canonical.model import Entity, Field, FieldType, MatchRules, Model
from expectations import context, run
from expectations.errors import CheckBroken, GateCutOff, GateDisagrees
from expectations.run import Verdict, run_batch
from expectations.split import checked_sql, count_failing, failing_rows_sql
from staging.embedded import EmbeddedServer, admin_connection
from staging.engine import transaction
from staging.entity_tables import EntityTables, entity_tables
from staging.model_changes import apply, plan_changes
from tests.fixtures.database import TestDatabase


def field(name: str, kind: FieldType = "text", **more: Any) -> Field:
    return Field(name, kind, record="legacy", owner="sales", origin="legacy", **more)


LINES = field(
    "lines", "list", key="line", required=True,
    of=(
        field("line", required=True),
        field("product", required=True),
        field("unit", "choice", values=("piece", "kg")),
        field("quantity", "decimal", scale=6),
        field("shipped_quantity", "decimal", scale=6),
        field("tax_rate", "decimal", minimum="0", maximum="100"),
        field("agreed", "date", minimum="2000-01-01"),
        field("net", "money", currency="GBP"), field("tax", "money", currency="GBP"),
        field("gross", "money", currency="GBP"),
    ),
)  # fmt: skip
ORDER = Entity(
    "order", "An order", "sales", "legacy", "legacy",
    (
        field("number", required=True),
        field("status", "choice", values=("open", "closed, 100%", "it's $off: {x}")),
        field("address", "address", required=True),
        field("budget", "money", required=True),
        field("discount", "decimal", minimum="0", maximum="0.5"),
        field("weight", "integer", minimum="1", maximum="1000"),
        field("quantity", "decimal"),
        field("ordered_on", "date", minimum="2000-01-01"), field("shipped_on", "date"),
        field("issued_at", "datetime", maximum="2100-01-01T00:00:00Z"), field("due_on", "date"),
        field("paid_on", "date"), field("net", "money", currency="GBP"), field("tax", "money", currency="GBP"),
        field("gross", "money", currency="GBP"),
        LINES,
    ),
    match=MatchRules(unique=("number",)),
)  # fmt: skip
RULES = EntityRules(
    "order",
    (
        SqlRule("no_test_orders", "\"number\" NOT LIKE '%:test'", "Test orders stay out", ("number",)),
        SqlRule("round_weight", 'MOD("weight", 10) = 0', "Weights are round", ("weight",), "warn"),
    ),
)
KNOWN = Check(
    "customer_known", "reference_known", ("number",),
    "split_part(number, '-', 1) IN (SELECT 'A' UNION SELECT 'B')", "Its customer is known",
)  # fmt: skip
CHECKS = checks_for(ORDER, RULES, extra=(KNOWN,))


def line(**changed: Any) -> dict[str, Any]:
    good = {
        "line": "1", "product": "p", "unit": "kg", "quantity": "2", "shipped_quantity": "1", "tax_rate": "20",
        "agreed": "2024-01-01", "net": "10", "tax": "2", "gross": "12",
    }  # fmt: skip
    return {**good, **changed}


def row(n: int, **changed: Any) -> dict[str, Any]:
    """A candidate that passes every check, except for what is changed."""
    good = {
        "system": "legacy", "stream": "orders", "source_id": f"o{n}", "number": f"A-{n}", "status": "open",
        "address_line1": "1 High Street", "budget": Decimal(100), "budget_currency": "GBP",
        "discount": Decimal("0.5"), "weight": 10, "quantity": Decimal(1), "ordered_on": date(2024, 1, 1),
        "shipped_on": date(2024, 1, 2), "issued_at": "2024-01-03T00:00:00Z", "due_on": date(2024, 2, 3),
        "paid_on": date(2024, 1, 5), "net": Decimal(10), "tax": Decimal(2), "gross": Decimal("12.01"),
        "lines": [line()], "problems": None, "batch_id": 7, "absent": [],
    }  # fmt: skip
    return {**good, **changed}


PROBLEM = json.dumps([{"column": "phone", "rule": "phone", "reason": "no number"}])
PLANTED: dict[str, list[dict[str, Any]]] = {
    "no_problems": [{"problems": PROBLEM}],
    "number_required": [{"number": None}],
    "status_choice": [{"status": "lost"}],
    "address_required": [{"address_line1": None}],
    "budget_required": [{"budget_currency": None}],
    "discount_range": [{"discount": Decimal("0.5000000000000000001")}],
    "weight_range": [{"weight": 0}],
    "ordered_on_range": [{"ordered_on": date(1999, 12, 31)}],
    "issued_at_range": [{"issued_at": "2101-01-01T00:00:00Z", "due_on": None, "paid_on": None}],
    "lines_required": [{"lines": []}],
    "lines_line_required": [{"lines": [line(), line(line=None)]}],
    "lines_product_required": [{"lines": [line(product=None)]}],
    "lines_unit_choice": [{"lines": [line(), line(line="2", unit="barrel")]}],
    "lines_tax_rate_range": [{"lines": [line(tax_rate="100.01")]}],
    "lines_agreed_range": [{"lines": [line(agreed="1999-12-31")]}],
    "lines_quantity_not_negative": [{"lines": [line(quantity="-1", shipped_quantity=None)]}],
    "lines_shipped_quantity_not_negative": [{"lines": [line(shipped_quantity="-0.000001")]}],
    "lines_shipped_not_above_ordered": [{"lines": [line(shipped_quantity="2.1")]}],
    "lines_net_tax_gross": [{"lines": [line(gross="12.02")]}],
    "lines_line_once": [{"lines": [line(), line()]}],
    "ordered_before_shipped": [{"shipped_on": date(2023, 12, 31)}],
    "issued_before_due": [{"due_on": date(2024, 1, 1)}],
    "issued_before_paid": [{"paid_on": date(2024, 1, 1)}],
    "quantity_not_negative": [{"quantity": Decimal("-0.1")}],
    "net_tax_gross": [{"gross": Decimal("12.02")}],
    "record_once": [{"source_id": "twin"}, {"source_id": "twin"}],
    "number_unique": [{"number": "A-same"}, {"number": "A-same"}],
    "no_test_orders": [{"number": "A-1:test"}],
    "round_weight": [{"weight": 11}],
    "customer_known": [{"number": "C-1"}],
}
"""Check → rows that fail it and nothing else, as changes to a good row."""


@pytest.fixture(scope="module")
def candidate(module_database: TestDatabase) -> sa.Table:
    model = Model((ORDER,))
    with transaction(module_database.owner_engine) as connection:
        apply(connection, plan_changes(connection, model), module_database.app_url.username)
    tables: EntityTables = entity_tables(model)["order"]
    return tables.candidate


@pytest.fixture
def store(module_database: TestDatabase, candidate: sa.Table) -> Any:
    def put(rows: Sequence[dict[str, Any]]) -> None:
        with transaction(module_database.engine) as connection:
            connection.execute(candidate.delete())
            connection.execute(candidate.insert(), list(rows))

    return put


@pytest.fixture
def validate(module_database: TestDatabase) -> Any:
    url = module_database.app_url.render_as_string(hide_password=False)

    def run(checks: Sequence[Check] = CHECKS, **more: Any) -> Verdict:
        given: dict[str, Any] = {"table": "order_candidate", "schema": "staging", "batch_id": 7, "run_name": "test"}
        return run_batch(url, checks=checks, **{**given, **more})

    return run


def split(database: TestDatabase, check: Check, **more: Any) -> list[tuple[Any, ...]]:
    with transaction(database.engine) as connection:
        return [tuple(r) for r in connection.execute(failing_rows_sql(check, "order_candidate", 7, **more))]


def test_every_check_has_a_planted_violation() -> None:
    assert {c.name for c in CHECKS} == set(PLANTED)


def test_each_planted_violation_is_found_by_its_check_and_by_no_other(
    module_database: TestDatabase, store: Any, validate: Any
) -> None:
    good = [row(n) for n in range(200)]
    planted = {
        name: [row(1000 + 10 * n + i, **change) for i, change in enumerate(changes)]
        for n, (name, changes) in enumerate(PLANTED.items())
    }
    other_batch = [row(5000 + n, status="lost", batch_id=8) for n in range(30)]
    gone = row(6000, number=None, address_line1=None, lines=None, budget=None, deleted=True)
    rows = [*good, *(r for rows in planted.values() for r in rows), *other_batch]
    store([{"deleted": False, **r} for r in [*rows, gone]])

    verdict = validate()

    assert {r.check.name: r.unexpected for r in verdict.results} == {n: len(rows) for n, rows in planted.items()}
    assert verdict.total == 200 + sum(len(rows) for rows in planted.values())
    assert not verdict.success
    for check in CHECKS:
        taken = split(module_database, check)
        assert sorted(r[2] for r in taken) == sorted(r["source_id"] for r in planted[check.name])
        assert all(r[3] and r[4] and r[5] for r in taken)
    warned = sum(len(planted[c.name]) for c in CHECKS if c.on_fail == "warn")
    assert verdict.failing_rows == verdict.total - 200 - warned
    assert judge(verdict.results, verdict.total).action == "split"


def test_a_good_batch_passes(store: Any, validate: Any) -> None:
    store([row(n) for n in range(30)])
    verdict = validate()
    assert (verdict.success, verdict.total, verdict.failing, verdict.failing_rows) == (True, 30, (), 0)
    assert judge(verdict.results, verdict.total).action == "pass"


def test_empty_values_have_no_opinion_beyond_required(store: Any, validate: Any) -> None:
    bare = {name: None for name in row(1) if name not in ("system", "stream", "source_id", "batch_id", "absent")}
    kept = {
        "number": "A-1",
        "address_line1": "x",
        "budget": Decimal(1),
        "budget_currency": "GBP",
        "lines": [{"line": "1"}],
    }
    store([{**row(1), **bare, **kept}])
    verdict = validate()
    assert [r.check.name for r in verdict.failing] == ["lines_product_required"]


def test_more_failing_rows_than_gx_lists_are_all_split(
    module_database: TestDatabase, store: Any, validate: Any
) -> None:
    bad = [row(n, status="lost", gross=Decimal(99), problems=PROBLEM) for n in range(350)]
    store([*bad, *(row(1000 + n) for n in range(50))])
    verdict = validate()
    by_name = {c.name: c for c in CHECKS}
    with transaction(module_database.engine) as connection:
        counted, total, some = count_failing(connection, CHECKS, "order_candidate", 7)
    assert (counted, total, some) == (verdict.results, 400, 350)
    for name in ("status_choice", "net_tax_gross", "no_problems"):
        assert {r.check.name: r.unexpected for r in verdict.results}[name] == 350
        assert len({r[2] for r in split(module_database, by_name[name])}) == 350
    assert verdict.failing_rows == 350
    decided = judge(verdict.results, verdict.total)
    assert decided.action == "stop"
    assert "350 of 400 rows (87.5%)" in decided.because


def test_the_split_feeds_an_insert(module_database: TestDatabase, candidate: sa.Table, store: Any) -> None:
    two = json.dumps([{"column": c, "rule": "phone", "reason": f"not: a phone % {c}"} for c in ("phone", "fax")])
    store([row(1), row(2, problems=two), row(3, number="A-3:test")])
    by_name = {c.name: c for c in CHECKS}
    with transaction(module_database.engine) as connection:
        connection.execute(sa.text("create temporary table kept (sys text, id text, rule text, field text, why text)"))
        kept = sa.table("kept", *(sa.column(c) for c in ("sys", "id", "rule", "field", "why")))
        for name in ("no_problems", "no_test_orders"):
            rows = failing_rows_sql(by_name[name], candidate.name, 7, key_columns=("system", "source_id"))
            connection.execute(kept.insert().from_select(["sys", "id", "rule", "field", "why"], rows))
        found = {tuple(r) for r in connection.execute(sa.select(kept))}
    assert found == {
        ("legacy", "o2", "phone", "phone", "not: a phone % phone"),
        ("legacy", "o2", "phone", "fax", "not: a phone % fax"),
        ("legacy", "o3", "no_test_orders", "number", "Test orders stay out"),
    }


NAUGHTY = [
    "'; DROP TABLE staging.order_candidate; --", "{{7*7}} {0.__class__}", "%s%n 100%", ":batch_id ::text", "$1 ${HOME}",
    "<script>alert(1)</script>", "\u202eright to left\u200b", 'quote " and \\ slash', "null", "", "\n\r\t",
]  # fmt: skip


def test_strange_values_break_nothing(store: Any, validate: Any, tmp_path: Path) -> None:
    rows = [row(n, source_id=f"{n} {text}", number=f"A-{n} {text}", status=text) for n, text in enumerate(NAUGHTY)]
    rows += [row(100 + n, lines=[line(quantity=text, product=text)]) for n, text in enumerate(NAUGHTY)]
    allowed = [row(200 + n, status=value) for n, value in enumerate(ORDER.by_name["status"].values)]
    store([*rows, *allowed])
    bold = Check("bold", "landscape", ("number",), "number <> '<b>'", "It costs $5 & is <i>not</i> ${bold} %s {x}")
    meta = {"entity": NAUGHTY[0], "owner": NAUGHTY[5]}
    verdict = validate(checks=[*CHECKS, bold], docs_dir=tmp_path, run_name=NAUGHTY[5], meta=meta)
    assert {r.check.name: r.unexpected for r in verdict.failing} == {"status_choice": len(NAUGHTY)}
    assert verdict.page
    page = verdict.page.read_text()
    assert "It costs $5 &amp; is &lt;i&gt;not&lt;/i&gt; ${bold} %s {x}" in page
    assert "<script>alert(1)</script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "&amp;lt;" not in page


def test_a_page_for_people(module_database: TestDatabase, store: Any, validate: Any, tmp_path: Path) -> None:
    store([row(1), row(2, gross=Decimal(1))])
    meta = {"integration": "orders to accounting", "entity": "order", "system": "legacy", "stream": "orders",
            "batch": 7, "owner": "finance-lead (Ada Byron)"}  # fmt: skip
    first = validate(docs_dir=tmp_path, run_name="sync orders, nightly", meta=meta)
    second = validate(docs_dir=tmp_path, run_name="sync orders, again", meta=meta)
    assert first.page
    assert second.page
    page = first.page.read_text()
    for said in ("order from legacy orders", "sync orders, nightly", "orders to accounting", "finance-lead (Ada Byron)",
                 "Net and tax add up to gross, within the rounding of the lines", "batch 7", "o2"):  # fmt: skip
        assert said in page
    index = (tmp_path / "index.html").read_text()
    assert "nightly" in index
    assert "again" in index
    password = str(module_database.app_url.password)
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and password.encode() in p.read_bytes()]


def test_documents_of_two_folders_do_not_mix(store: Any, validate: Any, tmp_path: Path) -> None:
    store([row(1)])
    pages = [validate(docs_dir=tmp_path / name, run_name=name).page for name in ("a", "b", "a")]
    assert [p.relative_to(tmp_path).parts[0] for p in pages if p] == ["a", "b", "a"]
    assert validate().page is None


def test_a_page_that_cannot_be_written_stops_no_batch(
    store: Any, validate: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("expectations.run.build_page", full)
    store([row(1)])
    verdict = validate(docs_dir=tmp_path)
    assert (verdict.success, verdict.page) == (True, None)
    assert "No space left on device" in str(verdict.page_problem)


def test_the_index_keeps_the_latest(store: Any, validate: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("expectations.context.MAX_INDEXED", 2)
    monkeypatch.setattr("expectations.context.MAX_KEPT", 3)
    store([row(1)])
    pages = [validate(docs_dir=tmp_path, run_name=f"run {n}").page for n in range(4)]
    assert [bool(page and page.exists()) for page in pages] == [False, True, True, True]
    index = (tmp_path / "index.html").read_text()
    assert [f"run {n}" in index for n in range(4)] == [False, False, True, True]


def test_too_few_rows_fail_the_volume_check(store: Any, validate: Any) -> None:
    store([row(n) for n in range(10)])
    few = volume_check(judge_volume(10, [100, 90, 110]))
    verdict = validate(checks=[*CHECKS, few])
    assert [r.check.name for r in verdict.failing] == ["volume"]
    assert judge(verdict.results, verdict.total).action == "stop"
    enough = volume_check(judge_volume(10, [12, 9, 11]))
    assert validate(checks=[*CHECKS, enough]).success


@pytest.mark.parametrize(
    ("predicate", "said"),
    [
        ('"colour" = 1', 'column "colour" does not exist'),
        ("1 / (weight - weight) = 1", "a value that it cannot take (SQLSTATE 22012)"),
        ("number::int > 0", "a value that it cannot take (SQLSTATE 22P02)"),
    ],
    ids=["unknown column", "division by zero", "not a number"],
)
def test_a_check_that_cannot_run_is_named(store: Any, validate: Any, predicate: str, said: str) -> None:
    store([row(1, number="Jane Doe")])
    with pytest.raises(CheckBroken) as refused:
        validate(checks=[*CHECKS, Check("mine", "landscape", ("number",), predicate, "m")])
    assert refused.value.check == "mine"
    assert said in str(refused.value)
    assert "Jane" not in str(refused.value)


def test_what_a_check_looks_up_is_never_read_whole_for_each_record(
    module_database: TestDatabase, store: Any, validate: Any
) -> None:
    """A table that is known to be empty costs the planner nothing to read whole; it may fill up during the query."""
    read_whole = sa.text("select seq_scan from pg_stat_all_tables where relname = 'looked_up'")
    told = sa.text("select pg_stat_force_next_flush()")
    at_work = sa.text(
        "select count(*) from pg_stat_activity where datname = current_database() and backend_start > :since"
    )
    with module_database.owner_engine.connect().execution_options(isolation_level="AUTOCOMMIT") as owner:
        owner.execute(sa.text("create table public.looked_up (number text primary key)"))
        owner.execute(sa.text("grant select on public.looked_up to public"))
        owner.execute(sa.text("vacuum (analyze) public.looked_up"))
        owner.execute(told)
        before = owner.execute(read_whole).scalar_one()
        store([row(n) for n in range(30)])
        since = owner.execute(sa.text("select clock_timestamp()")).scalar_one()
        predicate = "not exists (select from public.looked_up as l where l.number = candidate.number)"
        verdict = validate(checks=[*CHECKS, Check("looked_up", "landscape", ("number",), predicate, "m")])
        assert verdict.success
        for _ in range(200):  # a session tells at its end what it read
            if owner.execute(at_work, {"since": since}).scalar_one() == 0:
                break
            time.sleep(0.05)
        assert owner.execute(read_whole).scalar_one() == before


def test_a_long_name_and_a_trailing_comment_are_harmless(store: Any, validate: Any) -> None:
    store([row(1), row(2, weight=20)])
    checks = [
        Check(f"{'very_' * 20}long_{n}", "landscape", ("weight",), f"weight = {n} -- so", "A weight: 100% $of {it}")
        for n in (10, 20)
    ]
    verdict = validate(checks=checks)
    assert [r.unexpected for r in verdict.results] == [1, 1]


def test_counts_that_differ_stop_the_gate(store: Any, validate: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    store([row(1), row(2, status="lost")])
    another = lambda *given: checked_sql(*given).replace('"batch_id" = 7', '"batch_id" = 8')  # noqa: E731
    monkeypatch.setattr("expectations.run.checked_sql", another)
    with pytest.raises(GateDisagrees, match="the suite found 0, the split would take 2"):
        validate()


def test_a_batch_without_rows_passes(store: Any, validate: Any, tmp_path: Path) -> None:
    store([row(1, batch_id=8)])
    verdict = validate(docs_dir=tmp_path)
    assert (verdict.success, verdict.total, verdict.failing) == (True, 0, ())


def test_one_batch_after_another_of_the_same_stream(store: Any, validate: Any) -> None:
    store([row(1), row(2, status="lost", batch_id=8)])
    assert [validate(batch_id=n).failing_rows for n in (7, 8, 7)] == [0, 1, 0]


@pytest.mark.parametrize("before", ["_evaluate", "_run_suite", "_agree"])
def test_a_session_that_ends_in_the_middle_is_told_from_a_check_that_cannot_run(
    module_database: TestDatabase,
    embedded_server: EmbeddedServer,
    store: Any,
    validate: Any,
    monkeypatch: pytest.MonkeyPatch,
    before: str,
) -> None:
    """Asked again, it judges; the sync does that as for every step that the database cut off."""
    store([row(1), row(2, status="lost")])
    go_on, cut = getattr(run, before), []

    def cut_off(*given: Any) -> Any:
        if not cut:
            with admin_connection(embedded_server) as admin:
                ended = "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = %s"
                cut.extend(admin.execute(ended, [module_database.name]))
            if before == "_agree":  # all was counted by then; what is asked next meets the lost session
                raise LookupError("the next thing")
        return go_on(*given)

    monkeypatch.setattr(run, before, cut_off)
    with pytest.raises(GateCutOff, match="went away in the middle"):
        validate()
    assert validate().failing_rows == 1


def test_a_session_that_ends_before_anything_is_asked_is_no_verdict(
    store: Any, validate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store([row(1), row(2, status="lost")])
    lost = exc.OperationalError("select", {}, psycopg.OperationalError("the connection is lost"))
    with monkeypatch.context() as patched:
        patched.setattr(context, "_session", Mock(side_effect=lost))
        with pytest.raises(GateCutOff, match="cannot be reached"):
            validate()
    assert validate().failing_rows == 1


def test_an_unreachable_database_is_said_plainly(validate: Any) -> None:
    with pytest.raises(GateCutOff, match="cannot be reached"):
        run_batch(
            "postgresql+psycopg://nobody:secret$@127.0.0.1:1/none",
            table="t", schema="s", batch_id=1, checks=CHECKS, run_name="r",
        )  # fmt: skip


def test_a_declared_tolerance_counts_rows_that_fail_any_check(store: Any, validate: Any) -> None:
    store([row(0, status="lost"), row(1, weight=0), *(row(n) for n in range(2, 20))])
    verdict = validate()
    assert judge(verdict.results, verdict.total, Limit(1, 0.06), verdict.failing_rows).action == "stop"
    assert judge(verdict.results, verdict.total, Limit(2, 0.0), verdict.failing_rows).action == "split"


def test_unmapped_columns_are_not_required(store: Any, validate: Any) -> None:
    checks = checks_for(ORDER, mapped=("number", "address_city", "weight"))
    store([row(1, budget=None, lines=None, address_line1=None, address_city="Leeds")])
    assert validate(checks=checks).success
    assert {c.name for c in checks} >= {"number_required", "address_required", "weight_range", "no_problems"}
    assert not {"budget_required", "lines_required", "net_tax_gross"} & {c.name for c in checks}


def test_the_same_model_with_another_list_name(validate: Any) -> None:
    """Names come from the model: nothing in the checks is bound to one list's name."""
    renamed = checks_for(replace(ORDER, fields=(replace(LINES, name="items"),), match=MatchRules()))
    assert "items_shipped_not_above_ordered" in {c.name for c in renamed}
