"""The flow `watch`: what did not run, ran late, died or waits too long; and messages that could not be sent before."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from prefect import flow, get_client, get_run_logger
from prefect.client.schemas.objects import State
from prefect.exceptions import ObjectNotFound
from prefect.states import Completed, Crashed

from flows import hooks
from flows.ready import overdue_since, ready_world
from tasks import report
from tasks.watch import tell_of_dead
from tasks.watch import watch as look


@flow(
    name="watch",
    flow_run_name="watch",
    persist_result=False,
    on_failure=[hooks.tell_failure],
    on_crashed=[hooks.tell_crash],
)
def watch() -> State[Any]:
    """Look for what should have happened and did not, open or close its incidents, and send waiting alerts."""
    world = ready_world()
    found = look(world, was_away=overdue_since() is not None)
    for dead in found.dead_runs:
        if dead.flow_run_id and _close_flow_run(dead.flow_run_id, f"sync {dead.id} is dead: nobody holds its lane"):
            tell_of_dead(world, dead)
    report.show_watch(found.causes)
    names = ", ".join(cause.key for cause in found.causes)
    return Completed(message=f"{len(found.causes)} need a person: {names}" if found.causes else "all as it should be")


def _close_flow_run(flow_run_id: str, because: str) -> bool:
    """A killed run stays Running in Prefect's own database until somebody says otherwise; whether it was for us to."""
    with get_client(sync_client=True) as client:
        try:
            run = client.read_flow_run(UUID(flow_run_id))
            if run.state is None or run.state.is_final():
                return False
            client.set_flow_run_state(run.id, Crashed(message=because), force=True)
        except (ObjectNotFound, ValueError):
            get_run_logger().info("the flow run of a dead sync is not known here")
            return False
    return True
