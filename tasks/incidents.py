"""Incidents in words, and telling them: one cause, one message, with what to do next (DESIGN 9.18, RELIABILITY P22).

A message names integrations, systems, people, counts and commands; a record's value never enters it. What a system
answered may contain values, so only the part of an error that is our own is told; the rest stands in `concord status`.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from canonical.problems import Refused
from canonical.shown import shown
from staging import alerts
from staging import incidents as store
from staging.errors import DatabaseTrouble
from staging.incidents import Cause, Recovered, Standing
from tasks import doubtful, messengers, without_ledger
from tasks.alerts import AFTER_WORK_SECONDS, QUIET, send_alerts
from tasks.next_steps import next_step
from tasks.sync import Summary, SyncBusy, Trouble
from tasks.world import World

if TYPE_CHECKING:
    from staging.engine import Connection

log = logging.getLogger("concord.incidents")

OF_A_STREAM = frozenset({"CountDrop", "FutureCursor", "GateStopped", "Misdeclared", "SchemaDrift"})
"""Troubles of one stream; all others are the whole system's, and several streams' errors are one cause."""

_MEANS = {
    "AuthFailed": "refuses our credentials",
    "Unreachable": "cannot be reached (name, network, certificate or allowlist)",
    "Transient": "does not answer, also after several tries",
    "RateLimited": "keeps asking us to slow down",
    "NotSent": "is not asked for now",
    "LeftAlone": "is left alone for now, after failing again and again",
    "LeaseOver": "was not written to: this process was paused for too long",
    "SystemFault": "answers, but not as itself",
    "Ambiguous": "breaks off in the middle of its answers",
    "Misdeclared": "does not fit its declaration",
    "CountDrop": "shows far fewer records than before; their absence is not believed",
    "FutureCursor": "has set its clock back: the stream was read from its beginning",
    "SchemaDrift": "sends records that are not as before; nothing more of them is read",
    "WalkExpired": "loses the way from page to page",
    "GateStopped": "sent a batch that failed validation as a whole; nothing of it was taken over",
    "DeliveryStopped": "takes no writes; they wait",
}
_STATUS = re.compile(r"^(.*?(?:answered |\()[1-5]\d\d\)?)", re.DOTALL)
_QUOTING = frozenset({"SystemFault", "Rejected", "Ambiguous"})
"""Errors that quote what a system said even where no status says so."""
_CAUSE_CHARACTERS = 300


# ------------------------------------------------------------------------------------------------------ words (pure)


def ours(kind: str, said: str) -> str:
    """An error's text as far as it is ours: without what a system answered, which may hold a record's values."""
    status = _STATUS.match(said)
    if kind in _QUOTING and not status:
        return ""
    return " ".join((status.group(1) if status else said).split())[:_CAUSE_CHARACTERS]


def told(trouble: Trouble) -> str:
    """A trouble's cause as far as it is ours."""
    return ours(trouble.kind, trouble.cause)


def in_words(world: World, trouble: Trouble, name: str) -> str:
    """A trouble for who reads a run's story: which system, what it does, whose it is, what to do."""
    place = f"{trouble.system}/{trouble.stream}" if trouble.stream else trouble.system
    detail = told(trouble)
    return (
        f"**{place}** {_MEANS.get(trouble.kind, 'failed')}{f': {detail}' if detail else ''}."
        f" Owner: {world.owner_of_system(trouble.system)}. Next: {next_step(world, trouble, name)}"
    )


def causes_of(world: World, troubles: Sequence[Trouble], name: str) -> list[Cause]:
    """The causes behind a sync's troubles: a system that fails on five streams is one cause."""
    found: dict[str, list[Trouble]] = {}
    for trouble in troubles:
        found.setdefault(key_of(trouble), []).append(trouble)
    unread = {t.system for t in troubles if key_of(t).startswith("system:")}
    # who cannot be read cannot be written to either: that is not a second cause
    return [
        _cause(world, key, group, name)
        for key, group in found.items()
        if not (key.startswith("delivery:") and group[0].system in unread)
    ]


def key_of(trouble: Trouble) -> str:
    """The same for the same cause."""
    if trouble.step == "deliver":
        return f"delivery:{trouble.system}"
    if trouble.kind in OF_A_STREAM:
        return f"stream:{trouble.system}/{trouble.stream}:{trouble.kind}"
    return f"system:{trouble.system}"


def _cause(world: World, key: str, troubles: Sequence[Trouble], name: str) -> Cause:
    first = troubles[0]
    touched = concerned(world, first)
    others = [i for i in world.landscape.integrations if i not in touched]
    streams = list(dict.fromkeys(t.stream for t in troubles if t.stream))
    where = f"{first.system} ({', '.join(streams)})" if streams else first.system
    detail = told(first)
    return Cause(
        key=key,
        kind=first.kind,
        integration=", ".join(touched) or name,
        system=first.system,
        owner=world.owner_of_system(first.system),
        cause=f"{where} {_MEANS.get(first.kind, 'failed')}" + (f": {detail}" if detail else ""),
        unaffected=_unaffected(others),
        next_step=next_step(world, first, name),
    )


def concerned(world: World, trouble: Trouble) -> list[str]:
    """The integrations that need what is in trouble: they read it, or they write to it."""
    found = []
    for name in world.landscape.integrations:
        streams = world.streams_for(world.needed_entities([name]))
        read = (trouble.system, trouble.stream) in streams if trouble.stream else False
        if (trouble.step != "deliver" and read) or trouble.system in world.target_systems([name]):
            found.append(name)
    return found


def _unaffected(others: Sequence[str]) -> str:
    kept = "every other system was read and written as usual, and nothing is lost: what was read stays, what waits goes"
    return f"{', '.join(others)} run as before; {kept} out by itself" if others else f"{kept} out by itself"


def failure_of(world: World, name: str, error: BaseException) -> Cause:
    """The cause of a sync that ended as a whole."""
    said = f"{type(error).__name__}: {error}" if isinstance(error, Refused | DatabaseTrouble) else type(error).__name__
    return broken(world, name, f"the sync of {name} ended with {' '.join(said.split())[:_CAUSE_CHARACTERS]}")


def broken(world: World, name: str, cause: str) -> Cause:
    """A sync that failed or crashed, in the words of who saw it."""
    integrations = world.landscape.integrations
    mine = integrations.get(name)
    others = [i for i in integrations if i != name] if mine else []
    return Cause(
        key=f"sync:{name}",
        kind="SyncFailed",
        integration=name if mine else ", ".join(integrations),
        system=None,
        owner=world.contact(mine.owner) if mine else _owners(world),
        cause=cause,
        unaffected=_unaffected(others),
        next_step=f"see what happened: concord status; then: concord sync {name}",
    )


def refused_declarations(world: World, key: str, bad: Refused) -> Cause:
    """Declarations that cannot be read, while `world` as it was declared before stays at work."""
    first, more = str(bad.problems[0]), len(bad.problems) - 1
    return Cause(
        key=key,
        kind="BadDeclarations",
        integration=", ".join(world.landscape.integrations),
        system=None,
        owner=_owners(world),
        cause=f"new declarations are refused: {first}" + (f" (and {more} more)" if more else ""),
        unaffected=f"everything runs on as declared before (version {world.landscape.digest[:8]})",
        next_step="see every problem, correct the files: concord check",
    )


def silence_of(world: World, because: str | None = None) -> Cause:
    """The cause when nothing runs at all. Without `because` it is Prefect's word, as then none of our own code ran."""
    name = world.landscape.name
    seen = because or "its `watch` has not completed for too long"
    rest = "Prefect is down, or the schedules are paused" if because else "`watch` is paused, or our database is away"
    return Cause(
        key=silent_key(world),
        kind="Silent",
        integration=", ".join(world.landscape.integrations),
        system=None,
        owner=_owners(world),
        cause=f"nothing runs for {name}: {seen}. No worker, no concord serve is up, {rest}",
        unaffected="nothing is lost: the systems keep what they last agreed on, and the next runs go on from there",
        next_step="see that concord serve, or a worker of its pool, runs; then: concord status",
    )


def silent_key(world: World) -> str:
    """The key of the incident that nothing runs."""
    return f"silent:{world.landscape.name}"


def message_of(cause: Cause) -> tuple[str, list[str]]:
    """Title and lines of the first message about a cause, for who tells it in our place."""
    title, lines = message(cause, 1, datetime.min)
    return title, [*lines, f"Incident: {cause.key}"]


def _owners(world: World) -> str:
    roles = dict.fromkeys(i.owner for i in world.landscape.integrations.values())
    return ", ".join(world.contact(role) for role in roles)


def message(cause: Cause, times: int, opened_at: datetime) -> tuple[str, list[str]]:
    """Title and lines of the message about an incident."""
    title = f"{_subject(cause)}: {_title(cause)}" + (f" (seen {times} times)" if times > 1 else "")
    since = f", since {opened_at:%Y-%m-%d %H:%M %Z}" if times > 1 else ""
    return title, [
        f"Integration: {cause.integration}",
        f"Owner: {cause.owner}",
        f"Cause: {cause.cause}{since}",
        f"Unaffected: {cause.unaffected}",
        f"Next: {cause.next_step}",
    ]


_TITLES = {
    "AuthFailed": "credentials refused",
    "Unreachable": "cannot be reached",
    "Transient": "does not answer",
    "RateLimited": "overloaded",
    "QuotaLow": "a quota is nearly used up",
    "NotSent": "not asked",
    "LeftAlone": "left alone",
    "LeaseOver": "a paused worker",
    "SystemFault": "not itself",
    "Misdeclared": "does not fit its declaration",
    "CountDrop": "records missing",
    "FutureCursor": "clock set back",
    "SchemaDrift": "records not as before",
    "WalkExpired": "loses the way",
    "GateStopped": "batch stopped by validation",
    "DeliveryStopped": "takes no writes",
    "BadDeclarations": "new declarations refused",
    "Doubt": "in doubt",
    "SyncFailed": "sync failed",
    "SyncMissed": "did not run",
    "SyncLate": "late",
    "SyncAbandoned": "ended without a word",
    "HoldOverdue": "a hold waits for an answer",
    "Stale": "behind its promise",
    "MessengerSilent": "takes no messages",
    "DatabaseAway": "our database cannot be used",
    "Silent": "nothing runs",
}


def _subject(cause: Cause) -> str:
    """What a title begins with: the system, the integration, or the landscape where everything is concerned."""
    return (
        cause.key.partition(":")[2] if cause.kind in ("Silent", "DatabaseAway") else cause.system or cause.integration
    )


def _title(cause: Cause) -> str:
    return _TITLES.get(cause.kind, "needs a person")


def recovery(closed: Recovered) -> tuple[str, list[str]]:
    """Title and lines of the message that an incident is over."""
    minutes = max(1, round((closed.closed_at - closed.opened_at).total_seconds() / 60))
    cause = closed.cause
    return f"{_subject(cause)}: recovered", [
        f"Integration: {cause.integration}",
        f"Owner: {cause.owner}",
        f"Was: {_title(cause)}, seen {closed.times} times in {minutes} min",
        "Next: nothing to do",
    ]


def is_due(standing: Standing) -> bool:
    """Whether an incident is told now: at once, then after a quarter of an hour, half an hour, an hour, two …"""
    if standing.told_at is None:
        return True
    since = standing.now - standing.told_at
    if since < QUIET:
        return False
    return not standing.is_told or since >= (standing.now - standing.opened_at) / 2


# ------------------------------------------------------------------------------------------------------- effects


def report(world: World, causes: Iterable[Cause], recovered: Sequence[str] = ()) -> int:
    """Opens or counts the incidents of these causes, closes those of `recovered` keys; gives how many are seen now."""
    seen = 0
    with world.transaction() as conn:
        for cause in map(_clean, causes):
            seen += 1
            _tell(conn, world, cause, store.open_or_escalate(conn, cause))
        for closed in store.recover(conn, recovered):
            _tell_end(conn, world, closed)
    return seen


def _clean(cause: Cause) -> Cause:
    """A cause whose words are one line each and can be stored: an error's text may hold anything."""
    return replace(cause, **{name: shown(getattr(cause, name)) for name in ("cause", "unaffected", "next_step")})


def tell_untold(world: World) -> None:
    """Queues the messages of open incidents that nobody was told of yet, where it is time by now."""
    with world.transaction() as conn:
        for cause, standing in store.untold(conn):
            _tell(conn, world, cause, standing)


def _tell(conn: Connection, world: World, cause: Cause, standing: Standing) -> None:
    title, lines = message(cause, standing.times, standing.opened_at)
    lines += _promised(world, cause, standing)
    waiting = alerts.reword(conn, standing.id, "opened", title, lines) if standing.is_queued else set()
    if not is_due(standing):
        return
    for address in messengers.addresses(world.landscape, cause):
        if address.place not in waiting:
            alerts.queue(conn, standing.id, "opened", title, lines, address)


def _promised(world: World, cause: Cause, standing: Standing) -> list[str]:
    """That the incident is open for longer than its integrations promise."""
    names = [name for name in cause.integration.split(", ") if name in world.landscape.integrations]
    promised = [p for name in names if (p := world.landscape.integrations[name].sla.resolve)]
    open_for = (standing.now - standing.opened_at).total_seconds()
    if not promised or open_for <= min(promised):
        return []
    return [f"SLA broken: open for {open_for / 3600:.1f} h, promised to be resolved within {min(promised) / 3600:g} h"]


def _tell_end(conn: Connection, world: World, closed: Recovered) -> None:
    """The message that an incident is over, to whoever was told of it, and no sooner than the last one allows. Where
    its first message still waits, that one says so."""
    if closed.told_at is None:
        return
    title, lines = recovery(closed)
    alerts.retire_told_elsewhere(conn, closed.id)
    ours = {place.via for place in messengers.all_of(world.landscape)}
    told = [address for address in alerts.places_told(conn, closed.id) if address.via in ours]
    reworded = alerts.reword(conn, closed.id, "recovered", title, lines)
    for address in told or messengers.addresses(world.landscape, closed.cause):
        if address.place not in reworded:
            alerts.queue(conn, closed.id, "recovered", title, lines, address, due_at=closed.told_at + QUIET)


def is_told(world: World, cause: Cause, since: datetime) -> bool:
    """Whether this cause's incident was opened or seen at or after `since`, be it open or over by now."""
    with world.transaction() as conn:
        return store.seen_since(conn, cause.key, since)


def report_over(world: World, cause: Cause, since: datetime, *, told_by: str | None) -> None:
    """What was open from `since` until now without our seeing it is put on record, and its end is told.

    `told_by`: who told of it meanwhile."""
    with world.transaction() as conn:
        store.note(conn, cause, since, *message_of(cause), told_by=told_by)
    report(world, [], [cause.key])
    tell(world)


def tell(world: World, *, patience_seconds: float = AFTER_WORK_SECONDS) -> int:
    """Sends what waits, for so long at most; gives how many messages were accepted. Raises nothing: messages wait."""
    try:
        without_ledger.put_on_record(world)
        tell_untold(world)
        return send_alerts(world, patience_seconds=patience_seconds)
    except Exception as error:  # whatever a messenger or our database does: the work that it tells of is done
        log.warning("messages cannot be sent now (%s); they wait", type(error).__name__)
        return 0


def report_trouble(world: World, summary: Summary, name: str) -> int:
    """After a sync: each cause of trouble becomes or stays an incident, and what went well closes its own."""
    causes = [*causes_of(world, summary.trouble, name), *doubtful.causes(world)]
    bad = {cause.key for cause in causes}
    with world.transaction() as conn:
        known = store.open_keys(conn)
    well = disproved(world, summary, name) | {key for key in known if key.startswith(doubtful.KEY)}
    return report(world, causes, [key for key in known if key in well and key not in bad])


def disproved(world: World, summary: Summary, name: str) -> set[str]:
    """Keys of the incidents that this sync disproves, where it had no trouble of them."""
    entities = world.needed_entities(summary.integrations)
    streams = world.streams_for(entities)
    keys = {f"system:{system}" for system, _ in streams}
    keys |= {f"stream:{system}/{stream}:{kind}" for system, stream in streams for kind in OF_A_STREAM}
    keys |= {f"delivery:{system}" for system in world.target_systems(summary.integrations)}
    keys |= {f"{what}:{each}" for each in (name, *summary.integrations) for what in ("sync", "missed", "abandoned")}
    if not summary.trouble:
        keys |= {f"late:{each}" for each in (name, *summary.integrations)}
    return keys


def conclude(world: World, name: str, outcome: Summary | BaseException) -> None:
    """After a sync, however it was run: its incidents are opened, counted or closed, and told of.

    Raises nothing: neither our database nor a messenger that fails may change what the sync did."""
    try:
        if isinstance(outcome, Summary):
            report_trouble(world, outcome, name)
        else:
            report_failure(world, name, outcome)
    except Exception as error:
        log.warning("the incidents of %s cannot be recorded now: %s", name, type(error).__name__)
        if without_ledger.trouble_in(error):
            without_ledger.tell_trouble(world.landscape, error)
            return
    tell(world)


def conclude_delivery(world: World, name: str, troubles: Sequence[Trouble], *, written: Iterable[str]) -> None:
    """After a delivery alone: a system that took something takes writes again; one that did not is an incident."""
    causes = causes_of(world, troubles, name)
    bad = {cause.key for cause in causes}
    try:
        report(world, causes, [key for key in (f"delivery:{system}" for system in written) if key not in bad])
    except Exception as error:
        log.warning("the incidents of this delivery cannot be recorded now: %s", type(error).__name__)
        if without_ledger.trouble_in(error):
            without_ledger.tell_trouble(world.landscape, error)
            return
    tell(world)


def report_failure(world: World, name: str, error: BaseException) -> int:
    """After a sync that ended as a whole. One that was turned away as busy is no incident."""
    if isinstance(error, SyncBusy | KeyboardInterrupt):
        return 0
    return report(world, [failure_of(world, name, error)])
