"""`concord serve`: the landscape's deployments in Prefect, on their schedules and at the push of a button."""

from __future__ import annotations

from typing import Annotated

import typer

from apps import session
from apps.screen import say


def register(root: typer.Typer) -> None:
    root.command("serve", rich_help_panel="Work")(serve)


def serve(
    context: typer.Context,
    runs_at_once: Annotated[int, typer.Option("--runs-at-once", min=1, max=64, help="Runs side by side.")] = 4,
) -> None:
    """Run every integration on its schedule, and whenever somebody starts it in the Prefect UI, until Ctrl-C."""
    here = session.of(context)
    with here.world() as world:
        integrations = [i for i in world.landscape.integrations.values() if i.timing.schedule]
    for each in integrations:
        say(f"  {each.name}: {each.timing.schedule} ({each.timing.because or 'no reason declared'})")
    say("starting Prefect; stop with Ctrl-C", style="dim")
    from deployments import prefect_local
    from deployments import serve as serving

    say(f"Prefect UI: {prefect_local.start().ui_url}")
    serving.serve(here.folder, runs_at_once=runs_at_once)
