"""Several workers on one database: they share the work, double nothing, and one integration never waits for another.

Real processes everywhere: two and four `concord serve` on one Prefect server, and single syncs beside one that hangs.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from deployments.prefect_local import LocalPrefect
from staging import ledger
from staging.embedded import EmbeddedServer
from staging.engine import engine, transaction
from tests.fixtures.mainjob import Json, MainJob, Mark, Snapshot, copy_of, snapshot_of
from tests.fixtures.patience import until
from tests.fixtures.prefect import pages
from tests.fixtures.served import Served

from .conftest import end_state, plant_work

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]

TOP = Path(__file__).resolve().parents[2]
HANGS_SECONDS = 60
COMPLETE = "select integration from ops.sync where state = 'complete'"
_SYNC = """
import sys
from tasks import sync as syncs
from tasks.world import World

world = World.of(sys.argv[1])
sync_id = syncs.begin(world, sys.argv[2], "incremental", started_by="a test")
syncs.sync(world, sys.argv[2], syncs.PlainSteps(world, sync_id), sync_id=sync_id)
"""


@pytest.fixture(scope="module")
def with_work(
    embedded_server: EmbeddedServer, first_sync: Snapshot, tmp_path_factory: pytest.TempPathFactory
) -> Snapshot:
    """After a first sync, with something new to do for every integration; nothing starts by itself."""
    with copy_of(embedded_server, first_sync, tmp_path_factory.mktemp("with_work") / "job", is_kept=True) as job:
        plant_work(job)
    return snapshot_of(job)


def at_rest(job: MainJob) -> MainJob:
    """No schedule fires: what runs is what a test started."""
    file = job.folder / "landscape.yaml"
    file.write_text(re.sub(r'schedule: "[^"]+"', 'schedule: "0 0 1 1 *"', file.read_text()))
    job.reopen()
    return job


def each_write(job: MainJob, mark: Mark) -> Counter[str]:
    """What was written to the systems since the mark, one entry a record and content, whatever call carried it."""
    found: Counter[str] = Counter()
    for system, writes in job.written_since(mark).items():
        for write in writes:
            found.update(f"{system} {item}" for item in _items(write))
    return found


def _items(write: Json) -> Iterator[str]:
    if "tbl" in write:  # a row of the order database
        yield json.dumps([write["tbl"], write["op"], write["old"], write["new"]], sort_keys=True, default=str)
        return
    body = json.loads(write["body"]) if write.get("body") else {}
    records = next((v for v in body.values() if isinstance(v, list)), [body]) if isinstance(body, dict) else body
    for record in records:
        yield f"{write['method']} {write['path']} {json.dumps(record, sort_keys=True)}"


@pytest.fixture(scope="module")
def alone(
    embedded_server: EmbeddedServer, with_work: Snapshot, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Counter[str]]:
    """Where one process ends that has everything to itself."""
    with copy_of(embedded_server, with_work, tmp_path_factory.mktemp("alone") / "job") as job:
        assert at_rest(job).sync().target_writes > 10
        return end_state(job)


@contextmanager
def workers(count: int, job: MainJob, prefect: LocalPrefect, log: Path) -> Iterator[Served]:
    """So many `concord serve` on one database and one Prefect server."""
    with log.open("wb") as output:
        command = [sys.executable, "-m", "deployments.serve", str(job.folder)]
        environment = os.environ | {"PYTHONUNBUFFERED": "1"}
        started = [
            subprocess.Popen(command, stdout=output, stderr=output, cwd=TOP, env=environment) for _ in range(count)
        ]
    try:
        with pages(prefect) as client:
            here = Served(job, client, started[0], log)
            here.until(180, lambda: here.call("GET", "/deployments/name/watch/watch").status_code == 200)
            here.until(180, lambda: log.read_text().count("serving landscape") >= count)
            yield here
    finally:
        for process in started:
            process.send_signal(signal.SIGTERM)
        for process in started:
            process.wait(60)


@pytest.mark.parametrize("count", [2, 4])
def test_workers_share_the_work_and_double_no_write(
    embedded_server: EmbeddedServer,
    with_work: Snapshot,
    alone: dict[str, Counter[str]],
    prefect_server: LocalPrefect,
    tmp_path: Path,
    count: int,
) -> None:
    with copy_of(embedded_server, with_work, tmp_path / "job") as job:
        names = list(at_rest(job).world.landscape.integrations)
        mark = job.mark()
        with workers(count, job, prefect_server, tmp_path / "serve.log") as here:
            # some of them twice, and a delivery among them: whoever comes second finds the lane taken, or nothing to do
            asked = [here.start(f"sync/{name}") for name in (*names, *names[:2])]
            asked.append(here.start("deliver/due"))
            ended = [here.ended(run_id, 600) for run_id in asked]
            assert {run["state_type"] for run in ended} == {"COMPLETED"}, [
                (run["name"], run["state"]["message"]) for run in ended if run["state_type"] != "COMPLETED"
            ]
            # what one integration's run wrote another has yet to hear of
            assert here.ended(here.start("sync/all"), 600)["state_name"] == "Completed"
        twice = {write: times for write, times in each_write(job, mark).items() if times > 1}
        assert twice == {}
        found = end_state(job)
        assert {place: _difference(alone[place], found[place]) for place in found if found[place] != alone[place]} == {}
        with transaction(engine("app")) as conn:
            assert [check for check in ledger.verify(conn) if not check.ok] == []
        assert len(set(names) - {sync["integration"] for sync in job.rows(COMPLETE)}) == 0


def _difference(expected: Counter[str], found: Counter[str]) -> dict[str, list[str]]:
    return {"missing": sorted((expected - found).elements()), "too many": sorted((found - expected).elements())}


# ------------------------------------------------------------------------------------------ nobody waits for another


@contextmanager
def syncing(job: MainJob, name: str) -> Iterator[subprocess.Popen[bytes]]:
    """A sync of one integration in a process of its own; ended at the end, whatever it is doing."""
    process = subprocess.Popen(
        [sys.executable, "-c", _SYNC, str(job.folder), name],
        env={**os.environ, **job.environment, "PYTHONPATH": str(TOP)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait(20)


@pytest.fixture
def job(embedded_server: EmbeddedServer, with_work: Snapshot, tmp_path: Path) -> Iterator[MainJob]:
    with copy_of(embedded_server, with_work, tmp_path / "job") as copied:
        yield at_rest(copied)
        httpx.delete(f"{copied.url('accounting')}/_sandbox/faults")
        httpx.delete(f"{copied.url('crm')}/_sandbox/faults")


def waits_of(job: MainJob) -> list[Json]:
    """Sessions of our database that wait for a lock that another holds."""
    return job.rows("select pid, query from pg_stat_activity where cardinality(pg_blocking_pids(pid)) > 0")


def test_a_target_that_hangs_keeps_no_other_integration(job: MainJob) -> None:
    """`customer-details` hangs while it writes to accounting; `credit-status` reads the same systems, shares its entity
    and writes elsewhere."""
    match = {"method": "POST"}
    job.fault("accounting", kind="delay", seconds=HANGS_SECONDS, count=1, match=match)
    with syncing(job, "customer-details") as hanging:
        sending = "select 1 from ops.outbox where state = 'inflight' and system = 'accounting'"
        until(90, "customer-details sends nothing", lambda: job.rows(sending))
        done = job.sync("credit-status")
        assert done.trouble == []
        assert hanging.poll() is None, "it was to hang meanwhile"
        assert job.rows(sending)
        assert waits_of(job) == []


def test_a_source_that_hangs_keeps_only_who_reads_the_same_stream(job: MainJob) -> None:
    """`product-prices` needs no stream of the CRM."""
    job.fault("crm", kind="delay", seconds=HANGS_SECONDS, count=1, match={"path": "/crm/"})
    reading = "select 1 from landing.extract_run where system = 'crm' and state = 'running'"
    with syncing(job, "contacts") as hanging:
        until(90, "contacts does not read the CRM", lambda: job.rows(reading))
        done = job.sync("product-prices")
        assert done.trouble == []
        assert hanging.poll() is None, "it was to hang meanwhile"
        assert job.rows(reading)
        assert waits_of(job) == []
