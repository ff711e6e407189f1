"""Deploy a landscape to a work pool: what `concord serve` runs itself, here for workers to take.

Idempotent: the same names, schedules, forms and tags as served; what is as it should be stays, what a person paused
stays paused, what is no longer declared is removed. `compare` says what would be done, `deploy` does it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from deployments import automations, pool, prefect_local, registered
from deployments.automations import SILENCE
from deployments.difference import Change, difference
from deployments.pool import Pool
from deployments.prefect_local import PrefectUnavailable
from deployments.registered import Place
from deployments.serve import RUNS_AT_ONCE, prepare
from tasks import landscape as reading
from tasks.world import World

POOL = "concord"


@dataclass(frozen=True, slots=True)
class Wish:
    """Where a landscape is to be deployed."""

    pool: str = POOL
    queue: str | None = None
    image: str | None = None
    elsewhere: bool = False
    """The workers' machines have folders of their own."""
    runs_at_once: int = RUNS_AT_ONCE


@dataclass(frozen=True, slots=True)
class Difference:
    """What deploying would change."""

    pool: Pool
    place: Place
    changes: list[Change]


def compare(folder: str | Path | None, wish: Wish) -> Difference:
    """What deploying would change; changes nothing in Prefect.

    Raises Refused, DatabaseTrouble, PrefectUnavailable, PoolUnfit."""
    landscape = prepare(folder)
    reach()
    found = pool.find(wish.pool, wish.image)
    place = pool.place_in(found, wish.queue, wish.image, elsewhere=wish.elsewhere)
    wanted = {name: registered.facts_wanted(each) for name, each in registered.wanted(landscape, place).items()}
    known = {name: registered.facts_found(each) for name, each in registered.registered(landscape).items()}
    return Difference(found, place, difference(wanted, known))


def deploy(
    folder: str | Path | None, wish: Wish, found: Difference | None = None, *, silence: timedelta = SILENCE
) -> Difference:
    """Makes Prefect fit the declarations: pool, deployments, automations. Raises what `compare` raises."""
    found = found or compare(folder, wish)
    lies_in = reading.folder_of(folder)
    landscape = reading.load(lies_in)
    pool.make(found.pool, wish.runs_at_once)
    ids = registered.apply(registered.wanted(landscape, found.place))
    registered.remove_others(landscape)
    registered.keep_newest_overdue(landscape)
    automations.ensure(World(landscape, lies_in), ids, silence=silence)
    return found


def reach() -> None:
    """Raises PrefectUnavailable where the server that is named does not answer, or does not let us in."""
    from prefect import get_client
    from prefect.exceptions import PrefectHTTPStatusError

    where = prefect_local.start().api_url
    with get_client(sync_client=True) as client:
        if (trouble := client.api_healthcheck()) is not None:
            raise PrefectUnavailable(f"no Prefect server answers at {where} ({type(trouble).__name__})")
        try:
            client.api_version()
        except PrefectHTTPStatusError as error:
            status = error.response.status_code
            if status not in (401, 403):
                raise PrefectUnavailable(f"what answers at {where} is no Prefect server (status {status})") from None
            raise PrefectUnavailable(
                f"the Prefect server at {where} does not let us in: set PREFECT_API_AUTH_STRING (or PREFECT_API_KEY)"
            ) from None
