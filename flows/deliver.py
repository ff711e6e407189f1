"""The flow `deliver`: only the last step, for what is due now: retries, and holds that a person approved."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner

from flows import hooks
from flows.ready import place_of, ready_world
from tasks import incidents, report
from tasks.settle import Delivered
from tasks.steps import READERS, PrefectSteps
from tasks.sync import Trouble, chosen


def _run_name() -> str:
    return f"deliver {flow_run.parameters.get('integration')}"


@flow(
    name="deliver",
    flow_run_name=_run_name,
    task_runner=ThreadPoolTaskRunner(max_workers=2 * READERS),  # type: ignore[arg-type]  # Prefect's own gap
    persist_result=False,
    on_failure=[hooks.tell_failure],
    on_crashed=[hooks.tell_crash],
)
def deliver(integration: str = "all") -> State[Any]:
    """Send what is due to the systems: writes whose time has come, and holds that a person approved.

    Args:
        integration: Whose writes to send; `all` sends those of every integration.
    """
    world = ready_world()
    integrations = chosen(world, integration)
    done = PrefectSteps(place_of(world)).deliver(integrations)
    troubles = [Trouble(system, "", "deliver", "DeliveryStopped", cause) for system, cause in done.troubled.items()]
    incidents.conclude_delivery(world, integration, troubles, written=_written(done))
    hooks.mark_told(flow_run.id)
    report.show_delivery(done, integration)
    said = f"{done.writes} writes sent, {done.rejected} refused, {done.retried} to be tried again"
    return Failed(message=f"trouble with {', '.join(done.troubled)}; {said}") if troubles else Completed(message=said)


def _written(done: Delivered) -> set[str]:
    """The systems that took something."""
    return {where.split("/", 1)[0] for where in done.done}
