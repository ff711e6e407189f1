"""The work pool that workers take runs from: found, judged, made. Raises PoolUnfit with what a person can do about it.

A pool of type `process` runs our code from the folder it is installed in, on the worker's machine. A pool whose type
starts containers (docker, kubernetes, …) takes an image that our code is in (`deployments/Dockerfile`).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deployments.registered import Place

PROCESS = "process"
CHECKOUT = Path(__file__).resolve().parent.parent
"""Where our packages lie: what a run of a process pool starts in, so that module paths are found."""
DESCRIPTION = "Syncs of Concord: `prefect worker start --pool {name}` where CONCORD_* and the systems' secrets are set."


class PoolUnfit(Exception):
    """A work pool that cannot run our flows as asked."""


@dataclass(frozen=True, slots=True)
class Pool:
    """A work pool of the server, or one that is still to be made."""

    name: str
    type: str
    exists: bool


def find(name: str, image: str | None) -> Pool:
    """The pool of this name, if our flows can run in it. Raises PoolUnfit."""
    from prefect import get_client
    from prefect.exceptions import ObjectNotFound

    with get_client(sync_client=True) as client:
        try:
            found = client.read_work_pool(name)
        except ObjectNotFound:
            if image:
                raise PoolUnfit(
                    f"there is no work pool {name}, and its type cannot be guessed: make it first with"
                    f" `prefect work-pool create {name} --type docker` (or kubernetes, …)"
                ) from None
            return Pool(name, PROCESS, False)
    if because := unfit(found.type, found.base_job_template, image):
        raise PoolUnfit(f"the work pool {name} is of type {found.type}: {because}")
    return Pool(name, found.type, True)


def unfit(pool_type: str, template: Mapping[str, Any], image: str | None) -> str | None:
    """Why a pool of this type cannot run our flows; None: it can."""
    takes_image = "image" in template.get("variables", {}).get("properties", {})
    if pool_type == PROCESS:
        return "it starts processes and takes no image; leave --image out" if image else None
    if not takes_image:
        return f"expected {PROCESS}, or a type that starts containers of an image"
    return None if image else "it starts containers; name the image that our code is in: --image"


def make(pool: Pool, runs_at_once: int) -> None:
    """Makes the pool unless it is there. How many runs an existing one starts at once stays as it is."""
    if pool.exists:
        return
    from prefect import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.workers.utilities import get_default_base_job_template_for_infrastructure_type

    template = asyncio.run(get_default_base_job_template_for_infrastructure_type(pool.type))
    with get_client(sync_client=True) as client:
        client.create_work_pool(
            WorkPoolCreate(
                name=pool.name,
                type=pool.type,
                description=DESCRIPTION.format(name=pool.name),
                base_job_template=template or {},
                concurrency_limit=runs_at_once,
            )
        )


def place_in(pool: Pool, queue: str | None, image: str | None, *, elsewhere: bool) -> Place:
    """How runs are started there. No secret is handed over: workers have their own environment.

    `elsewhere`: the workers' machines have folders of their own, so only they say where the landscape lies."""
    if image:
        return Place(pool.name, queue, {"image": image})
    if elsewhere:
        return Place(pool.name, queue)
    names = ("CONCORD_LANDSCAPE", "CONCORD_HOME")
    here = {name: os.environ[name] for name in names if name in os.environ}
    return Place(pool.name, queue, {"working_dir": str(CHECKOUT), "env": here})
