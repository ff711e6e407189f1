"""`concord dead-letters`: writes that a target refused for good: looked at, put right, tried again, given up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from apps import listing, session
from apps.commands.holds import print_changes
from apps.commands.quarantine import (
    AllOpen,
    AtMost,
    Entries,
    Replayer,
    WhyReplay,
    chosen_ids,
    clean_json,
    deciders,
    print_replayed,
)
from apps.exits import REFUSED, Stop
from apps.options import (
    AllStates,
    By,
    Cause,
    DryRun,
    Entry,
    Json,
    Limit,
    OfEntity,
    OfSystem,
    Owner,
    Reason,
    Since,
    Until,
    Yes,
)
from apps.screen import count, emit, heading, out, show, table, then, when

if TYPE_CHECKING:
    from tasks.replay import How
    from tasks.world import World

app = typer.Typer(help="Writes that a target refused for good: list, show, edit, replay, close.", no_args_is_help=True)


def register(root: typer.Typer) -> None:
    root.add_typer(app, name="dead-letters", rich_help_panel="What waits for a person")


@app.command("list")
def list_letters(
    context: typer.Context,
    system: OfSystem = None,
    cause: Cause = None,
    entity: OfEntity = None,
    owner: Owner = None,
    is_all: AllStates = False,
    since: Since = None,
    until: Until = None,
    limit: Limit = None,
    as_json: Json = False,
) -> None:
    """Writes that a target refused for good, with its reason, whose answer it is, and by when."""
    with session.of(context).reading() as (world, conn):
        asked = listing.asked_for(
            world, cause=cause, system=system, owner=owner, entity=entity, since=since, until=until, is_all=is_all
        )
        rows, total = listing.listed(conn, world, "dead_letter", asked, limit=limit, as_json=as_json)
    for row in rows:
        row["target"] = f"{row['system']}/{row['stream']}"
    columns = (
        ("id", "id"), ("target", "target"), ("op", "op"), ("entity", "entity"), ("record", "canonical_id"),
        ("cause", "cause"), ("reason", "reason"),
    )  # fmt: skip
    listing.show_list("dead_letter", rows, total, columns, as_json=as_json)


@app.command("show")
def show_letter(context: typer.Context, entry_id: Entry, as_json: Json = False) -> None:
    """One dead letter: the write and what it would change, each try, what the target said, the record's story."""
    from staging import letters, reports, story

    with session.of(context).reading() as (world, conn):
        entry = listing.one(conn, world, "dead_letter", entry_id)
        entry["tries"] = reports.attempts_of(conn, [entry["outbox_id"]])
        entry["changes"] = letters.standing_of(conn, [entry["outbox_id"]])[entry["outbox_id"]]["changes"]
        entry["story"] = story.timeline(conn, entry["entity"], canonical_id=entry["canonical_id"])
    if as_json:
        emit(entry)
        return
    listing.show_entry(entry, leave_out=("tries", "changes", "story", "edited", "fields"))
    heading("what it would change")
    print_changes(entry["changes"])
    if entry["edited"]:
        heading(f"as {entry['edited_by']} has put it right")
        out().print(clean_json(entry["edited"]["payload"]), soft_wrap=True)
    if entry["tries"]:
        heading("tries")
        tries = entry["tries"]
        rows = [(a["number"], a["started_at"], a["outcome"], a["status"], a["field"], a["reason"]) for a in tries]
        table(("#", "at", "outcome", "status", "field", "reason"), rows)
    listing.show_story(entry["story"])
    show("")
    then(f"the whole story: concord explain {entry['entity']} {entry['canonical_id']}")
    listing.show_next(entry)


@app.command()
def edit(
    context: typer.Context,
    entry_id: Entry,
    by: By,
    reason: Reason,
    values: Annotated[
        list[str],
        typer.Option("--set", metavar="FIELD=VALUE", help="A field as the target is told it; nothing after = empties."),
    ],
    is_dry: DryRun = False,
    as_json: Json = False,
) -> None:
    """Put one refused write right, field by field. It is judged at once and queued by nobody: `replay` sends it.

    The golden record stays as it is: the next change in its system of record sends that system's value again."""
    from tasks import mend

    reason = listing.told(reason, "--reason")
    edits = _edits(values)
    with session.of(context).world() as world:
        session.role(world.landscape, by)
        with world.transaction() as conn:
            entry = listing.one(conn, world, "dead_letter", entry_id)
            listing.require_open("dead_letter", entry)
            mended = _mended(conn, world, entry, edits)
            if not mended.problems and not is_dry:
                mend.keep(conn, entry_id, mended, by=by, reason=reason)
    if as_json:
        emit({"id": entry_id, "is_kept": not (is_dry or mended.problems), "changes": mended.changes,
              "payload": mended.payload, "problems": mended.problems})  # fmt: skip
    if mended.problems:
        head = f"dead letter {entry_id} cannot be edited like this; nothing was kept:"
        raise Stop(REFUSED, "\n".join([head, *(f"  {p}" for p in mended.problems)]))
    if as_json:
        return
    table(("field", "as it failed", "", "edited"), [(c["field"], c["old"], "→", c["new"]) for c in mended.changes])
    heading("would be sent" if is_dry else "kept, to be sent by a replay")
    out().print(clean_json(mended.payload), soft_wrap=True)
    if not is_dry:
        then(f"send it: concord dead-letters replay {entry_id} --by {by} --reason TEXT")


def _edits(values: Sequence[str]) -> dict[str, str | None]:
    """Field → value. Raises BadParameter."""
    found: dict[str, str | None] = {}
    for text in values:
        name, sign, value = text.partition("=")
        # FIELD may name a list's element by a member: Phones[PhoneType=DEFAULT].PhoneNumber=…
        while sign and name.count("[") > name.count("]"):
            more, sign, value = value.partition("=")
            name = f"{name}={more}"
        if not sign or not name.strip():
            raise typer.BadParameter(f"--set: expected FIELD=VALUE, found {text!r}")
        if name in found:
            raise typer.BadParameter(f"--set: {name} is set twice")
        found[name.strip()] = value or None
    return found


def _mended(conn: Any, world: World, entry: Mapping[str, Any], edits: Mapping[str, str | None]) -> Any:
    from tasks import mend

    try:
        return mend.mend(conn, world, entry["id"], edits)
    except KeyError:
        gone = f"{entry['integration']} is not declared any more: close dead letter {entry['id']}"
        raise Stop(REFUSED, gone) from None


@app.command()
def replay(
    context: typer.Context,
    ids: Entries = None,
    by: Replayer = None,
    reason: WhyReplay = None,
    as_it_failed: Annotated[
        bool, typer.Option("--as-it-failed", help="Send the very words that were refused, not today's.")
    ] = False,
    current: Annotated[
        bool, typer.Option("--current", help="Through the mapping of today also where a letter was edited.")
    ] = False,
    all_open: AllOpen = False,
    system: OfSystem = None,
    cause: Cause = None,
    entity: OfEntity = None,
    owner: Owner = None,
    since: Since = None,
    until: Until = None,
    limit: AtMost = None,
    is_dry: DryRun = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Try refused writes again: by number, or all that a filter finds. An edited one is sent as it was edited, any
    other is planned anew through the mapping of today. Nothing passes the brake or a hold that did not before."""
    from tasks.replay import replay_letters

    if as_it_failed and current:
        raise typer.BadParameter("--as-it-failed or --current: one of them")
    with session.of(context).world() as world:
        asked = listing.asked_for(
            world, cause=cause, system=system, owner=owner, entity=entity, since=since, until=until
        )
        numbers = chosen_ids(world, "dead_letter", ids, asked, limit, all_open=all_open)
        who, why = deciders(world, by, reason, is_dry=is_dry)
        chosen = _ways(world, numbers, as_it_failed=as_it_failed, current=current)
        if not is_dry:
            session.confirmed(f"Try {count(len(chosen), 'write')} again?", yes=yes)
        done = replay_letters(world, chosen, by=who, reason=why, is_dry=is_dry)
    print_replayed("dead_letter", done, is_dry=is_dry, as_json=as_json)


def _ways(world: World, numbers: Sequence[int], *, as_it_failed: bool, current: bool) -> list[tuple[int, How]]:
    """How each letter is tried again."""
    from staging import letters

    with world.transaction() as conn:
        edited = {row["id"] for row in letters.some(conn, numbers) if row["edited"] is not None}
    if as_it_failed:
        return [(number, "as_it_failed") for number in numbers]
    return [(number, "edited" if number in edited and not current else "current") for number in numbers]


@app.command()
def close(context: typer.Context, entry_id: Entry, by: By, reason: Reason, yes: Yes = False) -> None:
    """Give a refused write up, with a name and a reason. Its record is planned again when it next changes."""
    from staging import audit, letters

    reason = listing.told(reason, "--reason")
    with session.of(context).world() as world:
        session.role(world.landscape, by)
        with world.transaction() as conn:
            entry = listing.one(conn, world, "dead_letter", entry_id)
        listing.require_open("dead_letter", entry)
        what = f"{entry['op']} of {entry['entity']} {entry['canonical_id']} in {entry['system']}/{entry['stream']}"
        session.confirmed(f"Give up the {what} ({entry['reason']})?", yes=yes)
        with world.transaction() as conn:
            if not letters.end(conn, [entry_id], "discarded", by=by, reason=reason):
                raise Stop(0, f"nothing to do: somebody has closed dead letter {entry_id} meanwhile")
            audit.append(conn, by, "letter.discarded", f"letter:{entry_id}", reason=reason)
    show(f"given up by {by}: {what}; it was refused on {when(entry['opened_at'])}")
