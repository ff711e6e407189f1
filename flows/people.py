"""What flows that carry out a person's word have in common: who gave it, and a personal code that is not kept."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from prefect import get_client
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Failed
from pydantic import SecretStr

from flows import hooks
from tasks.sync import TurnedAway
from tasks.world import World


def role(world: World, by: str) -> str:
    """The declared role that gave the word. Raises TurnedAway."""
    if by not in world.landscape.people:
        raise TurnedAway(f"there is no role {by!r}: {', '.join(world.landscape.people)}")
    return by


def told(reason: str, name: str = "reason") -> str:
    """A reason that says something. Raises TurnedAway."""
    if len(reason.strip()) < 3:
        raise TurnedAway(f"{name}: say why in a few words; it is kept with the decision")
    return reason.strip()


def code_of(given: SecretStr | None, name: str = "personal_code") -> str | None:
    """The code that was typed into the form. Prefect keeps a run's parameters, so it is taken out of them at once."""
    if given is None or not given.get_secret_value():
        return None
    if flow_run.id:
        kept = {k: v for k, v in (flow_run.parameters or {}).items() if k != name}
        shown = {k: v.get_secret_value() if isinstance(v, SecretStr) else v for k, v in kept.items()}
        with get_client(sync_client=True) as client:
            client.update_flow_run(UUID(str(flow_run.id)), parameters={**shown, name: None})
    return given.get_secret_value()


def refused(why: str) -> State[Any]:
    """How a run ends that did not do what was asked, for a reason that stands in its state: no incident of its own."""
    hooks.mark_told(flow_run.id)
    return Failed(message=why)
