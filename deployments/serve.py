"""Serve a landscape: its deployments in the local Prefect server (or the one PREFECT_API_URL names), run from here.

    python -m deployments.serve [FOLDER]

Runs are processes of their own, started by this one as Prefect hands them out. On SIGTERM the runs that are under way
are ended; our ledger lets the next run go on where they stopped.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import os
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import psutil

from deployments import prefect_local
from deployments.schedules import DeploymentSpec, specs
from staging import runs
from staging.engine import transaction
from staging.home import concord_home
from tasks import landscape as reading

if TYPE_CHECKING:
    from prefect.client.schemas.filters import DeploymentFilter
    from prefect.client.schemas.responses import DeploymentResponse
    from prefect.deployments.runner import RunnerDeployment
    from prefect.flows import Flow

    from canonical.landscape import Landscape

POLL_SECONDS = 2
"""How often Prefect is asked for runs that are due: a click in its pages begins to run after about three seconds."""
RUNS_AT_ONCE = 4
END_SECONDS = 10
TAG = "concord"
"""Marks our deployments among others of the same Prefect server; beside it stands the landscape's name."""


def serve(folder: str | Path | None = None, *, runs_at_once: int = RUNS_AT_ONCE) -> None:
    """Serve until SIGTERM or Ctrl-C. Raises Refused, DatabaseTrouble, PrefectUnavailable."""
    landscape = prepare(folder)
    from prefect import serve as prefect_serve

    paused = paused_names(landscape)
    deployments = [to_deployment(spec, is_paused=spec.full_name in paused) for spec in specs(landscape)]
    drop_overdue(landscape)
    # Prefect 3.8.8 forgets to await its own stopping on SIGTERM: what it then leaves undone, `end_runs` does
    warnings.filterwarnings("ignore", message="coroutine 'Runner.astop' was never awaited")
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
    paused = paused_names(landscape)
    found = {
        spec.full_name: str(to_deployment(spec, is_paused=spec.full_name in paused).apply())
        for spec in specs(landscape)
    }
    remove_others(landscape)
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


def to_deployment(spec: DeploymentSpec, *, is_paused: bool = False) -> RunnerDeployment:
    """A spec as Prefect's own deployment, with its entrypoint as a module path and its choices by name."""
    from prefect.schedules import Cron
    from prefect.types.entrypoint import EntrypointType

    schedule = (
        Cron(spec.cron, timezone=spec.timezone, parameters=dict(spec.scheduled) or None, slug="declared")
        if spec.cron
        else None
    )
    deployment: RunnerDeployment = offering(flow_of(spec.entrypoint), spec.choices).to_deployment(  # type: ignore[assignment]
        name=spec.name,
        schedule=schedule,
        paused=is_paused,
        parameters=dict(spec.parameters),
        description=spec.description or None,
        tags=[TAG, *spec.tags],
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    return deployment


def flow_of(entrypoint: str) -> Flow[..., Any]:
    """The flow at a module path."""
    from prefect.flows import Flow as FlowClass

    module, _, name = entrypoint.rpartition(".")
    found = getattr(importlib.import_module(module), name)
    assert isinstance(found, FlowClass), f"{entrypoint} is no flow"
    return found


def offering(flow: Flow[..., Any], choices: Mapping[str, Sequence[str]]) -> Flow[..., Any]:
    """The same flow whose form offers these values by name, and whose runs Prefect refuses for any other.

    Only what is shown differs: runs load the flow itself from its entrypoint."""
    if not choices:
        return flow
    from prefect.flows import Flow as FlowClass

    @functools.wraps(flow.fn)
    def shown(*args: Any, **kwargs: Any) -> Any:
        return flow.fn(*args, **kwargs)

    signature = inspect.signature(flow.fn, eval_str=True)
    shown.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[
            each.replace(annotation=_offered(each, choices[name])) if name in choices else each
            for name, each in signature.parameters.items()
        ]
    )
    return FlowClass(shown, name=flow.name, description=flow.description)


def _offered(parameter: inspect.Parameter, values: Sequence[str]) -> Any:
    """One of these values; none of them where the flow takes None."""
    one: Any = Literal[tuple(values)]
    return one | None if parameter.default is None else one


def drop_overdue(landscape: Landscape) -> int:
    """Removes runs that were due while nobody served: one sync now covers them all, and `watch` has told of it."""
    from prefect import get_client
    from prefect.client.schemas.filters import (
        FlowRunFilter,
        FlowRunFilterExpectedStartTime,
        FlowRunFilterState,
        FlowRunFilterStateType,
    )
    from prefect.client.schemas.objects import StateType

    overdue = FlowRunFilter(
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])),
        expected_start_time=FlowRunFilterExpectedStartTime(before_=datetime.now(UTC)),  # type: ignore[arg-type]
    )
    dropped = 0
    with get_client(sync_client=True) as client:
        while True:
            found = client.read_flow_runs(deployment_filter=_mine(landscape), flow_run_filter=overdue, limit=200)
            scheduled = [run for run in found if run.auto_scheduled]
            for run in scheduled:
                client.delete_flow_run(run.id)
            dropped += len(scheduled)
            if not scheduled:
                return dropped


def paused_names(landscape: Landscape) -> set[str]:
    """The deployments that a person paused: they stay so when they are registered again."""
    return {name for name, deployment in _registered(landscape).items() if deployment.paused}


def remove_others(landscape: Landscape) -> list[str]:
    """Removes this landscape's deployments that its declarations no longer name; gives their names."""
    from prefect import get_client

    wanted = {spec.full_name for spec in specs(landscape)}
    others = {name: found for name, found in _registered(landscape).items() if name not in wanted}
    with get_client(sync_client=True) as client:
        for found in others.values():
            client.delete_deployment(found.id)
    return sorted(others)


def _registered(landscape: Landscape) -> dict[str, DeploymentResponse]:
    """The deployments of this landscape that Prefect knows, by full name."""
    from prefect import get_client

    with get_client(sync_client=True) as client:
        found = client.read_deployments(deployment_filter=_mine(landscape))
    return {f"{str(each.entrypoint).rsplit('.', 1)[-1]}/{each.name}": each for each in found}


def _mine(landscape: Landscape) -> DeploymentFilter:
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags

    return DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG, landscape.name]))


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
