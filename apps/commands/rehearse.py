"""`concord rehearse`: the busiest day, with systems that fail, before it comes. On twins; no real system is touched."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from apps.commands.prove import twins_of
from apps.exits import BUSY, DONE, NEEDS_A_PERSON, REFUSED, SYSTEM, Stop
from apps.options import Json
from apps.screen import Clock, emit, show, table, then

if TYPE_CHECKING:
    from apps.proving.figures import Figures, Freshness


def register(root: typer.Typer) -> None:
    root.command("rehearse", rich_help_panel="Prove")(rehearse)


def rehearse(
    context: typer.Context,
    load: Annotated[str, typer.Option("--load", help="How many times the work of a normal day: 10x.")] = "10x",
    faults: Annotated[
        str, typer.Option("--faults", help="The day: christmas, calm, or a YAML file of the same form.")
    ] = "christmas",
    minutes: Annotated[float, typer.Option("--minutes", min=1, max=1440, help="How long the day lasts.")] = 3,
    report: Annotated[Path | None, typer.Option("--report", help="Where the report is written (Markdown).")] = None,
    as_json: Json = False,
) -> None:
    """Play a busy day on twins of the landscape's systems, with faults, and report who was late and what waited.

    It begins a house of its own under .concord/rehearse. Ends with 0 only if everything arrived and was on time."""
    from apps.proving import rehearsal, scenario
    from apps.proving.figures import figures
    from apps.proving.ground import GroundBusy
    from apps.proving.paper import report as written
    from staging.home import concord_home
    from tasks import landscape

    try:
        day_of = scenario.read(faults, _times(load))
    except scenario.BadScenario as bad:
        raise Stop(REFUSED, str(bad)) from None
    twins = twins_of(context)
    place = report or concord_home() / f"rehearsal-{day_of.name}.md"
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whatever ends it, what it started is stopped
    clock = Clock(silent=as_json)
    try:
        day = rehearsal.rehearse(concord_home() / "rehearse", twins, day_of, clock.say, minutes=minutes)
    except rehearsal.NoWork as none:
        raise Stop(REFUSED, str(none), "rehearse the demo's: concord rehearse") from None
    except GroundBusy as busy:
        raise Stop(BUSY, str(busy)) from None
    except RuntimeError as error:
        raise Stop(SYSTEM, str(error)) from None
    found = figures(day, landscape.load(twins.source).integrations)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(written(found), encoding="utf-8")
    if as_json:
        emit({**found.as_dict(), "report": str(place)})
    else:
        _print(found, place)
    raise typer.Exit(DONE if found.holds else NEEDS_A_PERSON)


def _times(text: str) -> float:
    """`10x` as 10. Raises Stop."""
    number = text.strip().lower().removesuffix("x")
    if not number.replace(".", "", 1).isdigit() or not 0 < float(number) <= 100:
        raise Stop(REFUSED, f"--load: expected a number of times like 10x, up to 100x; found {text!r}")
    return float(number)


def _print(found: Figures, place: Path) -> None:
    rows = [
        (one.phase, one.system, one.changes, one.median_seconds, one.p95_seconds, one.slowest_seconds, _compared(one))
        for one in found.freshness
    ]
    table(("what was going on", "system", "#changes", "#median s", "#95 % s", "#slowest s", "× rush"), rows)
    for one in found.broken:
        show(f"the SLA of {one.integration} did not hold", style="red")
    style = "green" if found.holds else "yellow"
    drained = "never" if found.drained_seconds is None else f"{found.drained_seconds:.0f} s after the day"
    show(f"\n{'Concord kept up' if found.holds else 'Concord did not keep up'}; drained: {drained}", style=style)
    then(f"the report: {place}")


def _compared(one: Freshness) -> str:
    return "" if one.times_normal is None else f"{one.times_normal:g}{' (hurt)' if one.is_hurt else ''}"
