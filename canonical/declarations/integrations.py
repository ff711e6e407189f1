"""Integrations as declared in landscape.yaml: charter, targets, timing, brake, promises."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal

from cronsim import CronSim, CronSimError

from canonical.declarations.shapes import DASHED_NAME, Section, nearest, one_of
from canonical.expressions import ExpressionError, compile_for_entity
from canonical.landscape import Brake, Integration, Sla, System, Target, Timing
from canonical.model import Entity

_ANY_DAY = datetime(2024, 1, 1, tzinfo=UTC)
"""Where the search for a cron's first firing begins: the year does not matter, 29 February comes within four."""


def read_integrations(
    top: Section, entities: Mapping[str, Entity], systems: Mapping[str, System]
) -> dict[str, Integration]:
    return {
        name: _read_integration(name, section, entities, systems)
        for name, section in top.sections("integrations", pattern=DASHED_NAME)
    }


def _read_integration(
    name: str, section: Section, entities: Mapping[str, Entity], systems: Mapping[str, System]
) -> Integration:
    deletes: tuple[Literal["archive", "delete", "ignore", "ask"], ...] = ("archive", "delete", "ignore", "ask")
    entity_name = section.mention("entity", "entity", required=True) or ""
    entity = entities.get(entity_name)
    found = Integration(
        name=name,
        entity=entity_name,
        owner=section.mention("role", "owner", required=True) or "",
        problem=section.text("problem") or "",
        beneficiary=section.text("beneficiary") or "",
        decision=section.text("decision") or "",
        level=section.integer("level", 1, low=1, high=4),
        to=tuple(_read_target(item, entity, systems) for item in section.list_of("to", required=True)),
        timing=_read_timing(section),
        hold_seconds=section.duration("hold", zero=True) or 0,
        on_delete=section.choice("on_delete", deletes, "archive"),
        ask_when=_condition(section, "ask_when", entity),
        four_eyes=section.boolean("four_eyes"),
        brake=_read_brake(section),
        sla=_read_sla(section),
        fallback=section.text("fallback"),
        measure=section.text("measure"),
        channel=section.text("channel"),
    )
    section.done()
    return found


def _read_target(section: Section, entity: Entity | None, systems: Mapping[str, System]) -> Target:
    modes: tuple[Literal["observe", "ask", "write"], ...] = ("observe", "ask", "write")
    leaves: tuple[Literal["keep", "archive", "freeze"], ...] = ("keep", "archive", "freeze")
    drifts: tuple[Literal["restore", "report"], ...] = ("restore", "report")
    system_name = section.mention("system", "system", required=True) or ""
    stream = section.text("stream", required=True) or ""
    system = systems.get(system_name)
    if system is not None and stream and stream not in system.streams:
        section.wrong("stream", one_of(system.streams), suggestion=nearest(stream, system.streams))
    if system is not None and system.connector == "none":
        section.wrong("system", "a system that a connector serves", f"'{system_name}' with connector: none")
    found = Target(
        system=system_name,
        stream=stream,
        create=section.boolean("create"),
        update=section.boolean("update", True),
        mode=section.choice("mode", modes, "observe"),
        when=_condition(section, "when", entity),
        on_leave=section.choice("on_leave", leaves, "keep"),
        on_drift=section.choice("on_drift", drifts, "restore"),
        find_by=_read_find_by(section, entity),
    )
    if not found.create and not found.update:
        section.wrong("update", "true, or create: true beside it", "a target that is never written")
    section.done()
    return found


def _read_find_by(section: Section, entity: Entity | None) -> tuple[tuple[str, str], ...]:
    pairs: list[tuple[str, str]] = []
    for target_field, path in section.text_map("find_by").items():
        leaf = entity.by_path.get(path) if entity else None
        if path == "id":
            pairs.append((target_field, "id"))
        elif leaf is not None:
            pairs.append((target_field, leaf.column))
        elif entity is not None:
            section.wrong("find_by", one_of(entity.by_path), f"'{path}'", nearest(path, entity.by_path))
    return tuple(pairs)


def _condition(section: Section, key: str, entity: Entity | None) -> str | None:
    text = section.text(key)
    if text is None or entity is None:
        return text
    try:
        compile_for_entity(text, entity)
    except ExpressionError as error:
        section.wrong(key, error.expected, error.found, error.suggestion)
    return text


def _read_timing(parent: Section) -> Timing:
    section = parent.section("timing")
    if section is None:
        return Timing()
    schedule = section.text("schedule")
    problem = cron_problem(schedule) if schedule is not None else None
    if problem:
        section.wrong("schedule", *problem)
    timing = Timing(schedule, section.boolean("event"), section.text("because") or "")
    section.done()
    return timing


def cron_problem(schedule: str) -> tuple[str, str] | None:
    """(expected, found) of a schedule that is not a five-field cron that fires (RELIABILITY 61)."""
    fields = schedule.split()
    if len(fields) != 5:
        return "a cron of five fields (minute hour day month weekday)", f"{len(fields)} fields: '{schedule[:40]}'"
    try:
        next(CronSim(schedule, _ANY_DAY))
    except CronSimError as error:
        return "a cron of five fields (minute hour day month weekday)", f"'{schedule[:40]}' ({error})"
    except StopIteration:
        return "a cron that fires some day", f"'{schedule[:40]}', which never does"
    return None


def _read_brake(parent: Section) -> Brake:
    section = parent.section("brake")
    default = Brake()
    if section is None:
        return default
    money, count_drop = section.share("money"), section.share("count_drop")
    brake = Brake(
        deletes=section.limit("deletes", default.deletes),
        changes=section.limit("changes", default.changes),
        blanked=section.limit("blanked", default.blanked),
        money=default.money if money is None else money,
        count_drop=default.count_drop if count_drop is None else count_drop,
    )
    section.done()
    return brake


def _read_sla(parent: Section) -> Sla:
    section = parent.section("sla")
    if section is None:
        return Sla()
    sla = Sla(
        timeliness=section.duration("timeliness"),
        completeness=section.duration("completeness"),
        accuracy=section.share("accuracy"),
        detect=section.duration("detect"),
        resolve=section.duration("resolve"),
    )
    section.done()
    return sla
