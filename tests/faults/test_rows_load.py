"""Row 47 of the fault matrix: ten times the work of a normal day, and one system after another in trouble meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

from apps.proving import rehearsal, scenario, twins
from apps.proving.figures import Figures, figures
from apps.proving.paper import report
from tasks import landscape

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1_800)]


def rehearsed(home: Path, day: str, minutes: float) -> Figures:
    found = twins.of(landscape.load(twins.DEMO), twins.DEMO)
    seen = rehearsal.rehearse(home, found, scenario.read(day, 10), print, minutes=minutes)
    return figures(seen, landscape.load(twins.DEMO).integrations)


def test_row_47_ten_times_the_work_of_a_normal_day(tmp_path: Path) -> None:
    """Ten times the changes of a normal day all arrive, what is left is done soon after, and memory stays flat."""
    found = rehearsed(tmp_path / "home", "calm", 2)
    assert found.changes > 50
    assert found.missing == 0
    assert found.drained_seconds is not None
    assert found.is_flat
    assert "Every change arrived everywhere it should." in report(found)


def test_row_47_ten_times_the_work_while_systems_fail(tmp_path: Path) -> None:
    """With a slow CRM, a ledger that is down and projects that lie, all changes arrive once the faults are over."""
    found = rehearsed(tmp_path / "home", "christmas", 3)
    assert found.missing == 0
    assert found.drained_seconds is not None
    assert {one.integration for one in found.promises if one.rounds} == {one.integration for one in found.promises}
