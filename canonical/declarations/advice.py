"""What a good landscape should still be told: promises that cannot hold, and gaps that nobody meant to leave."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice, pairwise
from typing import Literal

from cronsim import CronSim

from canonical.declarations.models import STANDARD
from canonical.landscape import Integration, Landscape
from canonical.mapping.sheet import SheetRow
from canonical.model import Entity, Field
from canonical.problems import Problem

_FIRINGS = 200
"""How many firings are looked at for the longest gap: more than half a year of a schedule for working days."""


@dataclass(frozen=True, slots=True)
class Advice:
    """`error`: a promise that cannot hold; `warning`: something that a person should know or decide."""

    severity: Literal["error", "warning"]
    problem: Problem

    def __str__(self) -> str:
        return f"{self.severity}: {self.problem}"


Abilities = Mapping[tuple[str, str], frozenset[str]]
"""(system, stream) → which of create, update, archive, delete its connector can do."""


def check(
    landscape: Landscape, longest_runs: Mapping[str, float] | None = None, abilities: Abilities | None = None
) -> list[Advice]:
    """Errors first, then warnings, each by place. `longest_runs`: integration → seconds of its longest recent run;
    `abilities`: of the targets whose connector could be asked."""
    runs = longest_runs or {}
    flows = landscape.integrations.values()
    errors = [problem for flow in flows for problem in _promises(landscape, flow, runs)]
    errors += [problem for flow in flows for problem in _beyond(landscape, flow, abilities or {})]
    warnings = [
        *_people(landscape),
        *_charters(landscape),
        *_entities(landscape),
        *_systems(landscape),
        *_notify(landscape),
    ]
    order = sorted(set(errors), key=_place)
    return [
        *(Advice("error", problem) for problem in order),
        *(Advice("warning", problem) for problem in sorted(set(warnings), key=_place)),
    ]


def longest_gap_seconds(schedule: str) -> float:
    """The longest wait between two firings of a five-field cron, in plain days (no change of clocks)."""
    firings = islice(CronSim(schedule, datetime(2024, 1, 1, tzinfo=UTC)), _FIRINGS)
    return max(((b - a).total_seconds() for a, b in pairwise(firings)), default=0.0)


def _place(problem: Problem) -> tuple[str, int, str]:
    return problem.file, problem.line or 0, problem.where


def _at(landscape: Landscape, place: str, expected: str, found: str) -> Problem:
    """A problem at the nearest declared place (`integrations.x.sla`, else `integrations.x`)."""
    shown = place
    while place not in landscape.places and "." in place:
        place = place.rpartition(".")[0]
    file, line = landscape.places.get(place, ("landscape.yaml", None))
    if file.startswith(STANDARD):  # a person can act in the file that extends it
        file, line = landscape.places[".".join(place.split(".")[:2])]
        expected += f", or without: [{place.split('.')[3]}]"
    where = shown.removeprefix("model.").partition(".")[2] if shown.startswith("model.") else shown
    return Problem(file, line, where or "entity", expected, found)


def _promises(landscape: Landscape, flow: Integration, runs: Mapping[str, float]) -> Iterator[Problem]:
    """An SLA shorter than the schedule and the longest run cannot be kept (DESIGN 9.24)."""
    if flow.timing.schedule is None:
        return
    needed = longest_gap_seconds(flow.timing.schedule) + runs.get(flow.name, 0.0) + flow.hold_seconds
    place = f"integrations.{flow.name}.sla"
    promises = [("completeness", flow.sla.completeness)]
    if not flow.timing.event:  # an event does not wait for the schedule
        promises.append(("timeliness", flow.sla.timeliness))
    for name, promised in promises:
        if promised is not None and promised < needed:
            expected = f"at least {needed:.0f} seconds: the longest gap of its schedule, its longest run and its hold"
            yield _at(landscape, f"{place}.{name}", expected, f"{promised} seconds")


def _beyond(landscape: Landscape, flow: Integration, abilities: Abilities) -> Iterator[Problem]:
    """What is declared of a target and its connector cannot do: found here, not by a refused write months later."""
    place = f"integrations.{flow.name}"
    for target in flow.to:
        can = abilities.get((target.system, target.stream))
        if can is None:
            continue
        wanted = [(f"{place}.to", "create", "create: true", target.create)]
        wanted += [(f"{place}.to", "archive", "on_leave: archive", target.on_leave == "archive")]
        if f"{place}.on_delete" in landscape.places:  # what nobody wrote is a default, not a wish
            is_wanted = flow.on_delete in ("archive", "delete")
            wanted += [(f"{place}.on_delete", flow.on_delete, f"on_delete: {flow.on_delete}", is_wanted)]
        where = f"{target.system}/{target.stream}"
        for at, ability, declared, is_wanted in wanted:
            if is_wanted and ability not in can:
                known = ", ".join(sorted(can)) or "nothing"
                yield _at(landscape, at, f"a target that can {ability} ({where} can {known})", declared)


def _people(landscape: Landscape) -> Iterator[Problem]:
    owners = {
        **{flow.owner: f"the integration {flow.name}" for flow in landscape.integrations.values()},
        **{system.owner: f"the system {system.name}" for system in landscape.systems.values()},
    }
    for role, owned in sorted(owners.items()):
        person = landscape.people[role]
        if not person.email and not person.slack:
            found = f"neither, though it answers for {owned}"
            yield _at(landscape, f"people.{role}", "an e-mail address or Slack handle", found)
    asks = [
        flow
        for flow in landscape.integrations.values()
        if flow.four_eyes or flow.ask_when or any(t.mode == "ask" for t in flow.to)
    ]
    if asks and not any(person.code for person in landscape.people.values()):
        found = f"nobody, so that what {asks[0].name} asks cannot be approved by four eyes"
        yield _at(landscape, "people", "somebody with a personal code (code: {env: NAME})", found)


def _charters(landscape: Landscape) -> Iterator[Problem]:
    for flow in landscape.integrations.values():
        for key in ("problem", "beneficiary", "decision", "fallback", "measure"):
            if not getattr(flow, key):
                yield _at(landscape, f"integrations.{flow.name}.{key}", f"the charter's {key}", "nothing")
        if flow.timing.schedule is None:
            found = "no schedule: what an event misses is never caught up"
            yield _at(landscape, f"integrations.{flow.name}.timing", "a schedule", found)


def _entities(landscape: Landscape) -> Iterator[Problem]:
    made = {
        made.entity
        for system in landscape.systems.values()
        for stream in system.streams.values()
        for made in stream.makes
    }
    inbound = [row for row in landscape.sheet if row.direction == "inbound"]
    for entity in landscape.model.entities:
        if entity.name not in made:
            yield _at(landscape, f"model.{entity.name}", "a stream that makes it", "none")
            continue
        for item in entity.fields:
            yield from _unfilled(landscape, entity, item, inbound)


def _unfilled(landscape: Landscape, entity: Entity, item: Field, rows: list[SheetRow]) -> Iterator[Problem]:
    """A field whose system of record has nothing to say about it."""
    names = {item.name, *(leaf.path for leaf in item.leaves)}
    is_filled = any(
        row.system == item.record
        and row.entity == entity.name
        and (row.target_path in names or row.target_path.startswith(f"{item.name}."))
        for row in rows
    )
    if not is_filled:
        expected = f"a sheet row from its system of record {item.record}"
        yield _at(landscape, f"model.{entity.name}.fields.{item.name}", expected, "none: it stays without opinion")


def _systems(landscape: Landscape) -> Iterator[Problem]:
    written = {target.system for flow in landscape.integrations.values() for target in flow.to}
    told = {value for value in landscape.notify.values() if isinstance(value, str)}
    for name, system in landscape.active_systems.items():
        is_read = any(stream.makes for stream in system.streams.values())
        if not is_read and name not in written and name not in told:
            yield _at(landscape, f"systems.{name}", "streams that make entities, or an integration to it", "neither")


def _notify(landscape: Landscape) -> Iterator[Problem]:
    if not landscape.notify and landscape.integrations:
        yield _at(
            landscape, "notify", "where incidents go (notify: {slack: SYSTEM})", "nothing: they wait to be asked for"
        )
