"""`concord quarantine`: records that failed a rule: looked at, judged anew, left out."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from apps import listing, session
from apps.commands.holds import print_changes
from apps.exits import NEEDS_A_PERSON, Stop
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
from apps.screen import clean, count, emit, heading, out, show, table, then

if TYPE_CHECKING:
    from staging.entries import Filter, Queue
    from tasks.replay import Replayed
    from tasks.world import World

app = typer.Typer(help="Records that failed a rule: list, show, replay, discard.", no_args_is_help=True)
Entries = Annotated[list[int] | None, typer.Argument(metavar="[ID]...", min=1)]
AllOpen = Annotated[bool, typer.Option("--all-open", help="Every open one.")]
AtMost = Annotated[int | None, typer.Option("--limit", min=1, max=100_000, help="At most so many, the oldest first.")]
Replayer = Annotated[str | None, typer.Option("--by", help="Your role; not needed with --dry-run.")]
WhyReplay = Annotated[str | None, typer.Option("--reason", help="Why; it is kept. Not needed with --dry-run.")]


def register(root: typer.Typer) -> None:
    root.add_typer(app, name="quarantine", rich_help_panel="What waits for a person")


@app.command("list")
def list_quarantine(
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
    """Records (and single fields) that failed a rule, with the reason. Their last good values stay in use."""
    with session.of(context).reading() as (world, conn):
        asked = listing.asked_for(
            world, cause=cause, system=system, owner=owner, entity=entity, since=since, until=until, is_all=is_all
        )
        rows, total = listing.listed(conn, world, "quarantine", asked, limit=limit, as_json=as_json)
    for row in rows:
        row["record"] = f"{row['system']}/{row['stream']}/{row['source_id']}"
    columns = (
        ("id", "id"), ("record", "record"), ("entity", "entity"), ("what", "scope"), ("cause", "cause"),
        ("field", "field"), ("reason", "reason"),
    )  # fmt: skip
    listing.show_list("quarantine", rows, total, columns, as_json=as_json)


@app.command("show")
def show_quarantine(context: typer.Context, entry_id: Entry, as_json: Json = False) -> None:
    """One entry: the rule, the reason, the record as it was read, and its story."""
    from staging import reports, story

    with session.of(context).reading() as (world, conn):
        entry = listing.one(conn, world, "quarantine", entry_id)
        payload = entry["raw"] or (reports.payload(conn, entry["raw_id"]) if entry["raw_id"] else None)
        record = (entry["system"], entry["stream"], entry["source_id"]) if entry["source_id"] else None
        entry["story"] = story.timeline(conn, entry["entity"], record=record) if record else []
    entry["payload"] = payload
    if as_json:
        emit(entry)
        return
    listing.show_entry(entry, leave_out=("raw", "raw_id", "payload", "declared", "story", "cause"))
    if payload:
        heading("as it was read")
        out().print(clean_json(payload), soft_wrap=True)
    listing.show_story(entry["story"])
    listing.show_next(entry)


@app.command()
def replay(
    context: typer.Context,
    ids: Entries = None,
    by: Replayer = None,
    reason: WhyReplay = None,
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
    """Map and judge records anew, from what is landed, by the mapping and the rules as they are now: by number, or all
    that a filter finds. An entry closes by itself where its record passes; the next sync takes the record in."""
    from tasks.replay import replay_records

    with session.of(context).world() as world:
        asked = listing.asked_for(
            world, cause=cause, system=system, owner=owner, entity=entity, since=since, until=until
        )
        numbers = chosen_ids(world, "quarantine", ids, asked, limit, all_open=all_open)
        who, why = deciders(world, by, reason, is_dry=is_dry)
        if not is_dry:
            session.confirmed(f"Judge {count(len(numbers), 'entry', 'entries')} anew?", yes=yes)
        done = replay_records(world, numbers, by=who, reason=why, is_dry=is_dry)
    print_replayed("quarantine", done, is_dry=is_dry, as_json=as_json)


@app.command()
def discard(context: typer.Context, entry_id: Entry, by: By, reason: Reason, yes: Yes = False) -> None:
    """Close an entry: the record stays out until it changes in its system."""
    from staging import verdicts

    reason = listing.told(reason, "--reason")
    with session.of(context).world() as world:
        session.role(world.landscape, by)
        with world.transaction() as conn:
            entry = listing.one(conn, world, "quarantine", entry_id)
        listing.require_open("quarantine", entry)
        record = f"{entry['system']}/{entry['stream']}/{entry['source_id']}"
        session.confirmed(f"Leave out {record} ({entry['reason']})?", yes=yes)
        with world.transaction() as conn:
            is_done = verdicts.discard_quarantine(conn, entry_id, by=by, reason=reason)
    if not is_done:
        raise Stop(0, f"nothing to do: somebody has closed entry {entry_id} meanwhile")
    show(f"discarded: {record} stays as it was until it changes in {entry['system']}")


# ------------------------------------------------------------------------------------------------ replays, of any queue


def chosen_ids(
    world: World, queue: Queue, ids: Sequence[int] | None, asked: Filter, limit: int | None, *, all_open: bool
) -> list[int]:
    """The open entries that a replay means: those named, or those a filter finds. Raises Stop with code 0 where all of
    those named are closed, BadParameter where nothing was said."""
    from staging import entries

    if not ids and not (asked.is_narrow or all_open):
        raise typer.BadParameter("say which: numbers, a filter like --cause, or --all-open")
    with world.transaction() as conn:
        if not ids:
            found = entries.ids(conn, queue, asked, limit=limit or 100_000)
            if not found:
                raise Stop(0, f"nothing to do: no open {listing.NAMES[queue][0]} is meant")
            return found
        rows = [listing.one(conn, world, queue, number) for number in dict.fromkeys(ids)]
    still = [row["id"] for row in rows if row["state"] == "open"]
    if not still:
        listing.require_open(queue, rows[0])
    return still[:limit]


def deciders(world: World, by: str | None, reason: str | None, *, is_dry: bool) -> tuple[str, str]:
    """Who replays, and why; a dry run needs neither."""
    if is_dry:
        return by or "nobody", reason or "a dry run"
    if not by or not reason:
        raise typer.BadParameter("say --by ROLE and --reason TEXT, or --dry-run to see what would become of each")
    return session.role(world.landscape, by), listing.told(reason, "--reason")


MOST_SHOWN = 50


def print_replayed(queue: Queue, done: Sequence[Replayed], *, is_dry: bool, as_json: bool) -> None:
    """What became of each, or would; ends with 1 where something still fails."""
    tally = Counter(one.outcome for one in done)
    if as_json:
        emit({"is_dry_run": is_dry, "outcomes": dict(tally), "entries": list(done)})
    else:
        rows = [(one.id, one.record, one.outcome, one.because) for one in done[:MOST_SHOWN]]
        table(("id", "record", "outcome", "because"), rows)
        if len(done) > MOST_SHOWN:
            show(f"… and {len(done) - MOST_SHOWN:,} more (--json has them all)")
        if len(done) == 1 and done[0].changes:
            print_changes(done[0].changes)
        told = ", ".join(f"{n:,} {outcome}" for outcome, n in tally.most_common())
        show(f"\n{'would be: ' if is_dry else ''}{told or 'nothing to do'}")
        if is_dry and set(tally) - {"failing", "left"}:
            then("do it: the same with --by ROLE --reason TEXT and without --dry-run")
        elif tally["queued"]:
            then("send them now: concord deliver (or leave them to the next delivery)")
        elif tally["passed"]:
            then("take them in now: concord sync (or leave them to the next one)")
    if tally["failing"] or tally["left"]:
        raise typer.Exit(NEEDS_A_PERSON)


def clean_json(text: str) -> str:
    """A payload to be read: indented where it is JSON, harmless in any case."""
    try:
        text = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except ValueError:
        pass
    return "\n".join(clean(line) for line in text.split("\n"))
