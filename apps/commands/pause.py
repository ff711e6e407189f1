"""`concord pause` and `concord resume`: the writes to a system, or of an integration, rest until somebody says so."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from apps import listing, session
from apps.commands.plan import OptionalBy
from apps.exits import REFUSED, Stop, unknown
from apps.options import Json, later
from apps.screen import count, emit, show, then, when

if TYPE_CHECKING:
    from canonical.landscape import Landscape

What = Annotated[str, typer.Argument(metavar="SYSTEM|INTEGRATION", help="Whose writes.")]


def register(root: typer.Typer) -> None:
    root.command("pause", rich_help_panel="Work")(pause)
    root.command("resume", rich_help_panel="Work")(resume)


def pause(
    context: typer.Context,
    what: What,
    because: Annotated[str, typer.Option("--because", help="Why; `concord status` shows it.")],
    until: Annotated[
        str | None, typer.Option("--until", help="Until when: 2h, 3d, 18:30, 2026-08-01; without it, until resumed.")
    ] = None,
    by: OptionalBy = None,
    as_json: Json = False,
) -> None:
    """Let the writes to a system, or of an integration, rest: nothing more is claimed from now on.

    What is being sent at this moment ends. Syncs go on reading and matching; what the paused targets would be told
    waits, and is planned from what is true when they are resumed."""
    from staging import pauses

    ends = later(until)
    with session.of(context).world() as world:
        key = key_of(world.landscape, what)
        who = session.who(world.landscape, by)
        reason = listing.told(because, "--because")
        with world.transaction() as conn:
            pauses.pause(conn, key, by=who, reason=reason, until=ends)
            waiting = pauses.waiting_behind(conn, [key])[key]
    if as_json:
        emit({"what": key, "by": who, "reason": reason, "until": ends, "waiting": waiting})
        return
    show(f"{what} is paused{_until(ends)}: {reason}")
    if waiting:
        show(f"{count(waiting, 'write waits', 'writes wait')} behind it")
    then(f"concord resume {what}")


def _until(ends: datetime | None) -> str:
    return f" until {when(ends)}" if ends else ""


def resume(
    context: typer.Context,
    what: What,
    because: Annotated[str, typer.Option("--because", help="Why; it is kept with the pause.")] = "resumed by hand",
    by: OptionalBy = None,
    as_json: Json = False,
) -> None:
    """End a pause: what waits behind it is planned by the next sync and goes out."""
    from staging import pauses

    with session.of(context).world() as world:
        key = key_of(world.landscape, what)
        who = session.who(world.landscape, by)
        with world.transaction() as conn:
            waiting = pauses.waiting_behind(conn, [key])[key]
            is_ended = pauses.resume(conn, key, by=who, reason=listing.told(because, "--because"))
    if as_json:
        emit({"what": key, "by": who, "is_ended": is_ended, "waiting": waiting})
        return
    if not is_ended:
        raise Stop(0, f"nothing to do: {what} is not paused")
    show(f"{what} goes on", style="green")
    name = key.partition(":")[2] if key.startswith("integration:") else "all"
    then(f"send what waited: concord sync {name}" if waiting else "nothing waited")


def key_of(landscape: Landscape, what: str) -> str:
    """What is to be paused, as the pause names it. Raises Stop."""
    from tasks.switch import pause_key
    from tasks.sync import TurnedAway

    if what.rpartition(":")[2] not in {*landscape.active_systems, *landscape.integrations}:
        raise unknown("system or integration", what, [*landscape.active_systems, *landscape.integrations])
    try:
        return pause_key(landscape, what)
    except TurnedAway as no:
        raise Stop(REFUSED, str(no)) from None
