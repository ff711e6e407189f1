"""`concord holds`: sets of writes that wait for a person's yes or no."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from apps import listing, session
from apps.exits import REFUSED, Stop, unknown
from apps.options import (
    AllStates,
    By,
    Cause,
    Entry,
    Json,
    Limit,
    OfSystem,
    Owner,
    Reason,
    Since,
    Until,
    Yes,
    later,
    page,
)
from apps.screen import clean, count, emit, err, heading, is_interactive, show, table, then, when

if TYPE_CHECKING:
    from tasks.world import World

app = typer.Typer(help="Writes that wait for a yes: list, show, approve, reject.", no_args_is_help=True)
CODE = "CONCORD_APPROVAL_CODE"
LONGEST_OVERRIDE = timedelta(days=3)
"""A brake that stays lifted is no brake."""


def register(root: typer.Typer) -> None:
    root.add_typer(app, name="holds", rich_help_panel="What waits for a person")


@app.command("list")
def list_holds(
    context: typer.Context,
    integration: Annotated[str | None, typer.Option("--integration", help="Only of this integration.")] = None,
    cause: Cause = None,
    system: OfSystem = None,
    owner: Owner = None,
    is_all: AllStates = False,
    since: Since = None,
    until: Until = None,
    limit: Limit = None,
    as_json: Json = False,
) -> None:
    """Sets of writes that wait for a person, with the reason, whose answer it is, and by when."""
    with session.of(context).reading() as (world, conn):
        asked = listing.asked_for(
            world, cause=cause, system=system, owner=owner, integration=integration, since=since, until=until,
            is_all=is_all,
        )  # fmt: skip
        rows, total = listing.listed(conn, world, "hold", asked, limit=limit, as_json=as_json)
    for row in rows:
        row["target"] = f"{row['system']}/{row['stream']}"
    columns = (
        ("id", "id"), ("integration", "integration"), ("target", "target"), ("op", "op"), ("#writes", "waiting"),
        ("cause", "cause"), ("why", "reason"),
    )  # fmt: skip
    listing.show_list("hold", rows, total, columns, as_json=as_json)


@app.command("show")
def show_hold(context: typer.Context, entry_id: Entry, limit: Limit = None, as_json: Json = False) -> None:
    """The writes behind a hold, field by field: what the target holds, what it would be told."""
    from canonical.waiting import HOLD_KINDS
    from staging import holds

    with session.of(context).reading() as (world, conn):
        entry = listing.one(conn, world, "hold", entry_id)
        writes = holds.writes_of(conn, entry_id)
        decisions = holds.decisions_on(conn, entry_id)
    if as_json:
        emit({**entry, "writes_waiting": [dict(w) for w in writes], "decisions": decisions})
        return
    show(f"{HOLD_KINDS[entry['kind']]}: {entry['reason']}", style="bold")
    show(
        f"{entry['integration']} would {entry['op']} in {entry['system']}/{entry['stream']};"
        f" {entry['state']}, for {entry['owner']}, to be answered by {when(entry['due_at'])}"
    )
    if entry["requested_by"]:
        show(f"asked for by {entry['requested_by']}, who cannot approve it")
    for made in decisions:
        show(
            f"{made['verdict']} by {made['by']}, {when(made['at'])}: {count(made['writes'], 'write')}; {made['reason']}"
        )
    shown_most = page(limit, as_json=False)
    _print_writes(writes[:shown_most])
    if len(writes) > shown_most:
        show(f"… and {count(len(writes) - shown_most, 'more write')} (--limit)")
    if writes:
        show("")
        then(f"a record's story: concord explain {entry['entity']} {writes[0]['canonical_id']}")
    listing.show_next(entry)


@app.command()
def approve(context: typer.Context, entry_id: Entry, by: By, reason: Reason, yes: Yes = False) -> None:
    """Let exactly the writes go that wait behind the hold now."""
    entry, number = _decide(context, entry_id, by, reason, yes=yes, is_approved=True)
    show(f"approved by {by}: {count(number, 'write')} to {entry['system']}/{entry['stream']}", style="green")
    then(f"send them now: concord deliver {entry['integration']}", "or leave them to the next sync")


@app.command()
def reject(context: typer.Context, entry_id: Entry, by: By, reason: Reason, yes: Yes = False) -> None:
    """Drop the writes behind the hold. They are planned again only when something about their records changes."""
    entry, number = _decide(context, entry_id, by, reason, yes=yes, is_approved=False)
    show(f"rejected by {by}: {count(number, 'write')} to {entry['system']}/{entry['stream']} will not be sent")
    then("they come back when their records change; correct the cause in the system of record")


@app.command()
def override(
    context: typer.Context,
    integration: Annotated[str, typer.Argument(metavar="INTEGRATION", help="Whose brake.")],
    by: By,
    reason: Reason,
    until: Annotated[
        str | None, typer.Option("--until", help="When the brake holds again: 2h, 3d, 18:30, 2026-08-01.")
    ] = None,
    is_end: Annotated[bool, typer.Option("--end", help="Put the brake back now.")] = False,
    yes: Yes = False,
) -> None:
    """Lift the brake of an integration until a time, in your name: what it would hold goes, and is kept as approved by
    you. What is asked about by itself (ask_when, mode: ask) is still asked."""
    from staging import overrides
    from tasks import decide

    reason = listing.told(reason, "--reason")
    at = later(until)
    if (at is None) is not is_end:
        raise typer.BadParameter("say --until TIME to lift the brake, or --end to put it back")
    with session.of(context).world() as world:
        session.role(world.landscape, by)
        if integration not in world.landscape.integrations:
            raise unknown("integration", integration, world.landscape.integrations)
        if at is None:
            with world.transaction() as conn:
                is_ended = overrides.end(conn, integration, by=by, reason=reason)
            show(f"the brake of {integration} holds again" if is_ended else "nothing to do: it was not lifted")
            return
        prove(world, by, is_code_needed=True)
        if at - datetime.now(UTC) > LONGEST_OVERRIDE:
            raise Stop(REFUSED, f"--until: at most {LONGEST_OVERRIDE.days} days from now, found {until}")
        question = f"Lift the brake of {integration} until {when(at)}: no mass change is held there?"
        session.confirmed(question, yes=yes)
        made = decide.lift_brake(world, integration, by=by, reason=reason, until=at)
    show(f"the brake of {integration} is lifted by {by} until {when(made.until)}", style="yellow")
    then(f"put it back: concord holds override {integration} --end --by {by} --reason TEXT")


def _decide(
    context: typer.Context, entry_id: int, by: str, reason: str, *, yes: bool, is_approved: bool
) -> tuple[Mapping[str, Any], int]:
    """One decision over the very writes that were shown; gives the hold and how many they were."""
    from canonical.waiting import HOLD_KINDS
    from staging import holds
    from tasks import decide

    reason = listing.told(reason, "--reason")
    with session.of(context).world() as world:
        session.role(world.landscape, by)
        with world.transaction() as conn:
            entry = listing.one(conn, world, "hold", entry_id)
            writes = holds.writes_of(conn, entry_id)
        listing.require_open("hold", entry)
        if not writes:
            raise Stop(0, f"nothing to do: no write waits behind hold {entry_id} any more")
        with refusals(f"see them: concord holds list --integration {entry['integration']}"):
            decide.ask_anew(world, entry_id)
            if is_approved:
                decide.check_approver(world, by, entry)
        prove(world, by)
        verb = "Send" if is_approved else "Drop"
        if not yes and is_interactive():
            show(f"{HOLD_KINDS[entry['kind']]}: {entry['reason']}")
            _print_writes(writes[:10])
        what = f"{count(len(writes), 'write')} to {entry['system']}/{entry['stream']}"
        session.confirmed(f"{verb} {what}?", yes=yes, otherwise=(f"see them: concord holds show {entry_id}",))
        with refusals(f"concord holds show {entry_id}"):
            decision: decide.Decision = "approve" if is_approved else "reject"
            shown_hashes = [w["write_hash"] for w in writes] if is_approved else None
            number = decide.decide(world, entry_id, decision, by=by, reason=reason, hashes=shown_hashes)
        if number < len(writes):
            changed = count(len(writes) - number, "write has", "writes have")
            show(f"{changed} changed meanwhile and will be held anew", style="yellow")
        return entry, number


@contextmanager
def refusals(*then_type: str) -> Iterator[None]:
    """What our own rules refuse, as an end of the command."""
    from tasks.sync import TurnedAway

    try:
        yield
    except TurnedAway as no:
        raise Stop(REFUSED, str(no), *then_type) from None


def prove(world: World, by: str, *, is_code_needed: bool = False) -> None:
    """Asks for the personal code where the person has declared one (DESIGN 9.14); compared in constant time.

    `is_code_needed`: whoever has declared none is refused."""
    from tasks import decide

    given = None
    if decide.needs_code(world, by):
        given = os.environ.get(CODE)
        if given is None:
            if not is_interactive():
                raise Stop(REFUSED, f"{by} proves who it is by a personal code, and nobody is there to ask: set {CODE}")
            given = err().input(f"Personal code of {by}: ", password=True)
    with refusals():
        decide.prove(world, by, given, is_code_needed=is_code_needed)


def _print_writes(writes: Sequence[Mapping[str, Any]]) -> None:
    """Each write as its record and its fields: old → new."""
    for write in writes:
        heading(f"{write['op']} {write['canonical_id']}" + (f" ({write['source_id']})" if write["source_id"] else ""))
        show(f"{write['because']}" + (f"; {write['reason']}" if write["reason"] else ""))
        print_changes(write["before"] or [])


def print_changes(changes: Sequence[Mapping[str, Any]]) -> None:
    """Field by field: what stands there, what it would become, by which authority."""
    rows = [(c["field"], shown(c.get("old")), "→", shown(c.get("new")), c.get("authority") or "") for c in changes]
    table(("field", "now", "", "then", "authority"), rows)


def shown(value: object) -> str:
    """A value in a list of changes; an empty one is told from an empty text."""
    return "(empty)" if value is None else clean(value)
