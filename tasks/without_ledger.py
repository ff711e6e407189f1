"""Telling that our database is away, by a messenger alone: when it is, no incident can be opened there.

What was told is kept in a small file beside the database, so that it is told at most every quarter of an hour, however
many runs fail meanwhile; whoever reaches the database first again puts it on record and tells its end.
"""

from __future__ import annotations

import json
import logging
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from canonical.landscape import Landscape
from canonical.problems import Refused
from connectors.protocol import ConnectorError
from staging.errors import DatabaseTrouble
from staging.home import concord_home, exclusive
from staging.incidents import Cause
from staging.trouble import as_trouble
from tasks import messengers
from tasks.alerts import QUIET
from tasks.messengers import Place

if TYPE_CHECKING:
    from tasks.world import World

log = logging.getLogger("concord.incidents")


def trouble_in(error: BaseException) -> DatabaseTrouble | None:
    """The database's trouble behind an error; None: it has another reason."""
    return error if isinstance(error, DatabaseTrouble) else as_trouble(error)


def cause_of(landscape: Landscape, said: str) -> Cause:
    """The cause when our database cannot be used."""
    roles = dict.fromkeys(i.owner for i in landscape.integrations.values())
    return Cause(
        key=f"database:{landscape.name}",
        kind="DatabaseAway",
        integration=", ".join(landscape.integrations),
        system=None,
        owner=", ".join(messengers.contact(landscape, role) for role in roles),
        cause=f"our database cannot be used: {said}",
        unaffected="nothing is half done: what was committed stays, and the systems keep what they last agreed on",
        next_step="see what it says: concord db status; when it is back, the next runs go on by themselves",
    )


def tell_trouble(landscape: Landscape, error: BaseException) -> bool:
    """Tells of the database's trouble if `error` is one and nobody was told lately; whether a messenger took it.

    Raises nothing."""
    trouble = trouble_in(error)
    if trouble is None:
        return False
    try:
        return _tell(landscape, cause_of(landscape, str(trouble)))
    except OSError as failed:
        log.warning("what was told cannot be kept (%s)", failed.strerror)
        return False


def _tell(landscape: Landscape, cause: Cause) -> bool:
    from tasks.incidents import message_of

    file = _file(landscape)
    with exclusive(file.parent):
        known = _read(file)
        now = datetime.now(UTC)
        if known and now - known[1] < QUIET:
            return False
        step_in = messengers.fallback(landscape)
        title, lines = message_of(cause)
        places = messengers.firsts(landscape)
        is_told = False
        for place in places:
            is_told |= _sent(landscape, place, cause, title, lines)
        if not is_told and step_in:
            is_told = _sent(landscape, step_in, cause, title, lines)
        if is_told:
            _write(file, known[0] if known else now, now)
        return is_told


def _sent(landscape: Landscape, place: Place, cause: Cause, title: str, lines: list[str]) -> bool:
    try:
        messenger = messengers.open_alone(landscape, place)
        try:
            for address in messengers.at(landscape, place, cause):
                messenger.notify(title, lines, channel=address.channel, to=address.recipients)
        finally:
            messenger.close()
    except (ConnectorError, Refused) as error:
        log.warning("%s did not accept a message (%s)", place.via, type(error).__name__)
        return False
    return True


def put_on_record(world: World) -> None:
    """The database is here: what was told while it was not becomes an incident that is over. Raises DatabaseTrouble."""
    file = _file(world.landscape)
    if not file.exists():
        return
    from tasks.incidents import report_over

    try:
        with exclusive(file.parent):
            known = _read(file)
            file.unlink(missing_ok=True)
    except OSError as failed:
        log.warning("what was told cannot be read (%s)", failed.strerror)
        return
    if known:
        cause = cause_of(world.landscape, "it did not answer, or had no room left")
        report_over(world, cause, known[0], told_by="concord")


def _file(landscape: Landscape) -> Path:
    return concord_home() / "told" / f"{landscape.name}.json"


def _read(file: Path) -> tuple[datetime, datetime] | None:
    """Since when it is away, and when that was told last."""
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
        return datetime.fromisoformat(kept["since"]), datetime.fromisoformat(kept["told_at"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(file: Path, since: datetime, told_at: datetime) -> None:
    new = file.with_suffix(".new")
    new.write_text(json.dumps({"since": since.isoformat(), "told_at": told_at.isoformat()}), encoding="utf-8")
    os.replace(new, file)
