"""`concord queues`: everything that waits for a person in one place, as a list, or as a workbook for a meeting."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from apps import listing, session
from apps.commands.holds import prove
from apps.commands.mapping_sheets import write_whole
from apps.exits import NEEDS_A_PERSON, REFUSED, Stop, unknown
from apps.options import By, Cause, DryRun, Json, OfEntity, OfSystem, Owner, Since, Until, Yes
from apps.screen import age, count, emit, show, table, then, when

if TYPE_CHECKING:
    from canonical.agenda import Item
    from canonical.problems import Problem
    from staging.engine import Connection
    from staging.entries import Filter, Queue
    from tasks.agenda import Carried
    from tasks.world import World

app = typer.Typer(help="All queues in one place: list, export for a meeting, import the answers.", no_args_is_help=True)
BOOK = ".xlsx"
MOST_EXPORTED = 5_000
"""Entries of one queue in a workbook: more than any meeting answers."""
OnlyQueue = Annotated[
    str | None, typer.Option("--queue", help="Only this one: holds, reviews, quarantine, dead-letters or findings.")
]


def register(root: typer.Typer) -> None:
    root.add_typer(app, name="queues", rich_help_panel="What waits for a person")


@app.command("list")
def list_queues(
    context: typer.Context,
    queue: OnlyQueue = None,
    system: OfSystem = None,
    cause: Cause = None,
    entity: OfEntity = None,
    owner: Owner = None,
    since: Since = None,
    until: Until = None,
    as_json: Json = False,
) -> None:
    """What waits, by queue and cause: how many, for whom, since when, and how many are over their time."""
    with session.of(context).reading() as (world, conn):
        asked = listing.asked_for(
            world, cause=cause, system=system, owner=owner, entity=entity, since=since, until=until
        )
        rows = [row for name in _queues(queue, asked) for row in _counted(conn, world, name, asked)]
    if as_json:
        emit({"queues": rows})
        return
    if not rows:
        show("nothing waits for a person", style="green")
        return
    cells = [(r["command"], r["cause"], r["owner"], r["count"], age(r["oldest_seconds"]), r["overdue"]) for r in rows]
    table(("queue", "cause", "for", "#open", "oldest", "#over its time"), cells)
    first = rows[0]
    show("")
    then(
        f"one cause at a time: concord {first['command']} list --cause {_quoted(first['cause'])}",
        "for a meeting: concord queues export FILE.xlsx",
    )


def _quoted(text: str) -> str:
    return f"'{text}'" if " " in text else text


def _queues(named: str | None, asked: Filter) -> list[Queue]:
    """The queues that are meant, holds first; a queue that knows no entity is left out where one is asked for."""
    from staging.entries import QUEUES

    by_command: dict[str, Queue] = {listing.command_of(queue): queue for queue in QUEUES}
    if named is not None and named not in by_command:
        raise unknown("queue", named, by_command)
    wanted: Sequence[Queue] = ("hold", "review", "dead_letter", "quarantine", "finding")
    return [queue for queue in wanted if named is None or by_command[named] == queue]


def _counted(conn: Connection, world: World, queue: Queue, asked: Filter) -> list[dict[str, Any]]:
    """One queue's open entries by cause and owner, the most first."""
    from datetime import UTC, datetime

    from staging import entries

    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    rows, _ = entries.found(conn, queue, asked, limit=100_000)
    for row in rows:
        key = (str(row["cause"]), str(row["owner"] or "nobody").partition(" (")[0])
        found.setdefault(key, []).append(listing.completed(world, queue, row))
    now = datetime.now(UTC)
    made = [
        {
            "queue": queue,
            "command": listing.command_of(queue),
            "cause": cause,
            "owner": owner,
            "count": len(some),
            "oldest_seconds": max(int(one["age_seconds"]) for one in some),
            "overdue": sum(one["due_at"] < now for one in some),
        }
        for (cause, owner), some in found.items()
    ]
    return sorted(made, key=lambda row: -int(row["count"]))


@app.command()
def export(
    context: typer.Context,
    to: Annotated[Path, typer.Argument(metavar="FILE.xlsx", help="The workbook to write.")],
    queue: OnlyQueue = None,
    system: OfSystem = None,
    cause: Cause = None,
    entity: OfEntity = None,
    owner: Owner = None,
    since: Since = None,
    until: Until = None,
    yes: Yes = False,
) -> None:
    """Write what waits as a workbook for a meeting: a worksheet a queue, with a drop-down for each answer."""
    from canonical.agenda import make_agenda

    if to.suffix.lower() != BOOK:
        raise Stop(REFUSED, f"expected a name that ends in {BOOK}, found {to.name!r}")
    if not to.parent.is_dir():
        raise Stop(REFUSED, f"there is no folder {to.parent}")
    with session.of(context).reading() as (world, conn):
        asked = listing.asked_for(
            world, cause=cause, system=system, owner=owner, entity=entity, since=since, until=until
        )
        wanted = _queues(queue, asked)
        items = [item for name in wanted for item in _items(conn, world, name, asked)]
    if to.exists():
        session.confirmed(f"{to} exists: replace it?", yes=yes)
    write_whole(to, make_agenda(items, wanted))
    tally = Counter(listing.command_of(item.queue) for item in items)
    show(f"{to}: {', '.join(f'{n:,} {name}' for name, n in tally.items()) or 'nothing waits'}")
    then(
        "fill in the columns `decision` and `reason for it`; rows without a decision decide nothing",
        f"bring the answers back: concord queues import {to} --by ROLE",
    )


def _items(conn: Connection, world: World, queue: Queue, asked: Filter) -> list[Item]:
    from canonical import agenda
    from staging import entries

    rows, total = entries.found(conn, queue, asked, limit=MOST_EXPORTED)
    if total > MOST_EXPORTED:
        raise Stop(
            REFUSED,
            f"{count(total, *listing.NAMES[queue])}: a workbook takes {MOST_EXPORTED:,}",
            f"take them cause by cause: concord {listing.command_of(queue)} list, then --cause",
        )
    found = []
    for row in rows:
        entry = listing.completed(world, queue, row)
        cells = {
            "id": str(entry["id"]),
            "cause": str(entry["cause"]),
            "what": _what(queue, entry),
            "record": _record(queue, entry),
            "for": str(entry["owner"] or "nobody"),
            "age": age(entry["age_seconds"]),
            "due": when(entry["due_at"]),
            "can be done": "\n".join(entry["next"]),
            "as shown": agenda.digest_of(row),
        }
        found.append(agenda.Item(queue, cells))
    return found


def _what(queue: Queue, entry: dict[str, Any]) -> str:
    """The plain reason, with both values where there are two."""
    if queue == "hold":
        return f"{count(entry['waiting'], 'write')} ({entry['op']}): {entry['reason']}"
    if queue == "finding" and (entry["ours"] or entry["theirs"]):
        values = f"agreed {entry['ours'] or '(empty)'}, found there {entry['theirs'] or '(empty)'}"
        return f"{entry['because']}; {entry['field'] or 'the record'}: {values}"
    if queue in ("review", "finding"):
        return str(entry["because"])
    field = f"{entry['field']}: " if entry["field"] else ""
    return f"{field}{entry['reason']}"


def _record(queue: Queue, entry: dict[str, Any]) -> str:
    place = f"{entry['system']}/{entry['stream']}"
    if queue == "hold":
        return f"{entry['integration']}: {place}"
    if queue == "dead_letter":
        return f"{entry['entity']} {entry['canonical_id']} to {place}"
    record = f"{place}/{entry['source_id'] or ''}"
    return f"{record}  and  {str(entry['other']).replace(chr(31), '/')}" if queue == "review" else record


@app.command("import")
def import_answers(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE.xlsx", help="A workbook that `queues export` made.")],
    by: By,
    is_dry: DryRun = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Take the answers out of a workbook: every mistake is told by its cell, and then nothing is done; else all are
    carried out in your name."""
    from canonical.agenda import read_agenda
    from canonical.problems import Refused
    from tasks import agenda

    if file.suffix.lower() != BOOK:
        raise Stop(REFUSED, f"expected a name that ends in {BOOK}, found {file.name!r}")
    try:
        answers = read_agenda(file.name, file.read_bytes())
    except Refused as refused:
        raise _refused(refused.problems) from None
    with session.of(context).world() as world:
        session.role(world.landscape, by)
        problems = agenda.judge(world, file.name, answers, by=by)
        if problems:
            raise _refused(problems)
        if not answers:
            raise Stop(0, f"nothing to do: no row of {file} has a decision")
        tally = Counter(f"{listing.command_of(a.queue)}: {a.decision}" for a in answers)
        if not as_json:
            table(("answer", "#rows"), sorted(tally.items()))
        if is_dry:
            _print_carried([], dict(tally), is_dry=True, as_json=as_json)
            return
        prove(world, by)
        session.confirmed(f"Carry out {count(len(answers), 'answer')} in the name of {by}?", yes=yes)
        done = agenda.carry_out(world, answers, by=by)
    _print_carried(done, dict(tally), is_dry=False, as_json=as_json)


def _refused(problems: Sequence[Problem]) -> Stop:
    """Every mistake at once, each by its cell."""
    said = "\n".join(f"  {problem}" for problem in problems)
    return Stop(
        REFUSED, f"the answers are refused, and none was carried out; {count(len(problems), 'problem')}:\n{said}"
    )


def _print_carried(done: Sequence[Carried], tally: dict[str, int], *, is_dry: bool, as_json: bool) -> None:
    if as_json:
        emit({"is_dry_run": is_dry, "answers": tally, "carried": list(done)})
    elif is_dry:
        show("every answer can be carried out; nothing was done")
        then("do it: the same without --dry-run")
    else:
        rows = [(listing.command_of(c.queue), c.id, c.decision, c.outcome, c.because) for c in done]
        table(("queue", "id", "decision", "outcome", "because"), rows)
        then("send what was approved and replayed: concord deliver", "take in the rest: concord sync")
    if any(c.outcome in ("failing", "refused") for c in done):
        raise typer.Exit(NEEDS_A_PERSON)
