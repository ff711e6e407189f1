"""`concord apply`: a kept plan becomes writes, exactly as it was shown, once."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from apps import listing, session
from apps.commands.holds import prove, shown
from apps.commands.plan import OptionalBy, kept, print_targets, print_writes
from apps.commands.sync import print_summary, print_trouble
from apps.exits import NEEDS_A_PERSON, REFUSED, Stop
from apps.options import Json, Yes
from apps.screen import Clock, count, emit, heading, is_interactive, show, table, then, when

if TYPE_CHECKING:
    from canonical.plans import Moved
    from tasks.apply import Applied, Approval, NotApplied
    from tasks.world import World

MOST = 20
"""Moved writes that are shown one by one; `--json` has all of them."""


def register(root: typer.Typer) -> None:
    root.command("apply", rich_help_panel="Work")(apply)


def apply(
    context: typer.Context,
    plan_id: Annotated[int, typer.Argument(metavar="PLAN_ID", help="As `concord plan list` shows it.")],
    approve_holds: Annotated[
        bool,
        typer.Option(
            "--approve-holds", help="Let go what the brake or a question would hold; needs --by, --reason and the code."
        ),
    ] = False,
    by: OptionalBy = None,
    reason: Annotated[
        str | None, typer.Option("--reason", help="Why the holds may go; it is kept with the decision.")
    ] = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Write exactly what a kept plan shows: everything is worked out again, and where anything differs nothing is done.

    Exit code 1 if the plan is not what it was: what moved is shown, and nothing was written. Applied once; a second
    call says when and by whom, and sends what an interrupted call left. What the brake or a question holds stays held,
    unless --approve-holds lets it go."""
    clock = Clock(silent=as_json)
    with session.of(context).world() as world:
        who = session.who(world.landscape, by)
        with world.transaction() as conn:
            plan, writes = kept(world, conn, plan_id)
        approval = None
        if plan["state"] == "open":
            approval = _approval(world, by, reason) if approve_holds else None
            if not yes and is_interactive():
                print_writes(writes[:MOST])
                print_targets(plan["targets"])
            question = f"Write these {count(len(writes), 'write')} of {plan['name']} (plan {plan_id})?"
            session.confirmed(question, yes=yes, otherwise=(f"see them: concord plan show {plan_id}",))
        done = _applied(world, plan_id, who, approval, clock)
    if isinstance(done, Exception):
        _tell_moved(done, plan, as_json=as_json)
        raise typer.Exit(NEEDS_A_PERSON)
    _tell(done, clock.seconds, as_json=as_json)
    summary = done.summary
    raise typer.Exit(NEEDS_A_PERSON if summary and (summary.trouble or summary.rejected) else 0)


def _approval(world: World, by: str | None, reason: str | None) -> Approval:
    """Who lets the holds go: a declared person who proves it, with a reason. Raises Stop."""
    from tasks.apply import Approval

    if not by or reason is None:
        raise Stop(REFUSED, "--approve-holds needs --by ROLE and --reason TEXT: an approval has a name and a reason")
    told = listing.told(reason, "--reason")
    prove(world, session.role(world.landscape, by), is_code_needed=True)
    return Approval(by, told)


def _applied(world: World, plan_id: int, who: str, approval: Approval | None, clock: Clock) -> Applied | NotApplied:
    from tasks import incidents
    from tasks.apply import NotApplied
    from tasks.apply import apply as do

    clock.say(f"working plan {plan_id} out again from what the systems hold now")
    try:
        done = do(world, plan_id, by=who, approval=approval)
    except NotApplied as no:
        return no
    if done.summary is not None:
        incidents.conclude(world, done.summary.integrations[0], done.summary)
    return done


def _tell(done: Applied, seconds: float, *, as_json: bool) -> None:
    if as_json:
        emit(
            {
                "is_applied": True, "plan_id": done.plan_id, "is_first": done.is_first, "applied_by": done.applied_by,
                "applied_at": done.applied_at, "states": done.states, "approved": done.approved,
                "sync_id": done.summary.sync_id if done.summary else None, "because": None, "added": [], "removed": [],
                "changed": [], "trouble": done.summary.as_dict()["trouble"] if done.summary else [],
            }
        )  # fmt: skip
        return
    if done.is_first and done.summary is not None:
        print_summary({**done.summary.as_dict(), "seconds": seconds, "docs": None})
        show(f"plan {done.plan_id} is applied, write for write", style="green")
        if done.approved:
            show(f"{count(done.approved, 'held write')} went with the approval")
        return
    show(f"plan {done.plan_id} was applied at {when(done.applied_at)} by {done.applied_by}")
    show(
        "where its writes are: " + (", ".join(f"{n} {s}" for s, n in sorted(done.states.items())) or "there were none")
    )


def _tell_moved(no: NotApplied, plan: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        emit(
            {
                "is_applied": False, "plan_id": plan["id"], "is_first": True, "applied_by": None, "applied_at": None,
                "states": {}, "approved": 0, "sync_id": None, "because": str(no),
                "added": [w.as_dict() for w in no.moved.added], "removed": [w.as_dict() for w in no.moved.removed],
                "changed": [
                    {"now": c.now.as_dict(), "because": c.because, "fields": [asdict(f) for f in c.fields]}
                    for c in no.moved.changed
                ],
                "trouble": [asdict(t) for t in no.trouble],
            }
        )  # fmt: skip
        return
    print_moved(no.moved)
    print_trouble([asdict(t) for t in no.trouble])
    show(f"! {no}", style="red")
    if no.moved:
        then(f"see the plan as it is now, and keep that: concord plan {plan['name']} --save")


def print_moved(moved: Moved) -> None:
    """What is not as it was shown: added, removed and changed writes, field by field."""
    for title, writes in (("not in the plan", moved.added), ("in the plan, but not wanted any more", moved.removed)):
        if writes:
            heading(f"{title}: {count(len(writes), 'write')}")
            print_writes(writes[:MOST])
    if moved.changed:
        heading(f"not as it was shown: {count(len(moved.changed), 'write')}")
    for change in moved.changed[:MOST]:
        now = change.now
        heading(f"{now.op} {now.entity} {now.label} in {now.system}/{now.stream}")
        for because in change.because:
            show(because)
        rows = [(f.field, *(_step(side) for side in (f.shown, f.now))) for f in change.fields]
        if rows:
            table(("field", "was shown", "would be now"), rows)


def _step(change: tuple[str | None, str | None] | None) -> str:
    return "left alone" if change is None else f"{shown(change[0])} → {shown(change[1])}"
