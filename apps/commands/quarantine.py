"""`concord quarantine` and `concord dead-letters`: records that failed a rule, writes that a target refused."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from apps import listing, session
from apps.exits import Stop
from apps.options import AllStates, By, Json, Limit, Reason, Since, Yes
from apps.screen import clean, emit, heading, out, show, table, then

quarantine = typer.Typer(help="Records that failed a rule: list, show, discard.", no_args_is_help=True)
letters = typer.Typer(help="Writes that a target refused for good: list, show.", no_args_is_help=True)
Entry = Annotated[int, typer.Argument(metavar="ID", min=1)]


def register(root: typer.Typer) -> None:
    root.add_typer(quarantine, name="quarantine", rich_help_panel="What waits for a person")
    root.add_typer(letters, name="dead-letters", rich_help_panel="What waits for a person")


@quarantine.command("list")
def list_quarantine(
    context: typer.Context,
    system: Annotated[str | None, typer.Option("--system", help="Only records of this system.")] = None,
    entity: Annotated[str | None, typer.Option("--entity", help="Only this entity.")] = None,
    is_all: AllStates = False,
    since: Since = None,
    limit: Limit = None,
    as_json: Json = False,
) -> None:
    """Records (and single fields) that failed a rule, with the reason. Their last good values stay in use."""
    with session.of(context).reading() as (world, conn):
        filters = {
            "system": session.system(world.landscape, system) if system else None,
            "entity": session.entity(world.landscape, entity).name if entity else None,
        }
        rows, total = listing.listing(
            conn, "quarantine", filters=filters, is_all=is_all, since=since, limit=limit, as_json=as_json
        )
    for row in rows:
        row["record"] = f"{row['system']}/{row['stream']}/{row['source_id']}"
    columns = (
        ("id", "id"), ("record", "record"), ("entity", "entity"), ("what", "scope"), ("rule", "rule"),
        ("field", "field"), ("reason", "reason"), ("for", "owner"),
    )  # fmt: skip
    listing.show_list("quarantine", rows, total, columns, as_json=as_json)


@quarantine.command("show")
def show_quarantine(context: typer.Context, entry_id: Entry, as_json: Json = False) -> None:
    """One entry: the rule, the reason, and the record as it was read."""
    from staging import reports

    with session.of(context).reading() as (_, conn):
        entry = listing.one(conn, "quarantine", entry_id)
        payload = entry["raw"] or (reports.payload(conn, entry["raw_id"]) if entry["raw_id"] else None)
    entry["payload"] = payload
    if as_json:
        emit(entry)
        return
    listing.show_entry(entry, leave_out=("raw", "raw_id", "payload", "declared"))
    if payload:
        heading("as it was read")
        out().print(clean_json(payload), soft_wrap=True)
    if entry["state"] == "open":
        show("")
        then(
            f"correct it in {entry['system']}; the next sync takes it up by itself",
            f"or leave it out: concord quarantine discard {entry_id} --by ROLE --reason TEXT",
        )


@quarantine.command()
def discard(context: typer.Context, entry_id: Entry, by: By, reason: Reason, yes: Yes = False) -> None:
    """Close an entry: the record stays out until it changes in its system."""
    from staging import verdicts

    reason = listing.told(reason, "--reason")
    with session.of(context).world() as world:
        session.role(world.landscape, by)
        with world.transaction() as conn:
            entry = listing.one(conn, "quarantine", entry_id)
        listing.require_open("quarantine", entry)
        record = f"{entry['system']}/{entry['stream']}/{entry['source_id']}"
        session.confirmed(f"Leave out {record} ({entry['reason']})?", yes=yes)
        with world.transaction() as conn:
            is_done = verdicts.discard_quarantine(conn, entry_id, by=by, reason=reason)
    if not is_done:
        raise Stop(0, f"nothing to do: somebody has closed entry {entry_id} meanwhile")
    show(f"discarded: {record} stays as it was until it changes in {entry['system']}")


@letters.command("list")
def list_letters(
    context: typer.Context,
    system: Annotated[str | None, typer.Option("--system", help="Only writes to this system.")] = None,
    is_all: AllStates = False,
    since: Since = None,
    limit: Limit = None,
    as_json: Json = False,
) -> None:
    """Writes that a target refused for good, with its reason."""
    with session.of(context).reading() as (world, conn):
        filters = {"system": session.system(world.landscape, system) if system else None}
        rows, total = listing.listing(
            conn, "dead_letter", filters=filters, is_all=is_all, since=since, limit=limit, as_json=as_json
        )
    for row in rows:
        row["target"] = f"{row['system']}/{row['stream']}"
    columns = (
        ("id", "id"), ("target", "target"), ("op", "op"), ("entity", "entity"), ("record", "canonical_id"),
        ("field", "field"), ("reason", "reason"), ("for", "owner"),
    )  # fmt: skip
    listing.show_list("dead_letter", rows, total, columns, as_json=as_json)


@letters.command("show")
def show_letter(context: typer.Context, entry_id: Entry, as_json: Json = False) -> None:
    """One dead letter: the write, each try, and what the target said."""
    from staging import reports

    with session.of(context).reading() as (_, conn):
        entry = listing.one(conn, "dead_letter", entry_id)
        attempts = reports.attempts_of(conn, [entry["outbox_id"]])
    if as_json:
        emit({**entry, "tries": attempts})
        return
    listing.show_entry(entry)
    if attempts:
        heading("tries")
        rows = [(a["number"], a["started_at"], a["outcome"], a["status"], a["field"], a["reason"]) for a in attempts]
        table(("#", "at", "outcome", "status", "field", "reason"), rows)
    if entry["state"] == "open":
        show("")
        then(
            f"concord explain {entry['entity']} {entry['canonical_id']}",
            "correct the value in its system of record: the next sync plans a new write",
        )


def clean_json(text: str) -> str:
    """A payload to be read: indented where it is JSON, harmless in any case."""
    try:
        text = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except ValueError:
        pass
    return "\n".join(clean(line) for line in text.split("\n"))
