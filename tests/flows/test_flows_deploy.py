"""A deployed landscape: a real Prefect server, a work pool, a real worker, and what happens when they are killed.

One cause, one message: the ledger, the worker and Prefect's automations see the same crash, and one of them tells it.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from deployments import automations, deploy, pool
from deployments.deploy import Wish
from deployments.pool import PoolUnfit
from deployments.prefect_local import LocalPrefect, PrefectUnavailable
from staging.embedded import EmbeddedServer
from tasks.world import World
from tests.fixtures.mainjob import Snapshot, copy_of
from tests.fixtures.prefect import pages
from tests.fixtures.served import Json, Served, without

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

TOP = Path(__file__).resolve().parents[2]
POOL = "team"
SILENCE = timedelta(seconds=12)
"""Prefect's own least is ten."""


def start_worker(log: Path) -> subprocess.Popen[bytes]:
    """`prefect worker start --pool team`, somewhere else than in the checkout."""
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "prefect", "worker", "start", "--pool", POOL, "--name", "one"],
            stdout=output, stderr=output, cwd=log.parent, start_new_session=True,
            env=os.environ | {"PREFECT_WORKER_QUERY_SECONDS": "2", "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"},
        )  # fmt: skip


def kill(process: subprocess.Popen[bytes], *, itself: bool = True) -> None:
    """SIGKILL to all that a worker started, and to itself."""
    members = psutil.Process(process.pid).children(recursive=True)
    if itself:
        members.insert(0, psutil.Process(process.pid))
    for member in members:
        member.send_signal(signal.SIGKILL)
    if itself:
        process.wait(20)


@pytest.fixture(scope="module")
def deployed(
    embedded_server: EmbeddedServer,
    unsynced: Snapshot,
    prefect_server: LocalPrefect,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Served]:
    """Not yet deployed; a worker is started by the first test that needs one."""
    folder = tmp_path_factory.mktemp("deployed")
    before = {name: os.environ.get(name) for name in ("CONCORD_LANDSCAPE", "CONCORD_HOME")}
    with copy_of(embedded_server, unsynced, folder / "job") as job, pages(prefect_server) as client:
        file = job.folder / "landscape.yaml"
        file.write_text(re.sub(r'schedule: "[^"]+"', 'schedule: "0 0 1 1 *"', file.read_text()))
        here = Served(job, client, None, folder / "worker.log")  # type: ignore[arg-type]
        (folder / "worker.log").touch()
        try:
            yield here
        finally:
            if here.process is not None and here.process.poll() is None:
                kill(here.process)
            for name, value in before.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value


def verdicts(found: deploy.Difference) -> dict[str, str]:
    return {change.name: change.verdict for change in found.changes}


def test_a_dry_run_shows_what_would_be_made_and_makes_nothing(deployed: Served) -> None:
    found = deploy.compare(deployed.job.folder, Wish(POOL))
    assert not found.pool.exists
    assert {"sync/customer-details", "sync/all", "deliver/due", "watch/watch"} <= set(verdicts(found))
    assert deployed.call("GET", f"/work_pools/{POOL}").status_code == 404


def test_deploying_makes_what_serving_would_and_again_changes_nothing(deployed: Served) -> None:
    done = deploy.deploy(deployed.job.folder, Wish(POOL))
    assert "keep" not in verdicts(done).values()
    made = deployed.deployment("sync/customer-details")
    assert (made["work_pool_name"], made["entrypoint"]) == (POOL, "flows.sync.sync")
    assert made["parameter_openapi_schema"]["properties"]["mode"]["enum"] == ["incremental", "full"]
    assert made["schedules"][0]["schedule"]["cron"] == "0 0 1 1 *"
    assert deployed.call("GET", f"/work_pools/{POOL}").json()["concurrency_limit"] == 4
    again = deploy.compare(deployed.job.folder, Wish(POOL))
    assert set(verdicts(again).values()) == {"keep"}, [c for c in again.changes if c.verdict != "keep"]


def test_what_a_person_paused_stays_and_what_is_no_longer_declared_goes(deployed: Served) -> None:
    file = deployed.job.folder / "landscape.yaml"
    text = file.read_text()
    dropped = "product-prices"
    deployed.pause("sync/contacts", True)
    schedule = deployed.deployment("sync/credit-status")["schedules"][0]
    place = f"/deployments/{deployed.deployment('sync/credit-status')['id']}/schedules/{schedule['id']}"
    deployed.call("PATCH", place, {"active": False}).raise_for_status()
    file.write_text(without(dropped, text).replace("0 0 1 1 *", "0 0 2 1 *", 1))
    try:
        found = deploy.deploy(deployed.job.folder, Wish(POOL))
        assert deployed.call("GET", f"/deployments/name/sync/{dropped}").status_code == 404
        assert deployed.deployment("sync/contacts")["paused"]
        assert [s["active"] for s in deployed.deployment("sync/credit-status")["schedules"]] == [False]
        [changed] = deployed.deployment("sync/customer-details")["schedules"]
        assert (changed["schedule"]["cron"], changed["slug"]) == ("0 0 2 1 *", "cron-0-0-2-1")
        assert deployed.deployment("sync/all")["schedules"][0]["slug"] == "nightly-at-03-10"
    finally:
        file.write_text(text)
        deployed.pause("sync/contacts", False)
    said = {change.name: change.because for change in found.changes}
    assert verdicts(found)[f"sync/{dropped}"] == "remove"
    assert said["sync/customer-details"].startswith("schedule: 0 0 1 1 * Europe/London → 0 0 2 1 * Europe/London; ")
    assert said["sync/all"].endswith("form"), "its choices are one less"
    deploy.deploy(deployed.job.folder, Wish(POOL))
    assert deployed.deployment(f"sync/{dropped}")


def test_an_integration_that_runs_by_hand_from_now_on_has_no_schedule(deployed: Served) -> None:
    file = deployed.job.folder / "landscape.yaml"
    text = file.read_text()
    file.write_text(text.replace('schedule: "0 0 1 1 *", ', "", 1))
    try:
        deploy.deploy(deployed.job.folder, Wish(POOL))
        assert deployed.deployment("sync/customer-details")["schedules"] == []
    finally:
        file.write_text(text)
    deploy.deploy(deployed.job.folder, Wish(POOL))
    assert len(deployed.deployment("sync/customer-details")["schedules"]) == 1


def test_automations_are_made_once(deployed: Served) -> None:
    ours = [a for a in deployed.filter("automations") if a["name"].startswith("concord landscape:")]
    assert len(ours) == 3
    assert all(a["enabled"] for a in ours)
    [block] = [b for b in deployed.filter("block_documents") if b["name"] == "concord-landscape"]
    assert "****" in str(block["data"]["url"])


@pytest.fixture(scope="module")
def worker(deployed: Served) -> Served:
    """A worker takes the runs from now on."""
    deploy.deploy(deployed.job.folder, Wish(POOL))
    deployed.process = start_worker(deployed.log)
    return deployed


def test_a_worker_runs_it_and_the_ledger_has_it(worker: Served) -> None:
    run = worker.ended(worker.start("sync/customer-details", mode="full"))
    assert run["state_name"] == "Completed", (run["state"]["message"], worker.log.read_text()[-2000:])
    [sync] = worker.job.rows("select * from ops.sync where flow_run_id = :id", id=run["id"])
    assert (sync["state"], sync["started_by"]) == ("complete", "a run of customer-details")
    assert sync["summary"]["target_writes"] > 0


def incident_runs(here: Served) -> list[Json]:
    """What automations had `incident` do, the oldest first."""
    flows = {"name": {"any_": ["incident"]}}
    return [r for r in here.filter("flow_runs", flows=flows, sort="START_TIME_ASC") if r["state_type"] == "COMPLETED"]


def test_a_killed_run_is_told_once_whoever_sees_it(worker: Served) -> None:
    worker.job.fault("crm", kind="delay", seconds=60, count=1, match={"path": "/crm/"})
    run_id = worker.start("sync/customer-details")
    worker.until(90, lambda: worker.job.rows("select id from ops.sync where flow_run_id = :id", id=run_id))
    kill(worker.process, itself=False)
    assert worker.ended(run_id)["state_name"] == "Crashed"
    # on a busy machine there may be others: a run that was late
    assert worker.until(90, lambda: [r for r in incident_runs(worker) if "sync:customer-details" in str(r["state"])])
    assert len(worker.told("customer-details: sync failed")) == 1
    [incident] = worker.job.rows("select * from ops.incident where key = 'sync:customer-details'")
    assert (incident["state"], incident["times"]) == ("open", 1)
    httpx.delete(f"{worker.job.url('crm')}/_sandbox/faults").raise_for_status()
    assert worker.ended(worker.start("sync/customer-details"))["state_name"] == "Completed"
    assert len(worker.told_in_time("customer-details: recovered")) == 1


def test_when_nothing_runs_prefect_tells_it_once_and_its_end_once(worker: Served) -> None:
    ids = {name: worker.deployment(name)["id"] for name in ("watch/watch", "incident/incident")}
    kill(worker.process)
    world = World(worker.job.world.landscape, worker.job.folder)
    automations.ensure(world, ids, silence=SILENCE)
    [told] = worker.until(60, lambda: worker.told("landscape: nothing runs"))
    assert "silent:landscape" in told
    assert "concord serve" in told
    time.sleep(2 * SILENCE.total_seconds())
    assert len(worker.told("landscape: nothing runs")) == 1
    automations.ensure(world, ids)
    worker.process = start_worker(worker.log)
    worker.until(120, lambda: worker.told_in_time("landscape: recovered"))
    assert len(worker.told("landscape: nothing runs")) == 1
    [incident] = worker.job.rows("select * from ops.incident where key = 'silent:landscape'")
    assert incident["state"] == "recovered"
    assert worker.told("did not run") == []


def test_a_run_whose_machine_is_gone_is_found_by_its_silence(worker: Served) -> None:
    ids = {name: worker.deployment(name)["id"] for name in ("watch/watch", "incident/incident")}
    automations.ensure(World(worker.job.world.landscape, worker.job.folder), ids, no_sign=timedelta(seconds=40))
    worker.job.fault("crm", kind="delay", seconds=60, count=1, match={"path": "/crm/"})
    before = len(worker.told("contacts: sync failed"))
    run_id = worker.start("sync/contacts")
    worker.until(90, lambda: worker.job.rows("select id from ops.sync where flow_run_id = :id", id=run_id))
    time.sleep(3)  # its first heartbeat is on its way
    kill(worker.process)
    assert worker.run(run_id)["state_type"] == "RUNNING"
    assert worker.ended(run_id, 120)["state"]["message"] == "it gives no sign of life; its machine is gone as well"
    worker.process = start_worker(worker.log)
    worker.until(90, lambda: len(worker.told("contacts: sync failed")) > before)
    httpx.delete(f"{worker.job.url('crm')}/_sandbox/faults").raise_for_status()
    assert worker.ended(worker.start("sync/contacts"))["state_name"] == "Completed"
    assert len(worker.told("contacts: sync failed")) == before + 1


@pytest.mark.parametrize(
    ("kind", "template", "image", "because"),
    [
        pytest.param("process", {}, None, None, id="processes"),
        pytest.param("process", {}, "concord:1", "leave --image out", id="processes take no image"),
        pytest.param("docker", {"variables": {"properties": {"image": {}}}}, "concord:1", None, id="containers"),
        pytest.param("kubernetes", {"variables": {"properties": {"image": {}}}}, None, "--image", id="without image"),
        pytest.param("prefect-agent", {}, None, "expected process", id="neither"),
    ],
)
def test_whether_a_pool_fits(kind: str, template: Json, image: str | None, because: str | None) -> None:
    found = pool.unfit(kind, template, image)
    assert found is None if because is None else because in str(found)


def test_a_pool_that_does_not_fit_is_refused(deployed: Served) -> None:
    body: Any = {"name": "other", "type": "prefect-agent", "base_job_template": {}}
    deployed.call("POST", "/work_pools/", body)
    with pytest.raises(PoolUnfit, match="the work pool other is of type prefect-agent"):
        deploy.compare(deployed.job.folder, Wish("other"))
    with pytest.raises(PoolUnfit, match="make it first"):
        deploy.compare(deployed.job.folder, Wish("absent", image="concord:1"))


def test_the_command_shows_the_difference_and_refuses_plainly(
    deployed: Served, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from apps.cli import run

    monkeypatch.setenv("CONCORD_LANDSCAPE", str(deployed.job.folder))
    assert run(["deploy", "--pool", POOL, "--dry-run", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert set(printed) == {"pool", "changes", "is_done"}
    assert printed["pool"] == {"name": POOL, "type": "process", "exists": True}
    assert {"name", "verdict", "because"} == set(printed["changes"][0])
    assert run(["deploy", "--pool", "other"]) == 2
    assert "the work pool other is of type prefect-agent" in capsys.readouterr().err


def test_a_server_that_does_not_answer_or_let_us_in_is_said(deployed: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_CLIENT_MAX_RETRIES", "0")
    with monkeypatch.context() as changed:
        changed.setenv("PREFECT_HOME", "elsewhere")
        changed.setenv("PREFECT_API_AUTH_STRING", "admin:guess")
        with _settings_anew(), pytest.raises(PrefectUnavailable, match="does not let us in"):
            deploy.reach()
        changed.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
        with _settings_anew(), pytest.raises(PrefectUnavailable, match="no Prefect server answers at"):
            deploy.reach()


def _settings_anew() -> Any:
    """What a new process would read."""
    from prefect.context import SettingsContext
    from prefect.settings import Settings, load_current_profile

    return SettingsContext(profile=load_current_profile(), settings=Settings())
