"""Plan, approve, apply exactly that: what was shown is written once, or nothing is (DESIGN 9.13-14, rows 50, 51)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from apps import exits
from staging import locks
from staging.crash import VARIABLE
from staging.engine import engine, transaction
from tasks import extract as reading
from tests.fixtures.mainjob import MainJob
from tests.fixtures.outside import in_agreement
from tests.fixtures.said import Concord

pytestmark = pytest.mark.slow

TOP = Path(__file__).resolve().parents[2]
TABLES = (
    "golden.customer", "golden.history", "staging.customer", "ops.outbox", "ops.plan", "ops.sync", "ops.batch",
    "ops.shadow", "ops.crosswalk", "ops.finding", "ops.review", "ops.quarantine", "ops.hold", "ops.dirty",
)  # fmt: skip


@pytest.fixture
def customer(main_job: MainJob) -> dict[tuple[str, str], str]:
    """A customer that stands in the CRM, the ledger and the order database: (system, stream) → source id."""
    return known_everywhere(main_job, 1)[0]


def known_everywhere(job: MainJob, number: int) -> list[dict[tuple[str, str], str]]:
    found = job.rows(
        "select g.id from golden.customer g join ops.crosswalk c on c.canonical_id = g.id and c.ended_at is null"
        " where g.phone is not null and g.status = 'active' and not g.deleted and not"
        " g.provisional && array['phone', 'email'] group by 1"
        " having count(*) = 3 and count(distinct c.system) = 3 order by 1 limit :n",
        n=number,
    )
    return [job.source_ids("customer", row["id"]) for row in found]


def call_them(job: MainJob, customers: list[dict[tuple[str, str], str]], first: int = 0) -> None:
    """Gives each customer another phone number in the CRM."""
    for n, ids in enumerate(customers, first):
        job.edit("crm", "companies", ids["crm", "companies"], {"phone": f"020 7946 {n + 100:04d}"})


def counts() -> dict[str, int]:
    with transaction(engine("app")) as conn:
        return {t: int(conn.execute(sa.text(f"select count(*) from {t}")).scalar_one()) for t in TABLES}


def quiet(job: MainJob) -> None:
    mark = job.mark()
    again = job.sync()
    assert (again.target_writes, again.golden_versions, again.trouble) == (0, 0, [])
    assert job.written_since(mark) == {}


def save(concord: Concord, *more: str) -> dict[str, Any]:
    said = concord("plan", "customer-details", "--save", "--json", *more)
    assert said.code == exits.DONE, said.err
    found: dict[str, Any] = said.json
    return found


def test_a_plan_is_kept_and_leaves_nothing_else_behind(
    main_job: MainJob, concord: Concord, customer: dict[tuple[str, str], str]
) -> None:
    call_them(main_job, [customer])
    before, mark = counts(), main_job.mark()
    made = save(concord)
    assert counts() == before
    assert main_job.written_since(mark) == {}
    assert [(w["system"], w["op"]) for w in made["writes"]] == [("accounting", "update"), ("legacy", "update")]
    again = save(concord)
    assert again["digest"] == made["digest"], "nothing moved: the same plan"
    listed = concord("plan", "list", "--json").json
    assert [e["id"] for e in listed["entries"]] == [again["saved_plan_id"], made["saved_plan_id"]]
    kept = concord("plan", "show", str(made["saved_plan_id"]), "--json").json
    assert [w["fingerprint"] for w in kept["writes"]] == [w["fingerprint"] for w in made["writes"]]
    assert "concord apply" in concord("plan", "show", str(made["saved_plan_id"])).out
    assert concord("plan", "show", "99").code == exits.REFUSED


def test_exactly_the_plan_is_applied_and_only_once(
    main_job: MainJob, concord: Concord, customer: dict[tuple[str, str], str]
) -> None:
    call_them(main_job, [customer])
    plan = str(save(concord)["saved_plan_id"])
    assert concord("apply", plan).code == exits.REFUSED, "nobody is there to be asked"
    mark = main_job.mark()
    said = concord("apply", plan, "--yes")
    assert said.code == exits.DONE, said.out + said.err
    assert set(main_job.written_since(mark)) == {"accounting", "legacy"}
    assert main_job.stored("accounting", "contacts")[customer["accounting", "contacts"]]["Phones"]
    assert in_agreement()
    mark = main_job.mark()
    again = concord("apply", plan, "--yes")
    assert again.code == exits.DONE
    assert f"plan {plan} was applied at" in again.out
    assert "2 delivered" in again.out
    assert main_job.written_since(mark) == {}
    assert concord("plan", "list", "--json").json["total"] == 0
    quiet(main_job)


def test_what_moved_is_told_field_by_field_and_nothing_is_written(main_job: MainJob, concord: Concord) -> None:
    first, second, third = known_everywhere(main_job, 3)
    call_them(main_job, [first, second])
    plan = str(save(concord)["saved_plan_id"])
    old = main_job.stored("crm", "companies")
    call_them(main_job, [first], first=50)  # changed
    phone = main_job.value("select g.phone from golden.customer g join ops.crosswalk c on c.canonical_id = g.id"
                           " where c.system = 'crm' and c.source_id = :id", id=second["crm", "companies"])  # fmt: skip
    main_job.edit("crm", "companies", second["crm", "companies"], {"phone": phone})  # removed: as it was
    call_them(main_job, [third], first=60)  # added
    before, mark = counts(), main_job.mark()

    told = concord("apply", plan, "--yes", "--json")

    assert told.code == exits.NEEDS_A_PERSON
    moved = told.json
    assert not moved["is_applied"]
    assert {w["system"] for w in moved["added"]} == {"accounting", "legacy"}
    assert {w["system"] for w in moved["removed"]} == {"accounting", "legacy"}
    [legacy] = [c for c in moved["changed"] if c["now"]["system"] == "legacy"]
    [field] = legacy["fields"]
    assert (field["field"], field["shown"][1], field["now"][1]) == ("tel", "+442079460100", "+442079460150")
    assert main_job.written_since(mark) == {}
    after = counts()
    assert {t: n for t, n in after.items() if n != before[t]} == {"ops.sync": before["ops.sync"] + 1}
    said = concord("apply", plan, "--yes")
    assert "would be now" in said.out
    assert "concord plan customer-details --save" in said.out
    assert old != main_job.stored("crm", "companies")
    assert in_agreement()
    # a plan made now is applied
    assert concord("apply", str(save(concord)["saved_plan_id"]), "--yes").code == exits.DONE
    quiet(main_job)


def test_nothing_is_applied_while_somebody_else_reads_what_it_needs(
    main_job: MainJob, concord: Concord, customer: dict[tuple[str, str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    call_them(main_job, [customer])
    plan = str(save(concord)["saved_plan_id"])
    monkeypatch.setattr(reading, "LANE_SECONDS", 0.2)
    mark = main_job.mark()
    with locks.lane(engine("app"), "extract:crm/companies"):
        said = concord("apply", plan, "--yes")
    assert said.code == exits.NEEDS_A_PERSON
    assert "crm (companies)" in said.out + said.err
    assert "somebody else is reading it" in said.out + said.err
    assert main_job.written_since(mark) == {}
    assert concord("apply", plan, "--yes").code == exits.DONE


@pytest.mark.parametrize("moment", ["apply.committing", "apply.committed", "deliver.sent"])
def test_an_interrupted_apply_goes_on_where_it_stopped(
    main_job: MainJob, concord: Concord, customer: dict[tuple[str, str], str], moment: str
) -> None:
    call_them(main_job, [customer])
    plan = str(save(concord)["saved_plan_id"])
    mark = main_job.mark()
    killed = subprocess.run(
        [sys.executable, "-m", "apps.cli", "apply", plan, "--yes"],
        cwd=TOP, env={**os.environ, **main_job.environment, VARIABLE: moment}, check=False, capture_output=True,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert in_agreement()
    said = concord("apply", plan, "--yes")
    assert said.code == exits.DONE, said.out + said.err
    with transaction(engine("app")) as conn:  # what was looked up after the kill is sent again a moment later
        conn.execute(sa.text("update ops.outbox set due_at = now() where state = 'ready'"))
    assert concord("apply", plan, "--yes").code == exits.DONE
    written = main_job.written_since(mark)
    assert len(written["legacy"]) == 1
    phones = main_job.stored("accounting", "contacts")[customer["accounting", "contacts"]]["Phones"]
    assert "+442079460100" in {p["PhoneNumber"] for p in phones}
    assert main_job.value("select count(*) from ops.outbox where state not in ('delivered', 'held', 'superseded')") == 0
    assert in_agreement()
    quiet(main_job)


CODED = ("finance-lead:      {name: Tom Okafor, ", "finance-lead:      {name: Tom Okafor, code: {env: TOM_CODE}, ")


def test_the_brake_still_holds_what_is_applied_unless_a_person_proves_and_approves(
    main_job: MainJob, concord: Concord, monkeypatch: pytest.MonkeyPatch
) -> None:
    main_job.replace_in("landscape.yaml", *CODED)
    main_job.replace_in("landscape.yaml", '{changes: "max(700, 60%)"', '{changes: "max(3, 1%)"')
    monkeypatch.setenv("TOM_CODE", "correct horse")
    customers = known_everywhere(main_job, 10)
    call_them(main_job, customers[:5])
    made = save(concord)
    assert {t["verdict"] for t in made["targets"]} == {"hold"}
    mark = main_job.mark()
    assert concord("apply", str(made["saved_plan_id"]), "--yes").code == exits.DONE
    assert main_job.written_since(mark) == {}
    assert main_job.value("select count(*) from ops.outbox where state = 'held' and op = 'update'") >= 10

    # five more join them; the approval covers what the plan shows, held writes included
    call_them(main_job, customers[5:], first=20)
    plan = str(save(concord, "--by", "integration-owner")["saved_plan_id"])
    approve = ("apply", plan, "--yes", "--approve-holds", "--reason", "the numbers were moved over")
    assert concord(*approve).code == exits.REFUSED, "without a name"
    assert "no personal code" in concord(*approve, "--by", "order-desk").err
    monkeypatch.setenv("CONCORD_APPROVAL_CODE", "wrong horse")
    assert concord(*approve, "--by", "finance-lead").code == exits.REFUSED
    assert main_job.written_since(mark) == {}
    monkeypatch.setenv("CONCORD_APPROVAL_CODE", "correct horse")
    said = concord(*approve, "--by", "finance-lead")
    assert said.code == exits.DONE, said.out + said.err
    assert len(main_job.written_since(mark)["legacy"]) == 10
    assert in_agreement()


def test_who_made_a_plan_does_not_approve_its_holds(
    main_job: MainJob, concord: Concord, monkeypatch: pytest.MonkeyPatch, customer: dict[tuple[str, str], str]
) -> None:
    main_job.replace_in("landscape.yaml", *CODED)
    monkeypatch.setenv("TOM_CODE", "correct horse")
    monkeypatch.setenv("CONCORD_APPROVAL_CODE", "correct horse")
    call_them(main_job, [customer])
    plan = str(save(concord, "--by", "finance-lead")["saved_plan_id"])
    mark = main_job.mark()
    said = concord("apply", plan, "--yes", "--approve-holds", "--by", "finance-lead", "--reason", "as agreed")
    assert said.code == exits.NEEDS_A_PERSON
    assert "somebody else must approve" in said.out
    assert main_job.written_since(mark) == {}


def test_a_plan_of_what_could_not_be_read_is_not_kept(main_job: MainJob, concord: Concord) -> None:
    main_job.fault("crm", kind="status", status=503, count=-1)
    said = concord("plan", "customer-details", "--save", "--json")
    assert said.code == exits.NEEDS_A_PERSON
    assert said.json["saved_plan_id"] is None
