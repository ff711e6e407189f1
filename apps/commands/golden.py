"""`concord golden`: two golden records that are one are merged, and a merge that was wrong is taken back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from apps import listing, session
from apps.commands.holds import prove, refusals
from apps.exits import REFUSED, Stop
from apps.options import AllStates, By, Json, Reason, Yes
from apps.screen import count, emit, show, table, then, when

if TYPE_CHECKING:
    from canonical.model import Entity
    from staging.engine import Connection
    from tasks.merging import Merged

app = typer.Typer(help="Golden records: merge two that are one, take a merge back.", no_args_is_help=True)
EntityName = Annotated[str, typer.Argument(metavar="ENTITY", help="customer, order …")]
What = typer.Argument(help="A canonical id, SYSTEM/STREAM/ID, or a name, number or e-mail.")
PLACES = {"primary": "moves", "twin": "moves, as a second record there", "stays": "is archived there"}


def register(root: typer.Typer) -> None:
    root.add_typer(app, name="golden", rich_help_panel="What waits for a person")


@app.command("list")
def list_merges(
    context: typer.Context,
    entity_name: Annotated[str | None, typer.Option("--entity", help="Only of this entity.")] = None,
    is_all: AllStates = False,
    as_json: Json = False,
) -> None:
    """Merges that stand: which record is which other one now, by whom and why."""
    from staging import merges

    with session.of(context).reading() as (world, conn):
        entity = session.entity(world.landscape, entity_name).name if entity_name else None
        rows = merges.listed(conn, entity, is_all=is_all)
    if as_json:
        emit(rows)
        return
    if not rows:
        show("no merges")
        return
    shown = [
        (r["entity"], r["loser"], r["winner"], when(r["at"]), r["by"], r["reason"], when(r["undone_at"])) for r in rows
    ]
    table(("entity", "record", "is now", "since", "by", "because", "undone"), shown)


@app.command()
def merge(
    context: typer.Context,
    entity_name: EntityName,
    winner: Annotated[str, What],
    loser: Annotated[str, What],
    by: By,
    reason: Reason,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Make LOSER's records those of WINNER. Nothing is written before the next sync; `unmerge` takes it back."""
    from tasks import merging

    reason = listing.told(reason, "--reason")
    with session.of(context).world() as world:
        session.role(world.landscape, by)
        entity = session.entity(world.landscape, entity_name)
        with world.transaction() as conn:
            stays, goes = (one(conn, entity, each) for each in (winner, loser))
        with refusals(f"concord golden list --entity {entity.name}"):
            shown = merging.preview(world, entity.name, stays, goes)
        if not as_json:
            _print(shown)
        prove(world, by)
        session.confirmed(f"Merge {goes} into {stays}?", yes=yes)
        with refusals():
            done = merging.merge_records(world, entity.name, stays, goes, by=by, reason=reason)
    _tell(done, "merged", as_json=as_json)
    if not as_json:
        then(
            "act on it now: concord sync (or leave it to the next one)",
            f"take it back: concord golden unmerge {entity.name} {goes} --by ROLE --reason TEXT",
        )


@app.command()
def unmerge(
    context: typer.Context,
    entity_name: EntityName,
    loser: Annotated[str, typer.Argument(help="The canonical id of the record that was merged away.")],
    by: By,
    reason: Reason,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Make a record that was merged away a record of its own again, with the records it had."""
    from tasks import merging

    reason = listing.told(reason, "--reason")
    with session.of(context).world() as world:
        session.role(world.landscape, by)
        entity = session.entity(world.landscape, entity_name)
        prove(world, by)
        session.confirmed(f"Take the merge of {loser} back?", yes=yes)
        try:
            done = merging.unmerge(world, entity.name, loser, by=by, reason=reason)
        except KeyError:
            raise Stop(REFUSED, f"no merge of {loser} stands", f"concord golden list --entity {entity.name}") from None
    _tell(done, "unmerged", as_json=as_json)
    if not as_json:
        then("act on it now: concord sync (or leave it to the next one)")


def one(conn: Connection, entity: Entity, what: str) -> str:
    """The one golden record that a person means. Raises Stop."""
    from tasks import explain

    found = explain.found(conn, entity, what)
    if not found:
        raise Stop(REFUSED, f"no {entity.name} is known by {what!r}", "give a canonical id or SYSTEM/STREAM/ID")
    if len(found) > 1:
        lines = [f"{canonical_id}   {label}" for canonical_id, label in found]
        raise Stop(REFUSED, f"{len(found)} {entity.name}s are known by {what!r}: say which", *lines)
    return found[0][0]


def _print(merged: Merged) -> None:
    show(f"{merged.loser} becomes {merged.winner}", style="bold")
    rows = [(f"{m.link.system}/{m.link.stream}/{m.link.source_id}", PLACES[m.to], m.because) for m in merged.moves]
    table(("record", "", "because"), rows)


def _tell(merged: Merged, done: str, *, as_json: bool) -> None:
    if as_json:
        told: dict[str, Any] = {"entity": merged.entity, "winner": merged.winner, "loser": merged.loser}
        moves = [
            {"system": m.link.system, "stream": m.link.stream, "source_id": m.link.source_id, "to": m.to}
            for m in merged.moves
        ]
        emit({**told, "moves": moves})
        return
    show(f"{done}: {merged.loser} and {merged.winner}, {count(len(merged.moved), 'record')} moved", style="green")
