"""The flow `plan`: what a sync would write, counted, and kept to be applied exactly so."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed
from prefect.task_runners import ThreadPoolTaskRunner

from flows import hooks, people
from flows.ready import place_of, ready_world
from tasks import incidents, report
from tasks.rehearse import rehearse, save
from tasks.steps import READERS, PrefectSteps
from tasks.sync import Mode, TurnedAway, chosen


def _run_name() -> str:
    return f"plan {flow_run.parameters.get('integration')}"


@flow(
    name="plan",
    flow_run_name=_run_name,
    task_runner=ThreadPoolTaskRunner(max_workers=2 * READERS),  # type: ignore[arg-type]  # Prefect's own gap
    persist_result=False,
    on_failure=[hooks.tell_failure],
    on_crashed=[hooks.tell_crash],
)
def plan(by: str, integration: str = "all", full: bool = False) -> State[Any]:
    """Work out what a sync would write, and keep it. Nothing is written. The flow `apply` does exactly what was kept.

    Args:
        by: Your role. Whoever makes a plan does not approve what it would hold.
        integration: Which integration to plan. The choice `all` plans every one of them together.
        full: Read every record again, not only what changed.
    """
    world = ready_world()
    chosen(world, integration)
    mode: Mode = "full" if full else "incremental"
    try:
        who = people.role(world, by)
    except TurnedAway as no:
        return people.refused(str(no))
    listing = rehearse(world, integration, mode=mode, steps=PrefectSteps(place_of(world)))
    report.show_plan(report.planned_counts(listing), integration)
    if listing.trouble:
        return people.refused(f"not kept: {incidents.told(listing.trouble[0])}")
    plan_id = save(world, integration, listing, mode=mode, by=who)
    return Completed(
        message=f"kept as plan {plan_id}: {len(listing.writes)} writes; record by record: concord plan show {plan_id}"
    )
