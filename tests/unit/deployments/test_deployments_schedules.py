"""What runs when, made from a landscape's declarations."""

from __future__ import annotations

from pathlib import Path

import pytest
from cronsim import CronSim

from canonical.landscape import Landscape
from deployments import schedules
from deployments.forms import FORMS
from deployments.schedules import DeploymentSpec
from tasks import landscape as reading

DEMO = Path(__file__).resolve().parents[3] / "deployments" / "demo"


@pytest.fixture(scope="module")
def demo() -> Landscape:
    return reading.load(DEMO)


@pytest.fixture(scope="module")
def specs(demo: Landscape) -> dict[str, DeploymentSpec]:
    return {spec.full_name: spec for spec in schedules.specs(demo)}


@pytest.mark.parametrize(
    ("cron", "words"),
    [
        (None, "by hand"),
        ("* * * * *", "every minute"),
        ("*/15 * * * *", "every 15 minutes"),
        ("2-59/5 * * * *", "every 5 minutes"),
        ("5 * * * *", "hourly at :05"),
        ("30 1 * * *", "nightly at 01:30"),
        ("0  14 * * *", "daily at 14:00"),
        ("0 6 * * 1", "cron 0 6 * * 1"),
    ],
)
def test_a_rhythm_in_words(cron: str | None, words: str) -> None:
    assert schedules.rhythm(cron) == words


def test_one_for_each_integration_one_for_all_and_one_for_each_form(
    demo: Landscape, specs: dict[str, DeploymentSpec]
) -> None:
    forms = {f"{form.flow}/{form.name or form.flow}" for form in FORMS}
    assert {"deliver/due", "watch/watch"} <= forms
    assert set(specs) == {f"sync/{n}" for n in demo.integrations} | {"sync/all"} | forms


def test_an_integration_runs_as_it_declares(specs: dict[str, DeploymentSpec]) -> None:
    spec = specs["sync/contacts"]
    assert (spec.cron, spec.timezone) == ("30 1 * * *", "Europe/London")
    assert spec.parameters == {"integration": "contacts", "mode": "incremental"}
    assert "**Owner:** head-of-sales (Priya Raman, @priya)" in spec.description
    assert "nightly at 01:30. Nobody calls at night" in spec.description


def test_everything_is_read_in_full_each_night_and_by_choice_by_hand(specs: dict[str, DeploymentSpec]) -> None:
    spec = specs["sync/all"]
    assert spec.scheduled["mode"] == "full"
    assert spec.parameters["mode"] == "incremental"
    assert spec.choices["integration"][:2] == ("all", "customer-details")


@pytest.mark.parametrize(
    ("cron", "zone", "kept_in"),
    [
        pytest.param("*/15 * * * *", "Europe/London", "UTC", id="minutes do not pause when an hour comes twice"),
        pytest.param("5 * * * *", "America/New_York", "UTC", id="nor do hours"),
        pytest.param("5 * * * *", "Asia/Kolkata", "Asia/Kolkata", id="half-hour zones stay"),
        pytest.param("30 1 * * *", "Europe/London", "Europe/London", id="a time of day is a time there"),
        pytest.param(None, "Europe/London", "Europe/London", id="by hand"),
    ],
)
def test_the_zone_of_a_schedule(cron: str | None, zone: str, kept_in: str) -> None:
    assert schedules.zone_of(cron, zone) == kept_in


def test_every_schedule_can_be_read_by_who_watches(specs: dict[str, DeploymentSpec]) -> None:
    from datetime import datetime

    assert all(next(CronSim(spec.cron, datetime(2026, 1, 1))) for spec in specs.values() if spec.cron)
