"""`concord prove` on the demo's landscape, and that it can fail: with a defect it says what was lost or doubled.

Rows 1-4, 8, 9 and 11 of the fault matrix as a product; every point at every hit is `concord prove` itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from apps.proving import cells, twins, underload, verdict
from apps.proving.cells import Base
from apps.proving.prove import ready
from tasks import landscape
from tests.fixtures.patience import STRETCH
from tests.fixtures.said import Concord, speaker

pytestmark = [pytest.mark.faults, pytest.mark.timeout(2_400)]


@contextmanager
def base_of(home: Path) -> Iterator[Base]:
    found = twins.of(landscape.load(twins.DEMO), twins.DEMO)
    with ready(home, found, print, 0.05) as base:
        yield base


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """That it recovers is tested here; how fast is said by `concord prove`, with nothing beside it."""
    monkeypatch.setattr(verdict, "RECOVERY_SECONDS", verdict.RECOVERY_SECONDS * STRETCH)
    monkeypatch.setattr(verdict, "DATABASE_RECOVERY_SECONDS", verdict.DATABASE_RECOVERY_SECONDS * STRETCH)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Base]:
    with base_of(tmp_path_factory.mktemp("prove") / "home") as base:
        yield base


def test_row_04_killed_during_recovery_five_times_in_a_row(base: Base) -> None:
    """Every restart is killed where it has an answer and has stored nothing; the sixth ends as if none had been."""
    cell = cells.kill(base, "deliver.sent", 1, times=5)
    assert cell.hurt == 5
    assert cell.holds, cell


def test_row_04_killed_while_taking_over_what_a_killed_worker_left(base: Base) -> None:
    """What was taken over and not looked up is taken over again."""
    cell = cells.kill(base, "deliver.taken_over", 1, times=3)
    assert cell.hurt == 3
    assert cell.holds, cell


@pytest.mark.parametrize("point", ["deliver.claimed", "deliver.sent"])
def test_row_08_a_worker_that_wakes_after_another_took_over_changes_nothing(base: Base, point: str) -> None:
    """The writes of a worker that slept past its lease are another's: it settles none and sends none of them again."""
    cell = cells.zombie(base, point, 1)
    assert cell.hurt == 1
    assert cell.holds, cell


def test_row_09_four_workers_at_once_make_nothing_twice(base: Base) -> None:
    """Four processes that take integration after integration come to where one alone comes to."""
    cell = cells.workers(base)
    assert cell.holds, cell


def test_row_11_the_database_stops_under_load(base: Base) -> None:
    """PostgreSQL loses its power twice while people work and workers sync: syncs end well again."""
    cell = underload.database(base, restarts=2)
    assert cell.hurt == 2
    assert cell.holds, cell


def test_a_point_that_is_never_come_to_is_no_proof(base: Base) -> None:
    cell = cells.kill(base, "deliver.sent", 99)
    assert not cell.is_reached
    assert cell.holds


def test_the_command_counts_and_ends_with_0(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CONCORD_HOME", str(tmp_path))
    monkeypatch.delenv("CONCORD_LANDSCAPE", raising=False)
    concord: Concord = speaker(capsys)
    said = concord("prove", "--points", "resolve.chunk", "--hits", "1", "--json")
    assert said.code == 0, said
    found = said.json
    assert (found["holds"], found["cells"], found["killed"], found["recovered"]) == (True, 1, 1, 1)
    assert (found["lost"], found["doubled"], found["written_again"], found["failed"]) == (0, 0, 0, [])
    assert not (tmp_path / "prove").exists(), "nothing is left"


@pytest.mark.parametrize(
    ("defect", "point", "hit"),
    [("blind", "deliver.sent", 2), ("forgetful", "deliver.claimed", 1)],
    ids=["creates are sent again blindly", "nobody takes over"],
)
def test_it_fails_where_there_is_a_defect(base: Base, tmp_path: Path, defect: str, point: str, hit: int) -> None:
    with base.ground.with_defect(f"tests.fixtures.defects.{defect}"):
        cell = cells.kill(base, point, hit)
    assert cell.hurt == 1
    assert not cell.holds
    assert cell.doubled if defect == "blind" else (cell.lost or not cell.is_recovered)
