"""The flow `incident`: what only Prefect saw becomes the incident that our ledger would have opened (DESIGN 9.18)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

from prefect import flow, get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run
from prefect.states import Completed

from flows import hooks
from flows.ready import ready_world
from tasks import incidents
from tasks.world import World


def _run_name() -> str:
    return f"incident: {flow_run.parameters.get('what')}"


@flow(
    name="incident",
    flow_run_name=_run_name,
    persist_result=False,
    on_failure=[hooks.tell_failure],
    on_crashed=[hooks.tell_crash],
)
def incident(what: Literal["crashed", "silent"], run_id: str | None = None, is_told: bool = False) -> State[Any]:
    """Put on record what only Prefect saw. Its automations start this; there is no need to start it by hand.

    Args:
        what: `crashed` is a run whose process ended without a word; `silent` is a time in which nothing ran at all,
            and which is over now that this runs.
        run_id: The run that crashed.
        is_told: Whether Prefect has posted about the silence.
    """
    world = ready_world()
    if what == "silent":
        since = flow_run.scheduled_start_time or datetime.now(UTC)
        told_by = "Prefect" if is_told else None
        incidents.report_over(world, incidents.silence_of(world), since, told_by=told_by)
        return Completed(message=f"nothing ran from about {since:%Y-%m-%d %H:%M} UTC until now")
    return Completed(message=_crashed(world, run_id))


def _crashed(world: World, run_id: str | None) -> str:
    found = _run(run_id)
    if found is None:
        return f"there is no run {run_id}"
    run, flow_name = found
    if run.state is None or not run.state.is_crashed():
        return f"{run.name} has gone on meanwhile"
    cause = hooks.crash_of(world, hooks.subject(run.parameters, flow_name), run.name)
    if incidents.is_told(world, cause, run.start_time or run.expected_start_time or datetime.now(UTC)):
        return f"{cause.key} is known already"
    incidents.report(world, [cause])
    incidents.tell(world)
    return f"{cause.key} is open"


def _run(run_id: str | None) -> tuple[FlowRun, str] | None:
    """The run and its flow's name."""
    with get_client(sync_client=True) as client:
        try:
            run = client.read_flow_run(UUID(str(run_id)))
            return run, client.read_flow(run.flow_id).name
        except (ObjectNotFound, ValueError):
            return None
