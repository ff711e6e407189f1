"""`concord findings`: what differs from what was agreed, with both values."""

from __future__ import annotations

from typing import Annotated

import typer

from apps import listing, session
from apps.exits import REFUSED, Stop
from apps.options import AllStates, By, Json, Limit, Reason, Since, Yes
from apps.screen import emit, show, then

app = typer.Typer(help="Edits in the wrong system, duplicates, differences: list, show, accept.", no_args_is_help=True)
Entry = Annotated[int, typer.Argument(metavar="ID", min=1)]
KINDS = {
    "unauthorised_edit": "a field was changed in a system that is not its authority",
    "duplicate": "two records of one system are the same thing: merge them there",
    "deleted_elsewhere": "deleted in a system that is not the authority: nothing was deleted",
    "blank_at_first_link": "the authority is empty, another system has a value",
    "orphan": "a record that nothing else knows",
    "bridge": "a record that fits two golden records",
    "unresolved_reference": "points to a record that nobody knows",
    "difference": "two systems differ",
    "target_duplicate": "a target holds the record twice",
    "reopened": "a record came back after it was gone",
    "ambiguous_create": "a create without an answer: it may exist in the target",
    "future_mark": "a record's change mark lies in the future: it was read, its mark moves no cursor",
    "count_drop": "far fewer records than before: nothing was deleted (accept: they are gone on purpose)",
    "schema_drift": "a mapped field is missing or of another type: nothing more is read (accept: it is meant so)",
    "new_field": "a field that was not there before: map it, or ignore it by name",
    "id_reused": "the record of this id is another one now: the last good values stay (accept: it is the same)",
    "edit_war": "a field is changed again and again: it is left alone in that target (accept: write it again)",
}


def register(root: typer.Typer) -> None:
    root.add_typer(app, name="findings", rich_help_panel="What waits for a person")


@app.command("list")
def list_findings(
    context: typer.Context,
    kind: Annotated[str | None, typer.Option("--kind", help=f"Only this kind: {', '.join(KINDS)}.")] = None,
    system: Annotated[str | None, typer.Option("--system", help="Only in this system.")] = None,
    entity: Annotated[str | None, typer.Option("--entity", help="Only this entity.")] = None,
    is_all: AllStates = False,
    since: Since = None,
    limit: Limit = None,
    as_json: Json = False,
) -> None:
    """Findings with both values and what is done about them."""
    from apps.exits import unknown

    if kind and kind not in KINDS:
        raise unknown("kind of finding", kind, KINDS)
    with session.of(context).reading() as (world, conn):
        filters = {
            "kind": kind,
            "system": session.system(world.landscape, system) if system else None,
            "entity": session.entity(world.landscape, entity).name if entity else None,
        }
        rows, total = listing.listing(
            conn, "finding", filters=filters, is_all=is_all, since=since, limit=limit, as_json=as_json
        )
    for row in rows:
        row["record"] = f"{row['system']}/{row['stream']}/{row['source_id'] or ''}"
    columns = (
        ("id", "id"), ("kind", "kind"), ("entity", "entity"), ("record", "record"), ("field", "field"),
        ("agreed", "ours"), ("found there", "theirs"), ("action", "action"), ("for", "owner"),
    )  # fmt: skip
    listing.show_list("finding", rows, total, columns, as_json=as_json)


@app.command("show")
def show_finding(context: typer.Context, entry_id: Entry, as_json: Json = False) -> None:
    """One finding: where, both values, why it matters, what is done."""
    with session.of(context).reading() as (_, conn):
        entry = listing.one(conn, "finding", entry_id)
    if as_json:
        emit(entry)
        return
    show(KINDS[entry["kind"]], style="bold")
    show("")
    listing.show_entry(entry)
    if entry["state"] != "open":
        return
    show("")
    if entry["canonical_id"]:
        then(f"the record's story: concord explain {entry['entity']} {entry['canonical_id']}")
    if entry["action"] == "restore":
        then("nothing to do: the agreed value is written back, and the finding closes when that is confirmed")
    then(f"leave it as it is: concord findings accept {entry_id} --by ROLE --reason TEXT")


@app.command()
def accept(context: typer.Context, entry_id: Entry, by: By, reason: Reason, yes: Yes = False) -> None:
    """Close a finding as it is, with a name and a reason."""
    from staging import queues

    reason = listing.told(reason, "--reason")
    with session.of(context).world() as world:
        session.role(world.landscape, by)
        with world.transaction() as conn:
            entry = listing.one(conn, "finding", entry_id)
        listing.require_open("finding", entry)
        session.confirmed(f"Accept finding {entry_id} ({entry['because']})?", yes=yes)
        with world.transaction() as conn:
            is_done = queues.accept_finding(conn, entry_id, by=by, reason=reason)
    if not is_done:
        raise Stop(REFUSED, f"finding {entry_id} was closed by somebody else meanwhile")
    show(f"accepted by {by}: {entry['because']}")
