"""`concord deploy`: the landscape's deployments for the workers of a Prefect work pool."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from apps import session
from apps.exits import DONE, REFUSED, SYSTEM, Stop
from apps.options import Json
from apps.screen import count, emit, say, show, table, then

if TYPE_CHECKING:
    from deployments.deploy import Difference, Wish


def register(root: typer.Typer) -> None:
    root.command("deploy", rich_help_panel="Work")(deploy)


def deploy(
    context: typer.Context,
    pool: Annotated[str, typer.Option("--pool", help="The work pool; made as a process pool if there is none.")] = (
        "concord"
    ),
    work_queue: Annotated[str | None, typer.Option("--work-queue", help="A queue of the pool.")] = None,
    image: Annotated[
        str | None, typer.Option("--image", help="For a pool that starts containers: the image that the code is in.")
    ] = None,
    elsewhere: Annotated[
        bool, typer.Option("--elsewhere", help="The workers run on machines with folders and CONCORD_* of their own.")
    ] = False,
    runs_at_once: Annotated[
        int, typer.Option("--runs-at-once", min=1, max=64, help="Runs side by side, for a pool that is made.")
    ] = 4,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Put every integration and rhythm into a Prefect work pool, for `prefect worker start --pool …` to run.

    What is as declared stays, what is no longer declared is removed, and what a person paused stays paused."""
    here = session.of(context)
    with here.world():
        pass  # the database, its schema and the model fit, or it is said now
    from deployments import deploy as deploying

    wish = deploying.Wish(pool=pool, queue=work_queue, image=image, elsewhere=elsewhere, runs_at_once=runs_at_once)
    found = _compared(here.folder, wish)
    if not as_json:
        _print(found, dry_run=dry_run)
    if not dry_run:
        deploying.deploy(here.folder, wish, found)
        if not as_json:
            _print_worker(found)
    if as_json:
        emit(_figures(found, dry_run=dry_run))
    raise typer.Exit(DONE)


def _compared(folder: Any, wish: Wish) -> Difference:
    """What would change. Raises Stop where the pool does not fit, and PrefectUnavailable."""
    from deployments import deploy as deploying
    from deployments.pool import PoolUnfit
    from deployments.prefect_local import PrefectUnavailable

    try:
        return deploying.compare(folder, wish)
    except PoolUnfit as error:
        raise Stop(REFUSED, str(error), "another pool: concord deploy --pool NAME") from None
    except PrefectUnavailable as error:
        raise Stop(
            SYSTEM, str(error), "PREFECT_API_URL names your own server; without it a local one is used"
        ) from None


def _print(found: Difference, *, dry_run: bool) -> None:
    is_new = "" if found.pool.exists else " (to be made)" if dry_run else " (made now)"
    show(f"work pool {found.pool.name}, type {found.pool.type}{is_new}")
    rows = [(change.verdict, change.name, change.because) for change in found.changes if change.verdict != "keep"]
    if rows:
        table(("what", "deployment", "because"), rows)
    kept = sum(change.verdict == "keep" for change in found.changes)
    show(f"{count(kept, 'deployment stays', 'deployments stay')} as it is" if kept == 1 else f"{kept} stay as they are")


def _print_worker(found: Difference) -> None:
    from deployments import prefect_local

    server = prefect_local.start()
    say(f"Prefect UI: {server.ui_url}  (what to log in with: concord serve --login)")
    lines = [f"prefect worker start --pool {found.pool.name}"]
    if server.is_ours:
        lines = [
            f"export PREFECT_API_URL={server.api_url}",
            f'export PREFECT_API_AUTH_STRING="$(cat {prefect_local.login_file()})"',
            *lines,
        ]
    show("the runs begin as soon as a worker takes them; where the systems' secrets are set:")
    then(*lines)


def _figures(found: Difference, *, dry_run: bool) -> dict[str, Any]:
    """What `concord deploy --json` prints."""
    return {
        "pool": asdict(found.pool),
        "changes": [asdict(change) for change in found.changes],
        "is_done": not dry_run,
    }
