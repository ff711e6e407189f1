"""`concord`: the door for people and scripts. Every command is declared in `apps.commands`; this is what they share."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from typer.exceptions import TyperException

from apps import exits
from apps.commands import (
    apply,
    audit,
    backup,
    check,
    crash_points,
    db,
    demo,
    deploy,
    explain,
    findings,
    forget,
    golden,
    golive,
    holds,
    ledger,
    letters,
    mapping,
    model,
    pause,
    plan,
    prove,
    quarantine,
    queues,
    rehearse,
    retention,
    reviews,
    serve,
    status,
    sync,
    systems,
    undo,
    watch,
)
from apps.screen import clean, err, say
from apps.session import Session

EPILOG = (
    "[bold]Exit codes[/bold]: 0 done · 1 done, but something needs a person · 2 nothing was done: wrong usage or a"
    " refused declaration · 3 busy: it is running already · 4 the database · 5 a system cannot be reached or does not"
    " let us in · 70 a fault of Concord's own (its log is named) · 74 the output could not be written · 130 Ctrl-C"
)

app = typer.Typer(
    name="concord",
    help="Keeps a company's business systems in agreement: declared, staged, matched, delivered once, explained.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


OWN_HOUSE = ("demo", "prove", "rehearse")
"""Commands that begin in a house of their own, whatever is up."""


@app.callback()
def root(
    context: typer.Context,
    landscape: Annotated[
        Path | None,
        typer.Option(
            "--landscape",
            help="The folder of declarations to work with.",
            envvar="CONCORD_LANDSCAPE",
            show_default="deployments/demo",
        ),
    ] = None,
) -> None:
    """Every command takes --help; every command that reads takes --json."""
    if landscape is None and context.invoked_subcommand not in OWN_HOUSE:
        _join_demo(context.invoked_subcommand)
    context.obj = Session(landscape)


def _join_demo(command: str | None) -> None:
    """A command that names no landscape works on the demo that was left up, if one is."""
    from apps import demo as house

    if command is not None and (up := house.kept()) is not None:
        house.move_in(Path(up.home), up.environment)
        say(f"(on the demo that is up since {up.started_at}; stop it: concord demo --stop)", style="dim")


GROUPS = (
    demo,
    check, model, mapping, systems,
    plan, apply, golive, sync, pause, undo, watch, serve, deploy,
    status, explain, ledger, audit,
    queues, holds, reviews, quarantine, letters, findings, golden,
    prove, rehearse, crash_points,
    db, backup, forget, retention,
)  # fmt: skip
"""In the order of `concord --help`."""
for group in GROUPS:
    group.register(app)


STYLES = {exits.DONE: None, exits.NEEDS_A_PERSON: "yellow", exits.INTERRUPTED: "yellow"}


def main() -> None:
    """The entry point of the `concord` script."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Runs one command; gives its exit code. Whatever goes wrong is one plain message on stderr."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # libraries' advice to programmers is no help to the person at the prompt
    try:
        exits.refuse_secrets(arguments)
        ended = app(_landscape_first(arguments) or ["--help"], prog_name="concord", standalone_mode=False)
        sys.stdout.flush()
        if ended == exits.INTERRUPTED:
            raise KeyboardInterrupt
        return ended if isinstance(ended, int) else exits.DONE
    except TyperException as usage:
        return _wrong_usage(usage)
    except typer.Abort:
        return _told(exits.Stop(exits.REFUSED, "nothing was done"))
    except SystemExit as end:  # a closed pipe, as Typer and Rich end it
        _close_output()
        return exits.OUTPUT if end.code else exits.DONE
    except OSError as error:
        if error.filename is not None:
            return _told(exits.explained(error))
        _close_output()
        return _told(exits.Stop(exits.OUTPUT, f"the output could not be written: {error.strerror or error}"))
    except BaseException as error:
        return _told(exits.explained(error))


def _landscape_first(arguments: Sequence[str]) -> list[str]:
    """`concord status --landscape DIR` means `concord --landscape DIR status`."""
    first: list[str] = []
    rest: list[str] = []
    left = iter(arguments)
    for argument in left:
        if argument == "--":
            return [*first, *rest, argument, *left]
        if argument == "--landscape":
            first += [argument, *(value for value in [next(left, None)] if value is not None)]
        elif argument.startswith("--landscape="):
            first.append(argument)
        else:
            rest.append(argument)
    return first + rest


def _wrong_usage(usage: TyperException) -> int:
    message = clean(usage.message if hasattr(usage, "possibilities") else usage.format_message())
    near = getattr(usage, "possibilities", None)
    if near:
        message = f"{message.rstrip('.')}. Did you mean {' or '.join(sorted(near))}?"
    context = getattr(usage, "ctx", None)
    path = context.command_path if context is not None else "concord"
    return _told(exits.Stop(exits.REFUSED, message, f"{path} --help"))


def _told(stop: exits.Stop) -> int:
    try:
        say(f"concord: {stop.message}", style=STYLES.get(stop.code, "red"))
        for line in stop.then:
            err().print(f"  → {clean(line)}", soft_wrap=True)
    except OSError:
        pass
    return stop.code


def _close_output() -> None:
    """Nothing more can be written: the interpreter must not try again when it ends."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        pass


if __name__ == "__main__":
    main()
