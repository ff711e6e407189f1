"""Which version of the declarations works: a new one by itself, an older one only by a person's word.

Two deploys may overlap, and a running one may be handed declarations that nobody can read. The version that was put to
work last is the one that works: an older one is refused before it plans anything, and a bad one leaves the last good
one at work.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from canonical.declarations.landscape import read_landscape
from canonical.landscape import Landscape
from canonical.problems import Refused
from staging import runs, versions
from staging.engine import Connection, transaction
from tasks import landscape as reading
from tasks.turned_away import TurnedAway
from tasks.world import World

log = logging.getLogger("concord.versions")


class OldDeclarations(TurnedAway):
    """A newer version of the declarations has been put to work: this one changes nothing any more."""


def take_up(conn: Connection, world: World, by: str) -> None:
    """Keeps the world's version, and puts it to work if it never was. Raises OldDeclarations."""
    landscape = world.landscape
    versions.gate(conn, landscape.name)
    runs.pin_declaration(conn, landscape.digest, landscape.name, landscape.files)
    if versions.active_digest(conn, landscape.name) == landscape.digest:
        return
    if versions.activated_before(conn, landscape.digest) is not None:
        raise OldDeclarations(_said(conn, world))
    versions.activate(conn, landscape.digest, by=by)


def check(world: World) -> None:
    """Raises OldDeclarations where another version was put to work since."""
    with world.transaction() as conn:
        digest = versions.active_digest(conn, world.landscape.name)
        if digest is not None and digest != world.landscape.digest:
            raise OldDeclarations(_said(conn, world))


def put_back(world: World, *, by: str, reason: str) -> bool:
    """Puts the world's version to work by a person's word; False where it works already."""
    landscape = world.landscape
    with world.transaction() as conn:
        versions.gate(conn, landscape.name)
        runs.pin_declaration(conn, landscape.digest, landscape.name, landscape.files)
        if versions.active_digest(conn, landscape.name) == landscape.digest:
            return False
        versions.activate(conn, landscape.digest, by=by, reason=reason)
    return True


def _said(conn: Connection, world: World) -> str:
    newer = versions.active(conn, world.landscape.name)
    assert newer is not None
    changed = ", ".join(difference(newer.files, world.landscape.files)[:5])
    return (
        f"these declarations ({world.landscape.digest[:8]}) are an older version than the one at work"
        f" ({newer.digest[:8]}, since {newer.activated_at:%Y-%m-%d %H:%M %Z}, by {newer.activated_by}); they differ in"
        f" {changed}. To go back to them: concord check --activate --by ROLE --reason TEXT"
    )


def difference(working: Mapping[str, str], here: Mapping[str, str]) -> list[str]:
    """The files in which two versions differ."""
    return sorted(name for name in {*working, *here} if working.get(name) != here.get(name)) or ["what connectors ship"]


def last_good(folder: Path, bad: Refused) -> Landscape:
    """What is declared by the version that works, where the folder's files are refused. Raises `bad` where none ever
    was at work."""
    name = folder.absolute().name
    with transaction() as conn:
        working = versions.active(conn, name)
    if working is None:
        raise bad
    log.warning("the declarations of %s are refused; version %s stays at work", name, working.digest[:8])
    files = {file: text.encode() for file, text in working.files.items()}
    return read_landscape(files, reading.connector_defaults(), name)
