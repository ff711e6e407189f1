"""A landscape's deployments on Prefect's side: made from their specs, found again, registered, removed.

Ours bear two tags: `concord`, and the landscape's name. Nothing without both is ever touched.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from deployments.difference import Facts
from deployments.schedules import DeploymentSpec, specs

if TYPE_CHECKING:
    from prefect.client.schemas.filters import DeploymentFilter
    from prefect.client.schemas.responses import DeploymentResponse
    from prefect.deployments.runner import RunnerDeployment
    from prefect.flows import Flow
    from prefect.schedules import Schedule

    from canonical.landscape import Landscape

TAG = "concord"
"""Marks our deployments among others of the same Prefect server; beside it stands the landscape's name."""
DEFAULT_QUEUE = "default"
"""Prefect's own name of the queue that a pool has from the beginning."""


@dataclass(frozen=True, slots=True)
class Place:
    """Who starts the runs: the workers of a work pool, or without one `concord serve`."""

    pool: str | None = None
    queue: str | None = None
    job_variables: Mapping[str, Any] = field(default_factory=dict)
    """What differs from the pool's own settings for a run: its folder, its environment, its image."""


SERVED = Place()


@dataclass(frozen=True, slots=True)
class Standing:
    """What stays of a deployment that is registered already: a person's switches, and its schedule's name."""

    is_paused: bool = False
    is_schedule_on: bool = True
    slug: str | None = None


NEW = Standing()


# ------------------------------------------------------------------------------------------------ from specs, made


def wanted(landscape: Landscape, place: Place = SERVED) -> dict[str, RunnerDeployment]:
    """Every deployment of a landscape, by full name; what a person switched off stays off."""
    standing = {name: standing_of(found) for name, found in registered(landscape).items()}
    return {s.full_name: to_deployment(s, standing.get(s.full_name, NEW), place) for s in specs(landscape)}


def standing_of(found: DeploymentResponse) -> Standing:
    """Its switches: the deployment's own, and that of the schedule that we made (one made in the pages has no slug)."""
    ours = next((each for each in found.schedules if each.slug), None)
    return Standing(found.paused, ours.active is not False, ours.slug) if ours else Standing(found.paused)


def to_deployment(spec: DeploymentSpec, standing: Standing = NEW, place: Place = SERVED) -> RunnerDeployment:
    """A spec as Prefect's own deployment, with its entrypoint as a module path and its choices by name."""
    from prefect.types.entrypoint import EntrypointType

    deployment: RunnerDeployment = offering(flow_of(spec.entrypoint), spec.choices).to_deployment(  # type: ignore[assignment]
        name=spec.name,
        schedule=_schedule(spec, standing),
        paused=standing.is_paused,
        parameters=dict(spec.parameters),
        description=spec.description or None,
        tags=[TAG, *spec.tags],
        entrypoint_type=EntrypointType.MODULE_PATH,
        work_pool_name=place.pool,
        work_queue_name=place.queue,
        job_variables=dict(place.job_variables),
    )
    for each in deployment.schedules or ():
        if standing.slug and standing.slug != each.slug:
            each.replaces = standing.slug
    for name, shown in (deployment._parameter_openapi_schema.properties or {}).items():
        shown["title"] = name.replace("_", " ").capitalize()
    return deployment


def _schedule(spec: DeploymentSpec, standing: Standing) -> Schedule | None:
    """Named by its rhythm, which is what the pages show beside its switch."""
    from prefect.schedules import Cron

    if not spec.cron:
        return None
    slug = re.sub(r"[^a-z0-9]+", "-", spec.rhythm.lower()).strip("-")
    asks = dict(spec.scheduled) or None
    return Cron(spec.cron, timezone=spec.timezone, parameters=asks, slug=slug, active=standing.is_schedule_on)


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


# -------------------------------------------------------------------------------------------------- on the server


def registered(landscape: Landscape) -> dict[str, DeploymentResponse]:
    """The deployments of this landscape that Prefect knows, by full name."""
    from prefect import get_client

    found: list[DeploymentResponse] = []
    with get_client(sync_client=True) as client:
        while page := client.read_deployments(deployment_filter=mine(landscape), limit=200, offset=len(found)):
            found += page
    return {f"{str(each.entrypoint).rsplit('.', 1)[-1]}/{each.name}": each for each in found}


def apply(deployments: Mapping[str, RunnerDeployment]) -> dict[str, str]:
    """Makes or updates these deployments; gives full name → id."""
    from prefect import get_client

    found = {name: str(each.apply()) for name, each in deployments.items()}
    with get_client(sync_client=True) as client:
        for name, deployment_id in found.items():
            if not deployments[name].schedules:  # Prefect takes no schedules for: leave those that are there
                for left in client.read_deployment_schedules(UUID(deployment_id)):
                    client.delete_deployment_schedule(UUID(deployment_id), left.id)
    return found


def remove(landscape: Landscape, names: Iterable[str]) -> list[str]:
    """Removes these of the landscape's deployments. Their runs stay readable."""
    from prefect import get_client

    known = registered(landscape)
    gone = [name for name in names if name in known]
    with get_client(sync_client=True) as client:
        for name in gone:
            client.delete_deployment(known[name].id)
    return gone


def remove_others(landscape: Landscape) -> list[str]:
    """Removes this landscape's deployments that its declarations no longer name; gives their names."""
    declared = {spec.full_name for spec in specs(landscape)}
    return remove(landscape, sorted(set(registered(landscape)) - declared))


def leave_pools(landscape: Landscape) -> list[str]:
    """Takes this landscape's deployments out of their work pools, so that workers do not start what is served here.

    Prefect lets no update take a deployment out of its pool (3.8.8), so it is removed and then made anew."""
    return remove(landscape, [name for name, found in registered(landscape).items() if found.work_pool_name])


def keep_newest_overdue(landscape: Landscape) -> int:
    """Of the runs that were due while nobody worked, only the newest of each deployment is made up for.

    A sync covers everything since the last one, however many were due. What a person asked for stays. Gives how many
    were dropped."""
    from prefect import get_client
    from prefect.client.schemas.sorting import FlowRunSort
    from prefect.exceptions import ObjectNotFound

    newest: set[Any] = set()
    dropped = stay = 0
    with get_client(sync_client=True) as client:
        while found := client.read_flow_runs(
            deployment_filter=mine(landscape),
            flow_run_filter=_overdue(),
            sort=FlowRunSort.EXPECTED_START_TIME_DESC,
            limit=200,
            offset=stay,
        ):
            for run in found:
                if run.deployment_id in newest and run.auto_scheduled:
                    with contextlib.suppress(ObjectNotFound):  # somebody else cleans up as well
                        client.delete_flow_run(run.id)
                    dropped += 1
                else:
                    newest.add(run.deployment_id)
                    stay += 1
    return dropped


def _overdue() -> Any:
    from prefect.client.schemas.filters import (
        FlowRunFilter,
        FlowRunFilterExpectedStartTime,
        FlowRunFilterState,
        FlowRunFilterStateType,
    )
    from prefect.client.schemas.objects import StateType

    return FlowRunFilter(
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])),
        expected_start_time=FlowRunFilterExpectedStartTime(before_=datetime.now(UTC)),  # type: ignore[arg-type]
    )


def mine(landscape: Landscape) -> DeploymentFilter:
    """What picks this landscape's deployments among all."""
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags

    return DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG, landscape.name]))


# ------------------------------------------------------------------------------------------------ to be compared


def facts_wanted(deployment: RunnerDeployment) -> Facts:
    """What a person would see of it, once it is registered."""
    return Facts(
        **_common(deployment),
        form=deployment._parameter_openapi_schema.model_dump(exclude_unset=True),
        pool=deployment.work_pool_name,
        queue=(deployment.work_queue_name or DEFAULT_QUEUE) if deployment.work_pool_name else None,
    )


def facts_found(deployment: DeploymentResponse) -> Facts:
    """What a person sees of it now."""
    return Facts(
        **_common(deployment),
        form=deployment.parameter_openapi_schema or {},
        pool=deployment.work_pool_name,
        queue=deployment.work_queue_name if deployment.work_pool_name else None,
    )


def _common(deployment: Any) -> dict[str, Any]:
    return {
        "schedules": [_told(each) for each in deployment.schedules or ()],
        "parameters": dict(deployment.parameters or {}),
        "description": deployment.description or "",
        "tags": sorted(deployment.tags or ()),
        "entrypoint": deployment.entrypoint or "",
        "job_variables": dict(deployment.job_variables or {}),
    }


def _told(each: Any) -> str:
    cron = getattr(each.schedule, "cron", None) or str(each.schedule)
    asks = ", ".join(f"{name}={value}" for name, value in sorted((each.parameters or {}).items()))
    zone = getattr(each.schedule, "timezone", None) or "UTC"
    return f"{cron} {zone}" + (f" with {asks}" if asks else "") + ("" if each.active is not False else " (off)")
