"""A served landscape, as a data team meets it: started from a form, by its schedule, failing aloud, killed, stopped.

A real Prefect server, a real PostgreSQL, the sandbox's systems, and `python -m deployments.serve` as its own process.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from deployments import serve
from deployments.prefect_local import LocalPrefect
from staging.embedded import EmbeddedServer
from tests.fixtures.mainjob import Snapshot, copy_of
from tests.fixtures.prefect import pages
from tests.fixtures.served import Json, Served, without

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

EVERY_MINUTE = "product-prices"
"""The integration whose schedule is let fire; the others rest, so that each run here was asked for by a test. One turn
may come before it is paused: it shares no entity with what the tests start."""
CANARY = "zebedee-canary@example.test"
TOP = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def served(
    embedded_server: EmbeddedServer,
    unsynced: Snapshot,
    prefect_server: LocalPrefect,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    with copy_of(embedded_server, unsynced, folder / "job") as job:
        file = job.folder / "landscape.yaml"
        text = re.sub(r'schedule: "[^"]+"', 'schedule: "0 0 1 1 *"', file.read_text())
        head, _, tail = text.partition(f"  {EVERY_MINUTE}:\n")
        file.write_text(head + f"  {EVERY_MINUTE}:\n" + tail.replace('"0 0 1 1 *"', '"* * * * *"', 1))
        log = folder / "serve.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "deployments.serve", str(job.folder)],
                stdout=output, stderr=output, cwd=TOP, env=os.environ | {"PYTHONUNBUFFERED": "1"},
            )  # fmt: skip
        with pages(prefect_server) as client:
            here = Served(job, client, process, log)
            try:
                here.until(180, lambda: "serving landscape" in log.read_text())
                here.pause(f"sync/{EVERY_MINUTE}", True)
                yield here
            finally:
                if process.poll() is None:
                    process.terminate()
                    process.wait(30)


@pytest.fixture(scope="module")
def first(served: Served) -> Json:
    """A run of one integration, started from its form."""
    return served.ended(served.start("sync/customer-details", mode="full"))


def test_a_run_started_from_the_form_syncs_and_says_what_it_did(served: Served, first: Json) -> None:
    assert first["state_name"] == "Completed", first["state"]["message"]
    assert first["name"] == "customer-details full"
    [sync] = served.job.rows("select * from ops.sync where flow_run_id = :id", id=first["id"])
    assert (sync["integration"], sync["mode"], sync["state"]) == ("customer-details", "full", "complete")
    assert sync["started_by"] == "a run of customer-details"
    assert sync["summary"]["target_writes"] > 0


def test_its_artifacts_answer_what_happened_and_what_waits_for_whom(served: Served, first: Json) -> None:
    shown = served.artifacts(first["id"])
    story = shown["sync-customer-details"]["data"]
    assert "| crm/companies |" in story
    assert "## What waits for whom" in story
    assert "doubtful pairs wait for head-of-sales (Priya Raman, @priya): `concord reviews" in story
    assert '"step": "write"' in shown["counts-customer-details"]["data"]
    assert "index.html" in shown["data-docs-customer-details"]["data"]
    assert served.job.sandbox.slack_url in shown["alerts-customer-details"]["data"]


def test_its_steps_have_names_that_a_person_understands(served: Served, first: Json) -> None:
    names = {t["name"] for t in served.filter("task_runs", flow_runs={"id": {"any_": [first["id"]]}})}
    assert {
        "read crm/companies",
        "read legacy/clients",
        "validate accounting/contacts",
        "match customer",
        "deliver to accounting",
    } <= names


def test_the_form_names_its_choices_and_the_server_refuses_others(served: Served) -> None:
    form = served.deployment("sync/all")["parameter_openapi_schema"]["properties"]
    assert form["integration"]["enum"] == ["all", *served.job.world.landscape.integrations]
    assert form["mode"]["enum"] == ["incremental", "full"]
    assert served.ask("sync/all", integration="customer-detials").is_client_error
    assert served.ask("sync/customer-details", mode="everything").is_client_error


def test_a_schedule_fires(served: Served, first: Json) -> None:
    """An every-minute cron, in the landscape's deployment, without anybody's doing."""
    deployment_id = served.deployment(f"sync/{EVERY_MINUTE}")["id"]
    served.pause(f"sync/{EVERY_MINUTE}", False)

    def fired() -> Json | None:
        runs = served.filter("flow_runs", flow_runs={"deployment_id": {"any_": [deployment_id]}})
        return next((r for r in runs if r["state_type"] == "COMPLETED" and r["state_name"] != "Skipped"), None)

    # on a full machine the server's scheduler may miss a turn, which comes once a minute, and the run its minute
    run = served.until(400, fired)
    served.pause(f"sync/{EVERY_MINUTE}", True)
    assert run["auto_scheduled"]
    [sync] = served.job.rows("select * from ops.sync where flow_run_id = :id", id=run["id"])
    assert (sync["state"], sync["started_by"]) == ("complete", f"the schedule of {EVERY_MINUTE}")
    served.until(60, lambda: not served.job.rows("select id from ops.sync where state = 'running'"))


def test_a_plan_shows_counts_and_writes_nothing(served: Served, first: Json) -> None:
    mark = served.job.mark()
    run = served.ended(served.start("sync/all", integration="contacts", plan_only=True))
    assert run["name"] == "contacts plan only"
    assert run["state_name"] == "Completed", run["state"]["message"]
    assert "writes would be made" in run["state"]["message"]
    assert '"target": "crm/contacts"' in served.artifacts(run["id"])["plan-contacts"]["data"]
    assert served.job.written_since(mark) == {}


def test_a_failing_run_tells_integration_owner_cause_and_next_step_once_and_when_it_is_over(
    served: Served, first: Json
) -> None:
    served.job.fault("crm", kind="status", status=401, count=-1, match={"path": "/crm/"}, text=CANARY)
    for _ in range(2):
        run = served.ended(served.start("sync/customer-details"))
        assert run["state_name"] == "Failed"
        assert "crm (AuthFailed); the others went on" in run["state"]["message"]
    [told] = served.told("credentials refused")
    assert "customer-details" in told
    assert "head-of-sales (Priya Raman, @priya)" in told
    assert "crm (companies) refuses our credentials" in told
    assert "product-prices, logins run as before" in told
    assert "renew the credentials of crm (env CRM_TOKEN), then: concord sync customer-details" in told
    [incident] = served.job.rows("select * from ops.incident where key = 'system:crm'")
    assert (incident["state"], incident["times"]) == ("open", 2)

    httpx.delete(f"{served.job.url('crm')}/_sandbox/faults").raise_for_status()
    assert served.ended(served.start("sync/customer-details"))["state_name"] == "Completed"
    assert served.told_in_time("crm: recovered")
    assert served.job.value("select state from ops.incident where key = 'system:crm'") == "recovered"


def test_a_killed_run_is_told_and_the_next_goes_on(served: Served, first: Json) -> None:
    served.job.fault("crm", kind="delay", seconds=60, count=1, match={"path": "/crm/"})
    run_id = served.start("sync/customer-details")
    served.until(90, lambda: served.job.rows("select id from ops.sync where flow_run_id = :id", id=run_id))
    for child in psutil.Process(served.process.pid).children(recursive=True):
        child.send_signal(signal.SIGKILL)
    assert served.ended(run_id)["state_name"] == "Crashed"
    [told] = served.until(60, lambda: served.told("customer-details: sync failed"))
    assert "ended without a word" in told
    assert "integration-owner (Data team, @data-team)" in told
    httpx.delete(f"{served.job.url('crm')}/_sandbox/faults").raise_for_status()
    assert served.ended(served.start("sync/customer-details"))["state_name"] == "Completed"
    assert served.job.value("select state from ops.sync where flow_run_id = :id", id=run_id) == "abandoned"
    assert served.told_in_time("customer-details: recovered")


def test_prefect_holds_no_value_of_any_record(served: Served, first: Json) -> None:
    logs: list[Json] = []
    while page := served.filter("logs", limit=200, offset=len(logs)):
        logs += page
    kept = str([logs, *(served.filter(what) for what in ("flow_runs", "task_runs", "artifacts"))])
    values = {
        str(value)
        for doc in served.job.stored("crm", "companies").values()
        for name, value in doc["properties"].items()
        if name in ("name", "email", "phone", "address", "vat_number") and value and len(str(value)) > 6
    }
    assert len(values) > 100
    assert [value for value in values | {CANARY} if value in kept] == []


def test_it_stops_when_asked_and_leaves_nothing_running(served: Served, first: Json) -> None:
    served.job.fault("crm", kind="delay", seconds=60, count=1, match={"path": "/crm/"})
    run_id = served.start("sync/customer-details")
    served.until(90, lambda: served.job.rows("select id from ops.sync where flow_run_id = :id", id=run_id))
    children = psutil.Process(served.process.pid).children(recursive=True)
    served.process.terminate()
    assert served.process.wait(40) == 0
    assert children
    assert [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE] == []
    assert "never awaited" not in served.log.read_text()


def test_registering_again_keeps_what_a_person_paused_and_removes_what_is_no_longer_declared(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONCORD_LANDSCAPE", str(served.job.folder))
    monkeypatch.setenv("CONCORD_HOME", os.environ["CONCORD_HOME"])
    served.pause("sync/contacts", True)
    file = served.job.folder / "landscape.yaml"
    text = file.read_text()
    file.write_text(without("product-prices", text))
    try:
        found = serve.register(served.job.folder)
    finally:
        file.write_text(text)
    assert "sync/product-prices" not in found
    assert served.call("GET", "/deployments/name/sync/product-prices").status_code == 404
    assert served.deployment("sync/contacts")["paused"]
    assert not served.deployment("sync/customer-details")["paused"]
