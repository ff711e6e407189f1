"""`concord plan`: what a sync would write, record by record and field by field; it writes nothing, and may be kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from apps import session
from apps.commands.holds import print_changes
from apps.commands.sync import print_trouble
from apps.exits import NEEDS_A_PERSON, REFUSED, Stop
from apps.options import Json
from apps.screen import Clock, count, emit, heading, reading, show, table, then, when

if TYPE_CHECKING:
    from canonical.plans import PlannedWrite
    from tasks.rehearse import Listing
    from tasks.world import World

FEW = 20
"""Records that are shown unasked."""
What = Annotated[
    str,
    typer.Argument(
        metavar="[INTEGRATION|all|list|show]", help="One integration or all of them; or the plans that were kept."
    ),
]
PlanId = Annotated[int | None, typer.Argument(metavar="[ID]", help="With show: which plan.")]
OptionalBy = Annotated[
    str | None, typer.Option("--by", help="Your role, as declared under people:; else the account that runs this.")
]


def register(root: typer.Typer) -> None:
    root.command("plan", rich_help_panel="Work")(plan)


def plan(
    context: typer.Context,
    what: What = "all",
    plan_id: PlanId = None,
    save: Annotated[
        bool, typer.Option("--save", help="Keep the plan, to be applied exactly so: concord apply ID.")
    ] = False,
    by: OptionalBy = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", min=0, max=1_000_000, help="At most this many (20 in tables, all with --json)."),
    ] = None,
    is_all: Annotated[bool, typer.Option("--all", help="With list: applied plans too.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Read every record, not only what changed.")] = False,
    without_reading: Annotated[
        bool, typer.Option("--without-reading", help="Ask no system: from what is landed already.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show what a sync would write, old → new, and by which system's authority. Reads and lands; writes nothing.

    With --save the plan is kept with a fingerprint of every write. `plan list` and `plan show ID` show kept ones."""
    if plan_id is not None and what != "show":
        raise Stop(REFUSED, f"a number belongs to `show`: concord plan show {plan_id}")
    if what == "list":
        _list(context, FEW if limit is None else limit, is_all=is_all, as_json=as_json)
    elif what == "show":
        _show(context, plan_id, limit, as_json=as_json)
    else:
        _make(context, what, limit, save=save, by=by, is_full=full, is_read=not without_reading, as_json=as_json)


def _make(
    context: typer.Context,
    name: str,
    limit: int | None,
    *,
    save: bool,
    by: str | None,
    is_full: bool,
    is_read: bool,
    as_json: bool,
) -> None:
    from tasks import rehearse
    from tasks.sync import Mode, PlainSteps

    clock = Clock(silent=as_json)
    mode: Mode = "full" if is_full else "incremental"
    saved: int | None = None
    with session.of(context).world() as world:
        names = session.integrations(world, name)
        who = session.who(world.landscape, by)
        clock.say(f"plan of {', '.join(names)}")
        with reading(silent=as_json) as progress:
            steps = PlainSteps(world, None, progress=progress)
            listing = rehearse.rehearse(world, name, read=is_read, mode=mode, steps=steps)
        if save and not listing.trouble:
            saved = rehearse.save(world, name, listing, mode=mode, by=who)
    if as_json:
        found = listing.as_dict()
        emit({**found, "writes_total": len(found["writes"]), "writes": found["writes"][:limit], "saved_plan_id": saved})
    else:
        _print(listing, FEW if limit is None else limit, name, saved)
        if save and saved is None:
            show("not kept: what could not be read is not in it", style="red")
    raise typer.Exit(NEEDS_A_PERSON if listing.trouble else 0)


def _print(listing: Listing, limit: int, name: str, saved: int | None) -> None:
    print_writes(listing.writes[:limit])
    if len(listing.writes) > limit:
        show(f"\n… and {count(len(listing.writes) - limit, 'more record')} (--limit)")
    print_targets([vars(t) for t in listing.targets])
    heading("outcome")
    if listing.writes:
        kept = f"plan {saved}, " if saved else ""
        show(
            f"{count(len(listing.writes), 'write')} and {count(listing.golden_versions, 'new golden version')}"
            f" would come of it; nothing was written ({kept}{listing.digest[:12]})"
        )
    else:
        show("nothing would be written: the systems agree")
    if listing.reviews:
        show(f"{count(listing.reviews, 'new possible match', 'new possible matches')} would wait for an answer")
    print_trouble([{"system": t.system, "stream": t.stream, "step": t.step, "kind": t.kind, "cause": t.cause}
                   for t in listing.trouble])  # fmt: skip
    if saved:
        then(f"do exactly this: concord apply {saved}")
    elif listing.writes:
        then(f"do it: concord sync {name}", f"keep it, to do exactly this: concord plan {name} --save")


def print_targets(targets: Sequence[Mapping[str, Any]]) -> None:
    """What each target would be told, counted, and what would become of it."""
    if targets:
        heading("altogether")
        table(
            ("integration", "target", "op", "#writes", "the brake", "because"),
            [
                (
                    t["integration"],
                    f"{t['system']}/{t['stream']}",
                    t["op"],
                    t["count"],
                    t["verdict"],
                    t["because"] if t["verdict"] != "release" else "",
                )
                for t in targets
            ],
        )


def print_writes(writes: Sequence[PlannedWrite]) -> None:
    """Each write as its record, its reason and its fields."""
    for write in writes:
        where = f"{write.system}/{write.stream}" + (f"/{write.source_id}" if write.source_id else "")
        heading(f"{write.op} {write.entity} {write.label} in {where}")
        show(f"{write.integration}; {write.because}; {write.canonical_id}")
        if write.mode == "observe":
            show("only observed: nothing is sent before it goes live", style="yellow")
        if write.hold:
            show(f"would be held: {write.hold}", style="yellow")
        if write.waits_for:
            show(f"would wait for {count(len(write.waits_for), 'other record')} to exist there first")
        print_changes(write.changes)


# -------------------------------------------------------------------------------------------------------- kept plans


def _list(context: typer.Context, limit: int, *, is_all: bool, as_json: bool) -> None:
    from staging import plans

    with session.of(context).reading() as (_, conn):
        rows, total = plans.listed(conn, limit=100_000 if as_json else limit, is_all=is_all)
    if as_json:
        emit({"total": total, "shown": len(rows), "entries": rows})
        return
    if not rows:
        show("no plan waits to be applied" if not is_all else "no plans were kept", style="green")
        return
    cells = [(r["id"], r["name"], r["writes"], r["made_by"], r["made_at"], _state(r), r["digest"][:12]) for r in rows]
    table(("id", "plan of", "#writes", "made by", "made at", "state", "digest"), cells)
    then(f"concord plan show {rows[0]['id']}")


def _state(plan: Mapping[str, Any]) -> str:
    if plan["state"] == "open":
        return "not applied"
    return f"applied at {when(plan['applied_at'])} by {plan['applied_by']}"


def _show(context: typer.Context, plan_id: int | None, limit: int | None, *, as_json: bool) -> None:
    if plan_id is None:
        raise Stop(REFUSED, "which plan? give its number: concord plan show ID", "concord plan list")
    with session.of(context).reading() as (world, conn):
        entry, writes = kept(world, conn, plan_id)
    if as_json:
        emit({**entry, "writes_total": len(writes), "writes": [w.as_dict() for w in writes[:limit]]})
        return
    shown = FEW if limit is None else limit
    show(f"plan {plan_id} of {entry['name']}, made by {entry['made_by']} at {when(entry['made_at'])}", style="bold")
    show(f"{_state(entry)}; {entry['digest'][:12]}")
    print_writes(writes[:shown])
    if len(writes) > shown:
        show(f"\n… and {count(len(writes) - shown, 'more record')} (--limit)")
    print_targets(entry["targets"])
    if entry["state"] == "open":
        show("")
        then(f"do exactly this: concord apply {plan_id}")


def kept(world: World, conn: Any, plan_id: int) -> tuple[dict[str, Any], list[PlannedWrite]]:
    """A kept plan and its writes. Raises Stop where there is none."""
    from staging import plans
    from tasks.rehearse import writes_of

    entry = plans.one(conn, plan_id)
    if entry is None:
        raise Stop(REFUSED, f"there is no plan {plan_id}", "concord plan list --all")
    return entry, writes_of(conn, plan_id)
