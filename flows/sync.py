"""The flow `sync`: one integration, or all, from reading to writing, as a run that a person can start and read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import deployment, flow_run
from prefect.states import Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.utilities.urls import url_for
from pydantic import NonNegativeInt

from flows import hooks
from flows.ready import overdue_since, place_of, ready_world
from staging import rhythm
from staging.home import concord_home
from tasks import incidents, report
from tasks import sync as syncs
from tasks.rehearse import rehearse
from tasks.steps import READERS, PrefectSteps, without_values
from tasks.sync import Mode, Summary, SyncBusy, TurnedAway
from tasks.world import World


def _run_name() -> str:
    """`customer-details incremental`: what a person looks for in a list of runs."""
    asked = flow_run.parameters
    how = "plan only" if asked.get("plan_only") else str(asked.get("mode"))
    return f"{asked.get('integration')} {how}" + (f", sample of {asked['sample']}" if asked.get("sample") else "")


@flow(
    name="sync",
    flow_run_name=_run_name,
    task_runner=ThreadPoolTaskRunner(max_workers=2 * READERS),  # type: ignore[arg-type]  # Prefect's own gap
    persist_result=False,
    on_failure=[hooks.tell_failure],
    on_crashed=[hooks.tell_crash],
)
def sync(
    integration: str = "all",
    mode: Literal["incremental", "full"] = "incremental",
    plan_only: bool = False,
    sample: NonNegativeInt = 0,
) -> State[Any]:
    """Bring the systems of an integration into agreement: read, check, match, plan, write.

    Args:
        integration: Which integration to run; `all` runs every one of them together.
        mode: `incremental` reads what changed since the last run; `full` reads every record again, and so finds
            records that disappeared.
        plan_only: Switched on, it works out what would be written, shows how much, and writes nothing.
        sample: Read at most this many records of each stream, to try something out. 0 means all.
    """
    world = ready_world()
    syncs.chosen(world, integration)
    if plan_only:
        return _plan(world, integration, mode)
    if _is_covered(world, integration, mode):
        return Completed(name="Skipped", message="nobody started it in time, and a later sync has covered it")
    try:
        summary = _sync(world, integration, mode, sample or None)
    except SyncBusy as busy:
        return Completed(name="Skipped", message=str(busy))
    except TurnedAway as no:
        incidents.report(world, [incidents.broken(world, integration, str(no))])
        hooks.mark_told(flow_run.id)
        return Failed(message=str(no))
    except Exception as error:
        incidents.conclude(world, integration, error)
        hooks.mark_told(flow_run.id)
        raise without_values(error) from None
    incidents.conclude(world, integration, summary)
    hooks.mark_told(flow_run.id)
    report.show_sync(world, summary, integration)
    said = report.in_short(summary)
    return Failed(message=said) if summary.trouble else Completed(message=said)


def _sync(world: World, name: str, mode: Mode, sample: int | None) -> Summary:
    sync_id = syncs.begin(world, name, mode, flow_run_id=flow_run.id, started_by=_started_by())
    steps = PrefectSteps(place_of(world, sync_id, str(concord_home() / "docs")))
    return syncs.sync(world, name, steps, sync_id=sync_id, mode=mode, sample=sample)


def _is_covered(world: World, name: str, mode: Mode) -> bool:
    """Whether this is one of many runs that piled up while nobody worked, and a later one has done it all."""
    due = overdue_since()
    if due is None or "auto-scheduled" not in flow_run.tags:
        return False
    with world.transaction() as conn:
        return rhythm.is_covered(conn, name, mode, due)


def _started_by() -> str:
    """Who asked for this run: a schedule, a person at a deployment's form, or a command."""
    if not deployment.name:
        return "a command"
    return f"the schedule of {deployment.name}" if "auto-scheduled" in flow_run.tags else f"a run of {deployment.name}"


def _plan(world: World, name: str, mode: Mode) -> State[Any]:
    """A plan reads and lands, and leaves nothing else behind (DESIGN 9.13)."""
    listing = rehearse(world, name, mode=mode, steps=PrefectSteps(place_of(world)))
    report.show_plan(report.planned_counts(listing), name)
    said = f"{len(listing.writes)} writes would be made; record by record: concord plan {name}"
    if listing.trouble:
        return Failed(message=f"{incidents.told(listing.trouble[0])}; of what was read: {said}")
    return Completed(message=said)


@dataclass(frozen=True, slots=True)
class Ran:
    """A sync that ran as a flow run in this process."""

    state: str
    message: str
    flow_run_url: str | None
    summary: Mapping[str, Any] | None
    """tasks.sync.Summary as a dict; None when the run ended before, or made only a plan."""


def run(integration: str, *, mode: Mode = "incremental", plan_only: bool = False, sample: int | None = None) -> Ran:
    """Run the flow here, in this process, and say how it went. Never raises for a run that failed."""
    state = sync(integration, mode=mode, plan_only=plan_only, sample=sample or 0, return_state=True)
    run_id = state.state_details.flow_run_id
    world = ready_world()
    with world.transaction() as conn:
        summary = rhythm.summary_of(conn, str(run_id))
    return Ran(state.name or "", state.message or "", url_for("flow-run", run_id) if run_id else None, summary)
