"""A sync that is killed with SIGKILL, whenever that is, and run again ends where one ends that was never killed."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from staging import ledger
from staging.crash import POINTS
from staging.embedded import EmbeddedServer
from staging.engine import engine, transaction
from tests.fixtures.mainjob import MainJob, Snapshot, copy_of, snapshot_of

from .conftest import end_state, plant_work, sync_process

EVERY_SYNC = ("deliver.sent", "resolve.committed")
"""Points that the quick tests kill at; the others are rows of the fault matrix."""
LATER = (
    "deliver.sent:2",
    "deliver.sent:3",
    "deliver.sent:4",
    "deliver.sent:5",
    "deliver.settling:3",
    "stage.merging:2",
)


@pytest.fixture(scope="module")
def with_work(
    embedded_server: EmbeddedServer, first_sync: Snapshot, tmp_path_factory: pytest.TempPathFactory
) -> Snapshot:
    """After a first sync, with something new to do for every step."""
    with copy_of(embedded_server, first_sync, tmp_path_factory.mktemp("with_work") / "job", is_kept=True) as job:
        plant_work(job)
    return snapshot_of(job)


@pytest.fixture(scope="module")
def never_killed(
    embedded_server: EmbeddedServer, with_work: Snapshot, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Counter[str]]:
    """Where a sync ends that nobody disturbs."""
    with copy_of(embedded_server, with_work, tmp_path_factory.mktemp("never_killed") / "job") as job:
        done = job.sync()
        assert done.target_writes > 10
        assert job.sync().target_writes == 0
        return end_state(job)


@pytest.fixture
def job(embedded_server: EmbeddedServer, with_work: Snapshot, tmp_path: Path) -> Iterator[MainJob]:
    with copy_of(embedded_server, with_work, tmp_path / "job") as copied:
        yield copied


def disagreeing() -> list[ledger.LedgerCheck]:
    with transaction(engine("app")) as conn:
        return [c for c in ledger.verify(conn) if not c.ok]


def moments() -> Iterator[pytest.param]:
    # the demo's tokens are not renewed, plans are applied in tests of their own, and nothing is there to be taken over
    of_a_sync = [point for point in POINTS if not point.startswith(("token.", "apply.", "deliver.taken_over"))]
    for point in (*of_a_sync, *LATER):
        yield pytest.param(point, marks=() if point in EVERY_SYNC else pytest.mark.faults, id=point)


@pytest.mark.faults
@pytest.mark.parametrize("moment", list(moments()))
def test_killed_and_run_again_ends_as_never_killed(
    job: MainJob, never_killed: dict[str, Counter[str]], moment: str
) -> None:
    killed = sync_process(job, moment)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert disagreeing() == [], "the sums hold at any moment"

    again = job.sync()

    assert again.trouble == []
    found = end_state(job)
    assert {
        place: _difference(never_killed[place], found[place]) for place in found if found[place] != never_killed[place]
    } == {}
    assert disagreeing() == []
    mark = job.mark()
    once_more = job.sync()
    assert (once_more.target_writes, once_more.golden_versions) == (0, 0)
    assert job.written_since(mark) == {}
    with transaction(engine("app")) as conn:
        assert ledger.left_behind(conn) == {"readings": 0, "batches": 0, "writes": 0}


def _difference(expected: Counter[str], found: Counter[str]) -> dict[str, list[str]]:
    return {"missing": sorted((expected - found).elements()), "too many": sorted((found - expected).elements())}


@pytest.mark.faults
def test_killed_again_and_again_it_still_ends_as_never_killed(
    job: MainJob, never_killed: dict[str, Counter[str]]
) -> None:
    for moment in ("deliver.sent", "deliver.sent", "deliver.claimed", "deliver.settling", "extract.landed"):
        killed = sync_process(job, moment)
        assert killed.returncode == -signal.SIGKILL, killed.stderr

    job.sync()

    assert end_state(job) == never_killed
    assert disagreeing() == []
    assert job.value("select max(attempts) from ops.outbox") <= 6
