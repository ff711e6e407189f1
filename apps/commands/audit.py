"""`concord audit`: who decided what and what was sent, and the proof that nobody changed it since."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from apps import session
from apps.exits import NEEDS_A_PERSON, REFUSED, Stop
from apps.options import Json, Limit, Since, moment, page
from apps.screen import count, emit, show, table, then

if TYPE_CHECKING:
    from staging.audit import Anchor, Verdict

app = typer.Typer(help="Every decision and every batch sent: search, verify, anchor.", no_args_is_help=True)
AnchorFile = Annotated[Path, typer.Argument(metavar="FILE", help="A file outside the database; one line is added.")]


def register(root: typer.Typer) -> None:
    root.add_typer(app, name="audit", rich_help_panel="Look")


@app.command()
def search(
    context: typer.Context,
    actor: Annotated[str | None, typer.Option("--actor", help="Who: a role, an account, concord.")] = None,
    action: Annotated[
        str | None, typer.Option("--action", help="What: hold.approved, or hold for all of them.")
    ] = None,
    subject: Annotated[str | None, typer.Option("--subject", help="About what: hold:12, or hold:* for all.")] = None,
    since: Since = None,
    until: Annotated[str | None, typer.Option("--until", help="Only what was before: 2h, 3d, 2026-08-01.")] = None,
    limit: Limit = None,
    as_json: Json = False,
) -> None:
    """Who did what, about what, when and why; the latest first. Values of records are not in it."""
    from staging import audit

    known = {name for one in audit.ACTIONS for name in (one, one.partition(".")[0])}
    if action and action not in known:
        from apps.exits import unknown

        raise unknown("action", action, known)
    with session.of(context).reading() as (_, conn):
        rows, total = audit.search(
            conn,
            actor=actor,
            action=action,
            subject=subject,
            since=moment(since),
            until=moment(until, "--until"),
            limit=page(limit, as_json=as_json),
        )
    if as_json:
        emit({"total": total, "shown": len(rows), "entries": rows})
        return
    if not rows:
        show("nothing of that kind was ever written down")
        return
    table(
        ("#row", "at", "who", "what", "about", "why and how"),
        [(r["id"], r["at"], r["actor"], r["action"], r["subject"], _told(r)) for r in rows],
    )
    more = f" (the first {len(rows)}; see more with --limit)" if total > len(rows) else ""
    show(f"\n{count(total, 'row')}{more}")


def _told(row: dict[str, Any]) -> str:
    """The reason, and the details as a line; digests are for --json."""
    detail = {k: v for k, v in row["detail"].items() if v not in (None, "", [], {}) and k not in ("digest", "batch")}
    told = "; ".join(f"{name} {_plain(value)}" for name, value in detail.items())
    return ": ".join(part for part in (row["reason"], told) if part)


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {_plain(v)}" for k, v in value.items())
    if isinstance(value, list):
        return " | ".join(_plain(v) for v in value)
    return str(value)


@app.command()
def verify(
    context: typer.Context,
    anchor: Annotated[
        Path | None,
        typer.Option("--anchor", metavar="FILE", help="Compare with what `concord audit anchor FILE` wrote down."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Work the chain out anew, row by row, and name the first row that was changed, removed or put in. Exit code 1.

    Rows cut off at the end leave no trace inside: only an anchor kept elsewhere shows that they were there."""
    from staging import audit

    anchors = _anchors(anchor) if anchor else []
    with session.of(context).reading() as (_, conn):
        found = audit.verify(conn, anchors)
    if as_json:
        emit({"ok": found.broken is None, **asdict(found)})
    else:
        _tell(found, anchor)
    if found.broken is not None:
        raise typer.Exit(NEEDS_A_PERSON)


def _tell(found: Verdict, anchor: Path | None) -> None:
    if found.broken is not None:
        show(f"! {found.broken.because}", style="red")
        show(f"{count(found.rows, 'row')} before it are as they were written")
        then("somebody with the owner's rights changed the table: compare with a backup before anything else")
        return
    show(f"{count(found.rows, 'row')}, each following from the one before: nothing was changed", style="green")
    if found.head is not None:
        show(f"the last is row {found.head.id} of {found.head.at}, digest {found.head.digest}")
    if anchor is not None:
        show(f"{count(found.anchors, 'anchor')} of {anchor} agree: nothing is missing at the end up to then")
    else:
        then("pin the end outside the database: concord audit anchor FILE")


@app.command()
def anchor(context: typer.Context, file: AnchorFile) -> None:
    """Write the end of the chain as it is now into a file, to be kept where the database's owner cannot write."""
    from staging import audit

    with session.of(context).reading() as (_, conn):
        found = audit.verify(conn, _anchors(file) if file.exists() else [])
    if found.broken is not None:
        raise Stop(NEEDS_A_PERSON, f"not anchored: {found.broken.because}", "concord audit verify")
    if found.head is None:
        raise Stop(0, "nothing to anchor: nothing was ever written down")
    with file.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(asdict(found.head)) + "\n")
    show(f"row {found.head.id} of {found.head.at} is anchored in {file}: {found.head.digest}")
    then(f"later: concord audit verify --anchor {file}")


def _anchors(file: Path) -> list[Anchor]:
    """What a file of anchors holds. Raises Stop where it is none."""
    from staging.audit import Anchor

    found = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        try:
            told = json.loads(line)
            datetime.fromisoformat(told["at"])
            found.append(Anchor(int(told["id"]), str(told["digest"]), told["at"]))
        except (ValueError, KeyError, TypeError):
            raise Stop(REFUSED, f"{file}:{number}: expected a line that `concord audit anchor` wrote") from None
    return found
