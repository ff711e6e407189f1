"""`concord serve`: the landscape's deployments in Prefect, on their schedules and at the push of a button."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from apps import session
from apps.screen import say, show

if TYPE_CHECKING:
    from deployments.prefect_local import LocalPrefect


def register(root: typer.Typer) -> None:
    root.command("serve", rich_help_panel="Work")(serve)


def serve(
    context: typer.Context,
    runs_at_once: Annotated[int, typer.Option("--runs-at-once", min=1, max=64, help="Runs side by side.")] = 4,
    login: Annotated[
        bool, typer.Option("--login", help="Only show where the Prefect UI is, and what it asks for at its door.")
    ] = False,
) -> None:
    """Run every integration on its schedule, and whenever somebody starts it in the Prefect UI, until Ctrl-C."""
    from deployments import prefect_local

    if login:
        show_login(prefect_local.start())
        return
    here = session.of(context)
    with here.world() as world:
        integrations = [i for i in world.landscape.integrations.values() if i.timing.schedule]
    for each in integrations:
        say(f"  {each.name}: {each.timing.schedule} ({each.timing.because or 'no reason declared'})")
    say("starting Prefect; stop with Ctrl-C", style="dim")
    from deployments import serve as serving

    say(f"Prefect UI: {prefect_local.start().ui_url}  (what to log in with: concord serve --login)")
    serving.serve(here.folder, runs_at_once=runs_at_once, tell=say)


def show_login(server: LocalPrefect) -> None:
    """Where a person logs in, and with what. Only ever printed because somebody asked for it."""
    show(f"Prefect UI: {server.ui_url}")
    if server.login is None:
        show("it is your own server (PREFECT_API_URL): log in as you do there")
        return
    from deployments.prefect_local import login_file

    show(f"login:      {server.login}")
    say(f"kept in {login_file()} (readable by you alone); whoever has it may start, pause and stop every run")
