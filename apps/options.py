"""Options that several commands share, written once."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
By = Annotated[str, typer.Option("--by", help="Your role, as declared under people: in landscape.yaml.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; it is kept with the decision.")]
Limit = Annotated[
    int | None, typer.Option("--limit", min=1, max=100_000, help="At most this many (50 in tables, all with --json).")
]
Entry = Annotated[int, typer.Argument(metavar="ID", min=1)]
AllStates = Annotated[bool, typer.Option("--all", help="Closed ones too.")]

_AGO = re.compile(r"(\d{1,6})\s*(s|m|min|h|d|w)\Z")
_UNIT = {"s": "seconds", "m": "minutes", "min": "minutes", "h": "hours", "d": "days", "w": "weeks"}
OLDEST = datetime(2000, 1, 1, tzinfo=UTC)


def page(limit: int | None, *, as_json: bool) -> int:
    """How many entries are asked for."""
    return limit or (100_000 if as_json else 50)


def moment(text: str | None, name: str = "--since") -> datetime | None:
    """A time from the past as a person types it. Raises typer.BadParameter."""
    if text is None:
        return None
    now = datetime.now(UTC)
    try:
        if ago := _AGO.match(text.strip()):
            found = now - timedelta(**{_UNIT[ago[2]]: int(ago[1])})
        else:
            found = datetime.fromisoformat(text.strip())
            found = found if found.tzinfo else found.astimezone()
    except (ValueError, OverflowError):
        raise typer.BadParameter(f"{name}: expected 2h, 3d or a date like 2026-08-01, found {text!r}") from None
    if found > now:
        raise typer.BadParameter(f"{name}: {text} lies in the future")
    if found < OLDEST:
        raise typer.BadParameter(f"{name}: expected a time after {OLDEST:%Y-%m-%d}, found {text!r}")
    return found


_CLOCK = re.compile(r"([01]\d|2[0-3]):([0-5]\d)\Z")


def later(text: str | None, name: str = "--until") -> datetime | None:
    """A time to come as a person types it; `18:30` is the next time the clock shows it. Raises typer.BadParameter."""
    if text is None:
        return None
    now = datetime.now(UTC)
    try:
        if ahead := _AGO.match(text.strip()):
            found = now + timedelta(**{_UNIT[ahead[2]]: int(ahead[1])})
        elif clock := _CLOCK.match(text.strip()):
            found = now.astimezone().replace(hour=int(clock[1]), minute=int(clock[2]), second=0, microsecond=0)
            found = found if found > now else found + timedelta(days=1)
        else:
            found = datetime.fromisoformat(text.strip())
            found = found if found.tzinfo else found.astimezone()
    except (ValueError, OverflowError):
        expected = "2h, 3d, 18:30 or a date like 2026-08-01"
        raise typer.BadParameter(f"{name}: expected {expected}, found {text!r}") from None
    if found <= now:
        raise typer.BadParameter(f"{name}: {text} is over already")
    return found


def span(since: str | None, until: str | None) -> tuple[datetime | None, datetime | None]:
    """From when until when. Raises typer.BadParameter where it ends before it begins."""
    begun, ended = moment(since), moment(until, "--until")
    if begun and ended and ended <= begun:
        raise typer.BadParameter(f"--until: expected a time after --since {since}, found {until}")
    return begun, ended


def _checked(context: typer.Context, parameter: typer.CallbackParam, text: str | None) -> str | None:
    """Refused before anything is opened."""
    other = {name: context.params.get(name) for name in ("since", "until")}
    span(**{**other, str(parameter.name): text})
    return text


Since = Annotated[
    str | None,
    typer.Option(
        "--since", callback=_checked, help="Only what began since then: 2h, 3d, 2026-08-01, 2026-08-01T06:00."
    ),
]
Until = Annotated[
    str | None, typer.Option("--until", callback=_checked, help="Only what began before then, told as in --since.")
]
Cause = Annotated[
    str | None, typer.Option("--cause", help="Only this class of cause, as the list shows it in its column `cause`.")
]
Owner = Annotated[
    str | None, typer.Option("--owner", help="Only what this role has to answer; nobody: what has no owner.")
]
OfSystem = Annotated[str | None, typer.Option("--system", help="Only of this system.")]
OfEntity = Annotated[str | None, typer.Option("--entity", help="Only this entity.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would become of each; nothing is changed.")]
