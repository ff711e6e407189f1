"""The flows that a landscape offers beside its integrations' own syncs: one row of `FORMS` is one deployment. Pure.

A row names the flow by its module path (Prefect loads it from there), says in words what it is for, and which of its
parameters the form offers as a list of names. To offer another flow, write it in `flows/` and add its row here:

    Form("flows.example.example", choices={"integration": INTEGRATIONS_OR_ALL}),

The function, the `@flow(name=…)` and the last part of the path bear one name, and the docstring's `Args` become the
help texts of the form.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from canonical.landscape import Landscape

ALL = "all"
RETENTION = "17 2 * * *"
"""At night, when nothing else is due at most places."""
DELIVER = "2-59/5 * * * *"
"""Every five minutes, between the watches: a failed write is tried again after 5 s to 15 min."""
WATCH = "*/5 * * * *"
"""A run must have begun within five minutes of its time: looked for as often."""

Choices = Callable[[Landscape], tuple[str, ...]]
"""The values that a form offers by name, of one landscape."""


def INTEGRATIONS(landscape: Landscape) -> tuple[str, ...]:
    """Every integration."""
    return tuple(landscape.integrations)


def INTEGRATIONS_OR_ALL(landscape: Landscape) -> tuple[str, ...]:
    """Every integration, or all of them together."""
    return (ALL, *landscape.integrations)


def SYSTEMS(landscape: Landscape) -> tuple[str, ...]:
    """Every system."""
    return tuple(landscape.systems)


def SYSTEMS_AND_INTEGRATIONS(landscape: Landscape) -> tuple[str, ...]:
    """Every system that a connector serves, and every integration; both by kind where they share a name."""
    both = set(landscape.active_systems) & set(landscape.integrations)
    systems = (f"system:{name}" if name in both else name for name in landscape.active_systems)
    integrations = (f"integration:{name}" if name in both else name for name in landscape.integrations)
    return (*systems, *integrations)


def ROLES(landscape: Landscape) -> tuple[str, ...]:
    """Every role that `people:` declares."""
    return tuple(landscape.people)


@dataclass(frozen=True, slots=True)
class Form:
    """One flow that a person can start, and a schedule can."""

    entrypoint: str
    """Module and function: `flows.deliver.deliver`."""
    name: str = ""
    """The deployment's own name; without one, the flow's."""
    description: str = ""
    """What stands above the form; without one, the flow's docstring."""
    cron: str | None = None
    """None: started by hand only."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """What the form shows before somebody changes it."""
    choices: Mapping[str, Choices] = field(default_factory=dict)
    """Parameters that are offered as a list of names."""

    @property
    def flow(self) -> str:
        """The flow's name."""
        return self.entrypoint.rsplit(".", 1)[-1]


FORMS: tuple[Form, ...] = (
    Form(
        "flows.deliver.deliver",
        name="due",
        description="Send what is due: writes to be tried again, holds that a person approved.",
        cron=DELIVER,
        parameters={"integration": ALL},
        choices={"integration": INTEGRATIONS_OR_ALL},
    ),
    Form(
        "flows.watch.watch",
        description="Look for what should have happened and did not, and tell whom it concerns.",
        cron=WATCH,
    ),
    Form(
        "flows.retention.retention",
        description="Empty or remove what is over and older than the landscape says.",
        cron=RETENTION,
    ),
    Form("flows.incident.incident"),
    Form("flows.plan.plan", parameters={"integration": ALL}, choices={"integration": INTEGRATIONS_OR_ALL, "by": ROLES}),
    Form("flows.apply.apply", choices={"by": ROLES}),
    Form("flows.golive.golive", choices={"integration": INTEGRATIONS, "system": SYSTEMS, "by": ROLES}),
    Form("flows.pause.pause", choices={"what": SYSTEMS_AND_INTEGRATIONS, "by": ROLES}),
    Form("flows.resume.resume", choices={"what": SYSTEMS_AND_INTEGRATIONS, "by": ROLES}),
    Form("flows.undo.undo", choices={"by": ROLES}),
    Form("flows.decide.decide", choices={"by": ROLES}),
)
"""In the order in which they are registered."""
