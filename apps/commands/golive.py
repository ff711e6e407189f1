"""`concord golive`: what the first writes of an observed integration would be, and the word that they may go."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from apps import listing, session
from apps.commands.plan import OptionalBy, print_writes
from apps.commands.sync import print_trouble
from apps.exits import NEEDS_A_PERSON, REFUSED, Stop
from apps.options import Json, Yes
from apps.screen import Clock, count, emit, err, heading, is_interactive, reading, show, table, then

if TYPE_CHECKING:
    from canonical.landscape import Integration
    from tasks.golive import FirstPlan, GoLive
    from tasks.world import World


def register(root: typer.Typer) -> None:
    root.command("golive", rich_help_panel="Work")(golive)


def golive(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="INTEGRATION", help="Which integration.")],
    target: Annotated[str | None, typer.Option("--target", help="Only its targets in this system.")] = None,
    by: OptionalBy = None,
    because: Annotated[str | None, typer.Option("--because", help="Why; it is kept with the going live.")] = None,
    back: Annotated[
        bool, typer.Option("--back", help="Observe again what went live so: nothing more is sent there.")
    ] = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Show the first plan of an integration's observed targets, and let them be written to from the next sync on.

    A target with `mode: observe`, which is the default, is planned and reported but told nothing. The word that it may
    be written to is kept in the database with who said it and which plan was seen; landscape.yaml is not changed."""
    clock = Clock(silent=as_json)
    with session.of(context).world() as world:
        integration = _integration(world, name, target)
        who = session.who(world.landscape, by)
        if back:
            _take_back(world, integration, target, who, because, yes=yes, as_json=as_json)
            return
        seen, saved = _go(world, integration, target, who, because, clock, yes=yes, as_json=as_json)
    if as_json:
        emit(_as_json(seen, saved))
    elif saved is not None:
        places = ", ".join(f"{t.system}/{t.stream}" for t in seen.observed)
        show(f"{name} is live in {places}, by {who}; the plan that was seen is kept as plan {saved}", style="green")
        then(f"send it: concord sync {name}", f"observe again: concord golive {name} --back")
    raise typer.Exit(NEEDS_A_PERSON if seen.listing.trouble else 0)


def _integration(world: World, name: str, target: str | None) -> Integration:
    """The integration, which writes to the system that was named. Raises Stop."""
    if name == "all":
        raise Stop(REFUSED, "integrations go live one by one: name one of " + ", ".join(world.landscape.integrations))
    session.integrations(world, name)
    integration = world.landscape.integrations[name]
    systems = {t.system for t in integration.to}
    if target is not None and target not in systems:
        raise Stop(REFUSED, f"{name} does not write to {target!r}; it writes to {', '.join(sorted(systems))}")
    return integration


def _go(
    world: World,
    integration: Integration,
    target: str | None,
    who: str,
    because: str | None,
    clock: Clock,
    *,
    yes: bool,
    as_json: bool,
) -> tuple[GoLive, int | None]:
    from tasks import golive as task
    from tasks.sync import PlainSteps

    name = integration.name
    reason = listing.told(because, "--because") if because is not None else None
    clock.say(f"first plan of {name}")
    with reading(silent=as_json) as progress:
        seen = task.first_plan(world, name, system=target, steps=PlainSteps(world, None, progress=progress))
    if not as_json:
        _print(seen)
    if seen.listing.trouble:
        return seen, None  # what could not be read is not in the plan: nobody can agree to it
    if not seen.observed:
        if not as_json:
            show(f"nothing to do: no target of {name} is only observed")
        return seen, None
    _confirmed(name, yes=yes)
    return seen, task.go_live(world, seen, seen.observed, by=who, reason=reason)


def _confirmed(name: str, *, yes: bool) -> None:
    """Asks for the integration's name, typed: a yes is given too easily."""
    if yes:
        return
    if not is_interactive():
        raise Stop(REFUSED, "this asks for a confirmation, and nobody is there to ask: add --yes")
    answer = err().input(f"To let it go live, type the name of the integration ({name}): ", markup=False)
    if answer.strip() != name:
        raise Stop(REFUSED, "nothing was done: it is still only observed")


def _take_back(
    world: World,
    integration: Integration,
    target: str | None,
    who: str,
    because: str | None,
    *,
    yes: bool,
    as_json: bool,
) -> None:
    from tasks import golive as task

    name = integration.name
    reason = listing.told(because, "--because") if because is not None else "taken back by hand"
    session.confirmed(f"Observe {name} again, and drop what is not sent yet?", yes=yes)
    ended = task.take_back(world, name, system=target, by=who, reason=reason)
    if as_json:
        emit({"integration": name, "observed_again": [f"{system}/{stream}" for _, system, stream in ended]})
        return
    if not ended:
        raise Stop(0, f"nothing to do: no target of {name} went live by a person's word")
    show(f"{name} is only observed again in {', '.join(f'{s}/{t}' for _, s, t in ended)}")
    then(f"drop what is not sent yet: concord sync {name}")


def _print(seen: GoLive) -> None:
    """Each target: links, creates, updates, blanks, duplicates, what the brake says, and a sample."""
    for target in seen.targets:
        heading(f"{seen.integration} to {target.system}/{target.stream}: {_mode(target)}")
        table(
            ("what", "#count", ""),
            [
                ("linked", target.linked, "records there that are known to be one of ours"),
                ("in agreement", target.agreeing, "… and hold what they should"),
                ("create", target.creates, "records that are not there"),
                ("update", target.updates, "records that differ"),
                ("archive", target.archives, "records that should not be there any more"),
                ("blanked", target.blanks, "fields that would be turned empty"),
                (
                    "left alone",
                    target.left_alone,
                    "fields there that nobody speaks for: concord findings",
                ),
                (
                    "duplicates",
                    target.duplicates,
                    "second records of one of ours, to be merged: concord findings",
                ),
                ("in doubt", target.in_doubt, "records that may be ours: concord reviews"),
                ("would be held", target.held, "a person would have to agree first"),
                ("would wait", target.waiting, "for another record to exist there first"),
            ],
        )
        for verdict in target.brake:
            show(f"the brake on {count(verdict.count, verdict.op)}: {verdict.verdict}; {verdict.because}")
        print_writes(target.sample)
    print_trouble([asdict(t) for t in seen.listing.trouble])


def _mode(target: FirstPlan) -> str:
    if target.declared != "observe":
        return f"live as declared (mode: {target.declared})"
    return "live by a person's word" if target.is_live else "only observed"


def _as_json(seen: GoLive, saved: int | None) -> dict[str, Any]:
    return {
        "integration": seen.integration,
        "is_live": saved is not None,
        "saved_plan_id": saved,
        "digest": seen.listing.digest,
        "targets": [
            {**asdict(t), "brake": [asdict(b) for b in t.brake], "sample": [w.as_dict() for w in t.sample]}
            for t in seen.targets
        ],
        "trouble": [asdict(t) for t in seen.listing.trouble],
    }
