"""`concord reviews`: doubtful pairs, which nobody guesses about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from apps import listing, session
from apps.exits import REFUSED, Stop
from apps.options import AllStates, By, Cause, Entry, Json, Limit, OfEntity, OfSystem, Owner, Reason, Since, Until, Yes
from apps.screen import clean, emit, heading, show, table, then, when

if TYPE_CHECKING:
    from canonical.model import Entity
    from staging.engine import Connection

app = typer.Typer(help="Possible matches: list, show side by side, answer.", no_args_is_help=True)


def register(root: typer.Typer) -> None:
    root.add_typer(app, name="reviews", rich_help_panel="What waits for a person")


@app.command("list")
def list_reviews(
    context: typer.Context,
    entity: OfEntity = None,
    cause: Cause = None,
    system: OfSystem = None,
    owner: Owner = None,
    is_all: AllStates = False,
    since: Since = None,
    until: Until = None,
    limit: Limit = None,
    as_json: Json = False,
) -> None:
    """Pairs of records that may be the same thing; the newer record waits until somebody answers."""
    with session.of(context).reading() as (world, conn):
        asked = listing.asked_for(
            world, cause=cause, system=system, owner=owner, entity=entity, since=since, until=until, is_all=is_all
        )
        rows, total = listing.listed(conn, world, "review", asked, limit=limit, as_json=as_json)
    for row in rows:
        _say_keys(row)
    columns = (
        ("id", "id"), ("entity", "entity"), ("record", "record"), ("perhaps the same as", "other_record"),
        ("score", "shown_score"), ("cause", "cause"), ("because", "because"),
    )  # fmt: skip
    listing.show_list("review", rows, total, columns, as_json=as_json)


@app.command("show")
def show_review(context: typer.Context, entry_id: Entry, as_json: Json = False) -> None:
    """Both records of a pair, field by field, and what has happened to them."""
    from staging import story

    with session.of(context).reading() as (world, conn):
        entry = listing.one(conn, world, "review", entry_id)
        _say_keys(entry)
        record = (entry["system"], entry["stream"], entry["source_id"])
        entry["story"] = story.timeline(conn, entry["entity"], canonical_id=entry["canonical_id"], record=record)
        fields = _side_by_side(conn, session.entity(world.landscape, entry["entity"]), entry)
    if as_json:
        emit({**entry, "fields": fields})
        return
    show(f"{entry['record']}  and  {entry['other_record']}", style="bold")
    show(f"{entry['because']} (score {entry['shown_score']}); {entry['state']}, for {entry['owner']}")
    show(f"to be answered by {when(entry['due_at'])}")
    heading("field by field")
    table(("field", entry["record"], entry["other_record"], ""), [_shown(f) for f in fields])
    if entry["state"] == "answered":
        show(f"\nanswered {entry['verdict']} by {entry['answered_by']}: {entry['answer_reason']}")
    listing.show_story(entry["story"])
    listing.show_next(entry)


@app.command()
def answer(
    context: typer.Context,
    entry_id: Entry,
    by: By,
    reason: Reason,
    same: Annotated[
        bool | None, typer.Option("--same/--different", help="Whether both records are the same thing.")
    ] = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Say whether two records are the same. The next sync links them, or keeps them apart for good."""
    from staging import verdicts

    if same is None:
        raise typer.BadParameter("say --same or --different")
    reason = listing.told(reason, "--reason")
    with session.of(context).world() as world:
        session.role(world.landscape, by)
        with world.transaction() as conn:
            entry = listing.one(conn, world, "review", entry_id)
        listing.require_open("review", entry)
        _say_keys(entry)
        word = "the same thing" if same else "two different things"
        session.confirmed(f"{entry['record']} and {entry['other_record']} are {word}?", yes=yes)
        verdict = "link" if same else "separate"
        with world.transaction() as conn:
            if not verdicts.answer(conn, world.landscape.model, entry_id, verdict, by=by, reason=reason):
                raise Stop(REFUSED, f"review {entry_id} was closed by somebody else meanwhile")
    if as_json:
        emit({"id": entry_id, "verdict": verdict, "by": by, "reason": reason})
        return
    show(f"kept: {entry['record']} and {entry['other_record']} are {word}", style="green")
    then("act on it now: concord sync (or leave it to the next one)")


def _say_keys(entry: dict[str, Any]) -> None:
    """Both records as SYSTEM/STREAM/ID, as `concord explain` takes them."""
    from staging.verdicts import key_parts

    entry["record"] = f"{entry['system']}/{entry['stream']}/{entry['source_id']}"
    entry["other"] = str(entry["other"])
    entry["other_record"] = "/".join(key_parts(entry["other"]))
    entry["shown_score"] = f"{entry['score']:.2f}" if entry["score"] is not None else "-"


def _side_by_side(conn: Connection, entity: Entity, entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The fields in which at least one of both has a value: field, record, other, agrees."""
    from staging import staged
    from staging.verdicts import key_parts

    ours = staged.one(conn, entity, entry["system"], entry["stream"], entry["source_id"])
    theirs = staged.one(conn, entity, *key_parts(entry["other"]))
    one = ours.row(0, named=True) if ours.height else {}
    other = theirs.row(0, named=True) if theirs.height else {}
    found = []
    for leaf in entity.leaves:
        a, b = one.get(leaf.column), other.get(leaf.column)
        if a is not None or b is not None:
            agrees = None if a is None or b is None else a == b
            found.append({"field": leaf.path, "record": a, "other": b, "agrees": agrees})
    return found


def _shown(field: Mapping[str, Any]) -> tuple[str, ...]:
    mark = {True: "=", False: "differs", None: ""}[field["agrees"]]
    return field["field"], clean(field["record"]), clean(field["other"]), mark
