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
    once: Annotated[bool, typer.Option("--once", help="Look once and end; for cron or a systemd timer.")] = False,
    every: Annotated[int, typer.Option("--every", min=5, max=3600, help="Seconds between two looks.")] = 60,
    as_json: Json = False,
) -> None:
    """Look for what should have happened and did not; open and close its incidents; send the alerts.

    Needs no Prefect, so it notices a dead one too: missed, late and dead runs, changes that do not move, unanswered
    holds, messengers that take nothing. Exit code 0: all is well; 1: somebody is needed; 4: the database is away, which
    a messenger is told directly."""
    while True:
        trouble, found = None, None
        try:
            found = _look(context)
        except Exception as error:
            trouble = _told_alone(context, error)
            if trouble is None or once:
                raise
            say(f"{trouble}; looking again in {every} s", style="red")
        if found is not None:
            _tell(found, as_json=as_json)
            if once:
                raise typer.Exit(NEEDS_A_PERSON if found.causes or found.known else 0)
            if not as_json:
                say(f"looking again in {every} s; stop with Ctrl-C", style="dim")
        time.sleep(every)


def _look(context: typer.Context) -> Watched:
    from tasks.watch import watch as look

    with session.of(context).world() as world:
        return look(world)


def _told_alone(context: typer.Context, error: Exception) -> Exception | None:
    """The database's trouble behind an error, after a messenger was told of it; None: the error is of another kind."""
    from tasks import without_ledger

    trouble = without_ledger.trouble_in(error)
    if trouble is not None and without_ledger.tell_trouble(session.of(context).landscape(), error):
        say("a messenger was told that the database is away", style="dim")
    return trouble


def _tell(found: Watched, *, as_json: bool) -> None:
    if as_json:
        emit(_as_dict(found))
        return
    for cause in found.causes:
        place = cause.system or cause.integration
        show(f"! {place}: {cause.cause} (for {cause.owner}; unaffected: {cause.unaffected})", style="red")
        then(cause.next_step)
    for each in found.known:
        show(f"! {each} (told already; see concord status)", style="red")
    if found.heartbeat:
        show(f"heartbeat: {found.heartbeat}")
    if found.causes:
        show(f"{count(len(found.causes), 'thing needs', 'things need')} a person")
    elif not found.known:
        show("all as it should be", style="green")


def _as_dict(found: Watched) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "causes": [asdict(c) for c in found.causes],
        "abandoned": [asdict(r) for r in found.abandoned],
        "known": found.known,
        "heartbeat": found.heartbeat,
    }
