"""`concord undo`: what one run wrote is set back, as far as it still stands there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from apps import listing, session
from apps.commands.holds import print_changes
from apps.commands.plan import OptionalBy
from apps.commands.sync import print_summary
from apps.exits import NEEDS_A_PERSON, REFUSED, Stop
from apps.options import Json, Yes
from apps.screen import Clock, count, emit, heading, is_interactive, show, table, then

if TYPE_CHECKING:
    from tasks.sync import Summary
    from tasks.undo import UndoPlan

FEW = 20
"""Records that are shown; `--json` has all of them."""


def register(root: typer.Typer) -> None:
    root.command("undo", rich_help_panel="Work")(undo)


def undo(
    context: typer.Context,
    run: Annotated[int, typer.Argument(metavar="RUN", help="The number of a sync, as its summary shows it.")],
    because: Annotated[str, typer.Option("--because", help="Why; it is kept with the pause and the writes.")],
    by: OptionalBy = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Set back what one run wrote: fields that still hold it, and records that it created, by archiving them.

    What somebody has changed since is left alone and listed. The brake applies. Golden records stay as they are, so the
    integrations concerned are paused, or the next sync would write the same again: correct the cause, then resume."""
    from tasks import incidents
    from tasks.sync import TurnedAway
    from tasks.undo import plan_undo
    from tasks.undo import undo as do

    clock = Clock(silent=as_json)
    reason = listing.told(because, "--because")
    with session.of(context).world() as world:
        who = session.who(world.landscape, by)
        clock.say(f"looking at what sync {run} wrote, and what stands there now")
        try:
            plan = plan_undo(world, run)
        except KeyError:
            raise Stop(REFUSED, f"there is no sync {run}", "see the last ones: concord status") from None
        if plan.is_empty:
            _tell(plan, None, clock.seconds, as_json=as_json)
            raise typer.Exit(NEEDS_A_PERSON if plan.kept else 0)
        if not yes and is_interactive():
            _print(plan)
        question = f"Undo {count(len(plan.writes), 'record')} of sync {run}, and pause {', '.join(plan.integrations)}?"
        session.confirmed(question, yes=yes)
        try:
            summary = do(world, plan, by=who, reason=reason)
        except TurnedAway as no:
            raise Stop(NEEDS_A_PERSON, str(no), f"concord undo {run} --because TEXT") from None
        incidents.conclude(world, plan.integrations[0], summary)
    _tell(plan, summary, clock.seconds, as_json=as_json)
    raise typer.Exit(NEEDS_A_PERSON if plan.kept or summary.trouble or summary.rejected else 0)


def _tell(plan: UndoPlan, summary: Summary | None, seconds: float, *, as_json: bool) -> None:
    if as_json:
        found: dict[str, Any] = summary.as_dict() if summary else {}
        done = {name: found.get(name) for name in ("sync_id", "target_writes", "rejected", "held", "trouble")}
        emit({**plan.as_dict(), **done})
        return
    _print(plan)
    if summary is None:
        show(f"nothing is left of sync {plan.run} to be undone")
        return
    print_summary({**summary.as_dict(), "paused": [], "rested": {}, "docs": None, "seconds": seconds})
    for name in plan.integrations:
        show(f"{name} is paused: its next sync would write the same again", style="yellow")
    then(*(f"correct the cause, then: concord resume {name}" for name in plan.integrations))


def _print(plan: UndoPlan) -> None:
    """What would be set back, field by field, and what is left alone."""
    for write in plan.writes[:FEW]:
        heading(f"{write.op} {write.entity} {write.label} in {write.system}/{write.stream}/{write.source_id}")
        print_changes(write.changes)
    if len(plan.writes) > FEW:
        show(f"\n… and {count(len(plan.writes) - FEW, 'more record')} (--json has all)")
    if plan.kept:
        heading(f"left alone: {count(len(plan.kept), 'field or record', 'fields and records')}")
        rows = [
            (k.label, f"{k.system}/{k.stream}/{k.source_id or ''}", k.field or "(all of it)", k.because)
            for k in plan.kept[:FEW]
        ]
        table(("record", "where", "field", "because"), rows)
        if len(plan.kept) > FEW:
            show(f"… and {len(plan.kept) - FEW:,} more (--json has all)")
    heading("altogether")
    show(
        f"{count(len(plan.writes), 'record')} set back, {count(len(plan.cancelled), 'unsent write')} dropped,"
        f" {len(plan.kept)} left alone"
    )
