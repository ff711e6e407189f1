"""A sync: every step of the way for one or more integrations, in rounds until the systems agree.

What a step *does* is the task's; how it is *run* (plainly, or as a Prefect task run with retries) is the `Steps` it is
given. After writing, the written systems are read again and anything that follows (a created invoice is itself a
record) goes round once more, so that a second sync right after finds nothing to do.
"""

from __future__ import annotations

import getpass
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from connectors.protocol import ConnectorError
from staging import locks, pauses, runs, units
from staging.crash import crash_point
from staging.engine import Connection
from tasks import relearn, stopping, versions
from tasks.deliver import deliver
from tasks.extract import Extracted, extract
from tasks.part import Staged
from tasks.plan import note_declarations, plan_leftovers
from tasks.release import Released, release
from tasks.resolve import Resolved, resolve
from tasks.settle import Delivered
from tasks.stage import stage
from tasks.turned_away import TurnedAway as TurnedAway
from tasks.world import World

T = TypeVar("T")
Mode = Literal["incremental", "full"]
MOST_ROUNDS = 5
Stream = tuple[str, str]


class SyncBusy(Exception):
    """Another process runs this integration now."""

    def __init__(self, integration: str, since: str, by: str) -> None:
        self.integration, self.since, self.by = integration, since, by
        super().__init__(f"{integration} is running since {since}, started by {by}")


@dataclass(frozen=True, slots=True)
class Trouble:
    """A stream that could not be read, or a batch that was stopped; the others went on."""

    system: str
    stream: str
    step: str
    kind: str
    cause: str


@dataclass
class Summary:
    """What a sync did, in the figures that a person asks for."""

    sync_id: int = 0
    integrations: tuple[str, ...] = ()
    mode: str = "incremental"
    rounds: int = 0
    systems: dict[str, dict[str, int]] = field(default_factory=dict)
    targets: dict[str, dict[str, int]] = field(default_factory=dict)
    entities: dict[str, dict[str, int]] = field(default_factory=dict)
    golden_versions: int = 0
    target_writes: int = 0
    rejected: int = 0
    held: int = 0
    waiting: int = 0
    reviews: int = 0
    findings: int = 0
    quarantined: int = 0
    paused: list[str] = field(default_factory=list)
    """What was not planned because a person lets it rest: who, why, until when."""
    rested: dict[str, str] = field(default_factory=dict)
    """system/stream → why its reading is left for the next sync."""
    trouble: list[Trouble] = field(default_factory=list)
    docs: str | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class Steps(Protocol):
    """How steps are run. Each gives what the task gives; a ConnectorError that is left after retries is a Trouble."""

    def extract(self, streams: Sequence[Stream], mode: Mode, sample: int | None) -> list[Extracted | Trouble]: ...
    def stage(self, streams: Sequence[Stream]) -> list[Staged | Trouble]: ...
    def resolve(self, entities: Sequence[str], integrations: tuple[str, ...]) -> list[Resolved]: ...
    def plan(self, integrations: tuple[str, ...]) -> None: ...
    def release(self, integrations: tuple[str, ...]) -> Released: ...
    def deliver(self, integrations: tuple[str, ...]) -> Delivered: ...


@dataclass
class PlainSteps:
    """Steps run one after another in this process, without Prefect."""

    world: World
    sync_id: int | None
    docs_dir: Path | None = None
    progress: Any = None

    def extract(self, streams: Sequence[Stream], mode: Mode, sample: int | None) -> list[Extracted | Trouble]:
        found: list[Extracted | Trouble] = []
        for system, stream in streams:
            try:
                tell = self.progress(system, stream) if self.progress else None
                read = partial(extract, self.world, system, stream, mode=mode, sample=sample, progress=tell)
                found.append(self._done(f"read {system}/{stream}", partial(read, sync_id=self.sync_id)))
            except ConnectorError as error:
                found.append(trouble(system, stream, "extract", error))
        return found

    def stage(self, streams: Sequence[Stream]) -> list[Staged | Trouble]:
        one = partial(stage, self.world, sync_id=self.sync_id, docs_dir=self.docs_dir)
        return [self._done(f"stage {s}/{t}", partial(one, s, t)) for s, t in streams]

    def resolve(self, entities: Sequence[str], integrations: tuple[str, ...]) -> list[Resolved]:
        one = partial(resolve, self.world, sync_id=self.sync_id, integrations=integrations)
        return [self._done(f"resolve {e}", partial(one, e)) for e in entities]

    def plan(self, integrations: tuple[str, ...]) -> None:
        self._done("plan", partial(plan_leftovers, self.world, integrations, sync_id=self.sync_id))

    def release(self, integrations: tuple[str, ...]) -> Released:
        return self._done("release", partial(release, self.world, integrations))

    def deliver(self, integrations: tuple[str, ...]) -> Delivered:
        return self._done("deliver", partial(deliver, self.world, integrations))

    def _done(self, what: str, step: Callable[[], T]) -> T:
        """A step, gone on with where our database went away in the middle; not inside a transaction, which is lost."""
        return step() if self.world.is_in_one else units.persist(self.world.engine, what, step)


def trouble(system: str, stream: str, step: str, error: Exception) -> Trouble:
    """An error as a trouble of one stream."""
    return Trouble(system, stream, step, type(error).__name__, str(error))


def begin(world: World, name: str, mode: str, *, flow_run_id: str | None = None, started_by: str | None = None) -> int:
    """Opens the sync's row in the ledger, with the declarations it works under. Raises OldDeclarations."""
    by = started_by or f"{getpass.getuser()}@{socket.gethostname()}"
    with world.transaction() as conn:
        versions.take_up(conn, world, by)
        return runs.begin_sync(
            conn, name, mode, declaration=world.landscape.digest, started_by=by, flow_run_id=flow_run_id
        )


def chosen(world: World, name: str) -> tuple[str, ...]:
    """The integrations that a name means: itself, or every one for `all`. Raises KeyError."""
    if name == "all":
        return tuple(world.landscape.integrations)
    return (world.landscape.integrations[name].name,)


def entities_of(world: World, integrations: Sequence[str]) -> list[str]:
    """What a sync of these integrations keeps: what they need; all of them together keep the whole model."""
    if len(integrations) == len(world.landscape.integrations):
        return [e.name for e in world.landscape.model.entities]
    return world.needed_entities(integrations)


def sync(
    world: World,
    name: str,
    steps: Steps,
    *,
    sync_id: int,
    mode: Mode = "incremental",
    sample: int | None = None,
) -> Summary:
    """Runs a sync that `begin` opened, and closes it. Raises SyncBusy; an error closes the sync as failed."""
    integrations = chosen(world, name)
    summary = Summary(sync_id=sync_id, integrations=integrations, mode=mode)
    with at_work(world, name, summary):
        _rounds(world, integrations, steps, summary, mode, sample)
    return summary


@contextmanager
def at_work(world: World, name: str, summary: Summary) -> Iterator[None]:
    """Holds the lanes of a sync's integrations while it is worked on, and closes its row as it went. Raises SyncBusy.

    `name`: an integration, `all`, or what else is at work on them (`undo of sync 7`)."""
    with ExitStack() as stack:
        others = [name] if name != "all" and name not in summary.integrations else []
        for each in (*summary.integrations, *others):
            if stack.enter_context(locks.lane(world.engine, f"sync:{each}", wait=False)) is None:
                busy = _busy(world, each, summary.sync_id)
                _end(world, summary.sync_id, "failed", None, str(busy))
                raise busy
        with world.transaction() as conn:
            runs.abandon_others(conn, name, summary.sync_id)
        try:
            yield
        except TurnedAway as no:
            _end(world, summary.sync_id, "failed", None, str(no))
            raise
        except BaseException as error:
            _end(world, summary.sync_id, "failed", summary, f"{type(error).__name__}: {error}")
            raise
        _count_queues(world, summary)
        if stopping.is_asked():
            _end(world, summary.sync_id, "abandoned", summary, "stopped as asked; what is left goes with the next run")
            return
        _end(world, summary.sync_id, "failed" if summary.trouble else "complete", summary, _told(summary.trouble))


def _rounds(
    world: World, integrations: tuple[str, ...], steps: Steps, summary: Summary, mode: Mode, sample: int | None
) -> None:
    entities = entities_of(world, integrations)
    streams = world.streams_for(entities)
    to_read = streams
    note_declarations(world, integrations)
    for number in range(MOST_ROUNDS):
        if stopping.is_asked():
            break
        versions.check(world)
        summary.rounds = number + 1
        _read(steps, summary, to_read, mode if number == 0 else "incremental", sample)
        for staged in steps.stage(to_read):
            _count_staged(summary, staged)
        is_restored = number == 0 and relearn.adopt(world, to_read)
        _resolve(steps, summary, entities, integrations)
        steps.plan(integrations)
        if is_restored:
            relearn.link(world, entities, to_read)
            _resolve(steps, summary, entities, integrations)
            relearn.count_strangers(world, entities)
            steps.plan(integrations)
        if number == 0:
            _count_observed(world, summary)  # later rounds plan the same again: nothing of it is in the outbox
        released = steps.release(integrations)
        summary.held += released.held
        delivered = steps.deliver(integrations)
        count_delivered(summary, delivered)
        if not delivered.writes and not delivered.found:
            break
        # what was written to is read again, whole system by system: a payment there may change a contact here
        written = {where.split("/", 1)[0] for where in delivered.done} | (
            world.target_systems(integrations) if delivered.found else set()
        )
        to_read = [(system, stream) for system, stream in streams if system in written]


def _read(steps: Steps, summary: Summary, streams: Sequence[Stream], mode: Mode, sample: int | None) -> None:
    for result in steps.extract(streams, mode, sample):
        if isinstance(result, Trouble):
            summary.trouble.append(result)
            continue
        if result.rested:
            summary.rested[f"{result.system}/{result.stream}"] = result.rested
            continue
        summary.rested.pop(f"{result.system}/{result.stream}", None)  # in an earlier round
        counts = summary.systems.setdefault(f"{result.system}/{result.stream}", {})
        for name, value in asdict(result.counts).items():
            counts[name] = counts.get(name, 0) + int(value)
        if result.held:
            summary.trouble.append(Trouble(result.system, result.stream, "extract", "CountDrop", result.held))
        if result.clock:
            summary.trouble.append(Trouble(result.system, result.stream, "extract", "FutureCursor", result.clock))


def _count_staged(summary: Summary, staged: Staged | Trouble) -> None:
    if isinstance(staged, Trouble):
        summary.trouble.append(staged)
        return
    counts = summary.systems.setdefault(f"{staged.system}/{staged.stream}", {})
    for name in ("mapped", "passed", "quarantined", "ignored", "tombstones", "field_problems"):
        counts[name] = counts.get(name, 0) + int(getattr(staged, name))
    summary.quarantined += staged.quarantined
    summary.docs = staged.docs or summary.docs
    if staged.stopped:
        summary.trouble.append(Trouble(staged.system, staged.stream, "validate", "GateStopped", staged.stopped))


def _resolve(steps: Steps, summary: Summary, entities: Sequence[str], integrations: tuple[str, ...]) -> None:
    for entity, resolved in zip(entities, steps.resolve(entities, integrations), strict=True):
        counts = summary.entities.setdefault(entity, {})
        for name in ("records", "linked", "created", "asked", "duplicates", "versions"):
            counts[name] = counts.get(name, 0) + int(getattr(resolved, name))
        summary.golden_versions += resolved.versions


_DONE_AS = {"create": "created", "update": "updated", "archive": "archived", "delete": "deleted"}


def count_delivered(summary: Summary, delivered: Delivered) -> None:
    for where, ops in delivered.done.items():
        counts = summary.targets.setdefault(where, {})
        for op, n in ops.items():
            counts[_DONE_AS[op]] = counts.get(_DONE_AS[op], 0) + n
    summary.target_writes += delivered.writes
    summary.rejected += delivered.rejected
    for system, cause in delivered.troubled.items():
        summary.trouble.append(Trouble(system, "", "deliver", "DeliveryStopped", cause))


def _count_observed(world: World, summary: Summary) -> None:
    with world.transaction() as conn:
        for place, number in runs.observed_counts(conn, summary.sync_id).items():
            summary.targets.setdefault(place, {})["observed"] = number


def _count_queues(world: World, summary: Summary) -> None:
    """What waits now, for whom does not matter here: `concord status` says that."""
    with world.transaction() as conn:
        waits = runs.queue_counts(conn, summary.integrations)
        resting = pauses.active(conn)
    mine = {f"integration:{i}" for i in summary.integrations}
    mine |= {f"system:{s}" for s in world.target_systems(summary.integrations)}
    summary.paused = [p.said for p in resting if p.what in mine]
    summary.reviews, summary.findings = waits["reviews"], waits["findings"]
    summary.held = summary.waiting = 0
    for place, states in waits["writes"].items():
        summary.targets.setdefault(place, {}).update(states)
        summary.held += states.get("held", 0)
        summary.waiting += states.get("waiting", 0)


def _busy(world: World, integration: str, sync_id: int) -> SyncBusy:
    with world.transaction() as conn:
        other = runs.running(conn, integration, sync_id)
    if other is None:
        return SyncBusy(integration, "a moment ago", "another process")
    return SyncBusy(
        integration, f"{other['started_at']:%Y-%m-%d %H:%M:%S %Z}", other["started_by"] or "another process"
    )


def _told(troubles: Iterable[Trouble]) -> str | None:
    said = [f"{t.system}/{t.stream} {t.step}: {t.cause}" for t in troubles]
    return "; ".join(said) or None


def _end(world: World, sync_id: int, state: str, summary: Summary | None, error: str | None) -> None:
    def end(conn: Connection) -> None:
        runs.end_sync(conn, sync_id, state, summary=summary.as_dict() if summary else None, error=error)
        crash_point("sync.ending")

    world.unit("end sync", end)
