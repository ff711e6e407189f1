"""What is told when Prefect alone saw how a run ended: before our own code could say it, or after it was killed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from prefect.client.schemas.objects import FlowRun, State
from prefect.flows import Flow

from staging.incidents import Cause
from tasks import incidents
from tasks.landscape import folder_of
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
    """A run's process ended without a word. The runner tells it, in a process of its own."""
    if str(flow_run.id) not in _told:
        said = f"the process of the run {flow_run.name} ended without a word; the next run goes on where it stopped"
        _tell(flow, flow_run, lambda world, name: incidents.broken(world, name, said))


def _tell(flow: Flow[..., Any], flow_run: FlowRun, cause: Callable[[World, str], Cause]) -> None:
    name = str(flow_run.parameters.get("integration", flow.name))
    try:
        world = opened(folder_of())
        incidents.report(world, [cause(world, name)])
        incidents.send_alerts(world)
    except Exception as error:  # a hook must not hide the failure that it tells of
        log.warning("the incident of %s cannot be recorded: %s", flow_run.name, type(error).__name__)
