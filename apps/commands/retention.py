"""`concord retention`: what is over and old goes, by the periods that the landscape declares."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from apps import session
from apps.commands.plan import OptionalBy
from apps.options import Json
from apps.screen import count, emit, show, table, then


def register(root: typer.Typer) -> None:
    root.command("retention", rich_help_panel="House keeping")(retention)


def retention(
    context: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what is due.")] = False,
    by: OptionalBy = None,
    as_json: Json = False,
) -> None:
    """Empty or remove what is over and older than `retention:` in landscape.yaml says; every night by itself.

    What is live, open or counted by the ledger stays: of a version that was read, or a write that is done, the values
    go and the row stays. The audit and the links between records are kept for good."""
    from tasks.retention import retain

    with session.of(context).world() as world:
        found = retain(world, by=session.who(world.landscape, by), is_done=not dry_run)
    rows = sum(one.rows for one in found)
    if as_json:
        emit({"is_done": not dry_run, "rows": rows, "tables": [asdict(one) for one in found]})
        return
    table(
        ("what", "table", "kept for", "", "#rows"),
        [(one.kind, one.table, f"{one.days:g} days", one.does, one.rows) for one in found],
    )
    show(f"\n{count(rows, 'row')} {'due' if dry_run else 'done'}")
    if dry_run and rows:
        then("concord retention")
