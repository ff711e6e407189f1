"""`concord demo`: business systems that disagree, brought into agreement on this machine, in a few minutes."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from apps import demo as house
from apps.commands import sync as syncing
from apps.exits import BUSY, DONE, NEEDS_A_PERSON, SYSTEM, Stop
from apps.follow import following
from apps.options import Json
from apps.screen import Clock, count, emit, heading, show, table, then

if TYPE_CHECKING:
    from sandbox.runner import Running


def register(root: typer.Typer) -> None:
    root.command("demo", rich_help_panel="Begin")(demo)


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything up, to explore it.")] = False,
    stop: Annotated[bool, typer.Option("--stop", help="Stop a demo that was left up.")] = False,
    scale: Annotated[
        float, typer.Option("--scale", min=0.03, max=10, help="How much of it: 1 is about 2,000 customers.")
    ] = 1.0,
    as_json: Json = False,
) -> None:
    """Start a CRM, a ledger, an old order database and a workbook that disagree, and bring them into agreement.

    Needs nothing and touches nothing but .concord/demo; every demo begins anew."""
    place = house.home()
    if stop:
        stopped = house.stop(place)
        show(f"stopped {', '.join(stopped)}" if stopped else "no demo is up")
        return
    if (up := house.kept(place)) is not None:
        raise Stop(
            BUSY,
            f"a demo is up since {up.started_at}",
            "explore it: concord status",
            "stop it: concord demo --stop",
        )
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whatever ends it, what it started is stopped
    clock = Clock(silent=as_json)
    clock.say(f"a demo from nothing, all of it under {place}")
    house.clear(place)
    house.move_in(place)
    with _house(place, clock, scale=scale, is_kept=keep) as (running, environment):
        links = _links(place, running)
        summary = _sync(clock, links)
        figures = house.figures(summary, links, clock.seconds, is_kept=keep)
        if keep:
            house.keep(place, running, environment, links)
    if as_json:
        emit(figures)
    else:
        _print(figures, place)
    # the refused writes are planted: two customers of one name, of which the ledger takes one
    raise typer.Exit(NEEDS_A_PERSON if figures["trouble"] else DONE)


@contextmanager
def _house(place: Path, clock: Clock, *, scale: float, is_kept: bool) -> Iterator[tuple[Running, dict[str, str]]]:
    """Everything up and ready; stopped at the end, unless it is kept and all went well."""
    running: Running | None = None
    is_well = False
    try:
        prefect = _Prefect(place)
        clock.say("starting a PostgreSQL of our own, and Prefect beside it")
        _database()
        clock.say("starting the business systems: a CRM, a ledger, an order database, a workbook, an alert inbox")
        try:
            running, environment = house.start_systems(place, scale=scale, outlives_us=is_kept)
        except RuntimeError as error:
            raise Stop(SYSTEM, str(error)) from None
        house.move_in(place, environment)
        house.copy_landscape(place, running)
        _apply_model(clock)
        prefect.wait(clock)
        yield running, environment
        is_well = True
    finally:
        if not (is_kept and is_well):
            clock.say("stopping everything again")
            if running is not None:
                running.stop()
            house.stop(place)


class _Prefect:
    """The demo's Prefect server, starting while the rest does."""

    def __init__(self, place: Path) -> None:
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._start, args=(place / "prefect",), name="prefect", daemon=True)
        self._thread.start()

    def _start(self, folder: Path) -> None:
        from deployments import prefect_local

        try:
            prefect_local.start(folder)
        except BaseException as error:
            self.error = error

    def wait(self, clock: Clock) -> None:
        """Returns when it answers. Raises PrefectUnavailable."""
        if self._thread.is_alive():
            clock.say("waiting for Prefect")
        self._thread.join()
        if self.error is not None:
            raise self.error


def _database() -> None:
    from staging import migrate
    from staging.embedded import EmbeddedServer

    EmbeddedServer().start()
    migrate.upgrade()


def _apply_model(clock: Clock) -> None:
    from staging import model_changes
    from staging.engine import database_url, engine, transaction
    from tasks import landscape

    model = landscape.load().model
    with transaction(engine("owner")) as conn:
        changes = model_changes.plan_changes(conn, model)
        model_changes.apply(conn, changes, database_url("app").username)
    clock.say(f"applied the model: {count(len(model.entities), 'entity', 'entities')}, {count(len(changes), 'change')}")


def _sync(clock: Clock, links: dict[str, str]) -> dict[str, Any]:
    """The sync of all integrations, as a flow run."""
    from staging.engine import engine

    syncing.lead_prefect(None, clock)
    with following(engine("app"), clock, silent=clock.silent):
        summary = syncing.run_as_flow("all", mode="incremental", sample=None)
    if summary["flow_run_url"]:
        links["prefect_run"] = summary["flow_run_url"]
    return summary


def _links(place: Path, running: Running) -> dict[str, str]:
    return {
        "data_docs": (place / "docs" / "index.html").as_uri(),
        "alert_inbox": running.slack_url,
        "landscape": str(house.landscape_of(place)),
        "truth": running.truth_path,
    }


LINKS = {"prefect_run": "the run in Prefect", "data_docs": "Data Docs", "alert_inbox": "alert inbox"}


def _print(figures: Mapping[str, Any], place: Path) -> None:
    heading("what was read")
    _counts("system", figures["systems"])
    heading("what was written")
    _counts("target", figures["targets"])
    heading("what waits for a person")
    show(
        f"{count(figures['reviews'], 'review')} (possible matches), {count(figures['findings'], 'finding')},"
        f" {count(figures['quarantined'], 'quarantined record')}, {count(figures['held'], 'held write')},"
        f" {count(figures['rejected'], 'refused write')}"
    )
    syncing.print_trouble(figures["trouble"])
    heading("look at it")
    for name, what in (
        ("prefect_run", "the run in Prefect"),
        ("data_docs", "Data Docs"),
        ("alert_inbox", "alert inbox"),
    ):
        if figures["links"].get(name):
            show(f"{what:<20}{figures['links'][name]}")
    show(f"\ndone after {figures['seconds']:.0f} s", style="green")
    if figures["is_kept"]:
        show("everything is up; these commands work on it:")
        then(
            "concord status",
            "concord reviews list",
            "concord explain customer WHAT   (a name, an e-mail address, crm/companies/ID)",
            "concord sync                    (nothing has changed: it writes nothing)",
            "concord serve --login           (where the Prefect UI is, and what it asks for at its door)",
            "concord demo --stop",
        )
    else:
        show("everything is stopped again; Prefect and the inbox answer only while a demo is up")
        then("explore one: concord demo --keep", f"what it declared: {house.landscape_of(place)}")


def _counts(what: str, rows: Mapping[str, Mapping[str, int]]) -> None:
    """Places with their counts, which have the same names everywhere."""
    names = list(next(iter(rows.values()), {}))
    table((what, *(f"#{n}" for n in names)), [(place, *(counts[n] for n in names)) for place, counts in rows.items()])
