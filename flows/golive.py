"""The flow `golive`: what the first writes to observed targets would be, and the word that they may go."""

from __future__ import annotations

from typing import Any, Literal

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed
from prefect.task_runners import ThreadPoolTaskRunner

from flows import hooks, people
from flows.ready import place_of, ready_world
from tasks import golive as task
from tasks import incidents, report
from tasks.steps import READERS, PrefectSteps
from tasks.sync import TurnedAway

What = Literal["show the first plan", "go live", "observe again"]
COUNTED = (
    "linked", "agreeing", "creates", "updates", "archives", "blanks", "left_alone", "duplicates", "in_doubt", "held",
    "waiting",
)  # fmt: skip


def _run_name() -> str:
    return f"{flow_run.parameters.get('what')}: {flow_run.parameters.get('integration')}"


@flow(
    name="golive",
    flow_run_name=_run_name,
    task_runner=ThreadPoolTaskRunner(max_workers=2 * READERS),  # type: ignore[arg-type]  # Prefect's own gap
    persist_result=False,
    on_failure=[hooks.tell_failure],
    on_crashed=[hooks.tell_crash],
)
def golive(
    integration: str,
    by: str,
    what: What = "show the first plan",
    system: str | None = None,
    reason: str = "",
) -> State[Any]:
    """Show what the first writes to an integration's observed targets would be, or let them go from the next sync on.

    Args:
        integration: Which integration.
        by: Your role.
        what: First look at the plan. Then go live: the word is kept with your role and the plan that was seen. To
            observe again sends nothing more.
        system: Only its targets in this system. Empty means all.
        reason: Why; needed to observe again.
    """
    world = ready_world()
    try:
        who = people.role(world, by)
        if what == "observe again":
            ended = task.take_back(world, integration, system=system, by=who, reason=people.told(reason))
            return Completed(message=f"{len(ended)} targets of {integration} are only observed again")
    except TurnedAway as no:
        return people.refused(str(no))
    seen = task.first_plan(world, integration, system=system, steps=PrefectSteps(place_of(world)))
    _show(seen)
    if seen.listing.trouble:
        return people.refused(f"nothing is live: {incidents.told(seen.listing.trouble[0])}")
    places = ", ".join(f"{t.system}/{t.stream}" for t in seen.observed) or "none"
    if what == "show the first plan" or not seen.observed:
        return Completed(message=f"{len(seen.listing.writes)} writes would be made; only observed: {places}")
    plan_id = task.go_live(world, seen, seen.observed, by=who, reason=reason or None)
    return Completed(message=f"live from the next sync on: {places}; the plan that was seen is plan {plan_id}")


def _show(seen: task.GoLive) -> None:
    rows = [
        {
            "target": f"{t.system}/{t.stream}",
            "mode": "live" if t.is_live or t.declared != "observe" else "only observed",
            **{name: getattr(t, name) for name in COUNTED},
            "the brake": "; ".join(f"{b.op}: {b.verdict}, {b.because}" for b in t.brake),
        }
        for t in seen.targets
    ]
    create_table_artifact(
        rows or [{"target": "none"}],
        key=report.key_of("golive", seen.integration),
        description=f"What the first writes of {seen.integration} would be; nothing was written",
    )
