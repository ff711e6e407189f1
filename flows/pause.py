"""The flow `pause`: the writes to a system, or of an integration, rest."""

from __future__ import annotations

from datetime import datetime
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
    return f"pause {flow_run.parameters.get('what')}"


@flow(
    name="pause",
    flow_run_name=_run_name,
    persist_result=False,
    on_failure=[hooks.tell_failure],
    on_crashed=[hooks.tell_crash],
)
def pause(what: str, because: str, by: str, until: datetime | None = None) -> State[Any]:
    """Let the writes to a system, or of an integration, rest: nothing more is sent from now on. Syncs go on reading.

    Args:
        what: Which system or integration.
        because: Why; everybody sees it in `concord status`.
        by: Your role.
        until: When it ends by itself. Empty means when somebody resumes it.
    """
    world = ready_world()
    try:
        key, who = pause_key(world.landscape, what), people.role(world, by)
        reason = people.told(because, "because")
    except TurnedAway as no:
        return people.refused(str(no))
    with world.transaction() as conn:
        pauses.pause(conn, key, by=who, reason=reason, until=until)
        waiting = pauses.waiting_behind(conn, [key])[key]
    return Completed(message=f"{what} is paused{f' until {until:%Y-%m-%d %H:%M %Z}' if until else ''}; {waiting} wait")
