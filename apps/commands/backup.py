"""`concord backup` and `concord restore`: the database as one file, and back."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from apps import listing, session
from apps.commands.holds import prove
from apps.commands.plan import OptionalBy
from apps.exits import REFUSED, Stop
from apps.options import By, Json, Reason, Yes
from apps.screen import count, emit, say, show, then

if TYPE_CHECKING:
    from tasks.backup import Restored


def register(root: typer.Typer) -> None:
    root.command("backup", rich_help_panel="House keeping")(backup)
    root.command("restore", rich_help_panel="House keeping")(restore)


def backup(
    context: typer.Context,
    where: Annotated[Path, typer.Argument(metavar="FILE|DIR", help="A file, or a folder that gets one named by time.")],
    by: OptionalBy = None,
    as_json: Json = False,
) -> None:
    """Copy the whole database into one file, beside running work, with PostgreSQL's own pg_dump.

    It holds every value, and tokens as they are kept in the database: only you can read the file; keep it so."""
    from tasks.backup import backup as do

    file = where / f"concord-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.dump" if where.is_dir() else where
    with session.of(context).world(is_model_needed=False) as world:
        done = do(world, file, by=session.who(world.landscape, by))
    if as_json:
        emit(asdict(done))
        return
    show(f"{done.file}: {done.bytes:,} bytes, sha256 {done.sha256}", style="green")
    then(f"get it back: concord restore {done.file} --by ROLE --reason TEXT")


def restore(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, help="What backup made.")],
    by: By,
    reason: Reason,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Set the whole database back to a backup, in one transaction. What it replaces is copied beside the file first.

    Afterwards nothing is sent to any system before it was read to its end: what was made there since the backup is
    found again instead of made a second time. Whoever was erased since is erased again."""
    from tasks.backup import restore as do
    from tasks.sync import TurnedAway

    said = listing.told(reason, "--reason")
    with session.of(context).world(is_model_needed=False) as world:
        session.role(world.landscape, by)
        prove(world, by)
        session.confirmed(f"Replace the whole database by {file}?", yes=yes)
        if not as_json:
            say("copying what is replaced, then restoring", style="dim")
        try:
            done = do(world, file, by=by, reason=said)
        except TurnedAway as no:
            raise Stop(REFUSED, str(no)) from None
    if as_json:
        emit(asdict(done))
        return
    _tell(done)


def _tell(done: Restored) -> None:
    show(f"the database is what it was at {done.made_at or 'its beginning'}", style="green")
    if done.before:
        show(f"what it replaced is in {done.before}")
    show(f"{count(done.void, 'write')} that had not been sent then will be planned anew")
    show(f"{count(len(done.resting), 'target')} rest until they were read to their end: {', '.join(done.resting)}")
    if done.tokens_kept:
        show(f"{count(done.tokens_kept, 'newer token')} kept, for the older ones are worth nothing")
    for name in done.erased_again:
        show(f"erased again: {name}")
    then("read everything and go on: concord sync all", "see that nothing is lost: concord ledger verify")
