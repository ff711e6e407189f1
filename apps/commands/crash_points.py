"""`concord crash-points`: the named moments at which a proof may kill Concord."""

from __future__ import annotations

import typer

from apps.options import Json
from apps.screen import emit, table, then


def register(root: typer.Typer) -> None:
    root.command("crash-points", rich_help_panel="Prove")(crash_points)


def crash_points(as_json: Json = False) -> None:
    """The named moments at which Concord can be killed to prove that it recovers. They do nothing unless asked to.

    CONCORD_CRASH_POINT=NAME:HIT kills a process when it comes there for the HIT-th time; NAME:HIT:stop stops it."""
    from staging.crash import POINTS

    if as_json:
        emit([{"name": name, "means": means} for name, means in POINTS.items()])
        return
    table(("point", "what is true there"), list(POINTS.items()))
    then("kill at one of them and see: concord prove --points deliver.sent --hits 1", "at all: concord prove")
