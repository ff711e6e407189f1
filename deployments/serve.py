"""Serve a landscape: its deployments in the local Prefect server (or the one PREFECT_API_URL names), run from here.

    python -m deployments.serve [FOLDER]

Runs are processes of their own, started by this one as Prefect hands them out. On SIGTERM the runs that are under way
are ended; our ledger lets the next run go on where they stopped.
"""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from deployments import automations, prefect_local, registered
from staging import runs
from staging.engine import transaction
from staging.home import concord_home
from tasks import landscape as reading
from tasks.world import World

if TYPE_CHECKING:
    from canonical.landscape import Landscape

POLL_SECONDS = 2
"""How often Prefect is asked for runs that are due: a click in its pages begins to run after about three seconds."""
RUNS_AT_ONCE = 4
END_SECONDS = 10


def serve(
    folder: str | Path | None = None, *, runs_at_once: int = RUNS_AT_ONCE, tell: Callable[[str], None] = print
) -> None:
    """Serve until SIGTERM or Ctrl-C; `tell` hears when runs are taken from now on.

    Raises Refused, DatabaseTrouble, PrefectUnavailable."""
    landscape = prepare(folder)
    from prefect import serve as prefect_serve

    declared = registered.wanted(landscape)
    registered.leave_pools(landscape)
    ids = registered.apply(declared)
    registered.keep_newest_overdue(landscape)
    automations.ensure(World(landscape, reading.folder_of()), ids)
    # Prefect 3.8.8 forgets to await its own stopping on SIGTERM: what it then leaves undone, `end_runs` does
    warnings.filterwarnings("ignore", message="coroutine 'Runner.astop' was never awaited")
    deployments = registered.wanted(landscape).values()
    tell(f"serving {landscape.name}: {len(deployments)} deployments, {runs_at_once} runs at once")
    try:
        prefect_serve(
            *deployments,
            pause_on_shutdown=False,  # a pause is a person's decision; runs that nobody starts show as late
            print_starting_message=False,
            limit=runs_at_once,
            query_seconds=POLL_SECONDS,
        )
    finally:
        end_runs()


def register(folder: str | Path | None = None) -> dict[str, str]:
    """Put a landscape's deployments into Prefect, to be run by whoever serves them; gives name → id.

    Deployments of integrations that are no longer declared are removed; what a person paused stays paused."""
    landscape = prepare(folder)
    found = registered.apply(registered.wanted(landscape))
    registered.remove_others(landscape)
    return found


def prepare(folder: str | Path | None = None) -> Landscape:
    """Leads this process, and the runs it starts, to one landscape, one database, one home and one Prefect server."""
    place = reading.folder_of(folder).absolute()
    landscape = reading.load(place)
    # runs are started in other folders and later: what is named relative to here must stay the same
    os.environ["CONCORD_LANDSCAPE"] = str(place)
    os.environ["CONCORD_HOME"] = str(concord_home())
    with transaction() as conn:
        runs.pin_declaration(conn, landscape.digest, landscape.name, landscape.files)
    prefect_local.start()
    return landscape


def end_runs() -> None:
    """Ends the processes of runs that are still under way: asked first, then made."""
    left = psutil.Process().children(recursive=True)
    for how in (psutil.Process.terminate, psutil.Process.kill):
        for process in left:
            with contextlib.suppress(psutil.Error):
                how(process)
        _, left = psutil.wait_procs(left, timeout=END_SECONDS)
        if not left:
            return


def main(arguments: Iterable[str] | None = None) -> int:
    """`python -m deployments.serve [FOLDER]`."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    serve(given[0] if given else None)
    return 0


if __name__ == "__main__":
    sys.exit(main())
