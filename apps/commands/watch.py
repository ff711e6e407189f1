"""`concord watch`: notices what should have happened and did not, without Prefect, and tells who answers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from apps import session
from apps.exits import NEEDS_A_PERSON
from apps.options import Json
from apps.screen import count, emit, say, show, then

if TYPE_CHECKING:
    from tasks.watch import Watched


def register(root: typer.Typer) -> None:
    root.command("watch", rich_help_panel="Work")(watch)


def watch(
    context: typer.Context,
    once: Annotated[bool, typer.Option("--once", help="Look once and end; exit code 1 if somebody is needed.")] = False,
    every: Annotated[int, typer.Option("--every", min=5, max=3600, help="Seconds between two looks.")] = 60,
    as_json: Json = False,
) -> None:
    """Look for missed, late and dead runs and unanswered holds; open and close their incidents; send the alerts."""
    from tasks.watch import watch as look

    with session.of(context).world() as world:
        while True:
            found = look(world)
            _tell(found, as_json=as_json)
            if once:
                break
            if not as_json:
                say(f"looking again in {every} s; stop with Ctrl-C", style="dim")
            time.sleep(every)
    raise typer.Exit(NEEDS_A_PERSON if found.causes else 0)


def _tell(found: Watched, *, as_json: bool) -> None:
    if as_json:
        emit(_as_dict(found))
        return
    if not found.causes:
        show("all as it should be", style="green")
        return
    for cause in found.causes:
        place = cause.system or cause.integration
        show(f"! {place}: {cause.cause} (for {cause.owner}; unaffected: {cause.unaffected})", style="red")
        then(cause.next_step)
    show(f"{count(len(found.causes), 'thing needs', 'things need')} a person")


def _as_dict(found: Watched) -> dict[str, Any]:
    from dataclasses import asdict

    return {"causes": [asdict(c) for c in found.causes], "abandoned": [asdict(r) for r in found.abandoned]}
