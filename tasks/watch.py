"""What did not happen: integrations that did not run or are late, runs that are dead, holds that nobody answers.

Everything is asked of our own ledger and the database's clock, so that it also holds when the scheduler is dead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim

from canonical.landscape import Integration
from staging import locks, rhythm
from staging.incidents import Cause
from staging.rhythm import LastRuns, OverdueHold, RunningSync
from tasks import incidents
from tasks.world import World

START_GRACE = timedelta(minutes=5)
"""A run that its schedule asked for must have begun after so long."""
BEGIN = timedelta(seconds=30)
"""The clocks of the scheduler and of the database may differ by this much."""
BEGIN_SECONDS = 60.0
"""Between opening its row and taking its lane a sync may be this old without being dead."""


@dataclass
class Watched:
    """What was found amiss, and what is as it should be."""

    causes: list[Cause] = field(default_factory=list)
    abandoned: list[RunningSync] = field(default_factory=list)
    well: list[str] = field(default_factory=list)
    """Keys of incidents that are disproved."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an integration runs as its schedule and its SLA say."""

    kind: str
    """fine, missed or late."""
    because: str = ""


def last_due(schedule: str, timezone: str, now: datetime) -> datetime:
    """The last time at or before `now` at which a schedule asked for a run, in the landscape's zone."""
    due: datetime = next(CronSim(schedule, now.astimezone(ZoneInfo(timezone)), reverse=True))
    return due


def _moved(due: datetime) -> timedelta:
    """How far the clocks were put on or back in the day before: a time that does not exist may be run earlier."""
    before = (due - timedelta(days=1)).utcoffset() or timedelta()
    return abs((due.utcoffset() or timedelta()) - before)


def judge(integration: Integration, timezone: str, runs: LastRuns, known_since: datetime, now: datetime) -> Verdict:
    """Missed: the last run that was due did not begin. Late: no complete sync within the promised timeliness."""
    schedule = integration.timing.schedule
    if schedule:
        due = last_due(schedule, timezone, now - START_GRACE)
        early = BEGIN + _moved(due)
        if due > known_since and (runs.started_at is None or runs.started_at < due.astimezone(UTC) - early):
            last = f"{runs.started_at.astimezone(due.tzinfo):%Y-%m-%d %H:%M}" if runs.started_at else "never"
            return Verdict("missed", f"was due at {due:%Y-%m-%d %H:%M %Z} and did not run; it last began: {last}")
    promised = integration.sla.timeliness
    since = runs.completed_at or known_since
    if promised and now - since > timedelta(seconds=promised):
        age = round((now - since).total_seconds() / 60)
        what = "last complete" if runs.completed_at else "never complete; known for"
        ago = " ago" if runs.completed_at else ""
        return Verdict("late", f"{what} {age} min{ago}, promised within {promised // 60} min")
    return Verdict("fine")


def watch(world: World, *, was_away: bool = False) -> Watched:
    """Looks, closes what is dead, opens and closes incidents, and sends what waits.

    `was_away`: nothing ran for a while, this included. That is one cause, told already: what did not run meanwhile is
    no cause of its own unless the next look finds that it still has not begun."""
    found = Watched()
    with world.transaction() as conn:
        dead = _dead(world, rhythm.running_syncs(conn, BEGIN_SECONDS), set(world.landscape.integrations))
        found.abandoned = [each for each in dead if rhythm.abandon(conn, each.id)]
        now = rhythm.clock(conn)
        since = rhythm.known_since(conn, world.landscape.name) or now
        runs = rhythm.last_runs(conn, list(world.landscape.integrations))
        holds = rhythm.overdue_holds(conn, list(world.landscape.integrations))
    for each in runs:
        _judge(world, found, each, since, now)
    if was_away:
        found.causes = [cause for cause in found.causes if cause.kind != "SyncMissed"]
    found.causes += [_abandoned(world, each) for each in found.abandoned]
    found.causes += _holds(world, holds)
    if not holds:
        found.well.append("holds")
    incidents.report(world, found.causes, found.well)
    incidents.tell(world)
    return found


def _dead(world: World, running: Sequence[RunningSync], integrations: set[str]) -> list[RunningSync]:
    """Running syncs none of whose lanes is held by anybody: a living one holds its own."""
    dead = []
    with world.transaction() as conn:
        for each in running:
            lanes = integrations if each.integration == "all" else {each.integration}
            if not any(locks.is_held(conn, f"sync:{lane}") for lane in lanes):
                dead.append(each)
    return dead


def _judge(world: World, found: Watched, runs: LastRuns, since: datetime, now: datetime) -> None:
    integration = world.landscape.integrations[runs.integration]
    verdict = judge(integration, world.landscape.timezone, runs, since, now)
    keys = {"missed": f"missed:{integration.name}", "late": f"late:{integration.name}"}
    if verdict.kind in keys:
        found.causes.append(_off(world, integration, verdict, keys[verdict.kind]))
    found.well += [key for kind, key in keys.items() if kind != verdict.kind]


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
