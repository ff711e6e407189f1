"""`concord check`: whether what is declared holds together, and whether the systems are as it says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from apps import session
from apps.commands.systems import Answer, ask, show_answers
from apps.exits import DATABASE, REFUSED, SYSTEM
from apps.options import Json, Yes
from apps.screen import count, emit, say, show, then

if TYPE_CHECKING:
    from canonical.declarations.advice import Advice
    from canonical.landscape import Landscape
    from tasks.world import World

FEW = 8
"""Warnings that are shown unasked."""


def register(root: typer.Typer) -> None:
    root.command("check", rich_help_panel="Declare")(check)


def check(
    context: typer.Context,
    offline: Annotated[bool, typer.Option("--offline", help="Read the declarations only; ask no system.")] = False,
    all_advice: Annotated[bool, typer.Option("--advice", help="Every warning, not only the first few.")] = False,
    schemas: Annotated[
        Path | None, typer.Option("--schemas", metavar="DIR", help="Only write the JSON Schemas for editors there.")
    ] = None,
    activate: Annotated[
        bool, typer.Option("--activate", help="Go back to these declarations although newer ones are at work.")
    ] = False,
    by: Annotated[str | None, typer.Option("--by", help="With --activate: your role.")] = None,
    reason: Annotated[str | None, typer.Option("--reason", help="With --activate: why; it is kept.")] = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Read every declaration, compile every mapping, suite and model; then ask the database and every system."""
    if schemas is not None:
        _write_schemas(schemas)
        return
    if activate:
        _activate(context, by, reason, yes=yes)
        return
    here = session.of(context)
    landscape = here.landscape()
    compiled = compile_all(landscape)
    database: str | None = None
    answers: list[Answer] = []
    runs: Mapping[str, float] = {}
    abilities = _declared_abilities(landscape)
    if not offline:
        if not as_json:
            say(f"asking the database and {count(len(landscape.active_systems), 'system')}", style="dim")
        database, answers, runs, more = _online(here)
        abilities |= more
    advice = _advice(landscape, runs, abilities)
    if as_json:
        emit(_as_dict(landscape, compiled, advice, database, answers, offline=offline))
    else:
        _print(landscape, compiled, advice, database, answers, offline=offline, all_advice=all_advice)
    raise typer.Exit(_code(advice, database, answers))


def _activate(context: typer.Context, by: str | None, reason: str | None, *, yes: bool) -> None:
    """Lets an older version of the declarations work again: said by name, with a reason."""
    from apps import listing
    from apps.commands.holds import prove
    from staging import versions
    from tasks import versions as deciding

    if by is None or reason is None:
        raise typer.BadParameter("--activate takes --by ROLE and --reason TEXT")
    reason = listing.told(reason, "--reason")
    with session.of(context).world() as world:
        session.role(world.landscape, by)
        with world.transaction() as conn:
            working = versions.active(conn, world.landscape.name)
        if working is None or working.digest == world.landscape.digest:
            show("nothing to do: these declarations are the ones at work, or will be with the next sync")
            return
        changed = deciding.difference(working.files, world.landscape.files)
        show(f"at work: {working.digest[:8]}; here: {world.landscape.digest[:8]}; they differ in {', '.join(changed)}")
        prove(world, by)
        session.confirmed("Let these declarations work again?", yes=yes)
        deciding.put_back(world, by=by, reason=reason)
        show(f"activated by {by}: {world.landscape.digest[:8]}", style="green")
        then("see what it changes before it is done: concord plan all")


def _write_schemas(folder: Path) -> None:
    """The JSON Schemas of every kind of declaration, one file each. No landscape is needed."""
    from apps.commands.mapping_sheets import write_whole
    from canonical.declarations.schemas import FILES, schemas
    from tasks.landscape import connector_defaults

    folder.mkdir(parents=True, exist_ok=True)
    for name, text in schemas(connector_defaults()).items():
        write_whole(folder / name, text.encode())
        show(f"{folder / name}: for {FILES[name.partition('.')[0]]}")
    then("point the editor at them: docs/reference/declarations.md")


def compile_all(landscape: Landscape) -> dict[str, int]:
    """Compiles what a sync would compile; gives how many of each. Raises Refused.

    Programs are compiled when the landscape is read, all problems at once; here the checks and tables follow."""
    from canonical.checks import checks_for
    from canonical.mapping.program import compile_inbound
    from staging.entity_tables import entity_tables

    suites = 0
    inbound = 0
    for system in landscape.active_systems.values():
        for stream in system.streams.values():
            for made in stream.makes:
                entity = landscape.model[made.entity]
                zone = system.timezone or landscape.timezone
                program = compile_inbound(landscape.sheet, system, stream, entity, made.when, landscape.model, zone)
                inbound += 1
                suites += bool(checks_for(entity, landscape.rules.get(entity.name), mapped=program.columns))
    tables = entity_tables(landscape.model)
    targets = sum(len(i.to) for i in landscape.integrations.values())
    return {
        "systems": len(landscape.systems),
        "integrations": len(landscape.integrations),
        "entities": len(tables),
        "sheet_rows": len(landscape.sheet),
        "mappings_in": inbound,
        "mappings_out": targets,
        "suites": suites,
    }


Able = dict[tuple[str, str], frozenset[str]]
_OPS = ("create", "update", "archive", "delete")


def _declared_abilities(landscape: Landscape) -> Able:
    """What the landscape's own manifests say that can be done to each stream; no system is asked."""
    return {
        (system.name, name): frozenset(op for op in _OPS if getattr(stream, op) is not None)
        for system in landscape.active_systems.values()
        if "manifest" in system.settings
        for name, stream in system.settings["manifest"].streams.items()
    }


def _abilities(world: World, answers: list[Answer]) -> Able:
    """What the connectors of targets can do, as far as their systems answered."""
    from connectors.protocol import ConnectorError

    found: Able = {}
    answered = {a.system for a in answers if a.is_fine}
    for target in (t for i in world.landscape.integrations.values() for t in i.to if t.system in answered):
        try:
            found[(target.system, target.stream)] = world.connector(target.system).facts(target.stream).ops
        except ConnectorError:  # what is wrong with the system stands in its answer
            continue
    return found


def _online(here: session.Session) -> tuple[str | None, list[Answer], Mapping[str, float], Able]:
    """The database's trouble (None: fine), what each system answered, how long syncs took, what targets can do."""
    from apps.exits import Stop
    from staging import reports
    from staging.errors import DatabaseTrouble

    try:
        with here.world(is_model_needed=False) as world:
            answers = ask(world, list(world.landscape.active_systems))
            able = _abilities(world, answers)
            with world.transaction() as conn:
                runs = reports.longest_runs(conn)
            changes = session.model_changes(world.landscape)
        told = f"the model is not applied ({count(len(changes), 'change')}): concord model apply" if changes else None
        return told, answers, runs, able
    except (DatabaseTrouble, Stop) as trouble:
        return str(trouble), [], {}, {}


def _advice(landscape: Landscape, runs: Mapping[str, float], abilities: Able) -> list[Advice]:
    from canonical.declarations import advice

    return advice.check(landscape, runs, abilities)


def _code(advice: list[Advice], database: str | None, answers: list[Answer]) -> int:
    if any(a.severity == "error" for a in advice):
        return REFUSED
    if database:
        return DATABASE
    return SYSTEM if any(not a.is_fine for a in answers) else 0


def _as_dict(
    landscape: Landscape,
    compiled: dict[str, int],
    advice: list[Advice],
    database: str | None,
    answers: list[Answer],
    *,
    offline: bool,
) -> dict[str, Any]:
    return {
        "landscape": landscape.name,
        "digest": landscape.digest,
        "compiled": compiled,
        "advice": [{"severity": a.severity, **a.problem.as_dict()} for a in advice],
        "offline": offline,
        "database": None if offline else {"is_fine": database is None, "trouble": database},
        "systems": [a.as_dict() for a in answers],
    }


def _print(
    landscape: Landscape,
    compiled: dict[str, int],
    advice: list[Advice],
    database: str | None,
    answers: list[Answer],
    *,
    offline: bool,
    all_advice: bool,
) -> None:
    show(f"{landscape.name}: {_counted(compiled)}")
    errors = [a for a in advice if a.severity == "error"]
    warnings = [a for a in advice if a.severity != "error"]
    for each in errors:
        show(str(each), style="red")
    for each in warnings if all_advice else warnings[:FEW]:
        show(str(each), style="yellow")
    if len(warnings) > FEW and not all_advice:
        show(f"… and {count(len(warnings) - FEW, 'more warning')}: concord check --advice")
    if not offline:
        show(f"database: {database or 'fine'}", style="red" if database else None)
        show_answers(answers)
    code = _code(advice, database, answers)
    if code == 0:
        show("everything holds together" + (" (no system was asked)" if offline else ""), style="green")
        then("see what a sync would do: concord plan", "do it: concord sync")


def _counted(compiled: Mapping[str, int]) -> str:
    """What was declared and compiled, in numbers."""
    names = (("systems", "system"), ("entities", "entity"), ("integrations", "integration"))
    declared = ", ".join(count(compiled[many], one, many) for many, one in names)
    rows, suites = count(compiled["sheet_rows"], "sheet row"), count(compiled["suites"], "suite")
    mappings = f"{count(compiled['mappings_in'], 'mapping')} in and {compiled['mappings_out']} out"
    return f"{declared}; {rows} compile into {mappings}, {suites}"
