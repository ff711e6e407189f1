"""What did not happen: integrations that did not run or are late, changes that do not move, runs that are dead, holds
that nobody answers, messengers that take nothing.

Everything is asked of our own ledger and the database's clock, so that it also holds when the scheduler is dead. One
cause is told once: where nothing runs at all, that is the cause; and who is late because a system is down is not told
of again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim

from canonical.landscape import Integration
from connectors import heartbeat
from connectors.protocol import ConnectorError, Secret
from staging import alerts, locks, rhythm
from staging import incidents as opened
from staging.incidents import Cause
from staging.rhythm import LastRuns, OverdueHold, RunningSync
from tasks import incidents, messengers, quota, stalled
from tasks import landscape as reading
from tasks.alerts import WATCH_SECONDS
from tasks.world import World

START_GRACE = timedelta(minutes=5)
"""A run that its schedule asked for must have begun after so long, or after half of its interval."""
SHORTEST_GRACE = timedelta(seconds=30)
BEGIN = timedelta(seconds=30)
"""The clocks of the scheduler and of the database may differ by this much."""
BEGIN_SECONDS = 60.0
"""Between opening its row and taking its lane a sync may be this old without being dead."""
SILENT_MESSENGER_SECONDS = 900.0
DEAD_RUNS_SECONDS = 86_400.0
_DO_NOT_EXPLAIN = ("late:", "stale:", "messenger:", "holds")
"""Incidents that are no reason for an integration to be late."""


@dataclass
class Watched:
    """What was found amiss, and what is as it should be."""

    causes: list[Cause] = field(default_factory=list)
    abandoned: list[RunningSync] = field(default_factory=list)
    dead_runs: list[RunningSync] = field(default_factory=list)
    """Syncs whose process is gone, also those that a later sync has closed: in Prefect they may still seem to run."""
    well: list[str] = field(default_factory=list)
    """Keys of incidents that are disproved."""
    known: list[str] = field(default_factory=list)
    """What follows from an incident that is open already."""
    heartbeat: str | None = None
    """What became of the call that all is well; None: none is declared."""

    @property
    def is_well(self) -> bool:
        """Whether everything runs in its time, and whoever must hear of something has heard of it."""
        return not self.known and all(cause.kind in ("HoldOverdue", "SyncFailed") for cause in self.causes)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an integration runs as its schedule and its SLA say."""

    kind: str
    """fine, missed or late."""
    because: str = ""
    due: datetime | None = None
    """When the run was due that did not begin."""


def last_due(schedule: str, timezone: str, now: datetime) -> datetime:
    """The last time at or before `now` at which a schedule asked for a run, in the landscape's zone."""
    due: datetime = next(CronSim(schedule, now.astimezone(ZoneInfo(timezone)), reverse=True))
    return due


def grace(schedule: str, due: datetime) -> timedelta:
    """How long after it was due a run may begin: half an interval, so that a silence is seen within two."""
    before: datetime = next(CronSim(schedule, due, reverse=True))
    return max(SHORTEST_GRACE, min(START_GRACE, (due - before) / 2))


def _moved(due: datetime) -> timedelta:
    """How far the clocks were put on or back in the day before: a time that does not exist may be run earlier."""
    before = (due - timedelta(days=1)).utcoffset() or timedelta()
    return abs((due.utcoffset() or timedelta()) - before)


def missed_since(
    schedule: str | None, timezone: str, runs: LastRuns, known_since: datetime, now: datetime
) -> datetime | None:
    """When the last run was due, if it did not begin; None: it did, or another was still under way."""
    if not schedule:
        return None
    due = last_due(schedule, timezone, now)
    if now - due < grace(schedule, due):
        due = last_due(schedule, timezone, due - timedelta(seconds=1))
    began = due.astimezone(UTC) - BEGIN - _moved(due)
    is_there = runs.is_running or any(at is not None and at >= began for at in (runs.started_at, runs.ended_at))
    return None if is_there or due <= known_since else due


def judge(integration: Integration, timezone: str, runs: LastRuns, known_since: datetime, now: datetime) -> Verdict:
    """Missed: the last run that was due did not begin. Late: no complete sync within the promised timeliness."""
    due = missed_since(integration.timing.schedule, timezone, runs, known_since, now)
    if due:
        last = f"{runs.started_at.astimezone(due.tzinfo):%Y-%m-%d %H:%M}" if runs.started_at else "never"
        return Verdict("missed", f"was due at {due:%Y-%m-%d %H:%M %Z} and did not run; it last began: {last}", due)
    promised = integration.sla.timeliness
    since = runs.completed_at or known_since
    if promised and now - since > timedelta(seconds=promised):
        age = round((now - since).total_seconds() / 60)
        what = "last complete" if runs.completed_at else "never complete; known for"
        ago = " ago" if runs.completed_at else ""
        return Verdict("late", f"{what} {age} min{ago}, promised within {promised // 60} min")
    return Verdict("fine")


def is_silent(verdicts: Sequence[Verdict], runs: Sequence[LastRuns], scheduled: int) -> bool:
    """Whether nothing at all has begun since the first run that was missed: one cause, not one for each integration."""
    dues = [verdict.due for verdict in verdicts if verdict.kind == "missed" and verdict.due]
    if not dues or (len(dues) == 1 and scheduled > 1):
        return False
    first = min(dues).astimezone(UTC) - BEGIN
    return not any(run.is_running or (run.started_at and run.started_at >= first) for run in runs)


def watch(world: World, *, was_away: bool = False) -> Watched:
    """Looks, closes what is dead, opens and closes incidents, sends what waits, and says that all is well if it is.

    `was_away`: nothing ran for a while, this included. That is one cause, told already: what did not run meanwhile is
    no cause of its own unless a later look finds that it still has not begun."""
    found = Watched()
    with world.transaction() as conn:
        dead = _dead(world, rhythm.running_syncs(conn, BEGIN_SECONDS), set(world.landscape.integrations))
        found.abandoned = [each for each in dead if rhythm.abandon(conn, each.id)]
        found.dead_runs = rhythm.abandoned_lately(conn, DEAD_RUNS_SECONDS)
        now = rhythm.clock(conn)
        since = rhythm.known_since(conn, world.landscape.name) or now
        runs = rhythm.last_runs(conn, list(world.landscape.integrations))
        holds = rhythm.overdue_holds(conn, list(world.landscape.integrations))
        silent = alerts.silent_messengers(conn, SILENT_MESSENGER_SECONDS)
        known = [cause for cause, _, _ in opened.open_incidents(conn)]
        away = opened.recovered_lately(conn, incidents.silent_key(world), START_GRACE.total_seconds())
        waiting = stalled.found(world, conn)
    _rhythms(world, found, runs, (since, now), known, is_back=was_away or away)
    _stalled(world, found, waiting, known)
    found.causes += [_abandoned(world, each) for each in found.abandoned]
    found.causes += _holds(world, holds)
    if not holds:
        found.well.append("holds")
    _messengers(world, found, silent)
    low, enough = quota.low(world)
    found.causes += low
    found.well += enough
    incidents.report(world, found.causes, found.well)
    incidents.tell(world, patience_seconds=WATCH_SECONDS)
    found.heartbeat = _beat(world, found)
    return found


def _rhythms(
    world: World,
    found: Watched,
    runs: Sequence[LastRuns],
    times: tuple[datetime, datetime],
    known: Sequence[Cause],
    *,
    is_back: bool,
) -> None:
    """Who did not run or is late. `times`: since when the landscape is known, and now. `is_back`: after a silence."""
    integrations, silent = world.landscape.integrations, incidents.silent_key(world)
    verdicts = {r.integration: judge(integrations[r.integration], world.landscape.timezone, r, *times) for r in runs}
    scheduled = sum(1 for each in integrations.values() if each.timing.schedule)
    if is_silent(list(verdicts.values()), runs, scheduled):
        first = min(verdict.due for verdict in verdicts.values() if verdict.due)
        said = f"no sync has begun since {first:%Y-%m-%d %H:%M %Z}, when one was due"
        found.causes.append(incidents.silence_of(world, said))
        return
    is_back = is_back or any(cause.key == silent for cause in known)
    found.well.append(silent)
    for name, verdict in verdicts.items():
        _judged(world, found, integrations[name], verdict, known, is_back=is_back)


def _judged(
    world: World, found: Watched, integration: Integration, verdict: Verdict, known: Sequence[Cause], *, is_back: bool
) -> None:
    name = integration.name
    found.well += [f"{kind}:{name}" for kind in ("missed", "late") if kind != verdict.kind]
    if verdict.kind == "fine" or (verdict.kind == "missed" and is_back):
        return
    reason = explained(name, known) if verdict.kind == "late" else None
    if reason:
        found.known.append(f"{name} is late: {reason}")
    else:
        found.causes.append(_off(world, integration, verdict, f"{verdict.kind}:{name}"))


def explained(name: str, known: Sequence[Cause]) -> str | None:
    """The key of an open incident for which an integration cannot keep its promise; None: there is none."""
    return next(
        (c.key for c in known if name in c.integration.split(", ") and not c.key.startswith(_DO_NOT_EXPLAIN)), None
    )


def _stalled(world: World, found: Watched, waiting: Sequence[stalled.Stalled], known: Sequence[Cause]) -> None:
    late = {each.integration: each for each in waiting}
    for name, integration in world.landscape.integrations.items():
        each = late.get(name)
        if each is None:
            found.well.append(f"stale:{name}")
        elif reason := explained(name, [*known, *found.causes]):
            found.known.append(f"{each.said}: {reason}")
        else:
            found.causes.append(_stale(world, integration, each))


def _stale(world: World, integration: Integration, each: stalled.Stalled) -> Cause:
    name = integration.name
    others = ", ".join(n for n in world.landscape.integrations if n != name)
    return Cause(
        key=f"stale:{name}",
        kind="Stale",
        integration=name,
        system=None,
        owner=world.contact(integration.owner),
        cause=f"{name}: {each.said}",
        unaffected=f"{others or 'everything else'}; nothing is lost: what waits is kept",
        next_step=f"see what keeps it: concord status; then: concord deliver {name}, or concord sync {name}",
    )


def _messengers(world: World, found: Watched, silent: Sequence[alerts.Silent]) -> None:
    """Messengers that take nothing: told by another one where there is one, and seen in `concord status`."""
    places = {place.via for place in messengers.all_of(world.landscape)}
    quiet = {each.via: each for each in silent if each.via in places}
    for via in sorted(places):
        each = quiet.get(via)
        if each is None:
            found.well.append(messengers.about(via))
            continue
        count = f"{each.messages} message{'' if each.messages == 1 else 's'}"
        found.causes.append(
            Cause(
                key=messengers.about(via),
                kind="MessengerSilent",
                integration="",
                system=via,
                owner=world.owner_of_system(via),
                cause=f"{via} has taken no message since {each.since:%Y-%m-%d %H:%M %Z} ({each.error}); {count} wait",
                unaffected="all data; the messages wait, are told elsewhere where that is declared, and go out later",
                next_step="see whether it lets us in: concord systems check",
            )
        )


def _beat(world: World, found: Watched) -> str | None:
    """Calls the heartbeat's address if all is well; what became of it. Raises nothing."""
    declared = world.landscape.notify.get("heartbeat")
    if declared is None:
        return None
    if not found.is_well:
        return "not called: something is wrong"
    try:
        url = Secret(lambda: reading.read_secret(declared.url, "notify.heartbeat"))
        heartbeat.beat(url, declared.network)
    except ConnectorError as error:
        return f"failed: {error}"
    return "called"


def _dead(world: World, running: Sequence[RunningSync], integrations: set[str]) -> list[RunningSync]:
    """Running syncs none of whose lanes is held by anybody: a living one holds its own."""
    dead = []
    with world.transaction() as conn:
        for each in running:
            lanes = integrations if each.integration == "all" else {each.integration}
            if not any(locks.is_held(conn, f"sync:{lane}") for lane in lanes):
                dead.append(each)
    return dead


def _off(world: World, integration: Integration, verdict: Verdict, key: str) -> Cause:
    others = [n for n in world.landscape.integrations if n != integration.name]
    is_missed = verdict.kind == "missed"
    name = integration.name
    look = "see that concord serve runs" if is_missed else "see what keeps it: concord status"
    return Cause(
        key=key,
        kind="SyncMissed" if is_missed else "SyncLate",
        integration=name,
        system=None,
        owner=world.contact(integration.owner),
        cause=f"{name} {verdict.because}",
        unaffected=f"{', '.join(others) or 'everything else'}; the systems keep what they last agreed on",
        next_step=f"{look}; run it now: concord sync {name}"
        + (f"; meanwhile: {integration.fallback}" if integration.fallback else ""),
    )


def _abandoned(world: World, each: RunningSync) -> Cause:
    return incidents.broken(
        world,
        each.integration,
        f"sync {each.id} of {each.integration}, begun {each.started_at:%Y-%m-%d %H:%M %Z} by"
        f" {each.started_by or 'somebody'}, ended without a word (killed, or the machine stopped)",
    )


def tell_of_dead(world: World, each: RunningSync) -> None:
    """A run whose process is gone, and that a later one has closed before we looked: it is told all the same, once."""
    cause = _abandoned(world, each)
    if not incidents.is_told(world, cause, each.started_at):
        incidents.report(world, [cause])
        incidents.tell(world)


def _holds(world: World, holds: Sequence[OverdueHold]) -> list[Cause]:
    if not holds:
        return []
    first = holds[0]
    what = ", ".join(f"hold {h.id} ({h.writes} x {h.op} to {h.system}/{h.stream})" for h in holds[:10])
    more = f" and {len(holds) - 10} more" if len(holds) > 10 else ""
    return [
        Cause(
            key="holds",
            kind="HoldOverdue",
            integration=", ".join(dict.fromkeys(h.integration for h in holds)),
            system=None,
            owner=", ".join(dict.fromkeys(h.owner or "nobody" for h in holds)),
            cause=f"not answered by {first.due_at:%Y-%m-%d %H:%M %Z}: {what}{more}",
            unaffected="all writes that are not held",
            next_step=f"concord holds show {first.id}; then: concord holds approve {first.id} --by ROLE --reason TEXT",
        )
    ]
