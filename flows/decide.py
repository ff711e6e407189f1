"""The flow `decide`: a person's yes or no to writes that are held."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed
from pydantic import SecretStr

from flows import hooks, people
from flows.ready import ready_world
from tasks import decide as task
from tasks.decide import Decision
from tasks.sync import TurnedAway


def _run_name() -> str:
    return f"{flow_run.parameters.get('decision')} hold {flow_run.parameters.get('hold')}"


@flow(
    name="decide",
    flow_run_name=_run_name,
    persist_result=False,
    on_failure=[hooks.tell_failure],
    on_crashed=[hooks.tell_crash],
)
def decide(hold: int, decision: Decision, by: str, reason: str, personal_code: SecretStr | None = None) -> State[Any]:
    """Let held writes go, or drop them. What goes is sent by the next delivery.

    Args:
        hold: The number of the hold, as `concord holds list` and the alert show it.
        decision: The choice approve sends exactly the writes that wait now. The choice reject drops them.
        by: Your role.
        reason: Why; it is kept with the decision.
        personal_code: Your personal code, where you have one. It is taken out of the run's parameters at once.
    """
    code = people.code_of(personal_code)
    world = ready_world()
    try:
        who, because = people.role(world, by), people.told(reason)
        task.prove(world, who, code)
        number = task.decide(world, hold, decision, by=who, reason=because)
    except KeyError:
        return people.refused(f"there is no hold {hold}")
    except TurnedAway as no:
        return people.refused(str(no))
    writes = "1 write" if number == 1 else f"{number} writes"
    what = "goes with the next delivery" if decision == "approve" else "dropped"
    return Completed(message=f"{writes}: {what}, by {who}'s word")
