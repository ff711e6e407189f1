"""`concord forget`: one subject is erased from everything Concord holds, with a proof."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from apps import listing, session
from apps.commands.holds import prove
from apps.exits import REFUSED, Stop
from apps.options import Json, Yes
from apps.screen import count, emit, heading, is_interactive, show, table, then

if TYPE_CHECKING:
    from tasks.forget import Forgotten
    from tasks.world import World

FEW = 20


def register(root: typer.Typer) -> None:
    root.command("forget", rich_help_panel="House keeping")(forget)


def forget(
    context: typer.Context,
    entity: Annotated[str, typer.Argument(metavar="ENTITY", help="What it is: customer, contact …")],
    record: Annotated[
        str, typer.Argument(metavar="ID", help="Its canonical id, SYSTEM/STREAM/ID, or a value that it alone has.")
    ],
    by: Annotated[str | None, typer.Option("--by", help="Your role; you prove it by your personal code.")] = None,
    reason: Annotated[str | None, typer.Option("--reason", help="Why; it is kept with the audit.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be erased.")] = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Erase one subject from everything Concord holds, and search every table for it afterwards.

    Without --by and --reason nothing is erased: the rows are counted, table by table. The systems themselves are not
    touched; what is read of it there again is refused and reported. Backups made before still hold it."""
    with session.of(context).world() as world:
        session.entity(world.landscape, entity)
        shown = _forget(world, entity, record, by=by or "nobody", reason="", is_done=False)
        if dry_run or by is None or reason is None:
            _tell(shown, as_json=as_json)
            if not as_json:
                then(f"erase it: concord forget {entity} {shown.canonical_id} --by ROLE --reason TEXT")
            return
        said = listing.told(reason, "--reason")
        session.role(world.landscape, by)
        prove(world, by, is_code_needed=True)
        if not yes and is_interactive():
            _tell(shown, as_json=False)
        session.confirmed(f"Erase {entity} {shown.canonical_id} for good?", yes=yes)
        done = _forget(world, entity, shown.canonical_id, by=by, reason=said, is_done=True)
    _tell(done, as_json=as_json)


def _forget(world: World, entity: str, record: str, *, by: str, reason: str, is_done: bool) -> Forgotten:
    from tasks.forget import forget as do
    from tasks.sync import TurnedAway

    try:
        return do(world, entity, record, by=by, reason=reason, is_done=is_done)
    except KeyError:
        raise Stop(REFUSED, f"there is no such {entity}", f"concord explain {entity} ID") from None
    except TurnedAway as no:
        raise Stop(REFUSED, str(no)) from None


def _tell(found: Forgotten, *, as_json: bool) -> None:
    from tasks.forget import as_dict

    if as_json:
        emit(as_dict(found))
        return
    verb = "erased" if found.is_done else "would be erased"
    show(f"{found.entity} {found.canonical_id}: {count(sum(found.counts.values()), 'row')} {verb}", style="bold")
    table(("table", "#rows"), list(found.counts.items()))
    if len(found.golden) > 1:
        heading("made from the same source records, and erased with it")
        for name in found.golden:
            show(f"  {name}")
    if found.copies:
        heading("copies in rows of others, blackened")
        table(("column", "#rows"), list(found.copies.items()))
    if found.mentions:
        heading("other records hold such a value as their own: they stay as they are")
        table(("column", "#rows"), list(found.mentions.items()))
    if found.still_there:
        heading("the systems still hold it, and only their owners can erase it there")
        for where in found.still_there[:FEW]:
            show(f"  {where}")
        if len(found.still_there) > FEW:
            show(f"  … and {len(found.still_there) - FEW:,} more (--json has all)")
    if found.is_done:
        show(f"\nsearched afterwards: {count(found.searched, 'column')}, nothing of it was found", style="green")
        show(f"proof: erasure {found.erasure_id}, digest {found.digest} (in the audit as well)")
