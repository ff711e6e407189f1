"""`concord prove`: kills Concord at every named moment, on twins, and shows that nothing is lost or doubled."""

from __future__ import annotations

import shlex
import signal
from typing import TYPE_CHECKING, Annotated

import typer

from apps import session
from apps.exits import BUSY, DONE, NEEDS_A_PERSON, REFUSED, SYSTEM, Stop
from apps.options import Json
from apps.screen import Clock, emit, heading, show, then

if TYPE_CHECKING:
    from apps.proving.twins import Twins
    from apps.proving.verdict import Proof


def register(root: typer.Typer) -> None:
    root.command("prove", rich_help_panel="Prove")(prove)


def prove(
    context: typer.Context,
    hits: Annotated[int, typer.Option("--hits", min=1, max=20, help="How often to kill at each point.")] = 3,
    points: Annotated[
        str | None, typer.Option("--points", help="Kill at these points only: deliver.sent,stage.merged")
    ] = None,
    cells: Annotated[
        str | None, typer.Option("--cells", help="Only cells with this in their name: database, workers, 'in a row'")
    ] = None,
    minutes: Annotated[
        float | None, typer.Option("--minutes", min=1, max=1440, help="Begin no further cell after so many minutes.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Kill Concord at every named moment, on twins of the landscape's systems, and count what was lost or doubled.

    Needs nothing and touches nothing but .concord/prove. Ends with 0 only if every promise held."""
    from apps.proving.ground import GroundBusy
    from apps.proving.prove import NoCell
    from apps.proving.prove import prove as run
    from staging.home import concord_home

    named = _points(points)
    twins = twins_of(context)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whatever ends it, what it started is stopped
    clock = Clock(silent=as_json)
    try:
        home = concord_home() / "prove"
        proof = run(home, twins, clock.say, points=named, only=cells, hits=hits, minutes=minutes)
    except NoCell as none:
        raise Stop(
            REFUSED, f"no cell has {str(none)!r} in its name", "every cell is named as it ends: concord prove"
        ) from None
    except GroundBusy as busy:
        raise Stop(BUSY, str(busy)) from None
    except RuntimeError as error:
        raise Stop(SYSTEM, str(error)) from None
    if as_json:
        emit(proof.as_dict())
    else:
        _print(proof)
    raise typer.Exit(DONE if proof.holds else NEEDS_A_PERSON)


def _points(text: str | None) -> list[str]:
    """The crash points that were named. Raises Stop."""
    from apps.exits import unknown
    from staging.crash import POINTS

    named = [one.strip() for one in (text or "").split(",") if one.strip()]
    for name in named:
        if name not in POINTS:
            raise unknown("crash point", name, POINTS)
    return named


def twins_of(context: typer.Context) -> Twins:
    """Twins of the landscape's systems; of the demo's where none is named. Raises Stop, Refused."""
    from apps.proving import twins
    from tasks import landscape

    folder = session.of(context).folder or twins.DEMO
    try:
        return twins.of(landscape.load(folder), folder)
    except twins.NoTwin as none:
        lines = [f"  {name}: {why}" for name, why in none.systems.items()]
        head = "Concord cannot stand in for every system of this landscape, so it goes near none of them:"
        raise Stop(REFUSED, "\n".join([head, *lines]), "prove the demo's: concord prove") from None


def _print(proof: Proof) -> None:
    from apps.proving.verdict import DATABASE_RECOVERY_SECONDS, RECOVERY_SECONDS

    found = proof.as_dict()
    left = "".join(
        f"; {found[name]} {why}"
        for name, why in (("not_reached", "were never come to"), ("skipped", "left out: the time was over"))
        if found[name]
    )
    restarts = f"without a database {found['database_restarts']} times"
    lines = {
        "cells": f"{found['cells']}, at {found['points']} crash points{left}",
        "hurt": f"killed {found['killed']} times, put to sleep {found['stopped']} times, {restarts}",
        "recovered": f"{found['recovered']} of {found['cells']}",
        "slowest recovery": f"{found['slowest_recovery_seconds']} s (at most {RECOVERY_SECONDS:.0f})",
        "after a restart of the database": f"{found['slowest_after_database_seconds']} s"
        f" (at most {DATABASE_RECOVERY_SECONDS:.0f})",
        "lost": found["lost"],
        "doubled": found["doubled"],
        "written by further runs": found["written_again"],
        "sums of the ledger that broke": found["sums_off"],
    }
    heading("what was proved")
    for name, value in lines.items():
        show(f"{name:<34}{value}")
    for cell in proof.failed:
        show(f"\n{cell.name} broke its promise", style="red")
        for line in cell.said[:10]:
            show(f"  {line}")
    if proof.holds:
        show(f"\nevery promise held, after {proof.seconds:.0f} s", style="green")
    else:
        then(f"try it again: concord prove --hits {proof.hits} --cells {shlex.quote(proof.failed[0].name)}")
