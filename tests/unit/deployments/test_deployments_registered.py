"""Specs as Prefect's deployments: named choices, help texts, module entrypoints, schedules in their zone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from deployments import registered, schedules
from deployments.forms import FORMS, Form
from deployments.schedules import DeploymentSpec
from tasks import landscape as reading

DEMO = Path(__file__).resolve().parents[3] / "deployments" / "demo"

SPEC = DeploymentSpec(
    entrypoint="flows.sync.sync",
    name="all",
    cron="10 3 * * *",
    timezone="Europe/London",
    rhythm="nightly at 03:10",
    description="Everything",
    tags=("demo",),
    parameters={"integration": "all", "mode": "incremental"},
    scheduled={"integration": "all", "mode": "full"},
    choices={"integration": ("all", "customer-details")},
)


@pytest.fixture(scope="module")
def deployment() -> Any:
    return registered.to_deployment(SPEC)


@pytest.fixture(scope="module")
def form(deployment: Any) -> dict[str, Any]:
    """The form's fields."""
    fields: dict[str, Any] = deployment._parameter_openapi_schema.properties
    return fields


def test_integrations_and_modes_are_named_choices(form: dict[str, Any]) -> None:
    assert form["integration"]["enum"] == ["all", "customer-details"]
    assert form["mode"]["enum"] == ["incremental", "full"]
    assert form["plan_only"]["type"] == "boolean"


def test_every_field_has_its_help(form: dict[str, Any]) -> None:
    assert [name for name, field in form.items() if not field.get("description")] == []


def test_runs_load_the_flow_by_module(deployment: Any) -> None:
    assert deployment.entrypoint == "flows.sync.sync"


def test_fields_have_titles_that_people_read(form: dict[str, Any]) -> None:
    assert [field["title"] for field in form.values()] == ["Integration", "Mode", "Plan only", "Sample"]


def test_the_schedule_is_named_by_its_rhythm_and_a_persons_switches_stay(deployment: Any) -> None:
    assert [(s.slug, s.active, s.replaces) for s in deployment.schedules] == [("nightly-at-03-10", True, None)]
    off = registered.Standing(is_paused=True, is_schedule_on=False, slug="every-15-minutes")
    made: Any = registered.to_deployment(SPEC, off)
    assert made.paused
    assert [(s.slug, s.active, s.replaces) for s in made.schedules] == [("nightly-at-03-10", False, "every-15-minutes")]


def test_the_schedule_asks_for_its_own_parameters_in_its_zone(deployment: Any) -> None:
    [schedule] = deployment.schedules
    assert (schedule.schedule.cron, schedule.schedule.timezone) == ("10 3 * * *", "Europe/London")
    assert schedule.parameters == SPEC.scheduled


ENTRYPOINTS = (schedules.SYNC, *(form.entrypoint for form in FORMS))


@pytest.mark.parametrize("entrypoint", ENTRYPOINTS)
def test_a_flow_bears_the_name_that_its_path_ends_in(entrypoint: str) -> None:
    assert registered.flow_of(entrypoint).name == entrypoint.rsplit(".", 1)[-1]


@pytest.mark.parametrize("entrypoint", ENTRYPOINTS)
def test_flows_keep_no_results_and_are_not_retried(entrypoint: str) -> None:
    flow = registered.flow_of(entrypoint)
    assert flow.persist_result is False
    assert not flow.retries
    assert flow.on_failure_hooks
    assert flow.on_crashed_hooks


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.entrypoint)
def test_a_form_says_what_it_is_for_and_explains_every_field(form: Form) -> None:
    [spec] = [s for s in schedules.specs(reading.load(DEMO)) if s.entrypoint == form.entrypoint]
    made: Any = registered.to_deployment(spec)
    assert made.description
    fields = made._parameter_openapi_schema.properties
    assert [name for name, field in fields.items() if not field.get("description")] == []
    assert [name for name in form.choices if '"enum"' not in json.dumps(fields[name])] == []
