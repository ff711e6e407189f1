"""The steps of a sync as Prefect task runs: named for people, retried where trying again helps, remembered by nobody.

What crosses a task's boundary is names and ids (DESIGN 2): never a record. No result is kept and none is reused, as
our own database says what was done. Systems are read at the same time, the streams of one system one after another.
"""

from __future__ import annotations

import functools
import threading
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from prefect import task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.futures import PrefectFuture, as_completed
from prefect.tasks import Task, exponential_backoff

from canonical.problems import Refused
from connectors.protocol import ConnectorError, Transient
from staging import units
from staging.errors import DatabaseTrouble, DatabaseUnavailable
from staging.trouble import as_trouble
from tasks import landscape as reading
from tasks import versions
from tasks.deliver import deliver
from tasks.extract import Extracted, extract
from tasks.incidents import ours
from tasks.part import Staged
from tasks.plan import plan_leftovers
from tasks.release import Released, release
from tasks.resolve import Resolved, resolve
from tasks.settle import Delivered
from tasks.stage import stage
from tasks.sync import Mode, Stream, SyncBusy, Trouble, trouble
from tasks.world import World

READERS = 4
"""Systems that are read at the same time."""
STAGERS = 2
"""Systems whose records are mapped at the same time: each holds a batch in memory."""
LONG_RECORDS = 5_000
"""A reading beyond this many records shows its progress as an artifact of its own."""

P = ParamSpec("P")
R = TypeVar("R")

_worlds: dict[Path, World] = {}
_refused: dict[Path, Refused] = {}
_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class At:
    """Where a task works: everything else hangs on the World that these names lead to."""

    folder: str
    digest: str
    sync_id: int | None = None
    docs_dir: str | None = None

    @property
    def world(self) -> World:
        """The process's World of this landscape as declared when the run began."""
        return opened(Path(self.folder), self.digest)

    @property
    def docs(self) -> Path | None:
        return Path(self.docs_dir) if self.docs_dir else None


def opened(folder: Path, digest: str | None = None) -> World:
    """This process's World of a landscape's folder: made once, and again when the declarations have another digest.

    Without a digest the folder is read; where its files are refused, the version that works goes on, and `refused` says
    why. Raises Refused where none ever worked, DatabaseUnavailable."""
    folder = folder.absolute()
    with _lock:
        known = _worlds.get(folder)
        if known is not None and digest == known.landscape.digest:
            return known
        try:
            landscape = reading.load(folder)
            _refused.pop(folder, None)
        except Refused as bad:
            if digest is not None:
                raise
            _refused[folder] = bad
            landscape = versions.last_good(folder, bad)
        if known is not None and landscape.digest == known.landscape.digest:
            return known
        _worlds[folder] = World(landscape, folder)
        return _worlds[folder]


def refused(folder: Path) -> Refused | None:
    """Why the declarations in a folder are not the ones at work; None: they are."""
    return _refused.get(folder.absolute())


def is_passing(_: Task[..., Any], __: TaskRun, state: State[Any]) -> bool:
    """Whether trying again may help: a system or our database was away, as opposed to wrong."""
    return isinstance(state.result(raise_on_failure=False), Transient | DatabaseUnavailable)


class StepFailed(Exception):
    """Something unforeseen: which error, and where in our code; not its text, which may hold a record's values."""


def without_values(error: Exception) -> Exception:
    """The same trouble in words that may be shown and logged. Prefect keeps the text of every error it sees.

    What the error said itself stands in our own ledger (`landing.extract_run`, `ops.sync`)."""
    if isinstance(error, DatabaseTrouble | Refused | SyncBusy | StepFailed):
        return error
    if isinstance(error, ConnectorError):
        error.args = (ours(type(error).__name__, str(error)) or f"{error.where}: {type(error).__name__}",)
        return error
    if away := as_trouble(error):
        return away
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    where = " < ".join(f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in reversed(frames))
    return StepFailed(f"{type(error).__name__} at {where}")


def _guarded(step: Callable[P, R]) -> Callable[P, R]:
    """The step as Prefect runs it: gone on with where our database went away, its errors without values."""

    @functools.wraps(step)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        at = args[0] if args else kwargs.get("at")
        try:
            if not isinstance(at, At):
                return step(*args, **kwargs)
            return units.persist(at.world.engine, step.__name__, functools.partial(step, *args, **kwargs))
        except Exception as error:
            raise without_values(error) from None

    return run


def _step(name: str, shown: str) -> Callable[[Callable[P, R]], Task[P, R]]:
    """What every step has in common. Delays grow 5, 10, 20 s, each up to half as long again by chance."""
    made = task(
        name=name,
        task_run_name=shown,
        cache_policy=NO_CACHE,
        persist_result=False,
        retries=3,
        retry_delay_seconds=exponential_backoff(5),
        retry_jitter_factor=0.5,
        retry_condition_fn=is_passing,
    )
    return lambda step: made(_guarded(step))


@_step("read", "read {system}/{stream}")
def read(at: At, system: str, stream: str, mode: Mode, sample: int | None) -> Extracted:
    """Read one stream of a system and land what differs."""
    tell = Progress(f"reading {system}/{stream}")
    return extract(at.world, system, stream, mode=mode, sync_id=at.sync_id, sample=sample, progress=tell)


@_step("validate", "validate {system}/{stream}")
def validate(at: At, system: str, stream: str) -> Staged:
    """Map what landed into canonical columns, let the gate judge it, merge what passed."""
    return stage(at.world, system, stream, sync_id=at.sync_id, docs_dir=at.docs)


@_step("match", "match {entity}")
def match(at: At, entity: str, integrations: tuple[str, ...]) -> Resolved:
    """Find which golden record each record is, what it now says, and what every target must hear."""
    return resolve(at.world, entity, sync_id=at.sync_id, integrations=integrations)


@_step("plan", "plan what is left")
def plan(at: At, integrations: tuple[str, ...]) -> None:
    """Plan what earlier runs left unplanned."""
    plan_leftovers(at.world, integrations, sync_id=at.sync_id)


@_step("release", "release what is planned")
def let_go(at: At, integrations: tuple[str, ...]) -> Released:
    """Let planned writes go, or hold them for a person."""
    return release(at.world, integrations)


@_step("deliver", "deliver to {system}")
def send(at: At, system: str, integrations: tuple[str, ...]) -> Delivered:
    """Send what is due to one system, each write once."""
    return deliver(at.world, integrations, systems=[system])


class Progress:
    """A progress artifact for a reading that turns out long; nothing for a short one."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.artifact: Any = None

    def __call__(self, received: int, total: int | None) -> None:
        if received < LONG_RECORDS:
            return
        percent = min(100.0, 100.0 * received / total) if total else 0.0
        told = f"{self.what}: {received:,} records" + (f" of {total:,}" if total else " so far")
        if self.artifact is None:
            self.artifact = create_progress_artifact(percent, description=told)
        else:
            update_progress_artifact(self.artifact, percent, description=told)


@dataclass
class PrefectSteps:
    """tasks.sync.Steps as Prefect task runs of the flow run that calls them."""

    at: At

    def extract(self, streams: Sequence[Stream], mode: Mode, sample: int | None) -> list[Extracted | Trouble]:
        """A stream that cannot be read stops no other."""
        done = _at_once(streams, READERS, lambda place: read.submit(self.at, *place, mode, sample))
        return [_answer(done[place], place) for place in streams]

    def stage(self, streams: Sequence[Stream]) -> list[Staged | Trouble]:
        """One system is mapped while the database merges another."""
        done = _at_once(streams, STAGERS, lambda place: validate.submit(self.at, *place))
        return [done[place].result() for place in streams]

    def resolve(self, entities: Sequence[str], integrations: tuple[str, ...]) -> list[Resolved]:
        return [match(self.at, entity, integrations) for entity in entities]

    def plan(self, integrations: tuple[str, ...]) -> None:
        plan(self.at, integrations)

    def release(self, integrations: tuple[str, ...]) -> Released:
        return let_go(self.at, integrations)

    def deliver(self, integrations: tuple[str, ...]) -> Delivered:
        """Every target system at once; one that is down leaves the others on time."""
        systems = sorted(self.at.world.target_systems(integrations))
        futures = {system: send.submit(self.at, system, integrations) for system in systems}
        done = Delivered()
        for system, future in futures.items():
            try:
                done = merged(done, future.result())
            except ConnectorError as error:
                done.troubled[system] = str(error)
        return done


def _at_once(
    streams: Sequence[Stream], most: int, submit: Callable[[Stream], PrefectFuture[R]]
) -> dict[Stream, PrefectFuture[R]]:
    """Runs a step for every stream, `most` systems at a time and one system's streams in order; gives ended futures."""
    waiting: dict[str, deque[Stream]] = {}
    for place in streams:
        waiting.setdefault(place[0], deque()).append(place)
    ended: dict[Stream, PrefectFuture[R]] = {}
    running: dict[PrefectFuture[R], Stream] = {}
    while waiting or running:
        for system in list(waiting):
            if len(running) < most and system not in {s for s, _ in running.values()}:
                place = waiting[system].popleft()
                running[submit(place)] = place
                if not waiting[system]:
                    del waiting[system]
        done = next(as_completed(list(running)))
        ended[running.pop(done)] = done
    return ended


def _answer(future: PrefectFuture[Extracted], place: Stream) -> Extracted | Trouble:
    try:
        return future.result()
    except ConnectorError as error:
        return trouble(*place, "extract", error)


def merged(a: Delivered, b: Delivered) -> Delivered:
    """What two deliveries did, together."""
    ops = {where: dict(counts) for where, counts in a.done.items()}
    for where, counts in b.done.items():
        into = ops.setdefault(where, {})
        for op, n in counts.items():
            into[op] = into.get(op, 0) + n
    return Delivered(
        done=ops,
        rejected=a.rejected + b.rejected,
        unknown=a.unknown + b.unknown,
        retried=a.retried + b.retried,
        found=a.found + b.found,
        troubled=a.troubled | b.troubled,
    )
