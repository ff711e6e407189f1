"""`concord plan`: what a sync would write, record by record and field by field; it writes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from apps import session
from apps.commands.holds import print_changes
from apps.commands.sync import Which, print_trouble
from apps.exits import NEEDS_A_PERSON
from apps.options import Json
from apps.screen import Clock, count, emit, heading, reading, show, table, then

if TYPE_CHECKING:
    from tasks.rehearse import Listing, PlannedWrite

FEW = 20
"""Records that are shown unasked."""


def register(root: typer.Typer) -> None:
    root.command("plan", rich_help_panel="Work")(plan)


def plan(
    context: typer.Context,
    name: Which = "all",
    limit: Annotated[
        int | None,
        typer.Option("--limit", min=0, max=1_000_000, help="At most this many (20 in tables, all with --json)."),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Read every record, not only what changed.")] = False,
    without_reading: Annotated[
        bool, typer.Option("--without-reading", help="Ask no system: from what is landed already.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show what a sync would write, old → new, and by which system's authority. Reads and lands; writes nothing."""
    from tasks.rehearse import rehearse
    from tasks.sync import PlainSteps

    clock = Clock(silent=as_json)
    with session.of(context).world() as world:
        names = session.integrations(world, name)
        clock.say(f"plan of {', '.join(names)}")
        with reading(silent=as_json) as progress:
            steps = PlainSteps(world, None, progress=progress)
            mode = "full" if full else "incremental"
            listing = rehearse(
                world, name, read=not without_reading, mode="full" if mode == "full" else "incremental", steps=steps
            )
    if as_json:
        found = listing.as_dict()
        emit({**found, "writes_total": len(found["writes"]), "writes": found["writes"][:limit]})
    else:
        _print(listing, FEW if limit is None else limit, name)
    raise typer.Exit(NEEDS_A_PERSON if listing.trouble else 0)


def _print(listing: Listing, limit: int, name: str) -> None:
    _print_writes(listing.writes[:limit])
    if len(listing.writes) > limit:
        show(f"\n… and {count(len(listing.writes) - limit, 'more record')} (--limit)")
    if listing.targets:
        heading("altogether")
        table(
            ("integration", "target", "op", "#writes", "the brake", "because"),
            [
                (
                    t.integration,
                    f"{t.system}/{t.stream}",
                    t.op,
                    t.count,
                    t.verdict,
                    t.because if t.verdict == "hold" else "",
                )
                for t in listing.targets
            ],
        )
    heading("outcome")
    if listing.writes:
        show(
            f"{count(len(listing.writes), 'write')} and {count(listing.golden_versions, 'new golden version')}"
            f" would come of it; nothing was written (plan {listing.digest[:12]})"
        )
    else:
        show("nothing would be written: the systems agree")
    if listing.reviews:
        show(f"{count(listing.reviews, 'new possible match', 'new possible matches')} would wait for an answer")
    print_trouble([{"system": t.system, "stream": t.stream, "step": t.step, "kind": t.kind, "cause": t.cause}
                   for t in listing.trouble])  # fmt: skip
    if listing.writes:
        then(f"do it: concord sync {name}")


def _print_writes(writes: Sequence[PlannedWrite]) -> None:
    for write in writes:
        where = f"{write.system}/{write.stream}" + (f"/{write.source_id}" if write.source_id else "")
        heading(f"{write.op} {write.entity} {write.label} in {where}")
        show(f"{write.integration}; {write.because}; {write.canonical_id}")
        if write.hold:
            show(f"would be held: {write.hold}", style="yellow")
        if write.waits_for:
            show(f"would wait for {count(len(write.waits_for), 'other record')} to exist there first")
        print_changes(write.changes)
