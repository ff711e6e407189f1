"""What people decide in Prefect's forms does what the commands do, and a personal code is not kept there."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr

from deployments.prefect_local import LocalPrefect
from staging import ledger
from staging.engine import engine, transaction
from tests.fixtures.mainjob import MainJob
from tests.fixtures.prefect import pages

pytestmark = pytest.mark.slow

CODE = "correct horse battery"


@pytest.fixture
def job(main_job: MainJob, prefect_server: LocalPrefect, monkeypatch: pytest.MonkeyPatch) -> MainJob:
    main_job.replace_in(
        "landscape.yaml",
        "finance-lead:      {name: Tom Okafor, ",
        "finance-lead:      {name: Tom Okafor, code: {env: TOM_CODE}, ",
    )
    main_job.replace_in("landscape.yaml", '{changes: "max(700, 60%)"', '{changes: "max(0, 0.1%)"')
    monkeypatch.setenv("CONCORD_LANDSCAPE", str(main_job.folder))
    monkeypatch.setenv("TOM_CODE", CODE)
    return main_job


def told(state: Any) -> tuple[str, str]:
    return state.name, state.message


def move(job: MainJob) -> dict[tuple[str, str], str]:
    """A customer known everywhere gets another phone number in the CRM; gives its ids."""
    row = job.rows(
        "select g.id from golden.customer g join ops.crosswalk c on c.canonical_id = g.id and c.ended_at is null"
        " where g.phone is not null and g.status = 'active' and not g.deleted and not"
        " g.provisional && array['phone', 'email'] group by 1"
        " having count(*) = 3 and count(distinct c.system) = 3 order by 1 limit 1"
    )[0]
    ids = job.source_ids("customer", row["id"])
    job.edit("crm", "companies", ids["crm", "companies"], {"phone": "020 7946 0111"})
    return ids


def test_a_plan_is_kept_applied_held_decided_and_undone_from_forms(job: MainJob, prefect_server: LocalPrefect) -> None:
    from flows.apply import apply
    from flows.decide import decide
    from flows.deliver import deliver
    from flows.plan import plan
    from flows.undo import undo

    move(job)
    state = plan(integration="customer-details", by="order-desk", return_state=True)
    assert told(state)[0] == "Completed", state.message
    assert "kept as plan 1: 2 writes" in state.message
    mark = job.mark()
    assert told(apply(plan=1, by="integration-owner", return_state=True))[0] == "Completed"
    assert job.written_since(mark) == {}, "the brake holds it"
    again = apply(plan=1, by="integration-owner", return_state=True)
    assert "was applied at" in again.message

    hold = job.value("select min(id) from ops.hold where state = 'open' and kind = 'brake'")
    asked = {"hold": hold, "decision": "approve", "by": "finance-lead", "reason": "they moved house"}
    wrong = decide(**asked, personal_code=SecretStr("wrong horse battery"), return_state=True)
    assert told(wrong) == ("Failed", "this is not the personal code of finance-lead; nothing was done")
    assert told(decide(**{**asked, "by": "nobody"}, return_state=True))[0] == "Failed"
    right = decide(**asked, personal_code=SecretStr(CODE), return_state=True)
    assert told(right) == ("Completed", "1 write: goes with the next delivery, by finance-lead's word")
    deliver(integration="customer-details", return_state=True)
    assert len([w for some in job.written_since(mark).values() for w in some]) == 1
    with pages(prefect_server) as prefect:
        kept = prefect.post("/flow_runs/filter", json={"limit": 50}).raise_for_status().text
    assert "horse" not in kept, "the code is taken out of the run's parameters"

    run = job.value("select max(id) from ops.sync where mode = 'apply' and summary is not null")
    shown = undo(run=run, by="order-desk", because="a misprint", return_state=True)
    assert "1 records set back, 1 unsent dropped" in shown.message
    assert job.value("select count(*) from ops.pause") == 0
    done = undo(run=run, by="order-desk", because="a misprint", what="set it back", return_state=True)
    assert "paused until resumed: customer-details" in done.message
    with transaction(engine("app")) as conn:
        assert [c for c in ledger.verify(conn) if not c.ok] == []


def test_pause_resume_and_going_live_from_forms(job: MainJob) -> None:
    from flows.golive import golive
    from flows.pause import pause
    from flows.resume import resume

    state = pause(what="accounting", because="year end", by="finance-lead", return_state=True)
    assert told(state)[0] == "Completed"
    assert job.value("select reason from ops.pause where what = 'system:accounting'") == "year end"
    assert told(pause(what="acounting", because="year end", by="finance-lead", return_state=True))[0] == "Failed"
    ended = resume(what="accounting", because="it is over", by="finance-lead", return_state=True)
    assert told(ended) == ("Completed", "accounting goes on")
    job.replace_in(
        "landscape.yaml",
        '- {system: legacy, stream: clients, mode: write}\n    timing: {schedule: "*/15 * * * *"',
        '- {system: legacy, stream: clients}\n    timing: {schedule: "*/15 * * * *"',
    )
    seen = golive(integration="customer-details", by="order-desk", return_state=True)
    assert "only observed: legacy/clients" in seen.message
    assert job.value("select count(*) from ops.going_live") == 0
    live = golive(integration="customer-details", by="order-desk", what="go live", return_state=True)
    assert "live from the next sync on: legacy/clients" in live.message
    assert job.value("select by from ops.going_live where ended_at is null") == "order-desk"
    back = golive(
        integration="customer-details", by="order-desk", what="observe again", reason="wrong", return_state=True
    )
    assert "1 targets of customer-details are only observed again" in back.message
