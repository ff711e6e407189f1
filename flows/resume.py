"""The flow `resume`: what rested goes on."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed

from flows import hooks, people
from flows.ready import ready_world
from staging import pauses
from tasks.switch import pause_key
from tasks.sync import TurnedAway


def _run_name() -> str:
    return f"resume {flow_run.parameters.get('what')}"


@flow(
    name="resume",
    flow_run_name=_run_name,
    persist_result=False,
    on_failure=[hooks.tell_failure],
    on_crashed=[hooks.tell_crash],
)
def resume(what: str, because: str, by: str) -> State[Any]:
    """End a pause: what waited is planned by the next sync and goes out.

    Args:
        what: Which system or integration.
        because: Why; it is kept with the pause.
        by: Your role.
    """
    world = ready_world()
    try:
        key, who = pause_key(world.landscape, what), people.role(world, by)
        reason = people.told(because, "because")
    except TurnedAway as no:
        return people.refused(str(no))
    with world.transaction() as conn:
        is_ended = pauses.resume(conn, key, by=who, reason=reason)
    return Completed(message=f"{what} goes on" if is_ended else f"nothing to do: {what} is not paused")
