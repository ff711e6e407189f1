"""What is told when Prefect alone saw how a run ended: before our own code could say it, or after it was killed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from prefect.client.schemas.objects import FlowRun, State
from prefect.events import emit_event
from prefect.flows import Flow

from canonical.problems import Refused
from staging.incidents import Cause
from tasks import incidents, landscape, without_ledger
from tasks.landscape import folder_of
from tasks.signs import TOLD
from tasks.steps import opened
from tasks.world import World

log = logging.getLogger("concord.flows")
_told: set[str] = set()


def mark_told(flow_run_id: str | None) -> None:
    """Says that our ledger has this run's failure: one cause, one message."""
    _told.add(str(flow_run_id))


def tell_failure(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """A run failed that our own code has not told of: it did not come so far as to have a World."""
    if str(flow_run.id) in _told:
        return
    error = state.result(raise_on_failure=False)
    if isinstance(error, Exception):
        _tell(flow, flow_run, lambda world, name: incidents.failure_of(world, name, error))
    else:
        said = f"its run {flow_run.name} ended {state.name}"
        _tell(flow, flow_run, lambda world, name: incidents.broken(world, name, said))


def tell_crash(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """A run's process ended without a word. The runner or worker tells it, in a process of its own."""
    if str(flow_run.id) not in _told:
        _tell(flow, flow_run, lambda world, name: crash_of(world, name, flow_run.name))


def crash_of(world: World, name: str, run_name: str) -> Cause:
    """The cause of a run whose process ended without a word, the same for everybody who sees it."""
    said = f"the process of the run {run_name} ended without a word; the next run goes on where it stopped"
    return incidents.broken(world, name, said)


def subject(parameters: Mapping[str, Any], flow_name: str) -> str:
    """What a run is about: the integration that it was asked for, else its flow."""
    return str(parameters.get("integration", flow_name))


def _tell(flow: Flow[..., Any], flow_run: FlowRun, cause: Callable[[World, str], Cause]) -> None:
    name = subject(flow_run.parameters, flow.name)
    folder = folder_of()
    try:
        world = opened(folder)
        incidents.report(world, [cause(world, name)])
        incidents.tell(world)
        _sign(flow_run)
    except Exception as error:  # a hook must not hide the failure that it tells of
        log.warning("the incident of %s cannot be recorded: %s", flow_run.name, type(error).__name__)
        if without_ledger.trouble_in(error):
            _tell_alone(folder, error)


def _tell_alone(folder: Path, error: Exception) -> None:
    """Our database is away: a messenger is told of that, as nobody can be told of the run."""
    try:
        without_ledger.tell_trouble(landscape.load(folder), error)
    except Refused as refused:
        log.warning("nobody can be told: %s", refused)


def _sign(flow_run: FlowRun) -> None:
    """Lets Prefect's automations know that this is told: they need not tell it as well."""
    deployment = {
        "prefect.resource.id": f"prefect.deployment.{flow_run.deployment_id}",
        "prefect.resource.role": "deployment",
    }
    emit_event(TOLD, resource={"prefect.resource.id": f"prefect.flow-run.{flow_run.id}"}, related=[deployment])
