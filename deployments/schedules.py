"""What runs when: a landscape's declared schedules as deployments (DESIGN 8). Pure: values in, values out.

sync/customer-details    one for each integration, on its own schedule, incremental; startable by hand in any mode
sync/all                 every integration together, each night in full: that finds records that disappeared
…/…                      the rows of `deployments.forms`: what is due, what did not happen, what people start by hand
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from canonical.landscape import Integration, Landscape, Timing
from deployments.forms import ALL, FORMS, INTEGRATIONS_OR_ALL, Form

SWEEP = "10 3 * * *"
"""Each night, after the nightly integrations of most and before people come."""
SYNC = "flows.sync.sync"


@dataclass(frozen=True, slots=True)
class DeploymentSpec:
    """One deployment of one flow."""

    entrypoint: str
    """The flow as a module path: `flows.sync.sync`."""
    name: str
    cron: str | None
    """Five fields in `timezone`; None: started by hand only."""
    timezone: str
    rhythm: str
    """The schedule in words, also a tag."""
    description: str
    tags: tuple[str, ...]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """What the form shows before somebody changes it."""
    scheduled: Mapping[str, Any] = field(default_factory=dict)
    """What its schedule asks for instead."""
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Parameters whose values the form offers by name."""

    @property
    def flow(self) -> str:
        """The flow's name."""
        return self.entrypoint.rsplit(".", 1)[-1]

    @property
    def full_name(self) -> str:
        """As Prefect names it: flow/deployment."""
        return f"{self.flow}/{self.name}"


def specs(landscape: Landscape) -> list[DeploymentSpec]:
    """Every deployment of a landscape."""
    return [
        *(_of_integration(landscape, each) for each in landscape.integrations.values()),
        _of_all(landscape),
        *(_of_form(landscape, form) for form in FORMS),
    ]


def _of_all(landscape: Landscape) -> DeploymentSpec:
    return DeploymentSpec(
        entrypoint=SYNC,
        name=ALL,
        cron=SWEEP,
        timezone=landscape.timezone,
        rhythm=rhythm(SWEEP),
        description=f"Every integration of {landscape.name} together: {', '.join(landscape.integrations)}. Each night"
        " in full, which also finds records that disappeared.",
        tags=(landscape.name, rhythm(SWEEP)),
        parameters={"integration": ALL, "mode": "incremental"},
        scheduled={"integration": ALL, "mode": "full"},
        choices={"integration": INTEGRATIONS_OR_ALL(landscape)},
    )


def _of_form(landscape: Landscape, form: Form) -> DeploymentSpec:
    return DeploymentSpec(
        entrypoint=form.entrypoint,
        name=form.name or form.flow,
        cron=form.cron,
        timezone=zone_of(form.cron, landscape.timezone),
        rhythm=rhythm(form.cron),
        description=form.description,
        tags=(landscape.name, rhythm(form.cron)),
        parameters=form.parameters,
        choices={name: choices(landscape) for name, choices in form.choices.items()},
    )


def zone_of(cron: str | None, timezone: str) -> str:
    """The zone a schedule is kept in: the landscape's; UTC where only minutes are named and it makes no difference.

    In the hour that comes twice when summer time ends Prefect starts nothing of a schedule kept in local time (3.8.8:
    `*/15` pauses for 75 minutes); a schedule of minutes must not pause."""
    if not cron or cron.split()[1:] != ["*"] * 4:
        return timezone
    zone = ZoneInfo(timezone)
    offsets = [datetime(2026, month, 1, tzinfo=zone).utcoffset() or timedelta() for month in range(1, 13)]
    return "UTC" if all(offset % timedelta(hours=1) == timedelta() for offset in offsets) else timezone


def _of_integration(landscape: Landscape, integration: Integration) -> DeploymentSpec:
    cron = integration.timing.schedule
    return DeploymentSpec(
        entrypoint=SYNC,
        name=integration.name,
        cron=cron,
        timezone=zone_of(cron, landscape.timezone),
        rhythm=rhythm(cron),
        description=_charter(landscape, integration, integration.timing),
        tags=(landscape.name, integration.entity, rhythm(cron)),
        parameters={"integration": integration.name, "mode": "incremental"},
        choices={"integration": (integration.name,)},
    )


def _charter(landscape: Landscape, integration: Integration, timing: Timing) -> str:
    """What a person reads above the form: why this runs, for whom, and how often."""
    targets = ", ".join(f"{t.system}/{t.stream} ({t.mode})" for t in integration.to)
    lines = [
        integration.problem,
        f"**Decides:** {integration.decision}" if integration.decision else "",
        f"**For:** {integration.beneficiary}" if integration.beneficiary else "",
        f"**Owner:** {_person(landscape, integration.owner)}",
        f"**Moves:** {integration.entity} to {targets}",
        f"**Runs:** {rhythm(timing.schedule)}" + (f". {timing.because}" if timing.because else ""),
        f"**Fallback:** {integration.fallback}" if integration.fallback else "",
    ]
    return "\n\n".join(line for line in lines if line)


def _person(landscape: Landscape, role: str) -> str:
    """A role with who it is, where the landscape says so."""
    person = landscape.people.get(role)
    return f"{role} ({', '.join(filter(None, (person.name, person.slack)))})" if person else role


_MINUTES = re.compile(r"^(?:\*|\d+-59)/(\d+) \* \* \* \*$")
_HOURLY = re.compile(r"^(\d+) \* \* \* \*$")
_DAILY = re.compile(r"^(\d+) (\d+) \* \* \*$")
NIGHT = range(6)


def rhythm(cron: str | None) -> str:
    """A schedule in words: `every 15 minutes`, `hourly at :20`, `nightly at 01:30`; the cron itself where none fits."""
    if not cron:
        return "by hand"
    text = " ".join(cron.split())
    if text == "* * * * *":
        return "every minute"
    if found := _MINUTES.match(text):
        return f"every {found[1]} minutes"
    if found := _HOURLY.match(text):
        return f"hourly at :{int(found[1]):02d}"
    if found := _DAILY.match(text):
        minute, hour = int(found[1]), int(found[2])
        return f"{'nightly' if hour in NIGHT else 'daily'} at {hour:02d}:{minute:02d}"
    return f"cron {text}"
