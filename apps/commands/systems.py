"""`concord systems`: what is declared to exist, whether it answers, and letting Concord into it."""

from __future__ import annotations

import getpass
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from apps import redirect, session
from apps.exits import REFUSED, SYSTEM, Stop
from apps.options import Json
from apps.screen import emit, say, show, table, then, when

if TYPE_CHECKING:
    from canonical.landscape import Landscape
    from tasks.world import World

app = typer.Typer(help="The business systems: list them, check that they answer, let Concord in.", no_args_is_help=True)


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
    """Every declared system: its connector, its owner, what it makes, what is written to it, how its token stands."""
    here = session.of(context)
    landscape = here.landscape()
    tokens = _tokens(here, landscape)
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
                "token": tokens.get(system.name),
            }
        )
    if as_json:
        emit(rows)
        return
    columns = ("system", "connector", "owner", "makes", "written by", "notes", *(("token",) if tokens else ()))
    table(
        columns,
        [
            (r["system"], r["connector"], r["owner"], ", ".join(r["makes"]), ", ".join(r["written_by"]), r["why"])
            + ((_token_words(r["token"]),) if tokens else ())
            for r in rows
        ],
    )
    for r in rows:
        if r["token"] is not None and r["token"]["state"] in ("missing", "refused"):
            then(f"{r['system']}: concord systems authorize {r['system']}")


def _tokens(here: session.Session, landscape: Landscape) -> dict[str, dict[str, Any]]:
    """How the tokens of systems with OAuth 2 stand, without the tokens; the database is asked only where there are."""
    declared = {n: s.settings["oauth2"] for n, s in landscape.active_systems.items() if "oauth2" in s.settings}
    if not declared:
        return {}
    from staging import tokens

    with here.world(is_model_needed=False) as world, world.transaction() as conn:
        found = tokens.states(conn, list(declared))
    empty = dict.fromkeys(tokens.TokenState.__dataclass_fields__)
    shown: dict[str, dict[str, Any]] = {}
    for name, oauth2 in declared.items():
        held = found.get(name)
        missing = "missing" if oauth2.grant == "authorization_code" else "not fetched yet"
        entry = {"grant": oauth2.grant, "state": held.state if held else missing, **(held.as_dict() if held else empty)}
        shown[name] = {key: value for key, value in entry.items() if key != "system"}
    return shown


def _token_words(token: Mapping[str, Any] | None) -> str:
    """One cell: how a token stands."""
    if token is None:
        return ""
    if token["stored_at"] is None:
        return str(token["state"])
    ends = f"until {when(token['expires_at'])}" if token["expires_at"] else "without an end"
    sealed = "" if token["is_sealed"] else ", not sealed"
    return f"{token['state']}, {ends}, renewed {when(token['stored_at'])}{sealed}"


@app.command()
def authorize(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="SYSTEM", help="A system that declares oauth2.")],
    paste: Annotated[
        bool,
        typer.Option("--paste", help="The browser is elsewhere: read the address it ended at from stdin."),
    ] = False,
    minutes: Annotated[int, typer.Option("--minutes", min=1, max=60, help="How long to wait for the yes.")] = 10,
) -> None:
    """Let Concord into a system: a person says yes in the browser, and the first token is stored."""
    from connectors.oauth import OAuth2
    from staging import audit

    here = session.of(context)
    landscape = here.landscape()
    session.system(landscape, name)
    if "oauth2" not in landscape.systems[name].settings:
        raise Stop(REFUSED, f"{name} does not declare oauth2: its token stands where landscape.yaml says")
    with here.world(is_model_needed=False) as world:
        auth = OAuth2.of(world.context(name, authorised_by=getpass.getuser()))
        try:
            asked = auth.begin()
            say("open this address in a browser, log in, and say yes:")
            show(asked.url)
            if not paste:
                say(f"waiting for the answer at {asked.redirect_uri} for {minutes} min")
            answer = (
                redirect.pasted(asked.state)
                if paste
                else redirect.answer_of(asked.redirect_uri, asked.state, minutes * 60)
            )
            if "code" not in answer:
                raise Stop(SYSTEM, f"the system did not agree: {_said_no(answer)}; nothing was stored")
            auth.finish(asked, answer["code"], answer.get("state", ""))
            with world.transaction() as conn:
                audit.append(conn, session.who(landscape, None), "token.authorised", f"system:{name}")
        finally:
            auth.close()
        say(f"{name} has let Concord in; the token is renewed by itself from now on")
        answers = ask(world, [name])
    show_answers(answers)
    if any(not a.is_fine for a in answers):
        raise typer.Exit(SYSTEM)


def _said_no(answer: Mapping[str, str]) -> str:
    return (answer.get("error_description") or answer.get("error") or "there is no code in the answer")[:200]


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
    from connectors.http.guard import by_hand
    from connectors.protocol import ConnectorError

    began = time.monotonic()
    try:
        with by_hand():
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
        if (command := f"concord systems authorize {each.system}") in each.said:
            then(f"{command} ({each.owner})")
            continue
        then(f"{each.system}: {NEXT.get(each.kind, 'ask again; if it stays so, tell its owner')} ({each.owner})")
    if bad and len(bad) < len(answers):
        show("the others are unaffected: a sync goes on without a system that does not answer")
