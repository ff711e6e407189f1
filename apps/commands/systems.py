"""`concord systems`: what is declared to exist, and whether it answers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from apps import session
from apps.exits import SYSTEM
from apps.options import Json
from apps.screen import emit, show, table, then

if TYPE_CHECKING:
    from tasks.world import World

app = typer.Typer(help="The business systems: list them, check that they answer.", no_args_is_help=True)


@dataclass(frozen=True)
class Answer:
    """What a system said when it was asked whether it works."""

    system: str
    is_fine: bool
    kind: str
    said: str
    owner: str
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def register(root: typer.Typer) -> None:
    root.add_typer(app, name="systems", rich_help_panel="Declare")


@app.command("list")
def list_systems(context: typer.Context, as_json: Json = False) -> None:
    """Every declared system: its connector, its owner, what it makes, and what is written to it."""
    landscape = session.of(context).landscape()
    rows: list[dict[str, Any]] = []
    for system in landscape.systems.values():
        made = {m.entity for s in system.streams.values() for m in s.makes}
        written = [
            f"{i.name} ({t.mode})" for i in landscape.integrations.values() for t in i.to if t.system == system.name
        ]
        rows.append(
            {
                "system": system.name,
                "connector": system.connector,
                "owner": system.owner,
                "originates": list(system.originates),
                "makes": sorted(made),
                "streams": sorted(system.streams),
                "written_by": written,
                "is_shadow": system.shadow,
                "why": system.why,
            }
        )
    if as_json:
        emit(rows)
        return
    table(
        ("system", "connector", "owner", "makes", "written by", "notes"),
        [
            (r["system"], r["connector"], r["owner"], ", ".join(r["makes"]), ", ".join(r["written_by"]), r["why"])
            for r in rows
        ],
    )


@app.command()
def check(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="[SYSTEM]", help="One system; without it all of them.")] = None,
    as_json: Json = False,
) -> None:
    """Ask each system whether it answers and lets us in. Exit code 5 if one does not."""
    here = session.of(context)
    landscape = here.landscape()
    names = [session.system(landscape, name)] if name else list(landscape.active_systems)
    with here.world(is_model_needed=False) as world:
        answers = ask(world, names)
    if as_json:
        emit([a.as_dict() for a in answers])
    else:
        show_answers(answers)
    if any(not a.is_fine for a in answers):
        raise typer.Exit(SYSTEM)


def ask(world: World, names: Sequence[str]) -> list[Answer]:
    """Asks systems side by side: a slow one keeps nobody waiting."""
    with ThreadPoolExecutor(max(1, min(8, len(names)))) as pool:
        return list(pool.map(lambda name: _ask_one(world, name), names))


def _ask_one(world: World, name: str) -> Answer:
    from connectors.protocol import ConnectorError

    began = time.monotonic()
    try:
        world.connector(name).check()
        kind, said = "fine", "answers and lets us in"
    except ConnectorError as error:
        kind, said = type(error).__name__, str(error)
    seconds = round(time.monotonic() - began, 3)
    return Answer(name, kind == "fine", kind, said, world.owner_of_system(name), seconds)


NEXT = {
    "AuthFailed": "its owner renews the credentials",
    "Unreachable": "see that it runs, and that url: and network: in landscape.yaml are right",
    "Misdeclared": "correct landscape.yaml, or set the variable it names",
    "RateLimited": "wait a while and ask again",
}


def show_answers(answers: Sequence[Answer]) -> None:
    """A line for each system; what to do about those that do not work."""
    table(
        ("system", "answer", "seconds", "owner"),
        [(a.system, a.said if a.is_fine else f"{a.kind}: {a.said}", f"{a.seconds:.1f}", a.owner) for a in answers],
    )
    bad = [a for a in answers if not a.is_fine]
    for each in bad:
        then(f"{each.system}: {NEXT.get(each.kind, 'ask again; if it stays so, tell its owner')} ({each.owner})")
    if bad and len(bad) < len(answers):
        show("the others are unaffected: a sync goes on without a system that does not answer")
