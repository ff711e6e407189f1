"""`concord findings`: what differs from what was agreed, with both values."""

from __future__ import annotations

from typing import Annotated

import typer

from apps import listing, session
from apps.exits import REFUSED, Stop
from apps.options import AllStates, By, Cause, Entry, Json, Limit, OfEntity, OfSystem, Owner, Reason, Since, Until, Yes
from apps.screen import emit, show, then
from canonical.waiting import FINDING_KINDS

app = typer.Typer(help="Edits in the wrong system, duplicates, differences: list, show, accept.", no_args_is_help=True)


def register(root: typer.Typer) -> None:
    root.add_typer(app, name="findings", rich_help_panel="What waits for a person")


@app.command("list")
def list_findings(
    context: typer.Context,
    kind: Annotated[
        str | None, typer.Option("--kind", help=f"Only this kind: {', '.join(FINDING_KINDS)}. The same as --cause.")
    ] = None,
    cause: Cause = None,
    system: OfSystem = None,
    entity: OfEntity = None,
    owner: Owner = None,
    is_all: AllStates = False,
    since: Since = None,
    until: Until = None,
    limit: Limit = None,
    as_json: Json = False,
) -> None:
    """Findings with both values and what is done about them."""
    from apps.exits import unknown

    for named in (kind, cause):
        if named and named not in FINDING_KINDS:
            raise unknown("kind of finding", named, FINDING_KINDS)
    with session.of(context).reading() as (world, conn):
        asked = listing.asked_for(
            world, cause=cause or kind, system=system, owner=owner, entity=entity, since=since, until=until,
            is_all=is_all,
        )  # fmt: skip
        rows, total = listing.listed(conn, world, "finding", asked, limit=limit, as_json=as_json)
    for row in rows:
        row["record"] = f"{row['system']}/{row['stream']}/{row['source_id'] or ''}"
    columns = (
        ("id", "id"), ("cause", "cause"), ("entity", "entity"), ("record", "record"), ("field", "field"),
        ("agreed", "ours"), ("found there", "theirs"), ("action", "action"),
    )  # fmt: skip
    listing.show_list("finding", rows, total, columns, as_json=as_json)


@app.command("show")
def show_finding(context: typer.Context, entry_id: Entry, as_json: Json = False) -> None:
    """One finding: where, both values, the record's story, why it matters, what is done."""
    from staging import story

    with session.of(context).reading() as (world, conn):
        entry = listing.one(conn, world, "finding", entry_id)
        record = (entry["system"], entry["stream"], entry["source_id"]) if entry["source_id"] else None
        entry["story"] = story.timeline(conn, entry["entity"], canonical_id=entry["canonical_id"], record=record)
    if as_json:
        emit(entry)
        return
    show(FINDING_KINDS[entry["kind"]], style="bold")
    show("")
    listing.show_entry(entry, leave_out=("story", "kind"))
    listing.show_story(entry["story"])
    if entry["canonical_id"]:
        show("")
        then(f"the whole story: concord explain {entry['entity']} {entry['canonical_id']}")
    listing.show_next(entry)


@app.command()
def accept(context: typer.Context, entry_id: Entry, by: By, reason: Reason, yes: Yes = False) -> None:
    """Close a finding as it is, with a name and a reason."""
    from staging import queues

    reason = listing.told(reason, "--reason")
    with session.of(context).world() as world:
        session.role(world.landscape, by)
        with world.transaction() as conn:
            entry = listing.one(conn, world, "finding", entry_id)
        listing.require_open("finding", entry)
        session.confirmed(f"Accept finding {entry_id} ({entry['because']})?", yes=yes)
        with world.transaction() as conn:
            is_done = queues.accept_finding(conn, entry_id, by=by, reason=reason)
    if not is_done:
        raise Stop(REFUSED, f"finding {entry_id} was closed by somebody else meanwhile")
    show(f"accepted by {by}: {entry['because']}")
